//! Live filters: what they leave out, and that nothing else is missing.

use std::time::Duration;

use agentworks_schemas::access::Role;
use agentworks_schemas::{Cursor, Level, Source};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::support::stack::Stack;
use crate::support::terminal::{Terminal, shown};
use crate::support::unique_prefix;

/// The level of the nth line: no two after each other are the same.
fn level(number: i64) -> Level {
    Level::ALL[number as usize % Level::ALL.len()]
}

async fn write(stack: &Stack, range: std::ops::Range<i64>) {
    let run = stack.producer.run("acme", "card", "r");
    let mut deliveries = Vec::new();
    for number in range {
        let (source, component) = match number % 4 {
            3 => (Source::System, "scheduler"),
            _ => (Source::Agent, "planner"),
        };
        let line = format!("Line {number} {}", if number % 10 == 0 { "DISK full" } else { "fine" });
        deliveries.push(run.log(level(number), source, component, &line).send().await.unwrap());
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
}

fn number(entry: &Value) -> i64 {
    entry["message"].as_str().unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

async fn numbers(terminal: &mut Terminal, count: usize) -> Vec<i64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        numbers.extend(terminal.entries().await.iter().map(|shown| number(&shown.entry)));
    }
    assert_eq!(numbers.len(), count, "{numbers:?}");
    numbers.sort();
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_hold_for_history_and_live() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    let token = stack.token("acme", Role::Viewer);
    write(&stack, 0..100).await;
    for (query, passes) in [
        ("levels=error,fatal&sources=agent", (|number| number % 5 >= 3 && number % 4 != 3) as fn(i64) -> bool),
        ("sources=system", |number| number % 4 == 3),
        ("components=planner&text=disk%20FULL", |number| number % 10 == 0 && number % 4 != 3),
        ("components=planner&text=line", |number| number % 4 != 3),
    ] {
        let mut terminal = Terminal::connect(&stack, &token, "card", &format!("?history=10&{query}")).await;
        // As many as were asked for, however many lie between.
        let expected: Vec<i64> = (0..100).filter(|number| passes(*number)).collect();
        let newest = expected[expected.len().saturating_sub(10)..].to_vec();
        let history = numbers(&mut terminal, newest.len()).await;
        assert_eq!(history, newest, "{query}");
        terminal.close().await;
    }
    let mut errors = Terminal::connect(&stack, &token, "card", "?history=0&levels=error").await;
    let mut disk = Terminal::connect(&stack, &token, "card", "?history=0&text=disk").await;
    let mut all = Terminal::connect(&stack, &token, "card", "?history=0").await;
    for terminal in [&mut errors, &mut disk, &mut all] {
        terminal.settle().await;
    }
    write(&stack, 100..200).await;
    assert_eq!(numbers(&mut errors, 20).await, (100..200).filter(|number| number % 5 == 3).collect::<Vec<_>>());
    assert_eq!(numbers(&mut disk, 10).await, (100..200).step_by(10).collect::<Vec<_>>());
    assert_eq!(numbers(&mut all, 100).await, (100..200).collect::<Vec<_>>());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_in_flight_has_an_exact_border() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    let token = stack.token("acme", Role::Viewer);
    let mut terminal = Terminal::connect(&stack, &token, "card", "?history=0").await;
    terminal.settle().await;
    const CHANGES: usize = 12;
    let run = stack.producer.run("acme", "card", "r");
    let (done, changes_done) = watch::channel(false);
    let writing = tokio::spawn(async move {
        let (mut number, mut last) = (0, i64::MAX);
        while number < last {
            let delivery = run.log(level(number), Source::Agent, "c", &format!("Line {number}")).send().await.unwrap();
            number += 1;
            if number % 50 == 0 {
                delivery.await.unwrap();
                if last == i64::MAX && *changes_done.borrow() {
                    last = number + 100;
                }
            }
        }
        number
    });
    // Each era: its levels, and the lines shown in it.
    let all: Vec<Level> = Level::ALL.to_vec();
    let choices = [all.clone(), vec![Level::Error], vec![Level::Debug, Level::Fatal], vec![Level::Warn]];
    let mut eras: Vec<(Vec<Level>, Vec<i64>)> = vec![(all.clone(), Vec::new())];
    let (mut asked, mut changed) = (0, 0);
    let mut take = |message: &Value| {
        let numbers = shown(message).iter().map(|shown| number(&shown.entry)).collect::<Vec<_>>();
        if message["type"] == "filters_set" {
            changed += 1;
            eras.push((choices[changed % choices.len()].clone(), Vec::new()));
        }
        eras.last_mut().unwrap().1.extend(&numbers);
        (changed, numbers.last().copied())
    };
    while asked < CHANGES {
        let (changed, last) = take(&terminal.message().await);
        if asked == changed && last.is_some() {
            asked += 1;
            let levels: Vec<&str> = choices[asked % choices.len()].iter().map(|level| level.as_str()).collect();
            terminal.send(json!({"type": "set_filters", "cardId": "card", "filters": {"levels": levels}})).await;
        }
    }
    while take(&terminal.message().await).0 < CHANGES {}
    done.send_replace(true);
    let lines_written = writing.await.unwrap();
    // In the last era everything is shown.
    while take(&terminal.message().await).1 != Some(lines_written - 1) {}
    let mut next = 0;
    for (index, (levels, lines)) in eras.iter().enumerate() {
        assert!(lines.is_sorted() && lines.first().is_none_or(|first| *first >= next), "{lines:?}");
        // Within an era nothing that passes is missing.
        if let (Some(first), Some(last)) = (lines.first(), lines.last()) {
            let expected: Vec<i64> = (*first..=*last).filter(|number| levels.contains(&level(*number))).collect();
            assert_eq!(*lines, expected, "era {index}");
            next = last + 1;
        }
        // What the old filters would have let pass lies behind the border, and so was left out by the new ones.
        let left = (next..lines_written).find(|number| levels.contains(&level(*number))).unwrap_or(lines_written);
        if let Some((newer, later)) = eras.get(index + 1).filter(|(_, later)| !later.is_empty()) {
            assert!(
                (left..later[0]).all(|number| !newer.contains(&level(number))),
                "after era {index}: {left} {later:?}"
            );
        }
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_moves_on_where_nothing_is_shown() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    let token = stack.token("acme", Role::Viewer);
    let mut terminal = Terminal::connect(&stack, &token, "card", "?text=never").await;
    terminal.settle().await;
    write(&stack, 0..200).await;
    let scope = agentworks_processors::reader::Scope::Card { workspace: "acme".to_owned(), card: "card".to_owned() };
    let end = stack.reader.end(&scope).await.unwrap();
    let position = loop {
        let message = terminal.message_of("logs_batch").await;
        assert_eq!(message["data"], json!([]));
        let position: Cursor = message["position"].as_str().unwrap().parse().unwrap();
        if position == end {
            break position;
        }
    };
    terminal.close().await;
    // It goes on there, and by other filters.
    let mut terminal = Terminal::connect(&stack, &token, "card", &format!("?position={position}&levels=debug")).await;
    terminal.settle().await;
    write(&stack, 200..210).await;
    assert_eq!(numbers(&mut terminal, 2).await, [200, 205]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missed_comes_by_the_filters_too() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    let token = stack.token("acme", Role::Viewer);
    let mut terminal = Terminal::connect(&stack, &token, "card", "?levels=fatal").await;
    terminal.settle().await;
    let position = terminal.position.clone();
    assert!(position.is_none(), "settle passes over it");
    write(&stack, 0..5).await;
    terminal.entries().await;
    let position = terminal.position.clone().unwrap();
    terminal.close().await;
    write(&stack, 5..500).await;
    // Long enough for the store to have them.
    sleep(Duration::from_secs(3)).await;
    write(&stack, 500..600).await;
    let query = format!("?position={position}&levels=fatal&text=DISK");
    let mut terminal = Terminal::connect(&stack, &token, "card", &query).await;
    terminal.send(json!({"type": "ping", "timestamp": 1})).await;
    let mut after = Terminal::connect(&stack, &token, "card", &format!("?position={position}&levels=fatal")).await;
    assert_eq!(numbers(&mut after, 119).await, (5..600).filter(|number| number % 5 == 4).collect::<Vec<_>>());
    let before = terminal.settle().await;
    assert!(before.iter().all(|message| shown(message).is_empty()), "no fatal line speaks of disks: {before:?}");
    stack.stop().await;
}
