//! Records copied from a batch, until they are indexed.

use agentworks_kafka::{Batch, Content};
use agentworks_schemas::{Position, Timestamp, TopicPartition};
use bytes::Bytes;

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
    start: u32,
    end: u32,
}

impl Page {
    /// Copies the entries of a batch from an offset on.
    pub(crate) fn copy(batch: &Batch, from: i64) -> Self {
        let records = batch.records().iter().filter(|record| record.offset >= from);
        let (mut entries, mut bodies) = (Vec::with_capacity(batch.records().len()), Vec::new());
        bodies.reserve_exact(records.clone().map(|record| record.body.len()).sum());
        for record in records.filter(|record| matches!(record.content, Content::Entry(_))) {
            let start = bodies.len() as u32;
            bodies.extend_from_slice(&record.body);
            let end = bodies.len() as u32;
            entries.push(Taken { offset: record.offset, timestamp: record.timestamp, start, end });
        }
        Page { partition: batch.partition, epoch: batch.epoch, entries, bodies: bodies.into() }
    }

    /// The entries, by offset, each with its canonical body.
    pub fn entries(&self) -> impl Iterator<Item = (Taken, Bytes)> + '_ {
        self.entries.iter().map(|taken| (*taken, self.bodies.slice(taken.start as usize..taken.end as usize)))
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
