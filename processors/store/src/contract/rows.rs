//! Writing, reading and deleting rows.

use bytes::Bytes;

use super::{Bench, Outcome, PLAIN, VERSIONED, ensure, ensure_eq, text};
use crate::key::{Key, Part};
use crate::store::{Row, Scan, Write};

pub(super) async fn a_row_is_read_as_written(bench: &Bench<'_>) -> Outcome {
    bench.put("row", 7, "payload").await?;
    let row = bench.get(&PLAIN, "row", 7).await?;
    let wanted = Row {
        clustering: vec!["row".into(), 7.into()],
        version: 0,
        stats: "stats of payload".into(),
        payload: "payload".into(),
    };
    ensure_eq!(row, Some(wanted));
    Ok(())
}

pub(super) async fn a_later_write_replaces(bench: &Bench<'_>) -> Outcome {
    bench.put("row", 0, "before").await?;
    bench.put("row", 0, "after").await?;
    ensure_eq!(bench.get(&PLAIN, "row", 0).await?.map(|row| text(&row.payload)), Some("after".to_owned()));
    Ok(())
}

pub(super) async fn an_absent_row_is_none(bench: &Bench<'_>) -> Outcome {
    ensure_eq!(bench.get(&PLAIN, "absent", 0).await?, None);
    ensure_eq!(bench.get(&VERSIONED, "absent", 0).await?, None);
    Ok(())
}

pub(super) async fn a_deleted_row_is_gone(bench: &Bench<'_>) -> Outcome {
    let large = "x".repeat(100_000);
    for payload in ["small", &large] {
        bench.put("row", 0, payload).await?;
        bench.put("other", 0, payload).await?;
        bench.store.delete(&PLAIN, &bench.key("row", 0), 0).await?;
        ensure_eq!(bench.get(&PLAIN, "row", 0).await?, None);
        ensure_eq!(bench.store.scan(Scan::partition(&PLAIN, bench.partition(0))).await?.len(), 1);
    }
    bench.store.delete(&PLAIN, &bench.key("never was", 0), 0).await?;
    bench.put("row", 0, "again").await?;
    ensure!(bench.get(&PLAIN, "row", 0).await?.is_some(), "a row can't be written after its deletion");
    Ok(())
}

pub(super) async fn any_text_is_a_key(bench: &Bench<'_>) -> Outcome {
    let names =
        ["", "\0", "\0\0", "a", "a\0", "a\0b", "a\u{1}", "ab", "ä", "日本語", "🦀", "\u{10ffff}", "\u{ff}", "'\";--"];
    for name in names {
        bench.put(name, 0, name).await?;
    }
    for name in names {
        ensure_eq!(bench.get(&PLAIN, name, 0).await?.map(|row| text(&row.payload)), Some(name.to_owned()));
    }
    let rows = bench.store.scan(Scan::partition(&PLAIN, bench.partition(0))).await?;
    let mut wanted: Vec<_> = names.iter().map(|name| Part::from(*name)).collect();
    wanted.sort();
    ensure_eq!(rows.into_iter().map(|row| row.clustering[0].clone()).collect::<Vec<_>>(), wanted);
    Ok(())
}

pub(super) async fn any_integer_is_a_key(bench: &Bench<'_>) -> Outcome {
    let numbers = [i64::MIN, -1_000_000, -256, -1, 0, 1, 255, 256, i64::MAX];
    for number in numbers {
        bench.put("row", number, &number.to_string()).await?;
        let key = Key { partition: bench.partition(number), clustering: vec!["row".into(), 0.into()] };
        let write = Write { key, ..bench.write(&PLAIN, "", 0, &number.to_string()) };
        bench.store.write(vec![write]).await?;
    }
    for number in numbers {
        let row = bench.get(&PLAIN, "row", number).await?;
        ensure_eq!(row.map(|row| text(&row.payload)), Some(number.to_string()));
        let key = Key { partition: bench.partition(number), clustering: vec!["row".into(), 0.into()] };
        let row = bench.store.get(&PLAIN, &key).await?;
        ensure_eq!(row.map(|row| text(&row.payload)), Some(number.to_string()));
    }
    Ok(())
}

pub(super) async fn tables_are_apart(bench: &Bench<'_>) -> Outcome {
    bench.put("row", 0, "plain").await?;
    ensure_eq!(bench.get(&VERSIONED, "row", 0).await?, None);
    bench.put_version("row", 1, "versioned").await?;
    ensure_eq!(bench.get(&PLAIN, "row", 0).await?.map(|row| text(&row.payload)), Some("plain".to_owned()));
    Ok(())
}

pub(super) async fn partitions_are_apart(bench: &Bench<'_>) -> Outcome {
    let (here, there) = (bench.key("row", 0), Key { partition: bench.partition(1), ..bench.key("row", 0) });
    let write = |key: &Key, payload: &str| Write { key: key.clone(), ..bench.write(&PLAIN, "", 0, payload) };
    bench.store.write(vec![write(&here, "here"), write(&there, "there")]).await?;
    bench.store.delete(&PLAIN, &here, 0).await?;
    ensure_eq!(bench.store.get(&PLAIN, &there).await?.map(|row| text(&row.payload)), Some("there".to_owned()));
    ensure_eq!(bench.store.scan(Scan::partition(&PLAIN, here.partition)).await?, vec![]);
    Ok(())
}

pub(super) async fn a_mebibyte_survives(bench: &Bench<'_>) -> Outcome {
    // Of a kind that no compression makes small.
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let payload: Bytes = std::iter::repeat_with(&mut next).take(1 << 20).collect();
    let write = bench.write(&PLAIN, "large", 0, "");
    bench.store.write(vec![Write { payload: payload.clone(), ..write }]).await?;
    let row = bench.get(&PLAIN, "large", 0).await?;
    ensure!(row.is_some_and(|row| row.payload == payload), "the payload has changed");
    Ok(())
}

pub(super) async fn a_thousand_rows_in_one_call(bench: &Bench<'_>) -> Outcome {
    let writes = (0..1000).rev().map(|place| bench.write(&PLAIN, "row", place, &format!("{place}")));
    bench.store.write(writes.collect()).await?;
    let rows = bench.store.scan(Scan::partition(&PLAIN, bench.partition(0))).await?;
    ensure_eq!(rows.len(), 1000);
    for (place, row) in rows.iter().enumerate() {
        ensure_eq!(text(&row.payload), place.to_string());
    }
    bench.store.write(Vec::new()).await?;
    Ok(())
}

pub(super) async fn the_last_of_equal_keys_in_one_call(bench: &Bench<'_>) -> Outcome {
    // Equal keys hold equal contents in such a table; it must only not be refused, nor read twice.
    let writes = (0..3).map(|_| bench.write(&PLAIN, "row", 0, "payload"));
    bench.store.write(writes.collect()).await?;
    ensure_eq!(bench.store.scan(Scan::partition(&PLAIN, bench.partition(0))).await?.len(), 1);
    Ok(())
}

pub(super) async fn wrong_keys_are_refused(bench: &Bench<'_>) -> Outcome {
    let whole = bench.key("row", 0);
    let wrong = [
        Key { clustering: vec!["row".into()], ..whole.clone() },
        Key { clustering: vec![0.into(), 0.into()], ..whole.clone() },
        Key { clustering: vec!["row".into(), 0.into(), 0.into()], ..whole.clone() },
        Key { partition: vec![], ..whole.clone() },
    ];
    for key in wrong {
        ensure!(bench.store.get(&PLAIN, &key).await.is_err(), "get of {key:?} succeeds");
        let write = Write { key: key.clone(), ..bench.write(&PLAIN, "", 0, "") };
        ensure!(bench.store.write(vec![write]).await.is_err(), "a write of {key:?} succeeds");
    }
    Ok(())
}
