//! That an acknowledged write survives `kill -9`.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::*;
use crate::Column;

const TABLE: Table =
    Table { name: "acks", partition: &[Column::int("round")], clustering: &[Column::int("place")], versioned: false };
const FOLDER: &str = "AGENTWORKS_STORE_KILL_TEST";

fn write(round: i64, place: i64) -> Write {
    let key = Key { partition: vec![round.into()], clustering: vec![place.into()] };
    // Now and then one that lies apart, and larger than any buffer on the way.
    let payload = vec![place as u8; if place % 16 == 0 { 100_000 } else { 300 }].into();
    Write { table: &TABLE, key, version: 0, expires: Some(i64::MAX - 1), stats: Default::default(), payload }
}

/// Writes rows until it is killed, and says each that was acknowledged.
#[tokio::test]
#[ignore = "run as a child by `acknowledged_rows_survive_a_kill`"]
async fn child() {
    let Ok(setting) = std::env::var(FOLDER) else { return };
    let (round, folder) = setting.split_once(' ').unwrap();
    let round: i64 = round.parse().unwrap();
    // Small buffers, so that tables are written meanwhile.
    let config = EmbeddedConfig { write_buffer: 1 << 20, ..EmbeddedConfig::default() };
    let store = EmbeddedStore::open_with(folder, config).unwrap();
    let mut out = std::io::stdout();
    for call in 0.. {
        let places = call * 3..call * 3 + 3;
        store.write(places.clone().map(|place| write(round, place)).collect()).await.unwrap();
        writeln!(out, "acknowledged {}", places.end).unwrap();
        out.flush().unwrap();
    }
}

#[tokio::test]
async fn acknowledged_rows_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::tests::kill::child", "--ignored", "--nocapture"])
            .env(FOLDER, format!("{round} {}", folder.path().display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ack = |line: String| line.rsplit_once("acknowledged ").map(|(_, place)| place.parse::<i64>().unwrap());
        let mut last = 0;
        while last < 200 + 100 * round {
            last = ack(lines.next().expect("the child has ended").unwrap()).unwrap_or(last);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had said by then.
        last = lines.filter_map(|line| ack(line.unwrap())).last().unwrap_or(last);
        acknowledged.push(last);

        let store = EmbeddedStore::open(&folder).unwrap();
        for (round, places) in acknowledged.iter().enumerate() {
            let rows = store.scan(Scan::partition(&TABLE, vec![(round as i64).into()])).await.unwrap();
            assert!(rows.len() as i64 >= *places, "{} of {places} rows", rows.len());
            for (place, row) in rows.iter().enumerate() {
                assert_eq!(row.payload, write(round as i64, place as i64).payload);
            }
        }
    }
}
