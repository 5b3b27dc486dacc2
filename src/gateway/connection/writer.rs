//! From a connection's queue to its socket: everything that waits goes out with one vectored write.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use tokio::net::TcpStream;

use super::session::Session;
use super::socket::QueuedFrame;
use crate::gateway::broadcast::{advance, Position};
use crate::gateway::hub::Channel;
use crate::gateway::protocol::frame;
use crate::gateway::seam::Holder;

/// Frames in one system call; the kernel takes 1024 at most.
const SLICES: usize = 128;

/// What is being written.
#[derive(Default)]
pub(super) struct Writer {
    frames: VecDeque<QueuedFrame>,
    /// How much of the first frame is through.
    offset: usize,
    blocked: bool,
    /// The close frame is among what is written.
    closing: bool,
}

impl Writer {
    /// Whether the socket's buffer is full.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Writes what waits until nothing does or the socket takes no more; true once a close is through.
    pub fn write(&mut self, stream: &TcpStream, session: &mut Session) -> io::Result<bool> {
        self.blocked = false;
        loop {
            if self.frames.is_empty() {
                if self.closing {
                    return Ok(true);
                }
                if !self.refill(session) {
                    return Ok(false);
                }
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for (slot, queued) in slices.iter_mut().zip(&self.frames) {
                let from = if count == 0 { self.offset } else { 0 };
                *slot = IoSlice::new(&queued.frame[from..]);
                count += 1;
            }
            match stream.try_write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written, session),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(false);
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn advance(&mut self, written: usize, session: &Session) {
        let counters = session.hub.counters();
        counters.writes.add_one();
        counters.bytes_sent.add(written as u64);
        let mut rest = written + self.offset;
        let mut frames = 0;
        while let Some(first) = self.frames.front() {
            if rest < first.frame.len() {
                break;
            }
            rest -= first.frame.len();
            self.frames.pop_front();
            frames += 1;
        }
        self.offset = rest;
        counters.frames_sent.add(frames);
        session.socket.written(written);
        if self.frames.is_empty() {
            self.frames = VecDeque::new();
        }
    }

    /// Takes what waits; false where nothing does.
    fn refill(&mut self, session: &mut Session) -> bool {
        let tracked = session.socket.wants_positions();
        let mut positions = Vec::new();
        if tracked {
            // Before the queue is taken: everything below such a position waits in the queue already, or was sent.
            positions = session.take_positions();
        }
        let batch = session.socket.take();
        self.frames = batch.frames;
        if tracked && !batch.dropped {
            self.add_positions(session, positions);
        }
        if let Some((code, reason)) = batch.close {
            self.closing = true;
            self.frames.push_back(QueuedFrame {
                frame: frame::close(code, &reason),
                record_at: None,
            });
        }
        !self.frames.is_empty()
    }

    /// Puts the positions after this batch behind it, each channel once.
    fn add_positions(
        &mut self,
        session: &mut Session,
        mut positions: Vec<(Arc<Channel>, Position)>,
    ) {
        for queued in &mut self.frames {
            let Some(record_at) = queued.record_at.take() else {
                continue;
            };
            let (channel, at) = *record_at;
            match positions.iter_mut().find(|(c, _)| Arc::ptr_eq(c, &channel)) {
                Some((_, position)) => advance(position, at),
                // Queued between the two looks: the next batch tells.
                None => session.mark_position_due(&channel),
            }
        }
        let mut json = b"{".to_vec();
        for (channel, position) in positions {
            let holder = Holder {
                channel: channel.name().to_owned(),
                socket: session.socket.id,
                user: session.socket.user().map(str::to_owned),
            };
            let token = session
                .hub
                .history()
                .and_then(|h| h.token(&holder, &position));
            let Some(token) = token else { continue };
            if json.len() > 1 {
                json.push(b',');
            }
            frame::quote_into(&mut json, channel.name().as_bytes());
            json.push(b':');
            frame::quote_into(&mut json, token.as_bytes());
        }
        if json.len() > 1 {
            json.push(b'}');
            self.frames.push_back(QueuedFrame {
                frame: frame::connection_event("realtime:position", &json),
                record_at: None,
            });
        }
    }
}
