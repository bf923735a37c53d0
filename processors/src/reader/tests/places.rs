//! Places in a run whose topic was made again: they are counted over all makings.

use agentworks_kafka::{Batch, BatchBuilder, KafkaSettings, SeekPool};
use agentworks_schemas::Topics;
use agentworks_schemas::codec::Schemas;
use agentworks_store::{EmbeddedStore, Store};

use super::*;
use crate::blocks::StoredEntry;
use crate::reader::known::Share;
use crate::reader::{KnownRun, LogReader};
use crate::runs::{RunsConfig, RunsSink};
use crate::sink::{Flush, Sink};

const AT: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };
/// How many entries of the run each making has: marks are at 1,000 and 2,000.
const ENTRIES: i64 = 2_500;

/// A making's entries, whose own timestamps begin at `time` and grow by one.
fn batch(epoch: u32, time: i64) -> Batch {
    let mut builder = BatchBuilder::new(AT, epoch, 0);
    for offset in 0..ENTRIES {
        let StoredEntry { mut entry, .. } = fake::entry(&FakePartition::default(), offset, "w", "c", "r");
        entry.timestamp = Timestamp(time + offset);
        let payload = serde_json::to_vec(&entry).unwrap();
        let recorded = Timestamp(i64::from(epoch) * 10_000 + offset);
        builder.push_raw(offset, recorded, Some(b"c"), Some(&payload), Vec::new());
    }
    builder.build(Schemas::builtin())
}

/// A run in the makings 0 and 2 of a topic. The clocks of those who wrote the second were behind.
async fn run_in_two(store: &Arc<dyn Store>) -> (LogReader, KnownRun) {
    let mut sink = RunsSink::new(store.clone(), RunsConfig::default());
    for (epoch, time) in [(0, 0), (2, 1_000)] {
        sink.open(AT, epoch, 0).await.unwrap();
        sink.take(&batch(epoch, time)).await.unwrap();
        sink.flush(Flush::Partition(AT)).await.unwrap();
        sink.close(AT);
    }
    let nowhere = SeekPool::new(KafkaSettings::new("127.0.0.1:9", Topics::default()), 1);
    let reader = LogReader::new(store.clone(), nowhere);
    let parts = reader.runs().parts("w", "r").await.unwrap();
    assert_eq!(parts.iter().map(|part| part.epoch).collect::<Vec<_>>(), [0, 2]);
    let shares = parts.iter().map(|part| Share::new(AT, part.epoch, ENTRIES, &parts)).collect();
    let summary = reader.runs().fold("r", &parts).unwrap();
    (reader, KnownRun::new("w", summary, shares))
}

#[tokio::test]
async fn marks_of_all_makings_lead_to_ordinals_and_times() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(folder.path().join("store")).unwrap());
    let (reader, run) = run_in_two(&store).await;
    let at = |epoch, offset| Cursor::from_iter([(AT, epoch, offset)]);
    assert_eq!((run.entries(true), run.start(true), run.end(true)), (5_000, at(0, 0), at(2, ENTRIES)));

    let places = [
        (0, at(0, 0), 0),
        (999, at(0, 0), 0),
        (1_000, at(0, 1_000), 1_000),
        (2_499, at(0, 2_000), 2_000),
        // The first mark of the later making comes after so many.
        (3_499, at(0, 2_000), 2_000),
        (3_500, at(2, 1_000), 3_500),
        (4_999, at(2, 2_000), 4_500),
        (5_000, at(2, ENTRIES), 5_000),
    ];
    for (ordinal, cursor, before) in places {
        let place = reader.before_ordinal(&run, ordinal, true).await.unwrap();
        assert_eq!((place.cursor, place.ordinal), (cursor, before), "{ordinal}");
    }
    // No entry before the place is as late, in whichever making.
    for (time, cursor, before) in [(999, at(0, 0), 0), (2_000, at(0, 2_000), 2_000), (3_000, at(2, 2_000), 4_500)] {
        let place = reader.before_time(&run, Timestamp(time), true).await.unwrap();
        assert_eq!((place.cursor, place.ordinal), (cursor, before), "{time}");
    }
    for (cursor, ordinal) in [
        (at(0, 0), 0),
        (at(0, 1_000), 1_000),
        (at(0, ENTRIES), 2_500),
        (at(1, 7), 2_500),
        (at(2, 0), 2_500),
        (at(2, 2_000), 4_500),
        (at(2, ENTRIES), 5_000),
        (at(3, 0), 5_000),
        (Cursor::new(), 0),
    ] {
        assert_eq!(reader.ordinal_of(&run, &cursor, true).await.unwrap(), ordinal, "{cursor:?}");
    }
    // Of a making without a share nothing can be read.
    let settled = [(0, 7), (1, 7), (2, 7), (3, 7)].map(|at| run.settle(AT, at));
    assert_eq!(settled, [(0, 7), (2, 0), (2, 7), (3, 7)]);
}
