//! The claims of a connection.

use std::sync::Arc;

use agentworks_schemas::access::Claims;
use parking_lot::RwLock;

/// What a connection may do now: the claims of its newest token. Clones are one, so that all that a connection does is
/// held to a newer token at once.
#[derive(Clone, Debug)]
pub struct Grant {
    /// It stays the same as long as the connection lasts.
    workspace: Arc<str>,
    claims: Arc<RwLock<Arc<Claims>>>,
}

impl Grant {
    /// What these claims allow.
    pub fn new(claims: Claims) -> Self {
        Grant { workspace: claims.workspace.as_str().into(), claims: Arc::new(RwLock::new(Arc::new(claims))) }
    }

    /// The workspace that everything is limited to.
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// The claims as they are now.
    pub fn claims(&self) -> Arc<Claims> {
        Arc::clone(&self.claims.read())
    }

    /// Whether `card` of `workspace` may be read now.
    pub fn may_read(&self, workspace: &str, card: &str) -> bool {
        self.claims.read().may_read(workspace, card)
    }

    /// Goes on under other claims, of the same bearer: whether they are, for otherwise nothing changes.
    pub fn renew(&self, claims: Claims) -> bool {
        let mut current = self.claims.write();
        let is_same = current.workspace == claims.workspace && current.subject == claims.subject;
        if is_same {
            *current = Arc::new(claims);
        }
        is_same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(workspace: &str, subject: &str, cards: &[&str]) -> Claims {
        let cards = Some(cards.iter().map(|&card| card.to_owned()).collect());
        Claims { workspace: workspace.to_owned(), subject: subject.to_owned(), cards, ..Claims::default() }
    }

    #[test]
    fn a_newer_token_counts_for_all_clones_at_once() {
        let grant = Grant::new(claims("acme", "ann", &["a", "b"]));
        let clone = grant.clone();
        assert!(clone.may_read("acme", "b") && !clone.may_read("acme", "c") && !clone.may_read("globex", "b"));
        assert!(grant.renew(claims("acme", "ann", &["a", "c"])));
        assert!(!clone.may_read("acme", "b") && clone.may_read("acme", "c"));
    }

    #[test]
    fn another_bearer_changes_nothing() {
        let grant = Grant::new(claims("acme", "ann", &["a"]));
        assert!(!grant.renew(claims("globex", "ann", &["b"])) && !grant.renew(claims("acme", "bob", &["b"])));
        assert!(grant.may_read("acme", "a") && !grant.may_read("acme", "b"));
        assert_eq!(grant.workspace(), "acme");
    }
}
