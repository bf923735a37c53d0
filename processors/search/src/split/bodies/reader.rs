//! Reading bodies.

use std::io;
use std::sync::Arc;

use agentworks_processors::blocks::varint;
use tantivy::DocId;
use tantivy::directory::OwnedBytes;
use zstd::dict::DecoderDictionary;

use super::super::rows::Decoder;
use super::super::unpacked::{Unpacked, keep, unpack, unpacked};
use super::{Block, Bodies};

/// Reads bodies; it keeps the last block unpacked.
pub struct BodiesReader<'b> {
    bodies: &'b Bodies,
    dictionaries: &'b [DecoderDictionary<'static>],
    /// Whether others are to find the blocks that it has unpacked.
    is_shared: bool,
    block: Option<(usize, Arc<Unpacked>)>,
    decoder: Decoder,
    parts: Vec<Vec<u8>>,
}

impl<'b> BodiesReader<'b> {
    pub(super) fn new(bodies: &'b Bodies, dictionaries: &'b [DecoderDictionary<'static>], is_shared: bool) -> Self {
        let parts = vec![Vec::new(); dictionaries.len()];
        BodiesReader { bodies, dictionaries, is_shared, block: None, decoder: Decoder::default(), parts }
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
        let (number, first) = self.bodies.find(place).ok_or_else(damaged)?;
        if self.block.as_ref().is_none_or(|(known, _)| *known != number) {
            let block = match unpacked(self.bodies.number, number) {
                Some(known) => known,
                None => self.unpack(number).map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?,
            };
            self.block = Some((number, block));
        }
        let (_, block) = self.block.as_ref().ok_or_else(damaged)?;
        let number = (place - first) as usize;
        let end = *block.ends.get(number).ok_or_else(damaged)? as usize;
        let start = number.checked_sub(1).map_or(0, |before| block.ends[before] as usize);
        Ok(&block.bytes[start..end])
    }

    fn unpack(&mut self, number: usize) -> Result<Arc<Unpacked>, String> {
        let Block { unpacked, end, .. } = self.bodies.block(number);
        let start = number.checked_sub(1).map_or(0, |before| self.bodies.block(before).end);
        let mut lengths = &self.bodies.blocks[start as usize..end as usize];
        let mut length = || varint::take(&mut lengths).and_then(|length| usize::try_from(length).ok());
        let all: Option<Vec<_>> = self.parts.iter().map(|_| Some((length()?, length()?))).collect();
        let damaged = || "a block of bodies is damaged".to_owned();
        let (all, mut rest) = (all.ok_or_else(damaged)?, lengths);
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
        let (mut rows, mut ends) = (Vec::with_capacity(unpacked), Vec::new());
        self.decoder.decode(&self.bodies.layout, &self.parts, rest, unpacked, &mut rows, &mut ends)?;
        let block = Arc::new(Unpacked { bytes: OwnedBytes::new(rows), ends });
        if self.is_shared {
            keep(self.bodies.number, number, block.clone());
        }
        Ok(block)
    }
}
