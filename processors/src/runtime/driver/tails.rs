//! Keeping by which record each partition's log is known again.

use std::time::{Duration, Instant};

use agentworks_schemas::TopicPartition;
use agentworks_store::StoreError;
use tracing::warn;

use super::{Driver, Log};
use crate::runtime::message::{Assignment, ToDriver};
use crate::tails::{self, Tail};

/// How often they are kept.
pub(super) const EVERY: Duration = Duration::from_secs(5);

impl Driver {
    /// Begins to keep the tails that have moved, unless that is being done.
    pub(super) fn keep_tails(&mut self) {
        if self.keeps_tails {
            return;
        }
        let moved = self.lanes.iter_mut().filter_map(|(partition, lane)| {
            let tail = lane.tail().filter(|tail| lane.kept != Some(*tail))?;
            Some((*partition, lane.assignment, tail))
        });
        let moved: Vec<_> = moved.collect();
        if moved.is_empty() {
            return;
        }
        self.keeps_tails = true;
        let (store, group, to_self) = (self.log.store.clone(), self.log.group.clone(), self.to_self.clone());
        tokio::spawn(async move {
            let tails: Vec<_> = moved.iter().map(|(partition, _, tail)| (*partition, *tail)).collect();
            let result = tails::keep(&*store, &group, &tails).await;
            // The driver may have ended meanwhile.
            let _ = to_self.send(ToDriver::Tails { kept: moved, result });
        });
    }

    /// Notes what has been kept. What couldn't be is tried again with what has come by then.
    pub(super) fn tails_kept(&mut self, kept: Vec<(TopicPartition, Assignment, Tail)>, result: Result<(), StoreError>) {
        self.keeps_tails = false;
        if let Err(error) = result {
            return warn!(%error, "by which records the logs are known again can't be kept; it will be tried again");
        }
        for (partition, assignment, tail) in kept {
            if let Some(lane) = self.lanes.get_mut(&partition).filter(|lane| lane.assignment == assignment) {
                lane.kept = Some(tail);
            }
        }
    }
}

impl Log {
    /// Keeps the tails of partitions that were given up, if that is done by the deadline.
    pub(super) async fn keep_last(&self, tails: Vec<(TopicPartition, Tail)>, deadline: Instant) {
        if tails.is_empty() {
            return;
        }
        let kept = tails::keep(&*self.store, &self.group, &tails);
        let problem = match tokio::time::timeout_at(deadline.into(), kept).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it takes too long".to_owned(),
        };
        // Those of some seconds ago have been.
        warn!(problem, "by which records the logs are known again couldn't be kept");
    }
}
