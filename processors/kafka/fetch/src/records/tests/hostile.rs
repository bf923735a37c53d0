use std::io::Write;

use bytes::Bytes;

use super::build::{Batch, Codec, Random, Written, nullable, sample, seal, varint};
use super::{ALL, Full, Place, Reader, RecordsError, headers, outline, read, take};

/// The most that a thread keeps between readers, so that any test may find it there.
const KEPT: usize = 16 << 20;

/// The largest window of zstd, and what goes with it.
const WINDOW: usize = 130 << 20;

/// Reads what may be anything, some bytes at a time, and returns what went wrong. Nothing may grow beyond `most`.
fn survive(data: Bytes, most: usize) -> Option<RecordsError> {
    let mut reader = Reader::new(data, Vec::new(), 0);
    let (mut buffer, mut places) = (Vec::new(), Vec::new());
    loop {
        let filled = reader.fill(&mut buffer, &mut places, Full { records: 1000, bytes: 64 << 10 });
        assert!(buffer.capacity() <= most, "{}", buffer.capacity());
        assert!(reader.held() <= most + KEPT, "{}", reader.held());
        for place in places.drain(..) {
            read(&buffer, &place);
        }
        buffer.clear();
        match filled {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(error),
        }
    }
}

fn what(data: Vec<u8>) -> String {
    match survive(data.into(), 32 << 20) {
        Some(RecordsError::Corrupt { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn damage_is_noticed() {
    let before = Batch::new(0, sample(7, 3, 10)).build();
    let batch = Batch::new(3, sample(3, 10, 60)).codec(Codec::Lz4).build();
    // Its offset and leader's epoch are the broker's to set, so the checksum leaves them out; and its length.
    for at in 16..batch.len() {
        for bit in 0..8 {
            let mut damaged = batch.clone();
            damaged[at] ^= 1 << bit;
            let mut reader = Reader::new([before.clone(), damaged].concat().into(), Vec::new(), 0);
            let (taken, error) = take(&mut reader, ALL, true);
            assert_eq!(taken.len(), 3, "{at}");
            assert!(error.is_some(), "{at}");
            assert_eq!(reader.next(), 3);
        }
    }
    for at in 0..16 {
        for bit in 0..8 {
            let mut damaged = batch.clone();
            damaged[at] ^= 1 << bit;
            survive(damaged.clone().into(), 1 << 20);
            let _ = outline(&damaged);
        }
    }
}

#[test]
fn garbage_behind_a_right_checksum_is_survived() {
    for codec in Codec::ALL {
        let batch = Batch::new(0, sample(3, 6, 60)).codec(codec).build();
        for at in 0..batch.len() {
            for bit in 0..8 {
                let mut damaged = batch.clone();
                damaged[at] ^= 1 << bit;
                seal(&mut damaged);
                survive(damaged.into(), WINDOW);
            }
        }
        let mut random = Random(99);
        let batch = Batch::new(0, sample(3, 300, 500)).codec(codec).build();
        for _ in 0..200 {
            let mut damaged = batch.clone();
            for _ in 0..=random.below(4) {
                let at = 61 + random.below(batch.len() - 61);
                damaged[at] = random.below(256) as u8;
            }
            seal(&mut damaged);
            survive(damaged.into(), WINDOW);
        }
    }
}

#[test]
fn garbage_inside_of_what_was_compressed_is_survived() {
    let build = Batch::new(0, sample(5, 20, 30)).codec(Codec::Snappy);
    let body = build.body();
    for at in 0..body.len() {
        for value in [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, body[at] ^ 1, body[at] ^ 0x80] {
            let mut damaged = body.clone();
            damaged[at] = value;
            survive(build.around(&Codec::Snappy.compress(&damaged)).into(), 1 << 20);
        }
        for codec in [Codec::Plain, Codec::Zstd] {
            let build = build.clone().codec(codec);
            let error = what(build.around(&codec.compress(&body[..at])));
            assert!(error.contains("before it should"), "{error}");
        }
    }
}

#[test]
fn what_was_compressed_may_end_early() {
    for codec in Codec::ALL {
        let build = Batch::new(0, sample(5, 300, 300)).codec(codec);
        let whole = codec.compress(&build.body());
        for len in (0..whole.len().min(100)).chain((100..whole.len() - 10).step_by(997)) {
            what(build.around(&whole[..len]));
        }
    }
}

#[test]
fn a_batch_holds_what_it_says() {
    let good = Batch::new(5, sample(1, 3, 10));
    assert_eq!(survive(good.build().into(), 1 << 20), None);
    let with = |change: fn(&mut Batch)| {
        let mut batch = good.clone();
        change(&mut batch);
        what(batch.build())
    };
    assert!(with(|batch| batch.count = 2).contains("follows its last record"));
    assert!(with(|batch| batch.count = 0).contains("follows its last record"));
    assert!(with(|batch| batch.count = 4).contains("1 records before"));
    assert!(with(|batch| batch.count = i32::MAX).contains("records before"));
    assert!(with(|batch| batch.count = -1).contains("-1 records"));
    assert!(with(|batch| batch.last_delta = -1).contains("offsets"));
    assert!(with(|batch| batch.last_delta = 1).contains("offset 7"));
    assert!(with(|batch| batch.base = -1).contains("offsets"));
    assert!(with(|batch| batch.base = i64::MAX - 1).contains("offsets"));
    assert!(with(|batch| batch.deltas = vec![0, 1, 1]).contains("offset 6"));
    assert!(with(|batch| batch.deltas = vec![1, 0, 2]).contains("offset 5"));
    assert!(with(|batch| batch.deltas = vec![-1, 0, 2]).contains("offset 4"));

    // What comes before is handed over.
    let mut short = good.clone();
    short.count = 4;
    for full in [ALL, Full { records: 2, ..ALL }] {
        let mut reader = Reader::new(short.build().into(), Vec::new(), 0);
        let (taken, error) = take(&mut reader, full, true);
        assert!(taken == good.written() && error.is_some());
        assert_eq!(reader.next(), 8);
    }

    let twice = [good.build(), good.clone().at(7).build()].concat();
    assert!(what(twice).contains("ends at offset 7"));
    let mut short = good.build();
    short[8..12].copy_from_slice(&48_i32.to_be_bytes());
    assert!(what(short.clone()).contains("48 bytes"));
    assert!(outline(&short).is_err());
    short[8..12].copy_from_slice(&(-1_i32).to_be_bytes());
    assert!(what(short).contains("-1 bytes"));
    let mut newer = good.build();
    newer[16] = 3;
    assert!(what(newer).contains("v3"));
}

#[test]
fn lengths_may_claim_anything() {
    let batch = Batch::new(0, vec![Written::default()]);
    // Of a record.
    for claim in [i64::from(i32::MIN), -1, 0, 1, 5, (128 << 20) + 1, i64::from(i32::MAX)] {
        let mut body = Vec::new();
        varint(&mut body, claim);
        body.extend([0; 100]);
        what(batch.around(&body));
    }
    what(batch.around(&[0xff; 100]));
    what(batch.around(&[0xff; 4]));
    // Of what is in it.
    for claim in [i64::from(i32::MIN), -1, 0, 1, 60, 100, 1 << 20, i64::from(i32::MAX)] {
        for field in 0..6 {
            let mut record = vec![0, 0, 0];
            for at in 0..6 {
                // A key, a value, how many headers, a header's name, its value, one byte too many.
                varint(&mut record, if at == field { claim } else { i64::from(at == 2) });
            }
            let mut body = Vec::new();
            nullable(&mut body, Some(&record));
            survive(batch.around(&body).into(), 1 << 20);
        }
    }
    // A number of headers is no reason to reserve room for them.
    let mut bytes = Vec::new();
    varint(&mut bytes, i64::from(i32::MAX));
    bytes.extend([0, 0, 2, b'x', 1]);
    assert_eq!(headers(&bytes).len(), 2);
    assert_eq!(headers(&bytes).count(), 2);
    assert_eq!(headers(&[4, 9]).count(), 0);
    assert_eq!(headers(&[]).count(), 0);
}

#[test]
fn a_block_of_snappy_may_claim_anything() {
    let batch = Batch::new(0, sample(1, 1, 10)).codec(Codec::Snappy);
    let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, b'x'];
    assert!(what(batch.around(&claim)).contains("claims to have"));
    let mut claim = vec![0x80, 0x80, 0x80, 0x40];
    claim.extend([0; 100]);
    assert!(what(batch.around(&claim)).contains("claims to have"));
    let header = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
    for len in [-1, i32::MIN, i32::MAX, 8] {
        let body = [header.as_slice(), &len.to_be_bytes(), &[0; 7]].concat();
        assert!(what(batch.around(&body)).contains("beyond its end"));
    }
    what(batch.around(header));
}

/// So much of the beginning, and then zeroes.
fn bomb(head: &[u8], zeroes: usize) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(head).unwrap();
    for _ in 0..zeroes >> 20 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    encoder.finish().unwrap()
}

#[test]
fn a_record_larger_than_any_is_not_decompressed() {
    let batch = Batch::new(0, vec![Written::default()]).codec(Codec::Zstd);
    let mut head = Vec::new();
    varint(&mut head, 1 << 30);
    let data = batch.around(&bomb(&head, 1 << 30));
    assert!(data.len() < 200_000);
    assert_eq!(survive(data.into(), 2 << 20).unwrap().to_string().matches("1073741824 bytes").count(), 1);
    // A large one is, as far as it goes.
    let len = 20 << 20;
    let record = Written { value: Some(vec![7; len]), ..Written::default() };
    for codec in Codec::ALL {
        let batch = Batch::new(0, vec![record.clone()]).codec(codec);
        assert_eq!(survive(batch.build().into(), 3 * len), None);
    }
    // What follows the last record is no reason to decompress it.
    let small = Batch::new(0, sample(1, 3, 10)).codec(Codec::Zstd);
    let data = small.around(&bomb(&small.body(), 1 << 30));
    assert!(survive(data.into(), 2 << 20).unwrap().to_string().contains("follows its last record"));
}

#[test]
fn many_small_records_are_taken_a_piece_at_a_time() {
    // Repeats itself so that it compresses well: 1 GiB of it would do as well, but takes a while.
    let count = 2_000_000;
    let mut body = Vec::new();
    for n in 0..count {
        let mut record = vec![0, 0];
        varint(&mut record, n);
        record.extend([1, 80]);
        record.extend([0; 40]);
        record.push(0);
        nullable(&mut body, Some(&record));
    }
    let mut batch = Batch::new(0, Vec::new()).codec(Codec::Zstd);
    (batch.count, batch.last_delta) = (count as i32, count as i32 - 1);
    let data: Bytes = batch.around(&zstd::encode_all(body.as_slice(), 1).unwrap()).into();
    assert!(data.len() * 5 < body.len());
    drop(body);
    for next in [0, count - 5] {
        let mut reader = Reader::new(data.clone(), Vec::new(), next);
        let (mut buffer, mut places): (Vec<u8>, Vec<Place>) = Default::default();
        let mut seen = 0;
        while reader.fill(&mut buffer, &mut places, Full { records: 5000, bytes: 100_000 }).unwrap() {
            seen += places.len() as i64;
            places.clear();
            buffer.clear();
        }
        assert_eq!(seen + places.len() as i64, count - next);
        assert!(buffer.capacity() < 300_000, "{}", buffer.capacity());
        assert!(reader.held() < KEPT, "{}", reader.held());
    }
}
