//! `realtime.gateway`: the settings of the WebSocket gateway.

use super::application::top;
use super::gateway_settings::{check, size, Settings, BROKER, MAX_EVENT};
use super::keys;
use super::sources::{ArrayLayer, LayerOrigin, SettingsReader, Sources};
use super::{Layers, Value};
use crate::encryption::MasterKey;
use crate::error::{Error, Result};

/// The gateway's settings and its broker.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The settings, not yet checked by [`Settings::validate`].
    pub settings: Settings,
    /// Name of the broker in the configuration; `None` for the default broker.
    pub broker_name: Option<String>,
    /// Broker settings given as an array.
    pub broker: Option<Value>,
}

/// The gateway array of the configuration.
pub(super) fn members(top: &[(String, Value)]) -> Option<&[(String, Value)]> {
    let (_, value) = top.iter().find(|(k, v)| k == "gateway" && !v.is_unset())?;
    value.as_map()
}

impl GatewayConfig {
    /// Reads the gateway's settings. `layers.constructor` is the argument of the Gateway's constructor.
    ///
    /// # Errors
    /// [`crate::error::Kind::Configuration`] with the setting, its place and the accepted values.
    pub fn resolve(layers: &Layers<'_>) -> Result<Self> {
        let all = top(layers.configured)?;
        super::application::check_top(all)?;
        let mut arrays = Vec::new();
        if let Some(value) = layers.constructor.filter(|v| !matches!(v, Value::Null)) {
            check(value, &LayerOrigin::GatewayConstructor.array())?;
            arrays.push(ArrayLayer {
                map: value.as_map().unwrap_or_default(),
                origin: LayerOrigin::GatewayConstructor,
            });
        }
        if let Some(map) = members(all) {
            arrays.push(ArrayLayer {
                map,
                origin: LayerOrigin::Gateway,
            });
        }
        let mut reader = SettingsReader::new(arrays, layers.env);
        let mut settings = Settings::read(&reader)?;
        reader.sources.arrays.push(ArrayLayer {
            map: all,
            origin: LayerOrigin::Top,
        });
        settings.encryption_master_key = master_key(&reader.sources)?;
        reader.sources.arrays.pop();
        let (heartbeat, node_timeout) = (settings.heartbeat, settings.node_timeout);
        if node_timeout < heartbeat * 3 {
            return Err(Error::configuration(format!(
                "realtime.gateway.node_timeout_ms ({}) is less than three heartbeats ({} ms each): one late heartbeat \
                 would remove a gateway. Raise it, or lower heartbeat_ms.",
                node_timeout.as_millis(),
                heartbeat.as_millis()
            )));
        }
        let (broker_name, broker) = match reader.sources.find(&BROKER) {
            None => (None, None),
            Some(found) if found.value.as_map().is_some() => (None, Some(found.value.into_owned())),
            Some(found) => (Some(found.value.text(&found.place)?), None),
        };
        Ok(Self {
            settings,
            broker_name,
            broker,
        })
    }
}

/// `realtime.gateway.max_event`, for senders.
pub(super) fn max_event(layers: &Layers<'_>) -> Result<usize> {
    let map = members(top(layers.configured)?);
    let arrays = map.map(|map| ArrayLayer {
        map,
        origin: LayerOrigin::Gateway,
    });
    let reader = SettingsReader::new(arrays.into_iter().collect(), layers.env);
    size(MAX_EVENT.0, MAX_EVENT.1)(
        &reader,
        &keys::plain("max_event"),
        Settings::default().max_event,
    )
}

/// The master key of encrypted channels, from a gateway array, a broker array or the top level.
pub(super) fn master_key(sources: &Sources<'_>) -> Result<Option<MasterKey>> {
    let Some(found) = sources.find(&keys::ENCRYPTION_MASTER_KEY) else {
        return Ok(None);
    };
    // The value is never shown: it is a secret even if it has the wrong size.
    let refused = || {
        Error::configuration(format!(
            "{} is not 32 bytes in base64. Make one with: openssl rand -base64 32",
            found.place
        ))
    };
    match found.value.as_ref() {
        Value::Str(text) => MasterKey::from_base64(text)
            .map(Some)
            .map_err(|_| refused()),
        _ => Err(refused()),
    }
}
