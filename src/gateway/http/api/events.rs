//! `/events` and `/batch_events`: validates events and publishes one per channel to all gateways.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ApiError;
use crate::gateway::backend::{ApiEvent, Cluster};
use crate::gateway::http::respond::Response;
use crate::gateway::hub::Hub;
use crate::gateway::protocol::channel::ChannelKind;
use crate::gateway::protocol::{encryption, frame, is_reserved_event, Name, SocketId};

/// Maximum length of an event name, in characters.
const MAX_EVENT_NAME: usize = 200;

#[derive(Deserialize)]
pub(super) struct Event {
    name: String,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    channels: Option<Vec<String>>,
    data: String,
    #[serde(default)]
    socket_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Batch {
    pub batch: Vec<Event>,
}

/// Validates and publishes events.
pub(super) async fn events(
    hub: &Hub,
    cluster: &Arc<dyn Cluster>,
    events: Vec<Event>,
) -> Result<Response, ApiError> {
    let mut all = Vec::new();
    for event in events {
        expand(hub, event, &mut all)?;
    }
    let sent = cluster.publish(all).await;
    sent.map_err(|why| (503, format!("The events were not published: {why}.")))?;
    Ok(Response::json("{}"))
}

/// Validates an event and appends one entry per channel to `all`.
fn expand(hub: &Hub, event: Event, all: &mut Vec<ApiEvent>) -> Result<(), ApiError> {
    let settings = hub.settings();
    let channels = match (event.channel, event.channels) {
        (Some(one), None) => vec![one],
        (None, Some(many)) => many,
        _ => return Err((400, "Either channel or channels is required.".into())),
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
    if event.data.len() > settings.max_api_data {
        return Err((
            413,
            format!(
                "data is larger than {} bytes (realtime.gateway.max_api_data).",
                settings.max_api_data
            ),
        ));
    }
    if event.name.is_empty() || event.name.chars().count() > MAX_EVENT_NAME {
        return Err((
            400,
            format!("name must have 1 to {MAX_EVENT_NAME} characters."),
        ));
    }
    if is_reserved_event(&event.name) {
        hub.counters().reserved_events.add_one();
        return Err((
            400,
            "Event names that begin with pusher:, pusher_internal: or realtime: are reserved."
                .into(),
        ));
    }
    let except = match event.socket_id.as_deref() {
        None => None,
        Some(id) => Some(
            id.parse::<SocketId>()
                .map_err(|_| (400, "socket_id is not a valid socket id.".to_owned()))?,
        ),
    };
    let data = json_of(&event.data).ok_or((400, "data cannot be encoded.".to_owned()))?;
    for channel in channels {
        let Some(name) = Name::parse(&channel) else {
            return Err((
                400,
                "Invalid channel name: at most 164 characters of A-Z a-z 0-9 _ - = @ , . ; are allowed.".into(),
            ));
        };
        if name.kind == ChannelKind::Encrypted && !encryption::is_encrypted_data(&event.data) {
            return Err((
                400,
                format!("{channel} is an encrypted channel: data must be {{nonce, ciphertext}}."),
            ));
        }
        all.push(ApiEvent {
            event: event.name.clone(),
            data: data.clone(),
            except,
            channel,
        });
    }
    Ok(())
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
