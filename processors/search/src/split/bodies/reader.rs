//! Reading bodies.

use std::io;

use agentworks_processors::blocks::varint;
use tantivy::DocId;
use zstd::dict::DecoderDictionary;

use super::super::rows::Decoder;
use super::super::unpack::unpack;
use super::{Block, Bodies};

/// Reads bodies; it keeps the last block unpacked.
pub struct BodiesReader<'b> {
    bodies: &'b Bodies,
    dictionaries: &'b [DecoderDictionary<'static>],
    block: Option<usize>,
    decoder: Decoder,
    parts: Vec<Vec<u8>>,
    /// The bodies of the block, and where each ends.
    rows: Vec<u8>,
    ends: Vec<u32>,
}

impl<'b> BodiesReader<'b> {
    pub(super) fn new(bodies: &'b Bodies, dictionaries: &'b [DecoderDictionary<'static>]) -> Self {
        let (rows, ends, parts) = (Vec::new(), Vec::new(), vec![Vec::new(); dictionaries.len()]);
        BodiesReader { bodies, dictionaries, block: None, decoder: Decoder::default(), parts, rows, ends }
    }

    /// The body of a document.
    ///
    /// # Errors
    /// If there is no such document or its block is damaged.
    pub fn get(&mut self, doc: DocId) -> io::Result<&[u8]> {
        self.at(self.bodies.place(doc))
    }

    /// The body at a place among all; see [`Bodies::place`].
    ///
    /// # Errors
    /// As [`BodiesReader::get`].
    pub fn at(&mut self, place: u32) -> io::Result<&[u8]> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("there is no body {place}"));
        let (block, first) = self.bodies.find(place).ok_or_else(damaged)?;
        if self.block != Some(block) {
            self.block = None;
            self.unpack(block).map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?;
            self.block = Some(block);
        }
        let number = (place - first) as usize;
        let end = *self.ends.get(number).ok_or_else(damaged)? as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Ok(&self.rows[start..end])
    }

    fn unpack(&mut self, number: usize) -> Result<(), String> {
        let Block { unpacked, end, .. } = self.bodies.block(number);
        let start = number.checked_sub(1).map_or(0, |before| self.bodies.block(before).end);
        let mut rest = &self.bodies.blocks[start as usize..end as usize];
        let mut lengths = rest;
        let mut length = || varint::take(&mut lengths).and_then(|length| usize::try_from(length).ok());
        let all: Option<Vec<_>> = self.parts.iter().map(|_| Some((length()?, length()?))).collect();
        let damaged = || "a block of bodies is damaged".to_owned();
        let all = all.ok_or_else(damaged)?;
        rest = lengths;
        for (((room, length), dictionary), part) in all.into_iter().zip(self.dictionaries).zip(&mut self.parts) {
            let (frame, others) = rest.split_at_checked(length).ok_or_else(damaged)?;
            rest = others;
            part.clear();
            // Laid out by field they take about as much as they are.
            if room > unpacked.saturating_mul(4).saturating_add(1024) {
                return Err(damaged());
            }
            unpack(frame, Some(dictionary), room, part).map_err(|error| error.to_string())?;
        }
        let (rows, ends) = (&mut self.rows, &mut self.ends);
        Ok(self.decoder.decode(&self.bodies.layout, &self.parts, rest, unpacked, rows, ends)?)
    }
}
