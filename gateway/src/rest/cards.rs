//! Cards.

use agentworks_processors::hot::CardInfo;
use agentworks_schemas::Timestamp;
use agentworks_schemas::protocol::RunSummary;
use serde::Serialize;
use warp::reply::Response;

use super::asked::{Asked, Id};
use super::error::ApiError;
use super::json;

const LIMITS: std::ops::RangeInclusive<usize> = 1..=1000;
const DEFAULT_LIMIT: usize = 100;

/// A card in a list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Card {
    card_id: String,
    /// When it was last written to, give or take a minute.
    last_seen: Timestamp,
}

impl From<CardInfo> for Card {
    fn from(info: CardInfo) -> Self {
        Card { card_id: info.card, last_seen: info.last_seen }
    }
}

#[derive(Serialize)]
struct Cards {
    cards: Vec<Card>,
}

/// One card.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OneCard {
    card_id: String,
    /// Null if nobody has written to it yet: any name is a card.
    last_seen: Option<Timestamp>,
    /// The newest run that goes on now.
    active_run: Option<RunSummary>,
}

/// `GET /v1/cards`: the cards of the workspace that the token allows, the one last written to first. `limit` (1 to 1000,
/// 100 by default).
pub(super) async fn list(mut asked: Asked) -> Result<Response, ApiError> {
    let limit = asked.params.limit(DEFAULT_LIMIT, LIMITS)?;
    asked.params.finish()?;
    let claims = &asked.claims;
    let may_read = |card: &str| claims.may_read(&claims.workspace, card);
    let cards = asked.gateway.reader.cards(&claims.workspace, limit, &may_read).await?;
    Ok(json(&Cards { cards: cards.into_iter().map(Card::from).collect() }))
}

/// `GET /v1/cards/{card}`: when the card was last written to, and the run that goes on in it. Every name is a card:
/// `lastSeen` is null for one that nobody has written to yet.
pub(super) async fn show(Id(card): Id, asked: Asked) -> Result<Response, ApiError> {
    asked.check_card(&card)?;
    asked.params.finish()?;
    let seen = asked.gateway.reader.card(&asked.claims.workspace, &card).await?;
    let active_run = asked.gateway.reader.active_run(&asked.claims.workspace, &card).await?;
    Ok(json(&OneCard { card_id: card, last_seen: seen.map(|info| info.last_seen), active_run }))
}

/// Which gateway a card's clients are best served by.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Home {
    card_id: String,
    /// The number of the card's partition in each topic.
    lane: i32,
    gateway: GatewayUrl,
    /// Whether it is the one that answers.
    is_self: bool,
    /// The gateways that are up, by URL.
    members: Vec<String>,
}

#[derive(Serialize)]
struct GatewayUrl {
    url: String,
}

/// `GET /v1/cards/{card}/gateway`: the home of the card's lane among the gateways; see [`crate::routing`]. It is advice:
/// each of them serves the card.
pub(super) async fn home(Id(card): Id, asked: Asked) -> Result<Response, ApiError> {
    asked.check_card(&card)?;
    asked.params.finish()?;
    let lane = asked.gateway.reader.lane(&card).await?;
    let router = &asked.gateway.router;
    let url = router.home(lane);
    let is_self = url == *router.name();
    let members = router.ring().members().iter().map(ToString::to_string).collect();
    Ok(json(&Home { card_id: card, lane, gateway: GatewayUrl { url: url.to_string() }, is_self, members }))
}
