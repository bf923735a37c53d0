//! The index finds what looking at each entry finds: hits, their order, counts, timelines and facets.

use std::ops::Bound;

use agentworks_query::Scan;
use agentworks_query::answer::{FacetField, SortKey};
use agentworks_query::ast::{Ends, Field, Fuzziness, Keyword, Number, Part, Pattern, Test};
use agentworks_query::request::{After, Facet, Hidden, Order, Sort, SortBy, Wanted};
use agentworks_schemas::text::JsonObject;
use agentworks_schemas::{Cursor, Level, Source};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const WORDS: [&str; 22] = [
    "rate",
    "limit",
    "RateLimit",
    "rates",
    "timeout",
    "timeot",
    "182ms",
    "182",
    "ms",
    "E1042",
    "数据库",
    "خطأ",
    "tool_runner",
    "a-b",
    "a",
    "b",
    "HTTPServer",
    "true",
    "500",
    "1.5",
    "--",
    "limitrate",
];

fn words() -> impl Strategy<Value = String> {
    vec(select(&WORDS), 0..5).prop_map(|words| words.join(" "))
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        3 => words().prop_map(serde_json::Value::from),
        2 => select(vec![0, 1, -3, 182, 500, i64::MAX, i64::MIN]).prop_map(serde_json::Value::from),
        1 => select(vec![1.5, 500.0, -0.5, 1e300]).prop_map(serde_json::Value::from),
        1 => Just(serde_json::Value::from(u64::MAX)),
        1 => any::<bool>().prop_map(serde_json::Value::from),
        1 => Just(serde_json::Value::Null),
    ];
    let name = select(vec!["x", "y", "a.b", "a", "b", ""]);
    let value = leaf.prop_recursive(2, 8, 3, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(serde_json::Value::from),
            proptest::collection::btree_map(name.clone().prop_map(String::from), inner, 0..3)
                .prop_map(|map| serde_json::Value::from(serde_json::Map::from_iter(map))),
        ]
    });
    proptest::collection::btree_map(select(vec!["x", "y", "a.b", "a", "s"]).prop_map(String::from), value, 0..4)
        .prop_map(|map| serde_json::Value::from(serde_json::Map::from_iter(map)))
}

fn id() -> impl Strategy<Value = String> {
    select(vec!["a", "ab", "b", "Ab c", "rate", ""]).prop_map(String::from)
}

prop_compose! {
    pub(super) fn entry()(
        message in words(), component in select(vec!["ToolRunner", "planner", "tool_runner", "--"]), data in option::of(json()),
        workspace in prop_oneof![4 => Just("w"), 1 => Just("v")], card in 0..3u8, run in 0..3u8, timestamp in -5..60i64,
        level in select(&Level::ALL), source in select(&Source::ALL),
        agent in option::of(id()), model in option::of(id()), tags in option::of(vec(id(), 0..3)),
    ) -> LogEntry<'static> {
        LogEntry {
            id: format!("id-{card}{run}").into(),
            run_id: format!("r{run}").into(),
            card_id: format!("c{card}").into(),
            workspace_id: workspace.into(),
            timestamp: Timestamp(timestamp),
            sequence: 0,
            level,
            source,
            component: component.into(),
            message: message.into(),
            data: data.and_then(|data| JsonObject::parse(data.to_string())),
            agent_id: agent.clone().map(Into::into),
            provider: None,
            model: model.map(Into::into),
            user_id: agent.map(Into::into),
            tags: tags.map(|tags| tags.into_iter().map(Into::into).collect()),
            correlation_id: None,
            parent_span_id: None,
            trace_id: Some(format!("{timestamp:x}").into()),
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => select(&WORDS).prop_map(String::from),
        1 => vec(select(&WORDS), 2..3).prop_map(|words| words.join(" ")),
        1 => select(vec!["c1", "r2", "ab", "Ab c", "info", "agent", "-3", "1e300", "9223372036854775807", "false"]).prop_map(String::from),
    ]
}

fn number() -> impl Strategy<Value = Number> {
    select(vec![
        Number::I64(0),
        Number::I64(500),
        Number::I64(-3),
        Number::I64(i64::MAX),
        Number::F64(1.5),
        Number::F64(-0.25),
        Number::U64(u64::MAX),
        Number::F64(1e300),
    ])
}

fn ends<T: Copy + std::fmt::Debug + 'static>(value: BoxedStrategy<T>) -> impl Strategy<Value = Ends<T>> {
    let bound =
        prop_oneof![value.clone().prop_map(Bound::Included), value.prop_map(Bound::Excluded), Just(Bound::Unbounded)]
            .boxed();
    (bound.clone(), bound).prop_map(|(lower, upper)| Ends { lower, upper })
}

fn test() -> impl Strategy<Value = Test> {
    let cut = |text: String| text.chars().take(3).collect::<String>();
    let pattern = vec(
        prop_oneof![3 => select(vec!['r', 'a', 't', 'e', 'l', 'c', '1']).prop_map(Part::Is), 1 => Just(Part::One), 1 => Just(Part::Any)],
        1..5,
    );
    prop_oneof![
        6 => text().prop_map(Test::Text),
        2 => text().prop_map(move |text| Test::Prefix(cut(text))),
        1 => text().prop_map(Test::Prefix),
        2 => pattern.prop_map(|parts| Test::Wildcard(Pattern::new(parts))),
        2 => (text(), select(vec![Fuzziness::Zero, Fuzziness::One, Fuzziness::Two, Fuzziness::Auto])).prop_map(|(text, by)| Test::Fuzzy(text, by)),
        2 => ends(number().boxed()).prop_map(Test::Numbers),
        2 => ends((-5..60i64).prop_map(Timestamp).boxed()).prop_map(Test::Times),
        1 => vec(text(), 1..4).prop_map(Test::OneOf),
        1 => Just(Test::Exists),
    ]
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![
        4 => Just(Field::Any),
        2 => Just(Field::Message),
        1 => Just(Field::Component),
        2 => Just(Field::AllData),
        4 => select(vec!["x", "y", "a.b", "a", "s", "a.b.x", "x.y", "none"]).prop_map(|path| Field::Data(path.into())),
        4 => select(&Keyword::ALL).prop_map(Field::Keyword),
        1 => Just(Field::Timestamp),
    ]
}

fn query() -> impl Strategy<Value = Query> {
    let clause = (field(), test())
        .prop_map(|(field, test)| Query::Match(field, test))
        .prop_filter("may be asked", |query| query.check().is_ok());
    let leaf = prop_oneof![9 => clause, 1 => Just(Query::All)];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(Query::negate),
            vec(inner.clone(), 2..4).prop_map(Query::and),
            vec(inner.clone(), 2..4).prop_map(Query::or),
            (inner, select(vec![2.0f32, 0.3, 77.7, 1e6])).prop_map(|(query, boost)| query.boost(boost)),
        ]
    })
}

prop_compose! {
    pub(super) fn asked()(
        query in query(), desc in any::<bool>(), limit in 0..12usize, offset in 0..3usize,
        cards in option::of(vec((0..4u8).prop_map(|n| format!("c{n}")), 0..3)),
        from in option::of((-6..61i64).prop_map(Timestamp)), length in option::of(0..40i64),
        after in option::of((-5..60i64, 0..60usize)),
        hidden in option::of((option::of(0..3u8), 0..3i32, 0..2u32, 0..15i64)),
        count in any::<bool>(), distributions in any::<bool>(), timeline in option::of(select(vec![1i64, 7, 100])),
        facets in vec(select(&FacetField::ALL), 0..3), kept_from in option::of((0..70i64).prop_map(Timestamp)),
    ) -> SearchRequest {
        let order = if desc { Order::Desc } else { Order::Asc };
        let sort = Sort { by: SortBy::Timestamp, order };
        let after = after.map(|(at, number)| After {
            sort,
            key: SortKey { score: 0.0, timestamp: Timestamp(at), position: position(number) },
        });
        let offset = if after.is_some() { 0 } else { offset };
        let hidden = hidden.map(|(run, partition, epoch, next)| Hidden {
            run: run.map(|run| format!("r{run}")),
            before: Cursor::from_iter([(TopicPartition::new(Topic::AgentLogs, partition), epoch, next)]),
        });
        let mut facets: Vec<Facet> = facets.into_iter().map(|field| Facet { field, top: 5 }).collect();
        facets.dedup_by_key(|facet| facet.field);
        SearchRequest {
            cards, kept_from, from, to: length.map(|length| Timestamp(from.map_or(0, |at| at.0) + length)), sort, limit, offset, after,
            hidden: hidden.into_iter().collect(), wanted: Wanted { count, distributions, timeline, facets },
            ..SearchRequest::new("w", query)
        }
    }
}

fn scanned(request: &SearchRequest, entries: &[LogEntry<'_>]) -> PartialAnswer {
    let mut scan = Scan::new(request).unwrap();
    for (number, entry) in entries.iter().enumerate().filter(|(number, _)| request.keeps(Timestamp(*number as i64))) {
        scan.add(position(number), entry, || body(entry));
    }
    scan.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_looking_finds(entries in vec(entry(), 1..60), parts in 1..4usize, requests in vec(asked(), 24)) {
        let size = entries.len().div_ceil(parts);
        let parts: Vec<&[LogEntry<'_>]> = entries.chunks(size).collect();
        let searcher = index(&parts);
        for request in requests {
            let expected = scanned(&request, &entries);
            let found = search_index(&searcher, &request, &Limits::default(), soon());
            let found = found.unwrap_or_else(|error| panic!("{}: {error}", request.query));
            let answers = |answer: &PartialAnswer| {
                (answer.count, answer.levels, answer.sources, answer.timeline.clone(), answer.facets.clone())
            };
            prop_assert_eq!(answers(&found), answers(&expected), "{} {:?}", request.query, request);
            prop_assert_eq!(found.hits, expected.hits, "{} {:?}", request.query, request);

            // By relevance, too, and page by page.
            let mut request = SearchRequest { after: None, offset: 0, limit: 100, ..request };
            request.sort.by = SortBy::Relevance;
            let expected = scanned(&request, &entries);
            let found = search_index(&searcher, &request, &Limits::default(), soon()).unwrap();
            prop_assert_eq!(answers(&found), answers(&expected), "{}", request.query);
            prop_assert_eq!(&found.hits, &expected.hits, "{}", request.query);
            prop_assert!(found.hits.is_sorted_by(|a, b| a.key.compare(&b.key, request.sort).is_lt()));
            request.limit = 3;
            let mut paged = Vec::new();
            loop {
                let answer = search_index(&searcher, &request, &Limits::default(), soon()).unwrap().finish(&request);
                paged.extend(answer.found.hits);
                request.after = answer.next;
                if request.after.is_none() {
                    break;
                }
            }
            prop_assert_eq!(paged, found.hits, "{}", request.query);
        }
    }
}
