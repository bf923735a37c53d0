//! What an operator does when a topic has been made again, when records were deleted before they were taken, or when a log
//! was cut back and has grown again.
//!
//! All is recorded in the store, where every process that reads the topic finds it within seconds; none is restarted.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentworks_kafka::{KafkaError, SeekPool, Watermarks};
use agentworks_schemas::{Topic, TopicPartition};
use agentworks_store::{Key, Part, Scan, Store, StoreError};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{EPOCHS, Epoch, EpochError, Epochs, Sight, SinkEpochs, SinkPositions};
use crate::blocks::table::mark;
use crate::lane::{self, Held, POSITIONS};
use crate::reader::LogReader;
use crate::sink::SinkError;
use crate::tails;

/// The sinks whose positions are kept in [`POSITIONS`].
const SINKS: [&str; 3] = ["hot", "warm", "runs"];

/// The scope of [`EPOCHS`] where it is noted under which revision of a topic positions were last begun to be moved: the
/// rows' version says so, and there is no more in them.
const SKIPS: &str = "skips";

/// What a sink holds of a partition, beside the log that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneReport {
    /// The sink's name.
    pub sink: String,
    /// The partition's number.
    pub partition: i32,
    /// The epoch that the sink's position is of.
    pub epoch: u32,
    /// The first offset that the sink holds.
    pub low: i64,
    /// The first offset that it doesn't hold yet.
    pub high: i64,
    /// Where the log begins; `None` if the topic has no such partition any more.
    pub log_start: Option<i64>,
    /// Where the log ends.
    pub log_end: Option<i64>,
    /// How many offsets of this epoch were deleted from the log before the sink took them.
    pub lost: i64,
}

/// A partition whose log was cut back and has grown again, by what a consumer group knows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CutBack {
    /// The group.
    pub group: String,
    /// The partition's number.
    pub partition: i32,
    /// Where another record lies than the one that was taken. The log may have been cut back before that.
    pub offset: i64,
}

/// A topic's epoch, and what the sinks hold of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicReport {
    /// The topic, without prefix.
    pub topic: String,
    /// The epoch that is recorded.
    pub epoch: u32,
    /// The id that is recorded with it.
    pub recorded_id: Option<String>,
    /// The id of the topic that is there.
    pub topic_id: Option<String>,
    /// Whether the topic is another one than the one recorded.
    pub remade: bool,
    /// How many offsets were lost in all lanes together.
    pub lost: i64,
    /// Whether somebody began to give up what was lost, and didn't come to the end: positions may have been moved, and no
    /// process was told.
    #[serde(default)]
    pub unfinished: bool,
    /// Where the log was cut back and has grown again, by group and partition.
    #[serde(default)]
    pub cut_back: Vec<CutBack>,
    /// By sink and partition.
    pub lanes: Vec<LaneReport>,
}

impl TopicReport {
    /// Whether there is something to adopt.
    pub fn is_stopped(&self) -> bool {
        self.remade || self.lost > 0 || self.unfinished || self.is_behind() || !self.cut_back.is_empty()
    }

    /// Whether sinks have taken a later making than the one recorded, as where the store was lost.
    fn is_behind(&self) -> bool {
        self.newest() > self.epoch
    }

    /// The newest making that is recorded or was taken.
    fn newest(&self) -> u32 {
        self.lanes.iter().map(|lane| lane.epoch).fold(self.epoch, u32::max)
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// Go on from the log's start where records were deleted before they were taken.
    pub skip_lost: bool,
    /// Go on in the log as it is where it was cut back and has grown again.
    pub cut_back: bool,
    /// Change nothing.
    pub dry_run: bool,
}

/// What was done, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Adopted {
    /// The epoch from now on.
    pub epoch: u32,
    /// How many offsets are given up, over all lanes.
    pub skipped: i64,
    /// Whether a log that was cut back and has grown again is taken as it is.
    #[serde(default)]
    pub as_is: bool,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// How it was before.
    pub before: TopicReport,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// There is no such topic on the brokers.
    #[error("topic {0} is not there: create it with `agentworks topics create`")]
    NoTopic(Topic),
    /// There is nothing to adopt.
    #[error("{0}")]
    Refused(String),
    /// Somebody else did something at the same time.
    #[error("somebody else has adopted topic {0} at the same time: look again")]
    Overtaken(Topic),
    /// A service's.
    #[error(transparent)]
    Fault(#[from] EpochError),
}

impl From<SinkError> for AdoptError {
    fn from(error: SinkError) -> Self {
        AdoptError::Fault(error.into())
    }
}

impl From<StoreError> for AdoptError {
    fn from(error: StoreError) -> Self {
        AdoptError::Fault(error.into())
    }
}

/// Reports on topics and adopts them, over the store and the log of a reader.
#[derive(Debug)]
pub struct Adopter {
    epochs: Epochs,
    log: SeekPool,
    /// Of sinks that keep their positions themselves.
    elsewhere: Vec<Arc<dyn SinkPositions>>,
}

impl Adopter {
    /// One over what `reader` reads.
    ///
    /// # Errors
    /// If a client of Kafka can't be made.
    pub fn new(reader: &LogReader) -> Result<Self, KafkaError> {
        let (store, log) = reader.parts();
        Self::over(store, log)
    }

    /// One over a store and a log.
    ///
    /// # Errors
    /// If a client of Kafka can't be made.
    pub fn over(store: Arc<dyn Store>, log: SeekPool) -> Result<Self, KafkaError> {
        Ok(Adopter { epochs: Epochs::new(store, log.settings())?, log, elsewhere: Vec::new() })
    }

    /// The same, for sinks that keep their positions themselves, too.
    pub fn with(self, elsewhere: impl IntoIterator<Item = Arc<dyn SinkPositions>>) -> Self {
        let elsewhere: Vec<_> = elsewhere.into_iter().collect();
        let epochs = self.epochs.with(elsewhere.iter().map(|positions| positions.clone() as Arc<dyn SinkEpochs>));
        Adopter { epochs, elsewhere, ..self }
    }

    /// What there is to say of each topic that is there.
    pub async fn reports(&self) -> Result<Vec<TopicReport>, AdoptError> {
        let mut reports = Vec::new();
        for (topic, sight) in &*self.epochs.look().await? {
            reports.push(self.report(*topic, sight).await?);
        }
        Ok(reports)
    }

    /// Adopts a topic that was made again: its sinks begin at its start in the next epoch. Or, if sinks have taken a later
    /// epoch than the one recorded, as where the store was lost: goes on in that. Or, if it is the same as ever and
    /// `skip_lost` says so: goes on from the log's start where records were deleted untaken. What was broken off is
    /// finished by making the same call again. Or, if `cut_back` says so: goes on in a log as it is that was cut back and
    /// has grown again.
    ///
    /// # Errors
    /// [`AdoptError::Refused`] if the topic is neither; or a service's.
    pub async fn adopt(&self, topic: Topic, choices: Choices) -> Result<Adopted, AdoptError> {
        let sights = self.epochs.look().await?;
        let sight = sights.get(&topic).ok_or(AdoptError::NoTopic(topic))?;
        let before = self.report(topic, sight).await?;
        let Choices { skip_lost, cut_back, dry_run } = choices;
        if cut_back && !before.cut_back.is_empty() {
            if !dry_run {
                self.settle(topic, &sight.recorded.taken_as_is()).await?;
                warn!(%topic, "the log is taken as it is, which was cut back and has grown again");
            }
            return Ok(Adopted { epoch: before.epoch, skipped: 0, as_is: true, dry_run, before });
        }
        if before.remade || before.is_behind() {
            let (newest, topic_id) = (before.newest(), sight.topic_id.clone());
            let next = match before.remade {
                true => sight.recorded.next(newest, topic_id),
                false => sight.recorded.found(newest, topic_id),
            };
            if !dry_run {
                self.settle(topic, &next).await?;
                warn!(%topic, epoch = next.epoch, remade = before.remade, "a topic has been adopted");
            }
            return Ok(Adopted { epoch: next.epoch, skipped: 0, as_is: false, dry_run, before });
        }
        if let Some(CutBack { partition, offset, .. }) = before.cut_back.first() {
            let told = tails::cut_back(TopicPartition::new(topic, *partition), *offset);
            return Err(AdoptError::Refused(format!("topic {topic} is the same as ever, but {told}")));
        }
        if before.lost == 0 && !before.unfinished {
            return Err(AdoptError::Refused(nothing_to_adopt(&before)));
        }
        if !skip_lost && before.lost == 0 {
            return Err(AdoptError::Refused(format!(
                "topic {topic} is the same as ever, but to give up what was deleted from its log before it was taken was \
                 begun and not finished; --skip-lost does that"
            )));
        }
        if !skip_lost {
            return Err(AdoptError::Refused(format!(
                "topic {topic} is the same as ever, but {} offsets were deleted from its log before they were taken; \
                 --skip-lost goes on without them, from where the log begins",
                before.lost
            )));
        }
        let (epoch, skipped) = (before.epoch, before.lost);
        if !dry_run {
            // Positions are moved, and then the processes are told by the next revision. Should this end in between, nothing
            // is lost any more: that it was begun under this revision is then what shows it.
            let begun = mark(&EPOCHS, vec![SKIPS.into()], vec![topic.as_str().into()], sight.recorded.revision.into());
            self.epochs.store.write(vec![begun]).await?;
            self.skip(topic, &before).await?;
            self.settle(topic, &sight.recorded.revised()).await?;
            warn!(%topic, skipped, "offsets that were deleted untaken have been given up");
        }
        Ok(Adopted { epoch, skipped, as_is: false, dry_run, before })
    }

    async fn settle(&self, topic: Topic, epoch: &Epoch) -> Result<(), AdoptError> {
        let settled = self.epochs.record(topic, epoch).await?;
        if settled == *epoch { Ok(()) } else { Err(AdoptError::Overtaken(topic)) }
    }

    /// Moves the positions of lanes that have lost records to where the log begins. Of what such a sink held before,
    /// nothing is relied on any more: a position is one range without a hole.
    async fn skip(&self, topic: Topic, before: &TopicReport) -> Result<(), AdoptError> {
        for report in before.lanes.iter().filter(|lane| lane.lost > 0) {
            let partition = TopicPartition::new(topic, report.partition);
            let Some(start) = report.log_start else { continue };
            match self.elsewhere.iter().find(|positions| positions.sink() == report.sink) {
                Some(positions) => positions.skip_lost(partition, report.epoch, start).await?,
                None => {
                    let store = &*self.epochs.store;
                    let Some(held) = lane::load(store, &report.sink, partition).await? else { continue };
                    let moved = Held { low: start, high: start, buckets: Vec::new(), ..held };
                    lane::publish(store, &report.sink, &[moved]).await?;
                }
            }
            warn!(sink = report.sink, %partition, from = report.high, to = start, "offsets skipped");
        }
        Ok(())
    }

    /// Whether positions were begun to be moved under the revision that is recorded.
    async fn is_unfinished(&self, topic: Topic, sight: &Sight) -> Result<bool, AdoptError> {
        let key = Key { partition: vec![SKIPS.into()], clustering: vec![topic.as_str().into()] };
        let begun = self.epochs.store.get(&EPOCHS, &key).await?;
        Ok(begun.is_some_and(|begun| begun.version >= i64::from(sight.recorded.revision)))
    }

    async fn report(&self, topic: Topic, sight: &Sight) -> Result<TopicReport, AdoptError> {
        let mut lanes = Vec::new();
        let mut known = BTreeMap::new();
        for sink in SINKS {
            let from = std::ops::Bound::Included(vec![topic.as_str().into()]);
            let scan = Scan { from: from.clone(), to: from, ..Scan::partition(&POSITIONS, vec![sink.into()]) };
            for row in self.epochs.store.scan(scan).await? {
                let Some(Part::Int(number)) = row.clustering.last() else { continue };
                let partition = TopicPartition::new(topic, i32::try_from(*number).unwrap_or(i32::MAX));
                let Some(held) = lane::load(&*self.epochs.store, sink, partition).await? else { continue };
                lanes.push(LaneReport::new(sink, &held, self.marks(partition, &mut known).await?, sight));
            }
        }
        if !self.elsewhere.is_empty() {
            // They may be of partitions that no other sink has begun with.
            for number in 0.. {
                if self.marks(TopicPartition::new(topic, number), &mut known).await?.is_none() {
                    break;
                }
            }
        }
        for positions in &self.elsewhere {
            for (partition, marks) in &known {
                let Some(held) = positions.position(*partition).await? else { continue };
                lanes.push(LaneReport::new(positions.sink(), &held, *marks, sight));
            }
        }
        let cut_back = self.cut_back(topic, sight, &mut known).await?;
        Ok(TopicReport {
            topic: topic.to_string(),
            epoch: sight.recorded.epoch,
            recorded_id: sight.recorded.topic_id.clone(),
            topic_id: sight.topic_id.clone(),
            // Without ids, a position beyond the end or another record is all that shows it.
            remade: sight.is_remade()
                || sight.topic_id.is_none() && (lanes.iter().any(|lane| lane.is_past(sight)) || !cut_back.is_empty()),
            lost: lanes.iter().map(|lane| lane.lost).sum(),
            unfinished: self.is_unfinished(topic, sight).await?,
            cut_back,
            lanes,
        })
    }

    async fn cut_back(
        &self,
        topic: Topic,
        sight: &Sight,
        known: &mut BTreeMap<TopicPartition, Option<Watermarks>>,
    ) -> Result<Vec<CutBack>, AdoptError> {
        let mut found = Vec::new();
        for (group, partition, tail) in tails::load_all(&*self.epochs.store, topic).await? {
            let Some(marks) = self.marks(partition, known).await?.filter(|_| tail.counts(sight)) else { continue };
            if tail.is_replaced(&self.log, partition, marks).await.map_err(EpochError::from)? {
                found.push(CutBack { group, partition: partition.partition, offset: tail.record.offset });
            }
        }
        Ok(found)
    }

    /// The log's ends, which are asked for once. `None` if the topic that is there has no such partition.
    async fn marks(
        &self,
        partition: TopicPartition,
        known: &mut BTreeMap<TopicPartition, Option<Watermarks>>,
    ) -> Result<Option<Watermarks>, AdoptError> {
        if let Some(marks) = known.get(&partition) {
            return Ok(*marks);
        }
        let marks = match self.log.watermarks(partition).await {
            Ok(marks) => Some(marks),
            Err(KafkaError::NoTopic(_)) => None,
            Err(error) => return Err(EpochError::from(error).into()),
        };
        known.insert(partition, marks);
        Ok(marks)
    }
}

impl LaneReport {
    fn new(sink: &str, held: &Held, marks: Option<Watermarks>, sight: &Sight) -> Self {
        let comparable = held.epoch == sight.recorded.epoch && !sight.is_remade();
        let lost = marks.filter(|_| comparable).map_or(0, |marks| (marks.low - held.high).max(0));
        LaneReport {
            sink: sink.to_owned(),
            partition: held.partition.partition,
            epoch: held.epoch,
            low: held.low,
            high: held.high,
            log_start: marks.map(|marks| marks.low),
            log_end: marks.map(|marks| marks.high),
            lost,
        }
    }

    /// Whether the position lies beyond the end of the log that it is of.
    fn is_past(&self, sight: &Sight) -> bool {
        self.epoch == sight.recorded.epoch && self.log_end.is_some_and(|end| self.high > end)
    }
}

fn nothing_to_adopt(report: &TopicReport) -> String {
    let TopicReport { topic, epoch, .. } = report;
    let past = report.lanes.iter().find(|lane| lane.log_end.is_some_and(|end| lane.high > end && lane.epoch == *epoch));
    match past {
        Some(lane) => format!(
            "topic {topic} is the same as ever, but its log was cut back: {} holds partition {} up to {}, and the log \
             ends at {}. Offsets beyond would come twice. Bring the old log back, or delete the topic, make it again, \
             and adopt that",
            lane.sink,
            lane.partition,
            lane.high,
            lane.log_end.unwrap_or_default()
        ),
        None => format!("topic {topic} is the same as ever, in epoch {epoch}: there is nothing to adopt"),
    }
}
