//! One look for all who ask for the same: a thousand terminals that come back at once to a card cost two.
//!
//! Nobody is given an answer that is older than the question: who comes while a look is under way shares the next one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::ReadError;

/// Looks that are shared, by what is asked for.
#[derive(Debug)]
pub(super) struct Shared<K: Eq + Hash, V> {
    asked: Mutex<HashMap<K, Arc<Question<V>>>>,
}

/// What somebody asks for right now.
#[derive(Debug)]
struct Question<V> {
    /// How many looks were begun.
    begun: AtomicU64,
    /// The last one's number, and what came of it. Locked while one is under way.
    last: tokio::sync::Mutex<Option<(u64, Result<V, ReadError>)>>,
}

impl<K: Eq + Hash, V> Default for Shared<K, V> {
    fn default() -> Self {
        Shared { asked: Mutex::default() }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Shared<K, V> {
    /// What a look gives that began after this was called: `look`, or that of somebody who came at the same time.
    pub(super) async fn look(&self, key: K, look: impl Future<Output = Result<V, ReadError>>) -> Result<V, ReadError> {
        let asking = Asking::new(self, key);
        let question = &asking.question;
        let before = question.begun.load(Ordering::Relaxed);
        let mut last = question.last.lock().await;
        if let Some((number, found)) = &*last
            && *number > before
        {
            return found.clone();
        }
        // Should this be dropped halfway, the next one who waits looks.
        let number = question.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let found = look.await;
        *last = Some((number, found.clone()));
        found
    }
}

/// Somebody who asks. With the last one the question goes.
struct Asking<'a, K: Eq + Hash, V> {
    shared: &'a Shared<K, V>,
    key: K,
    question: Arc<Question<V>>,
}

impl<'a, K: Eq + Hash + Clone, V> Asking<'a, K, V> {
    fn new(shared: &'a Shared<K, V>, key: K) -> Self {
        let mut asked = shared.asked.lock();
        let question = || Arc::new(Question { begun: AtomicU64::new(0), last: tokio::sync::Mutex::default() });
        let question = Arc::clone(asked.entry(key.clone()).or_insert_with(question));
        Asking { shared, key, question }
    }
}

impl<K: Eq + Hash, V> Drop for Asking<'_, K, V> {
    fn drop(&mut self) {
        let mut asked = self.shared.asked.lock();
        // The map's and this one's. Others can come only by the map.
        if Arc::strong_count(&self.question) <= 2 {
            asked.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thousand_who_ask_at_once_cost_two_looks() {
        let (shared, looks) = (Arc::new(Shared::<&str, usize>::default()), AtomicUsize::new(0));
        let look = async || {
            let number = looks.fetch_add(1, Ordering::Relaxed) + 1;
            sleep(Duration::from_secs(1)).await;
            Ok(number)
        };
        let first = shared.look("card", look());
        let others = async {
            // The first look is under way, and may have missed what these have to see.
            sleep(Duration::from_millis(500)).await;
            join_all((0..1_000).map(|_| shared.look("card", look()))).await
        };
        let (first, others) = futures_util::future::join(first, others).await;
        assert_eq!(first.unwrap(), 1);
        assert!(others.into_iter().all(|found| found.unwrap() == 2));
        assert_eq!(shared.look("card", look()).await.unwrap(), 3, "who comes later sees what is there then");
        assert!(shared.asked.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_is_given_up_is_another_s() {
        let shared = Shared::<&str, u8>::default();
        let slow = async {
            sleep(Duration::from_secs(60)).await;
            Ok(1)
        };
        let given_up = timeout(Duration::from_secs(1), shared.look("card", slow));
        let (given_up, found) = futures_util::future::join(given_up, shared.look("card", async { Ok(2) })).await;
        assert!(given_up.is_err());
        assert_eq!(found.unwrap(), 2);
        let failed = shared.look("card", async { Err(ReadError::Epoch) }).await;
        assert!(failed.is_err());
        assert!(shared.asked.lock().is_empty());
    }
}
