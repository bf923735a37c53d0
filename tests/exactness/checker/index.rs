//! Which cards there are, where their records lie, and how far each sink has come.

use std::collections::{BTreeMap, BTreeSet};

use agentworks_processors::hot::{card_lanes, cards_of_workspace};
use agentworks_processors::lane;

use super::{Checker, Faults};

/// The sinks, by the names of their positions.
pub const SINKS: &[&str] = &["hot", "warm", "runs"];

/// How far a card's row may be behind, in milliseconds.
const REFRESH: i64 = 60_000;

impl Checker {
    /// Every sink holds every partition from its start to its end.
    pub(super) async fn check_positions(&self, faults: &mut Faults) {
        for (partition, (low, high)) in &self.truth.ends {
            for sink in SINKS {
                match lane::load(&*self.store, sink, *partition).await {
                    Ok(Some(held)) if (held.epoch, held.low, held.high) == (0, *low, *high) => {}
                    Ok(Some(held)) => faults.add(format!(
                        "{sink} holds {}..{} of {partition} in epoch {}, the log {low}..{high}",
                        held.low, held.high, held.epoch
                    )),
                    Ok(None) => faults.add(format!("{sink} has no position in {partition}")),
                    Err(error) => faults.add(format!("the position of {sink} in {partition}: {error}")),
                }
            }
        }
    }

    pub(super) async fn check_cards(&self, faults: &mut Faults) {
        for workspace in self.truth.workspaces() {
            let of_workspace = self.truth.cards.iter().filter(|((of, _), _)| of == workspace);
            let expected: BTreeMap<_, _> = of_workspace.map(|((_, card), told)| (card.as_str(), told)).collect();
            let found = match cards_of_workspace(&*self.store, workspace, usize::MAX).await {
                Ok(found) => found,
                Err(error) => {
                    faults.add(format!("the cards of {workspace}: {error}"));
                    continue;
                }
            };
            let names: BTreeSet<_> = found.iter().map(|card| card.card.as_str()).collect();
            let expected_names: BTreeSet<_> = expected.keys().copied().collect();
            if let Some(name) = names.symmetric_difference(&expected_names).next() {
                let side = if names.contains(name) { "store" } else { "topics" };
                faults.add(format!("the cards of {workspace}: only the {side} know {name}"));
            }
            for card in found {
                let Some(last) = expected.get(card.card.as_str()).and_then(|told| told.last) else { continue };
                if !(0..=REFRESH).contains(&(last.millis() - card.last_seen.millis())) {
                    faults.add(format!("card {workspace}/{} was last seen {last}, not {}", card.card, card.last_seen));
                }
            }
        }
        for ((workspace, card), expected) in &self.truth.cards {
            let surface = format!("the lanes of card {workspace}/{card}");
            match card_lanes(&*self.store, workspace, card).await {
                Ok(found) => {
                    let lanes: BTreeMap<_, _> = found.iter().map(|lane| (lane.partition, lane.first)).collect();
                    if lanes != expected.lanes || found.iter().any(|lane| lane.epoch != 0) {
                        faults.add(format!("{surface}: the topics have {:?}, the store {found:?}", expected.lanes));
                    }
                }
                Err(error) => faults.add(format!("{surface}: {error}")),
            }
        }
    }
}
