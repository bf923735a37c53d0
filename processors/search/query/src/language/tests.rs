#![allow(clippy::unwrap_used)]

mod random;

use std::ops::Bound;

use agentworks_schemas::Timestamp;

use super::parse;
use crate::ast::{Ends, Field, Fuzziness, Keyword, Number, Part, Pattern, Query, Test};

/// 2025-12-02T10:15:30.123Z
const NOW: Timestamp = Timestamp(1_764_670_530_123);

fn query(text: &str) -> Query {
    parse(text, NOW).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What a query is understood as, in full.
#[track_caller]
fn means(text: &str, full: &str) {
    assert_eq!(query(text).to_string(), full, "{text}");
    assert_eq!(query(full), query(text));
}

#[track_caller]
fn fails(text: &str, position: usize, message: &str) {
    let error = parse(text, NOW).unwrap_err();
    assert_eq!((error.position(), error.message()), (position, message), "{text}");
}

#[test]
fn the_example_of_the_documentation() {
    means(
        r#"level:error AND component:"tool runner" AND data.http_status:>=500 NOT "rate limit" since:2h"#,
        r#"level:error AND component:"tool runner" AND data.http_status:>=500 AND NOT "rate limit" AND timestamp:>=2025-12-02T08:15:30.123Z"#,
    );
}

#[test]
fn operators_bind() {
    means("", "*");
    means("  ", "*");
    means("*", "*");
    means("a b c", "a AND b AND c");
    means("a OR b c", "a OR (b AND c)");
    means("a || b && !c", "a OR (b AND NOT c)");
    means("(a OR b) c", "(a OR b) AND c");
    means("-a +b", "NOT a AND b");
    means("NOT NOT a", "NOT NOT a");
    means("NOT (a b)", "NOT (a AND b)");
    means("(a b)^2.5 c^3", "(a AND b)^2.5 AND c^3");
    means("a AND (b AND (c))", "a AND b AND c");
    means("android ORacle NOTe andy", "android AND ORacle AND NOTe AND andy");
    means("or and not", "or AND and AND not");
    means(r#""OR" \AND"#, r#""OR" AND "AND""#);
}

#[test]
fn fields_have_aliases() {
    for name in ["card", "cardId", "card_id", "CARD_ID"] {
        assert_eq!(query(&format!("{name}:x")), Query::keyword(Keyword::Card, "x"));
    }
    assert_eq!(query("parentSpanId:x"), Query::keyword(Keyword::Span, "x"));
    assert_eq!(query("data:x"), Query::Match(Field::AllData, Test::Text("x".into())));
    assert_eq!(query(r"data.a\:b.c:x"), Query::Match(Field::Data("a:b.c".into()), Test::Text("x".into())));
    assert_eq!(query("level:ERROR"), Query::keyword(Keyword::Level, "error"));
    means("model: gpt-4o", "model:gpt-4o");
    means("card:a:b/c", r#"card:"a:b/c""#);
}

#[test]
fn values_of_every_kind() {
    means("level:(error OR fatal)", "level:error OR level:fatal");
    means("level:IN [error, fatal]", "level:IN [error fatal]");
    means("card:IN [a,b \"c d\"]", "card:IN [a b \"c d\"]");
    means(r"card:IN [a\,b,c\, d]", r#"card:IN ["a,b" "c," d]"#);
    means(r#"card:IN ["a,b",\"c]"#, r#"card:IN ["a,b" "\"c"]"#);
    means("level:>=warn", "level:IN [warn error fatal]");
    means("message:(a NOT \"b c\")", "message:a AND NOT message:\"b c\"");
    means("data.x:[1 TO 5]", "data.x:[1 TO 5]");
    means("data.x:{1.0 TO 5e0}", "data.x:{1 TO 5}");
    means("data.x:[* TO 5}", "data.x:<5");
    means("data.x:[* TO *]", "data.x:[* TO *]");
    means("data.x:>-5 data.y:=3", "data.x:>-5 AND data.y:3");
    means("agent:*", "agent:*");
    let range = Ends { lower: Bound::Excluded(Number::F64(0.5)), upper: Bound::Unbounded };
    assert_eq!(query("data.x:> 0.5"), Query::Match(Field::Data("x".into()), Test::Numbers(range)));
    assert_eq!(query("tim*"), Query::Match(Field::Any, Test::Prefix("tim".into())));
    assert_eq!(query("\"rate lim\"*"), Query::Match(Field::Any, Test::Prefix("rate lim".into())));
    let pattern = Pattern::new([Part::Is('w'), Part::Is('o'), Part::One, Part::Is('d'), Part::Any]);
    assert_eq!(query("wo?d*"), Query::Match(Field::Any, Test::Wildcard(pattern)));
    for (text, fuzziness) in [("fuzy~1", Fuzziness::One), ("fuzy~2", Fuzziness::Two), ("fuzy~", Fuzziness::Auto)] {
        assert_eq!(query(text), Query::Match(Field::Any, Test::Fuzzy("fuzy".into(), fuzziness)));
    }
}

#[test]
fn times_are_told_from_now() {
    means("since:90s", "timestamp:>=2025-12-02T10:14:00.123Z");
    means("after:1d12h", "timestamp:>2025-11-30T22:15:30.123Z");
    means("until:2025-12-02T10:00:00+02:00", "timestamp:<=2025-12-02T08:00:00.000Z");
    means("before:2025-12-02", "timestamp:<2025-12-02T00:00:00.000Z");
    means("timestamp:2025-12-02", "timestamp:[2025-12-02T00:00:00.000Z TO 2025-12-03T00:00:00.000Z}");
    means("timestamp:[now-1h TO now}", "timestamp:[2025-12-02T09:15:30.123Z TO 2025-12-02T10:15:30.123Z}");
    means("since:99999999w", "timestamp:>=0000-01-01T00:00:00.000Z");
}

#[test]
fn errors_say_where_and_what_to_do() {
    fails("leve:error", 0, "there is no field `leve`; did you mean `level`?");
    fails("a sinc:2h", 2, "there is no field `sinc`; did you mean `since`?");
    fails(
        "http://x",
        0,
        "there is no field `http`; values of `data` are named `data.http`, and a text with a colon is put in quotes",
    );
    fails("workspace:x", 0, "the workspace is that of the token; a query can't choose it");
    fails("level:eror", 6, r#""eror" is none of debug, info, warn, error, fatal"#);
    fails("a AND", 5, "something to look for was expected here, and the query ends");
    fails("OR a", 0, "something to look for was expected before this operator; in quotes it is a word");
    fails("(a OR (b)", 0, "this parenthesis is never closed");
    fails("a)", 1, "this closes nothing; put it in quotes if it is part of a word");
    fails("()", 1, "something to look for was expected before this parenthesis");
    fails("é \"abc", 2, "this quote is never closed");
    fails("a:", 2, "a value was expected after `a:`");
    fails(
        "*^2^3",
        3,
        "a field was expected before this, like `data.http_status:>=500`; in quotes it is part of a text",
    );
    fails("a^x", 1, "a boost is a number from 0 to 1000000, like `timeout^2`");
    fails("a~3", 1, "a word may differ by 1 or 2 letters: `timeout~1`, `timeout~2`, or `timeout~`");
    fails("\"a b\"~2", 5, "words in quotes are found as they are, one after the other: leave `~` out");
    fails("a_b~1", 0, "`a_b` is several words, and only one can be searched fuzzily: take them one by one");
    fails("a/*b", 0, "a pattern is of one word, and '/' is in none: take the words one by one");
    fails("\"---\" x", 0, "there is neither letter nor digit in it, so that it is found nowhere");
    fails("data.x:>abc", 8, r#""abc" is not a number; ranges over `data` are those of numbers"#);
    fails("data.x:[1 5]", 10, "`TO` was expected here: a range is like `[1 TO 5]`, a set like `IN [a b]`");
    fails("level:>fatal", 12, "no level is in this range; they go from debug to fatal");
    fails("a\\", 1, "a character was expected after the backslash");
    assert!(parse("since:soon", NOW).unwrap_err().message().starts_with(r#""soon" is not a time; times are like"#));
    let error = parse("level:error AND leve:x", NOW).unwrap_err();
    assert_eq!(error.excerpt(), "level:error AND leve:x\n                ^");
    assert!(error.to_string().starts_with("at character 17: there is no field"));
}

#[test]
fn what_is_too_much_is_refused() {
    let deep = |n: usize| format!("{}a{}", "(".repeat(n), ")".repeat(n));
    assert!(parse(&deep(50), NOW).is_ok());
    fails(&deep(51), 50, "the query nests more than 50 deep; ask for less at once");
    fails(&"-".repeat(60), 51, "the query nests more than 50 deep; ask for less at once");
    assert!(parse(&"(".repeat(10_000), NOW).unwrap_err().message().ends_with("at most 8192 are taken"));
    let error = parse(&"a ".repeat(600), NOW).unwrap_err();
    assert_eq!(error.message(), "the query has more than 512 clauses; ask for less at once");
    let set = format!("card:IN [{}]", "a ".repeat(600));
    assert_eq!(parse(&set, NOW).unwrap_err().message(), "the query has more than 512 clauses; ask for less at once");
    let long = format!("card:{}~2", "a".repeat(65));
    fails(&long, 5, "it has 65 bytes, and a fuzzy word at most 64: search for its beginning");
    assert_eq!(query("*^2"), Query::All.boost(2.0));
}
