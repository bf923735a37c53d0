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
//! they count. Nothing here knows whether a writer serves one connection or many.

use std::collections::VecDeque;
use std::pin::pin;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::close::CloseCode;
use super::frame::Frame;

/// The frames that wait for one connection.
#[derive(Debug)]
pub struct Outbox {
    limit: usize,
    state: Mutex<State>,
    /// There is something to write.
    filled: Notify,
    /// There is room again, or the connection is over.
    drained: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    /// The bytes of `frames` and of what the writer took and has not written yet.
    bytes: usize,
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
        Outbox { limit, state: Mutex::default(), filled: Notify::new(), drained: Notify::new() }
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
        let has_room = self.has_room(&state);
        drop(state);
        if has_room && !had_room {
            self.drained.notify_waiters();
        }
    }

    /// Waits until there may be something to take. Only one writer may wait.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
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
        if self.pushed {
            self.outbox.filled.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A frame of 100 bytes.
    fn frame(byte: u8) -> Frame {
        let mut builder = super::super::frame::FrameBuilder::default();
        let length = builder.text().len() + 98;
        builder.text().resize(length, byte);
        builder.finish()
    }

    fn taken(outbox: &Outbox, max: usize) -> Vec<u8> {
        let mut frames = VecDeque::new();
        outbox.take(&mut frames, max);
        frames.iter().map(|frame| frame.as_bytes()[2]).collect()
    }

    #[test]
    fn live_frames_go_up_to_the_limit_and_not_beyond() {
        let outbox = Outbox::new(350);
        let mut pusher = outbox.pusher();
        assert!((b'a'..b'd').all(|byte| pusher.push(&frame(byte))));
        assert!(!pusher.push(&frame(b'd')));
        drop(pusher);
        assert_eq!(taken(&outbox, 2), b"ab");
        assert!(!outbox.pusher().push(&frame(b'd')), "what is not written counts");
        outbox.written(200);
        assert!(outbox.pusher().push(&frame(b'd')));
        assert_eq!(taken(&outbox, 9), b"cd");
    }

    #[test]
    fn a_frame_beyond_the_limit_goes_alone() {
        let outbox = Outbox::new(50);
        assert!(outbox.pusher().push(&frame(b'a')));
        assert!(!outbox.pusher().push(&frame(b'b')));
    }

    #[tokio::test]
    async fn those_that_wait_leave_half_to_the_live_ones() {
        let outbox = Outbox::new(400);
        outbox.send(frame(b'a')).await.unwrap();
        outbox.send(frame(b'b')).await.unwrap();
        let mut third = Box::pin(outbox.send(frame(b'c')));
        assert!(futures_util::poll!(third.as_mut()).is_pending());
        assert!(outbox.pusher().push(&frame(b'd')));
        assert_eq!(taken(&outbox, 9), b"abd");
        outbox.written(100);
        assert!(futures_util::poll!(third.as_mut()).is_pending());
        outbox.written(50);
        third.await.unwrap();
        assert_eq!(taken(&outbox, 9), b"c");
    }

    #[tokio::test]
    async fn a_pong_goes_ahead_and_the_last_one_counts() {
        let outbox = Outbox::new(1000);
        outbox.send(frame(b'a')).await.unwrap();
        outbox.send(frame(b'b')).await.unwrap();
        let mut writer = VecDeque::new();
        outbox.take(&mut writer, 1);
        outbox.control(Frame::pong(b"1"));
        outbox.control(Frame::pong(b"2"));
        outbox.take(&mut writer, 9);
        let order: Vec<u8> = writer.iter().map(|frame| frame.as_bytes()[2]).collect();
        assert_eq!(order, b"a2b", "after the one that may be half written");
    }

    #[tokio::test]
    async fn after_the_close_nothing_can_be_queued() {
        for (waiting, left) in [(Waiting::Send, 2), (Waiting::Drop, 1)] {
            let outbox = Outbox::new(150);
            outbox.send(frame(b'a')).await.unwrap();
            let mut second = Box::pin(outbox.send(frame(b'b')));
            assert!(futures_util::poll!(second.as_mut()).is_pending());
            outbox.close(CloseCode::Restart, "bye", waiting);
            assert_eq!(second.await, Err(Closed));
            assert!(outbox.pusher().push(&frame(b'c')), "nobody misses it");
            let mut frames = VecDeque::new();
            assert!(outbox.take(&mut frames, 9));
            assert_eq!(frames.len(), left);
            assert_eq!(frames[left - 1].payload(), b"\x03\xf4bye");
        }
    }

    #[tokio::test]
    async fn when_the_writer_is_gone_nobody_waits() {
        let outbox = Outbox::new(150);
        outbox.send(frame(b'a')).await.unwrap();
        let mut second = Box::pin(outbox.send(frame(b'b')));
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        outbox.abandon();
        assert_eq!(second.await, Err(Closed));
    }
}
