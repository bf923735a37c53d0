//! What every store must do.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentworks_store::contract::{TABLES, Time, check};

use crate::support::cassandra::cassandra;

/// The machine's clock, by which Cassandra's rows expire.
struct Wall;

#[async_trait::async_trait]
impl Time for Wall {
    fn now(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
    }

    async fn pass(&self, millis: i64) {
        tokio::time::sleep(Duration::from_millis(millis as u64)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_on_cassandra() {
    let (_, store) = cassandra().await.store().await;
    for table in TABLES {
        store.create_table(table).await.unwrap();
    }
    assert_eq!(check(Arc::new(store), &Wall, "suite").await, []);
}
