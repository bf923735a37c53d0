//! What waits to be written of one lane: records' canonical bodies, grouped by run, and the days that they lie in.
//!
//! Only bodies are kept, for they are small; columns are made of them when they are written, a batch at a time. The groups
//! make sorting cheap: within one, records lie in the order of their offsets already.

use std::cmp::Ordering;
use std::collections::HashMap;

use agentworks_kafka::{Batch, Content, Record};
use agentworks_processors::erasure::View;
use agentworks_schemas::{Position, Timestamp};
use foldhash::fast::RandomState;

/// Bodies lie in pieces, so that what is there isn't copied when more comes: the first has this size, each after it twice
/// that of the one before, so that lanes of which little waits take little.
const FIRST_PIECE: usize = 1 << 10;
/// No piece grows beyond this, unless a record does.
const PIECE: usize = 256 << 10;

const DAY: i64 = 86_400_000;

/// Whose records: the order of a table begins with these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    workspace: Box<str>,
    card: Box<str>,
    run: Box<str>,
}

impl Owner {
    /// Whether a record is erased.
    pub(crate) fn is_hidden(&self, erased: &View, position: Position) -> bool {
        erased.hides(&self.workspace, &self.run, position)
    }
}

/// A record that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) offset: i64,
    pub(crate) time: Timestamp,
    piece: u32,
    start: u32,
    len: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) owner: Owner,
    /// By offset.
    pub(crate) items: Vec<Item>,
}

/// Records of one lane.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    pieces: Vec<Vec<u8>>,
    groups: Vec<Group>,
    by_name: HashMap<Box<[u8]>, u32, RandomState>,
    /// Written over for each record.
    name: Vec<u8>,
    records: usize,
    taken: usize,
    reserved: usize,
}

impl Pending {
    /// Adds a record, which comes after all that are there.
    pub(crate) fn push(&mut self, record: &Record<'_>) {
        let (workspace, card, run) = match &record.content {
            Content::Entry(entry) => (&entry.workspace_id, &entry.card_id, &entry.run_id),
            Content::Event(event) => (&event.workspace_id, &event.card_id, &event.run_id),
        };
        self.name.clear();
        self.name.extend_from_slice(&(workspace.len() as u32).to_le_bytes());
        self.name.extend_from_slice(&(card.len() as u32).to_le_bytes());
        for part in [workspace, card, run] {
            self.name.extend_from_slice(part.as_bytes());
        }
        let group = match self.by_name.get(&*self.name) {
            Some(group) => *group,
            None => {
                let group = self.groups.len() as u32;
                let owner = Owner {
                    workspace: workspace.as_str().into(),
                    card: card.as_str().into(),
                    run: run.as_str().into(),
                };
                self.groups.push(Group { owner, items: Vec::new() });
                self.by_name.insert(self.name.as_slice().into(), group);
                self.taken += 2 * self.name.len() + size_of::<Group>() + 64;
                group
            }
        };
        let body = &*record.body;
        if self.pieces.last().is_none_or(|piece| piece.capacity() - piece.len() < body.len()) {
            let size = self.pieces.last().map_or(FIRST_PIECE, |last| (2 * last.capacity()).min(PIECE));
            let piece = Vec::with_capacity(size.max(body.len()));
            self.reserved += piece.capacity();
            self.pieces.push(piece);
        }
        let last = self.pieces.len() - 1;
        let piece = &mut self.pieces[last];
        let start = piece.len();
        piece.extend_from_slice(body);
        // A piece is no longer than a record may be.
        let item = Item {
            offset: record.offset,
            time: record.timestamp,
            piece: last as u32,
            start: start as u32,
            len: body.len() as u32,
        };
        self.groups[group as usize].items.push(item);
        self.records += 1;
        self.taken += body.len() + size_of::<Item>();
        self.reserved -= body.len();
    }

    /// Of which workspace a record is.
    pub(crate) fn workspace<'a>(record: &'a Record<'_>) -> &'a str {
        match &record.content {
            Content::Entry(entry) => &entry.workspace_id,
            Content::Event(event) => &event.workspace_id,
        }
    }

    /// A record's canonical body.
    pub(crate) fn body(&self, item: &Item) -> &[u8] {
        &self.pieces[item.piece as usize][item.start as usize..][..item.len as usize]
    }

    /// Reads a little of each line of memory that some records' bodies lie in. They lie as they came, and are read run by
    /// run: one after the other, each would be waited for, and so they come at the same time.
    pub(crate) fn touch(&self, items: &[Item]) {
        /// How many bytes a processor fetches at a time.
        const LINE: usize = 64;
        let first = |item: &Item| self.body(item).iter().step_by(LINE).fold(0, |sum: u8, byte| sum ^ byte);
        std::hint::black_box(items.iter().fold(0, |sum, item| sum ^ first(item)));
    }

    /// The groups, in no order.
    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// How many records there are.
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// How much memory they fill, in bytes.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// How much memory they take, in bytes: what they fill, and what is kept free for the next.
    pub(crate) fn bytes(&self) -> usize {
        self.taken + self.reserved
    }

    /// Forgets what lies below an offset. The memory is freed only if nothing is left.
    pub(crate) fn forget_below(&mut self, offset: i64) {
        for group in &mut self.groups {
            let gone = group.items.partition_point(|item| item.offset < offset);
            group.items.drain(..gone);
            self.records -= gone;
        }
        if self.records == 0 {
            *self = Pending::default();
        }
    }
}

/// The days of a lane: each begins where the running maximum of the record timestamps enters it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Days {
    /// Its number since the Unix epoch, and the first offset; ascending in both.
    begun: Vec<(i32, i64)>,
    time: Timestamp,
    /// The last that there can be, where that is known.
    last: Option<i32>,
}

impl Days {
    /// A lane whose clock stands at `time` at the offset `from`; zero if it never saw a record.
    pub(crate) fn new(time: Timestamp, from: i64) -> Self {
        let mut days = Days { time, ..Days::default() };
        if time > Timestamp(0) {
            days.begun.push((number(time), from));
        }
        days
    }

    /// Those of a range that is taken again, from the offset `from` on: it is known between which days it lies.
    pub(crate) fn between(first: Option<i32>, last: Option<i32>, from: i64) -> Self {
        let time = first.map_or(Timestamp(0), |day| Timestamp(i64::from(day) * DAY));
        Days { begun: first.map(|day| (day, from)).into_iter().collect(), time, last }
    }

    /// The day that the clock stands in.
    pub(crate) fn today(&self) -> i32 {
        number(self.time)
    }

    /// Goes past what a batch has from an offset on; what can't be taken moves the clock as well. Each record is given to
    /// `each` with its day.
    pub(crate) fn pass_all(&mut self, batch: &Batch, from: i64, mut each: impl FnMut(&Record<'_>, i32)) {
        let mut rejects = batch.rejects().iter().filter(|reject| reject.position.offset >= from).peekable();
        for record in batch.records().iter().filter(|record| record.offset >= from) {
            while let Some(reject) = rejects.next_if(|reject| reject.position.offset < record.offset) {
                self.pass(reject.position.offset, reject.timestamp);
            }
            self.pass(record.offset, record.timestamp);
            each(record, self.today());
        }
        for reject in rejects {
            self.pass(reject.position.offset, reject.timestamp);
        }
    }

    /// The running maximum.
    pub(crate) fn time(&self) -> Timestamp {
        self.time
    }

    /// Goes past a record.
    pub(crate) fn pass(&mut self, offset: i64, time: Timestamp) {
        self.time = self.time.max(time);
        if let Some(last) = self.last {
            self.time = self.time.min(Timestamp((i64::from(last) + 1) * DAY - 1));
        }
        let day = number(self.time);
        if self.begun.last().is_none_or(|(last, _)| *last < day) {
            self.begun.push((day, offset));
        }
    }

    /// The days of a range, each with its share. Where no record was ever seen, it is today.
    pub(crate) fn of(&self, from: i64, to: i64) -> Vec<(i32, i64, i64)> {
        if self.begun.is_empty() {
            return vec![(number(Timestamp::now()), from, to)];
        }
        let mut days = Vec::new();
        for (index, (day, first)) in self.begun.iter().enumerate() {
            // What comes before the first record belongs to its day.
            let begin = if index == 0 { from } else { (*first).max(from) };
            let end = self.begun.get(index + 1).map_or(to, |(_, next)| (*next).min(to));
            if begin < end {
                days.push((*day, begin, end));
            }
        }
        days
    }

    /// Forgets the days that ended before an offset.
    pub(crate) fn forget_below(&mut self, offset: i64) {
        let ended = self.begun.iter().skip(1).take_while(|(_, first)| *first <= offset).count();
        self.begun.drain(..ended);
    }
}

/// The number of a day since the Unix epoch.
pub(crate) fn number(time: Timestamp) -> i32 {
    i32::try_from(time.millis().div_euclid(DAY)).unwrap_or(i32::MAX)
}

/// The order of groups and, within one owner, of lanes.
pub(crate) fn order<L: Ord>(a: (&Group, L), b: (&Group, L)) -> Ordering {
    a.0.owner.cmp(&b.0.owner).then_with(|| a.1.cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOON, batch, lane};

    #[test]
    fn what_is_kept_free_is_little_where_little_waits_and_bounded_where_much_does() {
        let mut pending = Pending::default();
        assert_eq!((pending.taken(), pending.bytes()), (0, 0));
        for record in batch(lane(0), 0, 8000, NOON).records().iter() {
            pending.push(record);
            let free = pending.bytes() - pending.taken();
            assert!(free <= 2 * pending.taken().clamp(FIRST_PIECE, PIECE), "{free} beside {}", pending.taken());
        }
        assert!(pending.taken() > 4 * PIECE);
        let filled: usize = pending.pieces.iter().map(Vec::len).sum();
        let reserved: usize = pending.pieces.iter().map(Vec::capacity).sum();
        assert_eq!(pending.bytes() - pending.taken(), reserved - filled);
    }

    #[test]
    fn days_tile_a_range_and_never_go_back() {
        let mut days = Days::new(Timestamp(0), 10);
        assert_eq!(days.of(10, 12).len(), 1);
        for (offset, time) in [(12, 5), (13, DAY + 1), (14, DAY - 1), (20, 3 * DAY)] {
            days.pass(offset, Timestamp(time));
        }
        assert_eq!(days.of(10, 25), [(0, 10, 13), (1, 13, 20), (3, 20, 25)]);
        assert_eq!(days.of(13, 20), [(1, 13, 20)]);
        assert_eq!(days.of(15, 22), [(1, 15, 20), (3, 20, 22)]);
        days.forget_below(20);
        assert_eq!(days.of(20, 25), [(3, 20, 25)]);
        assert_eq!(Days::new(days.time(), 25).of(25, 26), [(3, 25, 26)]);
    }
}
