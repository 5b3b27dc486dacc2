//! `realtime.gateway`: the settings of the WebSocket gateway.

use std::time::Duration;

use super::application::top;
use super::gateway_settings::{EventKind, Settings};
use super::keys::{self, gateway as g, Setting};
use super::sources::{ArrayLayer, LayerOrigin, SettingsReader, Sources};
use super::{wrong, Layers, Value};
use crate::encryption::MasterKey;
use crate::error::{Error, Result};
use crate::topic::ChannelPattern;

/// The gateway's section of the configuration, for error texts.
const SECTION: &str = "realtime.gateway";

/// Range of `max_event`, in bytes.
const MAX_EVENT_RANGE: (i64, i64) = (256, 64 << 20);

/// The gateway's settings and its broker.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The settings, not yet checked by [`Settings::validate`].
    pub settings: Settings,
    /// Name of the broker in the configuration; `None` for the default broker.
    pub broker_name: Option<String>,
    /// Broker settings given as an array.
    pub broker: Option<Value>,
}

/// The gateway array of the configuration.
pub(super) fn members(top: &[(String, Value)]) -> Option<&[(String, Value)]> {
    let (_, value) = top.iter().find(|(k, v)| k == "gateway" && !v.is_unset())?;
    value.as_map()
}

impl GatewayConfig {
    /// Reads the gateway's settings. `layers.constructor` is the argument of the Gateway's constructor.
    ///
    /// # Errors
    /// [`crate::error::Kind::Configuration`] with the setting, its place and the accepted values.
    pub fn resolve(layers: &Layers<'_>) -> Result<Self> {
        let all = top(layers.configured)?;
        super::application::check_top(all)?;
        let mut arrays = Vec::new();
        if let Some(value) = layers.constructor.filter(|v| !matches!(v, Value::Null)) {
            g::check(value, &LayerOrigin::GatewayConstructor.array())?;
            arrays.push(ArrayLayer {
                map: value.as_map().unwrap_or_default(),
                origin: LayerOrigin::GatewayConstructor,
            });
        }
        if let Some(map) = members(all) {
            arrays.push(ArrayLayer {
                map,
                origin: LayerOrigin::Gateway,
            });
        }
        let mut reader = SettingsReader::new(arrays, layers.env);
        let settings = read(&mut reader, all)?;
        let (broker_name, broker) = match reader.sources.find(&g::BROKER) {
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

// One line per setting.
#[allow(clippy::too_many_lines)]
fn read<'a>(reader: &mut SettingsReader<'a>, all: &'a [(String, Value)]) -> Result<Settings> {
    const DAY: i64 = 86_400_000;
    let d = Settings::default();
    let encryption_master_key = {
        reader.sources.arrays.push(ArrayLayer {
            map: all,
            origin: LayerOrigin::Top,
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
    let heartbeat = time(&g::HEARTBEAT, d.heartbeat, 100)?;
    let node_timeout = time(&g::NODE_TIMEOUT, d.node_timeout, 500)?;
    if node_timeout < heartbeat * 3 {
        return Err(Error::configuration(format!(
            "{SECTION}.node_timeout_ms ({}) is less than three heartbeats ({} ms each): one late heartbeat would \
            remove a gateway. Raise it, or lower heartbeat_ms.",
            node_timeout.as_millis(),
            heartbeat.as_millis()
        )));
    }
    Ok(Settings {
        host: host(r, &d.host)?,
        port: u16::try_from(r.count(&g::PORT, u64::from(d.port), (0, 65_535), "")?).unwrap_or(0),
        path_prefix: path_prefix(r)?,
        app_id: r.text(&g::APP_ID, "")?,
        key: r.text(&g::KEY, "")?,
        secrets: list(r, &g::SECRETS)?.unwrap_or_default(),
        encryption_master_key,
        public_channels: patterns(r, &g::PUBLIC_CHANNELS)?.unwrap_or(d.public_channels),
        public_by_mark: r.flag(&g::PUBLIC_BY_MARK, d.public_by_mark)?,
        channels: patterns(r, &g::WS_CHANNELS)?.unwrap_or_default(),
        allowed_origins: list(r, &g::ALLOWED_ORIGINS)?.unwrap_or_default(),
        require_origin: r.flag(&g::REQUIRE_ORIGIN, d.require_origin)?,
        trusted_proxies: list(r, &g::TRUSTED_PROXIES)?.unwrap_or_default(),
        api_listen: listen(r, &g::API_LISTEN, d.api_listen)?,
        ops_listen: listen(r, &g::OPS_LISTEN, d.ops_listen)?,
        threads: number(&g::THREADS, d.threads, 1)?.min(256),
        client_events: r.flag(&g::CLIENT_EVENTS, d.client_events)?,
        recovery: r.flag(&g::RECOVERY, d.recovery)?,
        subscription_count: r.flag(&g::SUBSCRIPTION_COUNT, d.subscription_count)?,
        webhook_urls: list(r, &g::WEBHOOK_URLS)?.unwrap_or_default(),
        webhook_events: webhook_events(r)?.unwrap_or(d.webhook_events),
        activity_timeout: time(&g::ACTIVITY_TIMEOUT, d.activity_timeout, 1000)?,
        pong_timeout: time(&g::PONG_TIMEOUT, d.pong_timeout, 100)?,
        write_delay: Duration::from_millis(r.count(&g::WRITE_DELAY, 0, (0, 2), "ms")?),
        handshake_timeout: time(&g::HANDSHAKE_TIMEOUT, d.handshake_timeout, 100)?,
        max_header: size(&g::MAX_HEADER, d.max_header, (512, mega(1)))?,
        max_body: size(&g::MAX_BODY, d.max_body, (1024, mega(64)))?,
        max_message: size(&g::MAX_MESSAGE, d.max_message, (512, mega(16)))?,
        max_depth: number(&g::MAX_DEPTH, d.max_depth, 2)?.min(128),
        messages_per_second: rate(&g::MESSAGES_PER_SECOND, d.messages_per_second)?,
        message_burst: rate(&g::MESSAGE_BURST, d.message_burst)?,
        client_events_per_second: rate(&g::CLIENT_EVENTS_PER_SECOND, d.client_events_per_second)?,
        presence_joins: rate(&g::PRESENCE_JOINS, d.presence_joins)?,
        presence_join_window: time(&g::PRESENCE_JOIN_WINDOW, d.presence_join_window, 1)?,
        max_subscriptions: number(&g::MAX_SUBSCRIPTIONS, d.max_subscriptions, 1)?,
        max_presence_subscriptions: number(
            &g::MAX_PRESENCE_SUBSCRIPTIONS,
            d.max_presence_subscriptions,
            0,
        )?,
        max_channels: number(&g::MAX_CHANNELS, d.max_channels, 1)?,
        max_members: number(&g::MAX_MEMBERS, d.max_members, 1)?,
        max_user_info: size(&g::MAX_USER_INFO, d.max_user_info, (0, mega(1)))?,
        max_presence_bytes: size(
            &g::MAX_PRESENCE_BYTES,
            d.max_presence_bytes,
            (1024, mega(64)),
        )?,
        max_event: size(&g::MAX_EVENT, d.max_event, MAX_EVENT_RANGE)?,
        max_queue: size(&g::MAX_QUEUE, d.max_queue, (4096, mega(1024)))?,
        max_connections: number(&g::MAX_CONNECTIONS, d.max_connections, 1)?,
        max_connections_per_address: number(
            &g::MAX_CONNECTIONS_PER_ADDRESS,
            d.max_connections_per_address,
            1,
        )?,
        descriptor_reserve: number(&g::DESCRIPTOR_RESERVE, d.descriptor_reserve, 0)?,
        cache_ttl: time(&g::CACHE_TTL, d.cache_ttl, 1)?,
        max_cache: size(&g::MAX_CACHE, d.max_cache, (0, mega(65_536)))?,
        presence_wait: time(&g::PRESENCE_WAIT, d.presence_wait, 0)?,
        max_api_channels: number(&g::MAX_API_CHANNELS, d.max_api_channels, 1)?,
        max_api_batch: number(&g::MAX_API_BATCH, d.max_api_batch, 1)?,
        max_api_data: size(&g::MAX_API_DATA, d.max_api_data, (1, mega(64)))?,
        api_clock_skew: time(&g::API_CLOCK_SKEW, d.api_clock_skew, 1000)?,
        position_ttl: time(&g::POSITION_TTL, d.position_ttl, 1000)?,
        replay_window: time(&g::REPLAY_WINDOW, d.replay_window, 0)?,
        replay_memory: size(&g::REPLAY_MEMORY, d.replay_memory, (0, mega(65_536)))?,
        replay_scans: number(&g::REPLAY_SCANS, d.replay_scans, 1)?,
        replay_scan_records: number(&g::REPLAY_SCAN_RECORDS, d.replay_scan_records, 1)?,
        replay_scan_bytes: size(
            &g::REPLAY_SCAN_BYTES,
            d.replay_scan_bytes,
            (1024, mega(1024)),
        )?,
        replay_scan_time: time(&g::REPLAY_SCAN_TIME, d.replay_scan_time, 1)?,
        topic_refresh: time(&g::TOPIC_REFRESH, d.topic_refresh, 100)?,
        heartbeat,
        node_timeout,
        drain_members: time(&g::DRAIN_MEMBERS, d.drain_members, 0)?,
        send_buffer: size(&g::SEND_BUFFER, d.send_buffer, (4096, mega(64)))?,
        replays_per_minute: rate(&g::REPLAYS_PER_MINUTE, d.replays_per_minute)?,
    })
}

/// `realtime.gateway.max_event`, for senders.
pub(super) fn max_event(layers: &Layers<'_>) -> Result<usize> {
    let map = members(top(layers.configured)?);
    let arrays = map.map(|map| ArrayLayer {
        map,
        origin: LayerOrigin::Gateway,
    });
    let reader = SettingsReader::new(arrays.into_iter().collect(), layers.env);
    let default = Settings::default().max_event;
    let bytes = reader.count(&g::MAX_EVENT, default as u64, MAX_EVENT_RANGE, "bytes")?;
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// The master key of encrypted channels, from a gateway array, a broker array or the top level.
pub(super) fn master_key(sources: &Sources<'_>) -> Result<Option<MasterKey>> {
    let Some(found) = sources.find(&keys::ENCRYPTION_MASTER_KEY) else {
        return Ok(None);
    };
    // The value is never shown: it is a secret even if it has the wrong size.
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

/// A host name or address; an IPv6 address may have brackets.
fn host(reader: &SettingsReader<'_>, default: &str) -> Result<String> {
    let (host, place) = reader.text_at(&g::HOST, default)?;
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

/// A path with a leading slash and without a trailing one; empty for none.
fn path_prefix(reader: &SettingsReader<'_>) -> Result<String> {
    let (path, place) = reader.text_at(&g::PATH_PREFIX, "")?;
    let bare = path.trim_matches('/');
    if bare.is_empty() {
        return Ok(String::new());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '/');
    if bare.contains("//") || !bare.chars().all(plain) {
        return Err(wrong(
            &place,
            "a path of letters, digits, - _ . ~ and /, such as /realtime",
            &Value::from(path.as_str()),
        ));
    }
    Ok(format!("/{bare}"))
}

fn webhook_events(reader: &SettingsReader<'_>) -> Result<Option<Vec<EventKind>>> {
    let Some(names) = list(reader, &g::WEBHOOK_EVENTS)? else {
        return Ok(None);
    };
    let parse = |name: &String| {
        EventKind::read(name).ok_or_else(|| {
            let known = EventKind::ALL.map(EventKind::as_str).join(", ");
            Error::configuration(format!(
                "{SECTION}.webhook_events: {name:?} is not a webhook event. The events are {known}."
            ))
        })
    };
    names.iter().map(parse).collect::<Result<_>>().map(Some)
}

fn listen(
    reader: &SettingsReader<'_>,
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

/// A list, or a comma-separated string; empty entries are ignored.
fn list(reader: &SettingsReader<'_>, setting: &Setting) -> Result<Option<Vec<String>>> {
    let Some(found) = reader.sources.find(setting) else {
        return Ok(None);
    };
    let wanted = "a list, or a comma-separated string";
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

fn patterns(reader: &SettingsReader<'_>, setting: &Setting) -> Result<Option<Vec<ChannelPattern>>> {
    let Some(names) = list(reader, setting)? else {
        return Ok(None);
    };
    let parse = |name: &String| {
        ChannelPattern::parse(name).map_err(|error| {
            Error::configuration(format!("{SECTION}.{}: {}", setting.key, error.message()))
        })
    };
    names.iter().map(parse).collect::<Result<_>>().map(Some)
}
