//! The servers under comparison: a loop that only writes (the limit), a plain tokio-tungstenite fan-out, and the
//! gateway.

use std::io::{IoSlice, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::mpsc::{unbounded_channel, UnboundedSender};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use toporia_realtime::config::gateway_settings::Settings;
use toporia_realtime::gateway::bootstrap::single_node;
use toporia_realtime::gateway::protocol::frame;
use toporia_realtime::gateway::Gateway;

/// A server under test.
pub trait Contender {
    fn name(&self) -> &'static str;
    fn address(&self) -> String;
    /// Sends to every connected socket.
    fn broadcast(&mut self, json: &str);
    /// Frames that are not written yet.
    fn waiting(&self) -> u64;
    /// Waits until this many sockets are connected and subscribed.
    fn settled(&mut self, count: usize);
}

/// The frame of an event.
pub fn event(json: &str) -> Vec<u8> {
    let data = frame::quoted(json);
    frame::event("order.created", "public.bench", Some(&data), None).to_vec()
}

fn wait_for(mut holds: impl FnMut() -> bool) {
    while !holds() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Non-blocking sockets and one vectored write per frame, from one thread.
pub struct Raw {
    address: String,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
}

impl Raw {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let sockets: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let table = Arc::clone(&sockets);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Ok(socket) = tokio_tungstenite::tungstenite::accept(stream) {
                    let stream = socket.get_ref().try_clone().expect("a copy");
                    stream.set_nodelay(true).expect("an option");
                    table.lock().push(stream);
                }
            }
        });
        Self { address, sockets }
    }
}

impl Contender for Raw {
    fn name(&self) -> &'static str {
        "vectored writes only"
    }

    fn address(&self) -> String {
        self.address.clone()
    }

    fn broadcast(&mut self, json: &str) {
        let frame = event(json);
        for socket in self.sockets.lock().iter_mut() {
            let mut rest = frame.as_slice();
            while !rest.is_empty() {
                let written = socket
                    .write_vectored(&[IoSlice::new(rest)])
                    .expect("written");
                rest = &rest[written..];
            }
        }
    }

    fn waiting(&self) -> u64 {
        0
    }

    fn settled(&mut self, count: usize) {
        wait_for(|| self.sockets.lock().len() >= count);
    }
}

/// As in the crate's examples: a task and a channel per connection, one send per message.
pub struct Tungstenite {
    address: String,
    runtime: tokio::runtime::Runtime,
    peers: Arc<Mutex<Vec<UnboundedSender<Message>>>>,
    queued: u64,
    written: Arc<AtomicU64>,
}

impl Tungstenite {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let peers: Arc<Mutex<Vec<UnboundedSender<Message>>>> = Arc::default();
        let written: Arc<AtomicU64> = Arc::default();
        let (table, count) = (Arc::clone(&peers), Arc::clone(&written));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let (table, count) = (Arc::clone(&table), Arc::clone(&count));
                tokio::spawn(async move {
                    let Ok(socket) = tokio_tungstenite::accept_async(stream).await else {
                        return;
                    };
                    let (mut sink, mut source) = socket.split();
                    let (sender, mut messages) = unbounded_channel();
                    table.lock().push(sender);
                    loop {
                        tokio::select! {
                            message = messages.recv() => {
                                let Some(message) = message else { return };
                                if sink.send(message).await.is_err() { return }
                                count.fetch_add(1, Ordering::Relaxed);
                            }
                            read = source.next() => if !matches!(read, Some(Ok(_))) { return },
                        }
                    }
                });
            }
        });
        Self {
            address,
            runtime,
            peers,
            queued: 0,
            written,
        }
    }
}

impl Contender for Tungstenite {
    fn name(&self) -> &'static str {
        "plain tokio-tungstenite"
    }

    fn address(&self) -> String {
        self.address.clone()
    }

    fn broadcast(&mut self, json: &str) {
        let _inside = self.runtime.enter();
        let frame = event(json);
        let text = String::from_utf8(frame[4..].to_vec()).expect("text");
        let message = Message::Text(Utf8Bytes::from(text));
        for peer in self.peers.lock().iter() {
            self.queued += u64::from(peer.send(message.clone()).is_ok());
        }
    }

    fn waiting(&self) -> u64 {
        self.queued - self.written.load(Ordering::Relaxed)
    }

    fn settled(&mut self, count: usize) {
        wait_for(|| {
            let mut peers = self.peers.lock();
            peers.retain(|p| !p.is_closed());
            if count == 0 {
                peers.is_empty()
            } else {
                peers.len() >= count
            }
        });
    }
}

/// Settings of a gateway for the readers.
pub fn settings() -> Settings {
    Settings {
        port: 0,
        // The readers answer no pings.
        activity_timeout: Duration::from_secs(3600),
        app_id: "bench".into(),
        key: "bench".into(),
        secrets: vec!["4f9c1d7a20b86e35f1a7c9d2e4b60837".into()],
        ops_listen: None,
        ..Settings::default()
    }
}

/// The gateway, fed without Kafka.
pub struct GatewayServer {
    gateway: Gateway,
    /// Frames written that were not broadcasts.
    base: u64,
}

impl GatewayServer {
    pub fn start() -> Self {
        Self::start_with(settings())
    }

    pub fn start_with(settings: Settings) -> Self {
        Self {
            gateway: single_node(settings).expect("a gateway"),
            base: 0,
        }
    }
}

impl GatewayServer {
    /// System calls that wrote frames.
    pub fn writes(&self) -> u64 {
        self.gateway.hub().counters().writes.get()
    }

    /// Clients that were closed because they do not read.
    pub fn cut_off(&self) -> u64 {
        self.gateway.hub().counters().slow_clients.get()
    }
}

impl Contender for GatewayServer {
    fn name(&self) -> &'static str {
        "this gateway"
    }

    fn address(&self) -> String {
        self.gateway.address().to_string()
    }

    fn broadcast(&mut self, json: &str) {
        self.gateway
            .broadcast_locally("public.bench", "order.created", json.as_bytes(), None)
            .expect("sent");
    }

    fn waiting(&self) -> u64 {
        let counters = self.gateway.hub().counters();
        counters
            .frames_queued
            .get()
            .saturating_sub(counters.frames_sent.get().saturating_sub(self.base))
    }

    fn settled(&mut self, count: usize) {
        wait_for(|| {
            let subscribed = self.gateway.hub().counters().subscriptions.get();
            if count == 0 {
                subscribed == 0
            } else {
                subscribed >= count as u64
            }
        });
        std::thread::sleep(Duration::from_millis(100));
        let counters = self.gateway.hub().counters();
        self.base = counters
            .frames_sent
            .get()
            .saturating_sub(counters.frames_queued.get());
    }
}
