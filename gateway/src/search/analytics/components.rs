//! The components of a range of time, and the query for one of them.

use agentworks_query::answer::{FacetCounts, FacetField};
use agentworks_query::tokens::tokenize;
use agentworks_query::{Answer, Field, Query, Test};

/// How many components are told, and each with a timeline.
const COMPONENTS: usize = 5;
/// How many other components are looked at, the most frequent ones, and how many are excluded.
const MAX_OTHERS: usize = 4096;
const MAX_EXCLUDED: usize = 400;

/// A component.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Component {
    pub(super) name: String,
    pub(super) count: u64,
    /// Finds it, and those that are spelled otherwise but have the same words: a component is searched word by word.
    pub(super) query: Query,
}

/// The most frequent components that have words to be searched by.
pub(super) fn top(answer: &Answer) -> Vec<Component> {
    let Some(counts) = answer.found.facets.get(&FacetField::Component) else { return Vec::new() };
    let words: Vec<Vec<String>> = counts.top(MAX_OTHERS).into_iter().map(|(name, _)| tokenize(name)).collect();
    let component = |((name, count), own): ((&str, u64), &Vec<String>)| {
        let query = || Query::and([phrase(name), exclusion(own, &words)].into_iter().filter(|one| *one != Query::All));
        (!own.is_empty()).then(|| Component { name: name.to_owned(), count, query: query() })
    };
    counts.top(COMPONENTS).into_iter().zip(&words).filter_map(component).collect()
}

/// How often a component is among those of an answer.
pub(super) fn count_of(answer: &Answer, name: &str) -> u64 {
    let counts: Option<&FacetCounts> = answer.found.facets.get(&FacetField::Component);
    counts.and_then(|counts| counts.counts.get(name)).copied().unwrap_or(0)
}

fn phrase(name: &str) -> Query {
    Query::Match(Field::Component, Test::Text(name.to_owned()))
}

/// Leaves out the components that have other words beside these: `api-gateway`, where `api` is looked for.
fn exclusion(own: &[String], all: &[Vec<String>]) -> Query {
    let mut longer: Vec<&Vec<String>> =
        all.iter().filter(|words| words.len() > own.len() && has_phrase(words, own)).collect();
    longer.sort_by_key(|words| words.len());
    let mut excluded: Vec<&Vec<String>> = Vec::new();
    for words in longer {
        // Whatever has an excluded phrase in it is excluded with that.
        if excluded.len() < MAX_EXCLUDED && !excluded.iter().any(|phrase| has_phrase(words, phrase)) {
            excluded.push(words);
        }
    }
    let texts: Vec<String> = excluded.into_iter().map(|words| words.join(" ")).collect();
    match texts.is_empty() {
        true => Query::All,
        false => Query::negate(Query::Match(Field::Component, Test::OneOf(texts))),
    }
}

fn has_phrase(words: &[String], phrase: &[String]) -> bool {
    words.windows(phrase.len()).any(|window| window == phrase)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_query::PartialAnswer;

    use super::*;

    fn answer(counts: &[(&str, u64)]) -> Answer {
        let counts = FacetCounts::new(counts.iter().map(|(name, count)| ((*name).to_owned(), *count)), usize::MAX);
        let found = PartialAnswer { facets: [(FacetField::Component, counts)].into(), ..PartialAnswer::default() };
        Answer { found, next: None }
    }

    #[test]
    fn a_component_is_not_those_whose_name_goes_on() {
        let answer =
            answer(&[("api", 9), ("api-gateway", 8), ("my_api", 7), ("api-gateway-2", 1), ("--", 6), ("db", 5)]);
        let queries: Vec<String> = top(&answer).iter().map(|component| component.query.to_string()).collect();
        assert_eq!(
            queries,
            [
                r#"component:api AND NOT component:IN ["api gateway" "my api"]"#,
                r#"component:api-gateway AND NOT component:IN ["api gateway 2"]"#,
                "component:my_api",
                "component:db",
            ]
        );
        assert_eq!((count_of(&answer, "api"), count_of(&answer, "nothing")), (9, 0));
    }
}
