//! Of which runs a card has entries in a bucket.
//!
//! Warm lies by run, and a run's id says nothing of its card: a card's entries are found by the rows that are kept here,
//! one for each card, bucket, partition of the log and run, beside the blocks and for as long. They don't need the runs
//! sink, and hold also where entries of several cards bear the same run.

use std::collections::HashMap;
use std::ops::Bound;

use agentworks_schemas::TopicPartition;
use agentworks_store::{Column, Key, Part, Scan, Store, StoreError, Table, Write};
use bytes::Bytes;
use lru::LruCache;

use crate::blocks::table::lane;

/// The runs of a card by bucket. A row's key says all that there is to say.
pub(crate) const CARD_RUNS: Table = Table {
    name: "warm_card_runs",
    partition: &[Column::text("workspace"), Column::text("card"), Column::int("bucket")],
    clustering: &[Column::int("topic"), Column::int("epoch"), Column::int("partition"), Column::text("run")],
    versioned: false,
};

/// How many rows one call writes.
const ROWS: usize = 1_000;

/// What a row that is remembered costs in memory beside its names, about.
const ROW: usize = 192;

/// What most of them cost. A name may be many times as long as usual, so it is not their number alone that is bounded.
const USUAL_ROW: usize = 2 * ROW;

/// A row: of this card, in this bucket of this partition, there are entries of this run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CardRun {
    pub(super) workspace: String,
    pub(super) card: String,
    pub(super) bucket: i64,
    pub(super) partition: TopicPartition,
    pub(super) epoch: u32,
    pub(super) run: String,
}

/// Keeps the table, without writing again what is there: remembers the rows used last, and what is still to be written.
#[derive(Debug)]
pub(super) struct RunBook {
    /// The rows that are written, with their expiries.
    known: LruCache<CardRun, Option<i64>>,
    /// How many may be remembered, and what those that are cost in memory, in bytes.
    rows: usize,
    bytes: usize,
    new: HashMap<CardRun, Option<i64>>,
}

impl RunBook {
    /// A book that remembers so many rows; fewer if their names are long.
    pub(super) fn new(rows: usize) -> Self {
        RunBook { known: LruCache::unbounded(), rows, bytes: 0, new: HashMap::new() }
    }

    /// Notes a row, which is to be there until `expires`.
    pub(super) fn note(&mut self, row: CardRun, expires: Option<i64>) {
        if self.known.get(&row) != Some(&expires) {
            self.new.insert(row, expires);
        }
    }

    /// How many rows wait to be written.
    pub(super) fn pending(&self) -> usize {
        self.new.len()
    }

    /// Writes what waits. After an error it waits still.
    pub(super) async fn write(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let mut writes: Vec<_> = self.new.iter().map(|(row, expires)| row.write(*expires)).collect();
        while !writes.is_empty() {
            let rest = writes.split_off(writes.len().min(ROWS));
            store.write(std::mem::replace(&mut writes, rest)).await?;
        }
        for (row, expires) in self.new.drain() {
            let bytes = row.bytes();
            if self.known.put(row, expires).is_none() {
                self.bytes += bytes;
            }
        }
        self.evict();
        Ok(())
    }

    /// Forgets the rows that were used least lately; if need be, they are written again.
    fn evict(&mut self) {
        while self.known.len() > self.rows || self.bytes > self.rows.saturating_mul(USUAL_ROW) {
            let Some((row, _)) = self.known.pop_lru() else { break };
            self.bytes -= row.bytes();
        }
    }
}

impl CardRun {
    /// What it costs in memory while it is remembered, about.
    fn bytes(&self) -> usize {
        ROW + self.workspace.len() + self.card.len() + self.run.len()
    }

    fn key(&self) -> Key {
        let CardRun { workspace, card, bucket, partition, epoch, run } = self;
        let mut clustering = lane(*partition, *epoch);
        clustering.push(run.as_str().into());
        Key { partition: vec![workspace.as_str().into(), card.as_str().into(), (*bucket).into()], clustering }
    }

    fn write(&self, expires: Option<i64>) -> Write {
        Write { table: &CARD_RUNS, key: self.key(), version: 0, expires, stats: Bytes::new(), payload: Bytes::new() }
    }

    /// Whether the row is in the store.
    pub(super) async fn is_there(&self, store: &dyn Store) -> Result<bool, StoreError> {
        Ok(store.get(&CARD_RUNS, &self.key()).await?.is_some())
    }

    /// Deletes the row.
    pub(super) async fn delete(&self, store: &dyn Store) -> Result<(), StoreError> {
        store.delete(&CARD_RUNS, &self.key(), 0).await
    }
}

/// The runs of a card in a bucket of a partition.
pub(super) async fn runs(
    store: &dyn Store,
    (workspace, card, bucket): (&str, &str, i64),
    (partition, epoch): (TopicPartition, u32),
) -> Result<Vec<String>, StoreError> {
    let at = Bound::Included(lane(partition, epoch));
    let scan = Scan::partition(&CARD_RUNS, vec![workspace.into(), card.into(), bucket.into()]);
    let rows = store.scan(Scan { from: at.clone(), to: at, payload: false, ..scan }).await?;
    let run = |row: agentworks_store::Row| match row.clustering.into_iter().last() {
        Some(Part::Text(run)) => Some(run),
        _ => None,
    };
    Ok(rows.into_iter().filter_map(run).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::blocks::tests::{AT, store};

    fn row(run: &str) -> CardRun {
        let (workspace, card, run) = ("acme".into(), "card".into(), run.into());
        CardRun { workspace, card, bucket: 1, partition: AT, epoch: 0, run }
    }

    #[tokio::test]
    async fn rows_with_long_names_are_forgotten_sooner() {
        let (_folder, store) = store();
        let mut book = RunBook::new(10);
        // As many as may be, and the same once more: nothing is new.
        for expected in [10, 0] {
            (0..10).for_each(|run| book.note(row(&run.to_string()), None));
            assert_eq!(book.pending(), expected);
            book.write(&*store).await.unwrap();
        }
        assert_eq!((book.known.len(), book.bytes), (10, 10 * row("0").bytes()));
        let long = |run: usize| row(&run.to_string().repeat(1_000));
        for run in 0..10 {
            book.note(long(run), None);
            book.write(&*store).await.unwrap();
        }
        assert!(
            (1..=3).contains(&book.known.len()) && book.bytes <= 10 * USUAL_ROW,
            "{} {}",
            book.known.len(),
            book.bytes
        );
        book.note(long(9), None);
        assert_eq!(book.pending(), 0, "the last is remembered");
        book.note(long(0), None);
        assert_eq!(book.pending(), 1, "and the first is written again");
    }
}
