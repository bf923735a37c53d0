#![allow(clippy::unwrap_used)]

use agentworks_schemas::protocol::ServerMessage;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::*;
use crate::metrics::Metrics;
use crate::socket::shard::Shards;

const LIMITS: SocketLimits = SocketLimits {
    max_message: 1000,
    heartbeat: Duration::from_secs(30),
    write_timeout: Duration::from_secs(30),
    frames_per_second: 50,
    idle_timeout: Duration::ZERO,
};

struct Driven {
    client: TcpStream,
    outbox: Arc<Outbox>,
    inbox: mpsc::Receiver<String>,
    driver: JoinHandle<SocketEnd>,
    metrics: Arc<Metrics>,
}

async fn drive_with(limits: SocketLimits, early: &'static [u8]) -> Driven {
    drive_on(Outbox::new(256 * 1024), limits, early).await
}

async fn drive_on(outbox: Outbox, limits: SocketLimits, early: &'static [u8]) -> Driven {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let (outbox, metrics) = (Arc::new(outbox), Arc::new(Metrics::default()));
    let (sender, inbox) = mpsc::channel(2);
    let early = Bytes::from_static(early);
    let meters = Meters { metrics: Arc::clone(&metrics), tenant: None };
    let driver = tokio::spawn(drive(stream, early, Arc::clone(&outbox), sender, limits, meters));
    Driven { client, outbox, inbox, driver, metrics }
}

async fn websocket(client: TcpStream) -> WebSocketStream<TcpStream> {
    WebSocketStream::from_raw_socket(client, Role::Client, None).await
}

fn frame(timestamp: i64) -> Frame {
    Frame::message(&ServerMessage::Pong { timestamp })
}

#[tokio::test]
async fn what_is_queued_arrives_in_order() {
    let Driven { client, outbox, metrics, .. } = drive_with(LIMITS, b"").await;
    let mut client = websocket(client).await;
    let sender = tokio::spawn(async move {
        for number in 0..5000 {
            outbox.send(frame(number)).await.unwrap();
        }
        outbox
    });
    for number in 0..5000 {
        let text = client.next().await.unwrap().unwrap().into_text().unwrap();
        assert_eq!(text.as_str(), format!(r#"{{"type":"pong","timestamp":{number}}}"#));
    }
    sender.await.unwrap();
    assert_eq!(metrics.frames_sent.get(), 5000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pushed_and_what_is_sent_arrive_each_in_order_however_slowly_it_is_read() {
    const EACH: i64 = 20_000;
    let mut tasks = JoinSet::new();
    let shards = Shards::start(&mut tasks);
    // So little room that the kernel and the outbox are full again and again.
    let outbox = Outbox::new(16 * 1024).on(shards.next());
    let Driven { client, outbox, driver, metrics, .. } = drive_on(outbox, LIMITS, b"").await;
    let mut client = websocket(client).await;
    let pushing = tokio::spawn({
        let outbox = Arc::clone(&outbox);
        async move {
            for number in 0..EACH {
                while !outbox.pusher().push(&frame(number)) {
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    let sending = tokio::spawn(async move {
        for number in 0..EACH {
            outbox.send(frame(-1 - number)).await.unwrap();
        }
    });
    let (mut pushed, mut sent) = (0, 0);
    while pushed < EACH || sent < EACH {
        let text = client.next().await.unwrap().unwrap().into_text().unwrap();
        match ServerMessage::parse(&text).unwrap() {
            ServerMessage::Pong { timestamp } if timestamp == pushed => pushed += 1,
            ServerMessage::Pong { timestamp } if timestamp == -1 - sent => sent += 1,
            other => panic!("{other:?} after {pushed} and {sent}"),
        }
        if (pushed + sent) % 5_000 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    drop(client);
    pushing.await.unwrap();
    sending.await.unwrap();
    driver.await.unwrap();
    assert!(metrics.frames_sent.get() >= 2 * EACH as u64);
}

#[tokio::test]
async fn messages_reach_the_session_and_pings_are_answered() {
    let Driven { client, mut inbox, driver, .. } = drive_with(LIMITS, b"").await;
    let mut client = websocket(client).await;
    // More than the inbox holds, and than is read at once.
    for number in 0..50 {
        client.feed(Message::text(format!("{number:0>300}"))).await.unwrap();
    }
    client.send(Message::Ping("are you there".into())).await.unwrap();
    for number in 0..50 {
        assert_eq!(inbox.recv().await.unwrap(), format!("{number:0>300}"));
    }
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong("are you there".into()));
    let bye = CloseFrame { code: 1000.into(), reason: "bye".into() };
    client.send(Message::Close(Some(bye))).await.unwrap();
    let answer = client.next().await.unwrap().unwrap();
    assert!(matches!(answer, Message::Close(Some(frame)) if u16::from(frame.code) == 1000));
    assert_eq!(inbox.recv().await, None);
    assert_eq!(driver.await.unwrap(), SocketEnd::Closed);
}

#[tokio::test]
async fn what_came_with_the_handshake_counts() {
    let masked = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    let Driven { mut inbox, client, driver, outbox, .. } = drive_with(LIMITS, masked).await;
    assert_eq!(inbox.recv().await.unwrap(), "Hello");
    drop(client);
    assert_eq!(driver.await.unwrap(), SocketEnd::Gone);
    assert!(outbox.is_closed());
}

#[tokio::test]
async fn our_close_goes_out_after_what_waits_and_is_answered() {
    let Driven { client, outbox, driver, inbox, .. } = drive_with(LIMITS, b"").await;
    let mut client = websocket(client).await;
    outbox.send(frame(1)).await.unwrap();
    outbox.close(CloseCode::Restart, "see you", Waiting::Send);
    drop(inbox);
    assert!(client.next().await.unwrap().unwrap().is_text());
    let Message::Close(Some(close)) = client.next().await.unwrap().unwrap() else { panic!("no close") };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1012, "see you"));
    assert!(client.next().await.is_none(), "tungstenite answers, and the gateway lets go");
    assert_eq!(driver.await.unwrap(), SocketEnd::Closed);
}

#[tokio::test]
async fn a_fault_is_told_with_its_code() {
    let Driven { mut client, driver, mut inbox, .. } = drive_with(LIMITS, b"").await;
    client.write_all(b"\x81\x01a and much more that is never read").await.unwrap();
    let mut answer = Vec::new();
    let mut byte = [0; 64];
    while answer.len() < 4 {
        let length = client.read(&mut byte).await.unwrap();
        answer.extend_from_slice(&byte[..length]);
    }
    assert_eq!(answer[0], 0x88);
    assert_eq!(answer[2..4], 1002u16.to_be_bytes());
    assert_eq!(inbox.recv().await, None);
    drop(client);
    assert_eq!(driver.await.unwrap(), SocketEnd::Fault(CloseCode::Protocol));
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off() {
    let limits = SocketLimits { write_timeout: Duration::from_millis(300), ..LIMITS };
    let Driven { client, outbox, driver, .. } = drive_with(limits, b"").await;
    let began = Instant::now();
    let filler = tokio::spawn(async move { while outbox.send(frame(1)).await.is_ok() {} });
    assert_eq!(driver.await.unwrap(), SocketEnd::Stalled);
    assert!(began.elapsed() >= Duration::from_millis(300));
    filler.await.unwrap();
    drop(client);
}

#[tokio::test]
async fn a_peer_that_reads_now_and_then_is_not_cut_off() {
    let limits = SocketLimits { write_timeout: Duration::from_millis(500), ..LIMITS };
    let Driven { client, outbox, driver, .. } = drive_with(limits, b"").await;
    let sender = Arc::clone(&outbox);
    let filler = tokio::spawn(async move { while sender.send(frame(1)).await.is_ok() {} });
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        while client.try_read(&mut buffer).is_ok() {}
    }
    assert!(!driver.is_finished());
    drop(client);
    assert_eq!(driver.await.unwrap(), SocketEnd::Gone);
    filler.await.unwrap();
}

#[tokio::test]
async fn a_peer_that_does_not_answer_pings_is_cut_off_and_one_that_does_is_not() {
    let limits = SocketLimits { heartbeat: Duration::from_millis(100), ..LIMITS };
    let Driven { mut client, driver, .. } = drive_with(limits, b"").await;
    let began = Instant::now();
    let mut pings = Vec::new();
    client.read_to_end(&mut pings).await.unwrap();
    assert_eq!(&pings[..4], b"\x89\x00\x89\x00");
    assert_eq!(pings[4..8], [&[0x88, 25], &4001u16.to_be_bytes()[..]].concat());
    assert!(began.elapsed() >= Duration::from_millis(290));
    assert_eq!(driver.await.unwrap(), SocketEnd::Silent);

    let Driven { client, driver, .. } = drive_with(limits, b"").await;
    let mut client = websocket(client).await;
    let answering = tokio::time::timeout(Duration::from_millis(800), async { while client.next().await.is_some() {} });
    assert!(answering.await.is_err());
    assert!(!driver.is_finished());
}

#[tokio::test]
async fn a_peer_that_is_not_gone_sees_why_it_was_given_up() {
    let limits = SocketLimits { heartbeat: Duration::from_millis(100), ..LIMITS };
    let Driven { client, driver, metrics, .. } = drive_with(limits, b"").await;
    let mut client = websocket(client).await;
    // It reads after all, but too late.
    driver_gives_up(&metrics).await;
    while !matches!(client.next().await, Some(Ok(Message::Close(Some(close)))) if u16::from(close.code) == 4001) {}
    assert_eq!(driver.await.unwrap(), SocketEnd::Silent);
}

/// Waits until two pings and a close have been written.
async fn driver_gives_up(metrics: &Metrics) {
    while metrics.frames_sent.get() < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn where_nothing_is_said_or_shown_for_long_the_connection_ends() {
    let heartbeat = Duration::from_millis(100);
    let limits = SocketLimits { heartbeat, idle_timeout: Duration::from_millis(500), ..LIMITS };
    let Driven { client, driver, outbox, mut inbox, .. } = drive_with(limits, b"").await;
    let mut client = websocket(client).await;
    let began = Instant::now();
    // Pings are answered all the while; that alone is no reason to go on.
    for number in 0..3 {
        let _ = tokio::time::timeout(Duration::from_millis(300), client.next()).await;
        outbox.send(frame(number)).await.unwrap();
        client.send(Message::text("hello")).await.unwrap();
        assert_eq!(inbox.recv().await.unwrap(), "hello");
    }
    let code = loop {
        if let Message::Close(Some(close)) = client.next().await.unwrap().unwrap() {
            break u16::from(close.code);
        }
    };
    assert_eq!(code, 4002);
    assert!(began.elapsed() >= Duration::from_millis(500));
    assert!(client.next().await.is_none());
    assert_eq!(driver.await.unwrap(), SocketEnd::Idle);
}

#[tokio::test]
async fn frames_that_are_no_messages_are_counted() {
    // The same number again and again: a ping, a pong, an empty part of a message that goes on and on.
    for (first, rest) in [
        (b"\x89\x80\0\0\0\0", b"\x89\x80\0\0\0\0"),
        (b"\x8a\x80\0\0\0\0", b"\x8a\x80\0\0\0\0"),
        (b"\x01\x80\0\0\0\0", b"\x00\x80\0\0\0\0"),
    ] {
        let limits = SocketLimits { frames_per_second: 5, ..LIMITS };
        let Driven { mut client, driver, mut inbox, .. } = drive_with(limits, b"").await;
        client.write_all(&[&first[..], &rest.repeat(200)].concat()).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        let close = answer.windows(2).position(|pair| pair == 1008u16.to_be_bytes());
        assert_eq!(answer[close.expect("a close") - 2], 0x88);
        assert_eq!(inbox.recv().await, None);
        assert_eq!(driver.await.unwrap(), SocketEnd::Fault(CloseCode::Policy));
    }
}
