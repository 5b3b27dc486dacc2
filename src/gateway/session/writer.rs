//! Writes a connection's send queue to its socket, all queued frames in one vectored write.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::client::Session;
use super::socket::{cost, QueuedFrame};
use crate::gateway::backend::TokenSubject;
use crate::gateway::broadcast::{advance, Position};
use crate::gateway::hub::Channel;
use crate::gateway::protocol::{frame, Close};

/// Maximum frames in one system call; the kernel's limit is 1024.
const SLICES: usize = 128;

/// The `id` after which a client that reconnects is answered with 204, so that it does not reconnect again.
pub const CLOSED: &str = "closed";
/// Maximum length of an `id`, in bytes: clients send it back in a header, which proxies limit to 8 KB with the URL.
const MAX_ID: usize = 4096;

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
            positions = session.recovery.take_positions();
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
                None => session.recovery.mark_position_due(&channel),
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

/// Encodes one connection's frames.
#[derive(Default)]
pub(super) struct EventStream {
    /// Tokens by channel; all of them are in each `id`.
    tokens: BTreeMap<String, String>,
}

impl EventStream {
    /// A WebSocket frame as an event: text as `data`, a ping as a comment, others as nothing.
    pub fn encode(frame: &[u8]) -> Bytes {
        let header = match frame.get(1) {
            Some(126) => 4,
            Some(127) => 10,
            _ => 2,
        };
        let payload = frame.get(header..).unwrap_or_default();
        match frame.first().map(|first| first & 0xf) {
            Some(0x1) => {
                let mut out = Vec::with_capacity(payload.len() + 8);
                out.extend_from_slice(b"data: ");
                // A line break ends the field. In JSON it can only stand between tokens, in the data of client events.
                out.extend(payload.iter().map(|byte| match byte {
                    b'\n' | b'\r' => b' ',
                    other => *other,
                }));
                out.extend_from_slice(b"\n\n");
                out.into()
            }
            Some(0x9) => Bytes::from_static(b":\n\n"),
            _ => Bytes::new(),
        }
    }

    /// The `id` after these tokens have changed. Channels whose tokens do not fit are left out; they are answered with
    /// `recovered: false` after a reconnect.
    pub fn id(&mut self, changed: Vec<(String, String)>) -> Bytes {
        self.tokens.extend(changed);
        let mut left = MAX_ID - 2;
        let object = frame::token_object(self.tokens.iter().filter(|(channel, token)| {
            // With their quotes, a colon and a comma.
            let rest = left.checked_sub(channel.len() + token.len() + 6);
            left = rest.unwrap_or(left);
            rest.is_some()
        }));
        [b"id: ", object.as_slice(), b"\n\n"].concat().into()
    }

    /// The end of the stream. `is_final`: the client must not reconnect.
    pub fn end(is_final: bool) -> Bytes {
        if is_final {
            format!("id: {CLOSED}\n\n").into()
        } else {
            Bytes::from_static(b":\n\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_encoded_as_data() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let text = "x".repeat(length);
            let encoded = EventStream::encode(&frame::text(text.as_bytes()));
            assert_eq!(encoded, format!("data: {text}\n\n"));
        }
        assert_eq!(EventStream::encode(&frame::ping()), ":\n\n");
        assert_eq!(EventStream::encode(&frame::close(4200, "restart")), "");
    }

    #[test]
    fn line_breaks_between_the_tokens_of_json_do_not_end_the_event() {
        let encoded = EventStream::encode(&frame::text(b"{\"a\":\r\n1}"));
        assert_eq!(encoded, "data: {\"a\":  1}\n\n");
    }

    #[test]
    fn an_id_has_the_positions_of_all_channels_within_its_limit() {
        let mut stream = EventStream::default();
        stream.id(vec![("a".into(), "1".into())]);
        let id = stream.id(vec![("b".into(), "2".into()), ("a".into(), "3".into())]);
        assert_eq!(id, "id: {\"a\":\"3\",\"b\":\"2\"}\n\n");
        let many = (0..100).map(|n| (format!("c{n}"), "t".repeat(150)));
        assert!(stream.id(many.collect()).len() <= MAX_ID + 8);
    }
}
