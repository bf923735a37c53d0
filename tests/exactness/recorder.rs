//! A store that remembers which partitions of its tables were ever written to, so that a checker can look at all there is,
//! and not only where it expects something.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agentworks_store::{Key, Part, Row, Scan, Store, StoreError, Table, Write};
use async_trait::async_trait;
use parking_lot::Mutex;

/// A table, and those of its partitions that were written to.
type Written = (&'static Table, BTreeSet<Vec<Part>>);

/// The store behind, and what it was asked to write.
#[derive(Debug)]
pub struct Recorder {
    behind: Arc<dyn Store>,
    names: Mutex<BTreeSet<String>>,
    written: Mutex<BTreeMap<&'static str, Written>>,
}

impl Recorder {
    pub fn new(behind: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Recorder { behind, names: Mutex::default(), written: Mutex::default() })
    }

    /// What was written to, as plans to die name it.
    pub fn names(&self) -> BTreeSet<String> {
        self.names.lock().clone()
    }

    /// Every table that was written to, with its partitions.
    pub fn partitions(&self) -> Vec<(&'static Table, Vec<Vec<Part>>)> {
        let written = self.written.lock();
        written.values().map(|(table, partitions)| (*table, partitions.iter().cloned().collect())).collect()
    }
}

#[async_trait]
impl Store for Recorder {
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.names.lock().append(&mut crate::failpoint::written(&writes));
        for write in &writes {
            let mut written = self.written.lock();
            let (_, partitions) = written.entry(write.table.name).or_insert_with(|| (write.table, BTreeSet::new()));
            if !partitions.contains(&write.key.partition) {
                partitions.insert(write.key.partition.clone());
            }
        }
        self.behind.write(writes).await
    }

    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, StoreError> {
        self.behind.get(table, key).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        self.behind.scan(scan).await
    }

    async fn delete(&self, table: &'static Table, key: &Key, version: i64) -> Result<(), StoreError> {
        self.behind.delete(table, key, version).await
    }
}
