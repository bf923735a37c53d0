use super::build::{Batch, Codec, Written, sample};
use super::{ALL, Aborted, Full, Reader, offsets, take};

const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// Five records of a producer, of a transaction.
fn of(producer_id: i64, base: i64) -> Vec<u8> {
    let mut batch = Batch::new(base, sample(base as u64, 5, 100)).codec(Codec::Lz4);
    batch.attributes |= TRANSACTIONAL;
    batch.producer_id = producer_id;
    batch.build()
}

/// A marker that ends its transaction: of type 0 to abort it, 1 to commit.
fn marker(producer_id: i64, base: i64, key: &[u8]) -> Vec<u8> {
    let record = Written { key: Some(key.to_vec()), value: Some(vec![0; 6]), headers: Vec::new() };
    let mut batch = Batch::new(base, vec![record]);
    batch.attributes |= TRANSACTIONAL | CONTROL;
    batch.producer_id = producer_id;
    batch.build()
}

const ABORT: &[u8] = &[0, 0, 0, 0];
const COMMIT: &[u8] = &[0, 0, 0, 1];

fn aborted(list: &[(i64, i64)]) -> Vec<Aborted> {
    list.iter().map(|&(producer_id, first_offset)| Aborted { producer_id, first_offset }).collect()
}

#[test]
fn only_what_is_committed_is_there() {
    let log = [
        of(1, 0),
        of(2, 5),
        of(1, 10),
        marker(1, 15, ABORT),
        of(2, 16),
        // The next transaction of a producer whose last one was aborted.
        of(1, 21),
        marker(2, 26, COMMIT),
        of(2, 27),
        marker(1, 32, COMMIT),
        of(3, 33),
        marker(2, 38, ABORT),
        // Outside of any transaction, by a producer who has aborted one.
        Batch::new(39, sample(1, 2, 10)).build(),
        marker(3, 41, ABORT),
        of(3, 42),
        marker(3, 47, COMMIT),
    ]
    .concat();
    // In no order.
    let list = [(3, 33), (1, 0), (2, 27)];
    let expected: Vec<i64> = (5..10).chain(16..26).chain(39..41).chain(42..47).collect();
    for full in [ALL, Full { records: 1, ..ALL }, Full { bytes: 300, ..ALL }] {
        let mut reader = Reader::new(log.clone().into(), aborted(&list), 0);
        let (taken, error) = take(&mut reader, full, true);
        assert_eq!(error, None);
        assert_eq!(offsets(&taken), expected);
        assert_eq!(reader.next(), 48);
    }
    // From the middle, where the broker lists what overlaps.
    let mut reader = Reader::new(log.into(), aborted(&list), 12);
    let (taken, _) = take(&mut reader, ALL, true);
    assert_eq!(offsets(&taken), expected[5..]);
}

#[test]
fn a_producer_may_abort_again_and_again() {
    let log =
        [of(1, 0), marker(1, 5, ABORT), of(1, 6), marker(1, 11, ABORT), of(1, 12), marker(1, 17, COMMIT)].concat();
    let mut reader = Reader::new(log.into(), aborted(&[(1, 0), (1, 6)]), 0);
    let (taken, error) = take(&mut reader, ALL, true);
    assert_eq!(error, None);
    assert_eq!(offsets(&taken), [12, 13, 14, 15, 16]);
}

#[test]
fn records_of_the_broker_are_never_handed_over() {
    let mut elsewhere = Batch::new(5, sample(1, 1, 1));
    elsewhere.attributes |= CONTROL;
    let mut empty = Batch::new(6, Vec::new());
    empty.attributes |= CONTROL | TRANSACTIONAL;
    empty.producer_id = 1;
    // A marker may be compressed, though no broker does so.
    let record = Written { key: Some(ABORT.to_vec()), ..Written::default() };
    let mut compressed = Batch::new(7, vec![record]).codec(Codec::Zstd);
    compressed.attributes |= CONTROL | TRANSACTIONAL;
    compressed.producer_id = 1;
    let log = [of(1, 0), elsewhere.build(), empty.build(), compressed.build(), of(1, 8)].concat();
    let mut reader = Reader::new(log.into(), aborted(&[(1, 0)]), 0);
    let (taken, error) = take(&mut reader, ALL, true);
    assert_eq!(error, None);
    assert_eq!(offsets(&taken), [8, 9, 10, 11, 12]);
    assert_eq!(reader.next(), 13);
}

#[test]
fn a_marker_without_a_type_is_an_error() {
    let log = [of(1, 0), marker(1, 5, &[0, 0, 0]), of(1, 6)].concat();
    let mut reader = Reader::new(log.into(), aborted(&[(1, 0)]), 0);
    let (taken, error) = take(&mut reader, ALL, true);
    assert!(taken.is_empty());
    assert!(error.unwrap().to_string().contains("offset 5"));
    assert_eq!(reader.next(), 5);
}
