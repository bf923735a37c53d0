//! Where the log ends, as of a moment ago.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use agentworks_schemas::TopicPartition;
use parking_lot::Mutex;

use super::LogTail;
use crate::error::SearchError;

/// The ends that were asked for last.
#[derive(Debug, Default)]
pub(super) struct Ends(Mutex<HashMap<TopicPartition, (i64, Instant)>>);

/// An end, and when it was that.
pub(super) type End = Result<(i64, Instant), SearchError>;

impl Ends {
    /// The ends of some lanes, none older than `age`; those that are not known are asked for at once.
    pub(super) async fn lately(
        &self,
        lanes: &[TopicPartition],
        age: Duration,
        tail: &dyn LogTail,
    ) -> HashMap<TopicPartition, End> {
        let mut ends = HashMap::with_capacity(lanes.len());
        {
            let known = self.0.lock();
            let recent = |lane: &TopicPartition| known.get(lane).copied().filter(|(_, at)| at.elapsed() < age);
            ends.extend(lanes.iter().filter_map(|lane| Some((*lane, Ok(recent(lane)?)))));
        }
        let unknown: Vec<_> = lanes.iter().filter(|lane| !ends.contains_key(lane)).copied().collect();
        ends.extend(self.now(&unknown, tail).await);
        ends
    }

    /// The ends of some lanes now.
    pub(super) async fn now(&self, lanes: &[TopicPartition], tail: &dyn LogTail) -> HashMap<TopicPartition, End> {
        if lanes.is_empty() {
            return HashMap::new();
        }
        // What is written while they are asked for may be before them or beyond.
        let asked = Instant::now();
        let ends = tail.ends(lanes).await;
        let mut known = self.0.lock();
        known.extend(ends.iter().filter_map(|(lane, end)| Some((*lane, (*end.as_ref().ok()?, asked)))));
        ends.into_iter().map(|(lane, end)| (lane, end.map(|end| (end, asked)))).collect()
    }
}
