//! The HTTP API of the Pusher protocol: events, channels, users; and three routes of ours for operators. Answers and orders are those
//! of all gateways together.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::request::Request;
use super::respond::Response;
use super::signature;
use crate::gateway::hub::Hub;
use crate::gateway::protocol::channel::{is_user_id, Guard};
use crate::gateway::protocol::{encrypted, frame, is_reserved_event, Name, SocketId};
use crate::gateway::question::{Question, Target};
use crate::gateway::seam::{ApiEvent, Cluster};

/// Longest name of an event.
const MAX_EVENT_NAME: usize = 200;
/// Deepest nesting in a body.
const MAX_DEPTH: usize = 16;

/// An answer that is none: status and words.
type No = (u16, String);

#[derive(Deserialize)]
struct Event {
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
struct Batch {
    batch: Vec<Event>,
}

#[derive(Deserialize)]
struct Order {
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    socket: Option<String>,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    from: Option<String>,
}

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

/// Whether a path belongs to the API.
#[must_use]
pub fn is_route(path: &str) -> bool {
    path.starts_with("/apps/")
}

/// Answers a request.
pub async fn answer(hub: &Arc<Hub>, request: &Request, body: &[u8]) -> Response {
    match route(hub, request, body).await {
        Ok(response) => {
            hub.counters().api_requests.add_one();
            response
        }
        Err((status, why)) => {
            hub.counters().api_refused.add_one();
            Response::text(status, why)
        }
    }
}

async fn route(hub: &Arc<Hub>, request: &Request, body: &[u8]) -> Result<Response, No> {
    let settings = hub.settings();
    let pairs = signature::query_pairs(&request.query)
        .map_err(|why| (400, format!("In the query, {why}.")))?;
    let now = crate::ids::unix_ms() / 1000;
    signature::check(settings, request, &pairs, body, now)
        .map_err(|why| (401, format!("Not authorized: {why}.")))?;
    let path = request
        .path
        .split('/')
        .map(signature::decode)
        .collect::<Option<Vec<String>>>()
        .ok_or_else(|| (400, "The path is not UTF-8.".to_owned()))?;
    let path: Vec<&str> = path.iter().skip(1).map(String::as_str).collect();
    // The signature is good for this key's application only.
    if path.get(1) != Some(&settings.app_id.as_str()) {
        return Err((
            404,
            "No application with this id belongs to the key.".into(),
        ));
    }
    let cluster = hub
        .cluster()
        .ok_or((503, "The gateway is starting.".to_owned()))?;
    let get = |name: &str| {
        pairs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    };
    match (request.method.as_str(), &path[2..]) {
        ("POST", ["events"]) => events(hub, cluster, vec![parse(body)?]).await,
        ("POST", ["batch_events"]) => {
            let Batch { batch } = parse(body)?;
            if batch.len() > settings.max_api_batch {
                return Err((
                    413,
                    format!("At most {} events in a batch.", settings.max_api_batch),
                ));
            }
            events(hub, cluster, batch).await
        }
        ("GET", ["channels"]) => channels(hub, cluster, get("filter_by_prefix"), get("info")).await,
        ("GET", ["channels", name]) => channel(hub, cluster, name, get("info")).await,
        ("GET", ["channels", name, "users"]) => users(hub, name),
        ("POST", ["users", user, "terminate_connections"]) => {
            cluster
                .ask(Question::Terminate {
                    user: (*user).to_owned(),
                })
                .await;
            Ok(Response::json("{}"))
        }
        ("GET", ["connections"]) => {
            let order = Order {
                user: get("user").map(str::to_owned),
                socket: get("socket").map(str::to_owned),
                channel: get("channel").map(str::to_owned),
                from: None,
            };
            connections(cluster, order.target()?).await
        }
        ("POST", ["kick"]) => {
            let order: Order = parse(body)?;
            let target = order.target_of_some()?;
            count(cluster.ask(Question::Kick { target }).await.count)
        }
        ("POST", ["unsubscribe"]) => {
            let order: Order = parse(body)?;
            let target = order.target_of_some()?;
            let channel = order.from.ok_or((
                400,
                "Say with `from` which channel to unsubscribe.".to_owned(),
            ))?;
            count(
                cluster
                    .ask(Question::Unsubscribe { target, channel })
                    .await
                    .count,
            )
        }
        (_, ["events" | "batch_events" | "channels" | "connections" | "kick" | "unsubscribe"]) => {
            Err((405, "Another method is needed here.".into()))
        }
        _ => Err((404, "No such route.".into())),
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, No> {
    let text = std::str::from_utf8(body).map_err(|_| (400, "The body is not UTF-8.".to_owned()))?;
    if frame::depth(text) > MAX_DEPTH {
        return Err((400, "The body is nested too deeply.".into()));
    }
    serde_json::from_str(text)
        .map_err(|e| (400, format!("The body is not what it should be: {e}.")))
}

async fn events(hub: &Hub, cluster: &Arc<dyn Cluster>, events: Vec<Event>) -> Result<Response, No> {
    let mut all = Vec::new();
    for event in events {
        expand(hub, event, &mut all)?;
    }
    let sent = cluster.publish(all).await;
    sent.map_err(|why| (503, format!("Not sent: {why}.")))?;
    Ok(Response::json("{}"))
}

/// One event for each of its channels, checked.
fn expand(hub: &Hub, event: Event, all: &mut Vec<ApiEvent>) -> Result<(), No> {
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
        if name.guard == Guard::Encrypted && !encrypted::is_sealed(&event.data) {
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

/// What `info` asks for: users, subscriptions.
fn wanted(info: Option<&str>) -> Result<(bool, bool), No> {
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
            // Asked for by Pusher's libraries and answered nowhere else.
            "cache" => {}
            other => {
                return Err((
                    400,
                    format!("info knows user_count and subscription_count, not {other:?}."),
                ))
            }
        }
    }
    Ok((users, subscriptions))
}

async fn channels(
    hub: &Hub,
    cluster: &Arc<dyn Cluster>,
    prefix: Option<&str>,
    info: Option<&str>,
) -> Result<Response, No> {
    let prefix = prefix.unwrap_or_default().to_owned();
    let (users, subscriptions) = wanted(info)?;
    if users && !prefix.starts_with("presence-") {
        return Err((400, "user_count needs filter_by_prefix=presence-.".into()));
    }
    let answer = cluster.ask(Question::Channels { prefix }).await;
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

async fn channel(
    hub: &Hub,
    cluster: &Arc<dyn Cluster>,
    name: &str,
    info: Option<&str>,
) -> Result<Response, No> {
    let parsed = Name::parse(name).ok_or((400, "This is no channel name.".to_owned()))?;
    let (users, subscriptions) = wanted(info)?;
    if users && parsed.guard != Guard::Presence {
        return Err((400, "user_count is for presence channels.".into()));
    }
    let answer = cluster
        .ask(Question::Channel {
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

fn users(hub: &Hub, name: &str) -> Result<Response, No> {
    if Name::parse(name).map(|n| n.guard) != Some(Guard::Presence) {
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

async fn connections(cluster: &Arc<dyn Cluster>, target: Target) -> Result<Response, No> {
    let answer = cluster.ask(Question::Connections { target }).await;
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

fn count(sockets: usize) -> Result<Response, No> {
    Ok(Response::json(format!("{{\"sockets\":{sockets}}}")))
}

impl Order {
    fn target(&self) -> Result<Target, No> {
        let socket = match self.socket.as_deref() {
            None => None,
            Some(id) => Some(
                id.parse()
                    .map_err(|_| (400, "socket is not a socket id.".to_owned()))?,
            ),
        };
        if self.user.as_deref().is_some_and(|user| !is_user_id(user)) {
            return Err((400, "user is not a user's id.".into()));
        }
        Ok(Target {
            user: self.user.clone(),
            socket,
            channel: self.channel.clone(),
        })
    }

    /// An order that names nobody is a mistake, never everybody.
    fn target_of_some(&self) -> Result<Target, No> {
        let target = self.target()?;
        if target.is_empty() {
            return Err((400, "Say whom: user, socket or channel.".into()));
        }
        Ok(target)
    }
}
