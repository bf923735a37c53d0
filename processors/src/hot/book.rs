//! Writing which cards there are, and where each one's records lie.

use std::collections::HashMap;
use std::sync::Arc;

use agentworks_schemas::{Position, Timestamp, TopicPartition};
use agentworks_store::{Store, StoreError, Write};
use futures_util::future::FutureExt;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use lru::LruCache;

use super::cards::{CARD_LANES, CARDS, CardLane, FIRST, card_of, write_position};
use crate::blocks::names;
use crate::blocks::table::{lane, mark};
use crate::erasure::{Erasure, View, any_covers};

/// How far behind a card's row may be, in milliseconds.
const REFRESH: i64 = 60_000;

/// How many rows one call writes.
const ROWS: usize = 1_000;

/// How many rows are looked up at a time.
const LOOKUPS: usize = 16;

/// What a card that is remembered costs in memory beside its name and its lanes, about.
const CARD: usize = 192;

/// What most of them cost. A name may be many times as long as usual, so it is not their number alone that is bounded.
const USUAL_CARD: usize = 2 * CARD;

/// What is known of a card.
#[derive(Debug, Default)]
struct Known {
    lanes: Vec<CardLane>,
    /// The record of its row: where it lies, and its timestamp.
    row: Option<Seen>,
}

/// A record of a card that its row tells of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Where it lies.
    pub(crate) at: Position,
    /// Its record timestamp.
    pub(crate) timestamp: Timestamp,
}

impl Seen {
    /// The row, which takes the place of one that lies before an erasure, whatever the clocks say.
    async fn write(self, store: &dyn Store, name: &str, view: &View) -> Result<Write, StoreError> {
        let (workspace, card) = names::split(name);
        let (erasures, mut version) = (view.whole_of(workspace), self.timestamp.millis());
        if !erasures.is_empty()
            && let Some(row) = card_of(store, workspace, card).await?
            && row.is_gone(erasures)
        {
            version = version.max(row.last_seen.millis() + 1);
        }
        let stats = write_position(self.at);
        Ok(Write { stats, ..mark(&CARDS, vec![workspace.into()], vec![card.into()], version) })
    }
}

/// Keeps the tables, without writing again what is there: remembers the cards used last, and what is still to be written.
#[derive(Debug)]
pub(crate) struct CardBook {
    known: LruCache<String, Known>,
    /// How many may be remembered, and what those that are cost in memory, in bytes.
    cards: usize,
    bytes: usize,
    new_lanes: HashMap<(String, TopicPartition, u32), i64>,
    seen: HashMap<String, Seen>,
}

impl CardBook {
    /// A book that remembers `cards` cards; fewer if their names are long.
    pub(crate) fn new(cards: usize) -> Self {
        let known = LruCache::unbounded();
        CardBook { known, cards, bytes: 0, new_lanes: HashMap::new(), seen: HashMap::new() }
    }

    /// Notes a record of the card with this joined name. `erasures` are those of all of its workspace: no row tells of a
    /// record that one of them covers, and the first beyond one is always told of. Returns whether the card was remembered.
    pub(super) fn see(&mut self, name: &str, seen: Seen, erasures: &[Arc<Erasure>]) -> bool {
        let mut was_known = true;
        let known = self.known.get_or_insert_mut_ref(name, || {
            was_known = false;
            Known::default()
        });
        if !was_known {
            self.bytes += CARD + name.len();
        }
        let is_due =
            |row: &Seen| seen.timestamp.millis() >= row.timestamp.millis() + REFRESH || any_covers(erasures, row.at);
        if known.row.as_ref().is_none_or(is_due) && !any_covers(erasures, seen.at) {
            known.row = Some(seen);
            self.seen.insert(name.to_owned(), seen);
        }
        let Position { partition, epoch, offset } = seen.at;
        match known.lanes.iter_mut().find(|lane| (lane.partition, lane.epoch) == (partition, epoch)) {
            Some(lane) if lane.first <= offset => return was_known,
            Some(lane) => lane.first = offset,
            None => {
                known.lanes.push(CardLane { partition, epoch, first: offset });
                self.bytes += size_of::<CardLane>();
            }
        }
        // It may have been noted before, and forgotten since.
        let first = self.new_lanes.entry((name.to_owned(), partition, epoch)).or_insert(offset);
        *first = offset.min(*first);
        self.evict();
        was_known
    }

    /// Forgets the cards that were used least lately; if need be, their rows are written again.
    fn evict(&mut self) {
        while self.known.len() > self.cards || self.bytes > self.cards.saturating_mul(USUAL_CARD) {
            let Some((name, known)) = self.known.pop_lru() else { break };
            self.bytes -= CARD + name.len() + known.lanes.len() * size_of::<CardLane>();
        }
    }

    /// How many rows wait to be written.
    pub(super) fn pending(&self) -> usize {
        self.new_lanes.len() + self.seen.len()
    }

    /// Writes what waits. After an error it waits still.
    pub(super) async fn write(&mut self, store: &dyn Store, view: &View) -> Result<(), StoreError> {
        let lanes = self.new_lanes.iter().map(|((name, partition, epoch), first)| {
            let (workspace, card) = names::split(name);
            mark(&CARD_LANES, vec![workspace.into(), card.into()], lane(*partition, *epoch), FIRST - first)
        });
        let mut writes: Vec<_> = lanes.collect();
        writes.extend(rows_of(store, &self.seen, view).await?);
        put(store, writes).await?;
        self.new_lanes.clear();
        self.seen.clear();
        Ok(())
    }
}

/// Writes the rows of cards of a workspace.
pub(crate) async fn write_seen(
    store: &dyn Store,
    workspace: &str,
    cards: HashMap<String, Seen>,
    view: &View,
) -> Result<(), StoreError> {
    let named = cards.into_iter().map(|(card, seen)| {
        let mut name = String::new();
        names::join(workspace, &card, &mut name);
        (name, seen)
    });
    put(store, rows_of(store, &named.collect(), view).await?).await
}

async fn rows_of(store: &dyn Store, seen: &HashMap<String, Seen>, view: &View) -> Result<Vec<Write>, StoreError> {
    // What was noted before an erasure of it was known isn't written any more.
    let is_left = |(name, seen): &(&String, &Seen)| !any_covers(view.whole_of(names::split(name).0), seen.at);
    let rows = seen.iter().filter(is_left).map(|(name, seen)| seen.write(store, name, view).boxed());
    let rows = rows.collect::<Vec<_>>();
    stream::iter(rows).buffer_unordered(LOOKUPS).try_collect().await
}

async fn put(store: &dyn Store, mut writes: Vec<Write>) -> Result<(), StoreError> {
    while !writes.is_empty() {
        let rest = writes.split_off(writes.len().min(ROWS));
        store.write(std::mem::replace(&mut writes, rest)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::Cursor;

    use super::*;
    use crate::blocks::tests::{AT, store};
    use crate::erasure::Target;
    use crate::hot::cards_of_workspace;

    fn at(offset: i64) -> Position {
        Position { partition: AT, epoch: 0, offset }
    }

    fn erasure(upto: i64) -> Arc<Erasure> {
        let upto: Cursor = [(AT, 0, upto)].into_iter().collect();
        Arc::new(Erasure::new("acme", Target::Workspace, upto, "tests"))
    }

    fn view(erasures: &[Arc<Erasure>]) -> View {
        let mut view = View::default();
        erasures.iter().for_each(|erasure| view.add(Erasure::clone(erasure)));
        view
    }

    /// Whoever makes an erasure, and the brokers, may have any clocks; and lanes are read in any order.
    #[tokio::test]
    async fn a_row_beyond_an_erasure_takes_the_place_of_any_before_it() {
        let (_folder, store) = store();
        let mut name = String::new();
        names::join("acme", "a", &mut name);
        let row = async || {
            let [row] = &cards_of_workspace(&*store, "acme", 10).await.unwrap()[..] else { panic!("one") };
            (row.at.unwrap().offset, row.last_seen.millis())
        };
        let (nothing, mut book) = (View::default(), CardBook::new(10));
        let seen = |offset, timestamp| Seen { at: at(offset), timestamp: Timestamp(timestamp) };
        book.see(&name, seen(19, 5_000_000), &[]);
        book.write(&*store, &nothing).await.unwrap();
        assert_eq!(row().await, (19, 5_000_000));

        // Two erasures that are told of in the wrong order.
        let erasures = [erasure(30), erasure(20)];
        let view = view(&erasures);
        assert!(book.see(&name, seen(19, 9_000_000), &erasures), "known, and erased");
        assert!(book.see(&name, seen(25, 9_000_000), &erasures), "erased by the later one");
        assert_eq!(book.pending(), 0);
        book.see(&name, seen(30, 3), &erasures);
        book.write(&*store, &view).await.unwrap();
        assert_eq!(row().await, (30, 5_000_001));
        book.see(&name, seen(31, 4), &erasures);
        assert_eq!(book.pending(), 0, "once is enough");

        // Nor do others hide it that come to older records later, whether they know the card or not.
        for erasures in [&erasures[..], &[]] {
            let mut other = CardBook::new(10);
            other.see(&name, seen(22, 7), erasures);
            other.write(&*store, &view).await.unwrap();
            assert_eq!(row().await, (30, 5_000_001));
        }
        let mut other = CardBook::new(10);
        other.see(&name, seen(32, 6_000_000), &erasures);
        other.write(&*store, &view).await.unwrap();
        assert_eq!(row().await, (32, 6_000_000));
    }

    #[test]
    fn cards_with_long_names_are_forgotten_sooner() {
        let mut book = CardBook::new(10);
        let mut see = |name: &str, offset| {
            let seen = Seen { at: at(offset), timestamp: Timestamp(1) };
            let was_known = book.see(name, seen, &[]);
            (was_known, book.known.len(), book.bytes)
        };
        for round in [false, true] {
            let seen: Vec<_> = (0..10).map(|card: i64| see(&card.to_string(), 100 - card)).collect();
            assert!(seen.iter().all(|(was_known, ..)| *was_known == round), "{seen:?}");
        }
        let long = |card: i64| card.to_string().repeat(1_000);
        for card in 0..10 {
            let (was_known, count, bytes) = see(&long(card), card);
            assert!(!was_known && bytes <= 10 * USUAL_CARD, "{count} cards of {bytes} bytes");
        }
        assert!(see(&long(9), 9).0, "the last is remembered");
        assert!(!see(&long(0), 0).0, "the first is not");
        // Whatever is forgotten is counted no more.
        let seen: Vec<_> = (0..100).map(|card| see(&card.to_string(), card)).collect();
        let (_, count, bytes) = seen[99];
        assert_eq!((count, bytes), (10, 10 * (CARD + 2 + size_of::<CardLane>())));
    }
}
