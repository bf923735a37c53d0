//! Gaps, lags, and how connections end.

use std::time::Duration;

use agentworks_gateway::GatewayConfig;
use agentworks_gateway::metrics::CodeLabel;
use agentworks_schemas::access::Role;
use agentworks_schemas::topics::partition_of;
use agentworks_schemas::{Cursor, Topic, TopicPartition};
use agentworks_store::{Key, Scan, Write};
use bytes::Bytes;
use rdkafka::admin::AdminOptions;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::{MaybeTlsStream, client_async};

use super::World;
use super::client::Client;
use crate::support::eventually;
use crate::support::records::{PATIENCE, admin, create_topics, produce};
use crate::support::terminal::{Terminal, shown};

pub(super) const PARTITIONS: i32 = 2;

/// Entries that were in the log, and are gone before anybody took them.
const LOST: i64 = 20;

/// Writes to a card, and lets retention take the first entries.
pub(super) async fn lose_the_beginning(bootstrap: &str, prefix: &str) {
    let topics = create_topics(bootstrap, prefix, PARTITIONS).await;
    let topic = topics.name(Topic::AgentLogs);
    let entry = |number: i64| {
        let entry = json!({"cardId": "old", "runId": "old", "workspaceId": "acme", "message": number.to_string()});
        ("old", entry.to_string())
    };
    produce(bootstrap, &topic, (0..LOST + 5).map(entry)).await;
    let mut until = TopicPartitionList::new();
    let partition = partition_of(b"old", PARTITIONS);
    until.add_partition_offset(&topic, partition, Offset::Offset(LOST)).unwrap();
    admin(bootstrap).delete_records(&until, &AdminOptions::new()).await.unwrap();
}

/// As the store would have it, had a sink seen the card's first entry in time: what was never seen is not missed.
async fn remember_the_beginning(world: &World) {
    let store = &world.stack.store;
    let table = agentworks_processors::TABLES.iter().find(|table| table.name == "card_lanes").unwrap();
    let partition = vec!["acme".into(), "old".into()];
    let rows = async || store.scan(Scan::partition(table, partition.clone())).await.unwrap().into_iter().next();
    let row = eventually(PATIENCE, rows).await;
    // The earlier, the greater.
    let key = Key { partition, clustering: row.clustering };
    let version = row.version + LOST;
    let write = Write { table, key, version, expires: None, stats: Bytes::new(), payload: Bytes::new() };
    store.write(vec![write]).await.unwrap();
}

/// A position from before what retention took.
pub(super) async fn a_gap(world: &World) {
    remember_the_beginning(world).await;
    let token = world.token(Role::Viewer);
    let page = world.http.good("/v1/cards/old/entries?after=start&level=info&limit=1", &token).await;
    let now: Cursor = page["entries"][0]["position"].as_str().unwrap().parse().unwrap();
    let partition = TopicPartition::new(Topic::AgentLogs, partition_of(b"old", PARTITIONS));
    let mut then = now.clone();
    then.set(partition, now.get(partition).unwrap().0, 7);
    let expected = json!({"topic": "agent-logs", "partition": partition.partition, "from": 7, "to": LOST});
    let route = format!("/v1/cards/old/entries?after={then}");
    world.http.until(&route, &token, |page| page["gaps"] == json!([expected])).await;
    let mut client = world.connect(&token, "old", &format!("?position={then}")).await;
    let gap = client.told_of("gap").await;
    assert_eq!((&gap["cardId"], &gap["data"]), (&json!("old"), &expected));
    assert_eq!(client.lines(5).await, ["20", "21", "22", "23", "24"]);
    client.terminal.close().await;
}

/// Watches the busy card through a small buffer.
async fn narrow(world: &World, address: &str, query: &str) -> Terminal {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let mut request = format!("ws://{address}/v1/cards/busy/stream{query}").into_client_request().unwrap();
    let bearer = format!("Bearer {}", world.token(Role::Viewer));
    request.headers_mut().insert("authorization", bearer.parse().unwrap());
    let (socket, _) = client_async(request, MaybeTlsStream::Plain(stream)).await.unwrap();
    Terminal::of(socket)
}

/// A reader that is too slow for what comes.
pub(super) async fn a_lag(world: &World) {
    const LINES: usize = 2000;
    let mut client = Client::new(narrow(world, &world.stack.address, "").await, &world.checker);
    client.settle().await;

    let run = world.stack.producer.run("acme", "busy", "busy-run");
    let long = "y".repeat(1000);
    let mut deliveries = Vec::new();
    for number in 0..LINES {
        let line = format!("{number} {long}");
        let sent = run.log(agentworks_schemas::Level::Info, agentworks_schemas::Source::Agent, "walk", &line);
        deliveries.push(sent.send().await.unwrap());
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    // One that is behind for less is not told.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (mut lines, mut lagged, mut caught_up) = (0, false, false);
    while lines < LINES || !caught_up {
        let message = client.told().await;
        lines += shown(&message).len();
        if message["type"] == "lag" {
            assert_eq!(message["cardId"], "busy");
            caught_up = message["data"] == json!({"entries": 0, "seconds": 0});
            lagged |= !caught_up;
        }
    }
    assert!(lagged && lines == LINES);
    client.terminal.close().await;
}

/// Every way in which a client can have its connection closed.
pub(super) async fn closes(world: &World) {
    let good = world.token(Role::Viewer);
    let expired = world.expired().await;
    for token in ["garbage", expired, &world.limited(&["other"])] {
        let refused = Terminal::connect_to(&world.stack.address, token, "alpha", "").await;
        assert_eq!(Client::new(refused, &world.checker).closed().await, 1008);
    }
    let polite = world.connect(&good, "alpha", "?history=0").await;
    world.saw(polite.terminal.hang_up().await);
    for (message, code) in [
        (Message::Frame(Frame::message("", OpCode::Data(Data::Reserved(3)), true)), 1002),
        (Message::binary(vec![1, 2, 3]), 1003),
        (Message::Frame(Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true)), 1007),
        (Message::text(json!({"type": "subscribe_run", "runId": "x".repeat(4000)}).to_string()), 1009),
    ] {
        let mut client = world.connect(&good, "alpha", "?history=0").await;
        client.terminal.send_raw(message).await;
        assert_eq!(client.closed().await, code);
    }
}

/// What only a gateway does that is short of patience, or of room.
pub(super) async fn impatience(world: &World) {
    let token = world.token(Role::Viewer);
    let moment = Duration::from_secs(1);
    let limits =
        GatewayConfig { max_connections: 1, heartbeat: moment, idle_timeout: 8 * moment, ..Default::default() };
    let (address, ending) = world.stack.beside(limits);
    let connect = async || Client::connect(&address, &world.checker, &token, "alpha", "?history=0").await;

    let quiet = connect().await;
    let refused = Terminal::connect_to(&address, &token, "alpha", "").await;
    assert_eq!(Client::new(refused, &world.checker).closed().await, 1013);
    // It answers pings, and that is all that happens.
    assert_eq!(quiet.closed().await, 4002);
    // This one doesn't. The close is the last that comes.
    let bytes = eventually(PATIENCE, async || {
        let terminal = Terminal::connect_to(&address, &token, "alpha", "?history=0").await;
        let bytes = terminal.unanswered().await;
        // Until the one before has left, it is refused.
        (close_of(&bytes) != 1013).then_some(bytes)
    });
    world.saw(close_of(&bytes.await));
    ending.end();

    // Who reads nothing at all may never see why it is cut off.
    let (address, ending) = world.stack.beside(GatewayConfig { write_timeout: moment, ..Default::default() });
    let stalled = narrow(world, &address, "?history=1000").await;
    let too_slow = world.stack.metrics.connection_errors.get_or_create_owned(&CodeLabel { code: 4000 });
    eventually(PATIENCE, async || (too_slow.get() > 0).then_some(())).await;
    world.saw(4000);
    drop(stalled);
    ending.end();
}

/// The code of the close with which these bytes end.
fn close_of(bytes: &[u8]) -> u16 {
    let ends_here = |at: &usize| bytes[*at] == 0x88 && at + 2 + usize::from(bytes[at + 1]) == bytes.len();
    let at = (0..bytes.len().saturating_sub(3)).rev().find(ends_here);
    let at = at.unwrap_or_else(|| panic!("no close: {bytes:?}"));
    u16::from_be_bytes([bytes[at + 2], bytes[at + 3]])
}

/// The gateway ends, and says so before.
pub(super) async fn a_drain(world: &mut World) {
    let token = world.token(Role::Viewer);
    let mut client = world.connect(&token, "alpha", "?history=0").await;
    client.settle().await;
    let watching = tokio::spawn(async move {
        let reconnect = client.told_of("reconnect").await;
        (reconnect, client.closed().await)
    });
    world.stack.drain_gateway().await;
    let (reconnect, code) = watching.await.unwrap();
    assert!(reconnect["data"]["after"].is_u64() && code == 1012, "{reconnect} {code}");
}
