#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use warp::reject::custom;

use super::*;
use crate::rest::{ApiError, method};

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
    ask(address, "GET", path).await
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
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
async fn a_wrong_method_is_told_with_those_that_the_path_has() {
    let is = |one| method(one, "GET, PUT");
    let get = warp::path!("things").and(is(Method::GET)).map(|| Response::new("got".into()));
    let denied = || std::future::ready(Err::<Response, _>(custom(ApiError::Denied("no".to_owned()))));
    let put = warp::path!("things").and(is(Method::PUT)).and_then(denied);
    let other = warp::path!("other").and(method(Method::DELETE, "DELETE")).map(|| Response::new("gone".into()));
    let (address, shutdown, server) = start(get.or(put).unify().or(other).unify()).await;
    for (asked, path, status, allow) in [
        ("GET", "/things", 200, None),
        ("PUT", "/things", 403, None),
        ("DELETE", "/things", 405, Some("\r\nallow: GET, PUT\r\n")),
        ("GET", "/other", 405, Some("\r\nallow: DELETE\r\n")),
    ] {
        let (got, answer) = ask(address, asked, path).await;
        let is_told = allow.map_or(!answer.contains("\r\nallow:"), |allow| answer.contains(allow));
        assert!(got == status && is_told, "{asked} {path}: {answer}");
    }
    shutdown.cancel();
    server.await.unwrap();
}

/// A route that takes its time: it says that it was entered, and is left when it is released.
fn slow() -> (
    impl Filter<Extract = (Response,), Error = Rejection, Future: Send> + Clone + Send + Sync + 'static,
    mpsc::Receiver<()>,
    watch::Sender<bool>,
) {
    let (entered, is_entered) = mpsc::channel(1);
    let (release, released) = watch::channel(false);
    let route = warp::path!("slow").then(move || {
        let (entered, mut released) = (entered.clone(), released.clone());
        async move {
            entered.send(()).await.unwrap();
            released.wait_for(|is_released| *is_released).await.unwrap();
            Response::new("done".into())
        }
    });
    (route, is_entered, release)
}

#[tokio::test]
async fn a_request_that_is_being_answered_is_answered_to_its_end() {
    let (slow, mut is_entered, release) = slow();
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

#[tokio::test]
async fn in_two_steps_what_is_under_way_goes_on_and_nothing_new_is_taken() {
    let (slow, mut is_entered, release) = slow();
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let ending = Ending::default();
    let server = tokio::spawn(serve_until(listener, slow, Slots::default(), ending.clone()));
    // One that asks nothing is not waited for.
    let mut silent = TcpStream::connect(address).await.unwrap();
    let request = tokio::spawn(async move { get(address, "/slow").await });
    is_entered.recv().await.unwrap();
    ending.closing.cancel();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!server.is_finished());
    release.send(true).unwrap();
    assert_eq!(request.await.unwrap().0, 200);
    // Nobody is left, so there is no second step to wait for.
    server.await.unwrap();
    assert!(!ending.shutdown.is_cancelled());
}

#[tokio::test]
async fn one_more_than_there_may_be_is_refused_and_counted() {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (slots, ending) =
        (Slots::new(ServerLimits { max_connections: 1, ..ServerLimits::default() }), Ending::default());
    let mut registry = Registry::default();
    slots.register(&mut registry);
    let routes = warp::path!("hello").map(|| Response::new("hello".into()));
    let server = tokio::spawn(serve_until(listener, routes, slots, ending.clone()));
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let mut second = TcpStream::connect(address).await.unwrap();
    let mut answer = String::new();
    second.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("max_total_connections is 1"), "{answer}");
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("agentworks_http_connections_refused_total{limit=\"total\"} 1"), "{text}");
    // When it has gone there is room.
    drop(first);
    while !get(address, "/hello").await.1.ends_with("hello") {}
    ending.end();
    server.await.unwrap();
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let head_timeout = Duration::from_millis(300);
    let (slots, ending) = (Slots::new(ServerLimits { head_timeout, ..ServerLimits::default() }), Ending::default());
    let routes = warp::path!("hello").map(|| Response::new("hello".into()));
    let server = tokio::spawn(serve_until(listener, routes, slots, ending.clone()));
    for begun in ["", "GET /hello HTTP/1.1\r\nHost: te"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Whether it is told so or just cut off.
        let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("it ends");
    }
    assert_eq!(get(address, "/hello").await.0, 200);
    ending.end();
    server.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_not_kept_and_one_that_is_read_slowly_comes_whole() {
    /// More than the kernel's buffers on both sides hold of somebody who doesn't read.
    const LENGTH: usize = 32 << 20;
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let write_timeout = Duration::from_millis(500);
    let (slots, ending) = (Slots::new(ServerLimits { write_timeout, ..ServerLimits::default() }), Ending::default());
    let routes = warp::path!("much").map(|| Response::new(vec![b'x'; LENGTH].into()));
    let server = tokio::spawn(serve_until(listener, routes, slots, ending.clone()));
    let ask = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /much HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'H');
        stream
    };
    let mut slow = ask().await;
    let begun = std::time::Instant::now();
    let (mut piece, mut read) = (vec![0; 1 << 20], 1);
    loop {
        let length = slow.read(&mut piece).await.unwrap();
        if length == 0 {
            break;
        }
        read += length;
        sleep(Duration::from_millis(20)).await;
    }
    assert!(read > LENGTH && begun.elapsed() > write_timeout, "{read} bytes in {:?}", begun.elapsed());

    let mut stalled = ask().await;
    // Nobody is told to end, so the server has ended when the connection has.
    ending.closing.cancel();
    timeout(Duration::from_secs(20), server).await.expect("it is cut off").unwrap();
    let mut rest = Vec::new();
    let end = stalled.read_to_end(&mut rest).await;
    assert!(end.is_err() || rest.len() < LENGTH, "{} bytes", rest.len());
}
