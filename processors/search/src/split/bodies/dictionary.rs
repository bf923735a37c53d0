//! What bodies have in common, so that a block of few of them compresses as well as one of many.
//!
//! Some of the bodies themselves, laid out by field as those of a block are: a dictionary for each part of it. Before each
//! stands a byte of zero, so that zstd doesn't take it for a trained one. Training makes it no more than a twentieth better,
//! and takes as long as compressing.

use std::io;

use agentworks_processors::blocks::varint;
use zstd::dict::{DecoderDictionary, EncoderDictionary};

use super::super::rows::{Encoder, Layout, Parts};
use super::super::unpacked::unpack;

/// How many bytes of bodies there are in a dictionary at most.
const ROOM: usize = 112 << 10;
/// A dictionary has at most this share of what it is made of, or it would cost more than it saves.
const SHARE: usize = 32;
/// No part of a dictionary is longer.
const MAX: usize = 2 * ROOM;

/// The dictionaries of all parts, which have nothing in common if they are empty.
#[derive(Clone, Debug, Default)]
pub struct Dictionary {
    parts: Vec<Vec<u8>>,
}

impl Dictionary {
    /// A longer body isn't taken into a dictionary.
    pub(in crate::split) const LONGEST: usize = 4 << 10;

    /// For bodies that have `all` bytes together: every so manieth of some of them, which have `bytes`.
    pub fn of<'b>(bodies: impl Iterator<Item = &'b [u8]>, bytes: usize, all: usize) -> Self {
        let room = ROOM.min(all / SHARE);
        if room < 1024 {
            return Dictionary::default();
        }
        let (mut rows, mut ends, mut passed) = (Vec::with_capacity(room), Vec::new(), 0);
        for body in bodies {
            // As much of what was passed as of all of these.
            if rows.len() * bytes <= passed * room && rows.len() + body.len() <= room && body.len() <= Self::LONGEST {
                rows.extend_from_slice(body);
                ends.push(rows.len() as u32);
            }
            passed += body.len();
        }
        let mut made = Parts::default();
        Encoder::default().encode(&Layout::entry(), &rows, &ends, &mut made);
        let part = |part: Vec<u8>| [&[0], &part[..]].concat();
        Dictionary { parts: made.parts.into_iter().map(part).collect() }
    }

    /// How many bytes of memory it takes.
    pub(super) fn memory(&self) -> usize {
        self.parts.iter().map(Vec::len).sum()
    }

    /// For packing each of so many parts.
    pub(super) fn encoders(&self, parts: usize, level: i32) -> Vec<EncoderDictionary<'static>> {
        (0..parts).map(|part| EncoderDictionary::copy(self.parts.get(part).map_or(&[], Vec::as_slice), level)).collect()
    }

    /// As it stands in a file: each part after its length, a frame of zstd.
    ///
    /// # Errors
    /// If zstd has no memory.
    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        for part in &self.parts {
            let frame = zstd::bulk::compress(part, zstd::DEFAULT_COMPRESSION_LEVEL)?;
            varint::put(&mut out, frame.len() as u64);
            out.extend_from_slice(&frame);
        }
        Ok(out)
    }
}

/// For unpacking each of so many parts, what [`Dictionary::encode`] has written.
///
/// # Errors
/// If it is damaged.
pub(super) fn decoders(mut file: &[u8], parts: usize) -> io::Result<Vec<DecoderDictionary<'static>>> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the dictionary of bodies is damaged");
    let mut decoders = Vec::with_capacity(parts);
    while decoders.len() < parts && !file.is_empty() {
        let length = varint::take(&mut file).and_then(|length| usize::try_from(length).ok());
        let (frame, rest) = length.and_then(|length| file.split_at_checked(length)).ok_or_else(damaged)?;
        let mut part = Vec::new();
        unpack(frame, None, MAX, &mut part)?;
        // What began otherwise would be taken for a trained one.
        if part.first() != Some(&0) {
            return Err(damaged());
        }
        decoders.push(DecoderDictionary::copy(&part));
        file = rest;
    }
    if !file.is_empty() {
        return Err(damaged());
    }
    decoders.resize_with(parts, || DecoderDictionary::copy(&[]));
    Ok(decoders)
}
