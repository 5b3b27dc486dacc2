//! A gateway's life: threads and ports when it starts, goodbyes when it stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::admin_api::{AdminRequest, AdminResponse};
use super::backend::{Cluster, History, NoHistory, SingleNode};
use super::broadcast::Broadcast;
use super::counters::Counters;
use super::hub::Hub;
use super::listener::Acceptor;
use super::ports::{check_addresses, ports, warn};
use super::protocol::{frame, is_reserved_event, Close, SocketId};
use super::settings::Settings;
use super::sys;
use crate::error::{Error, Result};

/// How long an answer of all gateways may take.
const ADMIN_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What stands behind the sockets.
pub struct Backends {
    /// The other gateways.
    pub cluster: Arc<dyn Cluster>,
    /// What was missed.
    pub history: Arc<dyn History>,
    /// Called once when the gateway stops, after the last socket is gone.
    pub stop: Option<Box<dyn FnOnce() + Send>>,
}

/// A running gateway.
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

/// What a gateway is doing, in numbers.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// Whether Kafka is reached and presence is whole.
    pub ready: bool,
    /// Why not.
    pub not_ready: Option<String>,
    /// `host:port` that it listens on.
    pub address: String,
    /// Its id among the gateways.
    pub node: String,
    /// Everything that is counted, by name.
    #[serde(flatten)]
    pub counters: std::collections::BTreeMap<&'static str, u64>,
}

impl Gateway {
    /// Starts a gateway without Kafka: only [`Self::broadcast_locally`] and its own HTTP API feed it.
    ///
    /// # Errors
    /// As [`Self::start_with`].
    pub fn single_node(settings: Settings) -> Result<Self> {
        Self::start_with(settings, |hub, _| {
            Ok(Backends {
                cluster: Arc::new(SingleNode::new(hub)),
                history: Arc::new(NoHistory),
                stop: None,
            })
        })
    }

    /// Starts a gateway: its threads, then what `backends` starts behind the sockets (on those threads, if it likes), then the ports.
    /// Clients are accepted when this returns.
    ///
    /// # Errors
    /// [`crate::error::Kind::Configuration`] for a setting; [`crate::error::Kind::Connection`] where an address cannot be
    /// listened on; whatever `backends` says.
    pub fn start_with(
        settings: Settings,
        backends: impl FnOnce(&Arc<Hub>, &Handle) -> Result<Backends>,
    ) -> Result<Self> {
        settings.validate()?;
        check_addresses(&settings)?;
        warn(&settings);
        let descriptors = sys::descriptors();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(settings.threads)
            .max_blocking_threads(settings.threads)
            .thread_name("realtime-gateway")
            .enable_io()
            .enable_time()
            .build()
            .map_err(|e| Error::connection(format!("Cannot start the gateway's threads: {e}.")))?;
        let hub = Hub::new(Arc::new(settings), Arc::new(Counters::default()));
        // The port is taken first, so that nothing has to be undone where it is not ours, and opened last.
        let bound = {
            let _inside = runtime.enter();
            ports(hub.settings())?
        };
        let backends = backends(&hub, runtime.handle())?;
        hub.attach(backends.cluster, backends.history);
        let acceptor = Acceptor::new(Arc::clone(&hub), descriptors);
        let address = bound
            .first()
            .map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |p| p.2);
        let stop = watch::Sender::new(false);
        let accept_tasks = bound
            .into_iter()
            .map(|(role, listener, _)| {
                runtime.spawn(Arc::clone(&acceptor).accept(listener, role, stop.subscribe()))
            })
            .collect();
        crate::process::current().metrics.gateways.register(&hub);
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

    /// Where clients connect: the address and port that were bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The hub.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.lock().is_some()
    }

    /// Sends an event to this gateway's sockets only; how many. `json` is the data.
    ///
    /// # Errors
    /// [`crate::error::Kind::InvalidChannel`] for a reserved event; [`crate::error::Kind::Encoding`] for data that is no JSON;
    /// [`crate::error::Kind::MessageTooLarge`].
    pub fn broadcast_locally(
        &self,
        channel: &str,
        event: &str,
        json: &[u8],
        except: Option<SocketId>,
    ) -> Result<usize> {
        if is_reserved_event(event) || event.is_empty() {
            return Err(Error::channel(format!(
                "Cannot broadcast {event:?}: names that begin with pusher:, pusher_internal: or realtime: are the server's, and an empty one is none."
            )));
        }
        let text = std::str::from_utf8(json)
            .ok()
            .filter(|text| serde_json::from_str::<&RawValue>(text).is_ok())
            .ok_or_else(|| {
                Error::encoding(format!(
                    "Cannot broadcast {event} on {channel}: the data is no JSON."
                ))
            })?;
        if text.len() > self.hub.settings().max_event {
            return Err(Error::new(
                crate::error::Kind::MessageTooLarge,
                format!(
                    "Cannot broadcast {event} on {channel}: {} bytes of data, the gateway takes {} (realtime.gateway.max_event).",
                    text.len(),
                    self.hub.settings().max_event
                ),
            ));
        }
        Ok(self.hub.deliver(&Arc::new(Broadcast {
            channel: channel.into(),
            event: event.into(),
            id: crate::ids::new_id().into(),
            data: frame::quoted(text).into(),
            except,
            public: false,
            exact: false,
            at: None,
        })))
    }

    /// Asks all gateways, or orders them something. Waits for the answer, 5 s at most; not for the gateway's own threads.
    pub fn ask(&self, question: AdminRequest) -> AdminResponse {
        let Some(asked) = self.hub.cluster().map(|cluster| cluster.ask(question)) else {
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
            .block_on(async { tokio::time::timeout(ADMIN_REQUEST_TIMEOUT, asked).await })
            .unwrap_or_default()
    }

    /// What it is doing.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let ready = match self.hub.cluster() {
            Some(cluster) if self.is_running() => cluster.ready(),
            _ => Err("the gateway does not run".to_owned()),
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

    /// Stops: no more connections, 4200 to those that are open (spread over half of `drain` at most, a millisecond each at best), then
    /// what stands behind the sockets. Blocks, at most `drain` and a moment; a second call does nothing.
    pub fn stop(&self, drain: Duration) {
        let Some(running) = self.running.lock().take() else {
            return;
        };
        let end = Instant::now() + drain;
        crate::process::current()
            .metrics
            .gateways
            .unregister(&self.hub);
        // First the port: whoever comes back at once has to meet the successor.
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
                    // More keep coming than can be taken: the rest is the successor's.
                    abort.abort();
                }
            }
            self.say_goodbye(end, drain).await;
        });
        if let Some(stop) = running.stop_backends {
            stop();
        }
        running.runtime.shutdown_timeout(Duration::from_millis(500));
    }

    async fn say_goodbye(&self, end: Instant, drain: Duration) {
        let mut first = true;
        loop {
            let sockets = self.hub.sockets();
            let count = u32::try_from(sockets.len()).unwrap_or(u32::MAX);
            let spread = if first {
                (drain / 2).min(Duration::from_millis(1) * count)
            } else {
                Duration::ZERO
            };
            let begun = Instant::now();
            for (i, socket) in (0_u32..).zip(sockets) {
                socket.close(Close::Reconnect, Close::Reconnect.reason());
                if i % 16 == 15 {
                    let due = spread * i / count.max(1);
                    tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
                }
            }
            first = false;
            if self.hub.counters().connections.get() == 0 || Instant::now() >= end {
                return;
            }
            // Those in the middle of their handshake come last.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop(Duration::from_millis(500));
    }
}
