//! From and to the messages of the client protocol.

use std::collections::BTreeMap;

use agentworks_schemas::codec::Reject;
use agentworks_schemas::protocol::{LogSearchQuery, LogSearchResult, PositionedEntry, SearchCounts, TimelinePoint};
use agentworks_schemas::{Cursor, Level, Source, Timestamp};

use super::{
    CursorError, DEFAULT_LIMIT, MAX_BUCKETS, Order, RequestError, SearchRequest, Sort, SortBy, Wanted, bucket,
    interval_for,
};
use crate::answer::{Answer, Hit};
use crate::ast::{Field, Fuzziness, Keyword, Query, Test};
use crate::language::{ParseError, parse};
use crate::tokens::tokenize;

/// How much more a word in the message counts than one in the component or in `data`.
const MESSAGE_BOOST: f32 = 2.0;

/// A search of a client that can't be asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConvertError {
    /// Of another workspace than the token's.
    #[error("workspaceId: it isn't the one that the token is for; leave it out")]
    Workspace,
    /// The text has no words.
    #[error("text: there is neither letter nor digit in it, so that it is found nowhere")]
    Text,
    /// The query in the language.
    #[error("q: {0}")]
    Language(ParseError),
    /// The order.
    #[error("sortBy: {0:?} is none of timestamp, relevance")]
    SortBy(String),
    /// Its direction.
    #[error("sortOrder: {0:?} is none of asc, desc")]
    SortOrder(String),
    /// The cursor.
    #[error("cursor: {0}")]
    Cursor(#[from] CursorError),
    /// All else.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// The search that a client asks for, with the reference's defaults: 100 hits, the newest first, with the distributions
/// of levels and sources and a timeline, unless it does without counts. `workspace` and `cards` are those of its token.
///
/// `text` is found if each of its words is, in the message (which counts double), the component or a value of `data`; words of
/// letters alone may differ by [`Fuzziness::Auto`]. Of `level`, `source` and `tags` any one must fit.
pub fn from_protocol(
    query: &LogSearchQuery,
    workspace: &str,
    cards: Option<Vec<String>>,
    now: Timestamp,
) -> Result<SearchRequest, ConvertError> {
    if query.workspace_id.as_deref().is_some_and(|id| id != workspace) {
        return Err(ConvertError::Workspace);
    }
    let mut clauses = Vec::new();
    if let Some(text) = query.text.as_deref().filter(|text| !text.trim().is_empty()) {
        clauses.push(words(text)?);
    }
    if let Some(q) = &query.q {
        clauses.push(parse(q, now).map_err(ConvertError::Language)?);
    }
    let ids = [
        (Keyword::Card, &query.card_id),
        (Keyword::Run, &query.run_id),
        (Keyword::Agent, &query.agent_id),
        (Keyword::Provider, &query.provider),
    ];
    for (keyword, id) in ids {
        clauses.extend(id.as_ref().map(|id| Query::keyword(keyword, id)));
    }
    // An empty list is no list, as in the reference.
    let levels = query.level.iter().flatten().map(|level| level.as_str());
    let sources = query.source.iter().flatten().map(|source| source.as_str());
    let tags = query.tags.iter().flatten().map(String::as_str);
    for (keyword, values) in [
        (Keyword::Level, levels.collect()),
        (Keyword::Source, sources.collect()),
        (Keyword::Tags, tags.collect::<Vec<_>>()),
    ] {
        if !values.is_empty() {
            clauses.push(Query::one_of(keyword, values));
        }
    }
    let mut request =
        SearchRequest::new(workspace, Query::and(clauses.into_iter().filter(|query| *query != Query::All)));
    request.cards = cards;
    (request.from, request.to) = query.time_range.map_or((None, None), |range| (Some(range.start), Some(range.end)));
    request.sort = sort(query)?;
    request.limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    request.offset = query.offset.unwrap_or(0);
    request.after = query.cursor.as_deref().map(str::parse).transpose()?;
    if query.counts != Some(false) {
        let (from, to) = request.times();
        let interval = interval_for(from, to.or(from.map(|_| now)));
        request.wanted = Wanted { count: true, distributions: true, timeline: Some(interval), facets: Vec::new() };
    }
    request.check()?;
    Ok(request)
}

fn sort(query: &LogSearchQuery) -> Result<Sort, ConvertError> {
    let short = |text: &str| text.chars().take(64).collect();
    let by = match query.sort_by.as_deref() {
        None | Some("timestamp") => SortBy::Timestamp,
        Some("relevance") => SortBy::Relevance,
        Some(other) => return Err(ConvertError::SortBy(short(other))),
    };
    let order = match query.sort_order.as_deref() {
        None | Some("desc") => Order::Desc,
        Some("asc") => Order::Asc,
        Some(other) => return Err(ConvertError::SortOrder(short(other))),
    };
    Ok(Sort { by, order })
}

/// Each word of the text in any of the three, the reference's `multi_match`.
fn words(text: &str) -> Result<Query, ConvertError> {
    let mut all = Vec::new();
    for word in text.split_whitespace() {
        let tokens = tokenize(word);
        let test = match tokens.as_slice() {
            [] => continue,
            [token] if Fuzziness::Auto.edits(token) > 0 => Test::Fuzzy(token.clone(), Fuzziness::Auto),
            _ => Test::Text(word.to_owned()),
        };
        all.push(Query::or([
            Query::Match(Field::Message, test.clone()).boost(MESSAGE_BOOST),
            Query::Match(Field::Component, test.clone()),
            Query::Match(Field::AllData, test),
        ]));
    }
    match all.is_empty() {
        true => Err(ConvertError::Text),
        false => Ok(Query::and(all)),
    }
}

/// The answer as the client is told it. `query` is what it asked, `time` how long that took in milliseconds.
///
/// # Errors
/// If the body of a hit can't be decoded.
pub fn to_protocol<'a>(
    answer: &'a Answer,
    request: &SearchRequest,
    query: LogSearchQuery,
    time: u64,
) -> Result<LogSearchResult<'a>, Reject> {
    let found = &answer.found;
    let logs: Result<Vec<PositionedEntry<'a>>, Reject> = found.hits.iter().map(positioned).collect();
    let by_name = |names: Vec<&str>, counts: &[u64]| -> BTreeMap<String, u64> {
        names.into_iter().map(str::to_owned).zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect()
    };
    let counts = request.wanted.count.then(|| SearchCounts {
        total_count: found.count,
        level_distribution: by_name(Level::ALL.map(Level::as_str).to_vec(), &found.levels),
        source_distribution: by_name(Source::ALL.map(Source::as_str).to_vec(), &found.sources),
        timeline_data: timeline(&found.timeline, request.wanted.timeline),
    });
    Ok(LogSearchResult {
        logs: logs?,
        counts,
        query,
        execution_time: time,
        cursor: answer.next.map(|after| after.to_string()),
        incomplete: found.incomplete.clone(),
    })
}

/// A hit with the place just after it, which names its own as well.
pub fn positioned(hit: &Hit) -> Result<PositionedEntry<'_>, Reject> {
    let at = hit.key.position;
    let position = Cursor::from_iter([(at.partition, at.epoch, at.offset + 1)]);
    Ok(PositionedEntry { position, entry: hit.entry()? })
}

/// The buckets from the first to the last, those without entries among them, unless that were too many.
fn timeline(counts: &BTreeMap<i64, u64>, interval: Option<i64>) -> Vec<TimelinePoint> {
    let point = |(at, count): (i64, u64)| TimelinePoint { timestamp: Timestamp(at), count };
    let sparse = || counts.iter().map(|(at, count)| point((*at, *count))).collect();
    let (Some(interval), Some((&first, _)), Some((&last, _))) =
        (interval, counts.first_key_value(), counts.last_key_value())
    else {
        return sparse();
    };
    if (last.saturating_sub(first)) / interval >= MAX_BUCKETS as i64 {
        return sparse();
    }
    let mut points = Vec::new();
    let mut at = bucket(Timestamp(first), interval).millis();
    while at <= last {
        points.push(point((at, counts.get(&at).copied().unwrap_or(0))));
        at += interval;
    }
    points
}

#[cfg(test)]
mod tests;
