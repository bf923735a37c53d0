//! What the erasures hide, and following them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agentworks_schemas::Position;
use agentworks_store::{Store, StoreError};
use parking_lot::RwLock;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::journal::{self, Erasure, OVERLAP};

/// How long a process serves by what it last read of the journal. It then fails until it can read it again.
pub const LEASE: Duration = Duration::from_secs(5);

/// How often the journal is read.
const REFRESH: Duration = Duration::from_secs(1);

/// All erasures at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    by_workspace: HashMap<String, Vec<Arc<Erasure>>>,
    /// Those of them that are of all of their workspace.
    whole: HashMap<String, Vec<Arc<Erasure>>>,
    /// The last place of the journal that was read.
    last: i64,
}

impl View {
    /// Whether a record of `workspace` and `run` at a position is erased.
    pub fn hides(&self, workspace: &str, run: &str, position: Position) -> bool {
        // Nearly always there is nothing to look for.
        !self.by_workspace.is_empty()
            && self
                .by_workspace
                .get(workspace)
                .is_some_and(|erasures| erasures.iter().any(|erasure| erasure.hides(workspace, run, position)))
    }

    /// The erasures of all of a workspace, in no order.
    pub(crate) fn whole_of(&self, workspace: &str) -> &[Arc<Erasure>] {
        // Nearly always there is nothing to look for.
        if self.whole.is_empty() {
            return &[];
        }
        self.whole.get(workspace).map_or(&[], Vec::as_slice)
    }

    /// Whether nothing is erased.
    pub fn is_empty(&self) -> bool {
        self.by_workspace.is_empty()
    }

    /// The erasures in a workspace, by age.
    pub fn of(&self, workspace: &str) -> &[Arc<Erasure>] {
        self.by_workspace.get(workspace).map_or(&[], Vec::as_slice)
    }

    /// All erasures.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Erasure>> {
        self.by_workspace.values().flatten()
    }

    /// Adds an erasure, unless it is known.
    pub fn add(&mut self, erasure: Erasure) {
        let known = self.by_workspace.entry(erasure.workspace.clone()).or_default();
        if known.iter().all(|other| other.id != erasure.id) {
            let erasure = Arc::new(erasure);
            if erasure.is_of_workspace() {
                self.whole.entry(erasure.workspace.clone()).or_default().push(erasure.clone());
            }
            known.push(erasure);
            known.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        }
    }
}

/// Follows the journal. Cheap to clone; the following ends with the last clone.
#[derive(Clone, Debug)]
pub struct Erasures {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Arc<dyn Store>,
    /// When the last reading that succeeded was begun.
    state: RwLock<(Option<Instant>, Arc<View>)>,
    follower: RwLock<Option<JoinHandle<()>>>,
}

impl Erasures {
    /// Begins to follow the journal in `store`. Must be called within a Tokio runtime.
    pub fn follow(store: Arc<dyn Store>) -> Self {
        let shared = Arc::new(Shared { store, state: RwLock::default(), follower: RwLock::default() });
        let weak = Arc::downgrade(&shared);
        let follower = tokio::spawn(async move {
            let mut failing = false;
            while let Some(shared) = weak.upgrade() {
                let result = shared.refresh().await;
                drop(shared);
                match &result {
                    Err(error) if !failing => warn!(%error, "the journal of erasures can't be read"),
                    _ => {}
                }
                failing = result.is_err();
                sleep(if failing { REFRESH / 10 } else { REFRESH }).await;
            }
        });
        *shared.follower.write() = Some(follower);
        Erasures { shared }
    }

    /// What is hidden now. Whoever goes on reading asks again after a second or so.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the journal could not be read for [`LEASE`]: something might have been erased.
    pub async fn view(&self) -> Result<Arc<View>, StoreError> {
        if let Some(view) = self.current() {
            return Ok(view);
        }
        // Just begun, or the store was away: whoever asks needn't wait for the follower's turn.
        self.shared.refresh().await?;
        self.current().ok_or_else(|| StoreError::Unavailable("the journal of erasures is out of date".into()))
    }

    /// What is hidden now, if that is known; for threads that can't wait.
    pub fn current(&self) -> Option<Arc<View>> {
        let (begun, view) = &*self.shared.state.read();
        begun.filter(|begun| begun.elapsed() < LEASE).map(|_| view.clone())
    }

    /// Reads the journal now.
    pub(super) async fn refresh(&self) -> Result<(), StoreError> {
        self.shared.refresh().await
    }

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }
}

impl Shared {
    async fn refresh(&self) -> Result<(), StoreError> {
        let begun = Instant::now();
        let since = self.state.read().1.last.saturating_sub(OVERLAP).max(0);
        let erasures = journal::read(&*self.store, since).await?;
        let mut state = self.state.write();
        let last = erasures.last().map_or(0, |(place, _)| *place);
        let is_known = |erasure: &Erasure| state.1.of(&erasure.workspace).iter().any(|known| known.id == erasure.id);
        if last > state.1.last || !erasures.iter().all(|(_, erasure)| is_known(erasure)) {
            let mut view = View::clone(&state.1);
            view.last = view.last.max(last);
            erasures.into_iter().for_each(|(_, erasure)| view.add(erasure));
            state.1 = Arc::new(view);
        }
        state.0 = state.0.max(Some(begun));
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(follower) = self.follower.write().take() {
            follower.abort();
        }
    }
}
