//! The index beside VictoriaLogs: the same entries into both, from a topic and over its fastest API, and the same
//! questions to both over HTTP, in turns; and beside bare tantivy with the same schema. And how soon an entry is found.

mod bare;
mod corpus;
mod questions;
mod victoria;

use std::time::{Duration, Instant};

use agentworks_kafka::KafkaSettings;
use agentworks_objects::Objects;
use agentworks_schemas::access::Role as Access;
use agentworks_schemas::codec::{Framing, encode_entry};
use agentworks_schemas::{Level, Source, Topic};
use agentworks_search::manifest::Manifest;
use tokio::time::sleep;

use self::corpus::{Corpus, word};
use self::questions::{Question, questions};
use self::victoria::Victoria;
use crate::proc::cpu;
use crate::servers::{SECRET, WORKSPACE, token};
use crate::sinks::Filler;
use crate::support::role::Role;
use crate::support::stack::{Stack, StackConfig};
use crate::support::{Scratch, eventually, kafka, records, unique_prefix};

const PARTITIONS: i32 = 4;
/// So that what is there is merged at once.
const SETTLES: [(&str, &str); 2] = [("AGENTWORKS__SEARCH__SETTLE", "1s"), ("AGENTWORKS__SEARCH__MAINTAIN", "1s")];
const PATIENCE: Duration = Duration::from_secs(600);
/// How many bytes VictoriaLogs is handed at once.
const CHUNK: usize = 4 << 20;

/// For how long each question is asked at least.
const AWHILE: Duration = Duration::from_secs(2);

/// How often both are made.
const ROUNDS: &str = "AGENTWORKS_BENCH_ROUNDS";
/// How often each question is asked.
const TURNS: &str = "AGENTWORKS_BENCH_TURNS";
/// Only questions whose title has this.
const ONLY: &str = "AGENTWORKS_BENCH_QUESTION";

/// Measures and prints.
pub fn run() {
    let (entries, rounds, turns) = if crate::is_small() { (50_000, 1, 3) } else { (1_000_000, 3, 15) };
    // For whoever looks for what takes the time.
    let given = |name| std::env::var(name).ok().and_then(|value| value.parse::<usize>().ok());
    let (rounds, turns) = (given(ROUNDS).unwrap_or(rounds).max(1), given(TURNS).unwrap_or(turns));
    let corpus = Corpus::new(entries);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut last = None;
        println!("{entries} entries; lines per CPU-second, from a topic or over HTTP until they are searchable:\n");
        println!("| the index | tantivy alone | VictoriaLogs | ÷ tantivy (≥ 0.85) | ÷ VictoriaLogs (≥ 1) |");
        println!("|---|---|---|---|---|");
        // In turns: the machine's speed changes from one minute to the next.
        for _ in 0..rounds {
            drop(last.take());
            let ours = Ours::index(&corpus).await;
            let bare = bare::rate(&corpus);
            let theirs = Theirs::index(&corpus, ours.json).await;
            let (rate, ratio) = match &theirs {
                Some(theirs) => (format!("{:.0}", theirs.rate), format!("**{:.2}**", ours.rate / theirs.rate)),
                None => Default::default(),
            };
            println!("| {:.0} | {bare:.0} | {rate} | **{:.2}** | {ratio} |", ours.rate, ours.rate / bare);
            last = Some((ours, theirs));
        }
        let Some((ours, theirs)) = last else { return };
        let (json, merged, fresh) = (ours.json / entries as u64, ours.merged, ours.fresh);
        println!(
            "\n{json} bytes of JSON each; index ÷ JSON: **{merged:.3}** (≤ 0.30), {fresh:.3} before it is merged,"
        );
        println!("which takes {:.1} µs of processor time an entry", ours.merging);
        if let Some(theirs) = &theirs {
            println!("; VictoriaLogs {:.3}", theirs.size);
        }
        compare(&ours, theirs.as_ref(), &questions(&corpus), turns).await;
        drop((ours, theirs));
        freshness().await;
    });
}

/// Our installation: what fills the index, and has ended, and what searches it.
struct Ours {
    serve: Role,
    client: reqwest::Client,
    token: String,
    /// Bytes of the entries' JSON.
    json: u64,
    /// Lines per CPU-second.
    rate: f64,
    /// Bytes of the index as it is first written, divided by those of the JSON.
    fresh: f64,
    /// The same once nothing is left to be merged.
    merged: f64,
    /// How many microseconds of processor time merging took for each entry.
    merging: f64,
    _folder: Scratch,
}

impl Ours {
    async fn index(corpus: &Corpus) -> Ours {
        let (prefix, brokers, folder) = (unique_prefix(), kafka().await.bootstrap(), Scratch::new("bench-search"));
        let topics = records::create_topics(&brokers, &prefix, PARTITIONS).await;
        let json = produce(&KafkaSettings::new(&brokers, topics), corpus);
        let store = format!("embedded:{}", folder.path().join("store").display());
        let [objects, scratch] = ["objects", "search"].map(|name| folder.path().join(name).display().to_string());
        let variables = [
            ("AGENTWORKS__KAFKA__BROKERS", &*brokers),
            ("AGENTWORKS__KAFKA__TOPIC_PREFIX", &prefix),
            ("AGENTWORKS__STORE__URL", &store),
            ("AGENTWORKS__OBJECTS__URL", &objects),
            ("AGENTWORKS__SEARCH__FOLDER", &scratch),
            ("AGENTWORKS__AUTH__SECRET", SECRET),
            ("AGENTWORKS__RUNTIME__SINKS", "search"),
        ];
        let process = Role::start(&["process"], &variables).await;
        let all = corpus.entries as f64;
        let published = async || process.metric("agentworks_search_docs_total", "").await >= all;
        eventually(PATIENCE, async || {
            sleep(Duration::from_millis(200)).await;
            published().await.then_some(())
        })
        .await;
        let rate = all / cpu(process.pid()).as_secs_f64();
        let (status, log) = process.terminate().await;
        assert!(status.success(), "{log}");
        let manifest = Manifest::new(Objects::folder(&folder.path().join("objects")).unwrap().child("search"));
        let size = async || {
            let state = manifest.refresh().await.unwrap();
            let is_merged = state.splits.values().all(|split| split.tier > 0);
            (state.splits.values().map(|split| split.bytes).sum::<u64>() as f64 / json as f64, is_merged)
        };
        let (fresh, _) = size().await;
        let merger = Role::start(&["process"], &[&variables[..], &SETTLES].concat()).await;
        let merged = eventually(PATIENCE, async || {
            sleep(Duration::from_millis(200)).await;
            let (bytes, is_merged) = size().await;
            is_merged.then_some(bytes)
        })
        .await;
        let merging = cpu(merger.pid()).as_secs_f64() * 1e6 / all;
        let (status, log) = merger.terminate().await;
        assert!(status.success(), "{log}");
        let serve = Role::start(&["serve"], &variables).await;
        serve.is_ready().await;
        let (client, token) = (reqwest::Client::new(), token());
        Ours { serve, client, token, json, rate, fresh, merged, merging, _folder: folder }
    }

    async fn ask(&self, path: &str, parameters: &[(&str, String)]) -> String {
        let url = format!("{}{path}", self.serve.url());
        let request = self.client.get(url).query(parameters).bearer_auth(&self.token);
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path} {parameters:?}: {text}");
        assert!(!text.contains(r#""incomplete""#), "{path} {parameters:?}: {text}");
        text
    }
}

struct Theirs {
    victoria: Victoria,
    rate: f64,
    size: f64,
}

impl Theirs {
    async fn index(corpus: &Corpus, json: u64) -> Option<Theirs> {
        let victoria = Victoria::start().await?;
        let begun = cpu(victoria.pid());
        let mut lines = Vec::new();
        for entry in corpus.entries() {
            serde_json::to_writer(&mut lines, &entry).unwrap();
            lines.push(b'\n');
            if lines.len() >= CHUNK {
                victoria.insert(std::mem::take(&mut lines)).await;
            }
        }
        victoria.insert(lines).await;
        victoria.flush().await;
        let rate = corpus.entries as f64 / (cpu(victoria.pid()) - begun).as_secs_f64();
        // It merges what it was handed for some seconds more.
        sleep(Duration::from_secs(10)).await;
        let size = victoria.bytes() as f64 / json as f64;
        Some(Theirs { victoria, rate, size })
    }
}

/// Fills the log. Returns the bytes of the entries' JSON.
fn produce(settings: &KafkaSettings, corpus: &Corpus) -> u64 {
    let filler = Filler::new(settings);
    let (mut json, mut bytes) = (Vec::new(), 0);
    for entry in corpus.entries() {
        json.clear();
        serde_json::to_writer(&mut json, &entry).unwrap();
        bytes += json.len() as u64;
        let mut payload = Vec::new();
        encode_entry(&entry, Framing::Avro, &mut payload);
        filler.send(Topic::of(entry.source), &entry.card_id, &payload);
    }
    filler.finish();
    bytes
}

/// Asks both the same, in turns.
async fn compare(ours: &Ours, theirs: Option<&Theirs>, questions: &[Question], turns: usize) {
    println!(
        "\n| question | hits | the index: p50, p95 | VictoriaLogs: p50, p95 | ÷ p50 (≤ 0.5), ÷ p95 |\n|---|---|---|---|---|"
    );
    let only = std::env::var(ONLY).unwrap_or_default();
    for question in questions.iter().filter(|question| question.title.contains(&only)) {
        let [mut our_times, mut their_times] = [Vec::new(), Vec::new()];
        let (mut our_count, mut their_count) = (0, 0);
        let first = Instant::now();
        // Once unmeasured, for what is slow only the first time; and more often than that, what takes no time.
        for turn in 0.. {
            if turn > turns && first.elapsed() > AWHILE {
                break;
            }
            let began = Instant::now();
            let answer = ours.ask(question.ours.0, &question.ours.1).await;
            let took = began.elapsed();
            our_count = question.our_count(&answer);
            if turn > 0 {
                our_times.push(took);
            }
            let Some(theirs) = theirs else { continue };
            let began = Instant::now();
            let answer = theirs.victoria.ask(question.theirs.0, &question.theirs.1).await;
            let took = began.elapsed();
            their_count = question.their_count(&answer);
            if turn > 0 {
                their_times.push(took);
            }
        }
        let ([our50, our95], title) = (quantiles(&mut our_times), question.title);
        if theirs.is_some() {
            let [their50, their95] = quantiles(&mut their_times);
            let (p50, p95) = (our50 / their50, our95 / their95);
            // Both have found the same, or the title says why not.
            let hits =
                if our_count == their_count { our_count.to_string() } else { format!("{our_count}, {their_count}") };
            println!(
                "| {title} | {hits} | {our50:.1}, {our95:.1} ms | {their50:.1}, {their95:.1} ms | **{p50:.2}**, {p95:.2} |"
            );
        } else {
            println!("| {title} | {our_count} | {our50:.1}, {our95:.1} ms | | |");
        }
    }
}

/// The median and the 95th of a hundred, in milliseconds.
fn quantiles(times: &mut [Duration]) -> [f64; 2] {
    times.sort_unstable();
    [0.5, 0.95].map(|share| times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1000.0)
}

/// How long it takes from before an entry is produced until a search over HTTP finds it, while the log is written to.
async fn freshness() {
    let (rate, probes) = if crate::is_small() { (500, 20) } else { (5_000, 200) };
    let config = StackConfig { search: true, ..StackConfig::default() };
    let stack = Stack::start_with(&kafka().await.bootstrap(), &unique_prefix(), PARTITIONS, config).await;
    let token = stack.token(WORKSPACE, Access::Viewer);
    let producer = stack.producer.clone();
    let noise = tokio::spawn(async move {
        let runs: Vec<_> =
            (0..50).map(|n| producer.run(WORKSPACE, &format!("card-{n}"), &format!("run-{n}"))).collect();
        let (began, mut sent) = (Instant::now(), 0);
        loop {
            let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as usize;
            for number in sent..due {
                let line = format!(
                    "line {number} {}",
                    (0..40).map(|n| word(number * 7 + n * n)).collect::<Vec<_>>().join(" ")
                );
                let run = &runs[number % runs.len()];
                drop(run.log(Level::Info, Source::Agent, "bench", &line).send().await.unwrap());
            }
            sent = due;
            sleep(Duration::from_millis(5)).await;
        }
    });
    sleep(Duration::from_secs(3)).await;
    let (client, run, mut times) =
        (reqwest::Client::new(), stack.producer.run(WORKSPACE, "card-probe", "probe"), Vec::new());
    for number in 0..probes {
        let began = Instant::now();
        run.log(Level::Info, Source::Agent, "bench", &format!("probe{number}x")).send().await.unwrap().await.unwrap();
        loop {
            let query = [("q", format!("probe{number}x")), ("limit", "1".to_owned())];
            let request = client.get(format!("{}/v1/search", stack.url)).query(&query).bearer_auth(&token);
            let answer = request.send().await.unwrap().error_for_status().unwrap().text().await.unwrap();
            if questions::total(&answer) == 1 {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{answer}");
            sleep(Duration::from_millis(10)).await;
        }
        times.push(began.elapsed());
        sleep(Duration::from_millis(50)).await;
    }
    noise.abort();
    let [p50, _] = quantiles(&mut times);
    let p99 = times[times.len() * 99 / 100].as_secs_f64() * 1000.0;
    println!(
        "\nAt {rate} entries/s, from before an entry is produced until it is found: p50 {p50:.0} ms, p99 **{p99:.0} ms** (≤ 1000)."
    );
    stack.stop().await;
}
