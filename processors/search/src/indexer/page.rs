//! Records copied from a batch, until they are indexed.

use std::sync::Arc;

use agentworks_kafka::{Batch, Content};
use agentworks_schemas::{Position, Timestamp, TopicPartition};
use bytes::Bytes;

use crate::split::group;

/// Entries of a batch: their canonical bodies, one after the other.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where they lie.
    pub partition: TopicPartition,
    /// Which making of the topic.
    pub epoch: u32,
    entries: Vec<Taken>,
    bodies: Bytes,
}

/// An entry in a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its offset.
    pub offset: i64,
    /// Its record timestamp.
    pub timestamp: Timestamp,
    /// What those that are to lie beside it have, too.
    group: u64,
    start: u32,
    end: u32,
}

/// How many entries are indexed together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk {
    /// So many,
    pub(crate) docs: usize,
    /// or those that take so many bytes.
    pub(crate) bytes: usize,
}

impl Chunk {
    /// Whether so many entries, of so many bytes, are enough.
    pub(crate) fn is_full(self, docs: usize, bytes: usize) -> bool {
        docs >= self.docs || bytes >= self.bytes
    }
}

impl Page {
    /// Copies the entries of a batch from an offset on.
    pub(crate) fn copy(batch: &Batch, from: i64) -> Self {
        let records = batch.records().iter().filter(|record| record.offset >= from);
        let (mut entries, mut bodies) = (Vec::with_capacity(batch.records().len()), Vec::new());
        bodies.reserve_exact(records.clone().map(|record| record.body.len()).sum());
        for record in records {
            let Content::Entry(entry) = &record.content else { continue };
            let start = bodies.len() as u32;
            bodies.extend_from_slice(&record.body);
            let end = bodies.len() as u32;
            let (offset, timestamp, group) = (record.offset, record.timestamp, group(&entry.card_id, &entry.run_id));
            entries.push(Taken { offset, timestamp, group, start, end });
        }
        Page { partition: batch.partition, epoch: batch.epoch, entries, bodies: bodies.into() }
    }

    /// The entries, by offset, each with its canonical body.
    pub fn entries(&self) -> impl Iterator<Item = (Taken, Bytes)> + '_ {
        self.entries.iter().map(|taken| (*taken, self.body(taken)))
    }

    fn body(&self, taken: &Taken) -> Bytes {
        self.bodies.slice(taken.start as usize..taken.end as usize)
    }

    /// The entries' bodies, by offset.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(|taken| &self.bodies[taken.start as usize..taken.end as usize])
    }

    /// How many entries there are in it.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entries of some pages, those of a run together, each with its canonical body.
    pub(crate) fn by_run<'p>(pages: &'p [Arc<Page>]) -> impl Iterator<Item = (Position, Taken, Bytes)> + 'p {
        let entries = pages.iter().flat_map(|page| page.entries.iter().map(move |taken| (page, taken)));
        let mut sorted: Vec<_> = entries.collect();
        // Stable: a run's entries keep their order.
        sorted.sort_by_key(|(_, taken)| taken.group);
        sorted.into_iter().map(|(page, taken)| (page.position(taken), *taken, page.body(taken)))
    }

    /// Where an entry of it lies.
    pub fn position(&self, taken: &Taken) -> Position {
        Position { partition: self.partition, epoch: self.epoch, offset: taken.offset }
    }

    /// Whether there are no entries in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How much memory it takes, in bytes.
    pub fn memory(&self) -> usize {
        self.bodies.len() + self.entries.capacity() * size_of::<Taken>() + size_of::<Page>()
    }
}
