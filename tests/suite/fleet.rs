//! Several gateways: each lane at home with one, clients that go on with another, and a balancer before them.

mod balancer;
mod behind;
mod follower;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use agentworks_gateway::auth::{Secret, mint};
use agentworks_ingest::producer::{Producer, RunHandle};
use agentworks_schemas::access::{Claims, Role as Access};
use agentworks_schemas::{Level, Source, Topics};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

use crate::support::cassandra::cassandra;
use crate::support::dev::free_port;
use crate::support::records::create_topics;
use crate::support::role::{Role, command};
use crate::support::{eventually, kafka, unique_prefix};
use follower::{Follower, Story};

const SECRET: &str = "a secret of the tests, long enough";
const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 8;
/// How long gateways have to drain, in all, and how far the clients are spread.
const DEADLINE: Duration = Duration::from_secs(8);
const JITTER: Duration = Duration::from_secs(2);

fn token() -> String {
    let secret = Secret::new(SECRET, "the tests").unwrap();
    let (workspace, subject) = ("space".to_owned(), "test".to_owned());
    let claims =
        Claims { workspace, subject, role: Access::Operator, cards: None, expires: 0, key: None, token_id: None };
    mint(&secret, &claims, Duration::from_secs(3600)).unwrap()
}

/// Gateways that know each other, on one Kafka and one store.
struct Fleet {
    gateways: BTreeMap<String, Role>,
    producer: Producer,
}

impl Fleet {
    async fn start(count: usize) -> Fleet {
        let (brokers, prefix) = (kafka().await.bootstrap(), unique_prefix());
        create_topics(&brokers, &prefix, PARTITIONS).await;
        let store = cassandra().await.config();
        let (host, keyspace) = (&store.contact_points[0], &store.keyspace);
        let user = store.user.as_deref().unwrap();
        let addresses: Vec<_> = (0..count).map(|_| format!("127.0.0.1:{}", free_port())).collect();
        let variables = [
            ("AGENTWORKS__KAFKA__BROKERS", brokers.clone()),
            ("AGENTWORKS__KAFKA__TOPIC_PREFIX", prefix.clone()),
            ("AGENTWORKS__STORE__URL", format!("cql://{user}@{host}/{keyspace}")),
            // The password of a new Cassandra is its user's name.
            ("AGENTWORKS__STORE__PASSWORD", user.to_owned()),
            ("AGENTWORKS_STORE_PASSWORD", user.to_owned()),
            ("AGENTWORKS__AUTH__SECRET", SECRET.to_owned()),
            ("AGENTWORKS__GATEWAY__PEERS", addresses.join(",")),
            ("AGENTWORKS__GATEWAY__PEERS_INTERVAL", "300ms".to_owned()),
            ("AGENTWORKS__GATEWAY__DRAIN_DELAY", "1s".to_owned()),
            ("AGENTWORKS__GATEWAY__DRAIN_JITTER", format!("{}ms", JITTER.as_millis())),
            ("AGENTWORKS__GATEWAY__DRAIN_DEADLINE", format!("{}ms", DEADLINE.as_millis())),
        ];
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let output = command(&["migrate"], &variables).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut gateways = BTreeMap::new();
        for address in addresses {
            let advertise = format!("http://{address}");
            let own = [&variables[..], &[("AGENTWORKS__GATEWAY__ADVERTISE", &advertise)]].concat();
            gateways.insert(address.clone(), Role::start_at(&address, &["serve"], &own).await);
        }
        for gateway in gateways.values() {
            gateway.is_ready().await;
        }
        let topics = Topics::with_prefix(prefix);
        let producer = Producer::builder(&brokers).topics(topics).linger(Duration::from_millis(1)).build().unwrap();
        let fleet = Fleet { gateways, producer };
        fleet.agrees_on(count, &["card-0".to_owned()]).await;
        fleet
    }

    fn addresses(&self) -> Vec<String> {
        self.gateways.keys().cloned().collect()
    }

    /// What a gateway says of a card's home.
    async fn home(&self, gateway: &Role, card: &str) -> Value {
        let request = reqwest::Client::new().get(format!("{}/v1/cards/{card}/gateway", gateway.url()));
        let answer = request.bearer_auth(token()).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    /// Where each card is at home, `HOST:PORT`, once all gateways say the same and know of `count`.
    async fn agrees_on(&self, count: usize, cards: &[String]) -> HashMap<String, String> {
        let agree = async || {
            let mut homes: HashMap<String, String> = HashMap::new();
            for (address, gateway) in &self.gateways {
                for card in cards {
                    let home = self.home(gateway, card).await;
                    let url = home["gateway"]["url"].as_str().unwrap_or_else(|| panic!("{home}"));
                    assert_eq!(home["cardId"], **card);
                    assert_eq!(home["isSelf"], url == format!("http://{address}"), "{home}");
                    let url = url.strip_prefix("http://").unwrap().to_owned();
                    let members = home["members"].as_array().unwrap().len();
                    if members != count || *homes.entry(card.clone()).or_insert_with(|| url.clone()) != url {
                        return None;
                    }
                }
            }
            Some(homes)
        };
        eventually(PATIENCE, agree).await
    }

    async fn take(&mut self, address: &str) -> Role {
        self.gateways.remove(address).unwrap()
    }
}

/// Clients, one a card, and lines that go on coming.
struct Load {
    writing: JoinHandle<usize>,
    stop: watch::Sender<bool>,
    goal: watch::Sender<usize>,
    seen: Vec<watch::Receiver<usize>>,
    followers: Vec<JoinHandle<Story>>,
}

impl Load {
    /// Each client begins at its card's home.
    fn start(fleet: &Fleet, cards: &[String], homes: &HashMap<String, String>) -> Load {
        Load::through(fleet, cards, |card| {
            let mut gateways = fleet.addresses();
            let home = gateways.iter().position(|address| *address == homes[card]).unwrap();
            gateways.rotate_left(home);
            gateways
        })
    }

    /// Each client knows of these addresses, `HOST:PORT`, and begins at the first.
    fn through(fleet: &Fleet, cards: &[String], addresses: impl Fn(&str) -> Vec<String>) -> Load {
        let (goal, is_goal) = watch::channel(usize::MAX);
        let (mut seen, mut followers) = (Vec::new(), Vec::new());
        for card in cards {
            let (sender, receiver) = watch::channel(0);
            let (goal, gateways) = (is_goal.clone(), addresses(card));
            let follower = Follower { card: card.clone(), token: token(), gateways, goal, seen: sender };
            followers.push(tokio::spawn(follower.follow()));
            seen.push(receiver);
        }
        let (stop, is_stopped) = watch::channel(false);
        let runs: Vec<_> = cards.iter().map(|card| fleet.producer.run("space", card, "run")).collect();
        let writing = tokio::spawn(write(runs, is_stopped));
        Load { writing, stop, goal, seen, followers }
    }

    /// Waits until every client has seen so many lines more than the one that has seen most.
    async fn goes_on(&mut self, more: usize) {
        let most = self.seen.iter().map(|seen| *seen.borrow()).max().unwrap();
        for seen in &mut self.seen {
            timeout(PATIENCE, seen.wait_for(|count| *count >= most + more)).await.expect("it goes on").unwrap();
        }
    }

    /// Ends the lines, and waits until every client has seen all of them.
    async fn finish(self) -> Vec<Story> {
        self.stop.send_replace(true);
        self.goal.send_replace(self.writing.await.unwrap());
        let mut stories = Vec::new();
        for follower in self.followers {
            stories.push(timeout(PATIENCE, follower).await.expect("it sees all").unwrap());
        }
        stories
    }
}

/// Writes a line to each card again and again; how many each got in the end, all of them in the log.
async fn write(runs: Vec<RunHandle>, mut stop: watch::Receiver<bool>) -> usize {
    let (mut ticks, mut number) = (interval(Duration::from_millis(40)), 0);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return number,
        }
        let mut deliveries = Vec::new();
        for run in &runs {
            let line = format!("line {number}");
            deliveries.push(run.log(Level::Info, Source::Agent, "test", &line).send().await.unwrap());
        }
        for delivery in deliveries {
            delivery.await.unwrap();
        }
        number += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_gateway_dies_and_another_drains_clients_go_on_elsewhere_with_no_gap_and_no_double() {
    let mut fleet = Fleet::start(3).await;
    let cards: Vec<_> = (0..40).map(|n| format!("card-{n}")).collect();
    let homes = fleet.agrees_on(3, &cards).await;
    let mut load = Load::start(&fleet, &cards, &homes);
    load.goes_on(20).await;
    for (address, gateway) in &fleet.gateways {
        let own = homes.values().filter(|home| *home == address).count() as f64;
        assert_eq!(gateway.metric("agentworks_terminal_active_connections", "").await, own);
        assert_eq!(gateway.metric("agentworks_routing_healthy_members", "").await, 3.0);
    }

    // One dies: its lanes move, the others' don't.
    let dead = homes["card-0"].clone();
    fleet.take(&dead).await.kill_9().await;
    load.goes_on(20).await;
    let after = fleet.agrees_on(2, &cards).await;
    for card in &cards {
        assert_eq!(after[card] != homes[card], homes[card] == dead, "{card}");
    }

    // Another drains: it says so at once, serves on, and ends in time. The one with most clients: another may have none.
    let mut served = Vec::new();
    for (address, gateway) in &fleet.gateways {
        served.push((gateway.metric("agentworks_terminal_active_connections", "").await as usize, address.clone()));
    }
    let (served, leaving) = served.into_iter().max().unwrap();
    assert!(served >= 20);
    let gateway = fleet.take(&leaving).await;
    let began = Instant::now();
    gateway.begin_to_terminate();
    gateway.waits_for("draining").await;
    let homes = fleet.agrees_on(1, &cards).await;
    assert!(homes.values().all(|home| *home != leaving));
    let (status, log) = gateway.ended().await;
    assert!(status.success(), "{log}");
    assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
    load.goes_on(20).await;

    let [last] = &fleet.gateways.values().collect::<Vec<_>>()[..] else { panic!("one is left") };
    assert_eq!(last.metric("agentworks_terminal_active_connections", "").await, 40.0);
    let stories = load.finish().await;
    let waits: Vec<_> = stories.iter().flat_map(|story| &story.asked_to_go).collect();
    assert_eq!(waits.len(), served, "each that was connected was asked once: {stories:?}");
    assert!(waits.iter().all(|after| u128::from(**after) <= JITTER.as_millis()), "{waits:?}");
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*most - *least > JITTER.as_millis() as u64 / 4, "they are spread: {waits:?}");
    // Nobody had to be closed: who was asked to go went.
    assert!(stories.iter().all(|story| !story.ends.contains(&Some(1012))), "{stories:?}");
    let broken = stories.iter().filter(|story| !story.ends.is_empty()).count();
    assert!(broken > 0, "those of the dead one found their connections broken");
}
