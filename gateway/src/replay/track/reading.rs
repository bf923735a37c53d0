//! Reading windows, and passing over what isn't shown.

use agentworks_processors::hot::StoredEntry;
use agentworks_processors::reader::{Place, ReadItem};
use agentworks_schemas::{Cursor, TopicPartition};
use tokio::time::Instant;

use super::{State, Then, Track};
use crate::hub::raise;
use crate::replay::ahead::{Item, Numbered};
use crate::replay::seek::At;

/// After so many entries in a row that are not shown, the tiers are asked where the next one is that is.
const MISSES: u64 = 2_000;

impl Track {
    /// The partition that is read, if it is one only.
    fn only_partition(&self) -> Option<(TopicPartition, u32, i64)> {
        let mut ends = self.look.end.iter();
        ends.next().filter(|_| ends.next().is_none())
    }

    pub(super) fn open_window(&mut self) {
        let (mut to, mut left) = (self.look.end.clone(), self.window.open(Instant::now()));
        if let Some(At::Ordinal(ordinal)) = self.aim.map(|aim| aim.at) {
            left = left.saturating_add(ordinal.saturating_sub(self.place.ordinal));
        }
        // Several partitions have their order only if all are read to the end; so of these the reading is broken off, and in
        // a making of a topic that is over, too.
        if let Some((partition, epoch, end)) = self.only_partition()
            && let Some((own, next)) = self.place.cursor.get(partition)
            && own == epoch
        {
            let offsets = (left as f64 * self.run.offsets_per_entry(partition)).ceil() as i64;
            to.set(partition, epoch, end.min(next.saturating_add(offsets)));
            left = u64::MAX;
        }
        let (scope, filter) = (self.run.scope(), self.read.clone());
        let stream = self.reader.read(scope, filter, self.place.cursor.clone(), to.clone());
        self.state = State::Reading { stream, to, left };
    }

    /// Takes what a window holds next; `None` is its end.
    pub(super) fn take(&mut self, item: Option<ReadItem>) {
        match item {
            Some(ReadItem::Entry { entry, cursor }) => {
                let ordinal = self.place.ordinal;
                self.place = Place { cursor, ordinal: ordinal + 1 };
                self.total = self.total.max(ordinal + 1);
                (self.last, self.vain) = (entry.timestamp, 0);
                self.number(entry, ordinal);
                self.close_window();
            }
            Some(ReadItem::Gap { partition, from, to, cursor }) => {
                // A seek may lead over it.
                let then = if self.aim.is_some() { Then::Read } else { Then::Gap(partition, from, to) };
                self.count(cursor, then);
            }
            None => {
                if let State::Reading { to, .. } = &self.state {
                    raise(&mut self.place.cursor, to);
                }
                self.state = State::Ready;
            }
        }
    }

    pub(super) fn number(&mut self, entry: Box<StoredEntry>, ordinal: u64) {
        if let Some(aim) = self.aim {
            if aim.is_beyond(ordinal, &entry.entry) {
                return;
            }
            self.aim = None;
            if aim.is_asked {
                self.ahead.push(Item::Seeked(ordinal));
            }
        }
        if self.show.passes(&entry.entry) {
            self.misses = 0;
            let cursor = self.place.cursor.clone();
            self.ahead.push(Item::Entry(Box::new(Numbered { entry: *entry, ordinal, cursor })));
        } else {
            self.misses += 1;
        }
    }

    /// Leaves a window before its end, if enough of it was read, or nothing that is shown.
    fn close_window(&mut self) {
        let State::Reading { left, .. } = &mut self.state else { return };
        *left -= 1;
        if *left == 0 {
            self.state = State::Ready;
        } else if self.misses >= MISSES && self.only_partition().is_some() {
            let (scope, end) = (self.run.scope(), self.look.end.clone());
            let stream = self.reader.read(scope, self.show.clone(), self.place.cursor.clone(), end);
            self.state = State::Hunting(stream);
        } else if self.window.is_stale(Instant::now()) && self.aim.is_none() {
            self.state = State::Ready;
        }
    }

    /// Takes the next entry that is shown, many having been passed over; `None` if there is none up to the end.
    pub(super) fn caught(&mut self, item: Option<ReadItem>) {
        self.misses = 0;
        match item {
            Some(ReadItem::Entry { entry, cursor }) => self.count(cursor, Then::Show(entry)),
            Some(ReadItem::Gap { partition, from, to, cursor }) => self.count(cursor, Then::Gap(partition, from, to)),
            // What was passed over says whether the run goes on, as what is read does.
            None => {
                let found = self.finder().passed(self.look.end.clone());
                self.finding(Then::Read, found);
            }
        }
    }

    /// Goes on at a cursor, when it is known how many entries lie before it.
    fn count(&mut self, cursor: Cursor, then: Then) {
        let found = self.finder().count(cursor);
        self.finding(then, found);
    }
}
