//! The way of lines from a reader into the log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentworks_schemas::{Level, Source};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::checkpoint::{CheckpointFile, History, Place};
use super::input::{Input, Reader};
use super::lines::{Extent, Line, LongLines, Splitter};
use super::parse::{Parsed, parse};
use super::progress::{Pending, Reached};
use crate::producer::{Delivery, DeliveryError, EntryBuilder, EventBuilder, Producer, RunHandle, SendError};

/// What lines have in common, and what they get where they don't say it themselves.
#[derive(Clone, Debug)]
pub struct Labels {
    /// Who writes them.
    pub source: Source,
    /// Which part of the source.
    pub component: String,
    /// The level of a line that shows none.
    pub level: Level,
}

impl Labels {
    /// The entry of a line.
    pub fn entry<'a>(&'a self, run: &'a RunHandle, line: &'a Parsed<'a>) -> EntryBuilder<'a> {
        let level = line.level.unwrap_or(self.level);
        let mut entry = run.log(level, self.source, &self.component, &line.message);
        if let Some(data) = &line.data {
            entry = entry.data(data.clone());
        }
        if let Some(timestamp) = line.timestamp {
            entry = entry.timestamp(timestamp);
        }
        entry
    }
}

/// What is to be shipped, and how.
#[derive(Debug)]
pub struct Job {
    /// The producer, for this job alone: it is closed at the end.
    pub producer: Producer,
    /// The run that the lines belong to.
    pub run: RunHandle,
    /// What the lines get.
    pub labels: Labels,
    /// What becomes of long lines.
    pub long_lines: LongLines,
    /// Whether the run begins and ends with the lines, so that its events are written too.
    pub events: bool,
    /// Where to note how far a file is shipped; nothing for a stream.
    pub checkpoint: Option<CheckpointFile>,
    /// How long to wait for Kafka at the end, when everything has been read.
    pub patience: Duration,
}

/// Counts what was done so far; shared with whoever watches.
#[derive(Debug, Default)]
pub struct Tally {
    lines: AtomicU64,
    bytes: AtomicU64,
    entries: AtomicU64,
    delivered: AtomicU64,
    refused: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that were read.
    pub lines: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Entries made of them; a long line may make several.
    pub entries: u64,
    /// Entries that Kafka acknowledged.
    pub delivered: u64,
    /// Lines that were too long, by choice.
    pub refused: u64,
}

impl Counts {
    /// Entries that are not known to be in the log.
    pub fn undelivered(&self) -> u64 {
        self.entries.saturating_sub(self.delivered)
    }
}

impl Tally {
    /// The counts now.
    pub fn counts(&self) -> Counts {
        let get = |count: &AtomicU64| count.load(Ordering::Acquire);
        Counts {
            delivered: get(&self.delivered),
            entries: get(&self.entries),
            lines: get(&self.lines),
            bytes: get(&self.bytes),
            refused: get(&self.refused),
        }
    }
}

/// Why shipping ended early. What had been read before was still tried.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// The input can't be read.
    #[error("cannot read: {0}")]
    Read(#[source] io::Error),
    /// An entry was not taken.
    #[error(transparent)]
    Send(#[from] SendError),
    /// An entry was not delivered.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// The checkpoint can't be written.
    #[error("cannot write the state: {0}")]
    Checkpoint(#[source] io::Error),
}

/// An entry that was sent, a line that gave none, or a place that was come to.
struct Item {
    delivery: Option<Delivery>,
    /// Whether it is of a line, and not an event.
    is_line: bool,
    /// How far the file is shipped when this one and all before are delivered.
    reached: Option<Reached>,
}

/// Ships what `reader` reads until its end, or until `stop`: then what was read already is shipped, and no more.
///
/// Lines are in the log in their order. The reader waits when Kafka does. An entry that fails for good ends it, and what
/// comes behind a checkpoint's place is shipped again by the next start.
pub async fn ship(job: &Job, reader: Reader, stop: &CancellationToken, tally: &Tally) -> Result<(), ShipError> {
    let (sent, items) = mpsc::channel(64 * 1024);
    let reading = async {
        let result = Reading { job, tally, sent, begun: false, at: None }.run(reader, stop).await;
        stop.cancel();
        result
    };
    let settling = async {
        let result = settle(job, items, stop, tally).await;
        stop.cancel();
        result
    };
    let mut work = std::pin::pin!(async { tokio::join!(reading, settling) });
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(job.patience).await;
    };
    let (read, settled) = tokio::select! {
        results = &mut work => results,
        () = overdue => {
            // Fails what waits for room or for Kafka, which the tally then shows.
            let _ = job.producer.close(Duration::ZERO).await;
            work.await
        }
    };
    settled.and(read)
}

struct Reading<'a> {
    job: &'a Job,
    tally: &'a Tally,
    sent: mpsc::Sender<Item>,
    /// Whether something may have been sent.
    begun: bool,
    /// The file that is read.
    at: Option<(Place, Arc<History>)>,
}

impl Reading<'_> {
    async fn run(mut self, mut reader: Reader, stop: &CancellationToken) -> Result<(), ShipError> {
        if self.job.checkpoint.is_none() {
            self.begin().await?;
        }
        let mut splitter = self.splitter(0);
        let (last, result) = loop {
            let input = tokio::select! {
                biased;
                () = stop.cancelled(), if !reader.is_told_to_stop() => {
                    reader.stop();
                    continue;
                }
                input = reader.inputs.recv() => input,
            };
            match input {
                Some(Input::Bytes(bytes)) => {
                    self.tally.bytes.fetch_add(bytes.len() as u64, Ordering::AcqRel);
                    let mut rest = bytes.as_slice();
                    while let Some(line) = splitter.next(&mut rest) {
                        self.line(&line).await?;
                    }
                }
                Some(Input::Place(place, history)) => {
                    if let Some(line) = splitter.finish() {
                        self.line(&line).await?;
                    }
                    splitter = self.splitter(place.offset);
                    self.at = Some((place, history));
                    self.come_to(place.offset).await?;
                }
                Some(Input::Head(head)) => self.at.iter_mut().for_each(|(place, _)| place.head = head),
                Some(Input::Failed(error)) => break (Last::Failed, Err(ShipError::Read(error))),
                Some(Input::End) => break (Last::End, Ok(())),
                Some(Input::Stopped) | None => break (Last::Stopped, Ok(())),
            }
        };
        // With a checkpoint the next start reads a line whole that has begun only; without one it is now or never.
        let read_again = matches!(last, Last::Stopped) && self.job.checkpoint.is_some();
        if !read_again && let Some(line) = splitter.finish() {
            self.line(&line).await?;
        }
        self.begin().await?;
        self.end(last).await?;
        result
    }

    /// Writes that the run began, if it hasn't.
    async fn begin(&mut self) -> Result<(), ShipError> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        let reached = self.at.as_ref().and_then(|(place, _)| self.reached(place.offset));
        self.event(self.job.run.started(), reached).await
    }

    /// Notes where what follows is read from, the first time at once.
    async fn come_to(&mut self, offset: u64) -> Result<(), ShipError> {
        let reached = self.reached(offset);
        match (&self.job.checkpoint, &reached) {
            (Some(file), Some(reached)) if !self.begun => {
                let stored = reached.store(file, self.job.run.id(), self.job.events).await;
                stored.map_err(ShipError::Checkpoint)?;
                self.begin().await
            }
            _ => {
                self.pass_on(Item { delivery: None, is_line: false, reached }).await;
                Ok(())
            }
        }
    }

    /// An offset in the file that is read.
    fn reached(&self, offset: u64) -> Option<Reached> {
        let (place, history) = self.at.as_ref()?;
        let (place, history) = (Place { offset, ..*place }, Arc::clone(history));
        Some(Reached { place, history, sequence: self.job.run.next_sequence() })
    }

    fn splitter(&self, offset: u64) -> Splitter {
        Splitter::new(Splitter::LIMIT, self.job.long_lines, offset)
    }

    async fn line(&self, line: &Line<'_>) -> Result<(), ShipError> {
        if line.end.is_some() {
            self.tally.lines.fetch_add(1, Ordering::AcqRel);
        }
        let delivery = if let Extent::Refused { length } = line.extent {
            tracing::warn!("a line of {length} bytes is refused");
            self.tally.refused.fetch_add(1, Ordering::AcqRel);
            // The hole in the numbers shows it to readers.
            self.job.run.skip(1);
            None
        } else {
            self.tally.entries.fetch_add(1, Ordering::AcqRel);
            match self.job.labels.entry(&self.job.run, &parse(line)).send().await {
                // The time is over; what is still to come is only counted.
                Err(SendError::Closed) => return Ok(()),
                result => Some(result?),
            }
        };
        let reached = line.end.and_then(|offset| self.reached(offset));
        self.pass_on(Item { delivery, is_line: true, reached }).await;
        Ok(())
    }

    async fn end(&self, last: Last) -> Result<(), ShipError> {
        let event = match last {
            Last::End => self.job.run.completed(),
            Last::Stopped => self.job.run.cancelled("shipping was stopped"),
            Last::Failed => self.job.run.failed("the input could not be read"),
        };
        match self.event(event, None).await {
            // The time is over.
            Err(ShipError::Send(SendError::Closed)) => Ok(()),
            result => result,
        }
    }

    async fn event(&self, event: EventBuilder<'_>, reached: Option<Reached>) -> Result<(), ShipError> {
        if self.job.events {
            let delivery = Some(event.send().await?);
            self.pass_on(Item { delivery, is_line: false, reached }).await;
        }
        Ok(())
    }

    async fn pass_on(&self, item: Item) {
        // The other side goes early only with an error, which is the result then.
        let _ = self.sent.send(item).await;
    }
}

#[derive(Clone, Copy)]
enum Last {
    End,
    Stopped,
    Failed,
}

/// Awaits the deliveries in their order, and notes how far they have come.
async fn settle(
    job: &Job,
    mut items: mpsc::Receiver<Item>,
    stop: &CancellationToken,
    tally: &Tally,
) -> Result<(), ShipError> {
    let mut checkpoint = Pending::new(job.checkpoint.as_ref(), job.run.id());
    let mut first_failure = None;
    while let Some(item) = checkpoint.during(items.recv()).await {
        let entries = u64::from(item.is_line && item.delivery.is_some());
        let result = match item.delivery {
            Some(delivery) => checkpoint.during(delivery).await.map(|_| ()),
            None => Ok(()),
        };
        match result {
            Ok(()) => {
                tally.delivered.fetch_add(entries, Ordering::AcqRel);
                // Behind a failure nothing counts as shipped.
                if first_failure.is_none() {
                    checkpoint.reach(item.reached);
                }
            }
            Err(error) => {
                first_failure.get_or_insert(error);
                stop.cancel();
            }
        }
    }
    checkpoint.finish().await.map_err(ShipError::Checkpoint)?;
    first_failure.map_or(Ok(()), |error| Err(error.into()))
}
