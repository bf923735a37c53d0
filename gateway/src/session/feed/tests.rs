//! Streams whose client reads nothing, or goes.
#![allow(clippy::unwrap_used)]

use std::future::pending;

use agentworks_kafka::{KafkaSettings, SeekPool};
use agentworks_processors::reader::LogReader;
use agentworks_schemas::Topics;
use agentworks_schemas::access::Claims;
use agentworks_schemas::protocol::ErrorCode;
use agentworks_store::EmbeddedStore;
use futures_util::poll;
use tempfile::TempDir;
use tokio::time::timeout;

use super::super::cards::Cards;
use super::*;
use crate::Metrics;
use crate::auth::Grant;
use crate::hub::{Hub, HubLimits};
use crate::roster::{Registered, Roster};
use crate::session::error_frame;
use crate::session::open::HistoryRoom;
use crate::socket::Outbox;
use crate::tenants::Tenants;

/// A connection to a gateway whose Kafka isn't there.
struct Connection {
    source: Source,
    _registered: Registered,
    _folder: TempDir,
}

impl Connection {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::open(folder.path().join("store")).unwrap());
        let settings = KafkaSettings::new("127.0.0.1:9", Topics::default());
        let seek = SeekPool::new(settings.clone(), 1);
        let reader = LogReader::new(store, seek.clone());
        let hub = Hub::start(settings, HubLimits::default(), reader.clone(), seek, Arc::new(Metrics::default()));
        let claims = Claims { workspace: "w".to_owned(), ..Claims::default() };
        let (outbox, tenant) = (Arc::new(Outbox::new(1000)), Tenants::default().of("w"));
        let remote = "127.0.0.1:9".parse().unwrap();
        let registered = Roster::default().register(&claims, 1, "c", remote, Arc::clone(&outbox), tenant).unwrap();
        let presence = Arc::clone(registered.presence());
        let (grant, room) = (Grant::new(claims), HistoryRoom::default());
        let (hub, card) = (hub.unwrap(), "c".to_owned());
        let source = Source { reader, hub, grant, card, outbox, presence, room };
        Connection { source, _registered: registered, _folder: folder }
    }

    /// The stream of a card whose place in the log isn't found, however long it is looked for.
    fn held_back(&self, card: &str) -> Feed {
        let source = Source { card: card.to_owned(), ..self.source.clone() };
        let start = Start { position: None, history: 0 };
        let mut feed = Feed::new(source, start.clone(), Wanted::default(), false, [frame(10)]);
        feed.state = State::Beginning { start, beginning: Box::pin(pending()) };
        feed
    }
}

fn frame(length: usize) -> Frame {
    error_frame(ErrorCode::Internal, "x".repeat(length), None)
}

#[tokio::test]
async fn they_end_when_the_client_goes_before_it_is_greeted() {
    for cards in [&["a"][..], &["a", "b"]] {
        let connection = Connection::new();
        let mut streams = Cards::new(connection.held_back(cards[0]));
        cards[1..].iter().for_each(|card| streams.add(connection.held_back(card)));
        {
            let mut running = Box::pin(streams.run());
            assert!(poll!(running.as_mut()).is_pending());
            connection.source.outbox.abandon();
            // So that the session looks, and ends.
            timeout(Duration::from_secs(60), running).await.unwrap();
        }
        assert!(!streams.has_greeted());
    }
}

#[tokio::test]
async fn answers_that_nobody_reads_are_bounded_for_all_cards_of_a_connection_together() {
    let connection = Connection::new();
    let mut streams = Cards::new(connection.held_back("a"));
    (0..3).for_each(|card| streams.add(connection.held_back(&card.to_string())));
    for feed in streams.iter_mut() {
        assert!(!feed.is_crowded());
        feed.say(frame(300_000));
    }
    assert!(streams.are_crowded());
    // What was sent doesn't count any more.
    for feed in streams.iter_mut() {
        (feed.queue, feed.greeting, feed.has_begun) = (VecDeque::new(), VecDeque::new(), true);
        feed.send_queued().await.unwrap();
    }
    assert!(!streams.are_crowded());
}
