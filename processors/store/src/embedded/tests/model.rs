//! The store against a map that does the same.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{Column, Order, Part};

static TABLES: [Table; 2] = [table("plain", false), table("versioned", true)];

const fn table(name: &'static str, versioned: bool) -> Table {
    const PARTITION: &[Column] = &[Column::text("part")];
    const CLUSTERING: &[Column] = &[Column::text("name"), Column::int("place")];
    Table { name, partition: PARTITION, clustering: CLUSTERING, versioned }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(bool, Key, i64, Option<i64>, usize)>),
    Delete(bool, Key, i64),
    Get(bool, Key),
    Scan { versioned: bool, part: Part, from: Bound<Vec<Part>>, to: Bound<Vec<Part>>, backwards: bool, limit: usize },
    Pass(i64),
    Sweep,
    Reopen,
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![Just(""), Just("\0"), Just("a"), Just("ab")].prop_map(Part::from)
}

fn number() -> impl Strategy<Value = Part> {
    (-2..3i64).prop_map(Part::from)
}

fn key() -> impl Strategy<Value = Key> {
    (part(), part(), number()).prop_map(|(a, b, c)| Key { partition: vec![a], clustering: vec![b, c] })
}

fn bound() -> impl Strategy<Value = Bound<Vec<Part>>> {
    let parts = prop_oneof![part().prop_map(|a| vec![a]), (part(), number()).prop_map(|(a, b)| vec![a, b])];
    prop_oneof![
        1 => Just(Bound::Unbounded),
        2 => parts.clone().prop_map(Bound::Included),
        2 => parts.prop_map(Bound::Excluded),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let write = (any::<bool>(), key(), 0..5i64, prop::option::of(0..100i64), prop_oneof![0..20usize, 1020..1030usize]);
    let scan = (any::<bool>(), part(), bound(), bound(), any::<bool>(), prop_oneof![0..4usize, Just(usize::MAX)]);
    prop_oneof![
        8 => prop::collection::vec(write, 1..6).prop_map(Step::Write),
        3 => (any::<bool>(), key(), 0..5i64).prop_map(|(versioned, key, version)| Step::Delete(versioned, key, version)),
        4 => (any::<bool>(), key()).prop_map(|(versioned, key)| Step::Get(versioned, key)),
        8 => scan.prop_map(|(versioned, part, from, to, backwards, limit)| {
            Step::Scan { versioned, part, from, to, backwards, limit }
        }),
        2 => (0..30i64).prop_map(Step::Pass),
        1 => Just(Step::Sweep),
        1 => Just(Step::Reopen),
    ]
}

/// A row, or the version that a deletion has left.
#[derive(Clone, Debug)]
struct Entry {
    version: i64,
    expires: Option<i64>,
    payload: Option<Bytes>,
}

type Model = BTreeMap<(bool, Key), Entry>;

fn change(model: &mut Model, versioned: bool, key: Key, entry: Entry) {
    let outdated = model.get(&(versioned, key.clone())).is_some_and(|old| {
        let deleted = old.payload.is_none() && entry.payload.is_some();
        old.version > entry.version || (old.version == entry.version && deleted)
    });
    if versioned && outdated {
        return;
    }
    if !versioned && entry.payload.is_none() {
        model.remove(&(versioned, key));
    } else {
        model.insert((versioned, key), entry);
    }
}

fn live(entry: &Entry, now: i64) -> Option<&Bytes> {
    entry.payload.as_ref().filter(|_| entry.expires.is_none_or(|expires| expires > now))
}

/// Whether a key lies within bounds that may be shorter.
fn within(key: &[Part], from: &Bound<Vec<Part>>, to: &Bound<Vec<Part>>) -> bool {
    let side = |bound: &Bound<Vec<Part>>, key: &[Part]| match bound {
        Bound::Included(parts) | Bound::Excluded(parts) => key[..parts.len()].to_vec(),
        Bound::Unbounded => key.to_vec(),
    };
    (from.clone(), Bound::Unbounded).contains(&side(from, key))
        && (Bound::Unbounded, to.clone()).contains(&side(to, key))
}

async fn run(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    let mut store = EmbeddedStore::open_with(&folder, clock.config()).unwrap();
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Write(rows) => {
                let mut writes = Vec::new();
                for (versioned, key, version, expires, size) in rows {
                    let version = if versioned { version } else { 0 };
                    let expires = expires.map(|after| clock.now() + after);
                    let payload = Bytes::from(vec![version as u8; size]);
                    let entry = Entry { version, expires, payload: Some(payload.clone()) };
                    change(&mut model, versioned, key.clone(), entry);
                    let table = &TABLES[usize::from(versioned)];
                    writes.push(Write { table, key, version, expires, stats: Bytes::new(), payload });
                }
                // Within one call the greatest version of a row wins too, as if they had been made one by one.
                store.write(writes).await.unwrap();
            }
            Step::Delete(versioned, key, version) => {
                store.delete(&TABLES[usize::from(versioned)], &key, version).await.unwrap();
                change(&mut model, versioned, key, Entry { version, expires: None, payload: None });
            }
            Step::Get(versioned, key) => {
                let row = store.get(&TABLES[usize::from(versioned)], &key).await.unwrap();
                let wanted = model.get(&(versioned, key)).and_then(|entry| live(entry, clock.now()));
                assert_eq!(row.as_ref().map(|row| &row.payload), wanted);
            }
            Step::Scan { versioned, part, from, to, backwards, limit } => {
                let table = &TABLES[usize::from(versioned)];
                let order = if backwards { Order::Descending } else { Order::Ascending };
                let mut wanted: Vec<_> = model
                    .iter()
                    .filter(|((in_versioned, key), _)| *in_versioned == versioned && key.partition[0] == part)
                    .filter(|((_, key), _)| within(&key.clustering, &from, &to))
                    .filter_map(|((_, key), entry)| {
                        let payload = live(entry, clock.now())?.clone();
                        let (clustering, version) = (key.clustering.clone(), entry.version);
                        Some(Row { clustering, version, stats: Bytes::new(), payload })
                    })
                    .collect();
                if backwards {
                    wanted.reverse();
                }
                wanted.truncate(limit);
                let scan = Scan { table, partition: vec![part], from, to, order, limit, payload: true };
                assert_eq!(store.scan(scan).await.unwrap(), wanted);
            }
            Step::Pass(millis) => clock.pass(millis).await,
            Step::Sweep => {
                store.sweep().await.unwrap();
                model.retain(|_, entry| entry.expires.is_none_or(|expires| expires > clock.now()));
            }
            Step::Reopen => {
                drop(store);
                store = EmbeddedStore::open_with(&folder, clock.config()).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn as_a_map_does(steps in prop::collection::vec(step(), 1..60)) {
        tokio::runtime::Runtime::new().unwrap().block_on(run(steps));
    }
}
