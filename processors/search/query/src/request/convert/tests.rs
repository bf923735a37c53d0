#![allow(clippy::unwrap_used)]

use agentworks_schemas::protocol::TimeRange;

use super::*;
use crate::answer::PartialAnswer;

const NOW: Timestamp = Timestamp(1_764_670_530_123);

fn from(query: LogSearchQuery) -> Result<SearchRequest, ConvertError> {
    from_protocol(&query, "w", None, NOW)
}

#[test]
fn an_empty_search_is_the_newest_hundred() {
    let request = from(LogSearchQuery::default()).unwrap();
    assert_eq!((request.query, request.limit, request.offset), (Query::All, 100, 0));
    assert_eq!(request.sort, Sort { by: SortBy::Timestamp, order: Order::Desc });
    assert_eq!(request.workspace, "w");
    assert!(request.wanted.count && request.wanted.distributions);
    assert_eq!(request.wanted.timeline, Some(3_600_000));
}

#[test]
fn every_filter_becomes_a_clause() {
    let query = LogSearchQuery {
        workspace_id: Some("w".into()),
        card_id: Some("c".into()),
        run_id: Some("r".into()),
        text: Some("rate limit x1 tool_runner !".into()),
        q: Some("a OR b since:2h".into()),
        level: Some(vec![Level::Error, Level::Fatal]),
        source: Some(vec![]),
        time_range: Some(TimeRange { start: Timestamp(1), end: NOW }),
        agent_id: Some("a".into()),
        provider: Some("p".into()),
        tags: Some(vec!["t u".into()]),
        limit: Some(7),
        offset: Some(3),
        sort_by: Some("relevance".into()),
        sort_order: Some("asc".into()),
        cursor: None,
        counts: None,
    };
    let request = from(query).unwrap();
    assert_eq!(
        request.query.to_string(),
        "(message:rate~^2 OR component:rate~ OR data:rate~) AND (message:limit~^2 OR component:limit~ OR data:limit~) \
         AND (message:x1^2 OR component:x1 OR data:x1) AND (message:tool_runner^2 OR component:tool_runner OR data:tool_runner) \
         AND (a OR (b AND timestamp:>=2025-12-02T08:15:30.123Z)) AND card:c AND run:r AND agent:a AND provider:p \
         AND level:IN [error fatal] AND tags:\"t u\""
    );
    assert_eq!((request.limit, request.offset, request.from, request.to), (7, 3, Some(Timestamp(1)), Some(NOW)));
    assert_eq!(request.sort, Sort { by: SortBy::Relevance, order: Order::Asc });
    let json = serde_json::to_string(&request).unwrap();
    assert_eq!(serde_json::from_str::<SearchRequest>(&json).unwrap(), request);
}

#[test]
fn errors_name_the_field() {
    let fails = |query: LogSearchQuery, message: &str| assert_eq!(from(query).unwrap_err().to_string(), message);
    let some = |text: &str| Some(text.to_owned());
    let query = LogSearchQuery::default;
    fails(
        LogSearchQuery { workspace_id: some("v"), ..query() },
        "workspaceId: it isn't the one that the token is for; leave it out",
    );
    fails(LogSearchQuery { sort_by: some("size"), ..query() }, "sortBy: \"size\" is none of timestamp, relevance");
    fails(LogSearchQuery { sort_order: some("up"), ..query() }, "sortOrder: \"up\" is none of asc, desc");
    fails(
        LogSearchQuery { text: some("!!!"), ..query() },
        "text: there is neither letter nor digit in it, so that it is found nowhere",
    );
    fails(
        LogSearchQuery { cursor: some("AA"), ..query() },
        "cursor: the cursor is not one that a search gave out; ask again without it",
    );
    fails(
        LogSearchQuery { offset: Some(9_950), ..query() },
        "offset and limit reach to 10050, and at most to 10000; go on with the cursor of the last page",
    );
    let range = TimeRange { start: Timestamp(5), end: Timestamp(4) };
    assert!(
        from(LogSearchQuery { time_range: Some(range), ..query() })
            .unwrap_err()
            .to_string()
            .contains("before it begins")
    );
    assert!(
        from(LogSearchQuery { q: some("leve:x"), ..query() })
            .unwrap_err()
            .to_string()
            .starts_with("q: at character 1:")
    );
    assert_eq!(
        from(LogSearchQuery { text: Some("a ".repeat(500)), ..query() }).unwrap_err().to_string(),
        "the query has more than 512 clauses; ask for less at once"
    );
}

#[test]
fn a_timeline_has_its_empty_buckets() {
    let found = PartialAnswer {
        count: 3,
        levels: [0, 2, 0, 1, 0],
        sources: [0, 0, 3, 0],
        timeline: [(10, 1), (40, 2)].into(),
        ..PartialAnswer::default()
    };
    let mut request = SearchRequest::new("w", Query::All);
    (request.wanted.count, request.wanted.timeline) = (true, Some(10));
    let answer = found.finish(&request);
    let result = to_protocol(&answer, &request, LogSearchQuery::default(), 12).unwrap();
    assert_eq!(
        serde_json::to_string(&result).unwrap(),
        r#"{"logs":[],"totalCount":3,"levelDistribution":{"error":1,"info":2},"sourceDistribution":{"agent":3},"timelineData":[{"timestamp":"1970-01-01T00:00:00.010Z","count":1},{"timestamp":"1970-01-01T00:00:00.020Z","count":0},{"timestamp":"1970-01-01T00:00:00.030Z","count":0},{"timestamp":"1970-01-01T00:00:00.040Z","count":2}],"query":{},"executionTime":12}"#
    );
    request.wanted.timeline = None;
    let sparse = to_protocol(&answer, &request, LogSearchQuery::default(), 12).unwrap();
    assert_eq!(sparse.counts.unwrap().timeline_data.len(), 2);
}

#[test]
fn a_page_may_do_without_counts() {
    let request = from(LogSearchQuery { counts: Some(false), ..LogSearchQuery::default() }).unwrap();
    assert!(!request.wanted.is_any());
    let answer = PartialAnswer::default().finish(&request);
    let result = to_protocol(&answer, &request, LogSearchQuery::default(), 12).unwrap();
    assert_eq!(serde_json::to_string(&result).unwrap(), r#"{"logs":[],"query":{},"executionTime":12}"#);
    let request = from(LogSearchQuery { counts: Some(true), ..LogSearchQuery::default() }).unwrap();
    assert!(request.wanted.count && request.wanted.distributions && request.wanted.timeline.is_some());
}
