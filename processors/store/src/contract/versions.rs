//! Versioned tables: what is newer wins, whoever comes last.

use tokio::task::JoinSet;

use super::{Bench, Broken, Outcome, VERSIONED, ensure, ensure_eq, text};
use crate::store::Write;

pub(super) async fn the_greater_version_wins(bench: &Bench<'_>) -> Outcome {
    bench.put_version("row", 10, "ten").await?;
    bench.put_version("row", 9, "nine").await?;
    ensure_eq!(bench.version("row").await?, Some(("ten".to_owned(), 10)));
    bench.put_version("row", 11, "eleven").await?;
    ensure_eq!(bench.version("row").await?, Some(("eleven".to_owned(), 11)));
    Ok(())
}

pub(super) async fn an_equal_version_replaces(bench: &Bench<'_>) -> Outcome {
    // Here the later payload is also the greater one, which is what CQL keeps.
    bench.put_version("row", 5, "a").await?;
    bench.put_version("row", 5, "b").await?;
    ensure_eq!(bench.version("row").await?, Some(("b".to_owned(), 5)));
    Ok(())
}

pub(super) async fn equal_versions_are_not_mixed(bench: &Bench<'_>) -> Outcome {
    let write = |stats: &'static str, payload: &str| Write {
        version: 5,
        stats: stats.into(),
        ..bench.write(&VERSIONED, "row", 0, payload)
    };
    bench.store.write(vec![write("b", "a")]).await?;
    bench.store.write(vec![write("a", "b")]).await?;
    let row = bench.get(&VERSIONED, "row", 0).await?.map(|row| (text(&row.stats), text(&row.payload)));
    let either = [("b", "a"), ("a", "b")].map(|(stats, payload)| Some((stats.to_owned(), payload.to_owned())));
    ensure!(either.contains(&row), "of two writes, there is {row:?}");
    Ok(())
}

pub(super) async fn an_older_delete_is_ignored(bench: &Bench<'_>) -> Outcome {
    bench.put_version("row", 10, "ten").await?;
    bench.store.delete(&VERSIONED, &bench.key("row", 0), 9).await?;
    ensure_eq!(bench.version("row").await?, Some(("ten".to_owned(), 10)));
    Ok(())
}

pub(super) async fn a_deletion_is_remembered(bench: &Bench<'_>) -> Outcome {
    let large = "x".repeat(100_000);
    for (version, payload) in [(10, "small"), (20, &large)] {
        bench.put_version("row", version, payload).await?;
        bench.store.delete(&VERSIONED, &bench.key("row", 0), version + 1).await?;
        ensure_eq!(bench.version("row").await?, None);
        bench.put_version("row", version, payload).await?;
        ensure_eq!(bench.version("row").await?, None);
    }
    bench.put_version("row", 22, "newer").await?;
    ensure_eq!(bench.version("row").await?, Some(("newer".to_owned(), 22)));
    Ok(())
}

pub(super) async fn a_deletion_beats_its_version(bench: &Bench<'_>) -> Outcome {
    bench.put_version("row", 5, "five").await?;
    bench.store.delete(&VERSIONED, &bench.key("row", 0), 5).await?;
    ensure_eq!(bench.version("row").await?, None);
    bench.put_version("row", 5, "five").await?;
    ensure_eq!(bench.version("row").await?, None);
    bench.put_version("row", 6, "six").await?;
    ensure_eq!(bench.version("row").await?, Some(("six".to_owned(), 6)));
    Ok(())
}

pub(super) async fn the_greatest_in_one_call(bench: &Bench<'_>) -> Outcome {
    let write = |version| Write { version, ..bench.write(&VERSIONED, "row", 0, &format!("{version}")) };
    bench.store.write(vec![write(2), write(3), write(1)]).await?;
    ensure_eq!(bench.version("row").await?, Some(("3".to_owned(), 3)));
    bench.store.write(vec![write(2), write(1)]).await?;
    ensure_eq!(bench.version("row").await?, Some(("3".to_owned(), 3)));
    Ok(())
}

pub(super) async fn concurrent_writers(bench: &Bench<'_>) -> Outcome {
    for round in 0..10 {
        let row = format!("row {round}");
        let mut writers = JoinSet::new();
        for version in 0..16 {
            let store = bench.store.clone();
            // Beside other rows, which several writers share in turn.
            let write = |name: &str| Write { version, ..bench.write(&VERSIONED, name, 0, &format!("{version}")) };
            let writes =
                vec![write(&row), write(&format!("{row} {}", version % 3)), write(&format!("{row} {version}"))];
            writers.spawn(async move { store.write(writes).await });
        }
        while let Some(written) = writers.join_next().await {
            written.map_err(|error| Broken(error.to_string()))??;
        }
        ensure_eq!(bench.version(&row).await?, Some(("15".to_owned(), 15)));
        ensure_eq!(bench.version(&format!("{row} 0")).await?, Some(("15".to_owned(), 15)));
    }
    Ok(())
}

pub(super) async fn negative_versions(bench: &Bench<'_>) -> Outcome {
    bench.put_version("row", -2, "minus two").await?;
    bench.put_version("row", -3, "minus three").await?;
    ensure_eq!(bench.version("row").await?, Some(("minus two".to_owned(), -2)));
    bench.put_version("row", -1, "minus one").await?;
    ensure_eq!(bench.version("row").await?, Some(("minus one".to_owned(), -1)));
    Ok(())
}

pub(super) async fn large_and_small_payloads_take_turns(bench: &Bench<'_>) -> Outcome {
    let large = "x".repeat(100_000);
    for (version, payload) in [(1, large.as_str()), (2, "small"), (3, &large), (4, &large), (5, "")] {
        bench.put_version("row", version, payload).await?;
        ensure_eq!(bench.version("row").await?, Some((payload.to_owned(), version)));
    }
    Ok(())
}
