//! The clients: a process of its own that connects, subscribes, reads, and reports how old what it read was.

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::meter::now_ns;

/// One in so many connections looks at the time in each event.
const LOOKS: usize = 8;

/// Readers in another process.
pub struct Readers {
    child: Child,
    stdin: RefCell<ChildStdin>,
    stdout: RefCell<BufReader<std::process::ChildStdout>>,
}

/// Ages of events in ms.
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
    pub most: f64,
    /// Bytes that all of them have read since they began.
    pub bytes: u64,
}

impl Readers {
    /// Starts `count` that read and `slow` that do not; returns when all are subscribed.
    pub fn start(address: &str, count: usize, slow: usize) -> Self {
        let program = std::env::current_exe().expect("own path");
        let mut child = Command::new(program)
            .args(["readers", address, &count.to_string(), &slow.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("readers start");
        let stdin = RefCell::new(child.stdin.take().expect("a pipe"));
        let stdout = RefCell::new(BufReader::new(child.stdout.take().expect("a pipe")));
        let readers = Self {
            child,
            stdin,
            stdout,
        };
        assert_eq!(readers.line(), "ready");
        readers
    }

    fn line(&self) -> String {
        let mut line = String::new();
        self.stdout
            .borrow_mut()
            .read_line(&mut line)
            .expect("readers answer");
        line.trim().to_owned()
    }

    /// Ages of everything read since the last report.
    pub fn report(&self) -> Latency {
        self.stdin
            .borrow_mut()
            .write_all(b"report\n")
            .expect("readers listen");
        let line = self.line();
        let numbers: Vec<f64> = line.split(' ').map(|n| n.parse().unwrap_or(0.0)).collect();
        Latency {
            p50: numbers[0],
            p99: numbers[1],
            most: numbers[2],
            bytes: line
                .rsplit(' ')
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0),
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Ages = Rc<RefCell<Vec<u64>>>;

/// The process itself.
pub fn run(address: &str, count: &str, slow: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (count, slow): (usize, usize) = (count.parse().unwrap_or(0), slow.parse().unwrap_or(0));
    let ages: Ages = Rc::default();
    let bytes: Rc<Cell<u64>> = Rc::default();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut stuck = Vec::new();
        for i in 0..count + slow {
            let stream = connect(address).await;
            if i < count {
                let ages = (i % LOOKS == 0).then(|| Rc::clone(&ages));
                tokio::task::spawn_local(read(stream, ages, Rc::clone(&bytes)));
            } else {
                stuck.push(stream);
            }
        }
        println!("ready");
        let (sender, mut commands) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for _ in std::io::stdin().lines() {
                let _ = sender.send(());
            }
        });
        while commands.recv().await.is_some() {
            let mut ages = std::mem::take(&mut *ages.borrow_mut());
            ages.sort_unstable();
            let at = |permille: usize| {
                ages.get(ages.len() * permille / 1000).copied().unwrap_or(0) as f64 / 1e6
            };
            println!(
                "{} {} {} {}",
                at(500),
                at(990),
                ages.last().copied().unwrap_or(0) as f64 / 1e6,
                bytes.get()
            );
        }
    });
}

/// Handshake and subscription.
async fn connect(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("GET /app/bench?protocol=7 HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    let text = br#"{"event":"pusher:subscribe","data":{"channel":"public.bench"}}"#;
    let mut frame = vec![
        0x81,
        0x80 | u8::try_from(text.len()).expect("short"),
        0,
        0,
        0,
        0,
    ];
    frame.extend_from_slice(text);
    stream.write_all(&frame).await.expect("sent");
    stream
}

async fn read(mut stream: TcpStream, ages: Option<Ages>, bytes: Rc<Cell<u64>>) {
    let mut buffer = vec![0_u8; 64 << 10];
    while let Ok(n) = stream.read(&mut buffer).await {
        if n == 0 {
            return;
        }
        bytes.set(bytes.get() + n as u64);
        let Some(ages) = &ages else { continue };
        let now = now_ns();
        let mut from = 0;
        while let Some(at) = buffer[from..n].windows(2).position(|w| w == b"T=") {
            from += at + 2;
            let digits = buffer.get(from..(from + 20).min(n)).unwrap_or_default();
            let sent = std::str::from_utf8(digits)
                .ok()
                .and_then(|d| d.parse::<u64>().ok());
            if let Some(sent) = sent.filter(|_| digits.len() == 20) {
                ages.borrow_mut().push(now.saturating_sub(sent));
            }
        }
    }
}
