//! Blocks as bytes.

use proptest::prelude::*;

use super::*;
use crate::hot::block::{self, BlockBuilder, BlockKey};

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let line = (1..1_000_000i64, -5_000..5_000_000_000i64, 0..300usize);
    prop::collection::vec(line, 1..50).prop_map(|lines| {
        let mut offset = 1 << 40;
        let line = |(delta, timestamp, length)| {
            offset += delta;
            Line { offset, card: "card".into(), timestamp: Timestamp(timestamp), length }
        };
        lines.into_iter().map(line).collect()
    })
}

fn fill(lines: &[Line]) -> (BlockKey, BlockBuilder) {
    let mut block = BlockBuilder::new(lines[0].offset);
    for line in lines {
        let mut body = Vec::new();
        agentworks_schemas::codec::encode_entry_body(&line.entry(), &mut body);
        block.push(line.offset, line.timestamp, line.entry().level, &body);
    }
    let (first, last) = block.offsets();
    let (workspace, card) = ("acme".to_owned(), "card".to_owned());
    (BlockKey { workspace, card, bucket: 7, partition: AT, epoch: 0, first, last }, block)
}

fn compressed(block: &BlockBuilder) -> Vec<u8> {
    block.compress(&mut block::compressor(3).unwrap()).unwrap()
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
            Err(error) => prop_assert!(error.to_string().contains("acme/card/7 agent-logs[0]/0@"), "{}", error),
        }
    }

    #[test]
    fn any_bytes_are_entries_or_an_error(bytes: Vec<u8>) {
        let (key, _) = fill(&[Line { offset: 7, card: "card".into(), timestamp: Timestamp(0), length: 0 }]);
        prop_assert!(block::entries(&key, &bytes).is_err());
        let _ = BlockStats::decode(&bytes);
    }
}

#[test]
fn a_block_is_not_taken_for_another() {
    let line = |offset| Line { offset, card: "card".into(), timestamp: Timestamp(0), length: 1 };
    let (key, block) = fill(&[line(5), line(6)]);
    let contents = compressed(&block);
    assert!(block::entries(&key, &contents).is_ok());
    for other in [BlockKey { last: 7, ..key.clone() }, BlockKey { first: 4, ..key.clone() }] {
        assert!(block::entries(&other, &contents).unwrap_err().to_string().contains("other offsets"));
    }
}

#[test]
fn a_few_bytes_do_not_ask_for_much() {
    let (key, _) = fill(&[Line { offset: 7, card: "card".into(), timestamp: Timestamp(0), length: 0 }]);
    let mut bomb = vec![1];
    bomb.extend(zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap());
    assert!(bomb.len() < 10_000);
    let error = block::entries(&key, &bomb).unwrap_err().to_string();
    assert!(error.contains("declares 67108864 bytes"), "{error}");
}
