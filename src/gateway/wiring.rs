//! Puts a gateway's Kafka side together: feed, other gateways, recovery, around one hub.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::broadcast::Broadcast;
use super::cluster::{Gateways, Timing};
use super::feed::positions::{Part, Positions};
use super::feed::{Control, Feed, Manner, Sink};
use super::hub::Hub;
use super::recovery::ring::Ring;
use super::recovery::token::Keys;
use super::recovery::Recovery;
use super::seam::{Cluster, Forgetful, History};
use super::settings::Settings;
use super::{Gateway, Parts};
use crate::config::BrokerConfig;
use crate::error::Result;
use crate::ids::unix_ms;
use crate::log::Level;
use crate::process;

/// Where the feed's records go: into the ring, then to the sockets.
struct Outlet {
    hub: Weak<Hub>,
    ring: Option<Arc<Ring>>,
    gateways: Arc<Gateways>,
}

impl Sink for Outlet {
    fn began(&self, part: &Part, offset: i64, since_ms: i64) {
        if let Some(ring) = &self.ring {
            ring.begin((part.topic, part.number), offset, since_ms);
        }
    }

    fn ended(&self, part: &Part) {
        if let Some(ring) = &self.ring {
            ring.end((part.topic, part.number));
        }
    }

    fn broadcast(&self, broadcast: &Arc<Broadcast>, timestamp_ms: i64, live: bool) {
        // The ring first: who subscribes between the two has it in its replay, and who came before gets it now.
        if let Some(ring) = &self.ring {
            ring.push(broadcast, timestamp_ms);
        }
        let Some(hub) = self.hub.upgrade() else {
            return;
        };
        if live {
            hub.deliver(broadcast);
        } else {
            let age = unix_ms().saturating_sub(u64::try_from(timestamp_ms).unwrap_or(0));
            hub.cache_past_event(broadcast, Duration::from_millis(age));
        }
    }

    fn control(&self, control: &Control<'_>) {
        self.gateways.heard(control);
    }
}

/// The running Kafka side of a gateway.
pub struct Kafka {
    feed: Feed,
    gateways: Arc<Gateways>,
    ring: Option<Arc<Ring>>,
    positions: Arc<Positions>,
    history: Arc<dyn History>,
}

impl Kafka {
    /// Starts reading. [`Self::cluster`] and [`Self::history`] are to be attached to the hub; the port is to be opened after [`Self::fill`].
    ///
    /// # Errors
    /// Configuration: properties librdkafka does not take. Connection: no more threads.
    pub fn start(config: &Arc<BrokerConfig>, hub: &Arc<Hub>) -> Result<Self> {
        let settings = hub.settings();
        let positions = Arc::<Positions>::default();
        let ring = settings
            .recovery
            .then(|| Arc::new(Ring::new(settings.replay_window, settings.replay_memory)));
        let gateways = Gateways::new(config);
        let history: Arc<dyn History> = match &ring {
            Some(ring) => Arc::new(Recovery::new(config, settings, &positions, ring)),
            None => Arc::new(Forgetful),
        };
        // First of all the control topics: the feed then finds them at its first look.
        let keys = Keys::new(&settings.secrets, "toporia_realtime control");
        gateways.start(hub, &positions, keys, Timing::of(settings))?;
        let outlet = Outlet {
            hub: Arc::downgrade(hub),
            ring: ring.clone(),
            gateways: Arc::clone(&gateways),
        };
        let manner = Manner {
            only: settings.channels.clone(),
            longest: settings.max_event,
            keep: if ring.is_some() {
                settings.replay_window
            } else {
                Duration::ZERO
            },
            refresh: settings.topic_refresh,
            ..Manner::default()
        };
        let counters = Arc::clone(hub.counters());
        let feed = Feed::start(
            config,
            manner,
            Arc::clone(&positions),
            counters,
            Arc::new(outlet),
        )?;
        Ok(Self {
            feed,
            gateways,
            ring,
            positions,
            history,
        })
    }

    /// What the hub asks of the other gateways.
    #[must_use]
    pub fn cluster(&self) -> Arc<dyn Cluster> {
        Arc::clone(&self.gateways) as _
    }

    /// What the hub asks of the past.
    #[must_use]
    pub fn history(&self) -> Arc<dyn History> {
        Arc::clone(&self.history)
    }

    /// Waits until the ring has what it is to have, `bound` at most; false where Kafka needs longer (it goes on by itself).
    #[must_use]
    pub fn fill(&self, bound: Duration) -> bool {
        self.feed.fill(bound)
    }

    /// True where Kafka answered the last time it was asked.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.feed.is_reached()
    }

    /// Broadcasts in the ring, and their bytes.
    #[must_use]
    pub fn ring_size(&self) -> (usize, usize) {
        self.ring.as_ref().map_or((0, 0), |ring| ring.size())
    }

    /// How far the feed is.
    #[must_use]
    pub fn positions(&self) -> &Arc<Positions> {
        &self.positions
    }

    /// Says goodbye to the other gateways: this one's members stay for five seconds. To be called before the first socket is closed.
    pub fn drain(&self) {
        self.gateways.drain();
    }

    /// Stops reading and telling. Idempotent; does nothing in a forked child.
    pub fn stop(&self) {
        self.gateways.stop();
        self.feed.stop();
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Kafka gets so long to fill the ring before the port opens all the same.
const FILL: Duration = Duration::from_secs(10);
/// A Kafka that does not answer at all is not waited for so long.
const REACH: Duration = Duration::from_secs(4);

impl Gateway {
    /// Starts a gateway on the topics of a broker configuration, beside all others of the application. The port is open when this
    /// returns, after at most ten seconds; where Kafka is away it is open after four, and [`Self::stats`] says that it is not ready.
    ///
    /// # Errors
    /// As [`Self::start_with`].
    pub fn start(settings: Settings, broker: &BrokerConfig) -> Result<Self> {
        let config = Arc::new(broker.clone());
        Self::start_with(settings, move |hub, _| {
            let kafka = Kafka::start(&config, hub)?;
            if !kafka.wait() {
                process::current().log.say(
                    Level::Warning,
                    format!(
                        "The gateway opens its port before it has read what Kafka at {} kept of the last two minutes: clients that come back may not be recovered.",
                        config.brokers
                    ),
                );
            }
            Ok(Parts {
                cluster: kafka.cluster(),
                history: kafka.history(),
                stop: Some(Box::new(move || kafka.stop())),
            })
        })
    }
}

impl Kafka {
    /// Waits for the ring, as long as that makes sense.
    fn wait(&self) -> bool {
        let begun = Instant::now();
        while !self.fill(Duration::from_millis(100)) {
            let passed = begun.elapsed();
            if passed >= FILL || (passed >= REACH && !self.is_reached()) {
                return false;
            }
        }
        true
    }
}
