//! From the topics to committed files.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use agentworks_archive::{Archive, ArchiveConfig, ArchiveSink};
use agentworks_kafka::KafkaSettings;
use agentworks_objects::Objects;
use agentworks_processors::runtime::{Runtime, RuntimeConfig};
use agentworks_processors::sink::Sink;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use prometheus_client::registry::Registry;
use tokio::runtime::Runtime as Tokio;

use super::days::files;
use crate::is_small;
use crate::sinks::{Cost, Counting, NullStore, all_taken, measured, median, produce};
use crate::support::records::create_topics;
use crate::support::{Scratch, kafka, unique_prefix};

const PARTITIONS: i32 = 4;
const ROUNDS: usize = 3;

/// Measures and prints.
pub fn measure(runtime: &Tokio) {
    let records: u64 = if is_small() { 100_000 } else { 1_000_000 };
    let settings = runtime.block_on(async {
        let broker = kafka().await;
        let topics = create_topics(&broker.bootstrap(), &unique_prefix(), PARTITIONS).await;
        KafkaSettings::new(broker.bootstrap(), topics)
    });
    let bytes = (records * produce(&settings, records)) as f64;
    let (mut rounds, level) = (Vec::new(), ArchiveConfig::default().zstd_level);
    // Once unmeasured, for what is slow only the first time.
    for round in 0..=ROUNDS {
        let scratch = Scratch::new("bench-archive-writing");
        let ours = measured(|| runtime.block_on(archive(&settings, scratch.path(), records)));
        let bare = bare(scratch.path(), level);
        if round > 0 {
            rounds.push((ours, bare));
        }
    }
    let rate = |time: Duration| bytes / 1e6 / time.as_secs_f64();
    let ours = median(rounds.iter().map(|(ours, _)| rate(ours.cpu)));
    let wall = median(rounds.iter().map(|(ours, _)| rate(ours.wall)));
    let bare = median(rounds.iter().map(|(_, bare)| rate(bare.cpu)));
    let ratio = median(rounds.iter().map(|(ours, bare)| rate(ours.cpu) / rate(bare.cpu)));
    println!("{records} records, {:.0} MB as they lie on the topics; medians of {ROUNDS} rounds\n", bytes / 1e6);
    println!("| | MB per CPU-second | ÷ bare |\n|---|---|---|");
    println!("| bare ArrowWriter, zstd {level} as ours, sorted rows that are there already | {bare:.1} | 1.00 |");
    println!("| from the topics to committed files ({wall:.1} MB/s) | {ours:.1} | {ratio:.2} |");
    println!("\nGoal: 0.7 or more.\n");
}

/// A process with the sink, from the start of the topics until the tables have all of it.
async fn archive(settings: &KafkaSettings, folder: &Path, records: u64) {
    let archive = Archive::open(&Objects::folder(folder).unwrap()).await.unwrap();
    let (config, taken) = (ArchiveConfig::default(), Arc::new(AtomicU64::new(0)));
    // As a process has it whose only sink this is.
    let memory = 2 * config.flush_bytes;
    let sink = ArchiveSink::new(archive, config, &mut Registry::default()).unwrap();
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(Counting { sink, taken: taken.clone() })];
    let group = format!("bench-{}", unique_prefix());
    let config = RuntimeConfig::new(settings.clone(), group, Arc::new(NullStore::default()), sinks);
    let runtime = Runtime::start(RuntimeConfig { memory, ..config }).unwrap();
    all_taken(&taken, records, &runtime).await;
    // It publishes the rest.
    runtime.shutdown().await;
}

/// What a bare writer takes for the same rows, at this level of zstd. Reading them isn't measured.
fn bare(folder: &Path, level: i32) -> Cost {
    let mut cost = Cost::default();
    for file in ["entries", "events"].into_iter().flat_map(|table| files(&folder.join(table))) {
        let file = std::fs::File::open(file).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        let Some(first) = batches.first() else { continue };
        let level = ZstdLevel::try_new(level).unwrap();
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level));
        let schema = first.schema();
        cost += measured(|| {
            let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties.build())).unwrap();
            batches.iter().for_each(|batch| writer.write(batch).unwrap());
            assert!(!writer.into_inner().unwrap().is_empty());
        });
    }
    cost
}
