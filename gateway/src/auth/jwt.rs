//! Verifying tokens and minting them.
//!
//! Each kind of key has its verifier, which pins the algorithms that it takes: [`JwtAuth`] holds a shared secret and takes
//! HS256 and nothing else, so that neither `none` nor a public key passed off as a secret gets through. What a token says
//! beside its signature ([`WireClaims`], [`rules`]) is the same for all kinds.

use std::fmt;
use std::time::Duration;

use agentworks_schemas::Timestamp;
use agentworks_schemas::access::{AccessError, Authenticate, Claims, Role};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::secret::Secret;

/// Whom tokens are for, unless it is configured otherwise.
pub const AUDIENCE: &str = "agentworks";

/// How far the clocks of the minter and the verifier may differ, in seconds.
const LEEWAY: u64 = 5;

/// What a token must say of its bearer. `exp` is in seconds since the Unix epoch, possibly with a fraction.
#[derive(Deserialize)]
struct WireClaims {
    sub: String,
    workspace: String,
    role: Role,
    #[serde(default)]
    cards: Option<Vec<String>>,
    exp: f64,
}

/// A token as it is minted.
#[derive(Serialize)]
struct Minted<'a> {
    aud: &'a str,
    sub: &'a str,
    workspace: &'a str,
    role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    cards: Option<&'a [String]>,
    iat: i64,
    exp: i64,
}

/// Verifies tokens that were signed with a shared secret (HS256).
#[derive(Clone)]
pub struct JwtAuth {
    key: DecodingKey,
    rules: Validation,
}

impl fmt::Debug for JwtAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtAuth").field("audience", &self.rules.aud).finish_non_exhaustive()
    }
}

impl JwtAuth {
    /// Verifies tokens for [`AUDIENCE`].
    pub fn new(secret: &Secret) -> Self {
        JwtAuth::with_audience(secret, AUDIENCE)
    }

    /// Verifies tokens for `audience`.
    pub fn with_audience(secret: &Secret, audience: &str) -> Self {
        JwtAuth { key: DecodingKey::from_secret(secret.as_bytes()), rules: rules(Algorithm::HS256, audience) }
    }
}

impl Authenticate for JwtAuth {
    fn authenticate(&self, token: &str) -> Result<Claims, AccessError> {
        let claims = jsonwebtoken::decode(token, &self.key, &self.rules).map_err(|error| reason(error.kind()))?.claims;
        accept(claims)
    }
}

/// What every token must hold to, whatever its key: `exp` (not past), `aud` (ours), `sub`, and `nbf` if it has one.
fn rules(algorithm: Algorithm, audience: &str) -> Validation {
    let mut rules = Validation::new(algorithm);
    rules.set_required_spec_claims(&["exp", "aud", "sub"]);
    rules.set_audience(&[audience]);
    rules.validate_nbf = true;
    rules.leeway = LEEWAY;
    rules
}

fn accept(claims: WireClaims) -> Result<Claims, AccessError> {
    if claims.workspace.is_empty() {
        return Err(AccessError::Invalid);
    }
    Ok(Claims {
        workspace: claims.workspace,
        subject: claims.sub,
        role: claims.role,
        cards: claims.cards,
        expires: claims.exp as i64,
    })
}

/// The library's errors may quote the token; ours never do.
fn reason(kind: &ErrorKind) -> AccessError {
    match kind {
        ErrorKind::ExpiredSignature => AccessError::Expired,
        ErrorKind::InvalidAudience => AccessError::Audience,
        _ => AccessError::Invalid,
    }
}

/// A token can't be minted.
#[derive(Debug, thiserror::Error)]
#[error("the token can't be signed")]
pub struct MintError;

/// Mints a token for [`AUDIENCE`] that is valid from now on for `ttl`. The `expires` of `claims` doesn't count.
///
/// # Errors
/// Only if the signing library fails, which no claims are known to cause.
pub fn mint(secret: &Secret, claims: &Claims, ttl: Duration) -> Result<String, MintError> {
    let now = Timestamp::now().millis() / 1000;
    let minted = Minted {
        aud: AUDIENCE,
        sub: &claims.subject,
        workspace: &claims.workspace,
        role: claims.role,
        cards: claims.cards.as_deref(),
        iat: now,
        exp: now.saturating_add_unsigned(ttl.as_secs()),
    };
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &minted, &key).map_err(|_| MintError)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    /// The headers `{"alg":"none"}` and `{"alg":"RS256"}`, encoded.
    const NONE: &str = "eyJhbGciOiJub25lIn0";
    const RS256: &str = "eyJhbGciOiJSUzI1NiJ9";

    fn secret() -> Secret {
        Secret::new("0123456789abcdef0123456789abcdef", "test").unwrap()
    }

    fn claims() -> Claims {
        Claims {
            workspace: "acme".to_owned(),
            subject: "ann".to_owned(),
            role: Role::Writer,
            cards: Some(vec!["a/b".to_owned()]),
            expires: 0,
        }
    }

    fn in_seconds(seconds: i64) -> i64 {
        Timestamp::now().millis() / 1000 + seconds
    }

    /// Verifies a token that says what a good one says, but for `changes`; null takes a claim out.
    fn verify(algorithm: Algorithm, secret: &Secret, changes: Value) -> Result<Claims, AccessError> {
        let mut body = json!({"aud": "agentworks", "sub": "ann", "workspace": "acme", "role": "viewer",
            "exp": in_seconds(60)});
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => body.as_object_mut().unwrap().remove(name),
                value => body.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        let key = EncodingKey::from_secret(secret.as_bytes());
        let token = jsonwebtoken::encode(&Header::new(algorithm), &body, &key).unwrap();
        JwtAuth::new(&super::tests::secret()).authenticate(&token)
    }

    fn verify_with(changes: Value) -> Result<Claims, AccessError> {
        verify(Algorithm::HS256, &secret(), changes)
    }

    #[test]
    fn a_minted_token_says_what_was_minted() {
        let token = mint(&secret(), &claims(), Duration::from_secs(60)).unwrap();
        let verified = JwtAuth::new(&secret()).authenticate(&token).unwrap();
        assert!((in_seconds(58)..=in_seconds(60)).contains(&verified.expires));
        assert_eq!(Claims { expires: 0, ..verified }, claims());
    }

    #[test]
    fn a_good_token_passes() {
        let verified = verify_with(json!({})).unwrap();
        assert_eq!((verified.role, verified.cards), (Role::Viewer, None));
        assert!(verify_with(json!({"aud": ["other", "agentworks"], "nbf": in_seconds(-1)})).is_ok());
        assert!(verify_with(json!({"exp": in_seconds(60) as f64 + 0.5})).is_ok());
    }

    #[test]
    fn time_counts_give_or_take_the_leeway() {
        assert_eq!(verify_with(json!({"exp": in_seconds(-10)})), Err(AccessError::Expired));
        assert!(verify_with(json!({"exp": in_seconds(-2)})).is_ok());
        assert_eq!(verify_with(json!({"nbf": in_seconds(30)})), Err(AccessError::Invalid));
        assert!(verify_with(json!({"nbf": in_seconds(2)})).is_ok());
    }

    #[test]
    fn another_audience_is_refused() {
        assert_eq!(verify_with(json!({"aud": "billing"})), Err(AccessError::Audience));
        assert_eq!(verify_with(json!({"aud": ["billing"]})), Err(AccessError::Audience));
        let token = mint(&secret(), &claims(), Duration::from_secs(60)).unwrap();
        let other = JwtAuth::with_audience(&secret(), "billing");
        assert_eq!(other.authenticate(&token), Err(AccessError::Audience));
    }

    #[test]
    fn what_must_be_there_must_be_there() {
        for claim in ["exp", "aud", "sub", "workspace", "role"] {
            assert_eq!(verify_with(json!({claim: null})), Err(AccessError::Invalid), "without {claim}");
        }
        let wrong = [
            json!({"exp": "tomorrow"}),
            json!({"exp": -1}),
            json!({"nbf": "now"}),
            json!({"workspace": ""}),
            json!({"role": "admin"}),
            json!({"cards": "a"}),
        ];
        for changes in wrong {
            assert_eq!(verify_with(changes.clone()), Err(AccessError::Invalid), "{changes}");
        }
    }

    #[test]
    fn only_hs256_of_our_secret_counts() {
        assert_eq!(verify(Algorithm::HS384, &secret(), json!({})), Err(AccessError::Invalid));
        assert_eq!(verify(Algorithm::HS512, &secret(), json!({})), Err(AccessError::Invalid));
        let other = Secret::new("another secret that is long enough!", "test").unwrap();
        assert_eq!(verify(Algorithm::HS256, &other, json!({})), Err(AccessError::Invalid));
    }

    #[test]
    fn none_and_confused_algorithms_are_refused() {
        let token = mint(&secret(), &claims(), Duration::from_secs(60)).unwrap();
        let auth = JwtAuth::new(&secret());
        let parts: Vec<&str> = token.split('.').collect();
        let key = EncodingKey::from_secret(secret().as_bytes());
        for header in [NONE, RS256] {
            let message = format!("{header}.{}", parts[1]);
            let signed = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
            for signature in ["", parts[2], &signed] {
                assert_eq!(auth.authenticate(&format!("{message}.{signature}")), Err(AccessError::Invalid));
            }
        }
    }

    #[test]
    fn a_tampered_token_is_refused_wherever_it_was_touched() {
        let token = mint(&secret(), &claims(), Duration::from_secs(60)).unwrap();
        let auth = JwtAuth::new(&secret());
        // The last character of a part carries bits that no decoder looks at, so it may not count; all others do.
        let ends: Vec<usize> = token.match_indices('.').map(|(at, _)| at - 1).chain([token.len() - 1]).collect();
        for at in (0..token.len()).filter(|at| !ends.contains(at)) {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let tampered = String::from_utf8(bytes).unwrap();
            assert_eq!(auth.authenticate(&tampered), Err(AccessError::Invalid), "at {at}");
        }
    }

    #[test]
    fn garbage_is_refused() {
        let auth = JwtAuth::new(&secret());
        for garbage in ["", ".", "..", "...", "a.b.c", "\u{0}", "Bearer x", "é.é.é"] {
            assert_eq!(auth.authenticate(garbage), Err(AccessError::Invalid), "{garbage:?}");
        }
    }

    #[test]
    fn nothing_prints_the_key() {
        let printed = format!("{:?}", JwtAuth::new(&secret()));
        assert!(printed.contains("agentworks") && !printed.contains("0123456789"), "{printed}");
    }
}
