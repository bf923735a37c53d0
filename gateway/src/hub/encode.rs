//! An entry's frame: `log_entry` with the channel's cursor just after it.

use agentworks_schemas::{Cursor, LogEntry};

use crate::socket::Frame;
use crate::socket::frame::FrameBuilder;

/// What a frame begins with; the position follows, then [`MIDDLE`], the entry and a brace. So the position can be found
/// and replaced without decoding the entry.
const HEAD: &[u8] = br#"{"type":"log_entry","position":""#;
const MIDDLE: &[u8] = br#"","data":"#;

/// Encodes an entry.
pub(super) fn entry_frame(builder: &mut FrameBuilder, position: &Cursor, entry: &LogEntry<'_>) -> Frame {
    begin(builder, position);
    builder.json(entry);
    builder.text().push(b'}');
    builder.finish()
}

fn begin(builder: &mut FrameBuilder, position: &Cursor) {
    let text = builder.text();
    text.extend_from_slice(HEAD);
    // Base64: nothing in it needs escaping.
    text.extend_from_slice(position.to_string().as_bytes());
    text.extend_from_slice(MIDDLE);
}

/// The position that a frame of [`entry_frame`] carries.
pub(super) fn position(frame: &Frame) -> Cursor {
    let text = std::str::from_utf8(parts(frame).0).ok();
    let Some(position) = text.and_then(|text| text.parse().ok()) else {
        unreachable!("the frame was made by this module");
    };
    position
}

/// The same frame with another position.
pub(super) fn with_position(builder: &mut FrameBuilder, frame: &Frame, position: &Cursor) -> Frame {
    begin(builder, position);
    builder.text().extend_from_slice(parts(frame).1);
    let moved = builder.finish();
    match frame.stamp() {
        Some(stamp) => moved.stamped(stamp),
        None => moved,
    }
}

/// The position of a frame, and what follows [`MIDDLE`].
fn parts(frame: &Frame) -> (&[u8], &[u8]) {
    let rest = &frame.payload()[HEAD.len()..];
    let end = rest.iter().position(|byte| *byte == b'"').unwrap_or(rest.len() - MIDDLE.len());
    (&rest[..end], &rest[end + MIDDLE.len()..])
}

#[cfg(test)]
mod tests {
    use agentworks_schemas::protocol::ServerMessage;
    use agentworks_schemas::{Topic, TopicPartition};

    use super::*;
    use crate::hub::testing::entry;

    fn cursor(next: i64) -> Cursor {
        Cursor::from_iter([(TopicPartition::new(Topic::AgentLogs, 3), 1, next)])
    }

    #[test]
    fn a_frame_is_the_protocols_message() {
        let mut builder = FrameBuilder::default();
        let entry = entry("w", "c", "r", "a \"quoted\" line\n");
        let frame = entry_frame(&mut builder, &cursor(7), &entry);
        let message = ServerMessage::LogEntry { position: cursor(7), data: entry };
        assert_eq!(frame.payload(), Frame::message(&message).payload());
        assert_eq!(position(&frame), cursor(7));
    }

    #[test]
    fn its_position_can_be_replaced() {
        let mut builder = FrameBuilder::default();
        let line = "x".repeat(200);
        let entry = entry("w", "c", "r", &line);
        let frame = entry_frame(&mut builder, &cursor(7), &entry);
        let moved = with_position(&mut builder, &frame, &cursor(1_000_000));
        assert_eq!(moved.payload(), entry_frame(&mut builder, &cursor(1_000_000), &entry).payload());
    }
}
