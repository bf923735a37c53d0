#![allow(clippy::unwrap_used)]

mod differential;
mod hostile;
mod required;

use agentworks_query::SearchRequest;
use agentworks_query::ast::Query;
use agentworks_schemas::codec::encode_entry_body;
use agentworks_schemas::{LogEntry, Position, Timestamp, Topic, TopicPartition};

use super::*;
use crate::document::EntryDocument;
use crate::split::bodies::Dictionary;
use crate::split::{SegmentWriter, SplitWriter, open_files};

pub(super) fn body(entry: &LogEntry<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    encode_entry_body(entry, &mut body);
    body
}

/// Where the entry of this number lies: in one of three partitions.
pub(super) fn position(number: usize) -> Position {
    let partition = TopicPartition::new(Topic::AgentLogs, (number % 3) as i32);
    Position { partition, epoch: 0, offset: (number / 3) as i64 }
}

/// An index of entries, whose record timestamps are their numbers, with a segment for each of `parts`.
pub(super) fn index(parts: &[&[LogEntry<'_>]]) -> Opened {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = SplitWriter::new(folder.path()).unwrap();
    let mut number = 0;
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let mut segment = SegmentWriter::new(20 << 20, Dictionary::default()).unwrap();
        for entry in *part {
            segment
                .add(EntryDocument::new(body(entry).into(), position(number), Timestamp(number as i64)).unwrap())
                .unwrap();
            number += 1;
        }
        writer.add(&segment.finish().unwrap()).unwrap();
    }
    open_files(writer.files().unwrap()).unwrap().1
}

/// In a minute.
pub(super) fn soon() -> Instant {
    Instant::now() + std::time::Duration::from_secs(60)
}

fn lines(count: i64) -> Vec<LogEntry<'static>> {
    let line = |n: i64| {
        let json = format!(
            r#"{{"id":"{n}","runId":"r{}","cardId":"c{}","workspaceId":"w{}","timestamp":{n},"sequence":{n},"level":"info",
                "source":"agent","component":"ToolRunner","message":"line {n} of w{}"}}"#,
            n % 5,
            n % 4,
            n % 2,
            n % 2,
        );
        serde_json::from_str::<LogEntry<'_>>(&json).unwrap().into_owned()
    };
    (0..count).map(line).collect()
}

fn request(query: &str) -> SearchRequest {
    let query = agentworks_query::parse(query, Timestamp(0)).unwrap();
    SearchRequest { limit: 3, ..SearchRequest::new("w0", query) }
}

#[test]
fn no_query_leaves_the_workspace() {
    let entries = lines(40);
    let (left, right) = entries.split_at(20);
    let searcher = index(&[left, right]);
    for query in ["*", "NOT nothing", "w1 OR line", "line OR NOT line", "level:info^9", "card:c1 OR *", "w1"] {
        let mut request = request(query);
        request.limit = 100;
        request.wanted.count = true;
        let found = search_index(&searcher, &request, &Limits::default(), soon()).unwrap();
        assert_eq!(found.count, if query == "w1" { 0 } else { 20 }, "{query}");
        assert!(found.hits.iter().all(|hit| hit.entry().unwrap().workspace_id == "w0"));
    }
    let other = SearchRequest { workspace: "elsewhere".into(), ..request("*") };
    let found = search_index(&searcher, &other, &Limits::default(), soon()).unwrap();
    assert!(found.hits.is_empty() && found.cost.pruned == 2 && found.cost.segments == 0);
}

#[test]
fn segments_that_cannot_matter_are_not_searched() {
    let entries = lines(60);
    let parts: Vec<&[LogEntry<'_>]> = entries.chunks(20).collect();
    let searcher = index(&parts);
    let cost = |request: &SearchRequest| search_index(&searcher, request, &Limits::default(), soon()).unwrap().cost;
    // The newest three are all in the last segment.
    assert_eq!((cost(&request("*")).segments, cost(&request("*")).pruned), (1, 2));
    let mut early = request("line");
    early.to = Some(Timestamp(10));
    assert_eq!((cost(&early).segments, cost(&early).pruned), (1, 2));
    assert_eq!((cost(&request("nothing")).segments, cost(&request("nothing")).visited), (0, 0));
    // Counting takes all of them, but not one document is visited.
    let mut count = request("line");
    (count.limit, count.wanted.count) = (0, true);
    let cost = cost(&count);
    assert_eq!((cost.segments, cost.pruned), (3, 0));
    let plans = explain(&searcher, &early, &Limits::default(), soon()).unwrap();
    let pruned: Vec<bool> = plans.iter().map(|plan| plan.pruned.is_some()).collect();
    assert_eq!(pruned, [true, true, false]);
    assert!(plans[2].clauses.contains("OfTerm") && plans[2].estimate > 0);
}

#[test]
fn what_is_nearer_is_more_relevant() {
    let mut entries = lines(20);
    for (entry, message) in entries.iter_mut().zip(["timeout", "timeot", "timeout timeout now", "timeouts of a tool"]) {
        (entry.workspace_id, entry.message) = ("w0".into(), message.to_owned().into());
    }
    let searcher = index(&[&entries]);
    let mut request = request("message:timeout~1");
    request.sort.by = agentworks_query::request::SortBy::Relevance;
    request.limit = 10;
    let found = search_index(&searcher, &request, &Limits::default(), soon()).unwrap();
    assert_eq!(found.hits.len(), 4);
    let told = found.hits.iter().map(|hit| (hit.entry().unwrap().message.to_string(), hit.key.score));
    let expected = [("timeout timeout now", 1.0), ("timeout", 1.0), ("timeouts of a tool", 0.5), ("timeot", 0.5)];
    assert_eq!(told.collect::<Vec<_>>(), expected.map(|(message, score)| (message.to_owned(), score)));
    assert_eq!(Query::All.to_string(), "*");
}
