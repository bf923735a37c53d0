//! Holds the store to the topics: whatever was killed on the way, both hold the same.
//!
//! - `entries`: every card's entries, bijective on their positions, with equal bytes, from hot and from warm
//!   (`without_hot`); those of some runs, too.
//! - `runs`: summaries, listings and marks, against a recount.
//! - `index`: cards, where their records lie, and how far each sink has come.

mod entries;
mod index;
mod runs;
mod without_hot;

use std::fmt;
use std::sync::Arc;

use agentworks_kafka::{KafkaSettings, SeekPool};
use agentworks_processors::reader::LogReader;
use agentworks_store::Store;

use crate::truth::Truth;
pub use entries::{first_difference, read_with_gaps};
pub use index::SINKS;
use without_hot::WithoutHot;

/// Compares one store with the topics that it was filled from. Everything must have settled.
#[derive(Debug)]
pub struct Checker {
    pub truth: Truth,
    pub store: Arc<dyn Store>,
    pub reader: LogReader,
    /// A reader that doesn't know of hot, and so takes all from warm.
    without_hot: LogReader,
    /// From where samples are drawn, where looking at everything would take too long.
    seed: u64,
}

/// How much was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "printed")]
pub struct Checked {
    pub entries: usize,
    pub cards: usize,
    pub runs: usize,
    pub partitions: usize,
}

/// What differs.
#[derive(Debug, Default)]
pub struct Faults(Vec<String>);

/// So many are shown.
const SHOWN: usize = 12;

impl Checker {
    /// Reads the topics as they are now.
    pub async fn new(settings: &KafkaSettings, store: Arc<dyn Store>, seed: u64) -> Self {
        let truth = Truth::read(settings).await;
        let seek = SeekPool::new(settings.clone(), 2);
        let reader = LogReader::new(store.clone(), seek.clone());
        let without_hot = LogReader::new(Arc::new(WithoutHot(store.clone())), seek);
        Checker { truth, store, reader, without_hot, seed }
    }

    /// Compares everything.
    pub async fn check(&self) -> Result<Checked, Faults> {
        let mut faults = Faults::default();
        self.check_positions(&mut faults).await;
        self.check_cards(&mut faults).await;
        self.check_entries(&mut faults).await;
        self.check_run_entries(&mut faults).await;
        self.check_runs(&mut faults).await;
        self.check_parts(&mut faults).await;
        self.check_marks(&mut faults).await;
        let Truth { cards, runs, ends, entries, .. } = &self.truth;
        let checked = Checked { entries: *entries, cards: cards.len(), runs: runs.len(), partitions: ends.len() };
        if faults.0.is_empty() { Ok(checked) } else { Err(faults) }
    }
}

impl Faults {
    fn add(&mut self, fault: impl Into<String>) {
        self.0.push(fault.into());
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store and the topics differ in {} places:", self.0.len())?;
        self.0.iter().take(SHOWN).try_for_each(|fault| write!(f, "\n  {fault}"))?;
        if self.0.len() > SHOWN {
            write!(f, "\n  … and {} more", self.0.len() - SHOWN)?;
        }
        Ok(())
    }
}
