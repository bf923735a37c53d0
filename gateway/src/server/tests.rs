#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A server of these routes, and how to end it.
async fn start<F>(routes: F) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>)
where
    F: Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    (address, shutdown.clone(), tokio::spawn(serve(listener, routes, shutdown)))
}

/// The status and the whole answer.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    (answer[9..12].parse().unwrap(), answer)
}

#[tokio::test]
async fn the_probes_say_how_it_is_and_faults_have_one_form() {
    let is_ready = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_ready);
    let mut registry = Registry::default();
    registry.register("bells", "Bells rung", Counter::<u64>::default());
    let probes = Probes {
        ready: Arc::new(move || if flag.load(Ordering::Relaxed) { Ok(()) } else { Err("no Kafka".to_owned()) }),
        registry: Arc::new(registry),
    };
    let (address, shutdown, server) = start(probes.routes()).await;
    assert_eq!(get(address, "/healthz").await.0, 200);
    let (status, answer) = get(address, "/readyz").await;
    assert!(status == 503 && answer.ends_with("no Kafka"), "{answer}");
    is_ready.store(true, Ordering::Relaxed);
    assert_eq!(get(address, "/readyz").await.0, 200);
    assert!(get(address, "/metrics").await.1.contains("\nbells_total 0\n"));
    let (status, answer) = get(address, "/nowhere").await;
    assert!(status == 404 && answer.contains(r#""code":"not_found""#), "{answer}");
    shutdown.cancel();
    server.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_request_that_is_being_answered_is_answered_to_its_end() {
    let (entered, mut is_entered) = tokio::sync::mpsc::channel(1);
    let (release, released) = tokio::sync::watch::channel(false);
    let slow = warp::path!("slow").then(move || {
        let (entered, mut released) = (entered.clone(), released.clone());
        async move {
            entered.send(()).await.unwrap();
            released.wait_for(|is_released| *is_released).await.unwrap();
            Response::new("done".into())
        }
    });
    let (address, shutdown, server) = start(slow).await;
    let request = tokio::spawn(async move { get(address, "/slow").await });
    is_entered.recv().await.unwrap();
    shutdown.cancel();
    release.send(true).unwrap();
    let (status, answer) = request.await.unwrap();
    assert!(status == 200 && answer.ends_with("done"), "{answer}");
    server.await.unwrap();
}

#[tokio::test]
async fn routes_know_the_connection() {
    let whoami = warp::path!("whoami")
        .and(warp::ext::get::<Connection>())
        .map(|connection: Connection| Response::new(connection.remote.ip().to_string().into()));
    let (address, shutdown, server) = start(whoami).await;
    assert!(get(address, "/whoami").await.1.ends_with("127.0.0.1"));
    shutdown.cancel();
    server.await.unwrap();
}
