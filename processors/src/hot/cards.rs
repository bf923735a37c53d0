//! Which cards there are, and where each one's records lie.
//!
//! Both tables are facts that only grow, so the rows need no payload: what is to be known is their version, and of a card
//! where it was last seen.

use std::ops::Bound;
use std::sync::Arc;

use agentworks_schemas::{Position, Timestamp, Topic, TopicPartition};
use agentworks_store::{Column, Key, Part, Row, Scan, Store, StoreError, Table};
use bytes::Bytes;

use crate::blocks::table::read_lane;
use crate::erasure::Erasure;

/// Where records of a card were seen. The version of a row is [`FIRST`] less the first offset: the least one wins,
/// whoever writes last.
pub(crate) const CARD_LANES: Table = Table {
    name: "card_lanes",
    partition: &[Column::text("workspace"), Column::text("card")],
    clustering: &[Column::int("topic"), Column::int("epoch"), Column::int("partition")],
    versioned: true,
};

/// The cards of a workspace. The version of a row is the record timestamp of the last record seen, and its statistics are
/// where that lies. The first record of a card beyond an erasure of all of the workspace is always written, so that rows
/// which lie before an erasure are those of cards that have nothing beyond it.
pub(crate) const CARDS: Table = Table {
    name: "cards",
    partition: &[Column::text("workspace")],
    clustering: &[Column::text("card")],
    versioned: true,
};

/// More than any offset, and still a moment in the past as a version of CQL.
pub(super) const FIRST: i64 = 1 << 44;

/// How many rows are read at a time.
const PAGE: usize = 1_000;

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
    /// Where that record lies; `None` in rows of before this was kept.
    pub at: Option<Position>,
}

impl CardInfo {
    /// Whether all that is known of the card was erased with its workspace.
    pub(crate) fn is_erased(&self, erasure: &Erasure) -> bool {
        match self.at {
            _ if !erasure.is_of_workspace() => false,
            Some(at) => erasure.covers(at),
            None => self.last_seen <= erasure.at,
        }
    }

    /// Whether one of these erasures has it so.
    pub(crate) fn is_gone(&self, erasures: &[Arc<Erasure>]) -> bool {
        erasures.iter().any(|erasure| self.is_erased(erasure))
    }

    fn from_row(row: Row) -> Option<CardInfo> {
        let Some(Part::Text(card)) = row.clustering.into_iter().next() else { return None };
        Some(CardInfo { card, last_seen: Timestamp(row.version), at: read_position(&row.stats) })
    }
}

/// A position as a row's statistics: topic, epoch, partition, offset.
pub(super) fn write_position(Position { partition, epoch, offset }: Position) -> Bytes {
    let mut bytes = Vec::with_capacity(17);
    bytes.push(partition.topic as u8);
    bytes.extend(epoch.to_be_bytes());
    bytes.extend(partition.partition.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.into()
}

fn read_position(bytes: &[u8]) -> Option<Position> {
    let (topic, rest) = bytes.split_first()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (partition, rest) = rest.split_first_chunk()?;
    let (offset, _) = rest.split_first_chunk()?;
    let partition = TopicPartition::new(Topic::from_u8(*topic)?, i32::from_be_bytes(*partition));
    Some(Position { partition, epoch: u32::from_be_bytes(*epoch), offset: i64::from_be_bytes(*offset) })
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

/// A card, if any of its records were seen.
pub(crate) async fn card_of(store: &dyn Store, workspace: &str, card: &str) -> Result<Option<CardInfo>, StoreError> {
    Ok(store.get(&CARDS, &card_key(workspace, card)).await?.and_then(|row| {
        // A row that is asked for by its key says no more than the rest.
        CardInfo::from_row(Row { clustering: vec![card.into()], ..row })
    }))
}

/// The cards of a workspace, the one last seen first, at most `limit`.
pub async fn cards_of_workspace(store: &dyn Store, workspace: &str, limit: usize) -> Result<Vec<CardInfo>, StoreError> {
    newest_cards(store, workspace, limit, &|_| true).await
}

/// The cards of a workspace that are wanted, the one last seen first, at most `limit`. All rows are read, a page at a time,
/// but no more than `limit` and a page are in memory.
pub(crate) async fn newest_cards(
    store: &dyn Store,
    workspace: &str,
    limit: usize,
    wanted: &(dyn Fn(&CardInfo) -> bool + Send + Sync),
) -> Result<Vec<CardInfo>, StoreError> {
    let (mut newest, mut after) = (Vec::<CardInfo>::new(), None);
    loop {
        let page = cards_after(store, workspace, after.as_deref()).await?;
        after = page.last().map(|info| info.card.clone());
        newest.extend(page.into_iter().filter(|info| wanted(info)));
        if newest.len() > limit || after.is_none() {
            newest.sort_by(|a, b| b.last_seen.cmp(&a.last_seen).then_with(|| a.card.cmp(&b.card)));
            newest.truncate(limit);
        }
        if after.is_none() {
            return Ok(newest);
        }
    }
}

/// The next cards of a workspace by name; none after the last.
pub(super) async fn cards_after(
    store: &dyn Store,
    workspace: &str,
    after: Option<&str>,
) -> Result<Vec<CardInfo>, StoreError> {
    let from = after.map_or(Bound::Unbounded, |card| Bound::Excluded(vec![card.into()]));
    let scan = Scan { from, limit: PAGE, payload: false, ..Scan::partition(&CARDS, vec![workspace.into()]) };
    Ok(store.scan(scan).await?.into_iter().filter_map(CardInfo::from_row).collect())
}

/// The key of a card's row.
pub(super) fn card_key(workspace: &str, card: &str) -> Key {
    Key { partition: vec![workspace.into()], clustering: vec![card.into()] }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::blocks::table::mark;
    use crate::blocks::tests::store;

    #[tokio::test]
    async fn the_newest_of_many_cards_are_found_page_by_page() {
        let (_folder, store) = store();
        let count = 2 * PAGE as i64 + 500;
        let card = |number: i64| format!("card-{number:05}");
        let write = |number: i64| mark(&CARDS, vec!["acme".into()], vec![card(number).into()], number * 7 % count);
        store.write((0..count).map(write).collect()).await.unwrap();
        let newest = cards_of_workspace(&*store, "acme", 3).await.unwrap();
        let times: Vec<_> = newest.iter().map(|info| info.last_seen.millis()).collect();
        assert_eq!(times, [count - 1, count - 2, count - 3]);
        let odd = |info: &CardInfo| info.last_seen.millis() % 2 == 1;
        assert_eq!(newest_cards(&*store, "acme", usize::MAX, &odd).await.unwrap().len(), count as usize / 2);
        let one = card_of(&*store, "acme", &card(1)).await.unwrap().unwrap();
        assert_eq!((one.card, one.last_seen, one.at), (card(1), Timestamp(7), None));
        assert_eq!(card_of(&*store, "acme", "nobody's").await.unwrap(), None);
    }

    #[test]
    fn positions_survive() {
        let partition = TopicPartition::new(Topic::RunEvents, 300);
        let at = Position { partition, epoch: 3, offset: 1 << 40 };
        assert_eq!(read_position(&write_position(at)), Some(at));
        assert_eq!(read_position(&[]), None);
    }
}
