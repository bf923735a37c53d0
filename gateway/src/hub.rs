//! The live hub: one consumer for all connections of this gateway.
//!
//! Partitions join when somebody watches a card in them, at a known offset, and leave a while after nobody does. Records
//! of cards that nobody watches are kept for a while, undecoded. Each entry of a watched card is decoded and encoded
//! once, and its frame is shared by all who watch.
//!
//! - [`core`]: records, channels and viewers, without Kafka.
//! - [`lanes`]: partitions that join and leave.
//! - [`attach`]: joining live at a cursor.
//! - [`channel`]: one card and its viewers; [`pending`]: what they are about to be pushed.
//! - [`batch`]: several entries in one frame.
//! - [`wanted`]: what a viewer wants to see.
//! - [`tail`]: the last records of a partition.
//! - [`consumer`]: the thread that reads Kafka.
//! - [`upkeep`]: where cards' records lie, what is old, what seems wrong.
//! - [`strays`]: cards that may have records elsewhere.
//! - [`summaries`]: fresh summaries of watched runs.
//! - [`watcher`]: what the hub tells a session.

mod attach;
mod batch;
mod channel;
mod consumer;
mod core;
mod decode;
mod lanes;
mod pending;
mod strays;
mod summaries;
mod tail;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod upkeep;
mod wanted;
mod watcher;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use agentworks_kafka::{KafkaError, KafkaSettings, SeekPool};
use agentworks_processors::reader::LogReader;
use agentworks_schemas::Cursor;
use agentworks_schemas::codec::Schemas;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use self::channel::{ChannelId, ViewerId};
use self::consumer::Consumer;
use self::core::Core;
use self::summaries::Summaries;
use self::upkeep::Upkeep;
use self::watcher::Watcher;
use crate::metrics::Metrics;
use crate::socket::Outbox;
use crate::socket::shard::{Shard, Shards};

pub(crate) use self::attach::Step;
pub(crate) use self::batch::{Batch, position_frame};
pub(crate) use self::channel::raise;
pub use self::core::HubLimits;
pub(crate) use self::wanted::{Filters, Runs, Wanted};
pub(crate) use self::watcher::{News, Reason};

/// A handle to the hub. Cheap to clone; the hub ends with the last one.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    upkeep: Upkeep,
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    shards: Shards,
    /// Ended when this is dropped.
    _tasks: JoinSet<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Hub {
    /// Starts a hub: its thread, and its tasks on this runtime. It reads nothing until somebody watches a card.
    ///
    /// # Errors
    /// If the consumer can't be made; whether Kafka can be reached shows later.
    pub fn start(
        settings: KafkaSettings,
        limits: HubLimits,
        reader: LogReader,
        seek: SeekPool,
        metrics: Arc<Metrics>,
    ) -> Result<Self, KafkaError> {
        let kafka = consumer::connect(&settings)?;
        let core = Arc::new(Mutex::new(Core::new(limits, Schemas::builtin(), metrics)));
        let (runs, suspicion) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let consumer = Consumer {
            settings,
            core: Arc::clone(&core),
            runs: Arc::clone(&runs),
            suspicion: Arc::clone(&suspicion),
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new()
            .name("hub".to_owned())
            .spawn(move || consumer.run(kafka))
            .map_err(|error| KafkaError::Failed(format!("the hub's thread can't be started: {error}")))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(Summaries::new(Arc::clone(&core), runs, reader.clone()).run());
        let upkeep = Upkeep { core, reader, seek };
        tasks.spawn(upkeep.clone().sweep());
        tasks.spawn(upkeep.clone().refresh());
        tasks.spawn(upkeep.clone().diagnose(suspicion));
        let shards = Shards::start(&mut tasks);
        Ok(Hub(Arc::new(Inner { upkeep, thread, stop, shards, _tasks: tasks })))
    }

    /// Whether the hub does its work. If not, it has failed for good, and this process should be started again.
    pub fn is_running(&self) -> bool {
        !self.0.thread.is_finished()
    }

    /// Who is to write what the hub pushes to the next connection.
    pub(crate) fn shard(&self) -> Arc<Shard> {
        self.0.shards.next()
    }

    /// Begins to watch a card. `end` is the end of the card's partitions a moment ago: from there on nothing is missed.
    ///
    /// # Errors
    /// If Kafka doesn't say where the card's run events end.
    pub(crate) async fn watch(
        &self,
        workspace: &str,
        card: &str,
        end: &Cursor,
        outbox: Arc<Outbox>,
    ) -> Result<Watch, KafkaError> {
        let watcher = Arc::new(Watcher::new(outbox));
        let own = Arc::clone(&watcher);
        let watch = |core: &mut Core, events: &Cursor| core.watch(workspace, card, (end, events), own);
        let (channel, viewer) = self.0.upkeep.with_events(end, watch).await?;
        Ok(Watch { hub: self.clone(), channel, viewer, watcher })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        work(&mut self.0.upkeep.core.lock())
    }
}

/// A session's hold on a card. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    hub: Hub,
    channel: ChannelId,
    viewer: ViewerId,
    watcher: Arc<Watcher>,
}

impl Watch {
    /// Goes a step towards live; see [`Step`].
    pub(crate) fn step(&self, cursor: &mut Cursor, wanted: &Wanted) -> Step {
        self.hub.with(|core| core.step(self.channel, self.viewer, cursor, wanted))
    }

    /// Has the hub push no more; the cursor just after what it pushed, if it did. It may have let go before: then
    /// [`Watch::news`] has the cursor.
    pub(crate) fn detach(&self) -> Option<Cursor> {
        self.hub.with(|core| core.detach(self.channel, self.viewer))
    }

    /// Has the hub tell the client its position, if it pushes and the client has heard of none for a while. `told` is
    /// the last position that was told so.
    pub(crate) fn mark(&self, told: &mut Cursor) {
        self.hub.with(|core| core.mark(self.channel, self.viewer, told));
    }

    /// Waits until there may be news. Only one task may wait.
    pub(crate) async fn changed(&self) {
        self.watcher.changed().await;
    }

    /// What the hub has to tell.
    pub(crate) fn news(&self) -> News {
        self.watcher.take()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.hub.with(|core| core.unwatch(self.channel, self.viewer, Instant::now()));
    }
}
