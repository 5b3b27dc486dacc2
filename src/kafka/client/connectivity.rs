//! For tests: disconnects every client of this process from its brokers, and lets them reconnect.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rdkafka::types::RDKafkaConf;

extern "C" {
    fn rd_kafka_conf_set_connect_cb(conf: *mut RDKafkaConf, connect: Option<Connect>);
}

type Connect =
    unsafe extern "C" fn(c_int, *const libc::sockaddr, c_int, *const c_char, *mut c_void) -> c_int;

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

/// Installs the connect callback.
///
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
