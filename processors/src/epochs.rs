//! Which making of a topic its records are of.
//!
//! A topic that is deleted and made again begins at offset 0 anew, and nothing in a record says so. Kafka gives every
//! making an id (KIP-516); here each has a number, its *epoch*, which is part of every position. The number and the id
//! that it stands for are recorded when a topic is first seen. When the topic has another id than the recorded one,
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
use agentworks_store::{Column, Key, Store, StoreError, Table, Write};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

pub use self::positions::SinkPositions;

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
    /// Kafka's id of this making; `None` from brokers that give none.
    pub topic_id: Option<String>,
    /// When this epoch began, as far as we are concerned.
    pub adopted: Timestamp,
}

impl Epoch {
    /// The next making, with this id.
    fn next(&self, topic_id: Option<String>) -> Epoch {
        Epoch { epoch: self.epoch + 1, revision: self.revision + 1, topic_id, adopted: Timestamp::now() }
    }

    /// The same making, after something else has been done about it.
    fn revised(&self) -> Epoch {
        Epoch { revision: self.revision + 1, ..self.clone() }
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

impl EpochError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            EpochError::Kafka(error) => error.is_transient(),
            EpochError::Store(error) => error.is_transient(),
        }
    }
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
    last: Arc<Mutex<Option<Last>>>,
}

impl Epochs {
    /// Epochs recorded in `store`, of the topics of `settings`. Needs neither to be there yet.
    ///
    /// # Errors
    /// If a client can't be made.
    pub fn new(store: Arc<dyn Store>, settings: &KafkaSettings) -> Result<Self, KafkaError> {
        Ok(Epochs { store, ids: Some(TopicIds::new(settings)?), last: Arc::default() })
    }

    /// Epochs recorded in `store`, of topics whose ids are not to be asked for: offsets alone tell.
    pub fn without_ids(store: Arc<dyn Store>) -> Self {
        Epochs { store, ids: None, last: Arc::default() }
    }

    /// Compares what is recorded with what is there. A topic seen for the first time is recorded with epoch 0, and an id
    /// that was not known before is added.
    pub async fn look(&self) -> Result<Arc<Sights>, EpochError> {
        let mut last = self.last.lock().await;
        let ids = match &self.ids {
            Some(ids) => ids.ask().await?,
            None => Topic::ALL.into_iter().map(|topic| (topic, None)).collect(),
        };
        let mut sights = Sights::new();
        for (topic, topic_id) in ids {
            let recorded = match recorded(&*self.store, topic).await? {
                None => {
                    let first = Epoch { epoch: 0, revision: 0, topic_id: topic_id.clone(), adopted: Timestamp::now() };
                    self.record(topic, &first).await?
                }
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
        let payload = serde_json::to_vec(epoch).map_err(|error| StoreError::Failed(error.to_string()))?;
        let write = Write {
            table: &EPOCHS,
            key: key(topic),
            version: i64::from(epoch.revision),
            expires: None,
            stats: Bytes::new(),
            payload: payload.into(),
        };
        self.store.write(vec![write]).await?;
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
