//! Every number and name of the gateway that can be set, with its default, and the rules between them.

use std::time::Duration;

use super::protocol::encryption::MasterKey;
use crate::error::{Error, Result};
use crate::topic::ChannelPattern;

/// Shortest secret that is accepted, in characters.
pub const MIN_SECRET: usize = 32;

/// Settings of one gateway. Times are durations, sizes bytes.
// Switches that have nothing to do with each other.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone)]
pub struct Settings {
    /// Address to listen on; everybody can reach it only where this says so.
    pub host: String,
    /// Port; 0 takes a free one.
    pub port: u16,
    /// Id of the application in the HTTP API's paths.
    pub app_id: String,
    /// Key of the application, in the path that clients connect to.
    pub key: String,
    /// Secrets: the first signs, all are accepted.
    pub secrets: Vec<String>,
    /// Master key of encrypted channels, where they are used.
    pub encryption_master_key: Option<MasterKey>,
    /// Plain names that anybody may subscribe.
    pub public_channels: Vec<ChannelPattern>,
    /// Records marked public reach their plain name too.
    pub public_by_mark: bool,
    /// Broadcast channels that this gateway serves; empty for all.
    pub channels: Vec<ChannelPattern>,
    /// Origins of browsers that may connect, `https://shop.example:8443`; empty for any.
    pub allowed_origins: Vec<String>,
    /// Refuses clients that send no origin.
    pub require_origin: bool,
    /// Addresses and networks (`10.0.0.0/8`) of proxies whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<String>,
    /// Where the HTTP API listens; `None` for the sockets' own port.
    pub api_listen: Option<String>,
    /// Where `/metrics` and `/ready` listen; `None` for nowhere.
    pub ops_listen: Option<String>,
    /// Threads of the gateway.
    pub threads: usize,
    /// Client events between sockets.
    pub client_events: bool,
    /// Positions and replay for clients that ask.
    pub recovery: bool,

    /// Silence after which the server pings; also what it tells clients.
    pub activity_timeout: Duration,
    /// How long it waits for an answer to that.
    pub pong_timeout: Duration,
    /// Time for a whole HTTP request head and body, or the handshake.
    pub handshake_timeout: Duration,
    /// Largest head of an HTTP request.
    pub max_header: usize,
    /// Largest body of an HTTP request.
    pub max_body: usize,
    /// Largest message of a client, over all its frames.
    pub max_message: usize,
    /// Deepest nesting in a message of a client.
    pub max_depth: usize,
    /// Messages a second of one socket.
    pub messages_per_second: u32,
    /// How many it may send at once.
    pub message_burst: u32,
    /// Client events a second of one socket.
    pub client_events_per_second: u32,
    /// Presence joins of a socket in [`Self::presence_join_window`].
    pub presence_joins: u32,
    /// The window of [`Self::presence_joins`].
    pub presence_join_window: Duration,
    /// Subscriptions of one socket.
    pub max_subscriptions: usize,
    /// Distinct channels of this gateway.
    pub max_channels: usize,
    /// Members of a presence channel.
    pub max_members: usize,
    /// Bytes of a member's user_info.
    pub max_user_info: usize,
    /// Bytes of the member list that a presence subscription answers with.
    pub max_presence_bytes: usize,
    /// Largest data of an event from Kafka; larger is counted and skipped.
    pub max_event: usize,
    /// Bytes that wait for one socket; over that it is closed with 4100.
    pub max_queue: usize,
    /// Bytes that the kernel may keep for one socket on top of that.
    pub send_buffer: usize,
    /// Connections in all; also bounded by the process's file descriptors.
    pub max_connections: usize,
    /// Connections of one client address.
    pub max_connections_per_address: usize,
    /// File descriptors that are left for everything else.
    pub descriptor_reserve: usize,
    /// How long a cache channel keeps its last event.
    pub cache_ttl: Duration,
    /// Bytes of all cached events.
    pub max_cache: usize,
    /// How long presence success waits for the other gateways.
    pub presence_wait: Duration,
    /// Channels of one HTTP API event.
    pub max_api_channels: usize,
    /// Events of one HTTP API batch.
    pub max_api_batch: usize,
    /// Largest data of an HTTP API event.
    pub max_api_data: usize,
    /// How far an HTTP API timestamp may be off.
    pub api_clock_skew: Duration,
    /// Replays of one socket in a minute.
    pub replays_per_minute: u32,
    /// How long a position is taken.
    pub position_ttl: Duration,
    /// How long broadcasts stay in memory for clients that come back.
    pub replay_window: Duration,
    /// Bytes of them.
    pub replay_memory: usize,
    /// Replays that read Kafka at the same time.
    pub replay_scans: usize,
    /// Records that one of them reads at most.
    pub replay_scan_records: usize,
    /// Bytes that one of them reads at most.
    pub replay_scan_bytes: usize,
    /// How long one of them may take.
    pub replay_scan_time: Duration,
    /// Time between two looks at the topics of the cluster.
    pub topic_refresh: Duration,
    /// Time between two heartbeats to the other gateways.
    pub heartbeat: Duration,
    /// A gateway that is silent for so long is gone.
    pub node_timeout: Duration,
    /// How long the members of a gateway that ends in order stay with the others.
    pub drain_members: Duration,
}

/// Without the secrets: settings end up in logs.
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
            ops_listen: Some("127.0.0.1:6002".into()),
            threads: 2,
            client_events: true,
            recovery: true,
            activity_timeout: seconds(30),
            pong_timeout: seconds(30),
            handshake_timeout: seconds(10),
            max_header: 8 << 10,
            max_body: 256 << 10,
            max_message: 16 << 10,
            max_depth: 32,
            messages_per_second: 50,
            message_burst: 200,
            client_events_per_second: 10,
            presence_joins: 5,
            presence_join_window: seconds(10),
            max_subscriptions: 100,
            max_channels: 100_000,
            max_members: 100,
            max_user_info: 1 << 10,
            max_presence_bytes: 256 << 10,
            max_event: 256 << 10,
            max_queue: 1 << 20,
            send_buffer: 128 << 10,
            max_connections: 20_000,
            max_connections_per_address: 200,
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

/// Secrets that stand in public examples.
const SAMPLES: &[&str] = &[
    "0123456789abcdef0123456789abcdef",
    "abcdefghijklmnopqrstuvwxyz012345",
    "abcdefghijklmnopqrstuvwxyz123456",
    "your-pusher-app-secret-goes-here",
    "your-super-secret-app-secret-here",
    "this-is-a-secret-change-it-please",
];

impl Settings {
    /// Checks what a gateway needs before it starts.
    ///
    /// # Errors
    /// [`crate::error::Kind::Configuration`] naming the setting.
    pub fn validate(&self) -> Result<()> {
        for (name, value) in [("app_id", &self.app_id), ("key", &self.key)] {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if value.is_empty() || !value.bytes().all(plain) {
                return Err(Error::configuration(format!(
                    "realtime.gateway.{name} is {value:?}: it has to be letters, digits, - and _. Set {}.",
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
                "realtime.gateway.{name} is too small: it has to be at least 1."
            ))),
            None => Ok(()),
        }
    }

    /// Whether anybody may subscribe to the plain name `base` (without `cache-`).
    #[must_use]
    pub fn is_public(&self, base: &str) -> bool {
        self.public_channels.iter().any(|p| p.matches(base))
    }

    /// Whether this gateway serves the broadcast channel.
    #[must_use]
    pub fn serves(&self, channel: &str) -> bool {
        self.channels.is_empty() || self.channels.iter().any(|p| p.matches(channel))
    }

    /// The secret that signs.
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
            "is a known sample or has next to no variety",
        ));
    }
    Ok(())
}

fn secret_refused(why: &str) -> Error {
    Error::configuration(format!(
        "The gateway's secret {why}, and whoever guesses it speaks for everybody. Set REALTIME_APP_SECRET to the output of: openssl rand -hex 32"
    ))
}
