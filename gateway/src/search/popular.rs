//! Which queries are asked most.
//!
//! In memory alone and bounded, so that a restart forgets them. They are kept apart by what those who ask may see, the
//! workspace and the token's cards, and told to those alone who see the same.

use std::collections::HashMap;

use agentworks_schemas::Timestamp;
use agentworks_schemas::access::Claims;
use agentworks_schemas::protocol::LogSearchQuery;
use parking_lot::Mutex;
use serde::Serialize;

/// How many circles of people are remembered at most: the one that asked longest ago is forgotten first.
const MAX_CIRCLES: usize = 512;
/// How many queries of each: the least popular is forgotten first.
const MAX_QUERIES: usize = 100;
/// The longest query that is remembered, in bytes.
const MAX_LENGTH: usize = 256;
/// In so many milliseconds a query loses half of its weight, unless it is asked again: a week.
const HALF_LIFE: f64 = 7.0 * 24.0 * 3600.0 * 1000.0;

/// A query that was asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PopularQuery {
    pub(crate) query: String,
    /// How often.
    pub(crate) count: u64,
    pub(crate) last_used: Timestamp,
}

/// What people may see who share their queries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Circle {
    workspace: String,
    cards: Option<Vec<String>>,
}

#[derive(Debug, Default)]
struct Queries {
    last_used: Timestamp,
    asked: HashMap<String, Asked>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    count: u64,
    /// As of `last`.
    weight: f64,
    last: Timestamp,
}

impl Asked {
    fn weight(&self, now: Timestamp) -> f64 {
        let age = now.0.saturating_sub(self.last.0).max(0) as f64;
        self.weight * (-age / HALF_LIFE).exp2()
    }
}

/// The queries that were asked.
#[derive(Debug, Default)]
pub(super) struct Popular {
    circles: Mutex<HashMap<Circle, Queries>>,
}

impl Popular {
    /// Remembers a query, if it is one that somebody typed: the first page of words or of a query in the language.
    pub(super) fn note(&self, claims: &Claims, query: &LogSearchQuery, now: Timestamp) {
        let is_first = query.cursor.is_none() && query.offset.unwrap_or(0) == 0;
        let typed = query.q.as_deref().or(query.text.as_deref()).unwrap_or_default();
        let typed = typed.split_whitespace().collect::<Vec<_>>().join(" ");
        if !is_first || typed.is_empty() || typed.len() > MAX_LENGTH {
            return;
        }
        let mut circles = self.circles.lock();
        let circle = Circle::of(claims);
        if circles.len() >= MAX_CIRCLES && !circles.contains_key(&circle) {
            let oldest = circles.iter().min_by_key(|(_, queries)| queries.last_used).map(|(circle, _)| circle.clone());
            oldest.and_then(|oldest| circles.remove(&oldest));
        }
        let queries = circles.entry(circle).or_default();
        queries.last_used = now;
        if queries.asked.len() >= MAX_QUERIES && !queries.asked.contains_key(&typed) {
            let least = queries.asked.iter().min_by(|(_, a), (_, b)| a.weight(now).total_cmp(&b.weight(now)));
            let least = least.map(|(query, _)| query.clone());
            least.and_then(|least| queries.asked.remove(&least));
        }
        let asked = queries.asked.entry(typed).or_default();
        *asked = Asked { count: asked.count + 1, weight: asked.weight(now) + 1.0, last: now };
    }

    /// The most popular ones of those who see what the bearer sees.
    pub(super) fn top(&self, claims: &Claims, now: Timestamp, limit: usize) -> Vec<PopularQuery> {
        let circles = self.circles.lock();
        let Some(queries) = circles.get(&Circle::of(claims)) else { return Vec::new() };
        let mut all: Vec<_> = queries.asked.iter().collect();
        all.sort_by(|(a, n), (b, m)| m.weight(now).total_cmp(&n.weight(now)).then_with(|| a.cmp(b)));
        let told = |(query, asked): (&String, &Asked)| PopularQuery {
            query: query.clone(),
            count: asked.count,
            last_used: asked.last,
        };
        all.into_iter().take(limit).map(told).collect()
    }
}

impl Circle {
    fn of(claims: &Claims) -> Self {
        let mut cards = claims.cards.clone();
        if let Some(cards) = &mut cards {
            cards.sort();
            cards.dedup();
        }
        Circle { workspace: claims.workspace.clone(), cards }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(workspace: &str, cards: Option<&[&str]>) -> Claims {
        let cards = cards.map(|cards| cards.iter().map(|card| (*card).to_owned()).collect());
        Claims { workspace: workspace.to_owned(), cards, ..Claims::default() }
    }

    fn typed(q: &str) -> LogSearchQuery {
        LogSearchQuery { q: Some(q.to_owned()), ..LogSearchQuery::default() }
    }

    fn names(popular: &Popular, claims: &Claims, now: i64) -> Vec<String> {
        popular.top(claims, Timestamp(now), 10).into_iter().map(|one| one.query).collect()
    }

    #[test]
    fn queries_are_told_to_those_who_see_the_same() {
        let popular = Popular::default();
        let note = |claims: &Claims, q: &str| popular.note(claims, &typed(q), Timestamp(0));
        note(&claims("acme", None), "level:error");
        note(&claims("acme", None), "  level:error ");
        note(&claims("acme", None), "disk   full");
        note(&claims("acme", Some(&["b", "a"])), "of two cards");
        note(&claims("other", None), "theirs");
        assert_eq!(names(&popular, &claims("acme", None), 0), ["level:error", "disk full"]);
        assert_eq!(names(&popular, &claims("acme", Some(&["a", "b"])), 0), ["of two cards"]);
        assert!(names(&popular, &claims("acme", Some(&["a"])), 0).is_empty());
        assert_eq!(names(&popular, &claims("other", None), 0), ["theirs"]);
    }

    #[test]
    fn what_nobody_typed_is_not_remembered() {
        let popular = Popular::default();
        let own = claims("acme", None);
        for query in [
            LogSearchQuery { cursor: Some("AA".to_owned()), ..typed("a") },
            LogSearchQuery { offset: Some(100), ..typed("a") },
            LogSearchQuery::default(),
            typed("   "),
            typed(&"x".repeat(MAX_LENGTH + 1)),
        ] {
            popular.note(&own, &query, Timestamp(0));
        }
        assert!(names(&popular, &own, 0).is_empty());
        popular.note(
            &own,
            &LogSearchQuery { text: Some("words".to_owned()), ..LogSearchQuery::default() },
            Timestamp(0),
        );
        assert_eq!(names(&popular, &own, 0), ["words"]);
    }

    #[test]
    fn it_is_bounded_and_forgets_what_is_asked_no_more() {
        let popular = Popular::default();
        let own = claims("acme", None);
        for _ in 0..3 {
            popular.note(&own, &typed("often"), Timestamp(0));
        }
        for n in 0..1000 {
            popular.note(&own, &typed(&format!("once {n}")), Timestamp(n));
        }
        assert_eq!(names(&popular, &own, 1000)[0], "often");
        assert_eq!(popular.top(&own, Timestamp(1000), usize::MAX).len(), MAX_QUERIES);
        // Three times a month ago are less than once now.
        let month = 30 * 24 * 3600 * 1000;
        popular.note(&own, &typed("now"), Timestamp(month));
        assert_eq!(names(&popular, &own, month)[0], "now");
        for n in 0..2000 {
            popular.note(&claims(&format!("w{n}"), None), &typed("x"), Timestamp(n));
        }
        assert_eq!(popular.circles.lock().len(), MAX_CIRCLES);
    }
}
