//! The connection's task: waits for input, frames to write, a finished replay or a timeout.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until, Sleep};

use super::client::Session;
use super::socket::Socket;
use super::writer::Writer;
use crate::gateway::hub::Hub;
use crate::gateway::protocol::frame::{self, DecodedFrame, Decoder};
use crate::gateway::protocol::{Close, SocketId};

/// Time to write the queue after a close is requested, and then for the client to close as well.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Size of the read buffer, which belongs to the thread and not to the connection.
const READ_BUFFER: usize = 16 << 10;

thread_local! {
    static READ_SCRATCH: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; READ_BUFFER]);
}

struct Connection {
    stream: TcpStream,
    session: Session,
    writer: Writer,
    decoder: Decoder,
    timer: Pin<Box<Sleep>>,
    last_received: Instant,
    /// When the server sent its last ping, until input arrives.
    pinged_at: Option<Instant>,
    /// Ends the wait of queued frames for others, see `write_delay`.
    write_due: Option<Pin<Box<Sleep>>>,
    /// Ends the pause of reading of a client above its rate.
    resume_reading: Option<Pin<Box<Sleep>>>,
    /// Set when a close begins: the connection is dropped at this time.
    close_deadline: Option<Instant>,
}

/// Results of one poll.
// Any combination can be ready at the same time.
#[allow(clippy::struct_excessive_bools)]
#[derive(Default)]
struct Readiness {
    read: bool,
    write: bool,
    timer: bool,
    work: bool,
    /// A close was requested while the kernel's send buffer is full.
    close: bool,
}

/// What a connection receives from its client.
pub enum Input {
    /// WebSocket frames.
    WebSocket {
        /// The response to the handshake, sent with the first frame.
        response: String,
        /// Bytes that were received behind the handshake.
        received: Vec<u8>,
    },
    /// Nothing more: the URL of an event stream contained these messages.
    EventStream(Vec<String>),
}

/// Serves a connection until it ends.
pub async fn serve(stream: TcpStream, hub: Arc<Hub>, socket: Arc<Socket>, input: Input) {
    hub.register(&socket);
    hub.counters().connections.add_one();
    hub.counters().connections_accepted.add_one();
    let now = Instant::now();
    let settings = Arc::clone(hub.settings());
    let established = established_frame(socket.authorized_id, settings.activity_timeout);
    let writer = match &input {
        Input::WebSocket { response, .. } => {
            socket.push([response.as_bytes(), &established].concat().into());
            Writer::default()
        }
        Input::EventStream(_) => {
            socket.push(established);
            Writer::event_stream()
        }
    };
    let mut connection = Box::new(Connection {
        stream,
        writer,
        decoder: Decoder::default(),
        timer: Box::pin(sleep_until((now + settings.activity_timeout).into())),
        last_received: now,
        pinged_at: None,
        write_due: None,
        resume_reading: None,
        close_deadline: None,
        session: Session::new(Arc::clone(&hub), Arc::clone(&socket), now),
    });
    // Also after a panic the socket is removed from the hub's tables.
    let unregister = UnregisterOnDrop { hub, socket };
    match input {
        Input::WebSocket { mut received, .. } => connection.handle_input(&mut received),
        Input::EventStream(messages) => {
            for message in messages {
                connection.session.handle_message(&message, now);
            }
        }
    }
    connection.run().await;
    drop(unregister);
}

struct UnregisterOnDrop {
    hub: Arc<Hub>,
    socket: Arc<Socket>,
}

impl Drop for UnregisterOnDrop {
    fn drop(&mut self) {
        self.socket.shut();
        self.hub.unregister(&self.socket);
        self.hub.counters().connections.sub(1);
    }
}

/// Refuses a connection with `pusher:error` and a close frame, whose code tells the client whether to reconnect.
/// `response` is that to the handshake.
pub async fn refuse(mut stream: TcpStream, response: &str, close: Close, reason: &str) {
    let frames = [
        bytes::Bytes::copy_from_slice(response.as_bytes()),
        frame::error(close.code(), reason),
        frame::close(close.code(), reason),
    ]
    .concat();
    let mut rest = frames.as_slice();
    let end = tokio::time::Instant::now() + CLOSE_TIMEOUT;
    while !rest.is_empty() {
        if tokio::time::timeout_at(end, stream.writable())
            .await
            .is_err()
        {
            return;
        }
        match stream.try_write(rest) {
            Ok(n) => rest = &rest[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
    linger(&mut stream, end).await;
}

/// Shuts down the sending side and reads until the client closes: closing with unread bytes would reset the connection,
/// and the client might never receive the close frame.
async fn linger(stream: &mut TcpStream, end: tokio::time::Instant) {
    if stream.shutdown().await.is_err() {
        return;
    }
    // On the heap, because this future is part of every connection's task.
    let mut scratch = vec![0_u8; 1024];
    let mut read = 0;
    while read < 64 << 10 {
        if tokio::time::timeout_at(end, stream.readable())
            .await
            .is_err()
        {
            return;
        }
        match stream.try_read(&mut scratch) {
            Ok(0) => return,
            Ok(n) => read += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

fn established_frame(id: SocketId, activity: Duration) -> bytes::Bytes {
    let data = format!(
        "{{\"socket_id\":\"{id}\",\"activity_timeout\":{}}}",
        activity.as_secs().max(1)
    );
    frame::connection_event("pusher:connection_established", &frame::quoted(&data))
}

impl Connection {
    async fn run(&mut self) {
        loop {
            let ready = std::future::poll_fn(|cx| self.poll(cx)).await;
            if ready.work {
                self.session.complete_work();
            }
            if ready.read && !self.read() {
                return;
            }
            if ready.close {
                self.begin_closing(Instant::now());
            }
            if ready.timer && !self.check_liveness() {
                return;
            }
            if ready.write {
                match self.writer.write(&self.stream, &mut self.session) {
                    Ok(done) => {
                        if done {
                            linger(
                                &mut self.stream,
                                tokio::time::Instant::now() + CLOSE_TIMEOUT,
                            )
                            .await;
                            return;
                        }
                    }
                    Err(_) => return,
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Readiness> {
        let mut ready = Readiness::default();
        if self.writer.is_blocked() {
            ready.write = self.stream.poll_write_ready(cx).is_ready();
            ready.close =
                self.close_deadline.is_none() && self.session.socket.poll_closing(cx).is_ready();
        } else {
            let queued = self.session.socket.poll_queued(cx).is_ready()
                || self.session.recovery.has_due_positions();
            ready.write = queued && self.is_write_due(cx);
        }
        ready.read = !self.is_reading_paused(cx) && self.stream.poll_read_ready(cx).is_ready();
        ready.timer = self.timer.as_mut().poll(cx).is_ready();
        ready.work = self.session.poll_work(cx).is_ready();
        if ready.read || ready.write || ready.timer || ready.work || ready.close {
            Poll::Ready(ready)
        } else {
            Poll::Pending
        }
    }

    /// False while queued frames wait for others; the task is woken when the wait ends.
    fn is_write_due(&mut self, cx: &mut Context<'_>) -> bool {
        let delay = self.session.hub.settings().write_delay;
        if delay.is_zero() {
            return true;
        }
        let due = self.write_due.get_or_insert_with(|| Box::pin(sleep(delay)));
        if due.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.write_due = None;
        true
    }

    /// True while reading is delayed; the task is woken when the delay ends.
    fn is_reading_paused(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(until) = self.session.read_paused_until.take() {
            self.resume_reading = Some(Box::pin(sleep_until(until.into())));
        }
        let Some(resume) = &mut self.resume_reading else {
            return false;
        };
        if resume.as_mut().poll(cx).is_pending() {
            return true;
        }
        self.resume_reading = None;
        false
    }

    /// Reads once; false when the connection is closed.
    fn read(&mut self) -> bool {
        READ_SCRATCH.with_borrow_mut(|scratch| match self.stream.try_read(scratch) {
            Ok(0) => false,
            Ok(n) => {
                self.handle_input(&mut scratch[..n]);
                true
            }
            Err(e) => e.kind() == io::ErrorKind::WouldBlock,
        })
    }

    fn handle_input(&mut self, bytes: &mut [u8]) {
        if bytes.is_empty() || self.close_deadline.is_some() || self.writer.is_event_stream() {
            // Input is ignored once a close has begun, and where no client sends any.
            return;
        }
        let now = Instant::now();
        self.last_received = now;
        self.pinged_at = None;
        let session = &mut self.session;
        let max = session.hub.settings().max_message;
        let result = self.decoder.feed(bytes, max, |frame| {
            session.count_frame(now);
            match frame {
                DecodedFrame::Text(text) => session.handle_message(&text, now),
                DecodedFrame::Ping(payload) => session.pong(&payload),
                DecodedFrame::Pong | DecodedFrame::Fragment => {}
                DecodedFrame::Close(code) => {
                    session.handle_close(code);
                    // Nothing is read after a close frame.
                    return Err(Close::Normal);
                }
            }
            Ok(())
        });
        if let Err(close) = result {
            if close != Close::Normal {
                session.hub.counters().messages_refused.add_one();
                session
                    .socket
                    .push(frame::error(close.code(), close.reason()));
            }
            session.socket.close(close, close.reason());
            self.begin_closing(now);
        }
    }

    fn begin_closing(&mut self, now: Instant) {
        if self.close_deadline.is_none() {
            let end = now + CLOSE_TIMEOUT;
            self.close_deadline = Some(end);
            self.timer.as_mut().reset(end.into());
        }
    }

    /// Pings a silent client and closes one that does not answer; false when the connection must end now.
    fn check_liveness(&mut self) -> bool {
        let now = Instant::now();
        if let Some(end) = self.close_deadline {
            // A client that does not read the close frame in time is disconnected.
            return now < end;
        }
        if self.session.socket.is_closing() {
            self.begin_closing(now);
            return true;
        }
        if self.writer.is_event_stream() {
            // Nothing is received. A dead peer shows by the kernel's timeout of what is sent.
            self.session.socket.push(frame::ping());
            let due = now + self.session.hub.settings().activity_timeout;
            self.timer.as_mut().reset(due.into());
            self.session.recovery.refresh_positions(now);
            return true;
        }
        if self.resume_reading.is_some() {
            // Its input is not read at the moment, so it is not silent.
            self.last_received = now;
            self.pinged_at = None;
        }
        let settings = Arc::clone(self.session.hub.settings());
        if let Some(pinged_at) = self.pinged_at {
            let end = pinged_at + settings.pong_timeout;
            if now >= end {
                self.session.hub.counters().silent_clients.add_one();
                self.session
                    .socket
                    .close(Close::NoPong, Close::NoPong.reason());
                self.begin_closing(now);
            } else {
                self.timer.as_mut().reset(end.into());
            }
            return true;
        }
        let due = self.last_received + settings.activity_timeout;
        if now >= due {
            self.pinged_at = Some(now);
            // Both kinds: browsers answer pusher:ping, and the mobile SDKs answer only WebSocket pings. Any frame
            // counts as a response.
            let socket = &self.session.socket;
            socket.push(frame::connection_event("pusher:ping", b"{}"));
            socket.push(frame::ping());
            self.timer
                .as_mut()
                .reset((now + settings.pong_timeout).into());
        } else {
            self.timer.as_mut().reset(due.into());
        }
        self.session.recovery.refresh_positions(now);
        true
    }
}
