//! A table as it was lately, and what is recorded in it: looked at again and again, by one at a time for all who read.
//!
//! Everybody who opens a card asks where the archive stands, and most then need nothing of it. So once something is known, an
//! object store that hangs holds nobody up for long: the look goes on by itself, and readers with what was known, behind
//! which they read from other tiers.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentworks_processors::lane::Held;
use agentworks_schemas::TopicPartition;
use futures_util::future::{BoxFuture, FutureExt, Shared};
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use crate::error::ArchiveError;
use crate::lanes;
use crate::table::{Recorded, Table, Version};

/// The table is looked at again after so long: readers read behind it from other tiers, so that it may be behind.
const FRESH: Duration = Duration::from_secs(2);
/// So long after a look has begun nobody waits for it any more who can go on with what is known.
const PATIENCE: Duration = Duration::from_secs(1);

/// A table at a version.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) version: Version,
    recorded: Recorded,
    /// The lanes that have begun, with the makings of their topics.
    begun: BTreeSet<(TopicPartition, u32)>,
}

impl Seen {
    /// What it holds of a partition in a making of its topic, as far as a workspace goes; `None` if that never began.
    pub(super) fn held(&self, partition: TopicPartition, epoch: u32, workspace: Option<&str>) -> Option<Held> {
        lanes::recorded(&self.recorded, partition, epoch, workspace)
    }

    /// The same in all makings before one, from the first on.
    pub(super) fn earlier(&self, partition: TopicPartition, epoch: u32, workspace: &str) -> Vec<Held> {
        let makings = self.begun.range((partition, 0)..(partition, epoch));
        makings.filter_map(|(_, epoch)| self.held(partition, *epoch, Some(workspace))).collect()
    }
}

/// A look that goes on, or has ended, and what comes of it.
#[derive(Clone)]
struct Look {
    began: Instant,
    task: AbortHandle,
    answer: Shared<BoxFuture<'static, Result<Arc<Seen>, ArchiveError>>>,
}

/// When a table was looked at last, and what was seen.
type Known = Arc<Mutex<Option<(Instant, Arc<Seen>)>>>;

/// A table, and what is known of it.
pub(super) struct Latest {
    table: Table,
    known: Known,
    look: Mutex<Option<Look>>,
}

impl Latest {
    /// Of a table that wasn't looked at yet.
    pub(super) fn new(table: &Table) -> Self {
        Latest { table: table.clone(), known: Known::default(), look: Mutex::default() }
    }

    /// The table as it was a moment ago; or, where it can't be reached or that takes long, as it was seen last.
    ///
    /// # Errors
    /// The store's, if nothing is known yet; or that the table is damaged.
    pub(super) async fn seen(&self) -> Result<Arc<Seen>, ArchiveError> {
        let known = self.known.lock().clone();
        let Some((at, seen)) = known else { return self.look().answer.await };
        if at.elapsed() < FRESH {
            return Ok(seen);
        }
        let look = self.look();
        timeout_at(look.began + PATIENCE, look.answer).await.unwrap_or(Ok(seen))
    }

    /// The look that goes on; one is begun if none does. It comes to its end whoever waits for it.
    fn look(&self) -> Look {
        let mut look = self.look.lock();
        if let Some(look) = look.as_ref().filter(|look| !look.task.is_finished()) {
            return look.clone();
        }
        let task = tokio::spawn(renew(self.table.clone(), self.known.clone()));
        let (began, handle) = (Instant::now(), task.abort_handle());
        let ended = |error| Err(ArchiveError::Unavailable(format!("the table's look ended: {error}")));
        let answer = async move { task.await.unwrap_or_else(ended) }.boxed().shared();
        look.insert(Look { began, task: handle, answer }).clone()
    }
}

/// Looks at the table.
async fn renew(table: Table, known: Known) -> Result<Arc<Seen>, ArchiveError> {
    let before = known.lock().clone().map(|(_, seen)| seen);
    let seen = match (look_at(&table, before.as_ref()).await, before) {
        (Ok(seen), _) => seen,
        // Where the objects can't be reached, whoever needs none of them goes on with what was known.
        (Err(error), Some(before)) if error.is_transient() => before,
        (Err(error), _) => return Err(error),
    };
    *known.lock() = Some((Instant::now(), seen.clone()));
    Ok(seen)
}

async fn look_at(table: &Table, before: Option<&Arc<Seen>>) -> Result<Arc<Seen>, ArchiveError> {
    let version = table.version().await?;
    if let Some(before) = before.filter(|before| before.version.number() == version.number()) {
        return Ok(before.clone());
    }
    let recorded = version.all_recorded(table).await?;
    let begun = lanes::all_begun(&recorded);
    Ok(Arc::new(Seen { version, recorded, begun }))
}

impl fmt::Debug for Latest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latest").field("table", &self.table).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_objects::faulty::FaultyStore;

    use super::*;
    use crate::Archive;
    use crate::testing::{NOON, fill, folder, lane};

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_store_that_hangs_holds_up_nobody_who_knows_something() {
        let (_folder, plain) = folder();
        let writing = Archive::open(&plain).await.unwrap();
        fill(&writing, &[lane(0)], 0, 100, NOON).await;
        let faulty = Arc::new(parking_lot::Mutex::new(None));
        let objects = plain.through(|behind| {
            let store = FaultyStore::new(behind);
            *faulty.lock() = Some(store.clone());
            Arc::new(store)
        });
        let archive = Archive::open(&objects).await.unwrap();
        let latest = Arc::new(Latest::new(&archive.entries));
        let high = |seen: &Seen| seen.held(lane(0), 0, None).unwrap().high;
        assert_eq!(high(&latest.seen().await.unwrap()), 100);

        fill(&writing, &[lane(0)], 100, 200, NOON).await;
        // Until it is let go.
        let (let_go, hangs) = std::sync::mpsc::channel::<()>();
        let store = faulty.lock().take().unwrap();
        store.fail(move |_, _| {
            let _ = hangs.recv();
            None
        });
        tokio::time::sleep(FRESH).await;
        let begun = Instant::now();
        let readers: Vec<_> = (0..50)
            .map(|_| {
                let latest = latest.clone();
                tokio::spawn(async move { latest.seen().await.unwrap() })
            })
            .collect();
        for reader in readers {
            assert_eq!(high(&reader.await.unwrap()), 100);
        }
        let calls = store.calls();
        // It has gone on for so long that nobody waits.
        assert_eq!(high(&latest.seen().await.unwrap()), 100);
        assert!(begun.elapsed() < 10 * PATIENCE, "{:?}", begun.elapsed());
        assert_eq!((store.calls(), latest.look.lock().as_ref().unwrap().task.is_finished()), (calls, false));

        drop(let_go);
        assert_eq!(high(&latest.look().answer.await.unwrap()), 200);
        assert_eq!(high(&latest.seen().await.unwrap()), 200);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_knows_nothing_yet_is_told_that_the_store_is_away() {
        use agentworks_objects::faulty::Fault;
        let (_folder, plain) = folder();
        let faulty = FaultyStore::new(plain.store().clone());
        let store = faulty.clone();
        let objects = plain.through(move |_| Arc::new(store));
        let archive = Archive::open(&objects).await.unwrap();
        let latest = Latest::new(&archive.entries);
        faulty.fail(|_, _| Some(Fault::Unasked));
        assert!(latest.seen().await.unwrap_err().is_transient());
        faulty.heal();
        let seen = latest.seen().await.unwrap();
        faulty.fail(|_, _| Some(Fault::Unasked));
        tokio::time::sleep(FRESH).await;
        assert_eq!(latest.seen().await.unwrap().version.number(), seen.version.number());
    }
}
