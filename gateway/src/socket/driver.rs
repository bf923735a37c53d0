//! The task that reads and writes one socket.
//!
//! It owns the `TcpStream`. It hands text messages to the session, answers pings, writes what is in the outbox with as few
//! system calls as it can, and notices when the peer is gone. It decides nothing else.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::close::CloseCode;
use super::frame::{Frame, Stamp};
use super::outbox::{Outbox, Waiting};
use super::parser::{Inbound, Parser};
use crate::metrics::Metrics;

/// How many frames go into one system call.
const WRITE_FRAMES: usize = 64;
/// How many system calls are made before others get their turn.
const WRITES: usize = 16;
/// How many bytes are asked for at once.
const READ_BYTES: usize = 4096;
/// How long a peer has to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// After so many pings without any sign of life the peer is taken for dead.
const SILENT_BEATS: u32 = 2;

/// The limits and times of a socket.
#[derive(Clone, Copy, Debug)]
pub struct SocketLimits {
    /// The largest message taken, in bytes.
    pub max_message: usize,
    /// How often the peer is pinged.
    pub heartbeat: Duration,
    /// How long nothing of what waits may be accepted by the peer.
    pub write_timeout: Duration,
}

/// How a socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketEnd {
    /// The peer closed, or answered our close.
    Closed,
    /// The peer was just gone.
    Gone,
    /// The peer didn't answer pings.
    Silent,
    /// The peer didn't read.
    Stalled,
    /// What the peer sent wasn't by the protocol.
    Fault(CloseCode),
}

impl SocketEnd {
    /// A short stable name, for metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            SocketEnd::Closed => "closed",
            SocketEnd::Gone => "gone",
            SocketEnd::Silent => "silent",
            SocketEnd::Stalled => "stalled",
            SocketEnd::Fault(_) => "fault",
        }
    }
}

/// Reads and writes a socket until it is over, and says how it ended. `early` is what came with the handshake; text
/// messages go to `inbox`, which is closed when no more will come.
pub async fn drive(
    stream: TcpStream,
    early: Bytes,
    outbox: Arc<Outbox>,
    inbox: mpsc::Sender<String>,
    limits: SocketLimits,
    metrics: &Metrics,
) -> SocketEnd {
    let mut socket = Socket {
        stream,
        parser: Parser::new(limits.max_message),
        received: VecDeque::new(),
        inbox: Some(inbox),
        writing: VecDeque::new(),
        written: 0,
        is_last: false,
        silent_beats: 0,
        stalled: None,
        closing: None,
        peer_closed: false,
        end: SocketEnd::Closed,
        outbox,
        limits,
        metrics,
    };
    socket.received(&early);
    drop(early);
    let end = match socket.run().await {
        Ok(()) => socket.end,
        Err(end) => end,
    };
    socket.outbox.abandon();
    end
}

#[derive(Debug)]
struct Socket<'m> {
    stream: TcpStream,
    parser: Parser,
    /// Messages that the session has not taken yet. While there are any, nothing more is read.
    received: VecDeque<String>,
    inbox: Option<mpsc::Sender<String>>,
    /// What was taken from the outbox; of the first frame, `written` bytes are through.
    writing: VecDeque<Frame>,
    written: usize,
    /// Whether the last frame in `writing` is the connection's last.
    is_last: bool,
    silent_beats: u32,
    /// Since when the kernel has taken nothing.
    stalled: Option<Instant>,
    /// Our close is through; until when the peer has to be gone.
    closing: Option<Instant>,
    /// The peer's close was read.
    peer_closed: bool,
    end: SocketEnd,
    outbox: Arc<Outbox>,
    limits: SocketLimits,
    metrics: &'m Metrics,
}

/// What a socket was woken by.
enum Wake {
    Readable,
    Writable,
    Tick,
}

impl Socket<'_> {
    async fn run(&mut self) -> Result<(), SocketEnd> {
        let mut next_beat = Instant::now() + self.limits.heartbeat;
        let mut timer = std::pin::pin!(sleep_until(next_beat));
        loop {
            let is_blocked = !self.write()?;
            if self.is_last && self.writing.is_empty() && self.closing.is_none() {
                if self.peer_closed {
                    return Ok(());
                }
                // Until the peer has read our close: data that it sends meanwhile would reset the connection otherwise.
                self.closing = Some(Instant::now() + CLOSE_TIMEOUT);
            }
            let soonest = [self.closing, self.stalls_at()].into_iter().flatten().min();
            if let Some(soonest) = soonest.filter(|soonest| *soonest < timer.deadline()) {
                timer.as_mut().reset(soonest);
            }
            let wake = tokio::select! {
                permit = take_permit(&self.inbox), if !self.received.is_empty() => {
                    match (permit, self.received.pop_front()) {
                        (Some(permit), Some(text)) => permit.send(text),
                        // The session has ended. What it had to say is in the outbox.
                        _ => self.received.clear(),
                    }
                    continue;
                }
                _ = self.stream.readable(), if self.received.is_empty() => Wake::Readable,
                _ = self.stream.writable(), if is_blocked => Wake::Writable,
                () = self.outbox.filled(), if !is_blocked && !self.is_last => Wake::Writable,
                () = timer.as_mut() => Wake::Tick,
            };
            match wake {
                Wake::Readable => self.read()?,
                Wake::Writable => {}
                Wake::Tick => timer.as_mut().reset(self.tick(&mut next_beat)?),
            }
        }
    }

    fn read(&mut self) -> Result<(), SocketEnd> {
        // On the stack of this call, not in the task: an idle connection holds no buffer.
        let mut buffer = [0; READ_BYTES];
        match self.stream.try_read(&mut buffer) {
            Ok(0) => Err(self.gone()),
            Ok(length) => {
                self.silent_beats = 0;
                self.received(&buffer[..length]);
                if self.peer_closed && self.closing.is_some() { Err(self.end) } else { Ok(()) }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(self.gone()),
        }
    }

    /// The peer is no longer there, which after a close is as it should be.
    fn gone(&self) -> SocketEnd {
        if self.is_last { self.end } else { SocketEnd::Gone }
    }

    fn received(&mut self, bytes: &[u8]) {
        let Socket { parser, received, inbox, outbox, .. } = self;
        let mut close = None;
        let result = parser.feed(bytes, |inbound| match inbound {
            Inbound::Text(text) => received.push_back(text),
            Inbound::Ping(payload) => outbox.control(Frame::pong(&payload)),
            Inbound::Pong => {}
            Inbound::Close(code) => close = Some(code),
        });
        if let Err(fault) = result {
            self.end = SocketEnd::Fault(fault.code());
            outbox.close(fault.code(), &fault.to_string(), Waiting::Drop);
        } else if let Some(code) = close {
            // The peer doesn't want what waits.
            self.peer_closed = true;
            let answer = match code {
                Some(_) => Frame::close(CloseCode::Normal.number(), ""),
                None => Frame::close_without_code(),
            };
            outbox.close_with(answer, Waiting::Drop);
        } else {
            return;
        }
        *inbox = None;
        self.received.clear();
    }

    /// Writes what there is. Returns whether all of it is through.
    fn write(&mut self) -> Result<bool, SocketEnd> {
        for _ in 0..WRITES {
            if self.writing.len() < WRITE_FRAMES / 2 && !self.is_last {
                self.is_last = self.outbox.take(&mut self.writing, WRITE_FRAMES);
            }
            if self.writing.is_empty() {
                self.stalled = None;
                return Ok(true);
            }
            match self.write_some() {
                Ok(bytes) => {
                    self.stalled = None;
                    self.advance(bytes);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stalled.get_or_insert_with(Instant::now);
                    return Ok(false);
                }
                Err(_) => return Err(self.gone()),
            }
        }
        Ok(false)
    }

    fn write_some(&self) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); WRITE_FRAMES];
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.writing) {
            let skip = if count == 0 { self.written } else { 0 };
            *slice = IoSlice::new(&frame.as_bytes()[skip..]);
            count += 1;
        }
        self.stream.try_write_vectored(&slices[..count])
    }

    /// Moves past bytes that were written.
    fn advance(&mut self, bytes: usize) {
        self.written += bytes;
        let mut frames = 0;
        let mut oldest: Option<Stamp> = None;
        while let Some(first) = self.writing.front() {
            if first.len() > self.written {
                break;
            }
            self.written -= first.len();
            oldest = oldest.or(first.stamp());
            frames += 1;
            self.writing.pop_front();
        }
        self.outbox.written(bytes);
        self.metrics.sent(frames, bytes, oldest);
    }

    fn stalls_at(&self) -> Option<Instant> {
        self.stalled.map(|since| since + self.limits.write_timeout)
    }

    /// Looks after what depends on time; says when to look again.
    fn tick(&mut self, next_beat: &mut Instant) -> Result<Instant, SocketEnd> {
        let now = Instant::now();
        if self.closing.is_some_and(|until| now >= until) {
            return Err(self.end);
        }
        let stalls_at = self.stalls_at();
        if stalls_at.is_some_and(|at| now >= at) {
            return Err(SocketEnd::Stalled);
        }
        if now >= *next_beat {
            *next_beat = now + self.limits.heartbeat;
            // While the session doesn't take what was read, a pong may wait unread.
            if self.received.is_empty() {
                if self.silent_beats >= SILENT_BEATS {
                    return Err(SocketEnd::Silent);
                }
                self.silent_beats += 1;
                self.outbox.control(Frame::ping());
            }
        }
        let times = [Some(*next_beat), stalls_at, self.closing];
        Ok(times.into_iter().flatten().min().unwrap_or(*next_beat))
    }
}

/// Waits until the session takes a message; `None` when it won't any more.
async fn take_permit(inbox: &Option<mpsc::Sender<String>>) -> Option<mpsc::Permit<'_, String>> {
    inbox.as_ref()?.reserve().await.ok()
}

#[cfg(test)]
mod tests;
