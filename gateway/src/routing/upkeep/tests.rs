#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use warp::Filter;
use warp::reply::Response;

use super::super::{ADVERTISE, RoutingConfig};
use super::*;
use crate::server::{DRAINING, bind, serve};

/// A gateway as far as its probes go.
struct Other {
    name: String,
    peer: Peer,
    says: Arc<parking_lot::Mutex<Result<(), String>>>,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

impl Other {
    fn start(name: &str) -> Other {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Other::at(name, listener)
    }

    fn at(name: &str, listener: TcpListener) -> Other {
        let peer = listener.local_addr().unwrap().to_string().parse().unwrap();
        let says = Arc::new(parking_lot::Mutex::new(Ok::<(), String>(())));
        let (words, own) = (Arc::clone(&says), name.to_owned());
        let readyz = warp::path!("readyz").map(move || {
            let (status, body) = match &*words.lock() {
                Ok(()) => (200, String::new()),
                Err(reason) => (503, reason.clone()),
            };
            let mut response = Response::new(body.into());
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            response.headers_mut().insert(ADVERTISE, own.parse().unwrap());
            response
        });
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, readyz, shutdown.clone()));
        Other { name: name.to_owned(), peer, says, shutdown, server }
    }

    async fn dies(self) -> Peer {
        self.shutdown.cancel();
        self.server.await.unwrap();
        self.peer
    }
}

fn watch(peers: Vec<Peer>) -> (Watch, Arc<AtomicBool>) {
    let config = RoutingConfig { peers, ..RoutingConfig::alone("http://own") };
    let is_ready = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&is_ready);
    let ready: Ready = Arc::new(move || if flag.load(Ordering::Relaxed) { Ok(()) } else { Err("no".to_owned()) });
    (Watch::new(Router::new(config), ready, RoutingMetrics::default()).unwrap(), is_ready)
}

async fn members(watch: &mut Watch) -> Vec<String> {
    watch.look().await;
    watch.router.ring().members().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn who_is_up_is_on_the_ring_by_the_name_that_it_tells() {
    let (a, b) = (Other::start("http://a"), Other::start("http://b"));
    // This gateway is among its own peers.
    let own = Other::start("http://own");
    let (mut watch, is_ready) = watch(vec![a.peer.clone(), b.peer.clone(), own.peer.clone()]);
    assert_eq!(members(&mut watch).await, [&a.name, &b.name, "http://own"]);
    assert_eq!((watch.metrics.members.get(), watch.metrics.healthy.get()), (3, 3));

    // One hiccup is none.
    *b.says.lock() = Err("Kafka is not available".to_owned());
    assert_eq!(members(&mut watch).await.len(), 3);
    assert_eq!(members(&mut watch).await, ["http://a", "http://own"]);
    *b.says.lock() = Ok(());
    assert_eq!(members(&mut watch).await.len(), 2);
    assert_eq!(members(&mut watch).await.len(), 3);

    // One that drains is gone at once, and stays so when it doesn't answer any more.
    *a.says.lock() = Err(format!("{DRAINING}: bye"));
    assert_eq!(members(&mut watch).await, ["http://b", "http://own"]);
    let peer = a.dies().await;
    assert_eq!(members(&mut watch).await, ["http://b", "http://own"]);

    // With nobody up, those are as good as any that don't drain.
    is_ready.store(false, Ordering::Relaxed);
    let _ = b.dies().await;
    watch.look().await;
    assert_eq!(members(&mut watch).await, ["http://b", "http://own"]);
    assert_eq!(watch.metrics.members.get(), 3);

    // It comes again under another name.
    let _again = Other::at("http://c", bind(peer.to_string().parse().unwrap()).unwrap());
    assert_eq!(members(&mut watch).await, ["http://c"]);
    drop(own);
}

#[tokio::test]
async fn who_leaves_is_not_put_back() {
    let other = Other::start("http://a");
    let (mut watch, _) = watch(vec![other.peer.clone()]);
    assert_eq!(members(&mut watch).await.len(), 2);
    watch.router.leave();
    assert_eq!(watch.router.ring().members().len(), 1);
    assert_eq!(members(&mut watch).await, ["http://a"]);
    assert_eq!(&*watch.router.home(3), "http://a");
}

#[tokio::test]
async fn one_that_is_alone_is_everybodys_home() {
    let (mut watch, is_ready) = watch(Vec::new());
    is_ready.store(false, Ordering::Relaxed);
    assert_eq!(members(&mut watch).await, ["http://own"]);
    assert_eq!(watch.metrics.healthy.get(), 1);
    watch.router.leave();
    assert_eq!(&*watch.router.home(3), "http://own", "somebody has to serve");
}

#[tokio::test]
async fn a_name_brings_peers_and_one_that_is_not_resolved_takes_none_away() {
    let other = Other::start("http://a");
    let (mut watch, _) = watch(Vec::new());
    let config = RoutingConfig {
        peers_dns: Some(format!("localhost:{}", other.peer.port()).parse().unwrap()),
        ..RoutingConfig::alone("http://own")
    };
    watch.router = Router::new(config);
    assert_eq!(members(&mut watch).await, ["http://a", "http://own"]);
    let config =
        RoutingConfig { peers_dns: Some("nobody.invalid:1".parse().unwrap()), ..RoutingConfig::alone("http://own") };
    watch.router = Router::new(config);
    assert_eq!(members(&mut watch).await, ["http://a", "http://own"]);
    assert_eq!(watch.metrics.resolve_errors.get(), 1);
}
