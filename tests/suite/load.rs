//! `agentworks load` and its ledger: whatever is killed, the topics hold what the ledger says.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use agentworks_broker::{Broker, Config, State};
use agentworks_load::{Checked, Checker, Contents};
use agentworks_schemas::Topics;
use tokio::process::{Child, Command};

use crate::support::records::create_topics;
use crate::support::{Scratch, agentworks, eventually, kafka, process, unique_prefix};
use crate::written::observed;

fn load(bootstrap: &str, topics: &Topics, ledger: &Path, arguments: &[&str]) -> Child {
    Command::new(agentworks())
        .args(["load", "--quiet", "--brokers", bootstrap, "--topic-prefix", topics.prefix(), "--ledger"])
        .arg(ledger)
        .args(arguments)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Waits until the ledger knows of so many acknowledgements.
async fn until_acked(ledger: &Path, count: usize) {
    let acked = || Contents::read(ledger).map_or(0, |contents| contents.acked());
    eventually(Duration::from_secs(60), async || (acked() >= count).then_some(())).await;
}

async fn check(bootstrap: &str, topics: &Topics, ledger: &Path) -> (Contents, Checked) {
    let contents = Contents::read(ledger).unwrap();
    let checked = Checker::new(&contents).check(&observed(bootstrap, topics).await);
    let checked = checked.unwrap_or_else(|faults| panic!("{faults}"));
    (contents, checked)
}

#[tokio::test]
async fn a_quiet_day() {
    let bootstrap = kafka().await.bootstrap();
    let topics = create_topics(&bootstrap, &unique_prefix(), 4).await;
    let scratch = Scratch::new("load");
    let ledger = scratch.path().join("ledger");
    let arguments = ["--entries", "5000", "--rate", "0", "--cards", "20", "--seed", "1"];
    let output = load(&bootstrap, &topics, &ledger, &arguments).wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (contents, checked) = check(&bootstrap, &topics, &ledger).await;
    assert_eq!((contents.lines().len(), checked), (5000, Checked { acked: 5000, unacked: 0 }));
}

#[tokio::test]
async fn a_broker_that_is_killed_is_waited_for() {
    let scratch = Scratch::new("load");
    let ledger = scratch.path().join("ledger");
    let broker = Broker::start(Config::new(scratch.path().join("kafka"))).await.unwrap();
    let (bootstrap, mut states) = (broker.bootstrap(), broker.events());
    let topics = create_topics(&bootstrap, "", 4).await;
    let arguments = ["--entries", "20000", "--rate", "5000"];
    let child = load(&bootstrap, &topics, &ledger, &arguments);
    for kills in 1..=3 {
        until_acked(&ledger, kills * 5000).await;
        process::kill_9(broker.pid().unwrap());
        states.wait_for(|state| !matches!(state, State::Ready { .. })).await.unwrap();
        states.wait_for(|state| matches!(state, State::Ready { .. })).await.unwrap();
    }
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (_, checked) = check(&bootstrap, &topics, &ledger).await;
    assert_eq!(checked, Checked { acked: 20_000, unacked: 0 });
    broker.stop().await;
}

#[tokio::test]
async fn killed_itself_its_ledger_still_holds() {
    let bootstrap = kafka().await.bootstrap();
    let topics = create_topics(&bootstrap, &unique_prefix(), 4).await;
    let scratch = Scratch::new("load");
    let ledger = scratch.path().join("ledger");
    for kills in 1..=3 {
        let mut child = load(&bootstrap, &topics, &ledger, &["--rate", "5000"]);
        until_acked(&ledger, kills * 3000).await;
        child.kill().await.unwrap();
    }
    let output = load(&bootstrap, &topics, &ledger, &["--entries", "100"]).wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (contents, checked) = check(&bootstrap, &topics, &ledger).await;
    assert!(checked.acked >= 9000 && contents.lines().len() >= checked.acked + checked.unacked, "{checked:?}");
}
