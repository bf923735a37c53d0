//! `agentworks search`: all that was logged, in the shell.

mod counts;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use agentworks_query::language::MAX_LENGTH;
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
use super::reindex::moment;
use counts::{Counted, Values};

/// The most that a gateway puts on a page.
const PAGE: usize = 1000;

/// Search all that was logged.
///
/// QUERY is in the query language: words, "phrases in quotes", FIELD:VALUE, AND, OR, NOT, parentheses; the words of several
/// arguments must all be found. The newest hits are printed, the newest of them last; with `--order asc` the oldest, and with
/// `--sort relevance` those that fit best, which come first. What is said of the search itself goes to standard error.
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
    /// Words that must all be there, or words near them, in the message, the component or `data`
    #[arg(long, value_name = "WORDS")]
    text: Option<String>,
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
    /// By what lines are chosen, if there are more
    #[arg(long, value_enum, default_value_t = Sort::Timestamp)]
    sort: Sort,
    /// From which end: the newest or those that fit best, or the oldest or those that fit least
    #[arg(long, value_enum, default_value_t = Order::Desc)]
    order: Order,
    /// How many lines are left out before; with the limit 10,000 at most, beyond that by cursor
    #[arg(long, value_name = "N", conflicts_with = "cursor")]
    offset: Option<usize>,
    /// Go on where a search has ended, which told this cursor
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// How lines are printed
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Count the values of this field: level, source, component, provider, model, card, run. May be given several times
    #[arg(long, value_name = "FIELD")]
    facet: Vec<String>,
    /// Show how many there are, and when
    #[arg(long)]
    histogram: bool,
    /// Tell how the query was understood; with the token of an operator also what it cost, and the plan
    #[arg(long)]
    explain: bool,
}

/// By what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Sort {
    /// By time
    Timestamp,
    /// By how well they fit
    Relevance,
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Order {
    /// The newest, or those that fit best
    Desc,
    /// The oldest, or those that fit least
    Asc,
}

/// What the gateway is asked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Question {
    #[serde(skip_serializing_if = "String::is_empty")]
    q: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    limit: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<usize>,
    sort_by: Sort,
    sort_order: Order,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    facets: Vec<String>,
    explain: bool,
    counts: bool,
}

/// A page of what was found. Entries are kept as they were written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    logs: Vec<Box<RawValue>>,
    /// Absent of pages after the first, as what else is counted.
    #[serde(default)]
    total_count: u64,
    execution_time: u64,
    #[serde(default)]
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
        let is_newest = self.sort == Sort::Timestamp && self.order == Order::Desc;
        let is_within = self.offset.is_some() || self.cursor.is_some();
        let (limit, histogram) = (self.limit, self.histogram);
        let mut question = self.question(Timestamp::now())?;
        // Here already, so that the place can be pointed at; and so that its times are the same for every page.
        let resolved = parse(&question.q, Timestamp::now()).map_err(|error| unreadable(&error))?.to_string();
        let first = ask(&endpoint, &question).await?;
        let mut lines = first.logs.clone();
        let mut cursor = first.cursor.clone();
        let mut incomplete: BTreeSet<_> = first.incomplete.iter().cloned().collect();
        question.only_hits();
        if resolved.len() <= MAX_LENGTH {
            question.q = resolved;
        }
        while lines.len() < limit
            && let Some(next) = cursor
        {
            (question.limit, question.cursor) = ((limit - lines.len()).min(PAGE), Some(next));
            let page = ask(&endpoint, &question).await?;
            lines.extend(page.logs);
            incomplete.extend(page.incomplete);
            cursor = page.cursor;
        }
        if is_newest {
            lines.reverse();
        }
        for line in &lines {
            printer.entry(line, None)?;
        }
        let counted = Counted {
            total_count: first.total_count,
            facets: &first.facets,
            timeline_data: histogram.then_some(first.timeline_data.as_slice()),
            explanation: first.explanation.as_ref(),
        };
        counted.print(&mut printer)?;
        printer.flush()?;
        for reason in &incomplete {
            eprintln!("search: not all was searched: {reason}");
        }
        let shown = lines.len();
        let next = cursor.filter(|_| is_within || first.total_count > shown as u64);
        eprintln!("{}", summary(&first, shown, next.as_deref()));
        Ok(())
    }

    /// What the gateway is asked first. Times like `2h` are told from `now` once, for all pages.
    fn question(self, now: Timestamp) -> Result<Question, Failure> {
        let instant = |flag, text: Option<String>| text.map(|text| moment(flag, &text, now)).transpose();
        Ok(Question {
            q: self.query.join(" "),
            text: self.text,
            card_id: self.card,
            run_id: self.run,
            since: instant("--since", self.since)?,
            until: instant("--until", self.until)?,
            limit: self.limit.min(PAGE),
            offset: self.offset,
            sort_by: self.sort,
            sort_order: self.order,
            cursor: self.cursor,
            facets: self.facet,
            explain: self.explain,
            counts: true,
        })
    }
}

impl Question {
    /// Leaves out what the first page has told of all.
    fn only_hits(&mut self) {
        (self.offset, self.facets, self.explain, self.counts) = (None, Vec::new(), false, false);
    }
}

async fn ask(endpoint: &Endpoint, question: &Question) -> Result<Page, Failure> {
    post_json(endpoint, &["search"], question).await
}

/// How many there are, and how to see more of them.
fn summary(first: &Page, shown: usize, next: Option<&str>) -> String {
    let (total, time) = (first.total_count, first.execution_time);
    let more = match next {
        Some(next) => format!("; {shown} are shown, --limit N shows N, --cursor {next} those that follow"),
        None => String::new(),
    };
    format!("search: {total} found in {time} ms{more}")
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
        let question = |args: &[&str]| {
            let args = Args::try_parse_from(["search"].iter().chain(args)).unwrap();
            args.question("2025-12-02T10:00:00Z".parse().unwrap()).unwrap()
        };
        let json = |question: &Question| serde_json::to_string(question).unwrap();
        assert_eq!(
            json(&question(&["-n", "5"])),
            r#"{"limit":5,"sortBy":"timestamp","sortOrder":"desc","explain":false,"counts":true}"#
        );
        let mut whole = question(&[
            "disk",
            "--text",
            "ful",
            "--since",
            "2h",
            "--until",
            "2025-12-02",
            "--offset",
            "7",
            "--sort",
            "relevance",
            "--order",
            "asc",
            "--facet",
            "card",
            "--explain",
        ]);
        assert_eq!(
            json(&whole),
            r#"{"q":"disk","text":"ful","since":"2025-12-02T08:00:00.000Z","until":"2025-12-02T00:00:00.000Z","limit":100,"offset":7,"sortBy":"relevance","sortOrder":"asc","facets":["card"],"explain":true,"counts":true}"#
        );
        whole.only_hits();
        assert_eq!(
            json(&whole),
            r#"{"q":"disk","text":"ful","since":"2025-12-02T08:00:00.000Z","until":"2025-12-02T00:00:00.000Z","limit":100,"sortBy":"relevance","sortOrder":"asc","explain":false,"counts":false}"#
        );
        assert!(Args::try_parse_from(["search", "--offset", "1", "--cursor", "AA"]).is_err());
        assert_eq!(json(&question(&["--cursor", "AA", "-n", "1"])).matches(r#""cursor":"AA""#).count(), 1);
    }

    #[test]
    fn a_page_is_read_as_the_gateway_writes_it() {
        let json = r#"{"logs":[{"position":"AQ","id":"i"}],"totalCount":3,"query":{},"executionTime":7,"levelDistribution":{},
            "sourceDistribution":{},"timelineData":[{"timestamp":"2025-12-02T10:00:00.000Z","count":3}],"cursor":"AA",
            "facets":{"card":{"values":[{"value":"c","count":2}],"others":1}},"explanation":{"query":"*"}}"#;
        let page: Page = serde_json::from_str(json).unwrap();
        assert_eq!((page.logs.len(), page.total_count, page.cursor.as_deref()), (1, 3, Some("AA")));
        assert_eq!(page.logs[0].get(), r#"{"position":"AQ","id":"i"}"#);
        assert_eq!(summary(&page, 3, None), "search: 3 found in 7 ms");
        let more = summary(&page, 1, page.cursor.as_deref());
        assert_eq!(more, "search: 3 found in 7 ms; 1 are shown, --limit N shows N, --cursor AA those that follow");
        let later: Page = serde_json::from_str(r#"{"logs":[],"query":{},"executionTime":7}"#).unwrap();
        assert!(later.cursor.is_none() && later.timeline_data.is_empty());
    }
}
