//! The embedded development broker: librdkafka's mock cluster, in memory, spoken to over loopback like any other Kafka.
//!
//! It keeps the last 5 MB or 100,000 messages of a partition, has no admin API, and ends with its process. Mock brokers bind a
//! port of their own; for a port of the user's choice a small forwarder stands in front, and the mock is told to advertise it.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use once_cell::sync::Lazy;
use parking_lot::Mutex;
use rdkafka_sys as sys;

use super::native::{self, Conf};
use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::process;

/// `brokers: embedded` in the configuration: one cluster for the process, made on first use.
pub const NAME: &str = "embedded";

static SHARED: Lazy<Mutex<Option<Arc<Embedded>>>> = Lazy::new(Mutex::default);
/// Every cluster of this process: they end with it, after the clients that may still have messages for them.
static STARTED: Lazy<Mutex<Vec<Arc<Embedded>>>> = Lazy::new(Mutex::default);

/// A running mock cluster of one broker.
pub struct Embedded {
    client: *mut sys::rd_kafka_t,
    cluster: *mut sys::bindings::rd_kafka_mock_cluster_t,
    address: String,
    forwarder: Option<Forwarder>,
    generation: u32,
    stopped: AtomicBool,
}

// SAFETY: the mock cluster's functions take its own lock.
unsafe impl Send for Embedded {}
unsafe impl Sync for Embedded {}

impl Embedded {
    /// Starts a cluster. `port` 0 takes any free port.
    ///
    /// # Errors
    /// Connection: the port is taken, or the address is not one of this machine.
    pub fn start(host: &str, port: u16) -> Result<Arc<Self>> {
        let client =
            Conf::silent().into_client(sys::bindings::rd_kafka_type_t::RD_KAFKA_PRODUCER)?;
        // SAFETY: a live client; the cluster lives on it until `stop`.
        let cluster = unsafe { sys::bindings::rd_kafka_mock_cluster_new(client, 1) };
        if cluster.is_null() {
            // SAFETY: ours.
            unsafe { sys::rd_kafka_destroy(client) };
            return Err(Error::connection(
                "librdkafka could not start its mock cluster.",
            ));
        }
        // SAFETY: valid until the cluster is destroyed; the first join of a group would wait 3 s otherwise.
        let inner = unsafe {
            sys::bindings::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
            CStr::from_ptr(sys::bindings::rd_kafka_mock_cluster_bootstraps(cluster))
        };
        let inner = inner.to_string_lossy().into_owned();
        let mut embedded = Self {
            client,
            cluster,
            address: inner.clone(),
            forwarder: None,
            generation: process::generation(),
            stopped: AtomicBool::new(false),
        };
        if port != 0 || host != "127.0.0.1" {
            let forwarder = Forwarder::start(host, port, &inner)?;
            let c_host = native::c_string(host);
            // SAFETY: a live cluster; broker ids begin at 1.
            unsafe {
                sys::bindings::rd_kafka_mock_broker_set_host_port(
                    cluster,
                    1,
                    c_host.as_ptr(),
                    i32::from(forwarder.port),
                );
            }
            embedded.address = format!("{host}:{}", forwarder.port);
            embedded.forwarder = Some(forwarder);
        }
        let embedded = Arc::new(embedded);
        let mut started = STARTED.lock();
        started.retain(|other| !other.is_stopped());
        started.push(Arc::clone(&embedded));
        Ok(embedded)
    }

    /// `host:port` for `brokers`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// Configuration: the mock cluster refuses it (a bad name, an existing topic with other partitions).
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        crate::topic::validate_topic(topic)?;
        if self.is_stopped() {
            return Err(Error::connection(format!(
                "The embedded broker at {} is stopped.",
                self.address
            )));
        }
        let name = native::c_string(topic);
        // SAFETY: a live cluster.
        let code = unsafe {
            sys::bindings::rd_kafka_mock_topic_create(
                self.cluster,
                name.as_ptr(),
                partitions.max(1),
                1,
            )
        };
        match code {
            sys::bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            | sys::bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS => Ok(()),
            code => Err(Error::configuration(format!(
                "The embedded broker cannot create topic \"{topic}\" with {partitions} partition(s): {}.",
                native::describe(code)
            ))),
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire) || self.generation != process::generation()
    }

    /// Ends the cluster and everything in it. Idempotent; does nothing in a forked child.
    pub fn stop(&self) {
        if self.generation != process::generation() || self.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(forwarder) = &self.forwarder {
            forwarder.stop();
        }
        // SAFETY: alive until here, and `stopped` lets this run once.
        unsafe {
            sys::bindings::rd_kafka_mock_cluster_destroy(self.cluster);
            sys::rd_kafka_destroy(self.client);
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The address behind `brokers: embedded`, starting the process's own cluster where needed.
///
/// # Errors
/// Connection: it cannot be started.
pub fn shared() -> Result<String> {
    let mut shared = SHARED.lock();
    if let Some(embedded) = shared.as_ref() {
        if !embedded.stopped.load(Ordering::Acquire) {
            // A forked child goes on with its parent's cluster, over loopback.
            return Ok(embedded.address.clone());
        }
    }
    let embedded = Embedded::start("127.0.0.1", 0)?;
    let address = embedded.address.clone();
    *shared = Some(embedded);
    Ok(address)
}

/// Stops every cluster: the process ends.
pub fn stop_all() {
    drop(SHARED.lock().take());
    let all = std::mem::take(&mut *STARTED.lock());
    for embedded in all {
        embedded.stop();
    }
}

/// The cluster of this process that answers at `address`, or the shared one for `embedded`.
#[must_use]
pub fn local(address: &str) -> Option<Arc<Embedded>> {
    if address == NAME {
        return SHARED
            .lock()
            .clone()
            .filter(|embedded| !embedded.is_stopped());
    }
    STARTED
        .lock()
        .iter()
        .find(|embedded| embedded.address == address && !embedded.is_stopped())
        .cloned()
}

/// Replaces `bootstrap.servers=embedded` by the real address.
///
/// # Errors
/// Connection: the cluster cannot be started.
pub fn resolve(config: &BrokerConfig, properties: &mut [(String, String)]) -> Result<()> {
    if config.brokers != NAME {
        return Ok(());
    }
    let address = shared()?;
    for (name, value) in properties {
        if name == "bootstrap.servers" {
            value.clone_from(&address);
        }
    }
    Ok(())
}

/// Passes the bytes of a public port to the mock broker's own.
struct Forwarder {
    port: u16,
    local: SocketAddr,
    open: Arc<AtomicBool>,
}

impl Forwarder {
    fn start(host: &str, port: u16, target: &str) -> Result<Self> {
        let listener = TcpListener::bind((host, port)).map_err(|error| {
            let advice = if error.kind() == io::ErrorKind::AddrInUse {
                " Another Kafka, or another embedded broker, is probably running there; choose another port."
            } else {
                ""
            };
            Error::connection(format!(
                "The embedded broker cannot listen on {host}:{port}: {error}.{advice}"
            ))
        })?;
        let failed = |error: io::Error| {
            Error::connection(format!("The embedded broker cannot be reached: {error}."))
        };
        let local = listener.local_addr().map_err(failed)?;
        let target = target
            .to_socket_addrs()
            .map_err(failed)?
            .next()
            .ok_or_else(|| {
                Error::connection(format!(
                    "The mock cluster's address {target} cannot be read."
                ))
            })?;
        let open = Arc::new(AtomicBool::new(true));
        let still_open = Arc::clone(&open);
        process::spawn("rt-embedded", move || {
            for client in listener.incoming() {
                if !still_open.load(Ordering::Acquire) {
                    return;
                }
                if let Ok(client) = client {
                    join(client, target);
                }
            }
        })?;
        Ok(Self {
            port: local.port(),
            local,
            open,
        })
    }

    fn stop(&self) {
        self.open.store(false, Ordering::Release);
        // Wakes the accept call; a failure means it is gone already.
        drop(TcpStream::connect(self.local));
    }
}

/// Connects one client to the mock broker, both ways.
fn join(client: TcpStream, target: SocketAddr) {
    let Ok(server) = TcpStream::connect(target) else {
        return;
    };
    // Nagle would add 40 ms to small requests; where it cannot be turned off it is only slower.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    if let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) {
        pump(from_client, server);
        pump(from_server, client);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    // A thread that cannot be started closes the connection, and the client reconnects.
    let _ = process::spawn("rt-embedded", move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    });
}
