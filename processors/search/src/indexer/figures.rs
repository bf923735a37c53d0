//! How large the index is and how fast it is made: not a check but figures, printed by
//! `cargo test -p agentworks-search --release figures -- --ignored --nocapture`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use agentworks_kafka::BatchBuilder;
use agentworks_schemas::codec::{Framing, Schemas, encode_entry};
use agentworks_schemas::text::JsonObject;
use agentworks_schemas::{Level, LogEntry, Source, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::testing::at;

const ENTRIES: i64 = 200_000;

fn pick<'a>(rng: &mut StdRng, of: &[&'a str]) -> &'a str {
    of[rng.random_range(0..of.len())]
}

fn hex(rng: &mut StdRng, digits: usize) -> String {
    (0..digits).map(|_| char::from_digit(rng.random_range(0..16), 16).unwrap()).collect()
}

/// A line as agents write them: about 700 bytes of JSON.
fn entry(rng: &mut StdRng, n: i64) -> LogEntry<'static> {
    let run = rng.random_range(0..400u32);
    let tool = pick(rng, &["search_files", "read_file", "run_tests", "apply_patch", "http_get", "query_database"]);
    let path = format!("src/{}/{}.rs", pick(rng, &["auth", "billing", "ingest", "render"]), hex(rng, 3));
    let millis = rng.random_range(1..20_000);
    let message = match rng.random_range(0..5) {
        0 => format!("Tool {tool} finished in {millis}ms with {} results for {path}", rng.random_range(0..200)),
        1 => format!("Calling {tool} on {path}: looking for the definition of handler_{}", hex(rng, 4)),
        2 => format!("Model answered with {} tokens after {millis}ms; continuing with step {}", millis % 4096, n % 40),
        3 => format!("Request failed: connection to api.example.com timed out after {millis}ms, retry {}", n % 5),
        _ => format!("I will now change {path} so that the test passes, then run the whole suite again to be sure."),
    };
    let data = format!(
        r#"{{"tool":"{tool}","durationMs":{millis},"attempt":{},"http":{{"status":{},"path":"/{path}"}},"requestId":"{}"}}"#,
        n % 4,
        pick(rng, &["200", "200", "200", "404", "429", "500"]),
        hex(rng, 16)
    );
    LogEntry {
        id: format!("0193{}-{}-7{}-8{}-{}", hex(rng, 4), hex(rng, 4), hex(rng, 3), hex(rng, 3), hex(rng, 12)).into(),
        run_id: format!("run_{:08x}{:08x}", run * 7919, run).into(),
        card_id: format!("card_{:06x}", run / 3 * 104_729).into(),
        workspace_id: format!("workspace-{}", run % 20).into(),
        timestamp: Timestamp(1_760_000_000_000 + n * 3 + rng.random_range(0..50)),
        sequence: n / 400,
        level: Level::ALL[[1, 1, 1, 0, 2, 3][rng.random_range(0..6)]],
        source: Source::Agent,
        component: pick(rng, &["planner", "tool-runner", "model.client", "WorkspaceSync"]).to_owned().into(),
        message: message.into(),
        data: JsonObject::parse(data),
        agent_id: Some(format!("agent-{}", run % 50).into()),
        provider: Some(pick(rng, &["anthropic", "openai"]).to_owned().into()),
        model: Some(pick(rng, &["claude-opus", "claude-sonnet", "gpt"]).to_owned().into()),
        user_id: None,
        tags: Some(vec![pick(rng, &["nightly", "ci", "prod"]).to_owned().into()]),
        correlation_id: Some(format!("corr-{}", n / 20).into()),
        parent_span_id: Some(hex(rng, 16).into()),
        trace_id: Some(format!("{:032x}", i128::from(n / 50) * 0x9e37_79b9_7f4a_7c15).into()),
    }
}

#[test]
#[ignore = "it prints figures"]
fn figures() {
    let scratch = tempfile::tempdir().unwrap();
    let (mut rng, mut json, mut batches) = (StdRng::seed_from_u64(7), 0, Vec::new());
    let mut builder = BatchBuilder::new(at(0, 0).partition, 0, 0);
    for n in 0..ENTRIES {
        let entry = entry(&mut rng, n);
        json += serde_json::to_vec(&entry).unwrap().len();
        let mut payload = Vec::new();
        encode_entry(&entry, Framing::Avro, &mut payload);
        builder.push_raw(n, entry.timestamp, Some(entry.card_id.as_bytes()), Some(&payload), Vec::new());
        if builder.is_full() {
            batches.push(builder.split());
        }
    }
    batches.push(builder);
    let (config, mut pages) = (IndexerConfig::new(scratch.path()), Vec::new());
    let mut making = Making::new(&config);
    let begun = Instant::now();
    for builder in batches {
        let batch = builder.build(Schemas::builtin());
        pages.push(Arc::new(Page::copy(&batch, 0)));
        if pages.iter().map(|page| page.len()).sum::<usize>() < config.chunk_docs {
            continue;
        }
        making.index(&std::mem::take(&mut pages)).unwrap();
        if making.is_segment_full() {
            println!("segment: {} MiB in memory", making.memory() >> 20);
            making.end_segment().unwrap();
        }
    }
    making.index(&pages).unwrap();
    let (contents, searcher) = making.seal().unwrap().unwrap();
    let took = begun.elapsed().as_secs_f64();
    println!("{ENTRIES} entries of {} B JSON: {:.0} entries/s", json / ENTRIES as usize, ENTRIES as f64 / took);
    println!(
        "index: {:.3} of the JSON, {} segments",
        contents.packed.bytes as f64 / json as f64,
        searcher.segment_readers().len()
    );
    let space = searcher.space_usage().unwrap();
    let mut by_part = BTreeMap::<&str, u64>::new();
    for segment in space.segments() {
        for (part, bytes) in [
            ("terms", segment.termdict().total()),
            ("postings", segment.postings().total()),
            ("positions", segment.positions().total()),
            ("columns", segment.fast_fields().total()),
            ("norms", segment.fieldnorms().total()),
            ("documents' own store", segment.store().total()),
        ] {
            *by_part.entry(part).or_default() += bytes.get_bytes();
        }
        for (name, usage) in [("terms", segment.termdict()), ("columns", segment.fast_fields())] {
            for usage in usage.fields() {
                println!("  {name} {}: {:.4}", usage.field_name(), usage.total().get_bytes() as f64 / json as f64);
            }
        }
    }
    by_part.insert("bodies", contents.packed.bytes - by_part.values().sum::<u64>());
    for (part, bytes) in by_part {
        println!("{part}: {:.4} of the JSON", bytes as f64 / json as f64);
    }
}
