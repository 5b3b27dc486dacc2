//! The queries of the HTTP API: channels, users, connections.

use std::sync::Arc;

use serde::Serialize;

use super::ApiError;
use crate::gateway::admin_api::{AdminRequest, Target};
use crate::gateway::backend::Cluster;
use crate::gateway::http::respond::Response;
use crate::gateway::hub::Hub;
use crate::gateway::protocol::channel::ChannelKind;
use crate::gateway::protocol::{Name, SocketId};

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

/// Parses `info` into (`user_count`, `subscription_count`).
fn parse_info(info: Option<&str>) -> Result<(bool, bool), ApiError> {
    let (mut users, mut subscriptions) = (false, false);
    for word in info
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|w| !w.is_empty())
    {
        match word {
            "user_count" => users = true,
            "subscription_count" => subscriptions = true,
            // Accepted, because Pusher's libraries send it; not supported.
            "cache" => {}
            other => {
                return Err((
                    400,
                    format!("info may contain user_count and subscription_count, not {other:?}."),
                ))
            }
        }
    }
    Ok((users, subscriptions))
}

pub(super) async fn channels(
    hub: &Hub,
    cluster: &Arc<dyn Cluster>,
    prefix: Option<&str>,
    info: Option<&str>,
) -> Result<Response, ApiError> {
    let prefix = prefix.unwrap_or_default().to_owned();
    let (users, subscriptions) = parse_info(info)?;
    if users && !prefix.starts_with("presence-") {
        return Err((400, "user_count needs filter_by_prefix=presence-.".into()));
    }
    let answer = cluster.ask(AdminRequest::Channels { prefix }).await;
    let mut list = serde_json::Map::new();
    for (name, sockets) in answer.channels {
        let mut row = serde_json::Map::new();
        if users {
            row.insert("user_count".into(), hub.presence().count(&name).into());
        }
        if subscriptions {
            row.insert("subscription_count".into(), sockets.into());
        }
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
    let (users, subscriptions) = parse_info(info)?;
    if users && parsed.kind != ChannelKind::Presence {
        return Err((
            400,
            "user_count is available for presence channels only.".into(),
        ));
    }
    let answer = cluster
        .ask(AdminRequest::Channel {
            name: name.to_owned(),
        })
        .await;
    let sockets = answer.channels.get(name).copied().unwrap_or(0);
    let mut row = serde_json::Map::new();
    row.insert("occupied".into(), (sockets > 0).into());
    if users {
        row.insert("user_count".into(), hub.presence().count(name).into());
    }
    if subscriptions {
        row.insert("subscription_count".into(), sockets.into());
    }
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
    let answer = cluster.ask(AdminRequest::Connections { target }).await;
    let rows: Vec<Row> = answer
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
