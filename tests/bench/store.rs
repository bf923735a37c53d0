//! What blocks cost beside a row for each entry: the same entries on one Cassandra, as rows in unlogged batches within one
//! partition, and as compressed blocks; how many a second, and how many bytes each takes on disk.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use agentworks_processors::TABLES;
use agentworks_processors::hot::HotConfig;
use agentworks_schemas::codec::encode_entry_body;
use agentworks_schemas::{Level, LogEntry, Source, Timestamp};
use agentworks_store::{Column, Key, Part, Store, Table, Write};
use agentworks_store_cql::{CqlConfig, CqlStore, Password};
use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use zstd::bulk::Compressor;

use crate::support::Scratch;
use crate::support::cassandra::Cassandra;

const ENTRIES: usize = 120_000;
const CARDS: usize = 20;
const ROUNDS: i64 = 5;
/// How many rows a batch has: with 100 of them it would be larger than Cassandra takes.
const BATCH: usize = 30;
const BLOCKS: [usize; 2] = [30, 100];
/// How many requests are under way at once.
const CONCURRENCY: usize = 64;
/// How many blocks the sinks write in one call at most.
const BLOCKS_PER_CALL: usize = 256;
/// A day: both kinds of rows expire.
const KEPT: Duration = Duration::from_secs(24 * 3600);

static ROWS: Table = Table {
    name: "bench_rows",
    partition: &[Column::text("workspace"), Column::text("card"), Column::int("bucket")],
    clustering: &[Column::int("topic"), Column::int("epoch"), Column::int("partition"), Column::int("place")],
    versioned: false,
};

/// Measures and prints.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let folder = Scratch::new("cassandra");
    let cassandra = Cassandra::start_periodic(folder.path()).await;
    let (config, store) = cassandra.store().await;
    // A table for each variant, so that each has its own files.
    let by_size = ["hot_blocks_1d", "warm_blocks_7d"].map(|name| *TABLES.iter().find(|t| t.name == name).unwrap());
    store.create_table(&ROWS).await.unwrap();
    let rows = Rows::connect(&config).await;
    let entries = entries();
    let size = entries.iter().map(Vec::len).sum::<usize>() / entries.len();

    let mut rounds = Vec::new();
    // Once unmeasured, for what is slow only the first time.
    for round in 0..=ROUNDS {
        let rates = [
            rows.write(&entries, round).await,
            write_blocks(&store, by_size[0], BLOCKS[0], &entries, round).await,
            write_blocks(&store, by_size[1], BLOCKS[1], &entries, round).await,
        ];
        if round > 0 {
            rounds.push(rates);
        }
    }
    drop((store, rows));
    let data = cassandra.stop().await.join(&config.keyspace);

    let written = (ENTRIES as i64 * (ROUNDS + 1)) as f64;
    println!("{ENTRIES} entries of {size} bytes, {CARDS} cards; medians of {ROUNDS} rounds\n");
    println!("| | entries/s | ÷ rows in the same round | bytes on disk each |\n|---|---|---|---|");
    let names = [
        format!("rows, unlogged batches of {BATCH} within one partition"),
        format!("blocks of {}", BLOCKS[0]),
        format!("blocks of {}", BLOCKS[1]),
    ];
    for (index, (name, table)) in names.iter().zip([&ROWS, by_size[0], by_size[1]]).enumerate() {
        let rate = median(rounds.iter().map(|rates| rates[index]));
        let ratio = median(rounds.iter().map(|rates| rates[index] / rates[0]));
        let bytes = bytes_of(&data, table.name) as f64 / written;
        println!("| {name} | {rate:.0} | {ratio:.2} | {bytes:.0} |");
    }
}

/// What messages are made of: enough words for a message not to repeat another.
const WORDS: &str = "call tool search read write file function test run plan next step request provider token context retry \
    failed passed result found line error header parse module build cache index query answer model prompt user agent \
    message queue worker batch commit branch merge review deploy service latency timeout partial because of with from \
    into after before while the a is was not and or 12 48 182 529 2114 0x7f3a /src/main.rs acme.example v2.4.1";

/// The bodies of entries that differ as those of real agents do.
fn entries() -> Vec<Vec<u8>> {
    let words: Vec<_> = WORDS.split_whitespace().collect();
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut entry = |number: usize| {
        let mut body = Vec::new();
        let text: Vec<_> = (0..8 + random(60)).map(|_| words[random(words.len())]).collect();
        let entry = LogEntry {
            id: format!("0197f3a2-7c1e-7b44-9d0e-{:012x}", random(1 << 31)).into(),
            run_id: format!("run-{}", number % CARDS).into(),
            card_id: format!("card-{}", number % CARDS).into(),
            workspace_id: "acme".into(),
            timestamp: Timestamp(1_764_670_530_123 + number as i64),
            sequence: number as i64,
            level: Level::ALL[number % Level::ALL.len()],
            source: Source::Agent,
            component: "planner".into(),
            message: text.join(" ").into(),
            data: None,
            agent_id: Some("agent-7".into()),
            provider: Some("provider".into()),
            model: Some("model-large-2".into()),
            user_id: None,
            tags: Some(vec!["tool".into(), "search".into()]),
            correlation_id: Some(format!("6f2c1e9a-0b5d-4c1f-8f5e-{:012x}", number / 100).into()),
            parent_span_id: None,
            trace_id: Some(format!("4bf92f3577b34da6a3ce929d{:08x}", number / 50).into()),
        };
        encode_entry_body(&entry, &mut body);
        body
    };
    (0..ENTRIES).map(&mut entry).collect()
}

/// The entries of each card, in chunks of at most `size`: card, place of the first, entries.
fn chunks(entries: &[Vec<u8>], size: usize) -> Vec<(usize, usize, Vec<&[u8]>)> {
    let of_card = |card: usize| entries.iter().skip(card).step_by(CARDS).map(Vec::as_slice).collect::<Vec<_>>();
    let chunks_of = |card| {
        let chunks = of_card(card).chunks(size).map(<[_]>::to_vec).collect::<Vec<_>>();
        chunks.into_iter().enumerate().map(move |(index, chunk)| (card, index * size, chunk))
    };
    (0..CARDS).flat_map(chunks_of).collect()
}

/// As the sinks do: a zstd frame for each block, some blocks in one call, and some calls at a time.
async fn write_blocks(store: &CqlStore, table: &'static Table, size: usize, entries: &[Vec<u8>], round: i64) -> f64 {
    let begun = Instant::now();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let expires = Some((now + KEPT).as_millis() as i64);
    let mut compressor = Compressor::new(HotConfig::default().zstd_level).unwrap();
    let write = |(card, first, chunk): &(usize, usize, Vec<&[u8]>)| {
        let (first, last) = (*first as i64, (first + chunk.len()) as i64 - 1);
        let clustering: Vec<Part> = vec![0.into(), 0.into(), 0.into(), first.into(), last.into()];
        let partition = vec!["acme".into(), format!("card-{card}").into(), round.into()];
        let payload = compressor.compress(&chunk.concat()).unwrap().into();
        let stats = vec![0; 40].into();
        Write { table, key: Key { partition, clustering }, version: 0, expires, stats, payload }
    };
    let blocks: Vec<Write> = chunks(entries, size).iter().map(write).collect();
    let calls = stream::iter(blocks.chunks(BLOCKS_PER_CALL).map(<[_]>::to_vec)).map(Ok);
    calls.try_for_each_concurrent(HotConfig::default().writes, |call| store.write(call)).await.unwrap();
    entries.len() as f64 / begun.elapsed().as_secs_f64()
}

/// What writes a row for each entry, with nothing of ours in between.
struct Rows {
    session: Session,
    insert: PreparedStatement,
}

impl Rows {
    async fn connect(config: &CqlConfig) -> Rows {
        let password = config.user.clone().unwrap();
        assert_eq!(config.password, Some(Password::new(password.clone())));
        let builder = SessionBuilder::new().known_nodes(&config.contact_points);
        let session = builder.user(config.user.clone().unwrap(), password).build().await.unwrap();
        let insert = format!(
            "INSERT INTO {}.{} (workspace, card, bucket, topic, epoch, partition, place, payload) \
             VALUES ('acme', ?, ?, 0, 0, 0, ?, ?) USING TTL {}",
            config.keyspace,
            ROWS.name,
            KEPT.as_secs()
        );
        let mut insert = session.prepare(insert).await.unwrap();
        insert.set_is_idempotent(true);
        Rows { session, insert }
    }

    async fn write(&self, entries: &[Vec<u8>], round: i64) -> f64 {
        let begun = Instant::now();
        let write = async |(card, first, chunk): (usize, usize, Vec<&[u8]>)| {
            let mut batch = Batch::new(BatchType::Unlogged);
            let mut values = Vec::new();
            for (place, body) in (first as i64..).zip(chunk) {
                batch.append_statement(self.insert.clone());
                values.push((format!("card-{card}"), round, place, body));
            }
            self.session.batch(&batch, values).await.map(drop)
        };
        let chunks = stream::iter(chunks(entries, BATCH)).map(Ok);
        chunks.try_for_each_concurrent(CONCURRENCY, write).await.unwrap();
        entries.len() as f64 / begun.elapsed().as_secs_f64()
    }
}

/// What a table takes on disk.
fn bytes_of(keyspace: &Path, table: &str) -> u64 {
    let of_table = |name: &str| name.rsplit_once('-').is_some_and(|(name, _)| name == table);
    let folders = std::fs::read_dir(keyspace).unwrap().map(|entry| entry.unwrap().path());
    let folder = folders.into_iter().find(|path| of_table(path.file_name().unwrap().to_str().unwrap())).unwrap();
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap()).map(|file| file.len()).sum()
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
