//! Cards, runs, entries and the token's own view, over HTTP.
//!
//! Every route is a `GET` under `/v1` unless said otherwise, needs a token, and sees the token's workspace and cards
//! alone. Answers are JSON; a fault is `{"error": {"code", "message"}}` with the status that fits ([`ApiError`]). Ids
//! in paths are percent-encoded. A query parameter that a route doesn't know is a fault, so that a misspelt filter is
//! not silently no filter.
//!
//! | route | what |
//! |---|---|
//! | `/v1/me` | what the token says |
//! | `/v1/cards` | the workspace's cards, the one last written to first |
//! | `/v1/cards/{card}` | a card and its active run |
//! | `/v1/cards/{card}/runs` | its runs, newest first |
//! | `/v1/cards/{card}/entries` | its entries, by position |
//! | `/v1/cards/{card}/gateway` | its home among the gateways |
//! | `/v1/runs` | the workspace's runs, newest first |
//! | `/v1/runs/{run}` | a run's summary |
//! | `/v1/runs/{run}/entries` | its entries, by position |
//! | `/v1/search`, `POST /v1/search` | a search |
//! | `/v1/facets`, `/v1/histogram` | what it would count |
//! | `/v1/fields`, `/v1/fields/{field}/values` | what can be searched |
//! | `/v1/entries/{position}/context` | what stands around an entry in its run |
//! | `/v1/queries/popular` | what is searched most |
//! | `/v1/analytics` | a card's logs over time |
//! | `/v1/erasures`, `/v1/erasures/{id}` | what was erased, and how far each tier is |
//! | `POST /v1/erasures` | erase a run, or the workspace |
//! | `/v1/admin/connections` | the workspace's connections to this gateway |
//! | `DELETE /v1/admin/connections/{id}` | close one |
//! | `/v1/admin/metrics` | the workspace's figures on this gateway |
//! | `/v1/admin/topics` | the topics' epochs, and how far the sinks are |
//! | `POST /v1/admin/topics/{topic}/adopt` | go on with a topic that was made again |
//!
//! - [`error`]: faults, and how they are told.
//! - [`asked`]: what a request asks: who, what for, with which parameters.
//! - [`page`]: pages of entries, in both directions.
//! - [`search`]: what is answered by the index.
//! - [`cards`], [`runs`], [`entries`], [`erasures`], [`topics`], [`connections`]: the routes.

mod asked;
mod cards;
mod connections;
mod entries;
mod erasures;
mod error;
mod page;
mod runs;
mod search;
mod topics;

use agentworks_schemas::Timestamp;
use agentworks_schemas::access::Role;
use http::Method;
use serde::Serialize;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use crate::Gateway;
use asked::{Asked, Id, asked};

pub use asked::authorised;
pub(crate) use asked::id_fault;
pub use error::{ApiError, recover};
pub(crate) use error::{damage, method};

/// All routes of this module. What they don't know is rejected, for other routes to take; what a token doesn't allow is
/// rejected with an [`ApiError`], which [`recover`] answers.
pub fn routes(gateway: Gateway) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    let of_search = search::routes(gateway.clone());
    let of_method = |one, all| method(one, all).and(asked(gateway.clone()));
    let posted = of_method(Method::POST, "POST");
    let deleted = of_method(Method::DELETE, "DELETE");
    let asked = of_method(Method::GET, "GET");
    let [erasures_asked, erasures_posted] = [Method::GET, Method::POST].map(|one| of_method(one, "GET, POST"));
    let on_me = warp::path!("v1" / "me").and(asked.clone()).then(me).map(answer).boxed();
    let on_cards = warp::path!("v1" / "cards").and(asked.clone()).then(cards::list).map(answer).boxed();
    let on_card = warp::path!("v1" / "cards" / Id).and(asked.clone()).then(cards::show).map(answer).boxed();
    let on_card_runs =
        warp::path!("v1" / "cards" / Id / "runs").and(asked.clone()).then(runs::of_card).map(answer).boxed();
    let on_card_entries =
        warp::path!("v1" / "cards" / Id / "entries").and(asked.clone()).then(entries::of_card).map(answer).boxed();
    let on_card_gateway =
        warp::path!("v1" / "cards" / Id / "gateway").and(asked.clone()).then(cards::home).map(answer).boxed();
    let on_runs = warp::path!("v1" / "runs").and(asked.clone()).then(runs::list).map(answer).boxed();
    let on_run = warp::path!("v1" / "runs" / Id).and(asked.clone()).then(runs::show).map(answer).boxed();
    let on_run_entries =
        warp::path!("v1" / "runs" / Id / "entries").and(asked.clone()).then(entries::of_run).map(answer).boxed();
    let on_erasures = warp::path!("v1" / "erasures").and(erasures_asked).then(erasures::list).map(answer).boxed();
    let on_erasing = warp::path!("v1" / "erasures").and(erasures_posted).then(erasures::make).map(answer).boxed();
    let on_erasure = warp::path!("v1" / "erasures" / Id).and(asked.clone()).then(erasures::show).map(answer).boxed();
    let on_connections =
        warp::path!("v1" / "admin" / "connections").and(asked.clone()).then(connections::list).map(answer).boxed();
    let on_connection =
        warp::path!("v1" / "admin" / "connections" / Id).and(deleted).then(connections::close).map(answer).boxed();
    let on_metrics =
        warp::path!("v1" / "admin" / "metrics").and(asked.clone()).then(connections::metrics).map(answer).boxed();
    let on_topics = warp::path!("v1" / "admin" / "topics").and(asked).then(topics::list).map(answer).boxed();
    let on_adopting =
        warp::path!("v1" / "admin" / "topics" / Id / "adopt").and(posted).then(topics::adopt).map(answer).boxed();
    let of_cards = on_cards.or(on_card).unify().or(on_card_runs).unify().or(on_card_entries).unify();
    let of_cards = of_cards.or(on_card_gateway).unify();
    let of_runs = on_runs.or(on_run).unify().or(on_run_entries).unify();
    let of_erasures = on_erasures.or(on_erasing).unify().or(on_erasure).unify();
    let of_topics = on_topics.or(on_adopting).unify();
    let of_admin = of_topics.or(on_connections).unify().or(on_connection).unify().or(on_metrics).unify();
    on_me
        .or(of_cards)
        .unify()
        .or(of_search)
        .unify()
        .or(of_runs)
        .unify()
        .or(of_erasures)
        .unify()
        .or(of_admin)
        .unify()
        .boxed()
}

/// What a token says of its bearer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Me {
    workspace: String,
    subject: String,
    role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    cards: Option<Vec<String>>,
    expires: Timestamp,
}

/// `GET /v1/me`: what the token says: `workspace`, `subject`, `role`, `cards` if it is limited to some, `expires`.
async fn me(asked: Asked) -> Result<Response, ApiError> {
    asked.params.finish()?;
    let claims = asked.claims;
    Ok(json(&Me {
        workspace: claims.workspace,
        subject: claims.subject,
        role: claims.role,
        cards: claims.cards,
        expires: Timestamp(claims.expires.saturating_mul(1000)),
    }))
}

fn json<T: Serialize>(body: &T) -> Response {
    warp::reply::json(body).into_response()
}

fn answer(result: Result<Response, ApiError>) -> Response {
    result.unwrap_or_else(Reply::into_response)
}
