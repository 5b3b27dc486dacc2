//! Reads arguments of the Gateway's methods, and signs subscriptions and sign-ins.

use ext_php_rs::types::{ZendHashTable, Zval};

use super::settings;
use crate::config::gateway_settings::Settings;
use crate::envelope::write_php_string;
use crate::error::{Error, Kind};
use crate::gateway::backend::Target;
use crate::gateway::protocol::auth;
use crate::gateway::protocol::SocketId;
use crate::php::arguments::{self, CallError, Key};
use crate::php::{binary, json};
use crate::topic::socket_channel::is_user_id;

/// Checks the settings as the gateway does: a weak secret on the signing side would be just as dangerous.
///
/// # Errors
/// Configuration.
pub(super) fn check(settings: &Settings, needs_app_id: bool) -> Result<(), Error> {
    if needs_app_id || !settings.app_id.is_empty() {
        return settings.validate();
    }
    Settings {
        app_id: "unused".into(),
        ..settings.clone()
    }
    .validate()
}

fn encoding(text: impl Into<String>) -> CallError {
    Error::new(Kind::Encoding, text).into()
}

fn table(pairs: &[(&str, &str)]) -> Result<Zval, CallError> {
    let mut all = ZendHashTable::new();
    for (name, text) in pairs {
        all.insert(*name, binary(text.as_bytes()))
            .map_err(|error| encoding(error.to_string()))?;
    }
    Ok(crate::php::array(all))
}

/// A user id as text: a string, or an integer as databases return it.
fn user_id(table: &ZendHashTable, key: &str, place: &str) -> Result<String, CallError> {
    let value = table.get(key).map(Zval::dereference);
    let id = match value {
        Some(value) if value.is_string() || value.is_long() || value.is_object() => {
            arguments::channel(value, place)?.into_owned()
        }
        _ => String::new(),
    };
    if is_user_id(&id) {
        return Ok(id);
    }
    Err(encoding(format!(
        "{place} needs '{key}': a string or an integer of 1 to 128 characters without control characters."
    )))
}

/// The JSON of a presence member, with the id as a string.
fn member(presence: &Zval, most: usize) -> Result<String, CallError> {
    let place = "Gateway::authorize(): Argument #3 ($presence)";
    let table = arguments::array(presence, place)?;
    let known = |key: &Key| matches!(key.text().as_deref(), Some("user_id" | "user_info"));
    let entries = arguments::entries(table);
    if let Some((key, _)) = entries.iter().find(|(key, _)| !known(key)) {
        return Err(encoding(format!(
            "{place} may contain user_id and user_info, not '{key}'."
        )));
    }
    let mut out = br#"{"user_id":"#.to_vec();
    write_php_string(&mut out, &user_id(table, "user_id", place)?);
    let info = table.get("user_info").map(Zval::dereference);
    if let Some(info) = info.filter(|info| !info.is_null()) {
        out.extend_from_slice(br#","user_info":"#);
        let from = out.len();
        json::encode(info, &mut out)?;
        if out.len() - from > most {
            return Err(encoding(format!(
                "{place}: user_info is {} bytes of JSON, more than max_user_info ({most}). Every member of the \
                 channel receives it.",
                out.len() - from
            )));
        }
    }
    out.push(b'}');
    String::from_utf8(out).map_err(|error| encoding(error.to_string()))
}

/// `Gateway::authorize()`
pub(super) fn authorize(
    socket: &Zval,
    channel: &Zval,
    presence: Option<&Zval>,
    config: Option<&Zval>,
) -> Result<Zval, CallError> {
    let socket = arguments::channel(socket, "Gateway::authorize(): Argument #1 ($socketId)")?;
    let channel = arguments::channel(channel, "Gateway::authorize(): Argument #2 ($channelName)")?;
    let config = settings(config, "Gateway::authorize(): Argument #4 ($config)")?;
    let settings = &config.settings;
    check(settings, false)?;
    let data = arguments::optional(presence, |presence| {
        member(presence, settings.max_user_info)
    })?;
    let (key, secret) = (settings.key.as_str(), settings.secret());
    let auth = auth::authorize(key, secret, &socket, &channel, data.as_deref())?;
    let mut pairs = vec![("auth", auth.as_str())];
    if let Some(data) = &data {
        pairs.push(("channel_data", data));
    }
    let shared = match &settings.encryption_master_key {
        Some(key) if crate::encryption::is_encrypted_channel(&channel) => key.shared_secret(&channel),
        None if crate::encryption::is_encrypted_channel(&channel) => {
            return Err(Error::configuration(format!(
                "The channel \"{channel}\" is encrypted, but no master key is configured for the key of its \
                 subscribers. Set encryption_master_key or REALTIME_ENCRYPTION_MASTER_KEY to the output of: \
                 openssl rand -base64 32"
            ))
            .into())
        }
        _ => String::new(),
    };
    if !shared.is_empty() {
        pairs.push(("shared_secret", &shared));
    }
    table(&pairs)
}

/// `Gateway::authenticate()`
pub(super) fn authenticate(
    socket: &Zval,
    user: &Zval,
    config: Option<&Zval>,
) -> Result<Zval, CallError> {
    let place = "Gateway::authenticate(): Argument #2 ($userData)";
    let socket = arguments::channel(socket, "Gateway::authenticate(): Argument #1 ($socketId)")?;
    let data = arguments::array(user, place)?;
    let config = settings(config, "Gateway::authenticate(): Argument #3 ($config)")?;
    check(&config.settings, false)?;
    let mut out = br#"{"id":"#.to_vec();
    write_php_string(&mut out, &user_id(data, "id", place)?);
    for (key, value) in data {
        let key = key.to_string();
        if key == "id" {
            continue;
        }
        out.push(b',');
        write_php_string(&mut out, &key);
        out.push(b':');
        json::encode(value.dereference(), &mut out)?;
    }
    out.push(b'}');
    let text = String::from_utf8(out).map_err(|error| encoding(error.to_string()))?;
    let settings = &config.settings;
    let auth = auth::authenticate(&settings.key, settings.secret(), &socket, &text)?;
    table(&[("auth", &auth), ("user_data", &text)])
}

/// Reads a target: the connections that a command is for, also as parameters of the HTTP API.
pub(super) fn target(
    r#where: &Zval,
    method: &str,
) -> Result<(Target, serde_json::Map<String, serde_json::Value>), CallError> {
    let place = format!("Gateway::{method}(): Argument #1 ($where)");
    let table = arguments::array(r#where, &place)?;
    let mut target = Target::default();
    let mut body = serde_json::Map::new();
    for (key, value) in arguments::entries(table) {
        let key = key.to_string();
        let text = arguments::channel(&value, &format!("{place}['{key}']"))?.into_owned();
        if text.is_empty() {
            return Err(Error::configuration(format!("{place}: '{key}' is empty.")).into());
        }
        match key.as_str() {
            "user" => target.user = Some(text.clone()),
            "channel" => target.channel = Some(text.clone()),
            "socket" => {
                let id = text.parse::<SocketId>().map_err(|_| {
                    Error::configuration(format!(
                        "{place}: \"{}\" is not a socket id (two numbers separated by a dot).",
                        text.escape_debug()
                    ))
                })?;
                target.socket = Some(id);
            }
            other => {
                return Err(Error::configuration(format!(
                    "{place} may contain user, socket and channel, not '{}'.",
                    other.escape_debug()
                ))
                .into())
            }
        }
        body.insert(key, text.into());
    }
    if target.is_empty() && method != "connections" {
        return Err(Error::configuration(format!(
            "{place} is empty. One of user, socket and channel is required, such as ['user' => '7']."
        ))
        .into());
    }
    Ok((target, body))
}
