//! Who is connected to this gateway, and how it does: for operators, of their own workspace alone.
//!
//! There is no role above the workspaces: the token's workspace decides what is listed, closed and counted here, whoever
//! asks. Of what a process shares among them nothing is told but how long the store takes; the rest is `/metrics`', which
//! knows no workspaces.

use std::collections::BTreeMap;

use agentworks_schemas::protocol::Lag;
use agentworks_schemas::{Level, Timestamp};
use http::StatusCode;
use serde::Serialize;
use warp::reply::Response;

use super::asked::{Asked, Id};
use super::error::ApiError;
use super::json;
use crate::roster::{ConnectionId, Presence, Watched};
use crate::socket::{CloseCode, Waiting};
use crate::tenants::Tally;

const LIMITS: std::ops::RangeInclusive<usize> = 1..=1000;
const DEFAULT_LIMIT: usize = 100;
/// How many cards are told with their connections, those with most.
const MAX_CARDS: usize = 1000;

#[derive(Serialize)]
struct Page {
    connections: Vec<Connected>,
    /// The last one's id, if there may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A connection.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connected {
    id: String,
    workspace: String,
    subject: String,
    cards: Vec<Card>,
    /// Of the client, or of the balancer before this gateway.
    remote_address: String,
    connected_at: Timestamp,
    /// When the client last said something.
    last_activity: Timestamp,
    sent_bytes: u64,
    /// What waits to be sent.
    pending_bytes: usize,
    /// The furthest that any of its cards is behind.
    lag: Lag,
    replays: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Card {
    card_id: String,
    lag: Lag,
}

impl From<&Presence> for Connected {
    fn from(presence: &Presence) -> Self {
        let card = |Watched { card, lag }| Card { card_id: String::from(card), lag };
        Connected {
            id: presence.id().to_string(),
            workspace: presence.workspace().to_owned(),
            subject: presence.subject().to_owned(),
            cards: presence.watched().into_iter().map(card).collect(),
            remote_address: presence.remote().to_string(),
            connected_at: presence.connected(),
            last_activity: presence.active(),
            sent_bytes: presence.outbox().sent(),
            pending_bytes: presence.outbox().pending(),
            lag: presence.lag(),
            replays: presence.replays(),
        }
    }
}

/// `GET /v1/admin/connections`: the connections of the token's workspace to this gateway, oldest first. `card`: only those
/// that watch it; `workspace`: the token's own, or the answer is a fault; `limit` (1 to 1000, 100 by default); `page`: the
/// `next` of the page before.
pub(super) async fn list(mut asked: Asked) -> Result<Response, ApiError> {
    let (card, workspace) = (asked.params.text("card"), asked.params.text("workspace"));
    let page = asked.params.text("page");
    let limit = asked.params.limit(DEFAULT_LIMIT, LIMITS)?;
    asked.params.finish()?;
    let claims = asked.operator()?;
    if let Some(workspace) = workspace.filter(|workspace| *workspace != claims.workspace) {
        let own = &claims.workspace;
        return Err(ApiError::Denied(format!("the token is for workspace {own:?}, not for {workspace:?}")));
    }
    let no_page = |page: &str| ApiError::Invalid(format!("page: {page:?} is no `next` of a page"));
    let after = page.map(|page| ConnectionId::parse(&page).ok_or_else(|| no_page(&page))).transpose()?;
    let wanted = |presence: &Presence| card.as_ref().is_none_or(|card| presence.watches(card));
    let listed = asked.gateway.roster.of_workspace(&claims.workspace, after, limit, wanted);
    let next = listed.last().filter(|_| listed.len() == limit).map(|last| last.id().to_string());
    Ok(json(&Page { connections: listed.iter().map(|presence| Connected::from(&**presence)).collect(), next }))
}

/// `DELETE /v1/admin/connections/{id}` closes a connection of the token's workspace with 4004. A client that means well
/// connects again; to keep it out, revoke its token. Answers 204 when the close has been queued, 404 if there is none.
pub(super) async fn close(Id(id): Id, asked: Asked) -> Result<Response, ApiError> {
    asked.params.finish()?;
    let claims = asked.operator()?;
    let found = ConnectionId::parse(&id).and_then(|id| asked.gateway.roster.get(&claims.workspace, id));
    let Some(presence) = found else {
        return Err(ApiError::NotFound(format!("there is no connection {id:?} of this workspace here")));
    };
    tracing::info!(%id, by = claims.subject, "an operator closes a connection");
    presence.outbox().close(CloseCode::Operator, "closed by an operator: connect again", Waiting::Drop);
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

#[derive(Serialize)]
struct Report {
    streaming: StreamingMetrics,
    health: ConnectionHealthReport,
}

/// The reference's, of one workspace. Times are in milliseconds, sizes in bytes.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct StreamingMetrics {
    active_connections: usize,
    connections_by_card: BTreeMap<String, usize>,
    total_connections: u64,
    connection_errors: u64,
    logs_per_second: f64,
    avg_log_size: f64,
    log_levels: BTreeMap<Level, u64>,
    active_replays: usize,
    replay_completions: u64,
    replay_errors: u64,
    avg_delivery_latency: f64,
    buffer_utilization: f64,
    storage_latency: f64,
}

/// How the connections of one workspace are. Each is in one of `healthy`, `lagging` and `backlogged`.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionHealthReport {
    total: usize,
    healthy: usize,
    /// Those that have fallen behind the log, and read on at their own pace.
    lagging: usize,
    /// Those for which more than half of what may wait does.
    backlogged: usize,
    /// The furthest that any is behind.
    max_lag: Lag,
    /// Whether this gateway is about to end.
    draining: bool,
}

/// `GET /v1/admin/metrics`: `streaming` and `health` of the token's workspace on this gateway.
pub(super) async fn metrics(asked: Asked) -> Result<Response, ApiError> {
    asked.params.finish()?;
    let claims = asked.operator()?;
    let gateway = &asked.gateway;
    let latency = gateway.reader.store_latency().await?;
    let listed = gateway.roster.of_workspace(&claims.workspace, None, usize::MAX, |_| true);
    let seen: Vec<_> = listed.iter().map(|presence| Seen::of(presence)).collect();
    let room = gateway.config.max_pending;
    let streaming = StreamingMetrics::of(&seen, gateway.metrics.tenants.of(&claims.workspace).tally(), room);
    let streaming = StreamingMetrics { storage_latency: latency.as_secs_f64() * 1000.0, ..streaming };
    let health = ConnectionHealthReport::of(&seen, room, gateway.drain.check().is_err());
    Ok(json(&Report { streaming, health }))
}

/// A connection, as it was when it was looked at.
struct Seen {
    cards: Vec<Watched>,
    lag: Lag,
    pending: usize,
    replays: usize,
}

impl Seen {
    fn of(presence: &Presence) -> Self {
        Seen {
            cards: presence.watched(),
            lag: presence.lag(),
            pending: presence.outbox().pending(),
            replays: presence.replays(),
        }
    }
}

impl StreamingMetrics {
    fn of(seen: &[Seen], tally: Tally, room: usize) -> Self {
        let mut by_card: BTreeMap<String, usize> = BTreeMap::new();
        for Watched { card, .. } in seen.iter().flat_map(|seen| &seen.cards) {
            *by_card.entry(String::from(card.clone())).or_default() += 1;
        }
        if by_card.len() > MAX_CARDS {
            let mut counted: Vec<_> = by_card.into_iter().collect();
            counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            by_card = counted.into_iter().take(MAX_CARDS).collect();
        }
        let filled = |seen: &Seen| (seen.pending as f64 / room as f64).min(1.0);
        StreamingMetrics {
            active_connections: seen.len(),
            connections_by_card: by_card,
            total_connections: tally.connections,
            connection_errors: tally.connection_errors,
            logs_per_second: tally.entries_per_second,
            avg_log_size: tally.entry_bytes,
            log_levels: tally.levels.into_iter().collect(),
            active_replays: seen.iter().map(|seen| seen.replays).sum(),
            replay_completions: tally.replay_completions,
            replay_errors: tally.replay_errors,
            avg_delivery_latency: tally.delivery.as_secs_f64() * 1000.0,
            buffer_utilization: seen.iter().map(filled).sum::<f64>() / seen.len().max(1) as f64,
            storage_latency: 0.0,
        }
    }
}

impl ConnectionHealthReport {
    fn of(seen: &[Seen], room: usize, draining: bool) -> Self {
        let is_backlogged = |seen: &&Seen| seen.pending > room / 2;
        let is_lagging = |seen: &&Seen| seen.lag.entries > 0;
        let backlogged = seen.iter().filter(is_backlogged).count();
        let lagging = seen.iter().filter(|seen| is_lagging(seen) && !is_backlogged(seen)).count();
        let most = |of: fn(&Lag) -> u64| seen.iter().map(|seen| of(&seen.lag)).max().unwrap_or(0);
        ConnectionHealthReport {
            total: seen.len(),
            healthy: seen.len() - backlogged - lagging,
            lagging,
            backlogged,
            max_lag: Lag { entries: most(|lag| lag.entries), seconds: most(|lag| lag.seconds) },
            draining,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn seen(cards: &[&str], entries: u64, pending: usize) -> Seen {
        let lag = Lag { entries, seconds: entries / 10 };
        let cards = cards.iter().map(|card| Watched { card: (*card).into(), lag }).collect();
        Seen { cards, lag, pending, replays: 2 }
    }

    fn tally() -> Tally {
        Tally {
            connections: 9,
            connection_errors: 1,
            replay_completions: 3,
            replay_errors: 0,
            levels: vec![(Level::Info, 70), (Level::Fatal, 1)],
            entries_per_second: 2.5,
            entry_bytes: 600.0,
            delivery: Duration::from_micros(12_500),
        }
    }

    #[test]
    fn the_reports_have_the_references_names_and_add_up() {
        let seen = [seen(&["a"], 0, 0), seen(&["a", "b"], 50, 100), seen(&["b"], 70, 600)];
        let streaming = StreamingMetrics::of(&seen, tally(), 1000);
        let streaming = serde_json::to_value(streaming).unwrap_or_default();
        assert_eq!(
            streaming,
            serde_json::json!({
                "activeConnections": 3, "connectionsByCard": {"a": 2, "b": 2}, "totalConnections": 9,
                "connectionErrors": 1, "logsPerSecond": 2.5, "avgLogSize": 600.0, "logLevels": {"info": 70, "fatal": 1},
                "activeReplays": 6, "replayCompletions": 3, "replayErrors": 0, "avgDeliveryLatency": 12.5,
                "bufferUtilization": 0.7 / 3.0, "storageLatency": 0.0,
            })
        );
        let health = ConnectionHealthReport::of(&seen, 1000, false);
        let max_lag = Lag { entries: 70, seconds: 7 };
        let expected =
            ConnectionHealthReport { total: 3, healthy: 1, lagging: 1, backlogged: 1, max_lag, draining: false };
        assert_eq!(health, expected);
    }

    #[test]
    fn a_workspace_with_many_cards_is_told_of_those_with_most_connections() {
        let names: Vec<_> = (0..2 * MAX_CARDS).map(|n| format!("card-{n}")).collect();
        let mut all: Vec<_> = names.iter().map(|name| seen(&[name], 0, 0)).collect();
        all.push(seen(&["card-1999"], 0, 0));
        let streaming = StreamingMetrics::of(&all, tally(), 1000);
        assert_eq!(streaming.connections_by_card.len(), MAX_CARDS);
        assert_eq!(streaming.connections_by_card["card-1999"], 2);
        assert_eq!(streaming.active_connections, all.len());
    }

    #[test]
    fn with_nobody_connected_nothing_is_divided_by_it() {
        let streaming = StreamingMetrics::of(&[], tally(), 1000);
        assert_eq!((streaming.active_connections, streaming.buffer_utilization), (0, 0.0));
    }
}
