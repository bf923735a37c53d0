//! Who waits for which acknowledgement.
//!
//! Kafka's client carries one machine word with each entry and gives it back with the result. A channel per entry would
//! fit into it, at two allocations for each; a ticket, the index of a slot that is used again and again, needs none.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use agentworks_schemas::{Topic, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::budget::Cost;
use super::error::DeliveryError;

/// Where Kafka wrote a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordMetadata {
    /// The topic and partition.
    pub partition: TopicPartition,
    /// The offset. Unknown in one case: the broker had written the record, lost the acknowledgement, and by the time of
    /// the repetition remembered that it had it but no longer where.
    pub offset: Option<i64>,
}

/// What was sent with a ticket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) topic: Topic,
    pub(super) cost: Cost,
    pub(super) length: u32,
    pub(super) at: Instant,
}

#[derive(Debug)]
enum Slot {
    /// Not in use; names the next one that isn't either.
    Free(usize),
    /// Sent; `None` when nobody will ask.
    Sent(Sent, Option<Interest>),
    /// The result, not asked for yet.
    Settled(Result<RecordMetadata, DeliveryError>),
}

/// Somebody holds the [`Delivery`], and may be waiting.
#[derive(Debug)]
struct Interest(Option<Waker>);

#[derive(Debug)]
struct Slab {
    slots: Vec<Slot>,
    free: usize,
}

/// All entries that are on their way.
#[derive(Debug)]
pub(super) struct Tickets {
    slab: Mutex<Slab>,
    pending: AtomicUsize,
    empty: Notify,
    failed_unseen: AtomicU64,
}

const NONE: usize = usize::MAX;

impl Tickets {
    pub(super) fn new() -> Self {
        Tickets {
            slab: Mutex::new(Slab { slots: Vec::new(), free: NONE }),
            pending: AtomicUsize::new(0),
            empty: Notify::new(),
            failed_unseen: AtomicU64::new(0),
        }
    }

    pub(super) fn issue(&self, sent: Sent) -> usize {
        self.pending.fetch_add(1, Ordering::AcqRel);
        self.slab.lock().insert(Slot::Sent(sent, Some(Interest(None))))
    }

    /// Takes a ticket back whose entry was not sent after all.
    pub(super) fn revoke(&self, ticket: usize) {
        self.slab.lock().remove(ticket);
        self.finished();
    }

    /// Settles a ticket: does what is to be done `before` anybody knows, then wakes who waits for it.
    pub(super) fn settle(
        &self,
        ticket: usize,
        result: Result<(i32, Option<i64>), DeliveryError>,
        before: impl FnOnce(&Sent),
    ) {
        let mut slab = self.slab.lock();
        let Slot::Sent(sent, interest) = &mut slab.slots[ticket] else {
            unreachable!("Kafka's client gives one result for an entry");
        };
        let sent = *sent;
        before(&sent);
        let waker = match interest.take() {
            Some(Interest(waker)) => {
                let place = |(partition, offset)| RecordMetadata {
                    partition: TopicPartition::new(sent.topic, partition),
                    offset,
                };
                slab.slots[ticket] = Slot::Settled(result.map(place));
                waker
            }
            None => {
                if result.is_err() {
                    self.failed_unseen.fetch_add(1, Ordering::Relaxed);
                }
                slab.remove(ticket);
                None
            }
        };
        // Before anybody can look at the result.
        self.finished();
        drop(slab);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn finished(&self) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.empty.notify_waiters();
        }
    }

    /// How many entries wait for their result.
    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    /// Waits until no entry waits for its result.
    pub(super) async fn all_settled(&self) {
        loop {
            let mut empty = std::pin::pin!(self.empty.notified());
            empty.as_mut().enable();
            if self.pending() == 0 {
                return;
            }
            empty.await;
        }
    }

    /// How many entries failed without anybody asking, since the last time that this was asked.
    pub(super) fn take_failed_unseen(&self) -> u64 {
        self.failed_unseen.swap(0, Ordering::Relaxed)
    }
}

impl Slab {
    fn insert(&mut self, slot: Slot) -> usize {
        let ticket = self.free;
        match self.slots.get_mut(ticket) {
            Some(free) => {
                let Slot::Free(next) = std::mem::replace(free, slot) else { unreachable!("a free slot is free") };
                self.free = next;
                ticket
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        }
    }

    fn remove(&mut self, ticket: usize) -> Slot {
        let slot = std::mem::replace(&mut self.slots[ticket], Slot::Free(self.free));
        self.free = ticket;
        slot
    }

    fn take(&mut self, ticket: usize) -> Option<Result<RecordMetadata, DeliveryError>> {
        if !matches!(self.slots[ticket], Slot::Settled(_)) {
            return None;
        }
        match self.remove(ticket) {
            Slot::Settled(result) => Some(result),
            Slot::Free(_) | Slot::Sent(..) => unreachable!("it was settled just now"),
        }
    }
}

/// The result of one entry, to be awaited or dropped.
///
/// It is there within the producer's delivery timeout, whatever happens. To drop it is fine: the entry stays on its way,
/// and should it fail, [`flush`](super::Producer::flush) and [`close`](super::Producer::close) say so.
#[must_use = "an entry is in the log only once its delivery has been awaited"]
pub struct Delivery {
    tickets: Arc<Tickets>,
    ticket: usize,
}

impl Delivery {
    pub(super) fn new(tickets: Arc<Tickets>, ticket: usize) -> Self {
        Delivery { tickets, ticket }
    }

    /// The result, if it is there; otherwise the delivery, to ask again.
    pub fn try_take(mut self) -> Result<Result<RecordMetadata, DeliveryError>, Delivery> {
        self.take().ok_or(self)
    }

    fn take(&mut self) -> Option<Result<RecordMetadata, DeliveryError>> {
        let result = self.tickets.slab.lock().take(self.ticket)?;
        self.ticket = NONE;
        Some(result)
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, DeliveryError>;

    /// # Panics
    /// When polled after it was ready, as futures may.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Delivery { tickets, ticket } = self.get_mut();
        let mut slab = tickets.slab.lock();
        if let Some(result) = slab.take(*ticket) {
            *ticket = NONE;
            return Poll::Ready(result);
        }
        if let Slot::Sent(_, Some(Interest(waker))) = &mut slab.slots[*ticket] {
            match waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            }
        }
        Poll::Pending
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.ticket == NONE {
            return;
        }
        let mut slab = self.tickets.slab.lock();
        match &mut slab.slots[self.ticket] {
            Slot::Sent(_, interest) => *interest = None,
            Slot::Settled(result) => {
                if result.is_err() {
                    self.tickets.failed_unseen.fetch_add(1, Ordering::Relaxed);
                }
                slab.remove(self.ticket);
            }
            Slot::Free(_) => unreachable!("a delivery has its slot until it is taken"),
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sent() -> Sent {
        Sent { topic: Topic::AgentLogs, cost: 1, length: 1, at: Instant::now() }
    }

    fn issue(tickets: &Arc<Tickets>) -> (usize, Delivery) {
        let ticket = tickets.issue(sent());
        (ticket, Delivery::new(Arc::clone(tickets), ticket))
    }

    #[tokio::test]
    async fn a_result_reaches_who_waits_before_or_after() {
        let tickets = Arc::new(Tickets::new());
        let (first, before) = issue(&tickets);
        let (second, after) = issue(&tickets);
        let waits = tokio::spawn(before);
        tokio::task::yield_now().await;
        tickets.settle(first, Ok((3, Some(7))), |_| {});
        tickets.settle(second, Err(DeliveryError::TimedOut), |_| {});
        let expected = RecordMetadata { partition: TopicPartition::new(Topic::AgentLogs, 3), offset: Some(7) };
        assert_eq!(waits.await.unwrap(), Ok(expected));
        assert_eq!(after.await, Err(DeliveryError::TimedOut));
        assert_eq!((tickets.pending(), tickets.take_failed_unseen()), (0, 0));
    }

    #[test]
    fn slots_are_used_again() {
        let tickets = Arc::new(Tickets::new());
        for _ in 0..100 {
            let (first, kept) = issue(&tickets);
            let (second, dropped) = issue(&tickets);
            drop(dropped);
            let kept = kept.try_take().unwrap_err();
            tickets.settle(second, Ok((0, None)), |_| {});
            tickets.settle(first, Ok((0, None)), |_| {});
            kept.try_take().unwrap().unwrap();
            tickets.revoke(tickets.issue(sent()));
        }
        assert_eq!(tickets.slab.lock().slots.len(), 2);
    }

    #[test]
    fn failures_that_nobody_looks_at_are_counted_once() {
        let tickets = Arc::new(Tickets::new());
        let (first, dropped_before) = issue(&tickets);
        drop(dropped_before);
        tickets.settle(first, Err(DeliveryError::Fatal), |_| {});
        let (second, dropped_after) = issue(&tickets);
        tickets.settle(second, Err(DeliveryError::Fatal), |_| {});
        drop(dropped_after);
        assert_eq!((tickets.take_failed_unseen(), tickets.take_failed_unseen()), (2, 0));
    }

    #[tokio::test]
    async fn all_settled_waits_for_the_last() {
        let tickets = Arc::new(Tickets::new());
        tickets.all_settled().await;
        let (ticket, delivery) = issue(&tickets);
        let mut settled = Box::pin(tickets.all_settled());
        assert!(futures_util::poll!(settled.as_mut()).is_pending());
        tickets.settle(ticket, Ok((0, Some(0))), |_| {});
        settled.await;
        delivery.await.unwrap();
    }
}
