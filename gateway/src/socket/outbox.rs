//! What waits to be written to one connection.
//!
//! Everything that a connection sends goes through its outbox: live frames, batches of history, replays, answers, pongs
//! and the close. So there is one place where the wait is bounded, and one writer.
//!
//! Two kinds of senders share it. *Live* frames are pushed by the hub, which can't wait: if there is no room, the
//! connection has fallen behind, and the hub lets go of it. All others *wait* for room, and leave half of it to the live
//! ones.
//!
//! The writer takes frames with [`Outbox::take`] and reports what the kernel accepted with [`Outbox::written`]; until then
//! they count. It is woken by way of the connection's driver, or where live frames were pushed, of its shard.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::close::CloseCode;
use super::frame::Frame;
use super::shard::Shard;
use super::writer::Writer;

/// The frames that wait for one connection.
#[derive(Debug)]
pub struct Outbox {
    limit: usize,
    state: Mutex<State>,
    /// Who writes what is pushed; the driver, if nobody else does.
    shard: Option<Arc<Shard>>,
    writer: OnceLock<Weak<Writer>>,
    /// There is something for the driver to write.
    filled: Notify,
    /// There is room again, or the connection is over.
    drained: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    /// The bytes of `frames` and of what the writer took and has not written yet.
    bytes: usize,
    /// The bytes written so far.
    sent: u64,
    /// The shard knows that there is something to write.
    is_due: bool,
    /// Goes out before `frames`. A newer one replaces it: only the last ping need be answered.
    control: Option<Frame>,
    end: End,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    /// The last frame is in the queue.
    Closing,
    /// The writer is gone.
    Gone,
}

/// The connection is over: nothing will be sent any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is over")]
pub struct Closed;

/// What to do with the frames that wait when a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// They go out first.
    Send,
    /// They are dropped.
    Drop,
}

impl Outbox {
    /// An outbox in which at most `limit` bytes wait, or one frame if that is larger.
    pub fn new(limit: usize) -> Self {
        let (filled, drained) = (Notify::new(), Notify::new());
        Outbox { limit, state: Mutex::default(), shard: None, writer: OnceLock::new(), filled, drained }
    }

    /// The same, with a shard to write what is pushed.
    pub(crate) fn on(self, shard: Arc<Shard>) -> Self {
        Outbox { shard: Some(shard), ..self }
    }

    /// Says who writes.
    pub(super) fn attach(&self, writer: &Arc<Writer>) {
        // There is one to a connection.
        let _ = self.writer.set(Arc::downgrade(writer));
    }

    /// Begins to push live frames; nobody else gets at the outbox until the pusher is dropped.
    pub fn pusher(&self) -> Pusher<'_> {
        Pusher { outbox: self, state: self.state.lock(), pushed: false }
    }

    /// Queues a frame once there is room for those that wait.
    ///
    /// # Errors
    /// When the connection is over.
    pub async fn send(&self, frame: Frame) -> Result<(), Closed> {
        let mut frame = frame;
        loop {
            self.room().await?;
            match self.try_send(frame)? {
                Some(back) => frame = back,
                None => return Ok(()),
            }
        }
    }

    /// Queues a frame if there is room for those that wait; otherwise gives it back.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn try_send(&self, frame: Frame) -> Result<Option<Frame>, Closed> {
        let mut state = self.state.lock();
        if state.end != End::Open {
            return Err(Closed);
        }
        if !self.has_room(&state) {
            return Ok(Some(frame));
        }
        state.push(frame);
        drop(state);
        self.filled.notify_one();
        Ok(None)
    }

    /// Waits until there is room for those that wait. Somebody else may take it first.
    ///
    /// # Errors
    /// When the connection is over.
    pub async fn room(&self) -> Result<(), Closed> {
        loop {
            let mut drained = pin!(self.drained.notified());
            drained.as_mut().enable();
            {
                let state = self.state.lock();
                if state.end != End::Open {
                    return Err(Closed);
                }
                if self.has_room(&state) {
                    return Ok(());
                }
            }
            drained.await;
        }
    }

    /// What comes of `work`, unless the connection is over before.
    ///
    /// # Errors
    /// When the connection is over.
    pub(crate) async fn unless_closed<T>(&self, work: impl Future<Output = T>) -> Result<T, Closed> {
        tokio::select! {
            done = work => Ok(done),
            () = self.closed() => Err(Closed),
        }
    }

    /// Waits until the connection is over.
    async fn closed(&self) {
        loop {
            let mut drained = pin!(self.drained.notified());
            drained.as_mut().enable();
            if self.is_closed() {
                return;
            }
            drained.await;
        }
    }

    /// How many bytes those that wait may queue now; 0 if they may not.
    pub fn free(&self) -> usize {
        let state = self.state.lock();
        if state.end == End::Open { (self.limit / 2).saturating_sub(state.bytes) } else { 0 }
    }

    fn has_room(&self, state: &State) -> bool {
        state.bytes < self.limit / 2 || state.bytes == 0
    }

    /// Queues a ping or pong, ahead of all that waits. It replaces one that is still there.
    pub(crate) fn control(&self, frame: Frame) {
        let mut state = self.state.lock();
        if state.end == End::Open {
            state.control = Some(frame);
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Queues a frame whether or not there is room. For one that must not wait, and that is said once.
    pub(crate) fn insist(&self, frame: Frame) {
        let mut state = self.state.lock();
        if state.end == End::Open {
            state.push(frame);
            drop(state);
            self.filled.notify_one();
        }
    }

    /// How many bytes wait to be written.
    pub fn pending(&self) -> usize {
        self.state.lock().bytes
    }

    /// How many bytes have been written so far.
    pub fn sent(&self) -> u64 {
        self.state.lock().sent
    }

    /// Closes the connection with a code and a reason. Nothing can be queued any more.
    pub fn close(&self, code: CloseCode, reason: &str, waiting: Waiting) {
        self.close_with(Frame::close(code.number(), reason), waiting);
    }

    pub(crate) fn close_with(&self, frame: Frame, waiting: Waiting) {
        let mut state = self.state.lock();
        if state.end == End::Open {
            state.end = End::Closing;
            state.control = None;
            if waiting == Waiting::Drop {
                let dropped: usize = state.frames.drain(..).map(|frame| frame.len()).sum();
                state.bytes -= dropped;
            }
            state.push(frame);
            drop(state);
            self.filled.notify_one();
            self.drained.notify_waiters();
        }
    }

    /// Whether nothing can be queued any more.
    pub fn is_closed(&self) -> bool {
        self.state.lock().end != End::Open
    }

    /// Moves frames that wait to the writer, until it holds `max` of them. Returns whether the last frame of the
    /// connection is among what it holds.
    pub(crate) fn take(&self, into: &mut VecDeque<Frame>, max: usize) -> bool {
        let mut state = self.state.lock();
        state.is_due = false;
        if let Some(control) = state.control.take() {
            state.bytes += control.len();
            // The first one may have been written in part.
            into.insert(into.len().min(1), control);
        }
        let count = max.saturating_sub(into.len()).min(state.frames.len());
        into.extend(state.frames.drain(..count));
        if state.frames.is_empty() {
            // A connection that was busy once shall not hold its memory for ever.
            if state.frames.capacity() > 64 {
                state.frames = VecDeque::new();
            }
            return state.end == End::Closing;
        }
        false
    }

    /// Says that bytes of frames that were taken have been written.
    pub(crate) fn written(&self, bytes: usize) {
        let mut state = self.state.lock();
        let had_room = self.has_room(&state);
        state.bytes -= bytes;
        state.sent += bytes as u64;
        let has_room = self.has_room(&state);
        drop(state);
        if has_room && !had_room {
            self.drained.notify_waiters();
        }
    }

    /// Waits until there may be something for the driver to take. Only one may wait.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Says that there is something for the driver to do.
    pub(super) fn notify_driver(&self) {
        self.filled.notify_one();
    }

    /// Says that nothing will be written any more.
    pub(crate) fn abandon(&self) {
        let mut state = self.state.lock();
        *state = State { end: End::Gone, ..State::default() };
        drop(state);
        self.drained.notify_waiters();
    }
}

impl State {
    fn push(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }
}

/// Pushes live frames.
#[derive(Debug)]
pub struct Pusher<'a> {
    outbox: &'a Outbox,
    state: MutexGuard<'a, State>,
    pushed: bool,
}

impl Pusher<'_> {
    /// Queues a frame, unless there is no room: then nothing has changed, and the answer is false. A connection that is
    /// over takes everything, for nobody will miss it.
    pub fn push(&mut self, frame: &Frame) -> bool {
        if self.state.end != End::Open {
            return true;
        }
        if self.state.bytes > 0 && self.state.bytes + frame.len() > self.outbox.limit {
            return false;
        }
        self.state.push(frame.clone());
        self.pushed = true;
        true
    }

    /// How many bytes wait.
    pub fn pending(&self) -> usize {
        self.state.bytes
    }
}

impl Drop for Pusher<'_> {
    fn drop(&mut self) {
        if !self.pushed || self.state.is_due {
            return;
        }
        let Outbox { shard, writer, filled, .. } = self.outbox;
        match (shard, writer.get().and_then(Weak::upgrade)) {
            (Some(shard), Some(writer)) => {
                self.state.is_due = true;
                shard.push(writer);
            }
            // What came before the driver began, it finds by itself.
            _ => filled.notify_one(),
        }
    }
}

#[cfg(test)]
mod tests;
