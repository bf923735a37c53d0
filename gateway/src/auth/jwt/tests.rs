#![allow(clippy::unwrap_used)]

use std::time::Duration;

use agentworks_schemas::Timestamp;
use agentworks_schemas::access::Role;
use futures_util::FutureExt;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::auth::mint;

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
        token_id: Some("token-1".to_owned()),
        ..Claims::default()
    }
}

/// What a verifier says that has all its keys.
fn ask(auth: &JwtAuth, token: &str) -> Result<Claims, AccessError> {
    auth.authenticate(token).now_or_never().expect("there is nothing to wait for")
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
    ask(&JwtAuth::new(&super::tests::secret()), &token)
}

fn verify_with(changes: Value) -> Result<Claims, AccessError> {
    verify(Algorithm::HS256, &secret(), changes)
}

#[test]
fn a_minted_token_says_what_was_minted() {
    let token = mint(&secret(), &claims(), Duration::from_secs(60)).unwrap();
    let verified = ask(&JwtAuth::new(&secret()), &token).unwrap();
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
    let policy = Policy { audience: "billing".to_owned(), ..Policy::default() };
    assert_eq!(ask(&JwtAuth::with_policy(policy).secret(&secret()), &token), Err(AccessError::Audience));
}

#[test]
fn an_issuer_is_pinned_where_there_is_one() {
    let policy = Policy { issuer: Some("https://login.example".to_owned()), ..Policy::default() };
    let auth = JwtAuth::with_policy(policy).secret(&secret());
    let key = EncodingKey::from_secret(secret().as_bytes());
    let from = |issuer: Value| {
        let body = json!({"aud": "agentworks", "sub": "ann", "workspace": "acme", "role": "viewer",
            "exp": in_seconds(60), "iss": issuer});
        ask(&auth, &jsonwebtoken::encode(&Header::new(Algorithm::HS256), &body, &key).unwrap())
    };
    assert!(from(json!("https://login.example")).is_ok());
    for other in [json!("https://evil.example"), json!(""), json!(null), json!(7)] {
        assert_eq!(from(other.clone()), Err(AccessError::Invalid), "{other}");
    }
    assert_eq!(ask(&auth, &mint(&secret(), &claims(), Duration::from_secs(60)).unwrap()), Err(AccessError::Invalid));
}

#[test]
fn what_is_revoked_is_refused_before_its_time() {
    let token = mint(&secret(), &claims(), Duration::from_secs(60)).unwrap();
    let with = |revoked: &str| {
        let policy = Policy { revoked: revoked.parse().unwrap(), ..Policy::default() };
        ask(&JwtAuth::with_policy(policy).secret(&secret()), &token).map(drop)
    };
    assert_eq!(with("jti:token-1"), Err(AccessError::Revoked));
    assert_eq!(with("sub:acme/ann"), Err(AccessError::Revoked));
    assert_eq!(with("jti:token-2,sub:globex/ann,kid:k"), Ok(()));
}

#[test]
fn a_header_that_asks_for_more_than_we_know_is_refused() {
    let key = EncodingKey::from_secret(secret().as_bytes());
    let body = json!({"aud": "agentworks", "sub": "ann", "workspace": "acme", "role": "viewer", "exp": in_seconds(60)});
    let with = |change: fn(&mut Header)| {
        let mut header = Header::new(Algorithm::HS256);
        change(&mut header);
        ask(&JwtAuth::new(&secret()), &jsonwebtoken::encode(&header, &body, &key).unwrap()).map(drop)
    };
    assert_eq!(with(|_| {}), Ok(()));
    assert_eq!(with(|header| header.crit = Some(vec!["b64".to_owned()])), Err(AccessError::Invalid));
    assert_eq!(with(|header| header.kid = Some("a\nb".to_owned())), Err(AccessError::Invalid));
    assert_eq!(with(|header| header.kid = Some("k".repeat(1000))), Err(AccessError::Invalid));
    assert_eq!(with(|header| header.kid = Some("k".to_owned())), Ok(()), "of our own minters, one may name it");
    let long = format!("{}.x.y", "a".repeat(MAX_TOKEN));
    assert_eq!(ask(&JwtAuth::new(&secret()), &long), Err(AccessError::Invalid));
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
            assert_eq!(ask(&auth, &format!("{message}.{signature}")), Err(AccessError::Invalid));
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
        assert_eq!(ask(&auth, &tampered), Err(AccessError::Invalid), "at {at}");
    }
}

#[test]
fn garbage_is_refused() {
    let auth = JwtAuth::new(&secret());
    for garbage in ["", ".", "..", "...", "a.b.c", "\u{0}", "Bearer x", "é.é.é"] {
        assert_eq!(ask(&auth, garbage), Err(AccessError::Invalid), "{garbage:?}");
    }
}

#[test]
fn nothing_prints_the_key() {
    let printed = format!("{:?}", JwtAuth::new(&secret()));
    assert!(printed.contains("agentworks") && !printed.contains("0123456789"), "{printed}");
}
