//! A search, from the parameters of a URL or from a body.

use std::ops::Bound;

use agentworks_query::answer::FacetField;
use agentworks_query::ast::Ends;
use agentworks_query::request::{Facet, MAX_TOP};
use agentworks_query::{Query, Test, parse};
use agentworks_schemas::Timestamp;
use agentworks_schemas::protocol::LogSearchQuery;
use agentworks_schemas::text::{cut, describe_at};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::rest::asked::Params;
use crate::rest::error::ApiError;
use crate::search::Asking;
use crate::socket::depth::is_deeper;

/// How many values a facet has, if nothing is said.
const DEFAULT_TOP: usize = 10;

/// A search, and how it is to be answered.
#[derive(Debug, Default)]
pub(super) struct Form {
    pub(super) asking: Asking,
    pub(super) explain: bool,
}

/// What stands beside a `LogSearchQuery` in a body.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Beside {
    since: Option<String>,
    until: Option<String>,
    facets: Vec<String>,
    top: Option<usize>,
    interval: Option<Interval>,
    explain: bool,
    remember: Option<bool>,
}

/// A length of time: milliseconds, or a text like `5m`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Interval {
    Millis(i64),
    Text(String),
}

impl Form {
    /// Reads the parameters of a search.
    pub(super) fn read(params: &mut Params, now: Timestamp) -> Result<Self, ApiError> {
        let mut asking = what(params, now)?;
        let query = &mut asking.query;
        query.limit = params.value("limit")?;
        query.offset = params.value("offset")?;
        query.sort_by = params.text("sort");
        query.sort_order = params.text("order");
        query.cursor = params.text("cursor");
        query.counts = params.value("counts")?;
        asking.forget = params.value::<bool>("remember")? == Some(false);
        asking.interval = params.text("interval").map(|text| millis(&text)).transpose()?;
        let facets = params.list::<String>("facets")?.unwrap_or_default();
        asking.facets = facets_of(&facets, params.value("top")?)?;
        Ok(Form { asking, explain: params.flag("explain")? })
    }

    /// Reads a body.
    pub(super) fn parse(body: &[u8], max_depth: usize, now: Timestamp) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(body).map_err(|_| ApiError::Invalid("the body is not UTF-8".to_owned()))?;
        if is_deeper(text, max_depth) {
            return Err(ApiError::Invalid(format!("the body is nested deeper than {max_depth}, which is the limit")));
        }
        let mut members: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| ApiError::Invalid(format!("the body is not a JSON object: {}", describe_at(&error))))?;
        let mut beside = Map::new();
        for name in ["since", "until", "facets", "top", "interval", "explain", "remember"] {
            beside.extend(members.remove_entry(name));
        }
        let beside: Beside = read(beside)?;
        let query: LogSearchQuery = read(members)?;
        let interval = match beside.interval {
            None => None,
            Some(Interval::Millis(millis)) => Some(millis),
            Some(Interval::Text(text)) => Some(millis(&text)?),
        };
        let facets = facets_of(&beside.facets, beside.top)?;
        let since = beside.since.map(|text| moment("since", &text, now)).transpose()?;
        let until = beside.until.map(|text| moment("until", &text, now)).transpose()?;
        let forget = beside.remember == Some(false);
        let asking = Asking { query, since, until, facets, interval, forget, ..Asking::default() };
        Ok(Form { asking, explain: beside.explain })
    }
}

/// Reads which entries are wanted: `q`, `text` and their like.
pub(super) fn what(params: &mut Params, now: Timestamp) -> Result<Asking, ApiError> {
    let query = LogSearchQuery {
        q: params.text("q"),
        text: params.text("text"),
        card_id: params.text("card"),
        run_id: params.text("run"),
        agent_id: params.text("agent"),
        provider: params.text("provider"),
        level: params.list("level")?,
        source: params.list("source")?,
        tags: params.list("tags")?,
        ..LogSearchQuery::default()
    };
    let (since, until) = (instant(params, "since", now)?, instant(params, "until", now)?);
    Ok(Asking { query, since, until, ..Asking::default() })
}

/// An instant as the query language takes it: `2h`, `2025-12-02`, `now-1d`, or RFC 3339.
pub(super) fn instant(params: &mut Params, name: &'static str, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
    params.text(name).map(|text| moment(name, &text, now)).transpose()
}

fn moment(name: &str, text: &str, now: Timestamp) -> Result<Timestamp, ApiError> {
    // Read by the language itself, so that times are the same everywhere.
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    match parse(&format!("since:\"{quoted}\""), now) {
        Ok(Query::Match(_, Test::Times(Ends { lower: Bound::Included(at), .. }))) => Ok(at),
        Ok(_) => Err(ApiError::Invalid(format!("{name}: this is not a time; times are like 2h, 2025-12-02T10:15:30Z"))),
        Err(error) => Err(ApiError::Invalid(format!("{name}: {}", error.message()))),
    }
}

/// A length of time like `30s`, `5m`, `1h`, or a number of milliseconds.
pub(super) fn millis(text: &str) -> Result<i64, ApiError> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = match unit {
        "" | "ms" => Some(1),
        "s" => Some(1000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        "w" => Some(7 * 86_400_000),
        _ => None,
    };
    let millis = number.parse::<i64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    let shown: String = text.chars().take(64).collect();
    millis.ok_or_else(|| ApiError::Invalid(format!("interval: {shown:?} is not a length of time like 30s, 5m, 1h")))
}

/// The facets of these names.
pub(super) fn facets_of(names: &[String], top: Option<usize>) -> Result<Vec<Facet>, ApiError> {
    let top = top.unwrap_or(DEFAULT_TOP);
    if !(1..=MAX_TOP).contains(&top) {
        return Err(ApiError::Invalid(format!("top: {top} is not a number from 1 to {MAX_TOP}")));
    }
    let mut facets: Vec<Facet> = Vec::new();
    for name in names {
        let field = facet_field(name)?;
        if !facets.iter().any(|facet| facet.field == field) {
            facets.push(Facet { field, top });
        }
    }
    Ok(facets)
}

/// The field of this name, if it has values that are counted.
pub(super) fn facet_field(name: &str) -> Result<FacetField, ApiError> {
    let plain = name.replace('_', "").to_lowercase();
    let plain = plain.strip_suffix("id").unwrap_or(&plain);
    FacetField::ALL.into_iter().find(|field| field.name() == plain).ok_or_else(|| {
        let known = FacetField::ALL.map(FacetField::name).join(", ");
        let shown: String = name.chars().take(64).collect();
        ApiError::Invalid(format!("the values of {shown:?} are not counted; those of {known} are"))
    })
}

fn read<T: for<'de> Deserialize<'de>>(members: Map<String, Value>) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(Value::Object(members)).map_err(|error| {
        // Bounded, for an error repeats what it found, and a path the names on it.
        let path = cut(error.path());
        let place = if path == "." { String::new() } else { format!("{path}: ") };
        let message: String = error.inner().to_string().chars().take(400).collect();
        ApiError::Invalid(format!("{place}{message}"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::Level;

    use super::*;

    const NOW: Timestamp = Timestamp(1_764_670_530_000);

    fn read_all(query: &str) -> Result<Form, ApiError> {
        let mut params = Params::of(query);
        let form = Form::read(&mut params, NOW)?;
        params.finish().map(|()| form)
    }

    fn message(error: ApiError) -> String {
        error.parts().2
    }

    #[test]
    fn parameters_say_what_is_searched() {
        let query = "q=level:error+disk&card=c&level=warn,error&since=2h&until=2025-12-02T10:00:00Z&limit=7&sort=relevance\
             &order=asc&counts=true&facets=card,level,cardId&top=3&explain&remember=false&interval=5m";
        let Form { asking, explain } = read_all(query).unwrap();
        assert!(explain && asking.forget);
        assert_eq!(asking.since, Some(Timestamp(NOW.0 - 7_200_000)));
        assert_eq!(asking.until, Some(Timestamp(1_764_669_600_000)));
        assert_eq!(asking.interval, Some(300_000));
        let facets = [FacetField::Card, FacetField::Level].map(|field| Facet { field, top: 3 });
        assert_eq!(asking.facets, facets);
        let query = LogSearchQuery {
            q: Some("level:error disk".to_owned()),
            card_id: Some("c".to_owned()),
            level: Some(vec![Level::Warn, Level::Error]),
            limit: Some(7),
            sort_by: Some("relevance".to_owned()),
            sort_order: Some("asc".to_owned()),
            counts: Some(true),
            ..LogSearchQuery::default()
        };
        assert_eq!(asking.query, query);
        assert_eq!(read_all("").unwrap().asking.query, LogSearchQuery::default());
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (query, said) in [
            ("since=noon", "since: \"noon\" is not a time"),
            ("until=%22", "until: "),
            ("facets=message", "the values of \"message\" are not counted; those of level, source"),
            ("facets=card&top=0", "top: 0 is not a number from 1 to 1000"),
            ("interval=soon", "interval: \"soon\" is not a length"),
            ("interval=99999999999999999d", "interval: "),
            ("counts=maybe", "counts: "),
            ("explain=maybe", "explain: \"maybe\" is neither"),
            ("limit=-1", "limit: "),
            ("query=x", "there is no parameter \"query\" here"),
        ] {
            let error = message(read_all(query).unwrap_err());
            assert!(error.starts_with(said), "{query}: {error}");
        }
    }

    #[test]
    fn a_body_is_a_query_and_what_stands_beside_it() {
        let body = r#"{"q":"disk","cardId":"c","limit":5,"counts":false,"since":"2h","facets":["run"],"top":2,"interval":"1h","explain":true,"remember":false}"#;
        let Form { asking, explain } = Form::parse(body.as_bytes(), 32, NOW).unwrap();
        assert!(explain && asking.forget);
        assert_eq!((asking.query.q.as_deref(), asking.query.limit), (Some("disk"), Some(5)));
        assert_eq!(asking.query.counts, Some(false));
        assert_eq!(asking.facets, [Facet { field: FacetField::Run, top: 2 }]);
        assert_eq!((asking.since, asking.until), (Some(Timestamp(NOW.0 - 7_200_000)), None));
        assert_eq!(asking.interval, Some(3_600_000));
        for (body, said) in [
            ("[]", "the body is not a JSON object"),
            ("{", "the body is not a JSON object"),
            (r#"{"txet":"x"}"#, "txet: unknown field `txet`, expected one of"),
            (r#"{"limit":"many"}"#, "limit: invalid type"),
            (r#"{"timeRange":{"start":5}}"#, "timeRange: missing field `end`"),
            (r#"{"until":"noon"}"#, "until: \"noon\" is not a time"),
            (r#"{"explain":1}"#, "explain: invalid type"),
            (r#"{"facets":["tags"]}"#, "the values of \"tags\""),
        ] {
            let error = message(Form::parse(body.as_bytes(), 32, NOW).unwrap_err());
            assert!(error.starts_with(said), "{body}: {error}");
        }
        let long = "\u{7f}".repeat(50_000);
        for body in [format!("\"{long}\""), format!("{{\"{long}\":1}}"), format!("{{\"limit\":\"{long}\"}}")] {
            let error = message(Form::parse(body.as_bytes(), 32, NOW).unwrap_err());
            assert!(error.len() < 1024, "{} bytes", error.len());
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(message(Form::parse(deep.as_bytes(), 32, NOW).unwrap_err()).contains("nested deeper than 32"));
        assert!(Form::parse(b"\xff", 32, NOW).is_err());
    }
}
