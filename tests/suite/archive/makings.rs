use agentworks_archive::{ArchiveReader, restore_runs};
use agentworks_kafka::{create_topics, describe_topics};
use agentworks_processors::epochs::SinkEpochs;
use agentworks_processors::reader::{ColdTier, Scope};
use agentworks_schemas::Cursor;
use agentworks_schemas::access::Role;
use rdkafka::producer::FutureRecord;
use serde_json::{Value, json};

use super::*;
use crate::replay::{play, terminal};
use crate::rest::get;
use crate::support::eventually;
use crate::support::records::{delete_topic, producer};
use crate::support::stack::{Stack, StackConfig};
use crate::support::terminal::Terminal;

const PATIENCE: Duration = Duration::from_secs(60);
const LANE: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };
/// So many lines were written before agent-logs was made again, and so many there are in all; every third is of the system.
const BEFORE: usize = 24;
const LINES: usize = 40;
/// Milliseconds between the lines' own timestamps.
const STEP: i64 = 20_000;

/// Writes lines of the run, whose messages are their numbers.
async fn write(stack: &Stack, numbers: std::ops::Range<usize>) {
    let producer = producer(&stack.settings.brokers, &[("enable.idempotence", "true")]);
    for number in numbers {
        let topic = if number.is_multiple_of(3) { Topic::SystemLogs } else { Topic::AgentLogs };
        let timestamp = Timestamp(BEGAN + number as i64 * STEP);
        let line = json!({
            "id": number.to_string(), "runId": "run", "cardId": "card", "workspaceId": "acme",
            "timestamp": timestamp, "message": number.to_string(),
        });
        let (name, payload) = (stack.settings.topics.name(topic), line.to_string());
        let record = FutureRecord::to(&name).partition(0).key("card").payload(&payload);
        // One after the other: the log's own clock orders them over the topics.
        producer.send(record, PATIENCE).await.map_err(|(error, _)| error).unwrap();
    }
}

/// Has the archive take what agent-logs has now, in this epoch, but for the last of it.
async fn archive(stack: &Stack, archive: &Archive, epoch: u32, without: i64) {
    let mut sink = ArchiveSink::new(archive.clone(), ArchiveConfig::default(), &mut Registry::default()).unwrap();
    let seek = SeekPool::new(stack.settings.clone(), 1);
    let Watermarks { low, high } = seek.watermarks(LANE).await.unwrap();
    let from = sink.open(LANE, epoch, low).await.unwrap().high;
    let mut batches = seek.read(SeekRequest { partition: LANE, epoch, from, to: high - without, key: None });
    while let Some(batch) = batches.recv().await {
        sink.take(&batch.unwrap()).await.unwrap();
    }
    sink.flush(Flush::Partition(LANE)).await.unwrap();
}

/// Waits until the store has counted so many lines.
async fn counted(stack: &Stack, lines: usize) {
    let is_counted = async || {
        let parts = stack.reader.runs().parts("acme", "run").await.unwrap();
        let counted: u64 = parts.iter().map(|part| part.entries()).sum();
        (counted == lines as u64).then_some(())
    };
    eventually(PATIENCE, is_counted).await;
}

async fn kept(folder: &Scratch) -> Archive {
    let objects = Objects::folder(&folder.path().join("objects")).unwrap().child("archive");
    Archive::open(&objects).await.unwrap()
}

fn config(kept: &Archive) -> StackConfig {
    let reader = Arc::new(ArchiveReader::new(kept));
    let (cold, elsewhere): (Arc<dyn ColdTier>, Arc<dyn SinkEpochs>) = (reader.clone(), reader);
    let refresh = ("topic.metadata.refresh.interval.ms".to_owned(), "500".to_owned());
    StackConfig { kafka: vec![refresh], cold: Some(cold), elsewhere: vec![elsewhere], ..StackConfig::default() }
}

/// A run that has begun, and an archive.
async fn begun(folder: &Scratch) -> (Stack, Archive) {
    let kept = kept(folder).await;
    let config = config(&kept);
    let stack = Stack::start_with(&kafka().await.bootstrap(), &unique_prefix(), 1, config).await;
    let run = stack.producer.run("acme", "card", "run");
    run.started().timestamp(Timestamp(BEGAN)).send().await.unwrap().await.unwrap();
    write(&stack, 0..BEFORE).await;
    counted(&stack, BEFORE).await;
    (stack, kept)
}

/// Deletes agent-logs and makes it again.
async fn make_again(stack: &Stack) {
    delete_topic(&stack.settings.brokers, &stack.settings.topics.name(Topic::AgentLogs)).await;
    eventually(PATIENCE, async || {
        create_topics(&stack.settings, 1, 1).await.ok()?;
        let topics = describe_topics(&stack.settings).await.ok()?;
        (topics.len() == 4 && topics[0].offsets == 0).then_some(())
    })
    .await;
}

async fn adopt(stack: &Stack) {
    let adopt = reqwest::Client::new().post(format!("{}/v1/admin/topics/agent-logs/adopt", stack.url));
    let adopted = adopt.bearer_auth(stack.token("acme", Role::Operator)).send().await.unwrap();
    assert_eq!(adopted.status().as_u16(), 200);
}

/// A run that agent-logs was made again under; of the making before, the archive has all but the last of the lines.
async fn remade(folder: &Scratch, without: i64) -> Stack {
    let (stack, kept) = begun(folder).await;
    archive(&stack, &kept, 0, without).await;
    make_again(&stack).await;
    adopt(&stack).await;
    write(&stack, BEFORE..LINES).await;
    let run = stack.producer.run("acme", "card", "run");
    run.completed().timestamp(Timestamp(BEGAN + LINES as i64 * STEP)).send().await.unwrap().await.unwrap();
    counted(&stack, LINES).await;
    let scope = Scope::Card { workspace: "acme".into(), card: "card".into() };
    let is_adopted = async || {
        let present = *stack.reader.partitions(&scope).await.ok()?.get(&LANE)?;
        let start = stack.reader.start(&scope).await.ok()?.get(LANE)?;
        ((present, start.0) == (1, 0)).then_some(())
    };
    eventually(PATIENCE, is_adopted).await;
    stack
}

/// The numbers of a page's lines.
fn numbers(page: &Value) -> Vec<usize> {
    let entries = page["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["message"].as_str().unwrap().parse().unwrap()).collect()
}

fn all() -> Vec<usize> {
    (0..LINES).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_topic_held_before_it_was_made_again_is_read_as_ever() {
    let folder = Scratch::new("makings");
    let stack = remade(&folder, 0).await;
    let token = stack.token("acme", Role::Viewer);

    // Pages, forward and backward.
    for route in
        ["/v1/cards/card/entries?limit=1000&after=start", "/v1/runs/run/entries?card=card&limit=1000&after=start"]
    {
        let (status, page) = get(&stack, &token, route).await;
        assert_eq!((status, &page["gaps"]), (200, &json!([])), "{page}");
        assert_eq!(numbers(&page), all());
    }
    let (mut before, mut pages) = ("end".to_owned(), Vec::new());
    loop {
        let (status, page) = get(&stack, &token, &format!("/v1/cards/card/entries?limit=7&before={before}")).await;
        assert_eq!((status, &page["gaps"]), (200, &json!([])), "{page}");
        pages.splice(0..0, numbers(&page));
        let Some(next) = page["next"].as_str() else { break };
        before = next.to_owned();
    }
    assert_eq!(pages, all());
    let (_, page) = get(&stack, &token, "/v1/cards/card/entries?limit=1000&after=start").await;
    let position = |number: usize| page["entries"][number]["position"].as_str().unwrap().to_owned();
    let (_, rest) = get(&stack, &token, &format!("/v1/cards/card/entries?limit=1000&after={}", position(10))).await;
    assert_eq!(numbers(&rest), (11..LINES).collect::<Vec<_>>());

    // Links to lines as hits have them: the last line before the topic was made again, and the first one after.
    for number in [BEFORE - 1, BEFORE + 1] {
        let cursor: Cursor = position(number).parse().unwrap();
        let own = Cursor::from_iter(cursor.iter().filter(|(partition, ..)| *partition == LANE));
        let epoch = own.get(LANE).map(|(epoch, _)| epoch);
        assert_eq!(epoch, Some(u32::from(number > BEFORE)));
        let route = format!("/v1/entries/{own}/context?card=card&before=3&after=3");
        let (status, context) = get(&stack, &token, &route).await;
        assert_eq!((status, &context["entry"]["message"]), (200, &json!(number.to_string())), "{context}");
        assert_eq!(context.get("incomplete"), None, "{context}");
        let around = |part: &str| numbers(&json!({"entries": context[part]}));
        assert_eq!(around("before"), (number - 3..number).collect::<Vec<_>>());
        assert_eq!(around("after"), (number + 1..number + 4).collect::<Vec<_>>());
    }

    // Replays, with the system's lines and without.
    let mut terminal = terminal(&stack).await;
    let played = play(&mut terminal, "run", json!({"speed": 0, "includeSystemLogs": true})).await;
    assert_eq!(played.lines, all());
    assert_eq!(played.ordinals, (0..LINES as u64).collect::<Vec<_>>());
    let own: Vec<_> = all().into_iter().filter(|number| number % 3 != 0).collect();
    let of_agents = play(&mut terminal, "run", json!({"speed": 0})).await;
    assert_eq!(of_agents.lines, own);
    assert_eq!(of_agents.ordinals, (0..own.len() as u64).collect::<Vec<_>>());

    // Moved into either making, by ordinal, position, time and fraction.
    for (include_system, lines, played) in [(true, all(), &played), (false, own, &of_agents)] {
        let options = json!({"includeSystemLogs": include_system});
        terminal.send(json!({"type": "replay_run", "runId": "run", "options": options})).await;
        let session = terminal.message_of("replay_started").await["data"]["sessionId"].clone();
        let mut seek = async |field: &str, to: Value| {
            terminal.send(json!({"type": "replay_seek", "sessionId": session, field: to})).await;
            let seeked = terminal.message_of("replay_seeked").await["data"]["position"].clone();
            let next = terminal.message_of("replay_log").await["data"].clone();
            assert_eq!(next["replayPosition"], seeked, "{next}");
            next["message"].as_str().unwrap().parse::<usize>().unwrap()
        };
        for ordinal in [3, lines.len() - 2, 14, 0] {
            assert_eq!(seek("position", json!(ordinal)).await, lines[ordinal]);
            assert_eq!(seek("position", json!(played.positions[ordinal])).await, lines[ordinal + 1]);
            let time = Timestamp(BEGAN + lines[ordinal] as i64 * STEP);
            assert_eq!(seek("time", json!(time)).await, lines[ordinal]);
        }
        assert_eq!(seek("fraction", json!(0.5)).await, lines[lines.len() / 2]);
        terminal.send(json!({"type": "replay_control", "action": "stop", "sessionId": session})).await;
        terminal.message_of("replay_completed").await;
    }

    // Who opens the card sees its last lines, who comes back those since, and both what is written now.
    let mut watching = Terminal::connect(&stack, &token, "card", "?history=30").await;
    let last: Vec<_> = all().split_off(LINES - 30).iter().map(usize::to_string).collect();
    assert_eq!(watching.lines(30).await, last);
    let mut back = Terminal::connect(&stack, &token, "card", &format!("?position={}", position(10))).await;
    let since: Vec<_> = all().split_off(11).iter().map(usize::to_string).collect();
    assert_eq!(back.lines(since.len()).await, since);
    write(&stack, LINES..LINES + 2).await;
    for terminal in [&mut watching, &mut back] {
        assert_eq!(terminal.lines(2).await, [LINES.to_string(), (LINES + 1).to_string()]);
    }
    stack.stop().await;
}

/// Nobody has to hurry with adopting a topic: who watches goes on in it at once, and its positions stay what they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_that_is_open_when_a_topic_is_adopted_late_shows_every_line_once() {
    /// How many lines there are when it is adopted.
    const LATE: usize = 32;
    let folder = Scratch::new("makings");
    let (stack, kept) = begun(&folder).await;
    let token = stack.token("acme", Role::Viewer);
    let sorted = |lines: Vec<String>| {
        let mut numbers: Vec<usize> = lines.iter().map(|line| line.parse().unwrap()).collect();
        numbers.sort();
        numbers
    };
    let mut open = Terminal::connect(&stack, &token, "card", "?history=100").await;
    assert_eq!(sorted(open.lines(BEFORE).await), (0..BEFORE).collect::<Vec<_>>());
    archive(&stack, &kept, 0, 0).await;
    make_again(&stack).await;

    write(&stack, BEFORE..LATE).await;
    assert_eq!(sorted(open.lines(LATE - BEFORE).await), (BEFORE..LATE).collect::<Vec<_>>());
    // Nobody else takes the two makings for one either.
    for route in ["/v1/cards/card/entries?limit=1000", "/v1/runs/run/entries?card=card&limit=1000&after=start"] {
        let (status, page) = get(&stack, &token, route).await;
        assert_eq!((status, &page["gaps"]), (200, &json!([])), "{page}");
        assert_eq!(numbers(&page), (0..LATE).collect::<Vec<_>>());
    }
    let mut late = Terminal::connect(&stack, &token, "card", "?history=100").await;
    assert_eq!(late.lines(LATE).await, (0..LATE).map(|number| number.to_string()).collect::<Vec<_>>());
    let position = late.position.clone().unwrap();

    adopt(&stack).await;
    // Longer than hub and sinks take to notice.
    tokio::time::sleep(Duration::from_secs(5)).await;
    write(&stack, LATE..LINES).await;
    counted(&stack, LINES).await;
    let mut back = Terminal::connect(&stack, &token, "card", &format!("?position={position}")).await;
    for terminal in [&mut open, &mut late, &mut back] {
        assert_eq!(sorted(terminal.lines(LINES - LATE).await), (LATE..LINES).collect::<Vec<_>>());
        let told = terminal.settle().await;
        assert!(
            told.iter().all(|message| !["error", "gap", "log_entry"].contains(&message["type"].as_str().unwrap())),
            "{told:?}"
        );
    }
    let (_, page) = get(&stack, &token, "/v1/cards/card/entries?limit=1000&after=start").await;
    assert_eq!(numbers(&page), all());
    stack.stop().await;
}

/// Of a run the store knows how far it went, so that what the archive never got is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_archive_lacks_of_the_making_before_is_a_gap_in_its_runs() {
    let folder = Scratch::new("makings");
    let stack = remade(&folder, 3).await;
    let token = stack.token("acme", Role::Viewer);
    // Lines of agents have the offsets 0 to 15 there.
    let lost: Vec<_> = (0..BEFORE).filter(|number| number % 3 != 0).skip(13).collect();
    let left: Vec<_> = all().into_iter().filter(|number| !lost.contains(number)).collect();
    let (status, page) = get(&stack, &token, "/v1/runs/run/entries?card=card&limit=1000&after=start").await;
    let gap = json!({"topic": "agent-logs", "partition": 0, "from": 13, "to": 16});
    assert_eq!((status, &page["gaps"]), (200, &json!([gap])), "{page}");
    assert_eq!(numbers(&page), left);
    let (_, page) = get(&stack, &token, "/v1/cards/card/entries?limit=1000&after=start").await;
    assert_eq!(numbers(&page), left);

    // What comes after it keeps its ordinals.
    let mut terminal = terminal(&stack).await;
    let played = play(&mut terminal, "run", json!({"speed": 0})).await;
    let own = |number: &usize| !number.is_multiple_of(3);
    assert_eq!(played.lines, left.iter().copied().filter(own).collect::<Vec<_>>());
    let ordinals: Vec<u64> = (0..13).chain(16..all().iter().filter(|number| own(number)).count() as u64).collect();
    assert_eq!(played.ordinals, ordinals);
    stack.stop().await;
}

/// Whoever begins with a new store begins in the making that the archive has come to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_lost_afterwards_goes_on_in_the_making_that_was_archived() {
    let folder = Scratch::new("makings");
    let before = remade(&folder, 0).await;
    let kept = kept(&folder).await;
    archive(&before, &kept, 1, 4).await;
    let name = before.settings.topics.name(Topic::AgentLogs);
    let (brokers, prefix) = (before.settings.brokers.clone(), name.strip_suffix("agent-logs").unwrap().to_owned());
    before.stop().await;

    let stack = Stack::start_with(&brokers, &prefix, 1, config(&kept)).await;
    let token = stack.token("acme", Role::Viewer);
    // What the log has: of agents, what was written since the topic was made again; of the system, all.
    let of_first = (0..BEFORE).filter(|number| !number.is_multiple_of(3)).count();
    counted(&stack, LINES - of_first).await;
    for route in
        ["/v1/cards/card/entries?limit=1000&after=start", "/v1/runs/run/entries?card=card&limit=1000&after=start"]
    {
        let (status, page) = get(&stack, &token, route).await;
        assert_eq!((status, &page["gaps"]), (200, &json!([])), "{page}");
        assert_eq!(numbers(&page), all());
    }
    let mut watching = Terminal::connect(&stack, &token, "card", "?history=10").await;
    let last: Vec<_> = all().split_off(LINES - 10).iter().map(usize::to_string).collect();
    assert_eq!(watching.lines(10).await, last);
    write(&stack, LINES..LINES + 2).await;
    assert_eq!(watching.lines(2).await, [LINES.to_string(), (LINES + 1).to_string()]);

    // The archive goes on where it was, and what it has of the first making is counted into the new store.
    archive(&stack, &kept, 1, 0).await;
    restore_runs(&ArchiveReader::new(&kept), &stack.store, |_| {}).await.unwrap();
    counted(&stack, LINES + 2).await;
    let mut terminal = terminal(&stack).await;
    let played = play(&mut terminal, "run", json!({"speed": 0, "includeSystemLogs": true})).await;
    assert_eq!(played.lines, (0..LINES + 2).collect::<Vec<_>>());
    stack.stop().await;
}
