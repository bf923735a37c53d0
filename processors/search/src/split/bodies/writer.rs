//! Writing bodies.

use std::io::{self, Write};

use agentworks_processors::blocks::varint;
use tantivy::DocId;
use zstd::dict::EncoderDictionary;
use zstd::zstd_safe::{CCtx, compress_bound, get_error_name};

use super::super::rows::{Encoder, Layout, Parts};
use super::{Dictionary, MAGIC, Order};

/// How bodies are written.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// The level of zstd.
    pub level: i32,
    /// How many bytes of bodies are compressed together: each hit reads one such block.
    pub block: usize,
}

/// Writes bodies, one after the other.
pub struct BodiesWriter<W> {
    out: W,
    form: Form,
    layout: Layout,
    encoder: Encoder,
    context: CCtx<'static>,
    dictionary: Dictionary,
    prepared: Vec<EncoderDictionary<'static>>,
    /// The block in the making: its bodies, where each ends, and what becomes of them.
    rows: Vec<u8>,
    ends: Vec<u32>,
    parts: Parts,
    lengths: Vec<u8>,
    packed: Vec<u8>,
    docs: DocId,
    /// How many bytes are written.
    end: u64,
    index: Vec<u8>,
    blocks: u32,
}

impl<W: Write> BodiesWriter<W> {
    /// Writes to `out`.
    pub fn new(out: W, form: Form, dictionary: Dictionary) -> Self {
        let layout = Layout::entry();
        let prepared = dictionary.encoders(layout.parts(), form.level);
        BodiesWriter {
            out,
            form,
            layout,
            encoder: Encoder::default(),
            context: CCtx::create(),
            dictionary,
            prepared,
            rows: Vec::with_capacity(form.block * 2),
            ends: Vec::new(),
            parts: Parts::default(),
            lengths: Vec::new(),
            packed: Vec::new(),
            docs: 0,
            end: 0,
            index: Vec::new(),
            blocks: 0,
        }
    }

    /// How many bodies it was given.
    pub fn docs(&self) -> DocId {
        self.docs
    }

    /// How many bytes were written.
    pub fn written(&self) -> u64 {
        self.end
    }

    /// How many bytes of memory it takes, what is written not counted.
    pub fn memory(&self) -> usize {
        // The block is there as rows, in parts, and packed.
        self.context.sizeof() + self.dictionary.memory() * 3 + self.rows.capacity() * 3 + self.index.capacity()
    }

    /// Adds the next body.
    ///
    /// # Errors
    /// Of what it writes to.
    pub fn push(&mut self, body: &[u8]) -> io::Result<()> {
        self.rows.extend_from_slice(body);
        self.ends.push(u32::try_from(self.rows.len()).map_err(io::Error::other)?);
        self.docs += 1;
        if self.rows.len() >= self.form.block { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> io::Result<()> {
        self.encoder.encode(&self.layout, &self.rows, &self.ends, &mut self.parts);
        self.lengths.clear();
        self.packed.clear();
        for (part, dictionary) in self.parts.parts.iter().zip(&self.prepared) {
            let start = self.packed.len();
            self.packed.resize(start + compress_bound(part.len()), 0);
            let length = self.context.compress_using_cdict(&mut self.packed[start..], part, dictionary.as_cdict());
            let length = length.map_err(|code| io::Error::other(get_error_name(code)))?;
            self.packed.truncate(start + length);
            varint::put(&mut self.lengths, part.len() as u64);
            varint::put(&mut self.lengths, length as u64);
        }
        for bytes in [&self.lengths, &self.packed, &self.parts.plain] {
            self.out.write_all(bytes)?;
            self.end += bytes.len() as u64;
        }
        self.index.extend_from_slice(&self.docs.to_le_bytes());
        self.index.extend_from_slice(&(self.rows.len() as u32).to_le_bytes());
        self.index.extend_from_slice(&self.end.to_le_bytes());
        self.blocks += 1;
        self.rows.clear();
        self.ends.clear();
        Ok(())
    }

    /// Writes the rest, and returns what it was written to. `order` says whose bodies they are; by default they are those of
    /// documents in their order.
    ///
    /// # Errors
    /// Of what it writes to.
    pub fn finish(mut self, order: Order) -> io::Result<W> {
        if !self.ends.is_empty() {
            self.end_block()?;
        }
        let (dictionary, order) = (self.dictionary.encode()?, order.encode());
        let layout = self.layout.as_bytes();
        for part in [&dictionary[..], layout, &order, &self.index] {
            self.out.write_all(part)?;
        }
        for number in [self.blocks, order.len() as u32, layout.len() as u32, dictionary.len() as u32] {
            self.out.write_all(&number.to_le_bytes())?;
        }
        self.out.write_all(MAGIC)?;
        Ok(self.out)
    }
}
