//! What waits for a consumer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use agentworks_schemas::TopicPartition;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::read::Read;
use crate::error::KafkaError;
use crate::topics::Watermarks;

/// Work for a consumer. Dropping it undone tells whoever waits for it.
#[derive(Debug)]
pub(super) enum Job {
    /// Reading a range, or going on with it.
    Read(Box<Read>),
    /// Asking where a partition begins and ends, for all who wanted to know it before it is asked.
    Watermarks(TopicPartition, Vec<Answer>),
    /// Asking where partitions end, of all that anybody wanted to know before it is asked.
    Ends(BTreeSet<TopicPartition>, Vec<EndsAnswer>),
}

/// Where somebody waits for a partition's beginning and end.
pub(super) type Answer = oneshot::Sender<Result<Watermarks, KafkaError>>;

/// Where partitions end.
pub(super) type LogEnds = BTreeMap<TopicPartition, Result<i64, KafkaError>>;

/// Where somebody waits for partitions' ends.
pub(super) type EndsAnswer = oneshot::Sender<LogEnds>;

impl Job {
    pub(super) fn fail(self, error: KafkaError) {
        match self {
            Job::Read(read) => read.fail(error),
            // Whoever asked may have gone.
            Job::Watermarks(_, answers) => answers.into_iter().for_each(|answer| drop(answer.send(Err(error.clone())))),
            Job::Ends(partitions, answers) => {
                let ends: LogEnds = partitions.into_iter().map(|partition| (partition, Err(error.clone()))).collect();
                answers.into_iter().for_each(|answer| drop(answer.send(ends.clone())));
            }
        }
    }
}

/// Jobs, first come first served, and how many workers there are to do them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    workers: usize,
    idle: usize,
    closed: bool,
}

/// The pool has ended.
#[derive(Debug)]
pub(super) struct Closed;

impl State {
    /// Adds a question to one that waits already and is alike; otherwise gives the job back.
    fn join(&mut self, mut job: Job) -> Option<Job> {
        if let Job::Read(_) = job {
            return Some(job);
        }
        for waiting in &mut self.jobs {
            match (waiting, &mut job) {
                (Job::Watermarks(of, asked), Job::Watermarks(partition, answers)) if of == partition => {
                    asked.append(answers);
                    return None;
                }
                (Job::Ends(all, asked), Job::Ends(partitions, answers)) => {
                    all.append(partitions);
                    asked.append(answers);
                    return None;
                }
                _ => {}
            }
        }
        Some(job)
    }
}

impl Queue {
    /// Adds a job. Returns whether one more worker is wanted, of at most `limit`; it is counted already.
    pub(super) fn push(&self, job: Job, limit: usize) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        let Some(job) = state.join(job) else { return false };
        state.jobs.push_back(job);
        // All of them, since some wait for contention and not for a job.
        self.changed.notify_all();
        let wanted = state.jobs.len() > state.idle && state.workers < limit;
        state.workers += usize::from(wanted);
        wanted
    }

    /// Puts a read back that others shall go before.
    pub(super) fn put_back(&self, read: Box<Read>) {
        self.push(Job::Read(read), 0);
    }

    /// Takes the next job; `None` if there is none within `timeout`.
    pub(super) fn take(&self, timeout: Duration) -> Result<Option<Job>, Closed> {
        let mut state = self.state.lock();
        if state.jobs.is_empty() && !state.closed {
            state.idle += 1;
            self.changed.wait_for(&mut state, timeout);
            state.idle -= 1;
        }
        if state.closed { Err(Closed) } else { Ok(state.jobs.pop_front()) }
    }

    /// Whether a busy worker is needed elsewhere: more jobs wait than there are idle workers, or the pool has ended.
    /// Waits up to `timeout` for that to become so.
    pub(super) fn is_contended(&self, timeout: Duration) -> bool {
        let contended = |state: &State| state.closed || state.jobs.len() > state.idle;
        let mut state = self.state.lock();
        if !timeout.is_zero() && !contended(&state) {
            self.changed.wait_for(&mut state, timeout);
        }
        contended(&state)
    }

    /// Ends the pool.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        self.changed.notify_all();
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        drop(jobs);
    }

    /// A worker has ended before the pool. If it was the last one, what waits fails.
    pub(super) fn worker_failed(&self, error: &KafkaError) {
        let mut state = self.state.lock();
        state.workers -= 1;
        let jobs = if state.workers == 0 { std::mem::take(&mut state.jobs) } else { VecDeque::new() };
        drop(state);
        for job in jobs {
            job.fail(error.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::Topic;

    use super::*;

    #[test]
    fn the_same_question_is_asked_once_for_all_who_wait() {
        let queue = Queue::default();
        let ask = |number| {
            let (answer, answered) = oneshot::channel();
            let is_wanted = queue.push(Job::Watermarks(TopicPartition::new(Topic::AgentLogs, number), vec![answer]), 1);
            (is_wanted, answered)
        };
        let asked = [ask(0), ask(1), ask(0), ask(0)];
        assert_eq!(asked.each_ref().map(|(is_wanted, _)| *is_wanted), [true, false, false, false]);
        let take = || match queue.take(Duration::ZERO).unwrap() {
            Some(Job::Watermarks(partition, answers)) => Some((partition.partition, answers.len())),
            _ => None,
        };
        assert_eq!(take(), Some((0, 3)));
        // One that is being answered may be out of date.
        let _again = ask(0);
        assert_eq!([take(), take(), take()], [Some((1, 1)), Some((0, 1)), None]);
    }
}
