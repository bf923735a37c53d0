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

#[test]
fn what_must_be_said_is_queued_without_room() {
    let outbox = Outbox::new(150);
    assert!(outbox.pusher().push(&frame(b'a')) && !outbox.pusher().push(&frame(b'b')));
    outbox.insist(frame(b'c'));
    assert_eq!((outbox.pending(), outbox.sent()), (200, 0));
    assert_eq!(taken(&outbox, 9), *b"ac");
    outbox.written(100);
    assert_eq!((outbox.pending(), outbox.sent()), (100, 100));
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
