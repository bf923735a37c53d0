//! The tables as the sinks use them.

use agentworks_processors::TABLES;
use agentworks_store::{Column, Key, Kind, Part, Scan, Store, Write};
use tokio::task::JoinSet;

use crate::support::cassandra::cassandra;

/// More than any offset, as epochs are in versions.
const EPOCH: i64 = 1 << 44;

fn parts(columns: &[Column], number: i64) -> Vec<Part> {
    let part = |column: &Column| match column.kind {
        Kind::Text => format!("{}-{number}", column.name).into(),
        Kind::Int => number.into(),
    };
    columns.iter().map(part).collect()
}

#[tokio::test]
async fn every_table_is_written_and_read() {
    let (_, store) = cassandra().await.store().await;
    for table in TABLES {
        let key = |number| Key { partition: parts(table.partition, 0), clustering: parts(table.clustering, number) };
        let write = |number| Write {
            table,
            key: key(number),
            version: if table.versioned { EPOCH } else { 0 },
            expires: None,
            stats: "stats".into(),
            payload: format!("{number}").into(),
        };
        store.write((0..3).map(write).collect()).await.unwrap();
        let row = store.get(table, &key(1)).await.unwrap().unwrap_or_else(|| panic!("a row of {}", table.name));
        assert_eq!((row.payload.as_ref(), row.stats.as_ref()), (&b"1"[..], &b"stats"[..]), "{}", table.name);
        assert_eq!(row.version, if table.versioned { EPOCH } else { 0 }, "{}", table.name);
        store.delete(table, &key(1), EPOCH).await.unwrap();
        let rows = store.scan(Scan::partition(table, parts(table.partition, 0))).await.unwrap();
        let left: Vec<_> = rows.iter().map(|row| row.clustering.clone()).collect();
        assert_eq!(left, [key(0).clustering, key(2).clustering], "{}", table.name);
    }
}

/// Two sinks of which one is a zombie: whatever the order in which their writes arrive, who knows more of the log wins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_takes_nothing_back() {
    let (_, store) = cassandra().await.store().await;
    let table = TABLES.iter().find(|table| table.name == "positions").unwrap();
    let key = |lane: i64| Key { partition: vec!["hot".into()], clustering: vec!["agent-logs".into(), lane.into()] };
    let last = |lane: i64| EPOCH + 1000 * (lane % 3 + 1);
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let store = store.clone();
        writers.spawn(async move {
            for step in 0..100 {
                let write = |lane| {
                    // Each goes its own way through the log, and all of them reach its end.
                    let version = last(lane) - (step * (writer + 1) * 7) % 100;
                    let payload = format!("{version}").into();
                    Write { table, key: key(lane), version, expires: None, stats: Default::default(), payload }
                };
                store.write((0..6).map(write).collect()).await.unwrap();
            }
        });
    }
    while let Some(written) = writers.join_next().await {
        written.unwrap();
    }
    for lane in 0..6 {
        let row = store.get(table, &key(lane)).await.unwrap().unwrap();
        assert_eq!((row.version, row.payload.as_ref()), (last(lane), last(lane).to_string().as_bytes()));
    }
}

/// Far more than a page, with payloads of which only a few fit one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_partition_is_read_page_by_page() {
    let (_, store) = cassandra().await.store().await;
    let table = TABLES.iter().find(|table| table.name == "run_marks").unwrap();
    let partition: Vec<Part> = vec!["acme".into(), "run".into()];
    let write = |ordinal: i64, size: usize| {
        let clustering = vec!["agent-logs".into(), 0.into(), 0.into(), ordinal.into()];
        let key = Key { partition: partition.clone(), clustering };
        let payload = vec![ordinal as u8; size].into();
        Write { table, key, version: 0, expires: None, stats: Default::default(), payload }
    };
    store.write((0..20_000).map(|ordinal| write(ordinal, 8)).collect()).await.unwrap();
    store.write((20_000..20_100).map(|ordinal| write(ordinal, 200_000)).collect()).await.unwrap();
    let rows = store.scan(Scan::partition(table, partition.clone())).await.unwrap();
    assert_eq!(rows.len(), 20_100);
    for (ordinal, row) in rows.iter().enumerate() {
        assert_eq!(row.clustering[3], (ordinal as i64).into());
        assert!(row.payload.iter().all(|byte| *byte == ordinal as u8));
    }
    // Around the sizes of pages.
    for limit in [1, 63, 64, 65, 128, 1234, 5064, 6000] {
        let limited = Scan { limit, ..Scan::partition(table, partition.clone()) };
        let rows = store.scan(limited).await.unwrap();
        assert_eq!(rows.len(), limit);
        assert_eq!(rows[limit - 1].clustering[3], (limit as i64 - 1).into());
    }
}
