//! What becomes of lines from standard input.

use agentworks_schemas::{Level, RunEventKind};
use rustix::process::Signal;

use super::*;

#[tokio::test]
async fn every_line_arrives_in_order_with_what_it_shows() {
    let log = Log::new().await;
    let mut input = numbered(0..5000).into_bytes();
    input.extend(b"\n[warn] careful\r\n{\"level\":50,\"msg\":\"broken\",\"time\":1764670530123,\"n\":1}\n");
    input.extend(b"nul \0 and \xff\n10%\r100%\nno newline");
    let output = log.ship(&["--level", "debug", "--component", "test"], &input).await;
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("5006 lines"), "{}", said(&output));

    let entries = log.entries().await;
    let run = entries[0].run_id.clone();
    assert!(said(&output).contains(&*run), "the id of the run is printed");
    assert!(entries.iter().map(|entry| entry.sequence).eq(0..5006));
    for (number, entry) in entries[..5000].iter().enumerate() {
        assert_eq!((&*entry.message, entry.level), (format!("line {number}").as_str(), Level::Debug));
        assert_eq!((&*entry.component, &*entry.workspace_id, &entry.run_id), ("test", "acme", &run));
    }
    let data = |index: usize| entries[index].data.as_ref().map_or("", |data| data.as_str());
    let shown: Vec<_> = (5000..5006).map(|at| (&*entries[at].message, entries[at].level, data(at))).collect();
    assert_eq!(
        shown,
        [
            ("", Level::Debug, ""),
            ("[warn] careful", Level::Warn, ""),
            ("broken", Level::Error, "{\"level\":50,\"msg\":\"broken\",\"time\":1764670530123,\"n\":1}"),
            ("nul \0 and \u{fffd}", Level::Debug, "{\"invalidUtf8\":true}"),
            ("100%", Level::Debug, "{\"overwritten\":1}"),
            ("no newline", Level::Debug, ""),
        ]
    );
    assert_eq!(entries[5002].timestamp.millis(), 1_764_670_530_123);
    let kinds: Vec<_> = log.events().await.iter().map(|event| (event.run_id.clone(), event.kind)).collect();
    assert_eq!(kinds, [(run.clone(), RunEventKind::Started), (run, RunEventKind::Completed)]);
}

#[tokio::test]
async fn long_lines_are_split_cut_or_refused() {
    let long = "ä".repeat(5 << 20);
    let input = format!("before\n{long}\nafter\n");
    let (split, cut, refused) = (Log::new().await, Log::new().await, Log::new().await);
    let output = split.ship(&["--run", "mine"], input.as_bytes()).await;
    assert!(output.status.success(), "{}", said(&output));
    let messages = split.messages().await;
    assert_eq!((messages.len(), messages[1..messages.len() - 1].concat() == long), (42, true));
    let entries = split.entries().await;
    assert_eq!(entries[1].data.as_ref().unwrap().as_str(), "{\"part\":1}");
    assert_eq!(entries[40].data.as_ref().unwrap().as_str(), "{\"part\":40,\"parts\":40}");
    assert!(split.events().await.is_empty(), "the run is somebody else's");

    let output = cut.ship(&["--long-lines", "cut"], input.as_bytes()).await;
    assert!(output.status.success(), "{}", said(&output));
    let entries = cut.entries().await;
    assert_eq!((entries.len(), entries[1].message.len()), (3, 256 * 1024));
    assert_eq!(entries[1].data.as_ref().unwrap().as_str(), "{\"cut\":true,\"originalBytes\":10485760}");

    let output = refused.ship(&["--long-lines", "refuse"], input.as_bytes()).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("refused 1 line"), "{}", said(&output));
    assert_eq!(refused.messages().await, ["before", "after"]);
    assert_eq!(refused.entries().await[1].sequence, 2, "a hole shows it");
}

#[tokio::test]
async fn ctrl_c_and_sigterm_lose_nothing_that_was_written() {
    for asked in [Signal::INT, Signal::TERM] {
        let log = Log::new().await;
        let mut child = log.command("ship").spawn().unwrap();
        // The input stays open, so that only the signal ends it.
        write(&mut child, (numbered(0..20_000) + "and a beginn").as_bytes()).await;
        signal(&child, asked);
        let mut input = child.stdin.take();
        let output = child.wait_with_output().await.unwrap();
        input.take();
        assert!(output.status.success(), "{}", said(&output));
        let messages = log.messages().await;
        let expected = numbered(0..20_000) + "and a beginn";
        assert!(messages.iter().map(String::as_str).eq(expected.lines()), "{} lines", messages.len());
        assert_eq!(log.events().await.last().unwrap().kind, RunEventKind::Cancelled);
    }
}

#[tokio::test]
async fn without_kafka_the_second_signal_ends_it_and_it_says_what_is_lost() {
    let mut child = command("ship", "127.0.0.1:1", "").spawn().unwrap();
    // More than the pipe holds: when it is written, the other side reads, and heeds signals.
    write(&mut child, numbered(0..20_000).as_bytes()).await;
    let mut errors = tokio::io::BufReader::new(child.stderr.take().unwrap());
    signal(&child, Signal::INT);
    let mut said = String::new();
    while !said.contains("once more") {
        let length = tokio::io::AsyncBufReadExt::read_line(&mut errors, &mut said).await.unwrap();
        assert_ne!(length, 0, "{said}");
    }
    // What lies in the pipe is read by and by, for which there is no sign from outside.
    tokio::time::sleep(Duration::from_secs(1)).await;
    loop {
        signal(&child, Signal::INT);
        tokio::select! {
            status = child.wait() => {
                assert_eq!(status.unwrap().code(), Some(1));
                break;
            }
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    tokio::io::AsyncReadExt::read_to_string(&mut errors, &mut said).await.unwrap();
    assert!(said.contains("ended at once") && said.contains("not delivered"), "{said}");
}

#[tokio::test]
async fn without_kafka_the_patience_ends_and_all_is_counted() {
    let mut child = command("ship", "127.0.0.1:1", "").args(["--flush-timeout", "0.3"]).spawn().unwrap();
    write(&mut child, numbered(0..100).as_bytes()).await;
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("100 lines not delivered"), "{}", said(&output));
}

#[tokio::test]
async fn a_command_line_that_is_wrong_is_status_2() {
    for arguments in [&["--no-follow"][..], &["--long-lines", "fold"], &["--from-start", "--file", "x", "--from-end"]] {
        let output = command("ship", "127.0.0.1:1", "").args(arguments).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
