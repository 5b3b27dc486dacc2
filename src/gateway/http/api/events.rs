//! Events of the HTTP API: checked, one for each channel, and sent to all gateways.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ApiError;
use crate::gateway::http::respond::Response;
use crate::gateway::hub::Hub;
use crate::gateway::protocol::channel::ChannelKind;
use crate::gateway::protocol::{encryption, frame, is_reserved_event, Name, SocketId};
use crate::gateway::seam::{ApiEvent, Cluster};

/// Longest name of an event.
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

/// Sends events.
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
    sent.map_err(|why| (503, format!("Not sent: {why}.")))?;
    Ok(Response::json("{}"))
}

/// One event for each of its channels, checked.
fn expand(hub: &Hub, event: Event, all: &mut Vec<ApiEvent>) -> Result<(), ApiError> {
    let settings = hub.settings();
    let channels = match (event.channel, event.channels) {
        (Some(one), None) => vec![one],
        (None, Some(many)) => many,
        _ => return Err((400, "Give either channel or channels.".into())),
    };
    if channels.is_empty() || channels.len() > settings.max_api_channels {
        return Err((
            400,
            format!("Between 1 and {} channels.", settings.max_api_channels),
        ));
    }
    if event.data.len() > settings.max_api_data {
        return Err((
            413,
            format!("The data is larger than {} bytes.", settings.max_api_data),
        ));
    }
    if event.name.is_empty() || event.name.chars().count() > MAX_EVENT_NAME {
        return Err((
            400,
            format!("An event's name has 1 to {MAX_EVENT_NAME} characters."),
        ));
    }
    if is_reserved_event(&event.name) {
        hub.counters().reserved_events.add_one();
        return Err((
            400,
            "Names that begin with pusher:, pusher_internal: or realtime: are the server's.".into(),
        ));
    }
    let except = match event.socket_id.as_deref() {
        None => None,
        Some(id) => Some(
            id.parse::<SocketId>()
                .map_err(|_| (400, "socket_id is not a socket id.".to_owned()))?,
        ),
    };
    let data = json_of(&event.data).ok_or((400, "The data cannot be carried.".to_owned()))?;
    for channel in channels {
        let Some(name) = Name::parse(&channel) else {
            return Err((
                400,
                "A channel's name has at most 164 of A-Z a-z 0-9 _ - = @ , . ;".into(),
            ));
        };
        if name.kind == ChannelKind::Encrypted && !encryption::is_encrypted_data(&event.data) {
            return Err((
                400,
                format!(
                    "{channel} is encrypted: its data is {{nonce, ciphertext}} and nothing plain."
                ),
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

/// The JSON that a data string holds; a string that holds none is JSON as a string.
fn json_of(data: &str) -> Option<Box<RawValue>> {
    if frame::depth(data) <= 64 {
        if let Ok(value) = serde_json::from_str::<Box<RawValue>>(data) {
            return Some(value);
        }
    }
    let quoted = String::from_utf8(frame::quoted(data)).ok()?;
    RawValue::from_string(quoted).ok()
}
