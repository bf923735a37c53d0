//! Holds an archive to the topics that it was filled from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use agentworks_archive::{Archive, ArchiveReader, MaintainConfig, Maintenance};
use agentworks_load::hash;
use agentworks_objects::Objects;
use agentworks_processors::reader::{ColdRange, ReadFilter, Scope, StoredEntry};
use agentworks_schemas::codec::encode_entry_body;
use agentworks_schemas::{Topic, TopicPartition};
use serde_json::{Value, json};

use super::member::{Order, launch};
use crate::support::eventually;
use crate::truth::{Told, Truth};
use crate::world::{PATIENCE, World};

/// How much was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "printed")]
pub struct Held {
    pub files: u64,
    pub rows: u64,
    pub lanes: u64,
    pub cards: usize,
    pub engines: usize,
}

/// Somebody who has seen nothing of it yet, and deletes after an hour.
pub async fn keeper(objects: &Objects) -> Maintenance {
    let config = MaintainConfig { grace: Duration::from_secs(3600), ..MaintainConfig::default() };
    Maintenance::new(Archive::open(objects).await.unwrap(), config).unwrap()
}

/// Waits until the archive has as many rows as there are records.
pub async fn filled(world: &World, objects: &Objects) {
    // Producers are idempotent, and nothing else takes offsets.
    let records = world.ends().await.values().sum::<i64>() as u64;
    let keeper = keeper(objects).await;
    eventually(PATIENCE, async || {
        // A place that is away may come back.
        let stats = keeper.stats().await.ok()?;
        let rows: u64 = stats.iter().filter(|table| table.table != "runs").map(|table| table.rows).sum();
        assert!(rows <= records, "{rows} rows of {records} records");
        (rows == records).then_some(())
    })
    .await;
}

/// Has one more process do what is left.
pub async fn settle(world: &World, order: &Order) {
    let mut last = launch(&Order { dies: None, ..order.clone() });
    let objects = Objects::folder(&order.objects).unwrap();
    filled(world, &objects).await;
    last.leave().await;
    last.ended(PATIENCE).await.expect("it leaves");
}

/// Compares everything: files with what they say, lanes with their positions, entries with the topics, engines with each
/// other.
///
/// # Panics
/// If anything differs.
pub async fn hold(world: &World, objects: &Objects) -> Held {
    let verified = keeper(objects).await.verify().await.unwrap();
    assert_eq!(verified.problems, Vec::<String>::new(), "AGENTWORKS_SEED={}", world.seed);
    let truth = Truth::read(&world.log.settings).await;
    assert_eq!(verified.rows as i64, truth.ends.values().map(|(low, high)| high - low).sum::<i64>());
    let reader = ArchiveReader::new(&Archive::open(objects).await.unwrap());
    for ((workspace, name), card) in &truth.cards {
        let scope = Scope::Card { workspace: workspace.clone(), card: name.clone() };
        let mut found: Vec<Told> = read(&reader, &scope, &truth.ends).await.iter().map(told).collect();
        found.sort_unstable();
        assert!(found == card.entries, "{workspace}/{name}: {} of {}", found.len(), card.entries.len());
    }
    let folder = Some(objects.url()).filter(|url| url.scheme() == "file");
    let engines = match folder.and_then(|url| url.to_file_path().ok()) {
        Some(folder) => {
            let known = Known::of(&truth, &reader).await;
            let seen = engines(&folder.join("entries"), &known.workspace, &known.run);
            let offsets: i64 = truth.cards.values().flat_map(|card| &card.entries).map(|entry| entry.offset).sum();
            for engine in &seen {
                let found = (engine["rows"].as_u64(), engine["offsets"].as_i64());
                assert_eq!(found, (Some(known.rows), Some(offsets)), "{}", engine["engine"]);
                assert_eq!(engine["lines"], json!(known.lines), "{}", engine["engine"]);
            }
            seen.len()
        }
        None => 0,
    };
    let (files, rows, lanes) = (verified.files, verified.rows, verified.lanes);
    Held { files, rows, lanes, cards: truth.cards.len(), engines }
}

/// What engines see at least, now and later: how many rows, and a run's lines, to which none are added.
pub struct Known {
    workspace: String,
    run: String,
    lines: Vec<String>,
    rows: u64,
}

impl Known {
    async fn of(truth: &Truth, reader: &ArchiveReader) -> Known {
        let (workspace, run) = truth.runs.keys().next_back().expect("a run").clone();
        let mut lines = Vec::new();
        for (_, card) in truth.cards.keys().filter(|(of, _)| *of == workspace) {
            let scope = Scope::Run { workspace: workspace.clone(), card: card.clone(), run: run.clone() };
            lines.extend(read(reader, &scope, &truth.ends).await);
        }
        let by = |line: &StoredEntry| {
            (line.position.partition.topic.as_str(), line.position.partition.partition, line.position.offset)
        };
        lines.sort_by_key(by);
        let lines: Vec<_> = lines.iter().map(|line| line.entry.message.to_string()).collect();
        assert!(!lines.is_empty());
        Known { workspace, run, lines, rows: truth.entries as u64 }
    }

    /// What an archive has that has taken all there is so far.
    pub async fn so_far(world: &World, objects: &Objects) -> Known {
        let truth = Truth::read(&world.log.settings).await;
        Known::of(&truth, &ArchiveReader::new(&Archive::open(objects).await.unwrap())).await
    }

    /// Whether engines see that, while somebody writes.
    pub async fn is_seen(&self, table: &Path) {
        let (table, workspace, run) = (table.to_owned(), self.workspace.clone(), self.run.clone());
        let seen = tokio::task::spawn_blocking(move || engines(&table, &workspace, &run)).await.unwrap();
        for engine in seen {
            assert!(engine["rows"].as_u64() >= Some(self.rows), "{}", engine["engine"]);
            assert_eq!(engine["lines"], json!(self.lines), "{}", engine["engine"]);
        }
    }
}

/// All that the archive has of a card or run.
async fn read(reader: &ArchiveReader, scope: &Scope, ends: &BTreeMap<TopicPartition, (i64, i64)>) -> Vec<StoredEntry> {
    let filter = ReadFilter::default();
    let mut found = Vec::new();
    for (partition, (_, to)) in ends.iter().filter(|(partition, _)| Topic::LOGS.contains(&partition.topic)) {
        let mut range = ColdRange { scope, filter: &filter, partition: *partition, epoch: 0, from: 0, to: *to };
        loop {
            let some = reader.forward(&range, 1000).await.unwrap();
            let Some(last) = some.last() else { break };
            range.from = last.position.offset + 1;
            found.extend(some);
        }
    }
    found
}

fn told(stored: &StoredEntry) -> Told {
    let mut body = Vec::new();
    encode_entry_body(&stored.entry, &mut body);
    let at = stored.position;
    Told { partition: at.partition, epoch: at.epoch, offset: at.offset, recorded: stored.timestamp, hash: hash(&body) }
}

/// What DuckDB, Polars and `deltalake` see.
pub fn engines(table: &Path, workspace: &str, run: &str) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("AGENTWORKS_PYTHON").map(PathBuf::from);
    let python = python.unwrap_or_else(|| root.join(".tools/venv/bin/python"));
    let script = root.join("tests/python/archive.py");
    let output = Command::new(python).arg(script).arg(table).args([workspace, run]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let seen: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert_eq!(seen.len(), 3);
    seen
}

/// Deletes what isn't needed; how many files that were.
pub async fn vacuum(objects: &Objects) -> usize {
    keeper(objects).await.vacuum().await.unwrap().len()
}

/// Makes everything below a folder older than anybody waits for.
pub fn age(folder: &Path) {
    let long_ago = SystemTime::now() - Duration::from_secs(2 * 3600);
    for path in below(folder) {
        fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
    }
}

/// All files below a folder.
pub fn below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                files.insert(entry.path());
            }
        }
    }
    files
}

/// Files of rows below a folder.
pub fn data(folder: &Path) -> BTreeSet<PathBuf> {
    let is_data = |path: &PathBuf| path.to_str().is_some_and(|path| path.contains("/date="));
    below(folder).into_iter().filter(is_data).collect()
}

/// No file lies on the disk that the tables don't have.
pub async fn only_current(objects: &Objects, folder: &Path) {
    let files: u64 = keeper(objects).await.stats().await.unwrap().iter().map(|table| table.files).sum();
    let found = data(folder);
    assert_eq!(found.len() as u64, files, "{found:?}");
}
