//! What the hub does beside the records: it notices where cards' records lie, drops what is old, and looks into what seems
//! wrong.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_kafka::{KafkaError, SeekPool, Watermarks};
use agentworks_processors::reader::{LogReader, ReadError, Scope};
use agentworks_schemas::{Cursor, Topic, TopicPartition};
use futures_util::stream;
use futures_util::{FutureExt, StreamExt};
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
        let partitions = self.reader.partitions(scope).await?;
        if self.core.lock().covers(id, &partitions) {
            return Ok(());
        }
        let end = self.reader.end(scope).await?;
        let extend = |core: &mut Core, events: &Cursor| {
            core.go_back(&end);
            core.extend(id, &end, events);
        };
        self.with_events(&end, extend).await?;
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

    /// Looks into every suspicion, and again into what came of it as long as lanes wait.
    pub(super) async fn diagnose(self, suspicion: Arc<Notify>) {
        let mut waiting = Vec::new();
        loop {
            let is_new = match waiting.is_empty() {
                true => {
                    suspicion.notified().await;
                    true
                }
                false => suspicion.notified().now_or_never().is_some(),
            };
            // Faults come in swarms.
            sleep(Duration::from_millis(200)).await;
            let asked = if is_new { self.core.lock().lanes.keys().copied().collect() } else { waiting };
            waiting = self.check_lanes(asked, is_new).await;
            sleep(SECOND_LOOK).await;
        }
    }

    /// Has partitions read on from where their lanes stand, or anew where that doesn't fit the log. Gives those that have to
    /// wait: they can't be asked, which may be because they are gone, or the log is behind. `is_new` ones are told about.
    async fn check_lanes(&self, asked: Vec<TopicPartition>, is_new: bool) -> Vec<TopicPartition> {
        let (mut waiting, mut misfits) = (Vec::new(), Vec::new());
        let look = async |partition| (partition, self.fits(partition).await);
        let mut looks = stream::iter(asked).map(look).buffer_unordered(CONCURRENT);
        while let Some((partition, fits)) = looks.next().await {
            match fits {
                // librdkafka may have given it up.
                Ok(true) => self.core.lock().rejoin(partition),
                Ok(false) => misfits.push(partition),
                Err(error) => {
                    if is_new {
                        warn!(%partition, %error, "the live tail's position can't be checked; it is tried again");
                    }
                    waiting.push(partition);
                }
            }
        }
        drop(looks);
        if !misfits.is_empty() {
            sleep(SECOND_LOOK).await;
        }
        for partition in misfits {
            match self.mend(partition, is_new).await {
                Ok(true) => {}
                Ok(false) => waiting.push(partition),
                Err(error) => {
                    warn!(%partition, %error, "the live tail can't begin anew; it is tried again");
                    waiting.push(partition);
                }
            }
        }
        waiting
    }

    /// Whether a lane's position lies in the log. One that is gone needs none.
    async fn fits(&self, partition: TopicPartition) -> Result<bool, KafkaError> {
        let next = || self.core.lock().lanes.get(&partition).map(|lane| lane.next);
        if next().is_none() {
            return Ok(true);
        }
        let Watermarks { low, high } = self.seek.watermarks(partition).await?;
        // What came meanwhile lies beyond the end of a moment ago.
        let Some(next) = next().filter(|next| !(low..=high).contains(next)) else { return Ok(true) };
        let Watermarks { low, high } = self.seek.watermarks(partition).await?;
        Ok((low..=high).contains(&next))
    }

    /// Has a partition read on if its position fits now, or else anew. False if there is nothing to be read yet.
    async fn mend(&self, partition: TopicPartition, is_new: bool) -> Result<bool, ReadError> {
        if self.fits(partition).await? {
            self.core.lock().rejoin(partition);
            return Ok(true);
        }
        let scope = self.core.lock().scope_of(partition);
        let (epoch, next) = match scope {
            Some(scope) if partition.topic != Topic::RunEvents => {
                let end = self.reader.end(&scope).await?;
                match end.get(partition) {
                    Some(end) => end,
                    None => return Ok(true),
                }
            }
            _ => (0, self.seek.watermarks(partition).await?.high),
        };
        let mut core = self.core.lock();
        let Some(lane) = core.lanes.get(&partition) else { return Ok(true) };
        if (lane.epoch, lane.next) == (epoch, next) {
            // Whoever watches has all that was taken. What came since would bear the same positions.
            if is_new {
                error!(%partition, epoch, next, "the log ends before what was taken of it; nothing is shown until it doesn't");
            }
            return Ok(false);
        }
        error!(%partition, epoch, next, "the log does not go on where the hub was; the hub begins anew at its end");
        core.reset(partition, epoch, next);
        Ok(true)
    }
}
