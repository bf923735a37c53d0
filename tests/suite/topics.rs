//! Topics that grow and topics that are made again, under terminals and readers that stay.

use std::collections::BTreeSet;
use std::process::Output;
use std::time::Duration;

use agentworks_kafka::{create_topics, describe_topics};
use agentworks_processors::reader::{ReadFilter, ReadItem, Scope};
use agentworks_schemas::access::Role;
use agentworks_schemas::topics::partition_of;
use agentworks_schemas::{Topic, TopicPartition};
use rdkafka::producer::FutureRecord;
use serde_json::json;
use tokio::process::Command;

use crate::support::records::{delete_topic, producer};
use crate::support::stack::{Stack, StackConfig};
use crate::support::terminal::{Terminal, Told, shown};
use crate::support::transactions::{transact, transactional};
use crate::support::{agentworks, eventually, kafka, unique_prefix};

const PATIENCE: Duration = Duration::from_secs(60);

async fn start(partitions: i32) -> Stack {
    let refresh = ("topic.metadata.refresh.interval.ms".to_owned(), "500".to_owned());
    let config = StackConfig { kafka: vec![refresh], ..StackConfig::default() };
    Stack::start_with(&kafka().await.bootstrap(), &unique_prefix(), partitions, config).await
}

/// `agentworks topics …`, as an operator.
async fn topics(stack: &Stack, args: &[&str]) -> Output {
    let mut command = Command::new(agentworks());
    command.arg("topics").args(args).kill_on_drop(true);
    command.env("AGENTWORKS_BROKERS", &stack.settings.brokers);
    command.env("AGENTWORKS_TOPIC_PREFIX", stack.settings.topics.prefix());
    command.env("AGENTWORKS_URL", &stack.url);
    command.env("AGENTWORKS_TOKEN", stack.token("acme", Role::Operator));
    command.output().await.unwrap()
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Writes entries of a card to one partition of agent-logs.
async fn write(stack: &Stack, card: &str, partition: i32, messages: impl Iterator<Item = String>) {
    let name = stack.settings.topics.name(Topic::AgentLogs);
    let producer = producer(&stack.settings.brokers, &[("enable.idempotence", "true")]);
    for message in messages {
        let entry = json!({"id": message, "runId": "run", "cardId": card, "workspaceId": "acme", "message": message});
        let payload = entry.to_string();
        let record = FutureRecord::to(&name).partition(partition).key(card).payload(&payload);
        producer.send(record, PATIENCE).await.map_err(|(error, _)| error).unwrap();
    }
}

fn lines(of: &str, count: usize) -> impl Iterator<Item = String> + use<'_> {
    (0..count).map(move |n| format!("{of} {n:03}"))
}

/// Makes sure that lines of each kind came once and in order.
fn assert_in_order(messages: &[String], kinds: &[&str], count: usize) {
    for kind in kinds {
        let of_kind: Vec<_> = messages.iter().filter(|message| message.starts_with(kind)).cloned().collect();
        assert_eq!(of_kind, lines(kind, count).collect::<Vec<_>>());
    }
    assert_eq!(messages.len(), kinds.len() * count);
}

#[tokio::test]
async fn a_card_that_moves_to_an_added_partition_is_read_whole_and_live() {
    let stack = start(2).await;
    let moves = |card: &String| partition_of(card.as_bytes(), 5) >= 2;
    let card = (0..).map(|n| format!("card-{n}")).find(moves).unwrap();
    let (old, new) = (partition_of(card.as_bytes(), 2), partition_of(card.as_bytes(), 5));
    let token = stack.token("acme", Role::Viewer);
    write(&stack, &card, old, lines("before", 20)).await;
    let mut terminal = Terminal::connect(&stack, &token, &card, "").await;
    let mut messages = terminal.lines(20).await;

    let dry = printed(&topics(&stack, &["grow", "--partitions", "5", "--dry-run"]).await);
    assert!(dry.contains("would grow") && dry.contains("from 2 to 5"), "{dry}");
    let grew = printed(&topics(&stack, &["grow", "--partitions", "5"]).await);
    assert!(grew.contains("grew") && grew.contains("other partitions"), "{grew}");
    let again = eventually(PATIENCE, async || {
        let again = printed(&topics(&stack, &["grow", "--partitions", "5"]).await);
        again.contains("already").then_some(())
    });
    again.await;
    let shrink = topics(&stack, &["grow", "--partitions", "3"]).await;
    assert!(!shrink.status.success() && said(&shrink).contains("can't take partitions away"), "{}", said(&shrink));

    // A producer that hasn't noticed writes where it did; one that has, elsewhere.
    write(&stack, &card, old, lines("old", 20)).await;
    write(&stack, &card, new, lines("new", 20)).await;
    messages.extend(terminal.lines(40).await);
    assert_in_order(&messages, &["before", "old", "new"], 20);

    // Live still, from both.
    write(&stack, &card, old, lines("late-old", 3)).await;
    write(&stack, &card, new, lines("late-new", 3)).await;
    assert_in_order(&terminal.lines(6).await, &["late-old", "late-new"], 3);

    let mut later = Terminal::connect(&stack, &token, &card, "").await;
    assert_in_order(&later.lines(66).await[..60], &["before", "old", "new"], 20);

    // The sinks have it too, and the reader reads it from there and from the log.
    let scope = Scope::Card { workspace: "acme".into(), card: card.clone() };
    let start = eventually(PATIENCE, async || {
        let start = stack.reader.start(&scope).await.ok()?;
        let is_in = |number: &i32| start.get(TopicPartition::new(Topic::AgentLogs, *number)).is_some();
        [old, new].iter().all(is_in).then_some(start)
    })
    .await;
    let end = stack.reader.end(&scope).await.unwrap();
    let mut stream = stack.reader.read(scope, ReadFilter::default(), start, end);
    let (mut read, mut seen) = (Vec::new(), BTreeSet::new());
    while let Some(item) = stream.recv().await {
        let ReadItem::Entry { entry, .. } = item.unwrap() else { panic!("a gap") };
        let at = (entry.position.partition, entry.position.offset);
        assert!(seen.insert(at), "{} came twice", entry.position);
        read.push(entry.entry.message.to_string());
    }
    assert_in_order(&read[..60], &["before", "old", "new"], 20);
    assert_eq!(read.len(), 66);
    terminal.close().await;
    later.close().await;
    stack.stop().await;
}

#[tokio::test]
async fn a_topic_made_again_is_adopted_by_command_and_terminals_go_on() {
    let stack = start(1).await;
    let (card, lane) = ("card", TopicPartition::new(Topic::AgentLogs, 0));
    let token = stack.token("acme", Role::Viewer);
    write(&stack, card, 0, lines("before", 10)).await;
    let mut terminal = Terminal::connect(&stack, &token, card, "").await;
    terminal.lines(10).await;
    let nothing = printed(&topics(&stack, &["adopt"]).await);
    assert!(nothing.contains("nothing to adopt"), "{nothing}");

    let name = stack.settings.topics.name(Topic::AgentLogs);
    delete_topic(&stack.settings.brokers, &name).await;
    eventually(PATIENCE, async || {
        create_topics(&stack.settings, 1, 1).await.ok()?;
        let topics = describe_topics(&stack.settings).await.ok()?;
        (topics.len() == 4 && topics[0].offsets == 0).then_some(())
    })
    .await;
    write(&stack, card, 0, lines("after", 3)).await;

    let viewer = reqwest::Client::new().post(format!("{}/v1/admin/topics/agent-logs/adopt", stack.url));
    assert_eq!(viewer.bearer_auth(&token).send().await.unwrap().status().as_u16(), 403);
    let dry = printed(&topics(&stack, &["adopt", "--dry-run"]).await);
    assert!(dry.contains("agent-logs was made again: would go on in epoch 1"), "{dry}");
    assert!(dry.contains("hot   partition    0: held 0 to"), "{dry}");
    let adopted = printed(&topics(&stack, &["adopt", "agent-logs"]).await);
    assert!(adopted.contains("goes on in epoch 1"), "{adopted}");
    let again = topics(&stack, &["adopt", "agent-logs"]).await;
    assert!(!again.status.success() && said(&again).contains("nothing to adopt"), "{}", said(&again));

    // Whoever comes now sees what is there now.
    let scope = Scope::Card { workspace: "acme".into(), card: card.into() };
    eventually(PATIENCE, async || {
        let start = stack.reader.start(&scope).await.ok()?;
        start.get(lane).filter(|(epoch, _)| *epoch == 1)
    })
    .await;
    let mut fresh = Terminal::connect(&stack, &token, card, "").await;
    assert_eq!(fresh.lines(3).await, lines("after", 3).collect::<Vec<_>>());

    // Whoever was there is told, and goes on live from the end.
    let (mut was_told, mut next) = (false, 0);
    'live: loop {
        assert!(next < 60, "nothing comes");
        write(&stack, card, 0, std::iter::once(format!("live {next:03}"))).await;
        next += 1;
        while let Ok(told) = tokio::time::timeout(Duration::from_millis(500), terminal.told()).await {
            let Told::Message(message) = told else { panic!("{told:?}") };
            was_told |= message["type"] == "error" && message.to_string().contains("made again");
            let lines = shown(&message);
            if lines.iter().any(|line| line.message().starts_with("live")) {
                break 'live;
            }
        }
    }
    assert!(was_told);
    terminal.close().await;
    fresh.close().await;
    stack.stop().await;
}

#[tokio::test]
async fn a_terminal_joins_live_behind_a_transaction_that_was_aborted() {
    let stack = start(1).await;
    let token = stack.token("acme", Role::Viewer);
    let name = stack.settings.topics.name(Topic::AgentLogs);
    let bootstrap = stack.settings.brokers.clone();
    let producer = tokio::task::spawn_blocking(move || transactional(&bootstrap)).await.unwrap();
    let write = async |of: &str, commit: bool| {
        let entry = |message: String| {
            json!({"id": message, "runId": "run", "cardId": "card", "workspaceId": "acme", "message": message})
                .to_string()
        };
        let entries: Vec<_> = lines(of, 3).map(entry).collect();
        let (producer, name) = (producer.clone(), name.clone());
        tokio::task::spawn_blocking(move || transact(&producer, &name, &entries, commit)).await.unwrap();
    };
    write("first", true).await;
    write("never", false).await;
    // The log ends in three records that nobody is given, and a marker.
    let mut early = Terminal::connect(&stack, &token, "card", "").await;
    assert_in_order(&early.lines(3).await, &["first"], 3);
    write("second", true).await;
    assert_in_order(&early.lines(3).await, &["second"], 3);
    write("never", false).await;
    let mut late = Terminal::connect(&stack, &token, "card", "").await;
    assert_in_order(&late.lines(6).await, &["first", "second"], 3);
    write("third", true).await;
    for terminal in [&mut early, &mut late] {
        assert_in_order(&terminal.lines(3).await, &["third"], 3);
    }
    early.close().await;
    late.close().await;
    stack.stop().await;
}
