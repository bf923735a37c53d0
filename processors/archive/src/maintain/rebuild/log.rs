//! The log, as far as files are restored from it.

use std::sync::Arc;

use agentworks_kafka::topics::describe_topics;
use agentworks_kafka::{Batch, KafkaError, SeekPool, SeekRequest};
use agentworks_processors::epochs::{Epochs, SinkEpochs};
use agentworks_schemas::{Topic, TopicPartition};
use agentworks_store::Store;
use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::error::ArchiveError;
use crate::maintain::Maintenance;
use crate::read::ArchiveReader;

/// A partition that the log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLane {
    /// Which.
    pub partition: TopicPartition,
    /// Which making of its topic.
    pub epoch: u32,
    /// The first offset that is there.
    pub from: i64,
    /// The offset after the last that is there.
    pub to: i64,
}

/// Batches of a range, as they come.
pub(super) type Batches = mpsc::Receiver<Result<Arc<Batch>, KafkaError>>;

/// The log that the archive was written from.
#[async_trait]
pub trait Log: Send + Sync {
    /// The partitions that it has now, in the makings of their topics that are known.
    async fn lanes(&self) -> Result<Vec<LogLane>, ArchiveError>;

    /// Reads a range; batches come in order and tile it.
    fn read(&self, partition: TopicPartition, epoch: u32, from: i64, to: i64) -> Batches;
}

/// The topics on Kafka.
pub struct KafkaLog {
    seek: SeekPool,
    epochs: Epochs,
}

impl KafkaLog {
    /// What `seek` reads; which makings of the topics that is, is recorded in `store`, or else told by the archive that
    /// `keeper` keeps.
    ///
    /// # Errors
    /// If a client can't be made.
    pub fn new(seek: SeekPool, store: Arc<dyn Store>, keeper: &Maintenance) -> Result<Self, ArchiveError> {
        let archive: Arc<dyn SinkEpochs> = Arc::new(ArchiveReader::new(&keeper.archive));
        let epochs = Epochs::new(store, seek.settings()).map_err(of_kafka)?.with([archive]);
        Ok(KafkaLog { seek, epochs })
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn lanes(&self) -> Result<Vec<LogLane>, ArchiveError> {
        let settings = self.seek.settings();
        let sights = self.epochs.look().await.map_err(|error| ArchiveError::Refused(error.to_string()))?;
        let topics = describe_topics(settings).await.map_err(of_kafka)?;
        let mut lanes = Vec::new();
        for topic in Topic::ALL {
            let name = settings.topics.name(topic);
            let Some(found) = topics.iter().find(|found| found.name == name) else { continue };
            // What was made anew and not adopted is another log.
            let Some(sight) = sights.get(&topic).filter(|sight| !sight.is_remade()) else { continue };
            for number in 0..found.partitions {
                let partition = TopicPartition::new(topic, number);
                let marks = self.seek.watermarks(partition).await.map_err(of_kafka)?;
                lanes.push(LogLane { partition, epoch: sight.recorded.epoch, from: marks.low, to: marks.high });
            }
        }
        Ok(lanes)
    }

    fn read(&self, partition: TopicPartition, epoch: u32, from: i64, to: i64) -> Batches {
        self.seek.read(SeekRequest { partition, epoch, from, to, key: None })
    }
}

/// A fault of the log. Whoever restores something is told at once.
pub(super) fn of_kafka(error: KafkaError) -> ArchiveError {
    ArchiveError::Refused(error.to_string())
}
