//! Creates what a hub is attached to: the Kafka side of a gateway (feed, cluster and recovery), or none in tests.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::backend::{AdminRequest, AdminResponse, ApiEvent, BoxFuture, Cluster, History};
use super::broadcast::Broadcast;
use super::cluster::KafkaCluster;
use super::feed::positions::{PartitionState, Positions};
use super::feed::{Feed, FeedSink, RawControlRecord};
use super::hub::{Channels, Delivery, Hub};
use super::limits::TokenBucket;
use super::replay::replay_buffer::ReplayBuffer;
use super::replay::Recovery;
use super::{Backends, Gateway};
use crate::config::gateway_settings::Settings;
use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::ids::unix_ms;

/// Maximum wait for the replay buffer before the port is opened.
const FILL_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum wait for a Kafka that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// A record of this age belongs to a backlog. Newer ones are never delayed, whatever the state of the send queues.
const BACKLOG_AGE_MS: u64 = 1000;
/// Length of a pause; each costs one token.
const PAUSE: Duration = Duration::from_millis(1);
/// Maximum time of pauses: two seconds in one burst, then a tenth of the time. A client that does not read must not
/// delay the others for longer.
const BURST: u32 = 2000;
const PER_SECOND: f64 = 100.0;

/// Passes the feed's records to the replay buffer, then to the sockets; control records to the cluster.
struct FeedDispatcher {
    channels: Arc<Channels>,
    replay_buffer: Option<Arc<ReplayBuffer>>,
    cluster: Arc<KafkaCluster>,
    pacer: BacklogPacer,
}

impl FeedSink for FeedDispatcher {
    fn partition_started(&self, state: &PartitionState, offset: i64, since_ms: i64) {
        if let Some(replay_buffer) = &self.replay_buffer {
            replay_buffer.start_partition((state.topic, state.number), offset, since_ms);
        }
    }

    fn partition_stopped(&self, state: &PartitionState) {
        if let Some(replay_buffer) = &self.replay_buffer {
            replay_buffer.stop_partition((state.topic, state.number));
        }
    }

    fn broadcast(&self, broadcast: &Arc<Broadcast>, timestamp_ms: i64, live: bool) {
        // The buffer first: a client that subscribes between the two calls has the event in its replay.
        if let Some(replay_buffer) = &self.replay_buffer {
            replay_buffer.push(broadcast, timestamp_ms);
        }
        if live {
            let delivery = self.channels.deliver(broadcast);
            self.pacer.after_delivery(&delivery, timestamp_ms);
        } else {
            let age = unix_ms().saturating_sub(u64::try_from(timestamp_ms).unwrap_or(0));
            self.channels
                .cache_past_event(broadcast, Duration::from_millis(age));
        }
    }

    fn control(&self, control: &RawControlRecord<'_>) {
        self.cluster.handle_record(control);
    }
}

/// The Kafka side of a gateway.
pub struct KafkaBackend {
    feed: Feed,
    cluster: Arc<KafkaCluster>,
    #[cfg(test)]
    pub(super) replay_buffer: Option<Arc<ReplayBuffer>>,
    #[cfg(test)]
    pub(super) positions: Arc<Positions>,
    history: Option<Arc<dyn History>>,
}

impl KafkaBackend {
    /// Starts reading. The caller attaches [`Self::cluster`] and [`Self::history`] to the hub, and opens the port after
    /// [`Self::wait`].
    ///
    /// # Errors
    /// Configuration: properties librdkafka does not take. Connection: no more threads.
    pub fn start(config: &Arc<BrokerConfig>, hub: &Arc<Hub>) -> Result<Self> {
        let settings = hub.settings();
        let positions = Arc::<Positions>::default();
        let replay_buffer = settings.recovery.then(|| {
            Arc::new(ReplayBuffer::new(
                settings.replay_window,
                settings.replay_memory,
            ))
        });
        let cluster = KafkaCluster::new(config);
        let history = replay_buffer.as_ref().map(|replay_buffer| {
            Arc::new(Recovery::new(config, settings, &positions, replay_buffer)) as Arc<dyn History>
        });
        // The control topics first, so that the feed finds them in its first refresh.
        cluster.start(hub, &positions)?;
        let dispatcher = FeedDispatcher {
            channels: Arc::clone(hub.channels()),
            replay_buffer: replay_buffer.clone(),
            cluster: Arc::clone(&cluster),
            pacer: BacklogPacer::default(),
        };
        let counters = Arc::clone(hub.counters());
        let feed = Feed::start(
            config,
            settings,
            Arc::clone(&positions),
            counters,
            Arc::new(dispatcher),
        )?;
        Ok(Self {
            feed,
            cluster,
            #[cfg(test)]
            replay_buffer,
            #[cfg(test)]
            positions,
            history,
        })
    }

    /// The connection to the other gateways, for the hub.
    #[must_use]
    pub fn cluster(&self) -> Arc<dyn Cluster> {
        Arc::clone(&self.cluster) as _
    }

    /// The history, for the hub; `None` without `recovery`.
    #[must_use]
    pub fn history(&self) -> Option<Arc<dyn History>> {
        self.history.clone()
    }

    /// Stops the feed and the cluster. Idempotent; has no effect in a forked child.
    pub fn stop(&self) {
        self.cluster.stop();
        self.feed.stop();
    }

    /// Waits for the replay buffer, at most [`FILL_TIMEOUT`], or [`CONNECT_TIMEOUT`] if Kafka does not answer; false if
    /// it takes longer (filling continues).
    pub(super) fn wait(&self) -> bool {
        let started = Instant::now();
        while !self.feed.wait_filled(Duration::from_millis(100)) {
            let passed = started.elapsed();
            if passed >= FILL_TIMEOUT || (passed >= CONNECT_TIMEOUT && !self.feed.is_connected()) {
                return false;
            }
        }
        true
    }
}

impl Drop for KafkaBackend {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Pauses the feed between the records of a backlog.
pub struct BacklogPacer {
    pauses: Mutex<TokenBucket>,
}

impl Default for BacklogPacer {
    fn default() -> Self {
        Self {
            pauses: Mutex::new(TokenBucket::new(PER_SECOND, BURST, Instant::now())),
        }
    }
}

impl BacklogPacer {
    /// To be called after each delivery: pauses the thread if the record, written at `timestamp_ms` (Unix ms), is part
    /// of a backlog and a send queue is nearly full.
    pub fn after_delivery(&self, delivery: &Delivery, timestamp_ms: i64) {
        if !delivery.nearly_full {
            return;
        }
        let age = unix_ms().saturating_sub(u64::try_from(timestamp_ms).unwrap_or(u64::MAX));
        if age >= BACKLOG_AGE_MS && self.pauses.lock().take(Instant::now()) {
            std::thread::sleep(PAUSE);
        }
    }
}

/// For tests and benchmarks: starts a gateway without Kafka. Its events come from [`Gateway::broadcast_locally`] and
/// its HTTP API only.
///
/// # Errors
/// As [`Gateway::start_with`].
pub fn single_node(settings: Settings) -> Result<Gateway> {
    Gateway::start_with(settings, |hub, _| {
        Ok(Backends {
            cluster: Arc::new(SingleNode::new(hub)),
            history: None,
            stop: None,
        })
    })
}

/// A gateway without others.
pub struct SingleNode {
    hub: Weak<Hub>,
    ready: watch::Sender<bool>,
}

impl SingleNode {
    /// Creates it for the sockets of `hub`.
    #[must_use]
    pub fn new(hub: &Arc<Hub>) -> Self {
        Self {
            hub: Arc::downgrade(hub),
            ready: watch::Sender::new(true),
        }
    }
}

impl Cluster for SingleNode {
    fn presence_ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    fn publish(&self, events: Vec<ApiEvent>) -> BoxFuture<Result<()>> {
        let hub = self.hub.upgrade();
        Box::pin(async move {
            let hub = hub.ok_or_else(|| Error::connection("the gateway has stopped"))?;
            for event in events {
                let id = crate::ids::new_id();
                let data = event.data.get();
                let mut broadcast = Broadcast::new(&event.channel, &event.event, &id, data);
                broadcast.except = event.except;
                broadcast.exact = true;
                broadcast.is_text = event.is_text;
                hub.channels().deliver(&Arc::new(broadcast));
            }
            Ok(())
        })
    }

    fn send_admin_request(&self, request: AdminRequest) -> BoxFuture<AdminResponse> {
        let response = match self.hub.upgrade() {
            Some(hub) => hub.handle_admin_request(&request),
            None => AdminResponse::default(),
        };
        Box::pin(async move { response })
    }

    fn ready(&self) -> std::result::Result<(), String> {
        Ok(())
    }
}
