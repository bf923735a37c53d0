//! From the document to keys.

use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::is_key_id;
use super::keys::Key;

/// The most keys that a document may have.
const MAX_KEYS: usize = 100;
/// How long an RSA modulus may be, in bytes.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// An uncompressed point of P-256.
const P256_BYTES: usize = 65;

#[derive(Deserialize)]
struct Document<'a> {
    /// Each is read by itself, so that one of a kind that nobody here has heard of doesn't spoil the others.
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Jwk {
    kid: Option<String>,
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// What makes it a private key.
    d: Option<IgnoredAny>,
}

/// Why a document is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DocumentError {
    #[error("it is no JWKS document")]
    Form,
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    #[error("it has {0} keys, but none that can be used: RS256 of 2048 bits or more, or ES256, each with a kid")]
    Unusable(usize),
}

/// The keys of a document that can be used, and how many can't.
pub(super) struct Parsed {
    pub(super) keys: Vec<(String, Key)>,
    pub(super) skipped: usize,
}

/// Reads a document. An empty one is as good as any other: all keys are revoked.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, DocumentError> {
    let document: Document<'_> = serde_json::from_slice(bytes).map_err(|_| DocumentError::Form)?;
    let count = document.keys.len();
    if count > MAX_KEYS {
        return Err(DocumentError::TooMany);
    }
    let mut keys: Vec<(String, Key)> = Vec::new();
    for raw in document.keys {
        // Of two keys of one name, the first counts.
        if let Some((kid, key)) = serde_json::from_str(raw.get()).ok().and_then(usable)
            && keys.iter().all(|(known, _)| *known != kid)
        {
            keys.push((kid, key));
        }
    }
    if keys.is_empty() && count > 0 {
        return Err(DocumentError::Unusable(count));
    }
    Ok(Parsed { skipped: count - keys.len(), keys })
}

/// The key, if it is one that signatures may be verified by, and by which algorithm.
fn usable(jwk: Jwk) -> Option<(String, Key)> {
    let Jwk { kid, kty, usage, key_ops, alg, crv, n, e, x, y, d } = jwk;
    let kid = kid.filter(|kid| is_key_id(kid))?;
    let verifies = usage.is_none_or(|usage| usage == "sig")
        && key_ops.is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
    // A private key that lies open is nobody's any more.
    if !verifies || d.is_some() {
        return None;
    }
    let is = |name: &str| alg.as_deref().is_none_or(|alg| alg == name);
    let (algorithm, key) = match (kty.as_str(), crv.as_deref()) {
        ("RSA", None) if is("RS256") => (Algorithm::RS256, DecodingKey::from_rsa_components(&n?, &e?).ok()?),
        ("EC", Some("P-256")) if is("ES256") => (Algorithm::ES256, DecodingKey::from_ec_components(&x?, &y?).ok()?),
        _ => return None,
    };
    let is_sound = match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => RSA_BYTES.contains(&significant(n)) && significant(e) > 0,
        DecodingKeyKind::SecretOrDer(point) => point.len() == P256_BYTES,
    };
    is_sound.then(|| (kid, Key::new(algorithm, key)))
}

/// How many bytes a number has without leading zeros.
fn significant(number: &[u8]) -> usize {
    number.len() - number.iter().take_while(|byte| **byte == 0).count()
}
