//! Where the log ends, as of a moment ago.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use agentworks_schemas::TopicPartition;
use futures_util::future::join_all;
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
        let ends = lanes.iter().map(async |lane| {
            let known = self.0.lock().get(lane).copied();
            match known.filter(|(_, at)| at.elapsed() < age) {
                Some(known) => (*lane, Ok(known)),
                None => (*lane, self.now(*lane, tail).await),
            }
        });
        join_all(ends).await.into_iter().collect()
    }

    /// The end of a lane now.
    pub(super) async fn now(&self, lane: TopicPartition, tail: &dyn LogTail) -> End {
        // What is written while it is asked for may be before it or beyond.
        let asked = Instant::now();
        let end = tail.end(lane).await?;
        self.0.lock().insert(lane, (end, asked));
        Ok((end, asked))
    }
}
