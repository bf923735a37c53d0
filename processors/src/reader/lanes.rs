//! Where a scope's entries lie.
//!
//! Our producers place a card's records by its id, so that its partition can be computed; others may place them
//! elsewhere, and partitions get added. So where a card was seen is data, and is joined to what is computed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use agentworks_kafka::{KafkaSettings, partition_count};
use agentworks_schemas::topics::partition_of;
use agentworks_schemas::{Topic, TopicPartition};
use futures_util::future::try_join_all;
use parking_lot::Mutex;

use super::makings::Making;
use super::stored::StoredTiers;
use super::tiers::{Tier, Tiers};
use super::{ReadError, Scope};
use crate::hot::{CardLane, card_lanes};
use crate::lane::Held;

/// How long the number of partitions is believed.
const REFRESH: Duration = Duration::from_secs(5);

/// A partition in which entries of a scope may lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScopeLane {
    pub(super) partition: TopicPartition,
    pub(super) epoch: u32,
    /// Nothing of the scope ever lay below.
    pub(super) floor: i64,
    /// Whether the store says so. If not, it is where the log begins now, and what lay before is not known.
    pub(super) is_known: bool,
    /// The makings of its topic before this epoch that can be read, from the first on.
    pub(super) earlier: Vec<Making>,
}

/// What of a partition a sink has seen, whether it still holds it or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) epoch: u32,
    began: i64,
    pub(super) high: i64,
}

impl Seen {
    fn of(held: &Held) -> Self {
        Seen { epoch: held.epoch, began: held.began, high: held.high }
    }

    /// Where the first of something lies, if a sink saw it first at `first`: not before `reach` if that is before where
    /// the sink began.
    fn first(first: Option<i64>, by: Option<Seen>, reach: Option<i64>) -> Option<i64> {
        let first = first?;
        match (by, reach) {
            (Some(seen), Some(reach)) if reach < seen.began => Some(reach.min(first)),
            _ => Some(first),
        }
    }
}

/// The number of partitions, asked for now and then, by one caller at a time.
#[derive(Debug, Default)]
pub(super) struct PartitionCount {
    known: Mutex<Option<(Instant, i32)>>,
    asking: tokio::sync::Mutex<()>,
}

impl PartitionCount {
    async fn get(&self, settings: &KafkaSettings) -> Result<i32, ReadError> {
        let known = || *self.known.lock();
        let is_fresh = |since: Instant| since.elapsed() < REFRESH;
        let _asking = match known() {
            Some((since, count)) if is_fresh(since) => return Ok(count),
            Some((_, count)) => match self.asking.try_lock() {
                Ok(asking) => asking,
                // Partitions only ever get more, and readers follow within seconds: an old number serves.
                Err(_) => return Ok(count),
            },
            None => self.asking.lock().await,
        };
        match known() {
            Some((since, count)) if is_fresh(since) => return Ok(count),
            _ => {}
        }
        match (partition_count(settings).await, known()) {
            (Ok(count), _) => {
                *self.known.lock() = Some((Instant::now(), count));
                Ok(count)
            }
            (Err(error), Some((_, count))) if error.is_transient() => Ok(count),
            (Err(error), _) => Err(error.into()),
        }
    }
}

impl StoredTiers {
    /// How many partitions each topic has.
    pub(super) async fn partition_count(&self) -> Result<i32, ReadError> {
        self.count.get(self.seek.settings()).await
    }

    /// The partition that a card's records are placed in, in each topic.
    pub(super) async fn computed(&self, card: &str) -> Result<i32, ReadError> {
        Ok(partition_of(card.as_bytes(), self.partition_count().await?))
    }

    /// The partitions where records of a card were seen.
    pub(super) async fn seen(&self, workspace: &str, card: &str) -> Result<Vec<CardLane>, ReadError> {
        let mut seen = card_lanes(self.store.as_ref(), workspace, card).await?;
        // A topic that was made again may have fewer partitions than it had.
        let count = self.partition_count().await?;
        seen.retain(|lane| lane.partition.partition < count);
        Ok(seen)
    }

    /// The partitions in which entries of `scope` may lie, in order.
    pub(super) async fn lanes(&self, scope: &Scope) -> Result<Vec<ScopeLane>, ReadError> {
        match scope {
            Scope::Card { workspace, card } => {
                let card_of = (workspace.clone(), card.clone());
                self.card_lanes.look(card_of, self.look_up_lanes(scope)).await
            }
            // Few ask for the same run at once.
            Scope::Run { .. } => self.look_up_lanes(scope).await,
        }
    }

    async fn look_up_lanes(&self, scope: &Scope) -> Result<Vec<ScopeLane>, ReadError> {
        let computed = self.computed(scope.card()).await?;
        let mut partitions: BTreeSet<_> = Topic::LOGS.map(|topic| TopicPartition::new(topic, computed)).into();
        // A sink publishes its position after what it holds. So where the position is read first, what isn't found then
        // isn't below it.
        let mut hot = self.hot_held(&partitions, scope.workspace()).await?;
        let seen = self.seen(scope.workspace(), scope.card()).await?;
        partitions.extend(seen.iter().map(|lane| lane.partition).filter(holds_entries));
        let late: BTreeSet<_> = partitions.iter().copied().filter(|partition| !hot.contains_key(partition)).collect();
        hot.extend(self.hot_held(&late, scope.workspace()).await?);
        let (runs, parts) = match scope.run() {
            Some(run) => {
                let held = self.runs_held(&partitions).await?;
                (held, self.runs.parts(scope.workspace(), run).await?)
            }
            None => (BTreeMap::new(), Vec::new()),
        };
        let count = self.partition_count().await?;
        partitions
            .extend(parts.iter().map(|part| part.partition).filter(|at| holds_entries(at) && at.partition < count));

        let lanes = partitions.into_iter().map(async |partition| {
            let hot_held = hot.get(&partition).copied();
            let runs_held = runs.get(&partition).copied();
            let seen = seen.iter().filter(|lane| lane.partition == partition);
            let parts = parts.iter().filter(|part| part.partition == partition);
            let noted = seen.clone().map(|lane| lane.epoch).chain(parts.clone().map(|part| part.epoch)).max();
            let epoch = hot_held.or(runs_held).map(|held| held.epoch).or(noted).unwrap_or_default();

            let seen_in = |of: u32| match scope.run() {
                Some(_) => parts.clone().find(|part| part.epoch == of).map(|part| (part.first, part.applied)),
                None => seen.clone().find(|lane| lane.epoch == of).map(|lane| (lane.first, lane.first + 1)),
            };
            let earlier = self.earlier(partition, epoch, scope.workspace()).await?;
            let earlier = earlier.iter().map(|held| Making::new(held, seen_in(held.epoch))).collect();

            let first_of_card = seen.clone().filter(|lane| lane.epoch == epoch).map(|lane| lane.first).min();
            let first_of_run = parts.clone().filter(|part| part.epoch == epoch).map(|part| part.first).min();
            let high_of_hot = hot_held.filter(|_| !late.contains(&partition)).map(|hot| hot.high);
            let runs_held = runs_held.filter(|runs| runs.epoch == epoch);
            let reach = self.reach(partition, epoch, scope.workspace(), [hot_held, runs_held]).await?;
            let of_card = Seen::first(first_of_card.or(high_of_hot), hot_held, reach);
            let of_run = Seen::first(first_of_run.or(runs_held.map(|runs| runs.high)), runs_held, reach);
            // `None`, where nothing is known, is the least.
            let known = of_card.max(of_run);
            let floor = match known {
                Some(floor) => floor,
                None => self.watermarks(partition).await?.low.min(reach.unwrap_or(i64::MAX)),
            };
            Ok::<_, ReadError>(ScopeLane { partition, epoch, floor, is_known: known.is_some(), earlier })
        });
        try_join_all(lanes).await
    }

    /// From which offset on anybody may have something of a partition: where the first of the sinks began, or the archive,
    /// which may be older than the store. `None` if nobody began.
    async fn reach(
        &self,
        partition: TopicPartition,
        epoch: u32,
        workspace: &str,
        sinks: [Option<Seen>; 2],
    ) -> Result<Option<i64>, ReadError> {
        let began = sinks.into_iter().flatten().map(|seen| seen.began).min();
        if began == Some(0) {
            return Ok(began);
        }
        let cold = self.held(Tier::Cold, partition, epoch, workspace).await?;
        let cold = cold.filter(|held| held.low < held.high).map(|held| held.low);
        Ok(began.into_iter().chain(cold).min())
    }

    /// What hot has seen of partitions.
    async fn hot_held(
        &self,
        of: &BTreeSet<TopicPartition>,
        workspace: &str,
    ) -> Result<BTreeMap<TopicPartition, Seen>, ReadError> {
        let held = try_join_all(of.iter().map(|partition| self.hot.held(*partition, workspace))).await?;
        Ok(held.into_iter().flatten().map(|held| (held.partition, Seen::of(&held))).collect())
    }

    /// What the runs sink has seen of partitions.
    pub(super) async fn runs_held(
        &self,
        of: &BTreeSet<TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Seen>, ReadError> {
        let held = try_join_all(of.iter().map(|partition| self.runs.held(*partition))).await?;
        Ok(held.into_iter().flatten().map(|held| (held.partition, Seen::of(&held))).collect())
    }
}

fn holds_entries(partition: &TopicPartition) -> bool {
    Topic::LOGS.contains(&partition.topic)
}
