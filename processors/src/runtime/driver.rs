//! The driver: one task that hands batches to the sinks and flushes them.

mod closing;
pub(super) mod doubt;
mod ending;
mod ends;
mod epochs;
mod letters;
mod open;
mod quiet;
mod tails;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_kafka::{Batch, DeadLetters, SeekPool};
use agentworks_schemas::TopicPartition;
use agentworks_store::Store;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use self::ending::Ending;
use self::letters::Failed;
use super::RuntimeConfig;
use super::lane::{Lane, Phase};
use super::message::{Assignment, ToConsumer, ToDriver};
use super::metrics::GroupMetrics;
use super::room::Room;
use super::sinks::{self, Outcome, SinkSlot};
use super::status::{Board, LaneView};
use crate::epochs::Epochs;
use crate::lane::Held;
use crate::sink::Flush;

/// How often sinks are asked whether anything is due.
const TICK: Duration = Duration::from_millis(200);
/// How often metrics are shown.
const SHOW: Duration = Duration::from_secs(1);
/// How the dead-letter topic is called among what is being tried again.
const DEAD_LETTERS: &str = "dead letters";

/// What is asked about the topics, beside what the consumer sees of them.
#[derive(Clone, Debug)]
pub(super) struct Log {
    /// Who reads them.
    pub(super) group: String,
    /// Where it is kept what is known of them.
    pub(super) store: Arc<dyn Store>,
    /// Where logs begin and end, and what they hold.
    pub(super) seek: SeekPool,
    /// Which making of a topic they are.
    pub(super) epochs: Epochs,
}

pub(super) struct Driver {
    memory: usize,
    /// How long to go on writing what is pending for a partition that is about to stop.
    drain_time: Duration,
    sinks: Vec<SinkSlot>,
    lanes: HashMap<TopicPartition, Lane>,
    /// Those that are about to stop.
    ending: HashMap<TopicPartition, Ending>,
    /// What waits, in order. The head may have been handed to some sinks already.
    queue: VecDeque<(Assignment, Arc<Batch>, Room)>,
    /// The epoch and offset up to which the rejects of partitions are in the dead-letter topic.
    letters_to: HashMap<TopicPartition, (u32, i64)>,
    /// How many bytes a partition may put aside while its rejects are written.
    aside: usize,
    /// To how many sinks of its partition.
    head_taken: usize,
    dead_letters: Option<Arc<DeadLetters>>,
    /// The partitions whose rejects could not be written.
    failed_letters: HashMap<TopicPartition, Failed>,
    /// Whether tails are being kept.
    keeps_tails: bool,
    /// When to keep them next.
    next_tails: Instant,
    log: Log,
    /// Look at the topics' epochs, and at where logs end. Ended when this is dropped.
    _look: JoinSet<()>,
    to_self: UnboundedSender<ToDriver>,
    inbound: UnboundedReceiver<ToDriver>,
    consumer: std::sync::mpsc::Sender<ToConsumer>,
    board: Arc<Board>,
    metrics: GroupMetrics,
    /// Set when no more batches will come.
    drain: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        config: RuntimeConfig,
        dead_letters: Option<DeadLetters>,
        log: Log,
        to_self: UnboundedSender<ToDriver>,
        inbound: UnboundedReceiver<ToDriver>,
        consumer: std::sync::mpsc::Sender<ToConsumer>,
        board: Arc<Board>,
    ) -> Self {
        let mut look = JoinSet::new();
        look.spawn(epochs::look(log.epochs.clone(), config.look, to_self.clone()));
        look.spawn(ends::look(log.seek.clone(), config.look, board.clone()));
        let names = config.sinks.iter().map(|sink| sink.name()).collect();
        Driver {
            memory: config.memory,
            drain_time: config.drain,
            sinks: config.sinks.into_iter().map(SinkSlot::new).collect(),
            lanes: HashMap::new(),
            ending: HashMap::new(),
            queue: VecDeque::new(),
            letters_to: HashMap::new(),
            aside: config.queue / 8,
            head_taken: 0,
            dead_letters: dead_letters.map(Arc::new),
            failed_letters: HashMap::new(),
            keeps_tails: false,
            next_tails: Instant::now() + tails::EVERY,
            log,
            _look: look,
            to_self,
            inbound,
            consumer,
            board,
            metrics: GroupMetrics::new(config.metrics, &config.group, names),
            drain: None,
        }
    }

    /// Works until it has drained.
    pub(super) async fn run(mut self) {
        let (mut next_tick, mut next_show) = (Instant::now(), Instant::now());
        loop {
            // What the group does comes before what it has sent: batches of partitions that are gone are dropped.
            while let Ok(message) = self.inbound.try_recv() {
                self.receive(message).await;
            }
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + TICK;
                self.tick().await;
                self.publish();
                if now >= self.next_tails {
                    self.next_tails = now + tails::EVERY;
                    self.keep_tails();
                }
                if now >= next_show {
                    next_show = now + SHOW;
                    self.show();
                }
            }
            self.stop_ended().await;
            if let Some(deadline) = self.drain
                && (self.is_done() || Instant::now() >= deadline)
            {
                self.finish(deadline).await;
                return;
            }
            if self.may_step() {
                self.step().await;
                continue;
            }
            let now = Instant::now();
            let wake = self.retries(now).chain(self.drain).chain([next_tick]).min().unwrap_or(next_tick);
            tokio::select! {
                message = self.inbound.recv() => match message {
                    Some(message) => self.receive(message).await,
                    None => return,
                },
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    async fn receive(&mut self, message: ToDriver) {
        match message {
            ToDriver::Open { partition, assignment } => self.open(partition, assignment),
            ToDriver::Log { partition, assignment, answer } => self.open_sinks(partition, assignment, answer).await,
            ToDriver::Epochs { begun, sights } => self.compare_epochs(begun, &sights).await,
            ToDriver::Quiet { partition, assignment, from } => self.look_behind(partition, assignment, from),
            ToDriver::Batch { assignment, batch, room } => {
                self.metrics.batch(&batch);
                let lane = self.lanes.get_mut(&batch.partition).filter(|lane| lane.assignment == assignment);
                if let Some((lane, last)) = lane.zip(batch.last()) {
                    lane.seen.note(last, Instant::now());
                }
                self.queue.push_back((assignment, batch, room));
            }
            ToDriver::Stop { partition, assignment, reason } => {
                if self.lanes.get(&partition).is_some_and(|lane| lane.assignment == assignment) {
                    // What has come was read before that was found.
                    self.end_with(partition, reason, None);
                }
            }
            ToDriver::Doubt { partition, assignment, next, retry } => {
                self.compare(partition, assignment, next, retry).await;
            }
            ToDriver::Letters { partition, assignment, to, result } => {
                self.letters_written(partition, assignment, to, result).await;
            }
            ToDriver::Tails { kept, result } => self.tails_kept(kept, result),
            ToDriver::Again { partition, assignment } => self.open_again(partition, assignment),
            ToDriver::Close { partitions, deadline, number } => {
                let held = self.close_all(partitions, deadline).await;
                self.publish();
                // If the thread has ended, so will this task.
                let _ = self.consumer.send(ToConsumer::Closed { number, held });
            }
            ToDriver::Drain { deadline } => self.drain = Some(deadline),
        }
    }

    /// The times to come at which something is to be tried again. What is past waits for something else: a batch for another
    /// sink, a flush for the next tick.
    fn retries(&self, now: Instant) -> impl Iterator<Item = Instant> {
        self.sinks.iter().filter_map(SinkSlot::retry_at).filter(move |at| *at > now)
    }

    /// Whether all batches that have come have been taken.
    fn is_done(&self) -> bool {
        self.queue.is_empty() && self.lanes.values().all(|lane| lane.aside.is_empty())
    }

    /// Whether the head of the queue can be worked on.
    fn may_step(&self) -> bool {
        let now = Instant::now();
        !self.queue.is_empty() && self.sinks.iter().all(|sink| sink.is_free(now))
    }

    /// Takes the head of the queue as far as it goes.
    async fn step(&mut self) {
        let Some((assignment, batch, room)) = self.queue.front() else { return };
        let (partition, assignment, batch) = (batch.partition, *assignment, batch.clone());
        let is_of_log = self.ending.get(&partition).is_none_or(|ending| ending.is_of_before(room));
        let is_wanted =
            |lane: &&mut Lane| lane.assignment == assignment && matches!(lane.phase, Phase::Reading) && is_of_log;
        if self.lanes.get_mut(&partition).filter(is_wanted).is_none() {
            return self.next();
        }
        if self.waits_for_letters(partition, &batch).await {
            return;
        }
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        while let Some(part) = lane.sinks.get(self.head_taken) {
            let sink = part.sink;
            if part.stopped.is_none() && batch.to > part.start {
                match self.sinks[sink].take(&batch, &self.metrics).await {
                    Outcome::Done(()) => {}
                    Outcome::Later => return,
                    // The batch stays the head, for the other sinks.
                    Outcome::Failed(error) => return self.stop_part(sink, partition, error.reason()),
                }
            }
            self.head_taken += 1;
        }
        lane.taken(&batch);
        self.letters_passed(partition, batch.to);
        self.next();
        self.free().await;
    }

    /// Drops the head of the queue.
    fn next(&mut self) {
        self.queue.pop_front();
        self.head_taken = 0;
        self.sinks.iter_mut().for_each(SinkSlot::forget_take);
    }

    /// Keeps what is pending within the memory that there is for it, by flushing the largest.
    async fn free(&mut self) {
        let pending: usize = self.sinks.iter().map(SinkSlot::pending).sum();
        if pending <= self.memory {
            return;
        }
        // A bit more than need be, so as not to come back with each batch.
        let excess = pending - self.memory + self.memory / 8;
        if let Some(largest) = (0..self.sinks.len()).max_by_key(|sink| self.sinks[*sink].pending()) {
            let begun = Instant::now();
            let outcome = self.sinks[largest].flush(Flush::Free(excess), &self.metrics).await;
            self.flushed(largest, outcome, begun.elapsed());
        }
    }

    async fn tick(&mut self) {
        let outcomes = sinks::tick(&mut self.sinks, !self.queue.is_empty(), &self.metrics).await;
        for (sink, (outcome, took)) in outcomes.into_iter().enumerate() {
            self.flushed(sink, outcome, took);
        }
    }

    fn flushed(&mut self, sink: usize, outcome: Outcome<Vec<Held>>, took: Duration) {
        match outcome {
            Outcome::Done(held) => {
                let offsets = self.hold(sink, &held);
                if offsets > 0 {
                    self.metrics.flushed(self.sinks[sink].name, offsets, took);
                }
            }
            Outcome::Later => {}
            Outcome::Failed(error) => self.stop_sink(sink, error),
        }
    }

    /// Notes what a sink has published. Returns by how many offsets that moves its positions.
    fn hold(&mut self, sink: usize, held: &[Held]) -> i64 {
        let mut moved = 0;
        for held in held {
            if let Some(lane) = self.lanes.get_mut(&held.partition) {
                moved += lane.holds(sink, held);
            }
        }
        moved
    }

    /// Writes down what can be seen from outside.
    fn publish(&self) {
        let view = |(partition, lane): (&TopicPartition, &Lane)| {
            let ending = self.ending.get(partition);
            let problem = ending.map(|ending| format!("it stops when what was read is written: {}", ending.reason));
            (*partition, LaneView { problem, ..lane.view() })
        };
        let lanes: BTreeMap<_, _> = self.lanes.iter().map(view).collect();
        let sinks = self.sinks.iter().filter_map(|sink| Some((sink.name, sink.error()?.to_owned())));
        // What is waited for is the same in all partitions.
        let letters = self.failed_letters.values().next().map(|failed| (DEAD_LETTERS, failed.retry.error.clone()));
        self.board.set_driver(lanes, sinks.chain(letters).collect());
    }

    fn show(&mut self) {
        for sink in &self.sinks {
            self.metrics.pending(sink.name, sink.pending());
        }
        self.metrics.show(&self.board.status());
    }
}
