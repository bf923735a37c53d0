//! Runs.

use agentworks_processors::runs::{PageToken, RunListing, RunPage};
use agentworks_schemas::protocol::{RunStatus, RunSummary};
use serde::Serialize;
use warp::reply::Response;

use super::asked::{Asked, Id, check_id};
use super::error::ApiError;
use super::json;

const LIMITS: std::ops::RangeInclusive<usize> = 1..=200;
const DEFAULT_LIMIT: usize = 50;

/// How many pages of the store are searched for runs that a status or the token's cards let through, before the client
/// is asked to go on from there.
const MAX_PAGES: usize = 20;

/// A page of runs, newest first.
#[derive(Serialize)]
struct Listed {
    runs: Vec<RunSummary>,
    /// What to give as `page` for the next page; null if this is the last.
    next: Option<String>,
}

impl Listed {
    fn page(runs: Vec<RunSummary>, next: Option<PageToken>) -> Response {
        json(&Listed { runs, next: next.map(|token| token.to_string()) })
    }
}

/// Which page of which runs is asked for.
struct Listing {
    limit: usize,
    page: Option<PageToken>,
    statuses: Option<Vec<Status>>,
}

impl Listing {
    fn of(asked: &mut Asked) -> Result<Self, ApiError> {
        let listing = Listing {
            limit: asked.params.limit(DEFAULT_LIMIT, LIMITS)?,
            page: asked.params.value("page")?,
            statuses: asked.params.list("status")?,
        };
        asked.params.finish()?;
        Ok(listing)
    }

    fn wants(&self, run: &RunSummary) -> bool {
        self.statuses.as_ref().is_none_or(|statuses| statuses.contains(&Status(run.status)))
    }
}

/// `GET /v1/cards/{card}/runs`: the card's runs, newest first, as of the end of the log. `limit` (1 to 200, 50 by
/// default; the first page has more where the store doesn't know the newest runs yet), `page` (the `next` of the page
/// before), `status` (running, completed, failed, cancelled; a list with commas). A page that a status thins out may hold
/// fewer than `limit`, or none, though there are more: only `next: null` is the end.
pub(super) async fn of_card(Id(card): Id, mut asked: Asked) -> Result<Response, ApiError> {
    asked.check_card(&card)?;
    let mut listing = Listing::of(&mut asked)?;
    let reader = &asked.gateway.reader;
    for _ in 0..MAX_PAGES {
        let listed = reader.runs_of_card(&asked.claims.workspace, &card, listing.page.as_ref(), listing.limit);
        let RunPage { mut runs, next } = listed.await?;
        runs.retain(|run| listing.wants(run));
        if !runs.is_empty() || next.is_none() {
            return Ok(Listed::page(runs, next));
        }
        listing.page = next;
    }
    Ok(Listed::page(Vec::new(), listing.page))
}

/// `GET /v1/runs`: the workspace's runs, newest first, as the store knows them (seconds behind the log). `limit`, `page`
/// and `status` as for a card's; the token's cards thin pages out too.
pub(super) async fn list(mut asked: Asked) -> Result<Response, ApiError> {
    let mut listing = Listing::of(&mut asked)?;
    let (runs, claims) = (asked.gateway.reader.runs(), &asked.claims);
    for _ in 0..MAX_PAGES {
        let listed = runs.list(&claims.workspace, &RunListing::Workspace, listing.page.as_ref(), listing.limit);
        let RunPage { mut runs, next } = listed.await?;
        runs.retain(|run| claims.may_read(&claims.workspace, &run.card_id) && listing.wants(run));
        if !runs.is_empty() || next.is_none() {
            return Ok(Listed::page(runs, next));
        }
        listing.page = next;
    }
    Ok(Listed::page(Vec::new(), listing.page))
}

/// `GET /v1/runs/{run}`: the run's summary as of the end of the log. `card` helps to find a run that has only just
/// begun; 404 if there is no such run.
pub(super) async fn show(Id(run): Id, mut asked: Asked) -> Result<Response, ApiError> {
    let hint = asked.params.text("card");
    asked.params.finish()?;
    check_id("run", &run)?;
    if let Some(card) = &hint {
        asked.check_card(card)?;
    }
    let claims = &asked.claims;
    let summary = asked.gateway.reader.run_summary(&claims.workspace, &run, hint.as_deref()).await?;
    // A run of a card that the token doesn't allow is as unknown as one that isn't there.
    let summary = summary.filter(|summary| claims.may_read(&claims.workspace, &summary.card_id));
    summary.map(|summary| json(&summary)).ok_or_else(|| unknown(&run))
}

/// The card of a run, which the token allows to read. `hint` is believed: a wrong one finds no entries.
pub(super) async fn card_of(asked: &Asked, run: &str, hint: Option<String>) -> Result<String, ApiError> {
    if let Some(card) = hint {
        asked.check_card(&card)?;
        return Ok(card);
    }
    let claims = &asked.claims;
    let parts = asked.gateway.reader.runs().parts(&claims.workspace, run).await?;
    let card = parts.into_iter().next().map(|part| part.card);
    card.filter(|card| claims.may_read(&claims.workspace, card)).ok_or_else(|| unknown(run))
}

fn unknown(run: &str) -> ApiError {
    ApiError::NotFound(format!("there is no run {run:?}; if it has only just begun, say its card with ?card="))
}

/// A status as a parameter.
#[derive(PartialEq, Eq)]
struct Status(RunStatus);

impl std::str::FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [RunStatus::Running, RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled];
        let found = all.into_iter().find(|status| status.to_string() == text);
        found.map(Status).ok_or_else(|| format!("{text:?} is none of running, completed, failed, cancelled"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_status_is_one_of_four() {
        assert!("failed".parse::<Status>().is_ok_and(|status| status == Status(RunStatus::Failed)));
        let error = "done".parse::<Status>().err().unwrap();
        assert_eq!(error, "\"done\" is none of running, completed, failed, cancelled");
    }
}
