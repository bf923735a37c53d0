//! The partition runtime: drives sinks from one consumer group.
//!
//! One thread polls Kafka and collects batches ([`consumer`]), one decodes them ([`decode`]); one task takes them, sends
//! rejects to the dead-letter topic, hands the batch to each sink, and flushes ([`driver`]). Positions come from the
//! sinks: a partition that the group gives to this member is first opened in every sink that takes it, and only then
//! read, from the least of their positions on. Kafka's committed offsets are advice for lag dashboards.
//!
//! Nothing waits inside of a rebalance: the callback notes what was given and taken ([`group`]), and the thread keeps
//! polling while the driver opens partitions, or flushes those that are to be given up. Batches carry the number of the
//! assignment that they belong to, so that none outlives it.
//!
//! Each partition is of an *epoch* of its topic ([`crate::epochs`]), which is looked up when it is opened and every few
//! seconds after that. Where the topic has been made again the partition stops; once an operator has adopted it, it is
//! opened anew. Offsets without records at the end of a log (markers of transactions, what an aborted one wrote, what
//! compaction took) are made sure of by a second look at the log, and then count as taken.
//!
//! A fault stops no more than it must. What may pass is tried again for ever, with the runtime waiting ([`retry`]); what
//! won't stops a partition, a sink, or the runtime, and [`RuntimeHandle::status`] says which and why.

mod consumer;
mod decode;
mod driver;
mod group;
mod lane;
mod message;
mod metrics;
mod retry;
mod room;
mod sinks;
mod status;
pub mod testing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use agentworks_kafka::{DeadLetters, KafkaError, KafkaSettings, SeekPool};
use agentworks_store::Store;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::epochs::{Epochs, SinkEpochs};
use crate::sink::Sink;
use consumer::Poller;
use decode::Pipe;
use driver::{Driver, Log};
use message::ToConsumer;
pub use metrics::RuntimeMetrics;
use status::Board;
pub use status::{LaneState, LaneStatus, RuntimeStatus, SinkStatus};

/// What a runtime is made of.
pub struct RuntimeConfig {
    /// Where Kafka is.
    pub kafka: KafkaSettings,
    /// The consumer group.
    pub group: String,
    /// A name of this process that stays when it is started again: it then has its partitions back at once. No two
    /// processes may have the same. Without one, others take the partitions as soon as the process ends.
    pub instance: Option<String>,
    /// Where the topics' epochs are recorded, and by which records their logs are known again: the store that the sinks
    /// write to.
    pub store: Arc<dyn Store>,
    /// What else tells of epochs, where the store knows of none: it may have been lost.
    pub elsewhere: Vec<Arc<dyn SinkEpochs>>,
    /// What is to be fed. The topics are those that they take.
    pub sinks: Vec<Box<dyn Sink>>,
    /// Whether rejects go to the dead-letter topic. Of all groups that read the same topics, one does this.
    pub dead_letters: bool,
    /// How much pending data the sinks may hold together, in bytes, before the largest is flushed early.
    pub memory: usize,
    /// How many bytes of decoded batches may wait for the sinks, before the consumer pauses.
    pub queue: usize,
    /// A batch that isn't full waits for so long.
    pub linger: Duration,
    /// How long to go on writing what is pending when partitions are taken away, or on shutdown.
    pub drain: Duration,
    /// Whether to ask the brokers for the topics' ids. If not, for brokers before 2.8 or that don't let us describe
    /// topics, offsets alone tell whether a topic was made again.
    pub topic_ids: bool,
    /// How often to look whether topics have been made again, or adopted, and where logs end.
    pub look: Duration,
    /// Where to count.
    pub metrics: RuntimeMetrics,
}

impl RuntimeConfig {
    /// The usual limits, a dynamic member, rejects to the dead-letter topic.
    pub fn new(
        kafka: KafkaSettings,
        group: impl Into<String>,
        store: Arc<dyn Store>,
        sinks: Vec<Box<dyn Sink>>,
    ) -> Self {
        RuntimeConfig {
            kafka,
            group: group.into(),
            instance: None,
            store,
            elsewhere: Vec::new(),
            sinks,
            dead_letters: true,
            memory: 128 * 1024 * 1024,
            queue: 32 * 1024 * 1024,
            linger: Duration::from_millis(30),
            drain: Duration::from_secs(10),
            topic_ids: true,
            look: Duration::from_secs(3),
            metrics: RuntimeMetrics::default(),
        }
    }
}

impl fmt::Debug for RuntimeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sinks: Vec<_> = self.sinks.iter().map(|sink| sink.name()).collect();
        f.debug_struct("RuntimeConfig")
            .field("kafka", &self.kafka)
            .field("group", &self.group)
            .field("instance", &self.instance)
            .field("sinks", &sinks)
            .finish_non_exhaustive()
    }
}

/// Starting a runtime.
#[derive(Debug)]
pub struct Runtime;

impl Runtime {
    /// Starts a runtime. It needs neither the brokers nor the sinks' stores to be there yet; it waits for them.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(config: RuntimeConfig) -> Result<RuntimeHandle, KafkaError> {
        let dead_letters = config.dead_letters.then(|| DeadLetters::new(&config.kafka)).transpose()?;
        let epochs = match config.topic_ids {
            true => Epochs::new(config.store.clone(), &config.kafka)?,
            false => Epochs::without_ids(config.store.clone()),
        };
        let epochs = epochs.with(config.elsewhere.iter().cloned());
        let (group, store) = (config.group.clone(), config.store.clone());
        let log = Log { group, store, seek: SeekPool::new(config.kafka.clone(), 1), epochs };
        let board = Arc::new(Board::new(&config.group));
        let drain = config.drain;

        let (to_driver, from_all) = mpsc::unbounded_channel();
        let (to_consumer, from_driver) = std::sync::mpsc::channel();
        let pipe = Pipe::start(to_driver.clone()).map_err(|error| no_thread(&error))?;
        let poller = Poller::new(&config, pipe, (to_consumer.clone(), from_driver), board.clone())?;
        let driver = Driver::new(config, dead_letters, log, to_driver, from_all, to_consumer.clone(), board.clone());

        let driver = tokio::spawn(driver.run());
        let (ended, end) = oneshot::channel();
        let spawned = thread::Builder::new().name("kafka-consumer".into()).spawn(move || {
            poller.run();
            // The handle may have been dropped.
            let _ = ended.send(());
        });
        if let Err(error) = spawned {
            driver.abort();
            return Err(no_thread(&error));
        }
        Ok(RuntimeHandle { to_consumer, driver, end: Some(end), drain, board })
    }
}

fn no_thread(error: &io::Error) -> KafkaError {
    KafkaError::Failed(format!("no thread for a consumer: {error}"))
}

/// A running runtime. Dropping it ends the runtime as a crash would: what is pending is lost here, and read again from
/// the log by whoever comes next.
#[derive(Debug)]
pub struct RuntimeHandle {
    to_consumer: std::sync::mpsc::Sender<ToConsumer>,
    driver: JoinHandle<()>,
    end: Option<oneshot::Receiver<()>>,
    drain: Duration,
    board: Arc<Board>,
}

impl RuntimeHandle {
    /// How far the runtime has come, and what is wrong with it.
    pub fn status(&self) -> RuntimeStatus {
        self.board.status()
    }

    /// Whether the runtime does its work: it has joined its group, all its partitions are being read, and no sink is
    /// failing. How far it lags is another question.
    pub fn is_ready(&self) -> bool {
        self.status().is_ready()
    }

    /// Writes what is pending, as long as the configured drain time allows, and leaves the group.
    pub async fn shutdown(mut self) {
        // Whatever has ended already needs no telling.
        let _ = self.to_consumer.send(ToConsumer::Shutdown { deadline: Instant::now() + self.drain });
        if let Some(end) = self.end.take() {
            let _ = end.await;
        }
    }
}

impl Drop for RuntimeHandle {
    fn drop(&mut self) {
        // After a shutdown both have ended, and this does nothing.
        let _ = self.to_consumer.send(ToConsumer::Abort);
        self.driver.abort();
    }
}
