//! Reading the rows of a partition.

use std::ops::Bound::{self, Excluded, Included, Unbounded};

use super::{Bench, Broken, Outcome, PLAIN, ensure_eq, text};
use crate::key::Part;
use crate::store::{Order, Scan, Write};

/// Rows `a 1` to `c 3`, written in no order.
async fn nine(bench: &Bench<'_>) -> Outcome {
    for (name, place) in [("b", 2), ("c", 1), ("a", 3), ("b", 1), ("a", 1), ("c", 3), ("b", 3), ("c", 2), ("a", 2)] {
        bench.put(name, place, &format!("{name}{place}")).await?;
    }
    Ok(())
}

/// The payloads of the rows found, in one line.
async fn found(bench: &Bench<'_>, change: impl Fn(&mut Scan)) -> Result<String, Broken> {
    let mut scan = Scan::partition(&PLAIN, bench.partition(0));
    change(&mut scan);
    let rows = bench.store.scan(scan).await?;
    Ok(rows.iter().map(|row| text(&row.payload)).collect::<Vec<_>>().join(" "))
}

fn name(name: &str) -> Vec<Part> {
    vec![name.into()]
}

fn place(name: &str, place: i64) -> Vec<Part> {
    vec![name.into(), place.into()]
}

pub(super) async fn in_order_of_the_key(bench: &Bench<'_>) -> Outcome {
    nine(bench).await?;
    ensure_eq!(found(bench, |_| {}).await?, "a1 a2 a3 b1 b2 b3 c1 c2 c3");
    Ok(())
}

pub(super) async fn backwards(bench: &Bench<'_>) -> Outcome {
    nine(bench).await?;
    ensure_eq!(found(bench, |scan| scan.order = Order::Descending).await?, "c3 c2 c1 b3 b2 b1 a3 a2 a1");
    Ok(())
}

/// Two bounds, and what lies between them.
type Case = (Bound<Vec<Part>>, Bound<Vec<Part>>, &'static str);

/// Reads what lies between bounds in both orders.
async fn between(bench: &Bench<'_>, cases: &[Case]) -> Outcome {
    nine(bench).await?;
    for (from, to, wanted) in cases {
        let bounded = |scan: &mut Scan| (scan.from, scan.to) = (from.clone(), to.clone());
        let ascending = found(bench, bounded).await?;
        ensure_eq!((from, to, ascending.as_str()), (from, to, *wanted));
        let descending = found(bench, |scan| {
            bounded(scan);
            scan.order = Order::Descending;
        });
        let mut reversed: Vec<_> = wanted.split(' ').collect();
        reversed.reverse();
        ensure_eq!((from, to, descending.await?), (from, to, reversed.join(" ")));
    }
    Ok(())
}

pub(super) async fn bounds_of_whole_keys(bench: &Bench<'_>) -> Outcome {
    let cases = [
        (Included(place("a", 3)), Included(place("b", 2)), "a3 b1 b2"),
        (Excluded(place("a", 3)), Included(place("b", 2)), "b1 b2"),
        (Included(place("a", 3)), Excluded(place("b", 2)), "a3 b1"),
        (Excluded(place("a", 3)), Excluded(place("b", 2)), "b1"),
        (Included(place("b", 0)), Included(place("b", 9)), "b1 b2 b3"),
        (Included(place("c", 2)), Unbounded, "c2 c3"),
        (Unbounded, Excluded(place("a", 2)), "a1"),
        (Included(place("b", i64::MIN)), Excluded(place("b", i64::MAX)), "b1 b2 b3"),
    ];
    between(bench, &cases).await
}

pub(super) async fn bounds_of_prefixes(bench: &Bench<'_>) -> Outcome {
    let cases = [
        (Included(name("b")), Included(name("b")), "b1 b2 b3"),
        (Excluded(name("a")), Included(name("b")), "b1 b2 b3"),
        (Excluded(name("a")), Excluded(name("c")), "b1 b2 b3"),
        (Included(name("b")), Excluded(name("b")), ""),
        (Excluded(name("b")), Included(name("b")), ""),
        (Included(name("b")), Unbounded, "b1 b2 b3 c1 c2 c3"),
        (Unbounded, Included(name("a")), "a1 a2 a3"),
        (Included(place("b", 2)), Included(name("b")), "b2 b3"),
        (Included(name("b")), Excluded(place("b", 2)), "b1"),
        (Included(Vec::new()), Included(Vec::new()), "a1 a2 a3 b1 b2 b3 c1 c2 c3"),
        (Excluded(Vec::new()), Unbounded, ""),
    ];
    between(bench, &cases).await
}

pub(super) async fn crossed_bounds_hold_nothing(bench: &Bench<'_>) -> Outcome {
    let cases = [
        (Included(name("c")), Included(name("a")), ""),
        (Included(place("b", 3)), Excluded(place("b", 1)), ""),
        (Excluded(place("c", 3)), Unbounded, ""),
        (Excluded(place("b", 1)), Excluded(place("b", 1)), ""),
    ];
    between(bench, &cases).await
}

pub(super) async fn a_limit(bench: &Bench<'_>) -> Outcome {
    nine(bench).await?;
    let from_b = |scan: &mut Scan| (scan.from, scan.limit) = (Included(name("b")), 2);
    ensure_eq!(found(bench, from_b).await?, "b1 b2");
    let up_to_b = |scan: &mut Scan| {
        (scan.to, scan.limit, scan.order) = (Included(name("b")), 2, Order::Descending);
    };
    ensure_eq!(found(bench, up_to_b).await?, "b3 b2");
    ensure_eq!(found(bench, |scan| scan.limit = 0).await?, "");
    ensure_eq!(found(bench, |scan| scan.limit = 100).await?, "a1 a2 a3 b1 b2 b3 c1 c2 c3");
    Ok(())
}

pub(super) async fn a_limit_skips_no_live_row(bench: &Bench<'_>) -> Outcome {
    nine(bench).await?;
    for place in 1..4 {
        bench.store.delete(&PLAIN, &bench.key("a", place), 0).await?;
    }
    let expired = Write { expires: Some(bench.time.now() - 1_000), ..bench.write(&PLAIN, "a", 4, "expired") };
    bench.store.write(vec![expired]).await?;
    ensure_eq!(found(bench, |scan| scan.limit = 2).await?, "b1 b2");
    Ok(())
}

pub(super) async fn without_payloads(bench: &Bench<'_>) -> Outcome {
    bench.put("a", 1, "small").await?;
    bench.put("b", 1, &"x".repeat(100_000)).await?;
    let mut scan = Scan::partition(&PLAIN, bench.partition(0));
    scan.payload = false;
    let rows = bench.store.scan(scan).await?;
    ensure_eq!(rows.len(), 2);
    for row in rows {
        ensure_eq!(row.payload.len(), 0);
        ensure_eq!(row.stats.starts_with(b"stats of "), true);
    }
    Ok(())
}

pub(super) async fn an_empty_partition(bench: &Bench<'_>) -> Outcome {
    ensure_eq!(found(bench, |_| {}).await?, "");
    Ok(())
}

pub(super) async fn integers_in_order(bench: &Bench<'_>) -> Outcome {
    for number in [3, -1, i64::MAX, 0, i64::MIN, 256, -256] {
        bench.put("row", number, &number.to_string()).await?;
    }
    let wanted = format!("{} -256 -1 0 3 256 {}", i64::MIN, i64::MAX);
    ensure_eq!(found(bench, |_| {}).await?, wanted);
    let negative = |scan: &mut Scan| scan.to = Excluded(place("row", 0));
    ensure_eq!(found(bench, negative).await?, format!("{} -256 -1", i64::MIN));
    Ok(())
}
