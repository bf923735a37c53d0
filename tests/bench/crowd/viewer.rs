//! One client of a crowd: its handshake, and the frames that come.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use super::{Answer, Opening};

const TEXT: u8 = 0x1;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
/// A ping of Centrifugo's protocol, and its answer.
const EMPTY: &[u8] = b"{}";

pub(super) struct Viewer {
    stream: TcpStream,
    /// What came and is not a whole frame yet.
    rest: Vec<u8>,
    is_upgraded: bool,
    hello: Option<String>,
    steps: VecDeque<(&'static str, Answer)>,
}

impl Viewer {
    /// Asks for a WebSocket. `stream` is connected.
    pub(super) fn open(mut stream: TcpStream, opening: Opening) -> Self {
        let Opening { address, path, token, hello, steps } = opening;
        let authorization = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{authorization}\r\n",
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        Viewer { stream, rest: Vec::new(), is_upgraded: false, hello, steps: steps.into() }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether it still waits for something before it is there.
    pub(super) fn is_arriving(&self) -> bool {
        !self.is_upgraded || !self.steps.is_empty()
    }

    /// Reads what is there, by way of `buffer`. `None` when the connection has ended.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match self.stream.read(buffer) {
            Ok(0) => None,
            Ok(length) => {
                self.rest.extend_from_slice(&buffer[..length]);
                Some(length)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Some(0),
            Err(_) => None,
        }
    }

    /// Calls `on` with every whole message that has come; pings are answered.
    pub(super) fn messages(&mut self, mut on: impl FnMut(&[u8])) {
        let mut rest = std::mem::take(&mut self.rest);
        let mut at = if self.is_upgraded { 0 } else { self.upgrade(&rest) };
        while let Some((opcode, payload)) = self.is_upgraded.then(|| frame(&rest[at..])).flatten() {
            let payload = at + payload.start..at + payload.end;
            at = payload.end;
            match (opcode, &rest[payload]) {
                (TEXT, text) => {
                    // Several messages may share a frame, a line each.
                    if text.split(|byte| *byte == b'\n').any(|line| line == EMPTY) {
                        self.say(TEXT, EMPTY);
                    }
                    self.step(text);
                    on(text);
                }
                (PING, payload) => self.say(PONG, payload),
                _ => {}
            }
        }
        rest.drain(..at);
        self.rest = rest;
    }

    /// Looks for the end of the answer's head; how long it is.
    fn upgrade(&mut self, received: &[u8]) -> usize {
        let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else { return 0 };
        assert!(received.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(received));
        self.is_upgraded = true;
        if let Some(hello) = self.hello.take() {
            self.say(TEXT, hello.as_bytes());
        }
        end + 4
    }

    /// Whether a message is what it waits for; if so, it goes on.
    fn step(&mut self, text: &[u8]) {
        let Some((words, _)) = self.steps.front() else { return };
        let text = std::str::from_utf8(text).unwrap();
        if !text.contains(words) {
            assert!(!text.contains(r#""type":"error""#), "{text}");
            return;
        }
        if let Some(answer) = self.steps.pop_front().and_then(|(_, answer)| answer(text)) {
            self.say(TEXT, answer.as_bytes());
        }
    }

    /// Sends a short message. A client masks, with zeros as well as with anything else.
    fn say(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            length @ ..126 => frame.push(0x80 | length as u8),
            length => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        // Whoever has just been heard of has room; a connection that has ended shows on reading.
        let _ = self.stream.write_all(&frame);
    }
}

/// The first frame, if it is there as a whole: its kind, and where its payload lies.
fn frame(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (first, length) = (*bytes.first()?, *bytes.get(1)?);
    let (header, length) = match length & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        length => (2, usize::from(length)),
    };
    (bytes.len() >= header + length).then(|| (first & 0x0f, header..header + length))
}
