//! The routes of the HTTP API: events, of which one per channel is published to all gateways; queries of channels,
//! users and connections. With `info`, the response has attributes of the channels.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{bad_request, ApiError};
use crate::encryption;
use crate::envelope::MAX_DEPTH;
use crate::error::Kind;
use crate::gateway::backend::{AdminRequest, ApiEvent, Cluster, Target};
use crate::gateway::hub::Hub;
use crate::gateway::protocol::incoming::Object;
use crate::gateway::protocol::{frame, incoming, SocketId};
use crate::http::Response;
use crate::topic::socket_channel::{ChannelKind, Name, Reason};

/// Maximum length of an event name, in characters.
const MAX_EVENT_NAME: usize = 200;

#[derive(Default, Deserialize)]
pub(super) struct Event {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    channels: Option<Vec<String>>,
    #[serde(default)]
    data: Option<String>,
    #[serde(default)]
    socket_id: Option<String>,
    #[serde(default)]
    info: Option<String>,
}

impl Event {
    /// Reads the members that the body does not have from the query string, where Pusher accepts them as well.
    #[must_use]
    pub fn or_query<'a>(self, get: impl Fn(&str) -> Option<&'a str>) -> Self {
        let text = |name: &str| get(name).map(str::to_owned);
        let channel = match &self.channels {
            None => self.channel.or_else(|| text("channel")),
            Some(_) => self.channel,
        };
        Self {
            name: self.name.or_else(|| text("name")),
            channel,
            channels: self.channels,
            data: self.data.or_else(|| text("data")),
            socket_id: self.socket_id.or_else(|| text("socket_id")),
            info: self.info.or_else(|| text("info")),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Batch {
    pub batch: Vec<Object<Event>>,
}

/// The channels of an event and the attributes that its sender requests.
type Wanted = (Vec<String>, Option<Info>);

/// Publishes an event.
pub(super) async fn trigger(
    hub: &Hub,
    cluster: &Arc<dyn Cluster>,
    event: Event,
) -> Result<Response, ApiError> {
    let wanted = publish(hub, cluster, vec![event]).await?;
    let Some((names, Some(info))) = wanted.into_iter().next() else {
        return Ok(Response::json("{}"));
    };
    let found = attributes(hub, cluster, &names, info).await;
    let channels: serde_json::Map<_, _> = names.into_iter().zip(found).collect();
    Ok(Response::json(
        serde_json::json!({ "channels": channels }).to_string(),
    ))
}

/// Publishes the events of a batch. The response has an entry per event, in the same order, if one asks for `info`.
pub(super) async fn trigger_batch(
    hub: &Hub,
    cluster: &Arc<dyn Cluster>,
    events: Vec<Event>,
) -> Result<Response, ApiError> {
    let wanted = publish(hub, cluster, events).await?;
    if wanted.iter().all(|(_, info)| info.is_none()) {
        return Ok(Response::json("{}"));
    }
    let mut batch = Vec::with_capacity(wanted.len());
    for (names, info) in wanted {
        let found = match info {
            Some(info) => attributes(hub, cluster, &names[..1], info).await.pop(),
            None => None,
        };
        batch.push(found.unwrap_or_else(|| serde_json::json!({})));
    }
    Ok(Response::json(
        serde_json::json!({ "batch": batch }).to_string(),
    ))
}

/// Validates and publishes events.
async fn publish(
    hub: &Hub,
    cluster: &Arc<dyn Cluster>,
    events: Vec<Event>,
) -> Result<Vec<Wanted>, ApiError> {
    let (mut all, mut wanted) = (Vec::new(), Vec::with_capacity(events.len()));
    for event in events {
        wanted.push(expand(hub, event, &mut all)?);
    }
    cluster.publish(all).await.map_err(|error| {
        let status = match error.kind() {
            Kind::InvalidChannel => 400,
            Kind::MessageTooLarge => 413,
            _ => 503,
        };
        let why = error.message().trim_end_matches('.');
        (status, format!("The events were not published: {why}."))
    })?;
    Ok(wanted)
}

/// Validates an event and appends one entry per channel to `all`.
fn expand(hub: &Hub, event: Event, all: &mut Vec<ApiEvent>) -> Result<Wanted, ApiError> {
    let settings = hub.settings();
    let info = match event.info.as_deref() {
        None => None,
        Some(info) => Some(Info::parse(info)?),
    };
    let channels = match (event.channel, event.channels) {
        (Some(one), None) => vec![one],
        (None, Some(many)) => many,
        _ => return Err(bad_request("Either channel or channels is required.")),
    };
    let (Some(event_name), Some(event_data)) = (event.name, event.data) else {
        return Err(bad_request("name and data are required."));
    };
    if channels.is_empty() || channels.len() > settings.max_api_channels {
        return Err(bad_request(format!(
            "channels must have 1 to {} entries.",
            settings.max_api_channels
        )));
    }
    // Gateways skip events above max_event.
    let max_data = settings.max_api_data.min(settings.max_event);
    match Reason::of(&event_name, event_data.len(), max_data) {
        Some(Reason::TooLarge { bytes, max }) => {
            return Err((
                413,
                format!(
                    "The data content of this event has {bytes} bytes; the maximum is {max} \
                     (realtime.gateway.max_api_data, max_event)."
                ),
            ))
        }
        Some(_) => {
            hub.counters().reserved_events.add_one();
            return Err(bad_request(
                "Event names that begin with pusher:, pusher_internal: or realtime: are reserved.",
            ));
        }
        None => {}
    }
    if event_name.is_empty() || event_name.chars().count() > MAX_EVENT_NAME {
        return Err(bad_request(format!(
            "name must have 1 to {MAX_EVENT_NAME} characters."
        )));
    }
    let except = match event.socket_id.as_deref() {
        None => None,
        Some(id) => Some(
            id.parse::<SocketId>()
                .map_err(|_| bad_request("socket_id is not a valid socket id."))?,
        ),
    };
    let (data, is_text) =
        json_of(&event_data).ok_or_else(|| bad_request("data cannot be encoded."))?;
    for channel in &channels {
        if Name::parse(channel).is_none() {
            return Err(bad_request(
                "Invalid channel name: at most 164 characters of A-Z a-z 0-9 _ - = @ , . ; are allowed.",
            ));
        }
        if !encryption::is_acceptable(channel, &event_data) {
            return Err(bad_request(format!(
                "{channel} is an encrypted channel: data must be {{nonce, ciphertext}}."
            )));
        }
        all.push(ApiEvent {
            event: event_name.clone(),
            data: data.clone(),
            is_text,
            except,
            channel: channel.clone(),
        });
    }
    Ok((channels, info))
}

/// The JSON in a data string. Other text, and JSON that is nested deeper than an envelope may be, becomes a JSON
/// string: `true` is returned with it.
fn json_of(data: &str) -> Option<(Box<RawValue>, bool)> {
    if incoming::depth(data) < MAX_DEPTH {
        if let Ok(value) = serde_json::from_str::<Box<RawValue>>(data) {
            return Some((value, false));
        }
    }
    let quoted = String::from_utf8(frame::quoted(data)).ok()?;
    RawValue::from_string(quoted)
        .ok()
        .map(|quoted| (quoted, true))
}

/// The attributes of `info`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Info {
    users: bool,
    subscriptions: bool,
    cache: bool,
}

impl Info {
    pub(super) fn parse(info: &str) -> Result<Self, ApiError> {
        let mut found = Self::default();
        for word in info.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            match word {
                "user_count" => found.users = true,
                "subscription_count" => found.subscriptions = true,
                "cache" => found.cache = true,
                // Part of every answer that has it.
                "occupied" => {}
                other => {
                    return Err(bad_request(format!(
                        "info may contain user_count, subscription_count and cache, not {other:?}."
                    )))
                }
            }
        }
        Ok(found)
    }

    /// The attributes of a channel with this number of subscriptions, as far as they apply to it.
    fn of(self, hub: &Hub, name: &str, subscriptions: usize) -> Map<String, Value> {
        let mut row = Map::new();
        let Some(parsed) = Name::parse(name) else {
            return row;
        };
        if self.users && parsed.kind == ChannelKind::Presence {
            row.insert("user_count".into(), hub.presence().count(name).into());
        }
        if self.subscriptions {
            row.insert("subscription_count".into(), subscriptions.into());
        }
        if self.cache && parsed.cache {
            if let Some((event, ttl)) = hub.channels().cached_event(&parsed) {
                let text = event.is_text.then(|| serde_json::from_str(event.data()));
                let data = match text {
                    Some(Ok(text)) => text,
                    _ => Value::from(event.data()),
                };
                let cache = serde_json::json!({ "data": data, "ttl": ttl.as_secs() });
                row.insert("cache".into(), cache);
            }
        }
        row
    }
}

/// The attributes of several channels, in the same order. Subscriptions are counted on all gateways at the same time.
pub(super) async fn attributes(
    hub: &Hub,
    cluster: &Arc<dyn Cluster>,
    names: &[String],
    info: Info,
) -> Vec<Value> {
    let counts = names.iter().map(|name| {
        let request = AdminRequest::Channel { name: name.clone() };
        let response = info
            .subscriptions
            .then(|| cluster.send_admin_request(request));
        async move {
            match response {
                Some(response) => response.await.channels.get(name).copied().unwrap_or(0),
                None => 0,
            }
        }
    });
    let counts = futures_util::future::join_all(counts).await;
    let rows = names.iter().zip(counts);
    rows.map(|(name, count)| info.of(hub, name, count).into())
        .collect()
}

pub(super) async fn channels(
    hub: &Hub,
    cluster: &Arc<dyn Cluster>,
    prefix: Option<&str>,
    info: Option<&str>,
) -> Result<Response, ApiError> {
    let prefix = prefix.unwrap_or_default().to_owned();
    let info = Info::parse(info.unwrap_or_default())?;
    if info.users && !prefix.starts_with("presence-") {
        return Err(bad_request("user_count needs filter_by_prefix=presence-."));
    }
    let response = cluster
        .send_admin_request(AdminRequest::Channels { prefix })
        .await;
    let mut list = serde_json::Map::new();
    for (name, sockets) in response.channels {
        let row = info.of(hub, &name, sockets);
        list.insert(name, row.into());
    }
    Ok(Response::json(
        serde_json::json!({ "channels": list }).to_string(),
    ))
}

pub(super) async fn channel(
    hub: &Hub,
    cluster: &Arc<dyn Cluster>,
    name: &str,
    info: Option<&str>,
) -> Result<Response, ApiError> {
    let parsed = Name::parse(name).ok_or_else(|| bad_request("Invalid channel name."))?;
    let info = Info::parse(info.unwrap_or_default())?;
    if info.users && parsed.kind != ChannelKind::Presence {
        return Err(bad_request(
            "user_count is available for presence channels only.",
        ));
    }
    let response = cluster
        .send_admin_request(AdminRequest::Channel {
            name: name.to_owned(),
        })
        .await;
    let sockets = response.channels.get(name).copied().unwrap_or(0);
    let mut row = info.of(hub, name, sockets);
    row.insert("occupied".into(), (sockets > 0).into());
    Ok(Response::json(serde_json::Value::Object(row).to_string()))
}

pub(super) fn users(hub: &Hub, name: &str) -> Result<Response, ApiError> {
    if Name::parse(name).map(|n| n.kind) != Some(ChannelKind::Presence) {
        return Err(bad_request("Only presence channels have users."));
    }
    let users: Vec<_> = hub
        .presence()
        .members(name)
        .into_iter()
        .map(|member| serde_json::json!({ "id": member.user_id }))
        .collect();
    Ok(Response::json(
        serde_json::json!({ "users": users }).to_string(),
    ))
}

pub(super) async fn connections(
    cluster: &Arc<dyn Cluster>,
    target: Target,
) -> Result<Response, ApiError> {
    let response = cluster
        .send_admin_request(AdminRequest::Connections { target })
        .await;
    let rows: Vec<Value> = response
        .connections
        .into_iter()
        .map(|c| {
            serde_json::json!({
                "socket_id": c.socket, "user": c.user, "channels": c.channels, "address": c.address,
                "node": c.node, "seconds": c.seconds, "queued": c.queued,
            })
        })
        .collect();
    Ok(Response::json(
        serde_json::json!({ "connections": rows }).to_string(),
    ))
}
