//! Whatever happens in whatever order: each viewer is given each entry of its card once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use agentworks_schemas::protocol::LiveFilters;
use agentworks_schemas::{Cursor, Level, LogEntry, Topic, TopicPartition};
use proptest::prelude::*;

use super::super::attach::Step;
use super::super::core::HubLimits;
use super::super::testing::{AGENT, Bench, EVENTS, SYSTEM, entry};
use super::super::wanted::{Filters, Wanted};
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
    /// A client wants less from now on, or all again.
    Want {
        viewer: usize,
        errors: bool,
    },
    /// A client is told its position.
    Mark {
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
        2 => (viewer.clone(), any::<bool>()).prop_map(|(viewer, errors)| Op::Want { viewer, errors }),
        2 => viewer.clone().prop_map(|viewer| Op::Mark { viewer }),
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
    wanted: Wanted,
    /// From which cursor on it wanted errors alone, or everything: the last one that has not passed an entry counts.
    eras: Vec<(Cursor, bool)>,
    told: Cursor,
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
        let (wanted, eras, told) = (Wanted::default(), vec![(start.clone(), false)], Cursor::new());
        Client { channel, id, watcher, outbox, state, wanted, eras, told, start, last, shown: Vec::new() }
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
                let entry = entry(if watched { "w" } else { "v" }, "c", "r", &message);
                let level = if is_error(offset as i64) { Level::Error } else { Level::Info };
                let entry = LogEntry { level, ..entry };
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
        match self.bench.core.step(client.channel, client.id, cursor, &client.wanted) {
            Step::Live => client.state = State::Live,
            Step::More(_) => {}
            Step::Behind(target) => {
                // What waits in the outbox comes before.
                let from = cursor.clone();
                self.drain(index, usize::MAX);
                let read = self.read_log(&from, &target);
                let client = &mut self.clients[index];
                let filtered = client.wanted.filters.is_some();
                client.shown.extend(read.into_iter().filter(|(_, offset)| !filtered || is_error(*offset)));
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
            // In a batch each entry has its own position, and the last one has the batch's.
            let single = [serde_json::json!({"position": value["position"], "message": value["data"]["message"]})];
            let entries = value["data"].as_array().map_or(&single[..], Vec::as_slice);
            let position: Cursor = value["position"].as_str().unwrap().parse().unwrap();
            if entries.is_empty() {
                assert!(covers(&position, &client.last), "a position never goes back");
                client.last = position;
                continue;
            }
            for entry in entries {
                let position: Cursor = entry["position"].as_str().unwrap().parse().unwrap();
                let place = entry["message"].as_str().unwrap().split(' ').map(|number| number.parse().unwrap());
                let place: Vec<i64> = place.collect();
                let topic = Topic::from_u8(place[0] as u8).unwrap();
                let (partition, offset) = (TopicPartition::new(topic, place[1] as i32), place[2]);
                assert_eq!(position.get(partition), Some((0, offset + 1)), "the position is just after the entry");
                client.shown.push((partition, offset));
                assert!(covers(&position, &client.last), "a position never goes back");
                client.last = position;
            }
            assert_eq!(position, client.last, "a batch has the position of its last");
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
            Op::Want { viewer, errors } => {
                let client = &mut self.clients[viewer];
                let detached = self.bench.core.detach(client.channel, client.id);
                let let_go = client.watcher.take().detached.map(|(cursor, _)| cursor);
                if let Some(cursor) = detached.or(let_go) {
                    client.state = State::Pulling(cursor);
                }
                let State::Pulling(cursor) = &client.state else { unreachable!("who is live has a cursor") };
                client.eras.push((cursor.clone(), errors));
                client.wanted = wanted(errors);
            }
            Op::Mark { viewer } => {
                let client = &mut self.clients[viewer];
                self.bench.core.mark(client.channel, client.id, &mut client.told);
            }
            Op::Reconnect { viewer } => {
                let Client { channel, id, start, last, shown, wanted, mut eras, .. } = self.clients.remove(viewer);
                self.bench.core.unwatch(channel, id, self.bench.now);
                eras.push((last.clone(), wanted.filters.is_some()));
                let client = self.connect(last);
                self.clients.insert(viewer, Client { start, shown, wanted, eras, ..client });
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
            expected.retain(|(partition, offset)| {
                let is_in = |(from, _): &&(Cursor, bool)| from.get(*partition).map_or(0, |(_, next)| next) <= *offset;
                let errors = client.eras.iter().rev().find(is_in).is_some_and(|(_, errors)| *errors);
                !errors || is_error(*offset)
            });
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

/// Two of three entries.
fn is_error(offset: i64) -> bool {
    offset % 3 != 1
}

fn wanted(errors: bool) -> Wanted {
    let said = LiveFilters { levels: errors.then(|| vec![Level::Error]), ..LiveFilters::default() };
    Wanted { runs: None, filters: Filters::new(said).unwrap() }
}

fn covers(cursor: &Cursor, other: &Cursor) -> bool {
    other.iter().all(|(partition, _, next)| cursor.get(partition).is_some_and(|(_, after)| after >= next))
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
