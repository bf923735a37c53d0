//! Following a file through what happens to files.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::time::Instant;

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

    /// Renames it, and begins a new one that was last modified so many seconds ago.
    fn rotate(&self, suffix: &str, text: &str, seconds: u64) {
        fs::rename(&self.path, self.rotated(suffix)).unwrap();
        fs::write(&self.path, text).unwrap();
        age(&self.path, seconds);
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

/// More than is looked at to know a file again.
fn long(line: &str) -> String {
    format!("{line}\n").repeat(200)
}

/// How far something was read.
#[derive(Clone)]
struct Read {
    place: Place,
    history: Arc<History>,
}

impl Read {
    fn on(&self) -> Start {
        Start::At(self.place, History::clone(&self.history))
    }
}

/// What was read, with breaks between files as `|`, and how far that is.
#[derive(Default)]
struct Taken {
    text: String,
    read: Option<Read>,
}

impl Taken {
    fn add(&mut self, input: Input) {
        match input {
            Input::Bytes(bytes) => {
                self.read.iter_mut().for_each(|read| read.place.offset += bytes.len() as u64);
                self.text.push_str(&String::from_utf8(bytes).unwrap());
            }
            Input::Place(place, history) => {
                self.text.push('|');
                self.read = Some(Read { place, history });
            }
            Input::Head(head) => self.read.iter_mut().for_each(|read| read.place.head = head),
            other => panic!("{other:?} after {:?}", self.text),
        }
    }
}

/// Reads until `count` bytes have come.
async fn take(reader: &mut Reader, count: usize) -> (String, Option<Read>) {
    let mut taken = Taken::default();
    while taken.text.bytes().filter(|byte| *byte != b'|').count() < count {
        taken.add(reader.inputs.recv().await.unwrap());
    }
    (taken.text, taken.read)
}

/// Reads to the end.
async fn take_all(mut reader: Reader) -> (String, Read) {
    let mut taken = Taken::default();
    loop {
        match reader.inputs.recv().await.unwrap() {
            Input::End => return (taken.text, taken.read.unwrap()),
            input => taken.add(input),
        }
    }
}

#[tokio::test]
async fn the_end_of_a_file_that_is_not_followed_is_the_end() {
    let log = Log::new("one\ntwo");
    assert_eq!(take_all(log.read(Start::Beginning, false)).await.0, "|one\ntwo");
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
    // All in the past, since a file system's clock ticks only every few milliseconds.
    age(&log.path, 180);
    let mut reader = log.read(Start::Beginning, true);
    let read = take(&mut reader, 4).await.1.unwrap();
    reader.stop();
    log.append("and\n");
    age(&log.path, 120);
    log.rotate("-20251201", "two\n", 60);
    fs::write(log.rotated(".bak"), "not a rotated one\n").unwrap();
    log.rotate("-20251202", "three\n", 0);
    let mut reader = log.read(read.on(), true);
    assert_eq!(take(&mut reader, 14).await.0, "|and\n|two\n|three\n");
}

#[tokio::test]
async fn without_following_the_end_is_that_of_the_file_that_has_the_name() {
    let log = Log::new("one\n");
    age(&log.path, 180);
    let (text, read) = take_all(log.read(Start::Beginning, false)).await;
    assert_eq!(text, "|one\n");
    log.append("two\n");
    age(&log.path, 120);
    log.rotate(".2", "three\n", 60);
    log.rotate(".1", "four\n", 0);
    let began = Instant::now();
    let (text, read) = take_all(log.read(read.on(), false)).await;
    assert_eq!(text, "|two\n|three\n|four\n");
    assert!(began.elapsed() < 2 * QUIET, "neither file is waited for");
    log.append("five\n");
    let (text, read) = take_all(log.read(read.on(), false)).await;
    assert_eq!(text, "|five\n");
    // Between the renaming and the first line of the next one.
    fs::rename(&log.path, log.rotated(".0")).unwrap();
    let (text, read) = take_all(log.read(read.on(), false)).await;
    assert_eq!(text, "|");
    log.append("");
    let (_, read) = take_all(log.read(read.on(), false)).await;
    log.append("six\n");
    assert_eq!(take_all(log.read(read.on(), false)).await.0, "||six\n");
}

#[tokio::test]
async fn files_that_are_unread_go_before_the_new_one_where_the_last_one_is_gone() {
    let log = Log::new(&long("a"));
    age(&log.path, 240);
    fs::write(log.rotated("-20251130"), "from before\n").unwrap();
    age(&log.rotated("-20251130"), 300);
    let (_, read) = take_all(log.read(Start::Beginning, false)).await;
    log.rotate("-20251201", &long("b"), 180);
    fs::remove_file(log.rotated("-20251201")).unwrap();
    log.rotate("-20251202", &long("c"), 120);
    log.rotate("-20251203", &long("d"), 0);
    let all = format!("|{}|{}|{}", long("b"), long("c"), long("d"));
    assert_eq!(take_all(log.read(read.on(), false)).await.0, all);

    // The new file may have got the inode of the one that is gone.
    let inode = fs::metadata(&log.path).unwrap().ino();
    let reused = Read { place: Place { inode, ..read.place }, ..read.clone() };
    assert_eq!(take_all(log.read(reused.on(), false)).await.0, all);

    // An older version's state doesn't tell what is unread.
    let (text, read) = take_all(log.read(Start::At(read.place, History::default()), false)).await;
    assert_eq!(text, format!("|{}", long("d")));
    append(&log.rotated("-20251203"), "late\n");
    log.rotate("-20251204", "e\n", 0);
    assert_eq!(take_all(log.read(read.on(), false)).await.0, "||late\n|e\n");
}

#[tokio::test]
async fn a_device_that_has_another_number_is_the_same() {
    let log = Log::new(&long("a"));
    let (_, mut read) = take_all(log.read(Start::Beginning, false)).await;
    read.place.device += 1;
    log.append("more\n");
    let (text, mut read) = take_all(log.read(read.on(), false)).await;
    assert_eq!(text, "|more\n");
    log.rotate(".1", &long("b"), 0);
    read.place.device += 1;
    assert_eq!(take_all(log.read(read.on(), false)).await.0, format!("||{}", long("b")));
}

#[tokio::test]
async fn what_was_copied_and_truncated_while_nobody_read_is_read_on_in_the_copy() {
    let log = Log::new(&long("a"));
    age(&log.path, 60);
    let (_, read) = take_all(log.read(Start::Beginning, false)).await;
    log.append("more\n");
    fs::copy(&log.path, log.rotated(".1")).unwrap();
    fs::write(&log.path, "new\n").unwrap();
    assert_eq!(take_all(log.read(read.on(), false)).await.0, "|more\n|new\n");
}

#[tokio::test]
async fn copies_of_what_was_read_are_not_read() {
    let log = Log::new(&long("a"));
    let mut reader = log.read(Start::Beginning, true);
    take(&mut reader, long("a").len()).await;
    fs::copy(&log.path, log.rotated(".1")).unwrap();
    fs::write(&log.path, long("b")).unwrap();
    let read = take(&mut reader, long("b").len()).await.1.unwrap();
    reader.stop();
    log.rotate(".0", "c\n", 0);
    assert_eq!(take_all(log.read(read.on(), false)).await.0, "||c\n");
}

#[tokio::test]
async fn what_is_added_to_a_finished_file_is_read_at_the_next_rotation_alone() {
    let log = Log::new(&long("a"));
    fs::write(log.rotated(".0"), long("before")).unwrap();
    for name in [&log.path, &log.rotated(".0")] {
        age(name, 180);
    }
    let (_, read) = take_all(log.read(Start::Beginning, false)).await;
    log.rotate(".1", &long("b"), 120);
    let (text, read) = take_all(log.read(read.on(), false)).await;
    assert_eq!(text, format!("||{}", long("b")));
    append(&log.rotated(".0"), "late 0\n");
    age(&log.rotated(".0"), 90);
    append(&log.rotated(".1"), "late 1\n");
    let (text, read) = take_all(log.read(read.on(), false)).await;
    assert_eq!(text, "|", "it waits");
    log.rotate(".2", &long("c"), 60);
    // What is late comes once for each file, so that it never keeps new ones waiting.
    let (text, read) = take_all(log.read(read.on(), false)).await;
    assert_eq!(text, format!("||late 0\n|{}", long("c")));
    log.rotate(".3", "d\n", 0);
    let (text, read) = take_all(log.read(read.on(), false)).await;
    assert_eq!(text, "||late 1\n|d\n");
    log.rotate(".4", "e\n", 0);
    assert_eq!(take_all(log.read(read.on(), false)).await.0, "||e\n");
}

#[tokio::test]
async fn a_file_that_was_written_late_hides_none_that_came_after_it() {
    let log = Log::new(&long("a"));
    age(&log.path, 180);
    let (_, read) = take_all(log.read(Start::Beginning, false)).await;
    log.rotate(".2", &long("b"), 120);
    log.rotate(".1", &long("c"), 60);
    append(&log.rotated(".2"), "late\n");
    let all = format!("|late\n|{}|{}", long("b"), long("c"));
    assert_eq!(take_all(log.read(read.on(), false)).await.0, all);
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
    let read = take(&mut reader, 4).await.1.unwrap();
    drop(reader);
    log.append("two\n");
    assert_eq!(take(&mut log.read(read.on(), true), 4).await.0, "|two\n");
    fs::rename(&log.path, log.rotated(".1")).unwrap();
    fs::write(&log.path, "three\n").unwrap();
    assert_eq!(take(&mut log.read(read.on(), true), 10).await.0, "|two\n|three\n");
    fs::remove_file(log.rotated(".1")).unwrap();
    assert_eq!(take(&mut log.read(read.on(), true), 6).await.0, "|three\n");
}

#[test]
fn all_of_a_file_that_comes_later_is_yet_to_come() {
    let log = Log::new("");
    fs::remove_file(&log.path).unwrap();
    let follow = Follow { path: log.path.clone(), start: Start::End, follow: true };
    let ((stop, _go), (inputs, _)) = (Stop::new().unwrap(), mpsc::channel(1));
    let mut follower = Follower { follow, stop: &stop, inputs: &inputs, history: History::default() };
    assert!(follower.open(false).is_err_and(|error| error.kind() == io::ErrorKind::NotFound));
    log.append("here\n");
    let offset = |waited| follower.open(waited).unwrap().place.offset;
    assert_eq!([true, false].map(offset), [0, 5]);
}
