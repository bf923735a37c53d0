//! What a client may send over a connection.

use futures_util::SinkExt;
use tokio::io::AsyncWriteExt;

use super::*;

/// A connection that has begun.
async fn begun(target: &Target) -> Socket {
    let mut socket = target.open("frames", &target.token("space", Role::Viewer)).await;
    told(&mut socket, "connection_established").await;
    socket
}

/// Writes bytes past the client's own frames, and gives what the connection is closed with.
async fn closed_after(target: &Target, bytes: &[u8]) -> (u16, String) {
    let mut socket = begun(target).await;
    let MaybeTlsStream::Plain(stream) = socket.get_mut() else { panic!("there is no TLS here") };
    // The gateway may close before it has read all.
    let _ = stream.write_all(bytes).await;
    closed(&mut socket).await
}

/// A frame of up to 125 bytes, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_large_is_not_read() {
    let target = Target::get().await;
    let mut socket = begun(&target).await;
    let ping = "{\"type\": \"ping\", \"timestamp\": 1}";
    let largest = ping.to_owned() + &" ".repeat(65_536 - ping.len());
    socket.send(Message::text(largest.clone())).await.unwrap();
    told(&mut socket, "pong").await;
    socket.send(Message::text(largest + " ")).await.unwrap();
    let (code, reason) = closed(&mut socket).await;
    assert_eq!(code, 1009);
    assert!(reason.contains("max_message is 65536 bytes"), "{reason}");
    // The length alone is enough: nobody waits for four exabytes.
    assert_eq!(closed_after(&target, b"\x81\xff\x3f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0").await.0, 1009);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_nested_too_deep_is_not_parsed() {
    let target = Target::get().await;
    let mut socket = begun(&target).await;
    for deep in [
        "[".repeat(60_000),
        "{\"a\":".repeat(10_000),
        format!("{{\"type\":\"ping\",\"timestamp\":{}1{}}}", "[".repeat(5000), "]".repeat(5000)),
        format!("{{\"type\":\"replay_run\",\"runId\":\"r\",\"options\":{}}}", "{\"filters\":".repeat(2000)),
    ] {
        socket.send(Message::text(deep)).await.unwrap();
        let error = told(&mut socket, "error").await;
        assert_eq!(error["data"]["code"], "limit_exceeded");
        assert!(error["data"]["message"].as_str().unwrap().contains("max_depth is 32"), "{error}");
    }
    socket.send(Message::text("{\"type\":\"ping\",\"timestamp\":1}")).await.unwrap();
    told(&mut socket, "pong").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_ever_decompressed() {
    let target = Target::get().await;
    let bearer = format!("Bearer {}", target.token("space", Role::Viewer));
    let offer = "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame";
    let headers = [("authorization", bearer.as_str()), ("sec-websocket-extensions", offer)];
    let (_socket, response) = target.connect("frames", "", &headers).await;
    assert!(!response.headers().contains_key("sec-websocket-extensions"));
    // "Hello", compressed, as RFC 7692 has it; and the other bits that no extension has claimed.
    let compressed = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    for reserved in [0xc1, 0xa1, 0x91, 0xf1] {
        assert_eq!(
            closed_after(&target, &frame(reserved, compressed)).await,
            (1002, "reserved bits are set".to_owned())
        );
    }
    let bomb = reqwest::Client::new()
        .post(format!("{}/v1/logs", target.ingest.url))
        .bearer_auth(target.token("space", Role::Writer))
        .header("content-encoding", "zstd")
        .body(zstd::encode_all(&vec![b' '; 200 << 20][..], 19).unwrap());
    assert_eq!(bomb.send().await.unwrap().status(), 413, "where bodies are decompressed, there is a limit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_messages_is_answered_once_a_second_and_then_closed() {
    let target = Target::get().await;
    let mut socket = begun(&target).await;
    let ping = frame(0x81, b"{\"type\":\"ping\",\"timestamp\":1}");
    let MaybeTlsStream::Plain(stream) = socket.get_mut() else { panic!("there is no TLS here") };
    stream.write_all(&ping.repeat(700)).await.unwrap();
    let error = told(&mut socket, "error").await;
    assert_eq!(error["data"]["code"], "limit_exceeded");
    assert!(error["data"]["message"].as_str().unwrap().contains("max_messages_per_second is 50"), "{error}");
    let MaybeTlsStream::Plain(stream) = socket.get_mut() else { panic!("there is no TLS here") };
    let _ = stream.write_all(&ping.repeat(1000)).await;
    assert_eq!(closed(&mut socket).await, (1008, "too many messages".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_frames_that_are_no_messages_is_closed() {
    let target = Target::get().await;
    let floods = [
        frame(0x89, b"ping").repeat(3000),
        frame(0x8a, b"pong").repeat(3000),
        [frame(0x01, b""), frame(0x00, b"").repeat(3000)].concat(),
        [frame(0x01, b""), [frame(0x00, b"x"), frame(0x89, b"")].concat().repeat(1500)].concat(),
    ];
    for flood in floods {
        let (code, reason) = closed_after(&target, &flood).await;
        assert_eq!((code, reason.as_str()), (1008, "too many pings, pongs or parts of messages"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_none_end_the_connection_and_nothing_else() {
    let target = Target::get().await;
    for (bytes, code) in [
        (frame(0x82, b"\0\x01\x02"), 1003),
        (frame(0x81, b"\xff\xfe"), 1007),
        (b"\x81\x05hello".to_vec(), 1002),
        (frame(0x83, b""), 1002),
        (frame(0x09, b"part of a ping"), 1002),
        (frame(0x80, b"the end of nothing"), 1002),
        ([frame(0x01, b"a"), frame(0x81, b"b")].concat(), 1002),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 1002),
    ] {
        assert_eq!(closed_after(&target, &bytes).await.0, code, "{bytes:?}");
    }
    for garbage in ["", "null", "[]", "{}", "{\"type\":7}", "{\"type\":\"__proto__\"}", "{\"type\":\"ping\"", "\u{0}"] {
        let mut socket = begun(&target).await;
        socket.send(Message::text(garbage)).await.unwrap();
        let code = told(&mut socket, "error").await["data"]["code"].clone();
        assert!(["invalid_message", "unknown_type"].iter().any(|known| code == *known), "{garbage}: {code}");
        socket.send(Message::text("{\"type\":\"ping\",\"timestamp\":1}")).await.unwrap();
        told(&mut socket, "pong").await;
    }
}
