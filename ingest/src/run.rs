//! Running a program, passing its output through, and shipping it.
//!
//! What the program and whoever watches it see is what they would see without us: bytes pass unchanged and at once, its
//! exit status is ours, signals reach it. Only its outputs are pipes and not the terminal.
//!
//! - Lines of the two outputs are in the log in the order in which they arrived here.
//! - Nothing that happens to Kafka touches the program. Lines wait in memory, up to [`Job::queue_bytes`] beside the
//!   producer's own buffer; what comes when that is full is passed through but lost to the log. This is said at once on
//!   standard error, stands in the log as an entry in its place and a hole in the numbers, and is counted in [`Report`].
//! - The run begins and ends with the program: `started`, then `completed` (exit status 0), `cancelled` (it ended otherwise
//!   after we passed a signal on) or `failed`, with the exit status.

mod child;
mod queue;
mod tee;

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use agentworks_schemas::{Level, Source};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::producer::{Delivery, DeliveryError, EventBuilder, Producer, RunHandle, SendError};
use crate::ship::Labels;
use crate::ship::input::Stop;
use crate::ship::lines::{Extent, LongLines};
use crate::ship::parse::parse;
use crate::signals::Signals;

pub use child::{Command, Exit};

use child::Child;
use queue::{Heard, Listener, OwnedLine, Queue, Stream};
use tee::Tee;

/// What is to be run, and how its output is shipped.
#[derive(Debug)]
pub struct Job {
    /// The program.
    pub command: Command,
    /// The producer, for this job alone: it is closed at the end.
    pub producer: Producer,
    /// The run that the program is.
    pub run: RunHandle,
    /// Who writes the lines. Their component is `stdout` or `stderr`.
    pub source: Source,
    /// The level of a line that shows none.
    pub level: Level,
    /// What becomes of long lines.
    pub long_lines: LongLines,
    /// How many bytes of lines may wait beside the producer's buffer.
    pub queue_bytes: usize,
    /// How long to wait for Kafka when the program has ended.
    pub patience: Duration,
}

/// How it went.
#[derive(Debug)]
pub struct Report {
    /// How the program ended.
    pub exit: Exit,
    /// Entries and events that Kafka acknowledged.
    pub delivered: u64,
    /// Lines, and events, that are not known to be in the log.
    pub lost: u64,
    /// The first reason for that, where it was not the full queue.
    pub error: Option<LostError>,
}

/// Why something was lost to the log.
#[derive(Debug, thiserror::Error)]
pub enum LostError {
    /// It was not taken.
    #[error(transparent)]
    Send(#[from] SendError),
    /// It was not delivered.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
}

/// Runs the program to its end and ships what it says. A signal that comes after its end, while Kafka is waited for, ends
/// the waiting.
///
/// # Errors
/// Only what has nothing to do with the program or Kafka: there are no more pipes or threads.
pub async fn run(job: Job, signals: &mut Signals) -> io::Result<Report> {
    let (listener, queue) = queue::queue(job.queue_bytes);
    let (sent, deliveries) = mpsc::unbounded_channel();
    let (ended, exit) = oneshot::channel();
    let shipped = CancellationToken::new();
    let program = async {
        let exit = supervise(&job, listener, signals).await?;
        // The other side may have nothing left to do.
        let _ = ended.send(exit.clone());
        let in_time = tokio::select! {
            () = shipped.cancelled() => true,
            () = tokio::time::sleep(job.patience) => false,
            _ = signals.next() => false,
        };
        if !in_time {
            // Fails what waits for room or for Kafka: it is counted as lost.
            let _ = job.producer.close(Duration::ZERO).await;
        }
        io::Result::Ok(exit)
    };
    let shipping = async {
        let shipper = Shipper { job: &job, sent, lost: 0, error: None };
        let (unsent, settled) = tokio::join!(shipper.run(queue, exit), settle(deliveries));
        shipped.cancel();
        (unsent, settled)
    };
    let (exit, ((unsent, send_error), (delivered, failed, delivery_error))) = tokio::join!(program, shipping);
    let error = send_error.or(delivery_error);
    Ok(Report { exit: exit?, delivered, lost: unsent + failed, error })
}

/// So long the outputs are read on that something else has inherited and keeps open, when the program itself has ended.
const GRACE: Duration = Duration::from_secs(1);

/// Runs the program until it has ended and its outputs have been passed through.
async fn supervise(job: &Job, listener: Listener, signals: &mut Signals) -> io::Result<Exit> {
    let (tees_running, mut tees_ended) = mpsc::channel::<Infallible>(1);
    let mut tees = Vec::new();
    let mut pipes = Vec::new();
    for (stream, screen) in [
        (Stream::Stdout, io::stdout().as_fd().try_clone_to_owned()?),
        (Stream::Stderr, io::stderr().as_fd().try_clone_to_owned()?),
    ] {
        let (output, input) = io::pipe()?;
        let (stop, go) = Stop::new()?;
        let from = OwnedFd::from(output).into();
        let tee = Tee { stream, from, to: screen.into(), listener: listener.clone() };
        tee.start(stop, job.long_lines, tees_running.clone())?;
        tees.push(go);
        pipes.push(OwnedFd::from(input));
    }
    drop((tees_running, listener));
    let [stdout, stderr] = <[OwnedFd; 2]>::try_from(pipes).map_err(|_| io::Error::other("two pipes were made"))?;
    let exit = match Child::start(&job.command, stdout, stderr) {
        Ok(mut child) => child.wait(signals).await?,
        Err(error) => Exit::never_started(&job.command, &error),
    };
    if tokio::time::timeout(GRACE, tees_ended.recv()).await.is_err() {
        tees.clear();
        // Whoever watches may be slow to read the rest; a signal says not to wait for that.
        tokio::select! {
            _ = tees_ended.recv() => {}
            _ = signals.next() => {}
        }
    }
    Ok(exit)
}

/// What could not even be sent, and the first reason.
type Unsent = (u64, Option<LostError>);

struct Shipper<'a> {
    job: &'a Job,
    sent: mpsc::UnboundedSender<Delivery>,
    lost: u64,
    error: Option<LostError>,
}

impl Shipper<'_> {
    async fn run(mut self, mut queue: Queue, exit: oneshot::Receiver<Exit>) -> Unsent {
        let Job { run, source, level, .. } = self.job;
        let labels = |component: &str| Labels { source: *source, component: component.into(), level: *level };
        let (stdout, stderr) = (labels("stdout"), labels("stderr"));
        self.note(run.started().send().await);
        while let Some(heard) = queue.next().await {
            match heard {
                Heard::Line(line) => match line.stream {
                    Stream::Stdout => self.line(&stdout, &line).await,
                    Stream::Stderr => self.line(&stderr, &line).await,
                },
                Heard::Lost(count) => self.hole(count).await,
            }
        }
        // Without an exit there was no program either.
        if let Ok(exit) = exit.await {
            self.note(end_of_run(run, &exit).send().await);
        }
        (self.lost, self.error)
    }

    async fn line(&mut self, labels: &Labels, line: &OwnedLine) {
        let text = line.line();
        if let Extent::Refused { length } = text.extent {
            tracing::warn!("a line of {length} bytes is refused");
            self.job.run.skip(1);
            self.lost += 1;
            return;
        }
        let parsed = parse(&text);
        let entry = labels.entry(&self.job.run, &parsed);
        let entry = if parsed.timestamp.is_none() { entry.timestamp(line.at) } else { entry };
        self.note(entry.send().await);
    }

    async fn hole(&mut self, count: u64) {
        self.lost += count;
        let run = &self.job.run;
        run.skip(count.cast_signed());
        let message =
            format!("{count} lines are missing here: Kafka did not keep up, and the memory for them was full");
        self.note(run.log(Level::Warn, self.job.source, "agentworks", &message).send().await);
    }

    fn note(&mut self, result: Result<Delivery, SendError>) {
        match result {
            Ok(delivery) => {
                // Whoever settles goes last.
                let _ = self.sent.send(delivery);
            }
            Err(error) => {
                self.lost += 1;
                self.error.get_or_insert(error.into());
            }
        }
    }
}

fn end_of_run<'a>(run: &'a RunHandle, exit: &'a Exit) -> EventBuilder<'a> {
    let reason = exit.reason.as_deref().unwrap_or_default();
    let event = match (exit.code, exit.asked_to_end) {
        (0, _) => run.completed(),
        (_, true) => run.cancelled(reason),
        (_, false) => run.failed(reason),
    };
    event.exit_code(exit.code)
}

/// Awaits the deliveries: how many were made, how many were not, and the first reason.
async fn settle(mut deliveries: mpsc::UnboundedReceiver<Delivery>) -> (u64, u64, Option<LostError>) {
    let (mut delivered, mut failed, mut error) = (0, 0, None);
    while let Some(delivery) = deliveries.recv().await {
        match delivery.await {
            Ok(_) => delivered += 1,
            Err(reason) => {
                failed += 1;
                error.get_or_insert(reason.into());
            }
        }
    }
    (delivered, failed, error)
}
