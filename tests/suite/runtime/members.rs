use std::time::Instant;

use agentworks_processors::runtime::Runtime;
use agentworks_processors::runtime::testing::Memory;

use super::{Log, PARTITIONS, PATIENCE, reads};
use crate::support::eventually;

const ALL: usize = 2 * PARTITIONS as usize;

#[tokio::test]
async fn members_that_come_and_go_lose_and_double_nothing() {
    let mut log = Log::new().await;
    let (hot, runs) = (Memory::new("hot"), Memory::new("runs"));
    let first = log.start(&[&hot, &runs]);
    log.produce(300).await;
    reads(&first, ALL).await;

    let second = log.start(&[&hot, &runs]);
    log.produce(300).await;
    reads(&second, ALL / 2).await;
    reads(&first, ALL / 2).await;
    log.produce(300).await;
    log.held_by(&[&hot, &runs]).await;

    // One leaves in order, in the midst of it.
    log.produce(300).await;
    first.shutdown().await;
    log.produce(300).await;
    reads(&second, ALL).await;
    log.held_by(&[&hot, &runs]).await;

    // One crashes.
    let third = log.start(&[&hot, &runs]);
    reads(&third, ALL / 2).await;
    log.produce(300).await;
    drop(third);
    log.produce(300).await;
    reads(&second, ALL).await;
    log.held_by(&[&hot, &runs]).await;
    second.shutdown().await;
}

#[tokio::test]
async fn a_static_member_has_its_partitions_back_at_once() {
    let mut log = Log::new().await;
    let hot = Memory::new("hot");
    for _ in 0..3 {
        let mut config = log.config(&[&hot]);
        config.instance = Some("one".into());
        let begun = Instant::now();
        let runtime = Runtime::start(config).unwrap();
        reads(&runtime, ALL).await;
        // Much less than a session, for which a dynamic member that crashed is waited for.
        assert!(begun.elapsed().as_secs() < 8, "{:?}", begun.elapsed());
        log.produce(50).await;
        drop(runtime);
    }
    let mut config = log.config(&[&hot]);
    config.instance = Some("one".into());
    let old = Runtime::start(config).unwrap();
    log.held_by(&[&hot]).await;

    // Another with the same name takes its place, and it says so.
    let mut config = log.config(&[&Memory::new("other")]);
    config.instance = Some("one".into());
    let new = Runtime::start(config).unwrap();
    let complaint = eventually(PATIENCE, async || old.status().kafka).await;
    assert!(complaint.contains("same instance name"), "{complaint}");
    new.shutdown().await;
    old.shutdown().await;
}
