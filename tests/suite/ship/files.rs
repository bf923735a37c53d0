//! Files: rotation, truncation, and going on after `kill -9`.

use std::fs;
use std::io::Write;
use std::path::Path;

use rustix::process::Signal;

use super::*;
use crate::support::Scratch;

fn append(path: &Path, text: &str) {
    fs::OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn ship(log: &Log, file: &Path, arguments: &[&str]) -> Child {
    log.command("ship").arg("--file").arg(file).args(arguments).spawn().unwrap()
}

#[tokio::test]
async fn a_file_is_followed_through_rotation_and_truncation() {
    let (log, scratch) = (Log::new().await, Scratch::new("ship"));
    let file = scratch.path().join("app.log");
    fs::write(&file, numbered(0..100)).unwrap();
    let child = ship(&log, &file, &[]);
    until_shipped(&log, 100).await;
    fs::rename(&file, scratch.path().join("app.log.1")).unwrap();
    append(&scratch.path().join("app.log.1"), &numbered(100..150));
    append(&file, &numbered(150..200));
    until_shipped(&log, 200).await;
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(0).unwrap();
    append(&file, &numbered(200..250));
    until_shipped(&log, 250).await;
    signal(&child, Signal::TERM);
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(log.messages().await.iter().map(String::as_str).eq(numbered(0..250).lines()));
    let entries = log.entries().await;
    assert!(entries.iter().all(|entry| entry.component == "app.log"));
    assert!(log.events().await.is_empty(), "a file that is followed has no end, and so is no run");
}

#[tokio::test]
async fn without_following_the_end_of_the_file_is_the_end() {
    let (log, scratch) = (Log::new().await, Scratch::new("ship"));
    let file = scratch.path().join("app.log");
    fs::write(&file, "one\ntwo").unwrap();
    let output = ship(&log, &file, &["--no-follow"]).wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!((log.messages().await, log.events().await.len()), (vec!["one".to_owned(), "two".to_owned()], 2));
    fs::remove_file(&file).unwrap();
    let output = ship(&log, &file, &["--no-follow"]).wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("No such file"), "{}", said(&output));
}

#[tokio::test]
async fn run_again_and_again_without_following_it_ships_all_that_was_rotated() {
    let (log, scratch) = (Log::new().await, Scratch::new("ship"));
    let (file, state) = (scratch.path().join("app.log"), scratch.path().join("state"));
    let arguments = ["--no-follow", "--state", state.to_str().unwrap()];
    for round in 0..4 {
        append(&file, &numbered(round * 100..round * 100 + 50));
        if round > 0 {
            fs::rename(&file, scratch.path().join(format!("app.log-2025120{round}"))).unwrap();
        }
        append(&file, &numbered(round * 100 + 50..(round + 1) * 100));
        let output = ship(&log, &file, &arguments).wait_with_output().await.unwrap();
        assert!(output.status.success(), "{}", said(&output));
        assert!(log.messages().await.iter().map(String::as_str).eq(numbered(0..(round + 1) * 100).lines()));
    }
}

#[tokio::test]
async fn lines_that_come_before_kafka_are_shipped_by_the_next_start() {
    let (log, scratch) = (Log::new().await, Scratch::new("ship"));
    let (file, state) = (scratch.path().join("app.log"), scratch.path().join("state"));
    let arguments = ["--from-end", "--state", state.to_str().unwrap()];
    fs::write(&file, "from before\n").unwrap();
    let mut unreachable = command("ship", "127.0.0.1:1", log.topics.prefix());
    let mut child = unreachable.arg("--file").arg(&file).args(arguments).spawn().unwrap();
    crate::support::eventually(Duration::from_secs(30), async || state.exists().then_some(())).await;
    append(&file, &numbered(0..50));
    child.kill().await.unwrap();
    append(&file, &numbered(50..100));
    fs::rename(&file, scratch.path().join("app.log.1")).unwrap();
    append(&file, &numbered(100..150));
    let child = ship(&log, &file, &arguments);
    until_shipped(&log, 150).await;
    signal(&child, Signal::TERM);
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(log.messages().await.iter().map(String::as_str).eq(numbered(0..150).lines()));
}

#[tokio::test]
async fn a_state_that_cannot_be_written_stops_no_shipping_but_that_which_begins() {
    let (log, scratch) = (Log::new().await, Scratch::new("ship"));
    let (file, folder) = (scratch.path().join("app.log"), scratch.path().join("states"));
    let state = folder.join("state");
    let arguments = ["--state", state.to_str().unwrap()];
    fs::create_dir(&folder).unwrap();
    append(&file, &numbered(0..50));
    let child = ship(&log, &file, &arguments);
    until_shipped(&log, 50).await;
    // It is written within a fifth of a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    fs::remove_dir_all(&folder).unwrap();
    append(&file, &numbered(50..100));
    until_shipped(&log, 100).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    append(&file, &numbered(100..150));
    until_shipped(&log, 150).await;
    signal(&child, Signal::TERM);
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("cannot write the state"), "{}", said(&output));
    // What starts it again then ships nothing twice.
    let output = ship(&log, &file, &arguments).wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("cannot write the state"), "{}", said(&output));
    assert!(log.messages().await.iter().map(String::as_str).eq(numbered(0..150).lines()));
}

#[tokio::test]
async fn killed_again_and_again_it_loses_no_line() {
    const PART: usize = 4_000;
    const LINES: usize = 6 * PART;
    let (log, scratch) = (Log::new().await, Scratch::new("ship"));
    let (file, state) = (scratch.path().join("app.log"), scratch.path().join("state"));
    let arguments = ["--state", state.to_str().unwrap()];
    for round in 0..5 {
        append(&file, &numbered(round * PART..(round + 1) * PART));
        let mut child = ship(&log, &file, &arguments);
        until_shipped(&log, round * PART + PART / 4).await;
        if round == 2 {
            fs::rename(&file, scratch.path().join("app.log-20251202")).unwrap();
        }
        child.kill().await.unwrap();
    }
    // Lines that none of the killed ones can have shipped: when the last of them is there, this one has read the whole file.
    append(&file, &numbered(5 * PART..LINES));
    let child = ship(&log, &file, &arguments);
    let last = format!("line {}", LINES - 1);
    crate::support::eventually(Duration::from_secs(60), async || log.messages().await.contains(&last).then_some(()))
        .await;
    signal(&child, Signal::INT);
    assert!(child.wait_with_output().await.unwrap().status.success());

    let entries = log.entries().await;
    let mut lines: Vec<(i64, usize)> = entries
        .iter()
        .map(|entry| (entry.sequence, entry.message.strip_prefix("line ").unwrap().parse().unwrap()))
        .collect();
    assert!(entries.iter().all(|entry| entry.run_id == entries[0].run_id), "one run through all restarts");
    lines.sort_unstable();
    lines.dedup();
    assert!(lines.iter().map(|(_, line)| *line).eq(0..LINES), "every line is there");
    assert!(lines.iter().map(|(number, _)| *number).eq(0..LINES as i64), "what came twice has the number it had");

    let quiet = ship(&log, &file, &arguments);
    append(&file, "the end\n");
    until_shipped(&log, entries.len() + 1).await;
    signal(&quiet, Signal::INT);
    quiet.wait_with_output().await.unwrap();
    assert_eq!(log.entries().await.len(), entries.len() + 1, "after an orderly end nothing comes twice");
}
