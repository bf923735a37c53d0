//! A searcher for tests: looks at each of some entries, as what all others are held to does.
#![allow(clippy::unwrap_used)]

use agentworks_query::{Answer, Scan, SearchRequest};
use agentworks_schemas::access::{Claims, Later};
use agentworks_schemas::codec::encode_entry_body;
use agentworks_schemas::text::JsonObject;
use agentworks_schemas::{Level, LogEntry, Position, Source, Timestamp, Topic, TopicPartition};

use super::{Find, SearchFault};

/// When the first entry was written.
pub(crate) const BEGIN: i64 = 1_764_670_530_000;

/// Entries, one a second.
#[derive(Debug, Default)]
pub(crate) struct Entries(pub(crate) Vec<LogEntry<'static>>);

pub(crate) fn at(number: usize) -> Position {
    Position { partition: TopicPartition::new(Topic::AgentLogs, 3), epoch: 1, offset: number as i64 }
}

impl Entries {
    /// Some of two workspaces, in two cards each.
    pub(crate) fn some(count: usize) -> Self {
        Entries((0..count).map(entry).collect())
    }
}

fn entry(number: usize) -> LogEntry<'static> {
    LogEntry {
        id: format!("id-{number}").into(),
        run_id: format!("run-{}", number % 3).into(),
        card_id: format!("card-{}", number / 2 % 2).into(),
        workspace_id: if number.is_multiple_of(2) { "acme" } else { "other" }.into(),
        timestamp: Timestamp(BEGIN + 1000 * number as i64),
        sequence: number as i64,
        level: Level::ALL[number % 5],
        source: Source::Agent,
        component: "planner".into(),
        message: format!("call {number} failed: rate limit").into(),
        data: JsonObject::parse(format!(r#"{{"n":{number}}}"#)),
        agent_id: None,
        provider: None,
        model: None,
        user_id: None,
        tags: None,
        correlation_id: None,
        parent_span_id: None,
        trace_id: None,
    }
}

impl Find for Entries {
    fn find(&self, request: SearchRequest) -> Later<'_, Result<Answer, SearchFault>> {
        Box::pin(async move {
            let mut scan = Scan::new(&request).unwrap();
            for (number, entry) in self.0.iter().enumerate() {
                let mut body = Vec::new();
                encode_entry_body(entry, &mut body);
                scan.add(at(number), entry, || body);
            }
            Ok(scan.finish().finish(&request))
        })
    }
}

pub(crate) fn claims(workspace: &str, cards: Option<&[&str]>) -> Claims {
    let cards = cards.map(|cards| cards.iter().map(|card| (*card).to_owned()).collect());
    Claims { workspace: workspace.to_owned(), cards, ..Claims::default() }
}
