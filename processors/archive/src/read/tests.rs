#![allow(clippy::unwrap_used)]

use agentworks_kafka::{BatchBuilder, Content};
use agentworks_processors::reader::{ReadFilter, Scope};
use agentworks_processors::sink::{Flush, Sink};
use agentworks_schemas::codec::{Framing, Schemas, encode_entry};
use agentworks_schemas::{Level, LogEntry, Timestamp, Topic};
use sha2::{Digest, Sha256};

use super::*;
use crate::claims::Claim;
use crate::files::{FileFormat, FileWriter};
use crate::maintain::{MaintainConfig, Maintenance};
use crate::rows::{Place, RowBuilder};
use crate::schema::{ENTRIES, TableSpec};
use crate::table::{Change, Move, Operation};
use crate::testing::{DAY, NOON, entry, fill, fill_in, folder, lane, sink};

fn card(workspace: &str, card: &str) -> Scope {
    Scope::Card { workspace: workspace.into(), card: card.into() }
}

fn run(workspace: &str, run: &str, card: &str) -> Scope {
    Scope::Run { workspace: workspace.into(), run: run.into(), card: card.into() }
}

fn expected(scope: &Scope, from: i64, to: i64) -> Vec<i64> {
    (from..to).filter(|offset| offset % 11 != 10 && scope.holds(&entry(lane(0), *offset))).collect()
}

fn offsets(entries: &[StoredEntry]) -> Vec<i64> {
    entries.iter().map(|entry| entry.position.offset).collect()
}

fn range<'a>(scope: &'a Scope, filter: &'a ReadFilter, from: i64, to: i64) -> ColdRange<'a> {
    ColdRange { scope, filter, partition: lane(0), epoch: 0, from, to }
}

/// `0..500` of three lanes in three files, on two days.
async fn three_files() -> (tempfile::TempDir, ArchiveReader) {
    let (folder, objects) = folder();
    let archive = Archive::open(&objects).await.unwrap();
    let lanes = [lane(0), lane(1), TopicPartition::new(Topic::SystemLogs, 0)];
    for (from, to, time) in [(0, 200, NOON), (200, 350, NOON), (350, 500, NOON + DAY)] {
        fill(&archive, &lanes, from, to, time).await;
    }
    (folder, ArchiveReader::new(&archive))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_and_a_run_are_read_from_both_ends_however_they_lie() {
    let (_folder, reader) = three_files().await;
    let held = reader.held(lane(0), 0, "ws-0").await.unwrap().unwrap();
    assert_eq!((held.low, held.high, held.epoch), (0, 500, 0));
    assert_eq!(reader.held(lane(7), 0, "ws-0").await.unwrap(), None);
    let all = ReadFilter::default();
    for scope in [card("ws-0", "card-1"), run("ws-1", "run-5", "card-2"), run("ws-0", "run-0", "card-0")] {
        for (from, to) in [(0, 500), (30, 470), (190, 210), (200, 350), (349, 351), (100, 100)] {
            let expected = expected(&scope, from, to);
            for limit in [1, 5, 1000] {
                let range = range(&scope, &all, from, to);
                let (first, last) = (expected.len().min(limit), expected.len().saturating_sub(limit));
                let forward = reader.forward(&range, limit).await.unwrap();
                assert_eq!(offsets(&forward), expected[..first], "{scope:?} {from}..{to} by {limit}");
                let backward = reader.backward(&range, limit).await.unwrap();
                assert_eq!(offsets(&backward.entries), expected[last..], "{scope:?} {from}..{to} by {limit}");
                assert_eq!(backward.is_cut, expected.len() >= limit, "{scope:?} {from}..{to} by {limit}");
                for stored in forward {
                    assert_eq!(stored.entry, entry(lane(0), stored.position.offset));
                    let day = if stored.position.offset < 350 { 0 } else { DAY };
                    assert_eq!(stored.timestamp.millis(), NOON + day + stored.position.offset);
                }
            }
        }
    }
    let nobody = card("ws-7", "card-1");
    assert!(reader.forward(&range(&nobody, &all, 0, 500), 10).await.unwrap().is_empty());
}

/// An archive of one card with messages of these lengths.
async fn of_lengths(lengths: &[usize]) -> (tempfile::TempDir, ArchiveReader) {
    let (folder, objects) = folder();
    let archive = Archive::open(&objects).await.unwrap();
    let mut builder = BatchBuilder::new(lane(0), 0, 0);
    for (offset, length) in lengths.iter().enumerate() {
        let mut payload = Vec::new();
        let message = "x".repeat(*length).into();
        encode_entry(&LogEntry { message, ..entry(lane(0), 0) }, Framing::Avro, &mut payload);
        builder.push_raw(offset as i64, Timestamp(NOON), Some(b"card-0"), Some(&payload), Vec::new());
    }
    let mut sink = sink(&archive);
    sink.open(lane(0), 0, 0).await.unwrap();
    sink.take(&builder.build(Schemas::builtin())).await.unwrap();
    sink.flush(Flush::Free(1)).await.unwrap();
    (folder, ArchiveReader::new(&archive))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_bounded_by_what_it_weighs_and_the_next_goes_on() {
    // Small ones, large ones that make a row group, and small ones in their midst.
    let length = |at: usize| if (400..520).contains(&at) && !at.is_multiple_of(10) { 200_000 } else { at };
    let lengths: Vec<_> = (0..900).map(length).collect();
    let (_folder, reader) = of_lengths(&lengths).await;
    let (scope, all) = (card("ws-0", "card-0"), ReadFilter::default());
    let count = lengths.len() as i64;
    let is_bounded = |but_one: &[StoredEntry]| but_one.iter().map(StoredEntry::weight).sum::<usize>() < CHUNK_BYTES;
    for limit in [50, 10_000] {
        let (mut range, mut found) = (range(&scope, &all, 0, count), Vec::new());
        loop {
            let some = reader.forward(&range, limit).await.unwrap();
            let Some((last, others)) = some.split_last() else { break };
            assert!(is_bounded(others) && some.len() <= limit);
            range.from = last.position.offset + 1;
            found.extend(offsets(&some));
        }
        assert_eq!(found, (0..count).collect::<Vec<_>>(), "forward by {limit}");

        let (mut range, mut found) = (self::range(&scope, &all, 0, count), Vec::new());
        loop {
            let Last { entries: some, is_cut } = reader.backward(&range, limit).await.unwrap();
            let Some((first, others)) = some.split_first() else { break };
            assert!(is_bounded(others) && some.len() <= limit);
            range.to = first.position.offset;
            found.splice(0..0, offsets(&some));
            if !is_cut {
                assert_eq!(range.to, 0);
            }
        }
        assert_eq!(found, (0..count).collect::<Vec<_>>(), "backward by {limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_making_of_a_topic_is_told_and_read_by_itself() {
    let (_folder, objects) = folder();
    let archive = Archive::open(&objects).await.unwrap();
    fill(&archive, &[lane(0), lane(1)], 0, 300, NOON).await;
    fill_in(2, &archive, &[lane(0)], 0, 100, NOON + DAY).await;
    let reader = ArchiveReader::new(&archive);
    let earlier = async |partition, epoch| {
        let held = reader.earlier(partition, epoch, "ws-0").await.unwrap();
        held.iter().map(|held| (held.epoch, held.low, held.high)).collect::<Vec<_>>()
    };
    assert_eq!(earlier(lane(0), 0).await, []);
    assert_eq!(earlier(lane(0), 2).await, [(0, 0, 300)]);
    assert_eq!(earlier(lane(0), 9).await, [(0, 0, 300), (2, 0, 100)]);
    assert_eq!((earlier(lane(1), 2).await, earlier(lane(7), 2).await), (vec![(0, 0, 300)], vec![]));
    assert_eq!(reader.held(lane(0), 1, "ws-0").await.unwrap(), None);
    let (scope, all) = (card("ws-0", "card-1"), ReadFilter::default());
    for (epoch, day, high) in [(0, 0, 300), (2, DAY, 100)] {
        let found = reader.forward(&ColdRange { epoch, ..range(&scope, &all, 0, high) }, 1000).await.unwrap();
        assert_eq!(offsets(&found), expected(&scope, 0, high));
        let is_its = |stored: &StoredEntry| {
            let time = stored.timestamp.millis();
            (stored.position.epoch, time) == (epoch, NOON + day + stored.position.offset)
        };
        assert!(found.iter().all(is_its), "epoch {epoch}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_is_read_by_offset_whoever_s_it_is() {
    let (_folder, reader) = three_files().await;
    for (from, to) in [(0, 500), (30, 470), (190, 210), (499, 500), (450, 600), (500, 600)] {
        let mut lane_read = reader.lane(lane(0), 0, from, to).await.unwrap();
        let (mut next, mut entries) = (from, Vec::new());
        while let Some(batch) = lane_read.next().await.unwrap() {
            assert!(batch.to > next && batch.records().iter().all(|it| (next..batch.to).contains(&it.offset)));
            assert!(batch.rejects().is_empty() && (batch.partition, batch.epoch) == (lane(0), 0));
            for record in batch.records() {
                let Content::Entry(found) = &record.content else { panic!("{record:?}") };
                assert_eq!(*found, entry(lane(0), record.offset));
                entries.push(record.offset);
            }
            next = batch.to;
        }
        // The archive has as much.
        assert_eq!(next, to.min(500).max(from));
        assert_eq!(entries, (from..next).filter(|offset| offset % 11 != 10).collect::<Vec<_>>());
    }
    assert!(reader.lane(lane(7), 0, 0, 10).await.unwrap().next().await.unwrap().is_none());
    assert!(reader.lane(lane(0), 1, 0, 10).await.unwrap().next().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_passes_over_rows_before_they_are_read() {
    let (_folder, objects) = folder();
    let archive = Archive::open(&objects).await.unwrap();
    fill(&archive, &[lane(0)], 0, 300, NOON).await;
    let reader = ArchiveReader::new(&archive);
    let scope = card("ws-0", "card-0");
    let filter = ReadFilter { levels: Some(vec![Level::Error]), ..ReadFilter::default() };
    let found = reader.forward(&range(&scope, &filter, 0, 300), 1000).await.unwrap();
    let expected: Vec<_> = expected(&scope, 0, 300).into_iter().filter(|offset| offset % 5 == 3).collect();
    assert_eq!(offsets(&found), expected);
    let filter = ReadFilter { components: Some(vec!["nothing".into()]), ..ReadFilter::default() };
    assert!(reader.forward(&range(&scope, &filter, 0, 300), 10).await.unwrap().is_empty());
}

/// What happens to a file, and what must then be told; reading must never give other entries than were written.
#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told_and_never_read() {
    let (folder, objects) = folder();
    let archive = Archive::open(&objects).await.unwrap();
    fill(&archive, &[lane(0)], 0, 2000, NOON).await;
    let version = archive.entries.version().await.unwrap();
    let file = version.files(&archive.entries).await.unwrap().remove(0);
    let path = folder.path().join("archive/entries").join(&file.path);
    let whole = std::fs::read(&path).unwrap();
    let scope = card("ws-0", "card-0");
    let all = ReadFilter::default();
    let read = async || ArchiveReader::new(&archive).forward(&range(&scope, &all, 0, 2000), 5000).await;
    let good = read().await.unwrap();
    let mut flips = 0;
    for at in (4..whole.len()).step_by(whole.len() / 150) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, &flipped).unwrap();
        match read().await {
            Ok(entries) => assert_eq!(entries, good, "bit {at}"),
            Err(ArchiveError::Corrupt(text)) => {
                flips += 1;
                assert!(text.contains(&file.path) || text.contains("agent-logs"), "{text}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(flips > 20, "{flips}");
    for length in [0, 3, 8, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = read().await.unwrap_err();
        assert!(matches!(error, ArchiveError::Corrupt(_)), "{length}: {error:?}");
    }
    // A footer that says it is as long as can be, or whose length lies outside of the file.
    for length in [u32::MAX, 0, 7, i32::MAX as u32] {
        let mut forged = whole.clone();
        let end = forged.len() - 8;
        forged[end..end + 4].copy_from_slice(&length.to_le_bytes());
        std::fs::write(&path, &forged).unwrap();
        let error = read().await.unwrap_err();
        assert!(matches!(error, ArchiveError::Corrupt(_)), "{length}: {error:?}");
    }
    std::fs::remove_file(&path).unwrap();
    let error = read().await.unwrap_err();
    assert!(matches!(&error, ArchiveError::Corrupt(text) if text.contains("missing")), "{error:?}");
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(read().await.unwrap(), good);
}

/// Writes `0..to` of lane 0 as a version did whose entries had no trace, neither as a column nor in what is hashed, and
/// which kept 16 bytes of a hash.
async fn begun_by_a_version_before(objects: &agentworks_objects::Objects, to: i64) {
    let columns: Vec<_> = ENTRIES.columns.iter().copied().filter(|(name, _)| *name != "trace_id").collect();
    let spec = TableSpec { columns: columns.leak(), bloomed: &["run_id", "card_id"], ..ENTRIES };
    let spec: &'static TableSpec = Box::leak(Box::new(spec));
    let table = Table::open(objects, spec).await.unwrap();
    let mut rows = RowBuilder::new(spec);
    let mut hashes = Vec::new();
    for offset in 0..to {
        let mut body = Vec::new();
        let entry = agentworks_schemas::LogEntry { trace_id: None, ..entry(lane(0), offset) };
        agentworks_schemas::codec::encode_entry_body(&entry, &mut body);
        let time = agentworks_schemas::Timestamp(NOON + offset);
        rows.record(Place { partition: lane(0), epoch: 0, offset, time }, &body).unwrap();
        hashes.push(Sha256::digest(&body[..body.len() - 1])[..16].to_vec());
    }
    let rows = rows.build().unwrap();
    let mut columns = rows.columns().to_vec();
    columns[rows.schema().index_of("hash").unwrap()] = Arc::new(arrow_array::BinaryArray::from_iter_values(hashes));
    let mut writer = FileWriter::new(&table, FileFormat { zstd_level: 1 }).unwrap();
    writer.write(&arrow_array::RecordBatch::try_new(rows.schema(), columns).unwrap()).unwrap();
    let claim = Claim { rows: to as u64, ..Claim::new(lane(0), 0, 0, to) };
    let file = writer.finish(20_424, &[claim]).unwrap().upload(&table).await.unwrap();
    let change = Change {
        operation: Operation::Append,
        add: vec![file],
        remove: Vec::new(),
        moves: vec![Move { name: lanes::high(lane(0), 0), from: None, to }],
        record: vec![(lanes::low(lane(0), 0), 0), (lanes::epoch(lane(0)), 0), (lanes::clock(lane(0), 0), NOON + to)],
    };
    table.commit(change).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_the_schema_before_reads_on_with_the_next() {
    let (_folder, objects) = folder();
    begun_by_a_version_before(&objects, 100).await;
    let archive = Archive::open(&objects).await.unwrap();
    let (scope, all) = (card("ws-0", "card-1"), ReadFilter::default());
    let read = async |to| {
        let entries = ArchiveReader::new(&archive).forward(&range(&scope, &all, 0, to), 1000).await.unwrap();
        entries.into_iter().map(|stored| (stored.position.offset, stored.entry)).collect::<Vec<_>>()
    };
    let before = read(100).await;
    assert_eq!(before.len(), (0..100).filter(|offset| scope.holds(&entry(lane(0), *offset))).count());
    assert!(before.iter().all(|(_, entry)| entry.trace_id.is_none()));
    fill(&archive, &[lane(0)], 100, 200, NOON).await;
    let both = read(200).await;
    assert!(both.starts_with(&before) && both.iter().any(|(_, entry)| entry.trace_id.is_some()));
    let keeper = Maintenance::new(archive.clone(), MaintainConfig::default()).unwrap();
    assert_eq!(keeper.compact().await.unwrap().removed, 2);
    let verified = keeper.verify().await.unwrap();
    assert_eq!((verified.files, verified.problems), (1, Vec::new()));
    assert_eq!(read(200).await, both);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_says_where_the_sink_stands_and_has_it_go_on() {
    let (_folder, objects) = folder();
    let archive = Archive::open(&objects).await.unwrap();
    let events = TopicPartition::new(Topic::RunEvents, 0);
    fill(&archive, &[lane(0), events], 0, 50, NOON).await;
    let reader: Arc<dyn SinkPositions> = Arc::new(ArchiveReader::new(&archive));
    for partition in [lane(0), events] {
        assert_eq!(reader.position(partition).await.unwrap().map(|held| held.high), Some(50));
        reader.skip_lost(partition, 0, 70).await.unwrap();
        let held = reader.position(partition).await.unwrap().unwrap();
        assert_eq!((held.low, held.high), (70, 70));
    }
    assert_eq!(reader.position(lane(5)).await.unwrap(), None);
}
