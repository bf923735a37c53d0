//! Blocks as bytes.

use proptest::prelude::*;

use super::*;
use crate::blocks::block::{self, Block, BlockKey};
use crate::blocks::frame::{Frame, Packer};
use crate::reader::{ReadFilter, Scope};

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let line = (1..1_000_000i64, -5_000..5_000_000_000i64, 0..300usize);
    prop::collection::vec(line, 1..50).prop_map(|lines| {
        let mut offset = 1 << 40;
        let line = |(delta, timestamp, length)| {
            offset += delta;
            Line {
                offset,
                card: "card".into(),
                run: format!("run-{}", offset % 3),
                timestamp: Timestamp(timestamp),
                length,
            }
        };
        lines.into_iter().map(line).collect()
    })
}

fn filter() -> impl Strategy<Value = ReadFilter> {
    let some = |all: usize| prop::option::of(prop::collection::vec(0..all, 0..3));
    let time = || prop::option::of((1i64 << 40)..(1 << 40) + 30_000_000);
    (some(5), some(4), some(12), time(), time()).prop_map(|(levels, sources, components, since, until)| ReadFilter {
        topics: None,
        levels: levels.map(|some| some.into_iter().map(|index| Level::ALL[index]).collect()),
        sources: sources.map(|some| some.into_iter().map(|index| Source::ALL[index]).collect()),
        components: components.map(|some| some.into_iter().map(|index| format!("component-{index}")).collect()),
        since: since.map(Timestamp),
        until: until.map(Timestamp),
        text: None,
    })
}

fn fill(lines: &[Line]) -> (BlockKey, Block) {
    let log = Log { partition: AT, lines: lines.to_vec() };
    let first = lines[0].offset;
    let (mut block, sharing) = (Block::new(first), Sharing::default());
    let batch = log.batch(first..log.end());
    let mut shared = sharing.begin("hot", &batch);
    for record in batch.records() {
        let Content::Entry(entry) = &record.content else { panic!("{record:?}") };
        block.put(record, entry, &entry.run_id, &mut shared);
    }
    block.seal();
    let (first, last) = block.offsets();
    let (table, workspace, owner) = (HOT.table(0), "acme".to_owned(), "card".to_owned());
    (BlockKey { table, workspace, owner, bucket: 7, partition: AT, epoch: 0, first, last }, block)
}

fn packed(block: &Block) -> (BlockStats, Vec<u8>) {
    block.pack(&mut Packer::new(3).unwrap()).unwrap()
}

/// Long enough for three runs to have frames of their own, or not.
fn long_lines() -> impl Strategy<Value = Vec<Line>> {
    (lines(), prop_oneof![Just(0usize), Just(20_000)]).prop_map(|(mut lines, length)| {
        // What can't be compressed isn't needed: they count before compression.
        lines.iter_mut().take(6).for_each(|line| line.length += length);
        lines
    })
}

proptest! {
    #[test]
    fn entries_survive(lines in long_lines()) {
        let (key, block) = fill(&lines);
        let (stats, contents) = packed(&block);
        let entries = block::entries(&key, &contents).unwrap();
        prop_assert_eq!(entries, lines.iter().map(Line::stored).collect::<Vec<_>>());
        let stats = BlockStats::decode(&stats.encode()).unwrap();
        prop_assert_eq!(stats.count as usize, lines.len());
        prop_assert_eq!(Some(stats.time.0), lines.iter().map(|line| line.timestamp).min());
        prop_assert_eq!(Some(stats.time.1), lines.iter().map(|line| line.timestamp).max());
        prop_assert_eq!(stats.levels.iter().sum::<u32>() as usize, lines.len());
        prop_assert_eq!(stats.detail.unwrap().sources.iter().sum::<u32>() as usize, lines.len());
    }

    /// A block is skipped only if nothing in it is wanted; and blocks of before there were details are skipped by what
    /// they do say.
    #[test]
    fn nothing_that_is_wanted_is_skipped(lines in lines(), filter in filter(), run in 0..5i64) {
        let (_, block) = fill(&lines);
        let (packed, _) = packed(&block);
        let stats = BlockStats::decode(&packed.encode()).unwrap();
        prop_assert_eq!(&stats, &packed);
        let old = BlockStats { detail: None, ..stats.clone() };
        prop_assert_eq!(BlockStats::decode(&old.encode()), Some(old.clone()));
        let scope = Scope::Run { workspace: "acme".into(), run: format!("run-{run}"), card: "card".into() };
        let is_wanted = lines.iter().any(|line| scope.holds(&line.entry()) && filter.passes(&line.entry()));
        for stats in [stats, old] {
            prop_assert!(!is_wanted || (scope.may_be_in(&stats) && filter.may_pass(&stats)), "{filter:?} {stats:?}");
        }
    }

    #[test]
    fn a_flipped_bit_is_an_error(lines in long_lines(), at: prop::sample::Index, bit in 0..8u8) {
        let (key, block) = fill(&lines);
        let (_, mut contents) = packed(&block);
        let at = at.index(contents.len());
        contents[at] ^= 1 << bit;
        // A few bits of a frame's header say nothing; everything else is found out.
        match block::entries(&key, &contents) {
            Ok(entries) => prop_assert_eq!(entries, lines.iter().map(Line::stored).collect::<Vec<_>>()),
            Err(error) => prop_assert!(error.to_string().contains("hot_blocks_1d acme/card/7 agent-logs[0]/0@"), "{}", error),
        }
    }

    #[test]
    fn any_bytes_are_entries_or_an_error(bytes: Vec<u8>) {
        let (key, _) = fill(&[Line { offset: 7, card: "card".into(), run: "run".into(), timestamp: Timestamp(0), length: 0 }]);
        prop_assert!(block::entries(&key, &bytes).is_err());
        let _ = BlockStats::decode(&bytes);
    }
}

#[test]
fn a_block_is_not_taken_for_another() {
    let line = |offset| Line { offset, card: "card".into(), run: "run".into(), timestamp: Timestamp(0), length: 1 };
    let (key, block) = fill(&[line(5), line(6)]);
    let (_, contents) = packed(&block);
    assert!(block::entries(&key, &contents).is_ok());
    for other in [BlockKey { last: 7, ..key.clone() }, BlockKey { first: 4, ..key.clone() }] {
        assert!(block::entries(&other, &contents).unwrap_err().to_string().contains("other offsets"));
    }
}

#[test]
fn a_few_bytes_do_not_ask_for_much() {
    let (key, _) =
        fill(&[Line { offset: 7, card: "card".into(), run: "run".into(), timestamp: Timestamp(0), length: 0 }]);
    let mut bomb = vec![1];
    bomb.extend(zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap());
    assert!(bomb.len() < 10_000);
    let error = block::entries(&key, &bomb).unwrap_err().to_string();
    assert!(error.contains("declares 67108864 bytes"), "{error}");
}

#[test]
fn statistics_skip_what_they_can() {
    let line = |offset| Line { offset, card: "card".into(), run: "run".into(), timestamp: Timestamp(0), length: 1 };
    // Entries 7 to 9: warn, error, fatal; of source provider; of component-0.
    let (_, block) = fill(&[line(7), line(8), line(9)]);
    let stats = &packed(&block).0;
    let scope = |run: &str| Scope::Run { workspace: "acme".into(), run: run.into(), card: "card".into() };
    assert!(scope("run").may_be_in(stats) && !scope("another").may_be_in(stats));
    let all = ReadFilter::default();
    let passing = [
        all.clone(),
        ReadFilter { levels: Some(vec![Level::Debug, Level::Fatal]), ..all.clone() },
        ReadFilter { sources: Some(vec![Source::Provider]), ..all.clone() },
        ReadFilter { components: Some(vec!["component-0".into()]), ..all.clone() },
        ReadFilter { since: Some(Timestamp(9)), until: Some(Timestamp(20)), ..all.clone() },
    ];
    let skipping = [
        ReadFilter { levels: Some(vec![Level::Debug, Level::Info]), ..all.clone() },
        ReadFilter { sources: Some(vec![Source::Agent]), ..all.clone() },
        ReadFilter { components: Some(vec!["another".into()]), ..all.clone() },
        ReadFilter { since: Some(Timestamp(10)), ..all.clone() },
        ReadFilter { until: Some(Timestamp(6)), ..all.clone() },
    ];
    assert!(passing.iter().all(|filter| filter.may_pass(stats)));
    assert!(!skipping.iter().any(|filter| filter.may_pass(stats)));
}

#[test]
fn sets_of_names_stay_what_they_are() {
    // They are stored: were these ever to change, what was written before would be skipped.
    let mut names = Names::default();
    for name in ["", "a", "billing", "a component with a long name, longer than a few words of a machine"] {
        names.insert(name);
        assert!(names.may_have(name));
    }
    assert_eq!(format!("{names:?}"), "Names(2251799847256577)");
}

#[test]
fn runs_have_frames_of_their_own_if_they_are_large_enough() {
    let line = |offset: i64, length| Line {
        offset,
        card: "card".into(),
        run: format!("run-{}", offset % 3),
        timestamp: Timestamp(0),
        length,
    };
    let (_, block) = fill(&[line(0, 20_000), line(1, 20_000), line(2, 20_000), line(3, 10)]);
    let (_, contents) = packed(&block);
    assert_eq!(contents[..2], [2, 3]);
    let (_, block) = fill(&[line(0, 200), line(1, 200), line(2, 20_000), line(3, 10)]);
    assert_eq!(packed(&block).1[..2], [2, 1]);
}

#[test]
fn what_was_written_before_is_read() {
    let line = |offset| Line { offset, card: "card".into(), run: "run".into(), timestamp: Timestamp(5), length: 1 };
    let (lines, mut raw) = ([line(70_000), line(70_003)], Vec::new());
    for (line, (delta, time)) in lines.iter().zip([(0, 10), (3, 0)]) {
        let mut body = Vec::new();
        agentworks_schemas::codec::encode_entry_body(&line.entry(), &mut body);
        raw.extend([delta, time, u8::try_from(body.len()).unwrap()]);
        raw.extend(body);
    }
    let mut contents = vec![1];
    contents.extend(zstd::bulk::compress(&raw, 3).unwrap());
    let (key, _) = fill(&lines);
    assert_eq!(block::entries(&key, &contents).unwrap(), lines.each_ref().map(Line::stored));
}

#[test]
fn what_another_tier_has_put_behind_is_left_out() {
    let line =
        |offset| Line { offset, card: "card".into(), run: "run".into(), timestamp: Timestamp(offset), length: 9 };
    let log = Log { partition: AT, lines: (0..9).map(line).collect() };
    for is_packed in [false, true] {
        let (batch, frame) = (log.batch(0..9), Frame::new(0, false));
        for record in batch.records() {
            let Content::Entry(entry) = &record.content else { panic!("{record:?}") };
            frame.push(record.offset, record.timestamp, entry, &record.body).unwrap();
        }
        if is_packed {
            frame.pack(&mut Packer::new(1).unwrap()).unwrap();
        }
        let part = frame.up_to(4).unwrap();
        assert_eq!((part.first(), part.last()), (0, 4));
        let mut stats = BlockStats::new();
        part.add_stats(&mut stats);
        assert_eq!((stats.count, stats.time), (5, (Timestamp(0), Timestamp(4))));
    }
}

#[test]
fn memory_grows_with_what_is_held() {
    let entry = Line { offset: 0, card: "card".into(), run: "run".into(), timestamp: Timestamp(0), length: 0 }.entry();
    let frame = Frame::new(0, false);
    let (mut length, mut grown) = (0, frame.memory());
    for offset in 0..2_000 {
        let pushed = frame.push(offset, Timestamp(0), &entry, &[7; 100]).unwrap();
        (length, grown) = (length + pushed.0, grown + pushed.1);
        let memory = frame.memory();
        assert_eq!(frame.len(), length);
        // The list of pieces isn't counted where it grows.
        assert!(memory.abs_diff(grown) <= 16 * size_of::<Vec<u8>>(), "{memory}, not {grown}");
        // A piece more than it holds, and what didn't fit at the end of each.
        let most = if length < 16 << 10 { 2 * length + 600 } else { length * 51 / 50 + (17 << 10) };
        assert!(memory <= most, "{memory} for {length}");
    }
}
