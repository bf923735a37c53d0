//! Tokens, and what they allow.
//!
//! A token is a JWT. Its claims alone decide what its bearer may do: the workspace, the role and, where there is one,
//! the list of cards. Nothing here ever logs, prints or returns in an error any part of a token or of the secret.
//!
//! - [`secret`]: the shared secret, from the environment or a file.
//! - [`jwks`]: public keys that somebody else publishes.
//! - [`jwt`]: verifying a token, by whichever of our keys it names.
//! - [`claims`]: what it must say beside its signature; [`revoked`]: and mustn't be.
//! - [`mint`]: minting one.
//! - [`grant`]: the claims of a connection, which a newer token may change.
//! - [`bearer`]: finding the token in a request.
//! - [`origin`]: which web pages may connect.
//! - [`metrics`]: what is measured.

pub mod bearer;
pub mod claims;
pub mod grant;
#[cfg(test)]
#[path = "../../tests/support/issuer.rs"]
#[allow(clippy::unwrap_used, unreachable_pub, reason = "shared with the tests against real services")]
mod issuer;
pub mod jwks;
pub mod jwt;
pub mod metrics;
pub mod mint;
pub mod origin;
pub mod revoked;
pub mod secret;

pub use bearer::{SUBPROTOCOL, SUBPROTOCOL_TOKEN, bearer};
pub use claims::{AUDIENCE, Policy};
pub use grant::Grant;
pub use jwks::{Jwks, JwksConfig, JwksError};
pub use jwt::JwtAuth;
pub use mint::{MintError, mint};
pub use origin::origin_allowed;
pub use revoked::{Revoked, RevokedError};
pub use secret::{Secret, SecretError};
