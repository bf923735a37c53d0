//! What the hub does beside the records: it notices where cards' records lie, drops what is old, and looks into what seems
//! wrong.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_kafka::{KafkaError, SeekPool, Watermarks};
use agentworks_processors::reader::{LogReader, ReadError, Scope};
use agentworks_schemas::{Cursor, Topic, TopicPartition};
use futures_util::StreamExt;
use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{error, warn};

use super::channel::ChannelId;
use super::core::Core;

/// How often old records are dropped.
const SWEEP: Duration = Duration::from_secs(1);
/// How often watched cards' partitions are looked up.
const REFRESH: Duration = Duration::from_secs(3);
/// How many cards are looked up in one round: fifty a second, of some three queries each.
const CARDS: usize = 150;
/// How many cards are looked up at the same time.
const CONCURRENT: usize = 8;
/// A position that doesn't fit the log must not fit it a second time, this much later: a broker that has just come back
/// may not know its own end yet.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// What upkeep works with.
#[derive(Clone, Debug)]
pub(super) struct Upkeep {
    pub(super) core: Arc<Mutex<Core>>,
    pub(super) reader: LogReader,
    pub(super) seek: SeekPool,
}

impl Upkeep {
    /// Drops what is old, again and again.
    pub(super) async fn sweep(self) {
        let mut ticks = interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let erased = self.reader.erasures().current();
            let mut core = self.core.lock();
            match erased {
                Some(erased) => core.erase(erased),
                // Something may have been erased: history is the reader's, which knows or waits.
                None => core.forget_tails(),
            }
            core.sweep(Instant::now());
        }
    }

    /// Looks up where the watched cards' records lie, again and again.
    pub(super) async fn refresh(self) {
        let mut ticks = interval(REFRESH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let channels = self.core.lock().due_for_look(Instant::now(), CARDS);
            let look_up = async |(id, scope): (ChannelId, Scope)| {
                // The next round tries again.
                if let Err(error) = self.look_up(id, &scope).await {
                    warn!(%error, "a watched card's partitions can't be looked up");
                }
            };
            stream::iter(channels).for_each_concurrent(CONCURRENT, look_up).await;
        }
    }

    async fn look_up(&self, id: ChannelId, scope: &Scope) -> Result<(), ReadError> {
        let start = self.reader.start_of_present(scope).await?;
        if self.core.lock().covers(id, &start) {
            return Ok(());
        }
        let end = self.reader.end(scope).await?;
        self.with_events(&end, |core, events| core.extend(id, &end, events)).await?;
        Ok(())
    }

    /// Does something with the core, given where to begin with the partitions that hold the run events of the cards in
    /// `entries`: at the end of a moment ago, unless they are read already.
    pub(super) async fn with_events<T>(
        &self,
        entries: &Cursor,
        work: impl FnOnce(&mut Core, &Cursor) -> T,
    ) -> Result<T, KafkaError> {
        let mut known = Cursor::new();
        let wanted: Vec<_> =
            entries.iter().map(|(tp, ..)| TopicPartition::new(Topic::RunEvents, tp.partition)).collect();
        loop {
            let missing = {
                let mut core = self.core.lock();
                for partition in &wanted {
                    if let Some(lane) = core.lanes.get(partition) {
                        known.set(*partition, lane.epoch, lane.next);
                    }
                }
                match wanted.iter().find(|partition| known.get(**partition).is_none()) {
                    None => return Ok(work(&mut core, &known)),
                    Some(missing) => *missing,
                }
            };
            let Watermarks { high, .. } = self.seek.watermarks(missing).await?;
            known.set(missing, 0, high);
        }
    }

    /// Looks into every suspicion.
    pub(super) async fn diagnose(self, suspicion: Arc<Notify>) {
        loop {
            suspicion.notified().await;
            // Faults come in swarms.
            sleep(Duration::from_millis(200)).await;
            while let Err(error) = self.check_lanes().await {
                warn!(%error, "the live tail's positions can't be checked; trying again");
                sleep(SECOND_LOOK).await;
            }
            sleep(SECOND_LOOK).await;
        }
    }

    /// Has every partition read on from where its lane stands, or anew where that doesn't fit the log.
    async fn check_lanes(&self) -> Result<(), ReadError> {
        let mut misfits = Vec::new();
        let partitions: Vec<TopicPartition> = self.core.lock().lanes.keys().copied().collect();
        for partition in partitions {
            if self.fits(partition).await? {
                // librdkafka may have given it up.
                let mut core = self.core.lock();
                if core.lanes.contains_key(&partition) {
                    core.rejoin(partition);
                }
            } else {
                misfits.push(partition);
            }
        }
        if !misfits.is_empty() {
            sleep(SECOND_LOOK).await;
        }
        for partition in misfits {
            if self.fits(partition).await? {
                self.core.lock().rejoin(partition);
            } else {
                self.begin_anew(partition).await?;
            }
        }
        Ok(())
    }

    async fn fits(&self, partition: TopicPartition) -> Result<bool, ReadError> {
        let Watermarks { low, high } = self.seek.watermarks(partition).await?;
        let next = self.core.lock().lanes.get(&partition).map(|lane| lane.next);
        // What came meanwhile lies beyond the end of a moment ago.
        let Some(next) = next.filter(|next| !(low..=high).contains(next)) else { return Ok(true) };
        let Watermarks { low, high } = self.seek.watermarks(partition).await?;
        Ok((low..=high).contains(&next))
    }

    async fn begin_anew(&self, partition: TopicPartition) -> Result<(), ReadError> {
        let scope = self.core.lock().scope_of(partition);
        let (epoch, next) = match scope {
            Some(scope) if partition.topic != Topic::RunEvents => {
                let end = self.reader.end(&scope).await?;
                match end.get(partition) {
                    Some(end) => end,
                    None => return Ok(()),
                }
            }
            _ => (0, self.seek.watermarks(partition).await?.high),
        };
        error!(%partition, epoch, next, "the log does not go on where the hub was; the hub begins anew at its end");
        self.core.lock().reset(partition, epoch, next);
        Ok(())
    }
}
