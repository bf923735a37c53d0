//! The way of lines from a reader into the log.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentworks_schemas::{Level, Source};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::checkpoint::{CheckpointFile, Place};
use super::input::{Input, Reader};
use super::lines::{Extent, Line, LongLines, Splitter};
use super::parse::{Parsed, parse};
use crate::producer::{Delivery, DeliveryError, EntryBuilder, Producer, RunHandle, SendError};

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
    /// Where to note how far a file is shipped.
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
    #[error("cannot write the checkpoint: {0}")]
    Checkpoint(#[source] io::Error),
}

/// How often a checkpoint is written.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(200);

/// An entry that was sent, or a line that gave none.
struct Item {
    delivery: Option<Delivery>,
    /// Whether it is of a line, and not an event.
    is_line: bool,
    /// How far the file is shipped when this one and all before are delivered, and the number of the next entry.
    reached: Option<(Place, i64)>,
}

/// Ships what `reader` reads until its end, or until `stop`: then what was read already is shipped, and no more.
///
/// Lines are in the log in their order. The reader waits when Kafka does. An entry that fails for good ends it, and what
/// comes behind a checkpoint's place is shipped again by the next start.
pub async fn ship(job: &Job, reader: Reader, stop: &CancellationToken, tally: &Tally) -> Result<(), ShipError> {
    let (sent, items) = mpsc::channel(64 * 1024);
    let reading = async {
        let result = Reading { job, tally, sent, place: None }.run(reader, stop).await;
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
    place: Option<Place>,
}

impl Reading<'_> {
    async fn run(mut self, mut reader: Reader, stop: &CancellationToken) -> Result<(), ShipError> {
        if self.job.events {
            let delivery = self.job.run.started().send().await?;
            self.pass_on(Item { delivery: Some(delivery), is_line: false, reached: None }).await;
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
                Some(Input::Place(place)) => {
                    if let Some(line) = splitter.finish() {
                        self.line(&line).await?;
                    }
                    splitter = self.splitter(place.offset);
                    self.place = Some(place);
                }
                Some(Input::Head(head)) => self.place.iter_mut().for_each(|place| place.head = head),
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
        if self.job.events {
            self.end_of_run(last).await?;
        }
        result
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
        let reached = self.place.zip(line.end).map(|(place, offset)| Place { offset, ..place });
        let reached = reached.map(|place| (place, self.job.run.next_sequence()));
        self.pass_on(Item { delivery, is_line: true, reached }).await;
        Ok(())
    }

    async fn end_of_run(&self, last: Last) -> Result<(), ShipError> {
        let event = match last {
            Last::End => self.job.run.completed(),
            Last::Stopped => self.job.run.cancelled("shipping was stopped"),
            Last::Failed => self.job.run.failed("the input could not be read"),
        };
        match event.send().await {
            Err(SendError::Closed) => {}
            result => self.pass_on(Item { delivery: Some(result?), is_line: false, reached: None }).await,
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
    let mut checkpoint = Pending { job, reached: None, due: Instant::now() };
    let mut first_failure = None;
    loop {
        let item = tokio::select! {
            item = items.recv() => item,
            () = tokio::time::sleep_until(checkpoint.due), if checkpoint.reached.is_some() => {
                checkpoint.store().await?;
                continue;
            }
        };
        let Some(item) = item else { break };
        let entries = u64::from(item.is_line && item.delivery.is_some());
        let result = match item.delivery {
            Some(mut delivery) => tokio::select! {
                biased;
                result = &mut delivery => result.map(|_| ()),
                () = tokio::time::sleep_until(checkpoint.due), if checkpoint.reached.is_some() => {
                    checkpoint.store().await?;
                    delivery.await.map(|_| ())
                }
            },
            None => Ok(()),
        };
        match result {
            Ok(()) => {
                tally.delivered.fetch_add(entries, Ordering::AcqRel);
                // Behind a failure nothing counts as shipped.
                if first_failure.is_none() && job.checkpoint.is_some() {
                    checkpoint.reached = item.reached.or(checkpoint.reached);
                }
            }
            Err(error) => {
                first_failure.get_or_insert(error);
                stop.cancel();
            }
        }
    }
    checkpoint.store().await?;
    first_failure.map_or(Ok(()), |error| Err(error.into()))
}

/// A checkpoint that is to be written.
struct Pending<'a> {
    job: &'a Job,
    reached: Option<(Place, i64)>,
    /// Not before.
    due: Instant,
}

impl Pending<'_> {
    async fn store(&mut self) -> Result<(), ShipError> {
        let (Some(file), Some((place, sequence))) = (&self.job.checkpoint, self.reached.take()) else { return Ok(()) };
        let (file, run) = (file.clone(), self.job.run.id().to_owned());
        let stored = tokio::task::spawn_blocking(move || file.store(place, &run, sequence)).await;
        self.due = Instant::now() + CHECKPOINT_INTERVAL;
        stored.map_err(io::Error::other).flatten().map_err(ShipError::Checkpoint)
    }
}
