//! Whatever happens in whatever order: each viewer is given each entry of its card once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use agentworks_schemas::{Cursor, Topic, TopicPartition};
use proptest::prelude::*;

use super::super::attach::Step;
use super::super::core::HubLimits;
use super::super::testing::{AGENT, Bench, EVENTS, SYSTEM, entry};
use super::super::watcher::Watcher;
use crate::socket::Outbox;

const VIEWERS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    /// The log grows by a record: of the watched card or another, with or without a key.
    Append {
        system: bool,
        watched: bool,
        keyed: bool,
    },
    /// The log grows by an offset that holds no record.
    Hole {
        system: bool,
    },
    /// The hub takes records, and pushes what has come if they are the last of a batch.
    Take {
        system: bool,
        count: usize,
        is_last: bool,
    },
    /// The hub drops old records.
    Forget,
    /// A client reads what it was sent.
    Read {
        viewer: usize,
        frames: usize,
    },
    /// A session goes on.
    Step {
        viewer: usize,
    },
    Pause {
        viewer: usize,
    },
    /// A client goes away and comes back with the last position that it has read.
    Reconnect {
        viewer: usize,
    },
    /// A client comes that begins at the end of the log, which the hub may not have come to.
    Join {
        viewer: usize,
    },
    /// The card is found in a partition where it wasn't looked for.
    Extend,
}

fn any_op() -> impl Strategy<Value = Op> {
    let viewer = 0..VIEWERS;
    prop_oneof![
        6 => any::<(bool, bool, bool)>().prop_map(|(system, watched, keyed)| Op::Append { system, watched, keyed }),
        1 => any::<bool>().prop_map(|system| Op::Hole { system }),
        6 => (any::<bool>(), 1usize..6, any::<bool>())
            .prop_map(|(system, count, is_last)| Op::Take { system, count, is_last }),
        1 => Just(Op::Forget),
        5 => (viewer.clone(), 1usize..8).prop_map(|(viewer, frames)| Op::Read { viewer, frames }),
        6 => viewer.clone().prop_map(|viewer| Op::Step { viewer }),
        1 => viewer.clone().prop_map(|viewer| Op::Pause { viewer }),
        1 => viewer.clone().prop_map(|viewer| Op::Reconnect { viewer }),
        2 => viewer.prop_map(|viewer| Op::Join { viewer }),
        1 => Just(Op::Extend),
    ]
}

#[derive(Debug)]
enum State {
    Pulling(Cursor),
    Live,
}

/// A session and its client.
struct Client {
    channel: super::super::channel::ChannelId,
    id: super::super::channel::ViewerId,
    watcher: Arc<Watcher>,
    outbox: Arc<Outbox>,
    state: State,
    /// Where it began, and the position of the last frame that it has read.
    start: Cursor,
    last: Cursor,
    /// What it was shown: the partition and offset of each entry.
    shown: Vec<(TopicPartition, i64)>,
}

/// The log, the hub and the clients.
struct World {
    bench: Bench,
    /// By partition: what lies at each offset.
    log: BTreeMap<TopicPartition, Vec<Record>>,
    taken: BTreeMap<TopicPartition, usize>,
    clients: Vec<Client>,
}

#[derive(Clone, Copy)]
struct Record {
    is_hole: bool,
    watched: bool,
    keyed: bool,
}

const LATER: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 9 };

impl World {
    fn new() -> Self {
        let limits = HubLimits { tail_age: Duration::from_secs(1), ..HubLimits::default() };
        let mut world = World {
            bench: Bench::with(limits),
            log: BTreeMap::from([(AGENT, Vec::new()), (SYSTEM, Vec::new())]),
            taken: BTreeMap::new(),
            clients: Vec::new(),
        };
        for _ in 0..VIEWERS {
            let start = world.bench.end.clone();
            let client = world.connect(start);
            world.clients.push(client);
        }
        world
    }

    fn connect(&mut self, start: Cursor) -> Client {
        let outbox = Arc::new(Outbox::new(1500));
        let watcher = Arc::new(Watcher::new(Arc::clone(&outbox)));
        let events = Cursor::from_iter([(EVENTS, 0, 0)]);
        let ends = (&self.bench.end, &events);
        let (channel, id) = self.bench.core.watch("w", "c", ends, Arc::clone(&watcher));
        let (state, last) = (State::Pulling(start.clone()), start.clone());
        Client { channel, id, watcher, outbox, state, start, last, shown: Vec::new() }
    }

    fn append(&mut self, partition: TopicPartition, record: Record) {
        self.log.entry(partition).or_default().push(record);
        self.bench.append(partition);
    }

    fn take(&mut self, partition: TopicPartition, count: usize) {
        let Some(records) = self.log.get(&partition).cloned() else { return };
        // As the consumer: nothing before the partition has joined, and from where it did.
        let Some(lane) = self.bench.core.lanes.get(&partition) else { return };
        let taken = self.taken.entry(partition).or_insert(lane.next as usize);
        let until = (*taken + count).min(records.len());
        for (offset, record) in records.iter().enumerate().take(until).skip(*taken) {
            let Record { is_hole, watched, keyed } = *record;
            if !is_hole {
                let message = format!("{} {} {offset}", partition.topic as u8, partition.partition);
                let entry = if watched { entry("w", "c", "r", &message) } else { entry("v", "c", "r", &message) };
                self.bench.take(partition, offset as i64, &entry, keyed);
            }
        }
        *taken = until;
    }

    /// What the reader of history would give.
    fn read_log(&self, from: &Cursor, to: &Cursor) -> Vec<(TopicPartition, i64)> {
        let mut found = Vec::new();
        for (partition, _, to) in to.iter() {
            let from = from.get(partition).map_or(0, |(_, next)| next);
            let records = self.log.get(&partition).map(Vec::as_slice).unwrap_or_default();
            for (offset, record) in records.iter().enumerate() {
                if record.watched && !record.is_hole && (from..to).contains(&(offset as i64)) {
                    found.push((partition, offset as i64));
                }
            }
        }
        found
    }

    fn step(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let news = client.watcher.take();
        if let Some((cursor, _)) = news.detached {
            assert!(matches!(client.state, State::Live), "only who is live is let go of");
            client.state = State::Pulling(cursor);
        }
        let State::Pulling(cursor) = &mut client.state else { return };
        match self.bench.core.step(client.channel, client.id, cursor, &None) {
            Step::Live => client.state = State::Live,
            Step::More(_) => {}
            Step::Behind(target) => {
                // What waits in the outbox comes before.
                let from = cursor.clone();
                self.drain(index, usize::MAX);
                let read = self.read_log(&from, &target);
                let client = &mut self.clients[index];
                client.shown.extend(read);
                let mut reached = from;
                super::super::channel::raise(&mut reached, &target);
                client.last = reached.clone();
                client.state = State::Pulling(reached);
            }
        }
    }

    fn drain(&mut self, index: usize, frames: usize) {
        let client = &mut self.clients[index];
        let mut taken = VecDeque::new();
        client.outbox.take(&mut taken, frames);
        for frame in taken {
            client.outbox.written(frame.len());
            let value: serde_json::Value = serde_json::from_slice(frame.payload()).unwrap();
            let position: Cursor = value["position"].as_str().unwrap().parse().unwrap();
            let message = value["data"]["message"].as_str().unwrap();
            let place: Vec<i64> = message.split(' ').map(|number| number.parse().unwrap()).collect();
            let topic = Topic::from_u8(place[0] as u8).unwrap();
            let (partition, offset) = (TopicPartition::new(topic, place[1] as i32), place[2]);
            assert_eq!(position.get(partition), Some((0, offset + 1)), "the position is just after the entry");
            client.shown.push((partition, offset));
            for (partition, _, next) in client.last.iter() {
                assert!(position.get(partition).is_some_and(|(_, after)| after >= next), "a position never goes back");
            }
            client.last = position;
        }
    }

    fn run(&mut self, op: Op) {
        let topic = |system| if system { SYSTEM } else { AGENT };
        match op {
            Op::Append { system, watched, keyed } => {
                self.append(topic(system), Record { is_hole: false, watched, keyed });
            }
            Op::Hole { system } => self.append(topic(system), Record { is_hole: true, watched: false, keyed: false }),
            Op::Take { system, count, is_last } => {
                self.take(topic(system), count);
                self.take(LATER, count);
                if is_last {
                    self.bench.core.flush();
                }
            }
            Op::Forget => {
                self.bench.now += Duration::from_secs(2);
                self.bench.core.sweep(self.bench.now);
            }
            Op::Read { viewer, frames } => self.drain(viewer, frames),
            Op::Step { viewer } => self.step(viewer),
            Op::Pause { viewer } => {
                let client = &mut self.clients[viewer];
                if let Some(cursor) = self.bench.core.detach(client.channel, client.id) {
                    client.state = State::Pulling(cursor);
                }
            }
            Op::Reconnect { viewer } => {
                let Client { channel, id, start, last, shown, .. } = self.clients.remove(viewer);
                self.bench.core.unwatch(channel, id, self.bench.now);
                let client = self.connect(last);
                self.clients.insert(viewer, Client { start, shown, ..client });
            }
            Op::Join { viewer } => {
                let Client { channel, id, .. } = self.clients.remove(viewer);
                self.bench.core.unwatch(channel, id, self.bench.now);
                let client = self.connect(self.bench.end.clone());
                self.clients.insert(viewer, client);
                self.step(viewer);
            }
            Op::Extend => {
                for watched in [true, false, true] {
                    self.append(LATER, Record { is_hole: false, watched, keyed: true });
                }
                let end = self.bench.end.clone();
                let channel = self.clients[0].channel;
                self.bench.core.extend(channel, &end, &Cursor::new());
            }
        }
    }

    /// Lets everything come to rest, and compares what each client was shown with the log.
    fn check(mut self) {
        for partition in [AGENT, SYSTEM, LATER] {
            self.take(partition, usize::MAX / 2);
        }
        self.bench.core.flush();
        for index in 0..VIEWERS {
            for _ in 0..500 {
                self.step(index);
                self.drain(index, usize::MAX);
            }
            let end = self.bench.end.clone();
            let client = &self.clients[index];
            assert!(matches!(client.state, State::Live), "{:?}", client.state);
            let mut expected = self.read_log(&client.start, &end);
            let mut by_partition: BTreeMap<TopicPartition, Vec<i64>> = BTreeMap::new();
            for (partition, offset) in &client.shown {
                by_partition.entry(*partition).or_default().push(*offset);
            }
            assert!(by_partition.values().all(|offsets| offsets.is_sorted()), "{by_partition:?}");
            let mut shown = client.shown.clone();
            shown.sort();
            expected.sort();
            assert_eq!(shown, expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn each_viewer_is_given_each_entry_once(ops in proptest::collection::vec(any_op(), 1..120)) {
        let mut world = World::new();
        ops.into_iter().for_each(|op| world.run(op));
        world.check();
    }
}
