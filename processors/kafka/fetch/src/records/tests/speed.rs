//! How fast batches are taken apart. For those who ask:
//! `cargo test --release -p agentworks-fetch records::tests::speed -- --ignored --nocapture`

use std::hint::black_box;
use std::io::Read;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lz4_flex::frame::FrameDecoder;

use super::build::{Batch, Codec, sample};
use super::{Full, Reader};

const FULL: Full = Full { records: 10_000, bytes: 1 << 20 };

/// Batches of so many records of about 500 bytes each: 5000 in all.
fn answer(codec: Codec, count: usize) -> Bytes {
    let batches = (0..5000 / count).map(|n| Batch::new((n * count) as i64, sample(n as u64, count, 430)));
    batches.flat_map(|batch| batch.codec(codec).build()).collect::<Vec<_>>().into()
}

fn per_record(mut once: impl FnMut() -> usize) -> f64 {
    let (begin, mut records) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_millis(300) {
        records += once();
    }
    begin.elapsed().as_nanos() as f64 / records as f64
}

#[test]
#[ignore = "it measures"]
fn nanoseconds_per_record() {
    for codec in Codec::ALL {
        for count in [10, 100, 1000] {
            let data = answer(codec, count);
            let (mut buffer, mut places) = (Vec::new(), Vec::new());
            let mut bytes = 0;
            let took = per_record(|| {
                let mut reader = Reader::new(data.clone(), Vec::new(), 0);
                bytes = 0;
                let mut records = 0;
                loop {
                    let left = reader.fill(&mut buffer, &mut places, FULL).unwrap();
                    bytes += black_box(&buffer).len();
                    records += places.len();
                    buffer.clear();
                    places.clear();
                    if !left {
                        return records;
                    }
                }
            });
            println!("{codec:?}, {count} a batch: {took:.0} ns a record of {} bytes", bytes / 5000);
        }
    }
    // What lz4_flex's own decoder takes for the decompression alone, to compare with.
    for codec in [Codec::Lz4, Codec::Lz4Linked, Codec::Lz4Large] {
        for count in [10, 100, 1000] {
            let compressed = codec.compress(&Batch::new(0, sample(1, count, 430)).body());
            let mut out = Vec::new();
            let took = per_record(|| {
                out.clear();
                FrameDecoder::new(compressed.as_slice()).read_to_end(&mut out).unwrap();
                black_box(&out);
                count
            });
            println!("FrameDecoder alone, {codec:?}, {count} a batch: {took:.0} ns a record");
        }
    }
}
