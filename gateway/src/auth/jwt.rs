//! Verifying tokens.
//!
//! A token's header says by which algorithm it is signed, and an attacker writes the header. So that is never asked *how*
//! to verify, only *which* of our keys is meant, and each key has one algorithm: the shared secret takes HS256 and nothing
//! else, a public key what its JWKS document says of it. Neither `none`, nor a public key passed off as a secret, nor a key
//! or address within the header (`jwk`, `jku`, `x5u`) gets through.

use std::fmt;

use agentworks_schemas::access::{AccessError, Authenticate, Claims, Later};
use jsonwebtoken::{Algorithm, DecodingKey};
use prometheus_client::registry::Registry;

use super::claims::Policy;
use super::jwks::{Jwks, is_key_id};
use super::metrics::AuthMetrics;
use super::secret::Secret;

/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 8 * 1024;

/// Verifies tokens that were signed with a shared secret (HS256), with a key of a JWKS document (RS256, ES256), or with
/// either.
pub struct JwtAuth {
    policy: Policy,
    secret: Option<DecodingKey>,
    jwks: Option<Jwks>,
    metrics: AuthMetrics,
}

impl fmt::Debug for JwtAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JwtAuth { policy, secret, jwks, .. } = self;
        f.debug_struct("JwtAuth")
            .field("policy", policy)
            .field("secret", &secret.is_some())
            .field("jwks", jwks)
            .finish_non_exhaustive()
    }
}

impl JwtAuth {
    /// Verifies tokens by a shared secret.
    pub fn new(secret: &Secret) -> Self {
        JwtAuth::with_policy(Policy::default()).secret(secret)
    }

    /// Verifies no token yet: it needs a secret, or keys.
    pub fn with_policy(policy: Policy) -> Self {
        JwtAuth { policy, secret: None, jwks: None, metrics: AuthMetrics::default() }
    }

    /// Takes tokens that were signed with this secret.
    #[must_use]
    pub fn secret(self, secret: &Secret) -> Self {
        JwtAuth { secret: Some(DecodingKey::from_secret(secret.as_bytes())), ..self }
    }

    /// Takes tokens that were signed with these keys.
    #[must_use]
    pub fn jwks(self, jwks: Jwks) -> Self {
        JwtAuth { metrics: jwks.metrics().clone(), jwks: Some(jwks), ..self }
    }

    /// Shows what is measured.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Whether there are keys to verify with; if not, why.
    pub fn ready(&self) -> Result<(), String> {
        match &self.jwks {
            Some(jwks) => jwks.ready(),
            None => Ok(()),
        }
    }

    async fn verify(&self, token: &str) -> Result<Claims, AccessError> {
        if token.len() > MAX_TOKEN {
            return Err(AccessError::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| AccessError::Invalid)?;
        let kid = header.kid.as_deref();
        // What must be understood (RFC 7515, 4.1.11) isn't: there are no extensions that we know.
        if header.crit.is_some() || kid.is_some_and(|kid| !is_key_id(kid)) {
            return Err(AccessError::Invalid);
        }
        match header.alg {
            Algorithm::HS256 => {
                let key = self.secret.as_ref().ok_or(AccessError::Invalid)?;
                self.policy.verify(token, key, Algorithm::HS256, kid)
            }
            Algorithm::RS256 | Algorithm::ES256 => {
                let (jwks, kid) = self.jwks.as_ref().zip(kid).ok_or(AccessError::Invalid)?;
                let key = jwks.key(kid).await?;
                let claims = self.policy.verify(token, key.decoding(), key.algorithm(), Some(kid))?;
                Ok(Claims { key: Some(kid.to_owned()), ..claims })
            }
            _ => Err(AccessError::Invalid),
        }
    }
}

impl Authenticate for JwtAuth {
    fn authenticate<'a>(&'a self, token: &'a str) -> Later<'a, Result<Claims, AccessError>> {
        Box::pin(async move { self.verify(token).await.inspect_err(|error| self.metrics.refused(*error)) })
    }

    fn revoked(&self, claims: &Claims) -> Later<'static, ()> {
        match (&self.jwks, &claims.key) {
            (Some(jwks), Some(kid)) => Box::pin(jwks.revoked(kid)),
            _ => Box::pin(std::future::pending()),
        }
    }
}

#[cfg(test)]
mod tests;
