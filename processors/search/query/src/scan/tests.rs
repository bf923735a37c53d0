#![allow(clippy::unwrap_used)]

use agentworks_schemas::codec::encode_entry_body;
use agentworks_schemas::{Cursor, Timestamp, Topic, TopicPartition};
use proptest::prelude::*;

use super::*;
use crate::answer::FacetField;
use crate::ast::Query;
use crate::request::{Facet, Hidden, Order, Sort, Wanted};

fn entry(index: i64, timestamp: i64) -> LogEntry<'static> {
    let workspace = if index % 7 == 0 { "other" } else { "w" };
    let json = format!(
        r#"{{"id":"{index}","runId":"r{}","cardId":"c{}","workspaceId":"{workspace}","timestamp":{timestamp},"sequence":0,
            "level":"{}","source":"agent","component":"x","message":"line {index} {}"}}"#,
        index % 3,
        index % 2,
        ["debug", "info", "warn", "error", "fatal"][(index % 5) as usize],
        if index % 2 == 0 { "even" } else { "odd" },
    );
    serde_json::from_str::<LogEntry<'_>>(&json).unwrap().into_owned()
}

fn position(index: i64) -> Position {
    Position { partition: TopicPartition::new(Topic::AgentLogs, (index % 3) as i32), epoch: 0, offset: index }
}

fn scan(request: &SearchRequest, timestamps: &[i64]) -> PartialAnswer {
    let mut scan = Scan::new(request).unwrap();
    for (index, timestamp) in timestamps.iter().enumerate() {
        let entry = entry(index as i64, *timestamp);
        let body = || {
            let mut body = Vec::new();
            encode_entry_body(&entry, &mut body);
            body
        };
        scan.add(position(index as i64), &entry, body);
    }
    scan.finish()
}

proptest! {
    /// Pages by cursor hold every hit once, whatever the order, and are the pages by offset.
    #[test]
    fn pages_have_no_gap_and_no_double(
        timestamps in proptest::collection::vec(0..6i64, 0..60), limit in 1..9usize,
        relevance in any::<bool>(), desc in any::<bool>(),
    ) {
        let sort = Sort {
            by: if relevance { SortBy::Relevance } else { SortBy::Timestamp },
            order: if desc { Order::Desc } else { Order::Asc },
        };
        let query = crate::parse("line OR even^2", Timestamp(0)).unwrap();
        let mut request = SearchRequest { sort, limit: 1000, ..SearchRequest::new("w", query) };
        let all = scan(&request, &timestamps).hits;
        prop_assert_eq!(all.len(), (0..timestamps.len()).filter(|index| index % 7 != 0).count());
        request.limit = limit;
        let mut paged = Vec::new();
        loop {
            let offset = SearchRequest { offset: paged.len(), after: None, ..request.clone() };
            let by_offset = scan(&offset, &timestamps).finish(&offset);
            let answer = scan(&request, &timestamps).finish(&request);
            prop_assert_eq!(&by_offset.found.hits, &answer.found.hits);
            paged.extend(answer.found.hits);
            let Some(next) = answer.next else { break };
            request.after = Some(next.to_string().parse().unwrap());
        }
        prop_assert_eq!(paged, all);
    }
}

#[test]
fn what_the_bearer_may_not_see_is_not_counted() {
    let timestamps: Vec<i64> = (0..70).collect();
    let mut request = SearchRequest::new("w", Query::All);
    request.wanted = Wanted {
        count: true,
        distributions: true,
        timeline: Some(10),
        facets: vec![Facet { field: FacetField::Card, top: 5 }, Facet { field: FacetField::Model, top: 5 }],
    };
    let found = scan(&request, &timestamps);
    assert_eq!(found.count, 60);
    assert_eq!(found.levels.iter().sum::<u64>(), 60);
    assert_eq!(found.timeline.values().sum::<u64>(), 60);
    assert_eq!(found.facets[&FacetField::Card].top(5), [("c0", 30), ("c1", 30)]);
    assert!(found.facets[&FacetField::Model].counts.is_empty());
    request.cards = Some(vec!["c1".into()]);
    assert_eq!(scan(&request, &timestamps).count, 30);
    (request.from, request.to) = (Some(Timestamp(10)), Some(Timestamp(19)));
    assert_eq!(
        scan(&request, &timestamps).count,
        5 - [11, 13, 15, 17, 19].iter().filter(|i| **i % 7 == 0).count() as u64
    );
    request.hidden = vec![Hidden { run: None, before: Cursor::from_iter([(position(0).partition, 0, 100)]) }];
    let left = scan(&request, &timestamps);
    assert!(left.hits.iter().all(|hit| hit.key.position.partition != position(0).partition) && !left.hits.is_empty());
    // The topic was made again with another partition alone.
    let other = TopicPartition::new(Topic::AgentLogs, 99);
    request.hidden = vec![Hidden { run: None, before: Cursor::from_iter([(other, 1, 0)]) }];
    assert_eq!(scan(&request, &timestamps).count, 0);
    (request.hidden, request.cards) = (Vec::new(), Some(vec![]));
    assert_eq!(scan(&request, &timestamps).count, 0);
}
