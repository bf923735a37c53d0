//! Pages of entries, in both directions.

use std::collections::VecDeque;

use agentworks_processors::reader::{LogReader, ReadFilter, ReadItem, Scope};
use agentworks_schemas::protocol::{Gap, PositionedEntry};
use agentworks_schemas::{Cursor, LogEntry};
use serde::Serialize;

use super::error::ApiError;

/// How many bytes of entries fill a page, whatever its limit: large entries make short pages.
const MAX_BYTES: usize = 4 << 20;

/// How many entries are asked for at once on the way back, so that large ones don't pile up.
const CHUNK: usize = 250;

/// A page of entries, in the log's order.
#[derive(Debug, Default, Serialize)]
pub(super) struct Page {
    /// The entries, each with the cursor just after it.
    entries: Vec<PositionedEntry<'static>>,
    /// Ranges within the page that are held nowhere any more.
    gaps: Vec<Gap>,
    /// Where the next page in the same direction begins; `None` if there is nothing more now.
    next: Option<Cursor>,
    /// How far the page reaches: a stream that begins there goes on right after it, whatever the filter left out.
    end: Cursor,
}

/// The page after `after`.
pub(super) async fn forward(
    reader: &LogReader,
    scope: Scope,
    filter: ReadFilter,
    after: Cursor,
    limit: usize,
) -> Result<Page, ApiError> {
    let end = reader.end(&scope).await?;
    let mut stream = reader.read(scope, filter, after.clone(), end.clone());
    let mut kept = Kept::default();
    while let Some(item) = stream.recv().await {
        let item = item?;
        if kept.is_full(limit) {
            let next = kept.items.back().map_or(after, |last| after_item(last).clone());
            return Ok(kept.into_page(Some(next.clone()), next));
        }
        kept.push_back(item);
    }
    Ok(kept.into_page(None, furthest(after, &end)))
}

/// The further of two cursors in each partition.
fn furthest(mut cursor: Cursor, other: &Cursor) -> Cursor {
    for (partition, epoch, next) in other.iter() {
        if cursor.get(partition).is_none_or(|there| there < (epoch, next)) {
            cursor.set(partition, epoch, next);
        }
    }
    cursor
}

/// The page before `before`, or before the end of the log.
pub(super) async fn backward(
    reader: &LogReader,
    scope: Scope,
    filter: ReadFilter,
    before: Option<Cursor>,
    limit: usize,
) -> Result<Page, ApiError> {
    let end = match before {
        Some(before) => before,
        None => reader.end(&scope).await?,
    };
    let mut before = end.clone();
    let mut kept = Kept::default();
    // One entry more than wanted tells whether there is another page.
    while kept.entries <= limit && kept.bytes < MAX_BYTES {
        let wanted = (limit + 1 - kept.entries).min(CHUNK);
        let items = reader.newest(&scope, &filter, &before, wanted).await?;
        let Some(first) = items.first() else { return Ok(kept.into_page(None, end)) };
        before = before_item(first);
        for item in items.into_iter().rev() {
            kept.push_front(item);
        }
    }
    kept.trim_front(limit);
    let next = kept.items.front().map(before_item);
    Ok(kept.into_page(next, end))
}

/// What has been read for a page.
#[derive(Default)]
struct Kept {
    items: VecDeque<ReadItem>,
    entries: usize,
    bytes: usize,
}

impl Kept {
    fn is_full(&self, limit: usize) -> bool {
        self.entries >= limit || self.bytes >= MAX_BYTES
    }

    fn push_back(&mut self, item: ReadItem) {
        self.count(&item);
        self.items.push_back(item);
    }

    fn push_front(&mut self, item: ReadItem) {
        self.count(&item);
        self.items.push_front(item);
    }

    fn count(&mut self, item: &ReadItem) {
        if let ReadItem::Entry { entry, .. } = item {
            self.entries += 1;
            self.bytes += weight(&entry.entry);
        }
    }

    /// Drops the oldest until `limit` entries are left, and what lies before them.
    fn trim_front(&mut self, limit: usize) {
        while self.entries > limit {
            if let Some(ReadItem::Entry { .. }) = self.items.pop_front() {
                self.entries -= 1;
            }
        }
    }

    fn into_page(self, next: Option<Cursor>, end: Cursor) -> Page {
        let mut page = Page { next, end, ..Page::default() };
        for item in self.items {
            match item {
                ReadItem::Entry { entry, cursor } => {
                    page.entries.push(PositionedEntry { position: cursor, entry: entry.entry });
                }
                ReadItem::Gap { partition, from, to, .. } => {
                    let topic = partition.topic.to_string();
                    page.gaps.push(Gap { topic, partition: partition.partition, from, to });
                }
            }
        }
        page
    }
}

/// About how large an entry's JSON is, in bytes.
fn weight(entry: &LogEntry<'_>) -> usize {
    512 + entry.message.len() + entry.data.as_ref().map_or(0, |data| data.as_str().len())
}

fn after_item(item: &ReadItem) -> &Cursor {
    match item {
        ReadItem::Entry { cursor, .. } | ReadItem::Gap { cursor, .. } => cursor,
    }
}

/// The cursor just before an item: the one just after it, moved back over it.
pub(super) fn before_item(item: &ReadItem) -> Cursor {
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
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_processors::reader::StoredEntry;
    use agentworks_schemas::{Level, Position, Source, Timestamp, Topic, TopicPartition};

    use super::*;

    const AGENT: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 3 };
    const SYSTEM: TopicPartition = TopicPartition { topic: Topic::SystemLogs, partition: 3 };

    fn entry(partition: TopicPartition, offset: i64, cursor: &[(TopicPartition, u32, i64)]) -> ReadItem {
        let entry = LogEntry {
            id: "id".into(),
            run_id: "run".into(),
            card_id: "card".into(),
            workspace_id: "acme".into(),
            timestamp: Timestamp(0),
            sequence: 0,
            level: Level::Info,
            source: Source::Agent,
            component: "main".into(),
            message: "x".into(),
            data: None,
            agent_id: None,
            provider: None,
            model: None,
            user_id: None,
            tags: None,
            correlation_id: None,
            parent_span_id: None,
            trace_id: None,
        };
        let position = Position { partition, epoch: 1, offset };
        let entry = Box::new(StoredEntry { position, timestamp: Timestamp(0), entry });
        ReadItem::Entry { entry, cursor: cursor.iter().copied().collect() }
    }

    #[test]
    fn the_cursor_before_an_item_is_the_one_after_it_moved_back() {
        let item = entry(AGENT, 7, &[(AGENT, 1, 8), (SYSTEM, 1, 4)]);
        assert_eq!(before_item(&item), [(AGENT, 1, 7), (SYSTEM, 1, 4)].into_iter().collect());
        let cursor = [(AGENT, 2, 9)].into_iter().collect();
        let gap = ReadItem::Gap { partition: AGENT, from: 5, to: 9, cursor };
        assert_eq!(before_item(&gap), [(AGENT, 2, 5)].into_iter().collect());
    }

    #[test]
    fn trimming_drops_the_oldest_entries_with_the_gaps_before_them() {
        let mut kept = Kept::default();
        let cursor = [(AGENT, 1, 5)].into_iter().collect();
        kept.push_back(ReadItem::Gap { partition: AGENT, from: 0, to: 5, cursor });
        for offset in 5..9 {
            kept.push_back(entry(AGENT, offset, &[(AGENT, 1, offset + 1)]));
        }
        kept.trim_front(2);
        let next = kept.items.front().map(before_item);
        let page = kept.into_page(next, Cursor::new());
        assert_eq!((page.entries.len(), page.gaps.len()), (2, 0));
        assert_eq!(page.next, Some([(AGENT, 1, 7)].into_iter().collect()));
    }

    #[test]
    fn a_page_is_json_with_the_position_beside_the_entrys_fields() {
        let mut kept = Kept::default();
        kept.push_back(entry(AGENT, 5, &[(AGENT, 1, 6)]));
        let cursor = [(AGENT, 1, 9)].into_iter().collect();
        kept.push_back(ReadItem::Gap { partition: AGENT, from: 6, to: 9, cursor });
        let json = serde_json::to_value(kept.into_page(None, Cursor::new())).unwrap();
        let position = Cursor::from_iter([(AGENT, 1, 6)]).to_string();
        assert_eq!(json["entries"][0]["position"], position.as_str());
        assert_eq!(json["entries"][0]["message"], "x");
        assert_eq!(json["gaps"][0], serde_json::json!({"topic": "agent-logs", "partition": 3, "from": 6, "to": 9}));
        assert_eq!(json["next"], serde_json::Value::Null);
    }

    #[test]
    fn a_page_reaches_as_far_as_the_log_and_never_back() {
        let after = Cursor::from_iter([(AGENT, 1, 9)]);
        let end = Cursor::from_iter([(AGENT, 1, 5), (SYSTEM, 1, 4)]);
        assert_eq!(furthest(after, &end), Cursor::from_iter([(AGENT, 1, 9), (SYSTEM, 1, 4)]));
    }

    #[test]
    fn large_entries_fill_a_page_early() {
        let kept = Kept { bytes: MAX_BYTES, entries: 1, ..Kept::default() };
        assert!(kept.is_full(100));
        assert!(!Kept { bytes: 10, entries: 1, ..Kept::default() }.is_full(2));
    }
}
