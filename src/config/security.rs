//! TLS and SASL settings: `security.*` and environment variables, applied to producer and consumer properties.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::keys::{self, SECURITY};
use super::properties::{is_secret, Properties};
use super::sources::Sources;
use super::Value;
use crate::error::{Error, Result};

/// The property that names the token source of a client. librdkafka does not know it.
pub const TOKEN_PROPERTY: &str = "toporia.token";

/// Setting, librdkafka property, environment variable.
const MEMBERS: [(&str, &str, Option<&str>); 16] = [
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
    (
        "token",
        TOKEN_PROPERTY,
        Some("KAFKA_SASL_OAUTHBEARER_TOKEN"),
    ),
    (
        "token_endpoint",
        "sasl.oauthbearer.token.endpoint.url",
        Some("KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT"),
    ),
    (
        "client_id",
        "sasl.oauthbearer.client.id",
        Some("KAFKA_SASL_OAUTHBEARER_CLIENT_ID"),
    ),
    (
        "client_secret",
        "sasl.oauthbearer.client.secret",
        Some("KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET"),
    ),
    (
        "scope",
        "sasl.oauthbearer.scope",
        Some("KAFKA_SASL_OAUTHBEARER_SCOPE"),
    ),
    (
        "extensions",
        "sasl.oauthbearer.extensions",
        Some("KAFKA_SASL_OAUTHBEARER_EXTENSIONS"),
    ),
    ("region", "toporia.token.region", Some("AWS_REGION")),
];

/// Settings of a token source, by property. librdkafka's own OIDC support needs libcurl, which this build has not.
const TOKEN_SETTINGS: &[(&str, &str)] = &[
    ("token_endpoint", "sasl.oauthbearer.token.endpoint.url"),
    ("client_id", "sasl.oauthbearer.client.id"),
    ("client_secret", "sasl.oauthbearer.client.secret"),
    ("scope", "sasl.oauthbearer.scope"),
    ("extensions", "sasl.oauthbearer.extensions"),
    ("ca", "https.ca.location"),
    ("region", "toporia.token.region"),
];

/// Begins the name of a token source that is a PHP callable, see `php::token`.
pub const CALLABLE: &str = "callable:";

/// Where the OAUTHBEARER tokens of a client come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSource {
    /// Equal for clients that can share a token.
    pub name: String,
    /// `oidc`, `aws-msk-iam`, a PHP callable, or the name of an invokable class.
    pub kind: String,
    pub settings: Properties,
}

/// Reads `security` and the environment into the properties of both clients and validates them.
pub(super) fn apply(
    sources: &Sources<'_>,
    producer: &mut Properties,
    consumer: &mut Properties,
    warnings: &mut Vec<String>,
) -> Result<Vec<TokenSource>> {
    let given = sources.merged(&SECURITY)?;
    for layer in &sources.arrays {
        let map = layer.map.iter().find(|(k, _)| k == SECURITY.key);
        if let Some(map) = map.and_then(|(_, v)| v.as_map()) {
            keys::check(
                map,
                &layer.origin.key(SECURITY.key),
                &MEMBERS.map(|(name, ..)| name),
            )?;
        }
    }
    for (member, property, variable) in &MEMBERS {
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
    let mut sources = Vec::new();
    for (client, which) in [(producer, "producer"), (consumer, "consumer")] {
        let source = take_token_source(client);
        finalize(
            client,
            which,
            in_array("username"),
            source.as_ref(),
            warnings,
        )?;
        let is_used = client.get("sasl.mechanism") == Some("OAUTHBEARER");
        if let Some(source) = source.filter(|_| is_used) {
            client.set(TOKEN_PROPERTY, source.name.as_str());
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
    }
    Ok(sources)
}

/// Takes the settings that are ours out of the properties. `None`: no source of tokens is set.
fn take_token_source(client: &mut Properties) -> Option<TokenSource> {
    let mut settings = Properties::default();
    for (setting, property) in TOKEN_SETTINGS {
        if let Some(value) = client.remove(property) {
            settings.set(setting, value);
        }
    }
    let method = client.get("sasl.oauthbearer.method").unwrap_or_default();
    let is_oidc = method.eq_ignore_ascii_case("oidc");
    client.remove("sasl.oauthbearer.method");
    let kind = match client.remove(TOKEN_PROPERTY) {
        Some(kind) => kind,
        None if is_oidc || settings.get("token_endpoint").is_some() => "oidc".to_owned(),
        None => return None,
    };
    let name = if kind.starts_with(CALLABLE) {
        kind.clone()
    } else {
        let mut hasher = DefaultHasher::new();
        for setting in settings.iter() {
            setting.hash(&mut hasher);
        }
        format!("{kind}:{:016x}", hasher.finish())
    };
    Some(TokenSource {
        name,
        kind,
        settings,
    })
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
    token_source: Option<&TokenSource>,
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
        let default = if token_source.is_some() && client.get("sasl.username").is_none() {
            "OAUTHBEARER"
        } else {
            "PLAIN"
        };
        let mechanism = client.get("sasl.mechanism").unwrap_or(default).to_owned();
        if mechanism == "GSSAPI" {
            return Err(Error::configuration(
                "security.mechanism GSSAPI (Kerberos) is not supported by this build. Use PLAIN, SCRAM-SHA-256 or \
                 SCRAM-SHA-512.",
            ));
        }
        if mechanism == "OAUTHBEARER" {
            check_token_source(client, which, token_source)?;
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
    if cfg!(feature = "openssl-vendored") && protocol.ends_with("ssl") {
        find_system_certificates(client);
    }
    Ok(())
}

/// An OpenSSL that was built with this crate looks for certificates where its own installation would have them.
/// librdkafka knows the places of the systems.
fn find_system_certificates(client: &mut Properties) {
    let is_set = ["ssl.ca.location", "ssl.ca.pem"]
        .iter()
        .any(|property| client.get(property).is_some());
    // OpenSSL itself reads these.
    let in_environment = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .iter()
        .any(|variable| std::env::var_os(variable).is_some());
    if !is_set && !in_environment {
        client.set("ssl.ca.location", "probe");
    }
}

fn push_once(warnings: &mut Vec<String>, message: String) {
    if !warnings.contains(&message) {
        warnings.push(message);
    }
}

/// OAUTHBEARER needs a source of tokens: without one the client would wait forever for the first token.
fn check_token_source(
    client: &Properties,
    which: &str,
    source: Option<&TokenSource>,
) -> Result<()> {
    let Some(source) = source else {
        if client.get("enable.sasl.oauthbearer.unsecure.jwt") == Some("true") {
            return Ok(());
        }
        return Err(Error::configuration(format!(
            "security.mechanism is OAUTHBEARER, but the {which} has no source of tokens. Set security.token to a \
             callable that returns a token, to the name of an invokable class, to 'oidc' (with token_endpoint, \
             client_id and client_secret) or to 'aws-msk-iam'. For development, Kafka accepts unsecured tokens: set \
             enable.sasl.oauthbearer.unsecure.jwt to true, and sasl.oauthbearer.config, in producer_config and \
             consumer_config."
        )));
    };
    if source.kind != "oidc" {
        return Ok(());
    }
    for (setting, variable) in [
        ("token_endpoint", "TOKEN_ENDPOINT"),
        ("client_id", "CLIENT_ID"),
        ("client_secret", "CLIENT_SECRET"),
    ] {
        if source.settings.get(setting).is_none() {
            return Err(Error::configuration(format!(
                "security.token is 'oidc', but the {which} has no {setting}. Set security.{setting} or \
                 KAFKA_SASL_OAUTHBEARER_{variable}."
            )));
        }
    }
    Ok(())
}
