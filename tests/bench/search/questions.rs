//! The questions, in both languages.

use serde_json::Value;

use super::corpus::{Corpus, SPAN, word};

type Request = (&'static str, Vec<(&'static str, String)>);

/// A question, and how each is asked it.
pub struct Question {
    pub title: &'static str,
    pub ours: Request,
    pub theirs: Request,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// The newest hundred.
    Hits,
    /// How many there are.
    Count,
    /// When they are.
    Histogram,
    /// Which cards have most.
    Top,
}

impl Question {
    fn new(title: &'static str, kind: Kind, ours: impl Into<String>, theirs: impl Into<String>) -> Question {
        let (ours, theirs) = (ours.into(), theirs.into());
        let given = |name: &'static str, value: &str| (name, value.to_owned());
        let (ours, theirs): (Request, Request) = match kind {
            Kind::Hits => (
                ("/v1/search", vec![("q", ours), given("limit", "100"), given("remember", "false")]),
                ("/select/logsql/query", vec![("query", theirs), given("limit", "100")]),
            ),
            Kind::Count => (
                ("/v1/search", vec![("q", ours), given("limit", "0"), given("remember", "false")]),
                ("/select/logsql/query", vec![("query", format!("{theirs} | count() hits"))]),
            ),
            Kind::Histogram => {
                let step = if title.contains("1 min") { "1m" } else { "1h" };
                (
                    // Its range is that of the entries: they end about now.
                    ("/v1/histogram", vec![("q", ours), given("interval", step), given("since", "25h")]),
                    ("/select/logsql/hits", vec![("query", theirs), given("step", step)]),
                )
            }
            Kind::Top => (
                ("/v1/facets", vec![("q", ours), given("fields", "card"), given("top", "10")]),
                ("/select/logsql/query", vec![("query", format!("{theirs} | top 10 by (cardId) hits hits"))]),
            ),
        };
        Question { title, ours, theirs, kind }
    }

    /// How many our answer says or holds.
    pub fn our_count(&self, answer: &str) -> u64 {
        let value: Value = serde_json::from_str(answer).unwrap();
        match self.kind {
            Kind::Hits => value["logs"].as_array().unwrap().len() as u64,
            Kind::Count => total(answer),
            Kind::Histogram => sum(&value["buckets"]),
            Kind::Top => sum(&value["facets"]["card"]["values"]),
        }
    }

    /// How many theirs does.
    pub fn their_count(&self, answer: &str) -> u64 {
        let lines = || answer.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        match self.kind {
            Kind::Hits => lines().count() as u64,
            Kind::Count | Kind::Top => lines().map(|line| line["hits"].as_str().unwrap().parse::<u64>().unwrap()).sum(),
            Kind::Histogram => lines()
                .flat_map(|line| line["hits"].as_array().unwrap().clone())
                .map(|hits| hits["total"].as_u64().unwrap())
                .sum(),
        }
    }
}

/// How many an answer of ours says that there are.
pub fn total(answer: &str) -> u64 {
    let value: Value = serde_json::from_str(answer).unwrap();
    value["totalCount"].as_u64().unwrap()
}

/// The sum of what these have counted.
fn sum(counted: &Value) -> u64 {
    counted.as_array().unwrap().iter().map(|one| one["count"].as_u64().unwrap()).sum()
}

pub fn questions(corpus: &Corpus) -> Vec<Question> {
    use Kind::{Count, Histogram, Hits, Top};
    let [often, usual, seldom, rare] = [20, 200, 2_000, 40_000].map(word);
    let (hot, cold) = (corpus.card(0), corpus.card(900));
    let phrase = r#""sequential scan over""#;
    let beginning = &often[..3];
    let three = format!("{often} {usual} deadline");
    let (late, early) = (
        corpus.start.millis() + SPAN.as_millis() as i64 / 2,
        corpus.start.millis() + SPAN.as_millis() as i64 * 11 / 24,
    );
    let rfc3339 = |millis: i64| jiff::Timestamp::from_millisecond(millis).unwrap().to_string();
    let range = format!("timestamp:[{} TO {}}} {often}", rfc3339(early), rfc3339(late));
    let their_range = format!("_time:[{}, {}) {often}", rfc3339(early), rfc3339(late));
    let (our_hot, their_hot) = (format!("card:{hot}"), format!("{{cardId=\"{hot}\"}}"));
    let (our_cold, their_cold) = (format!("card:{cold}"), format!("{{cardId=\"{cold}\"}}"));
    vec![
        Question::new("frequent word, top 100", Hits, &often, &often),
        Question::new("frequent word, count", Count, &often, &often),
        Question::new("word, top 100", Hits, &usual, &usual),
        Question::new("word, count", Count, &usual, &usual),
        Question::new("seldom word, top 100", Hits, &seldom, &seldom),
        Question::new("rare word, top 100", Hits, &rare, &rare),
        Question::new("phrase, top 100", Hits, phrase, phrase),
        Question::new("phrase, count", Count, phrase, phrase),
        Question::new("three words, top 100", Hits, &three, &three),
        Question::new("three words, count", Count, &three, &three),
        Question::new("beginning, top 100", Hits, format!("{beginning}*"), format!("{beginning}*")),
        Question::new("beginning, count", Count, format!("{beginning}*"), format!("{beginning}*")),
        Question::new("level, top 100", Hits, "level:error", "level:=error"),
        Question::new("level, count", Count, "level:error", "level:=error"),
        Question::new("level and word, top 100", Hits, format!("level:error {often}"), format!("level:=error {often}")),
        Question::new("hot card, top 100", Hits, &our_hot, &their_hot),
        Question::new("hot card and word, top 100", Hits, format!("{our_hot} {often}"), format!("{their_hot} {often}")),
        Question::new("cold card, top 100", Hits, &our_cold, &their_cold),
        Question::new(
            "cold card and word, top 100",
            Hits,
            format!("{our_cold} {often}"),
            format!("{their_cold} {often}"),
        ),
        Question::new("word in an hour, top 100", Hits, range, their_range),
        Question::new("word, 1 h histogram", Histogram, &often, &often),
        Question::new("everything, 1 min histogram", Histogram, "*", "*"),
        Question::new("cards with most of a word", Top, &often, &often),
    ]
}
