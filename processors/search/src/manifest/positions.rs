//! Where the index stands in the log, for those who look after all sinks.

use agentworks_processors::epochs::{SinkEpochs, SinkPositions};
use agentworks_processors::lane::Held;
use agentworks_processors::sink::SinkError;
use agentworks_schemas::{Topic, TopicPartition};
use async_trait::async_trait;

use super::{Change, Lane, LaneStart, Manifest};
use crate::error::SearchError;
use crate::indexer::NAME;

impl Lane {
    /// The same as the runtime has it.
    pub(crate) fn held(&self, partition: TopicPartition) -> Held {
        let mut held = Held::new(partition, self.epoch, self.low, None);
        held.high = self.high;
        held
    }
}

#[async_trait]
impl SinkEpochs for Manifest {
    async fn newest(&self, topic: Topic) -> Result<Option<u32>, SinkError> {
        let state = self.refresh().await?;
        Ok(state.lanes.iter().filter(|(partition, _)| partition.topic == topic).map(|(_, lane)| lane.epoch).max())
    }
}

#[async_trait]
impl SinkPositions for Manifest {
    fn sink(&self) -> &'static str {
        NAME
    }

    async fn position(&self, partition: TopicPartition) -> Result<Option<Held>, SinkError> {
        Ok(self.refresh().await?.lanes.get(&partition).map(|lane| lane.held(partition)))
    }

    async fn skip_lost(&self, partition: TopicPartition, epoch: u32, to: i64) -> Result<(), SinkError> {
        loop {
            let state = self.refresh().await?;
            let Some(before @ (_, high)) = state.position(partition).filter(|(own, _)| *own == epoch) else {
                return Ok(());
            };
            if high >= to {
                return Ok(());
            }
            let start = vec![LaneStart { partition, epoch, start: to, before: Some(before) }];
            match self.publish(&Change { start, ..Change::new("skip what was deleted untaken") }).await {
                Ok(_) => return Ok(()),
                Err(SearchError::Fenced(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
