//! Writes a connection's send queue to its socket, all queued frames in one vectored write.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::client::Session;
use super::event_stream::EventStream;
use super::socket::{cost, QueuedFrame};
use crate::gateway::backend::TokenSubject;
use crate::gateway::broadcast::{advance, Position};
use crate::gateway::hub::Channel;
use crate::gateway::protocol::{frame, Close};

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
    /// Set where the client reads server-sent events instead of WebSocket frames.
    event_stream: Option<EventStream>,
}

impl Writer {
    /// Writes server-sent events.
    pub fn event_stream() -> Self {
        Self {
            event_stream: Some(EventStream::default()),
            ..Self::default()
        }
    }

    pub fn is_event_stream(&self) -> bool {
        self.event_stream.is_some()
    }

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
        if self.event_stream.is_some() {
            self.encode_events(session);
        }
        if tracked && !batch.dropped {
            self.add_positions(session, positions);
        }
        if let Some((code, reason)) = batch.close {
            self.closing = true;
            let is_final = code == Close::Unauthorized.code();
            let end = match self.event_stream {
                Some(_) => EventStream::end(is_final),
                None => frame::close(code, &reason),
            };
            self.append(session, end);
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
        let mut tokens = Vec::with_capacity(positions.len());
        for (channel, position) in positions {
            let holder = TokenSubject {
                channel: channel.name().to_owned(),
                socket: session.socket.authorized_id,
                user: session.socket.user().map(str::to_owned),
            };
            let token = session
                .hub
                .history()
                .and_then(|h| h.token(&holder, &position));
            if let Some(token) = token {
                tokens.push((holder.channel, token));
            }
        }
        if tokens.is_empty() {
            return;
        }
        let frame = if let Some(stream) = &mut self.event_stream {
            stream.id(tokens)
        } else {
            let pairs = tokens.iter().map(|(channel, token)| (channel, token));
            frame::connection_event("realtime:position", &frame::token_object(pairs))
        };
        self.append(session, frame);
    }

    /// Encodes the taken frames as events.
    fn encode_events(&mut self, session: &Session) {
        let before: usize = self.frames.iter().map(|queued| cost(&queued.frame)).sum();
        for queued in &mut self.frames {
            queued.frame = EventStream::encode(&queued.frame);
        }
        self.frames.retain(|queued| !queued.frame.is_empty());
        let after: usize = self.frames.iter().map(|queued| cost(&queued.frame)).sum();
        session.socket.recount(before, after);
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
