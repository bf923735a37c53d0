//! The tiers as they are.

use std::sync::Arc;

use agentworks_kafka::{SeekPool, SeekRequest, Watermarks};
use agentworks_schemas::TopicPartition;
use agentworks_schemas::protocol::RunSummary;
use agentworks_store::Store;
use async_trait::async_trait;

use super::lanes::{Located, ScopeLane};
use super::lately::Lately;
use super::metrics::ReaderMetrics;
use super::present::Present;
use super::shared::Shared;
use super::tiers::{LogScan, ScopeRange, Tier, Tiers};
use super::{ColdRange, ColdTier, ReadError, Scope};
use crate::blocks::{BlockReader, BlockScan, BlockStats, Last, StoredEntry};
use crate::erasure::Erasures;
use crate::hot::HOT;
use crate::lane::Held;
use crate::runs::RunReader;
use crate::sink::SinkError;
use crate::warm::WarmReader;

/// The store and the log.
#[derive(Debug)]
pub(super) struct StoredTiers {
    pub(super) store: Arc<dyn Store>,
    pub(super) seek: SeekPool,
    pub(super) runs: RunReader,
    pub(super) count: Lately<i32>,
    pub(super) erasures: Erasures,
    pub(super) metrics: ReaderMetrics,
    pub(super) hot: BlockReader,
    warm: WarmReader,
    pub(super) cold: Option<Arc<dyn ColdTier>>,
    /// Which making of each topic its log is of.
    pub(super) present: Present,
    /// In which partitions the entries of cards lie.
    pub(super) located: Shared<CardOf, Vec<Located>>,
    /// The same with where each begins.
    pub(super) card_lanes: Shared<CardOf, Vec<ScopeLane>>,
    /// The runs of cards that go on.
    pub(super) active: Shared<CardOf, Option<RunSummary>>,
}

/// A workspace and one of its cards.
pub(super) type CardOf = (String, String);

impl StoredTiers {
    pub(super) fn new(store: Arc<dyn Store>, seek: SeekPool, cold: Option<Arc<dyn ColdTier>>) -> Self {
        let erasures = Erasures::follow(store.clone());
        let runs = RunReader::new(store.clone()).erasures(erasures.clone());
        let (count, metrics) = (Lately::default(), ReaderMetrics::default());
        let hot = BlockReader::new(store.clone(), &HOT, metrics.skipped(Tier::Hot).clone());
        let warm = WarmReader::new(store.clone(), metrics.skipped(Tier::Warm).clone());
        let (located, card_lanes, active) = (Shared::default(), Shared::default(), Shared::default());
        let present = Present::default();
        StoredTiers {
            store,
            seek,
            runs,
            count,
            erasures,
            metrics,
            hot,
            warm,
            cold,
            present,
            located,
            card_lanes,
            active,
        }
    }
}

#[async_trait]
impl Tiers for StoredTiers {
    async fn held(
        &self,
        tier: Tier,
        partition: TopicPartition,
        epoch: u32,
        workspace: &str,
    ) -> Result<Option<Held>, ReadError> {
        Ok(match tier {
            Tier::Hot => self.hot.held(partition, workspace).await?,
            Tier::Warm => self.warm.held(partition, workspace).await?,
            Tier::Cold => match &self.cold {
                Some(cold) => cold.held(partition, epoch, workspace).await.map_err(ReadError::Cold)?,
                None => None,
            },
        })
    }

    async fn forward(
        &self,
        tier: Tier,
        held: &Held,
        range: &ScopeRange<'_>,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, ReadError> {
        let (scan, wanted) = (scan(tier, range), |stats: &BlockStats| range.may_be_in(stats));
        Ok(match (tier, range.scope) {
            (Tier::Cold, _) => match &self.cold {
                Some(cold) => cold.forward(range.cold(), limit).await.map_err(|error| range.failed(error))?,
                None => Vec::new(),
            },
            (Tier::Hot, _) => self.hot.forward(held, &scan, limit, &wanted).await?,
            (Tier::Warm, Scope::Run { .. }) => self.warm.runs().forward(held, &scan, limit, &wanted).await?,
            (Tier::Warm, Scope::Card { .. }) => self.warm.card_forward(held, &scan, limit, &wanted).await?,
        })
    }

    async fn backward(&self, tier: Tier, held: &Held, range: &ScopeRange<'_>, limit: usize) -> Result<Last, ReadError> {
        let (scan, wanted) = (scan(tier, range), |stats: &BlockStats| range.may_be_in(stats));
        Ok(match (tier, range.scope) {
            (Tier::Cold, _) => match &self.cold {
                Some(cold) => cold.backward(range.cold(), limit).await.map_err(|error| range.failed(error))?,
                None => Last::default(),
            },
            (Tier::Hot, _) => self.hot.backward(held, &scan, limit, &wanted).await?,
            (Tier::Warm, Scope::Run { .. }) => self.warm.runs().backward(held, &scan, limit, &wanted).await?,
            (Tier::Warm, Scope::Card { .. }) => self.warm.card_backward(held, &scan, limit, &wanted).await?,
        })
    }

    fn log(&self, request: SeekRequest) -> LogScan {
        LogScan::new(self.seek.read(request), self.metrics.clone())
    }

    async fn watermarks(&self, partition: TopicPartition) -> Result<Watermarks, ReadError> {
        Ok(self.seek.watermarks(partition).await?)
    }

    async fn present(&self, partition: TopicPartition) -> Result<u32, ReadError> {
        self.present_of(partition.topic).await
    }

    async fn floor(&self, scope: &Scope, partition: TopicPartition, epoch: u32) -> Result<i64, ReadError> {
        let lanes = self.lanes(scope).await?;
        let lane = lanes.iter().find(|lane| lane.partition == partition);
        Ok(lane.and_then(|lane| lane.first_of(epoch)).unwrap_or_default())
    }
}

impl ScopeRange<'_> {
    /// As the cold tier is asked.
    fn cold(&self) -> ColdRange<'_> {
        let &ScopeRange { scope, filter, partition, epoch, from, to } = self;
        ColdRange { scope, filter, partition, epoch, from, to }
    }

    /// The cold tier couldn't give it.
    fn failed(&self, error: SinkError) -> ReadError {
        match error {
            SinkError::Corrupt(reason) => {
                ReadError::Damaged { partition: self.partition, from: self.from, to: self.to, reason }
            }
            error => ReadError::Cold(error),
        }
    }
}

/// The owner of the blocks in which a tier has what is asked for, and where.
fn scan(tier: Tier, range: &ScopeRange<'_>) -> BlockScan {
    let &ScopeRange { scope, partition, epoch, from, to, .. } = range;
    let owner = match tier {
        Tier::Hot | Tier::Cold => scope.card(),
        // Of a card, warm finds the runs itself.
        Tier::Warm => scope.run().unwrap_or(scope.card()),
    };
    BlockScan { workspace: scope.workspace().to_owned(), owner: owner.to_owned(), partition, epoch, from, to }
}
