//! What a search counts, without its hits.

use std::collections::BTreeMap;

use agentworks_schemas::Timestamp;
use agentworks_schemas::protocol::TimelinePoint;
use serde::Serialize;
use warp::reply::Response;

use super::asking::{facets_of, millis, what};
use super::{Values, values};
use crate::rest::asked::Asked;
use crate::rest::error::ApiError;
use crate::rest::json;
use crate::search::timeline::filled;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Facets<'a> {
    total_count: u64,
    facets: BTreeMap<&'static str, Values<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    incomplete: &'a [String],
}

/// `GET /v1/facets`: the values of `fields` (a list with commas; level, source, component, provider, model, card, run) among
/// what a search finds, the `top` (1 to 1000, 10 by default) most frequent of each. What is searched is said as for
/// `/v1/search`.
pub(super) async fn facets(mut asked: Asked) -> Result<Response, ApiError> {
    let mut asking = what(&mut asked.params, Timestamp::now())?;
    let Some(fields) = asked.params.list::<String>("fields")? else {
        return Err(ApiError::Invalid(
            "fields: name the fields whose values are wanted, like fields=level,card".into(),
        ));
    };
    asking.facets = facets_of(&fields, asked.params.value("top")?)?;
    asked.params.finish()?;
    (asking.query.limit, asking.forget) = (Some(0), true);
    let facets = asking.facets.clone();
    let found = asked.search()?.find(asking, &asked.claims).await?;
    let part = &found.answer.found;
    Ok(json(&Facets { total_count: part.count, facets: values(&found, &facets), incomplete: &part.incomplete }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Histogram<'a> {
    total_count: u64,
    /// The length of a bucket, in milliseconds.
    interval: i64,
    buckets: Vec<TimelinePoint>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    incomplete: &'a [String],
}

/// `GET /v1/histogram`: how many entries a search finds in each `interval` (like `30s`, `5m`, `1h`; fit to the range, if it
/// isn't said). What is searched is said as for `/v1/search`. With `since` all buckets up to `until`, or to now, are told, and
/// of others those that have entries. There are 10,000 at most: the intervals that fit grow where there were more.
pub(super) async fn histogram(mut asked: Asked) -> Result<Response, ApiError> {
    let mut asking = what(&mut asked.params, Timestamp::now())?;
    asking.interval = asked.params.text("interval").map(|text| millis(&text)).transpose()?;
    asked.params.finish()?;
    (asking.query.limit, asking.forget) = (Some(0), true);
    let found = asked.search()?.find(asking, &asked.claims).await?;
    let part = &found.answer.found;
    let interval = found.request.wanted.timeline.unwrap_or(1);
    let point = |(at, count): (&i64, &u64)| TimelinePoint { timestamp: Timestamp(*at), count: *count };
    let buckets = match found.range {
        Some(range) => filled(&part.timeline, range, interval),
        None => part.timeline.iter().map(point).collect(),
    };
    Ok(json(&Histogram { total_count: part.count, interval, buckets, incomplete: &part.incomplete }))
}
