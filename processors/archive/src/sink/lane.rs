//! One lane of the sink.

use std::sync::Arc;

use agentworks_kafka::Batch;
use agentworks_processors::epochs::forgotten;
use agentworks_processors::lane::Held;
use agentworks_processors::sink::SinkError;
use agentworks_schemas::{Timestamp, TopicPartition};
use tokio::time::Instant;

use crate::encode::Share;
use crate::error::ArchiveError;
use crate::lanes;
use crate::pending::{Days, Pending};
use crate::table::{Change, CommitError, Move, Operation, Table};

/// A lane: what the table holds of it, and what waits.
#[derive(Debug)]
pub(super) struct Lane {
    /// What the table holds.
    pub(super) held: Held,
    /// The offset after the last one taken.
    taken: i64,
    days: Days,
    /// Shared with whoever encodes it.
    pub(super) pending: Arc<Pending>,
    /// Since when something waits.
    pub(super) since: Option<Instant>,
}

impl Lane {
    /// A lane that goes on where the table ends.
    pub(super) fn new(held: Held) -> Self {
        let days = Days::new(held.clock.time, held.high);
        Lane { taken: held.high, days, pending: Arc::default(), since: None, held }
    }

    /// Takes what is new of a batch.
    pub(super) fn take(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let at = Held { high: self.taken, ..self.held.clone() };
        if !at.is_new(batch)? {
            return Ok(());
        }
        let pending = Arc::make_mut(&mut self.pending);
        self.days.pass_all(batch, self.taken, |record, _| pending.push(record));
        self.taken = batch.to;
        self.since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Whether more has been taken than the table holds.
    pub(super) fn has_moved(&self) -> bool {
        self.taken > self.held.high
    }

    /// What is to be written.
    pub(super) fn share(&self) -> Share {
        Share {
            partition: self.held.partition,
            epoch: self.held.epoch,
            from: self.held.high,
            to: self.taken,
            days: self.days.clone(),
            pending: self.pending.clone(),
        }
    }

    /// All below `to` has been published, where the clock stands at `time`.
    pub(super) fn publish(&mut self, to: i64, time: Timestamp) -> Held {
        self.held.high = to;
        self.held.clock.time = time;
        self.forget();
        self.held.clone()
    }

    /// Another has published, up to where the table is now.
    pub(super) fn follow(&mut self, held: Held) {
        if held.high > self.taken {
            self.taken = held.high;
            self.days = Days::new(held.clock.time, held.high);
        }
        self.held = held;
        self.forget();
    }

    fn forget(&mut self) {
        let high = self.held.high;
        self.days.forget_below(high);
        if self.taken <= high {
            (self.pending, self.since) = (Arc::default(), None);
        } else {
            Arc::make_mut(&mut self.pending).forget_below(high);
        }
    }
}

/// Where the sink goes on in a lane. If the table holds nothing of it, it begins at `log_start`, and that is published.
pub(super) async fn begin(
    table: &Table,
    partition: TopicPartition,
    epoch: u32,
    log_start: i64,
) -> Result<Held, ArchiveError> {
    loop {
        let version = table.version().await?;
        if let Some(current) = lanes::current_epoch(table, &version, partition).await?
            && current > epoch
        {
            let reason = forgotten(lanes::NAME, current, partition.topic, epoch);
            return Err(ArchiveError::Position { partition, reason });
        }
        if let Some(held) = lanes::held(table, &version, partition, epoch, None).await? {
            if held.high < log_start {
                let reason = format!(
                    "{} has taken all below {}, and the log begins at {log_start}: records between were deleted untaken. \
                     Lengthen the retention; `agentworks topics adopt {} --skip-lost` goes on without them",
                    lanes::NAME,
                    held.high,
                    partition.topic
                );
                return Err(ArchiveError::Position { partition, reason });
            }
            return Ok(held);
        }
        let change = Change {
            operation: Operation::Append,
            add: Vec::new(),
            remove: Vec::new(),
            moves: vec![Move { name: lanes::high(partition, epoch), from: None, to: log_start }],
            record: vec![(lanes::low(partition, epoch), log_start), (lanes::epoch(partition), epoch.into())],
        };
        match table.commit(change).await {
            // What is recorded is read back above.
            Ok(_) | Err(CommitError::Moved(_) | CommitError::Gone(_)) => {}
            Err(CommitError::Fault(error)) => return Err(error),
        }
    }
}
