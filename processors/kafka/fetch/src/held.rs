//! What has been fetched and not been taken yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

/// Counts the bytes of answers for as long as any part of them is held.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    bytes: AtomicUsize,
    fewer: Notify,
}

impl Held {
    /// Counts an answer until the last of its parts is dropped.
    pub(crate) fn hold(&self, answer: Vec<u8>) -> Bytes {
        self.0.bytes.fetch_add(answer.len(), Ordering::Relaxed);
        Bytes::from_owner(Answer { answer, held: self.clone() })
    }

    /// Waits until it is less than `limit`.
    pub(crate) async fn below(&self, limit: usize) {
        loop {
            let fewer = self.0.fewer.notified();
            tokio::pin!(fewer);
            // From here on it hears of what is dropped.
            fewer.as_mut().enable();
            if self.0.bytes.load(Ordering::Acquire) < limit {
                return;
            }
            fewer.await;
        }
    }
}

struct Answer {
    answer: Vec<u8>,
    held: Held,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.held.0.bytes.fetch_sub(self.answer.len(), Ordering::Release);
        self.held.0.fewer.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn an_answer_counts_until_its_last_part_is_dropped() {
        let held = Held::default();
        let answer = held.hold(vec![0; 100]);
        let part = answer.slice(10..20);
        drop(answer);
        let below = tokio::spawn({
            let held = held.clone();
            async move { held.below(100).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!below.is_finished());
        held.below(101).await;
        drop(part);
        below.await.expect("it ends");
    }
}
