//! System calls: file descriptor limit, sockets passed by systemd, listening sockets, send buffers.
#![allow(unsafe_code)]

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd};

/// First descriptor that systemd passes.
const FIRST_HANDED: i32 = 3;

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
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) || number("LISTEN_FDS").unwrap_or(0) == 0 {
        return Ok(None);
    }
    let mut listening: libc::c_int = 0;
    let mut size = libc::socklen_t::try_from(std::mem::size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: plain calls with local memory; the descriptor is checked to be a listening socket before it is used. It
    // is duplicated, so that a second gateway in this process can use it too.
    let listener = unsafe {
        let status = libc::getsockopt(
            FIRST_HANDED,
            libc::SOL_SOCKET,
            libc::SO_ACCEPTCONN,
            (&raw mut listening).cast(),
            &raw mut size,
        );
        if status != 0 || listening == 0 {
            return Err(io::Error::other(
                "LISTEN_FDS was set, but descriptor 3 is not a listening socket",
            ));
        }
        let copy = libc::fcntl(FIRST_HANDED, libc::F_DUPFD_CLOEXEC, FIRST_HANDED);
        if copy < 0 {
            return Err(io::Error::last_os_error());
        }
        TcpListener::from_raw_fd(copy)
    };
    listener.set_nonblocking(true)?;
    Ok(Some(listener))
}

/// Binds a listening socket. `shared`: with `SO_REUSEPORT`, so that a successor can accept before this process drains.
/// Must be called within a runtime.
///
/// # Errors
/// The system's.
pub fn bind(address: SocketAddr, shared: bool) -> io::Result<tokio::net::TcpListener> {
    let socket = if address.is_ipv4() {
        tokio::net::TcpSocket::new_v4()?
    } else {
        tokio::net::TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    socket.bind(address)?;
    socket.listen(4096)
}

/// True if another process already listens on the address. `SO_REUSEPORT` lets [`bind`] share it with that process; a
/// socket without the option cannot be bound there, which tells the two cases apart.
pub fn is_in_use(address: SocketAddr) -> bool {
    let probe = || {
        let socket = if address.is_ipv4() {
            tokio::net::TcpSocket::new_v4()?
        } else {
            tokio::net::TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)
    };
    address.port() != 0 && probe().is_err_and(|e: io::Error| e.kind() == io::ErrorKind::AddrInUse)
}

/// Limits the kernel's send buffer, which otherwise grows to megabytes for each client that does not read.
pub fn bound_send_buffer(stream: &tokio::net::TcpStream, bytes: usize) {
    set_option(stream, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes);
}

/// Bounds what the kernel keeps of a client whose input is not read at the moment.
pub fn bound_receive_buffer(stream: &tokio::net::TcpStream, bytes: usize) {
    set_option(stream, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes);
}

/// Closes the connection if what was sent is not acknowledged within this time.
pub fn set_user_timeout(stream: &tokio::net::TcpStream, timeout: std::time::Duration) {
    let ms = usize::try_from(timeout.as_millis()).unwrap_or(usize::MAX);
    set_option(stream, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, ms);
}

fn set_option(
    stream: &tokio::net::TcpStream,
    level: libc::c_int,
    option: libc::c_int,
    value: usize,
) {
    let value = libc::c_int::try_from(value).unwrap_or(libc::c_int::MAX);
    let size = libc::socklen_t::try_from(std::mem::size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: a plain call with local memory on a descriptor that `stream` keeps open. If it fails, the kernel's own
    // value applies.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn kernel_buffers_are_bounded() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), true).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().await.unwrap();
        bound_receive_buffer(&server, 64 << 10);
        client.set_nonblocking(true).unwrap();
        let mut sent = 0;
        let chunk = [0_u8; 16 << 10];
        while let Ok(n) = io::Write::write(&mut &client, &chunk) {
            sent += n;
            if sent > 64 << 20 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        // Everything the server does not read is in its receive buffer or in the sender's own send buffer.
        let mut queued: libc::c_int = 0;
        // SAFETY: a plain call with local memory on an open descriptor.
        unsafe { libc::ioctl(server.as_raw_fd(), libc::FIONREAD, &raw mut queued) };
        assert!((1..=128 << 10).contains(&queued), "{queued} of {sent}");
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
