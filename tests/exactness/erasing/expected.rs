//! What is to be left of what the topics hold.

use std::collections::BTreeSet;

use agentworks_processors::reader::Scope;
use agentworks_store::{Key, Part};

use crate::truth::{Name, Told, Truth};

/// What is erased: a workspace, and runs of another. No run goes on afterwards.
#[derive(Debug)]
pub struct Erased {
    pub workspace: String,
    pub runs: Vec<Name>,
}

impl Erased {
    /// Whose entries are erased, all of them: every card of the workspace, and the runs.
    pub fn scopes(&self, then: &Truth) -> Vec<Scope> {
        let cards = then.cards.keys().filter(|(workspace, _)| *workspace == self.workspace);
        let cards = cards.map(|(workspace, card)| Scope::Card { workspace: workspace.clone(), card: card.clone() });
        let runs = self.runs.iter().map(|name| {
            let ((workspace, run), card) = (name.clone(), then.runs[name].card().to_owned());
            Scope::Run { workspace, run, card }
        });
        cards.chain(runs).collect()
    }

    /// Takes from what the topics hold now what was erased of what they held then.
    pub fn take_from(&self, now: &mut Truth, then: &Truth) {
        let is_erased = |name: &Name| name.0 == self.workspace || self.runs.contains(name);
        let runs = then.runs.iter().filter(|(name, _)| is_erased(name));
        let entries: BTreeSet<_> = runs.flat_map(|(_, run)| &run.entries).map(Told::position).collect();
        now.runs.retain(|name, _| !(is_erased(name) && then.runs.contains_key(name)));
        // A card of which nothing has come since is on no list any more.
        let goes_on = |name: &Name, last| then.cards.get(name).is_none_or(|before| before.last != last);
        now.cards.retain(|name, card| name.0 != self.workspace || goes_on(name, card.last));
        for card in now.cards.values_mut() {
            card.entries.retain(|told| !entries.contains(&told.position()));
        }
        now.entries = now.cards.values().map(|card| card.entries.len()).sum();
    }

    /// Whether a row is of the workspace.
    pub fn is_of_workspace(&self, key: &Key) -> bool {
        key.partition.first() == Some(&Part::Text(self.workspace.clone()))
    }

    /// Whether a row is of one of the runs.
    pub fn is_of_run(&self, key: &Key, (workspace, run): &Name) -> bool {
        let [of_workspace, of_run] = [workspace, run].map(|name| Part::Text(name.clone()));
        let mut others = key.partition.iter().skip(1).chain(&key.clustering);
        key.partition.first() == Some(&of_workspace) && others.any(|part| *part == of_run)
    }
}

/// The entries of a scope, as the topics hold them.
pub fn entries_of(truth: &Truth, scope: &Scope) -> Vec<Told> {
    let workspace = scope.workspace().to_owned();
    let entries = match scope.run() {
        Some(run) => truth.runs.get(&(workspace, run.to_owned())).map(|run| &run.entries),
        None => truth.cards.get(&(workspace, scope.card().to_owned())).map(|card| &card.entries),
    };
    entries.cloned().unwrap_or_default()
}
