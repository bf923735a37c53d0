//! Viewers that want less than all of a card.

use std::collections::HashSet;
use std::sync::Arc;

use agentworks_schemas::protocol::LiveFilters;
use agentworks_schemas::{Cursor, Level, LogEntry};

use super::super::attach::Step;
use super::super::testing::{AGENT, Bench, SYSTEM, TestViewer, entry, received};
use super::super::wanted::{Filters, Wanted};
use super::{attach, cursor};

fn run(run: &str) -> Wanted {
    Wanted { runs: Some(Arc::new(HashSet::from([run.to_owned()]))), filters: None }
}

fn filters(said: LiveFilters) -> Wanted {
    Wanted { runs: None, filters: Filters::new(said).unwrap() }
}

fn errors() -> Wanted {
    filters(LiveFilters { levels: Some(vec![Level::Error]), ..LiveFilters::default() })
}

fn of_level(level: Level, message: &str) -> LogEntry<'_> {
    LogEntry { level, ..entry("w", "c", "r", message) }
}

/// Wants something else from now on.
fn change(bench: &mut Bench, viewer: &TestViewer, wanted: &Wanted) {
    let mut at = bench.core.detach(viewer.channel, viewer.id).unwrap();
    assert_eq!(bench.core.step(viewer.channel, viewer.id, &mut at, wanted), Step::Live);
}

#[test]
fn runs_narrow_what_is_pushed_and_what_tails_give() {
    let mut bench = Bench::new();
    let (narrow, wide) = (bench.viewer("w", "c"), bench.viewer("w", "c"));
    let start = bench.end.clone();
    attach(&mut bench, &wide, &Wanted::default());
    bench.entry(AGENT, &entry("w", "c", "r1", "a"));
    bench.entry(AGENT, &entry("w", "c", "r2", "b"));
    let mut at = start;
    assert_eq!(bench.core.step(narrow.channel, narrow.id, &mut at, &run("r2")), Step::Live);
    bench.entry(AGENT, &entry("w", "c", "r1", "c"));
    change(&mut bench, &narrow, &run("r1"));
    bench.entry(AGENT, &entry("w", "c", "r1", "d"));
    bench.entry(AGENT, &entry("w", "c", "r2", "e"));
    assert_eq!(received(&narrow).0, ["b", "d"]);
    assert_eq!(received(&wide).0.len(), 5);
    assert_eq!(bench.core.detach(narrow.channel, narrow.id), Some(cursor(5, 0)));
    assert_eq!(bench.core.detach(narrow.channel, narrow.id), None);
}

#[test]
fn filters_narrow_what_is_pushed_and_what_tails_give() {
    let mut bench = Bench::new();
    let (filtered, late, wide) = (bench.viewer("w", "c"), bench.viewer("w", "c"), bench.viewer("w", "c"));
    let start = bench.end.clone();
    attach(&mut bench, &filtered, &errors());
    attach(&mut bench, &wide, &Wanted::default());
    for (offset, level) in [Level::Info, Level::Error, Level::Debug, Level::Error].into_iter().enumerate() {
        let partition = if offset % 2 == 0 { AGENT } else { SYSTEM };
        let message = format!("{level} {offset}");
        let at = bench.append(partition);
        bench.take(partition, at, &of_level(level, &message), true);
    }
    bench.core.flush();
    let expected = vec!["error 1".to_owned(), "error 3".to_owned()];
    assert_eq!(received(&filtered), (expected.clone(), Some(cursor(2, 2))));
    assert_eq!(received(&wide).0.len(), 4);
    let mut at = start;
    assert_eq!(bench.core.step(late.channel, late.id, &mut at, &errors()), Step::Live);
    assert_eq!(received(&late), (expected, Some(cursor(2, 2))));
    // Changed in flight, at an exact place.
    bench.entry(AGENT, &of_level(Level::Info, "info 4"));
    let text = filters(LiveFilters { text: Some("Info".to_owned()), ..LiveFilters::default() });
    change(&mut bench, &filtered, &text);
    bench.entry(AGENT, &of_level(Level::Info, "INFO 5"));
    bench.entry(AGENT, &of_level(Level::Error, "error 6"));
    assert_eq!(received(&filtered), (vec!["INFO 5".to_owned()], Some(cursor(4, 2))));
}

#[test]
fn where_everything_passes_the_frame_is_shared_with_those_who_want_all() {
    let mut bench = Bench::new();
    let viewers = [bench.viewer("w", "c"), bench.viewer("w", "c"), bench.viewer("w", "c")];
    attach(&mut bench, &viewers[0], &Wanted::default());
    attach(&mut bench, &viewers[1], &errors());
    attach(&mut bench, &viewers[2], &errors());
    let frames = |bench: &mut Bench, levels: &[Level]| {
        for level in levels {
            let at = bench.append(AGENT);
            bench.take(AGENT, at, &of_level(*level, "x"), true);
        }
        bench.core.flush();
        let frames = viewers.iter().map(|viewer| {
            let mut frames = std::collections::VecDeque::new();
            viewer.outbox.take(&mut frames, 9);
            frames.iter().map(|frame| frame.as_bytes().as_ptr()).collect::<Vec<_>>()
        });
        frames.collect::<Vec<_>>()
    };
    let all = frames(&mut bench, &[Level::Error, Level::Error]);
    assert!(all[0] == all[1] && all[0] == all[2] && all[0].len() == 1);
    let some = frames(&mut bench, &[Level::Error, Level::Info]);
    assert!(some[0] != some[1] && some[1] == some[2] && some[1].len() == 1, "what is left is shared too");
}

#[test]
fn a_viewer_that_nothing_is_shown_to_learns_its_position() {
    let mut bench = Bench::new();
    let viewer = bench.viewer("w", "c");
    attach(&mut bench, &viewer, &errors());
    bench.entry(AGENT, &of_level(Level::Info, "not shown"));
    let mut told = Cursor::new();
    let mut mark = |bench: &mut Bench| {
        bench.core.mark(viewer.channel, viewer.id, &mut told);
        received(&viewer)
    };
    assert_eq!(mark(&mut bench), (vec![], Some(cursor(1, 0))));
    assert_eq!(mark(&mut bench), (vec![], None), "it knows");
    bench.entry(SYSTEM, &of_level(Level::Error, "shown"));
    assert_eq!(received(&viewer), (vec!["shown".to_owned()], Some(cursor(1, 1))));
    bench.entry(AGENT, &of_level(Level::Info, "not shown"));
    assert_eq!(mark(&mut bench), (vec![], None), "an entry told it a moment ago");
    assert_eq!(mark(&mut bench), (vec![], Some(cursor(2, 1))));
}

#[test]
fn a_position_that_found_no_room_is_told_later() {
    let mut bench = Bench::new();
    let viewer = bench.viewer_with_room("w", "c", 400);
    attach(&mut bench, &viewer, &errors());
    let long = "shown ".repeat(60);
    bench.entry(AGENT, &of_level(Level::Error, &long));
    bench.entry(AGENT, &of_level(Level::Info, "not shown"));
    let mut told = Cursor::new();
    // The first time it only takes note that an entry was pushed.
    for _ in 0..3 {
        bench.core.mark(viewer.channel, viewer.id, &mut told);
    }
    assert_eq!((received(&viewer), told.clone()), ((vec![long], Some(cursor(1, 0))), Cursor::new()));
    bench.core.mark(viewer.channel, viewer.id, &mut told);
    assert_eq!((received(&viewer), told), ((vec![], Some(cursor(2, 0))), cursor(2, 0)));
}
