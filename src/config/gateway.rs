//! `realtime.gateway`: the settings of the WebSocket gateway.

use super::host::top;
use super::keys::{self, plain, renamed, settings, with_env, Setting};
use super::reader::Reader;
use super::sources::{ArrayLayer, Origin, Sources};
use super::value::{wrong, Value};
use super::Layers;
use crate::error::{Error, Result};
use crate::gateway::protocol::encrypted::MasterKey;
use crate::gateway::settings::Settings;
use crate::topic::ChannelPattern;
use std::time::Duration;

settings! {
    BROKER = plain("broker");
    HOST = with_env("host", "REALTIME_GATEWAY_HOST");
    PORT = with_env("port", "REALTIME_GATEWAY_PORT");
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
    ACTIVITY_TIMEOUT = plain("activity_timeout_ms");
    PONG_TIMEOUT = plain("pong_timeout_ms");
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
    REPLAYS_PER_MINUTE = plain("replays_per_minute");
}

/// Where the gateway's array stands in the configuration.
const PLACE: &str = "realtime.gateway";

/// The gateway's settings, and which broker it reads from.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The settings; [`Settings::validate`] has not been asked.
    pub settings: Settings,
    /// The broker's name in the configuration; `None` for the default one.
    pub broker_name: Option<String>,
    /// Settings of the broker that were given as an array.
    pub broker: Option<Value>,
}

/// The keys of `realtime.gateway`.
pub(super) fn known() -> Vec<&'static str> {
    let own = SETTINGS
        .iter()
        .flat_map(|s| std::iter::once(s.key).chain(s.aliases.iter().copied()));
    own.chain([keys::ENCRYPTION_MASTER_KEY.key]).collect()
}

/// Refuses unknown keys of the gateway's array, wherever it was given.
pub(super) fn check(value: &Value, place: &str) -> Result<()> {
    let members = value
        .as_map()
        .ok_or_else(|| wrong(place, "an array of settings", value))?;
    keys::check(members, place, &known())
}

/// The gateway's array within the configuration.
pub(super) fn members(top: &[(String, Value)]) -> Option<&[(String, Value)]> {
    let (_, value) = top.iter().find(|(k, v)| k == "gateway" && !v.is_unset())?;
    value.as_map()
}

impl GatewayConfig {
    /// Reads the gateway's settings. `layers.constructor` is the array given to the Gateway.
    ///
    /// # Errors
    /// [`crate::error::Kind::Configuration`] naming the setting, where it stands and what it may be.
    pub fn resolve(layers: &Layers<'_>) -> Result<Self> {
        let all = top(layers.configured)?;
        super::host::check_top(all)?;
        let mut arrays = Vec::new();
        if let Some(value) = layers.constructor.filter(|v| !matches!(v, Value::Null)) {
            check(value, &Origin::GatewayConstructor.array())?;
            arrays.push(ArrayLayer {
                map: value.as_map().unwrap_or_default(),
                origin: Origin::GatewayConstructor,
            });
        }
        if let Some(map) = members(all) {
            arrays.push(ArrayLayer {
                map,
                origin: Origin::Gateway,
            });
        }
        let mut reader = Reader {
            sources: Sources {
                arrays,
                env: layers.env,
            },
            notes: Vec::new(),
            warnings: Vec::new(),
        };
        let settings = read(&mut reader, all)?;
        let (broker_name, broker) = match reader.sources.find(&BROKER) {
            None => (None, None),
            Some(found) if found.value.as_map().is_some() => (None, Some(found.value.into_owned())),
            Some(found) => (Some(found.value.text(&found.place)?), None),
        };
        Ok(Self {
            settings,
            broker_name,
            broker,
        })
    }
}

fn read<'a>(reader: &mut Reader<'a>, all: &'a [(String, Value)]) -> Result<Settings> {
    const DAY: i64 = 86_400_000;
    let d = Settings::default();
    let encryption_master_key = {
        reader.sources.arrays.push(ArrayLayer {
            map: all,
            origin: Origin::Top,
        });
        let key = master_key(&reader.sources);
        reader.sources.arrays.pop();
        key?
    };
    let r = &*reader;
    let time = |s: &Setting, default: Duration, least: i64| {
        let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        r.count(s, default, (least, DAY), "ms")
            .map(Duration::from_millis)
    };
    let size = |s: &Setting, default: usize, range: (i64, i64)| {
        let number = r.count(s, default as u64, range, "bytes")?;
        Ok::<_, Error>(usize::try_from(number).unwrap_or(usize::MAX))
    };
    let number = |s: &Setting, default: usize, least: i64| {
        let number = r.count(s, default as u64, (least, 1 << 30), "")?;
        Ok::<_, Error>(usize::try_from(number).unwrap_or(usize::MAX))
    };
    let rate = |s: &Setting, default: u32| {
        let number = r.count(s, u64::from(default), (1, 1 << 30), "")?;
        Ok::<_, Error>(u32::try_from(number).unwrap_or(u32::MAX))
    };
    let mega = |n: i64| n << 20;
    Ok(Settings {
        host: host(r, &d.host)?,
        port: u16::try_from(r.count(&PORT, u64::from(d.port), (0, 65_535), "")?).unwrap_or(0),
        app_id: r.text(&APP_ID, "")?,
        key: r.text(&KEY, "")?,
        secrets: list(r, &SECRETS)?.unwrap_or_default(),
        encryption_master_key,
        public_channels: patterns(r, &PUBLIC_CHANNELS)?.unwrap_or(d.public_channels),
        public_by_mark: r.flag(&PUBLIC_BY_MARK, d.public_by_mark)?,
        channels: patterns(r, &WS_CHANNELS)?.unwrap_or_default(),
        allowed_origins: list(r, &ALLOWED_ORIGINS)?.unwrap_or_default(),
        require_origin: r.flag(&REQUIRE_ORIGIN, d.require_origin)?,
        trusted_proxies: list(r, &TRUSTED_PROXIES)?.unwrap_or_default(),
        api_listen: listen(r, &API_LISTEN, d.api_listen)?,
        ops_listen: listen(r, &OPS_LISTEN, d.ops_listen)?,
        threads: number(&THREADS, d.threads, 1)?.min(256),
        client_events: r.flag(&CLIENT_EVENTS, d.client_events)?,
        recovery: r.flag(&RECOVERY, d.recovery)?,
        activity_timeout: time(&ACTIVITY_TIMEOUT, d.activity_timeout, 1000)?,
        pong_timeout: time(&PONG_TIMEOUT, d.pong_timeout, 100)?,
        handshake_timeout: time(&HANDSHAKE_TIMEOUT, d.handshake_timeout, 100)?,
        max_header: size(&MAX_HEADER, d.max_header, (512, mega(1)))?,
        max_body: size(&MAX_BODY, d.max_body, (1024, mega(64)))?,
        max_message: size(&MAX_MESSAGE, d.max_message, (512, mega(16)))?,
        max_depth: number(&MAX_DEPTH, d.max_depth, 2)?.min(128),
        messages_per_second: rate(&MESSAGES_PER_SECOND, d.messages_per_second)?,
        message_burst: rate(&MESSAGE_BURST, d.message_burst)?,
        client_events_per_second: rate(&CLIENT_EVENTS_PER_SECOND, d.client_events_per_second)?,
        presence_joins: rate(&PRESENCE_JOINS, d.presence_joins)?,
        presence_join_window: time(&PRESENCE_JOIN_WINDOW, d.presence_join_window, 1)?,
        max_subscriptions: number(&MAX_SUBSCRIPTIONS, d.max_subscriptions, 1)?,
        max_channels: number(&MAX_CHANNELS, d.max_channels, 1)?,
        max_members: number(&MAX_MEMBERS, d.max_members, 1)?,
        max_user_info: size(&MAX_USER_INFO, d.max_user_info, (0, mega(1)))?,
        max_presence_bytes: size(&MAX_PRESENCE_BYTES, d.max_presence_bytes, (1024, mega(64)))?,
        max_event: size(&MAX_EVENT, d.max_event, (256, mega(64)))?,
        max_queue: size(&MAX_QUEUE, d.max_queue, (4096, mega(1024)))?,
        max_connections: number(&MAX_CONNECTIONS, d.max_connections, 1)?,
        max_connections_per_address: number(
            &MAX_CONNECTIONS_PER_ADDRESS,
            d.max_connections_per_address,
            1,
        )?,
        descriptor_reserve: number(&DESCRIPTOR_RESERVE, d.descriptor_reserve, 0)?,
        cache_ttl: time(&CACHE_TTL, d.cache_ttl, 1)?,
        max_cache: size(&MAX_CACHE, d.max_cache, (0, mega(65_536)))?,
        presence_wait: time(&PRESENCE_WAIT, d.presence_wait, 0)?,
        max_api_channels: number(&MAX_API_CHANNELS, d.max_api_channels, 1)?,
        max_api_batch: number(&MAX_API_BATCH, d.max_api_batch, 1)?,
        max_api_data: size(&MAX_API_DATA, d.max_api_data, (1, mega(64)))?,
        api_clock_skew: time(&API_CLOCK_SKEW, d.api_clock_skew, 1000)?,
        replays_per_minute: rate(&REPLAYS_PER_MINUTE, d.replays_per_minute)?,
    })
}

/// The master key of encrypted channels: the gateway's arrays, the broker's and the top level all may have it.
pub(super) fn master_key(sources: &Sources<'_>) -> Result<Option<MasterKey>> {
    let Some(found) = sources.find(&keys::ENCRYPTION_MASTER_KEY) else {
        return Ok(None);
    };
    // Never shown: it is a secret also where it is none of the right size.
    let refused = || {
        Error::configuration(format!(
            "{} is not 32 bytes in base64. Make one with: openssl rand -base64 32",
            found.place
        ))
    };
    match found.value.as_ref() {
        Value::Str(text) => MasterKey::from_base64(text)
            .map(Some)
            .map_err(|_| refused()),
        _ => Err(refused()),
    }
}

/// The whole of what stands between brackets and a name without them is a host.
fn host(reader: &Reader<'_>, default: &str) -> Result<String> {
    let (host, place) = reader.text_at(&HOST, default)?;
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(&host);
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if bare.is_empty()
        || !bare.chars().all(named)
        || (bare.contains(':') && bare.parse::<std::net::Ipv6Addr>().is_err())
    {
        return Err(wrong(
            &place,
            "an address or a host name, without a port (127.0.0.1, 0.0.0.0, ::)",
            &Value::from(host.as_str()),
        ));
    }
    Ok(bare.to_owned())
}

/// `host:port`, or off.
fn listen(
    reader: &Reader<'_>,
    setting: &Setting,
    default: Option<String>,
) -> Result<Option<String>> {
    let Some(found) = reader.sources.find(setting) else {
        return Ok(default);
    };
    let expected = "'host:port', or 'off'";
    let text = match found.value.as_ref() {
        Value::Bool(false) => return Ok(None),
        Value::Str(text) => text.trim(),
        other => return Err(wrong(&found.place, expected, other)),
    };
    if matches!(text.to_ascii_lowercase().as_str(), "off" | "false") {
        return Ok(None);
    }
    let fits = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok()
    });
    if !fits {
        return Err(wrong(&found.place, expected, &found.value));
    }
    Ok(Some(text.to_owned()))
}

/// A list, or one text with commas; empty entries count as nothing.
fn list(reader: &Reader<'_>, setting: &Setting) -> Result<Option<Vec<String>>> {
    let Some(found) = reader.sources.find(setting) else {
        return Ok(None);
    };
    let wanted = "a list, or a text with commas";
    let all: Vec<String> = match found.value.as_ref() {
        Value::List(items) => items
            .iter()
            .map(|item| match item {
                Value::Null => Ok(String::new()),
                Value::Str(_) | Value::Int(_) => item.text(&found.place),
                other => Err(wrong(&found.place, wanted, other)),
            })
            .collect::<Result<_>>()?,
        Value::Str(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
        other => return Err(wrong(&found.place, wanted, other)),
    };
    Ok(Some(
        all.into_iter().filter(|one| !one.is_empty()).collect(),
    ))
}

fn patterns(reader: &Reader<'_>, setting: &Setting) -> Result<Option<Vec<ChannelPattern>>> {
    let Some(names) = list(reader, setting)? else {
        return Ok(None);
    };
    let parse = |name: &String| {
        ChannelPattern::parse(name).map_err(|error| {
            Error::configuration(format!("{PLACE}.{}: {}", setting.key, error.message()))
        })
    };
    names.iter().map(parse).collect::<Result<_>>().map(Some)
}
