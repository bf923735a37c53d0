//! A card's logs over time.

use agentworks_schemas::Timestamp;
use agentworks_schemas::protocol::TimeRange;
use warp::reply::Response;

use super::asking::instant;
use crate::rest::asked::Asked;
use crate::rest::error::ApiError;
use crate::rest::json;
use crate::search::analytics::Subject;

const DAY: i64 = 24 * 3600 * 1000;

/// `GET /v1/analytics`: what is known of a `card`'s logs, or of all that the token sees, from `start` to `end` (the last day
/// unless said otherwise; 366 days at most).
pub(super) async fn show(mut asked: Asked) -> Result<Response, ApiError> {
    let now = Timestamp::now();
    let card = asked.params.text("card");
    let (start, end) = (instant(&mut asked.params, "start", now)?, instant(&mut asked.params, "end", now)?);
    asked.params.finish()?;
    if let Some(card) = &card {
        asked.check_card(card)?;
    }
    let end = end.unwrap_or(now);
    let start = start.unwrap_or(Timestamp(end.0.saturating_sub(DAY)));
    let subject = Subject { card, range: TimeRange { start, end } };
    let analytics = asked.search()?.analytics(subject, &asked.claims).await?;
    Ok(json(&analytics))
}
