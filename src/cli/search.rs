//! `agentworks search`: all that was logged, in the shell.

mod counts;

use std::collections::BTreeMap;
use std::process::ExitCode;

use agentworks_query::{ParseError, parse};
use agentworks_schemas::Timestamp;
use agentworks_schemas::protocol::TimelinePoint;
use anyhow::anyhow;
use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::client::http::post_json;
use super::client::print::{Output, Printer};
use super::client::{Endpoint, Failure, GatewayArgs, exit_on_interrupt, finish};
use counts::{Counted, Values};

/// The most that a gateway puts on a page.
const PAGE: usize = 1000;

/// Search all that was logged.
///
/// QUERY is in the query language: words, "phrases in quotes", FIELD:VALUE, AND, OR, NOT, parentheses; the words of several
/// arguments must all be found. The newest hits are printed, the newest of them last. What is said of the search itself goes to
/// standard error.
#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  agentworks search timeout\n  agentworks search 'level:>=warn \"rate limit\"' --since 2h\n  \
    agentworks search 'data.http_status:>=500' --facet card --limit 0\n\n\
    Exit codes: 0 done, 1 failure, 3 token refused, 5 no gateway, 130 interrupted"
)]
pub(crate) struct Args {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// What to look for; everything, if nothing is said
    query: Vec<String>,
    /// Only lines that are not older: `2h`, `1d12h`, 2025-12-02, 2025-12-02T10:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only lines that are not newer
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only lines of this card
    #[arg(long, value_name = "CARD")]
    card: Option<String>,
    /// Only lines of this run
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// How many lines are printed; 0 to count alone
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Which lines, if there are more: the newest, or those that fit best, which then come first
    #[arg(long, value_enum, default_value_t = Sort::Timestamp)]
    sort: Sort,
    /// How lines are printed
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Count the values of this field: level, source, component, provider, model, card, run. May be given several times
    #[arg(long, value_name = "FIELD")]
    facet: Vec<String>,
    /// Show how many there are, and when
    #[arg(long)]
    histogram: bool,
    /// Tell how the query was understood, and what it cost
    #[arg(long)]
    explain: bool,
}

/// In which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// By time
    Timestamp,
    /// By how well they fit
    Relevance,
}

/// What the gateway is asked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Question {
    #[serde(skip_serializing_if = "String::is_empty")]
    q: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    card_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    limit: usize,
    sort_by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    facets: Vec<String>,
    explain: bool,
}

/// A page of what was found. Entries are kept as they were written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    logs: Vec<Box<RawValue>>,
    total_count: u64,
    execution_time: u64,
    timeline_data: Vec<TimelinePoint>,
    cursor: Option<String>,
    #[serde(default)]
    incomplete: Vec<String>,
    #[serde(default)]
    facets: BTreeMap<String, Values>,
    #[serde(default)]
    explanation: Option<Value>,
}

impl Args {
    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        Ok(finish(self.run().await))
    }

    async fn run(self) -> Result<(), Failure> {
        let endpoint = self.gateway.endpoint()?;
        exit_on_interrupt();
        let mut printer = Printer::stdout(self.output).afield();
        let mut question = Question {
            q: self.query.join(" "),
            card_id: self.card,
            run_id: self.run,
            since: self.since,
            until: self.until,
            limit: self.limit.min(PAGE),
            sort_by: if self.sort == Sort::Timestamp { "timestamp" } else { "relevance" },
            cursor: None,
            facets: self.facet,
            explain: self.explain,
        };
        // Here already, so that the place can be pointed at.
        parse(&question.q, Timestamp::now()).map_err(|error| unreadable(&error))?;
        let first = ask(&endpoint, &question).await?;
        let mut lines = Vec::new();
        let mut cursor = first.cursor.clone();
        lines.extend(first.logs.iter().cloned());
        (question.facets, question.explain) = (Vec::new(), false);
        while lines.len() < self.limit
            && let Some(next) = cursor
        {
            (question.limit, question.cursor) = ((self.limit - lines.len()).min(PAGE), Some(next));
            let page = ask(&endpoint, &question).await?;
            lines.extend(page.logs);
            cursor = page.cursor;
        }
        if self.sort == Sort::Timestamp {
            lines.reverse();
        }
        for line in &lines {
            printer.entry(line, None)?;
        }
        let counted = Counted {
            total_count: first.total_count,
            facets: &first.facets,
            timeline_data: self.histogram.then_some(first.timeline_data.as_slice()),
            explanation: first.explanation.as_ref(),
        };
        counted.print(&mut printer)?;
        printer.flush()?;
        report(&first, lines.len(), self.limit);
        Ok(())
    }
}

async fn ask(endpoint: &Endpoint, question: &Question) -> Result<Page, Failure> {
    post_json(endpoint, &["search"], question).await
}

/// Says how many there are, and what could not be looked at.
fn report(page: &Page, shown: usize, limit: usize) {
    for reason in &page.incomplete {
        eprintln!("search: not all was searched: {reason}");
    }
    let (total, time) = (page.total_count, page.execution_time);
    let more = if limit > 0 && total > shown as u64 {
        format!("; {shown} are shown, --limit N shows N")
    } else {
        String::new()
    };
    eprintln!("search: {total} found in {time} ms{more}");
}

/// A query that can't be read, with the place pointed at.
fn unreadable(error: &ParseError) -> Failure {
    let excerpt = error.excerpt().replace('\n', "\n  ");
    anyhow!("QUERY, at character {}: {}\n\n  {excerpt}", error.position() + 1, error.message()).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_place_of_a_fault_is_pointed_at() {
        let query = "level:error AND (disk";
        let error = unreadable(&parse(query, Timestamp(0)).unwrap_err()).to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert!(lines[0].starts_with("QUERY, at character "), "{error}");
        assert_eq!(lines[2], format!("  {query}"));
        let at: usize = lines[0]["QUERY, at character ".len()..].split(':').next().unwrap().parse().unwrap();
        assert_eq!(lines[3].find('^'), Some(2 + at - 1), "{error}");
    }

    #[test]
    fn a_question_says_what_was_said_and_no_more() {
        let args = Args::try_parse_from(["search", "disk", "full", "--since", "2h", "--facet", "card"]).unwrap();
        assert_eq!((args.query.join(" "), args.limit, args.facet), ("disk full".into(), 100, vec!["card".to_owned()]));
        let question = Question {
            q: String::new(),
            card_id: None,
            run_id: None,
            since: None,
            until: None,
            limit: 5,
            sort_by: "timestamp",
            cursor: None,
            facets: Vec::new(),
            explain: false,
        };
        assert_eq!(serde_json::to_string(&question).unwrap(), r#"{"limit":5,"sortBy":"timestamp","explain":false}"#);
    }

    #[test]
    fn a_page_is_read_as_the_gateway_writes_it() {
        let json = r#"{"logs":[{"position":"AQ","id":"i"}],"totalCount":3,"query":{},"executionTime":7,"levelDistribution":{},
            "sourceDistribution":{},"timelineData":[{"timestamp":"2025-12-02T10:00:00.000Z","count":3}],"cursor":"AA",
            "facets":{"card":{"values":[{"value":"c","count":2}],"others":1}},"explanation":{"query":"*"}}"#;
        let page: Page = serde_json::from_str(json).unwrap();
        assert_eq!((page.logs.len(), page.total_count, page.cursor.as_deref()), (1, 3, Some("AA")));
        assert_eq!(page.logs[0].get(), r#"{"position":"AQ","id":"i"}"#);
    }
}
