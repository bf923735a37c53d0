//! Which cards there are, and where each one's records lie.
//!
//! Both tables are facts that only grow, so the rows need no payload: what is to be known is their version.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use agentworks_schemas::{Timestamp, TopicPartition};
use agentworks_store::{Column, Part, Scan, Store, StoreError, Table, Write};
use lru::LruCache;

use crate::blocks::names;
use crate::blocks::table::{lane, mark, read_lane};

/// Where records of a card were seen. The version of a row is [`FIRST`] less the first offset: the least one wins,
/// whoever writes last.
pub(crate) const CARD_LANES: Table = Table {
    name: "card_lanes",
    partition: &[Column::text("workspace"), Column::text("card")],
    clustering: &[Column::int("topic"), Column::int("epoch"), Column::int("partition")],
    versioned: true,
};

/// The cards of a workspace. The version of a row is the record timestamp of the last record seen.
pub(crate) const CARDS: Table = Table {
    name: "cards",
    partition: &[Column::text("workspace")],
    clustering: &[Column::text("card")],
    versioned: true,
};

/// More than any offset, and still a moment in the past as a version of CQL.
const FIRST: i64 = 1 << 44;

/// How far behind a card's row may be, in milliseconds.
const REFRESH: i64 = 60_000;

/// How many rows one call writes.
const ROWS: usize = 1_000;

/// A partition where records of a card were seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardLane {
    /// The partition.
    pub partition: TopicPartition,
    /// Which making of its topic.
    pub epoch: u32,
    /// The offset of the first one seen: there is none before it.
    pub first: i64,
}

/// A card of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardInfo {
    /// Its id.
    pub card: String,
    /// When a record was last seen, give or take a minute.
    pub last_seen: Timestamp,
}

/// Where records of a card were seen, whatever hash placed them there.
pub async fn card_lanes(store: &dyn Store, workspace: &str, card: &str) -> Result<Vec<CardLane>, StoreError> {
    let rows = store.scan(Scan::partition(&CARD_LANES, vec![workspace.into(), card.into()])).await?;
    let lanes = rows.into_iter().map(|row| {
        let (partition, epoch) = read_lane(&row.clustering)
            .ok_or_else(|| StoreError::Failed(format!("a lane of card {card} can't be read: {:?}", row.clustering)))?;
        Ok(CardLane { partition, epoch, first: FIRST - row.version })
    });
    lanes.collect()
}

/// The cards of a workspace, the one last seen first, at most `limit`.
pub async fn cards_of_workspace(store: &dyn Store, workspace: &str, limit: usize) -> Result<Vec<CardInfo>, StoreError> {
    let rows = store.scan(Scan { payload: false, ..Scan::partition(&CARDS, vec![workspace.into()]) }).await?;
    let card = |row: agentworks_store::Row| match row.clustering.into_iter().next() {
        Some(Part::Text(card)) => Some(CardInfo { card, last_seen: Timestamp(row.version) }),
        _ => None,
    };
    let mut cards: Vec<_> = rows.into_iter().filter_map(card).collect();
    cards.sort_by(|a, b| b.last_seen.cmp(&a.last_seen).then_with(|| a.card.cmp(&b.card)));
    cards.truncate(limit);
    Ok(cards)
}

/// What is known of a card.
#[derive(Debug, Default)]
struct Known {
    lanes: Vec<CardLane>,
    last_seen: Option<Timestamp>,
}

/// Keeps the tables, without writing again what is there: remembers the cards used last, and what is still to be written.
#[derive(Debug)]
pub(super) struct CardBook {
    known: LruCache<String, Known>,
    new_lanes: HashMap<(String, TopicPartition, u32), i64>,
    seen: HashMap<String, Timestamp>,
}

impl CardBook {
    /// A book that remembers `cards` cards.
    pub(super) fn new(cards: usize) -> Self {
        let known = LruCache::sparse(NonZeroUsize::new(cards).unwrap_or(NonZeroUsize::MIN));
        CardBook { known, new_lanes: HashMap::new(), seen: HashMap::new() }
    }

    /// Notes a record of the card with this joined name. Returns whether the card was remembered.
    pub(super) fn see(&mut self, name: &str, at: (TopicPartition, u32), offset: i64, timestamp: Timestamp) -> bool {
        let mut was_known = true;
        let known = self.known.get_or_insert_mut_ref(name, || {
            was_known = false;
            Known::default()
        });
        if known.last_seen.is_none_or(|seen| timestamp.millis() >= seen.millis() + REFRESH) {
            known.last_seen = Some(timestamp);
            let seen = self.seen.entry(name.to_owned()).or_insert(timestamp);
            *seen = timestamp.max(*seen);
        }
        let (partition, epoch) = at;
        match known.lanes.iter_mut().find(|lane| (lane.partition, lane.epoch) == at) {
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
        let cards = self.seen.iter().map(|(name, timestamp)| {
            let (workspace, card) = names::split(name);
            mark(&CARDS, vec![workspace.into()], vec![card.into()], timestamp.millis())
        });
        let mut writes: Vec<Write> = lanes.chain(cards).collect();
        while !writes.is_empty() {
            let rest = writes.split_off(writes.len().min(ROWS));
            store.write(std::mem::replace(&mut writes, rest)).await?;
        }
        self.new_lanes.clear();
        self.seen.clear();
        Ok(())
    }
}
