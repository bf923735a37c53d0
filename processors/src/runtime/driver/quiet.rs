//! Offsets without records at the end of a log: transactions' markers, what an aborted one wrote, what compaction took.
//!
//! librdkafka reads over them without a word, and its wrapper doesn't say of which topic a partition's end was reached. A
//! position that stays before them would look like lag, and once retention has deleted them, like loss. So where nothing
//! comes although the log is said to go on, a seeking reader has a second look: it reads to the end that is stable, and
//! what it finds to be empty counts as taken.

use std::sync::Arc;

use agentworks_kafka::{Batch, KafkaError, SeekRequest};
use agentworks_schemas::TopicPartition;
use tokio::sync::mpsc::Receiver;
use tracing::debug;

use super::Driver;
use crate::runtime::lane::{Lane, Phase};
use crate::runtime::message::{Assignment, ToConsumer};

impl Driver {
    /// Looks for records from `from` on; the answer goes to the consumer's thread.
    pub(super) fn look_behind(&self, partition: TopicPartition, assignment: Assignment, from: i64) {
        let is_read = |lane: &&Lane| lane.assignment == assignment && matches!(lane.phase, Phase::Reading);
        let Some(lane) = self.lanes.get(&partition).filter(is_read) else { return };
        let epoch = lane.epoch.as_ref().map_or(0, |recorded| recorded.epoch);
        let batches = self.log.seek.read(SeekRequest { partition, epoch, from, to: i64::MAX, key: None });
        let consumer = self.consumer.clone();
        tokio::spawn(async move {
            let to = match empty_up_to(batches, from).await {
                // An open transaction, or a record that is on its way: when the log goes on, that is asked again.
                Ok(to) if to == from => return,
                Ok(to) => to,
                Err(error) => {
                    debug!(%partition, from, %error, "the end of a log could not be looked at");
                    from
                }
            };
            // The thread may have ended meanwhile.
            let _ = consumer.send(ToConsumer::Cover { partition, assignment, from, to });
        });
    }
}

/// Up to which offset there is no record.
async fn empty_up_to(mut batches: Receiver<Result<Arc<Batch>, KafkaError>>, from: i64) -> Result<i64, KafkaError> {
    let mut to = from;
    while let Some(batch) = batches.recv().await {
        let batch = batch?;
        if !batch.records().is_empty() || !batch.rejects().is_empty() {
            break;
        }
        to = batch.to;
    }
    Ok(to)
}
