//! What an index must have for a search to find anything in it: terms, as keys of the [`filter`](crate::split::filter) that
//! a split has of them.
//!
//! It never demands what a hit may lack: of what an index can only tell by its dictionaries (patterns, ranges, what is there
//! at all) it demands nothing, and neither of what is found as a number or a truth value of `data`, which filters don't have.

use std::cmp::Reverse;

use agentworks_query::SearchRequest;
use agentworks_query::ast::{Field, Keyword, Number, Query, Test, prefix_words};
use agentworks_query::tokens::tokenize;

use crate::split::filter::{Kind, key};

/// What a search requires: of each of these, any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Required {
    alternatives: Vec<Alternative>,
}

/// Terms of which an index must have one; if there are none, nothing is found anywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alternative {
    /// How much is left where it is, about: what leaves little comes first.
    rank: Rank,
    keys: Vec<u64>,
}

/// First ids, of which most splits have none; then words, of which the long ones are rare; then what has few values. Then by
/// how many terms there are.
type Rank = (u8, Reverse<usize>, usize);

impl Required {
    /// What a search requires.
    pub fn of(request: &SearchRequest) -> Self {
        let mut alternatives = of_query(&request.query);
        if let Some(cards) = &request.cards {
            alternatives.push(any(cards.iter().map(|card| Alternative::of(Kind::Card, card))));
        }
        alternatives.sort_unstable();
        alternatives.dedup();
        Required { alternatives }
    }

    /// For each thing that an index must have the terms of which one is enough, as keys; those first that most indexes lack.
    pub fn alternatives(&self) -> impl Iterator<Item = &[u64]> {
        self.alternatives.iter().map(|alternative| &*alternative.keys)
    }
}

impl Alternative {
    /// One term.
    fn of(kind: Kind, term: &str) -> Self {
        let rank = match kind {
            Kind::Id | Kind::Card | Kind::Run | Kind::Correlation | Kind::Trace | Kind::Span => (0, Reverse(0), 1),
            Kind::Word => (1, Reverse(term.len()), 1),
            Kind::Agent | Kind::User | Kind::Provider | Kind::Model | Kind::Tags => (2, Reverse(0), 1),
        };
        Alternative { rank, keys: vec![key(kind, term.as_bytes())] }
    }
}

/// What each of the hits of a query has.
fn of_query(query: &Query) -> Vec<Alternative> {
    match query {
        Query::All | Query::Not(_) => Vec::new(),
        Query::Match(field, test) => of_clause(field, test),
        Query::And(queries) => queries.iter().flat_map(of_query).collect(),
        Query::Or(queries) => any_side(queries.iter().map(of_query)),
        Query::Boost(query, _) => of_query(query),
    }
}

fn of_clause(field: &Field, test: &Test) -> Vec<Alternative> {
    match field {
        Field::Keyword(keyword) => of_keyword(*keyword, test),
        Field::Message | Field::Component => of_words(test, false),
        Field::Any | Field::AllData | Field::Data(_) => of_words(test, true),
        Field::Timestamp => Vec::new(),
    }
}

fn of_keyword(keyword: Keyword, test: &Test) -> Vec<Alternative> {
    let Some(kind) = Kind::of(keyword) else { return Vec::new() };
    match test {
        Test::Text(text) => vec![Alternative::of(kind, text)],
        Test::OneOf(texts) => vec![any(texts.iter().map(|text| Alternative::of(kind, text)))],
        Test::Fuzzy(text, fuzziness) if fuzziness.edits(text) == 0 => vec![Alternative::of(kind, text)],
        Test::Fuzzy(..) | Test::Prefix(_) | Test::Wildcard(_) | Test::Exists | Test::Numbers(_) | Test::Times(_) => {
            Vec::new()
        }
    }
}

/// Of a test of text, which may be the number or truth value that it looks like if it is also one `of_data`.
fn of_words(test: &Test, of_data: bool) -> Vec<Alternative> {
    let of_text = |text: &String| match of_data && (Number::parse(text).is_some() || text.parse::<bool>().is_ok()) {
        true => Vec::new(),
        false => all(tokenize(text)),
    };
    match test {
        Test::Text(text) => of_text(text),
        Test::OneOf(texts) => any_side(texts.iter().map(of_text)),
        // The words before the one that may go on.
        Test::Prefix(prefix) => all(prefix_words(prefix).0),
        Test::Fuzzy(word, fuzziness) => match tokenize(word).pop() {
            Some(word) if fuzziness.edits(&word) == 0 => all(vec![word]),
            _ => Vec::new(),
        },
        Test::Wildcard(_) | Test::Exists | Test::Numbers(_) | Test::Times(_) => Vec::new(),
    }
}

/// All of some words.
fn all(words: Vec<String>) -> Vec<Alternative> {
    words.iter().map(|word| Alternative::of(Kind::Word, word)).collect()
}

/// What is required where any side of several is enough: of each the one thing that leaves least. Nothing, if a side requires
/// nothing.
fn any_side(sides: impl Iterator<Item = Vec<Alternative>>) -> Vec<Alternative> {
    let best: Option<Vec<Alternative>> = sides.map(|side| side.into_iter().min()).collect();
    best.map(|best| any(best.into_iter())).into_iter().collect()
}

/// Any of the terms of several.
fn any(sides: impl Iterator<Item = Alternative>) -> Alternative {
    let mut union = Alternative { rank: (0, Reverse(usize::MAX), 0), keys: Vec::new() };
    for side in sides {
        let (kind, length, _) = union.rank.max(side.rank);
        union.keys.extend(side.keys);
        union.rank = (kind, length, union.keys.len());
    }
    union
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_query::language;
    use agentworks_schemas::Timestamp;

    use super::*;

    fn word(word: &str) -> u64 {
        key(Kind::Word, word.as_bytes())
    }

    fn required(query: &str) -> Vec<Vec<u64>> {
        let query = language::parse(query, Timestamp(0)).unwrap_or_else(|error| panic!("{query}: {error}"));
        let required = Required::of(&SearchRequest::new("w", query));
        required.alternatives().map(<[u64]>::to_vec).collect()
    }

    #[test]
    fn what_every_hit_has_is_required() {
        let id = |kind, value: &str| key(kind, value.as_bytes());
        for (query, expected) in [
            ("timeout", vec![vec![word("timeout")]]),
            ("ToolRunner", vec![vec![word("runner")], vec![word("tool")]]),
            ("message:tool_runner", vec![vec![word("runner")], vec![word("tool")]]),
            ("\"rate limit\"", vec![vec![word("limit")], vec![word("rate")]]),
            ("data.x:RATE^3", vec![vec![word("rate")]]),
            ("trace:Ab", vec![vec![id(Kind::Trace, "Ab")]]),
            (
                "model:m timeout card:c1",
                vec![vec![id(Kind::Card, "c1")], vec![word("timeout")], vec![id(Kind::Model, "m")]],
            ),
            ("card:IN [c1, c2]", vec![vec![id(Kind::Card, "c1"), id(Kind::Card, "c2")]]),
            ("timeout OR (card:c1 level:error)", vec![vec![word("timeout"), id(Kind::Card, "c1")]]),
            ("rates OR \"a ratelimit\"", vec![vec![word("rates"), word("ratelimit")]]),
            ("\"rate lim\"*", vec![vec![word("rate")]]),
            ("timeout~0", vec![vec![word("timeout")]]),
            ("e1042~", vec![vec![word("e1042")]]),
            ("message:500", vec![vec![word("500")]]),
            ("timeout NOT card:c1", vec![vec![word("timeout")]]),
        ] {
            assert_eq!(required(query), expected, "{query}");
        }
    }

    #[test]
    fn what_a_hit_may_lack_is_not_required() {
        for query in [
            "*",
            "NOT timeout",
            "timeout OR level:error",
            "timeout OR NOT rate",
            "timeout~",
            "time*",
            "t?me",
            "500",
            "data.x:true",
            "data.x:>3",
            "data.x:*",
            "level:error",
            "card:c*",
            "since:2020-01-01",
            "500 OR timeout",
        ] {
            assert_eq!(required(query), Vec::<Vec<u64>>::new(), "{query}");
        }
    }

    #[test]
    fn the_cards_of_a_token_are_required() {
        let cards = |cards: &[&str]| {
            let cards = Some(cards.iter().map(|card| (*card).to_owned()).collect());
            let request = SearchRequest { cards, ..SearchRequest::new("w", Query::All) };
            Required::of(&request).alternatives().map(<[u64]>::to_vec).collect::<Vec<_>>()
        };
        assert_eq!(cards(&["a", "b"]), [[key(Kind::Card, b"a"), key(Kind::Card, b"b")]]);
        assert_eq!(cards(&[]), [Vec::<u64>::new()], "who may see no card finds nothing");
    }
}
