//! A consumer and the thread that it lives on.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_bootstrap::create;
use agentworks_schemas::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use tracing::debug;

use super::end::{EndOfLog, Met};
use super::passed::{Passed, STRETCH};
use super::queue::{Job, LogEnds, Queue};
use super::read::{Read, Sent};
use crate::error::KafkaError;
use crate::settings::KafkaSettings;
use crate::topics::{Watermarks, last_known_end, query_ends, query_watermarks};
use crate::trace::{Traced, hear};

#[cfg(test)]
mod tests;

/// How often a worker looks after its consumer, whose log lines wait to be fetched.
const IDLE: Duration = Duration::from_secs(5);
/// How long a poll waits; a read that was cancelled is noticed after that.
const POLL: Duration = Duration::from_millis(20);
/// A read fails if nothing at all comes for so long. librdkafka mends what it can within that time.
const STALL: Duration = Duration::from_secs(15);
/// How long a log may end before what it was known to reach. A leader that was just elected tells of all that it has as soon
/// as its followers have fetched from it, which takes them about half a second.
const BEHIND: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 5 });
/// How long a worker waits for a slow reader while nobody else needs it.
const PATIENCE: Duration = Duration::from_millis(200);
/// After so many batches others have their turn.
const TURN: usize = 64;
/// How often an assignment is made again after an offset was called out of range that isn't.
const ATTEMPTS: usize = 5;

/// Why a worker leaves a read.
enum Left {
    /// There is nothing more to read, or nobody to read for.
    Done,
    /// The reader is behind.
    Full,
    /// Others wait.
    Turn,
}

pub(super) struct Worker {
    settings: KafkaSettings,
    consumer: BaseConsumer<Traced>,
    queue: Arc<Queue>,
    /// The last known end of partitions, by epoch. The log only grows, so that a range below is known to be there without
    /// asking; one that was made again is another.
    ends: HashMap<(TopicPartition, u32), i64>,
    passed: Arc<Passed>,
}

impl Worker {
    /// Works until the pool ends, with a consumer that is told this.
    pub(super) fn run(consumer: ClientConfig, settings: KafkaSettings, queue: Arc<Queue>, passed: Arc<Passed>) {
        match create(consumer, Traced::new) {
            Ok(consumer) => Worker { settings, consumer, queue, ends: HashMap::new(), passed }.work(),
            Err(error) => queue.worker_failed(&KafkaError::from_client(&error, "the brokers")),
        }
    }

    fn work(&mut self) {
        let mut heard = Instant::now();
        while let Ok(job) = self.queue.take(IDLE) {
            match job {
                Some(Job::Read(read)) => self.read(read),
                Some(Job::Watermarks(partition, answers)) => {
                    let marks = self.watermarks(partition);
                    // Whoever asked may have gone.
                    answers.into_iter().for_each(|answer| drop(answer.send(marks.clone())));
                }
                Some(Job::Ends(partitions, answers)) => {
                    let ends = self.log_ends(partitions);
                    answers.into_iter().for_each(|answer| drop(answer.send(ends.clone())));
                }
                None => {}
            }
            // Also where there is always something to do, but not for each job: it takes a moment.
            if heard.elapsed() >= IDLE {
                hear(&self.consumer);
                heard = Instant::now();
            }
        }
    }

    fn read(&mut self, mut read: Box<Read>) {
        let left = self.read_on(&mut read);
        read.leave();
        // Else it goes on fetching.
        if let Err(error) = self.consumer.unassign() {
            debug!(%error, "could not unassign");
        }
        match left {
            Ok(Left::Done) => read.finish(),
            Ok(Left::Full) => read.park(&self.queue),
            Ok(Left::Turn) => self.queue.put_back(read),
            Err(error) => {
                self.ends.remove(&(read.request.partition, read.request.epoch));
                read.fail(error);
            }
        }
    }

    fn read_on(&mut self, read: &mut Read) -> Result<Left, KafkaError> {
        // What a reader had no room for when the read was set aside.
        match read.flush() {
            Sent::Yes if !read.is_cancelled() => {}
            Sent::Full => return Ok(Left::Full),
            _ => return Ok(Left::Done),
        }
        let end = self.end(read)?;
        if read.next() >= end {
            return Ok(Left::Done);
        }
        read.skip(1, end);
        if read.next() >= end {
            return Ok(self.send(read).unwrap_or(Left::Done));
        }
        let name = self.settings.topics.name(read.request.partition.topic);
        self.assign(&name, read)?;
        read.begin();

        let (mut sent, mut attempts) = (0, 0);
        let mut silent = None;
        let mut log_end = EndOfLog::default();
        while !read.is_cancelled() {
            // What has come is sent before waiting for more.
            let timeout = if read.has_records() { Duration::ZERO } else { POLL };
            let mut is_short = false;
            let flush = match self.consumer.poll(timeout) {
                Some(Ok(message)) => {
                    silent = None;
                    log_end.went_on();
                    if is_next(&message, read, &name) {
                        if message.offset() < end { read.take(&message) } else { read.cover(end) }
                    }
                    read.is_full()
                }
                Some(Err(ClientError::PartitionEOF(number))) if number == read.request.partition.partition => {
                    match log_end.met(self.known_end(read), end) {
                        Met::Nothing => {
                            read.cover(end);
                            true
                        }
                        Met::Short => {
                            is_short = true;
                            read.has_records()
                        }
                    }
                }
                Some(Err(ClientError::PartitionEOF(_))) => false,
                Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
                    // Of an earlier assignment perhaps: librdkafka doesn't say.
                    self.in_range(read, attempts)?;
                    attempts += 1;
                    self.assign(&name, read)?;
                    log_end.went_on();
                    false
                }
                Some(Err(error)) => match KafkaError::from_client(&error, &name) {
                    error if error.is_transient() => false,
                    error => return Err(error),
                },
                None if silent.get_or_insert_with(Instant::now).elapsed() > STALL => {
                    return Err(KafkaError::Unavailable(format!("nothing came from {name} for {STALL:?}")));
                }
                None => read.has_records(),
            };
            if flush || read.next() >= end {
                if let Some(left) = self.send(read) {
                    return Ok(left);
                }
                sent += 1;
                if read.next() >= end {
                    break;
                }
                if sent >= TURN && self.queue.is_contended(Duration::ZERO) {
                    return Ok(Left::Turn);
                }
                // A seek costs about as much as the reading of so many records.
                if read.skip(STRETCH / 2, end) {
                    if read.next() >= end {
                        return Ok(self.send(read).unwrap_or(Left::Done));
                    }
                    self.assign(&name, read)?;
                    log_end.went_on();
                    is_short = false;
                }
            }
            if is_short {
                self.meet_again(read, end, &mut log_end)?;
                self.assign(&name, read)?;
            }
        }
        Ok(Left::Done)
    }

    /// Where the read ends: at its `to`, or where the log ended when it began.
    fn end(&mut self, read: &mut Read) -> Result<i64, KafkaError> {
        if let Some(end) = read.end {
            return Ok(end);
        }
        let (partition, to) = (read.request.partition, read.request.to);
        let making = (partition, read.request.epoch);
        let end = match self.ends.get(&making) {
            Some(&end) if to <= end => to,
            _ => {
                let Watermarks { high, .. } = self.in_range(read, 0)?;
                self.ends.insert(making, high);
                to.min(high)
            }
        };
        read.end = Some(end);
        Ok(end)
    }

    /// Where the log ends as of the last answer to a fetch.
    fn known_end(&self, read: &Read) -> Option<i64> {
        last_known_end(&self.consumer, &self.settings, read.request.partition)
    }

    /// Gets ready to be told again of a log's end that lies before `end`, or seems to.
    fn meet_again(&self, read: &Read, end: i64, log_end: &mut EndOfLog) -> Result<(), KafkaError> {
        let partition = read.request.partition;
        if log_end.meet_again(self.known_end(read), end, || self.in_range(read, 0))? > BEHIND {
            let next = read.next();
            return Err(KafkaError::Unavailable(format!("{partition} ends at {next}, and was known to reach {end}")));
        }
        Ok(())
    }

    fn watermarks(&self, partition: TopicPartition) -> Result<Watermarks, KafkaError> {
        let marks = query_watermarks(&self.consumer, &self.settings, partition)?;
        self.passed.ends(partition, marks.high);
        Ok(marks)
    }

    fn log_ends(&self, partitions: BTreeSet<TopicPartition>) -> LogEnds {
        let partitions: Vec<_> = partitions.into_iter().collect();
        let ends = query_ends(&self.consumer, &self.settings, &partitions);
        let ends: LogEnds = partitions.into_iter().zip(ends).collect();
        for (partition, end) in &ends {
            if let Ok(end) = end {
                self.passed.ends(*partition, *end);
            }
        }
        ends
    }

    /// Makes sure that the log holds the offset to be read next.
    fn in_range(&self, read: &Read, attempts: usize) -> Result<Watermarks, KafkaError> {
        let partition = read.request.partition;
        let marks = self.watermarks(partition)?;
        let (Watermarks { low, high }, offset) = (marks, read.next());
        if offset < low || offset > high {
            return Err(KafkaError::OutOfRange { partition, offset, low, high });
        }
        if attempts >= ATTEMPTS {
            return Err(KafkaError::Unavailable(format!("{partition} was refused at {offset}, which it holds")));
        }
        Ok(marks)
    }

    fn assign(&self, name: &str, read: &Read) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(name, read.request.partition.partition, Offset::Offset(read.next()))
            .and_then(|()| self.consumer.assign(&list))
            .map_err(|error| KafkaError::from_client(&error, name))
    }

    /// Sends what was collected; waits for a slow reader a little. Returns why to leave the read, if so.
    fn send(&self, read: &mut Read) -> Option<Left> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match read.flush() {
                Sent::Yes => return None,
                Sent::Gone => return Some(Left::Done),
                Sent::Full if Instant::now() > deadline => return Some(Left::Full),
                Sent::Full if self.queue.is_contended(Duration::from_millis(2)) => return Some(Left::Full),
                Sent::Full => {}
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // After the pool this tells nobody; before it, the thread panicked.
        self.queue.worker_failed(&KafkaError::Failed("a consumer's thread panicked".into()));
    }
}

/// Whether a message is of this read. librdkafka drops what it had fetched for an earlier assignment; should something
/// slip through, it is of another partition or lies before.
fn is_next(message: &BorrowedMessage<'_>, read: &Read, name: &str) -> bool {
    let partition = read.request.partition.partition;
    message.partition() == partition && message.offset() >= read.next() && message.topic() == name
}
