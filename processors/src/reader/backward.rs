//! One partition's share of a scope, backward: its last entries before an offset.
//!
//! The offset before the one reached decides who gives the next part, as in [`super::partition`]. The tiers read backward
//! by themselves. The log can't, and is read forward in windows that grow as they yield too little. Beyond all tiers that
//! goes on as far as they are behind; elsewhere there is a budget, for a card may have fallen silent long ago.

use std::collections::VecDeque;

use agentworks_kafka::KafkaError;
use agentworks_schemas::TopicPartition;

use super::ReadError;
use super::merge::Piece;
use super::tiers::{LOG_BUDGET, Patience, Reading, Tier, broke_off};
use crate::blocks::StoredEntry;
use crate::lane::Held;

/// How many offsets the first window has. Each next one has four times as many.
const FIRST_WINDOW: i64 = 2_000;
/// The least and most entries that a tier is asked for at once.
const TIER_ENTRIES: (usize, usize) = (64, 1024);

/// What was found in one partition.
#[derive(Debug)]
pub(super) struct Found {
    /// In the order of offsets, without an end.
    pub(super) pieces: Vec<Piece>,
    /// Whether the search was ended by its budget, so that there may be more before.
    pub(super) is_cut: bool,
}

/// Searches a partition.
#[derive(Debug)]
pub(super) struct BackwardReader<'a> {
    reading: &'a Reading,
    partition: TopicPartition,
    epoch: u32,
    /// Nothing of the scope lies below.
    floor: i64,
    /// All from here on has been looked at.
    next: i64,
    count: usize,
    window: i64,
    budget: i64,
    found: VecDeque<Piece>,
    entries: usize,
}

impl<'a> BackwardReader<'a> {
    /// Searches `partition` from `before` down to `floor` for the last `count` entries.
    pub(super) fn new(
        reading: &'a Reading,
        partition: TopicPartition,
        epoch: u32,
        (floor, before): (i64, i64),
        count: usize,
    ) -> Self {
        let (found, entries) = (VecDeque::new(), 0);
        let (window, budget) = (FIRST_WINDOW, LOG_BUDGET);
        BackwardReader { reading, partition, epoch, floor, next: before, count, window, budget, found, entries }
    }

    /// Finds them.
    pub(super) async fn run(mut self) -> Result<Found, ReadError> {
        let mut patience = Patience::default();
        while self.next > self.floor && self.entries < self.count && self.budget > 0 {
            let before = self.next;
            if let Err(error) = self.step().await {
                patience.again(error, &self.reading.metrics).await?;
            }
            if self.next < before {
                patience.progressed();
            }
        }
        let is_cut = self.next > self.floor && self.entries < self.count;
        Ok(Found { pieces: self.found.into(), is_cut })
    }

    async fn step(&mut self) -> Result<(), ReadError> {
        let (mut limit, mut is_new) = (None, true);
        for tier in self.reading.tiers().into_iter().filter(|tier| *tier != Tier::Cold) {
            match self.reading.held(tier, self.partition, self.epoch).await? {
                Some(held) if held.low < self.next && self.next <= held.high => {
                    return self.stored(tier, &held, limit.unwrap_or(self.floor)).await;
                }
                // What a tier has is left to it.
                Some(held) if held.high < self.next => limit = limit.max(Some(held.high)),
                Some(_) => is_new = false,
                None => {}
            }
        }
        match limit {
            Some(high) if is_new => self.log(high, self.window).await,
            limit => {
                let window = self.window.min(self.budget);
                self.budget -= window;
                self.log(limit.unwrap_or(self.floor), window).await
            }
        }
    }

    /// Reads from a tier, but not below `limit`.
    async fn stored(&mut self, tier: Tier, held: &Held, limit: i64) -> Result<(), ReadError> {
        let from = held.low.max(self.floor).max(limit);
        let range = self.reading.range(self.partition, self.epoch, from, self.next);
        let limit = (self.count - self.entries).clamp(TIER_ENTRIES.0, TIER_ENTRIES.1);
        let entries = self.reading.tiers.backward(tier, held, &range, limit).await?;
        // Had `low` passed while the scan went on, blocks might have expired under it.
        let now = self.reading.held(tier, self.partition, self.epoch).await?;
        let low = now.map_or(self.next, |now| now.low);
        let reached = match entries.first() {
            Some(first) if entries.len() >= limit => first.position.offset,
            _ => from,
        };
        for entry in entries.into_iter().rev() {
            let offset = entry.position.offset;
            if (low.max(from)..self.next).contains(&offset) {
                self.next = offset;
                if self.reading.wants(&entry.entry, entry.position) {
                    self.reading.metrics.entries(tier).inc();
                    self.push_front(entry);
                }
            }
        }
        self.next = self.next.min(reached.max(low));
        Ok(())
    }

    /// Looks through a window of the log, which ends at `next` and does not reach below `limit`.
    async fn log(&mut self, limit: i64, window: i64) -> Result<(), ReadError> {
        let limit = limit.max(self.floor);
        let watermarks = self.reading.tiers.watermarks(self.partition).await?;
        if watermarks.low >= self.next {
            return self.cold(limit).await;
        }
        if self.next > watermarks.high {
            // A position beyond the end was given out when the topic was another.
            return Err(ReadError::Epoch);
        }
        let from = (self.next - window).max(limit).max(watermarks.low);
        match self.last_of(from).await {
            Ok(last) => {
                self.window = window.saturating_mul(4);
                self.next = from;
                self.reading.metrics.log.inc_by(last.len() as u64);
                last.into_iter().rev().for_each(|entry| self.push_front(entry));
                Ok(())
            }
            // It was cut just now: the next try sees its new start.
            Err(ReadError::Kafka(KafkaError::OutOfRange { low, .. })) if from < low => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The last of the wanted entries in `from..next` of the log, no more than are still missing.
    async fn last_of(&self, from: i64) -> Result<VecDeque<StoredEntry>, ReadError> {
        let missing = self.count - self.entries;
        let (mut last, mut reached) = (VecDeque::new(), from);
        let mut scan = self.reading.log(self.partition, self.epoch, from, self.next);
        while let Some(batch) = scan.next().await {
            let batch = batch?;
            if batch.epoch != self.epoch {
                return Err(ReadError::Epoch);
            }
            reached = batch.to;
            let records = batch.records().iter().filter(|record| (from..self.next).contains(&record.offset));
            for entry in records.filter_map(|record| self.reading.entry(record, self.partition, self.epoch)) {
                if last.len() == missing {
                    last.pop_front();
                }
                last.push_back(entry);
            }
        }
        if reached < self.next {
            return Err(broke_off(self.partition, reached));
        }
        Ok(last)
    }

    /// Neither the other tiers nor the log have what comes before `next`.
    async fn cold(&mut self, limit: i64) -> Result<(), ReadError> {
        let limit = match self.reading.held(Tier::Cold, self.partition, self.epoch).await? {
            Some(held) if held.low < self.next && self.next <= held.high => {
                return self.stored(Tier::Cold, &held, limit).await;
            }
            Some(held) if held.high < self.next => limit.max(held.high),
            _ => limit,
        };
        self.gap(limit);
        Ok(())
    }

    /// Nothing of `limit..next` is held any more.
    fn gap(&mut self, limit: i64) {
        if limit < self.next {
            self.reading.metrics.gaps.inc();
            self.found.push_front(Piece::Gap { from: limit, to: self.next });
        }
        self.next = limit;
    }

    fn push_front(&mut self, entry: StoredEntry) {
        if self.entries < self.count {
            self.entries += 1;
            self.found.push_front(Piece::Entry(Box::new(entry)));
        }
    }
}
