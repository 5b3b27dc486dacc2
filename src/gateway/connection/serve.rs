//! The task of a connection: waits for whatever comes first, bytes, frames to write, a finished replay, time.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep_until, Sleep};

use super::act::Client;
use super::decoder::{Decoder, Heard};
use super::socket::Socket;
use super::writer::Writer;
use crate::gateway::hub::Hub;
use crate::gateway::protocol::{frame, Close, SocketId};

/// How long a close waits for what is queued to be written, and for the client to close as well.
const FAREWELL: Duration = Duration::from_secs(2);
/// Bytes read at once; the memory is the thread's, not the connection's.
const READ: usize = 16 << 10;

thread_local! {
    static SCRATCH: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; READ]);
}

struct Connection {
    stream: TcpStream,
    client: Client,
    writer: Writer,
    decoder: Decoder,
    timer: Pin<Box<Sleep>>,
    last_heard: Instant,
    /// When the server asked whether anybody is there.
    pinged: Option<Instant>,
    /// When a close was begun: the rest has to be through by then.
    closing: Option<Instant>,
}

/// What a wait ended with.
// Any of these can be ready together with any other.
#[allow(clippy::struct_excessive_bools)]
#[derive(Default)]
struct Ready {
    read: bool,
    write: bool,
    timer: bool,
    work: bool,
    /// A close was ordered while the socket takes nothing.
    close: bool,
}

/// Serves a connection until it ends. `early` are bytes that came with the handshake.
pub async fn serve(stream: TcpStream, hub: Arc<Hub>, socket: Arc<Socket>, mut early: Vec<u8>) {
    hub.enter(&socket);
    hub.counters().connections.add_one();
    hub.counters().connections_accepted.add_one();
    let now = Instant::now();
    let settings = Arc::clone(hub.settings());
    socket.push(established(socket.id, settings.activity_timeout));
    let mut connection = Box::new(Connection {
        stream,
        writer: Writer::default(),
        decoder: Decoder::default(),
        timer: Box::pin(sleep_until((now + settings.activity_timeout).into())),
        last_heard: now,
        pinged: None,
        closing: None,
        client: Client::new(Arc::clone(&hub), Arc::clone(&socket), now),
    });
    // A panic must not leave the socket behind in the hub's tables.
    let leave = Leave { hub, socket };
    if !early.is_empty() {
        connection.hear(&mut early);
    }
    connection.run().await;
    drop(leave);
}

struct Leave {
    hub: Arc<Hub>,
    socket: Arc<Socket>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.socket.shut();
        self.hub.leave(&self.socket);
        self.hub.counters().connections.sub(1);
    }
}

/// Tells a connection that it is not wanted: `pusher:error` and a close, so that the client knows whether to come back.
pub async fn refuse(mut stream: TcpStream, close: Close, reason: &str) {
    let frames = [
        frame::error(close.code(), reason),
        frame::close(close.code(), reason),
    ]
    .concat();
    let mut rest = frames.as_slice();
    let end = tokio::time::Instant::now() + FAREWELL;
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

/// Says that nothing more comes and reads until the client says so too: closing with unread bytes would reset the connection, and
/// the client might never see the close frame.
async fn linger(stream: &mut TcpStream, end: tokio::time::Instant) {
    if stream.shutdown().await.is_err() {
        return;
    }
    // On the heap: this future is part of every connection's task.
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

fn established(id: SocketId, activity: Duration) -> bytes::Bytes {
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
                self.client.finish_work();
            }
            if ready.read && !self.read() {
                return;
            }
            if ready.close {
                self.begin_closing(Instant::now());
            }
            if ready.timer && !self.keep_time() {
                return;
            }
            if ready.write {
                match self.writer.write(&self.stream, &mut self.client) {
                    Ok(done) => {
                        if done {
                            linger(&mut self.stream, tokio::time::Instant::now() + FAREWELL).await;
                            return;
                        }
                    }
                    Err(_) => return,
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ready> {
        let mut ready = Ready::default();
        if self.writer.is_blocked() {
            ready.write = self.stream.poll_write_ready(cx).is_ready();
            ready.close = self.closing.is_none() && self.client.socket.poll_closing(cx).is_ready();
        } else {
            ready.write =
                self.client.socket.poll_waiting(cx).is_ready() || self.client.owes_positions();
        }
        ready.read = self.stream.poll_read_ready(cx).is_ready();
        ready.timer = self.timer.as_mut().poll(cx).is_ready();
        ready.work = self.client.poll_work(cx).is_ready();
        if ready.read || ready.write || ready.timer || ready.work || ready.close {
            Poll::Ready(ready)
        } else {
            Poll::Pending
        }
    }

    /// Reads once; false where the connection is gone.
    fn read(&mut self) -> bool {
        SCRATCH.with_borrow_mut(|scratch| match self.stream.try_read(scratch) {
            Ok(0) => false,
            Ok(n) => {
                self.hear(&mut scratch[..n]);
                true
            }
            Err(e) => e.kind() == io::ErrorKind::WouldBlock,
        })
    }

    fn hear(&mut self, bytes: &mut [u8]) {
        if self.closing.is_some() {
            // What a client says after that is not listened to.
            return;
        }
        let now = Instant::now();
        self.last_heard = now;
        self.pinged = None;
        let client = &mut self.client;
        let max = client.hub.settings().max_message;
        let fed = self.decoder.feed(bytes, max, |heard| {
            client.count_frame(now)?;
            match heard {
                Heard::Text(text) => client.act(&text, now),
                Heard::Ping(payload) => client.pong(&payload),
                Heard::Pong | Heard::Part => {}
                Heard::Close(code) => {
                    client.closed_by(code);
                    // Nothing after a close is read.
                    return Err(Close::Normal);
                }
            }
            Ok(())
        });
        if let Err(close) = fed {
            if close != Close::Normal {
                client.hub.counters().messages_refused.add_one();
                client
                    .socket
                    .push(frame::error(close.code(), close.reason()));
            }
            client.socket.close(close, close.reason());
            self.begin_closing(now);
        }
    }

    fn begin_closing(&mut self, now: Instant) {
        if self.closing.is_none() {
            let end = now + FAREWELL;
            self.closing = Some(end);
            self.timer.as_mut().reset(end.into());
        }
    }

    /// Asks a silent client whether it is there, and gives up on one that does not answer; false where the connection ends now.
    fn keep_time(&mut self) -> bool {
        let now = Instant::now();
        if let Some(end) = self.closing {
            // Whoever does not even read the close is cut off.
            return now < end;
        }
        if self.client.socket.is_closing() {
            self.begin_closing(now);
            return true;
        }
        let settings = Arc::clone(self.client.hub.settings());
        if let Some(pinged) = self.pinged {
            let end = pinged + settings.pong_timeout;
            if now >= end {
                self.client.hub.counters().silent_clients.add_one();
                self.client
                    .socket
                    .close(Close::NoPong, Close::NoPong.reason());
                self.begin_closing(now);
            } else {
                self.timer.as_mut().reset(end.into());
            }
            return true;
        }
        let due = self.last_heard + settings.activity_timeout;
        if now >= due {
            self.pinged = Some(now);
            self.client
                .socket
                .push(frame::connection_event("pusher:ping", b"{}"));
            self.timer
                .as_mut()
                .reset((now + settings.pong_timeout).into());
        } else {
            self.timer.as_mut().reset(due.into());
        }
        self.client.refresh_positions(now);
        true
    }
}
