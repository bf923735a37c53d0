//! Who may see what: what a token says, once somebody has verified it.

use std::future::{Future, pending};
use std::pin::Pin;

use serde::{Deserialize, Serialize};

/// What the bearer of a token may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    #[default]
    Viewer,
    /// Reads and writes.
    Writer,
    /// Reads, writes, and sees the service itself.
    Operator,
}

/// The verified claims of a token. They alone decide; there is no other list of rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The tenant that everything is limited to.
    pub workspace: String,
    /// Who it is.
    pub subject: String,
    /// What they may do.
    pub role: Role,
    /// The cards they may see; all of the workspace's if there is no list.
    pub cards: Option<Vec<String>>,
    /// When the token ends, in seconds since the Unix epoch.
    pub expires: i64,
    /// The id of the key that it was signed with (`kid`), if it has one.
    pub key: Option<String>,
    /// The token's own id (`jti`), if it has one.
    pub token_id: Option<String>,
}

impl Claims {
    /// Whether this bearer may read `card` of `workspace`.
    pub fn may_read(&self, workspace: &str, card: &str) -> bool {
        self.workspace == workspace && self.cards.as_ref().is_none_or(|cards| cards.iter().any(|c| c == card))
    }

    /// Whether this bearer may write to `card` of its workspace.
    pub fn may_write(&self, card: &str) -> bool {
        self.role >= Role::Writer && self.may_read(&self.workspace, card)
    }
}

/// Why a token is not taken. No variant carries any part of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// There is none.
    #[error("no token: send one as `Authorization: Bearer TOKEN`")]
    Missing,
    /// It is not a token, or signed by someone else.
    #[error("the token is not valid")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It is for another service.
    #[error("the token is for another audience")]
    Audience,
    /// It, its key or its bearer has been revoked.
    #[error("the token has been revoked")]
    Revoked,
    /// Whether it is valid can't be said now: the keys can't be had. Trying again may help.
    #[error("the keys that tokens are verified with can't be had now: try again")]
    Unavailable,
}

impl AccessError {
    /// A short stable name, for clients and metric labels.
    pub fn code(self) -> &'static str {
        match self {
            AccessError::Missing => "missing_token",
            AccessError::Invalid => "invalid_token",
            AccessError::Expired => "expired_token",
            AccessError::Audience => "wrong_audience",
            AccessError::Revoked => "revoked_token",
            AccessError::Unavailable => "unavailable",
        }
    }
}

/// The token in the value of an `Authorization` header, if its scheme is `Bearer` (RFC 6750, 2.1).
pub fn bearer_token(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Something that comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Verifies tokens. The gateway implements it for JWT; receivers take it as a trait so that they need no gateway.
pub trait Authenticate: Send + Sync + 'static {
    /// The claims of a token, if it is valid now. It may have to wait for a key, for some seconds at most.
    fn authenticate<'a>(&'a self, token: &'a str) -> Later<'a, Result<Claims, AccessError>>;

    /// Comes when a token that had these claims is revoked before its time; never, unless the verifier can tell.
    fn revoked(&self, claims: &Claims) -> Later<'static, ()> {
        let _ = claims;
        Box::pin(pending())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(role: Role, cards: Option<&[&str]>) -> Claims {
        Claims {
            workspace: "acme".into(),
            subject: "somebody".into(),
            role,
            cards: cards.map(|cards| cards.iter().map(|card| (*card).to_owned()).collect()),
            ..Claims::default()
        }
    }

    #[test]
    fn a_token_reaches_its_workspace_and_its_cards_only() {
        let all = claims(Role::Viewer, None);
        assert!(all.may_read("acme", "any") && !all.may_read("other", "any"));
        let one = claims(Role::Viewer, Some(&["card-1"]));
        assert!(one.may_read("acme", "card-1") && !one.may_read("acme", "card-2") && !one.may_read("other", "card-1"));
        assert!(!claims(Role::Operator, Some(&[])).may_read("acme", "card-1"));
    }

    #[test]
    fn viewers_do_not_write() {
        assert!(!claims(Role::Viewer, None).may_write("any"));
        assert!(claims(Role::Writer, None).may_write("any") && claims(Role::Operator, None).may_write("any"));
        assert!(!claims(Role::Writer, Some(&["card-1"])).may_write("card-2"));
    }
}
