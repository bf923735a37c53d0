use agentworks_schemas::protocol::{RunStatus, RunSummary};
use agentworks_schemas::topics::partition_of;
use agentworks_schemas::{RunEventKind, Source, Timestamp, TopicPartition};
use rand::RngExt;

use super::world::{PARTITIONS, World, entry, event, produced, produced_event};

const BEGAN: i64 = 1_700_000_000_000;

/// What the summary of a run with `count` entries is to say.
fn summary(run: &str, card: &str, count: u64, usages: u32) -> RunSummary {
    let of = |level: u64| (0..count).filter(|i| i % 5 == level).count() as u64;
    RunSummary {
        run_id: run.into(),
        card_id: card.into(),
        agent_id: "agent".into(),
        status: RunStatus::Running,
        inferred: false,
        incomplete: false,
        start_time: Timestamp(BEGAN),
        end_time: None,
        duration: None,
        log_count: count,
        error_count: of(3) + of(4),
        warning_count: of(2),
        cost: (usages > 0).then(|| f64::from(usages) * 0.25),
        tokens_used: (usages > 0).then(|| i64::from(usages) * 3),
        exit_code: None,
        reason: None,
    }
}

/// Whatever the sink has counted, and wherever the records lie: nothing is missing, and nothing counts twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_summary_is_as_of_the_end_of_the_log() {
    let mut world = World::new(40).await;
    let right = partition_of(b"card", PARTITIONS);
    let wrong = (right + 1) % PARTITIONS;
    world.produce([produced_event(&event("w", "card", "r", RunEventKind::Started, BEGAN), right)]).await;
    // Another tenant's card and run of the same names.
    world.produce((0..33).map(|i| produced(&entry("v", "card", "r", i, Source::Agent), right))).await;

    let reader = world.reader.clone();
    // The store knows nothing yet: without the card, nobody knows where to look.
    assert_eq!(reader.run_summary("w", "r", None).await.unwrap(), None);
    let expected = RunSummary { agent_id: String::new(), ..summary("r", "card", 0, 0) };
    assert_eq!(reader.run_summary("w", "r", Some("card")).await.unwrap(), Some(expected));
    world.feed_all().await;

    let (mut count, mut usages) = (0, 0);
    for round in 0..8 {
        let lines: Vec<_> = (count..count + 100)
            .map(|i| {
                let source = if world.random.random_bool(0.3) { Source::System } else { Source::Agent };
                let partition = if world.random.random_bool(0.2) { wrong } else { right };
                produced(&entry("w", "card", "r", i, source), partition)
            })
            .collect();
        world.produce(lines).await;
        world.produce([produced_event(&event("w", "card", "r", RunEventKind::Usage, BEGAN + 1), right)]).await;
        (count, usages) = (count + 100, usages + 1);
        if round == 0 {
            // Hot is what tells where misplaced records lie.
            world.feed_all().await;
        }
        let expected = Some(summary("r", "card", count as u64, usages));
        assert_eq!(reader.run_summary("w", "r", None).await.unwrap(), expected, "before round {round}");
        world.feed_randomly().await;
        assert_eq!(reader.run_summary("w", "r", Some("card")).await.unwrap(), expected, "after round {round}");
        assert_eq!(reader.active_run("w", "card").await.unwrap(), expected);
        let other = reader.run_summary("v", "r", None).await.unwrap().unwrap();
        assert_eq!((other.log_count, other.inferred), (33, true));
    }

    world.produce([produced_event(&event("w", "card", "r", RunEventKind::Failed, BEGAN + 500), right)]).await;
    let ended = RunSummary {
        status: RunStatus::Failed,
        end_time: Some(Timestamp(BEGAN + 500)),
        duration: Some(500),
        ..summary("r", "card", count as u64, usages)
    };
    assert_eq!(reader.run_summary("w", "r", None).await.unwrap(), Some(ended.clone()));
    assert_eq!(reader.active_run("w", "card").await.unwrap(), None);
    assert_eq!(reader.runs_of_card("w", "card", None, 10).await.unwrap().runs, [ended]);
}

/// The list of a card's runs, of which the store knows some.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_only_the_log_knows_are_listed() {
    let mut world = World::new(41).await;
    let right = partition_of(b"card", PARTITIONS);
    let started =
        |i: i64| produced_event(&event("w", "card", &format!("r{i}"), RunEventKind::Started, BEGAN + i), right);
    let ended =
        |i: i64| produced_event(&event("w", "card", &format!("r{i}"), RunEventKind::Completed, BEGAN + i), right);
    // One by one, for runs are listed by their records' time.
    for i in 0..6 {
        world.produce([started(i)]).await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let events = TopicPartition::new(agentworks_schemas::Topic::RunEvents, right);
    world.feed(1, events, 4, true).await;
    // One that the store knows as running ends, and so does one that it doesn't know.
    world.produce([ended(3), ended(5)]).await;

    let reader = &world.reader;
    let ids = |runs: &[RunSummary]| runs.iter().map(|run| (run.run_id.clone(), run.status)).collect::<Vec<_>>();
    let first = reader.runs_of_card("w", "card", None, 2).await.unwrap();
    let (running, completed) = (RunStatus::Running, RunStatus::Completed);
    let expected = [("r5", completed), ("r4", running), ("r3", completed), ("r2", running)];
    assert_eq!(ids(&first.runs), expected.map(|(run, status)| (run.to_owned(), status)));
    let second = reader.runs_of_card("w", "card", first.next.as_ref(), 10).await.unwrap();
    assert_eq!(ids(&second.runs), [("r1", running), ("r0", running)].map(|(run, status)| (run.to_owned(), status)));
    assert_eq!(reader.active_run("w", "card").await.unwrap().unwrap().run_id, "r4");
    world.feed_all().await;
    assert_eq!(world.reader.active_run("w", "card").await.unwrap().unwrap().run_id, "r4");
}

/// Without sinks the log's end is all there is: a card is not looked for through the whole lane, and that is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_sinks_a_run_is_looked_for_near_the_end_alone() {
    let world = World::new(42).await;
    let right = partition_of(b"card", PARTITIONS);
    world.produce([produced_event(&event("w", "card", "r", RunEventKind::Started, BEGAN), right)]).await;
    world.produce((0..10).map(|i| produced(&entry("w", "card", "r", i, Source::Agent), right))).await;
    let reader = &world.reader;
    assert_eq!(reader.active_run("w", "card").await.unwrap(), Some(summary_of_lines(10)));

    // Another card's entries come between, more than are looked through.
    let other = (0..).map(|n| format!("card-{n}")).find(|card| partition_of(card.as_bytes(), PARTITIONS) == right);
    let other = other.unwrap();
    for chunk in 0..21 {
        let lines = (0..10_000).map(|i| entry("w", &other, "s", chunk * 10_000 + i, Source::Agent));
        world.produce(lines.map(|line| produced(&line, right))).await;
    }
    let (active, known) =
        (reader.active_run("w", "card").await.unwrap(), reader.run("w", "r", Some("card")).await.unwrap());
    // Its event is near the end of its own partition; its entries are not.
    let active = active.unwrap();
    assert_eq!((active.log_count, active.incomplete), (0, true));
    assert_eq!(known.unwrap().summary, summary_of_lines(10), "a replay has to know");
    let looks = (0..100).map(|n| async move { reader.active_run("w", &format!("{n}-nobody")).await.unwrap() });
    assert!(futures_util::future::join_all(looks).await.iter().all(Option::is_none));
}

fn summary_of_lines(count: u64) -> RunSummary {
    summary("r", "card", count, 0)
}
