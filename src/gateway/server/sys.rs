//! The descriptor limit, sockets passed by systemd, and options of sockets that tokio has no function for.
#![allow(unsafe_code)]

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use socket2::{SockRef, Socket};
use tokio::net::{TcpSocket, TcpStream};

/// Raises the limit of file descriptors to the maximum and returns it.
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
/// # Errors
/// The passed descriptor is not a listening socket.
pub fn handed_over() -> io::Result<Option<TcpListener>> {
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
    Ok(Some(socket.into()))
}

/// Binds a listening socket. `shared`: with `SO_REUSEPORT`, so that a successor can accept before this process drains.
/// Must be called within a runtime.
///
/// # Errors
/// The system's.
pub fn bind(address: SocketAddr, shared: bool) -> io::Result<tokio::net::TcpListener> {
    bound(address, shared)?.listen(4096)
}

/// True if another process already listens on the address. `SO_REUSEPORT` lets [`bind`] share it with that process; a
/// socket without the option cannot be bound there, which tells the two cases apart.
pub fn is_in_use(address: SocketAddr) -> bool {
    address.port() != 0
        && bound(address, false).is_err_and(|e| e.kind() == io::ErrorKind::AddrInUse)
}

fn bound(address: SocketAddr, shared: bool) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    socket.bind(address)?;
    Ok(socket)
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
