//! What comes in: bytes to messages, by RFC 6455.
//!
//! It takes bytes as they come, in any pieces, and keeps only what doesn't make a frame yet: between messages it holds no
//! memory at all.

use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::close::CloseCode;

/// What a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// A text message.
    Text(String),
    /// A ping, and what to send back.
    Ping(Vec<u8>),
    /// The answer to a ping.
    Pong,
    /// A part of a message, of which more is to come.
    Fragment,
    /// It closes the connection, with this code if any. Nothing comes after it.
    Close(Option<u16>),
}

/// What a client sent is not by the protocol. The connection has to be closed with [`Fault::code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each says it in its message")]
pub enum Fault {
    #[error("reserved bits are set")]
    Reserved,
    #[error("unknown opcode")]
    Opcode,
    #[error("the frame is not masked")]
    Unmasked,
    #[error("the length is not in its shortest form")]
    Length,
    #[error("the control frame is too long or fragmented")]
    Control,
    #[error("the fragment does not continue a message, or a message begins within another")]
    Fragment,
    #[error("the close frame is not valid")]
    Close,
    #[error("binary messages are not taken")]
    Binary,
    #[error("the text is not UTF-8")]
    Utf8,
    #[error("the message is too big")]
    TooBig,
}

impl Fault {
    /// The code to close with.
    pub fn code(self) -> CloseCode {
        match self {
            Fault::Binary => CloseCode::Unsupported,
            Fault::Utf8 => CloseCode::InvalidPayload,
            Fault::TooBig => CloseCode::TooBig,
            _ => CloseCode::Protocol,
        }
    }
}

/// Makes messages of bytes.
#[derive(Debug)]
pub struct Parser {
    max_message: usize,
    /// The beginning of a frame.
    partial: Vec<u8>,
    /// The beginning of a fragmented message, unmasked.
    message: Option<Vec<u8>>,
    closed: bool,
}

impl Parser {
    /// A parser that takes messages of at most `max_message` bytes.
    pub fn new(max_message: usize) -> Self {
        Parser { max_message, partial: Vec::new(), message: None, closed: false }
    }

    /// Takes bytes, and hands each thing that is complete to `out`, in order. After a fault or a close, nothing more is
    /// taken.
    ///
    /// # Errors
    /// If the bytes are not by the protocol; what came before the fault has been handed out.
    pub fn feed(&mut self, bytes: &[u8], mut out: impl FnMut(Inbound)) -> Result<(), Fault> {
        if self.closed {
            return Ok(());
        }
        let mut partial = std::mem::take(&mut self.partial);
        let result = if partial.is_empty() {
            self.frames(bytes, &mut out).map(|taken| self.partial.extend_from_slice(&bytes[taken..]))
        } else {
            partial.extend_from_slice(bytes);
            self.frames(&partial, &mut out).map(|taken| {
                partial.drain(..taken);
                if !partial.is_empty() {
                    self.partial = partial;
                }
            })
        };
        self.closed |= result.is_err();
        result
    }

    /// Takes all frames that are complete; how many bytes they have.
    fn frames(&mut self, bytes: &[u8], out: &mut impl FnMut(Inbound)) -> Result<usize, Fault> {
        let mut taken = 0;
        while !self.closed {
            let rest = &bytes[taken..];
            let mut cursor = Cursor::new(rest);
            let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(|_| Fault::Opcode)? else { break };
            let start = cursor.position() as usize;
            let mask = self.check(&header, length, start)?;
            // The length is at most that of a message, which is a usize.
            let end = start + length as usize;
            let Some(masked) = rest.get(start..end) else { break };
            self.frame(&header, mask, masked, out)?;
            taken += end;
        }
        Ok(if self.closed { bytes.len() } else { taken })
    }

    /// Whether a header may be, before its payload is waited for.
    fn check(&self, header: &FrameHeader, length: u64, header_length: usize) -> Result<[u8; 4], Fault> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Fault::Reserved);
        }
        let mask = header.mask.ok_or(Fault::Unmasked)?;
        if header.len(length) != header_length {
            return Err(Fault::Length);
        }
        match header.opcode {
            OpCode::Control(_) if length > 125 || !header.is_final => return Err(Fault::Control),
            OpCode::Control(_) => {}
            OpCode::Data(Data::Continue) if self.message.is_none() => return Err(Fault::Fragment),
            OpCode::Data(Data::Text | Data::Binary) if self.message.is_some() => return Err(Fault::Fragment),
            OpCode::Data(Data::Binary) => return Err(Fault::Binary),
            OpCode::Data(_) => {
                let before = self.message.as_ref().map_or(0, Vec::len);
                if length > (self.max_message - before) as u64 {
                    return Err(Fault::TooBig);
                }
            }
        }
        Ok(mask)
    }

    fn frame(
        &mut self,
        header: &FrameHeader,
        mask: [u8; 4],
        masked: &[u8],
        out: &mut impl FnMut(Inbound),
    ) -> Result<(), Fault> {
        match header.opcode {
            OpCode::Data(_) => {
                let mut message = self.message.take().unwrap_or_default();
                unmask(mask, masked, &mut message);
                if header.is_final {
                    out(Inbound::Text(String::from_utf8(message).map_err(|_| Fault::Utf8)?));
                } else {
                    self.message = Some(message);
                    out(Inbound::Fragment);
                }
            }
            OpCode::Control(kind) => {
                let mut payload = Vec::new();
                unmask(mask, masked, &mut payload);
                match kind {
                    Control::Ping => out(Inbound::Ping(payload)),
                    Control::Pong => out(Inbound::Pong),
                    Control::Close => {
                        out(Inbound::Close(close_code(&payload)?));
                        self.closed = true;
                    }
                    Control::Reserved(_) => return Err(Fault::Opcode),
                }
            }
        }
        Ok(())
    }
}

fn unmask(mask: [u8; 4], masked: &[u8], out: &mut Vec<u8>) {
    out.reserve_exact(masked.len());
    let (words, rest) = masked.as_chunks::<4>();
    for word in words {
        out.extend_from_slice(&(u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes());
    }
    out.extend(rest.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Fault> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(Fault::Close) };
    };
    let code = u16::from_be_bytes(*code);
    // The codes that an endpoint may send: 1004 to 1006 and 1015 stand for what is never sent.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Fault::Close);
    }
    std::str::from_utf8(reason).map_err(|_| Fault::Utf8)?;
    Ok(Some(code))
}

#[cfg(test)]
mod tests;
