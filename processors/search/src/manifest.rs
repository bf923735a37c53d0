//! The manifest: which splits there are, and how far each lane is indexed.
//!
//! It is a row of numbered objects, `manifest/<20 digits>.json`, each made exclusively: version *n* says what changes from
//! version *n - 1*, and every [`SNAPSHOT_EVERY`]th one has all that there is as well. Positions live here alone, with the
//! splits that hold what lies before them; so a range is published once, however many indexers try.
//!
//! - `change`: what a version changes, and when it may.
//! - `state`: all that there is at a version.
//! - `files`: the objects.
//! - `positions`: where the lanes are, for those who look after all sinks.
//! - `publish`: making the next version, or finding out why not.
//! - `clean`: deleting old versions and splits that nothing names.

mod change;
mod clean;
mod files;
mod positions;
mod publish;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use agentworks_objects::Objects;
use parking_lot::RwLock;
use tokio::time::Instant;

pub use change::{Change, LaneStart};
pub use clean::{Deleted, Grace};
pub use state::{Lane, State};

use crate::error::SearchError;

/// Every so many versions there is one with all that there is.
pub const SNAPSHOT_EVERY: u64 = 32;

/// What is older than this is found anew by listing, for what follows on it may be deleted already; see
/// [`Manifest::clean`], which waits longer.
const FOLLOW: Duration = Duration::from_secs(600);

/// The manifest in a store. Clones share what they have read.
#[derive(Clone, Debug)]
pub struct Manifest {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    objects: Objects,
    known: RwLock<Known>,
    /// One reads at a time: the others have what it finds.
    reading: tokio::sync::Mutex<()>,
    conflicts: std::sync::atomic::AtomicU64,
}

#[derive(Debug)]
struct Known {
    state: Arc<State>,
    /// When it was the newest; `None` if it was never read.
    at: Option<Instant>,
}

impl Manifest {
    /// The manifest in `objects`, of which nothing is read yet.
    pub fn new(objects: Objects) -> Self {
        let known = RwLock::new(Known { state: Arc::default(), at: None });
        let shared = Shared { objects, known, reading: tokio::sync::Mutex::default(), conflicts: Default::default() };
        Manifest { shared: Arc::new(shared) }
    }

    /// Where the index lies.
    pub fn objects(&self) -> &Objects {
        &self.shared.objects
    }

    /// What was read last.
    pub fn current(&self) -> Arc<State> {
        self.shared.known.read().state.clone()
    }

    /// When that was the newest there was; `None` if nothing was read yet.
    pub fn read_at(&self) -> Option<Instant> {
        self.shared.known.read().at
    }

    /// How often others were quicker to make a version.
    pub fn conflicts(&self) -> u64 {
        self.shared.conflicts.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Reads what is new, and returns what there is: all that was published before this was called.
    ///
    /// # Errors
    /// The store's; or if a version can't be understood.
    pub async fn refresh(&self) -> Result<Arc<State>, SearchError> {
        let begun = Instant::now();
        let _reading = self.shared.reading.lock().await;
        let (mut state, at) = {
            let known = self.shared.known.read();
            (known.state.clone(), known.at)
        };
        if at.is_some_and(|at| at >= begun) {
            return Ok(state);
        }
        let begun = Instant::now();
        if at.is_none_or(|at| at.elapsed() > FOLLOW) {
            state = files::find(&self.shared.objects, &state).await?;
        }
        let state = files::follow(&self.shared.objects, state).await?;
        self.learn(state.clone(), begun);
        Ok(state)
    }

    /// What is known, if it was the newest not longer ago than `age`; else what is there now.
    ///
    /// # Errors
    /// As [`Manifest::refresh`].
    pub async fn recent(&self, age: Duration) -> Result<Arc<State>, SearchError> {
        match self.read_at() {
            Some(at) if at.elapsed() <= age => Ok(self.current()),
            _ => self.refresh().await,
        }
    }

    fn learn(&self, state: Arc<State>, at: Instant) {
        let mut known = self.shared.known.write();
        if state.version >= known.state.version {
            known.state = state;
            known.at = known.at.max(Some(at));
        }
    }
}
