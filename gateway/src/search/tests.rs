#![allow(clippy::unwrap_used)]

use agentworks_query::answer::FacetField;
use serde_json::Value;

use super::testing::{BEGIN, Entries, claims};
use super::*;

fn search(count: usize) -> Search {
    Search::new(Entries::some(count), SearchConfig::default())
}

fn q(text: &str) -> Asking {
    Asking { query: LogSearchQuery { q: Some(text.to_owned()), ..LogSearchQuery::default() }, ..Asking::default() }
}

fn json(found: &Found) -> Value {
    serde_json::to_value(found.result().unwrap()).unwrap()
}

fn ids(found: &Found) -> Vec<String> {
    json(found)["logs"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_search_sees_what_its_token_allows_whatever_it_asks() {
    let search = search(40);
    for query in ["call", "*", "workspaceless OR call", "card:card-1 OR card:card-0", "NOT nothing"] {
        let found = search.find(q(query), &claims("acme", None)).await.unwrap();
        let all = json(&found);
        assert_eq!(all["totalCount"], 20, "{query}");
        let found = search.find(q(query), &claims("acme", Some(&["card-0"]))).await.unwrap();
        let limited = json(&found);
        assert_eq!(limited["totalCount"], 10, "{query}");
        assert!(limited["logs"].as_array().unwrap().iter().all(|entry| entry["cardId"] == "card-0"));
        assert_eq!(json(&search.find(q(query), &claims("acme", Some(&[]))).await.unwrap())["totalCount"], 0);
        assert_eq!(json(&search.find(q(query), &claims("nobody's", None)).await.unwrap())["totalCount"], 0);
    }
    let mut foreign = q("call");
    foreign.query.workspace_id = Some("other".to_owned());
    let refused = search.find(foreign, &claims("acme", None)).await.unwrap_err();
    assert!(matches!(&refused, SearchFault::Invalid(message) if message.starts_with("workspaceId")), "{refused}");
    let refused = search.find(q("workspace:other"), &claims("acme", None)).await.unwrap_err();
    assert!(matches!(&refused, SearchFault::Query { at: 0, message } if message.contains("token")), "{refused}");
}

#[tokio::test]
async fn hits_come_with_their_positions_and_pages_tile_them() {
    let search = search(50);
    let (all, own) = (search.find(q("call"), &claims("acme", None)).await.unwrap(), claims("acme", None));
    let position = json(&all)["logs"][0]["position"].as_str().unwrap().parse::<agentworks_schemas::Cursor>().unwrap();
    let last = testing::at(48);
    assert_eq!(position, [(last.partition, last.epoch, last.offset + 1)].into_iter().collect());
    let (mut paged, mut asking) = (Vec::new(), q("call"));
    asking.query.limit = Some(7);
    loop {
        let mut found = search.find(asking.clone(), &own).await.unwrap();
        // An answer that is too large is a shorter page.
        found.fit(2000);
        assert!(ids(&found).len() <= 3);
        paged.extend(ids(&found));
        let Some(cursor) = json(&found)["cursor"].as_str().map(str::to_owned) else { break };
        asking.query.cursor = Some(cursor);
    }
    assert_eq!(paged, ids(&all));
}

#[tokio::test]
async fn what_is_past_a_bound_is_told_with_the_bound() {
    let search = search(5);
    let refused = async |asking: Asking| search.find(asking, &claims("acme", None)).await.unwrap_err();
    let mut asking = q("call");
    asking.query.limit = Some(1001);
    assert_eq!(
        refused(asking).await.to_string(),
        "limit: 1001 is more than 1000; go on with the cursor of the last page"
    );
    let error = refused(q("level:error AND (")).await;
    assert!(matches!(&error, SearchFault::Query { message, .. } if message.starts_with("q: at character ")), "{error}");
    let info = error.info();
    assert_eq!(
        (info.code, info.in_reply_to.as_deref()),
        (agentworks_schemas::protocol::ErrorCode::InvalidValue, Some("search_logs"))
    );
    assert!(info.at.is_some());
    let every = |interval, since| Asking { interval: Some(interval), since, ..q("call") };
    assert!(refused(every(1000, None)).await.to_string().contains("give since"));
    assert!(refused(every(0, Some(Timestamp(0)))).await.to_string().contains("not a length"));
    assert!(refused(every(1, Some(Timestamp(0)))).await.to_string().contains("at most 10000"));
}

#[tokio::test]
async fn facets_timelines_and_ranges_are_those_asked_for() {
    let search = search(40);
    let asking = Asking {
        since: Some(Timestamp(BEGIN + 10_000)),
        until: Some(Timestamp(BEGIN + 29_000)),
        facets: vec![Facet { field: FacetField::Card, top: 5 }],
        interval: Some(5000),
        ..q("call")
    };
    let found = search.find(asking, &claims("acme", None)).await.unwrap();
    assert_eq!(found.answer.found.count, 10);
    assert_eq!(found.answer.found.facets[&FacetField::Card].top(5), [("card-0", 5), ("card-1", 5)]);
    assert_eq!(found.answer.found.timeline.values().sum::<u64>(), 10);
    assert!(found.answer.found.timeline.keys().all(|at| at % 5000 == 0));
}

#[tokio::test]
async fn a_clock_that_is_wrong_by_thousands_of_years_costs_one_bucket() {
    let mut entries = Entries::some(40);
    let far = *Timestamp::RANGE.end();
    entries.0[38].timestamp = Timestamp(far);
    let search = Search::new(entries, SearchConfig::default());
    for since in [None, Some(BEGIN), Some(*Timestamp::RANGE.start())] {
        let asking = Asking { since: since.map(Timestamp), ..q("call") };
        let found = search.find(asking, &claims("acme", None)).await.unwrap();
        let interval = found.request.wanted.timeline.unwrap();
        let timeline = &found.answer.found.timeline;
        assert_eq!((found.answer.found.count, timeline.values().sum::<u64>()), (20, 20));
        if let Some(range) = found.range {
            let buckets = timeline::filled(timeline, range, interval);
            assert!(buckets.len() <= 10_000, "{since:?}: {}", buckets.len());
            assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 20);
            assert!(buckets.last().unwrap().timestamp.0 > far - interval);
        }
        assert!(json(&found)["timelineData"].as_array().unwrap().len() <= 10_000);
    }
}

#[tokio::test]
async fn popular_queries_are_kept_unless_that_is_not_wanted() {
    let own = claims("acme", None);
    let search = search(5);
    for _ in 0..2 {
        search.find(q("level:error"), &own).await.unwrap();
    }
    search.find(Asking { forget: true, ..q("secret") }, &own).await.unwrap();
    search.find(q("leve:error"), &own).await.unwrap_err();
    let (kept, popular) = search.popular(&own, 10);
    assert!(kept && popular.len() == 1 && popular[0].query == "level:error" && popular[0].count == 2, "{popular:?}");
    assert!(search.popular(&claims("other", None), 10).1.is_empty());
    let off = Search::new(Entries::some(5), SearchConfig { popular: false, ..SearchConfig::default() });
    off.find(q("level:error"), &own).await.unwrap();
    assert_eq!(off.popular(&own, 10), (false, Vec::new()));
}
