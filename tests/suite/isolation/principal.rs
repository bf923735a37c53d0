//! Who asks, what they must not see, and what they have stolen.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentworks_schemas::access::Role;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::Value;

use crate::support::stack::Stack;

/// The card that all tokens are for.
pub(super) const SHARED: &str = "shared";

/// The bearer of a token.
#[derive(Debug)]
pub(super) struct Principal {
    pub(super) name: String,
    pub(super) workspace: String,
    pub(super) token: String,
    /// Whether it sees one card only.
    pub(super) is_limited: bool,
    /// In everything that was written to the shared card.
    pub(super) canary: String,
    /// In everything that was written to other cards.
    pub(super) card_canary: String,
    forbidden: Vec<String>,
    own_seen: AtomicUsize,
}

/// Of two workspaces an operator, a viewer, and a viewer of one card.
pub(super) fn all(stack: &Stack) -> Vec<Arc<Principal>> {
    let workspaces = [format!("left{:08x}", rand::random::<u32>()), format!("right{:08x}", rand::random::<u32>())];
    let canaries =
        workspaces.clone().map(|workspace| [format!("Canary{workspace}Wide"), format!("Canary{workspace}Card")]);
    let kinds = [(Role::Operator, None), (Role::Viewer, None), (Role::Writer, Some(&[SHARED][..]))];
    let mut principals = Vec::new();
    for (index, workspace) in workspaces.iter().enumerate() {
        for (role, cards) in kinds {
            let [canary, card_canary] = canaries[index].clone();
            // The names of the other's too: they are in its canaries.
            let mut forbidden = vec![workspaces[1 - index].clone()];
            forbidden.extend(cards.is_some().then(|| card_canary.clone()));
            principals.push(Arc::new(Principal {
                name: format!("{workspace} {role:?}"),
                workspace: workspace.clone(),
                token: stack.token_with(workspace, role, cards, Duration::from_secs(3600)),
                is_limited: cards.is_some(),
                canary,
                card_canary,
                forbidden,
                own_seen: AtomicUsize::new(0),
            }));
        }
    }
    principals
}

impl Principal {
    /// Searches what this one was sent. What it has said itself may come back.
    pub(super) fn saw(&self, sent: &str, said: &[String], what: &dyn std::fmt::Debug) {
        for canary in &self.forbidden {
            if sent.contains(canary) {
                // A long text is looked at only now.
                let unsaid = said
                    .iter()
                    .filter(|said| !said.is_empty())
                    .fold(sent.to_owned(), |sent, said| sent.replace(said, ""));
                assert!(!unsaid.contains(canary), "{} sees {canary}\nafter {what:?}\nin {sent}", self.name);
            }
        }
        if sent.contains(&self.canary) {
            self.own_seen.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn own_seen(&self) -> usize {
        self.own_seen.load(Ordering::Relaxed)
    }
}

pub(super) fn seen(principals: &[Arc<Principal>]) -> Vec<usize> {
    principals.iter().map(|principal| principal.own_seen()).collect()
}

/// What anybody was given, for all to try.
#[derive(Debug, Default)]
pub(super) struct Loot {
    positions: Pile,
    sessions: Pile,
    pages: Pile,
    connections: Pile,
    erasures: Pile,
    cursors: Pile,
}

#[derive(Debug, Default)]
struct Pile(Mutex<BTreeSet<String>>);

impl Pile {
    fn add(&self, value: &Value) {
        let mut pile = self.0.lock().unwrap();
        if let Some(text) = value.as_str() {
            pile.insert(text.to_owned());
        }
        while pile.len() > 500 {
            pile.pop_first();
        }
    }

    fn any(&self, rng: &mut StdRng) -> String {
        let pile = self.0.lock().unwrap();
        let all: Vec<&String> = pile.iter().collect();
        all.choose(rng).map_or("AQ".to_owned(), |found| (*found).clone())
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Loot {
    /// Keeps what is in an answer or a frame.
    pub(super) fn take(&self, json: &Value) {
        match json {
            Value::Object(object) => {
                for (name, value) in object {
                    match name.as_str() {
                        "position" | "end" => self.positions.add(value),
                        "sessionId" => self.sessions.add(value),
                        // A page's is a position, or the listing's own.
                        "next" => {
                            self.pages.add(value);
                            self.positions.add(value);
                        }
                        "cursor" => self.cursors.add(value),
                        "connectionId" => self.connections.add(value),
                        "id" if object.contains_key("tiers") => self.erasures.add(value),
                        "data" | "entries" | "logs" | "runs" | "erasures" | "connections" => self.take(value),
                        _ => {}
                    }
                }
            }
            Value::Array(array) => array.iter().take(5).for_each(|value| self.take(value)),
            _ => {}
        }
    }

    pub(super) fn position(&self, rng: &mut StdRng) -> String {
        self.positions.any(rng)
    }

    pub(super) fn session(&self, rng: &mut StdRng) -> String {
        self.sessions.any(rng)
    }

    pub(super) fn page(&self, rng: &mut StdRng) -> String {
        self.pages.any(rng)
    }

    pub(super) fn cursor(&self, rng: &mut StdRng) -> String {
        self.cursors.any(rng)
    }

    pub(super) fn connection(&self, rng: &mut StdRng) -> String {
        self.connections.any(rng)
    }

    pub(super) fn erasure(&self, rng: &mut StdRng) -> String {
        self.erasures.any(rng)
    }

    /// Whether there was something to steal.
    pub(super) fn is_rich(&self) -> bool {
        let piles = [&self.positions, &self.sessions, &self.pages, &self.connections, &self.cursors];
        piles.iter().all(|pile| pile.len() > 3)
    }
}
