//! `/events` and `/batch_events`: validates events and publishes one per channel to all gateways. With `info`, the
//! response has attributes of the channels.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::read::{attributes, Info};
use super::ApiError;
use crate::encryption;
use crate::error::Kind;
use crate::gateway::backend::{ApiEvent, Cluster};
use crate::gateway::hub::Hub;
use crate::gateway::protocol::{frame, SocketId};
use crate::http::respond::Response;
use crate::topic::socket_channel::Name;
use crate::topic::undeliverable::Reason;

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
    pub batch: Vec<Event>,
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
        _ => return Err((400, "Either channel or channels is required.".into())),
    };
    let (Some(event_name), Some(event_data)) = (event.name, event.data) else {
        return Err((400, "name and data are required.".into()));
    };
    if channels.is_empty() || channels.len() > settings.max_api_channels {
        return Err((
            400,
            format!(
                "channels must have 1 to {} entries.",
                settings.max_api_channels
            ),
        ));
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
            return Err((
                400,
                "Event names that begin with pusher:, pusher_internal: or realtime: are reserved."
                    .into(),
            ));
        }
        None => {}
    }
    if event_name.is_empty() || event_name.chars().count() > MAX_EVENT_NAME {
        return Err((
            400,
            format!("name must have 1 to {MAX_EVENT_NAME} characters."),
        ));
    }
    let except = match event.socket_id.as_deref() {
        None => None,
        Some(id) => Some(
            id.parse::<SocketId>()
                .map_err(|_| (400, "socket_id is not a valid socket id.".to_owned()))?,
        ),
    };
    let data = json_of(&event_data).ok_or((400, "data cannot be encoded.".to_owned()))?;
    for channel in &channels {
        if Name::parse(channel).is_none() {
            return Err((
                400,
                "Invalid channel name: at most 164 characters of A-Z a-z 0-9 _ - = @ , . ; are allowed.".into(),
            ));
        }
        if !encryption::is_acceptable(channel, &event_data) {
            return Err((
                400,
                format!("{channel} is an encrypted channel: data must be {{nonce, ciphertext}}."),
            ));
        }
        all.push(ApiEvent {
            event: event_name.clone(),
            data: data.clone(),
            except,
            channel: channel.clone(),
        });
    }
    Ok((channels, info))
}

/// The JSON in a data string; other text becomes a JSON string.
fn json_of(data: &str) -> Option<Box<RawValue>> {
    if frame::depth(data) <= 64 {
        if let Ok(value) = serde_json::from_str::<Box<RawValue>>(data) {
            return Some(value);
        }
    }
    let quoted = String::from_utf8(frame::quoted(data)).ok()?;
    RawValue::from_string(quoted).ok()
}
