//! `kill -9`, over and over, while a fleet writes and terminals watch: what was acknowledged is seen once and in order by
//! clients that come back with their last position, and is there once in what is read from the start.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agentworks_ingest::producer::Producer;
use agentworks_load::ledger::{Line, Outcome};
use agentworks_load::{Checker, Contents, Fleet, Ledger, Limit, Observed, Pace, Progress, drive, hash};
use agentworks_schemas::codec::encode_entry_body;
use agentworks_schemas::protocol::ServerMessage;
use agentworks_schemas::{Cursor, LogEntry, Timestamp, Topic, TopicPartition, Topics};
use futures_util::StreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{oneshot, watch};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::dev::{Dev, free_port};
use crate::support::{Scratch, eventually, process};

const CARDS: usize = 4;
const RATE: f64 = 5000.0;
const GOES_ON: Duration = Duration::from_secs(90);
const CAUGHT_UP: Duration = Duration::from_secs(120);

/// What the running instance is reached by; a client waits for the next one when it is gone.
#[derive(Clone, Default)]
struct Address {
    url: String,
    token: String,
}

/// A terminal that watches a card and comes back with its last position for as long as it is let.
async fn terminal(card: String, mut address: watch::Receiver<Address>, seen: watch::Sender<Vec<Seen>>) {
    let mut position: Option<Cursor> = None;
    loop {
        let Address { url, token } = address.borrow_and_update().clone();
        let query = position.as_ref().map_or("history=100000".to_owned(), |position| format!("position={position}"));
        let url = format!("{}/v1/cards/{card}/stream?{query}", url.replace("http://", "ws://"));
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        if let Ok((mut socket, _)) = connect_async(request).await {
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else { continue };
                match ServerMessage::parse(&text).unwrap() {
                    ServerMessage::LogEntry { position: at, data } => {
                        position = Some(at);
                        seen.send_modify(|seen| seen.push(Seen::of(&data)));
                    }
                    ServerMessage::LogsBatch { position: at, data, .. } => {
                        position = Some(at);
                        seen.send_modify(|seen| seen.extend(data.iter().map(|one| Seen::of(&one.entry))));
                    }
                    ServerMessage::Gap { data, .. } => panic!("{data:?}"),
                    _ => {}
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An entry as a client saw it.
#[derive(Clone, Debug)]
struct Seen {
    id: String,
    hash: u64,
}

impl Seen {
    fn of(entry: &LogEntry<'_>) -> Self {
        let mut body = Vec::new();
        encode_entry_body(entry, &mut body);
        Seen { id: entry.id.to_string(), hash: hash(&body) }
    }
}

/// Clients aren't told where an entry lies; that it is the one that was sent, and in its order, is what is compared.
fn observed(seen: &[Seen], ledger: &Contents) -> Vec<Observed> {
    let by_id: HashMap<_, _> = ledger.lines().iter().map(|line| (line.sent.id.as_str(), line)).collect();
    let place = |id: &str| match by_id.get(id).map(|line| (&line.outcome, line.sent.topic)) {
        Some((Outcome::Acked(partition, offset), _)) => (*partition, offset.unwrap_or(-1)),
        Some((_, topic)) => (TopicPartition::new(topic, 0), -1),
        None => (TopicPartition::new(Topic::AgentLogs, 0), -1),
    };
    let observed = |one: &Seen| {
        let (partition, offset) = place(&one.id);
        Observed { partition, offset, id: one.id.clone(), hash: one.hash }
    };
    seen.iter().map(observed).collect()
}

/// All entries of a card over REST, page by page from the first.
async fn read_all(address: &Address, card: &str) -> Vec<Seen> {
    #[derive(serde::Deserialize)]
    struct Page<'a> {
        #[serde(borrow)]
        entries: Vec<&'a serde_json::value::RawValue>,
        next: Option<String>,
    }
    let client = reqwest::Client::new();
    let (mut seen, mut after) = (Vec::new(), "start".to_owned());
    loop {
        let url = format!("{}/v1/cards/{card}/entries?limit=1000&after={after}", address.url);
        // A broker that stood still for long is without its partitions for a moment.
        let answer = eventually(GOES_ON, || async {
            let answer = client.get(&url).bearer_auth(&address.token).send().await.unwrap();
            (answer.status() != reqwest::StatusCode::SERVICE_UNAVAILABLE).then_some(answer)
        });
        let text = answer.await.error_for_status().unwrap().text().await.unwrap();
        let page: Page<'_> = serde_json::from_str(&text).unwrap();
        let read = |raw: &&serde_json::value::RawValue| Seen::of(&serde_json::from_str(raw.get()).unwrap());
        seen.extend(page.entries.iter().map(read));
        match page.next {
            Some(next) if !page.entries.is_empty() => after = next,
            _ => return seen,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_acknowledged_survives_kill_9_ten_times() {
    let kills: usize = std::env::var("AGENTWORKS_KILLS").map_or(10, |kills| kills.parse().unwrap());
    let seed = std::env::var("AGENTWORKS_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("AGENTWORKS_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let scratch = Scratch::new("kill");
    let data = scratch.path().join("data");
    let ports = (free_port(), free_port());

    let mut dev = Dev::start(&data, ports).await;
    let (to_terminals, address) = watch::channel(Address::default());
    let tell = |dev: &Dev| {
        let token = dev.token().to_owned();
        to_terminals.send(Address { url: dev.url().to_owned(), token }).unwrap();
    };
    tell(&dev);

    let fleet = Fleet { cards: CARDS, rate: RATE, workspace: "default".into(), ..Fleet::new(seed, Timestamp::now()) };
    let mut terminals = Vec::new();
    for index in 0..CARDS {
        let card = fleet.card(index);
        let (seen, watch) = watch::channel(Vec::new());
        terminals.push((card.clone(), watch, tokio::spawn(terminal(card, address.clone(), seen))));
    }

    let ledger = scratch.path().join("ledger");
    let producer = Producer::builder(dev.brokers())
        .topics(Topics::default())
        .delivery_timeout(Duration::from_secs(300))
        .build()
        .unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let progress = Arc::new(Progress::default());
    let driving = {
        let (fleet, ledger, progress) = (fleet.clone(), Ledger::create(&ledger).unwrap(), progress.clone());
        tokio::spawn(async move {
            let stop = async { drop(stopped.await) };
            drive(&fleet, Pace::Fleet, Limit::default(), &producer, Some(ledger), &progress, stop).await.unwrap()
        })
    };

    // Without any position yet, a terminal would come back to the newest entries alone.
    for (_, watch, _) in &mut terminals {
        let some = watch.wait_for(|seen: &Vec<Seen>| !seen.is_empty());
        drop(tokio::time::timeout(GOES_ON, some).await.expect("an entry"));
    }
    for kill in 0..kills {
        let before = progress.counts().acked;
        tokio::time::sleep(Duration::from_millis(random.random_range(500..2500))).await;
        if random.random_bool(0.3) {
            // Kafka alone; it is started again by its parent.
            let pid = std::fs::read_to_string(data.join("kafka/kafka.pid")).unwrap();
            process::kill_9(pid.split_ascii_whitespace().next().unwrap().parse().unwrap());
        } else {
            dev.kill_9().await;
            dev = Dev::start(&data, ports).await;
            tell(&dev);
        }
        eventually(GOES_ON, || async { (progress.counts().acked > before).then_some(()) }).await;
        println!("kill {kill}: {:?}", progress.counts());
    }
    drop(stop);
    let counts = driving.await.unwrap();
    println!("sent {counts:?}");
    let ledger = Contents::read(&ledger).unwrap();
    let last = address.borrow().clone();

    for (card, watch, task) in &terminals {
        let of_card = |line: &Line| line.sent.card == *card && line.sent.topic != Topic::RunEvents;
        let acked: Vec<_> = ledger.lines().iter().filter(|line| of_card(line)).collect();
        let acked = acked.iter().filter(|l| matches!(l.outcome, Outcome::Acked(..))).count();
        let mut watch = watch.clone();
        let caught_up = tokio::time::timeout(CAUGHT_UP, watch.wait_for(|seen| seen.len() >= acked)).await.is_ok();
        // Some that nobody acknowledged may come after the last that was.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let seen = watch.borrow().clone();
        task.abort();
        let checker = Checker::new(&ledger).only(of_card);
        match checker.check(&observed(&seen, &ledger)) {
            Ok(checked) => println!("{card}, live: {checked:?}"),
            Err(faults) => panic!("{card}, live ({} of {acked} seen, caught up: {caught_up}):\n{faults}", seen.len()),
        }
        let read = read_all(&last, card).await;
        match checker.check(&observed(&read, &ledger)) {
            Ok(checked) => println!("{card}, from its first: {checked:?}"),
            Err(faults) => panic!("{card}, from its first:\n{faults}"),
        }
    }
}
