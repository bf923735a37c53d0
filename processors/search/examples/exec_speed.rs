//! How fast one index of many entries is searched: `cargo run -p agentworks-search --example exec_speed -- 1000000`.
//!
//! Prints the median of each search in milliseconds and, where there is such a thing, its ratio to what the library's own
//! collectors take for the same words without a workspace, an order by position or a check of the clock.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::{Duration, Instant};

use agentworks_query::SearchRequest;
use agentworks_query::answer::FacetField;
use agentworks_query::request::{Facet, SortBy};
use agentworks_schemas::codec::encode_entry_body;
use agentworks_schemas::text::JsonObject;
use agentworks_schemas::{Level, LogEntry, Position, Source, Timestamp, Topic, TopicPartition};
use agentworks_search::document::EntryDocument;
use agentworks_search::exec::{Limits, Opened, search_index};
use agentworks_search::schema::{fields, tokenizers};
use tantivy::collector::{Count, TopDocs};
use tantivy::query::{PhraseQuery, Query, TermQuery};
use tantivy::schema::{IndexRecordOption, Term};
use tantivy::{Index, IndexWriter, Order};

const RUNS: usize = 9;

fn entry(n: u64) -> LogEntry<'static> {
    // A cheap generator: the same entries every time.
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    let mut next = |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    let words = [
        "request", "finished", "tool", "call", "model", "answer", "retry", "cache", "token", "stream", "queue",
        "worker",
    ];
    let mut message = String::new();
    for _ in 0..8 {
        message.push_str(words[next(12) as usize]);
        message.push(' ');
    }
    match next(100) {
        0..=19 => message.push_str("timeout"),
        20..=29 => message.push_str("rate limit exceeded"),
        _ => {}
    }
    if next(100_000) == 0 {
        message.push_str(" catastrophe");
    }
    message.push_str(&format!(" after {}ms id {:08x}", next(2000), next(1 << 32)));
    let card = if next(100) < 5 { 0 } else { next(20_000) };
    LogEntry {
        id: format!("{n:016x}").into(),
        run_id: format!("run-{}", n / 200).into(),
        card_id: format!("card-{card}").into(),
        workspace_id: "w".to_owned().into(),
        timestamp: Timestamp(1_764_000_000_000 + n as i64 * 20 + next(1000) as i64),
        sequence: n as i64,
        level: Level::ALL[next(5) as usize],
        source: Source::Agent,
        component: ["ToolRunner", "planner", "ModelClient"][next(3) as usize].to_owned().into(),
        message: message.into(),
        data: JsonObject::parse(format!(
            r#"{{"http":{{"status":{}}},"tokens":{},"step":"{}","retry":false}}"#,
            200 + next(300),
            next(4000),
            words[next(12) as usize]
        )),
        agent_id: Some(format!("agent-{}", next(50)).into()),
        provider: Some("anthropic".to_owned().into()),
        model: Some(["large", "small"][next(2) as usize].to_owned().into()),
        user_id: None,
        tags: None,
        correlation_id: None,
        parent_span_id: None,
        trace_id: None,
    }
}

fn build(count: u64) -> Opened {
    let builder = Index::builder().schema(fields().schema.clone()).tokenizers(tokenizers());
    let index = builder.fast_field_tokenizers(tokenizers()).create_in_ram().unwrap();
    let mut writer: IndexWriter<EntryDocument> = index.writer_with_num_threads(1, 1 << 30).unwrap();
    for n in 0..count {
        let mut body = Vec::new();
        encode_entry_body(&entry(n), &mut body);
        let partition = TopicPartition::new(Topic::AgentLogs, (n % 12) as i32);
        let position = Position { partition, epoch: 0, offset: (n / 12) as i64 };
        writer.add_document(EntryDocument::new(body.into(), position, Timestamp(0)).unwrap()).unwrap();
    }
    writer.commit().unwrap();
    Opened::new(index.reader().unwrap().searcher())
}

fn median(mut run: impl FnMut() -> u64) -> (Duration, u64) {
    let mut times = Vec::new();
    let mut found = 0;
    for _ in 0..RUNS {
        let begun = Instant::now();
        found = run();
        times.push(begun.elapsed());
    }
    times.sort();
    (times[RUNS / 2], found)
}

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(200_000);
    let begun = Instant::now();
    let searcher = build(count);
    println!("{count} entries in {} segments, built in {:?}", searcher.segment_readers().len(), begun.elapsed());
    let word = |word: &str| Term::from_field_text(fields().message, word);
    let term = |text: &str| Box::new(TermQuery::new(word(text), IndexRecordOption::Basic)) as Box<dyn Query>;
    let phrase = || Box::new(PhraseQuery::new(vec![word("rate"), word("limit")])) as Box<dyn Query>;
    let counted = |query: Box<dyn Query>| Some((query, true));
    let first = |query: Box<dyn Query>| Some((query, false));
    type Bare = Option<(Box<dyn Query>, bool)>;
    let searches: Vec<(&str, &str, &str, Bare)> = vec![
        ("word, first 100", "message:timeout", "", first(term("timeout"))),
        ("word anywhere, first 100", "timeout", "", None),
        ("word, count", "message:timeout", "count", counted(term("timeout"))),
        ("word anywhere, count", "timeout", "count", None),
        ("phrase, count", "message:\"rate limit\"", "count", counted(phrase())),
        ("phrase anywhere, count", "\"rate limit\"", "count", None),
        ("rare word, first 100", "message:catastrophe", "", first(term("catastrophe"))),
        ("rare word anywhere, first 100", "catastrophe", "", None),
        ("hot card, first 100", "card:card-0", "", None),
        ("hot card and word", "card:card-0 timeout", "", None),
        ("word, timeline", "message:timeout", "timeline", None),
        ("word, all that the protocol counts", "timeout", "all", None),
        ("everything, all that the protocol counts", "*", "all", None),
        ("word, by relevance", "message:timeout", "relevance", None),
        ("near words anywhere", "timeot~1", "", None),
        ("a range of numbers", "data.http.status:>=400", "count", None),
    ];
    for (name, query, what, bare) in searches {
        let mut request = SearchRequest::new("w", agentworks_query::parse(query, Timestamp(0)).unwrap());
        match what {
            "count" => (request.limit, request.wanted.count) = (0, true),
            "timeline" => (request.limit, request.wanted.timeline) = (0, Some(3_600_000)),
            "all" => {
                (request.wanted.count, request.wanted.distributions) = (true, true);
                request.wanted.timeline = Some(3_600_000);
                request.wanted.facets = vec![Facet { field: FacetField::Run, top: 10 }];
            }
            "relevance" => request.sort.by = SortBy::Relevance,
            _ => {}
        }
        let (time, found) = median(|| {
            let found = search_index(&searcher, &request, &Limits::default(), Instant::now() + Duration::from_secs(60))
                .unwrap();
            found.count.max(found.hits.len() as u64)
        });
        let ratio = bare.map(|(query, counts)| {
            let (bare, _) = median(|| match counts {
                true => searcher.search(&query, &Count).unwrap() as u64,
                false => {
                    let top = TopDocs::with_limit(100).order_by_fast_field::<i64>("timestamp", Order::Desc);
                    searcher.search(&query, &top).unwrap().len() as u64
                }
            });
            format!("  {:.2} of the library's", time.as_secs_f64() / bare.as_secs_f64())
        });
        println!("{name:42} {:9.3} ms  {found:8} found{}", time.as_secs_f64() * 1e3, ratio.unwrap_or_default());
    }
}
