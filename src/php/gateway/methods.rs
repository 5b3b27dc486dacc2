//! Implementation of the Gateway's methods: local broadcasts, requests to all gateways, statistics.

use ext_php_rs::types::Zval;

use super::{sign, Gateway};
use crate::encryption;
use crate::error::Error;
use crate::gateway as core;
use crate::gateway::api_client::ApiClient;
use crate::gateway::backend::{AdminRequest, ConnectionInfo};
use crate::gateway::protocol::SocketId;
use crate::php::arguments::{self, CallError};
use crate::php::json;
use crate::topic::socket_channel::Name;

impl Gateway {
    pub(super) fn deliver(
        &self,
        channel: &Zval,
        event: &Zval,
        data: Option<&Zval>,
        except: Option<&Zval>,
    ) -> Result<i64, CallError> {
        let place = |text: &str| format!("Gateway::broadcastLocally(): Argument {text}");
        let channel = arguments::channel(channel, &place("#1 ($channel)"))?;
        let event = arguments::event(event, &place("#2 ($event)"))?;
        if event.is_empty() {
            return Err(Error::configuration(
                "Gateway::broadcastLocally(): the event name is empty.",
            )
            .into());
        }
        let except = arguments::optional(except, |except| {
            let text = arguments::text(except, &place("#4 ($except)"))?;
            text.parse::<SocketId>().map_err(|_| {
                Error::configuration(format!(
                    "\"{}\" is not a socket id. pusher-js and Echo.socketId() return two numbers separated by a dot.",
                    text.escape_debug()
                ))
                .into()
            })
        })?;
        if Name::parse(&channel).is_none() {
            return Err(Error::channel(format!(
                "\"{}\" is not a valid socket channel: at most 164 letters, digits and -_=@,.; or \
                 #server-to-user- and a user id.",
                channel.escape_debug()
            ))
            .into());
        }
        json::with_buffer(|bytes| {
            let has_data = crate::php::message::encode_data(data, bytes)?;
            let plain = has_data.then_some(bytes.as_slice());
            let settings = &self.config.settings;
            let key = settings
                .encryption_master_key
                .as_ref()
                .or(self.broker.encryption.as_ref());
            let encrypted = if encryption::is_encrypted_channel(&channel) {
                Some(encryption::encrypt(key, &channel, plain)?)
            } else {
                None
            };
            let json = encrypted.as_deref().or(plain).unwrap_or(b"null");
            let gateway = self.current()?.ok_or_else(|| {
                Error::connection(
                    "The gateway is not running: call start() before broadcastLocally().",
                )
            })?;
            let reached = gateway.broadcast_locally(&channel, &event, json, except)?;
            Ok(i64::try_from(reached).unwrap_or(i64::MAX))
        })
    }

    /// Sends a request to all gateways: through the one running in this process, else through the HTTP API of another
    /// process.
    pub(super) fn admin_request(
        &self,
        path: &str,
        request: AdminRequest,
        body: &serde_json::Value,
    ) -> Result<i64, Error> {
        if let Some(gateway) = self.current()? {
            let count = gateway.send_admin_request(request).count;
            return Ok(i64::try_from(count).unwrap_or(i64::MAX));
        }
        sign::check(&self.config.settings, true)?;
        let response =
            ApiClient::new(&self.config.settings).post(path, body.to_string().as_bytes())?;
        let response: serde_json::Value = serde_json::from_slice(&response).unwrap_or_default();
        response["sockets"].as_i64().ok_or_else(unexpected_response)
    }

    pub(super) fn list_connections(&self, r#where: Option<&Zval>) -> Result<Vec<u8>, CallError> {
        let (target, body) =
            arguments::optional(r#where, |list| sign::target(list, "connections"))?
                .unwrap_or_default();
        let encoded = |bytes: serde_json::Result<Vec<u8>>| {
            bytes.map_err(|error| Error::encoding(error.to_string()).into())
        };
        if let Some(gateway) = self.current()? {
            let response = gateway.send_admin_request(AdminRequest::Connections { target });
            let rows: Vec<_> = response.connections.iter().map(connection_json).collect();
            return encoded(serde_json::to_vec(&rows));
        }
        sign::check(&self.config.settings, true)?;
        let query: Vec<(&str, &str)> = body
            .iter()
            .filter_map(|(name, text)| Some((name.as_str(), text.as_str()?)))
            .collect();
        let response = ApiClient::new(&self.config.settings).get("/connections", &query)?;
        let response: serde_json::Value = serde_json::from_slice(&response).unwrap_or_default();
        encoded(serde_json::to_vec(
            response["connections"]
                .as_array()
                .ok_or_else(unexpected_response)?,
        ))
    }

    /// The statistics; all zero when the gateway is not running.
    pub(super) fn stats_json(&self) -> Result<serde_json::Value, Error> {
        let gateway = self.current()?;
        let running = gateway.as_ref().is_some_and(|gateway| gateway.is_running());
        let stats = match gateway {
            Some(gateway) => gateway.stats(),
            None => core::Stats {
                ready: false,
                not_ready: Some("the gateway is not running".to_owned()),
                address: self.listen_address()?,
                node: String::new(),
                counters: crate::metrics::gateway_counters::Counters::default()
                    .all()
                    .into_iter()
                    .map(|(name, _, _, value)| (name, value))
                    .collect(),
            },
        };
        let mut all =
            serde_json::to_value(stats).map_err(|error| Error::encoding(error.to_string()))?;
        all["running"] = running.into();
        Ok(all)
    }
}

/// A connection in the format of the HTTP API.
fn connection_json(connection: &ConnectionInfo) -> serde_json::Value {
    serde_json::json!({
        "socket_id": connection.socket,
        "user": connection.user,
        "channels": connection.channels,
        "address": connection.address,
        "node": connection.node,
        "seconds": connection.seconds,
        "queued": connection.queued,
    })
}

fn unexpected_response() -> Error {
    Error::connection(
        "Unexpected response of the gateway. Do both processes use the same version of the extension?",
    )
}
