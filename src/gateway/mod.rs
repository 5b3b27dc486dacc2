//! The WebSocket gateway: delivers events from Kafka to clients of the Pusher protocol. It uses no PHP.
//!
//! ```text
//! Gateway          starts and stops all of it, and is a source of metrics
//! server           accepts connections within limits; requests: handshake, HTTP API, /up, /metrics
//!  └ session          one task per socket: frames in, send queue out, liveness
//!     └ hub              channels and their subscribers, presence members, cached events
//!        ├ protocol         frames, signatures, close codes: no sockets
//!        ├ limits           rates, and warnings about limits
//!        └ backend          traits that the hub needs: Cluster (other gateways), History (missed events)
//!
//! bootstrap        connects a hub to Kafka
//!  ├ feed             reads every partition of the topic prefix into the hub
//!  ├ cluster          the other gateways: presence, client events, webhooks, admin requests
//!  └ replay           positions, replay buffer, replays
//! ```

pub mod api_client;
pub mod backend;
pub mod bootstrap;
pub mod broadcast;
pub mod cluster;
pub mod feed;
pub mod hub;
pub mod limits;
pub mod protocol;
pub mod replay;
pub mod server;
pub mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::backend::{AdminRequest, AdminResponse, Cluster, History};
use self::bootstrap::KafkaBackend;
use self::broadcast::Broadcast;
use self::hub::Hub;
use self::protocol::{is_reserved_event, Close, SocketId};
pub use self::server::ports::check_addresses;
use self::server::ports::{bind_when_free, descriptors, ports, warn};
use self::server::{Acceptor, Role};
use crate::config::gateway_settings::Settings;
use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::metrics::catalog::{self as c, gateway_name, Counters};
use crate::metrics::snapshot::Snapshot;
use crate::metrics::Collector;
use crate::runtime::{self, PerProcess};

/// Timeout of a request to all gateways.
const ADMIN_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The services behind the sockets.
pub struct Backends {
    pub cluster: Arc<dyn Cluster>,
    /// Without it nothing is recovered.
    pub history: Option<Arc<dyn History>>,
    /// Called once when the gateway stops, after the last socket is closed.
    pub stop: Option<Box<dyn FnOnce() + Send>>,
}

pub struct Gateway {
    hub: Arc<Hub>,
    address: SocketAddr,
    running: Mutex<Option<Running>>,
}

struct Running {
    runtime: Runtime,
    accept_tasks: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    stop_backends: Option<Box<dyn FnOnce() + Send>>,
}

/// Statistics of a gateway.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// True if Kafka is reachable and presence is complete.
    pub ready: bool,
    /// The reason, if it is not ready.
    pub not_ready: Option<String>,
    /// `host:port` that it listens on.
    pub address: String,
    pub node: String,
    /// All counters by name.
    #[serde(flatten)]
    pub counters: std::collections::BTreeMap<&'static str, u64>,
}

impl Gateway {
    /// Starts a gateway on the topics of a broker configuration. The port is open when this returns, after at most ten
    /// seconds; if Kafka does not answer, after four, and [`Self::stats`] reports that the gateway is not ready.
    ///
    /// # Errors
    /// As [`Self::start_with`].
    pub fn start(settings: Settings, broker: &BrokerConfig) -> Result<Self> {
        let config = Arc::new(broker.clone());
        Self::start_with(settings, move |hub, _| {
            let kafka = KafkaBackend::start(&config, hub)?;
            if !kafka.wait() {
                runtime::warn(format!(
                        "The gateway opens its port before it has read the recent events from Kafka at {}: clients \
                        that reconnect may not be recovered.",
                        config.brokers
                    ));
            }
            Ok(Backends {
                cluster: kafka.cluster(),
                history: kafka.history(),
                stop: Some(Box::new(move || kafka.stop())),
            })
        })
    }

    /// Starts a gateway: its threads, then the services of `backends` (which may use these threads), then the ports.
    /// Clients are accepted when this returns.
    ///
    /// # Errors
    /// [`crate::error::Kind::Configuration`] for a setting; [`crate::error::Kind::Connection`] where an address cannot
    /// be listened on; any error of `backends`.
    pub fn start_with(
        settings: Settings,
        backends: impl FnOnce(&Arc<Hub>, &Handle) -> Result<Backends>,
    ) -> Result<Self> {
        settings.validate()?;
        check_addresses(&settings)?;
        warn(&settings);
        let descriptors = descriptors();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(settings.threads)
            .max_blocking_threads(settings.threads)
            .thread_name("realtime-gateway")
            .enable_io()
            .enable_time()
            .build()
            .map_err(|e| Error::connection(format!("Cannot start the gateway's threads: {e}.")))?;
        let hub = Hub::new(Arc::new(settings), Arc::new(Counters::default()));
        // The port is bound first, so that nothing has to be undone if it is in use, and opened last.
        let ports = {
            let _inside = runtime.enter();
            ports(hub.settings())?
        };
        let backends = backends(&hub, runtime.handle())?;
        hub.attach(backends.cluster, backends.history);
        let acceptor = Acceptor::new(Arc::clone(&hub), descriptors);
        let address = ports
            .bound
            .first()
            .map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |p| p.2);
        let stop = watch::Sender::new(false);
        let mut accept_tasks: Vec<_> = ports
            .bound
            .into_iter()
            .map(|(role, listener, _)| {
                runtime.spawn(Arc::clone(&acceptor).accept(listener, role, stop.subscribe()))
            })
            .collect();
        if let Some(address) = ports.busy_ops {
            let (acceptor, mut stopped) = (Arc::clone(&acceptor), stop.subscribe());
            accept_tasks.push(runtime.spawn(async move {
                let listener = tokio::select! {
                    listener = bind_when_free(address) => listener,
                    _ = stopped.wait_for(|stop| *stop) => return,
                };
                acceptor.accept(listener, Role::Operations, stopped).await;
            }));
        }
        GATEWAYS.current().register(&hub);
        Ok(Self {
            hub,
            address,
            running: Mutex::new(Some(Running {
                runtime,
                accept_tasks,
                stop,
                stop_backends: backends.stop,
            })),
        })
    }

    /// The address and port that were bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.lock().is_some()
    }

    /// Sends an event with the data `json` to this gateway's sockets only; returns their number.
    ///
    /// # Errors
    /// [`crate::error::Kind::InvalidChannel`] for a reserved event; [`crate::error::Kind::Encoding`] for data that is
    /// no JSON; [`crate::error::Kind::MessageTooLarge`].
    pub fn broadcast_locally(
        &self,
        channel: &str,
        event: &str,
        json: &[u8],
        except: Option<SocketId>,
    ) -> Result<usize> {
        if is_reserved_event(event) || event.is_empty() {
            return Err(Error::channel(format!(
                "Cannot broadcast {event:?}: an event name must not be empty or begin with pusher:, pusher_internal: \
                or realtime:."
            )));
        }
        let text = std::str::from_utf8(json)
            .ok()
            .filter(|text| serde_json::from_str::<&RawValue>(text).is_ok())
            .ok_or_else(|| {
                Error::encoding(format!(
                    "Cannot broadcast {event} on {channel}: the data is not valid JSON."
                ))
            })?;
        if text.len() > self.hub.settings().max_event {
            return Err(Error::new(
                crate::error::Kind::MessageTooLarge,
                format!(
                    "Cannot broadcast {event} on {channel}: {} bytes of data exceed the maximum of {} \
                    (realtime.gateway.max_event).",
                    text.len(),
                    self.hub.settings().max_event
                ),
            ));
        }
        let mut broadcast = Broadcast::new(channel, event, &crate::ids::new_id(), text);
        broadcast.except = except;
        let delivery = self.hub.channels().deliver(&Arc::new(broadcast));
        Ok(delivery.sockets)
    }

    /// Sends a request to all gateways and waits for the responses, at most 5 s. Not to be called on the gateway's own
    /// threads.
    pub fn send_admin_request(&self, request: AdminRequest) -> AdminResponse {
        let Some(response) = self
            .hub
            .cluster()
            .map(|cluster| cluster.send_admin_request(request))
        else {
            return AdminResponse::default();
        };
        let Some(handle) = self
            .running
            .lock()
            .as_ref()
            .map(|r| r.runtime.handle().clone())
        else {
            return AdminResponse::default();
        };
        handle
            .block_on(async { tokio::time::timeout(ADMIN_REQUEST_TIMEOUT, response).await })
            .unwrap_or_default()
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        let ready = match self.hub.cluster() {
            Some(cluster) if self.is_running() => cluster.ready(),
            _ => Err("the gateway is not running".to_owned()),
        };
        Stats {
            ready: ready.is_ok(),
            not_ready: ready.err(),
            address: self.address.to_string(),
            node: self.hub.node().to_string(),
            counters: self
                .hub
                .counters()
                .all()
                .into_iter()
                .map(|(name, _, _, value)| (name, value))
                .collect(),
        }
    }

    /// Stops the gateway: accepts no more connections, closes the open ones with 4200 (spread over at most half of
    /// `drain`, a millisecond each if possible), then stops the services. Blocks for little more than `drain`; a second
    /// call has no effect.
    pub fn stop(&self, drain: Duration) {
        let Some(running) = self.running.lock().take() else {
            return;
        };
        let end = Instant::now() + drain;
        GATEWAYS.current().unregister(&self.hub);
        // The port first: clients that reconnect immediately must reach the successor.
        let _ = running.stop.send(true);
        if let Some(cluster) = self.hub.cluster() {
            cluster.drain();
        }
        running.runtime.block_on(async {
            for task in running.accept_tasks {
                let abort = task.abort_handle();
                if tokio::time::timeout(Duration::from_secs(1), task)
                    .await
                    .is_err()
                {
                    // More clients connect than can be closed: the rest reaches the successor.
                    abort.abort();
                }
            }
            self.send_close_frames(end, drain).await;
        });
        if let Some(stop) = running.stop_backends {
            stop();
        }
        running.runtime.shutdown_timeout(Duration::from_millis(500));
    }

    async fn send_close_frames(&self, end: Instant, drain: Duration) {
        let mut first = true;
        loop {
            let sockets = self.hub.sockets();
            let count = u32::try_from(sockets.len()).unwrap_or(u32::MAX);
            let spread = if first {
                (drain / 2).min(Duration::from_millis(1) * count)
            } else {
                Duration::ZERO
            };
            let started = Instant::now();
            for (i, socket) in (0_u32..).zip(sockets) {
                socket.close(Close::Reconnect, Close::Reconnect.reason());
                if i % 16 == 15 {
                    let due = spread * i / count.max(1);
                    tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
                }
            }
            first = false;
            if self.hub.counters().connections.get() == 0 || Instant::now() >= end {
                return;
            }
            // Connections whose handshake has not finished are closed last.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop(Duration::from_millis(500));
    }
}

/// A gateway takes the place of all gateways where it is asked for its own metrics.
const SOURCE: &str = "gateways";

#[derive(Default)]
struct GatewayTable {
    active: Vec<Arc<Hub>>,
    ended: BTreeMap<&'static str, u64>,
}

/// The gateways of this process.
pub static GATEWAYS: PerProcess<RunningGateways> = PerProcess::new();

/// All gateways of one process.
#[derive(Default)]
pub struct RunningGateways {
    table: Mutex<GatewayTable>,
}

impl RunningGateways {
    /// Adds a gateway that has started.
    pub fn register(&self, hub: &Arc<Hub>) {
        self.table.lock().active.push(Arc::clone(hub));
    }

    /// Removes a gateway that has closed and keeps its counter values.
    pub fn unregister(&self, hub: &Arc<Hub>) {
        let mut table = self.table.lock();
        let before = table.active.len();
        table.active.retain(|known| !Arc::ptr_eq(known, hub));
        if table.active.len() < before {
            for (name, kind, _, value) in hub.counters().all() {
                if kind == "counter" {
                    *table.ended.entry(name).or_default() += value;
                }
            }
        }
    }
}

impl Collector for RunningGateways {
    fn source(&self) -> &'static str {
        SOURCE
    }

    fn is_active(&self) -> bool {
        let table = self.table.lock();
        !table.active.is_empty() || !table.ended.is_empty()
    }

    fn ready(&self) -> std::result::Result<(), String> {
        let active = self.table.lock().active.clone();
        active.iter().try_for_each(|hub| Collector::ready(&**hub))
    }

    fn collect(&self, into: &mut Snapshot) {
        let (active, ended) = {
            let table = self.table.lock();
            (table.active.clone(), table.ended.clone())
        };
        for (name, value) in ended {
            into.count(gateway_name(name), Vec::new(), value);
        }
        for hub in active {
            hub.collect(into);
        }
    }
}

impl Collector for Hub {
    fn source(&self) -> &'static str {
        SOURCE
    }

    /// `Ok` if it can serve: Kafka is reachable and the presence state is complete.
    fn ready(&self) -> std::result::Result<(), String> {
        match self.cluster() {
            Some(cluster) => cluster.ready(),
            None => Err("starting".to_owned()),
        }
    }

    fn collect(&self, into: &mut Snapshot) {
        for (name, kind, _, value) in self.counters().all() {
            let name = gateway_name(name);
            if kind == "counter" {
                into.count(name, Vec::new(), value);
            } else if let Some(metric) = into.family(name).map(|family| family.metric) {
                into.gauge_of(&metric, Vec::new(), value);
            }
        }
        let is_ready = u64::from(Collector::ready(self).is_ok());
        into.gauge_of(&c::GATEWAY_READY, Vec::new(), is_ready);
    }
}
