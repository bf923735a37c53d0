//! Writing which cards there are, and where each one's records lie.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use agentworks_schemas::{Position, Timestamp, TopicPartition};
use agentworks_store::{Store, StoreError, Write};
use futures_util::future::FutureExt;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use lru::LruCache;

use super::cards::{CARD_LANES, CARDS, CardLane, FIRST, card_key, write_position};
use crate::blocks::names;
use crate::blocks::table::{lane, mark};
use crate::erasure::Erasure;

/// How far behind a card's row may be, in milliseconds.
const REFRESH: i64 = 60_000;

/// How many rows one call writes.
const ROWS: usize = 1_000;

/// How many rows are looked up at a time.
const LOOKUPS: usize = 16;

/// What is known of a card.
#[derive(Debug, Default)]
struct Known {
    lanes: Vec<CardLane>,
    last_seen: Option<Timestamp>,
    /// The last erasure of its workspace beyond which it was seen.
    beyond: Option<Arc<Erasure>>,
}

/// A card's row that waits to be written.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// A record of the card ...
    at: Position,
    /// ... and its timestamp, or that of a later one.
    timestamp: Timestamp,
    /// Whether it is the first beyond an erasure: its row takes the place of whatever is there.
    is_again: bool,
}

impl Seen {
    /// A record of a card beyond an erasure of its workspace.
    pub(crate) fn beyond(erasure: &Erasure, at: Position, timestamp: Timestamp) -> Self {
        // Not before the erasure, whatever the clocks say: so no row wins that is written of records before it.
        Seen { at, timestamp: timestamp.max(Timestamp(erasure.at.millis() + 1)), is_again: true }
    }

    fn add(&mut self, other: Seen) {
        let timestamp = self.timestamp.max(other.timestamp);
        if other.is_again || (!self.is_again && other.timestamp >= self.timestamp) {
            *self = other;
        }
        self.timestamp = timestamp;
    }

    async fn write(&self, store: &dyn Store, name: &str) -> Result<Write, StoreError> {
        let (workspace, card) = names::split(name);
        let mut version = self.timestamp.millis();
        if self.is_again
            && let Some(row) = store.get(&CARDS, &card_key(workspace, card)).await?
        {
            version = version.max(row.version + 1);
        }
        let stats = write_position(self.at);
        Ok(Write { stats, ..mark(&CARDS, vec![workspace.into()], vec![card.into()], version) })
    }
}

/// Keeps the tables, without writing again what is there: remembers the cards used last, and what is still to be written.
#[derive(Debug)]
pub(crate) struct CardBook {
    known: LruCache<String, Known>,
    new_lanes: HashMap<(String, TopicPartition, u32), i64>,
    seen: HashMap<String, Seen>,
}

impl CardBook {
    /// A book that remembers `cards` cards.
    pub(crate) fn new(cards: usize) -> Self {
        let known = LruCache::sparse(NonZeroUsize::new(cards).unwrap_or(NonZeroUsize::MIN));
        CardBook { known, new_lanes: HashMap::new(), seen: HashMap::new() }
    }

    /// Notes a record of the card with this joined name. `beyond` is the last erasure of all of its workspace that lies
    /// before it, if there is one. Returns whether the card was remembered.
    pub(super) fn see(
        &mut self,
        name: &str,
        at: Position,
        timestamp: Timestamp,
        beyond: Option<&Arc<Erasure>>,
    ) -> bool {
        let mut was_known = true;
        let known = self.known.get_or_insert_mut_ref(name, || {
            was_known = false;
            Known::default()
        });
        let again = beyond.filter(|erasure| known.beyond.as_ref().is_none_or(|before| before.id != erasure.id));
        if again.is_some() || known.last_seen.is_none_or(|seen| timestamp.millis() >= seen.millis() + REFRESH) {
            known.last_seen = Some(timestamp);
            let seen = match again {
                Some(erasure) => {
                    known.beyond = Some(erasure.clone());
                    Seen::beyond(erasure, at, timestamp)
                }
                None => Seen { at, timestamp, is_again: false },
            };
            match self.seen.get_mut(name) {
                Some(before) => before.add(seen),
                None => drop(self.seen.insert(name.to_owned(), seen)),
            }
        }
        let Position { partition, epoch, offset } = at;
        match known.lanes.iter_mut().find(|lane| (lane.partition, lane.epoch) == (partition, epoch)) {
            Some(lane) if lane.first <= offset => return was_known,
            Some(lane) => lane.first = offset,
            None => known.lanes.push(CardLane { partition, epoch, first: offset }),
        }
        // It may have been noted before, and forgotten since.
        let first = self.new_lanes.entry((name.to_owned(), partition, epoch)).or_insert(offset);
        *first = offset.min(*first);
        was_known
    }

    /// How many rows wait to be written.
    pub(super) fn pending(&self) -> usize {
        self.new_lanes.len() + self.seen.len()
    }

    /// Writes what waits. After an error it waits still.
    pub(super) async fn write(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let lanes = self.new_lanes.iter().map(|((name, partition, epoch), first)| {
            let (workspace, card) = names::split(name);
            mark(&CARD_LANES, vec![workspace.into(), card.into()], lane(*partition, *epoch), FIRST - first)
        });
        let mut writes: Vec<_> = lanes.collect();
        writes.extend(rows_of(store, &self.seen).await?);
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
) -> Result<(), StoreError> {
    let named = cards.into_iter().map(|(card, seen)| {
        let mut name = String::new();
        names::join(workspace, &card, &mut name);
        (name, seen)
    });
    put(store, rows_of(store, &named.collect()).await?).await
}

async fn rows_of(store: &dyn Store, seen: &HashMap<String, Seen>) -> Result<Vec<Write>, StoreError> {
    let rows = seen.iter().map(|(name, seen)| seen.write(store, name).boxed()).collect::<Vec<_>>();
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

    #[tokio::test]
    async fn a_row_beyond_an_erasure_takes_the_place_of_any_before_it() {
        let (_folder, store) = store();
        let upto: Cursor = [(AT, 0, 20)].into_iter().collect();
        let erasure = Arc::new(Erasure::new("acme", Target::Workspace, upto, "tests"));
        let (now, mut name) = (erasure.at.millis(), String::new());
        names::join("acme", "a", &mut name);
        // A broker's clock is ahead of that of whoever erased.
        let mut book = CardBook::new(10);
        book.see(&name, at(19), Timestamp(now + 5_000), None);
        book.write(&*store).await.unwrap();
        let erased = &cards_of_workspace(&*store, "acme", 10).await.unwrap()[0];
        assert!(erased.is_erased(&erasure) && erased.at == Some(at(19)), "{erased:?}");

        assert!(book.see(&name, at(20), Timestamp(now - 3), Some(&erasure)));
        book.see(&name, at(21), Timestamp(now + 70_000), Some(&erasure));
        book.write(&*store).await.unwrap();
        let [seen] = &cards_of_workspace(&*store, "acme", 10).await.unwrap()[..] else { panic!("one") };
        assert!(!seen.is_erased(&erasure), "{seen:?}");
        assert_eq!(book.pending(), 0);
        book.see(&name, at(22), Timestamp(now + 70_001), Some(&erasure));
        assert_eq!(book.pending(), 0, "once is enough");

        // Whoever catches up on another partition doesn't hide it.
        let mut other = CardBook::new(10);
        other.see(&name, at(3), Timestamp(now), None);
        other.write(&*store).await.unwrap();
        assert_eq!(cards_of_workspace(&*store, "acme", 10).await.unwrap(), std::slice::from_ref(seen));
    }
}
