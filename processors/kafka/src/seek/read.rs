//! A read on its way.

use std::sync::Arc;

use agentworks_schemas::codec::Schemas;
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::passed::{Notes, Passed};
use super::queue::Queue;
use super::{READY, SeekRequest};
use crate::batch::{Batch, BatchBuilder, may_be_of};
use crate::error::KafkaError;

/// A batch without records says after so many offsets how far the reading has come.
const MAX_SKIPPED: i64 = 20_000;

type Sender = mpsc::Sender<Result<Arc<Batch>, KafkaError>>;

/// A read, how far it has come, and who waits for it. Dropped unfinished, it tells its reader, who would take the end of
/// the channel for the end of the range.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) request: SeekRequest,
    /// Where the reading ends, once that is known: nothing lies between there and the request's `to`.
    pub(super) end: Option<i64>,
    builder: BatchBuilder,
    /// What it passes while it looks for a key, and that key's hash.
    notes: Option<(Notes, u64)>,
    /// A batch for which there was no room.
    full: Option<Arc<Batch>>,
    sender: Sender,
    /// Where the read is set aside until its reader has caught up.
    runtime: Handle,
    finished: bool,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is sent, or there was none.
    Yes,
    /// The reader has not yet taken those before.
    Full,
    /// There is no reader any more.
    Gone,
}

impl Read {
    pub(super) fn new(request: SeekRequest, passed: &Arc<Passed>, sender: Sender, runtime: Handle) -> Self {
        let notes = request
            .key
            .as_ref()
            .map(|key| (Notes::new(Arc::clone(passed), request.partition, request.epoch), passed.hash(key)));
        let builder = BatchBuilder::new(request.partition, request.epoch, request.from);
        Read { request, end: None, builder, notes, full: None, sender, runtime, finished: false }
    }

    /// The next offset to read.
    pub(super) fn next(&self) -> i64 {
        self.builder.next()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether as much was collected as one batch may hold.
    pub(super) fn is_full(&self) -> bool {
        self.builder.is_full() || self.skipped() >= MAX_SKIPPED
    }

    /// Whether records were collected that aren't sent yet.
    pub(super) fn has_records(&self) -> bool {
        !self.builder.is_empty()
    }

    fn skipped(&self) -> i64 {
        self.builder.next() - self.builder.from()
    }

    /// Takes a message that lies at `next` or after.
    pub(super) fn take(&mut self, message: &BorrowedMessage<'_>) {
        if let Some((notes, _)) = &mut self.notes {
            notes.note(message.offset(), message.key());
        }
        match &self.request.key {
            Some(key) if !may_be_of(key, message.key()) => self.builder.cover(message.offset() + 1),
            _ => self.builder.push(message),
        }
    }

    /// Says that no more lies before `end`.
    pub(super) fn cover(&mut self, end: i64) {
        if let Some((notes, _)) = &mut self.notes {
            notes.reach(end);
        }
        self.builder.cover(end);
    }

    /// Goes over what is known to have nothing of what is looked for, if that is `least` offsets or more before `end`, or
    /// all that is left. Whether it did.
    pub(super) fn skip(&mut self, least: i64, end: i64) -> bool {
        let Some((notes, key)) = &mut self.notes else { return false };
        let next = self.builder.next();
        let reached = notes.skip(*key, next).min(end);
        let skips = reached > next && (reached - next >= least || reached == end);
        if skips {
            self.builder.cover(reached);
            notes.begin(reached);
        }
        skips
    }

    /// From `next` on all records are passed.
    pub(super) fn begin(&mut self) {
        let next = self.builder.next();
        if let Some((notes, _)) = &mut self.notes {
            notes.begin(next);
        }
    }

    /// Has other reads know what was passed.
    pub(super) fn leave(&mut self) {
        if let Some((notes, _)) = &mut self.notes {
            notes.hand_over();
        }
    }

    /// Sends what was collected, also if no record was.
    pub(super) fn flush(&mut self) -> Sent {
        if self.full.is_none() && self.skipped() > 0 {
            self.full = Some(Arc::new(self.builder.split().build(Schemas::builtin())));
        }
        let Some(batch) = self.full.take() else { return Sent::Yes };
        match self.sender.try_send(Ok(batch)) {
            Ok(()) => Sent::Yes,
            Err(TrySendError::Closed(_)) => Sent::Gone,
            Err(TrySendError::Full(batch)) => {
                self.full = batch.ok();
                Sent::Full
            }
        }
    }

    /// Sets the read aside until its reader has taken half of what lies ready, then queues it again.
    pub(super) fn park(self: Box<Self>, queue: &Arc<Queue>) {
        let (runtime, queue, sender) = (self.runtime.clone(), queue.clone(), self.sender.clone());
        runtime.spawn(async move {
            if let Ok(permits) = sender.reserve_many(READY / 2).await {
                drop(permits);
                queue.put_back(self);
            }
        });
    }

    /// Ends the read: its range is exhausted, or its reader has gone.
    pub(super) fn finish(mut self) {
        self.finished = true;
    }

    /// Ends the read with an error, after what was collected.
    pub(super) fn fail(mut self, error: KafkaError) {
        self.finished = true;
        if self.flush() == Sent::Gone {
            return;
        }
        let (last, sender) = (self.full.take(), self.sender.clone());
        self.runtime.spawn(async move {
            // The reader may go meanwhile; then nobody is told.
            if let Some(batch) = last {
                let _ = sender.send(Ok(batch)).await;
            }
            let _ = sender.send(Err(error)).await;
        });
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        if self.finished || self.sender.is_closed() {
            return;
        }
        let sender = self.sender.clone();
        self.runtime.spawn(async move {
            let _ = sender.send(Err(KafkaError::Unavailable("the consumer has ended".into()))).await;
        });
    }
}
