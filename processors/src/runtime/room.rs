//! How much waits for the sinks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Instant;

use super::message::ToConsumer;

/// The bytes of batches that wait for the sinks.
#[derive(Clone, Debug)]
pub(super) struct Waiting(Arc<Counter>);

#[derive(Debug)]
struct Counter {
    bytes: AtomicUsize,
    /// With fewer bytes the consumer's thread is told that there is room; 0 if it has been, or never asked.
    wanted: AtomicUsize,
    consumer: Sender<ToConsumer>,
}

impl Waiting {
    /// Nothing waits. The consumer's thread is told by `consumer`.
    pub(super) fn new(consumer: Sender<ToConsumer>) -> Self {
        Waiting(Arc::new(Counter { bytes: AtomicUsize::new(0), wanted: AtomicUsize::new(0), consumer }))
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::SeqCst)
    }

    /// Has the consumer's thread told, once, when fewer bytes than that wait. Returns whether that is so already.
    pub(super) fn tell_below(&self, bytes: usize) -> bool {
        self.0.wanted.store(bytes, Ordering::SeqCst);
        // Whoever drops a batch counts first and looks then; here it is the other way round, so that one of both sees it.
        let is_so = self.bytes() < bytes;
        if is_so {
            self.0.wanted.store(0, Ordering::SeqCst);
        }
        is_so
    }

    /// Counts bytes as waiting until the result is dropped.
    pub(super) fn add(&self, bytes: usize) -> Room {
        self.0.bytes.fetch_add(bytes, Ordering::SeqCst);
        Room { waiting: self.clone(), bytes, since: Instant::now() }
    }

    fn remove(&self, bytes: usize) {
        let Counter { bytes: count, wanted, consumer } = &*self.0;
        let left = count.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        if left < wanted.load(Ordering::SeqCst) && wanted.swap(0, Ordering::SeqCst) > 0 {
            // If the thread has ended, nobody waits.
            let _ = consumer.send(ToConsumer::Room);
        }
    }
}

/// The room that a batch takes up in the queue.
#[derive(Debug)]
pub(super) struct Room {
    waiting: Waiting,
    bytes: usize,
    since: Instant,
}

impl Room {
    /// How much it is, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Since when: all that is in the batch was read before.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Counts so many bytes from now on.
    pub(super) fn resize(&mut self, bytes: usize) {
        self.waiting.0.bytes.fetch_add(bytes, Ordering::SeqCst);
        self.waiting.remove(self.bytes);
        self.bytes = bytes;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.waiting.remove(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn who_waits_for_room_is_told_once() {
        let (consumer, told) = channel();
        let waiting = Waiting::new(consumer);
        let (mut first, second, third) = (waiting.add(50), waiting.add(30), waiting.add(20));
        assert!(!waiting.tell_below(80));
        drop(third);
        assert!(told.try_recv().is_err(), "80 aren't fewer");
        first.resize(40);
        assert!(matches!(told.try_recv(), Ok(ToConsumer::Room)));
        drop(second);
        assert!(told.try_recv().is_err(), "nobody has asked again");
        assert_eq!(waiting.bytes(), 40);
        assert!(waiting.tell_below(41));
        drop(first);
        assert!(told.try_recv().is_err(), "it was known at once");
    }
}
