//! The clients: a process of its own that connects, subscribes, reads, and reports when each event arrived.

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use crate::arrival;
use crate::meter::{now_ns, Percentiles};

/// One in this many connections checks the time in each event.
pub const LOOKS: usize = 8;
/// How often the drained connections are read.
const ROUND: Duration = Duration::from_millis(100);
/// A few at a time.
const STEP: Duration = Duration::from_millis(2);

/// Behaviour of the connections that do not check the time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// They wait for each event, like the others.
    Wait,
    /// They are drained periodically, so that they hardly use the cores: in production they are other machines.
    InPassing,
}

/// One event at one of the checking connections. Unix ns.
#[derive(Clone, Copy)]
pub struct Sample {
    /// The time of the sender's call, from the event.
    pub called: u64,
    /// The kernel received it for the reader's socket.
    pub came: u64,
    /// The reader, which shares the cores with all others here, read it.
    pub read: u64,
}

/// Readers in another process.
pub struct Readers {
    child: Child,
    stdin: RefCell<ChildStdin>,
    stdout: RefCell<BufReader<std::process::ChildStdout>>,
}

impl Readers {
    /// Starts `count` readers and `slow` clients that do not read; returns when all are subscribed.
    pub fn start(address: &str, count: usize, slow: usize) -> Self {
        Self::start_with(address, count, slow, Others::Wait)
    }

    /// The same, with these behaviours.
    pub fn start_with(address: &str, count: usize, slow: usize, others: Others) -> Self {
        let program = std::env::current_exe().expect("own path");
        let mut child = Command::new(program)
            .args(["readers", address, &count.to_string(), &slow.to_string()])
            .args((others == Others::InPassing).then_some("in-passing"))
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

    fn ask(&self, what: &[u8]) -> String {
        self.stdin
            .borrow_mut()
            .write_all(what)
            .expect("readers listen");
        self.line()
    }

    /// Bytes that all of them have read since the start.
    pub fn bytes(&self) -> u64 {
        self.ask(b"bytes\n").parse().expect("a number")
    }

    /// Everything read since the last call.
    pub fn samples(&self) -> Vec<Sample> {
        let line = self.ask(b"samples\n");
        let mut numbers = line.split_whitespace().map(|n| n.parse().expect("ns"));
        let mut samples = Vec::new();
        while let (Some(called), Some(came), Some(read)) =
            (numbers.next(), numbers.next(), numbers.next())
        {
            samples.push(Sample { called, came, read });
        }
        samples
    }

    /// From the call until the reader could read it, for everything read since the last call.
    pub fn latency(&self) -> Percentiles {
        let samples = self.samples().into_iter();
        Percentiles::of(samples.map(|s| s.came.saturating_sub(s.called)))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Samples = Rc<RefCell<Vec<Sample>>>;

pub fn run(address: &str, count: &str, slow: &str, others: Others) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (count, slow): (usize, usize) = (count.parse().unwrap_or(0), slow.parse().unwrap_or(0));
    let samples: Samples = Rc::default();
    let bytes: Rc<Cell<u64>> = Rc::default();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let (mut stuck, mut passive) = (Vec::new(), Vec::new());
        for i in 0..count + slow {
            let stream = connect(address).await;
            if i >= count {
                stuck.push(stream);
            } else if i % LOOKS == 0 {
                let (samples, bytes) = (Rc::clone(&samples), Rc::clone(&bytes));
                tokio::task::spawn_local(look(stream, samples, bytes));
            } else if others == Others::InPassing {
                passive.push(stream.into_std().expect("taken off the reactor"));
            } else {
                tokio::task::spawn_local(read(stream, Rc::clone(&bytes)));
            }
        }
        tokio::task::spawn_local(read_in_passing(passive, Rc::clone(&bytes)));
        println!("ready");
        let (sender, mut commands) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lines() {
                let _ = sender.send(line.unwrap_or_default());
            }
        });
        while let Some(command) = commands.recv().await {
            if command == "bytes" {
                println!("{}", bytes.get());
                continue;
            }
            let taken = std::mem::take(&mut *samples.borrow_mut());
            let tell = |s: &Sample| format!("{} {} {}", s.called, s.came, s.read);
            println!("{}", taken.iter().map(tell).collect::<Vec<_>>().join(" "));
        }
    });
}

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

async fn read(mut stream: TcpStream, bytes: Rc<Cell<u64>>) {
    let mut buffer = vec![0_u8; 64 << 10];
    while let Ok(n) = stream.read(&mut buffer).await {
        if n == 0 {
            return;
        }
        bytes.set(bytes.get() + n as u64);
    }
}

/// Reads each of them once per round, a few in each step.
async fn read_in_passing(mut streams: Vec<std::net::TcpStream>, bytes: Rc<Cell<u64>>) {
    let mut buffer = vec![0_u8; 64 << 10];
    let steps = ROUND.as_micros() / STEP.as_micros();
    let each = streams.len().div_ceil(usize::try_from(steps).expect("few"));
    while !streams.is_empty() {
        for some in streams.chunks_mut(each) {
            tokio::time::sleep(STEP).await;
            for stream in some {
                // The reading connections detect the end.
                let n = stream.read(&mut buffer).unwrap_or(0);
                bytes.set(bytes.get() + n as u64);
            }
        }
    }
}

/// Reads and checks the times.
async fn look(stream: TcpStream, samples: Samples, bytes: Rc<Cell<u64>>) {
    arrival::ask_for(&stream);
    let mut buffer = vec![0_u8; 64 << 10];
    while stream.readable().await.is_ok() {
        let got = stream.try_io(Interest::READABLE, || arrival::read(&stream, &mut buffer));
        let (n, came) = match got {
            Ok((0, _)) => return,
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        bytes.set(bytes.get() + n as u64);
        let read = now_ns();
        let mut from = 0;
        while let Some(at) = buffer[from..n].windows(2).position(|w| w == b"T=") {
            from += at + 2;
            let digits = buffer.get(from..(from + 20).min(n)).unwrap_or_default();
            let called = std::str::from_utf8(digits)
                .ok()
                .and_then(|d| d.parse::<u64>().ok());
            if let Some(called) = called.filter(|_| digits.len() == 20) {
                let came = if came > 0 { came } else { read };
                samples.borrow_mut().push(Sample { called, came, read });
            }
        }
    }
}
