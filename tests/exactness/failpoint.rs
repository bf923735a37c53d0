//! A store that kills its own process at a chosen boundary between two writes or deletions.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use agentworks_store::{Intercept, Key, Part, Store, StoreError, Table, Write};
use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::remote::RemoteStore;
use crate::support::process;

/// On which side of a write or a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    /// Nothing of it is written.
    Before,
    /// Some of its rows are; a deletion's row is gone, or isn't.
    During,
    /// It is written, and its writer hasn't heard of it.
    After,
}

impl Side {
    pub const ALL: [Side; 3] = [Side::Before, Side::During, Side::After];
}

/// Where to die.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Calls that write to this alone count: a table, or `positions/` and a sink. All count if there is none.
    pub only: Option<String>,
    /// Whether calls that delete count, too.
    pub deletions: bool,
    /// The how-manieth of them, from 1.
    pub nth: u32,
    pub side: Side,
    /// Whether calls count from the start, or only once it has been told so.
    pub armed: bool,
    /// From where the rows are drawn that [`Side::During`] writes.
    pub seed: u64,
}

impl Plan {
    /// Before the first write of all, with a seed from `random`.
    pub fn drawn(random: &mut StdRng) -> Self {
        Plan { only: None, deletions: false, nth: 1, side: Side::Before, armed: true, seed: random.random() }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { only, nth, side, deletions, .. } = self;
        let call = if *deletions { "call" } else { "write" };
        write!(f, "{side:?} {call} {nth} of {}", only.as_deref().unwrap_or("all"))
    }
}

/// The store behind, and the plan.
#[derive(Debug)]
pub struct Failpoint {
    behind: Arc<dyn Store>,
    plan: Plan,
    armed: AtomicBool,
    calls: AtomicU32,
}

/// The store that is served at `address`, with such a failpoint before it if there is a plan.
pub fn failing(address: SocketAddr, plan: Option<Plan>) -> Arc<dyn Store> {
    let remote: Arc<dyn Store> = Arc::new(RemoteStore::new(address));
    match plan {
        Some(plan) => Arc::new(Failpoint::new(remote, plan)),
        None => remote,
    }
}

/// What a call writes to, as [`Plan::only`] names it.
pub fn written(writes: &[Write]) -> BTreeSet<String> {
    writes.iter().map(|write| name(write.table, &write.key)).collect()
}

fn name(table: &Table, key: &Key) -> String {
    match (table.name, key.partition.first()) {
        ("positions", Some(Part::Text(sink))) => format!("positions/{sink}"),
        (table, _) => table.to_owned(),
    }
}

impl Failpoint {
    pub fn new(behind: Arc<dyn Store>, plan: Plan) -> Self {
        Failpoint { behind, armed: plan.armed.into(), plan, calls: AtomicU32::new(0) }
    }

    /// From now on calls count.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Whether this is the call.
    fn is_chosen(&self, written: &BTreeSet<String>) -> bool {
        self.armed.load(Ordering::SeqCst)
            && self.plan.only.as_ref().is_none_or(|only| written.contains(only))
            && self.calls.fetch_add(1, Ordering::SeqCst) + 1 == self.plan.nth
    }

    async fn die(&self, writes: Vec<Write>, written: BTreeSet<String>) -> Result<(), StoreError> {
        let rows = writes.len();
        let applied = match self.plan.side {
            Side::Before => Vec::new(),
            Side::During => {
                let mut random = StdRng::seed_from_u64(self.plan.seed);
                writes.into_iter().filter(|_| random.random_bool(0.5)).collect()
            }
            Side::After => writes,
        };
        let some = applied.len();
        if !applied.is_empty() {
            self.behind.write(applied).await?;
        }
        let written: Vec<_> = written.into_iter().collect();
        self.end(&format!("{some} of {rows} rows of {}", written.join(" "))).await
    }

    async fn end(&self, done: &str) -> Result<(), StoreError> {
        crate::child::tell(&format!("died: {}: {done}", self.plan));
        process::kill_9(std::process::id());
        std::future::pending().await
    }
}

#[async_trait]
impl Intercept for Failpoint {
    fn behind(&self) -> &Arc<dyn Store> {
        &self.behind
    }

    async fn intercept(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let written = written(&writes);
        if self.is_chosen(&written) {
            return self.die(writes, written).await;
        }
        self.behind.write(writes).await
    }

    async fn intercept_delete(&self, table: &'static Table, key: &Key, version: i64) -> Result<(), StoreError> {
        let name = name(table, key);
        if !self.plan.deletions || !self.is_chosen(&BTreeSet::from([name.clone()])) {
            return self.behind.delete(table, key, version).await;
        }
        let is_deleted = match self.plan.side {
            Side::Before => false,
            Side::During => StdRng::seed_from_u64(self.plan.seed).random_bool(0.5),
            Side::After => true,
        };
        if is_deleted {
            self.behind.delete(table, key, version).await?;
        }
        self.end(&format!("{} row of {name} deleted", u8::from(is_deleted))).await
    }
}
