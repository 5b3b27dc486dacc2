//! The gateway's listening addresses: its own, or a socket passed by systemd; and options of sockets that tokio has no
//! function for.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use socket2::{SockRef, Socket};
use tokio::net::{TcpListener, TcpStream};

use super::limits::network;
use super::Role;
use crate::config::gateway_settings::Settings;
use crate::error::{Error, Result};
use crate::http;
use crate::log::Level;
use crate::runtime;

/// Interval of the attempts to bind the operations port while another process has it.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The gateway's listening sockets.
pub(in crate::gateway) struct Ports {
    /// Bound listeners with their addresses, the one of the sockets first.
    pub bound: Vec<(Role, TcpListener, SocketAddr)>,
    /// The address of the operations port, while another process has it.
    pub busy_ops: Option<SocketAddr>,
}

/// Validates the addresses in the settings, before anything is opened.
///
/// # Errors
/// [`crate::error::Kind::Configuration`], naming the setting.
pub fn check_addresses(settings: &Settings) -> Result<()> {
    for proxy in &settings.trusted_proxies {
        if network(proxy).is_none() {
            return Err(Error::configuration(format!(
                "realtime.gateway.trusted_proxies: {proxy:?} is neither an address nor a network such as 10.0.0.0/8."
            )));
        }
    }
    for origin in &settings.allowed_origins {
        if !super::handshake::is_valid_origin(origin) {
            return Err(Error::configuration(format!(
                "realtime.gateway.allowed_origins: {origin:?} is not an origin and would match no page. Write scheme, \
                host and port without a trailing slash: https://shop.example, or https://*.shop.example. A host with \
                other letters than ASCII as browsers send it: https://xn--bcher-kva.example"
            )));
        }
    }
    check_distinct(settings)
}

/// The sockets, the HTTP API and the operations need ports of their own: on a shared one, the kernel would pass a
/// browser to the listener that answers it with 404.
fn check_distinct(settings: &Settings) -> Result<()> {
    let main = format!("{}:{}", bracketed(&settings.host), settings.port);
    let all = [
        ("port", Some(&main)),
        ("api_listen", settings.api_listen.as_ref()),
        ("ops_listen", settings.ops_listen.as_ref()),
    ];
    let parts = |address: &str| {
        let (host, port) = address.rsplit_once(':')?;
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        Some((host, port.parse::<u16>().ok().filter(|port| *port > 0)?))
    };
    let is_any = |host: &str| matches!(host, "0.0.0.0" | "::" | "*");
    for (i, (name, address)) in all.iter().enumerate() {
        for (other, taken) in &all[..i] {
            let (Some(one), Some(two)) =
                (address.and_then(|a| parts(a)), taken.and_then(|a| parts(a)))
            else {
                continue;
            };
            if one.1 == two.1 && (one.0 == two.0 || is_any(&one.0) || is_any(&two.0)) {
                return Err(Error::configuration(format!(
                    "realtime.gateway.{name} and realtime.gateway.{other} both use port {}: give {name} a port of its \
                    own.",
                    one.1
                )));
            }
        }
    }
    Ok(())
}

/// Warns about settings that are valid but unsafe.
pub(in crate::gateway) fn warn(settings: &Settings) {
    // Encoded as a string, data can have twice its size.
    if settings.max_queue < 2 * settings.max_event {
        runtime::warn(format!(
                "realtime.gateway.max_queue ({}) is less than twice max_event ({}): a large event can close all \
                subscribers of its channel with 4100. Raise max_queue, or lower max_event.",
                settings.max_queue, settings.max_event
            ));
    }
    let local = matches!(settings.host.as_str(), "127.0.0.1" | "::1" | "localhost");
    if !local && settings.allowed_origins.is_empty() {
        runtime::warn(format!(
            "The gateway listens on {} and accepts pages of every origin. List yours in \
                realtime.gateway.allowed_origins (REALTIME_ALLOWED_ORIGINS).",
            settings.host
        ));
    }
}

/// Binds all listening addresses, the port of the sockets first.
pub(in crate::gateway) fn ports(settings: &Settings) -> Result<Ports> {
    let role = if settings.api_listen.is_some() {
        Role::Sockets
    } else {
        Role::Everything
    };
    let handed = handed_over().map_err(|e| {
        Error::connection(format!("Cannot use the socket that systemd passed: {e}."))
    })?;
    let main = match handed {
        Some(listener) => listener,
        None => listen_shared(
            &format!("{}:{}", bracketed(&settings.host), settings.port),
            "REALTIME_GATEWAY_PORT",
        )?,
    };
    let mut ports = vec![(role, main)];
    if let Some(address) = &settings.api_listen {
        ports.push((Role::Api, listen_shared(address, "REALTIME_API_LISTEN")?));
    }
    let mut busy_ops = None;
    if let Some(address) = &settings.ops_listen {
        let resolved = resolve(address)?;
        match bind(resolved, false) {
            Ok(found) => ports.push((Role::Operations, found)),
            // With a second gateway on this machine, connections matter more than metrics.
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                busy_ops = Some(resolved);
                runtime::warn(format!(
                        "No /metrics and /ready yet: another process has {address}. During a restart the gateway \
                        takes the port when its predecessor exits. Otherwise give each gateway its own \
                        (REALTIME_OPS_LISTEN). To find the other process: ss -ltnp."
                    ));
            }
            Err(e) => runtime::warn(format!(
                "No /metrics and /ready: {}",
                bind_error(address, &e)
            )),
        }
    }
    let bound: Result<_> = ports
        .into_iter()
        .map(|(role, listener)| {
            let address = listener.local_addr().map_err(|e| {
                Error::connection(format!(
                    "Cannot read the listening address of the gateway: {e}."
                ))
            })?;
            Ok((role, listener, address))
        })
        .collect();
    Ok(Ports {
        bound: bound?,
        busy_ops,
    })
}

/// Waits until the process that has the operations port closes it, and binds it.
pub(in crate::gateway) async fn bind_when_free(address: SocketAddr) -> TcpListener {
    loop {
        tokio::time::sleep(RETRY_INTERVAL).await;
        if let Ok(listener) = bind(address, false) {
            runtime::current().log.write(
                Level::Notice,
                format!("/metrics and /ready listen on {address} now."),
            );
            return listener;
        }
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn resolve(address: &str) -> Result<SocketAddr> {
    address
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next())
        .ok_or_else(|| {
            Error::configuration(format!(
                "The gateway cannot listen on {address:?}: write host:port, such as \
            127.0.0.1:6001."
            ))
        })
}

fn bind_error(address: &str, e: &io::Error) -> String {
    let hint = match e.kind() {
        io::ErrorKind::AddrInUse => {
            " Another process has the port: a gateway of another user, or Toporia's own WebSocket server, which \
            uses 6001 too (realtime:serve, REALTIME_WS_PORT). Find it with: ss -ltnp. Stop it, or set \
            REALTIME_GATEWAY_PORT."
        }
        io::ErrorKind::PermissionDenied => " Ports below 1024 are for root: choose a higher one behind nginx.",
        io::ErrorKind::AddrNotAvailable => " This machine has no such address.",
        _ => "",
    };
    format!("The gateway cannot listen on {address} ({e}).{hint}")
}

/// Binds a port that a successor may share during a restart, so that it refuses neither browsers nor API requests.
fn listen_shared(address: &str, setting: &str) -> Result<TcpListener> {
    let resolved = resolve(address)?;
    let is_shared = is_in_use(resolved);
    let bound = bind(resolved, true).map_err(|e| Error::connection(bind_error(address, &e)))?;
    if is_shared {
        runtime::warn(format!(
                "Another gateway already listens on {address}, and connections are spread over both until one stops. \
                During a restart that is intended: stop the old one now. Otherwise give this one a port of \
                its own ({setting}). To find the other: ss -ltnp."
            ));
    }
    Ok(bound)
}

/// Raises the limit of file descriptors to the maximum and returns it.
#[allow(unsafe_code)]
#[must_use]
pub fn descriptors() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: plain calls with local memory.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return 1024;
        }
        if limit.rlim_cur < limit.rlim_max {
            let wanted = libc::rlimit {
                rlim_cur: limit.rlim_max,
                rlim_max: limit.rlim_max,
            };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) == 0 {
                limit = wanted;
            }
        }
    }
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// The socket that systemd passed to this process (`LISTEN_PID`, `LISTEN_FDS`), if any. During a restart, connections
/// wait in its backlog instead of being refused.
///
/// Must be called within a runtime.
///
/// # Errors
/// The passed descriptor is not a listening socket.
#[allow(unsafe_code)]
fn handed_over() -> io::Result<Option<TcpListener>> {
    let Some(descriptor) = sd_notify::listen_fds()?.next() else {
        return Ok(None);
    };
    // SAFETY: `listen_fds` found the descriptor open, and nothing in this process closes it.
    let passed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    // Duplicated, so that a second gateway in this process can use it too.
    let socket = Socket::from(passed.try_clone_to_owned()?);
    // macOS cannot tell, and has no systemd that would hand one over.
    #[cfg(target_os = "linux")]
    if !socket.is_listener().unwrap_or(false) {
        return Err(io::Error::other(format!(
            "LISTEN_FDS was set, but descriptor {descriptor} is not a listening socket"
        )));
    }
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into()).map(Some)
}

/// Binds a listening socket. `shared`: with `SO_REUSEPORT`, so that a successor can accept before this process drains.
/// Must be called within a runtime.
///
/// # Errors
/// The system's.
fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    http::bind(address, shared)?.listen(4096)
}

/// True if another process already listens on the address. `SO_REUSEPORT` lets [`bind`] share it with that process; a
/// socket without the option cannot be bound there, which tells the two cases apart.
fn is_in_use(address: SocketAddr) -> bool {
    address.port() != 0
        && http::bind(address, false).is_err_and(|e| e.kind() == io::ErrorKind::AddrInUse)
}

/// Bounds what the kernel keeps of a connection: unsent output, which otherwise grows to megabytes for each client that
/// does not read, and input that is not read at the moment. If an option cannot be set, the kernel's own value applies.
pub fn bound_buffers(stream: &TcpStream, send: usize, receive: usize) {
    let socket = SockRef::from(stream);
    let _ = socket.set_send_buffer_size(send);
    let _ = socket.set_recv_buffer_size(receive);
}

/// Closes the connection if what was sent is not acknowledged within this time. Only Linux can.
#[cfg_attr(not(target_os = "linux"), allow(unused_variables))]
pub fn set_user_timeout(stream: &TcpStream, timeout: Duration) {
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(timeout));
}

#[cfg(test)]
mod tests {
    use super::*;
    #[tokio::test]
    async fn kernel_buffers_are_bounded() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), true).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().await.unwrap();
        bound_buffers(&server, 64 << 10, 64 << 10);
        client.set_nonblocking(true).unwrap();
        let mut sent = 0;
        let chunk = [0_u8; 16 << 10];
        while let Ok(n) = io::Write::write(&mut &client, &chunk) {
            sent += n;
            if sent > 64 << 20 {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // Everything the server does not read is in its receive buffer or in the sender's own send buffer.
        let queued = server.peek(&mut vec![0; 1 << 20]).await.unwrap();
        assert!((1..=128 << 10).contains(&queued), "{queued} of {sent}");
        set_user_timeout(&server, Duration::from_secs(7));
        let timeout = SockRef::from(&server).tcp_user_timeout().unwrap();
        assert_eq!(timeout, Some(Duration::from_secs(7)));
    }

    #[tokio::test]
    async fn a_port_shared_with_so_reuseport_is_reported_as_in_use() {
        let first = bind(SocketAddr::from(([127, 0, 0, 1], 0)), true).unwrap();
        let address = first.local_addr().unwrap();
        assert!(is_in_use(address));
        let second = bind(address, true).unwrap();
        let exclusive = bind(address, false).unwrap_err();
        assert_eq!(exclusive.kind(), io::ErrorKind::AddrInUse);
        drop((first, second));
        assert!(!is_in_use(address));
        assert!(!is_in_use(SocketAddr::from(([127, 0, 0, 1], 0))));
        let _exclusive = bind(address, false).unwrap();
        assert!(bind(address, true).is_err());
    }
}
