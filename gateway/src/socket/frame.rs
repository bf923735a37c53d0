//! Frames that the gateway sends: built once, shared by all who get them.
//!
//! A server's frames aren't masked, so that the bytes of one are the same for every connection.

use agentworks_schemas::Timestamp;
use agentworks_schemas::protocol::ServerMessage;
use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// A frame's header is at most so long: two bytes, and eight for a length beyond 64 KiB.
const MAX_HEADER: usize = 10;

/// When the entry in a frame came to be: what its delivery is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The entry's own timestamp.
    pub produced: Timestamp,
    /// The record's timestamp, by the broker's clock.
    pub appended: Timestamp,
}

/// A whole frame, header and payload. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Frame {
    bytes: Bytes,
    stamp: Option<Stamp>,
}

impl Frame {
    /// A message of the protocol.
    pub fn message(message: &ServerMessage<'_>) -> Self {
        let mut builder = FrameBuilder::default();
        builder.json(message);
        builder.finish()
    }

    pub(crate) fn ping() -> Self {
        control(Control::Ping, &[])
    }

    /// The answer to a ping with this payload, of at most 125 bytes.
    pub(crate) fn pong(payload: &[u8]) -> Self {
        control(Control::Pong, payload)
    }

    /// Ends the connection with a code and a reason of at most 123 bytes.
    pub(crate) fn close(code: u16, reason: &str) -> Self {
        control(Control::Close, &[&code.to_be_bytes(), reason.as_bytes()].concat())
    }

    /// The answer to a close without a code.
    pub(crate) fn close_without_code() -> Self {
        control(Control::Close, &[])
    }

    /// The same frame, whose delivery is measured against `stamp`.
    pub(crate) fn stamped(self, stamp: Stamp) -> Self {
        Frame { stamp: Some(stamp), ..self }
    }

    /// When its entry came to be, if its delivery is measured.
    pub fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    /// Whether it is a ping, a pong or a close: it shows nothing to anybody.
    pub fn is_control(&self) -> bool {
        self.bytes.first().is_some_and(|first| first & 0x08 != 0)
    }

    /// Header and payload.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The length of header and payload, in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a frame has a header at least.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The payload alone.
    pub fn payload(&self) -> &[u8] {
        let length = match self.bytes[1] & 0x7f {
            126 => 4,
            127 => MAX_HEADER,
            _ => 2,
        };
        &self.bytes[length..]
    }
}

fn control(kind: Control, payload: &[u8]) -> Frame {
    debug_assert!(payload.len() <= 125, "the payload of a control frame is short");
    let mut builder = FrameBuilder::default();
    builder.text().extend_from_slice(payload);
    builder.finish_as(OpCode::Control(kind))
}

/// Builds text frames, one after another, in a buffer that is used again.
#[derive(Debug)]
pub(crate) struct FrameBuilder {
    /// Room for the longest header, then the payload.
    buffer: Vec<u8>,
}

impl Default for FrameBuilder {
    fn default() -> Self {
        FrameBuilder { buffer: vec![0; MAX_HEADER] }
    }
}

impl FrameBuilder {
    /// The payload so far, to be appended to.
    pub(crate) fn text(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Appends a value as JSON.
    pub(crate) fn json(&mut self, value: &impl serde::Serialize) {
        if let Err(error) = serde_json::to_writer(&mut self.buffer, value) {
            unreachable!("the protocol's types have string keys only, and a buffer takes every byte: {error}");
        }
    }

    /// How long the payload is so far.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len() - MAX_HEADER
    }

    /// The frame. The builder is empty afterwards.
    pub(crate) fn finish(&mut self) -> Frame {
        self.finish_as(OpCode::Data(Data::Text))
    }

    fn finish_as(&mut self, opcode: OpCode) -> Frame {
        let length = self.len() as u64;
        let header = FrameHeader { is_final: true, opcode, ..FrameHeader::default() };
        let start = MAX_HEADER - header.len(length);
        if let Err(error) = header.format(length, &mut &mut self.buffer[start..MAX_HEADER]) {
            unreachable!("there is room for the header: {error}");
        }
        let bytes = Bytes::copy_from_slice(&self.buffer[start..]);
        self.buffer.truncate(MAX_HEADER);
        Frame { bytes, stamp: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_as_long_as_lengths_need() {
        let mut builder = FrameBuilder::default();
        for (length, header) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)] {
            builder.text().resize(MAX_HEADER + length, b'x');
            let frame = builder.finish();
            assert_eq!((frame.len(), frame.payload().len()), (length + header, length));
            assert_eq!(frame.as_bytes()[0], 0x81);
        }
    }

    #[test]
    fn a_message_is_its_json() {
        let frame = Frame::message(&ServerMessage::Pong { timestamp: 7 });
        assert_eq!(frame.payload(), br#"{"type":"pong","timestamp":7}"#);
    }

    #[test]
    fn control_frames() {
        assert_eq!(Frame::close(1008, "no").as_bytes(), b"\x88\x04\x03\xf0no");
        assert_eq!(Frame::pong(b"hi").as_bytes(), b"\x8a\x02hi");
        assert_eq!(Frame::ping().as_bytes(), b"\x89\x00");
    }
}
