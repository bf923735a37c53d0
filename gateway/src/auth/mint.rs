//! Minting tokens with the shared secret.

use std::time::Duration;

use agentworks_schemas::Timestamp;
use agentworks_schemas::access::{Claims, Role};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use uuid::Uuid;

use super::claims::AUDIENCE;
use super::secret::Secret;

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
    jti: String,
}

/// A token can't be minted.
#[derive(Debug, thiserror::Error)]
#[error("the token can't be signed")]
pub struct MintError;

/// Mints a token for [`AUDIENCE`] that is valid from now on for `ttl`, with an id of its own unless `claims` have one. The
/// `expires` and `key` of `claims` don't count.
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
        jti: claims.token_id.clone().unwrap_or_else(|| Uuid::now_v7().simple().to_string()),
    };
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &minted, &key).map_err(|_| MintError)
}
