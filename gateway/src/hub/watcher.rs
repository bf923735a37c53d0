//! The two ends of a watch: what the hub tells a session, and how.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentworks_schemas::Cursor;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::socket::{Frame, Outbox};

/// Why the hub let go of a live connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its outbox was full.
    Overflow,
    /// The card has records in a partition where it had none before: what lies there has to be read first.
    Extended,
    /// A partition's log doesn't go on where the hub was, and perhaps not where the cursor is.
    Reset,
}

impl Reason {
    /// A short stable name, for metric labels.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Reason::Overflow => "overflow",
            Reason::Extended => "extended",
            Reason::Reset => "reset",
        }
    }
}

/// What the hub has to tell a session: it leaves it here and wakes the session.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(super) outbox: Arc<Outbox>,
    news: Mutex<News>,
    changed: Notify,
}

/// What a session has not looked at yet.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// The hub pushes no more, for this reason. The cursor is just after the last frame that it pushed.
    pub(crate) detached: Option<(Cursor, Reason)>,
    /// The newest `run_summary` of each run that something happened to.
    pub(crate) summaries: BTreeMap<String, Frame>,
}

impl Watcher {
    pub(super) fn new(outbox: Arc<Outbox>) -> Self {
        Watcher { outbox, news: Mutex::default(), changed: Notify::new() }
    }

    pub(super) fn detached(&self, cursor: Cursor, reason: Reason) {
        self.news.lock().detached = Some((cursor, reason));
        self.changed.notify_one();
    }

    pub(super) fn summary(&self, run: &str, frame: &Frame) {
        self.news.lock().summaries.insert(run.to_owned(), frame.clone());
        self.changed.notify_one();
    }

    /// Waits until there may be news. Only one task may wait.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes the news.
    pub(crate) fn take(&self) -> News {
        std::mem::take(&mut self.news.lock())
    }
}
