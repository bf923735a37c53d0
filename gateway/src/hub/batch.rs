//! Batches: entries that go out in one `logs_batch`.

use agentworks_schemas::{Cursor, LogEntry};

use crate::socket::Frame;
use crate::socket::frame::FrameBuilder;

/// A batch holds no more entries than this, and no more text unless it is a single entry's.
pub(crate) const MAX_ENTRIES: usize = 100;
const MAX_BYTES: usize = 64 * 1024;

/// Collects entries.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The entries as JSON, with commas between them.
    entries: Vec<u8>,
    count: usize,
    /// The cursor after the last.
    last: Option<Cursor>,
}

impl Batch {
    /// Adds an entry; `cursor` is the stream's just after it. Returns whether the batch is full.
    pub(crate) fn push(&mut self, entry: &LogEntry<'_>, cursor: &Cursor) -> bool {
        self.begin(cursor);
        // The entry's opening brace is written where the comma stands, and becomes it.
        let comma = self.entries.len() - 1;
        self.entries.pop();
        write_entry(&mut self.entries, entry);
        self.entries[comma] = b',';
        self.end(cursor)
    }

    /// Adds an entry that is encoded already.
    pub(crate) fn push_encoded(&mut self, entry: &[u8], cursor: &Cursor) -> bool {
        self.begin(cursor);
        self.entries.extend_from_slice(&entry[1..]);
        self.end(cursor)
    }

    fn begin(&mut self, cursor: &Cursor) {
        if self.count > 0 {
            self.entries.push(b',');
        }
        self.entries.extend_from_slice(br#"{"position":""#);
        // Base64: nothing in it needs escaping.
        self.entries.extend_from_slice(cursor.to_string().as_bytes());
        self.entries.extend_from_slice(br#"","#);
    }

    fn end(&mut self, cursor: &Cursor) -> bool {
        self.count += 1;
        self.last = Some(cursor.clone());
        self.count >= MAX_ENTRIES || self.entries.len() >= MAX_BYTES
    }

    /// Moves the position of the batch, behind which no entry may lie up to `cursor`.
    pub(crate) fn cover(&mut self, cursor: &Cursor) {
        if let Some(last) = &mut self.last {
            last.clone_from(cursor);
        }
    }

    /// The frame of the entries collected, if there are any. The batch is empty afterwards.
    pub(crate) fn finish(&mut self, card: &str) -> Option<Frame> {
        let position = self.last.take()?;
        let frame = frame(card, &position, &self.entries);
        self.entries.clear();
        self.count = 0;
        Some(frame)
    }
}

/// A batch without entries, which says how far the stream has come.
pub(crate) fn position_frame(card: &str, position: &Cursor) -> Frame {
    frame(card, position, &[])
}

fn frame(card: &str, position: &Cursor, entries: &[u8]) -> Frame {
    let mut builder = FrameBuilder::default();
    builder.text().extend_from_slice(br#"{"type":"logs_batch","cardId":"#);
    builder.json(&card);
    let text = builder.text();
    text.extend_from_slice(br#","position":""#);
    text.extend_from_slice(position.to_string().as_bytes());
    text.extend_from_slice(br#"","data":["#);
    text.extend_from_slice(entries);
    text.extend_from_slice(b"]}");
    builder.finish()
}

/// Appends an entry's JSON.
pub(super) fn write_entry(text: &mut Vec<u8>, entry: &LogEntry<'_>) {
    if let Err(error) = serde_json::to_writer(text, entry) {
        unreachable!("an entry has string keys only, and a buffer takes every byte: {error}");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::protocol::{PositionedEntry, ServerMessage};
    use agentworks_schemas::{Topic, TopicPartition};

    use super::*;
    use crate::hub::testing::entry;

    fn cursor(next: i64) -> Cursor {
        Cursor::from_iter([(TopicPartition::new(Topic::AgentLogs, 3), 0, next)])
    }

    #[test]
    fn a_batch_is_the_protocols_message() {
        let mut batch = Batch::default();
        assert!(batch.finish("c").is_none());
        let mut encoded = Vec::new();
        write_entry(&mut encoded, &entry("w", "c", "r", "line"));
        assert!(!batch.push(&entry("w", "c", "r", "line"), &cursor(5)));
        assert!(!batch.push_encoded(&encoded, &cursor(6)));
        batch.cover(&cursor(9));
        let frame = batch.finish("a \"card\"").unwrap();
        let positioned = |next| PositionedEntry { position: cursor(next), entry: entry("w", "c", "r", "line") };
        let data = vec![positioned(5), positioned(6)];
        let message = ServerMessage::LogsBatch { card_id: "a \"card\"".into(), position: cursor(9), data };
        assert_eq!(frame.payload(), Frame::message(&message).payload());
        assert!(batch.finish("c").is_none());
        let message = ServerMessage::LogsBatch { card_id: "c".into(), position: cursor(9), data: vec![] };
        assert_eq!(position_frame("c", &cursor(9)).payload(), Frame::message(&message).payload());
    }

    #[test]
    fn it_is_full_by_count_or_by_size() {
        let mut batch = Batch::default();
        let full = (1..1000).find(|_| batch.push(&entry("w", "c", "r", "x"), &cursor(1))).unwrap();
        assert_eq!(full, MAX_ENTRIES);
        batch.finish("c");
        assert!(batch.push(&entry("w", "c", "r", &"x".repeat(MAX_BYTES)), &cursor(1)));
    }
}
