//! Following a file through what happens to files.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;

use super::*;

struct Log {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Log {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        fs::write(&path, text).unwrap();
        Log { _folder: folder, path }
    }

    fn rotated(&self, suffix: &str) -> PathBuf {
        self.path.with_file_name(format!("app.log{suffix}"))
    }

    fn append(&self, text: &str) {
        append(&self.path, text);
    }

    fn read(&self, start: Start, follow: bool) -> Reader {
        Reader::file(Follow { path: self.path.clone(), start, follow }).unwrap()
    }
}

fn append(path: &Path, text: &str) {
    fs::OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn age(path: &Path, seconds: u64) {
    let then = std::time::SystemTime::now() - Duration::from_secs(seconds);
    fs::OpenOptions::new().append(true).open(path).unwrap().set_modified(then).unwrap();
}

/// Reads until `count` bytes have come; breaks between files show as `|`, and the last place is returned.
async fn take(reader: &mut Reader, count: usize) -> (String, Option<Place>) {
    let (mut text, mut place): (String, Option<Place>) = (String::new(), None);
    while text.bytes().filter(|byte| *byte != b'|').count() < count {
        match reader.inputs.recv().await.unwrap() {
            Input::Bytes(bytes) => {
                place.iter_mut().for_each(|place| place.offset += bytes.len() as u64);
                text.push_str(&String::from_utf8(bytes).unwrap());
            }
            Input::Place(next) => {
                text.push('|');
                place = Some(next);
            }
            Input::Head(head) => place.iter_mut().for_each(|place| place.head = head),
            other => panic!("{other:?} after {text:?}"),
        }
    }
    // The head of what was read comes after it.
    while let Ok(input) = reader.inputs.try_recv() {
        match input {
            Input::Head(head) => place.iter_mut().for_each(|place| place.head = head),
            other => panic!("{other:?} after {text:?}"),
        }
    }
    (text, place)
}

#[tokio::test]
async fn the_end_of_a_file_that_is_not_followed_is_the_end() {
    let log = Log::new("one\ntwo");
    let mut reader = log.read(Start::Beginning, false);
    let mut text = Vec::new();
    while let Some(input) = reader.inputs.recv().await {
        match input {
            Input::Bytes(bytes) => text.extend(bytes),
            Input::End => break,
            _ => {}
        }
    }
    assert_eq!(text, b"one\ntwo");
    fs::remove_file(&log.path).unwrap();
    let mut reader = log.read(Start::Beginning, false);
    assert!(matches!(reader.inputs.recv().await, Some(Input::Failed(_))));
}

#[tokio::test]
async fn a_file_that_grows_is_followed_from_the_start_or_the_end() {
    let log = Log::new("one\ntw");
    let mut start = log.read(Start::Beginning, true);
    let mut end = log.read(Start::End, true);
    assert_eq!(take(&mut end, 2).await.0, "|tw", "the line that has begun is still to come");
    log.append("o\n");
    assert_eq!(take(&mut start, 8).await.0, "|one\ntwo\n");
    start.stop();
    assert!(matches!(start.inputs.recv().await, Some(Input::Head(_) | Input::Stopped)));
}

#[tokio::test]
async fn a_file_that_is_not_there_yet_is_waited_for() {
    let log = Log::new("");
    fs::remove_file(&log.path).unwrap();
    let mut reader = log.read(Start::Beginning, true);
    tokio::task::yield_now().await;
    log.append("here\n");
    assert_eq!(take(&mut reader, 5).await.0, "|here\n");
}

#[tokio::test]
async fn rotation_by_renaming_loses_nothing() {
    let log = Log::new("one\n");
    let mut reader = log.read(Start::Beginning, true);
    assert_eq!(take(&mut reader, 4).await.0, "|one\n");
    fs::rename(&log.path, log.rotated(".1")).unwrap();
    log.append("three\n");
    append(&log.rotated(".1"), "two\n");
    assert_eq!(take(&mut reader, 10).await.0, "two\n|three\n", "late lines of the old file come first");
}

#[tokio::test]
async fn files_that_came_and_went_in_between_are_read_too() {
    let log = Log::new("one\n");
    let mut reader = log.read(Start::Beginning, true);
    let (_, place) = take(&mut reader, 4).await;
    reader.stop();
    // Both in the past, since a file system's clock ticks only every few milliseconds.
    age(&log.path, 120);
    fs::rename(&log.path, log.rotated("-20251201")).unwrap();
    fs::write(&log.path, "two\n").unwrap();
    age(&log.path, 60);
    fs::write(log.rotated(".bak"), "not a rotated one\n").unwrap();
    fs::rename(&log.path, log.rotated("-20251202")).unwrap();
    fs::write(&log.path, "three\n").unwrap();
    let mut reader = log.read(Start::At(place.unwrap()), true);
    assert_eq!(take(&mut reader, 10).await.0, "||two\n|three\n");
}

#[tokio::test]
async fn truncation_is_noticed_also_when_the_file_has_grown_beyond() {
    let log = Log::new("one\n");
    let mut reader = log.read(Start::Beginning, true);
    take(&mut reader, 4).await;
    fs::OpenOptions::new().write(true).open(&log.path).unwrap().set_len(0).unwrap();
    log.append("2\n");
    assert_eq!(take(&mut reader, 2).await.0, "|2\n");
    fs::write(&log.path, "other, and longer\n").unwrap();
    assert_eq!(take(&mut reader, 18).await.0, "|other, and longer\n");
    fs::write(&log.path, "other, as long  \n").unwrap();
    assert_eq!(take(&mut reader, 17).await.0, "|other, as long  \n");
    fs::write(&log.path, "third, as long  \n").unwrap();
    assert_eq!(take(&mut reader, 17).await.0, "|third, as long  \n");
}

#[tokio::test]
async fn reading_goes_on_where_it_was() {
    let log = Log::new("one\n");
    let mut reader = log.read(Start::Beginning, true);
    let (_, place) = take(&mut reader, 4).await;
    drop(reader);
    log.append("two\n");
    assert_eq!(take(&mut log.read(Start::At(place.unwrap()), true), 4).await.0, "|two\n");
    fs::rename(&log.path, log.rotated(".1")).unwrap();
    fs::write(&log.path, "three\n").unwrap();
    assert_eq!(take(&mut log.read(Start::At(place.unwrap()), true), 10).await.0, "|two\n|three\n");
    fs::remove_file(log.rotated(".1")).unwrap();
    assert_eq!(take(&mut log.read(Start::At(place.unwrap()), true), 6).await.0, "|three\n");
}
