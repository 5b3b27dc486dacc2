//! The HTTP listener of `--metrics`: one thread, with limits, that never calls PHP.
//!
//! A forked child would keep the port open until it exits, so the fork handler closes the descriptor in the child.
#![allow(unsafe_code)]

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Once};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{watch, Semaphore};

use crate::error::{Error, Result};
use crate::http::request as http_request;
use crate::http::{self, respond, RequestError, Response};
use crate::metrics::handle_request;
use crate::runtime;

/// Further requests wait in the kernel's accept queue.
const MAX_CONCURRENT_REQUESTS: usize = 128;
/// Length of the accept queue.
const BACKLOG: u32 = 1024;
/// Time to receive a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum size of the request head.
const MAX_HEAD_BYTES: usize = 8 << 10;
/// Maximum number of ports in a range such as 9400-9409.
const MAX_PORTS: u16 = 1000;

/// The descriptor that a forked child must close; -1 for none.
static LISTENER_FD: AtomicI32 = AtomicI32::new(-1);
static AT_FORK: Once = Once::new();

/// Runs in a forked child, before `fork()` returns there: only an atomic and `close`, both async-signal-safe.
extern "C" fn after_fork_in_child() {
    let fd = LISTENER_FD.swap(-1, Ordering::SeqCst);
    if fd >= 0 {
        // SAFETY: stored only while the descriptor is open; the owner in the parent's memory is leaked in the child.
        unsafe { libc::close(fd) };
    }
}

/// A bound port and its thread.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Listener {
    /// Binds the port, or the first free port of a range: `127.0.0.1:9400`, `0.0.0.0:9400-9409`.
    ///
    /// # Errors
    /// Configuration: an invalid address. Connection: the port is in use.
    pub fn start(address: &str) -> Result<Self> {
        let candidates = addresses(address)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|e| Error::connection(format!("Cannot listen for metrics: {e}.")))?;
        let (listener, bound) = {
            let _inside = runtime.enter();
            first_free(&candidates)
                .and_then(|listener| Ok((listener.local_addr()?, listener)))
                .map(|(bound, listener)| (listener, bound))
                .map_err(|error| bind_error(address, &error))?
        };
        AT_FORK.call_once(|| {
            // SAFETY: the handler only uses an atomic and `close`, and the library is never unloaded.
            unsafe { libc::pthread_atfork(None, None, Some(after_fork_in_child)) };
        });
        LISTENER_FD.store(listener.as_raw_fd(), Ordering::SeqCst);
        let (stop, stopped) = watch::channel(false);
        let thread = runtime::spawn("rt-metrics", move || {
            runtime.block_on(accept(listener, stopped));
        })?;
        Ok(Self {
            address: bound,
            stop,
            thread,
        })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and joins the thread.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        // A panic in the thread was reported already, and the port is closed in any case.
        let _ = self.thread.join();
    }
}

/// Parses `host:port` or `host:first-last`.
fn addresses(text: &str) -> Result<Vec<SocketAddr>> {
    let refuse = || {
        Error::configuration(format!(
            "Metrics cannot be served on {text:?}: use host:port, such as 127.0.0.1:9400, or a range of ports for \
             several processes, such as 127.0.0.1:9400-9409 (metrics, REALTIME_METRICS, --metrics)."
        ))
    };
    let (host, ports) = text.trim().rsplit_once(':').ok_or_else(refuse)?;
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| text.parse::<u16>().map_err(|_| refuse());
    let (first, last) = (number(first)?, number(last)?);
    if host.is_empty() || first > last || last - first >= MAX_PORTS {
        return Err(refuse());
    }
    let mut resolved = format!("{host}:{first}")
        .to_socket_addrs()
        .map_err(|_| refuse())?;
    let one = resolved.next().ok_or_else(refuse)?;
    Ok((first..=last)
        .map(|port| SocketAddr::new(one.ip(), port))
        .collect())
}

/// Binds the first address whose port is free.
fn first_free(candidates: &[SocketAddr]) -> io::Result<TcpListener> {
    let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in candidates {
        match http::bind(*address, false).and_then(|socket| socket.listen(BACKLOG)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last_error = error,
            other => return other,
        }
    }
    Err(last_error)
}

fn bind_error(address: &str, error: &io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            " Another process uses the port: each worker on a machine needs its own. Choose \
            another port, or a range such as 127.0.0.1:9400-9409 for all workers."
        }
        io::ErrorKind::PermissionDenied => " Ports below 1024 require root: choose a higher port.",
        io::ErrorKind::AddrNotAvailable => " This machine has no such address.",
        _ => "",
    };
    Error::connection(format!(
        "Metrics cannot be served on {address} ({error}).{hint}"
    ))
}

async fn accept(listener: TcpListener, mut stopped: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(async move {
                    let _slot = slot;
                    serve(stream).await;
                });
            }
            // Out of descriptors, or the peer has disconnected: try again after a pause.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    // Cleared before the close: the descriptor number may be reused immediately.
    LISTENER_FD.store(-1, Ordering::SeqCst);
    drop(listener);
}

async fn serve(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let end = http_request::deadline(REQUEST_TIMEOUT);
    let mut is_head = false;
    let response = match http_request::read_head(&mut stream, MAX_HEAD_BYTES, end).await {
        Ok(request) => {
            is_head = request.is_head();
            handle_request(
                &request.method,
                &request.path,
                request.header("accept"),
                None,
            )
        }
        Err(RequestError::Status(status, why)) => Response::text(status, format!("{why}\n")),
        Err(RequestError::Timeout) => Response::text(408, "The request took too long.\n"),
        // Eviction does not apply to this listener; a disconnected client needs no response.
        Err(RequestError::Disconnected | RequestError::Evicted) => return,
    };
    respond(&mut stream, &response, is_head).await;
}

#[cfg(test)]
mod tests {
    use super::{addresses, Listener};
    use crate::config::testing;
    use crate::error::Kind;
    use crate::kafka::producer::pool::PRODUCERS;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    fn request(listener: &Listener, request: &str) -> String {
        let mut stream = TcpStream::connect(listener.address()).expect("a connection");
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        stream.write_all(request.as_bytes()).expect("sent");
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    }

    #[test]
    fn addresses_and_ranges() {
        let ports = |text: &str| addresses(text).map(|all| all.len());
        assert_eq!(ports("127.0.0.1:9400"), Ok(1));
        assert_eq!(ports("127.0.0.1:9400-9409"), Ok(10));
        assert_eq!(ports("[::1]:9400"), Ok(1));
        for wrong in [
            "",
            "9400",
            ":9400",
            "a b:1",
            "h:",
            "h:99999",
            "127.0.0.1:5-4",
            "127.0.0.1:1-60000",
            "x:-1",
        ] {
            assert_eq!(
                addresses(wrong).map_err(|e| e.kind()),
                Err(Kind::Configuration),
                "{wrong}"
            );
        }
    }

    #[test]
    fn requests_are_answered_and_the_port_is_released_on_stop() {
        // A process has metrics of producers once it has one.
        crate::monitoring::install();
        let client = PRODUCERS.current().get(&testing::config(&[]));
        let _client = client.expect("a producer");
        // One listener at a time: LISTENER_FD holds a single descriptor.
        let listener = Listener::start("127.0.0.1:0").expect("a port");
        let address = listener.address();
        assert!(request(&listener, "GET /up HTTP/1.1\r\nHost: a\r\n\r\n")
            .starts_with("HTTP/1.1 200 OK"));
        assert!(
            request(&listener, "GET /live HTTP/1.1\r\nHost: a\r\n\r\n").ends_with("\r\n\r\nlive\n")
        );
        let metrics = request(&listener, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
        assert!(metrics.contains("# TYPE realtime_producer_messages_total counter"));
        let open = request(
            &listener,
            "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text\r\n\r\n",
        );
        assert!(
            open.contains("application/openmetrics-text; version=1.0.0")
                && open.ends_with("# EOF\n")
        );
        assert!(
            request(&listener, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 404")
        );
        assert!(request(
            &listener,
            "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        )
        .starts_with("HTTP/1.1 405"));
        assert!(request(&listener, "\u{1}\u{2}\r\n\r\n").starts_with("HTTP/1.1 400"));
        let endless = format!("GET /{} HTTP/1.1\r\n", "a".repeat(20_000));
        assert!(request(&listener, &endless).starts_with("HTTP/1.1 431"));
        let before = Instant::now();
        assert!(request(&listener, "GET /up HT").starts_with("HTTP/1.1 408"));
        assert!(before.elapsed() < Duration::from_secs(8));
        let second = Listener::start(&address.to_string()).expect_err("taken");
        assert_eq!(second.kind(), Kind::Connection);
        assert!(
            second.message().contains(&address.to_string()),
            "{}",
            second.message()
        );
        listener.stop();
        Listener::start(&address.to_string())
            .expect("free again")
            .stop();
    }
}
