#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};

use agentworks_objects::Objects;
use agentworks_objects::faulty::{Fault, FaultyStore, Operation as Call};
use agentworks_schemas::Topic;

use super::*;
use crate::maintain::{MaintainConfig, Maintenance};
use crate::testing::{DAY, NOON, batch, batch_of, config, folder, lane, sink};

const EVENTS: TopicPartition = TopicPartition { topic: Topic::RunEvents, partition: 0 };
const SYSTEM: TopicPartition = TopicPartition { topic: Topic::SystemLogs, partition: 0 };

fn spans(held: &[Held]) -> Vec<(TopicPartition, i64, i64)> {
    held.iter().map(|held| (held.partition, held.low, held.high)).collect()
}

/// How many rows and files there are, and that all is whole.
async fn whole(archive: &Archive) -> (u64, u64) {
    let verified = Maintenance::new(archive.clone(), MaintainConfig::default()).unwrap().verify().await.unwrap();
    assert_eq!(verified.problems, Vec::<String>::new());
    (verified.rows, verified.files)
}

/// How many of the offsets hold a record in what [`batch`] makes.
fn records(from: i64, to: i64) -> u64 {
    (from..to).filter(|offset| offset % 11 != 10).count() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn all_lanes_are_published_in_one_commit_for_each_table() {
    let (_folder, objects) = folder();
    let archive = Archive::open(&objects).await.unwrap();
    let mut sink = sink(&archive);
    for partition in [lane(0), lane(1), SYSTEM, EVENTS] {
        assert_eq!(spans(&[sink.open(partition, 0, 5).await.unwrap()]), [(partition, 5, 5)]);
        sink.take(&batch(partition, 5, 400, NOON)).await.unwrap();
    }
    assert!(sink.pending() > 400 * 100);
    assert!(sink.flush(Flush::Due).await.unwrap().is_empty(), "nothing is due");
    let before = archive.entries.version().await.unwrap().number();
    let moved = sink.flush(Flush::Partition(lane(1))).await.unwrap();
    assert_eq!(spans(&moved).len(), 4);
    assert_eq!(archive.entries.version().await.unwrap().number(), before + 1);
    assert_eq!((sink.pending(), whole(&archive).await), (0, (4 * records(5, 400), 2)));
    // The next process goes on there.
    let mut next = self::sink(&Archive::open(&objects).await.unwrap());
    let held = next.open(lane(0), 0, 7).await.unwrap();
    assert_eq!((held.low, held.high, held.clock.time.millis()), (5, 400, NOON + 399));
    next.take(&batch(lane(0), 300, 500, NOON)).await.unwrap();
    next.flush(Flush::Free(1)).await.unwrap();
    assert_eq!(whole(&archive).await.0, 4 * records(5, 400) + records(400, 500));
}

#[tokio::test(flavor = "multi_thread")]
async fn days_have_files_of_their_own_and_empty_ranges_are_told() {
    let (_folder, objects) = folder();
    let archive = Archive::open(&objects).await.unwrap();
    let mut sink = sink(&archive);
    sink.open(lane(0), 0, 0).await.unwrap();
    // Time goes back at 30: the day doesn't.
    let time = |offset: i64| Some(if (20..30).contains(&offset) { NOON + DAY } else { NOON } + offset);
    sink.take(&batch_of(lane(0), 0, 50, time)).await.unwrap();
    sink.flush(Flush::Free(1)).await.unwrap();
    assert_eq!(whole(&archive).await, (50, 2));
    // A range without records moves the position as well.
    sink.take(&batch_of(lane(0), 50, 80, |_| None)).await.unwrap();
    assert_eq!(spans(&sink.flush(Flush::Free(1)).await.unwrap()), [(lane(0), 0, 80)]);
    assert_eq!(whole(&archive).await, (50, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_by_age_or_size_is_published() {
    let (_folder, objects) = folder();
    let archive = Archive::open(&objects).await.unwrap();
    for config in
        [ArchiveConfig { flush_interval: Duration::ZERO, ..config() }, ArchiveConfig { flush_bytes: 1000, ..config() }]
    {
        let mut sink = ArchiveSink::new(archive.clone(), config, &mut Registry::default()).unwrap();
        let from = sink.open(lane(0), 0, 0).await.unwrap().high;
        assert!(sink.flush(Flush::Due).await.unwrap().is_empty());
        sink.take(&batch(lane(0), from, from + 100, NOON)).await.unwrap();
        assert_eq!(sink.flush(Flush::Due).await.unwrap().len(), 1);
    }
    assert!(ArchiveSink::new(archive, ArchiveConfig { zstd_level: 0, ..config() }, &mut Registry::default()).is_err());
}

/// Nor is much memory taken for them.
#[tokio::test(flavor = "multi_thread")]
async fn many_lanes_of_which_little_waits_are_not_due_by_their_number() {
    let (_folder, objects) = folder();
    let archive = Archive::open(&objects).await.unwrap();
    let config = ArchiveConfig { flush_bytes: 64 << 10, ..config() };
    let mut sink = ArchiveSink::new(archive.clone(), config, &mut Registry::default()).unwrap();
    for partition in (0..12).map(lane) {
        sink.open(partition, 0, 0).await.unwrap();
        sink.take(&batch(partition, 0, 3, NOON)).await.unwrap();
    }
    assert!(sink.pending() < 12 * (4 << 10), "{}", sink.pending());
    assert!(sink.flush(Flush::Due).await.unwrap().is_empty());
    sink.take(&batch(lane(0), 3, 600, NOON)).await.unwrap();
    assert_eq!(sink.flush(Flush::Due).await.unwrap().len(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_overtaken_goes_on_behind_and_nothing_is_twice() {
    let (_folder, objects) = folder();
    let archive = Archive::open(&objects).await.unwrap();
    let mut zombie = sink(&archive);
    let mut heir = sink(&Archive::open(&objects).await.unwrap());
    for sink in [&mut zombie, &mut heir] {
        sink.open(lane(0), 0, 0).await.unwrap();
        sink.open(lane(1), 0, 0).await.unwrap();
    }
    heir.take(&batch(lane(0), 0, 300, NOON)).await.unwrap();
    heir.take(&batch(lane(1), 0, 100, NOON)).await.unwrap();
    zombie.take(&batch(lane(0), 0, 120, NOON)).await.unwrap();
    zombie.take(&batch(lane(1), 0, 500, NOON)).await.unwrap();
    zombie.flush(Flush::Free(1)).await.unwrap();
    // The heir has more of one lane and less of the other.
    let moved = heir.flush(Flush::Free(1)).await.unwrap();
    assert!(spans(&moved).contains(&(lane(0), 0, 300)) && spans(&moved).contains(&(lane(1), 0, 500)), "{moved:?}");
    heir.take(&batch(lane(1), 100, 600, NOON)).await.unwrap();
    heir.flush(Flush::Free(1)).await.unwrap();
    assert_eq!(whole(&archive).await.0, records(0, 300) + records(0, 600));
    // And the zombie, should it still be at work, neither takes back nor adds.
    zombie.take(&batch(lane(0), 120, 200, NOON)).await.unwrap();
    assert_eq!(spans(&zombie.flush(Flush::Free(1)).await.unwrap()), [(lane(0), 0, 300)]);
    assert_eq!(whole(&archive).await.0, records(0, 300) + records(0, 600));
}

/// Wherever a process is killed, the next one goes on and all is there once.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_may_end_at_any_call_to_the_store() {
    for point in 0.. {
        let (_folder, plain) = folder();
        let archive = Archive::open(&plain).await.unwrap();
        let is_dead = Arc::new(AtomicBool::new(false));
        let objects = dying(&plain, point, is_dead.clone());
        // From then on no call is answered: what is left of the process can do nothing.
        let life = async {
            let mut sink = sink(&Archive::open(&objects).await.map_err(SinkError::from)?);
            for partition in [lane(0), EVENTS] {
                sink.open(partition, 0, 0).await?;
                sink.take(&batch(partition, 0, 100, NOON)).await?;
            }
            sink.flush(Flush::Free(1)).await?;
            sink.take(&batch(lane(0), 100, 150, NOON)).await?;
            sink.flush(Flush::Free(1)).await.map(drop)
        };
        tokio::select! {
            // It may see that its store is away before it is ended.
            result = life => assert!(result.is_ok() || is_dead.load(Ordering::Relaxed), "{result:?}"),
            () = died(&is_dead) => {}
        }
        let mut next = sink(&archive);
        for (partition, to) in [(lane(0), 150), (EVENTS, 100)] {
            let from = next.open(partition, 0, 0).await.unwrap().high;
            if from < to {
                next.take(&batch(partition, from, to, NOON)).await.unwrap();
            }
        }
        next.flush(Flush::Free(1)).await.unwrap();
        assert_eq!(whole(&archive).await.0, records(0, 150) + records(0, 100), "killed at call {point}");
        if !is_dead.load(Ordering::Relaxed) {
            assert!(point >= 8);
            break;
        }
    }
}

async fn died(is_dead: &AtomicBool) {
    while !is_dead.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A store that no write reaches any more after the first `point` of them; the answer to the last is lost.
fn dying(objects: &Objects, point: usize, is_dead: Arc<AtomicBool>) -> Objects {
    objects.through(|behind| {
        let faulty = FaultyStore::new(behind);
        let mut left = point;
        faulty.fail(move |call, _| {
            if call != Call::Put {
                return None;
            }
            if left > 0 {
                left -= 1;
                return None;
            }
            match is_dead.swap(true, Ordering::Relaxed) {
                false => Some(Fault::Unanswered),
                true => Some(Fault::Unasked),
            }
        });
        Arc::new(faulty)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_upload_is_made_again_and_nothing_is_lost() {
    let (_folder, plain) = folder();
    let archive = Archive::open(&plain).await.unwrap();
    let mut store = None;
    let objects = plain.through(|behind| {
        let faulty = FaultyStore::new(behind);
        store = Some(faulty.clone());
        Arc::new(faulty)
    });
    let store = store.unwrap();
    let mut sink = sink(&Archive::open(&objects).await.unwrap());
    sink.open(lane(0), 0, 0).await.unwrap();
    sink.open(lane(1), 0, 0).await.unwrap();
    sink.take(&batch(lane(0), 0, 100, NOON)).await.unwrap();
    sink.take(&batch(lane(1), 0, 100, NOON)).await.unwrap();
    // As a full disk has it: what is written fails, what is there can be read.
    store.fail(|call, path| (call == Call::Put && path.as_ref().ends_with(".parquet")).then_some(Fault::Unasked));
    let pending = sink.pending();
    for _ in 0..3 {
        assert!(sink.flush(Flush::Free(1)).await.unwrap_err().is_transient());
        assert_eq!(sink.pending(), pending);
    }
    store.heal();
    // A lane that is given up meanwhile is not written.
    sink.close(lane(1));
    assert_eq!(spans(&sink.flush(Flush::Free(1)).await.unwrap()), [(lane(0), 0, 100)]);
    assert_eq!(whole(&archive).await.0, records(0, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_that_do_not_fit_the_log_are_refused() {
    let (_folder, objects) = folder();
    let archive = Archive::open(&objects).await.unwrap();
    let mut sink = sink(&archive);
    sink.open(lane(0), 3, 10).await.unwrap();
    let error = sink.open(lane(0), 2, 0).await.unwrap_err().to_string();
    assert!(error.contains("epoch 3 already"), "{error}");
    let error = sink.open(lane(0), 3, 11).await.unwrap_err().to_string();
    assert!(error.contains("--skip-lost"), "{error}");
    archive.skip_lost(lane(0), 3, 11).await.unwrap();
    assert_eq!(spans(&[sink.open(lane(0), 3, 11).await.unwrap()]), [(lane(0), 11, 11)]);
    assert_eq!(spans(&[sink.open(lane(0), 4, 0).await.unwrap()]), [(lane(0), 0, 0)]);
    let gap = sink.take(&crate::testing::batch(lane(0), 5, 6, NOON)).await.unwrap_err();
    assert!(matches!(gap, SinkError::Position { .. }), "{gap}");
}
