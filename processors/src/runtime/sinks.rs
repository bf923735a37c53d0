//! The sinks of a runtime, and which of their calls are being made again.

use std::fmt;
use std::time::{Duration, Instant};

use agentworks_kafka::Batch;
use agentworks_schemas::{Topic, TopicPartition};
use futures_util::future::join_all;

use super::metrics::GroupMetrics;
use super::retry::Retry;
use crate::lane::Held;
use crate::sink::{Flush, Sink, SinkError};

/// What became of a call.
#[derive(Debug)]
pub(super) enum Outcome<T> {
    /// It has been made.
    Done(T),
    /// It is to be made again.
    Later,
    /// It will never succeed.
    Failed(SinkError),
}

/// A sink and the state of its calls.
pub(super) struct SinkSlot {
    sink: Box<dyn Sink>,
    pub(super) name: &'static str,
    /// The call that failed last: it is made again before any other.
    failed: Option<(Call, Retry)>,
    /// Why the sink is not called any more, if so.
    pub(super) stopped: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// [`Sink::take`], of the batch that is still at the head of the queue.
    Take,
    /// [`Sink::flush`].
    Flush(Flush),
}

impl SinkSlot {
    pub(super) fn new(sink: Box<dyn Sink>) -> Self {
        SinkSlot { name: sink.name(), sink, failed: None, stopped: None }
    }

    pub(super) fn takes(&self, topic: Topic) -> bool {
        self.sink.topics().contains(&topic)
    }

    pub(super) fn pending(&self) -> usize {
        if self.stopped.is_some() { 0 } else { self.sink.pending() }
    }

    /// Whether the sink can take a batch now.
    pub(super) fn is_free(&self, now: Instant) -> bool {
        match &self.failed {
            Some((Call::Take, retry)) => retry.at <= now,
            Some((Call::Flush(_), _)) => false,
            None => true,
        }
    }

    /// When a call is to be made again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.failed.as_ref().map(|(_, retry)| retry.at)
    }

    /// The error because of which a call is made again.
    pub(super) fn error(&self) -> Option<&str> {
        self.failed.as_ref().map(|(_, retry)| retry.error.as_str())
    }

    /// Opens a partition. Whoever opens makes the call again, with everything that belongs to it.
    pub(super) async fn open(
        &mut self,
        partition: TopicPartition,
        epoch: u32,
        log_start: i64,
    ) -> Result<Held, SinkError> {
        self.sink.open(partition, epoch, log_start).await
    }

    /// Never calls the sink again but to close partitions.
    pub(super) fn stop(&mut self, reason: String) {
        self.failed = None;
        self.stopped = Some(reason);
    }

    /// The batch that the sink could not take is gone.
    pub(super) fn forget_take(&mut self) {
        self.failed.take_if(|(call, _)| *call == Call::Take);
    }

    pub(super) fn close(&mut self, partition: TopicPartition) {
        self.sink.close(partition);
    }

    pub(super) async fn take(&mut self, batch: &Batch, metrics: &GroupMetrics) -> Outcome<()> {
        let result = self.sink.take(batch).await;
        self.outcome(Call::Take, result, metrics)
    }

    /// Flushes, unless an earlier call is still to be made again.
    pub(super) async fn flush(&mut self, what: Flush, metrics: &GroupMetrics) -> Outcome<Vec<Held>> {
        if self.failed.is_some() {
            return Outcome::Later;
        }
        let result = self.sink.flush(what).await;
        self.outcome(Call::Flush(what), result, metrics)
    }

    /// Flushes one partition that is about to be given up, whatever else is to be made again.
    pub(super) async fn flush_last(&mut self, partition: TopicPartition) -> Result<Vec<Held>, SinkError> {
        self.sink.flush(Flush::Partition(partition)).await
    }

    /// Makes the failed flush again if its time has come, else flushes what is due.
    async fn tick(&mut self, now: Instant, is_busy: bool, metrics: &GroupMetrics) -> Outcome<Vec<Held>> {
        let what = match &self.failed {
            _ if self.stopped.is_some() => return Outcome::Later,
            None if is_busy => Flush::Begin,
            None => Flush::Due,
            Some((Call::Flush(what), retry)) if retry.at <= now => *what,
            Some(_) => return Outcome::Later,
        };
        let result = self.sink.flush(what).await;
        self.outcome(Call::Flush(what), result, metrics)
    }

    fn outcome<T>(&mut self, call: Call, result: Result<T, SinkError>, metrics: &GroupMetrics) -> Outcome<T> {
        let before = self.failed.take().map(|(_, retry)| retry);
        match result {
            Ok(value) => {
                if before.is_some() {
                    tracing::info!(sink = self.name, "the sink has recovered");
                }
                Outcome::Done(value)
            }
            Err(error) if error.is_transient() => {
                metrics.retry(self.name);
                let retry = Retry::after(before, error.to_string());
                tracing::warn!(sink = self.name, %error, "will be tried again");
                self.failed = Some((call, retry));
                Outcome::Later
            }
            Err(error) => Outcome::Failed(error),
        }
    }
}

impl fmt::Debug for SinkSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkSlot")
            .field("name", &self.name)
            .field("failed", &self.failed)
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

/// Flushes what is due in all sinks, at the same time, and makes failed flushes again. If they are busy, there are batches
/// for them to take. How long each took is beside its outcome.
pub(super) async fn tick(
    slots: &mut [SinkSlot],
    is_busy: bool,
    metrics: &GroupMetrics,
) -> Vec<(Outcome<Vec<Held>>, Duration)> {
    let now = Instant::now();
    join_all(slots.iter_mut().map(async |slot| (slot.tick(now, is_busy, metrics).await, now.elapsed()))).await
}
