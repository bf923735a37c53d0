//! Making erasures, and clearing the tiers.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::{KafkaError, describe_topics};
use agentworks_schemas::{Timestamp, Topic};
use agentworks_store::StoreError;
use async_trait::async_trait;
use tokio::time::sleep;
use tracing::{info, warn};

use super::journal::{self, Erasure, Target};
use super::receipt::{self, Receipt, Tier, TierState};
use super::view::{Erasures, LEASE};
use crate::blocks::Cleared;
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
    /// The workspace has no such run.
    #[error("there is no run {0:?} in this workspace")]
    UnknownRun(String),
}

/// A tier that lies elsewhere than in the store, and knows by itself how far it is and how it is cleared.
#[async_trait]
pub trait Clear: fmt::Debug + Send + Sync + 'static {
    /// Which one.
    fn tier(&self) -> Tier;

    /// Rewrites whatever holds anything of what was erased, without it. `None` if its sink hasn't gone past the erasure yet;
    /// else how many objects were rewritten, and when at the latest those that had it are gone.
    ///
    /// # Errors
    /// The tier's; it is asked again.
    async fn clear(&self, erasure: &Erasure) -> Result<Option<(u64, Timestamp)>, SinkError>;
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
    /// After an error it may have been made all the same; making it again does no harm.
    pub async fn erase(&self, workspace: &str, target: Target, by: &str) -> Result<Receipt, EraseError> {
        if let Target::Run(run) = &target
            && self.reader.run_summary(workspace, run, None).await?.is_none()
        {
            return Err(EraseError::UnknownRun(run.clone()));
        }
        let upto = self.reader.end_of_log().await?;
        let erasure = Erasure::new(workspace, target, upto, by);
        let store = self.erasures().store();
        journal::write(&**store, &erasure).await?;
        info!(erasure = erasure.id, by, "erasing {erasure}");
        self.erasures().refresh().await?;
        sleep(LEASE + GRACE).await;
        self.promise(&erasure, Timestamp::now()).await?;
        Ok(receipt::read(&**store, &erasure).await?)
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
        let mut settled = HashSet::new();
        loop {
            if let Err(error) = self.round(&mut settled).await {
                warn!(%error, "clearing what was erased will be tried again");
            }
            sleep(ROUND).await;
        }
    }

    /// Clears what can be cleared now. `settled` are the ids of the erasures that need no further look.
    async fn round(&self, settled: &mut HashSet<String>) -> Result<(), EraseError> {
        let view = self.erasures().view().await?;
        let store = self.erasures().store();
        for erasure in view.iter().filter(|erasure| Timestamp::now().since(erasure.at) >= LEASE + GRACE) {
            if settled.contains(&erasure.id) {
                continue;
            }
            let mut receipt = receipt::read(&**store, erasure).await?;
            if receipt.has(self.tiers()) && receipt.is_settled() {
                settled.insert(erasure.id.clone());
                continue;
            }
            if !receipt.has(self.tiers()) {
                // Whoever made the erasure died before it could say so, or knew of fewer tiers.
                self.promise(erasure, Timestamp::now()).await?;
                receipt = receipt::read(&**store, erasure).await?;
            }
            // In the order of the tiers: where runs lie in warm is found by what the runs sink knows.
            let mut is_warm_cleared = false;
            for state in &mut receipt.tiers {
                if let Some(clear) = self.elsewhere.iter().find(|clear| clear.tier() == state.tier) {
                    if state.cleared.is_none() {
                        self.clear_elsewhere(&**clear, state, erasure).await?;
                    }
                    continue;
                }
                let is_open = state.cleared.is_none() && may_clear(state.tier, erasure);
                let has_its_turn = state.tier != Tier::Runs || is_warm_cleared;
                if is_open && has_its_turn && self.has_passed(state.tier, erasure).await? {
                    self.clear(state, erasure).await?;
                }
                is_warm_cleared |= state.tier == Tier::Warm && state.cleared.is_some();
            }
        }
        Ok(())
    }

    /// Whether the tier's sink has written all that lies before the erasure, so that nothing of it comes afterwards.
    async fn has_passed(&self, tier: Tier, erasure: &Erasure) -> Result<bool, EraseError> {
        for (partition, epoch, next) in erasure.upto.iter() {
            let held = lane::load(&**self.erasures().store(), tier.as_str(), partition).await?;
            // Where there is no position, no such sink is at work.
            if held.is_some_and(|held| (held.epoch, held.high) < (epoch, next)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Deletes what a tier holds of what was erased, and writes that down.
    async fn clear(&self, state: &mut TierState, erasure: &Erasure) -> Result<(), EraseError> {
        let store = self.erasures().store();
        let Cleared { rows, until } = match state.tier {
            Tier::Hot => hot::erase(store, erasure).await?,
            Tier::Warm => warm::erase(store, erasure).await?,
            Tier::Runs => Cleared { rows: runs::erase(store, erasure).await?, until: None },
            // By others, if at all.
            Tier::Log | Tier::DeadLetters | Tier::Search | Tier::Archive => Cleared::default(),
        };
        let now = Timestamp::now();
        let (gone_by, note) = match until {
            None => (now, "deleted; the store drops it from its files as it compacts them"),
            Some(until) => (Timestamp(until), "deleted, but for blocks with later entries: they expire"),
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
    ) -> Result<(), EraseError> {
        let Some((objects, gone_by)) = clear.clear(erasure).await? else { return Ok(()) };
        info!(erasure = erasure.id, tier = %state.tier, objects, "cleared");
        (state.gone_by, state.cleared, state.rows) = (Some(gone_by), Some(Timestamp::now()), objects);
        state.note = "rewritten without it; the objects that had it are deleted after a grace".to_owned();
        Ok(receipt::write(&**self.erasures().store(), erasure, state).await?)
    }

    /// Writes down what can be said of each tier now that nobody can read what was erased.
    async fn promise(&self, erasure: &Erasure, unreadable_since: Timestamp) -> Result<(), EraseError> {
        for tier in self.tiers() {
            let (gone_by, note) = self.expiry(tier, erasure).await?;
            let state = TierState { tier, unreadable_since, gone_by, cleared: None, rows: 0, note: note.into() };
            receipt::write(&**self.erasures().store(), erasure, &state).await?;
        }
        Ok(())
    }

    /// When what a tier holds goes of itself, and how.
    async fn expiry(&self, tier: Tier, erasure: &Erasure) -> Result<(Option<Timestamp>, &'static str), EraseError> {
        Ok(match tier {
            Tier::Log => {
                let topics = &self.reader.kafka().topics;
                let kept = self.retention(&Topic::ALL.map(|topic| topics.name(topic))).await?;
                (kept.map(|kept| later(erasure.at, kept)), "goes with the topics' retention, segment by segment")
            }
            Tier::DeadLetters => {
                let kept = self.retention(&[self.reader.kafka().topics.dead_letters()]).await?;
                (kept.map(|kept| later(erasure.at, kept)), "rejected records go with that topic's retention")
            }
            Tier::Hot if !may_clear(tier, erasure) => {
                let kept = self.kept_in_hot(erasure).await?;
                (kept, "a block holds all runs of its card: goes as blocks expire")
            }
            Tier::Hot | Tier::Warm | Tier::Runs => (None, "is deleted as soon as the sink has gone past it"),
            Tier::Search | Tier::Archive => (None, "is rewritten without it as soon as the sink has gone past it"),
        })
    }

    /// When the last block in hot expires that may hold something of what was erased.
    async fn kept_in_hot(&self, erasure: &Erasure) -> Result<Option<Timestamp>, EraseError> {
        let mut last = None;
        for (partition, ..) in erasure.upto.iter() {
            let held = lane::load(&**self.erasures().store(), Tier::Hot.as_str(), partition).await?;
            let bucket = |held: &lane::Held| held.buckets.last().map(|(bucket, _)| *bucket);
            last = last.max(held.and_then(|held| held.expires_last(bucket(&held)?, &erasure.workspace)));
        }
        Ok(last.map(Timestamp))
    }

    /// How long the brokers keep records of topics, by age; `None` if one of them is kept by size alone, or for ever.
    async fn retention(&self, names: &[String]) -> Result<Option<Duration>, EraseError> {
        let infos = describe_topics(self.reader.kafka()).await?;
        let kept = infos.iter().filter(|info| names.contains(&info.name)).map(|info| {
            let setting = info.settings.iter().find(|(name, _)| name == "retention.ms");
            // -1 is for ever.
            setting.and_then(|(_, millis)| millis.parse().ok()).map(Duration::from_millis)
        });
        Ok(kept.collect::<Option<Vec<_>>>().and_then(|kept| kept.into_iter().max()))
    }

    fn erasures(&self) -> &Erasures {
        self.reader.erasures()
    }
}

/// Whether rows of a tier can be deleted for the sake of an erasure. Hot's blocks hold a card's entries, whatever their
/// run: there a run's go as they expire.
fn may_clear(tier: Tier, erasure: &Erasure) -> bool {
    !matches!(
        (tier, &erasure.target),
        (Tier::Hot, Target::Run(_)) | (Tier::Log | Tier::DeadLetters | Tier::Search | Tier::Archive, _)
    )
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp(at.millis().saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}
