//! One partition's share of a scope, forward.
//!
//! The offset that is next decides who gives it: the first of the scope's tiers with `low <= next < high`; else the log,
//! if it has it still; else the cold tier; else nobody, and the range up to the first offset that any has is a gap.
//! This is asked anew for every chunk, so that a `low` that passes, a log that is cut and a sink that catches up are
//! all noticed, and the tiers meet at exact offsets.
//!
//! It sends chunks of about [`CHUNK_BYTES`], of which up to four exist at a time: what a tier gave, what is being made of it,
//! what waits, and what is being merged.
//!
//! Makings of its topic that are over come before the last: of these only the cold tier has something, or nobody.

use std::mem::take;
use std::sync::Arc;

use agentworks_kafka::{Batch, KafkaError};
use agentworks_schemas::TopicPartition;
use tokio::sync::mpsc;

use super::ReadError;
use super::makings::{Chain, Span};
use super::merge::Piece;
use super::tiers::{Patience, Reading, Tier, broke_off};
use crate::blocks::{CHUNK_BYTES, StoredEntry, Weight};
use crate::lane::Held;
use crate::mutation::keeps_duplicates;

/// How many offsets of the log are asked for at once, before the tiers are asked again whether they have them by now.
const LOG_RANGE: i64 = 100_000;
/// How many entries a tier is asked for at first; after that as many as make a chunk.
const FIRST_ENTRIES: usize = 64;
/// And at most.
const MAX_ENTRIES: usize = 1024;

/// Who has what is next.
enum Holder {
    /// This tier, which is to be read up to here: where it ends, or where a better one begins.
    Tier(Tier, Held, i64),
    /// None of the tiers, up to here.
    Log(i64),
}

/// Reads a partition. It is dropped when nobody wants more.
#[derive(Debug)]
pub(super) struct PartitionReader {
    reading: Arc<Reading>,
    partition: TopicPartition,
    epoch: u32,
    /// Whether this making is known to be over.
    is_over: bool,
    /// All below has been read, and is in `chunk` or was sent.
    next: i64,
    to: i64,
    /// What a tier holds, if a look at it was taken just now.
    known: Option<(Tier, Option<Held>)>,
    tier_entries: usize,
    chunk: Vec<Piece>,
    chunk_bytes: usize,
    out: mpsc::Sender<Result<Vec<Piece>, ReadError>>,
}

impl PartitionReader {
    /// Reads `partition`, beginning with the span `first`, into `out`.
    pub(super) fn new(
        reading: Arc<Reading>,
        partition: TopicPartition,
        first: Span,
        out: mpsc::Sender<Result<Vec<Piece>, ReadError>>,
    ) -> Self {
        let Span { epoch, from: next, to } = first;
        let (chunk, chunk_bytes) = (Vec::new(), 0);
        let (known, tier_entries, is_over) = (None, FIRST_ENTRIES, false);
        PartitionReader { reading, partition, epoch, is_over, next, to, known, tier_entries, chunk, chunk_bytes, out }
    }

    /// Reads all of a chain, or up to the end of the log if that comes first. The last piece is the end, unless there was a
    /// fault.
    pub(super) async fn run(mut self, chain: Chain) {
        let before = chain.before.into_iter().map(|span| (span, true));
        for (span, is_over) in before.chain([(chain.last, chain.is_over)]) {
            if span.epoch != self.epoch {
                self.chunk.push(Piece::Making(span.epoch, span.from));
            }
            (self.epoch, self.next, self.to) = (span.epoch, span.from, span.to);
            (self.is_over, self.known) = (is_over, None);
            if let Err(error) = self.read().await {
                // Whoever has dropped the receiver doesn't want to know.
                let _ = self.out.send(Err(error)).await;
                return;
            }
        }
        self.chunk.push(Piece::End(self.next));
        self.flush().await;
    }

    /// Reads all of a making that is wanted.
    async fn read(&mut self) -> Result<(), ReadError> {
        let mut patience = Patience::default();
        while self.next < self.to {
            let before = self.next;
            let result = self.step().await;
            if self.next > before {
                patience.progressed();
            }
            let fault = match result {
                Ok(()) => None,
                Err(error) => patience.again(error, &self.reading.metrics).await.err(),
            };
            if (before + 1..self.to).contains(&self.next) {
                self.chunk.push(Piece::Nothing(self.next));
            }
            self.flush().await;
            if let Some(error) = fault {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<(), ReadError> {
        if self.is_over {
            return self.over().await;
        }
        let read = self.present().await;
        self.is_over = self.reading.turned_over(self.partition, self.epoch, read).await?;
        Ok(())
    }

    /// Reads on in a making that isn't known to be over.
    async fn present(&mut self) -> Result<(), ReadError> {
        match self.find(false).await? {
            Holder::Tier(tier, held, to) => self.stored(tier, held, to).await,
            Holder::Log(limit) => self.log(limit).await,
        }
    }

    /// Reads on in a making that is over.
    async fn over(&mut self) -> Result<(), ReadError> {
        let held = match self.known.take() {
            Some((Tier::Cold, held)) => held,
            _ => self.reading.held(Tier::Cold, self.partition, self.epoch).await?,
        };
        match held {
            Some(held) if held.low <= self.next && self.next < held.high => {
                let to = self.to.min(held.high);
                self.stored(Tier::Cold, held, to).await
            }
            Some(held) if self.next < held.low => self.missing(self.to.min(held.low)).await,
            _ => self.missing(self.to).await,
        }
    }

    /// Who has what is next. What the log may have isn't asked of a tier that may be far away: only as a last resort, and
    /// while it is being read.
    async fn find(&mut self, is_last_resort: bool) -> Result<Holder, ReadError> {
        // Used at once or never: it gets old.
        let (mut known, mut limit) = (self.known.take(), self.to);
        for tier in self.reading.tiers() {
            let held = match known.take_if(|(of, _)| *of == tier) {
                Some((_, held)) => held,
                None if tier == Tier::Cold && !is_last_resort => None,
                None => self.reading.held(tier, self.partition, self.epoch).await?,
            };
            match held {
                Some(held) if held.low <= self.next && self.next < held.high => {
                    let to = limit.min(held.high);
                    return Ok(Holder::Tier(tier, held, to));
                }
                Some(held) if self.next < held.low => limit = limit.min(held.low),
                _ => {}
            }
        }
        Ok(Holder::Log(limit))
    }

    /// Reads a chunk from a tier.
    async fn stored(&mut self, tier: Tier, held: Held, to: i64) -> Result<(), ReadError> {
        let from = self.next;
        let range = self.reading.range(self.partition, self.epoch, from, to);
        let entries = self.reading.tiers.forward(tier, &held, &range, self.tier_entries).await?;
        // Had `low` passed while the scan went on, blocks might have expired under it.
        let now = self.reading.held(tier, self.partition, self.epoch).await?;
        let is_whole = now.as_ref().is_some_and(|now| now.low <= self.next);
        self.known = Some((tier, now));
        if !is_whole {
            return Ok(());
        }
        let weight: Weight = entries.iter().collect();
        for entry in entries {
            let offset = entry.position.offset;
            // Blocks may overlap, and hold entries beyond the range.
            let next = if keeps_duplicates() { 0 } else { self.next };
            if (next..to).contains(&offset) {
                self.next = self.next.max(offset + 1);
                if self.reading.wants(&entry.entry, entry.position) {
                    self.reading.metrics.entries(tier).inc();
                    self.push(entry).await;
                }
            }
        }
        if let Some(entries) = weight.per_chunk() {
            self.tier_entries = entries.min(MAX_ENTRIES);
        }
        if self.next == from {
            // There were none.
            self.next = to;
        }
        Ok(())
    }

    /// Reads the log from `next` up to `limit`, or some of it.
    async fn log(&mut self, limit: i64) -> Result<(), ReadError> {
        if self.reading.tiers.present(self.partition).await? > self.epoch {
            return Err(ReadError::Epoch);
        }
        let until = self.to.min(limit).min(self.next.saturating_add(LOG_RANGE));
        let mut scan = self.reading.log(self.partition, self.epoch, self.next, until);
        while let Some(batch) = scan.next().await {
            match batch {
                Ok(batch) if batch.epoch != self.epoch => return Err(ReadError::Epoch),
                Ok(batch) => self.take_batch(&batch, until).await,
                Err(KafkaError::OutOfRange { low, .. }) if self.next < low => return self.gap(low).await,
                // A position beyond the end was given out when the topic was another.
                Err(KafkaError::OutOfRange { high, .. }) if self.next > high => return Err(ReadError::Epoch),
                Err(error) => return Err(error.into()),
            }
            self.flush().await;
        }
        if self.next < until {
            let watermarks = self.reading.tiers.watermarks(self.partition).await?;
            if self.next < watermarks.high {
                return Err(broke_off(self.partition, self.next));
            }
            self.to = self.next;
        }
        Ok(())
    }

    async fn take_batch(&mut self, batch: &Batch, until: i64) {
        let range = self.next..until;
        for record in batch.records().iter().filter(|record| range.contains(&record.offset)) {
            if let Some(entry) = self.reading.entry(record, self.partition, self.epoch) {
                self.reading.metrics.log.inc();
                self.push(entry).await;
            }
        }
        self.next = self.next.max(batch.to.min(until));
    }

    /// The log begins at `low`, and no tier had `next` a moment ago.
    async fn gap(&mut self, low: i64) -> Result<(), ReadError> {
        let to = match self.find(true).await? {
            Holder::Tier(tier, held, _) => {
                self.known = Some((tier, Some(held)));
                return Ok(());
            }
            Holder::Log(limit) => limit.min(low),
        };
        self.missing(to).await
    }

    /// Nobody has anything from `next` up to `to`.
    async fn missing(&mut self, to: i64) -> Result<(), ReadError> {
        // Where nothing of the scope ever was, nothing is missing.
        let floor = self.reading.tiers.floor(&self.reading.scope, self.partition, self.epoch).await?;
        let from = floor.max(self.next);
        if from < to {
            self.reading.metrics.gaps.inc();
            self.chunk.push(Piece::Gap { from, to });
        }
        self.next = to;
        Ok(())
    }

    async fn push(&mut self, entry: StoredEntry) {
        self.chunk_bytes += entry.weight();
        self.chunk.push(Piece::Entry(Box::new(entry)));
        if self.chunk_bytes >= CHUNK_BYTES {
            self.flush().await;
        }
    }

    async fn flush(&mut self) {
        if !self.chunk.is_empty() {
            self.chunk_bytes = 0;
            // Whoever has dropped the receiver will drop this too.
            let _ = self.out.send(Ok(take(&mut self.chunk))).await;
        }
    }
}
