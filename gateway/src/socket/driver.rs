//! The task that reads and writes one socket.
//!
//! It owns the `TcpStream`. It hands text messages to the session, answers pings, writes what is in the outbox with as few
//! system calls as it can, and notices when the peer is gone. It decides nothing else.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::close::CloseCode;
use super::frame::Frame;
use super::outbox::{Outbox, Waiting};
use super::parser::{Fault, Inbound, Parser};
use super::rate::{Rate, Verdict};
use super::writer::{Meters, Progress, Writer};

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
    /// How many frames that are no messages (pings, pongs, parts of messages) are taken per second, on average over ten.
    pub frames_per_second: u32,
    /// How long nothing may be said or shown; zero for ever. It is looked at with each heartbeat.
    pub idle_timeout: Duration,
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
    /// Nothing was said or shown for long.
    Idle,
    /// What the peer sent wasn't by the protocol.
    Fault(CloseCode),
}

impl SocketEnd {
    /// The code with which the gateway closed of its own accord, because of the peer.
    pub fn code(self) -> Option<CloseCode> {
        match self {
            SocketEnd::Closed | SocketEnd::Gone => None,
            SocketEnd::Silent => Some(CloseCode::NoPong),
            SocketEnd::Stalled => Some(CloseCode::TooSlow),
            SocketEnd::Idle => Some(CloseCode::Idle),
            SocketEnd::Fault(code) => Some(code),
        }
    }

    /// A short stable name, for metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            SocketEnd::Closed => "closed",
            SocketEnd::Gone => "gone",
            SocketEnd::Silent => "silent",
            SocketEnd::Stalled => "stalled",
            SocketEnd::Idle => "idle",
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
    meters: Meters,
) -> SocketEnd {
    let now = Instant::now();
    let writer = Arc::new(Writer::new(stream, Arc::clone(&outbox), meters, now));
    outbox.attach(&writer);
    let mut socket = Socket {
        writer,
        parser: Parser::new(limits.max_message),
        received: VecDeque::new(),
        inbox: Some(inbox),
        is_last: false,
        frames: Rate::new(limits.frames_per_second, now),
        silent_beats: 0,
        active: now,
        stalled: None,
        closing: None,
        peer_closed: false,
        end: SocketEnd::Closed,
        outbox,
        limits,
    };
    socket.received(&early);
    drop(early);
    let end = match socket.run().await {
        Ok(()) => socket.end,
        Err(end) => end,
    };
    socket.writer.abandon();
    end
}

#[derive(Debug)]
struct Socket {
    /// Has the stream.
    writer: Arc<Writer>,
    parser: Parser,
    /// Messages that the session has not taken yet. While there are any, nothing more is read.
    received: VecDeque<String>,
    inbox: Option<mpsc::Sender<String>>,
    /// Whether the connection's last frame is on its way, or through.
    is_last: bool,
    /// How fast frames come that are no messages.
    frames: Rate,
    silent_beats: u32,
    /// When something was last said.
    active: Instant,
    /// Since when the kernel has taken nothing.
    stalled: Option<Instant>,
    /// Our close is through; until when the peer has to be gone.
    closing: Option<Instant>,
    /// The peer's close was read.
    peer_closed: bool,
    end: SocketEnd,
    outbox: Arc<Outbox>,
    limits: SocketLimits,
}

/// What a socket was woken by.
enum Wake {
    Readable,
    Writable,
    Tick,
}

impl Socket {
    async fn run(&mut self) -> Result<(), SocketEnd> {
        let mut next_beat = Instant::now() + self.limits.heartbeat;
        let mut timer = std::pin::pin!(sleep_until(next_beat));
        loop {
            let is_left = self.write()?;
            if self.is_last && !is_left && self.closing.is_none() {
                if self.peer_closed {
                    return Ok(());
                }
                // Until the peer has read our close: data that it sends meanwhile would reset the connection otherwise.
                self.closing = Some(Instant::now() + CLOSE_TIMEOUT);
            }
            if let Some(soonest) = self.closing.or(self.stalls_at()).filter(|soonest| *soonest < timer.deadline()) {
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
                _ = self.writer.stream.readable(), if self.received.is_empty() => Wake::Readable,
                _ = self.writer.stream.writable(), if is_left => Wake::Writable,
                () = self.outbox.filled(), if !is_left && !self.is_last => Wake::Writable,
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
        match self.writer.stream.try_read(&mut buffer) {
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
        if self.is_last || self.closing.is_some() { self.end } else { SocketEnd::Gone }
    }

    fn received(&mut self, bytes: &[u8]) {
        let Socket { parser, received, frames, active, outbox, .. } = self;
        let now = Instant::now();
        let (mut close, mut flooded) = (None, false);
        let result = parser.feed(bytes, |inbound| {
            // What makes no message costs something, too. Messages are counted where they are understood.
            if matches!(inbound, Inbound::Ping(_) | Inbound::Pong | Inbound::Fragment) {
                match frames.message(now) {
                    Verdict::Take => {}
                    Verdict::Refuse | Verdict::Ignore => return,
                    Verdict::Close => flooded = true,
                }
            }
            match inbound {
                Inbound::Text(text) => {
                    *active = now;
                    received.push_back(text);
                }
                Inbound::Ping(payload) => outbox.control(Frame::pong(&payload)),
                Inbound::Pong | Inbound::Fragment => {}
                Inbound::Close(code) => close = Some(code),
            }
        });
        if let Err(fault) = result {
            self.fault(fault.code(), &self.complaint(fault));
        } else if let Some(code) = close {
            // The peer doesn't want what waits.
            self.peer_closed = true;
            let answer = match code {
                Some(_) => Frame::close(CloseCode::Normal.number(), ""),
                None => Frame::close_without_code(),
            };
            self.outbox.close_with(answer, Waiting::Drop);
            self.listen_no_more();
        } else if flooded {
            self.fault(CloseCode::Policy, "too many pings, pongs or parts of messages");
        }
    }

    /// What is told of a fault.
    fn complaint(&self, fault: Fault) -> String {
        match fault {
            Fault::TooBig => format!("{fault}: max_message is {} bytes", self.limits.max_message),
            fault => fault.to_string(),
        }
    }

    fn fault(&mut self, code: CloseCode, reason: &str) {
        self.end = SocketEnd::Fault(code);
        self.outbox.close(code, reason, Waiting::Drop);
        self.listen_no_more();
    }

    fn listen_no_more(&mut self) {
        self.inbox = None;
        self.received.clear();
    }

    /// Closes, and waits a little for the peer to see it: nothing is known of it any more.
    fn give_up(&mut self, end: SocketEnd, reason: &str, now: Instant) {
        self.end = end;
        if let Some(code) = end.code() {
            self.outbox.close(code, reason, Waiting::Drop);
        }
        // What was begun has to be ended.
        self.writer.forget();
        self.closing = Some(now + CLOSE_TIMEOUT);
        self.listen_no_more();
    }

    /// Writes what there is. Returns whether more is left to be written.
    fn write(&mut self) -> Result<bool, SocketEnd> {
        let Ok(Progress { is_left, is_last, stalled }) = self.writer.write() else { return Err(self.gone()) };
        (self.is_last, self.stalled) = (is_last, stalled);
        Ok(is_left)
    }

    fn stalls_at(&self) -> Option<Instant> {
        self.stalled.map(|since| since + self.limits.write_timeout)
    }

    /// Looks after what depends on time; says when to look again.
    fn tick(&mut self, next_beat: &mut Instant) -> Result<Instant, SocketEnd> {
        let now = Instant::now();
        if let Some(until) = self.closing {
            return if now >= until { Err(self.end) } else { Ok(until) };
        }
        if self.stalls_at().is_some_and(|at| now >= at) {
            self.give_up(SocketEnd::Stalled, "what was sent was not read", now);
        } else if now >= *next_beat {
            *next_beat = now + self.limits.heartbeat;
            self.beat(now);
        }
        let soonest = self.closing.or(self.stalls_at());
        Ok(soonest.map_or(*next_beat, |soonest| soonest.min(*next_beat)))
    }

    fn beat(&mut self, now: Instant) {
        let idle = self.limits.idle_timeout;
        if !idle.is_zero() && now - self.active.max(self.writer.shown()) >= idle {
            return self.give_up(SocketEnd::Idle, "nothing was said or shown for long", now);
        }
        // While the session doesn't take what was read, a pong may wait unread.
        if self.received.is_empty() {
            if self.silent_beats >= SILENT_BEATS {
                return self.give_up(SocketEnd::Silent, "pings were not answered", now);
            }
            self.silent_beats += 1;
            self.outbox.control(Frame::ping());
        }
    }
}

/// Waits until the session takes a message; `None` when it won't any more.
async fn take_permit(inbox: &Option<mpsc::Sender<String>>) -> Option<mpsc::Permit<'_, String>> {
    inbox.as_ref()?.reserve().await.ok()
}

#[cfg(test)]
mod tests;
