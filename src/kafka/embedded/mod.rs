//! The embedded development broker: librdkafka's mock cluster, in memory, reached over loopback like any Kafka.
//!
//! It keeps the last 5 MB or 100,000 messages of a partition, has no admin API, and ends with its process. Mock brokers
//! bind a random port; for a port chosen by the user, a forwarder listens there and the mock broker advertises it.
//! `faults` injects faults for the tests of applications.
//!
//! Transactional requests succeed as on Kafka, but records of a transaction are visible immediately and remain after an
//! abort: the mock cluster writes no control records that a consumer could use to skip them.

mod faults;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use once_cell::sync::Lazy;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use rdkafka::error::RDKafkaErrorCode as Code;

use super::client::{self, MockCluster};
use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::runtime;

pub use faults::{Fault, RequestKind, MAX_LATENCY_MS, MAX_TIMES};

/// `brokers: embedded` in the configuration: one cluster per process, started on first use.
pub const NAME: &str = "embedded";

static SHARED: Lazy<Mutex<Option<Arc<EmbeddedCluster>>>> = Lazy::new(Mutex::default);
/// All clusters of this process. They are stopped at its end, after the clients that may still send to them.
static STARTED: Lazy<Mutex<Vec<Arc<EmbeddedCluster>>>> = Lazy::new(Mutex::default);

/// A running mock cluster of one broker.
pub struct EmbeddedCluster {
    /// `None` after the stop.
    cluster: Mutex<Option<MockCluster>>,
    address: String,
    forwarder: Option<Forwarder>,
    generation: u32,
    stopped: AtomicBool,
    /// Needed by `clear_faults`: the mock cluster has no list of them.
    failing_topics: Mutex<Vec<String>>,
}

impl EmbeddedCluster {
    /// Starts a cluster. `port` 0 selects a free port.
    ///
    /// # Errors
    /// Connection: the port is in use, or the address does not belong to this machine.
    pub fn start(host: &str, port: u16) -> Result<Arc<Self>> {
        let Some(cluster) = MockCluster::start()? else {
            return Err(Error::connection(
                "librdkafka could not start its mock cluster.",
            ));
        };
        // By default the first join of a group would wait 3 s.
        cluster.set_rebalance_delay(Duration::ZERO);
        let mut address = cluster.address();
        let mut forwarder = None;
        if port != 0 || host != "127.0.0.1" {
            let started = Forwarder::start(host, port, &address)?;
            cluster.advertise(host, started.port);
            address = format!("{host}:{}", started.port);
            forwarder = Some(started);
        }
        let embedded = Arc::new(Self {
            cluster: Mutex::new(Some(cluster)),
            address,
            forwarder,
            generation: runtime::generation(),
            stopped: AtomicBool::new(false),
            failing_topics: Mutex::default(),
        });
        let mut started = STARTED.lock();
        started.retain(|other| !other.is_stopped());
        started.push(Arc::clone(&embedded));
        Ok(embedded)
    }

    /// Limits the versions of a request that the broker supports, as an older Kafka would.
    #[cfg(test)]
    pub(crate) fn set_api_versions(&self, key: i16, first: i16, last: i16) {
        let cluster = self.cluster().expect("a running cluster");
        cluster.set_api_versions(key, first, last);
    }

    /// `host:port`, for `brokers`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Creates a topic; returns false if it exists.
    ///
    /// # Errors
    /// Configuration: the mock cluster rejects it. Connection: the cluster is stopped.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<bool> {
        crate::topic::validate_kafka_topic(topic)?;
        match self.cluster()?.create_topic(topic, partitions.max(1)) {
            Code::NoError => Ok(true),
            Code::TopicAlreadyExists => Ok(false),
            code => Err(Error::configuration(format!(
                "The embedded broker cannot create topic \"{topic}\" with {partitions} partition(s): {}.",
                client::describe(code)
            ))),
        }
    }

    /// The mock cluster can be changed only while it runs, and only in the process that started it: a fork has no copy
    /// of its thread.
    fn cluster(&self) -> Result<MappedMutexGuard<'_, MockCluster>> {
        if self.generation != runtime::generation() {
            return Err(Error::connection(format!(
                "The embedded broker at {} belongs to the parent process, which alone can change it. \
                 Producing and consuming work here.",
                self.address
            )));
        }
        MutexGuard::try_map(self.cluster.lock(), Option::as_mut).map_err(|_| {
            Error::connection(format!(
                "The embedded broker at {} is stopped. Start another one with EmbeddedBroker::start().",
                self.address
            ))
        })
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire) || self.generation != runtime::generation()
    }

    /// Stops the cluster and discards its data. Idempotent; does nothing in a forked child.
    pub fn stop(&self) {
        if self.generation != runtime::generation() || self.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(forwarder) = &self.forwarder {
            forwarder.stop();
        }
        drop(self.cluster.lock().take());
    }

    /// The next `times` requests of this type fail with `fault`, after faults queued earlier.
    ///
    /// # Errors
    /// Connection: the broker is stopped, or belongs to a parent process.
    pub fn fail_next(&self, request: RequestKind, fault: Fault, times: usize) -> Result<()> {
        self.cluster()?
            .push_errors(request.key(), fault.code(), times);
        Ok(())
    }

    /// Delays every response by `ms`; 0 ends the delay.
    ///
    /// # Errors
    /// Connection: see [`EmbeddedCluster::fail_next`].
    pub fn set_latency(&self, ms: i32) -> Result<()> {
        let code = self.cluster()?.set_latency(ms.max(0));
        self.check_result(code, "set the latency")
    }

    /// `false` drops every connection and accepts none until it is set to `true`; the data is kept.
    ///
    /// # Errors
    /// Connection: see [`EmbeddedCluster::fail_next`].
    pub fn set_up(&self, up: bool) -> Result<()> {
        let code = self.cluster()?.set_up(up);
        self.check_result(code, "change its availability")
    }

    /// Every request for the topic fails with this error until it is `None`. Creates the topic if it does not exist.
    ///
    /// # Errors
    /// Connection: see [`EmbeddedCluster::fail_next`]. InvalidChannel: not a valid topic name.
    pub fn fail_topic(&self, topic: &str, fault: Option<Fault>) -> Result<()> {
        crate::topic::validate_kafka_topic(topic)?;
        drop(self.cluster()?);
        let mut failing = self.failing_topics.lock();
        failing.retain(|known| known != topic);
        if fault.is_some() {
            failing.push(topic.to_owned());
        }
        self.set_topic_error(topic, fault)
    }

    /// Removes all faults: the broker is up, without latency, and serves all requests.
    ///
    /// # Errors
    /// Connection: see [`EmbeddedCluster::fail_next`].
    pub fn clear_faults(&self) -> Result<()> {
        for request in RequestKind::all() {
            self.cluster()?.clear_errors(request.key());
        }
        for topic in std::mem::take(&mut *self.failing_topics.lock()) {
            self.set_topic_error(&topic, None)?;
        }
        self.set_latency(0)?;
        self.set_up(true)
    }

    fn set_topic_error(&self, topic: &str, fault: Option<Fault>) -> Result<()> {
        let code = fault.map_or(Code::NoError, Fault::code);
        self.cluster()?.set_topic_error(topic, code);
        Ok(())
    }

    fn check_result(&self, code: Code, action: &str) -> Result<()> {
        if code == Code::NoError {
            return Ok(());
        }
        Err(Error::connection(format!(
            "The embedded broker at {} cannot {action}: {}.",
            self.address,
            client::describe(code)
        )))
    }
}

impl Drop for EmbeddedCluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The address behind `brokers: embedded`; starts the shared cluster if necessary.
///
/// # Errors
/// Connection: it cannot be started.
pub fn shared() -> Result<String> {
    shared_cluster().map(|embedded| embedded.address.clone())
}

/// The cluster behind `brokers: embedded`; starts it if necessary.
///
/// # Errors
/// Connection: it cannot be started.
pub fn shared_cluster() -> Result<Arc<EmbeddedCluster>> {
    let mut shared = SHARED.lock();
    if let Some(embedded) = shared.as_ref() {
        if !embedded.stopped.load(Ordering::Acquire) {
            // A forked child keeps using its parent's cluster, over loopback.
            return Ok(Arc::clone(embedded));
        }
    }
    let embedded = EmbeddedCluster::start("127.0.0.1", 0)?;
    *shared = Some(Arc::clone(&embedded));
    Ok(embedded)
}

/// Stops all clusters at the end of the process.
pub fn stop_all() {
    drop(SHARED.lock().take());
    let all = std::mem::take(&mut *STARTED.lock());
    for embedded in all {
        embedded.stop();
    }
}

/// The cluster of this process that listens at `address`, or the shared one for `embedded`.
#[must_use]
pub fn local(address: &str) -> Option<Arc<EmbeddedCluster>> {
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

/// Replaces `bootstrap.servers=embedded` by the address of the shared cluster.
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
        runtime::spawn("rt-embedded", move || {
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
        // Wakes the accept call; on an error the listener is gone already.
        drop(TcpStream::connect(self.local));
    }
}

/// Connects a client to the mock broker, in both directions.
fn join(client: TcpStream, target: SocketAddr) {
    let Ok(server) = TcpStream::connect(target) else {
        return;
    };
    // Nagle's algorithm would delay small requests by 40 ms; if it cannot be disabled, the connection is only slower.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    if let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) {
        pump(from_client, server);
        pump(from_server, client);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    // If the thread cannot be started, the connection closes and the client reconnects.
    let _ = runtime::spawn("rt-embedded", move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    });
}

#[cfg(test)]
mod tests {
    // A transaction on the mock cluster, which exactly-once depends on.

    use std::time::Instant;

    use super::*;
    use crate::kafka::client::{produce, CallError, Client, Conf, Outgoing, TopicHandle};
    use rdkafka::types::RDKafkaType;

    fn transactional(address: &str) -> Client {
        let mut conf = Conf::empty();
        for (name, value) in [
            ("bootstrap.servers", address),
            ("transactional.id", "tests"),
            ("linger.ms", "0"),
        ] {
            conf.set(name, value, "test").unwrap();
        }
        let client = conf.into_client(RDKafkaType::RD_KAFKA_PRODUCER).unwrap();
        expect(client.init_transactions(TEN_SECONDS));
        client
    }

    const TEN_SECONDS: Duration = Duration::from_secs(10);

    fn expect(result: std::result::Result<(), CallError>) {
        let reason = result.err().map(|error| error.reason);
        assert_eq!(reason, None);
    }

    fn send(client: &Client, topic: &str, value: &str) {
        let handle = TopicHandle::new(client, topic).unwrap();
        let message = Outgoing {
            partition: Some(0),
            key: None,
            value: Some(value.as_bytes()),
            headers: &[],
            timestamp_ms: 0,
            opaque: 0,
        };
        assert_eq!(produce(&handle, &message), Code::NoError);
    }

    #[test]
    fn transactions_are_answered_and_survive_faults() {
        let embedded = EmbeddedCluster::start("127.0.0.1", 0).unwrap();
        embedded.create_topic("t", 1).unwrap();
        let fail = |request, fault| {
            let (request, fault) = (
                RequestKind::parse(request).unwrap(),
                Fault::parse(fault).unwrap(),
            );
            embedded.fail_next(request, fault, 1).unwrap();
        };
        fail("InitProducerId", "COORDINATOR_LOAD_IN_PROGRESS");
        let producer = transactional(embedded.address());
        expect(producer.begin_transaction());
        fail("AddPartitionsToTxn", "CONCURRENT_TRANSACTIONS");
        fail("EndTxn", "NOT_COORDINATOR");
        send(&producer, "t", "committed");
        expect(producer.commit_transaction(TEN_SECONDS));
        expect(producer.begin_transaction());
        send(&producer, "t", "aborted");
        expect(producer.abort_transaction(TEN_SECONDS));
        drop(producer);
        embedded.stop();
    }

    #[test]
    fn a_broker_keeps_its_port_while_down() {
        let embedded = EmbeddedCluster::start("127.0.0.1", 0).unwrap();
        let reaches = || std::net::TcpStream::connect(embedded.address()).is_ok();
        assert!(reaches());
        embedded.set_up(false).unwrap();
        embedded.set_up(false).unwrap();
        assert!(!reaches());
        embedded.clear_faults().unwrap();
        let until = Instant::now() + Duration::from_secs(2);
        while !reaches() {
            assert!(Instant::now() < until, "it did not come back");
            std::thread::sleep(Duration::from_millis(10));
        }
        embedded.stop();
        assert!(embedded.set_up(true).is_err());
    }
}
