//! Cassandra killed, and Cassandra that hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use agentworks_processors::TABLES;
use agentworks_store::{Key, Part, Scan, Store, Table, Write};
use agentworks_store_cql::CqlStore;
use rustix::process::Signal;
use tokio::task::JoinHandle;

use crate::support::cassandra::Cassandra;
use crate::support::{Scratch, eventually, process};

/// Within this everything goes on again.
const RECOVERY: Duration = Duration::from_secs(30);
/// For how long it hangs; longer than any timeout there is on the way.
const HANG: Duration = Duration::from_secs(60);

/// Writes one row after the other, each as often as it takes, as the runtime does.
struct Load {
    acknowledged: Arc<AtomicI64>,
    task: JoinHandle<()>,
}

fn table() -> &'static Table {
    TABLES.iter().find(|table| table.name == "run_marks").unwrap()
}

fn partition() -> Vec<Part> {
    vec!["acme".into(), "run".into()]
}

impl Load {
    fn start(store: CqlStore) -> Load {
        let acknowledged = Arc::new(AtomicI64::new(0));
        let count = acknowledged.clone();
        let task = tokio::spawn(async move {
            for ordinal in 0.. {
                let clustering = vec!["agent-logs".into(), 0.into(), 0.into(), ordinal.into()];
                let key = Key { partition: partition(), clustering };
                let payload = ordinal.to_string().into();
                let write =
                    Write { table: table(), key, version: 0, expires: None, stats: Default::default(), payload };
                while let Err(error) = store.write(vec![write.clone()]).await {
                    assert!(error.is_transient(), "{error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                count.store(ordinal + 1, Ordering::SeqCst);
            }
        });
        Load { acknowledged, task }
    }

    /// Returns when so many more rows have been written.
    async fn goes_on(&self, within: Duration) {
        let wanted = self.acknowledged.load(Ordering::SeqCst) + 100;
        let reached = async || (self.acknowledged.load(Ordering::SeqCst) >= wanted).then_some(());
        let stopped = eventually(within, reached);
        stopped.await;
    }

    /// Ends it. Returns how many rows were acknowledged.
    async fn stop(self) -> i64 {
        self.task.abort();
        let ended = self.task.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()), "every error might pass");
        self.acknowledged.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_all_goes_on_by_itself() {
    let folder = Scratch::new("cassandra");
    let mut cassandra = Cassandra::start(folder.path()).await;
    let (_, store) = cassandra.store().await;
    let load = Load::start(store.clone());
    load.goes_on(RECOVERY).await;

    process::kill_9(cassandra.pid());
    eventually(RECOVERY, async || (!cassandra.is_running()).then_some(())).await;
    let error = store.scan(Scan::partition(table(), partition())).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    cassandra.start_again().await;
    let back = Instant::now();
    load.goes_on(RECOVERY).await;
    println!("killed: goes on {:?} after Cassandra serves again", back.elapsed());

    let hanging = Hanging::start(cassandra.pid());
    let begun = Instant::now();
    let error = store.scan(Scan::partition(table(), partition())).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(begun.elapsed() < RECOVERY, "a call of a store that hangs returns");
    tokio::time::sleep(HANG.saturating_sub(begun.elapsed())).await;
    drop(hanging);
    let back = Instant::now();
    load.goes_on(RECOVERY).await;
    println!("stopped: goes on {:?} after Cassandra continues", back.elapsed());

    let acknowledged = load.stop().await;
    let rows = store.scan(Scan::partition(table(), partition())).await.unwrap();
    // One more may have been written without anybody having been told.
    assert!([acknowledged, acknowledged + 1].contains(&(rows.len() as i64)), "{} of {acknowledged}", rows.len());
    for (ordinal, row) in rows.iter().enumerate() {
        assert_eq!(row.payload, ordinal.to_string());
    }
    cassandra.stop().await;
}

/// A process that is stopped until this is dropped: stopped for ever, it wouldn't end with us.
struct Hanging(u32);

impl Hanging {
    fn start(pid: u32) -> Self {
        process::signal(pid, Signal::STOP);
        Hanging(pid)
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        process::signal(self.0, Signal::CONT);
    }
}
