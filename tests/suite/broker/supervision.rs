use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use agentworks_broker::{Broker, Config, Error, State};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::records::{create_topic, produce, read_all};
use crate::support::{Scratch, eventually, process};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn it_is_started_again_when_it_dies_and_keeps_its_address_and_data() {
    let scratch = Scratch::new("dies");
    let broker = Broker::start(Config::new(scratch.path())).await.unwrap();
    let (bootstrap, first) = (broker.bootstrap(), broker.pid().unwrap());
    create_topic(&bootstrap, "log", 2).await;
    produce(&bootstrap, "log", (0..100).map(|i| (i.to_string(), "x"))).await;
    let before = read_all(&bootstrap, "log").await;

    let mut events = broker.events();
    process::kill_9(first);
    let restarting = events.wait_for(|state| matches!(state, State::Restarting { .. })).await.unwrap().clone();
    assert_eq!(restarting, State::Restarting { reason: "Kafka was killed by signal 9".to_owned() });
    events.wait_for(|state| matches!(state, State::Ready { .. })).await.unwrap();
    assert_eq!(broker.bootstrap(), bootstrap);
    let second = broker.pid().unwrap();
    assert_ne!(second, first);
    assert_eq!(read_all(&bootstrap, "log").await, before);

    broker.stop().await;
    assert_eq!(*events.borrow(), State::Stopped);
    assert!(!process::is_running(second));
    assert!(scratch.path().join("data/.kafka_cleanshutdown").exists(), "it had the time to close its log");

    let broker = Broker::start(Config::new(scratch.path())).await.unwrap();
    assert_eq!(broker.bootstrap(), bootstrap, "clients find it where it was");
    assert_eq!(read_all(&bootstrap, "log").await, before);
    broker.stop().await;
}

#[tokio::test]
async fn a_folder_has_one_broker() {
    let scratch = Scratch::new("shared");
    let broker = Broker::start(Config::new(scratch.path())).await.unwrap();
    let error = Broker::start(Config::new(scratch.path())).await.unwrap_err();
    assert!(matches!(error, Error::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
    assert!(process::is_running(broker.pid().unwrap()));

    // Dropping the handle stops it too, only without waiting.
    let mut events = broker.events();
    drop(broker);
    events.wait_for(|state| *state == State::Stopped).await.unwrap();
    Broker::start(Config::new(scratch.path())).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_said() {
    let scratch = Scratch::new("port");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let error = Broker::start(Config { port, ..Config::new(scratch.path()) }).await.unwrap_err();
    assert!(matches!(error, Error::PortTaken(taken) if taken == port), "{error}");
}

#[tokio::test]
async fn one_that_keeps_dying_is_given_up_with_the_end_of_its_log() {
    let scratch = Scratch::new("loop");
    let broken =
        || Config { properties: vec![("num.io.threads".to_owned(), "none".to_owned())], ..Config::new(scratch.path()) };
    let error = Broker::start(broken()).await.unwrap_err();
    assert!(matches!(error, Error::Format(_)), "{error}");
    assert!(error.to_string().contains("num.io.threads"), "{error}");

    Broker::start(Config::new(scratch.path())).await.unwrap().stop().await;
    let error = Broker::start(broken()).await.unwrap_err();
    assert!(matches!(error, Error::Failed(_)), "{error}");
    let message = error.to_string();
    assert!(
        message.starts_with("Kafka failed 5 times in a row: Kafka ended by itself, with exit status: 1"),
        "{message}"
    );
    assert!(message.contains("Invalid value none for configuration num.io.threads"), "{message}");
}

#[tokio::test]
async fn it_ends_with_its_parent_although_that_is_killed_with_9() {
    let scratch = Scratch::new("parent");
    let mut parent = Parent::start(scratch.path()).await;
    parent.child.kill().await.unwrap();
    eventually(PATIENCE, async || (!process::is_running(parent.kafka)).then_some(())).await;

    let broker = Broker::start(Config::new(scratch.path())).await.unwrap();
    assert_eq!(broker.bootstrap(), parent.bootstrap);
    broker.stop().await;
}

#[tokio::test]
async fn one_that_a_crash_left_behind_is_ended_before_the_next_starts() {
    let scratch = Scratch::new("leftover");
    let mut parent = Parent::start(scratch.path()).await;
    // A stopped process doesn't hear that its parent died, nor that it is told to end.
    process::signal(parent.kafka, Signal::STOP);
    parent.child.kill().await.unwrap();
    assert!(process::is_running(parent.kafka));

    let broker = Broker::start(Config::new(scratch.path())).await.unwrap();
    assert!(!process::is_running(parent.kafka));
    assert_eq!(broker.bootstrap(), parent.bootstrap);
    broker.stop().await;
}

/// Another process that has started a broker and waits.
struct Parent {
    child: Child,
    kafka: u32,
    bootstrap: String,
}

/// In which folder [`parent`] is to start its broker.
const PARENT_FOLDER: &str = "AGENTWORKS_TEST_PARENT_FOLDER";

impl Parent {
    /// Runs [`parent`] in a process of its own.
    async fn start(folder: &Path) -> Parent {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "broker::supervision::parent", "--ignored", "--nocapture"])
            .env(PARENT_FOLDER, folder)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((kafka, bootstrap)) = line.strip_prefix("kafka ").and_then(|line| line.split_once(' ')) {
                return Parent { child, kafka: kafka.parse().unwrap(), bootstrap: bootstrap.to_owned() };
            }
        }
        panic!("the parent ended early: {:?}", child.wait().await);
    }
}

#[tokio::test]
#[ignore = "not a test: other tests run it as a process that they can kill"]
async fn parent() {
    let Some(folder) = std::env::var_os(PARENT_FOLDER) else { return };
    let broker = Broker::start(Config::new(folder)).await.unwrap();
    println!("\nkafka {} {}", broker.pid().unwrap(), broker.bootstrap());
    std::future::pending::<()>().await;
}
