//! What a token says beside its signature, and whether that is enough: the same whatever key it was signed with.

use agentworks_schemas::access::{AccessError, Claims, Role};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use super::revoked::Revoked;

/// Whom tokens are for, unless it is configured otherwise.
pub const AUDIENCE: &str = "agentworks";

/// How far the clocks of the minter and the verifier may differ, in seconds.
const LEEWAY: u64 = 5;

/// What every token must hold to.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whom it must be for (`aud`).
    pub audience: String,
    /// Who must have made it (`iss`); anyone who has a key, if not given.
    pub issuer: Option<String>,
    /// Which tokens are not taken any more, though they were once.
    pub revoked: Revoked,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { audience: AUDIENCE.to_owned(), issuer: None, revoked: Revoked::default() }
    }
}

/// What a token must say of its bearer. `exp` is in seconds since the Unix epoch, possibly with a fraction.
#[derive(Deserialize)]
struct WireClaims {
    sub: String,
    workspace: String,
    role: Role,
    #[serde(default)]
    cards: Option<Vec<String>>,
    exp: f64,
    #[serde(default)]
    jti: Option<String>,
}

impl Policy {
    /// Verifies a token by `key`, which takes `algorithm` and no other: its signature, `exp` (not past), `aud` (ours),
    /// `iss` (where there is one pinned), `sub`, and `nbf` if it has one. `kid` is what its header says.
    pub(super) fn verify(
        &self,
        token: &str,
        key: &DecodingKey,
        algorithm: Algorithm,
        kid: Option<&str>,
    ) -> Result<Claims, AccessError> {
        let decoded = jsonwebtoken::decode::<WireClaims>(token, key, &self.rules(algorithm));
        let claims = decoded.map_err(|error| reason(error.kind()))?.claims;
        if claims.workspace.is_empty() {
            return Err(AccessError::Invalid);
        }
        if self.revoked.holds(kid, claims.jti.as_deref(), &claims.workspace, &claims.sub) {
            return Err(AccessError::Revoked);
        }
        Ok(Claims {
            workspace: claims.workspace,
            subject: claims.sub,
            role: claims.role,
            cards: claims.cards,
            expires: claims.exp as i64,
            key: None,
            token_id: claims.jti,
        })
    }

    fn rules(&self, algorithm: Algorithm) -> Validation {
        let mut rules = Validation::new(algorithm);
        let mut required = vec!["exp", "aud", "sub"];
        rules.set_audience(&[&self.audience]);
        if let Some(issuer) = &self.issuer {
            required.push("iss");
            rules.set_issuer(&[issuer]);
        }
        rules.set_required_spec_claims(&required);
        rules.validate_nbf = true;
        rules.leeway = LEEWAY;
        rules
    }
}

/// The library's errors may quote the token; ours never do.
fn reason(kind: &ErrorKind) -> AccessError {
    match kind {
        ErrorKind::ExpiredSignature => AccessError::Expired,
        ErrorKind::InvalidAudience => AccessError::Audience,
        _ => AccessError::Invalid,
    }
}
