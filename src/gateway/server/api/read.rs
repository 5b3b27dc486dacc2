//! The queries of the HTTP API: channels, users, connections.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::ApiError;
use crate::gateway::backend::Cluster;
use crate::gateway::backend::{AdminRequest, Target};
use crate::gateway::hub::Hub;
use crate::gateway::protocol::SocketId;
use crate::http::respond::Response;
use crate::topic::socket_channel::ChannelKind;
use crate::topic::socket_channel::Name;

#[derive(Serialize)]
struct Row {
    socket_id: SocketId,
    user: Option<String>,
    channels: Vec<String>,
    address: String,
    node: String,
    seconds: u64,
    queued: usize,
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
                    return Err((
                        400,
                        format!(
                        "info may contain user_count, subscription_count and cache, not {other:?}."
                    ),
                    ))
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
            if let Some((event, ttl)) = hub.cached_event(&parsed) {
                row.insert(
                    "cache".into(),
                    serde_json::json!({ "data": event.data(), "ttl": ttl.as_secs() }),
                );
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
        return Err((400, "user_count needs filter_by_prefix=presence-.".into()));
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
    let parsed = Name::parse(name).ok_or((400, "Invalid channel name.".to_owned()))?;
    let info = Info::parse(info.unwrap_or_default())?;
    if info.users && parsed.kind != ChannelKind::Presence {
        return Err((
            400,
            "user_count is available for presence channels only.".into(),
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
        return Err((400, "Only presence channels have users.".into()));
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
    let rows: Vec<Row> = response
        .connections
        .into_iter()
        .map(|c| Row {
            socket_id: c.socket,
            user: c.user,
            channels: c.channels,
            address: c.address,
            node: c.node,
            seconds: c.seconds,
            queued: c.queued,
        })
        .collect();
    Ok(Response::json(
        serde_json::json!({ "connections": rows }).to_string(),
    ))
}
