//! The keys of the gateway's settings and their environment variables.

use super::keys::{self, plain, renamed, settings, with_env, Setting, ENCRYPTION_MASTER_KEY};
use super::value::{wrong, Value};
use crate::error::Result;

settings! {
    BROKER = plain("broker");
    HOST = with_env("host", "REALTIME_GATEWAY_HOST");
    PORT = with_env("port", "REALTIME_GATEWAY_PORT");
    PATH_PREFIX = Setting { aliases: &["path"], ..with_env("path_prefix", "REALTIME_PATH_PREFIX") };
    APP_ID = with_env("app_id", "REALTIME_APP_ID");
    KEY = with_env("key", "REALTIME_APP_KEY");
    SECRETS = Setting { aliases: &["secret"], ..with_env("secrets", "REALTIME_APP_SECRET") };
    PUBLIC_CHANNELS = with_env("public_channels", "REALTIME_PUBLIC_CHANNELS");
    PUBLIC_BY_MARK = plain("public_by_mark");
    WS_CHANNELS = renamed("ws_channels", &["channels"]);
    ALLOWED_ORIGINS = with_env("allowed_origins", "REALTIME_ALLOWED_ORIGINS");
    REQUIRE_ORIGIN = plain("require_origin");
    TRUSTED_PROXIES = with_env("trusted_proxies", "REALTIME_TRUSTED_PROXIES");
    API_LISTEN = with_env("api_listen", "REALTIME_API_LISTEN");
    OPS_LISTEN = with_env("ops_listen", "REALTIME_OPS_LISTEN");
    THREADS = plain("threads");
    CLIENT_EVENTS = plain("client_events");
    RECOVERY = plain("recovery");
    SUBSCRIPTION_COUNT = plain("subscription_count");
    WEBHOOK_URLS = with_env("webhook_urls", "REALTIME_WEBHOOK_URLS");
    WEBHOOK_EVENTS = with_env("webhook_events", "REALTIME_WEBHOOK_EVENTS");
    ACTIVITY_TIMEOUT = plain("activity_timeout_ms");
    PONG_TIMEOUT = plain("pong_timeout_ms");
    WRITE_DELAY = plain("write_delay_ms");
    HANDSHAKE_TIMEOUT = plain("handshake_timeout_ms");
    MAX_HEADER = plain("max_header");
    MAX_BODY = plain("max_body");
    MAX_MESSAGE = plain("max_message");
    MAX_DEPTH = plain("max_depth");
    MESSAGES_PER_SECOND = plain("messages_per_second");
    MESSAGE_BURST = plain("message_burst");
    CLIENT_EVENTS_PER_SECOND = plain("client_events_per_second");
    PRESENCE_JOINS = plain("presence_joins");
    PRESENCE_JOIN_WINDOW = plain("presence_join_window_ms");
    MAX_SUBSCRIPTIONS = plain("max_subscriptions");
    MAX_PRESENCE_SUBSCRIPTIONS = plain("max_presence_subscriptions");
    MAX_CHANNELS = plain("max_channels");
    MAX_MEMBERS = plain("max_members");
    MAX_USER_INFO = plain("max_user_info");
    MAX_PRESENCE_BYTES = plain("max_presence_bytes");
    MAX_EVENT = plain("max_event");
    MAX_QUEUE = plain("max_queue");
    MAX_CONNECTIONS = plain("max_connections");
    MAX_CONNECTIONS_PER_ADDRESS = plain("max_connections_per_address");
    DESCRIPTOR_RESERVE = plain("descriptor_reserve");
    CACHE_TTL = plain("cache_ttl_ms");
    MAX_CACHE = plain("max_cache");
    PRESENCE_WAIT = plain("presence_wait_ms");
    MAX_API_CHANNELS = plain("max_api_channels");
    MAX_API_BATCH = plain("max_api_batch");
    MAX_API_DATA = plain("max_api_data");
    API_CLOCK_SKEW = plain("api_clock_skew_ms");
    SEND_BUFFER = plain("send_buffer");
    REPLAYS_PER_MINUTE = plain("replays_per_minute");
    POSITION_TTL = plain("position_ttl_ms");
    REPLAY_WINDOW = plain("replay_window_ms");
    REPLAY_MEMORY = plain("replay_memory");
    REPLAY_SCANS = plain("replay_scans");
    REPLAY_SCAN_RECORDS = plain("replay_scan_records");
    REPLAY_SCAN_BYTES = plain("replay_scan_bytes");
    REPLAY_SCAN_TIME = plain("replay_scan_time_ms");
    TOPIC_REFRESH = plain("topic_refresh_ms");
    HEARTBEAT = plain("heartbeat_ms");
    NODE_TIMEOUT = plain("node_timeout_ms");
    DRAIN_MEMBERS = plain("drain_members_ms");
}

/// The keys of `realtime.gateway`.
fn known() -> Vec<&'static str> {
    let own = SETTINGS
        .iter()
        .flat_map(|s| std::iter::once(s.key).chain(s.aliases.iter().copied()));
    own.chain([ENCRYPTION_MASTER_KEY.key]).collect()
}

/// Rejects unknown keys in a gateway array.
pub(super) fn check(value: &Value, place: &str) -> Result<()> {
    let members = value
        .as_map()
        .ok_or_else(|| wrong(place, "an array of settings", value))?;
    keys::check(members, place, &known())
}
