//! Making erasures, and clearing the tiers.

#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::KafkaError;
use agentworks_kafka::dead_letter::erased;
use agentworks_schemas::{Cursor, Timestamp};
use agentworks_store::StoreError;
use async_trait::async_trait;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::journal::{self, Erasure, Target};
use super::receipt::{self, Clearing, Receipt, Tier, TierState};
use super::view::{Erasures, LEASE};
use super::{end, going_on};
use crate::blocks::Cleared;
use crate::epochs::EpochError;
use crate::lane;
use crate::reader::{LogReader, ReadError};
use crate::sink::SinkError;
use crate::{hot, runs, warm};

/// How much longer than the lease to wait: readers look at the view as they go from one piece of work to the next.
const GRACE: Duration = Duration::from_secs(1);

/// How often the tiers are looked at for something to clear.
const ROUND: Duration = Duration::from_secs(2);

/// A fault of erasing.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each is the fault of the part it names")]
pub enum EraseError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// A topic isn't the one whose records were taken, so that nobody can say up to where to erase.
    #[error("nothing was erased: {0}; then erase")]
    OtherLog(String),
    /// The workspace has no such run.
    #[error("there is no run {0:?} in this workspace")]
    UnknownRun(String),
}

/// A tier that lies elsewhere than in the store, and knows by itself how far it is and how it is cleared.
#[async_trait]
pub trait Clear: fmt::Debug + Send + Sync + 'static {
    /// Which one.
    fn tier(&self) -> Tier;

    /// Rewrites whatever holds anything of what was erased, without it, and adds what it replaced to `clearing`, also where
    /// it fails then. `None` if its sink hasn't gone past the erasure yet; else when at the latest the objects that had it
    /// are gone.
    ///
    /// # Errors
    /// The tier's; it is asked again, with the same `clearing`.
    async fn clear(&self, erasure: &Erasure, clearing: &mut Clearing) -> Result<Option<Timestamp>, SinkError>;
}

/// How long a tier that is damaged is left alone, at first and at most: to look at it costs as much as to clear it.
const PAUSES: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(300));

/// What clearing has come to from round to round.
#[derive(Debug, Default)]
struct Progress {
    /// Since when erasures have been known here, by id.
    known_since: HashMap<String, Instant>,
    /// The erasures that need no further look, by id.
    settled: HashSet<String>,
    /// Where the log ended when erasures could first be cleared, by id: by then all processes knew of them.
    ends: HashMap<String, Cursor>,
    /// Tiers that lie elsewhere and aren't cleared yet.
    begun: HashMap<(String, Tier), Begun>,
}

/// A tier that isn't cleared yet.
#[derive(Debug, Default)]
struct Begun {
    /// What has been replaced.
    clearing: Clearing,
    /// For how long it was left alone last, and until when.
    paused: Option<(Duration, Instant)>,
}

/// What couldn't be done in a round.
#[derive(Debug)]
struct Failure {
    /// Of which erasure.
    erasure: String,
    /// In which tier, if it isn't all of them.
    tier: Option<Tier>,
    error: EraseError,
}

/// Makes erasures and clears the tiers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Eraser {
    reader: LogReader,
    elsewhere: Arc<[Arc<dyn Clear>]>,
}

impl Eraser {
    /// An eraser of what `reader` reads.
    pub fn new(reader: LogReader) -> Self {
        Eraser { reader, elsewhere: Arc::new([]) }
    }

    /// The same, which clears these tiers, too.
    pub fn with(self, elsewhere: impl IntoIterator<Item = Arc<dyn Clear>>) -> Self {
        Eraser { elsewhere: elsewhere.into_iter().collect(), ..self }
    }

    /// All tiers that there are here.
    fn tiers(&self) -> impl Iterator<Item = Tier> {
        Tier::ALL.into_iter().chain(self.elsewhere.iter().map(|clear| clear.tier()))
    }

    /// Erases all that a workspace or one of its runs has on the log and in the tiers up to now. When this returns,
    /// nobody can read it any more; clearing the tiers is left to [`Eraser::work`]. Takes some seconds: see [`LEASE`].
    ///
    /// After an error it may have been made all the same; making it again does no harm, also where nothing of it is there
    /// any more.
    pub async fn erase(&self, workspace: &str, target: Target, by: &str) -> Result<Receipt, EraseError> {
        if let Target::Run(run) = &target
            && self.reader.run_summary(workspace, run, None).await?.is_none()
            && !self.is_erased(workspace, &target).await?
        {
            return Err(EraseError::UnknownRun(run.clone()));
        }
        let upto = end::end_of_log(&self.reader).await?;
        let erasure = Erasure::new(workspace, target, upto, by);
        let store = self.erasures().store();
        journal::write(&**store, &erasure).await?;
        info!(erasure = erasure.id, by, "erasing {erasure}");
        // At once, for who is about to redrive; if it can't be, it is tried again below.
        self.note_in_dead_letters(&erasure).await.unwrap_or_default();
        self.erasures().refresh().await?;
        sleep(LEASE + GRACE).await;
        self.promise(&erasure, Timestamp::now()).await?;
        Ok(receipt::read(&**store, &erasure).await?)
    }

    /// Whether the same was erased before. Whoever asked may not have been told, or may have died before all was done.
    async fn is_erased(&self, workspace: &str, target: &Target) -> Result<bool, EraseError> {
        let view = self.erasures().view().await?;
        Ok(view.of(workspace).iter().any(|erasure| erasure.target == *target))
    }

    /// The receipts of a workspace's erasures, by age.
    pub async fn receipts(&self, workspace: &str) -> Result<Vec<Receipt>, EraseError> {
        let (view, mut receipts) = (self.erasures().view().await?, Vec::new());
        for erasure in view.of(workspace) {
            receipts.push(receipt::read(&**self.erasures().store(), erasure).await?);
        }
        Ok(receipts)
    }

    /// The receipt of one erasure.
    pub async fn receipt(&self, workspace: &str, id: &str) -> Result<Option<Receipt>, EraseError> {
        let view = self.erasures().view().await?;
        match view.of(workspace).iter().find(|erasure| erasure.id == id) {
            Some(erasure) => Ok(Some(receipt::read(&**self.erasures().store(), erasure).await?)),
            None => Ok(None),
        }
    }

    /// Clears the tiers of what was erased, for ever. One process or several may do this; each goes on where another
    /// ended.
    pub async fn work(self) {
        let mut progress = Progress::default();
        loop {
            match self.round(&mut progress).await {
                Ok(failures) => {
                    for Failure { erasure, tier, error } in failures {
                        let tier = tier.map(Tier::as_str);
                        warn!(erasure, tier, %error, "clearing what was erased will be tried again");
                    }
                }
                Err(error) => warn!(%error, "clearing what was erased will be tried again"),
            }
            sleep(ROUND).await;
        }
    }

    /// Clears what can be cleared now. Each erasure is tried, and each tier of it, whatever becomes of the others; what
    /// failed is returned.
    async fn round(&self, progress: &mut Progress) -> Result<Vec<Failure>, EraseError> {
        let view = self.erasures().view().await?;
        let mut failures = Vec::new();
        for erasure in view.iter() {
            // By our own clock: whoever made it may have another.
            let since = *progress.known_since.entry(erasure.id.clone()).or_insert_with(Instant::now);
            if progress.settled.contains(&erasure.id) || since.elapsed() < LEASE + GRACE {
                continue;
            }
            if let Err(error) = self.clear_all(erasure, progress, &mut failures).await {
                failures.push(Failure { erasure: erasure.id.clone(), tier: None, error });
            }
        }
        Ok(failures)
    }

    /// Clears the tiers of one erasure, as far as can be now.
    async fn clear_all(
        &self,
        erasure: &Erasure,
        progress: &mut Progress,
        failures: &mut Vec<Failure>,
    ) -> Result<(), EraseError> {
        let store = self.erasures().store();
        let mut receipt = receipt::read(&**store, erasure).await?;
        if receipt.has(self.tiers()) && receipt.is_settled() {
            progress.settled.insert(erasure.id.clone());
            progress.ends.remove(&erasure.id);
            return Ok(());
        }
        if !receipt.has(self.tiers()) {
            // Whoever made the erasure died before it could say so, or knew of fewer tiers.
            self.promise(erasure, Timestamp::now()).await?;
            receipt = receipt::read(&**store, erasure).await?;
        }
        // In the order of the tiers: where runs lie in warm is found by what the runs sink knows.
        let mut is_warm_cleared = false;
        for state in &mut receipt.tiers {
            let tier = state.tier;
            let done = match self.elsewhere.iter().find(|clear| clear.tier() == tier) {
                _ if state.cleared.is_some() => Ok(()),
                Some(clear) => self.clear_elsewhere(&**clear, state, erasure, progress).await,
                None if tier == Tier::Runs && !is_warm_cleared => Ok(()),
                None => self.clear_here(state, erasure, progress).await,
            };
            is_warm_cleared |= done.is_ok() && tier == Tier::Warm && state.cleared.is_some();
            if let Err(error) = done {
                failures.push(Failure { erasure: erasure.id.clone(), tier: Some(tier), error });
            }
        }
        Ok(())
    }

    /// Whether the tier's sink has written all that lies before the erasure, so that nothing of it comes afterwards; and in
    /// warm, where runs are found by what the runs sink knows, that one too.
    pub(super) async fn has_passed(&self, tier: Tier, erasure: &Erasure) -> Result<bool, EraseError> {
        let sinks: &[Tier] = if tier == Tier::Warm { &[Tier::Warm, Tier::Runs] } else { &[tier] };
        for sink in sinks {
            if !self.is_past(*sink, &erasure.upto).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a sink has written all below a place in the log.
    async fn is_past(&self, sink: Tier, place: &Cursor) -> Result<bool, EraseError> {
        for (partition, epoch, next) in place.iter() {
            let held = lane::load(&**self.erasures().store(), sink.as_str(), partition).await?;
            // Where there is no position, no such sink is at work.
            if held.is_some_and(|held| (held.epoch, held.high) < (epoch, next)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Deletes what a tier of the store holds of what was erased, if its time has come, and writes that down.
    async fn clear_here(
        &self,
        state: &mut TierState,
        erasure: &Erasure,
        progress: &mut Progress,
    ) -> Result<(), EraseError> {
        if !may_clear(state.tier, erasure) || !self.has_passed(state.tier, erasure).await? {
            return Ok(());
        }
        let store = self.erasures().store();
        let Cleared { rows, until } = match state.tier {
            Tier::Hot => {
                going_on::list_anew(&self.reader, erasure).await?;
                hot::erase(store, erasure).await?
            }
            Tier::Warm => {
                // By now all rejects before the erasure are dead letters: behind the last of them it is noted once more.
                match self.note_in_dead_letters(erasure).await {
                    // Later: once warm is cleared, nobody comes back to it.
                    Err(error) if error.is_transient() => return Err(error.into()),
                    _ => {}
                }
                warm::erase(store, erasure).await?
            }
            Tier::Runs => {
                let end = match progress.ends.entry(erasure.id.clone()) {
                    Entry::Occupied(end) => end.into_mut(),
                    Entry::Vacant(none) => none.insert(end::end_of_log(&self.reader).await?),
                };
                // What the sink takes from now on it counts anew by itself.
                if !self.is_past(Tier::Runs, end).await? {
                    return Ok(());
                }
                going_on::count_anew(&self.reader, erasure, end).await?;
                Cleared { rows: runs::erase(store, erasure).await?, until: None }
            }
            // By others, if at all.
            Tier::Log | Tier::DeadLetters | Tier::Search | Tier::Archive => Cleared::default(),
        };
        let until = until.max(self.left(state.tier, erasure).await?);
        let now = Timestamp::now();
        let (gone_by, note) = match until {
            None => (now, "deleted; the store drops it from its files as it compacts them"),
            Some(until) => (
                Timestamp(until),
                "deleted, but for what later entries or further cards are found by, blocks that have later entries, and \
                 what lay in topics that have been made again since: that expires",
            ),
        };
        info!(erasure = erasure.id, tier = %state.tier, rows, "cleared");
        (state.gone_by, state.cleared, state.rows, state.note) = (Some(gone_by), Some(now), rows, note.to_owned());
        Ok(receipt::write(&**store, erasure, state).await?)
    }

    /// Has a tier cleared that lies elsewhere, if its time has come, and writes that down.
    async fn clear_elsewhere(
        &self,
        clear: &dyn Clear,
        state: &mut TierState,
        erasure: &Erasure,
        progress: &mut Progress,
    ) -> Result<(), EraseError> {
        let key = (erasure.id.clone(), state.tier);
        let begun = progress.begun.entry(key.clone()).or_default();
        if begun.paused.is_some_and(|(_, until)| Instant::now() < until) {
            return Ok(());
        }
        let gone_by = match clear.clear(erasure, &mut begun.clearing).await {
            Ok(Some(gone_by)) => gone_by,
            Ok(None) => return Ok(()),
            Err(error) => {
                if !error.is_transient() {
                    let pause = begun.paused.map_or(PAUSES.0, |(last, _)| (2 * last).min(PAUSES.1));
                    begun.paused = Some((pause, Instant::now() + pause));
                }
                return Err(error.into());
            }
        };
        let Clearing { rows, replaced } = begun.clearing.clone();
        info!(erasure = erasure.id, tier = %state.tier, rows, files = replaced.files, "cleared");
        (state.gone_by, state.cleared, state.rows) = (Some(gone_by), Some(Timestamp::now()), rows);
        state.replaced = Some(replaced);
        state.note = "rewritten without it; the objects that had it are deleted after a grace".to_owned();
        receipt::write(&**self.erasures().store(), erasure, state).await?;
        progress.begun.remove(&key);
        Ok(())
    }

    /// Writes down what can be said of each tier now that nobody can read what was erased.
    async fn promise(&self, erasure: &Erasure, unreadable_since: Timestamp) -> Result<(), EraseError> {
        let known = receipt::read(&**self.erasures().store(), erasure).await?;
        for tier in self.tiers().filter(|tier| !known.has([*tier])) {
            // Of a topic that can't be told nothing is promised, until it can.
            if tier == Tier::DeadLetters && self.note_in_dead_letters(erasure).await.is_err() {
                continue;
            }
            let (gone_by, note) = self.expiry(tier, erasure).await?;
            let state = TierState {
                tier,
                unreadable_since,
                gone_by,
                cleared: None,
                rows: 0,
                replaced: None,
                note: note.into(),
            };
            receipt::write(&**self.erasures().store(), erasure, &state).await?;
        }
        Ok(())
    }

    /// Tells whoever reads dead letters of an erasure.
    async fn note_in_dead_letters(&self, erasure: &Erasure) -> Result<(), KafkaError> {
        let noted = match serde_json::to_vec(erasure) {
            Ok(json) => erased::note(self.reader.kafka(), &erasure.id, &json).await,
            Err(error) => Err(KafkaError::Failed(error.to_string())),
        };
        if let Err(error) = &noted {
            warn!(erasure = erasure.id, %error, "`agentworks dlq` shows dead letters that were erased: the topic can't be told");
        }
        noted
    }

    pub(super) fn reader(&self) -> &LogReader {
        &self.reader
    }

    pub(super) fn erasures(&self) -> &Erasures {
        self.reader.erasures()
    }
}

/// Whether rows of a tier can be deleted for the sake of an erasure. Hot's blocks hold a card's entries, whatever their
/// run: there a run's go as they expire.
pub(super) fn may_clear(tier: Tier, erasure: &Erasure) -> bool {
    !matches!(
        (tier, &erasure.target),
        (Tier::Hot, Target::Run(_)) | (Tier::Log | Tier::DeadLetters | Tier::Search | Tier::Archive, _)
    )
}
