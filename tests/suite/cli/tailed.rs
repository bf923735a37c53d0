//! `tail`.

use std::process::Stdio;
use std::time::Duration;

use agentworks_schemas::{Level, Source};
use serde_json::Value;

use super::proxy::Proxy;
use super::{Running, command, command_at, message, messages, printed};
use crate::rest::write;
use crate::support::stack::Stack;
use crate::support::{eventually, unique_prefix};

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

/// Waits until a `tail` has asked for the lines that are there and opened its stream.
async fn watching(proxy: &Proxy) {
    eventually(Duration::from_secs(30), async || (proxy.count() >= 2).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_as_text_and_as_json() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    let run = stack.producer.run("acme", "a card/with é", "run-1");
    write(&run, numbered(0..30)).await;
    let other = stack.producer.run("acme", "a card/with é", "run-2");
    other.log(Level::Fatal, Source::Provider, "billing", "the end").send().await.unwrap().await.unwrap();
    let tail = async |args: &[&str]| printed(&stack, &[&["tail", "a card/with é", "--no-follow"], args].concat()).await;

    let all = tail(&["--output", "json"]).await;
    assert_eq!(messages(&all)[..30], numbered(0..30));
    assert_eq!(messages(&tail(&["--output", "json", "-n", "3"]).await), ["line 28", "line 29", "the end"]);
    assert_eq!(tail(&["--history", "0"]).await, "");

    // Filters choose among all lines, not among the last few.
    assert_eq!(messages(&tail(&["--output", "json", "--level", "error+", "-n", "2"]).await), ["line 29", "the end"]);
    let of_run = tail(&["--output", "json", "--run", "run-1", "-n", "2", "--level", "debug,info"]).await;
    assert_eq!(messages(&of_run), ["line 25", "line 26"]);

    // From the position of a line, whatever follows it.
    let position: Value = serde_json::from_str(all.lines().nth(27).unwrap()).unwrap();
    let since = tail(&["--output", "json", "--since-position", position["position"].as_str().unwrap()]).await;
    assert_eq!(messages(&since), ["line 28", "line 29", "the end"]);

    let text = tail(&["-n", "1"]).await;
    let (time, rest) = text.split_once(' ').unwrap();
    assert_eq!(rest, "FATAL provider/billing run-2  the end\n");
    assert!(time.len() == 12 && time.as_bytes()[8] == b'.', "{time}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_line_can_do_nothing_to_a_terminal() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    let run = stack.producer.run("acme", "card", "run");
    let hostile = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[31mred\u{1b}[0m\ttab\r\n12:00:00.000 FATAL x";
    run.log(Level::Info, Source::Agent, "evil\u{1b}[2J\n", hostile).send().await.unwrap().await.unwrap();
    let tail = ["tail", "card", "--no-follow"];

    let plain = printed(&stack, &tail).await;
    assert!(plain.contains("agent/evil␊ run  red\ttab\n             | 12:00:00.000 FATAL x\n"), "{plain:?}");
    assert!(!plain.contains('\u{1b}'), "{plain:?}");

    let mut coloured = command(&stack, &tail);
    coloured.env("CLICOLOR_FORCE", "1");
    let coloured = String::from_utf8(coloured.output().await.unwrap().stdout).unwrap();
    assert!(coloured.contains("\u{1b}[31mred\u{1b}[0m"), "{coloured:?}");
    assert!(!coloured.contains("\u{1b}]") && !coloured.contains("[2J"), "{coloured:?}");

    let mut forbidden = command(&stack, &tail);
    forbidden.env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1");
    assert_eq!(String::from_utf8(forbidden.output().await.unwrap().stdout).unwrap(), plain);

    let json = printed(&stack, &["tail", "card", "--no-follow", "--output", "json"]).await;
    assert_eq!(messages(&json), [hostile]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_come_live_and_an_interrupt_ends_it() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    let run = stack.producer.run("acme", "card", "run");
    write(&run, numbered(0..5)).await;
    let mut tail = Running::start(command(&stack, &["tail", "card", "--output", "json", "-n", "2"]));
    assert_eq!(tail.messages(2).await, numbered(3..5));
    write(&run, numbered(5..8)).await;
    // Live lines of different topics come in any order.
    let mut live = tail.messages(3).await;
    live.sort();
    assert_eq!(live, numbered(5..8));
    assert_eq!(tail.interrupt().await, Some(130));

    // A card that nobody wrote to yet is waited for, and a run's lines are told from another's.
    let other = stack.producer.run("acme", "new", "other");
    let run = stack.producer.run("acme", "new", "run");
    let mut all = Running::start(command(&stack, &["tail", "new", "--output", "json"]));
    write(&other, ["first"]).await;
    assert_eq!(all.messages(1).await, ["first"]);
    write(&run, ["mine"]).await;
    let mut one = Running::start(command(&stack, &["tail", "new", "--run", "run", "--output", "json"]));
    assert_eq!(one.messages(1).await, ["mine"]);
    write(&other, ["not mine"]).await;
    write(&run, ["mine again"]).await;
    assert_eq!(one.messages(1).await, ["mine again"]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_leaves_out_what_is_not_wanted() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    let run = stack.producer.run("acme", "card", "run");
    let log = async |level, source, component: &str, line: &str| {
        run.log(level, source, component, line).send().await.unwrap().await.unwrap();
    };
    log(Level::Warn, Source::Agent, "disks", "Disk a is FULL").await;
    log(Level::Warn, Source::System, "disks", "disk b is full").await;
    log(Level::Info, Source::Agent, "disks", "disk c is full").await;
    let args = ["tail", "card", "--output", "json", "--level", "warn+", "--source", "agent", "--grep", "is full"];
    let mut tail = Running::start(command(&stack, &args));
    assert_eq!(tail.messages(1).await, ["Disk a is FULL"]);
    for (level, source, component, line) in [
        (Level::Debug, Source::Agent, "disks", "disk d is full"),
        (Level::Error, Source::System, "disks", "disk e is full"),
        (Level::Error, Source::Agent, "other", "nothing of the kind"),
        (Level::Fatal, Source::Agent, "other", "everything IS FULL"),
    ] {
        log(level, source, component, line).await;
    }
    assert_eq!(tail.messages(1).await, ["everything IS FULL"]);
    assert_eq!(tail.interrupt().await, Some(130));
    let component = ["tail", "card", "--output", "json", "--no-follow", "--component", "other"];
    assert_eq!(messages(&printed(&stack, &component).await), ["nothing of the kind", "everything IS FULL"]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_closes_its_output_ends_it_quietly() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    let run = stack.producer.run("acme", "card", "run");
    write(&run, numbered(0..3)).await;
    let mut tail = Running::start(command(&stack, &["tail", "card", "--output", "json", "-n", "1"]));
    assert_eq!(tail.messages(1).await, ["line 2"]);
    let Running { mut child, lines } = tail;
    drop(lines);
    let stderr = child.stderr.take();
    // It notices at the next line.
    write(&run, numbered(3..5)).await;
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    let mut said = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stderr.unwrap(), &mut said).await.unwrap();
    assert_eq!(said, "");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_costs_no_line_and_doubles_none() {
    const LINES: usize = 6000;
    let stack = Stack::start(&unique_prefix(), 2).await;
    let proxy = Proxy::start(&stack.address).await;
    let mut tail = command_at(&stack, &proxy.address, &["tail", "card", "--output", "json"]);
    tail.stderr(Stdio::null());
    let mut tail = Running::start(tail);
    watching(&proxy).await;

    let writing = async {
        let run = stack.producer.run("acme", "card", "run");
        let mut deliveries = Vec::new();
        for (number, line) in numbered(0..LINES).iter().enumerate() {
            let source = if number % 3 == 0 { Source::System } else { Source::Agent };
            deliveries.push(run.log(Level::Info, source, "test", line).send().await.unwrap());
            if number % 1000 == 500 {
                proxy.cut();
            }
            if number % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        for delivery in deliveries {
            delivery.await.unwrap();
        }
    };
    let reading = async {
        let mut seen: Vec<usize> = Vec::new();
        while seen.len() < LINES {
            let line = message(&tail.line().await);
            seen.push(line.strip_prefix("line ").unwrap().parse().unwrap());
        }
        seen
    };
    let ((), seen) = tokio::join!(writing, reading);
    // Each topic in its order; all of them once.
    for of_topic in [|number: &usize| number.is_multiple_of(3), |number: &usize| !number.is_multiple_of(3)] {
        let shown: Vec<usize> = seen.iter().copied().filter(of_topic).collect();
        assert_eq!(shown, (0..LINES).filter(of_topic).collect::<Vec<_>>());
    }
    assert!(proxy.count() > 5, "the connection was cut: {}", proxy.count());
    assert_eq!(tail.interrupt().await, Some(130));
    drop(proxy);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_when_the_connection_is_lost_and_when_it_is_back() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    let proxy = Proxy::start(&stack.address).await;
    let run = stack.producer.run("acme", "card", "run");
    write(&run, ["before"]).await;
    let mut tail = Running::start(command_at(&stack, &proxy.address, &["tail", "card", "--output", "json"]));
    let mut said = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(tail.child.stderr.take().unwrap()));
    assert_eq!(tail.messages(1).await, ["before"]);
    watching(&proxy).await;
    proxy.cut();
    let lost = said.next_line().await.unwrap().unwrap();
    assert!(lost.starts_with("tail: the connection was lost") && lost.ends_with("trying again"), "{lost}");
    assert_eq!(said.next_line().await.unwrap().unwrap(), "tail: connected again");
    write(&run, ["after"]).await;
    assert_eq!(tail.messages(1).await, ["after"]);
    drop(tail);
    stack.stop().await;
}
