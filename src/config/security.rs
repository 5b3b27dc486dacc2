//! TLS and SASL settings: `security.*` and environment variables, applied to producer and consumer properties.

use super::keys::{self, SECURITY, SECURITY_KEYS};
use super::properties::{is_secret, Properties};
use super::sources::Sources;
use super::value::Value;
use crate::error::{Error, Result};

/// Setting, librdkafka property, environment variable.
const MEMBERS: &[(&str, &str, Option<&str>)] = &[
    (
        "protocol",
        "security.protocol",
        Some("KAFKA_SECURITY_PROTOCOL"),
    ),
    ("mechanism", "sasl.mechanism", Some("KAFKA_SASL_MECHANISM")),
    ("username", "sasl.username", Some("KAFKA_SASL_USERNAME")),
    ("password", "sasl.password", Some("KAFKA_SASL_PASSWORD")),
    ("ca", "ssl.ca.location", Some("KAFKA_SSL_CA_LOCATION")),
    (
        "certificate",
        "ssl.certificate.location",
        Some("KAFKA_SSL_CERTIFICATE_LOCATION"),
    ),
    ("key", "ssl.key.location", Some("KAFKA_SSL_KEY_LOCATION")),
    (
        "key_password",
        "ssl.key.password",
        Some("KAFKA_SSL_KEY_PASSWORD"),
    ),
    ("verify", "enable.ssl.certificate.verification", None),
];

/// Reads `security` and the environment into the properties of both clients and validates them.
pub(super) fn apply(
    sources: &Sources<'_>,
    producer: &mut Properties,
    consumer: &mut Properties,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let given = sources.merged(&SECURITY)?;
    for layer in &sources.arrays {
        let map = layer.map.iter().find(|(k, _)| k == SECURITY.key);
        if let Some(map) = map.and_then(|(_, v)| v.as_map()) {
            keys::check(map, &layer.origin.key(SECURITY.key), SECURITY_KEYS)?;
        }
    }
    for (member, property, variable) in MEMBERS {
        let found = given.iter().find(|(name, _)| name == member);
        if let Some((_, found)) = found {
            let value = normalize(property, &found.value, &found.place)?;
            for (config, client) in [
                ("producer_config", &*producer),
                ("consumer_config", &*consumer),
            ] {
                if client.get(property).is_some_and(|other| other != value) {
                    let (a, b) = if is_secret(property) {
                        (String::new(), String::new())
                    } else {
                        let other = client.get(property).unwrap_or_default();
                        (format!(" ('{value}')"), format!(" ('{other}')"))
                    };
                    return Err(Error::configuration(format!(
                        "{}{a} contradicts {config}.{property}{b}. Keep one of them.",
                        found.place
                    )));
                }
            }
            producer.set(property, value.as_str());
            consumer.set(property, value);
        } else if let Some(text) = variable.and_then(|v| sources.env.var(v)) {
            let value = Value::Str(text);
            if !value.is_unset() {
                let place = format!("the environment variable {}", variable.unwrap_or_default());
                let value = normalize(property, &value, &place)?;
                for client in [&mut *producer, &mut *consumer] {
                    if client.get(property).is_none() {
                        client.set(property, value.as_str());
                    }
                }
            }
        }
    }
    let in_array = |member: &str| given.iter().any(|(name, _)| *name == member);
    finalize(producer, "producer", in_array("username"), warnings)?;
    finalize(consumer, "consumer", in_array("username"), warnings)
}

fn normalize(property: &str, value: &Value, place: &str) -> Result<String> {
    if property == "enable.ssl.certificate.verification" {
        return Ok(value.flag(place)?.to_string());
    }
    let text = value.text(place)?;
    let normal = match property {
        "security.protocol" => text.to_ascii_lowercase(),
        "sasl.mechanism" => text.to_ascii_uppercase(),
        _ => text,
    };
    if property == "security.protocol"
        && !matches!(
            normal.as_str(),
            "plaintext" | "ssl" | "sasl_plaintext" | "sasl_ssl"
        )
    {
        return Err(Error::configuration(format!(
            "{place} must be plaintext, ssl, sasl_plaintext or sasl_ssl; it is {}.",
            value.show()
        )));
    }
    Ok(normal)
}

/// Validates the combination of protocol, mechanism and credentials.
fn finalize(
    client: &mut Properties,
    which: &str,
    named_in_array: bool,
    warnings: &mut Vec<String>,
) -> Result<()> {
    if let Some(protocol) = client.get("security.protocol").map(str::to_ascii_lowercase) {
        client.set("security.protocol", protocol);
    }
    let protocol = client
        .get("security.protocol")
        .unwrap_or("plaintext")
        .to_owned();
    if protocol.starts_with("sasl_") {
        let mechanism = client.get("sasl.mechanism").unwrap_or("PLAIN").to_owned();
        if mechanism == "GSSAPI" {
            return Err(Error::configuration(
                "security.mechanism GSSAPI (Kerberos) is not supported by this build. Use PLAIN, SCRAM-SHA-256 or \
                 SCRAM-SHA-512.",
            ));
        }
        if mechanism == "OAUTHBEARER" {
            has_token(client, which)?;
        }
        let by_password = mechanism == "PLAIN" || mechanism.starts_with("SCRAM-");
        for (property, member) in [("sasl.username", "username"), ("sasl.password", "password")] {
            if by_password && client.get(property).is_none() {
                return Err(Error::configuration(format!(
                    "security.protocol is '{protocol}' with {mechanism}, but the {which} has no {member}. Set \
                     security.{member} or KAFKA_SASL_{}.",
                    member.to_ascii_uppercase()
                )));
            }
        }
        client.set("sasl.mechanism", mechanism);
    } else if client.get("sasl.username").is_some() {
        let message = format!(
            "A SASL user name is set for the {which}, but security.protocol is '{protocol}', so it is not used. Set \
             security.protocol (KAFKA_SECURITY_PROTOCOL) to sasl_ssl or sasl_plaintext."
        );
        if named_in_array {
            return Err(Error::configuration(message));
        }
        push_once(warnings, message.replace(&format!(" for the {which}"), ""));
        for property in ["sasl.username", "sasl.password", "sasl.mechanism"] {
            client.remove(property);
        }
    }
    if !protocol.ends_with("ssl") && client.get("ssl.ca.location").is_some() {
        push_once(
            warnings,
            format!("A CA file is set, but security.protocol is '{protocol}': the connection is not encrypted. Set it \
                to ssl or sasl_ssl."),
        );
    }
    Ok(())
}

fn push_once(warnings: &mut Vec<String>, message: String) {
    if !warnings.contains(&message) {
        warnings.push(message);
    }
}

/// OAUTHBEARER needs a source of tokens: without one the client would wait forever for the first token.
fn has_token(client: &Properties, which: &str) -> Result<()> {
    if client.get("sasl.oauthbearer.method") == Some("oidc") {
        return Err(Error::configuration(format!(
            "{which}_config.sasl.oauthbearer.method 'oidc' is not supported by this build (it needs libcurl). Use \
             SCRAM-SHA-512, or a client certificate (security.certificate, security.key)."
        )));
    }
    if client.get("enable.sasl.oauthbearer.unsecure.jwt") == Some("true") {
        return Ok(());
    }
    Err(Error::configuration(format!(
        "security.mechanism is OAUTHBEARER, but the {which} has no source of tokens. Use SCRAM-SHA-512 or a client \
         certificate; for development, unsecured tokens are available: set \
         enable.sasl.oauthbearer.unsecure.jwt to true, and sasl.oauthbearer.config, in producer_config and \
         consumer_config."
    )))
}
