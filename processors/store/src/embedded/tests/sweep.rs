//! That what has expired leaves the disk, and nothing else does.

use super::*;
use crate::embedded::disk::EXPIRY;
use crate::{Column, Part};

static TABLES: [Table; 2] = [table("plain", false), table("versioned", true)];

const fn table(name: &'static str, versioned: bool) -> Table {
    const PARTITION: &[Column] = &[Column::text("part")];
    const CLUSTERING: &[Column] = &[Column::int("place")];
    Table { name, partition: PARTITION, clustering: CLUSTERING, versioned }
}

fn write(table: &'static Table, place: i64, expires: Option<i64>, version: i64) -> Write {
    let key = Key { partition: vec!["part".into()], clustering: vec![Part::Int(place)] };
    let payload = vec![7; if place % 2 == 0 { 10 } else { 10_000 }].into();
    Write { table, key, version, expires, stats: "stats".into(), payload }
}

impl EmbeddedStore {
    /// How many keys lie in the keyspaces of a table and in the index of expiries.
    fn keys(&self, table: &Table) -> (usize, usize, usize) {
        let count = |name: &str| self.disk.database.keyspace(name, || unreachable!()).unwrap().len().unwrap();
        (count(table.name), count(&format!("{}.payload", table.name)), count(EXPIRY))
    }
}

#[tokio::test]
async fn what_has_expired_leaves_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    for table in &TABLES {
        let store = EmbeddedStore::open_with(&folder, clock.config()).unwrap();
        // More than a few rounds' worth, expiring one after another, and as many that stay.
        let now = clock.now();
        let expiring = (0..1000).map(|place| write(table, place, Some(now + 1 + place), 1));
        store.write(expiring.chain((1000..2000).map(|place| write(table, place, None, 1))).collect()).await.unwrap();
        assert_eq!(store.keys(table), (2000, 1000, 1000));

        clock.pass(500).await;
        assert_eq!(store.sweep().await.unwrap(), 500);
        assert_eq!(store.keys(table), (1500, 750, 500));
        drop(store);

        let store = EmbeddedStore::open_with(&folder, clock.config()).unwrap();
        clock.pass(10_000).await;
        assert_eq!(store.sweep().await.unwrap(), 500);
        assert_eq!(store.keys(table), (1000, 500, 0));
        assert_eq!(store.sweep().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_row_written_again_lives_as_the_last_write_says() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    let store = EmbeddedStore::open_with(&folder, clock.config()).unwrap();
    let [table, _] = &TABLES;
    for (place, expiries) in [(0, [Some(10), None]), (1, [Some(10), Some(100)]), (2, [Some(100), Some(10)])] {
        for expires in expiries {
            store.write(vec![write(table, place, expires, 0)]).await.unwrap();
        }
    }
    clock.pass(50).await;
    assert_eq!(store.sweep().await.unwrap(), 1);
    let places = |rows: Vec<Row>| rows.into_iter().map(|row| row.clustering[0].clone()).collect::<Vec<_>>();
    let scan = || Scan::partition(table, vec!["part".into()]);
    assert_eq!(places(store.scan(scan()).await.unwrap()), [Part::Int(0), Part::Int(1)]);
    clock.pass(1000).await;
    assert_eq!(store.sweep().await.unwrap(), 1);
    assert_eq!(places(store.scan(scan()).await.unwrap()), [Part::Int(0)]);
    assert_eq!(store.keys(table).2, 0);
}

#[tokio::test]
async fn a_deletion_outlives_the_expiry_of_what_it_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    let store = EmbeddedStore::open_with(&folder, clock.config()).unwrap();
    let [_, table] = &TABLES;
    store.write(vec![write(table, 1, Some(10), 1)]).await.unwrap();
    store.delete(table, &write(table, 1, None, 0).key, 2).await.unwrap();
    clock.pass(50).await;
    assert_eq!(store.sweep().await.unwrap(), 0);
    store.write(vec![write(table, 1, None, 1)]).await.unwrap();
    assert_eq!(store.get(table, &write(table, 1, None, 0).key).await.unwrap(), None);
}

#[tokio::test]
async fn the_background_thread_sweeps() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    let config = EmbeddedConfig { sweep_every: Duration::from_millis(1), ..clock.config() };
    let store = EmbeddedStore::open_with(&folder, config).unwrap();
    let [table, _] = &TABLES;
    store.write((0..600).map(|place| write(table, place, Some(10), 1)).collect()).await.unwrap();
    assert_eq!(store.keys(table).0, 600);
    clock.pass(50).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while store.keys(table) != (0, 0, 0) {
        assert!(std::time::Instant::now() < deadline, "still there: {:?}", store.keys(table));
        tokio::task::yield_now().await;
    }
}
