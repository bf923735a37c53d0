//! Entries of a channel that have not been pushed yet: encoded once, and framed once for all who get them alike.

use std::ops::Range;

use agentworks_schemas::{Cursor, LogEntry, TopicPartition};

use super::batch::{Batch, write_entry};
use super::wanted::Traits;
use crate::socket::frame::FrameBuilder;
use crate::socket::{Frame, Stamp};

/// Entries that wait for a flush.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Their JSON, one after another.
    text: Vec<u8>,
    pub(super) entries: Vec<Waiting>,
    /// For those who get all: each frame with the index of its first entry.
    shared: Vec<(usize, Frame)>,
}

/// An entry that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    text: Range<usize>,
    /// The channel's cursor just after it.
    pub(super) position: Cursor,
    pub(super) partition: TopicPartition,
    pub(super) offset: i64,
    stamp: Stamp,
    /// If any viewer asks for them.
    pub(super) traits: Option<Box<Traits>>,
    /// Its own frame, if anybody needed it.
    frame: Option<Frame>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds an entry; `position` is the channel's cursor just after it.
    pub(super) fn push(
        &mut self,
        entry: &LogEntry<'_>,
        position: Cursor,
        (partition, offset): (TopicPartition, i64),
        stamp: Stamp,
        traits: Option<Box<Traits>>,
    ) {
        let start = self.text.len();
        write_entry(&mut self.text, entry);
        let text = start..self.text.len();
        self.entries.push(Waiting { text, position, partition, offset, stamp, traits, frame: None });
    }

    /// All of them: one that is alone as a `log_entry`, several as `logs_batch`. Each frame with the index of its first
    /// entry.
    pub(super) fn shared(&mut self, card: &str, builder: &mut FrameBuilder) -> &[(usize, Frame)] {
        if self.shared.is_empty() && self.entries.len() == 1 {
            let frame = self.single(0, builder);
            self.shared.push((0, frame));
        } else if self.shared.is_empty() {
            let (mut batch, mut first) = (Batch::default(), 0);
            for (index, waiting) in self.entries.iter().enumerate() {
                let is_full = batch.push_encoded(&self.text[waiting.text.clone()], &waiting.position);
                if is_full || index + 1 == self.entries.len() {
                    let stamp = self.entries[first].stamp;
                    self.shared.extend(batch.finish(card).map(|frame| (first, frame.stamped(stamp))));
                    first = index + 1;
                }
            }
        }
        &self.shared
    }

    /// An entry by itself, for all who need it so.
    pub(super) fn single(&mut self, index: usize, builder: &mut FrameBuilder) -> Frame {
        if let Some(frame) = &self.entries[index].frame {
            return frame.clone();
        }
        let frame = self.at(index, &self.entries[index].position, builder);
        self.entries[index].frame = Some(frame.clone());
        frame
    }

    /// An entry by itself, with another position.
    pub(super) fn at(&self, index: usize, position: &Cursor, builder: &mut FrameBuilder) -> Frame {
        let waiting = &self.entries[index];
        let text = builder.text();
        text.extend_from_slice(br#"{"type":"log_entry","position":""#);
        // Base64: nothing in it needs escaping.
        text.extend_from_slice(position.to_string().as_bytes());
        text.extend_from_slice(br#"","data":"#);
        text.extend_from_slice(&self.text[waiting.text.clone()]);
        text.push(b'}');
        builder.finish().stamped(waiting.stamp)
    }

    /// Forgets them, and what memory a busy moment took.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.entries.shrink_to(64);
        self.shared.clear();
        self.shared.shrink_to(4);
        self.text.clear();
        self.text.shrink_to(16 * 1024);
    }
}

#[cfg(test)]
mod tests {
    use agentworks_schemas::protocol::{PositionedEntry, ServerMessage};
    use agentworks_schemas::{Timestamp, Topic};

    use super::*;
    use crate::hub::testing::entry;

    const PARTITION: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 3 };

    fn cursor(next: i64) -> Cursor {
        Cursor::from_iter([(PARTITION, 1, next)])
    }

    fn push(pending: &mut Pending, offset: i64, message: &str) {
        let stamp = Stamp { produced: Timestamp(offset), appended: Timestamp(offset) };
        pending.push(&entry("w", "c", "r", message), cursor(offset + 1), (PARTITION, offset), stamp, None);
    }

    #[test]
    fn one_alone_is_the_protocols_log_entry() {
        let (mut pending, mut builder) = (Pending::default(), FrameBuilder::default());
        push(&mut pending, 6, "a \"quoted\" line\n");
        let message = |next| {
            let data = entry("w", "c", "r", "a \"quoted\" line\n");
            Frame::message(&ServerMessage::LogEntry { position: cursor(next), data })
        };
        let frame = pending.single(0, &mut builder);
        assert_eq!(frame.payload(), message(7).payload());
        assert_eq!(frame.stamp().map(|stamp| stamp.produced), Some(Timestamp(6)));
        assert_eq!(pending.at(0, &cursor(1_000_000), &mut builder).payload(), message(1_000_000).payload());
        let [(0, shared)] = pending.shared("c", &mut builder) else { panic!("one frame") };
        assert_eq!(shared.as_bytes().as_ptr(), frame.as_bytes().as_ptr(), "it is made once");
    }

    #[test]
    fn several_are_batches_that_are_not_too_large() {
        let (mut pending, mut builder) = (Pending::default(), FrameBuilder::default());
        (0..250).for_each(|offset| push(&mut pending, offset, "line"));
        let firsts: Vec<usize> = pending.shared("c", &mut builder).iter().map(|(first, _)| *first).collect();
        assert_eq!(firsts, [0, 100, 200]);
        pending.clear();
        (0..2).for_each(|offset| push(&mut pending, offset, "line"));
        let data: Vec<_> = (1..3)
            .map(|next| PositionedEntry { position: cursor(next), entry: entry("w", "c", "r", "line") })
            .collect();
        let message = ServerMessage::LogsBatch { card_id: "c".into(), position: cursor(2), data };
        let [(0, frame)] = pending.shared("c", &mut builder) else { panic!("one frame") };
        assert_eq!(frame.payload(), Frame::message(&message).payload());
        assert_eq!(frame.stamp().map(|stamp| stamp.produced), Some(Timestamp(0)), "the oldest is measured");
    }
}
