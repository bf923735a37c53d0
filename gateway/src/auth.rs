//! Tokens, and what they allow.
//!
//! A token is a JWT. Its claims alone decide what its bearer may do: the workspace, the role and, where there is one,
//! the list of cards. Nothing here ever logs, prints or returns in an error any part of a token or of the secret.
//!
//! - [`secret`]: the shared secret, from the environment or a file.
//! - [`jwt`]: verifying a token, and minting one.
//! - [`bearer`]: finding the token in a request.
//! - [`origin`]: which web pages may connect.

pub mod bearer;
pub mod jwt;
pub mod origin;
pub mod secret;

pub use bearer::{SUBPROTOCOL, SUBPROTOCOL_TOKEN, bearer};
pub use jwt::{AUDIENCE, JwtAuth, MintError, mint};
pub use origin::origin_allowed;
pub use secret::{Secret, SecretError};
