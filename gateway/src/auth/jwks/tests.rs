#![allow(clippy::unwrap_used)]

mod tls;

use agentworks_schemas::access::{Authenticate, Claims};
use futures_util::FutureExt;
use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::auth::issuer::{Publisher, Signer, claims_for, signed};
use crate::auth::{JwtAuth, Policy, Secret};

const HOUR: Duration = Duration::from_secs(3600);

fn config(publisher: &Publisher) -> JwksConfig {
    JwksConfig {
        url: publisher.url(),
        insecure: false,
        ca_file: None,
        refresh: HOUR,
        cooldown: Duration::ZERO,
        max_age: HOUR,
    }
}

fn auth(config: &JwksConfig) -> JwtAuth {
    JwtAuth::with_policy(Policy::default()).jwks(Jwks::start(config).unwrap())
}

fn good(signer: &Signer) -> String {
    signer.token(&claims_for("acme", "viewer", 60))
}

async fn ask(auth: &JwtAuth, token: &str) -> Result<Claims, AccessError> {
    timeout(Duration::from_secs(20), auth.authenticate(token)).await.unwrap()
}

#[tokio::test]
async fn tokens_of_both_kinds_of_keys_pass_and_say_by_which() {
    let (rsa, ec) = (Signer::rsa("rsa-1"), Signer::ec("ec-1"));
    let publisher = Publisher::start(&[&rsa, &ec]);
    let auth = auth(&config(&publisher));
    for signer in [&rsa, &ec] {
        let claims = ask(&auth, &good(signer)).await.unwrap();
        assert_eq!((claims.workspace.as_str(), claims.key.as_deref()), ("acme", Some(signer.kid.as_str())));
    }
    assert_eq!(publisher.requests(), 1);
    auth.ready().unwrap();
}

#[tokio::test]
async fn a_key_has_one_algorithm_and_one_owner() {
    let (rsa, ec) = (Signer::rsa("rsa-1"), Signer::ec("ec-1"));
    let publisher = Publisher::start(&[&rsa, &ec]);
    let secret = Secret::new("0123456789abcdef0123456789abcdef", "test").unwrap();
    let both = JwtAuth::with_policy(Policy::default()).secret(&secret).jwks(Jwks::start(&config(&publisher)).unwrap());
    let claims = claims_for("acme", "operator", 60);
    assert!(ask(&both, &rsa.token(&claims)).await.is_ok());

    let stranger = Signer::rsa("rsa-1");
    assert_eq!(ask(&both, &good(&stranger)).await, Err(AccessError::Invalid), "the name alone is nothing");
    for header in [
        json!({"alg": "RS256", "kid": "ec-1"}),
        json!({"alg": "RS256"}),
        json!({"alg": "RS256", "kid": ""}),
        json!({"alg": "RS384", "kid": "rsa-1"}),
        json!({"alg": "none", "kid": "rsa-1"}),
        json!({"alg": "HS256", "kid": "rsa-1"}),
        json!({"alg": "RS256", "kid": "rsa-1", "crit": ["exp"]}),
        json!({"alg": "RS256", "kid": "other", "jwk": rsa.jwk()}),
        json!({"alg": "RS256", "kid": "other", "jku": publisher.url()}),
    ] {
        assert_eq!(ask(&both, &rsa.token_with(&header, &claims)).await, Err(AccessError::Invalid), "{header}");
    }
    // A public key passed off as a secret, in any form in which it is known.
    let modulus = rsa.jwk()["n"].as_str().unwrap().to_owned();
    for secret in [modulus.as_bytes(), rsa.jwk().to_string().as_bytes(), b""] {
        let key = EncodingKey::from_secret(secret);
        for header in [json!({"alg": "HS256", "kid": "rsa-1"}), json!({"alg": "HS256"})] {
            let token = signed(&header, &claims, &key, Algorithm::HS256);
            assert_eq!(ask(&both, &token).await, Err(AccessError::Invalid), "{header}");
        }
    }
}

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it_once_for_all_who_wait() {
    let (old, new) = (Signer::ec("old"), Signer::ec("new"));
    let publisher = Publisher::start(&[&old]);
    let auth = auth(&config(&publisher));
    assert!(ask(&auth, &good(&old)).await.is_ok());
    publisher.publish(&[&old, &new]);
    let token = good(&new);
    for claims in join_all((0..50).map(|_| ask(&auth, &token))).await {
        assert_eq!(claims.unwrap().key.as_deref(), Some("new"));
    }
    assert_eq!(publisher.requests(), 2);
    assert!(ask(&auth, &good(&old)).await.is_ok());
}

#[tokio::test]
async fn a_key_that_has_gone_verifies_nothing_and_its_bearers_are_told() {
    let (old, new, newest) = (Signer::ec("old"), Signer::ec("new"), Signer::ec("newest"));
    let publisher = Publisher::start(&[&old, &new]);
    let auth = auth(&config(&publisher));
    let of_old = ask(&auth, &good(&old)).await.unwrap();
    let of_new = ask(&auth, &good(&new)).await.unwrap();
    let mut revoked = auth.revoked(&of_old);
    let mut stays = auth.revoked(&of_new);
    assert!(futures_util::poll!(&mut revoked).is_pending());
    publisher.publish(&[&new, &newest]);
    assert!(ask(&auth, &good(&newest)).await.is_ok(), "which has the document fetched");
    timeout(Duration::from_secs(10), revoked).await.unwrap();
    assert_eq!(ask(&auth, &good(&old)).await, Err(AccessError::Invalid));
    auth.revoked(&of_old).now_or_never().expect("it has been revoked");
    assert!(futures_util::poll!(&mut stays).is_pending());

    // Another key under the same name is another key; and an empty document revokes all.
    let successor = Signer::ec("new");
    publisher.publish(&[&successor]);
    assert_eq!(ask(&auth, &good(&Signer::ec("unheard-of"))).await, Err(AccessError::Invalid));
    timeout(Duration::from_secs(10), stays).await.unwrap();
    assert_eq!(ask(&auth, &good(&new)).await, Err(AccessError::Invalid));
    let of_successor = ask(&auth, &good(&successor)).await.unwrap();
    publisher.publish(&[]);
    assert_eq!(ask(&auth, &good(&Signer::ec("unheard-of-too"))).await, Err(AccessError::Invalid));
    timeout(Duration::from_secs(10), auth.revoked(&of_successor)).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_unknown_keys_costs_no_fetches() {
    let known = Signer::ec("known");
    let publisher = Publisher::start(&[&known]);
    let auth = auth(&JwksConfig { cooldown: HOUR, ..config(&publisher) });
    assert!(ask(&auth, &good(&known)).await.is_ok());
    let stranger = Signer::ec("stranger");
    for number in 0..500 {
        let header = json!({"alg": "ES256", "kid": format!("../../etc/keys/{number}")});
        let token = stranger.token_with(&header, &claims_for("acme", "viewer", 60));
        assert_eq!(ask(&auth, &token).await, Err(AccessError::Invalid));
    }
    assert_eq!(publisher.requests(), 1);
}

#[tokio::test]
async fn the_same_unknown_key_is_looked_for_once() {
    let known = Signer::ec("known");
    let publisher = Publisher::start(&[&known]);
    let auth = auth(&config(&publisher));
    assert!(ask(&auth, &good(&known)).await.is_ok());
    let token = good(&Signer::ec("stranger"));
    for _ in 0..20 {
        assert_eq!(ask(&auth, &token).await, Err(AccessError::Invalid));
    }
    assert_eq!(publisher.requests(), 2);
}

#[tokio::test]
async fn keys_stay_while_the_document_can_not_be_had_but_not_for_ever() {
    let (known, new) = (Signer::ec("known"), Signer::ec("new"));
    let publisher = Publisher::start(&[&known]);
    let config =
        JwksConfig { refresh: Duration::from_millis(100), max_age: Duration::from_secs(3), ..config(&publisher) };
    let auth = auth(&config);
    let claims = ask(&auth, &good(&known)).await.unwrap();
    let revoked = auth.revoked(&claims);
    publisher.fail(503);
    // Whether a key that isn't known is a good one, nobody can say.
    assert_eq!(ask(&auth, &good(&new)).await, Err(AccessError::Unavailable));
    assert!(ask(&auth, &good(&known)).await.is_ok());
    for document in ["", "{}", "[]", "{\"keys\": [{\"kty\": \"oct\", \"kid\": \"known\", \"k\": \"c2VjcmV0\"}]}"] {
        publisher.publish_text(document.to_owned());
        assert_eq!(ask(&auth, &good(&new)).await, Err(AccessError::Unavailable), "{document}");
        assert!(ask(&auth, &good(&known)).await.is_ok(), "{document}");
    }
    timeout(Duration::from_secs(20), revoked).await.unwrap();
    assert_eq!(ask(&auth, &good(&known)).await, Err(AccessError::Unavailable));
    assert!(auth.ready().is_err());
    publisher.publish(&[&known]);
    let back = async { while ask(&auth, &good(&known)).await.is_err() {} };
    timeout(Duration::from_secs(20), back).await.unwrap();
}

#[tokio::test]
async fn a_document_that_is_too_large_or_elsewhere_is_not_taken() {
    let known = Signer::ec("known");
    let publisher = Publisher::start(&[&known]);
    publisher.publish_text(format!("{{\"keys\": [], \"padding\": \"{}\"}}", "x".repeat(300_000)));
    let large = auth(&config(&publisher));
    assert_eq!(ask(&large, &good(&known)).await, Err(AccessError::Unavailable));
    assert!(large.ready().unwrap_err().contains("larger than"), "{:?}", large.ready());
    publisher.fail(302);
    let moved = auth(&config(&publisher));
    assert_eq!(ask(&moved, &good(&known)).await, Err(AccessError::Unavailable));
    assert!(moved.ready().unwrap_err().contains("302"), "{:?}", moved.ready());
}

#[tokio::test]
async fn over_tls_whoever_has_no_certificate_is_not_believed() {
    let known = Signer::ec("known");
    let publisher = Publisher::start(&[&known]);
    let url = publisher.url().replace("http://", "https://");
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, "").unwrap();
    let nobody = JwksConfig { url: url.clone(), ca_file: Some(ca_file), ..config(&publisher) };
    assert!(matches!(Jwks::start(&nobody), Err(JwksError::Authorities(_))));
    if !rustls_native_certs::load_native_certs().certs.is_empty() {
        let plain = auth(&JwksConfig { url, ..config(&publisher) });
        assert_eq!(ask(&plain, &good(&known)).await, Err(AccessError::Unavailable));
        assert!(plain.ready().is_err());
    }
}

#[test]
fn keys_come_over_tls_or_from_this_machine() {
    for good in ["https://login.example/keys", "http://127.0.0.1:8080/k", "http://[::1]/k", "http://localhost/k"] {
        check_url(good, false).unwrap();
    }
    check_url("http://login.example/keys", true).unwrap();
    assert!(matches!(check_url("http://login.example/keys", false), Err(JwksError::Insecure)));
    assert!(matches!(check_url("http://127.0.0.1.example/keys", false), Err(JwksError::Insecure)));
    assert!(matches!(check_url("https://me:hunter2@login.example/keys", true), Err(JwksError::Login)));
    for wrong in ["", "login.example", "file:///etc/keys", "ftp://127.0.0.1/k", "https://"] {
        assert!(matches!(check_url(wrong, true), Err(JwksError::Url)), "{wrong}");
    }
}

#[test]
fn only_what_signatures_are_verified_by_is_taken_of_a_document() {
    let (rsa, ec) = (Signer::rsa("rsa"), Signer::ec("ec"));
    let with = |mut jwk: serde_json::Value, member: &str, value: serde_json::Value| {
        if value.is_null() {
            jwk.as_object_mut().unwrap().remove(member);
        } else {
            jwk[member] = value;
        }
        document::parse(json!({"keys": [jwk, ec.jwk()]}).to_string().as_bytes()).map(|parsed| parsed.keys.len())
    };
    let odd = |member: &str, value: serde_json::Value| with(rsa.jwk(), member, value);
    assert_eq!(odd("alg", json!(null)), Ok(2), "an RSA key is for RS256 unless it says otherwise");
    for (member, value) in [
        ("kid", json!(null)),
        ("kid", json!("")),
        ("kid", json!("a b")),
        ("kid", json!("k".repeat(300))),
        ("kid", json!(7)),
        ("kty", json!("oct")),
        ("kty", json!("EC")),
        ("use", json!("enc")),
        ("key_ops", json!(["encrypt"])),
        ("alg", json!("RS512")),
        ("alg", json!("HS256")),
        ("alg", json!("none")),
        ("n", json!("AQAB")),
        ("n", json!("!")),
        ("e", json!("")),
        ("d", json!("AQAB")),
    ] {
        assert_eq!(odd(member, value.clone()), Ok(1), "{member}: {value}");
    }
    for (member, value) in [("crv", json!("P-384")), ("alg", json!("ES384")), ("x", json!("AQAB")), ("y", json!(null))]
    {
        let mut other = ec.jwk();
        other["kid"] = json!("other");
        assert_eq!(with(other, member, value.clone()), Ok(1), "{member}: {value}");
    }
    assert_eq!(with(ec.jwk(), "x", json!("AQAB")), Ok(1));
    let many: Vec<_> = (0..101).map(|_| ec.jwk()).collect();
    assert!(document::parse(json!({"keys": many}).to_string().as_bytes()).is_err());
    assert!(document::parse("[".repeat(100_000).as_bytes()).is_err());
}
