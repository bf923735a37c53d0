//! Many entries, many terminals, slow ones, and Kafka going away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use agentworks_broker::{Broker, Config, State};
use agentworks_gateway::GatewayConfig;
use agentworks_ingest::producer::RunHandle;
use agentworks_processors::reader::{ReadFilter, ReadItem, Scope};
use agentworks_schemas::access::Role;
use agentworks_schemas::{Cursor, Level, Position, Source, Topic, TopicPartition};
use rand::RngExt;
use rdkafka::producer::FutureRecord;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::{assert_complete, numbered, write};
use crate::support::stack::{Stack, StackConfig};
use crate::support::terminal::{Shown, Terminal};
use crate::support::{Scratch, eventually, kafka, process, records, unique_prefix};

/// Writes lines at a rate until it is told to stop; how many it has written.
fn writer(run: RunHandle, per_second: u64, stop: Arc<AtomicBool>) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let mut deliveries = Vec::new();
        let began = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let due = began.elapsed().as_millis() as u64 * per_second / 1000;
            while (deliveries.len() as u64) < due {
                let number = deliveries.len();
                let source = if number % 7 == 0 { Source::System } else { Source::Agent };
                let line = format!("line {number} {}", "x".repeat(number % 200));
                deliveries.push(run.log(Level::Info, source, "test", &line).send().await.unwrap());
            }
            sleep(Duration::from_millis(2)).await;
        }
        let count = deliveries.len();
        for delivery in deliveries {
            delivery.await.unwrap();
        }
        count
    })
}

/// The entries of a card in the log, by sequence.
async fn in_log(stack: &Stack, workspace: &str, card: &str) -> BTreeMap<i64, Position> {
    let scope = Scope::Card { workspace: workspace.to_owned(), card: card.to_owned() };
    let start = stack.reader.start(&scope).await.unwrap();
    let end = stack.reader.end(&scope).await.unwrap();
    let mut stream = stack.reader.read(scope, ReadFilter::default(), start, end);
    let mut found = BTreeMap::new();
    while let Some(item) = stream.recv().await {
        let ReadItem::Entry { entry, .. } = item.unwrap() else { panic!("a gap") };
        assert!(found.insert(entry.entry.sequence, entry.position).is_none(), "the topic holds it twice");
    }
    found
}

/// That a terminal was shown everything from its first entry on, once, in the order of each partition, and with positions
/// that are just after each.
fn assert_exact(shown: &[Shown], log: &BTreeMap<i64, Position>) {
    let sequences: Vec<i64> = shown.iter().map(|shown| shown.entry["sequence"].as_i64().unwrap()).collect();
    let first: BTreeMap<TopicPartition, i64> =
        sequences.iter().rev().map(|s| (log[s].partition, log[s].offset)).collect();
    for (partition, first) in first {
        let of_partition = |position: &Position| position.partition == partition;
        let offsets = sequences.iter().map(|s| log[s]).filter(of_partition).map(|position| position.offset);
        let expected = log.values().copied().filter(of_partition).map(|position| position.offset);
        let mut expected: Vec<i64> = expected.filter(|offset| *offset >= first).collect();
        expected.sort();
        assert_eq!(offsets.collect::<Vec<_>>(), expected, "{partition}");
    }
    for (shown, sequence) in shown.iter().zip(&sequences) {
        let position: Cursor = shown.position.parse().unwrap();
        assert!(position.has_passed(log[sequence]));
    }
}

/// What a terminal is shown until the entry with the last sequence of each topic has come.
async fn watch_until(terminal: &mut Terminal, count: impl Fn() -> Option<usize>) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    loop {
        if let Some(count) = count() {
            // Both topics' last ones: they are among the last eight.
            let last = (count.saturating_sub(8)..count).map(|sequence| sequence as i64);
            if last.into_iter().all(|sequence| seen.contains(&sequence)) {
                return shown;
            }
        }
        if let Ok(entries) = timeout(Duration::from_millis(500), terminal.entries()).await {
            seen.extend(entries.iter().map(|shown| shown.entry["sequence"].as_i64().unwrap()));
            shown.extend(entries);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_terminals_that_come_at_any_moment_see_the_topic() {
    const CARDS: usize = 4;
    let stack = Arc::new(Stack::start(&unique_prefix(), 3).await);
    let token = stack.token("acme", Role::Viewer);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..CARDS)
        .map(|card| writer(stack.producer.run("acme", &format!("card-{card}"), "r"), 800, Arc::clone(&stop)))
        .collect();
    let counts: Arc<std::sync::Mutex<Vec<usize>>> = Arc::default();
    let begun = Arc::new(AtomicUsize::new(0));
    let terminals: Vec<_> = (0..100)
        .map(|number| {
            let (stack, token, counts) = (Arc::clone(&stack), token.clone(), Arc::clone(&counts));
            let begun = Arc::clone(&begun);
            tokio::spawn(async move {
                let wait = rand::rng().random_range(0..5000);
                sleep(Duration::from_millis(wait)).await;
                let card = number % CARDS;
                let history = [0, 3, 100, 1000][number % 4];
                let query = format!("?history={history}");
                let mut terminal = Terminal::connect(&stack, &token, &format!("card-{card}"), &query).await;
                terminal.message_of("connection_established").await;
                begun.fetch_add(1, Ordering::Relaxed);
                let count = || counts.lock().unwrap().get(card).copied();
                (card, watch_until(&mut terminal, count).await)
            })
        })
        .collect();
    sleep(Duration::from_secs(6)).await;
    // One that came too late would wait for ever for lines that it isn't shown, having asked for no history.
    eventually(Duration::from_secs(60), async || (begun.load(Ordering::Relaxed) == 100).then_some(())).await;
    sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    let mut written = Vec::new();
    for writer in writers {
        written.push(writer.await.unwrap());
    }
    assert!(written.iter().all(|count| *count > 3000), "{written:?}");
    counts.lock().unwrap().extend(&written);
    let mut logs = Vec::new();
    for (card, count) in written.iter().enumerate() {
        let log = in_log(&stack, "acme", &format!("card-{card}")).await;
        assert_eq!(log.len(), *count);
        logs.push(log);
    }
    for terminal in terminals {
        let (card, shown) = terminal.await.unwrap();
        assert_exact(&shown, &logs[card]);
    }
    Arc::into_inner(stack).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_lags_and_loses_nothing() {
    let config = GatewayConfig { max_pending: 32 * 1024, ..GatewayConfig::default() };
    let config = StackConfig { gateway: config, ..StackConfig::default() };
    let stack = Stack::start_with(&kafka().await.bootstrap(), &unique_prefix(), 2, config).await;
    let token = stack.token("acme", Role::Viewer);
    let run = stack.producer.run("acme", "card", "r");
    let mut terminal = Terminal::connect(&stack, &token, "card", "").await;
    terminal.settle().await;
    write(&run, numbered(0..5)).await;
    assert_complete(terminal.lines(5).await, 0..5);

    // Enough to fill the kernel's buffers on both sides, and its outbox.
    let long = "y".repeat(1000);
    write(&run, (5..12_000).map(|number| format!("line {number} {long}"))).await;
    let detached =
        stack.metrics.detached.get_or_create_owned(&agentworks_gateway::metrics::ReasonLabel { reason: "overflow" });
    eventually(Duration::from_secs(20), async || (detached.get() > 0).then_some(())).await;
    sleep(Duration::from_secs(3)).await;

    let (mut lines, mut lagged) = (Vec::new(), false);
    while lines.len() < 11_995 {
        let message = terminal.message().await;
        lagged |= message["type"] == "lag" && message["data"]["entries"].as_u64() > Some(0);
        assert_ne!(message["type"], "gap");
        let shown = crate::support::terminal::shown(&message);
        lines.extend(shown.iter().map(|shown| shown.message().replace(&format!(" {long}"), "")));
    }
    assert_complete(lines, 5..12_000);
    assert!(lagged, "it was told that it lags");
    let caught_up = terminal.message_of("lag").await;
    assert_eq!(caught_up["data"], json!({"entries": 0, "seconds": 0}));
    write(&run, numbered(12_000..12_010)).await;
    assert_complete(terminal.lines(10).await, 12_000..12_010);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_in_the_wrong_partition_are_found() {
    let stack = Stack::start(&unique_prefix(), 6).await;
    let token = stack.token("acme", Role::Viewer);
    let run = stack.producer.run("acme", "card", "r");
    let mut terminal = Terminal::connect(&stack, &token, "card", "").await;
    write(&run, ["at home".to_owned()]).await;
    assert_eq!(terminal.lines(1).await, ["at home"]);
    let home = agentworks_schemas::topics::partition_of(b"card", 6);
    let topic = stack.settings.topics.name(Topic::AgentLogs);
    let raw = records::producer(&stack.settings.brokers, &[]);
    for number in 0..3 {
        let entry = json!({"runId": "r", "cardId": "card", "workspaceId": "acme", "level": "info", "source": "agent",
            "component": "c", "message": format!("astray {number}")});
        let payload = entry.to_string();
        let record = FutureRecord::to(&topic).key("card").payload(&payload).partition((home + 1) % 6);
        raw.send_result(record).map_err(|(error, _)| error).unwrap().await.unwrap().unwrap();
    }
    assert_eq!(terminal.lines(3).await, ["astray 0", "astray 1", "astray 2"]);
    // From now on it is a partition like any other.
    let payload = json!({"runId": "r", "cardId": "card", "workspaceId": "acme", "level": "info", "source": "agent",
        "component": "c", "message": "astray 3"});
    let payload = payload.to_string();
    let record = FutureRecord::to(&topic).key("card").payload(&payload).partition((home + 1) % 6);
    raw.send_result(record).map_err(|(error, _)| error).unwrap().await.unwrap().unwrap();
    assert_eq!(timeout(Duration::from_secs(2), terminal.lines(1)).await.unwrap(), ["astray 3"]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_is_killed_in_midstream() {
    let folder = Scratch::new("live-kafka");
    let broker = Broker::start(Config::new(folder.path())).await.unwrap();
    let stack = Stack::start_with(&broker.bootstrap(), "kill-", 2, StackConfig::default()).await;
    let token = stack.token("acme", Role::Viewer);
    let run = stack.producer.run("acme", "card", "r");
    let stop = Arc::new(AtomicBool::new(false));
    let count: Arc<std::sync::Mutex<Option<usize>>> = Arc::default();
    let mut terminal = Terminal::connect(&stack, &token, "card", "").await;
    terminal.settle().await;
    let counted = Arc::clone(&count);
    let watching = tokio::spawn(async move {
        let shown = watch_until(&mut terminal, || *counted.lock().unwrap()).await;
        (terminal, shown)
    });
    let writing = writer(run, 500, Arc::clone(&stop));
    let mut late = Vec::new();
    for _ in 0..2 {
        sleep(Duration::from_secs(2)).await;
        let mut events = broker.events();
        process::kill_9(broker.pid().unwrap());
        events.wait_for(|state| !matches!(state, State::Ready { .. })).await.unwrap();
        // One that comes while Kafka is away is greeted as soon as it is back, or told that it has to wait.
        late.push(Terminal::connect(&stack, &token, "card", "?history=1000").await);
        timeout(Duration::from_secs(60), events.wait_for(|state| matches!(state, State::Ready { .. })))
            .await
            .expect("Kafka comes back")
            .unwrap();
    }
    sleep(Duration::from_secs(2)).await;
    stop.store(true, Ordering::Relaxed);
    let written = writing.await.unwrap();
    *count.lock().unwrap() = Some(written);
    let (_, shown) = timeout(Duration::from_secs(60), watching).await.expect("everything is shown").unwrap();
    let log = in_log(&stack, "acme", "card").await;
    assert_eq!(log.len(), written);
    assert_exact(&shown, &log);
    assert_eq!(shown.len(), written);
    for mut terminal in late {
        assert_exact(&watch_until(&mut terminal, || Some(written)).await, &log);
    }
    stack.stop().await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_made_again_is_told_and_followed() {
    let prefix = unique_prefix();
    let stack = Stack::start(&prefix, 1).await;
    let bootstrap = stack.settings.brokers.clone();
    let token = stack.token("acme", Role::Viewer);
    let mut terminal = Terminal::connect(&stack, &token, "card", "").await;
    terminal.settle().await;
    let run = stack.producer.run("acme", "card", "r");
    write(&run, numbered(0..20)).await;
    assert_complete(terminal.lines(20).await, 0..20);

    let topic = stack.settings.topics.name(Topic::AgentLogs);
    records::delete_topic(&bootstrap, &topic).await;
    records::create_topic(&bootstrap, &topic, 1).await;
    let line = |message: &str| {
        let entry = json!({"runId": "r", "cardId": "card", "workspaceId": "acme", "level": "info", "source": "agent",
            "component": "c", "message": message});
        ("card".to_owned(), entry.to_string())
    };
    records::produce(&bootstrap, &topic, [line("too early to be seen")]).await;
    let error = terminal.message_of("error").await;
    assert_eq!(error["data"]["code"], "invalid_value", "{error}");
    terminal.settle().await;
    records::produce(&bootstrap, &topic, [line("on the new one")]).await;
    let shown = terminal.entries().await;
    assert_eq!(shown.last().unwrap().message(), "on the new one");
    // The sinks rightly refuse to go on; so the stack is not stopped in order.
}
