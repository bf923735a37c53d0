//! What was read ahead and has yet to be shown, bounded in entries and bytes.

use std::collections::VecDeque;
use std::time::Duration;

use agentworks_processors::blocks::entry_weight;
use agentworks_processors::hot::StoredEntry;
use agentworks_processors::reader::Place;
use agentworks_schemas::{Cursor, TopicPartition};
use tokio::time::Instant;

/// With fewer entries than this, more are read.
const LOW: usize = 32;
/// How much there is at most: entries, and bytes or one entry more.
const MOST: (usize, usize) = (LOW + FEWEST as usize, 64 * 1024);
/// What an item takes beside its entry, about: most of it is the cursor.
const BESIDE: usize = 200;

/// How many entries are read at a time, at least and at most.
const FEWEST: u64 = 64;
const LARGEST: u64 = 8_192;
/// Windows that follow each other so soon grow.
const SOON: Duration = Duration::from_millis(500);
/// A large one that isn't read to its end so long after its first entry is given up, for a small one.
const HOLD: Duration = Duration::from_secs(3);

/// What comes next.
#[derive(Debug)]
pub(super) enum Item {
    /// An entry that the options let through.
    Entry(Box<Numbered>),
    /// A range that is held nowhere any more, and the place after it.
    Gap { partition: TopicPartition, range: (i64, i64), place: Place },
    /// The aim of a seek: the next entry has this ordinal.
    Seeked(u64),
    /// All that the run has yet was shown. Entries follow as they come.
    Live,
    /// The run is over, and all of it was read.
    End,
}

/// An entry, its ordinal, and the cursor just after it.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) entry: StoredEntry,
    pub(super) ordinal: u64,
    pub(super) cursor: Cursor,
}

/// Items in the order in which they are shown.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    items: VecDeque<Item>,
    bytes: usize,
}

impl Ahead {
    pub(super) fn push(&mut self, item: Item) {
        if let Item::Entry(entry) = &item {
            self.bytes += weight(&entry.entry);
        }
        self.items.push_back(item);
    }

    pub(super) fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        if let Item::Entry(entry) = &item {
            self.bytes -= weight(&entry.entry);
        }
        Some(item)
    }

    pub(super) fn front(&self) -> Option<&Item> {
        self.items.front()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    /// Whether more may be read.
    pub(super) fn has_room(&self) -> bool {
        self.items.len() < MOST.0 && self.bytes < MOST.1
    }

    /// Whether there is so little that a next window should be read.
    pub(super) fn is_low(&self) -> bool {
        self.items.len() <= LOW && self.bytes <= MOST.1 / 2
    }
}

/// About how much memory an entry takes.
fn weight(entry: &StoredEntry) -> usize {
    BESIDE + entry_weight(&entry.entry)
}

/// How many entries are read at a time, and since when.
#[derive(Debug)]
pub(super) struct Window {
    entries: u64,
    opened: Option<Instant>,
    /// When its first entry came.
    began: Option<Instant>,
}

impl Default for Window {
    fn default() -> Self {
        Window { entries: FEWEST, opened: None, began: None }
    }
}

impl Window {
    /// Opens the next window: how many entries it has.
    pub(super) fn open(&mut self, now: Instant) -> u64 {
        self.began = None;
        let last = self.opened.replace(now);
        if let Some(last) = last {
            self.entries = if now - last < SOON { LARGEST.min(2 * self.entries) } else { FEWEST };
        }
        self.entries
    }

    /// Takes an entry. Whether it has been read for too long: then the next one is small.
    pub(super) fn is_stale(&mut self, now: Instant) -> bool {
        self.entries > FEWEST && now - *self.began.get_or_insert(now) > HOLD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_grow_while_they_are_read_fast() {
        let (mut window, mut now) = (Window::default(), Instant::now());
        let mut open = |after: u64| {
            now += Duration::from_millis(after);
            window.open(now)
        };
        assert_eq!([open(0), open(10), open(400), open(10)], [64, 128, 256, 512]);
        assert_eq!([open(600), open(3000)], [64, 64]);
        assert_eq!((0..20).map(|_| open(1)).max(), Some(LARGEST));
        // What it waited for its first entry doesn't count.
        let first = now + 2 * HOLD;
        assert!(!window.is_stale(first) && !window.is_stale(first + HOLD) && window.is_stale(first + HOLD + SOON));
    }
}
