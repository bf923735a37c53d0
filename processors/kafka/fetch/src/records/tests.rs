#![allow(clippy::unwrap_used)]

//! - here: what is read is what was written, however it is cut.
//! - [`build`]: batches to read.
//! - [`hostile`]: bytes that aren't what they claim to be.
//! - [`transactions`]: what isn't committed.
//! - [`speed`]: figures, for those who ask.

mod build;
mod hostile;
mod speed;
mod transactions;

use bytes::{Bytes, BytesMut};
use kafka_protocol::records as reference;

use self::build::{Batch, Codec, Written, sample};
use super::{Aborted, Full, Outline, Place, Reader, RecordsError, Span, headers, outline};

const ALL: Full = Full { records: usize::MAX, bytes: usize::MAX };

/// What lies at this place, with its offset and timestamp.
fn read(buffer: &[u8], place: &Place) -> (i64, i64, Written) {
    let part = |span: Span| span.of(buffer).to_vec();
    let bytes = part(place.headers);
    let found = headers(&bytes);
    let count = found.len();
    let headers: Vec<_> = found.map(|(name, value)| (name.into_owned(), value.map(<[u8]>::to_vec))).collect();
    assert_eq!(count, headers.len());
    (place.offset, place.timestamp, Written { key: place.key.map(part), value: place.value.map(part), headers })
}

/// Reads until nothing is left or it fails, into a new buffer for each call, or one for all.
fn take(reader: &mut Reader, full: Full, anew: bool) -> (Vec<(i64, i64, Written)>, Option<RecordsError>) {
    let (mut buffer, mut places, mut taken) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let filled = reader.fill(&mut buffer, &mut places, full);
        assert!(places.len() <= full.records);
        if anew || !matches!(filled, Ok(true)) {
            taken.extend(places.drain(..).map(|place| read(&buffer, &place)));
            buffer.clear();
        }
        match filled {
            Ok(true) => {}
            Ok(false) => return (taken, None),
            Err(error) => return (taken, Some(error)),
        }
    }
}

fn take_all(data: &[u8], next: i64, full: Full) -> Vec<(i64, i64, Written)> {
    let mut reader = Reader::new(Bytes::copy_from_slice(data), Vec::new(), next);
    let (taken, error) = take(&mut reader, full, true);
    assert_eq!(error, None);
    taken
}

fn offsets(taken: &[(i64, i64, Written)]) -> Vec<i64> {
    taken.iter().map(|(offset, ..)| *offset).collect()
}

/// Batches of each codec, one after another, and what is in them.
fn log(codec: Codec) -> (Vec<u8>, Vec<(i64, i64, Written)>) {
    let (mut data, mut written) = (Vec::new(), Vec::new());
    let mut base = 100;
    for (count, size) in [(1, 0), (7, 10), (400, 500), (3, 70_000), (200, 30)] {
        let batch = Batch::new(base, sample(base as u64, count, size)).codec(codec);
        base += count as i64;
        data.extend(batch.build());
        written.extend(batch.written());
    }
    (data, written)
}

#[test]
fn every_codec_is_read_however_it_is_cut() {
    for codec in Codec::ALL {
        let (data, written) = log(codec);
        let cuts = [
            ALL,
            Full { records: 1, ..ALL },
            Full { records: 50, ..ALL },
            Full { bytes: 1, ..ALL },
            Full { bytes: 5000, ..ALL },
            Full { bytes: 100_000, ..ALL },
        ];
        for full in cuts {
            assert!(take_all(&data, 100, full) == written, "{codec:?}, {full:?}");
        }
    }
}

#[test]
fn what_was_there_before_counts_and_stays() {
    let (data, written) = log(Codec::Zstd);
    let mut reader = Reader::new(data.into(), Vec::new(), 100);
    let (mut buffer, mut places) = (b"before".to_vec(), Vec::new());
    for records in [0, 10, 10, 300, 450] {
        assert!(reader.fill(&mut buffer, &mut places, Full { records, ..ALL }).unwrap());
        assert_eq!(places.len(), records);
        assert_eq!(reader.next(), 100 + records as i64);
    }
    let bytes = buffer.len();
    assert!(reader.fill(&mut buffer, &mut places, Full { bytes, ..ALL }).unwrap());
    assert_eq!((places.len(), buffer.len()), (450, bytes));
    assert!(!reader.fill(&mut buffer, &mut places, ALL).unwrap());
    assert!(!reader.fill(&mut buffer, &mut places, ALL).unwrap());
    assert!(buffer.starts_with(b"before"));
    assert!(places.iter().map(|place| read(&buffer, place)).eq(written));
    assert_eq!(reader.next(), 711);
}

#[test]
fn it_agrees_with_another_implementation() {
    let records: Vec<_> = (0..50)
        .map(|n: i64| reference::Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 7,
            producer_id: reference::NO_PRODUCER_ID,
            producer_epoch: reference::NO_PRODUCER_EPOCH,
            timestamp_type: reference::TimestampType::Creation,
            offset: 1000 + n,
            sequence: reference::NO_SEQUENCE,
            timestamp: 1_700_000_000_000 + n * n * 977 - n,
            key: (n % 3 > 0).then(|| format!("key {n}").into()),
            value: (n % 5 > 0).then(|| vec![n as u8; n as usize * 20].into()),
            headers: (0..n % 4)
                .map(|h| (format!("name {h}").into(), (h > 0).then(|| vec![7; h as usize].into())))
                .collect(),
        })
        .collect();
    let options = reference::RecordEncodeOptions { version: 2, compression: reference::Compression::None };
    let mut data = BytesMut::new();
    reference::RecordBatchEncoder::encode(&mut data, &records, &options).unwrap();
    let taken = take_all(&data, 0, ALL);
    assert_eq!(taken.len(), records.len());
    for ((offset, timestamp, taken), record) in taken.into_iter().zip(records) {
        assert_eq!((offset, timestamp), (record.offset, record.timestamp));
        assert_eq!((taken.key, taken.value), (record.key.map(|b| b.to_vec()), record.value.map(|b| b.to_vec())));
        let headers: Vec<_> =
            record.headers.into_iter().map(|(name, value)| (name.to_string(), value.map(|b| b.to_vec()))).collect();
        assert_eq!(taken.headers, headers);
    }
    let whole = data.len();
    assert_eq!(outline(&data).unwrap(), Some(Outline { whole, next: 1050, leader_epoch: 7 }));
}

#[test]
fn a_fetch_may_begin_in_the_middle_of_a_batch() {
    for codec in Codec::ALL {
        let (data, written) = log(codec);
        for next in [0, 101, 105, 108, 300, 507, 509, 510, 511, 710, 711, 5000] {
            let expected: Vec<_> = written.iter().filter(|(offset, ..)| *offset >= next).cloned().collect();
            assert!(take_all(&data, next, Full { bytes: 3000, ..ALL }) == expected, "{codec:?}, {next}");
        }
    }
    // What is passed over isn't kept.
    let batch = Batch::new(0, sample(1, 2000, 500)).codec(Codec::Lz4);
    let mut reader = Reader::new(batch.build().into(), Vec::new(), 1990);
    let (mut buffer, mut places) = (Vec::new(), Vec::new());
    assert!(!reader.fill(&mut buffer, &mut places, ALL).unwrap());
    assert_eq!(places.len(), 10);
    assert!(buffer.len() < 40_000, "{}", buffer.len());
}

#[test]
fn a_batch_that_was_cut_is_left() {
    let (data, written) = log(Codec::Snappy);
    let first = outline(&data).unwrap().unwrap();
    assert_eq!(first, Outline { whole: data.len(), next: 711, leader_epoch: 3 });
    let last = Batch::new(711, sample(9, 20, 100)).build();
    for cut in (0..last.len()).step_by(13).chain([11, 12, 16, 17, 60, 61, last.len() - 1]) {
        let longer = [&data, &last[..cut]].concat();
        assert_eq!(outline(&longer).unwrap(), Some(first));
        assert_eq!(outline(&last[..cut]).unwrap(), None);
        let mut reader = Reader::new(longer.into(), Vec::new(), 100);
        let (taken, error) = take(&mut reader, ALL, true);
        assert!(taken == written && error.is_none());
        assert_eq!(reader.next(), 711);
    }
    assert_eq!(outline(&[]).unwrap(), None);
    assert!(take_all(&[], 5, ALL).is_empty());
}

#[test]
fn compaction_leaves_gaps() {
    let mut gaps = Batch::new(10, sample(1, 10, 10));
    gaps.deltas = vec![2, 3, 7, 8, 20, 21, 22, 30, 31, 32];
    gaps.last_delta = 40;
    let mut empty = Batch::new(60, Vec::new());
    empty.last_delta = 9;
    let data = [gaps.build(), empty.build(), Batch::new(90, sample(1, 2, 2)).build(), empty.at(100).build()].concat();
    assert_eq!(outline(&data).unwrap().unwrap().next, 110);
    let mut reader = Reader::new(data.into(), Vec::new(), 0);
    let (mut buffer, mut places, mut nexts) = (Vec::new(), Vec::new(), Vec::new());
    for records in 1.. {
        if !reader.fill(&mut buffer, &mut places, Full { records, ..ALL }).unwrap() {
            break;
        }
        nexts.push(reader.next());
    }
    let offsets: Vec<_> = places.iter().map(|place| place.offset).collect();
    assert_eq!(offsets, [12, 13, 17, 18, 30, 31, 32, 40, 41, 42, 90, 91]);
    // After a batch's last record, what it says to be its end.
    assert_eq!(nexts, [13, 14, 18, 19, 31, 32, 33, 41, 42, 51, 91, 92]);
    assert_eq!(reader.next(), 110);
}

#[test]
fn timestamps_are_the_producers_or_the_brokers() {
    let mut batch = Batch::new(0, sample(1, 3, 3));
    batch.max_timestamp = 1_800_000_000_000;
    let producers: Vec<_> = batch.written().iter().map(|(_, timestamp, _)| *timestamp).collect();
    assert_eq!(producers.len(), 3);
    assert!(take_all(&batch.build(), 0, ALL).iter().map(|(_, timestamp, _)| *timestamp).eq(producers));
    batch.attributes |= 0x08;
    for (_, timestamp, _) in take_all(&batch.build(), 0, ALL) {
        assert_eq!(timestamp, 1_800_000_000_000);
    }
}

#[test]
fn old_formats_and_unknown_codecs_are_named() {
    let good = Batch::new(5, sample(1, 2, 2)).build();
    let mut old = Batch::new(7, sample(1, 2, 2)).build();
    old[16] = 1;
    let data = [good.clone(), old.clone()].concat();
    assert_eq!(outline(&old), Err(RecordsError::OldFormat { offset: 7, magic: 1 }));
    assert_eq!(outline(&data).unwrap().unwrap().whole, good.len());
    let mut reader = Reader::new(data.into(), Vec::new(), 0);
    let (taken, error) = take(&mut reader, Full { records: 1, ..ALL }, true);
    assert_eq!(offsets(&taken), [5, 6]);
    assert_eq!(error, Some(RecordsError::OldFormat { offset: 7, magic: 1 }));
    assert!(error.unwrap().to_string().contains("offset 7"));
    assert_eq!(reader.next(), 7);
    // It stays so.
    let again = reader.fill(&mut Vec::new(), &mut Vec::new(), ALL);
    assert_eq!(again, Err(RecordsError::OldFormat { offset: 7, magic: 1 }));

    let mut unknown = Batch::new(9, sample(1, 2, 2));
    unknown.attributes |= 5;
    let mut reader = Reader::new(unknown.build().into(), Vec::new(), 0);
    assert_eq!(take(&mut reader, ALL, true).1, Some(RecordsError::Codec { offset: 9, codec: 5 }));
}

#[test]
fn readers_go_to_other_threads() {
    fn sent<T: Send + 'static>(_: &T) {}
    sent(&Reader::new(Bytes::new(), vec![Aborted { producer_id: 1, first_offset: 2 }], 0));
}
