//! The core: what it pushes to whom.
#![allow(clippy::unwrap_used)]

mod exactness;
mod narrowed;

use std::sync::Arc;
use std::time::Duration;

use agentworks_processors::erasure::{Erasure, Target, View};
use agentworks_schemas::{Cursor, Topic, TopicPartition};

use super::attach::Step;
use super::core::HubLimits;
use super::lanes::Command;
use super::testing::{AGENT, Bench, EVENTS, SYSTEM, TestViewer, entry, event, received};
use super::wanted::Wanted;
use super::watcher::Reason;

/// Makes a viewer live at the end of the log.
fn attach(bench: &mut Bench, viewer: &TestViewer, wanted: &Wanted) {
    let mut cursor = bench.end.clone();
    assert_eq!(bench.core.step(viewer.channel, viewer.id, &mut cursor, wanted), Step::Live);
}

fn cursor(agent: i64, system: i64) -> Cursor {
    Cursor::from_iter([(AGENT, 0, agent), (SYSTEM, 0, system)])
}

#[test]
fn entries_go_to_those_who_watch_their_card_in_their_workspace() {
    let mut bench = Bench::new();
    let (here, there, other) = (bench.viewer("w", "c"), bench.viewer("v", "c"), bench.viewer("w", "d"));
    for viewer in [&here, &there, &other] {
        attach(&mut bench, viewer, &Wanted::default());
    }
    bench.entry(AGENT, &entry("w", "c", "r", "one"));
    bench.entry(SYSTEM, &entry("v", "c", "r", "two"));
    bench.entry(AGENT, &entry("w", "e", "r", "nobody's"));
    assert_eq!(received(&here), (vec!["one".to_owned()], Some(cursor(1, 0))));
    assert_eq!(received(&there), (vec!["two".to_owned()], Some(cursor(1, 1))));
    assert_eq!(received(&other), (vec![], None));
}

#[test]
fn the_frame_is_one_for_all() {
    let mut bench = Bench::new();
    let viewers = [bench.viewer("w", "c"), bench.viewer("w", "c")];
    for viewer in &viewers {
        attach(&mut bench, viewer, &Wanted::default());
    }
    bench.entry(AGENT, &entry("w", "c", "r", "one"));
    let bytes = viewers.map(|viewer| {
        let mut frames = std::collections::VecDeque::new();
        viewer.outbox.take(&mut frames, 9);
        frames[0].as_bytes().as_ptr()
    });
    assert_eq!(bytes[0], bytes[1]);
}

#[test]
fn a_record_without_a_key_is_served_and_garbage_is_not() {
    let mut bench = Bench::new();
    let viewer = bench.viewer("w", "c");
    attach(&mut bench, &viewer, &Wanted::default());
    let offset = bench.append(AGENT);
    bench.take(AGENT, offset, &entry("w", "c", "r", "keyless"), false);
    for payload in [Some(&b"\x07garbage"[..]), None] {
        let offset = bench.append(AGENT);
        let raw = super::tail::Raw { offset, timestamp: agentworks_schemas::Timestamp(0), key: Some(b"c"), payload };
        assert!(bench.core.record(AGENT, raw, bench.now));
    }
    bench.entry(AGENT, &entry("w", "c", "r", "after"));
    let (messages, last) = received(&viewer);
    assert_eq!((messages, last), (vec!["keyless".to_owned(), "after".to_owned()], Some(cursor(4, 0))));
}

#[test]
fn entries_that_come_together_go_together() {
    let mut bench = Bench::new();
    let viewer = bench.viewer("w", "c");
    attach(&mut bench, &viewer, &Wanted::default());
    for partition in [AGENT, SYSTEM, AGENT] {
        let offset = bench.append(partition);
        bench.take(partition, offset, &entry("w", "c", "r", "line"), true);
    }
    bench.core.flush();
    bench.entry(AGENT, &entry("w", "c", "r", "alone"));
    let mut frames = std::collections::VecDeque::new();
    viewer.outbox.take(&mut frames, 9);
    let values = frames.iter().map(|frame| serde_json::from_slice(frame.payload()).unwrap());
    let values: Vec<serde_json::Value> = values.collect();
    assert_eq!(
        values.iter().map(|value| value["type"].as_str().unwrap()).collect::<Vec<_>>(),
        ["logs_batch", "log_entry"]
    );
    let positions = values[0]["data"].as_array().unwrap().iter().map(|entry| entry["position"].clone());
    let expected = [cursor(1, 0), cursor(1, 1), cursor(2, 1)].map(|cursor| cursor.to_string().into());
    assert_eq!(positions.collect::<Vec<serde_json::Value>>(), expected);
    assert_eq!((&values[0]["position"], &values[0]["cardId"]), (&expected[2], &"c".into()));
}

#[test]
fn a_full_outbox_is_let_go_of_at_its_exact_place() {
    let mut bench = Bench::new();
    let viewer = bench.viewer_with_room("w", "c", 400);
    attach(&mut bench, &viewer, &Wanted::default());
    bench.entry(AGENT, &entry("w", "c", "r", "first"));
    for partition in [SYSTEM, AGENT, SYSTEM, AGENT] {
        let offset = bench.append(partition);
        bench.take(partition, offset, &entry("w", "c", "r", "line"), true);
    }
    bench.core.flush();
    let mut at = cursor(1, 0);
    assert_eq!(viewer.watcher.take().detached, Some((at.clone(), Reason::Overflow)));
    let more = Step::More(bench.end.clone());
    assert_eq!(bench.core.step(viewer.channel, viewer.id, &mut at, &Wanted::default()), more, "there is no room");
    assert_eq!(received(&viewer), (vec!["first".to_owned()], Some(at.clone())));
    bench.entry(AGENT, &entry("w", "c", "r", "later"));
    assert_eq!(received(&viewer).0.len(), 0);
    // What it missed comes from the tails, in the order in which it came.
    assert_eq!(bench.core.step(viewer.channel, viewer.id, &mut at, &Wanted::default()), Step::Live);
    assert_eq!(
        received(&viewer),
        (["line", "line", "line", "line", "later"].map(str::to_owned).to_vec(), Some(at.clone()))
    );
    assert_eq!(at, bench.end);
}

#[test]
fn what_is_erased_is_neither_pushed_nor_in_the_tails() {
    let mut bench = Bench::new();
    let viewer = bench.viewer("w", "c");
    attach(&mut bench, &viewer, &Wanted::default());
    let start = bench.end.clone();
    bench.entry(AGENT, &entry("w", "c", "r", "before"));
    bench.entry(AGENT, &entry("w", "c", "other", "of another run"));
    bench.core.flush();
    assert_eq!(received(&viewer).0, ["before", "of another run"]);

    // The erasure covers one more, which the hub takes late.
    let upto = [(AGENT, 0, bench.end.get(AGENT).unwrap().1 + 1)].into_iter().collect();
    let mut view = View::default();
    view.add(Erasure::new("w", Target::Run("r".into()), upto, "tests"));
    bench.core.erase(Arc::new(view));
    let mut within = bench.end.clone();
    bench.entry(AGENT, &entry("w", "c", "r", "late"));
    bench.entry(AGENT, &entry("w", "c", "r", "after"));
    bench.core.flush();
    assert_eq!(received(&viewer).0, ["after"]);
    assert!(bench.core.tail_bytes > 0);

    // Who comes from before reads the tiers.
    let late = bench.viewer("w", "c");
    let step = bench.core.step(late.channel, late.id, &mut start.clone(), &Wanted::default());
    assert_eq!(step, Step::Behind(bench.end.clone()));
    // Who comes from within the tail isn't given there what nobody was pushed.
    let step = bench.core.step(late.channel, late.id, &mut within, &Wanted::default());
    assert_eq!((step, received(&late).0), (Step::Live, vec!["after".to_owned()]));
    assert_eq!(within, bench.end);
}

#[test]
fn a_viewer_that_has_read_further_than_the_hub_gets_nothing_twice() {
    let mut bench = Bench::new();
    let early = bench.viewer("w", "c");
    attach(&mut bench, &early, &Wanted::default());
    let unseen = [bench.append(AGENT), bench.append(AGENT)];
    // It has read both already, but the hub has not.
    let viewer = bench.viewer("w", "c");
    attach(&mut bench, &viewer, &Wanted::default());
    bench.entry(SYSTEM, &entry("w", "c", "r", "s"));
    assert_eq!(received(&viewer), (vec!["s".to_owned()], Some(cursor(2, 1))), "resuming there would repeat nothing");
    assert_eq!(received(&early), (vec!["s".to_owned()], Some(cursor(0, 1))));
    for offset in unseen {
        bench.take(AGENT, offset, &entry("w", "c", "r", "a"), true);
    }
    bench.entry(AGENT, &entry("w", "c", "r", "b"));
    assert_eq!(received(&viewer), (vec!["b".to_owned()], Some(cursor(3, 1))));
    assert_eq!(received(&early).0, ["a", "a", "b"]);
}

#[test]
fn what_it_has_read_further_stays_read_when_it_is_let_go_of() {
    let mut bench = Bench::new();
    let unseen = bench.append(AGENT);
    // The hub begins before what the viewer has read.
    bench.end = cursor(0, 0);
    let viewer = bench.viewer_with_room("w", "c", 800);
    bench.end = cursor(1, 0);
    attach(&mut bench, &viewer, &Wanted::default());
    for _ in 0..5 {
        let offset = bench.append(SYSTEM);
        bench.take(SYSTEM, offset, &entry("w", "c", "r", "line"), true);
    }
    bench.take(AGENT, unseen, &entry("w", "c", "r", "line"), true);
    bench.core.flush();
    assert_eq!(viewer.watcher.take().detached, Some((cursor(1, 3), Reason::Overflow)));
}

#[test]
fn a_cursor_before_the_tail_has_to_be_read_up() {
    let mut bench = Bench::with(HubLimits { tail_age: Duration::from_secs(1), ..HubLimits::default() });
    let viewer = bench.viewer("w", "c");
    let mut at = bench.end.clone();
    bench.entry(AGENT, &entry("w", "c", "r", "old"));
    bench.now += Duration::from_secs(2);
    bench.core.sweep(bench.now);
    let behind = Step::Behind(bench.end.clone());
    assert_eq!(bench.core.step(viewer.channel, viewer.id, &mut at, &Wanted::default()), behind);
    assert_eq!(bench.core.step(viewer.channel, viewer.id, &mut Cursor::new(), &Wanted::default()), behind);
    attach(&mut bench, &viewer, &Wanted::default());
}

#[test]
fn memory_is_bounded_over_all_tails() {
    let limits = HubLimits { tail_bytes: 1 << 20, ..HubLimits::default() };
    let mut bench = Bench::with(limits);
    let viewer = bench.viewer("w", "c");
    let mut at = bench.end.clone();
    let line = "x".repeat(10_000);
    for index in 0..500 {
        bench.entry(if index % 3 == 0 { SYSTEM } else { AGENT }, &entry("w", "other", "r", &line));
        let held: usize = bench.core.lanes.values().map(|lane| lane.tail.bytes()).sum();
        assert!(held <= limits.tail_bytes, "{held}");
    }
    assert!(matches!(bench.core.step(viewer.channel, viewer.id, &mut at, &Wanted::default()), Step::Behind(_)));
}

#[test]
fn partitions_join_when_somebody_watches_and_leave_when_nobody_has_for_a_while() {
    let mut bench = Bench::new();
    bench.end = cursor(7, 9);
    let viewer = bench.viewer("w", "c");
    let joined = [AGENT, SYSTEM, EVENTS].map(Command::Join);
    assert_eq!(bench.core.commands, joined);
    assert_eq!(bench.core.lanes[&SYSTEM].next, 9);
    let second = bench.viewer("w", "d");
    assert_eq!(bench.core.commands, joined, "they are there already");
    bench.core.unwatch(viewer.channel, viewer.id, bench.now);
    bench.core.unwatch(second.channel, second.id, bench.now);
    bench.core.sweep(bench.now + Duration::from_secs(59));
    let third = bench.viewer("w", "d");
    bench.core.sweep(bench.now + Duration::from_secs(120));
    assert_eq!(bench.core.lanes.len(), 3, "somebody came back");
    bench.core.commands.clear();
    bench.core.unwatch(third.channel, third.id, bench.now + Duration::from_secs(120));
    bench.core.sweep(bench.now + Duration::from_secs(181));
    assert!(bench.core.lanes.is_empty() && bench.core.channels.is_empty());
    assert_eq!(bench.core.commands.len(), 3);
    assert!(bench.core.commands.iter().all(|command| matches!(command, Command::Leave(_))));
}

#[test]
fn a_partition_that_becomes_the_cards_is_read_before_it_is_live() {
    let mut bench = Bench::new();
    let viewer = bench.viewer("w", "c");
    attach(&mut bench, &viewer, &Wanted::default());
    bench.entry(AGENT, &entry("w", "c", "r", "a"));
    let strange = TopicPartition::new(Topic::AgentLogs, 5);
    let found = Cursor::from_iter([(strange, 0, 42)]);
    bench.core.extend(viewer.channel, &found, &Cursor::new());
    let (mut at, reason) = viewer.watcher.take().detached.unwrap();
    assert_eq!((&at, reason), (&cursor(1, 0), Reason::Extended));
    let mut target = cursor(1, 0);
    target.set(strange, 0, 42);
    assert_eq!(bench.core.step(viewer.channel, viewer.id, &mut at, &Wanted::default()), Step::Behind(target.clone()));
    assert_eq!(bench.core.step(viewer.channel, viewer.id, &mut target, &Wanted::default()), Step::Live);
    bench.core.extend(viewer.channel, &found, &Cursor::new());
    assert_eq!(viewer.watcher.take().detached, None, "it is nothing new");
    bench.end.set(strange, 0, 42);
    bench.entry(strange, &entry("w", "c", "r", "b"));
    assert_eq!(received(&viewer).0, ["a", "b"]);
}

#[test]
fn a_partition_that_begins_anew_lets_go_of_all_who_watch_it() {
    let mut bench = Bench::new();
    let viewer = bench.viewer("w", "c");
    attach(&mut bench, &viewer, &Wanted::default());
    bench.entry(AGENT, &entry("w", "c", "r", "a"));
    bench.core.commands.clear();
    bench.core.reset(AGENT, 1, 0);
    assert_eq!(bench.core.commands, [Command::Leave(AGENT), Command::Join(AGENT)]);
    let (mut at, reason) = viewer.watcher.take().detached.unwrap();
    assert_eq!((&at, reason), (&cursor(1, 0), Reason::Reset), "in the epoch that it was in");
    let mut target = cursor(0, 0);
    target.set(AGENT, 1, 0);
    assert_eq!(bench.core.step(viewer.channel, viewer.id, &mut at, &Wanted::default()), Step::Behind(target));
}

#[test]
fn a_record_of_an_assignment_that_ends_is_not_taken_for_one_of_the_next() {
    let mut bench = Bench::new();
    let viewer = bench.viewer("w", "c");
    attach(&mut bench, &viewer, &Wanted::default());
    bench.entry(AGENT, &entry("w", "c", "r", "a"));
    bench.core.commands.clear();
    bench.core.reset(AGENT, 1, 3);
    let raw = |offset| super::tail::Raw {
        offset,
        timestamp: agentworks_schemas::Timestamp(0),
        key: Some(b"other"),
        payload: Some(b"{}"),
    };
    assert!(bench.core.record(AGENT, raw(7), bench.now), "it is none that shows that something is amiss");
    assert_eq!(bench.core.lanes[&AGENT].next, 3);
    assert_eq!(bench.core.next_command(), Some((Command::Leave(AGENT), None)));
    assert_eq!(bench.core.next_command(), Some((Command::Join(AGENT), Some(3))));
    assert_eq!(bench.core.next_command(), None);
    assert!(bench.core.record(AGENT, raw(3), bench.now));
    assert_eq!(bench.core.lanes[&AGENT].next, 4);
}

#[test]
fn a_partition_is_read_in_the_making_that_is_there() {
    let mut bench = Bench::new();
    let viewer = bench.viewer("w", "c");
    attach(&mut bench, &viewer, &Wanted::default());
    let there = |epoch| [(AGENT, epoch), (SYSTEM, 0)].into();
    let end = |epoch| Cursor::from_iter([(AGENT, epoch, 9), (SYSTEM, 0, 0)]);
    assert!(bench.core.covers(viewer.channel, &there(0)) && !bench.core.covers(viewer.channel, &there(1)));
    bench.core.extend(viewer.channel, &end(1), &Cursor::new());
    assert!(bench.core.covers(viewer.channel, &there(1)));
    assert_eq!(viewer.watcher.take().detached, Some((cursor(0, 0), Reason::Reset)));
    // Somebody who looked before that changes nothing; that it was an error does.
    bench.core.extend(viewer.channel, &end(0), &Cursor::new());
    assert!(bench.core.covers(viewer.channel, &there(1)) && !bench.core.covers(viewer.channel, &there(0)));
    bench.core.go_back(&end(1));
    assert!(bench.core.covers(viewer.channel, &there(1)));
    bench.core.go_back(&end(0));
    assert!(bench.core.covers(viewer.channel, &there(0)));
    assert_eq!(bench.core.lanes[&AGENT].next, 9);
}

#[test]
fn an_offset_that_goes_back_is_not_taken_and_told() {
    let mut bench = Bench::new();
    let viewer = bench.viewer("w", "c");
    attach(&mut bench, &viewer, &Wanted::default());
    bench.entry(AGENT, &entry("w", "c", "r", "a"));
    let raw = super::tail::Raw {
        offset: 0,
        timestamp: agentworks_schemas::Timestamp(0),
        key: Some(b"c"),
        payload: Some(b"{}"),
    };
    assert!(!bench.core.record(AGENT, raw, bench.now));
    bench.core.flush();
    assert_eq!(received(&viewer).0, ["a"]);
}

#[test]
fn run_events_touch_the_runs_of_watched_cards() {
    let mut bench = Bench::new();
    let viewer = bench.viewer("w", "c");
    bench.event(&event("w", "c", "r1"));
    bench.event(&event("w", "c", "r1"));
    bench.event(&event("v", "c", "r2"));
    bench.event(&event("w", "d", "r3"));
    let touched: Vec<_> = bench.core.touched_runs.drain().collect();
    assert_eq!(touched, [(viewer.channel, "r1".to_owned())]);
}
