//! The writing end of a socket: frames from the outbox to the kernel, with as few system calls as it can.
//!
//! Two have their hands on it, one at a time. The connection's driver writes what its session sends, and whatever has to
//! wait for the kernel to take more; the [`Shard`](super::shard::Shard) that the connection belongs to writes what the hub pushes,
//! for many connections after one waking.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::frame::{Frame, Stamp};
use super::outbox::Outbox;
use crate::metrics::Metrics;
use crate::tenants::Tenant;

/// How many frames go into one system call.
const WRITE_FRAMES: usize = 64;
/// How many system calls are made before others get their turn.
const WRITES: usize = 16;

/// Where what is written is counted.
#[derive(Clone, Debug)]
pub struct Meters {
    /// For all of the gateway.
    pub metrics: Arc<Metrics>,
    /// For the workspace, if the connection is of one.
    pub tenant: Option<Arc<Tenant>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(super) stream: TcpStream,
    outbox: Arc<Outbox>,
    meters: Meters,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What was taken from the outbox; of the first frame, `written` bytes are through.
    frames: VecDeque<Frame>,
    written: usize,
    /// Whether the last of `frames` is the connection's last.
    is_last: bool,
    /// Since when the kernel has taken nothing.
    stalled: Option<Instant>,
    /// More is to be written, and it is the driver's to do so.
    is_left: bool,
    /// When something was last shown to the peer.
    shown: Instant,
}

/// How far writing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// The kernel has to take something before there is more to do, or others get their turn.
    pub(super) is_left: bool,
    /// The connection's last frame was taken from the outbox.
    pub(super) is_last: bool,
    /// Since when the kernel has taken nothing.
    pub(super) stalled: Option<Instant>,
}

impl Writer {
    pub(super) fn new(stream: TcpStream, outbox: Arc<Outbox>, meters: Meters, now: Instant) -> Self {
        let (frames, written) = (VecDeque::new(), 0);
        let state = State { frames, written, is_last: false, stalled: None, is_left: false, shown: now };
        Writer { stream, outbox, meters, state: Mutex::new(state) }
    }

    /// Writes what there is, for the driver.
    pub(super) fn write(&self) -> io::Result<Progress> {
        let mut state = self.state.lock();
        state.is_left = !self.write_frames(&mut state)?;
        Ok(Progress { is_left: state.is_left, is_last: state.is_last, stalled: state.stalled })
    }

    /// Writes what there is, for the shard. What can't be written now is left to the driver, and so are faults: it finds
    /// them, too.
    pub(super) fn write_pushed(&self) {
        let mut state = self.state.lock();
        if state.is_left {
            return;
        }
        state.is_left = !matches!(self.write_frames(&mut state), Ok(true));
        if state.is_left {
            drop(state);
            self.outbox.notify_driver();
        }
    }

    /// Forgets what was taken and isn't begun: the connection is about to be closed for the peer's fault.
    pub(super) fn forget(&self) {
        let mut state = self.state.lock();
        let begun = usize::from(state.written > 0);
        state.frames.truncate(begun);
    }

    /// Nothing will be written any more.
    pub(super) fn abandon(&self) {
        let mut state = self.state.lock();
        // Nor by the shard, which may have it among those to write to.
        state.is_left = true;
        state.frames.clear();
        self.outbox.abandon();
    }

    /// When something was last shown to the peer.
    pub(super) fn shown(&self) -> Instant {
        self.state.lock().shown
    }

    /// Returns whether all of it is through.
    fn write_frames(&self, state: &mut State) -> io::Result<bool> {
        for _ in 0..WRITES {
            if state.frames.len() < WRITE_FRAMES / 2 && !state.is_last {
                state.is_last = self.outbox.take(&mut state.frames, WRITE_FRAMES);
            }
            if state.frames.is_empty() {
                state.stalled = None;
                return Ok(true);
            }
            match self.write_some(state) {
                Ok(bytes) => {
                    state.stalled = None;
                    self.advance(state, bytes);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    state.stalled.get_or_insert_with(Instant::now);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn write_some(&self, state: &State) -> io::Result<usize> {
        // By far the most often, and cheaper without a list.
        if let (Some(only), 1) = (state.frames.front(), state.frames.len()) {
            return self.stream.try_write(&only.as_bytes()[state.written..]);
        }
        let mut slices = [IoSlice::new(&[]); WRITE_FRAMES];
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(&state.frames) {
            let skip = if count == 0 { state.written } else { 0 };
            *slice = IoSlice::new(&frame.as_bytes()[skip..]);
            count += 1;
        }
        self.stream.try_write_vectored(&slices[..count])
    }

    /// Moves past bytes that were written.
    fn advance(&self, state: &mut State, bytes: usize) {
        state.written += bytes;
        let mut frames = 0;
        let mut oldest: Option<Stamp> = None;
        let mut shown = false;
        while let Some(first) = state.frames.front() {
            if first.len() > state.written {
                break;
            }
            state.written -= first.len();
            oldest = oldest.or(first.stamp());
            shown |= !first.is_control();
            frames += 1;
            state.frames.pop_front();
        }
        if shown {
            state.shown = Instant::now();
        }
        self.outbox.written(bytes);
        let Meters { metrics, tenant } = &self.meters;
        if let (Some(latency), Some(tenant)) = (metrics.sent(frames, bytes, oldest), tenant) {
            tenant.delivered(latency);
        }
    }
}
