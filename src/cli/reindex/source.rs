//! The log, and the archive for what the log no longer has.

use std::sync::Arc;

use agentworks_archive::{ArchiveError, ArchiveReader, LaneRead};
use agentworks_kafka::{Batch, KafkaError, SeekPool, SeekRequest};
use agentworks_processors::epochs::{Epochs, Sight};
use agentworks_search::SearchError;
use agentworks_search::maintain::LogSource;
use agentworks_search::split::LaneRange;
use async_trait::async_trait;
use tokio::sync::mpsc::{self, Sender};

/// How many batches wait for whoever reads.
const READY: usize = 4;

/// What is read, or why it can't be.
type Read = Result<Arc<Batch>, SearchError>;

/// See the module.
#[derive(Debug)]
pub(super) struct LogAndArchive {
    seek: SeekPool,
    /// Which making of a topic the log is.
    epochs: Epochs,
    archive: Option<ArchiveReader>,
}

impl LogAndArchive {
    pub(super) fn new(seek: SeekPool, epochs: Epochs, archive: Option<ArchiveReader>) -> Self {
        LogAndArchive { seek, epochs, archive }
    }

    /// From where on the log has what it has of a range: from its end if that is of another making of the topic.
    async fn log_begins(&self, range: LaneRange) -> Result<i64, SearchError> {
        let sights = self.epochs.recent().await.map_err(|error| log_fault(error.is_transient(), error.to_string()))?;
        if !is_of(sights.get(&range.partition.topic), range.epoch) {
            return Ok(range.to);
        }
        let log = self.seek.watermarks(range.partition).await;
        let log = log.map_err(|error| log_fault(error.is_transient(), error.to_string()))?;
        Ok(log.low.clamp(range.from, range.to))
    }

    /// What the archive has of the beginning of a range that the log doesn't have; and where the log begins.
    async fn archived(&self, range: LaneRange) -> Result<(Option<LaneRead>, i64), SearchError> {
        let LaneRange { partition, epoch, from, .. } = range;
        let begins = self.log_begins(range).await?;
        let lane = match &self.archive {
            Some(archive) if from < begins => {
                Some(archive.lane(partition, epoch, from, begins).await.map_err(archive_fault)?)
            }
            _ => None,
        };
        Ok((lane, begins))
    }
}

/// Whether there is such a topic, and what lies in it is of this making.
fn is_of(sight: Option<&Sight>, epoch: u32) -> bool {
    sight.is_some_and(|sight| sight.is_of(epoch))
}

#[async_trait]
impl LogSource for LogAndArchive {
    async fn read(&self, range: LaneRange) -> mpsc::Receiver<Read> {
        let (sender, receiver) = mpsc::channel(READY);
        let (lane, begins) = match self.archived(range).await {
            Ok(archived) => archived,
            Err(error) => {
                // It has room.
                let _ = sender.try_send(Err(error));
                return receiver;
            }
        };
        let seek = self.seek.clone();
        tokio::spawn(async move {
            // Whoever reads sees where it ended.
            let next = match lane {
                Some(lane) => read_archive(lane, range.from, begins, &sender).await,
                None => range.from,
            };
            if begins <= next && next < range.to {
                read_log(&seek, LaneRange { from: next, ..range }, &sender).await;
            }
        });
        receiver
    }
}

/// Sends what the archive has up to an offset. Returns up to where that was.
async fn read_archive(mut lane: LaneRead, from: i64, to: i64, sender: &Sender<Read>) -> i64 {
    let mut next = from;
    while next < to {
        let batch = match lane.next().await {
            Ok(Some(batch)) => batch,
            Ok(None) => return next,
            Err(error) => {
                // If nobody reads, nobody need know.
                let _ = sender.send(Err(archive_fault(error))).await;
                return next;
            }
        };
        let end = batch.to;
        if sender.send(Ok(Arc::new(batch))).await.is_err() {
            return next;
        }
        next = end;
    }
    next
}

/// Sends what the log has of a range.
async fn read_log(seek: &SeekPool, range: LaneRange, sender: &Sender<Read>) {
    let LaneRange { partition, epoch, from, to } = range;
    let mut batches = seek.read(SeekRequest { partition, epoch, from, to, key: None });
    while let Some(batch) = batches.recv().await {
        let batch = match batch {
            // What isn't there is no fault of the log.
            Err(KafkaError::OutOfRange { .. }) => return,
            batch => batch.map_err(|error| log_fault(error.is_transient(), error.to_string())),
        };
        if sender.send(batch).await.is_err() {
            return;
        }
    }
}

fn archive_fault(error: ArchiveError) -> SearchError {
    log_fault(error.is_transient(), format!("the archive: {error}"))
}

fn log_fault(is_transient: bool, reason: String) -> SearchError {
    SearchError::Log { is_transient, reason }
}

#[cfg(test)]
mod tests {
    use agentworks_processors::epochs::Epoch;
    use agentworks_schemas::Timestamp;

    use super::*;

    #[test]
    fn the_log_is_read_for_what_was_in_this_making_alone() {
        let sight = |epoch, recorded: Option<&str>, there: Option<&str>| {
            let topic_id = recorded.map(str::to_owned);
            let recorded = Epoch { epoch, revision: 3, as_is: 0, topic_id, adopted: Timestamp(0) };
            Sight { recorded, topic_id: there.map(str::to_owned) }
        };
        let same = sight(1, Some("a"), Some("a"));
        assert!(is_of(Some(&same), 1) && !is_of(Some(&same), 0));
        assert!(is_of(Some(&sight(0, None, None)), 0), "brokers without ids");
        assert!(!is_of(Some(&sight(0, Some("a"), Some("b"))), 0), "made again, and not adopted");
        assert!(!is_of(None, 0), "there is no such topic");
    }
}
