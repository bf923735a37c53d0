//! A store that knows which rows were ever written to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agentworks_store::{Intercept, Key, Part, Store, StoreError, Table, Write};
use async_trait::async_trait;
use parking_lot::Mutex;

/// A row that was written.
pub type Written = (&'static Table, Key);

/// The store behind, and what it was asked to write.
#[derive(Debug)]
pub struct Rows {
    behind: Arc<dyn Store>,
    written: Mutex<BTreeMap<(&'static str, Key), &'static Table>>,
    deletions: AtomicU64,
}

impl Rows {
    pub fn over(behind: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Rows { behind, written: Mutex::default(), deletions: AtomicU64::new(0) })
    }

    /// All rows that were ever written.
    pub fn keys(&self) -> Vec<Written> {
        self.written.lock().iter().map(|((_, key), table)| (*table, key.clone())).collect()
    }

    /// How many deletions there were.
    pub fn deletions(&self) -> u64 {
        self.deletions.load(Ordering::SeqCst)
    }

    /// The tables that rows are deleted from if this workspace is erased, among others.
    pub fn deleted_of(&self, workspace: &str) -> BTreeSet<String> {
        let rows = self.keys();
        // Which runs a card has is deleted in all buckets of a partition of the log but the last.
        let is_index = |table: &Table| table.name == "warm_card_runs";
        let mut last = HashMap::new();
        for (_, key) in rows.iter().filter(|(table, _)| is_index(table)) {
            let (bucket, lane) = bucket_of(key);
            let last = last.entry(lane).or_insert(bucket);
            *last = bucket.max(*last);
        }
        let is_last = |key: &Key| {
            let (bucket, lane) = bucket_of(key);
            last.get(&lane) == Some(&bucket)
        };
        let of_workspace = rows.iter().filter(|(_, key)| key.partition.first() == Some(&Part::from(workspace)));
        let deleted = of_workspace.filter(|(table, key)| !is_index(table) || !is_last(key));
        deleted.map(|(table, _)| table.name.to_owned()).collect()
    }

    /// The tables that have some of `rows` still, of those that are wanted.
    pub async fn left(&self, rows: &[Written], wanted: &(dyn Fn(&Key) -> bool + Sync)) -> BTreeSet<String> {
        let mut left = BTreeSet::new();
        for (table, key) in rows.iter().filter(|(_, key)| wanted(key)) {
            if !left.contains(table.name) && self.behind.get(table, key).await.unwrap().is_some() {
                left.insert(table.name.to_owned());
            }
        }
        left
    }
}

/// The bucket and the lane of a row that says which runs a card has.
fn bucket_of(key: &Key) -> (i64, Vec<Part>) {
    match (&key.partition[..], &key.clustering[..]) {
        ([.., Part::Int(bucket)], [lane @ .., _]) => (*bucket, lane.to_vec()),
        _ => panic!("no bucket in {key:?}"),
    }
}

/// Whether a row notes what is being deleted.
pub fn is_begun(key: &Key) -> bool {
    matches!(key.partition.first(), Some(Part::Text(scope)) if scope.starts_with("clearing/"))
}

#[async_trait]
impl Intercept for Rows {
    fn behind(&self) -> &Arc<dyn Store> {
        &self.behind
    }

    async fn intercept(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let rows = writes.iter().map(|write| ((write.table.name, write.key.clone()), write.table));
        self.written.lock().extend(rows);
        self.behind.write(writes).await
    }

    async fn intercept_delete(&self, table: &'static Table, key: &Key, version: i64) -> Result<(), StoreError> {
        self.deletions.fetch_add(1, Ordering::SeqCst);
        self.behind.delete(table, key, version).await
    }
}
