//! Which making of each topic its log is of.
//!
//! A topic that was made again has another id than the recorded one, and is adopted, whenever that is, as the next epoch: the
//! making before can't come back. So what is read of its log has positions of that epoch from the beginning, and those who
//! watch go on in it without waiting for an operator; nothing changes for them when it is adopted. Where brokers give no ids,
//! the recorded epoch is all that is known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_kafka::TopicIds;
use agentworks_schemas::Topic;
use tokio::time::timeout;

use super::ReadError;
use super::lately::Lately;
use super::stored::StoredTiers;
use crate::epochs::{Sight, recorded};

/// How long an answer is believed.
const REFRESH: Duration = Duration::from_secs(1);
/// How long the brokers have to tell the ids, and how long they are not asked when they didn't.
const WAIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_secs(5);

/// The epochs of topics.
pub(super) type Present = Lately<Arc<BTreeMap<Topic, u32>>, Asking>;

/// What asking for the ids takes.
#[derive(Debug, Default)]
pub(super) struct Asking {
    client: Option<TopicIds>,
    /// The brokers aren't asked before.
    pause: Option<Instant>,
}

impl StoredTiers {
    /// The epoch of a topic's log: the recorded one, or, if the topic was made again since, the next.
    pub(super) async fn present_of(&self, topic: Topic) -> Result<u32, ReadError> {
        let epochs = self.present.get(REFRESH, async |asking: &mut Asking| self.epochs(asking).await).await?;
        Ok(epochs.get(&topic).copied().unwrap_or_default())
    }

    async fn epochs(&self, asking: &mut Asking) -> Result<Arc<BTreeMap<Topic, u32>>, ReadError> {
        let (ids, before) = (self.ids(asking).await?, self.present.last().unwrap_or_default());
        let mut epochs = BTreeMap::new();
        for topic in Topic::ALL {
            let Some(recorded) = recorded(&*self.store, topic).await? else { continue };
            let epoch = match &ids {
                Some(ids) => Sight { recorded, topic_id: ids.get(&topic).cloned().flatten() }.epoch(),
                // What was known stays so: no topic goes back to a making before.
                None => before.get(&topic).copied().unwrap_or_default().max(recorded.epoch),
            };
            epochs.insert(topic, epoch);
        }
        Ok(Arc::new(epochs))
    }

    /// The topics' ids; `None` if the brokers don't tell them, now or a moment ago.
    async fn ids(&self, asking: &mut Asking) -> Result<Option<BTreeMap<Topic, Option<String>>>, ReadError> {
        if asking.pause.is_some_and(|until| Instant::now() < until) {
            return Ok(None);
        }
        let client = match &asking.client {
            Some(client) => client.clone(),
            None => asking.client.insert(TopicIds::new(self.seek.settings())?).clone(),
        };
        match timeout(WAIT, client.ask()).await {
            Ok(Ok(ids)) => Ok(Some(ids)),
            failed => {
                tracing::debug!(?failed, "the brokers don't tell the topics' ids");
                asking.pause = Some(Instant::now() + PAUSE);
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_kafka::{KafkaSettings, SeekPool};
    use agentworks_schemas::{Timestamp, Topics};
    use agentworks_store::{EmbeddedStore, Key, Store, Write};
    use bytes::Bytes;

    use super::*;
    use crate::epochs::{EPOCHS, Epoch};

    #[tokio::test]
    async fn where_the_brokers_are_away_the_recorded_epoch_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(folder.path().join("store")).unwrap());
        let nowhere = SeekPool::new(KafkaSettings::new("127.0.0.1:9", Topics::default()), 1);
        let tiers = StoredTiers::new(store.clone(), nowhere, None);
        assert_eq!(tiers.present_of(Topic::AgentLogs).await.unwrap(), 0, "nobody has seen it");

        let first = Epoch { epoch: 2, revision: 9, as_is: 0, topic_id: Some("a".into()), adopted: Timestamp(0) };
        let write = Write {
            table: &EPOCHS,
            key: Key { partition: vec!["topics".into()], clustering: vec![Topic::AgentLogs.as_str().into()] },
            version: 9,
            expires: None,
            stats: Bytes::new(),
            payload: serde_json::to_vec(&first).unwrap().into(),
        };
        store.write(vec![write]).await.unwrap();
        assert_eq!(tiers.present_of(Topic::AgentLogs).await.unwrap(), 0, "it was asked for a moment ago");
        tiers.present.forget();
        assert_eq!(tiers.present_of(Topic::AgentLogs).await.unwrap(), 2);
        assert_eq!(tiers.present_of(Topic::SystemLogs).await.unwrap(), 0);
    }
}
