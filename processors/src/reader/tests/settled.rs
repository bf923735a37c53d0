//! Runs that have ended, as the store alone knows them while it is being written.

use std::time::Duration;

use agentworks_kafka::{KafkaSettings, SeekPool};
use agentworks_schemas::{Topic, Topics};
use agentworks_store::{Key, Row, Scan, Store, StoreError, Table, Write};
use async_trait::async_trait;

use super::*;
use crate::blocks::tests::{AT, Line, Log, store};
use crate::lane::POSITIONS;
use crate::reader::stored::StoredTiers;
use crate::reader::summary;
use crate::runs::{RunsConfig, RunsSink};
use crate::sink::{Flush, Sink};

/// A store to which a sink writes what it has as soon as somebody asks how far it has come.
#[derive(Debug)]
struct Busy {
    behind: Arc<dyn Store>,
    sink: tokio::sync::Mutex<Option<RunsSink>>,
}

#[async_trait]
impl Store for Busy {
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.behind.write(writes).await
    }

    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, StoreError> {
        if table.name == POSITIONS.name
            && let Some(mut sink) = self.sink.lock().await.take()
        {
            sink.flush(Flush::Partition(AT)).await.unwrap();
        }
        self.behind.get(table, key).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        self.behind.scan(scan).await
    }

    async fn delete(&self, table: &'static Table, key: &Key, version: i64) -> Result<(), StoreError> {
        self.behind.delete(table, key, version).await
    }
}

/// Records of a card's run that come a second apart.
fn log(topic: Topic, count: i64, run: &str, length: usize) -> Log {
    let line = |offset: i64| Line {
        offset,
        card: "c".into(),
        run: run.into(),
        timestamp: Timestamp((1 + offset) * 1_000),
        length,
    };
    Log { partition: TopicPartition::new(topic, 0), lines: (0..count).map(line).collect() }
}

#[tokio::test]
async fn what_is_counted_while_a_run_is_looked_up_is_in_its_counts() {
    let (_folder, store) = store();
    let lines = log(Topic::AgentLogs, 600, "r", 10);
    // The run ends with its first event, and all sinks have seen later ones.
    let (events, system) = (log(Topic::RunEvents, 1, "r", 0), log(Topic::SystemLogs, 100, "other", 10));
    let mut sink = RunsSink::new(store.clone(), RunsConfig::default());
    for (log, count) in [(&events, 1), (&system, 100), (&lines, 500)] {
        sink.open(log.partition, 0, 0).await.unwrap();
        sink.take(&log.batch(0..count)).await.unwrap();
        sink.flush(Flush::Partition(log.partition)).await.unwrap();
    }
    sink.take(&lines.batch(500..600)).await.unwrap();
    let busy = Arc::new(Busy { behind: store, sink: tokio::sync::Mutex::new(Some(sink)) });

    let nowhere = SeekPool::new(KafkaSettings::new("127.0.0.1:9", Topics::default()), 1);
    let tiers = StoredTiers::new(busy.clone(), nowhere, None);
    // Nobody is asked who isn't there.
    tiers.count.get(Duration::ZERO, async |_| Ok::<_, ReadError>(1)).await.unwrap();
    tiers.present.get(Duration::ZERO, async |_| Ok::<_, ReadError>(Arc::default())).await.unwrap();
    let run = summary::known(&tiers, "acme", "r", None).await.unwrap().unwrap();
    assert!(busy.sink.lock().await.is_none(), "it wrote meanwhile");
    assert_eq!((run.entries(true), run.summary.log_count), (600, 600));
    assert_eq!(run.end(true).get(AT), Some((0, 600)));
}
