//! Readers that are slow, or don't read at all, and what that is to others.

use std::time::Duration;

use agentworks_gateway::GatewayConfig;
use agentworks_gateway::metrics::CodeLabel;
use agentworks_schemas::access::Role;
use agentworks_schemas::{Level, Source};
use tokio::time::{sleep, timeout};

use super::{assert_complete, numbered, write};
use crate::support::stack::{Stack, StackConfig};
use crate::support::terminal::{Terminal, Told, shown};
use crate::support::{eventually, kafka, unique_prefix};

async fn stack(gateway: GatewayConfig) -> Stack {
    let config = StackConfig { gateway, ..StackConfig::default() };
    Stack::start_with(&kafka().await.bootstrap(), &unique_prefix(), 2, config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_slow_reader_delays_no_other() {
    // Whoever waited for a slow one would wait for as long as that one may take.
    let write_timeout = Duration::from_secs(300);
    let stack = stack(GatewayConfig { max_pending: 32 * 1024, write_timeout, ..GatewayConfig::default() }).await;
    let token = stack.token("acme", Role::Viewer);
    let mut slow = Vec::new();
    for _ in 0..10 {
        // What the kernel keeps for one that reads nothing may grow to megabytes.
        let mut terminal = Terminal::connect_narrow(&stack, &token, "card").await;
        terminal.settle().await;
        slow.push(terminal);
    }
    let mut quick = Terminal::connect(&stack, &token, "card", "").await;
    quick.settle().await;
    let run = stack.producer.run("acme", "card", "r");
    let long = "y".repeat(2000);
    let overflown =
        stack.metrics.detached.get_or_create_owned(&agentworks_gateway::metrics::ReasonLabel { reason: "overflow" });
    let (mut lines, mut written) = (Vec::new(), 0);
    // Until the kernel's buffers on both sides, and their outboxes, are full. How much these take differs.
    while overflown.get() < 10 {
        assert!(written < 40_000, "{} of 10 are behind", overflown.get());
        write(&run, (written..written + 2000).map(|number| format!("line {number} {long}"))).await;
        written += 2000;
        while lines.len() < written {
            lines.extend(quick.entries().await.iter().map(|shown| shown.message().replace(&format!(" {long}"), "")));
        }
    }
    assert_complete(lines, 0..written);
    // While ten others are far behind, it is shown each line as it comes.
    for number in written..written + 50 {
        let line = format!("line {number}");
        run.log(Level::Info, Source::Agent, "test", &line).send().await.unwrap().await.unwrap();
        assert_eq!(timeout(Duration::from_secs(30), quick.lines(1)).await.expect("in time"), [line]);
    }
    // And they have missed nothing.
    for mut terminal in slow.into_iter().take(2) {
        let mut lines = Vec::new();
        while lines.len() < written + 50 {
            lines.extend(terminal.entries().await.iter().map(|shown| shown.message().replace(&format!(" {long}"), "")));
        }
        assert_complete(lines, 0..written + 50);
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_at_all_is_told_to_come_back() {
    let stack = stack(GatewayConfig { write_timeout: Duration::from_secs(3), ..GatewayConfig::default() }).await;
    let token = stack.token("acme", Role::Viewer);
    let run = stack.producer.run("acme", "card", "r");
    let mut terminal = Terminal::connect_narrow(&stack, &token, "card").await;
    terminal.settle().await;
    let too_slow = stack.metrics.connection_errors.get_or_create_owned(&CodeLabel { code: 4000 });
    let long = "y".repeat(10_000);
    // It reads again when it was given up, which is 3 s after it could take no more, and before it is cut off, 3 s later:
    // what was written before is there, and then the code.
    let lines = (0..2000).map(|number| format!("line {number} {long}"));
    tokio::join!(write(&run, lines), sleep(Duration::from_secs(5)));
    let (mut lines, mut position) = (Vec::new(), None);
    let code = loop {
        match terminal.told().await {
            Told::Message(message) => {
                for shown in shown(&message) {
                    lines.push(shown.message().replace(&format!(" {long}"), ""));
                    position = Some(shown.position);
                }
            }
            Told::Closed(code, _) => break code,
            Told::Gone => panic!("it was cut off without a word"),
        }
    };
    assert_eq!(code, 4000);
    eventually(Duration::from_secs(10), async || (too_slow.get() == 1).then_some(())).await;
    let mut terminal = Terminal::connect(&stack, &token, "card", &format!("?position={}", position.unwrap())).await;
    while lines.len() < 2000 {
        lines.extend(terminal.entries().await.iter().map(|shown| shown.message().replace(&format!(" {long}"), "")));
    }
    assert_complete(lines, 0..2000);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_come_fast_share_frames() {
    let stack = stack(GatewayConfig::default()).await;
    let token = stack.token("acme", Role::Viewer);
    let mut terminal = Terminal::connect(&stack, &token, "card", "").await;
    terminal.settle().await;
    write(&stack.producer.run("acme", "card", "r"), numbered(0..2000)).await;
    let (mut lines, mut frames) = (Vec::new(), 0);
    while lines.len() < 2000 {
        let message = terminal.message().await;
        let shown = shown(&message);
        assert!(message["type"] != "log_entry" || shown.len() == 1);
        frames += usize::from(!shown.is_empty());
        lines.extend(shown.iter().map(|shown| shown.message().to_owned()));
    }
    assert_complete(lines, 0..2000);
    assert!(frames < 1000, "{frames} frames for 2000 entries");
    stack.stop().await;
}
