//! The log, and the archive for what the log no longer has.

use std::sync::Arc;

use agentworks_archive::{ArchiveError, ArchiveReader, LaneRead};
use agentworks_kafka::{Batch, SeekPool};
use agentworks_search::SearchError;
use agentworks_search::maintain::LogSource;
use agentworks_search::searcher::SeekTail;
use agentworks_search::split::LaneRange;
use async_trait::async_trait;
use tokio::sync::mpsc;

/// How many batches wait for whoever reads.
const READY: usize = 4;

/// See the module.
#[derive(Debug)]
pub(super) struct LogAndArchive {
    seek: SeekPool,
    log: SeekTail,
    archive: Option<ArchiveReader>,
}

impl LogAndArchive {
    pub(super) fn new(seek: SeekPool, archive: Option<ArchiveReader>) -> Self {
        LogAndArchive { log: SeekTail::new(seek.clone()), seek, archive }
    }

    /// What the archive has of the beginning of a range, where the log doesn't begin before that; and where it does.
    async fn archived(&self, range: LaneRange) -> Result<Option<(LaneRead, i64)>, SearchError> {
        let Some(archive) = &self.archive else { return Ok(None) };
        let LaneRange { partition, epoch, from, to } = range;
        let log = self.seek.watermarks(partition).await;
        let log = log.map_err(|error| log_fault(error.is_transient(), error.to_string()))?;
        if log.low <= from {
            return Ok(None);
        }
        let to = log.low.min(to);
        Ok(Some((archive.lane(partition, epoch, from, to).await.map_err(fault)?, to)))
    }
}

#[async_trait]
impl LogSource for LogAndArchive {
    async fn read(&self, range: LaneRange) -> mpsc::Receiver<Result<Arc<Batch>, SearchError>> {
        let (sender, receiver) = mpsc::channel(READY);
        let (mut lane, to) = match self.archived(range).await {
            Ok(None) => return self.log.read(range).await,
            Ok(Some(archived)) => archived,
            Err(error) => {
                // It has room.
                let _ = sender.try_send(Err(error));
                return receiver;
            }
        };
        let log = self.log.clone();
        tokio::spawn(async move {
            let mut next = range.from;
            while next < to {
                let batch = match lane.next().await {
                    Ok(Some(batch)) => {
                        next = batch.to;
                        Ok(Arc::new(batch))
                    }
                    // Whoever reads sees where it ended.
                    Ok(None) => return,
                    Err(error) => Err(fault(error)),
                };
                if sender.send(batch).await.is_err() {
                    return;
                }
            }
            if next < range.to {
                let mut rest = log.read(LaneRange { from: next, ..range }).await;
                while let Some(batch) = rest.recv().await {
                    if sender.send(batch).await.is_err() {
                        return;
                    }
                }
            }
        });
        receiver
    }
}

fn fault(error: ArchiveError) -> SearchError {
    log_fault(error.is_transient(), format!("the archive: {error}"))
}

fn log_fault(is_transient: bool, reason: String) -> SearchError {
    SearchError::Log { is_transient, reason }
}
