//! `brokers`: the bootstrap addresses.

use super::keys::BROKERS;
use super::reader::SettingsReader;
use super::value::{named_brokers, wrong, Value};
use super::EMBEDDED;
use crate::error::{Error, Result};

/// Reads addresses from comma-separated text or a list and validates each.
pub(super) fn addresses(reader: &SettingsReader<'_>) -> Result<String> {
    let Some(found) = reader.sources.find(&BROKERS) else {
        return Ok("localhost:9092".to_owned());
    };
    let (value, place) = (found.value.as_ref(), found.place.as_str());
    let expected = "'host:port', a list of them, or 'embedded'";
    let mut all: Vec<String> = Vec::new();
    let mut add = |text: &str| {
        all.extend(
            text.split(',')
                .map(str::trim)
                .filter(|a| !a.is_empty())
                .map(str::to_owned),
        );
    };
    match value {
        Value::Str(text) => add(text),
        Value::List(items) => {
            for item in items.iter().filter(|i| !i.is_unset()) {
                add(&item.text(place)?);
            }
        }
        Value::Map(members) if named_brokers(value).is_none() => {
            for (_, item) in members.iter().filter(|(_, i)| !i.is_unset()) {
                add(&item.text(place)?);
            }
        }
        Value::Map(_) => {
            return Err(Error::configuration(format!(
                "{place} must be {expected}; it is an array with keys. Pass the whole array of config/realtime.php to \
                 Realtime::configure()."
            )))
        }
        other => return Err(wrong(place, expected, other)),
    }
    if all.is_empty() {
        return Ok("localhost:9092".to_owned());
    }
    for address in &all {
        if address == EMBEDDED && all.len() == 1 {
            break;
        }
        if !is_address(address) {
            return Err(wrong(place, expected, &Value::from(address.as_str())));
        }
    }
    Ok(all.join(","))
}

/// Accepts `host`, `host:port` and `[v6]:port`, with or without `PROTOCOL://`.
fn is_address(address: &str) -> bool {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let (host, port) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or_default())),
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let port_fits = port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p > 0));
    let named = host
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%'));
    port_fits && named && !host.is_empty() && address != EMBEDDED
}
