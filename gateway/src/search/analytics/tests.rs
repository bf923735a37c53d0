#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::super::SearchConfig;
use super::super::testing::{BEGIN, Entries, claims};
use super::*;

fn subject(card: Option<&str>, from: i64, to: i64) -> Subject {
    let range = TimeRange { start: Timestamp(BEGIN + from * 1000), end: Timestamp(BEGIN + to * 1000) };
    Subject { card: card.map(str::to_owned), range }
}

#[tokio::test]
async fn a_range_is_counted_beside_the_one_before() {
    let search = Search::new(Entries::some(200), SearchConfig::default());
    let own = claims("acme", None);
    let found = search.analytics(subject(None, 100, 199), &own).await.unwrap();
    assert_eq!((found.now.total_count, found.before.total_count), (50, 49));
    assert_eq!((found.now.error_count, found.now.error_share), (20, 0.4));
    assert_eq!(found.interval, 1000);
    for series in [&found.levels, &found.sources, &found.components] {
        assert_eq!(series.iter().map(|one| one.count).sum::<u64>(), 50);
        assert_eq!(series.iter().map(|one| one.count_before).sum::<u64>(), 49);
        for one in series {
            assert_eq!(one.timeline.len(), 100);
            assert_eq!(one.timeline.iter().map(|point| point.count).sum::<u64>(), one.count);
        }
    }
    assert_eq!((found.sampled, found.sampled_errors), (50, 20));
    let top = &found.top_messages[0];
    assert_eq!((top.pattern.as_str(), top.count, top.level), ("call # failed: rate limit", 50, Level::Fatal));
    assert_eq!(top.example, "call 198 failed: rate limit");
    let of_card = search.analytics(subject(Some("card-1"), 100, 199), &own).await.unwrap();
    assert_eq!(of_card.now.total_count, 25);
    assert_eq!(serde_json::to_value(&of_card).unwrap()["cardId"], json!("card-1"));
    let limited = search.analytics(subject(None, 100, 199), &claims("acme", Some(&["card-1"]))).await.unwrap();
    assert_eq!(limited.now, of_card.now);
}

#[tokio::test]
async fn a_component_is_not_counted_with_those_whose_name_goes_on() {
    let mut entries = Entries::some(200);
    for (number, entry) in entries.0.iter_mut().enumerate() {
        entry.component = ["api", "api-gateway", "my-api", "planner"][number / 2 % 4].into();
    }
    let search = Search::new(entries, SearchConfig::default());
    let found = search.analytics(subject(None, 0, 199), &claims("acme", None)).await.unwrap();
    assert_eq!(found.components.len(), 4);
    for one in &found.components {
        assert_eq!((one.count, one.timeline.iter().map(|point| point.count).sum::<u64>()), (25, 25), "{}", one.name);
    }
}

#[tokio::test]
async fn a_range_has_an_end_after_its_start_and_is_no_longer_than_a_year() {
    let search = Search::new(Entries::some(2), SearchConfig::default());
    let refused = async |from, to| search.analytics(subject(None, from, to), &claims("acme", None)).await.unwrap_err();
    assert!(refused(5, 5).await.to_string().starts_with("end: "));
    assert!(refused(0, 400 * 86_400).await.to_string().contains("366 days"));
    let empty = search.analytics(subject(None, 1000, 2000), &claims("acme", None)).await.unwrap();
    assert_eq!(empty.now, Totals::default());
}

#[test]
fn buckets_are_few() {
    for length in [1, 1000, 60_000, 3_600_000, 86_400_000, MAX_RANGE] {
        assert!(length / interval(length) < BUCKETS, "{length}");
    }
    assert_eq!(interval(3_600_000), 30_000);
    assert_eq!(interval(86_400_000), 600_000);
}
