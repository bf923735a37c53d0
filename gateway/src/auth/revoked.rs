//! Tokens that are not taken any more before their time: by key, by their own id, or by bearer.

use std::collections::HashSet;
use std::str::FromStr;

/// A list of what has been revoked, as it is configured.
///
/// A key of a JWKS document is revoked by taking it out of the document. This list is for all else: a single token, a
/// person who has left, a key whose document can't be changed at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    keys: HashSet<String>,
    tokens: HashSet<String>,
    /// `WORKSPACE/SUBJECT`.
    subjects: HashSet<String>,
}

/// Something on the list isn't of a form that it knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected kid:KEY, jti:TOKEN or sub:WORKSPACE/SUBJECT, several by commas")]
pub struct RevokedError;

impl Revoked {
    /// Reads the list: `kid:KEY`, `jti:TOKEN`, `sub:WORKSPACE/SUBJECT`.
    ///
    /// # Errors
    /// If one has another form.
    pub fn parse<'a>(items: impl IntoIterator<Item = &'a str>) -> Result<Self, RevokedError> {
        let mut revoked = Revoked::default();
        for item in items {
            let (kind, id) = item.trim().split_once(':').filter(|(_, id)| !id.is_empty()).ok_or(RevokedError)?;
            let ids = match kind {
                "kid" => &mut revoked.keys,
                "jti" => &mut revoked.tokens,
                "sub" if id.contains('/') => &mut revoked.subjects,
                _ => return Err(RevokedError),
            };
            ids.insert(id.to_owned());
        }
        Ok(revoked)
    }

    /// Whether a token is on the list: by the key that its header names, its own id, its workspace and subject.
    pub(super) fn holds(&self, key: Option<&str>, token: Option<&str>, workspace: &str, subject: &str) -> bool {
        let key = key.is_some_and(|key| self.keys.contains(key));
        let token = token.is_some_and(|token| self.tokens.contains(token));
        key || token || (!self.subjects.is_empty() && self.subjects.contains(&format!("{workspace}/{subject}")))
    }
}

impl FromStr for Revoked {
    type Err = RevokedError;

    fn from_str(list: &str) -> Result<Self, RevokedError> {
        Revoked::parse(list.split(',').filter(|item| !item.trim().is_empty()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_on_the_list_is_found_and_nothing_else() {
        let revoked: Revoked = "kid:2024-01, jti:t:1,sub:acme/ann".parse().unwrap();
        assert!(revoked.holds(Some("2024-01"), None, "acme", "bob"));
        assert!(revoked.holds(None, Some("t:1"), "acme", "bob"));
        assert!(revoked.holds(None, None, "acme", "ann"));
        assert!(!revoked.holds(Some("2024-02"), Some("t:2"), "acme", "bob"));
        assert!(!revoked.holds(Some("t:1"), Some("2024-01"), "globex", "ann"), "each kind has names of its own");
        assert!(!Revoked::default().holds(Some(""), Some(""), "", ""));
    }

    #[test]
    fn what_has_no_form_is_refused() {
        for wrong in ["ann", "kid:", "sub:ann", "user:ann", ":"] {
            assert_eq!(wrong.parse::<Revoked>(), Err(RevokedError), "{wrong}");
        }
        assert_eq!("".parse::<Revoked>(), Ok(Revoked::default()));
    }
}
