//! A card's, or a workspace's, logs over a range of time: how many of which level, source and component and when, which
//! messages come most, which part are errors, and how that was in the time before that is as long.
//!
//! Some fifteen searches, a few at a time, that count to be exact. Messages are told from a sample of the newest entries, for
//! an index counts words, not lines.

mod components;
mod messages;

use agentworks_query::answer::FacetField;
use agentworks_query::ast::{Keyword, Query};
use agentworks_query::request::{Facet, MAX_TOP};
use agentworks_query::{Answer, SearchRequest};
use agentworks_schemas::access::Claims;
use agentworks_schemas::protocol::{TimeRange, TimelinePoint};
use agentworks_schemas::{Level, Source, Timestamp};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::timeline::filled;
use super::{Search, SearchFault, entries};
use components::Component;
use messages::TopMessage;

/// The longest range, in milliseconds: a leap year.
const MAX_RANGE: i64 = 366 * 24 * 3600 * 1000;
/// How many buckets the timelines have at most.
const BUCKETS: i64 = 200;
/// How many entries messages are told from.
const SAMPLE: usize = 1000;
/// How many messages are told.
const MESSAGES: usize = 10;
/// How many searches go on at once for one answer.
const AT_ONCE: usize = 4;

/// How long a bucket may be, in seconds.
const INTERVALS: [i64; 16] =
    [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 7 * 86_400];

/// What is known of the logs of a range of time.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogAnalytics {
    #[serde(skip_serializing_if = "Option::is_none")]
    card_id: Option<String>,
    time_range: TimeRange,
    /// The length of a bucket, in milliseconds.
    interval: i64,
    #[serde(flatten)]
    now: Totals,
    /// The same of the time before that is as long.
    before: Totals,
    timeline: Vec<TimelinePoint>,
    levels: Vec<Series>,
    sources: Vec<Series>,
    /// The most frequent ones.
    components: Vec<Series>,
    /// How many entries the messages are told from.
    sampled: usize,
    top_messages: Vec<TopMessage>,
    /// Of how many errors.
    sampled_errors: usize,
    top_errors: Vec<TopMessage>,
    /// What could not be searched, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
}

/// What a range of time has in all.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    total_count: u64,
    /// Of level error or fatal.
    error_count: u64,
    /// Their part of all, from 0 to 1; 0 of none.
    error_share: f64,
}

/// How many entries have one value, and when.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Series {
    name: String,
    count: u64,
    /// In the time before.
    count_before: u64,
    /// Of a component: of all whose name has the same words.
    timeline: Vec<TimelinePoint>,
}

/// What is to be analysed, and when.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) card: Option<String>,
    pub(crate) range: TimeRange,
}

impl Subject {
    /// Fails if the range is none, or longer than is counted.
    fn check(&self) -> Result<i64, SearchFault> {
        let TimeRange { start, end } = self.range;
        let length = end.0.saturating_sub(start.0);
        if length < 1 {
            return Err(SearchFault::Invalid(format!("end: {end} is not after start, which is {start}")));
        }
        if length > MAX_RANGE {
            let message = "start: more than 366 days before end, which is the longest range; take a shorter one";
            return Err(SearchFault::Invalid(message.to_owned()));
        }
        Ok(length)
    }

    /// A search of a range for a query, with nothing counted yet.
    fn request(&self, claims: &Claims, query: Query, (from, to): (i64, i64)) -> SearchRequest {
        let card = self.card.as_ref().map(|card| Query::keyword(Keyword::Card, card));
        let query = Query::and(card.into_iter().chain((query != Query::All).then_some(query)));
        let mut request = SearchRequest::new(&claims.workspace, query);
        request.cards.clone_from(&claims.cards);
        (request.from, request.to) = (Some(Timestamp(from)), Some(Timestamp(to)));
        request.limit = 0;
        request
    }
}

/// The shortest interval that makes few enough buckets, in milliseconds.
fn interval(length: i64) -> i64 {
    let fits = |interval: &i64| length / (interval * 1000) < BUCKETS;
    INTERVALS.into_iter().find(fits).unwrap_or(INTERVALS[INTERVALS.len() - 1]) * 1000
}

/// One of the values that have a series.
#[derive(Clone, Debug)]
enum Value {
    Level(Level),
    Source(Source),
    Component(Component),
}

impl Value {
    fn query(&self) -> Query {
        match self {
            Value::Level(level) => Query::keyword(Keyword::Level, level.as_str()),
            Value::Source(source) => Query::keyword(Keyword::Source, source.as_str()),
            Value::Component(component) => component.query.clone(),
        }
    }
}

impl Search {
    /// What is known of the logs of a range of time.
    pub(crate) async fn analytics(&self, subject: Subject, claims: &Claims) -> Result<LogAnalytics, SearchFault> {
        let length = subject.check()?;
        let interval = interval(length);
        let (start, end) = (subject.range.start.0, subject.range.end.0);
        let (own, earlier) = ((start, end), (start.saturating_sub(length), start.saturating_sub(1)));
        let facets = vec![Facet { field: FacetField::Component, top: MAX_TOP }];
        let counted = |range| {
            let mut request = subject.request(claims, Query::All, range);
            (request.wanted.count, request.wanted.distributions) = (true, true);
            request.wanted.facets.clone_from(&facets);
            request
        };
        let mut request = counted(own);
        (request.limit, request.wanted.timeline) = (SAMPLE, Some(interval));
        let errors = Query::one_of(Keyword::Level, [Level::Error.as_str(), Level::Fatal.as_str()]);
        let mut of_errors = subject.request(claims, errors, own);
        of_errors.limit = SAMPLE;

        // All of it is one search among the workspace's.
        let _turn = self.shared.turns.take(&claims.workspace)?;
        let find = &self.shared.find;
        let now = find.find(request).await?;
        let before = find.find(counted(earlier)).await?;
        let errors = find.find(of_errors).await?;
        let values = Level::ALL.iter().zip(now.found.levels).map(|(level, count)| (Value::Level(*level), count));
        let values = values.chain(Source::ALL.iter().zip(now.found.sources).map(|(one, n)| (Value::Source(*one), n)));
        let values =
            values.chain(components::top(&now).into_iter().map(|one| (Value::Component(one.clone()), one.count)));
        let timeline = |(value, count): (Value, u64)| {
            let mut request = subject.request(claims, value.query(), own);
            request.wanted.timeline = Some(interval);
            async move {
                let found = find.find(request).await?.found;
                Ok::<_, SearchFault>((value, count, filled(&found.timeline, own, interval), found.incomplete))
            }
        };
        let timelines: Vec<_> = values.filter(|(_, count)| *count > 0).map(timeline).collect();
        let series: Vec<_> = stream::iter(timelines).buffered(AT_ONCE).try_collect().await?;

        let mut incomplete: Vec<String> =
            [&now, &before, &errors].map(|answer| answer.found.incomplete.clone()).concat();
        let (mut levels, mut sources, mut of_components) = (Vec::new(), Vec::new(), Vec::new());
        for (value, count, timeline, missing) in series {
            incomplete.extend(missing);
            let (list, name, count_before) = match value {
                Value::Level(level) => (&mut levels, level.as_str().to_owned(), before.found.levels[level as usize]),
                Value::Source(one) => (&mut sources, one.as_str().to_owned(), before.found.sources[one as usize]),
                Value::Component(Component { name, .. }) => {
                    let count_before = components::count_of(&before, &name);
                    (&mut of_components, name, count_before)
                }
            };
            list.push(Series { name, count, count_before, timeline });
        }
        incomplete.sort();
        incomplete.dedup();
        Ok(LogAnalytics {
            timeline: filled(&now.found.timeline, own, interval),
            now: Totals::of(&now),
            before: Totals::of(&before),
            levels,
            sources,
            components: of_components,
            sampled: now.found.hits.len(),
            top_messages: messages::top(&entries(&now)?, MESSAGES),
            sampled_errors: errors.found.hits.len(),
            top_errors: messages::top(&entries(&errors)?, MESSAGES),
            card_id: subject.card,
            time_range: subject.range,
            interval,
            incomplete,
        })
    }
}

impl Totals {
    fn of(answer: &Answer) -> Self {
        let total_count = answer.found.count;
        let error_count = answer.found.levels[Level::Error as usize] + answer.found.levels[Level::Fatal as usize];
        let error_share = if total_count == 0 { 0.0 } else { error_count as f64 / total_count as f64 };
        Totals { total_count, error_count, error_share }
    }
}

#[cfg(test)]
mod tests;
