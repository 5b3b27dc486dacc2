//! A connection's queue at its end: what a told position covers is what was sent.

use bytes::Bytes;

use super::*;
use crate::gateway::connection::{EnqueueResult, Socket};
use crate::gateway::protocol::Close;

fn socket(max: usize) -> Socket {
    let id = "1.2".parse().unwrap();
    Socket::new(id, "127.0.0.1".parse().unwrap(), max)
}

#[test]
fn what_comes_while_a_close_waits_goes_out_before_it() {
    let socket = socket(1000);
    assert_eq!(
        socket.push(Bytes::from_static(b"41")),
        EnqueueResult::Queued
    );
    socket.close(Close::Reconnect, "restart");
    // Delivered, so a position that is told now covers it: it must not be refused.
    assert_eq!(
        socket.push(Bytes::from_static(b"42")),
        EnqueueResult::Queued
    );
    let batch = socket.take();
    let frames: Vec<&[u8]> = batch.frames.iter().map(|w| &w.frame[..]).collect();
    assert_eq!(frames, [b"41", b"42"]);
    assert_eq!(batch.close.unwrap().0, Close::Reconnect.code());
    assert!(!batch.dropped);
    // Behind the close there is nothing, and its reason stays.
    assert_eq!(
        socket.push(Bytes::from_static(b"43")),
        EnqueueResult::Closed
    );
    socket.close(Close::NoPong, "");
    assert_eq!(socket.take().close.unwrap().0, Close::Reconnect.code());
}

#[test]
fn a_queue_that_threw_frames_away_says_so() {
    let socket = socket(100);
    assert_eq!(socket.push(Bytes::from(vec![0; 60])), EnqueueResult::Queued);
    assert_eq!(
        socket.push(Bytes::from(vec![0; 60])),
        EnqueueResult::Overflow
    );
    assert_eq!(socket.push(Bytes::from_static(b"x")), EnqueueResult::Closed);
    let batch = socket.take();
    assert!(batch.dropped && batch.frames.is_empty());
    assert_eq!(batch.close.unwrap().0, Close::OverCapacity.code());
    eventually("it is closing", || socket.is_closing());
    // A close that was ordered before keeps its reason, also where frames are thrown away behind it.
    let socket = self::socket(100);
    socket.close(Close::Unauthorized, "kicked");
    assert_eq!(
        socket.push(Bytes::from(vec![0; 160])),
        EnqueueResult::Overflow
    );
    let batch = socket.take();
    assert!(batch.dropped);
    assert_eq!(batch.close.unwrap().0, Close::Unauthorized.code());
}
