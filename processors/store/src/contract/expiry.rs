//! Rows that cease to be.

use super::{Bench, Outcome, PLAIN, VERSIONED, ensure, ensure_eq, text};
use crate::store::{Scan, Write};

/// More than the grain of any store's expiry.
const LONG: i64 = 2_000;

pub(super) async fn an_expired_row_is_not_returned(bench: &Bench<'_>) -> Outcome {
    let ends = bench.time.now() + LONG;
    let expires = Some(ends);
    let large = "x".repeat(100_000);
    let writes = vec![
        Write { expires, ..bench.write(&PLAIN, "a", 1, "small") },
        Write { expires, ..bench.write(&PLAIN, "b", 1, &large) },
        Write { expires, version: 1, ..bench.write(&VERSIONED, "a", 1, "small") },
    ];
    bench.store.write(writes).await?;
    let there = bench.get(&PLAIN, "a", 1).await?.is_some();
    ensure!(there || bench.time.now() >= ends, "the row is not there before it expires");
    bench.time.pass(2 * LONG).await;
    ensure_eq!(bench.get(&PLAIN, "a", 1).await?, None);
    ensure_eq!(bench.get(&PLAIN, "b", 1).await?, None);
    ensure_eq!(bench.get(&VERSIONED, "a", 1).await?, None);
    ensure_eq!(bench.store.scan(Scan::partition(&PLAIN, bench.partition(0))).await?, vec![]);
    Ok(())
}

pub(super) async fn a_rewritten_row_lives_on(bench: &Bench<'_>) -> Outcome {
    let now = bench.time.now();
    for (expires, payload) in [(Some(now + LONG), "first"), (Some(now + 1_000 * LONG), "second")] {
        bench.store.write(vec![Write { expires, ..bench.write(&PLAIN, "row", 0, payload) }]).await?;
    }
    for (expires, payload) in [(Some(now + LONG), "first"), (None, "second")] {
        bench.store.write(vec![Write { expires, ..bench.write(&PLAIN, "other", 0, payload) }]).await?;
    }
    bench.time.pass(2 * LONG).await;
    for name in ["row", "other"] {
        ensure_eq!(bench.get(&PLAIN, name, 0).await?.map(|row| text(&row.payload)), Some("second".to_owned()));
    }
    Ok(())
}

pub(super) async fn what_never_expires_stays(bench: &Bench<'_>) -> Outcome {
    bench.put("row", 0, "for ever").await?;
    bench.time.pass(LONG).await;
    ensure!(bench.get(&PLAIN, "row", 0).await?.is_some(), "a row without an expiry has gone");
    Ok(())
}

pub(super) async fn what_is_written_expired_is_not_there(bench: &Bench<'_>) -> Outcome {
    let expires = Some(bench.time.now() - LONG);
    bench.store.write(vec![Write { expires, ..bench.write(&PLAIN, "row", 0, "expired") }]).await?;
    ensure_eq!(bench.get(&PLAIN, "row", 0).await?, None);
    // It puts an end to an older one all the same.
    bench.put_version("row", 1, "older").await?;
    bench.store.write(vec![Write { expires, version: 2, ..bench.write(&VERSIONED, "row", 0, "expired") }]).await?;
    ensure_eq!(bench.version("row").await?, None);
    Ok(())
}
