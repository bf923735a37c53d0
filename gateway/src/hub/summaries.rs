//! Fresh summaries of runs on watched cards: made once per run, for all who watch.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use agentworks_processors::reader::{LogReader, ReadError};
use agentworks_schemas::protocol::{RunSummary, ServerMessage};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::channel::ChannelId;
use super::core::Core;
use crate::socket::Frame;

/// How often a run's summary is made anew, at most.
const INTERVAL: Duration = Duration::from_millis(500);
/// How many are being made at the same time, at most.
const CONCURRENT: usize = 8;

type Key = (ChannelId, String);
type Made = Result<Option<RunSummary>, ReadError>;
/// Makes a run's summary, given the workspace, the run and its card.
type Make = Box<dyn Fn(String, String, String) -> BoxFuture<'static, Made> + Send>;

/// Makes summaries when runs have had events.
pub(super) struct Summaries {
    core: Arc<Mutex<Core>>,
    touched: Arc<Notify>,
    make: Make,
    waiting: HashSet<Key>,
    /// When each was begun, as long as that keeps it from being begun again.
    begun: HashMap<Key, Instant>,
    busy: HashSet<Key>,
    tasks: JoinSet<(Key, Made)>,
}

impl Summaries {
    /// Summaries as `reader` gives them; `touched` is notified when the core has touched runs.
    pub(super) fn new(core: Arc<Mutex<Core>>, touched: Arc<Notify>, reader: LogReader) -> Self {
        let make: Make = Box::new(move |workspace, run, card| {
            let reader = reader.clone();
            Box::pin(async move { reader.run_summary(&workspace, &run, Some(&card)).await })
        });
        Self::with(core, touched, make)
    }

    fn with(core: Arc<Mutex<Core>>, touched: Arc<Notify>, make: Make) -> Self {
        let (waiting, begun, busy) = (HashSet::new(), HashMap::new(), HashSet::new());
        Summaries { core, touched, make, waiting, begun, busy, tasks: JoinSet::new() }
    }

    /// Makes them until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let now = Instant::now();
            self.begun.retain(|_, begun| now < *begun + INTERVAL);
            self.begin(now);
            let held_back = self.waiting.iter().filter(|key| !self.busy.contains(*key));
            let due = held_back.filter_map(|key| self.begun.get(key)).min().map(|begun| *begun + INTERVAL);
            tokio::select! {
                () = self.touched.notified() => self.waiting.extend(self.core.lock().touched_runs.drain()),
                Some(done) = self.tasks.join_next() => {
                    if let Ok((key, made)) = done {
                        self.made(key, made);
                    }
                }
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => {}
            }
        }
    }

    fn begin(&mut self, now: Instant) {
        while self.tasks.len() < CONCURRENT {
            let may_begin = |key: &&Key| !self.busy.contains(*key) && !self.begun.contains_key(*key);
            let Some(key) = self.waiting.iter().find(may_begin).cloned() else { return };
            self.waiting.remove(&key);
            let Some((workspace, card)) = self.core.lock().card(key.0) else { continue };
            self.begun.insert(key.clone(), now);
            self.busy.insert(key.clone());
            let made = (self.make)(workspace, key.1.clone(), card);
            self.tasks.spawn(async move { (key, made.await) });
        }
    }

    fn made(&mut self, key: Key, made: Made) {
        self.busy.remove(&key);
        match made {
            Ok(Some(summary)) => {
                let frame = Frame::message(&ServerMessage::RunSummary { data: summary });
                self.core.lock().summary(key.0, &key.1, &frame);
            }
            // The event was another workspace's or is gone already.
            Ok(None) => {}
            Err(error) => {
                warn!(%error, "a run's summary can't be made; trying again");
                self.begun.insert(key.clone(), Instant::now());
                self.waiting.insert(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::hub::testing::{self, Bench};

    fn summary(run: &str, log_count: u64) -> RunSummary {
        RunSummary { log_count, ..testing::summary(run) }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_event_counts_at_once_and_the_last_one_always() {
        let mut bench = Bench::new();
        let viewer = bench.viewer("w", "card");
        let touched = Arc::new(Notify::new());
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let make: Make = Box::new(move |_, run, _| {
            let call = counted.fetch_add(1, Ordering::Relaxed) as u64;
            Box::pin(async move {
                // A fault in between is made good.
                if call == 1 { Err(ReadError::Epoch) } else { Ok(Some(summary(&run, call))) }
            })
        });
        let core = Arc::new(Mutex::new(bench.core));
        let task = tokio::spawn(Summaries::with(Arc::clone(&core), Arc::clone(&touched), make).run());
        let start = Instant::now();
        for _ in 0..20 {
            core.lock().touched_runs.insert((viewer.channel, "r1".to_owned()));
            touched.notify_one();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        viewer.watcher.changed().await;
        assert!(start.elapsed() < Duration::from_millis(300));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        assert!(viewer.watcher.take().summaries.contains_key("r1"));
        viewer.watcher.changed().await;
        let elapsed = start.elapsed();
        assert!((990..1100).contains(&elapsed.as_millis()), "{elapsed:?}");
        assert_eq!(calls.load(Ordering::Relaxed), 3);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(calls.load(Ordering::Relaxed), 3, "nothing is made without an event");
        task.abort();
    }
}
