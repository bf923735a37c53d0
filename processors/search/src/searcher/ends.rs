//! Where the log ends, as of a moment ago.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agentworks_query::answer::Covered;
use agentworks_schemas::TopicPartition;
use parking_lot::Mutex;

use super::{Lanes, LogTail};
use crate::error::SearchError;

/// The ends that were asked for last. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends {
    known: Arc<Mutex<HashMap<TopicPartition, (i64, Instant)>>>,
    /// Whether somebody is asking ahead.
    asking: Arc<AtomicBool>,
}

/// An end, or why it isn't known.
pub(super) type End = Result<i64, SearchError>;

impl Ends {
    /// The ends of some lanes, none older than `age`; those that are not known are asked for at once, and so are those that
    /// lie before where the lane is by now. Once they are half as old, they are asked for beside the search: while many
    /// search, none waits for the brokers.
    pub(super) async fn lately(
        &self,
        lanes: &Lanes,
        age: Duration,
        tail: &Arc<dyn LogTail>,
    ) -> HashMap<TopicPartition, End> {
        let (mut ends, mut oldest) = (HashMap::with_capacity(lanes.len()), Duration::ZERO);
        {
            let known = self.known.lock();
            for (lane, (_, next)) in lanes {
                let Some((end, since)) = known.get(lane).map(|(end, at)| (*end, at.elapsed())) else { continue };
                if since < age && *next <= end {
                    ends.insert(*lane, Ok(end));
                    oldest = oldest.max(since);
                }
            }
        }
        let unknown: Vec<_> = lanes.keys().filter(|lane| !ends.contains_key(lane)).copied().collect();
        if !unknown.is_empty() {
            ends.extend(self.ask(&unknown, &**tail).await);
        } else if oldest > age / 2 && !self.asking.swap(true, Ordering::AcqRel) {
            let (own, tail) = (self.clone(), tail.clone());
            let lanes: Vec<_> = lanes.keys().copied().collect();
            tokio::spawn(async move {
                own.ask(&lanes, &*tail).await;
                own.asking.store(false, Ordering::Release);
            });
        }
        ends
    }

    /// Somebody has answered for these: what was found once is found if nobody answers a moment later.
    pub(super) fn seen(&self, lanes: &Lanes, answered: &[Covered]) {
        let mut known = self.known.lock();
        for range in answered {
            let is_current = lanes.get(&range.partition).is_some_and(|(epoch, _)| *epoch == range.epoch);
            if let Some((end, _)) = known.get_mut(&range.partition).filter(|_| is_current) {
                *end = range.to.max(*end);
            }
        }
    }

    async fn ask(&self, lanes: &[TopicPartition], tail: &dyn LogTail) -> HashMap<TopicPartition, End> {
        // What is written while they are asked for may be before them or beyond.
        let asked = Instant::now();
        let ends = tail.ends(lanes).await;
        let mut known = self.known.lock();
        known.extend(ends.iter().filter_map(|(lane, end)| Some((*lane, (*end.as_ref().ok()?, asked)))));
        ends.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::testing::{FakeLog, at};

    /// What was found in an indexer is found in the log, if the indexer is dead a moment later.
    #[tokio::test]
    async fn what_was_answered_for_counts_as_known() {
        let tail: Arc<dyn LogTail> = Arc::new(FakeLog { ends: BTreeMap::from([(0, 20)]), ..FakeLog::default() });
        let (ends, lane) = (Ends::default(), at(0, 0).partition);
        let lanes = Lanes::from([(lane, (3, 0))]);
        let end = async |age| ends.lately(&lanes, Duration::from_secs(age), &tail).await[&lane].as_ref().ok().copied();
        assert_eq!(end(3600).await, Some(20));
        let answered = |epoch, to| [Covered { partition: lane, epoch, from: 0, to }];
        ends.seen(&lanes, &answered(2, 90));
        ends.seen(&lanes, &answered(3, 10));
        assert_eq!(end(3600).await, Some(20));
        ends.seen(&lanes, &answered(3, 50));
        assert_eq!(end(3600).await, Some(50));
        assert_eq!(end(0).await, Some(20), "the brokers know better, where they are asked anew");
        ends.seen(&lanes, &answered(3, 50));
        let beyond = Lanes::from([(lane, (3, 60))]);
        let found = ends.lately(&beyond, Duration::from_secs(3600), &tail).await;
        assert_eq!(found[&lane].as_ref().ok(), Some(&20), "what lies before the position is older than that");
    }
}
