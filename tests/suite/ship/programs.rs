//! `agentworks run`.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;

use agentworks_schemas::RunEventKind;
use rustix::process::Signal;

use super::*;

#[tokio::test]
async fn both_outputs_pass_through_unchanged_and_are_shipped() {
    let log = Log::new().await;
    let script = "printf 'out \\377\\n'; printf 'error: err\\n' >&2; cat; exit 7";
    let mut child = log.command("run").args(["--run", "mine"]).args(shell(script)).spawn().unwrap();
    write(&mut child, b"from standard input, without an end").await;
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout, b"out \xff\nfrom standard input, without an end");
    assert_eq!(output.stderr, b"error: err\n");

    let entries = log.entries().await;
    let mut lines: Vec<_> = entries
        .iter()
        .map(|entry| (entry.component.to_string(), entry.level.as_str(), entry.message.to_string()))
        .collect();
    lines.sort();
    let line = |component: &str, level, message: &str| (component.to_owned(), level, message.to_owned());
    assert_eq!(
        lines,
        [
            line("stderr", "error", "error: err"),
            line("stdout", "info", "from standard input, without an end"),
            line("stdout", "info", "out \u{fffd}"),
        ]
    );
    assert!(entries.iter().map(|entry| entry.sequence).eq(0..3));
    let events = log.events().await;
    assert_eq!(
        events.iter().map(|event| event.kind).collect::<Vec<_>>(),
        [RunEventKind::Started, RunEventKind::Failed]
    );
    assert_eq!(
        (events[1].exit_code, events[1].reason.as_deref(), &*events[1].run_id),
        (Some(7), Some("exit status 7"), "mine")
    );
}

#[tokio::test]
async fn the_order_of_the_two_outputs_is_that_of_arrival() {
    let log = Log::new().await;
    // A pause between them, for two pipes have no common order by themselves.
    let script = "for i in 1 2 3; do echo out $i; sleep 0.1; echo err $i >&2; sleep 0.1; done";
    let output = log.command("run").args(shell(script)).output().await.unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(log.messages().await, ["out 1", "err 1", "out 2", "err 2", "out 3", "err 3"]);
    assert_eq!(log.events().await[1].kind, RunEventKind::Completed);
}

#[tokio::test]
async fn output_is_passed_through_before_the_line_has_ended() {
    let log = Log::new().await;
    let mut child = log.command("run").args(shell("printf 'prompt> '; read answer; echo got $answer")).spawn().unwrap();
    let mut shown = [0; 8];
    tokio::io::AsyncReadExt::read_exact(child.stdout.as_mut().unwrap(), &mut shown).await.unwrap();
    assert_eq!(&shown, b"prompt> ");
    write(&mut child, b"it\n").await;
    assert_eq!(child.wait_with_output().await.unwrap().stdout, b"got it\n");
    assert_eq!(log.messages().await, ["prompt> got it"]);
}

#[tokio::test]
async fn signals_reach_the_program_and_its_children() {
    let log = Log::new().await;
    for (asked, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        // The one that has to end is the child of a shell.
        let mut child = log.command("run").args(shell("echo ready; sleep 600 & wait; sleep 600")).spawn().unwrap();
        let mut shown = [0; 6];
        tokio::io::AsyncReadExt::read_exact(child.stdout.as_mut().unwrap(), &mut shown).await.unwrap();
        signal(&child, asked);
        let output = child.wait_with_output().await.unwrap();
        assert_eq!((output.status.code(), output.status.signal()), (Some(code), None), "{}", said(&output));
        let events = log.events().await;
        let last = events.last().unwrap();
        assert_eq!((last.kind, last.exit_code), (RunEventKind::Cancelled, Some(code)));
    }
}

#[tokio::test]
async fn a_program_that_handles_the_signal_ends_as_it_likes() {
    let log = Log::new().await;
    let script = "trap 'echo cleaning up; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = log.command("run").args(shell(script)).spawn().unwrap();
    let mut shown = [0; 6];
    tokio::io::AsyncReadExt::read_exact(child.stdout.as_mut().unwrap(), &mut shown).await.unwrap();
    signal(&child, Signal::TERM);
    let output = child.wait_with_output().await.unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"cleaning up\n"[..]));
    let entries = log.entries().await;
    // A shell may have something to say of its own on standard error.
    let lines: Vec<_> =
        entries.iter().filter(|entry| entry.component == "stdout").map(|entry| &*entry.message).collect();
    assert_eq!(lines, ["ready", "cleaning up"]);
    assert_eq!(log.events().await[1].kind, RunEventKind::Completed);
}

#[tokio::test]
async fn a_signal_that_kills_the_program_is_told_by_the_status() {
    let log = Log::new().await;
    let output = log.command("run").args(shell("kill -SEGV $$")).output().await.unwrap();
    assert_eq!(output.status.code(), Some(139));
    let events = log.events().await;
    assert_eq!((events[1].kind, events[1].reason.as_deref()), (RunEventKind::Failed, Some("ended by signal 11")));
}

#[tokio::test]
async fn what_cannot_be_started_is_127_or_126() {
    let log = Log::new().await;
    for (program, code) in [("/no/such/program", 127), ("/etc/passwd", 126)] {
        let output = log.command("run").args(["--", program]).output().await.unwrap();
        assert_eq!(output.status.code(), Some(code));
        assert!(said(&output).contains(program), "{}", said(&output));
        let events = log.events().await;
        assert_eq!((events.last().unwrap().kind, events.last().unwrap().exit_code), (RunEventKind::Failed, Some(code)));
    }
}

#[tokio::test]
async fn kafka_never_changes_what_the_program_does() {
    let script = "i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; exit 5";
    let mut command = command("run", "127.0.0.1:1", "");
    let output = command.args(["--flush-timeout", "0.2"]).args(shell(script)).output().await.unwrap();
    assert_eq!((output.status.code(), output.stdout.iter().filter(|byte| **byte == b'\n').count()), (Some(5), 2000));
    // The lines, and the two events.
    assert!(said(&output).contains("2002 lines or events are not in the log"), "{}", said(&output));
}

#[tokio::test]
async fn what_finds_the_memory_full_is_counted_and_the_program_goes_on() {
    // A Kafka that answers after two seconds, while the program says more than both buffers hold.
    let slow = ["--kafka-option", "test.mock.num.brokers=1", "--kafka-option", "test.mock.broker.rtt=2000"];
    let script = "head -c 150000000 /dev/zero | tr '\\0' x | fold -w 1000; exit 6";
    let mut command = command("run", "mocked:9092", "");
    command.args(slow).args(["--flush-timeout", "0"]).args(shell(script)).stdout(Stdio::null());
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(said(&output).contains("no longer shipped"), "{}", said(&output));
    assert!(said(&output).contains("lines or events are not in the log"), "{}", said(&output));
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_program_as_it_would_without_us() {
    let log = Log::new().await;
    let (mut screen, stdout) = std::io::pipe().unwrap();
    let child = log.command("run").args(shell("while echo y; do :; done")).stdout(stdout).spawn().unwrap();
    tokio::task::spawn_blocking(move || screen.read_exact(&mut [0; 100]).unwrap()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    // By SIGPIPE, or by the error where the shell ignores that.
    assert_ne!(output.status.code(), Some(0), "{}", said(&output));
}

#[tokio::test]
async fn what_a_program_leaves_behind_does_not_hold_us() {
    let log = Log::new().await;
    let script = "echo done; sleep 30 & exit 0";
    let start = std::time::Instant::now();
    let output = log.command("run").args(shell(script)).output();
    // Our own pipes are inherited too, so only the status can be waited for here.
    let status = tokio::time::timeout(Duration::from_secs(20), output).await.unwrap().unwrap().status;
    assert!(status.success() && start.elapsed() < Duration::from_secs(20));
}
