//! The settings of the gateway, their defaults and their validation.

use std::time::Duration;

use crate::encryption::MasterKey;
use crate::error::{Error, Result};
use crate::topic::socket_channel::requires_auth;
use crate::topic::ChannelPattern;

/// Minimum length of a secret, in characters.
pub const MIN_SECRET: usize = 32;

/// Kind of a webhook event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The first socket subscribed.
    Occupied,
    /// The last socket unsubscribed.
    Vacated,
    /// A user's first socket subscribed.
    MemberAdded,
    /// A user's last socket unsubscribed.
    MemberRemoved,
    /// A client sent an event.
    ClientEvent,
    /// A socket subscribed to a cache channel without an event.
    CacheMiss,
    /// The number of subscriptions changed.
    SubscriptionCount,
}

impl EventKind {
    pub const ALL: [Self; 7] = [
        Self::Occupied,
        Self::Vacated,
        Self::MemberAdded,
        Self::MemberRemoved,
        Self::ClientEvent,
        Self::CacheMiss,
        Self::SubscriptionCount,
    ];

    /// Pusher's name of the event.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Occupied => "channel_occupied",
            Self::Vacated => "channel_vacated",
            Self::MemberAdded => "member_added",
            Self::MemberRemoved => "member_removed",
            Self::ClientEvent => "client_event",
            Self::CacheMiss => "cache_miss",
            Self::SubscriptionCount => "subscription_count",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Settings of one gateway. Times are durations, sizes bytes.
// Independent switches.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone)]
pub struct Settings {
    /// Address to listen on. The default is reachable from this machine only.
    pub host: String,
    /// Port; 0 for any free port.
    pub port: u16,
    /// Path before `/app/…` and `/apps/…` of requests that a proxy passes on unchanged: `/realtime`; empty for none.
    pub path_prefix: String,
    /// Id of the application in the HTTP API's paths.
    pub app_id: String,
    /// Key of the application, in the path that clients connect to.
    pub key: String,
    /// Secrets: the first signs, all are accepted.
    pub secrets: Vec<String>,
    /// Master key of encrypted channels, if they are used.
    pub encryption_master_key: Option<MasterKey>,
    /// Patterns of public channels, which need no authorization.
    pub public_channels: Vec<ChannelPattern>,
    /// Records marked public also reach the public channel of their name.
    pub public_by_mark: bool,
    /// Broadcast channels that this gateway serves; empty for all.
    pub channels: Vec<ChannelPattern>,
    /// Origins of browsers that may connect, `https://shop.example:8443` or `https://*.shop.example`; empty for any.
    pub allowed_origins: Vec<String>,
    /// Refuse clients without an Origin header.
    pub require_origin: bool,
    /// Addresses and networks (`10.0.0.0/8`) of proxies whose X-Forwarded-For is trusted.
    pub trusted_proxies: Vec<String>,
    /// Address of the HTTP API; `None` for the port of the sockets.
    pub api_listen: Option<String>,
    /// Address of `/metrics` and `/ready`; `None` to disable them.
    pub ops_listen: Option<String>,
    /// Number of threads.
    pub threads: usize,
    /// Allow client events.
    pub client_events: bool,
    /// Send positions to clients that ask, and replay missed events.
    pub recovery: bool,
    /// Tell subscribers the number of subscriptions of their channel when it changes.
    pub subscription_count: bool,
    /// Events written to the webhook topic.
    pub webhook_events: Vec<EventKind>,
    /// Receivers of the webhooks, for the command that posts them.
    pub webhook_urls: Vec<String>,

    /// The server pings after so much silence; also the activity_timeout sent to clients.
    pub activity_timeout: Duration,
    /// Time to answer a ping before the connection is closed.
    pub pong_timeout: Duration,
    /// How long a frame waits for others, so that one system call writes them.
    pub write_delay: Duration,
    /// Maximum time of an HTTP request (headers and body) or a handshake.
    pub handshake_timeout: Duration,
    /// Maximum size of HTTP request headers.
    pub max_header: usize,
    /// Maximum size of an HTTP request body.
    pub max_body: usize,
    /// Maximum size of a client's message, over all its fragments.
    pub max_message: usize,
    /// Maximum nesting of a client's message.
    pub max_depth: usize,
    /// Messages per second and socket; above the rate and burst, reading is delayed.
    pub messages_per_second: u32,
    /// Messages that a socket may send in one burst.
    pub message_burst: u32,
    /// Client events per second and socket.
    pub client_events_per_second: u32,
    /// Presence subscriptions per socket within [`Self::presence_join_window`]; above it, reading is delayed.
    pub presence_joins: u32,
    /// The window of [`Self::presence_joins`].
    pub presence_join_window: Duration,
    /// Maximum subscriptions per socket.
    pub max_subscriptions: usize,
    /// Maximum presence channels among the subscriptions of a socket.
    pub max_presence_subscriptions: usize,
    /// Maximum distinct channels of this gateway.
    pub max_channels: usize,
    /// Maximum members of a presence channel.
    pub max_members: usize,
    /// Maximum size of a member's user_info.
    pub max_user_info: usize,
    /// Maximum size of the member list of a presence channel.
    pub max_presence_bytes: usize,
    /// Maximum data of an event; larger events are counted and skipped.
    pub max_event: usize,
    /// Maximum size of a socket's send queue; above it the socket is closed with 4100.
    pub max_queue: usize,
    /// Size of the kernel's send buffer per socket, in addition to the queue.
    pub send_buffer: usize,
    /// Maximum connections in total; file descriptors may limit them further.
    pub max_connections: usize,
    /// Maximum connections per client address; an IPv6 /64 may have ten times as many.
    pub max_connections_per_address: usize,
    /// File descriptors reserved for everything else.
    pub descriptor_reserve: usize,
    /// How long a cache channel keeps its last event.
    pub cache_ttl: Duration,
    /// Maximum size of all cached events.
    pub max_cache: usize,
    /// Maximum time that a presence subscription waits for the other gateways.
    pub presence_wait: Duration,
    /// Maximum channels of an HTTP API event.
    pub max_api_channels: usize,
    /// Maximum events of an HTTP API batch.
    pub max_api_batch: usize,
    /// Maximum data of an HTTP API event.
    pub max_api_data: usize,
    /// Accepted difference of an HTTP API timestamp from the clock.
    pub api_clock_skew: Duration,
    /// Replays per socket and minute.
    pub replays_per_minute: u32,
    /// How long a position token is accepted.
    pub position_ttl: Duration,
    /// How long broadcasts stay in memory for reconnecting clients.
    pub replay_window: Duration,
    /// Maximum size of the broadcasts in memory.
    pub replay_memory: usize,
    /// Maximum concurrent replays that read from Kafka.
    pub replay_scans: usize,
    /// Maximum records that such a replay reads.
    pub replay_scan_records: usize,
    /// Maximum bytes that such a replay reads.
    pub replay_scan_bytes: usize,
    /// Maximum time of such a replay.
    pub replay_scan_time: Duration,
    /// Interval of metadata refreshes, which find new topics.
    pub topic_refresh: Duration,
    /// Interval of heartbeats to the other gateways.
    pub heartbeat: Duration,
    /// A gateway without a heartbeat for so long is considered gone.
    pub node_timeout: Duration,
    /// How long the members of a gateway that stops stay present on the others.
    pub drain_members: Duration,
}

/// Without the secrets, because settings may be logged.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("app_id", &self.app_id)
            .field("secrets", &self.secrets.len())
            .finish_non_exhaustive()
    }
}

impl Default for Settings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            host: "127.0.0.1".into(),
            port: 6001,
            path_prefix: String::new(),
            app_id: String::new(),
            key: String::new(),
            secrets: Vec::new(),
            encryption_master_key: None,
            public_channels: ChannelPattern::parse("public.*").into_iter().collect(),
            public_by_mark: false,
            channels: Vec::new(),
            allowed_origins: Vec::new(),
            require_origin: false,
            trusted_proxies: Vec::new(),
            api_listen: None,
            ops_listen: Some("127.0.0.1:6900".into()),
            threads: 2,
            client_events: true,
            recovery: true,
            subscription_count: false,
            webhook_urls: Vec::new(),
            webhook_events: vec![
                EventKind::Occupied,
                EventKind::Vacated,
                EventKind::MemberAdded,
                EventKind::MemberRemoved,
            ],
            activity_timeout: seconds(30),
            pong_timeout: seconds(30),
            write_delay: Duration::ZERO,
            handshake_timeout: seconds(10),
            max_header: 8 << 10,
            max_body: 256 << 10,
            max_message: 16 << 10,
            max_depth: 32,
            messages_per_second: 50,
            message_burst: 1000,
            client_events_per_second: 10,
            presence_joins: 100,
            presence_join_window: seconds(10),
            max_subscriptions: 500,
            max_presence_subscriptions: 100,
            max_channels: 100_000,
            max_members: 100,
            max_user_info: 1 << 10,
            max_presence_bytes: 256 << 10,
            max_event: 256 << 10,
            max_queue: 1 << 20,
            send_buffer: 128 << 10,
            max_connections: 20_000,
            max_connections_per_address: 10_000,
            descriptor_reserve: 64,
            cache_ttl: seconds(1800),
            max_cache: 64 << 20,
            presence_wait: seconds(3),
            max_api_channels: 100,
            max_api_batch: 10,
            max_api_data: 10 << 10,
            api_clock_skew: seconds(600),
            replays_per_minute: 10,
            position_ttl: seconds(600),
            replay_window: seconds(120),
            replay_memory: 64 << 20,
            replay_scans: 8,
            replay_scan_records: 20_000,
            replay_scan_bytes: 8 << 20,
            replay_scan_time: seconds(5),
            topic_refresh: seconds(1),
            heartbeat: seconds(2),
            node_timeout: seconds(10),
            drain_members: seconds(5),
        }
    }
}

/// Secrets from public examples.
const SAMPLES: &[&str] = &[
    "0123456789abcdef0123456789abcdef",
    "abcdefghijklmnopqrstuvwxyz012345",
    "abcdefghijklmnopqrstuvwxyz123456",
    "your-pusher-app-secret-goes-here",
    "your-super-secret-app-secret-here",
    "this-is-a-secret-change-it-please",
];

impl Settings {
    /// `position_ttl` in ms.
    #[must_use]
    pub fn position_ttl_ms(&self) -> u64 {
        u64::try_from(self.position_ttl.as_millis()).unwrap_or(u64::MAX)
    }

    /// Validates the settings before a start.
    ///
    /// # Errors
    /// [`crate::error::Kind::Configuration`] naming the setting.
    pub fn validate(&self) -> Result<()> {
        for (name, value) in [("app_id", &self.app_id), ("key", &self.key)] {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if value.is_empty() || !value.bytes().all(plain) {
                return Err(Error::configuration(format!(
                    "realtime.gateway.{name} is {value:?}: it must consist of letters, digits, - and _. Set {}.",
                    if name == "key" { "REALTIME_APP_KEY" } else { "REALTIME_APP_ID" },
                )));
            }
        }
        if self.secrets.is_empty() {
            return Err(secret_refused("is not set"));
        }
        for secret in &self.secrets {
            check_secret(secret)?;
        }
        let zero = [
            ("threads", self.threads == 0),
            (
                "activity_timeout",
                self.activity_timeout < Duration::from_secs(1),
            ),
            ("max_message", self.max_message == 0),
            ("max_connections", self.max_connections == 0),
            (
                "messages_per_second",
                self.messages_per_second == 0 || self.message_burst == 0,
            ),
        ];
        match zero.iter().find(|(_, bad)| *bad) {
            Some((name, _)) => Err(Error::configuration(format!(
                "realtime.gateway.{name} must be at least 1."
            ))),
            None => Ok(()),
        }
    }

    /// True if `base`, a name without `cache-`, is a public channel.
    #[must_use]
    pub fn is_public(&self, base: &str) -> bool {
        self.public_channels.iter().any(|p| p.matches(base))
    }

    /// True if a broadcast, which may be marked as public, reaches the channel of its plain name.
    #[must_use]
    pub fn is_public_broadcast(&self, channel: &str, is_marked: bool) -> bool {
        !requires_auth(channel) && (self.is_public(channel) || (is_marked && self.public_by_mark))
    }

    /// True if webhooks are told of events of this kind.
    #[must_use]
    pub fn has_webhook(&self, kind: EventKind) -> bool {
        self.webhook_events.contains(&kind)
    }

    /// True if this gateway serves the broadcast channel.
    #[must_use]
    pub fn serves(&self, channel: &str) -> bool {
        self.channels.is_empty() || self.channels.iter().any(|p| p.matches(channel))
    }

    /// The secret that signs: the first one.
    #[must_use]
    pub fn secret(&self) -> &str {
        self.secrets.first().map_or("", String::as_str)
    }
}

fn check_secret(secret: &str) -> Result<()> {
    if secret.is_empty() {
        return Err(secret_refused("is empty"));
    }
    if secret.chars().count() < MIN_SECRET {
        return Err(secret_refused("is shorter than 32 characters"));
    }
    let mut letters: Vec<char> = secret.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    if letters.len() < 8 || SAMPLES.contains(&secret.to_ascii_lowercase().as_str()) {
        return Err(secret_refused(
            "is a known sample or has too few different characters",
        ));
    }
    Ok(())
}

fn secret_refused(why: &str) -> Error {
    Error::configuration(format!(
        "The gateway's secret {why}, so it could be guessed and used to sign for any user. Set \
         REALTIME_APP_SECRET to the output of: openssl rand -hex 32"
    ))
}
