//! The callbacks with which librdkafka resolves names and, in tests, connects to brokers. Names are resolved under a
//! lock that `fork` takes as well.
//!
//! glibc's `getaddrinfo` holds a private lock that `fork` does not reset: in a child forked while one of librdkafka's
//! threads was resolving a name, the next lookup would block forever. All lookups therefore go through this module, one
//! at a time, and a fork waits for the lookup in progress. Numeric addresses need no lookup and never take the lock.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Once;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaConf;

extern "C" {
    fn rd_kafka_conf_set_resolve_cb(conf: *mut RDKafkaConf, resolve: Option<Resolve>);
}

type Resolve = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    *const libc::addrinfo,
    *mut *mut libc::addrinfo,
    *mut c_void,
) -> c_int;

/// A lock that can be released on the other side of a fork, which no library lock allows.
static RESOLVING: AtomicBool = AtomicBool::new(false);
static AT_FORK: Once = Once::new();

/// Longest wait of a fork for a lookup, which may itself wait for an unreachable name server.
const FORK_WAIT_TIMEOUT: Duration = Duration::from_secs(1);

fn lock(until: Option<Instant>) {
    while RESOLVING
        .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
        .is_err()
    {
        if until.is_some_and(|until| Instant::now() >= until) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

extern "C" fn before_fork() {
    lock(Some(Instant::now() + FORK_WAIT_TIMEOUT));
}

extern "C" fn after_fork() {
    RESOLVING.store(false, Ordering::Release);
}

/// Installs the callbacks.
///
/// # Safety
/// `conf` must be alive.
pub(super) unsafe fn set_callbacks(conf: *mut RDKafkaConf) {
    AT_FORK.call_once(|| {
        // SAFETY: the handlers touch an atomic and sleep. A failure (no memory) leaves the risk described above.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(after_fork)) };
    });
    rd_kafka_conf_set_resolve_cb(conf, Some(resolve));
    #[cfg(test)]
    connectivity::set_connect_callback(conf);
}

/// `getaddrinfo`, or `freeaddrinfo` if both node and service are null: librdkafka's contract for this callback.
unsafe extern "C" fn resolve(
    node: *const c_char,
    service: *const c_char,
    hints: *const libc::addrinfo,
    result: *mut *mut libc::addrinfo,
    _opaque: *mut c_void,
) -> c_int {
    if node.is_null() && service.is_null() {
        libc::freeaddrinfo(*result);
        return 0;
    }
    let mut digits: libc::addrinfo = hints
        .as_ref()
        .map_or_else(|| std::mem::zeroed(), |hints| *hints);
    digits.ai_flags = (digits.ai_flags & !libc::AI_ADDRCONFIG) | libc::AI_NUMERICHOST;
    if libc::getaddrinfo(node, service, &raw const digits, result) == 0 {
        return 0;
    }
    lock(None);
    let outcome = libc::getaddrinfo(node, service, hints, result);
    RESOLVING.store(false, Ordering::Release);
    outcome
}

/// Disconnects every client of this process from its brokers, and lets them reconnect.
#[cfg(test)]
pub(crate) mod connectivity {
    use std::ffi::{c_char, c_int, c_void};
    use std::sync::atomic::{AtomicBool, Ordering};

    use parking_lot::Mutex;
    use rdkafka::types::RDKafkaConf;

    extern "C" {
        fn rd_kafka_conf_set_connect_cb(conf: *mut RDKafkaConf, connect: Option<Connect>);
    }

    type Connect = unsafe extern "C" fn(
        c_int,
        *const libc::sockaddr,
        c_int,
        *const c_char,
        *mut c_void,
    ) -> c_int;

    static ENABLED: AtomicBool = AtomicBool::new(false);
    static DISCONNECTED: AtomicBool = AtomicBool::new(false);
    static SOCKETS: Mutex<Vec<c_int>> = Mutex::new(Vec::new());

    /// Must be called before the clients are created whose connections are to be controlled.
    pub(crate) fn enable() {
        ENABLED.store(true, Ordering::Release);
    }

    pub(crate) fn disconnect_all() {
        DISCONNECTED.store(true, Ordering::Release);
        for socket in SOCKETS.lock().drain(..) {
            // SAFETY: a plain call; a socket that is closed already is an error that changes nothing.
            unsafe { libc::shutdown(socket, libc::SHUT_RDWR) };
        }
    }

    pub(crate) fn allow_connections() {
        DISCONNECTED.store(false, Ordering::Release);
    }

    /// # Safety
    /// `conf` must be alive.
    pub(super) unsafe fn set_connect_callback(conf: *mut RDKafkaConf) {
        if ENABLED.load(Ordering::Acquire) {
            rd_kafka_conf_set_connect_cb(conf, Some(connect));
        }
    }

    unsafe extern "C" fn connect(
        socket: c_int,
        address: *const libc::sockaddr,
        length: c_int,
        _id: *const c_char,
        _opaque: *mut c_void,
    ) -> c_int {
        if DISCONNECTED.load(Ordering::Acquire) {
            return libc::ECONNREFUSED;
        }
        SOCKETS.lock().push(socket);
        let length = libc::socklen_t::try_from(length).unwrap_or(0);
        if libc::connect(socket, address, length) == 0 {
            return 0;
        }
        match std::io::Error::last_os_error().raw_os_error() {
            // The connection is being established in the background.
            Some(libc::EINPROGRESS) => 0,
            code => code.unwrap_or(libc::EIO),
        }
    }
}
