#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_processors::indexers::{self, Lease};
use agentworks_processors::sink::{Flush, Sink};
use agentworks_query::{PartialAnswer, SearchRequest, language};
use agentworks_schemas::{Cursor, Timestamp};
use agentworks_store::{EmbeddedStore, Store};
use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;

use super::*;
use crate::cache::{CacheConfig, SplitCache};
use crate::error::SearchError;
use crate::fresh::Fresh;
use crate::maintain::{MaintainConfig, Maintainer, MergePolicy};
use crate::manifest::Manifest;
use crate::searcher::SearcherConfig;
use crate::searcher::tests::{World, check};
use crate::testing::{FakeLog, at, batch};

fn key() -> PeerKey {
    PeerKey::new(b"a secret of the tests, long enough")
}

/// Serves what answers, until it is aborted.
async fn serve(answering: &Answering) -> (SocketAddr, JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = warp::serve(answering.routes()).incoming(listener);
    (address, tokio::spawn(async move { server.run().await }))
}

fn lease(instance: &str, address: SocketAddr) -> Lease {
    let (instance, address) = (instance.to_owned(), address.to_string());
    Lease { instance, address, lanes: Vec::new(), at: Timestamp::now(), count: 1 }
}

fn remote(instance: &str, address: SocketAddr, key: PeerKey) -> Arc<dyn Fresh> {
    Arc::new(RemoteFresh::new(&lease(instance, address), key, RemoteFresh::client().unwrap()))
}

async fn ask(fresh: &Arc<dyn Fresh>, query: &str) -> Result<PartialAnswer, SearchError> {
    let request = SearchRequest::new("workspace-1", language::parse(query, Timestamp(0)).unwrap());
    fresh.search(Arc::new(request), Arc::default(), Instant::now() + Duration::from_secs(10)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_the_same_over_http_and_only_for_those_with_the_key() {
    let world = World::new();
    let (mut sink, local) = world.indexer("a");
    sink.open(at(0, 0).partition, 0, 0).await.unwrap();
    sink.take(&batch(0, 0..70)).await.unwrap();
    let (address, server) = serve(&Answering::new("one", key(), local.clone())).await;
    // As deep and as strange as a query may be.
    let deep = format!("{}tool{}", "(NOT NOT ".repeat(12), ")".repeat(12));
    for query in ["tool", "\"rate limit\" OR card:\"a\\\"b\"", "data.n:>=5 ^3", &deep] {
        let Ok(query) = language::parse(query, Timestamp(0)) else { continue };
        let query = query.to_string();
        let found = ask(&remote("one", address, key()), &query).await.unwrap();
        let mut expected = ask(&local, &query).await.unwrap();
        expected.cost = found.cost;
        assert_eq!(found, expected, "{query}");
    }
    let reason = async |fresh: Arc<dyn Fresh>| ask(&fresh, "tool").await.unwrap_err().to_string();
    let other = PeerKey::new(b"another secret of the tests, as long");
    assert!(reason(remote("one", address, other)).await.contains("another search.secret"));
    assert!(reason(remote("two", address, key())).await.contains("another process has its address"));
    assert!(!format!("{:?}", key()).contains("secret"));
    server.abort();
    let _ = server.await;
    assert!(ask(&remote("one", address, key()), "tool").await.unwrap_err().is_transient());
}

#[tokio::test]
async fn what_is_not_signed_is_not_believed() {
    // Somebody who has an indexer's old address, and answers what he was asked.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    use warp::Filter;
    let forged = warp::any().and(warp::header::<String>(wire::SIGNATURE)).map(|signature: String| {
        let body = serde_json::to_string(&PartialAnswer { count: 99, ..PartialAnswer::default() }).unwrap();
        warp::reply::with_header(body, wire::SIGNATURE, signature)
    });
    let server = tokio::spawn(warp::serve(forged).incoming(listener).run());
    let error = ask(&remote("one", address, key()), "tool").await.unwrap_err();
    assert!(error.to_string().contains("isn't signed"), "{error}");
    server.abort();
    let (one, other) = (PeerKey::new(b"x"), PeerKey::derived(b"x"));
    let signature = one.sign(wire::Side::Question, "n", b"body");
    assert!(one.has_signed(&signature, wire::Side::Question, "n", b"body"));
    assert!(!one.has_signed(&signature, wire::Side::Answer, "n", b"body"));
    assert!(!one.has_signed(&signature, wire::Side::Question, "m", b"body"));
    assert!(!other.has_signed(&signature, wire::Side::Question, "n", b"body"));
}

/// One that never answers.
#[derive(Debug)]
struct Frozen;

#[async_trait]
impl Fresh for Frozen {
    fn name(&self) -> String {
        "frozen".into()
    }

    async fn search(&self, _: Arc<SearchRequest>, _: Arc<Cursor>, _: Instant) -> Result<PartialAnswer, SearchError> {
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_answer_in_time_is_spared_and_the_log_read() {
    let world = World::new();
    let (mut sink, _) = world.indexer("a");
    sink.open(at(0, 0).partition, 0, 0).await.unwrap();
    let (address, _server) = serve(&Answering::new("one", key(), Arc::new(Frozen))).await;
    let log = FakeLog { ends: BTreeMap::from([(0, 40)]), ..FakeLog::default() };
    let searcher = world.searcher_of(world.manifest.clone(), Some(log), None, SearcherConfig::default());
    searcher.set_fresh(vec![remote("one", address, key())]);
    let begun = Instant::now();
    // Twenty searches, of which the first waits, and none of those within five seconds of it.
    check(&searcher, &[(0, 40)]).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searchers_find_indexers_by_their_leases() {
    let world = World::new();
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(world.folder.path().join("store")).unwrap());
    let (mut sink, local) = world.indexer("a");
    sink.open(at(0, 0).partition, 0, 0).await.unwrap();
    sink.take(&batch(0, 0..40)).await.unwrap();
    let (address, _server) = serve(&Answering::new("one", key(), local)).await;
    let (_, live) = crate::indexer::indexer(
        crate::indexer::IndexerConfig::new(world.folder.path().join("b")),
        world.manifest.clone(),
        &mut prometheus_client::registry::Registry::default(),
    )
    .unwrap();
    // Without a log: what is found comes from the one with the lease.
    let searcher = world.searcher_of(world.manifest.clone(), None, None, SearcherConfig::default());
    let following = tokio::spawn(follow(store.clone(), searcher.clone(), key(), Vec::new()));
    let keeper = LeaseKeeper::start(store.clone(), "one", address.to_string(), live);
    let count = async || {
        let request = SearchRequest::new("workspace-1", language::parse("*", Timestamp(0)).unwrap());
        searcher.partial(request).await.unwrap().hits.len()
    };
    let comes_to = async |wanted: usize| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while count().await != wanted {
            assert!(Instant::now() < deadline, "{wanted} are not found");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    comes_to(13).await;
    keeper.end().await;
    assert!(indexers::holding(&*store).await.unwrap().is_empty());
    comes_to(0).await;
    following.abort();
}

/// An indexer as a process: what dies with it, and what others still see of it.
struct Peer {
    sink: Box<dyn Sink>,
    fresh: Arc<dyn Fresh>,
    server: JoinHandle<()>,
    /// How far it has each lane that it thinks is its own.
    lanes: BTreeMap<i32, i64>,
}

impl Peer {
    async fn start(world: &World, name: &str) -> Self {
        let (sink, local) = world.indexer(name);
        let (address, server) = serve(&Answering::new(name, key(), local)).await;
        Peer { sink, fresh: remote(name, address, key()), server, lanes: BTreeMap::new() }
    }
}

/// Indexers take, publish, lose lanes without knowing it, die and come; searchers know older and newer versions. Every
/// answer is the one that a look at all of the log gives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_exact_however_versions_and_indexers_interleave() {
    let seed = std::env::var("AGENTWORKS_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("AGENTWORKS_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let world = World::new();
    let mut ends = BTreeMap::from([(0, 0), (1, 0), (2, 0)]);
    let mut peers = Vec::new();
    let (mut names, mut dying) = (0, Vec::new());
    let manifest = || Manifest::new(world.manifest.objects().clone());
    // One searcher reads each version, the other one now and then.
    let (newest, mut older) = (manifest(), manifest());
    let cache = CacheConfig::new(world.folder.path().join("merges"));
    let cache = SplitCache::new(world.manifest.objects().clone(), cache).unwrap();
    std::fs::create_dir(world.folder.path().join("merging")).unwrap();
    let merge = MergePolicy { factor: 3, max_docs: 10_000, min_docs: 50, own_docs: 100, ..MergePolicy::default() };
    let keeping = MaintainConfig { merge, ..MaintainConfig::new(world.folder.path().join("merging")) };
    let keeper = Maintainer::new(manifest(), cache, keeping, None);
    for step in 0..81 {
        if peers.len() < 2 || (peers.len() < 4 && random.random_ratio(1, 8)) {
            names += 1;
            peers.push(Peer::start(&world, &format!("indexer-{names}")).await);
        }
        let peer = random.random_range(0..peers.len());
        let lane = random.random_range(0..3);
        match random.random_range(0..10) {
            // It gets a lane, of which nobody tells who had it before.
            0..=1 => {
                let peer: &mut Peer = &mut peers[peer];
                let held = peer.sink.open(at(lane, 0).partition, 0, 0).await.unwrap();
                peer.lanes.insert(lane, held.high);
            }
            2..=6 => {
                let lanes: Vec<i32> = peers[peer].lanes.keys().copied().collect();
                for lane in lanes {
                    let from = peers[peer].lanes[&lane];
                    let to = from + random.random_range(1..25);
                    let end = ends.get_mut(&lane).unwrap();
                    *end = to.max(*end);
                    peers[peer].sink.take(&batch(lane, from..to)).await.unwrap();
                    peers[peer].lanes.insert(lane, to);
                }
            }
            7..=8 => {
                let peer: &mut Peer = &mut peers[peer];
                // Of lanes that it has lost it hears now.
                while let Err(error) = peer.sink.flush(Flush::Partition(at(lane, 0).partition)).await {
                    let agentworks_processors::sink::SinkError::Position { partition, .. } = error else {
                        panic!("{error}")
                    };
                    peer.sink.close(partition);
                    peer.lanes.remove(&partition.partition);
                }
            }
            _ if peers.len() > 1 && random.random_bool(0.5) => {
                let dead = peers.swap_remove(peer);
                dead.server.abort();
                let _ = dead.server.await;
                // Its lease is there still.
                dying.push(dead.fresh);
            }
            _ => drop(keeper.merge().await.unwrap()),
        }
        if step % 3 != 2 {
            continue;
        }
        let begun: Vec<_> = world.manifest.refresh().await.unwrap().lanes.keys().map(|lane| lane.partition).collect();
        let known: Vec<_> = ends.iter().filter(|(lane, _)| begun.contains(lane)).map(|(l, e)| (*l, *e)).collect();
        let is_new = random.random_ratio(1, 5);
        if is_new {
            older = manifest();
        }
        for (manifest, age) in [(&newest, Duration::ZERO), (&older, Duration::from_secs(600))] {
            if manifest.current().lanes.len() < known.len() {
                // A lane that nobody had begun with at its version isn't looked at, unless an indexer has it.
                manifest.refresh().await.unwrap();
            }
            let log = FakeLog { ends: ends.clone(), ..FakeLog::default() };
            let config = SearcherConfig { manifest_age: age, end_age: Duration::ZERO, ..SearcherConfig::default() };
            let searcher = world.searcher_of(manifest.clone(), Some(log), None, config);
            let others = dying.iter().rev().take(2).cloned();
            searcher.set_fresh(peers.iter().map(|peer: &Peer| peer.fresh.clone()).chain(others).collect());
            check(&searcher, &known).await;
        }
    }
}
