//! What the index answers.
//!
//! - [`asking`]: a search, from parameters and from a body.
//! - [`counts`]: facets and histograms.
//! - [`fields`], [`sample`]: what can be searched.
//! - [`context`]: what stands around a hit in its run.
//! - [`analytics`]: a card's logs over time.

mod analytics;
mod asking;
mod context;
mod counts;
mod fields;
mod sample;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use agentworks_query::answer::Cost;
use agentworks_query::request::{Facet, SearchRequest, Sort};
use agentworks_schemas::Timestamp;
use agentworks_schemas::protocol::LogSearchResult;
use agentworks_search::searcher::SearchPlan;
use bytes::{Buf, BufMut};
use futures_util::{Stream, StreamExt};
use http::{Method, StatusCode};
use serde::Serialize;
use tokio::time::timeout;
use warp::reply::Response;
use warp::{Filter, Rejection};

use self::asking::Form;
use super::asked::{Asked, Id, asked};
use super::error::{ApiError, method};
use super::{answer, json};
use crate::Gateway;
use crate::search::Found;
use crate::search::popular::PopularQuery;

/// How many bytes of entries fill a page, whatever its limit.
const MAX_BYTES: usize = 4 << 20;

/// How long a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The routes of this module.
pub(super) fn routes(gateway: Gateway) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    let max = u64::try_from(gateway.config.max_message).unwrap_or(u64::MAX);
    let body = warp::body::content_length_limit(max).and(warp::body::stream());
    let [searches_asked, searches_posted] =
        [Method::GET, Method::POST].map(|one| method(one, "GET, POST").and(asked(gateway.clone())));
    let posted = searches_posted.and(body);
    let asked = method(Method::GET, "GET").and(asked(gateway));
    let on_search = warp::path!("v1" / "search").and(searches_asked).then(search).map(answer).boxed();
    let on_posted = warp::path!("v1" / "search").and(posted).then(search_by_body).map(answer).boxed();
    let on_facets = warp::path!("v1" / "facets").and(asked.clone()).then(counts::facets).map(answer).boxed();
    let on_histogram = warp::path!("v1" / "histogram").and(asked.clone()).then(counts::histogram).map(answer).boxed();
    let on_fields = warp::path!("v1" / "fields").and(asked.clone()).then(fields::list).map(answer).boxed();
    let on_values =
        warp::path!("v1" / "fields" / Id / "values").and(asked.clone()).then(fields::values).map(answer).boxed();
    let on_context =
        warp::path!("v1" / "entries" / Id / "context").and(asked.clone()).then(context::show).map(answer).boxed();
    let on_popular = warp::path!("v1" / "queries" / "popular").and(asked.clone()).then(popular).map(answer).boxed();
    let on_analytics = warp::path!("v1" / "analytics").and(asked).then(analytics::show).map(answer).boxed();
    let searches = on_search.or(on_posted).unify().or(on_facets).unify().or(on_histogram).unify();
    let about = on_fields.or(on_values).unify().or(on_context).unify().or(on_popular).unify().or(on_analytics).unify();
    searches.or(about).unify().boxed()
}

/// What a search has found, and what more was asked of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered<'a> {
    #[serde(flatten)]
    result: LogSearchResult<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    facets: BTreeMap<&'static str, Values<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explanation>,
}

/// The values of a field.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Values<'a> {
    /// The most frequent first.
    values: Vec<Value<'a>>,
    /// How many entries have a value that isn't among them.
    others: u64,
    /// By how much a count may be too low; absent if all are exact.
    #[serde(skip_serializing_if = "is_zero")]
    error: u64,
}

#[derive(Debug, Serialize)]
struct Value<'a> {
    value: Cow<'a, str>,
    count: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How a search was understood, and to operators what it cost.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    /// The query in the language, with all that the form says besides, and its times as instants.
    query: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Timestamp>,
    sort: Sort,
    #[serde(flatten)]
    inside: Option<Inside>,
}

/// What is told to operators alone: segments are shared, so that each of these figures tells of the words of all workspaces.
#[derive(Serialize)]
struct Inside {
    cost: Cost,
    /// Which splits and segments it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<SearchPlan>,
}

impl Explanation {
    async fn of(asked: &Asked, found: &Found) -> Result<Self, ApiError> {
        let inside = match asked.operator() {
            Ok(_) => {
                let plan = asked.search()?.plan(found.request.clone()).await?;
                Some(Inside { cost: found.answer.found.cost, plan })
            }
            Err(_) => None,
        };
        Ok(Explanation::new(&found.request, inside))
    }

    fn new(request: &SearchRequest, inside: Option<Inside>) -> Self {
        let (from, to) = request.times();
        Explanation { query: request.query.to_string(), from, to, sort: request.sort, inside }
    }
}

/// The values of the facets that were asked for.
fn values<'a>(found: &'a Found, facets: &[Facet]) -> BTreeMap<&'static str, Values<'a>> {
    let of = |facet: &Facet| {
        let counts = found.answer.found.facets.get(&facet.field)?;
        let values: Vec<_> =
            counts.top(facet.top).into_iter().map(|(value, count)| Value { value: value.into(), count }).collect();
        let all = counts.counts.values().sum::<u64>() + counts.omitted;
        let others = all - values.iter().map(|value| value.count).sum::<u64>();
        Some((facet.field.name(), Values { values, others, error: counts.error }))
    };
    facets.iter().filter_map(of).collect()
}

/// `GET /v1/search`: entries that a query finds: `q` in the language, or `text` to be found nearly so, with `card`, `run`,
/// `agent`, `provider`, `level`, `source` and `tags` (lists with commas), from `since` to `until`. At most `limit` (0 to
/// 1000, 100 by default), ordered by `sort` (`timestamp` or `relevance`) and `order` (`desc` or `asc`); the next page is at
/// the answer's `cursor`; with `counts=false` nothing is counted beside the hits but `facets`. `facets` lists fields
/// whose `top` values are counted; `explain` tells how the query was understood, and to operators what it cost and what
/// is done with each split; `remember=false` keeps it out of the popular ones.
async fn search(mut asked: Asked) -> Result<Response, ApiError> {
    let form = Form::read(&mut asked.params, Timestamp::now())?;
    asked.params.finish()?;
    run(&asked, form).await
}

/// `POST /v1/search`: the same, from the body: a `LogSearchQuery`, with `since`, `until`, `facets`, `top`, `interval`,
/// `explain` and `remember`.
async fn search_by_body(
    asked: Asked,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<Response, ApiError> {
    asked.params.finish()?;
    let body = timeout(BODY_TIMEOUT, read(body)).await.map_err(|_| ApiError::Http(StatusCode::REQUEST_TIMEOUT))??;
    let form = Form::parse(&body, asked.gateway.config.max_depth, Timestamp::now())?;
    run(&asked, form).await
}

/// Reads a body, which is as long as was announced, and no longer.
async fn read(body: impl Stream<Item = Result<impl Buf, warp::Error>>) -> Result<Vec<u8>, ApiError> {
    let (mut body, mut bytes) = (pin!(body), Vec::new());
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| ApiError::Invalid(format!("the body broke off: {error}")))?;
        bytes.put(piece);
    }
    Ok(bytes)
}

async fn run(asked: &Asked, form: Form) -> Result<Response, ApiError> {
    let search = asked.search()?;
    let mut found = search.find(form.asking.clone(), &asked.claims).await?;
    found.fit(MAX_BYTES);
    let explanation = match form.explain {
        true => Some(Explanation::of(asked, &found).await?),
        false => None,
    };
    let facets = values(&found, &form.asking.facets);
    Ok(json(&Answered { result: found.result()?, facets, explanation }))
}

#[derive(Serialize)]
struct Popular {
    /// Whether any are kept here.
    kept: bool,
    queries: Vec<PopularQuery>,
}

/// `GET /v1/queries/popular`: the queries that were asked most of this gateway by those who see what the token sees. `limit`
/// (1 to 100, 20 by default).
async fn popular(mut asked: Asked) -> Result<Response, ApiError> {
    let limit = asked.params.limit(20, 1..=100)?;
    asked.params.finish()?;
    let (kept, queries) = asked.search()?.popular(&asked.claims, limit);
    Ok(json(&Popular { kept, queries }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_query::Query;

    use super::*;

    #[test]
    fn what_depends_on_others_words_is_told_to_operators_alone() {
        let request = SearchRequest::new("acme", Query::All);
        let told = |inside| serde_json::to_value(Explanation::new(&request, inside)).unwrap();
        let names = |explanation: &serde_json::Value| -> Vec<String> {
            explanation.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(names(&told(None)), ["query", "sort"]);
        let inside = Inside { cost: Cost { segments: 3, ..Cost::default() }, plan: None };
        let whole = told(Some(inside));
        assert_eq!((names(&whole).len(), &whole["cost"]["segments"]), (3, &3.into()));
    }
}
