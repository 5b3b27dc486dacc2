//! Pusher's HTTP API (events, channels, users) and three routes for operators: connections, kick, unsubscribe. Queries
//! and commands cover all gateways.

mod routes;

use std::sync::Arc;

use md5::{Digest, Md5};
use serde::Deserialize;

use self::routes::{channel, channels, connections, trigger, trigger_batch, users, Batch, Event};
use crate::config::gateway_settings::Settings;
use crate::gateway::backend::{AdminRequest, Target};
use crate::gateway::hub::Hub;
use crate::gateway::protocol::{auth, incoming};
use crate::http::request::{self, decode, Request};
use crate::http::Response;
use crate::topic::socket_channel::is_user_id;

/// Maximum nesting of a JSON body.
const MAX_DEPTH: usize = 16;

/// Status and text of an error response.
type ApiError = (u16, String);

fn bad_request(why: impl Into<String>) -> ApiError {
    (400, why.into())
}

#[derive(Deserialize)]
struct TargetParameters {
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    socket: Option<String>,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    from: Option<String>,
}

/// True if the path belongs to the HTTP API.
#[must_use]
pub fn is_route(path: &str) -> bool {
    path.starts_with("/apps/")
}

/// The query parameters of a request whose signature was checked.
pub struct SignedQuery(Vec<(String, String)>);

/// Checks the signature of a request, before its body is read.
///
/// # Errors
/// The error response.
pub fn authenticate(hub: &Hub, request: &Request) -> Result<SignedQuery, Response> {
    let now = crate::ids::unix_ms() / 1000;
    let checked = request::query_pairs(&request.query)
        .map_err(|why| bad_request(format!("Invalid query: {why}.")))
        .and_then(|pairs| {
            check_signature(hub.settings(), request, &pairs, now)
                .map_err(|why| (401, format!("Not authorized: {why}.")))?;
            Ok(SignedQuery(pairs))
        });
    checked.map_err(|error| error_response(hub, error))
}

/// Answers an authenticated request.
pub async fn response(
    hub: &Arc<Hub>,
    request: &Request,
    signed: &SignedQuery,
    body: &[u8],
) -> Response {
    match route(hub, request, &signed.0, body).await {
        Ok(response) => {
            hub.counters().api_requests.add_one();
            response
        }
        Err(error) => error_response(hub, error),
    }
}

fn error_response(hub: &Hub, (status, why): ApiError) -> Response {
    hub.counters().api_refused.add_one();
    Response::text(status, why)
}

async fn route(
    hub: &Arc<Hub>,
    request: &Request,
    pairs: &[(String, String)],
    body: &[u8],
) -> Result<Response, ApiError> {
    let settings = hub.settings();
    check_body(pairs, body).map_err(|why| (401, format!("Not authorized: {why}.")))?;
    let path = request
        .path
        .split('/')
        .map(decode)
        .collect::<Option<Vec<String>>>()
        .ok_or_else(|| bad_request("The path is not UTF-8."))?;
    let path: Vec<&str> = path.iter().skip(1).map(String::as_str).collect();
    // The signature is valid only for the application of this key.
    if path.get(1) != Some(&settings.app_id.as_str()) {
        return Err((
            404,
            "The key does not belong to an application with this id.".into(),
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
        ("POST", ["events"]) => {
            let event = if body.is_empty() {
                Event::default()
            } else {
                parse(body)?
            };
            trigger(hub, cluster, event.or_query(get)).await
        }
        ("POST", ["batch_events"]) => {
            let Batch { batch } = parse(body)?;
            if batch.len() > settings.max_api_batch {
                return Err(bad_request(format!(
                    "Batch too large: it may have at most {} events.",
                    settings.max_api_batch
                )));
            }
            let events = batch.into_iter().map(|event| event.0).collect();
            trigger_batch(hub, cluster, events).await
        }
        ("GET", ["channels"]) => channels(hub, cluster, get("filter_by_prefix"), get("info")).await,
        ("GET", ["channels", name]) => channel(hub, cluster, name, get("info")).await,
        ("GET", ["channels", name, "users"]) => users(hub, name),
        ("POST", ["users", user, "terminate_connections"]) => {
            cluster
                .send_admin_request(AdminRequest::Terminate {
                    user: (*user).to_owned(),
                })
                .await;
            Ok(Response::json("{}"))
        }
        ("GET", ["connections"]) => {
            let parameters = TargetParameters {
                user: get("user").map(str::to_owned),
                socket: get("socket").map(str::to_owned),
                channel: get("channel").map(str::to_owned),
                from: None,
            };
            connections(cluster, parameters.target()?).await
        }
        ("POST", ["kick"]) => {
            let parameters: TargetParameters = parse(body)?;
            let target = parameters.required_target()?;
            Ok(sockets_response(
                cluster
                    .send_admin_request(AdminRequest::Kick { target })
                    .await
                    .count,
            ))
        }
        ("POST", ["unsubscribe"]) => {
            let parameters: TargetParameters = parse(body)?;
            let target = parameters.required_target()?;
            let channel = parameters
                .from
                .ok_or_else(|| bad_request("from is required: the channel to unsubscribe."))?;
            Ok(sockets_response(
                cluster
                    .send_admin_request(AdminRequest::Unsubscribe { target, channel })
                    .await
                    .count,
            ))
        }
        (_, ["events" | "batch_events" | "channels" | "connections" | "kick" | "unsubscribe"]) => {
            Err((405, "This method is not allowed for this route.".into()))
        }
        _ => Err((404, "No such route.".into())),
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| bad_request("The body is not UTF-8."))?;
    if incoming::depth(text) > MAX_DEPTH {
        return Err(bad_request("The body is nested too deeply."));
    }
    incoming::object(text).map_err(|e| bad_request(format!("Invalid body: {e}.")))
}

fn sockets_response(sockets: usize) -> Response {
    Response::json(format!("{{\"sockets\":{sockets}}}"))
}

impl TargetParameters {
    fn target(&self) -> Result<Target, ApiError> {
        let socket = match self.socket.as_deref() {
            None => None,
            Some(id) => Some(
                id.parse()
                    .map_err(|_| bad_request("socket is not a valid socket id."))?,
            ),
        };
        if self.user.as_deref().is_some_and(|user| !is_user_id(user)) {
            return Err(bad_request("user is not a valid user id."));
        }
        Ok(Target {
            user: self.user.clone(),
            socket,
            channel: self.channel.clone(),
        })
    }

    /// An empty target is an error; it never means all connections.
    fn required_target(&self) -> Result<Target, ApiError> {
        let target = self.target()?;
        if target.is_empty() {
            return Err(bad_request("One of user, socket or channel is required."));
        }
        Ok(target)
    }
}

/// The text that is signed: `METHOD\npath\nname=value&…`, names in lower case and sorted, without `auth_signature`.
#[must_use]
pub(in crate::gateway) fn signed_text(
    method: &str,
    path: &str,
    pairs: &[(String, String)],
) -> String {
    let mut parts: Vec<(String, &str)> = pairs
        .iter()
        .filter(|(name, _)| name != "auth_signature")
        .map(|(name, value)| (name.to_lowercase(), value.as_str()))
        .collect();
    parts.sort();
    let query: Vec<String> = parts
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("{}\n{path}\n{}", method.to_uppercase(), query.join("&"))
}

/// Checks the signature of a request head. A request with a body needs `body_md5`, which [`check_body`] compares.
///
/// # Errors
/// A text for the response, which reveals nothing about the expected signature.
fn check_signature(
    settings: &Settings,
    request: &Request,
    pairs: &[(String, String)],
    unix_seconds: u64,
) -> Result<(), &'static str> {
    let get = |wanted: &str| value(pairs, wanted);
    if get("auth_key") != Some(settings.key.as_str()) {
        return Err("auth_key is not this application's key");
    }
    if get("auth_version") != Some("1.0") {
        return Err("auth_version must be 1.0");
    }
    let time: u64 = get("auth_timestamp")
        .filter(|t| t.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|t| t.parse().ok())
        .ok_or("auth_timestamp is missing")?;
    if time.abs_diff(unix_seconds) > settings.api_clock_skew.as_secs() {
        return Err("auth_timestamp is too far from the server's clock");
    }
    if get("body_md5").is_none() && (request.content_length > 0 || request.is_chunked) {
        return Err("body_md5 is missing");
    }
    let path = decode(&request.path).ok_or("the path is not UTF-8")?;
    let given = get("auth_signature").unwrap_or_default();
    // Clients sign the path either percent-encoded or decoded.
    let as_sent = signed_text(&request.method, &request.path, pairs);
    let decoded = signed_text(&request.method, &path, pairs);
    if auth::is_signed(&settings.secrets, &as_sent, given)
        || auth::is_signed(&settings.secrets, &decoded, given)
    {
        Ok(())
    } else {
        Err("auth_signature is invalid")
    }
}

/// Compares `body_md5` with the MD5 of the bytes received.
///
/// # Errors
/// A text for the response.
fn check_body(pairs: &[(String, String)], body: &[u8]) -> Result<(), &'static str> {
    match value(pairs, "body_md5") {
        Some(given) if given != hex::encode(Md5::digest(body)) => {
            Err("body_md5 does not match the body received")
        }
        None if !body.is_empty() => Err("body_md5 is missing"),
        _ => Ok(()),
    }
}

fn value<'a>(pairs: &'a [(String, String)], wanted: &str) -> Option<&'a str> {
    let mut all = pairs.iter();
    all.find(|(name, _)| name == wanted)
        .map(|(_, value)| value.as_str())
}
