//! Ten days of a fleet, in an archive and as NDJSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agentworks_archive::{Archive, ArchiveConfig, ArchiveSink, MaintainConfig, Maintenance};
use agentworks_kafka::BatchBuilder;
use agentworks_load::{Fleet, Record};
use agentworks_objects::Objects;
use agentworks_processors::sink::{Flush, Sink};
use agentworks_schemas::codec::{Framing, Schemas, encode_entry, encode_event};
use agentworks_schemas::{Timestamp, Topic, TopicPartition};
use prometheus_client::registry::Registry;
use serde_json::Value;
use zstd::stream::write::Encoder;

use crate::is_small;

const PARTITIONS: i32 = 4;
const DAYS: u64 = 10;
const DAY: i64 = 86_400_000;
/// 2025-12-02, at midnight.
const BEGAN: i64 = 1_764_633_600_000;
/// How many cards there are, on each of which a run is going on all the time.
const CARDS: usize = 1_000;
/// How many records lie in a batch, and how many runs are looked up.
const BATCH: usize = 1_000;
const RUNS: u64 = 20;

/// A run, and where its lines lie.
#[derive(Clone, Debug)]
pub struct Run {
    pub card: String,
    pub name: String,
    pub lanes: [TopicPartition; 2],
}

/// See the module.
#[derive(Debug)]
pub struct Days {
    pub archive: PathBuf,
    /// A compressed file for each day.
    pub ndjson: PathBuf,
    pub entries: u64,
    /// Some of the runs.
    pub runs: Vec<Run>,
    /// Where each lane ends.
    pub ends: BTreeMap<TopicPartition, i64>,
}

/// A lane that is being filled.
struct Lane {
    builder: BatchBuilder,
    next: i64,
    waiting: usize,
}

impl Days {
    /// Fills both, has the archive merge its files, and prints what they take.
    pub async fn fill(folder: &Path) -> Days {
        let entries = std::env::var("AGENTWORKS_BENCH_ENTRIES").map_or(10_000_000, |count| count.parse().unwrap());
        let entries = if is_small() { entries / 50 } else { entries };
        let (archive, ndjson) = (folder.join("archive"), folder.join("ndjson"));
        std::fs::create_dir_all(&ndjson).unwrap();
        let opened = Archive::open(&Objects::folder(&archive).unwrap()).await.unwrap();
        let config = ArchiveConfig { flush_interval: Duration::from_secs(86_400), ..ArchiveConfig::default() };
        let mut sink = ArchiveSink::new(opened.clone(), config, &mut Registry::default()).unwrap();
        let began = Instant::now();
        let (runs, ends) = write(&mut sink, &config, &ndjson, entries).await;
        let took = began.elapsed();
        let table = archive.join("entries");
        let (before, text) = (files(&table), size(&below(&ndjson)));
        let began = Instant::now();
        let grace = Duration::from_secs(3600);
        let keeper = Maintenance::new(opened, MaintainConfig { grace, ..MaintainConfig::default() }).unwrap();
        let merged = keeper.compact().await.unwrap();
        let merging = began.elapsed();
        let stats = keeper.stats().await.unwrap();
        let (stats, per_entry) = (&stats[0], |bytes: u64| bytes as f64 / entries as f64);
        assert_eq!(stats.rows, entries);
        println!(
            "{entries} entries of {DAYS} days, written in {took:.0?} with their NDJSON, merged in {merging:.0?}\n"
        );
        println!("| entries | files | bytes per entry | ÷ zstd -3 of NDJSON |\n|---|---|---|---|");
        println!("| NDJSON, zstd 3, a file for each day | {DAYS} | {:.1} | 1.00 |", per_entry(text));
        let ratio = |bytes: u64| bytes as f64 / text as f64;
        let written = size(&before);
        let level = config.zstd_level;
        println!("| as written, zstd {level} | {} | {:.1} | {:.2} |", before.len(), per_entry(written), ratio(written));
        let (left, bytes) = (stats.files, stats.bytes);
        println!("| merged, zstd 6 | {left} | {:.1} | {:.2} |", per_entry(bytes), ratio(bytes));
        println!("\nGoal: 0.7 or less. Merging took {} files for {}.\n", merged.removed, merged.added);
        Days { archive, ndjson, entries, runs, ends }
    }
}

/// What a fleet says over the days, to both. Returns some of the runs, and where the lanes end.
async fn write(
    sink: &mut ArchiveSink,
    config: &ArchiveConfig,
    ndjson: &Path,
    entries: u64,
) -> (Vec<Run>, BTreeMap<TopicPartition, i64>) {
    let rate = entries as f64 / (DAYS as i64 * DAY / 1000) as f64;
    let cards = std::env::var("AGENTWORKS_BENCH_CARDS").map_or(CARDS, |count| count.parse().unwrap());
    let fleet = Fleet { workspace: "acme".into(), rate, cards, ..Fleet::new(1, Timestamp(BEGAN)) };
    let mut lanes = BTreeMap::new();
    for partition in
        Topic::ALL.into_iter().flat_map(|topic| (0..PARTITIONS).map(move |n| TopicPartition::new(topic, n)))
    {
        sink.open(partition, 0, 0).await.unwrap();
        lanes.insert(partition, Lane { builder: BatchBuilder::new(partition, 0, 0), next: 0, waiting: 0 });
    }
    let (mut text, mut day, mut count) = (None::<Encoder<'static, File>>, -1, 0);
    let (mut runs, mut line, mut payload) = (Vec::<Run>::new(), Vec::new(), Vec::new());
    for step in fleet.steps() {
        let at = Timestamp(BEGAN + step.at.as_millis() as i64);
        payload.clear();
        match &step.record {
            Record::Entry(entry) => {
                if count == entries {
                    break;
                }
                if count % (entries / RUNS) == entries / RUNS / 2 {
                    let lanes = [Topic::AgentLogs, Topic::SystemLogs].map(|topic| lane(topic, &entry.card_id));
                    runs.push(Run { card: entry.card_id.to_string(), name: entry.run_id.to_string(), lanes });
                }
                count += 1;
                encode_entry(entry, Framing::Avro, &mut payload);
                if at.millis() / DAY != day {
                    day = at.millis() / DAY;
                    text.take().map(|text| text.finish().unwrap());
                    let file = File::create(ndjson.join(format!("{day}.ndjson.zst"))).unwrap();
                    text = Some(Encoder::new(file, 3).unwrap());
                }
                line.clear();
                serde_json::to_writer(&mut line, entry).unwrap();
                line.push(b'\n');
                text.as_mut().unwrap().write_all(&line).unwrap();
            }
            Record::Event(event) => encode_event(event, Framing::Avro, &mut payload),
        }
        let partition = lane(step.record.topic(), step.record.card());
        let lane = lanes.get_mut(&partition).unwrap();
        lane.builder.push_raw(lane.next, at, Some(step.record.card().as_bytes()), Some(&payload), Vec::new());
        (lane.next, lane.waiting) = (lane.next + 1, lane.waiting + 1);
        if lane.waiting == BATCH {
            lane.give(sink, partition).await;
            if sink.pending() >= config.flush_bytes {
                sink.flush(Flush::Due).await.unwrap();
            }
        }
    }
    text.take().map(|text| text.finish().unwrap());
    for (partition, lane) in &mut lanes {
        lane.give(sink, *partition).await;
    }
    sink.flush(Flush::Free(usize::MAX)).await.unwrap();
    (runs, lanes.into_iter().map(|(partition, lane)| (partition, lane.next)).collect())
}

impl Lane {
    async fn give(&mut self, sink: &mut ArchiveSink, partition: TopicPartition) {
        let next = BatchBuilder::new(partition, 0, self.next);
        let batch = std::mem::replace(&mut self.builder, next).build(Schemas::builtin());
        sink.take(&batch).await.unwrap();
        self.waiting = 0;
    }
}

/// Where a card's records lie; which of the partitions that is doesn't matter here.
fn lane(topic: Topic, card: &str) -> TopicPartition {
    let sum: u32 = card.bytes().map(u32::from).sum();
    TopicPartition::new(topic, (sum % PARTITIONS as u32) as i32)
}

fn size(files: &[PathBuf]) -> u64 {
    files.iter().map(|file| file.metadata().unwrap().len()).sum()
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The files that a table has, as its log says: there may be others, which it had.
pub fn files(table: &Path) -> Vec<PathBuf> {
    let mut files = BTreeSet::new();
    let is_commit = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    for commit in below(&table.join("_delta_log")).into_iter().filter(is_commit) {
        for action in BufReader::new(File::open(commit).unwrap()).lines() {
            let action: Value = serde_json::from_str(&action.unwrap()).unwrap();
            let path = |kind: &str| Some(table.join(action[kind]["path"].as_str()?.replace("%3D", "=")));
            files.extend(path("add"));
            path("remove").map(|path| files.remove(&path));
        }
    }
    files.into_iter().collect()
}
