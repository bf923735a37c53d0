//! Batches: entries of history that go out in one `logs_batch`.

use agentworks_schemas::protocol::PositionedEntry;
use agentworks_schemas::{Cursor, LogEntry};

use crate::socket::Frame;
use crate::socket::frame::FrameBuilder;

/// A batch holds no more entries than this, and no more text unless it is a single entry's.
pub(super) const MAX_ENTRIES: usize = 100;
const MAX_BYTES: usize = 64 * 1024;

/// Collects entries.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The entries as JSON, with commas between them.
    entries: Vec<u8>,
    count: usize,
    /// The cursor after the last.
    last: Option<Cursor>,
}

impl Batch {
    /// Adds an entry; `cursor` is the stream's just after it. Returns whether the batch is full.
    pub(super) fn push(&mut self, entry: LogEntry<'_>, cursor: &Cursor) -> bool {
        if self.count > 0 {
            self.entries.push(b',');
        }
        let positioned = PositionedEntry { position: cursor.clone(), entry };
        if let Err(error) = serde_json::to_writer(&mut self.entries, &positioned) {
            unreachable!("an entry has string keys only, and a buffer takes every byte: {error}");
        }
        self.count += 1;
        self.last = Some(cursor.clone());
        self.count >= MAX_ENTRIES || self.entries.len() >= MAX_BYTES
    }

    /// Moves the position of the batch, behind which no entry may lie up to `cursor`.
    pub(super) fn cover(&mut self, cursor: &Cursor) {
        if let Some(last) = &mut self.last {
            last.clone_from(cursor);
        }
    }

    /// The frame of the entries collected, if there are any. The batch is empty afterwards.
    pub(super) fn finish(&mut self) -> Option<Frame> {
        let position = self.last.take()?;
        let mut builder = FrameBuilder::default();
        let text = builder.text();
        text.extend_from_slice(br#"{"type":"logs_batch","position":""#);
        text.extend_from_slice(position.to_string().as_bytes());
        text.extend_from_slice(br#"","data":["#);
        text.append(&mut self.entries);
        text.extend_from_slice(b"]}");
        self.count = 0;
        Some(builder.finish())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::protocol::ServerMessage;
    use agentworks_schemas::{Topic, TopicPartition};

    use super::*;
    use crate::hub::testing::entry;

    fn cursor(next: i64) -> Cursor {
        Cursor::from_iter([(TopicPartition::new(Topic::AgentLogs, 3), 0, next)])
    }

    #[test]
    fn a_batch_is_the_protocols_message() {
        let mut batch = Batch::default();
        assert!(batch.finish().is_none());
        for next in [5, 6] {
            assert!(!batch.push(entry("w", "c", "r", "line"), &cursor(next)));
        }
        batch.cover(&cursor(9));
        let frame = batch.finish().unwrap();
        let positioned = |next| PositionedEntry { position: cursor(next), entry: entry("w", "c", "r", "line") };
        let message = ServerMessage::LogsBatch { position: cursor(9), data: vec![positioned(5), positioned(6)] };
        assert_eq!(frame.payload(), Frame::message(&message).payload());
        assert!(batch.finish().is_none());
    }

    #[test]
    fn it_is_full_by_count_or_by_size() {
        let mut batch = Batch::default();
        let full = (1..1000).find(|_| batch.push(entry("w", "c", "r", "x"), &cursor(1))).unwrap();
        assert_eq!(full, MAX_ENTRIES);
        batch.finish();
        assert!(batch.push(entry("w", "c", "r", &"x".repeat(MAX_BYTES)), &cursor(1)));
    }
}
