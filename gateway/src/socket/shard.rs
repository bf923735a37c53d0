//! Who writes what the hub pushes: a task for each core, and each connection belongs to one of them.
//!
//! An entry that a thousand watch wakes as many tasks as there are cores, instead of a thousand.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::{JoinSet, yield_now};

use super::writer::Writer;

/// How many connections are written to before others get their turn.
const TURN: usize = 32;

/// The shards of a hub.
#[derive(Debug)]
pub(crate) struct Shards {
    shards: Vec<Arc<Shard>>,
    next: AtomicUsize,
}

/// One of them.
#[derive(Default)]
pub(crate) struct Shard {
    /// Connections that something was pushed to.
    due: Mutex<Vec<Arc<Writer>>>,
    filled: Notify,
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its connections have it among their own.
        f.debug_struct("Shard").finish_non_exhaustive()
    }
}

impl Shards {
    /// Starts one for each core, among `tasks`.
    pub(crate) fn start(tasks: &mut JoinSet<()>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards: Vec<_> = (0..cores).map(|_| Arc::new(Shard::default())).collect();
        for shard in &shards {
            tasks.spawn(Arc::clone(shard).run());
        }
        Shards { shards, next: AtomicUsize::new(0) }
    }

    /// The one for the next connection.
    pub(crate) fn next(&self) -> Arc<Shard> {
        Arc::clone(&self.shards[self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len()])
    }
}

impl Shard {
    /// Has a connection written to.
    pub(super) fn push(&self, writer: Arc<Writer>) {
        self.due.lock().push(writer);
        self.filled.notify_one();
    }

    async fn run(self: Arc<Self>) {
        let mut due = Vec::new();
        loop {
            std::mem::swap(&mut due, &mut *self.due.lock());
            if due.is_empty() {
                self.filled.notified().await;
            }
            for (index, writer) in due.drain(..).enumerate() {
                writer.write_pushed();
                drop(writer);
                if index % TURN == TURN - 1 {
                    yield_now().await;
                }
            }
        }
    }
}
