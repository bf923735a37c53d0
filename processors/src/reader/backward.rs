//! One partition's share of a scope, backward: its last entries before an offset.
//!
//! The offset before the one reached decides who gives the next part, as in [`super::partition`]. The tiers read backward
//! by themselves. The log can't, and is read forward in windows that grow as they yield too little. Beyond all tiers that
//! goes on as far as they are behind; elsewhere there is a budget, for a card may have fallen silent long ago. Where a making
//! of its topic yields too few, those before it are searched, of which only the cold tier has something.

use std::collections::VecDeque;
use std::time::Instant;

use agentworks_kafka::KafkaError;
use agentworks_schemas::TopicPartition;

use super::ReadError;
use super::makings::{Chain, Span};
use super::merge::Piece;
use super::tiers::{LOG_BUDGET, Patience, Reading, Tier, broke_off};
use crate::blocks::{Last, StoredEntry, Weight};
use crate::lane::Held;

/// How many offsets the first window has. Each next one has four times as many.
const FIRST_WINDOW: i64 = 2_000;
/// The least and most entries that a tier is asked for at once; fewer where they are large.
const TIER_ENTRIES: (usize, usize) = (64, 1024);

/// What was found in one partition.
#[derive(Debug)]
pub(super) struct Found {
    /// In order, from some making of the chain on, up to the last; without an end.
    pub(super) pieces: Vec<Piece>,
    /// Whether the search was ended by its budget, its time, by how much was found or by a fault, so that there may be more
    /// before.
    pub(super) is_cut: bool,
    /// That of a cold tier that can't be reached.
    pub(super) fault: Option<ReadError>,
}

/// Searches a partition.
#[derive(Debug)]
pub(super) struct BackwardReader<'a> {
    reading: &'a Reading,
    partition: TopicPartition,
    epoch: u32,
    /// Whether this making is known to be over.
    is_over: bool,
    /// Those before it that haven't been searched.
    before: &'a [Span],
    /// Nothing of the scope lies below.
    floor: i64,
    /// All from here on has been looked at.
    next: i64,
    count: usize,
    /// The search ends when so many bytes of entries were found.
    room: usize,
    window: i64,
    budget: i64,
    /// When to be content with what was found.
    until: Option<Instant>,
    found: VecDeque<Piece>,
    entries: usize,
    weight: Weight,
    /// How many entries a tier is asked for at most, by how large they were.
    tier_entries: usize,
    fault: Option<ReadError>,
}

impl<'a> BackwardReader<'a> {
    /// Searches all of a chain in `partition`, from its end on, for the last `count` entries, or for as many as weigh `room`
    /// bytes, or are found `until` then.
    pub(super) fn new(
        reading: &'a Reading,
        partition: TopicPartition,
        chain: &'a Chain,
        (count, room): (usize, usize),
        until: Option<Instant>,
    ) -> Self {
        let Span { epoch, from: floor, to: next } = chain.last;
        let (found, entries, weight) = (VecDeque::new(), 0, Weight::default());
        let (window, budget, tier_entries) = (FIRST_WINDOW, LOG_BUDGET, TIER_ENTRIES.1);
        let (before, is_over) = (&*chain.before, chain.is_over);
        BackwardReader {
            reading,
            partition,
            epoch,
            is_over,
            before,
            floor,
            next,
            count,
            room,
            window,
            budget,
            until,
            found,
            entries,
            weight,
            tier_entries,
            fault: None,
        }
    }

    /// Finds them.
    pub(super) async fn run(mut self) -> Result<Found, ReadError> {
        self.search().await?;
        let last = self.epoch;
        while self.next <= self.floor
            && self.has_room()
            && let Some((span, before)) = self.before.split_last()
        {
            self.found.push_front(Piece::Making(self.epoch, self.next));
            (self.before, self.is_over) = (before, true);
            (self.epoch, self.floor, self.next) = (span.epoch, span.from, span.to);
            self.search().await?;
        }
        if self.epoch != last {
            self.found.push_front(Piece::Making(self.epoch, self.next));
        }
        let is_cut = self.entries < self.count && (self.next > self.floor || !self.before.is_empty());
        Ok(Found { pieces: self.found.into(), is_cut, fault: self.fault })
    }

    /// Searches a making.
    async fn search(&mut self) -> Result<(), ReadError> {
        let mut patience = Patience::default();
        // The budget is the log's: of what is over nothing lies there.
        while self.next > self.floor && self.has_room() && (self.is_over || self.budget > 0) {
            let before = self.next;
            if let Err(error) = self.step().await {
                match patience.again(error, &self.reading.metrics).await {
                    Err(error) if error.is_cold_away() => {
                        self.fault = Some(error);
                        return Ok(());
                    }
                    result => result?,
                }
            }
            if self.next < before {
                patience.progressed();
            }
        }
        Ok(())
    }

    /// Whether more is wanted.
    fn has_room(&self) -> bool {
        self.entries < self.count
            && self.weight.bytes() < self.room
            && self.until.is_none_or(|until| Instant::now() < until)
    }

    async fn step(&mut self) -> Result<(), ReadError> {
        if self.is_over {
            return self.cold(self.floor).await;
        }
        let read = self.present().await;
        self.is_over = self.reading.turned_over(self.partition, self.epoch, read).await?;
        Ok(())
    }

    /// Searches on in a making that isn't known to be over.
    async fn present(&mut self) -> Result<(), ReadError> {
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
            Some(high) if is_new => self.log(high, false).await,
            limit => self.log(limit.unwrap_or(self.floor), true).await,
        }
    }

    /// Reads from a tier, but not below `limit`.
    async fn stored(&mut self, tier: Tier, held: &Held, limit: i64) -> Result<(), ReadError> {
        let from = held.low.max(self.floor).max(limit);
        let range = self.reading.range(self.partition, self.epoch, from, self.next);
        let limit = (self.count - self.entries).clamp(TIER_ENTRIES.0, TIER_ENTRIES.1).min(self.tier_entries);
        let Last { entries, is_cut } = self.reading.tiers.backward(tier, held, &range, limit).await?;
        let weight: Weight = entries.iter().collect();
        self.tier_entries = weight.per_chunk().unwrap_or(self.tier_entries);
        // Had `low` passed while the scan went on, blocks might have expired under it.
        let now = self.reading.held(tier, self.partition, self.epoch).await?;
        let low = now.map_or(self.next, |now| now.low);
        let reached = match entries.first() {
            Some(first) if is_cut => first.position.offset,
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

    /// Looks through a window of the log, which ends at `next` and does not reach below `limit`. It may be as long as the
    /// budget allows, and costs as much of it; or else it costs nothing. Where the log has been cut, cold is asked.
    async fn log(&mut self, limit: i64, is_budgeted: bool) -> Result<(), ReadError> {
        let limit = limit.max(self.floor);
        if self.reading.tiers.present(self.partition).await? > self.epoch {
            return Err(ReadError::Epoch);
        }
        let watermarks = self.reading.tiers.watermarks(self.partition).await?;
        if watermarks.low >= self.next {
            return self.cold(limit).await;
        }
        if self.next > watermarks.high {
            // A position beyond the end was given out when the topic was another.
            return Err(ReadError::Epoch);
        }
        let mut window = self.window;
        if is_budgeted {
            window = window.min(self.budget);
            self.budget -= window;
        }
        let from = (self.next - window).max(limit).max(watermarks.low);
        match self.last_of(from).await {
            Ok((last, reached)) => {
                self.window = window.saturating_mul(4);
                self.next = reached;
                self.reading.metrics.log.inc_by(last.len() as u64);
                last.into_iter().rev().for_each(|entry| self.push_front(entry));
                Ok(())
            }
            // It was cut just now: the next try sees its new start.
            Err(ReadError::Kafka(KafkaError::OutOfRange { low, .. })) if from < low => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The last of the wanted entries in `from..next` of the log, no more than are still missing or than there is room for,
    /// and the offset from which on they are all.
    async fn last_of(&self, from: i64) -> Result<(VecDeque<StoredEntry>, i64), ReadError> {
        let (missing, room) = (self.count - self.entries, self.room - self.weight.bytes());
        let (mut last, mut reached, mut bytes, mut is_cut) = (VecDeque::<StoredEntry>::new(), from, 0, false);
        let mut scan = self.reading.log(self.partition, self.epoch, from, self.next);
        while let Some(batch) = scan.next().await {
            let batch = batch?;
            if batch.epoch != self.epoch {
                return Err(ReadError::Epoch);
            }
            reached = batch.to;
            let records = batch.records().iter().filter(|record| (from..self.next).contains(&record.offset));
            for entry in records.filter_map(|record| self.reading.entry(record, self.partition, self.epoch)) {
                bytes += entry.weight();
                last.push_back(entry);
                // What is left fills the room, or is as many as are missing.
                while let Some(first) = last.front().map(StoredEntry::weight)
                    && (last.len() > missing || bytes - first >= room)
                {
                    bytes -= first;
                    last.pop_front();
                    is_cut = true;
                }
            }
        }
        if reached < self.next {
            return Err(broke_off(self.partition, reached));
        }
        let reached = last.front().filter(|_| is_cut).map_or(from, |first| first.position.offset);
        Ok((last, reached))
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
        // Where nothing of the scope ever was, nothing is missing; what is searched of a making that is over may begin before.
        let from = match self.is_over {
            true => self.reading.tiers.floor(&self.reading.scope, self.partition, self.epoch).await?.max(limit),
            false => limit,
        };
        if from < self.next {
            self.reading.metrics.gaps.inc();
            self.found.push_front(Piece::Gap { from, to: self.next });
        }
        self.next = limit;
        Ok(())
    }

    fn push_front(&mut self, entry: StoredEntry) {
        if self.entries < self.count {
            self.entries += 1;
            self.weight.add(&entry);
            self.found.push_front(Piece::Entry(Box::new(entry)));
        }
    }
}
