//! Any tree has a text that is read as the same tree, and any text is read or refused.

use std::ops::Bound;

use agentworks_schemas::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{NOW, parse};
use crate::ast::{Ends, Field, Fuzziness, Keyword, Number, Part, Pattern, Query, Test};

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}",
        "[A-Za-z0-9]{1,4}",
        select(vec!["OR", "AND", "NOT", "TO", "IN", "é数"]).prop_map(String::from)
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![3 => word(), 1 => ".{0,12}", 1 => "[ -~\"\\\\:*?()]{0,12}"]
}

fn ends<T: Clone + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + Clone + 'static,
) -> impl Strategy<Value = Ends<T>> {
    let bound =
        prop_oneof![value.clone().prop_map(Bound::Included), value.prop_map(Bound::Excluded), Just(Bound::Unbounded)];
    let bound = bound.boxed();
    (bound.clone(), bound).prop_map(|(lower, upper)| Ends { lower, upper })
}

fn number() -> impl Strategy<Value = Number> + Clone {
    prop_oneof![
        any::<i64>().prop_map(Number::I64),
        any::<f64>().prop_filter_map("finite", Number::from_f64),
        (-20..20i64).prop_map(Number::I64),
    ]
    .boxed()
}

fn pattern() -> impl Strategy<Value = Pattern> {
    let part = prop_oneof![4 => any::<char>().prop_map(Part::Is), 1 => Just(Part::One), 1 => Just(Part::Any)];
    vec(part, 1..6)
        // What is a prefix, or has no wildcard, is written otherwise.
        .prop_filter("a pattern", |parts| parts.len() > 1 && !matches!(parts[0], Part::Is(_)) && parts[1] != parts[0])
        .prop_map(Pattern::new)
        .prop_filter("more than `*`", |pattern| !pattern.is_any())
}

fn test() -> impl Strategy<Value = Test> {
    prop_oneof![
        4 => text().prop_map(Test::Text),
        1 => text().prop_map(Test::Prefix),
        1 => pattern().prop_map(Test::Wildcard),
        1 => (text(), select(vec![Fuzziness::Zero, Fuzziness::One, Fuzziness::Two, Fuzziness::Auto]))
            .prop_filter("a word", |(word, _)| !word.is_empty())
            .prop_map(|(word, fuzziness)| Test::Fuzzy(word, fuzziness)),
        1 => ends(number()).prop_map(Test::Numbers),
        1 => ends(Timestamp::RANGE.prop_map(Timestamp)).prop_map(Test::Times),
        1 => vec(text(), 1..4).prop_map(Test::OneOf),
        1 => Just(Test::Exists),
    ]
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![
        Just(Field::Any),
        Just(Field::Message),
        Just(Field::Component),
        Just(Field::AllData),
        "[a-z._]{1,8}|.{1,8}".prop_map(Field::Data),
        select(&Keyword::ALL).prop_map(Field::Keyword),
        Just(Field::Timestamp),
    ]
}

fn leaf() -> impl Strategy<Value = Query> {
    let clause = (field(), test())
        .prop_filter("everything", |pair| *pair != (Field::Any, Test::Exists))
        .prop_map(|(field, test)| Query::Match(field, test))
        .prop_filter("may be asked", |query| query.check().is_ok());
    prop_oneof![1 => Just(Query::All), 9 => clause]
}

pub(crate) fn any_query() -> impl Strategy<Value = Query> {
    leaf().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(Query::negate),
            vec(inner.clone(), 2..4).prop_map(Query::and),
            vec(inner.clone(), 2..4).prop_map(Query::or),
            (inner, 0.0..1e6f32).prop_map(|(query, factor)| query.boost(factor)),
        ]
    })
}

proptest! {
    #[test]
    fn queries_survive_their_text(query in any_query()) {
        prop_assert!(query.check().is_ok());
        let text = query.to_string();
        let read = super::super::parse_written(&text);
        prop_assert_eq!(read.as_ref(), Ok(&query), "{}", text);
        let json = serde_json::to_string(&query).unwrap();
        prop_assert_eq!(serde_json::from_str::<Query>(&json).unwrap(), query);
    }

    #[test]
    fn any_text_is_a_query_or_an_error(text in ".{0,200}") {
        let _ = parse(&text, NOW).map_err(|error| error.to_string());
    }

    #[test]
    fn any_soup_is_a_query_or_an_error(parts in vec(select(vec![
        "a", " ", "(", ")", "[", "]", "{", "}", "\"", "\\", "*", "?", "~", "^", "2", "-", "+", "!", ":", "AND ", " OR ",
        "NOT ", "&&", "||", " TO ", "IN [", "level:", "data.x:", "timestamp:", "since:", ">=", "<", "=", ",", "é", "1e5", "now-",
    ]), 0..40)) {
        let text = parts.concat();
        if let Ok(query) = parse(&text, NOW) {
            let written = query.to_string();
            prop_assert_eq!(parse(&written, NOW), Ok(query), "{} {}", text, written);
        }
    }
}
