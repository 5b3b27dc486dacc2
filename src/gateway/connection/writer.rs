//! Writes a connection's send queue to its socket, all queued frames in one vectored write.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::session::Session;
use super::socket::QueuedFrame;
use crate::gateway::backend::TokenSubject;
use crate::gateway::broadcast::{advance, Position};
use crate::gateway::hub::Channel;
use crate::gateway::protocol::frame;

/// Maximum frames in one system call; the kernel's limit is 1024.
const SLICES: usize = 128;

/// The frames being written.
#[derive(Default)]
pub(super) struct Writer {
    frames: VecDeque<QueuedFrame>,
    /// Bytes of the first frame that are already written.
    offset: usize,
    blocked: bool,
    /// The close frame is among the frames being written.
    closing: bool,
}

impl Writer {
    /// True if the kernel's send buffer is full.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Writes until the queue is empty or the send buffer is full; true once the close frame is written.
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
        counters.frames_sent.add(frames as u64);
        session.socket.written(written, frames);
        if self.frames.is_empty() {
            self.frames = VecDeque::new();
        }
    }

    /// Takes the queue; false when it is empty.
    fn refill(&mut self, session: &mut Session) -> bool {
        let tracked = session.socket.wants_positions();
        let mut positions = Vec::new();
        if tracked {
            // Taken before the queue: every event below these positions is already queued or sent.
            positions = session.take_positions();
        }
        let batch = session.socket.take();
        self.frames = batch.frames;
        if tracked && !batch.dropped {
            self.add_positions(session, positions);
        }
        if let Some((code, reason)) = batch.close {
            self.closing = true;
            self.append(session, frame::close(code, &reason));
        }
        !self.frames.is_empty()
    }

    /// Appends the positions after this batch, each channel once.
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
                // Queued between taking the positions and the queue: sent with the next batch.
                None => session.mark_position_due(&channel),
            }
        }
        let mut json = b"{".to_vec();
        for (channel, position) in positions {
            let holder = TokenSubject {
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
            self.append(session, frame::connection_event("realtime:position", &json));
        }
    }

    /// Appends a frame of the writer's own, counted like those of the queue.
    fn append(&mut self, session: &Session, frame: Bytes) {
        session.socket.count_appended(&frame);
        self.frames.push_back(QueuedFrame {
            frame,
            record_at: None,
        });
    }
}
