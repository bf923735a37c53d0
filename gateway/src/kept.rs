//! What was read and is kept until it is shown: so many entries, or so many bytes of them.

use std::collections::{VecDeque, vec_deque};
use std::time::Instant;

use agentworks_processors::blocks::entry_weight;
use agentworks_processors::reader::{LogReader, ReadError, ReadFilter, ReadItem, Scope};
use agentworks_schemas::Cursor;

/// How many bytes of entries are enough, however many are wanted.
const MAX_BYTES: usize = 4 << 20;

/// Items that were read, in order.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    items: VecDeque<ReadItem>,
    entries: usize,
    bytes: usize,
    /// Whether there was nothing more to be read before them.
    is_all: bool,
}

/// The last `count` entries before `before`, or as many as are enough, and then some more.
pub(crate) async fn newest(
    reader: &LogReader,
    scope: &Scope,
    filter: &ReadFilter,
    before: &Cursor,
    count: usize,
) -> Result<Kept, ReadError> {
    let mut kept = Kept::default();
    while let Some((before, missing)) = kept.missing(before, count) {
        kept.put_before(reader.newest(scope, filter, &before, missing).await?);
    }
    Ok(kept)
}

/// The same, but no more than are found `until` then; and where the archive can't be reached, as much as can be given without
/// it, and the fault.
pub(crate) async fn newest_at_hand(
    reader: &LogReader,
    scope: &Scope,
    filter: &ReadFilter,
    before: &Cursor,
    count: usize,
    until: Instant,
) -> Result<(Kept, Option<ReadError>), ReadError> {
    let mut kept = Kept::default();
    while let Some((before, missing)) = kept.missing(before, count) {
        let (items, fault) = reader.newest_at_hand(scope, filter, &before, missing, until).await?;
        kept.put_before(items);
        if fault.is_some() || Instant::now() >= until {
            return Ok((kept, fault));
        }
    }
    Ok((kept, None))
}

impl Kept {
    /// Whether there are `limit` entries, or enough.
    pub(crate) fn is_full(&self, limit: usize) -> bool {
        self.entries >= limit || self.bytes >= MAX_BYTES
    }

    /// How many entries there are.
    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// Whether there was nothing more to be read before them.
    pub(crate) fn is_all(&self) -> bool {
        self.is_all
    }

    pub(crate) fn first(&self) -> Option<&ReadItem> {
        self.items.front()
    }

    pub(crate) fn last(&self) -> Option<&ReadItem> {
        self.items.back()
    }

    pub(crate) fn push_back(&mut self, item: ReadItem) {
        self.count(&item);
        self.items.push_back(item);
    }

    /// Before where, `end` if nothing is there yet, how many more are to be read of `count`; `None` if these are enough or all.
    fn missing(&self, end: &Cursor, count: usize) -> Option<(Cursor, usize)> {
        let is_enough = self.is_full(count) || self.is_all;
        (!is_enough).then(|| (self.first().map_or_else(|| end.clone(), before_item), count - self.entries))
    }

    /// Adds what was read just before them; nothing, if there was nothing.
    fn put_before(&mut self, items: Vec<ReadItem>) {
        self.is_all = items.is_empty();
        for item in items.into_iter().rev() {
            self.count(&item);
            self.items.push_front(item);
        }
    }

    fn count(&mut self, item: &ReadItem) {
        if let ReadItem::Entry { entry, .. } = item {
            self.entries += 1;
            self.bytes += entry_weight(&entry.entry);
        }
    }

    /// Drops the oldest until `limit` entries are left that have no more bytes than may be, or one, and what lies before them.
    pub(crate) fn trim_front(&mut self, limit: usize) {
        while (self.entries > limit || (self.entries > 1 && self.bytes > MAX_BYTES))
            && let Some(item) = self.items.pop_front()
        {
            self.is_all = false;
            if let ReadItem::Entry { entry, .. } = item {
                self.entries -= 1;
                self.bytes -= entry_weight(&entry.entry);
            }
        }
    }
}

impl IntoIterator for Kept {
    type Item = ReadItem;
    type IntoIter = vec_deque::IntoIter<ReadItem>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

/// The cursor just after an item.
pub(crate) fn after_item(item: &ReadItem) -> &Cursor {
    match item {
        ReadItem::Entry { cursor, .. } | ReadItem::Gap { cursor, .. } => cursor,
    }
}

/// The cursor just before an item: the one just after it, moved back over it.
pub(crate) fn before_item(item: &ReadItem) -> Cursor {
    let (cursor, partition, epoch, offset) = match item {
        ReadItem::Entry { entry, cursor } => {
            let at = entry.position;
            (cursor, at.partition, at.epoch, at.offset)
        }
        ReadItem::Gap { partition, from, cursor, .. } => {
            (cursor, *partition, cursor.get(*partition).map_or(0, |(epoch, _)| epoch), *from)
        }
    };
    let mut before = cursor.clone();
    before.set(partition, epoch, offset);
    before
}

#[cfg(test)]
pub(crate) mod testing {
    //! Items that are made up.

    use agentworks_processors::reader::StoredEntry;
    use agentworks_schemas::{Position, Timestamp, Topic, TopicPartition};

    use super::*;

    pub(crate) const AGENT: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 3 };
    pub(crate) const SYSTEM: TopicPartition = TopicPartition { topic: Topic::SystemLogs, partition: 3 };

    pub(crate) fn entry(
        partition: TopicPartition,
        offset: i64,
        message: &str,
        cursor: &[(TopicPartition, u32, i64)],
    ) -> ReadItem {
        let position = Position { partition, epoch: 1, offset };
        let entry = crate::hub::testing::entry("acme", "card", "run", message).into_owned();
        let entry = Box::new(StoredEntry { position, timestamp: Timestamp(0), entry });
        ReadItem::Entry { entry, cursor: cursor.iter().copied().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{AGENT, SYSTEM, entry};
    use super::*;

    /// As [`newest`], from a log of entries of so many bytes, of which at most `most` are given at once; how many were given.
    fn newest_of(lengths: &[usize], count: usize, most: usize) -> (Kept, usize) {
        let (mut kept, mut next) = (Kept::default(), lengths.len());
        while let Some((_, missing)) = kept.missing(&Cursor::new(), count) {
            let from = next.saturating_sub(most.min(missing));
            let item = |at: usize| entry(AGENT, at as i64, &"x".repeat(lengths[at]), &[(AGENT, 1, at as i64 + 1)]);
            kept.put_before((from..next).map(item).collect());
            next = from;
        }
        (kept, lengths.len() - next)
    }

    fn offsets(kept: Kept) -> Vec<i64> {
        let offset = |item| match item {
            ReadItem::Entry { entry, .. } => entry.position.offset,
            ReadItem::Gap { from, .. } => from,
        };
        kept.into_iter().map(offset).collect()
    }

    #[test]
    fn small_entries_are_as_many_as_are_wanted_in_whatever_portions_they_come() {
        for most in [1, 7, 100, 1000] {
            let (kept, given) = newest_of(&[100; 500], 300, most);
            assert_eq!((kept.is_all(), given), (false, 300));
            assert_eq!(offsets(kept), (200..500).collect::<Vec<_>>());
            let (kept, _) = newest_of(&[100; 200], 300, most);
            assert!(kept.is_all());
            assert_eq!(offsets(kept), (0..200).collect::<Vec<_>>());
        }
    }

    #[test]
    fn large_entries_are_fewer_than_are_wanted_and_the_newest() {
        let ReadItem::Entry { entry, .. } = entry(AGENT, 0, &"x".repeat(200_000), &[]) else { panic!("an entry") };
        let each = entry_weight(&entry.entry);
        for most in [1, 4] {
            let (mut kept, given) = newest_of(&[200_000; 1000], 1000, most);
            assert!((given - 1) * 200_000 < MAX_BYTES + most * each, "{given}");
            kept.trim_front(1000);
            assert!(!kept.is_all() && kept.bytes <= MAX_BYTES && kept.bytes + each > MAX_BYTES, "{}", kept.bytes);
            let kept = offsets(kept);
            assert_eq!(kept, (1000 - kept.len() as i64..1000).collect::<Vec<_>>());
        }
        // One that is larger than may be is shown all the same.
        let (mut kept, _) = newest_of(&[5 << 20; 3], 3, 2);
        kept.trim_front(3);
        assert_eq!(offsets(kept), [2]);
    }

    #[test]
    fn the_cursor_before_an_item_is_the_one_after_it_moved_back() {
        let item = entry(AGENT, 7, "x", &[(AGENT, 1, 8), (SYSTEM, 1, 4)]);
        assert_eq!(before_item(&item), [(AGENT, 1, 7), (SYSTEM, 1, 4)].into_iter().collect());
        let cursor = [(AGENT, 2, 9)].into_iter().collect();
        let gap = ReadItem::Gap { partition: AGENT, from: 5, to: 9, cursor };
        assert_eq!(before_item(&gap), [(AGENT, 2, 5)].into_iter().collect());
    }

    #[test]
    fn trimming_drops_the_oldest_entries_with_the_gaps_before_them() {
        let mut kept = Kept { is_all: true, ..Kept::default() };
        let cursor = [(AGENT, 1, 5)].into_iter().collect();
        kept.push_back(ReadItem::Gap { partition: AGENT, from: 0, to: 5, cursor });
        for offset in 5..9 {
            kept.push_back(entry(AGENT, offset, "x", &[(AGENT, 1, offset + 1)]));
        }
        kept.trim_front(4);
        assert!(kept.is_all() && kept.items.len() == 5);
        kept.trim_front(2);
        assert_eq!(kept.first().map(before_item), Some([(AGENT, 1, 7)].into_iter().collect()));
        assert!(!kept.is_all());
        assert_eq!(offsets(kept), [7, 8]);
    }
}
