//! Blocks as bytes.

use proptest::prelude::*;

use super::*;
use crate::blocks::block::{self, BlockBuilder, BlockKey};
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

fn fill(lines: &[Line]) -> (BlockKey, BlockBuilder) {
    let mut block = BlockBuilder::new(lines[0].offset);
    for line in lines {
        let mut body = Vec::new();
        agentworks_schemas::codec::encode_entry_body(&line.entry(), &mut body);
        block.push(line.offset, line.timestamp, &line.entry(), &body);
    }
    let (first, last) = block.offsets();
    let (table, workspace, owner) = (HOT.table(0), "acme".to_owned(), "card".to_owned());
    (BlockKey { table, workspace, owner, bucket: 7, partition: AT, epoch: 0, first, last }, block)
}

fn compressed(block: &BlockBuilder) -> Vec<u8> {
    block.compress(&mut block::Packer::new(3).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn entries_survive(lines in lines()) {
        let (key, block) = fill(&lines);
        let entries = block::entries(&key, &compressed(&block)).unwrap();
        prop_assert_eq!(entries, lines.iter().map(Line::stored).collect::<Vec<_>>());
        let stats = BlockStats::decode(&block.stats().encode()).unwrap();
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
        let stats = BlockStats::decode(&block.stats().encode()).unwrap();
        prop_assert_eq!(&stats, block.stats());
        let old = BlockStats { detail: None, ..stats.clone() };
        prop_assert_eq!(BlockStats::decode(&old.encode()), Some(old.clone()));
        let scope = Scope::Run { workspace: "acme".into(), run: format!("run-{run}"), card: "card".into() };
        let is_wanted = lines.iter().any(|line| scope.holds(&line.entry()) && filter.passes(&line.entry()));
        for stats in [stats, old] {
            prop_assert!(!is_wanted || (scope.may_be_in(&stats) && filter.may_pass(&stats)), "{filter:?} {stats:?}");
        }
    }

    #[test]
    fn a_flipped_bit_is_an_error(lines in lines(), at: prop::sample::Index, bit in 0..8u8) {
        let (key, block) = fill(&lines);
        let mut contents = compressed(&block);
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
    let contents = compressed(&block);
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
    let stats = block.stats();
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
fn memory_grows_with_what_is_held() {
    let entry = Line { offset: 0, card: "card".into(), run: "run".into(), timestamp: Timestamp(0), length: 0 }.entry();
    let mut block = BlockBuilder::new(0);
    for offset in 0..2_000 {
        block.push(offset, Timestamp(0), &entry, &[7; 100]);
        let (length, memory) = (block.len(), block.memory());
        // A piece more than it holds, and what didn't fit at the end of each.
        let most = if length < 16 << 10 { 2 * length + 250 } else { length * 51 / 50 + (17 << 10) };
        assert!(memory <= most, "{memory} for {length}");
    }
}
