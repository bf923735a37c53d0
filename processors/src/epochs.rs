//! Which making of a topic its records are of.
//!
//! A topic that is deleted and made again begins at offset 0 anew, and nothing in a record says so. Kafka gives every
//! making an id (KIP-516); here each has a number, its *epoch*, which is part of every position. The number and the id
//! that it stands for are recorded when a topic is first seen: 0, or, where the store that had recorded them was lost, the
//! newest that the sinks have taken which keep their positions themselves. When the topic has another id than the recorded one,
//! nothing of it is taken until an operator adopts the new making ([`adopt`]).
//!
//! Where the brokers are too old to give ids, offsets alone tell: a position beyond the log's end, or a log that begins
//! beyond a position, stops its partition.

pub mod adopt;
mod positions;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_kafka::{KafkaError, KafkaSettings, TopicIds};
use agentworks_schemas::{Timestamp, Topic};
use agentworks_store::{Column, Key, Store, StoreError, Table};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tracing::warn;

pub use self::positions::{SinkEpochs, SinkPositions};

use crate::blocks::table::json;
use crate::sink::SinkError;

/// The epochs of all topics: `scope, topic` → [`Epoch`]. There is one scope.
pub const EPOCHS: Table = Table {
    name: "epochs",
    partition: &[Column::text("scope")],
    clustering: &[Column::text("topic")],
    versioned: true,
};

const SCOPE: &str = "topics";

/// How long an answer serves those who open partitions: many are opened at once.
const FRESH: Duration = Duration::from_secs(1);

/// The epoch that is recorded of a topic; `None` if nobody has seen it yet.
pub(crate) async fn recorded(store: &dyn Store, topic: Topic) -> Result<Option<Epoch>, StoreError> {
    let Some(row) = store.get(&EPOCHS, &key(topic)).await? else { return Ok(None) };
    let damaged = |error| StoreError::Failed(format!("the epoch of topic {topic} is damaged: {error}"));
    serde_json::from_slice(&row.payload).map(Some).map_err(damaged)
}

/// What is recorded of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Epoch {
    /// The number of this making of the topic, from 0.
    pub epoch: u32,
    /// Counts what was recorded of the topic, and with it what operators have done: whatever has stopped is worth
    /// another try when this has changed.
    pub revision: u32,
    /// The revision since which the log is taken as it is, by which record ever it was [known](crate::tails) before. Not
    /// in rows of before that was known.
    #[serde(default)]
    pub as_is: u32,
    /// Kafka's id of this making; `None` from brokers that give none.
    pub topic_id: Option<String>,
    /// When this epoch began, as far as we are concerned.
    pub adopted: Timestamp,
}

impl Epoch {
    /// The making of a topic that nothing is recorded of. Each recorded making has a revision of its own, so that whoever
    /// knows of more makings wins over one who records the first at the same time.
    fn first(epoch: u32, topic_id: Option<String>) -> Epoch {
        Epoch { epoch, revision: epoch, as_is: 0, topic_id, adopted: Timestamp::now() }
    }

    /// The making after this one and all up to `newest`, with this id.
    fn next(&self, newest: u32, topic_id: Option<String>) -> Epoch {
        let epoch = self.epoch.max(newest).saturating_add(1);
        Epoch { epoch, topic_id, adopted: Timestamp::now(), ..self.revised() }
    }

    /// The topic that is there, in a making that a sink has taken and that was not recorded.
    fn found(&self, epoch: u32, topic_id: Option<String>) -> Epoch {
        Epoch { epoch, topic_id, adopted: Timestamp::now(), ..self.revised() }
    }

    /// The same making, whose log is taken as it is from now on.
    fn taken_as_is(&self) -> Epoch {
        let revised = self.revised();
        Epoch { as_is: revised.revision, ..revised }
    }

    /// The same making, after something else has been done about it.
    fn revised(&self) -> Epoch {
        Epoch { revision: self.revision.saturating_add(1), ..self.clone() }
    }
}

/// A fault of finding out about epochs.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each is the fault of the part it names")]
pub enum EpochError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<SinkError> for EpochError {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Store(error) => error.into(),
            error => StoreError::Failed(error.to_string()).into(),
        }
    }
}

impl EpochError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            EpochError::Kafka(error) => error.is_transient(),
            EpochError::Store(error) => error.is_transient(),
        }
    }
}

/// Why a sink can't take a topic in `epoch`, where it has taken a later one, and what to do.
pub fn forgotten(sink: &str, taken: u32, topic: Topic, epoch: u32) -> String {
    format!(
        "{sink} has taken epoch {taken} already, and is to take {epoch}: the store has forgotten that topic {topic} was made \
         again. `agentworks topics adopt {topic}` goes on with it in epoch {taken}"
    )
}

/// A topic as it is recorded and as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// What is recorded.
    pub recorded: Epoch,
    /// The id of the topic that is there; `None` if the brokers give none.
    pub topic_id: Option<String>,
}

impl Sight {
    /// Whether the topic is another one than the one recorded. Without ids nobody can tell.
    pub fn is_remade(&self) -> bool {
        matches!((&self.recorded.topic_id, &self.topic_id), (Some(old), Some(new)) if old != new)
    }

    /// Whether what lies in the topic that is there is of this epoch. What was made again and isn't adopted yet is of none.
    pub fn is_of(&self, epoch: u32) -> bool {
        self.recorded.epoch == epoch && !self.is_remade()
    }

    /// The epoch of what lies in the topic that is there: the next one, as which it will be adopted, if it was made again.
    pub fn epoch(&self) -> u32 {
        self.recorded.epoch + u32::from(self.is_remade())
    }

    /// Why nothing may be taken of `topic`, if so, and what to do.
    pub fn problem(&self, topic: Topic) -> Option<String> {
        let (old, new) = (self.recorded.topic_id.as_ref()?, self.topic_id.as_ref()?);
        self.is_remade().then(|| {
            format!(
                "topic {topic} has been made again: its id was {old} in epoch {} and is {new} now. \
                 `agentworks topics adopt {topic}` goes on with it in the next epoch",
                self.recorded.epoch
            )
        })
    }
}

/// The topics that are there.
pub type Sights = BTreeMap<Topic, Sight>;

/// What was found last, and when.
type Last = (Instant, Arc<Sights>);

/// Knows the epochs of topics. Cheap to clone; clones share what they know.
#[derive(Clone)]
pub struct Epochs {
    store: Arc<dyn Store>,
    /// `None` where ids are not to be asked for.
    ids: Option<TopicIds>,
    /// What is asked of a topic that nothing is recorded of.
    elsewhere: Vec<Arc<dyn SinkEpochs>>,
    last: Arc<Mutex<Option<Last>>>,
}

impl Epochs {
    /// Epochs recorded in `store`, of the topics of `settings`. Needs neither to be there yet.
    ///
    /// # Errors
    /// If a client can't be made.
    pub fn new(store: Arc<dyn Store>, settings: &KafkaSettings) -> Result<Self, KafkaError> {
        Ok(Epochs { ids: Some(TopicIds::new(settings)?), ..Self::without_ids(store) })
    }

    /// Epochs recorded in `store`, of topics whose ids are not to be asked for: offsets alone tell.
    pub fn without_ids(store: Arc<dyn Store>) -> Self {
        Epochs { store, ids: None, elsewhere: Vec::new(), last: Arc::default() }
    }

    /// The same, which begins with a topic in the newest making that these have taken. Without them a topic that was made
    /// again before the store was lost is taken for its first making, and they refuse it.
    pub fn with(self, elsewhere: impl IntoIterator<Item = Arc<dyn SinkEpochs>>) -> Self {
        Epochs { elsewhere: elsewhere.into_iter().collect(), ..self }
    }

    /// Compares what is recorded with what is there. A topic seen for the first time is recorded, in the newest making that
    /// sinks with positions of their own have taken, or else in its first; and an id that was not known before is added.
    ///
    /// # Errors
    /// A service's; that of a sink which has to be asked, too, for nothing may be recorded without its answer.
    pub async fn look(&self) -> Result<Arc<Sights>, EpochError> {
        let mut last = self.last.lock().await;
        let ids = match &self.ids {
            Some(ids) => ids.ask().await?,
            None => Topic::ALL.into_iter().map(|topic| (topic, None)).collect(),
        };
        let mut sights = Sights::new();
        for (topic, topic_id) in ids {
            let recorded = match recorded(&*self.store, topic).await? {
                None => self.record(topic, &Epoch::first(self.newest(topic).await?, topic_id.clone())).await?,
                Some(known) if known.topic_id.is_none() && topic_id.is_some() => {
                    self.record(topic, &Epoch { topic_id: topic_id.clone(), ..known.revised() }).await?
                }
                Some(known) => known,
            };
            sights.insert(topic, Sight { recorded, topic_id });
        }
        let sights = Arc::new(sights);
        *last = Some((Instant::now(), sights.clone()));
        Ok(sights)
    }

    /// The newest making of a topic that was taken elsewhere, or its first.
    async fn newest(&self, topic: Topic) -> Result<u32, EpochError> {
        let mut newest = 0;
        for sink in &self.elsewhere {
            newest = newest.max(sink.newest(topic).await?.unwrap_or_default());
        }
        if newest > 0 {
            warn!(%topic, epoch = newest, "nothing was recorded of a topic, which goes on in the making that was archived");
        }
        Ok(newest)
    }

    /// What was found a moment ago, or just now.
    pub async fn recent(&self) -> Result<Arc<Sights>, EpochError> {
        if let Some((at, sights)) = &*self.last.lock().await
            && at.elapsed() < FRESH
        {
            return Ok(sights.clone());
        }
        self.look().await
    }

    /// Records an epoch. Somebody else may have recorded the same revision or a later one at the same time; what stays is
    /// returned.
    async fn record(&self, topic: Topic, epoch: &Epoch) -> Result<Epoch, StoreError> {
        self.store.write(vec![json(&EPOCHS, key(topic), epoch.revision.into(), epoch)?]).await?;
        Ok(recorded(&*self.store, topic).await?.unwrap_or_else(|| epoch.clone()))
    }
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epochs").field("ids", &self.ids).finish_non_exhaustive()
    }
}

fn key(topic: Topic) -> Key {
    Key { partition: vec![SCOPE.into()], clustering: vec![topic.as_str().into()] }
}
