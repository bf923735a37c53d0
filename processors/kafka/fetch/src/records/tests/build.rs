//! Batches to read, as Kafka's clients write them.

use std::io::Write;

use bytes::BufMut;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

/// What a record holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Some records whose values have about this size, and can be compressed somewhat.
pub(super) fn sample(seed: u64, count: usize, size: usize) -> Vec<Written> {
    let mut random = Random(seed + 1);
    (0..count)
        .map(|n| {
            let len = size / 2 + random.below(size + 1);
            let value = std::iter::repeat_with(|| format!("{:x} and ", random.below(1 << 20)).into_bytes()).flatten();
            let value: Vec<u8> = value.take(len).collect();
            Written {
                key: (random.below(4) > 0).then(|| format!("key {n}").into_bytes()),
                value: (random.below(10) > 0).then_some(value),
                headers: (0..random.below(3))
                    .map(|h| (format!("header {h}"), (random.below(4) > 0).then(|| vec![h as u8; h * 40])))
                    .collect(),
            }
        })
        .collect()
}

/// Numbers that are the same each time (xorshift).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// How records are compressed, and in what shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Plain,
    Gzip,
    GzipOfTwoMembers,
    Snappy,
    Xerial,
    Lz4,
    Lz4Linked,
    Lz4Checked,
    Lz4Large,
    Zstd,
    ZstdOfTwoFrames,
    ZstdOfKnownSize,
}

impl Codec {
    pub(super) const ALL: [Codec; 12] = [
        Codec::Plain,
        Codec::Gzip,
        Codec::GzipOfTwoMembers,
        Codec::Snappy,
        Codec::Xerial,
        Codec::Lz4,
        Codec::Lz4Linked,
        Codec::Lz4Checked,
        Codec::Lz4Large,
        Codec::Zstd,
        Codec::ZstdOfTwoFrames,
        Codec::ZstdOfKnownSize,
    ];

    fn number(self) -> i16 {
        match self {
            Codec::Plain => 0,
            Codec::Gzip | Codec::GzipOfTwoMembers => 1,
            Codec::Snappy | Codec::Xerial => 2,
            Codec::Lz4 | Codec::Lz4Linked | Codec::Lz4Checked | Codec::Lz4Large => 3,
            Codec::Zstd | Codec::ZstdOfTwoFrames | Codec::ZstdOfKnownSize => 4,
        }
    }

    pub(super) fn compress(self, bytes: &[u8]) -> Vec<u8> {
        let (one, two) = bytes.split_at(bytes.len() / 3);
        match self {
            Codec::Plain => bytes.to_vec(),
            Codec::Gzip => gzip(bytes),
            Codec::GzipOfTwoMembers => [gzip(one), gzip(two)].concat(),
            Codec::Snappy => snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
            Codec::Xerial => {
                let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
                for chunk in bytes.chunks(32 << 10) {
                    let chunk = snap::raw::Encoder::new().compress_vec(chunk).unwrap();
                    out.put_i32(chunk.len() as i32);
                    out.extend(chunk);
                }
                out
            }
            Codec::Lz4 => lz4(FrameInfo::new().block_size(BlockSize::Max64KB), bytes),
            Codec::Lz4Linked => {
                lz4(FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Linked), bytes)
            }
            Codec::Lz4Checked => {
                let info = FrameInfo::new().block_size(BlockSize::Max256KB).block_checksums(true);
                lz4(info.content_checksum(true).content_size(Some(bytes.len() as u64)), bytes)
            }
            Codec::Lz4Large => lz4(FrameInfo::new().block_size(BlockSize::Max4MB), bytes),
            Codec::Zstd => zstd::encode_all(bytes, 3).unwrap(),
            Codec::ZstdOfTwoFrames => [zstd::encode_all(one, 3).unwrap(), zstd::encode_all(two, 19).unwrap()].concat(),
            Codec::ZstdOfKnownSize => zstd::bulk::compress(bytes, 3).unwrap(),
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lz4(info: FrameInfo, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A batch.
#[derive(Clone)]
pub(super) struct Batch {
    pub(super) base: i64,
    pub(super) last_delta: i32,
    pub(super) attributes: i16,
    pub(super) max_timestamp: i64,
    pub(super) producer_id: i64,
    pub(super) count: i32,
    pub(super) deltas: Vec<i32>,
    pub(super) records: Vec<Written>,
    codec: Codec,
}

const TIMESTAMP: i64 = 1_700_000_000_000;

impl Batch {
    pub(super) fn new(base: i64, records: Vec<Written>) -> Self {
        let count = records.len() as i32;
        Batch {
            base,
            last_delta: (count - 1).max(0),
            attributes: 0,
            max_timestamp: TIMESTAMP,
            producer_id: -1,
            count,
            deltas: (0..count).collect(),
            records,
            codec: Codec::Plain,
        }
    }

    pub(super) fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    pub(super) fn at(mut self, base: i64) -> Self {
        self.base = base;
        self
    }

    /// What is to be read of it.
    pub(super) fn written(&self) -> Vec<(i64, i64, Written)> {
        let offsets = self.deltas.iter().map(|&delta| self.base + i64::from(delta));
        let records = self.records.iter().enumerate();
        offsets.zip(records).map(|(offset, (n, record))| (offset, TIMESTAMP + ahead(n), record.clone())).collect()
    }

    /// Its records, one after another.
    pub(super) fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (n, (record, delta)) in self.records.iter().zip(&self.deltas).enumerate() {
            let mut bytes = vec![0];
            varint(&mut bytes, ahead(n));
            varint(&mut bytes, i64::from(*delta));
            nullable(&mut bytes, record.key.as_deref());
            nullable(&mut bytes, record.value.as_deref());
            varint(&mut bytes, record.headers.len() as i64);
            for (name, value) in &record.headers {
                nullable(&mut bytes, Some(name.as_bytes()));
                nullable(&mut bytes, value.as_deref());
            }
            nullable(&mut out, Some(&bytes));
        }
        out
    }

    pub(super) fn build(&self) -> Vec<u8> {
        self.around(&self.codec.compress(&self.body()))
    }

    /// It, with this for its records.
    pub(super) fn around(&self, records: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_i64(self.base);
        out.put_i32(49 + records.len() as i32);
        out.put_i32(3);
        out.put_i8(2);
        out.put_u32(0);
        out.put_i16(self.attributes | self.codec.number());
        out.put_i32(self.last_delta);
        out.put_i64(TIMESTAMP);
        out.put_i64(self.max_timestamp);
        out.put_i64(self.producer_id);
        out.put_i16(0);
        out.put_i32(-1);
        out.put_i32(self.count);
        out.extend(records);
        seal(&mut out);
        out
    }
}

/// Writes the checksum of what is there.
pub(super) fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// How long after the batch's a record's timestamp is.
fn ahead(n: usize) -> i64 {
    let n = n as i64;
    n * n * 9973 - n * 70_000
}

/// A length and bytes, or -1.
pub(super) fn nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    varint(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.extend(bytes.unwrap_or_default());
}

pub(super) fn varint(out: &mut Vec<u8>, value: i64) {
    let mut value = ((value << 1) ^ (value >> 63)) as u64;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
