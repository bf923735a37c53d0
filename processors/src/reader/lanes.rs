//! Where a scope's entries lie.
//!
//! Our producers place a card's records by its id, so that its partition can be computed; others may place them
//! elsewhere, and partitions get added. So where a card was seen is data, and is joined to what is computed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agentworks_kafka::partition_count;
use agentworks_schemas::topics::partition_of;
use agentworks_schemas::{Topic, TopicPartition};
use futures_util::future::try_join_all;

use super::makings::Making;
use super::stored::{CardOf, StoredTiers};
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

/// A partition in which entries of a scope may lie, as the store knows it.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) partition: TopicPartition,
    /// The making of its topic that is there now.
    pub(super) epoch: u32,
    /// What hot has come to, in whichever making.
    hot: Option<Seen>,
    /// Whether that was looked at after the card's records were looked for: what it has passed may be theirs.
    is_late: bool,
    /// What the runs sink has come to; `None` of a card, of whose runs nothing is asked.
    runs: Option<Seen>,
    /// Where the card was first seen, by making.
    of_card: BTreeMap<u32, i64>,
    /// Where the first of the run lies, and after the last, by making.
    of_run: BTreeMap<u32, (i64, i64)>,
}

impl Located {
    /// What hot and the runs sink have seen of a making; `None` if they stand in another.
    fn sinks(&self, epoch: u32) -> [Option<Seen>; 2] {
        [self.hot, self.runs].map(|seen| seen.filter(|seen| seen.epoch == epoch))
    }

    /// Up to where sinks have taken the making that is there now. Where brokers give no ids, a log that ends before that is
    /// another one.
    pub(super) fn taken(&self) -> i64 {
        self.sinks(self.epoch).into_iter().flatten().map(|seen| seen.high).max().unwrap_or_default()
    }

    /// Between which offsets something of the scope is known to have been in a making.
    fn known(&self, scope: &Scope, epoch: u32) -> Option<(i64, i64)> {
        if scope.run().is_some() {
            return self.of_run.get(&epoch).copied();
        }
        let first = *self.of_card.get(&epoch)?;
        // As long as hot hasn't left it, the card's last may lie anywhere before what hot has come to.
        let [hot, _] = self.sinks(epoch);
        Some((first, hot.map_or(0, |hot| hot.high).max(first + 1)))
    }
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

impl StoredTiers {
    /// How many partitions each topic has.
    pub(super) async fn partition_count(&self) -> Result<i32, ReadError> {
        let ask = async |_: &mut ()| partition_count(self.seek.settings()).await;
        match (self.count.get(REFRESH, ask).await, self.count.last()) {
            (Ok(count), _) => Ok(count),
            // Partitions only ever get more, and readers follow within seconds: an old number serves.
            (Err(error), Some(count)) if error.is_transient() => Ok(count),
            (Err(error), _) => Err(error.into()),
        }
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

    /// The partitions in which entries of `scope` may lie, in order: the store and the topics' ids tell.
    pub(super) async fn located(&self, scope: &Scope) -> Result<Vec<Located>, ReadError> {
        match card_of(scope) {
            Some(card) => self.located.look(card, self.locate(scope)).await,
            // Few ask for the same run at once.
            None => self.locate(scope).await,
        }
    }

    /// The same with where each begins, for which the log is asked, too, and the cold tier where others don't know.
    pub(super) async fn lanes(&self, scope: &Scope) -> Result<Vec<ScopeLane>, ReadError> {
        match card_of(scope) {
            Some(card) => self.card_lanes.look(card, self.begin_all(scope, true)).await,
            None => self.begin_all(scope, true).await,
        }
    }

    /// The same where the cold tier can't be reached: as if there were none.
    pub(super) async fn lanes_at_hand(&self, scope: &Scope) -> Result<Vec<ScopeLane>, ReadError> {
        self.begin_all(scope, false).await
    }

    async fn locate(&self, scope: &Scope) -> Result<Vec<Located>, ReadError> {
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

        let mut located = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let (hot, runs) = (hot.get(&partition).copied(), runs.get(&partition).copied());
            let of_card = seen.iter().filter(|lane| lane.partition == partition).map(|lane| (lane.epoch, lane.first));
            let parts = parts.iter().filter(|part| part.partition == partition);
            let of_run = parts.map(|part| (part.epoch, (part.first, part.applied)));
            let (of_card, of_run) = (BTreeMap::from_iter(of_card), BTreeMap::from_iter(of_run));
            // Where no sink has begun yet, or none has come to what there is now, the topic's record and its id tell.
            let seen = [hot.map(|held| held.epoch), runs.map(|held| held.epoch)].into_iter().flatten();
            let noted = seen.chain(of_card.keys().copied()).chain(of_run.keys().copied()).max();
            let epoch = self.present_of(partition.topic).await?.max(noted.unwrap_or_default());
            let is_late = late.contains(&partition);
            located.push(Located { partition, epoch, hot, is_late, runs, of_card, of_run });
        }
        Ok(located)
    }

    /// Finds out where lanes begin. Without the cold tier that is where others have something.
    async fn begin_all(&self, scope: &Scope, with_cold: bool) -> Result<Vec<ScopeLane>, ReadError> {
        let located = self.located(scope).await?;
        try_join_all(located.into_iter().map(|lane| self.begin(scope, lane, with_cold))).await
    }

    async fn begin(&self, scope: &Scope, lane: Located, with_cold: bool) -> Result<ScopeLane, ReadError> {
        let Located { partition, epoch, .. } = lane;
        let earlier = match with_cold {
            true => self.earlier(partition, epoch, scope.workspace()).await?,
            false => Vec::new(),
        };
        let earlier = earlier.iter().map(|held| Making::new(held, lane.known(scope, held.epoch))).collect();

        let [hot, runs] = lane.sinks(epoch);
        let high_of_hot = hot.filter(|_| !lane.is_late).map(|hot| hot.high);
        let reach = self.reach(partition, epoch, scope.workspace(), ([hot, runs], with_cold)).await?;
        let of_card = Seen::first(lane.of_card.get(&epoch).copied().or(high_of_hot), hot, reach);
        let first_of_run = lane.of_run.get(&epoch).map(|(first, _)| *first);
        let of_run = Seen::first(first_of_run.or(runs.map(|runs| runs.high)), runs, reach);
        // `None`, where nothing is known, is the least.
        let known = of_card.max(of_run);
        let floor = match known {
            Some(floor) => floor,
            None => self.watermarks(partition).await?.low.min(reach.unwrap_or(i64::MAX)),
        };
        Ok(ScopeLane { partition, epoch, floor, is_known: known.is_some(), earlier })
    }

    /// From which offset on anybody may have something of a partition: where the first of the sinks began, or the archive,
    /// which may be older than the store. `None` if nobody began.
    async fn reach(
        &self,
        partition: TopicPartition,
        epoch: u32,
        workspace: &str,
        (sinks, with_cold): ([Option<Seen>; 2], bool),
    ) -> Result<Option<i64>, ReadError> {
        let began = sinks.into_iter().flatten().map(|seen| seen.began).min();
        if began == Some(0) || !with_cold {
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

/// What looks are shared by; `None` of a run.
fn card_of(scope: &Scope) -> Option<CardOf> {
    match scope {
        Scope::Card { workspace, card } => Some((workspace.clone(), card.clone())),
        Scope::Run { .. } => None,
    }
}

fn holds_entries(partition: &TopicPartition) -> bool {
    Topic::LOGS.contains(&partition.topic)
}
