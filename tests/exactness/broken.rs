//! Stores that break, each, one of the things that exactness rests on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use agentworks_store::{Key, Part, Row, Scan, Store, StoreError, Table, Write};
use async_trait::async_trait;
use bytes::{Buf, BufMut, BytesMut};
use parking_lot::Mutex;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Nothing. So that it is seen that what is found is found because of the break.
    Nothing,
    /// Writes of positions and run parts win by coming last, whatever they know of the log.
    Fencing,
    /// Keys of blocks are without the offset of the last entry: of blocks that begin alike the one that comes last wins.
    Last,
    /// Data is written after the position, and [`Broken::crash`] comes between.
    Order,
}

/// The store behind, with a break.
#[derive(Debug)]
pub struct Broken {
    behind: Arc<dyn Store>,
    what: Break,
    /// How many writes there were.
    clock: AtomicI64,
    /// Data that is to be written after the next position.
    held_back: Mutex<Vec<Write>>,
    crashed: Mutex<bool>,
}

impl Broken {
    pub fn new(behind: Arc<dyn Store>, what: Break) -> Arc<Self> {
        Arc::new(Broken {
            behind,
            what,
            clock: AtomicI64::new(1),
            held_back: Mutex::default(),
            crashed: Mutex::default(),
        })
    }

    /// From now on whoever writes a position dies just after it.
    pub fn crash(&self) {
        *self.crashed.lock() = true;
    }
}

/// Whether a table holds blocks: its last key column is then the offset of a block's last entry.
pub fn holds_blocks(table: &Table) -> bool {
    table.name.contains("_blocks")
}

/// The key without the last entry's offset, and that offset.
fn cut(key: &Key) -> (Key, i64) {
    let mut key = key.clone();
    let Some(Part::Int(last)) = key.clustering.last_mut() else { panic!("no offset at the end of {key:?}") };
    let cut = std::mem::take(last);
    (key, cut)
}

/// The row as it was written: with the offset that [`cut`] took, which lies before the payload.
fn mend(mut row: Row) -> Row {
    let last = row.stats.get_i64();
    row.clustering.pop();
    row.clustering.push(Part::Int(last));
    row
}

#[async_trait]
impl Store for Broken {
    async fn write(&self, mut writes: Vec<Write>) -> Result<(), StoreError> {
        let is_position = |write: &Write| write.table.name == "positions";
        match self.what {
            Break::Nothing => {}
            Break::Fencing => {
                for write in writes.iter_mut().filter(|write| matches!(write.table.name, "positions" | "run_parts")) {
                    write.version = self.clock.fetch_add(1, Ordering::SeqCst);
                }
            }
            Break::Last => {
                for write in writes.iter_mut().filter(|write| holds_blocks(write.table)) {
                    let (key, last) = cut(&write.key);
                    write.key = key;
                    let mut stats = BytesMut::new();
                    stats.put_i64(last);
                    stats.put_slice(&write.stats);
                    write.stats = stats.freeze();
                }
            }
            Break::Order => {
                let (positions, data) = writes.into_iter().partition(is_position);
                writes = positions;
                self.held_back.lock().extend(data);
            }
        }
        let moves_position = writes.iter().any(is_position);
        self.behind.write(writes).await?;
        if moves_position && *self.crashed.lock() {
            self.held_back.lock().clear();
            return Err(StoreError::Failed("it has crashed".into()));
        }
        if moves_position {
            let held_back = std::mem::take(&mut *self.held_back.lock());
            self.behind.write(held_back).await?;
        }
        Ok(())
    }

    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, StoreError> {
        if self.what != Break::Last || !holds_blocks(table) {
            return self.behind.get(table, key).await;
        }
        let (without, last) = cut(key);
        let found = self.behind.get(table, &without).await?.map(mend);
        Ok(found.filter(|row| row.clustering.last() == Some(&Part::Int(last))))
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        let is_cut = self.what == Break::Last && holds_blocks(scan.table);
        let rows = self.behind.scan(scan).await?;
        Ok(if is_cut { rows.into_iter().map(mend).collect() } else { rows })
    }

    async fn delete(&self, table: &'static Table, key: &Key, version: i64) -> Result<(), StoreError> {
        self.behind.delete(table, key, version).await
    }
}
