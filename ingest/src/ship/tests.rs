//! Whole jobs, against librdkafka's mock cluster or no Kafka at all.

#![allow(clippy::unwrap_used)]

use std::fs::{OpenOptions, create_dir, remove_dir_all, rename, write};
use std::io::{PipeWriter, Write, pipe};
use std::path::Path;
use std::time::Duration;

use agentworks_schemas::{Level, Source};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::producer::{DeliveryError, Producer};

const PATIENCE: Duration = Duration::from_secs(20);

fn job(producer: Producer) -> Job {
    Job {
        run: producer.run("acme", "card", "run"),
        producer,
        labels: Labels { source: Source::Agent, component: "test".into(), level: Level::Info },
        long_lines: LongLines::Refuse,
        events: false,
        checkpoint: None,
        patience: PATIENCE,
    }
}

fn mocked() -> Job {
    job(Producer::builder("ignored").property("test.mock.num.brokers", "1").build().unwrap())
}

fn input() -> (Reader, PipeWriter) {
    let (read, write) = pipe().unwrap();
    (Reader::stream(read).unwrap(), write)
}

#[tokio::test]
async fn all_lines_of_a_stream_are_delivered() {
    let (reader, mut write) = input();
    let long = "x".repeat(300 * 1024);
    let writing = std::thread::spawn(move || write!(write, "one\n\n{long}\nlast").unwrap());
    let (job, tally) = (mocked(), Tally::default());
    ship(&job, reader, &CancellationToken::new(), &tally).await.unwrap();
    writing.join().unwrap();
    let expected = Counts { lines: 4, bytes: 5 + 300 * 1024 + 5, entries: 3, delivered: 3, refused: 1 };
    assert_eq!(tally.counts(), expected);
    assert_eq!(job.run.next_sequence(), 4, "the refused one leaves a hole");
}

#[tokio::test]
async fn told_to_stop_it_ships_what_was_written_and_ends() {
    let (reader, mut write) = input();
    let (job, tally, stop) = (mocked(), Tally::default(), CancellationToken::new());
    write.write_all(b"one\ntwo\nand a beginning").unwrap();
    stop.cancel();
    ship(&job, reader, &stop, &tally).await.unwrap();
    assert_eq!((tally.counts().lines, tally.counts().undelivered()), (3, 0));
    drop(write);
}

#[tokio::test]
async fn without_kafka_it_gives_up_after_its_patience_and_says_how_much_is_lost() {
    let (reader, mut write) = input();
    let producer = Producer::builder("127.0.0.1:1").buffer(2 * 1024 * 1024, 5).build().unwrap();
    let job = Job { patience: Duration::from_millis(100), ..job(producer) };
    // More than the buffer holds, so that some wait for room.
    write.write_all("line\n".repeat(20).as_bytes()).unwrap();
    drop(write);
    let (tally, stop) = (Tally::default(), CancellationToken::new());
    stop.cancel();
    let result = ship(&job, reader, &stop, &tally).await;
    assert!(matches!(result, Err(ShipError::Delivery(DeliveryError::Abandoned))), "{result:?}");
    assert_eq!((tally.counts().lines, tally.counts().undelivered()), (20, 20));
}

fn follow(path: &Path, checkpoint: &CheckpointFile) -> Reader {
    follow_from(Start::Beginning, path, checkpoint)
}

fn follow_from(first: Start, path: &Path, checkpoint: &CheckpointFile) -> Reader {
    let known = checkpoint.load().unwrap();
    let start = known.map_or(first, |known| Start::At(known.place, known.history));
    Reader::file(Follow { path: path.into(), start, follow: true }).unwrap()
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// Ships until so many lines were delivered.
async fn ship_lines(job: &Job, reader: Reader, lines: u64) -> Result<(), ShipError> {
    let (tally, stop) = (Tally::default(), CancellationToken::new());
    let shipped = async {
        while tally.counts().delivered < lines {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (result, ()) = tokio::join!(ship(job, reader, &stop, &tally), shipped);
    assert_eq!(tally.counts().entries, lines);
    result
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let checkpoint = CheckpointFile::new(folder.path().join("state"));
    let mut shipped = Vec::new();
    for text in ["one\ntwo\nthr", "one\ntwo\nthree\nfour\n"] {
        write(&path, text).unwrap();
        let mut job = Job { checkpoint: Some(checkpoint.clone()), ..mocked() };
        let known = checkpoint.load().unwrap();
        if let Some(known) = &known {
            job.run = job.producer.run("acme", "card", &known.run).starting_at(known.sequence);
        }
        let (tally, stop) = (Tally::default(), CancellationToken::new());
        let bytes = text.len() as u64 - known.map_or(0, |known| known.place.offset);
        let read = async {
            while tally.counts().bytes < bytes {
                tokio::task::yield_now().await;
            }
            stop.cancel();
        };
        let (result, ()) = tokio::join!(ship(&job, follow(&path, &checkpoint), &stop, &tally), read);
        result.unwrap();
        shipped.push((tally.counts().delivered, job.run.next_sequence()));
    }
    assert_eq!(shipped, [(2, 2), (2, 4)], "a line that had only begun is shipped whole, once");
    let known = checkpoint.load().unwrap().unwrap();
    assert_eq!((known.place.offset, known.sequence, known.run.as_str()), (19, 4, "run"));
}

/// A job whose broker isn't there.
fn unreachable(checkpoint: &CheckpointFile) -> Job {
    let job = job(Producer::builder("127.0.0.1:1").build().unwrap());
    Job { checkpoint: Some(checkpoint.clone()), patience: Duration::from_millis(50), ..job }
}

#[tokio::test]
async fn what_was_not_delivered_is_shipped_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    write(&path, "one\ntwo\n").unwrap();
    let checkpoint = CheckpointFile::new(folder.path().join("state"));
    let (job, tally, stop) = (unreachable(&checkpoint), Tally::default(), CancellationToken::new());
    let read = async {
        while tally.counts().lines < 2 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (result, ()) = tokio::join!(ship(&job, follow(&path, &checkpoint), &stop, &tally), read);
    result.unwrap_err();
    let known = checkpoint.load().unwrap().unwrap();
    assert_eq!((tally.counts().undelivered(), known.place.offset, known.sequence), (2, 0, 0));
    // It is known where it began, whatever becomes of the file.
    rename(&path, folder.path().join("log.1")).unwrap();
    write(&path, "three\n").unwrap();
    let job = Job { checkpoint: Some(checkpoint.clone()), ..mocked() };
    ship_lines(&job, follow(&path, &checkpoint), 3).await.unwrap();
}

#[tokio::test]
async fn where_the_end_was_is_known_before_kafka_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    write(&path, "from before\n").unwrap();
    let checkpoint = CheckpointFile::new(folder.path().join("state"));
    let (job, stop) = (Job { events: true, ..unreachable(&checkpoint) }, CancellationToken::new());
    let noted = async {
        while checkpoint.load().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let tally = Tally::default();
    let (result, ()) = tokio::join!(ship(&job, follow_from(Start::End, &path, &checkpoint), &stop, &tally), noted);
    result.unwrap_err();
    assert!(checkpoint.load().unwrap().unwrap().unstarted);
    append(&path, "in between\n");
    let job = Job { checkpoint: Some(checkpoint.clone()), events: true, ..mocked() };
    ship_lines(&job, follow_from(Start::End, &path, &checkpoint), 1).await.unwrap();
    assert!(!checkpoint.load().unwrap().unwrap().unstarted);
}

#[tokio::test]
async fn without_a_checkpoint_to_begin_with_nothing_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    write(&path, "one\n").unwrap();
    let checkpoint = CheckpointFile::new(folder.path().join("no such folder/state"));
    let job = Job { checkpoint: Some(checkpoint.clone()), events: true, ..mocked() };
    let tally = Tally::default();
    let result = ship(&job, follow(&path, &checkpoint), &CancellationToken::new(), &tally).await;
    assert!(matches!(result, Err(ShipError::Checkpoint(_))), "{result:?}");
    assert_eq!((tally.counts().entries, job.producer.pending()), (0, 0));
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_written_any_more_is_an_error_at_the_end_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let states = folder.path().join("states");
    let checkpoint = CheckpointFile::new(states.join("state"));
    for comes_back in [false, true] {
        write(&path, "one\n").unwrap();
        create_dir(&states).unwrap();
        let job = Job { checkpoint: Some(checkpoint.clone()), ..mocked() };
        let (tally, stop) = (Tally::default(), CancellationToken::new());
        let offset = || checkpoint.load().unwrap().map_or(0, |known| known.place.offset);
        let until = async |enough: &dyn Fn() -> bool| {
            while !enough() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let meanwhile = async {
            until(&|| offset() > 0).await;
            remove_dir_all(&states).unwrap();
            append(&path, "more\n");
            until(&|| tally.counts().delivered == tally.counts().lines && tally.counts().lines > 1).await;
            if comes_back {
                // It has been tried in vain by then.
                tokio::time::sleep(Duration::from_millis(500)).await;
                create_dir(&states).unwrap();
                until(&|| offset() > 0).await;
            }
            append(&path, "and more\n");
            until(&|| tally.counts().delivered > 2).await;
            stop.cancel();
        };
        let (result, ()) = tokio::join!(ship(&job, follow(&path, &checkpoint), &stop, &tally), meanwhile);
        assert_eq!(tally.counts().undelivered(), 0);
        if comes_back {
            result.unwrap();
            assert_eq!(offset(), std::fs::metadata(&path).unwrap().len());
        } else {
            assert!(matches!(result, Err(ShipError::Checkpoint(_))), "{result:?}");
        }
    }
}
