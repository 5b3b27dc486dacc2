//! The settings of the gateway, their defaults and their validation.

use std::time::Duration;

use super::keys::{self, plain, renamed, with_env, Setting, ENCRYPTION_MASTER_KEY};
use super::sources::SettingsReader;
use super::{wrong, Value};
use crate::encryption::MasterKey;
use crate::error::{Error, Result};
use crate::topic::socket_channel::requires_auth;
use crate::topic::ChannelPattern;

/// Minimum length of a secret, in characters.
const MIN_SECRET: usize = 32;

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

const MB: i64 = 1 << 20;

/// Range of `max_event`, in bytes.
pub(super) const MAX_EVENT: (i64, i64) = (256, 64 * MB);

const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr; $setting:expr, $read:expr;)*) => {
        /// Settings of one gateway. Times are durations, sizes bytes.
        // Independent switches.
        #[allow(clippy::struct_excessive_bools)]
        #[derive(Clone)]
        pub struct Settings {
            $($(#[$doc])* pub $name: $type,)*
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        const KEYS: &[Setting] = &[$($setting),*];

        impl Settings {
            /// Reads all settings but the master key, which may be set elsewhere too.
            pub(super) fn read(reader: &SettingsReader<'_>) -> Result<Self> {
                let default = Self::default();
                Ok(Self { $($name: $read(reader, &$setting, default.$name)?,)* })
            }
        }
    };
}

// Name, type, default; key and environment variable, and how it is read.
settings! {
    /// Address to listen on. The default is reachable from this machine only.
    host: String = "127.0.0.1".into(); with_env("host", "REALTIME_GATEWAY_HOST"), SettingsReader::host;
    /// Port; 0 for any free port.
    port: u16 = 6001; with_env("port", "REALTIME_GATEWAY_PORT"), port;
    /// Path before `/app/…` and `/apps/…` of requests that a proxy passes on unchanged: `/realtime`; empty for none.
    path_prefix: String = String::new();
        Setting { aliases: &["path"], ..with_env("path_prefix", "REALTIME_PATH_PREFIX") }, SettingsReader::path_prefix;
    /// Id of the application in the HTTP API's paths.
    app_id: String = String::new(); with_env("app_id", "REALTIME_APP_ID"), text;
    /// Key of the application, in the path that clients connect to.
    key: String = String::new(); with_env("key", "REALTIME_APP_KEY"), text;
    /// Secrets: the first signs, all are accepted.
    secrets: Vec<String> = Vec::new();
        Setting { aliases: &["secret"], ..with_env("secrets", "REALTIME_APP_SECRET") }, list;
    /// Master key of encrypted channels, if they are used.
    encryption_master_key: Option<MasterKey> = None; ENCRYPTION_MASTER_KEY, keep;
    /// Patterns of public channels, which need no authorization.
    public_channels: Vec<ChannelPattern> = ChannelPattern::parse("public.*").into_iter().collect();
        with_env("public_channels", "REALTIME_PUBLIC_CHANNELS"), each(pattern);
    /// Records marked public also reach the public channel of their name.
    public_by_mark: bool = false; plain("public_by_mark"), SettingsReader::flag;
    /// Broadcast channels that this gateway serves; empty for all.
    channels: Vec<ChannelPattern> = Vec::new(); renamed("ws_channels", &["channels"]), each(pattern);
    /// Origins of browsers that may connect, `https://shop.example:8443` or `https://*.shop.example`; empty for any.
    allowed_origins: Vec<String> = Vec::new(); with_env("allowed_origins", "REALTIME_ALLOWED_ORIGINS"), list;
    /// Refuse clients without an Origin header.
    require_origin: bool = false; plain("require_origin"), SettingsReader::flag;
    /// Addresses and networks (`10.0.0.0/8`) of proxies whose X-Forwarded-For is trusted.
    trusted_proxies: Vec<String> = Vec::new(); with_env("trusted_proxies", "REALTIME_TRUSTED_PROXIES"), list;
    /// Address of the HTTP API; `None` for the port of the sockets.
    api_listen: Option<String> = None; with_env("api_listen", "REALTIME_API_LISTEN"), SettingsReader::listen;
    /// Address of `/metrics` and `/ready`; `None` to disable them.
    ops_listen: Option<String> = Some("127.0.0.1:6900".into());
        with_env("ops_listen", "REALTIME_OPS_LISTEN"), SettingsReader::listen;
    /// Threads that serve all sockets.
    threads: usize = 2; plain("threads"), number(1, 256);
    /// Allow client events.
    client_events: bool = true; plain("client_events"), SettingsReader::flag;
    /// Send positions to clients that ask, and replay missed events.
    recovery: bool = true; plain("recovery"), SettingsReader::flag;
    /// Tell subscribers the number of subscriptions of their channel when it changes.
    subscription_count: bool = false; plain("subscription_count"), SettingsReader::flag;
    /// Events written to the webhook topic.
    webhook_events: Vec<EventKind> =
        vec![EventKind::Occupied, EventKind::Vacated, EventKind::MemberAdded, EventKind::MemberRemoved];
        with_env("webhook_events", "REALTIME_WEBHOOK_EVENTS"), each(event_kind);
    /// Receivers of the webhooks, for the command that posts them.
    webhook_urls: Vec<String> = Vec::new(); with_env("webhook_urls", "REALTIME_WEBHOOK_URLS"), list;
    /// The server pings after so much silence; also the activity_timeout sent to clients.
    activity_timeout: Duration = seconds(30); plain("activity_timeout_ms"), time(1000);
    /// Time to answer a ping before the connection is closed.
    pong_timeout: Duration = seconds(30); plain("pong_timeout_ms"), time(100);
    /// How long a frame waits for others, so that one system call writes them.
    write_delay: Duration = Duration::ZERO; plain("write_delay_ms"), time_within(0, 2);
    /// Maximum time of an HTTP request (headers and body) or a handshake.
    handshake_timeout: Duration = seconds(10); plain("handshake_timeout_ms"), time(100);
    /// Maximum size of HTTP request headers.
    max_header: usize = 8 << 10; plain("max_header"), size(512, MB);
    /// Maximum size of an HTTP request body.
    max_body: usize = 256 << 10; plain("max_body"), size(1024, 64 * MB);
    /// Maximum size of a client's message, over all its fragments.
    max_message: usize = 16 << 10; plain("max_message"), size(512, 16 * MB);
    /// Maximum nesting of a client's message.
    max_depth: usize = 32; plain("max_depth"), number(2, 128);
    /// Messages per second and socket; above the rate and burst, reading is delayed.
    messages_per_second: u32 = 50; plain("messages_per_second"), rate;
    /// Messages that a socket may send in one burst.
    message_burst: u32 = 1000; plain("message_burst"), rate;
    /// Client events per second and socket.
    client_events_per_second: u32 = 10; plain("client_events_per_second"), rate;
    /// Presence subscriptions per socket within [`Self::presence_join_window`]; above it, reading is delayed.
    presence_joins: u32 = 100; plain("presence_joins"), rate;
    /// The window of [`Self::presence_joins`].
    presence_join_window: Duration = seconds(10); plain("presence_join_window_ms"), time(1);
    /// Maximum subscriptions per socket.
    max_subscriptions: usize = 500; plain("max_subscriptions"), number(1, 1 << 30);
    /// Maximum presence channels among the subscriptions of a socket.
    max_presence_subscriptions: usize = 100; plain("max_presence_subscriptions"), number(0, 1 << 30);
    /// Maximum distinct channels of this gateway.
    max_channels: usize = 100_000; plain("max_channels"), number(1, 1 << 30);
    /// Maximum members of a presence channel.
    max_members: usize = 100; plain("max_members"), number(1, 1 << 30);
    /// Maximum size of a member's user_info.
    max_user_info: usize = 1 << 10; plain("max_user_info"), size(0, MB);
    /// Maximum size of the member list of a presence channel.
    max_presence_bytes: usize = 256 << 10; plain("max_presence_bytes"), size(1024, 64 * MB);
    /// Maximum data of an event; larger events are counted and skipped.
    max_event: usize = 256 << 10; plain("max_event"), size(MAX_EVENT.0, MAX_EVENT.1);
    /// Maximum size of a socket's send queue; above it the socket is closed with 4100.
    max_queue: usize = 1 << 20; plain("max_queue"), size(4096, 1024 * MB);
    /// Size of the kernel's send buffer per socket, in addition to the queue.
    send_buffer: usize = 128 << 10; plain("send_buffer"), size(4096, 64 * MB);
    /// Maximum connections in total; file descriptors may limit them further.
    max_connections: usize = 20_000; plain("max_connections"), number(1, 1 << 30);
    /// Maximum connections per client address; an IPv6 /64 may have ten times as many.
    max_connections_per_address: usize = 10_000; plain("max_connections_per_address"), number(1, 1 << 30);
    /// File descriptors reserved for everything else.
    descriptor_reserve: usize = 64; plain("descriptor_reserve"), number(0, 1 << 30);
    /// How long a cache channel keeps its last event.
    cache_ttl: Duration = seconds(1800); plain("cache_ttl_ms"), time(1);
    /// Maximum size of all cached events.
    max_cache: usize = 64 << 20; plain("max_cache"), size(0, 65_536 * MB);
    /// Maximum time that a presence subscription waits for the other gateways.
    presence_wait: Duration = seconds(3); plain("presence_wait_ms"), time(0);
    /// Maximum channels of an HTTP API event.
    max_api_channels: usize = 100; plain("max_api_channels"), number(1, 1 << 30);
    /// Maximum events of an HTTP API batch.
    max_api_batch: usize = 10; plain("max_api_batch"), number(1, 1 << 30);
    /// Maximum data of an HTTP API event.
    max_api_data: usize = 10 << 10; plain("max_api_data"), size(1, 64 * MB);
    /// Accepted difference of an HTTP API timestamp from the clock.
    api_clock_skew: Duration = seconds(600); plain("api_clock_skew_ms"), time(1000);
    /// Replays per socket and minute.
    replays_per_minute: u32 = 10; plain("replays_per_minute"), rate;
    /// How long a position token is accepted.
    position_ttl: Duration = seconds(600); plain("position_ttl_ms"), time(1000);
    /// How long broadcasts stay in memory for reconnecting clients.
    replay_window: Duration = seconds(120); plain("replay_window_ms"), time(0);
    /// Maximum size of the broadcasts in memory.
    replay_memory: usize = 64 << 20; plain("replay_memory"), size(0, 65_536 * MB);
    /// Maximum concurrent replays that read from Kafka.
    replay_scans: usize = 8; plain("replay_scans"), number(1, 1 << 30);
    /// Maximum records that such a replay reads.
    replay_scan_records: usize = 20_000; plain("replay_scan_records"), number(1, 1 << 30);
    /// Maximum bytes that such a replay reads.
    replay_scan_bytes: usize = 8 << 20; plain("replay_scan_bytes"), size(1024, 1024 * MB);
    /// Maximum time of such a replay.
    replay_scan_time: Duration = seconds(5); plain("replay_scan_time_ms"), time(1);
    /// Interval of metadata refreshes, which find new topics.
    topic_refresh: Duration = seconds(1); plain("topic_refresh_ms"), time(100);
    /// Interval of heartbeats to the other gateways.
    heartbeat: Duration = seconds(2); plain("heartbeat_ms"), time(100);
    /// A gateway without a heartbeat for so long is considered gone.
    node_timeout: Duration = seconds(10); plain("node_timeout_ms"), time(500);
    /// How long the members of a gateway that stops stay present on the others.
    drain_members: Duration = seconds(5); plain("drain_members_ms"), time(0);
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

/// The broker that a gateway reads.
pub(super) const BROKER: Setting = plain("broker");

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
            let variable = if name == "key" {
                "REALTIME_APP_KEY"
            } else {
                "REALTIME_APP_ID"
            };
            if value.is_empty() {
                return Err(Error::configuration(format!(
                    "realtime.gateway.{name} is not set. Set {variable} to letters, digits, - and _."
                )));
            }
            if !value.bytes().all(plain) {
                return Err(Error::configuration(format!(
                    "realtime.gateway.{name} is {value:?}: it must consist of letters, digits, - and _. Set {variable}."
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

/// Refuses unknown keys in a gateway array.
pub(super) fn check(value: &Value, place: &str) -> Result<()> {
    let members = value
        .as_map()
        .ok_or_else(|| wrong(place, "an array of settings", value))?;
    let own = KEYS.iter();
    let own = own.flat_map(|s| std::iter::once(s.key).chain(s.aliases.iter().copied()));
    let known: Vec<&str> = own.chain([BROKER.key]).collect();
    keys::check(members, place, &known)
}

#[allow(clippy::unnecessary_wraps)] // as the other readers
fn keep<T>(_: &SettingsReader<'_>, _: &Setting, default: T) -> Result<T> {
    Ok(default)
}

#[allow(clippy::needless_pass_by_value)] // as the readers of other types
fn text(reader: &SettingsReader<'_>, setting: &Setting, default: String) -> Result<String> {
    reader.text(setting, &default)
}

fn list(
    reader: &SettingsReader<'_>,
    setting: &Setting,
    default: Vec<String>,
) -> Result<Vec<String>> {
    Ok(reader.list(setting)?.unwrap_or(default))
}

fn time(least: i64) -> impl Fn(&SettingsReader<'_>, &Setting, Duration) -> Result<Duration> {
    time_within(least, 86_400_000)
}

fn time_within(
    least: i64,
    most: i64,
) -> impl Fn(&SettingsReader<'_>, &Setting, Duration) -> Result<Duration> {
    move |reader, setting, default| {
        let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        let ms = reader.count(setting, default, (least, most), "ms")?;
        Ok(Duration::from_millis(ms))
    }
}

pub(super) fn size(
    least: i64,
    most: i64,
) -> impl Fn(&SettingsReader<'_>, &Setting, usize) -> Result<usize> {
    move |reader, setting, default| {
        let number = reader.count(setting, default as u64, (least, most), "bytes")?;
        Ok(usize::try_from(number).unwrap_or(usize::MAX))
    }
}

/// A number of at least `least`; what is above `most` counts as that.
fn number(
    least: i64,
    most: usize,
) -> impl Fn(&SettingsReader<'_>, &Setting, usize) -> Result<usize> {
    move |reader, setting, default| {
        let number = reader.count(setting, default as u64, (least, 1 << 30), "")?;
        Ok(usize::try_from(number).unwrap_or(usize::MAX).min(most))
    }
}

fn rate(reader: &SettingsReader<'_>, setting: &Setting, default: u32) -> Result<u32> {
    let number = reader.count(setting, u64::from(default), (1, 1 << 30), "")?;
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

fn port(reader: &SettingsReader<'_>, setting: &Setting, default: u16) -> Result<u16> {
    let number = reader.count(setting, u64::from(default), (0, 65_535), "")?;
    Ok(u16::try_from(number).unwrap_or(0))
}

/// A list of names, each of them parsed; the reason of an error follows the name of the setting.
fn each<T>(
    parse: impl Fn(&str) -> std::result::Result<T, String>,
) -> impl Fn(&SettingsReader<'_>, &Setting, Vec<T>) -> Result<Vec<T>> {
    move |reader, setting, default| {
        let Some(names) = reader.list(setting)? else {
            return Ok(default);
        };
        let refused =
            |why| Error::configuration(format!("realtime.gateway.{}: {why}", setting.key));
        names
            .iter()
            .map(|name| parse(name).map_err(refused))
            .collect()
    }
}

fn event_kind(name: &str) -> std::result::Result<EventKind, String> {
    EventKind::read(name).ok_or_else(|| {
        let known = EventKind::ALL.map(EventKind::as_str).join(", ");
        format!("{name:?} is not a webhook event. The events are {known}.")
    })
}

fn pattern(name: &str) -> std::result::Result<ChannelPattern, String> {
    ChannelPattern::parse(name).map_err(|error| error.message().to_owned())
}
