//! Who may connect, how slowly, how often.

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Error;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_origin_does_not_get_in() {
    let target = Target::get().await;
    let (address, bearer) = (target.serve.address(), format!("Bearer {}", target.token("space", Role::Operator)));
    let connect = async |origin: &str| {
        let mut request = format!("ws://{address}/v1/cards/card/stream").into_client_request().unwrap();
        request.headers_mut().insert("authorization", bearer.parse().unwrap());
        request.headers_mut().insert("origin", origin.parse().unwrap());
        connect_async(request).await.map(drop)
    };
    for foreign in [
        "https://evil.example".to_owned(),
        "null".to_owned(),
        String::new(),
        format!("http://{address}.evil.example"),
        format!("http://evil.example/{address}"),
        format!("http://evil.example?http://{address}"),
        format!("http://user@{address}"),
        format!("http://{}", address.replace("127.0.0.1", "127.0.0.2")),
    ] {
        let refused = connect(&foreign).await.unwrap_err();
        assert!(matches!(&refused, Error::Http(response) if response.status() == 403), "{foreign}: {refused}");
    }
    connect(&format!("http://{address}")).await.unwrap();
    // No page elsewhere is told what REST says, either.
    let url = format!("{}/v1/me", target.serve.url);
    let request =
        reqwest::Client::new().get(url).header("authorization", &bearer).header("origin", "https://evil.example");
    let answer = request.send().await.unwrap();
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_takes_too_long_is_cut_off() {
    let target = Target::get().await;
    let address = target.serve.address().to_owned();
    let began = Instant::now();
    let slow = (0..100).map(|number| {
        let address = address.clone();
        async move {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            let head = format!("GET /v1/cards/card/stream HTTP/1.1\r\nHost: {address}\r\nX-Slow: ");
            // Some say nothing at all, some a byte now and then.
            if number % 2 == 0 {
                stream.write_all(head.as_bytes()).await.unwrap();
            }
            let mut byte = [0; 1024];
            loop {
                match timeout(Duration::from_millis(200), stream.read(&mut byte)).await {
                    Ok(Ok(0)) | Ok(Err(_)) => return,
                    Ok(Ok(_)) => {}
                    Err(_) if number % 2 == 0 => drop(stream.write_all(b"x").await),
                    Err(_) => {}
                }
            }
        }
    });
    let slow = tokio::spawn(join_all(slow));
    // Others are served meanwhile.
    let mut good = target.open("card", &target.token("space", Role::Viewer)).await;
    told(&mut good, "connection_established").await;
    timeout(HANDSHAKE + Duration::from_secs(10), slow).await.expect("they are cut off").unwrap();
    assert!(began.elapsed() >= HANDSHAKE);
    assert_eq!(target.serve.get("/v1/me", &target.token("space", Role::Viewer)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_so_many_connections_whatever_it_says_of_itself() {
    let target = Target::get().await;
    let bearer = format!("Bearer {}", target.token("space", Role::Viewer));
    // As by a proxy that is trusted, which appends whom it was asked by.
    let connect = async |forwarded: &str| {
        let headers = [("authorization", bearer.as_str()), ("x-forwarded-for", forwarded)];
        target.connect("card", "", &headers).await.0
    };
    let mut open = Vec::new();
    for number in 0..PER_ADDRESS {
        let mut socket = connect(&format!("198.51.100.{number}, 203.0.113.9")).await;
        told(&mut socket, "connection_established").await;
        open.push(socket);
    }
    for forwarded in ["203.0.113.9", "192.0.2.1, 203.0.113.9", "192.0.2.2,127.0.0.1,203.0.113.9", "::ffff:203.0.113.9"]
    {
        let mut refused = connect(forwarded).await;
        let (code, reason) = closed(&mut refused).await;
        assert_eq!((code, reason), (1013, format!("max_connections_per_address is {PER_ADDRESS}")), "{forwarded}");
    }
    told(&mut connect("203.0.113.10").await, "connection_established").await;
    open.pop().unwrap().close(None).await.unwrap();
    let again = async || {
        let mut socket = connect("203.0.113.9").await;
        let first = timeout(PATIENCE, socket.next()).await.unwrap();
        matches!(first, Some(Ok(Message::Text(_)))).then_some(())
    };
    eventually(PATIENCE, again).await;
    let metrics = target.serve.metrics().await;
    assert!(metrics.contains("agentworks_http_connections_refused_total{limit=\"address\"}"), "{metrics}");
}
