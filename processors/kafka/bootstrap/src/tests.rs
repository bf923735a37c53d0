#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::*;

/// Serves one client after the other as a broker that knows one topic, and as much of the protocol as it takes to be
/// asked about it.
struct FakeBroker {
    port: u16,
}

impl FakeBroker {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || FakeBroker { port }.serve(stream.unwrap()));
            }
        });
        FakeBroker { port }
    }

    /// Answers until the client has gone.
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        loop {
            let mut length = [0; 4];
            stream.read_exact(&mut length).ok()?;
            let mut request = vec![0; i32::from_be_bytes(length) as usize];
            stream.read_exact(&mut request).ok()?;
            let (key, version) = (i16::from_be_bytes([request[0], request[1]]), request[3]);
            let mut answer = request[4..8].to_vec();
            match (key, version) {
                // ApiVersions: Metadata 0 to 1 and ApiVersions 0, or that the version asked for isn't known.
                (18, 0) => {
                    answer.extend([0, 0, 0, 0, 0, 2]);
                    answer.extend([0, 3, 0, 0, 0, 1].into_iter().chain([0, 18, 0, 0, 0, 0]));
                }
                (18, _) => answer.extend([0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 0]),
                _ => self.metadata(&mut answer),
            }
            stream.write_all(&(answer.len() as u32).to_be_bytes()).ok()?;
            stream.write_all(&answer).ok()?;
        }
    }

    /// Metadata in version 1: the broker, the controller, and a topic without partitions.
    fn metadata(&self, answer: &mut Vec<u8>) {
        let string = |answer: &mut Vec<u8>, text: &str| {
            answer.extend((text.len() as u16).to_be_bytes());
            answer.extend(text.as_bytes());
        };
        for number in [1i32, 1] {
            answer.extend(number.to_be_bytes());
        }
        string(answer, "127.0.0.1");
        answer.extend(i32::from(self.port).to_be_bytes());
        answer.extend((-1i16).to_be_bytes());
        for number in [1i32, 1] {
            answer.extend(number.to_be_bytes());
        }
        answer.extend([0, 0]);
        string(answer, "topic");
        answer.extend([0]);
        answer.extend(0i32.to_be_bytes());
    }
}

struct Context {
    bootstrap: Bootstrap,
    looks: bool,
}

impl ClientContext for Context {
    fn stats_raw(&self, statistics: &[u8]) {
        if self.looks {
            // SAFETY: the client, whose context this is, calls it.
            unsafe { self.bootstrap.look(statistics) };
        }
    }
}

impl ConsumerContext for Context {}

/// Whether a client that was begun without brokers, which is how one is that has lost all of them, finds one.
fn finds_brokers(looks: bool) -> bool {
    let broker = FakeBroker::start();
    let mut config = ClientConfig::new();
    config.set("group.id", "group").set("statistics.interval.ms", "100");
    let brokers = CString::new(format!("127.0.0.1:{}", broker.port)).unwrap();
    let client: BaseConsumer<Context> = create_for(brokers, config, |bootstrap| Context { bootstrap, looks }).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(if looks { 20 } else { 2 }) {
        drop(client.poll(Duration::from_millis(20)));
        let metadata = client.fetch_metadata(Some("topic"), Duration::from_millis(200));
        if metadata.is_ok_and(|metadata| metadata.brokers().iter().any(|broker| broker.id() == 1)) {
            return true;
        }
    }
    false
}

#[test]
fn whom_all_brokers_were_taken_from_gets_them_back() {
    assert!(!finds_brokers(false));
    assert!(finds_brokers(true));
}

#[test]
fn brokers_are_those_that_can_be_connected_to() {
    let with = |source: &str| {
        format!(r#"{{"name": "x", "brokers": {{"a:1/1": {{"name": "a:1/1", "source": "{source}", "tx": 1}}}}}}"#)
    };
    for (statistics, wanted) in [
        (with("learned"), true),
        (with("configured"), true),
        (with("internal"), false),
        (with("logical"), false),
        (with("another"), true),
        (r#"{"brokers": {}}"#.to_owned(), false),
        ("{".to_owned(), true),
    ] {
        assert_eq!(has_brokers(statistics.as_bytes()), wanted, "{statistics}");
    }
}

#[test]
fn of_a_setting_that_is_refused_the_value_is_not_told() {
    let refused = |name: &str, value: &str| {
        let error = ClientConfig::new().set(name, value).create_native_config().err().unwrap();
        let refused = Refused::from_error(&error).unwrap();
        assert_eq!(refused.name, name);
        refused.reason
    };
    let long = "hunter2 ".repeat(200);
    for (name, value) in [
        ("sasl.pasword", "hunter2"),
        ("security.protocol", "hunter2"),
        ("security.protocol", " hunter2 "),
        ("compression.codec", "hunter2"),
        ("debug", "broker,-hunter2"),
        ("auto.offset.reset", long.as_str()),
        ("enable.idempotence", "hunter2"),
        ("socket.timeout.ms", "hunter2"),
    ] {
        let reason = refused(name, value);
        assert!(!reason.contains("hunter2"), "{name}: {reason}");
    }
    assert_eq!(refused("sasl.pasword", "s"), "No such configuration property: \"sasl.pasword\"");
    assert_eq!(refused("security.protocol", "plain"), "invalid value");
    assert!(refused("socket.timeout.ms", "1").contains("outside allowed range"));
    assert!(Refused::from_error(&KafkaError::Canceled).is_none());
}
