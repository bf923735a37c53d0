//! What is asked to hurt ends with an error or an answer, in time.

use std::time::{Duration, Instant};

use agentworks_query::request::SortBy;
use agentworks_schemas::text::JsonObject;

use super::*;

/// Entries with very many different words and names.
fn wide(count: usize) -> Vec<LogEntry<'static>> {
    let mut entries = lines(count as i64);
    for (number, entry) in entries.iter_mut().enumerate() {
        entry.workspace_id = "w0".into();
        entry.message = format!("a{number:x} ab{number:x}q {}", "a".repeat(number % 90 + 1)).into();
        entry.data = JsonObject::parse(format!(r#"{{"name{number}":"a{number}","n":{number},"f":{number}.5}}"#));
    }
    entries
}

#[test]
fn nothing_takes_for_ever() {
    let entries = wide(3000);
    let searcher = index(&[&entries]);
    let limits = Limits { expansions: 1000, paths: 10_000 };
    let long = "a".repeat(60);
    let many_or = (0..500).map(|n| format!("x{n}")).collect::<Vec<_>>().join(" OR ");
    let deep = format!("{}a{}", "NOT (".repeat(24), ")".repeat(24));
    for query in [
        "*",
        "a*",
        "*a*",
        "*^2",
        "?*",
        "message:a*",
        "message:*a*a*a*a*b",
        "a~2",
        &format!("{long}~2"),
        &format!("message:{long}~2"),
        "data.n:[* TO *]",
        "data.n:>=0",
        "data.f:>=0.5 data.n:<1e300",
        "data:a*",
        "data.n:*",
        "data:*",
        &many_or,
        &deep,
        "since:99999w",
        "run:*",
        "id:*9*",
        "\"a b\"*",
        "level:* agent:* OR tags:*",
        "\"name a\"",
        "NOT a*",
        "card:c*",
    ] {
        for by in [SortBy::Timestamp, SortBy::Relevance] {
            let query = agentworks_query::parse(query, Timestamp(1_764_670_530_123)).unwrap();
            let mut request = SearchRequest::new("w0", query);
            request.sort.by = by;
            request.wanted.count = true;
            request.wanted.timeline = Some(1);
            match search_index(&searcher, &request, &limits, Instant::now() + Duration::from_secs(5)) {
                Ok(_) => {}
                Err(error) => assert!(error.is_asked_too_much(), "{}: {error}", request.query),
            }
        }
    }
}

#[test]
fn what_is_too_much_says_what_and_how_much() {
    let entries = wide(200);
    let searcher = index(&[&entries]);
    let error = |query: &str, limits: &Limits, deadline| {
        search_index(&searcher, &request(query), limits, deadline).unwrap_err().to_string()
    };
    let limits = Limits { expansions: 100, paths: 50 };
    assert_eq!(
        error("message:a*", &limits, soon()),
        "`message:\"a\"*` stands for more than 100 different words; write more of its beginning"
    );
    assert_eq!(
        error("a1", &limits, soon()),
        "`data` has more than 50 different names here, too many to search all; name one, like `data.http_status`"
    );
    assert!(error("line", &Limits::default(), Instant::now()).starts_with("the search took longer than it may"));
}

/// What another workspace has written doesn't count.
#[test]
fn the_words_of_others_are_nobodys_bound() {
    let (mut entries, mut own) = (wide(200), lines(10));
    entries.iter_mut().for_each(|entry| entry.workspace_id = "other".into());
    own.iter_mut().for_each(|entry| entry.message = format!("a{} abc", entry.message).into());
    entries.extend(own);
    let searcher = index(&[&entries]);
    let limits = Limits { expansions: 100, ..Limits::default() };
    let found = |query: &str, workspace: &str| {
        let request = SearchRequest { workspace: workspace.into(), ..request(query) };
        search_index(&searcher, &request, &limits, soon()).map(|found| found.hits.len())
    };
    for query in ["message:a*", "message:*a*", "message:\"of w\"* OR message:ab*", "message:abd~1"] {
        assert_eq!(found(query, "w0").unwrap(), 3, "{query}");
    }
    for (query, workspace) in [("message:a*", "other"), ("message:\"of a\"*", "w0")] {
        assert!(matches!(found(query, workspace), Err(ExecError::Expansions { .. })), "{query}");
    }
}

/// The deadline ends what is within a segment, too.
#[test]
fn a_deadline_holds_within_a_segment() {
    let entries = lines(30_000);
    let searcher = index(&[&entries]);
    let mut request = request("line OR of OR toolrunner");
    request.wanted.distributions = true;
    let begun = Instant::now();
    let found = search_index(&searcher, &request, &Limits::default(), begun + Duration::from_micros(200));
    // A machine may be that quick, but then it has all of them.
    assert!(matches!(found, Err(ExecError::Deadline)) || found.is_ok_and(|found| found.count == 15_000));
}

/// Columns cut what is long, and not at a character.
#[test]
fn a_long_value_of_one_keeps_nobody_from_counting() {
    use agentworks_query::answer::{FacetField, whole};
    use agentworks_query::request::Facet;

    let mut entries = lines(6);
    let long = format!("x{}", "é".repeat(40_000));
    entries[1].component = long.clone().into();
    entries[2].provider = Some(long.clone().into());
    entries[4].model = Some(long.clone().into());
    let searcher = index(&[&entries]);
    let mut request = request("*");
    let fields = [FacetField::Component, FacetField::Provider, FacetField::Model];
    request.wanted.facets = fields.map(|field| Facet { field, top: 10 }).to_vec();
    let found = search_index(&searcher, &request, &Limits::default(), soon()).unwrap();
    let counts = |field| found.facets[&field].top(10);
    assert_eq!(counts(FacetField::Component), [("ToolRunner", 3)]);
    for field in [FacetField::Provider, FacetField::Model] {
        assert_eq!(counts(field), [(whole(&long), 1)]);
    }
    assert!(whole(&long).len() > 65_000 && long.starts_with(whole(&long)));
}
