//! The settings of a broker, resolved from the layers and validated, including the rules between settings.

use std::path::PathBuf;
use std::sync::Arc;

use super::application::{addresses, is_kafka_driver, select, top};
use super::properties::{collect, ClientKind};
use super::sources::{ArrayLayer, Found, LayerOrigin, SettingsReader};
use super::{
    gateway, keys as k, security, topics, wrong, Acks, Delivery, Layers, Properties, TokenSource,
    Value,
};
use crate::encryption::MasterKey;
use crate::error::{Error, Result};
use crate::topic::{validate_topic, TopicMap};

/// The settings of one broker, resolved and validated. Times in ms, sizes in bytes.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// The name in `realtime.brokers`.
    pub name: String,
    /// Comma-separated addresses, or [`EMBEDDED`].
    pub brokers: String,
    /// Maps channels to topics.
    pub topics: Arc<TopicMap>,
    /// Encrypts messages for encrypted channels; `None`: only messages that are already encrypted may be sent there.
    pub encryption: Option<MasterKey>,
    /// `realtime.gateway.max_event`: the sender warns about larger data, which gateways skip.
    pub max_event: usize,
    pub consumer_group: String,
    /// `group.instance.id`, for static membership.
    pub group_instance_id: Option<String>,
    /// `produce: sync`: each `broadcast()` waits for its acknowledgement.
    pub sync: bool,
    pub acks: Acks,
    pub idempotent: bool,
    pub delivery: Delivery,
    /// `None`: derived from host, group and a slot number.
    pub transactional_id: Option<String>,
    /// How long a full producer queue blocks the caller.
    pub queue_full_ms: u64,
    /// Maximum flush time at the end of a request.
    pub request_flush_ms: u64,
    /// Maximum flush time at the end of the process.
    pub shutdown_flush_ms: u64,
    /// Absolute directory for undelivered messages; `None`: they are reported in PHP's error log.
    pub spool: Option<PathBuf>,
    /// `spool_when: always`: messages are written to the spool before they are sent, and removed when they are
    /// acknowledged.
    pub spool_always: bool,
    /// Maximum size of the spool.
    pub spool_max_bytes: u64,
    /// Separates the spools of applications that share a directory.
    pub application: String,
    /// Create mapped, dead-letter and control topics through the admin API.
    pub auto_create_topics: bool,
    /// Drop messages that a callback re-broadcasts unchanged.
    pub loop_guard: bool,
    /// How often a message may be re-published from its own consumer.
    pub max_hops: u32,
    /// Time between commits.
    pub commit_interval_ms: u64,
    /// While records are there, an exactly-once transaction goes on for this long.
    pub transaction_ms: u64,
    /// Send records to the dead-letter topic after the last attempt.
    pub dlq: bool,
    /// The prefix of dead-letter topics, without the dot: `dlq`.
    pub dlq_prefix: String,
    /// Retries after the first attempt.
    pub max_retries: u32,
    /// Delay before the first retry.
    pub retry_backoff_ms: u64,
    /// Maximum delay between retries.
    pub retry_backoff_max_ms: u64,
    /// Maximum number of records waiting for a retry.
    pub retry_max_parked: usize,
    /// Maximum number of records that a partition may be ahead of its committed offset.
    pub retry_max_ahead: usize,
    /// How long a record may fail transiently; 0: without a limit.
    pub transient_max_seconds: u64,
    /// Consecutive failures that open the circuit of a subscription; 0: never.
    pub circuit_failures: u32,
    /// Classes of exceptions that are never retried.
    pub permanent_exceptions: Vec<String>,
    /// Classes of exceptions that are retried as long as it takes.
    pub transient_exceptions: Vec<String>,
    /// The user's properties for producers, including security.
    pub producer_overrides: Properties,
    /// The user's properties for consumers, including security.
    pub consumer_overrides: Properties,
    /// The source of the OAUTHBEARER tokens of its clients.
    pub token_sources: Vec<TokenSource>,
    /// One debug line for each key that was ignored or translated.
    pub debug_notes: Vec<String>,
    /// For the doctor: one sentence for a setting that is missing or has no effect, and what to do.
    pub advice: Vec<String>,
    /// Warnings, logged once per process.
    pub warnings: Vec<String>,
}

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

impl BrokerConfig {
    /// Resolves the broker `name`, or the default one.
    ///
    /// # Errors
    /// [`crate::error::Kind::Configuration`] naming the setting, its place and the accepted values: unknown key or
    /// broker, wrong type, out of range, contradicting settings.
    pub fn resolve(name: Option<&str>, layers: &Layers<'_>) -> Result<Self> {
        let (name, arrays) = select(name, layers)?;
        let mut reader = SettingsReader::new(arrays, layers.env);
        reader.notes = reader.sources.ignored_keys();
        reader.sources.refuse_misplaced()?;
        check_driver(&reader)?;
        let r = &mut reader;
        let mut producer = collect(&r.sources, ClientKind::Producer, &mut r.notes)?;
        let mut consumer = collect(&r.sources, ClientKind::Consumer, &mut r.notes)?;
        let token_sources =
            security::apply(&r.sources, &mut producer, &mut consumer, &mut r.warnings)?;
        let dlq_prefix = dlq_prefix(r)?;
        let topics = Arc::new(topics::resolve(r, &dlq_prefix)?);
        let deliveries = [
            ("at-least-once", Delivery::AtLeastOnce),
            ("at-most-once", Delivery::AtMostOnce),
            ("exactly-once", Delivery::ExactlyOnce),
        ];
        let delivery = r.choice(&k::DELIVERY, &deliveries, Delivery::AtLeastOnce)?;
        let (acks, idempotent) = acks(r, delivery)?;
        in_flight(&mut producer, idempotent, &mut r.warnings);
        let (retry_backoff_ms, retry_backoff_max_ms) = backoff(r)?;
        let (spool, spool_always) = spool(r)?;
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let max_retries = small(r.count(&k::MAX_RETRIES, 3, (0, 1_000_000), "")?);
        let transactional_id = r.optional_text(&k::TRANSACTIONAL_ID)?;
        let advice = advice(r, delivery, transactional_id.as_deref());
        Ok(Self {
            token_sources,
            name,
            brokers: addresses(r)?,
            topics,
            encryption: encryption(r, layers)?,
            max_event: gateway::max_event(layers)?,
            consumer_group: group(r)?,
            group_instance_id: r.optional_text(&k::GROUP_INSTANCE_ID)?,
            sync: r.choice(&k::PRODUCE, &[("async", false), ("sync", true)], false)?,
            acks,
            idempotent,
            delivery,
            transactional_id,
            queue_full_ms: r.count(&k::QUEUE_FULL_MS, 100, (0, 10 * MINUTE), "ms")?,
            request_flush_ms: r.count(&k::REQUEST_FLUSH_MS, 500, (0, 10 * MINUTE), "ms")?,
            shutdown_flush_ms: r.count(&k::SHUTDOWN_FLUSH_MS, 10_000, (0, HOUR), "ms")?,
            spool,
            spool_always,
            spool_max_bytes: r.count(
                &k::SPOOL_MAX_BYTES,
                256 << 20,
                (1 << 16, 1 << 50),
                "bytes",
            )?,
            application: r.text(&k::APPLICATION, "default")?,
            auto_create_topics: r.flag(&k::AUTO_CREATE_TOPICS, true)?,
            loop_guard: r.flag(&k::LOOP_GUARD, true)?,
            max_hops: small(r.count(&k::MAX_HOPS, 8, (0, 1000), "")?),
            commit_interval_ms: r.count(&k::COMMIT_INTERVAL_MS, 1000, (1, HOUR), "ms")?,
            transaction_ms: r.count(&k::TRANSACTION_MS, 50, (0, 10 * MINUTE), "ms")?,
            dlq: r.flag(&k::DLQ, true)?,
            dlq_prefix,
            max_retries,
            retry_backoff_ms,
            retry_backoff_max_ms,
            retry_max_parked: size(r.count(&k::RETRY_MAX_PARKED, 1000, (1, 1_000_000), "")?),
            retry_max_ahead: size(r.count(&k::RETRY_MAX_AHEAD, 1000, (1, 10_000_000), "")?),
            transient_max_seconds: r.count(
                &k::TRANSIENT_MAX_SECONDS,
                0,
                (0, 366 * 24 * 3600),
                "s",
            )?,
            circuit_failures: small(r.count(
                &k::CIRCUIT_FAILURES,
                // Without retries a failure is meant to be a dead letter at once.
                if max_retries == 0 { 0 } else { 5 },
                (0, 1_000_000),
                "",
            )?),
            permanent_exceptions: classes(r, &k::PERMANENT_EXCEPTIONS)?,
            transient_exceptions: classes(r, &k::TRANSIENT_EXCEPTIONS)?,
            producer_overrides: producer,
            consumer_overrides: consumer,
            debug_notes: reader.notes,
            advice,
            warnings: reader.warnings,
        })
    }
}

/// One sentence for each setting that is missing or that the others make useless, and then what to do.
fn advice(
    reader: &SettingsReader<'_>,
    delivery: Delivery,
    transactional_id: Option<&str>,
) -> Vec<String> {
    let mut advice = Vec::new();
    if reader.sources.find(&k::SPOOL).is_none()
        && reader.sources.env.var("APP_ENV").as_deref() != Some("testing")
    {
        advice.push(
            "spool is not set: messages that Kafka has not acknowledged when a process ends are lost, with a line in \
             PHP's error log. Set spool (REALTIME_SPOOL) to a directory that the users of PHP-FPM and of the workers \
             can write to, such as /var/lib/realtime; or to false if they may be lost."
                .to_owned(),
        );
    }
    if delivery == Delivery::AtMostOnce {
        for setting in [&k::DLQ, &k::MAX_RETRIES] {
            let found = reader.sources.find(setting);
            if let Some(found) = found.filter(|found| !is_off(&found.value)) {
                advice.push(format!(
                    "{} has no effect: delivery is at-most-once, which neither retries nor writes dead letters. Remove \
                     it, or set delivery to 'at-least-once'.",
                    found.place
                ));
            }
        }
    }
    if transactional_id.is_some() && delivery != Delivery::ExactlyOnce {
        advice.push(format!(
            "transactional_id has no effect: delivery is {}, which has no transactions. Remove it, or set delivery to \
             'exactly-once'.",
            delivery.as_str()
        ));
    }
    let useless = |note: &&String| {
        ["has no effect", "enable.auto.commit"]
            .iter()
            .any(|words| note.contains(words))
    };
    advice.extend(reader.notes.iter().filter(useless).cloned());
    advice
}

fn is_off(value: &Value) -> bool {
    matches!(value, Value::Bool(false) | Value::Int(0))
        || matches!(value, Value::Str(text) if matches!(text.trim(), "0" | "false" | "off" | "no"))
}

fn check_driver(reader: &SettingsReader<'_>) -> Result<()> {
    match reader.sources.find(&k::DRIVER) {
        Some(found) if !is_kafka_driver(&found.value.text(&found.place)?) => {
            Err(wrong(&found.place, "'kafka'", &found.value))
        }
        _ => Ok(()),
    }
}

/// The master key may be set among the gateway's settings or among the broker's.
fn encryption<'a>(
    reader: &mut SettingsReader<'a>,
    layers: &Layers<'a>,
) -> Result<Option<MasterKey>> {
    let gateway = gateway::members(top(layers.configured)?);
    reader.sources.arrays.extend(gateway.map(|map| ArrayLayer {
        map,
        origin: LayerOrigin::Gateway,
    }));
    let key = gateway::master_key(&reader.sources);
    if gateway.is_some() {
        reader.sources.arrays.pop();
    }
    key
}

fn group(reader: &SettingsReader<'_>) -> Result<String> {
    let (group, place) = reader.text_at(&k::CONSUMER_GROUP, "realtime-servers")?;
    if group.len() > 249 || group.chars().any(char::is_control) {
        return Err(Error::configuration(format!(
            "{place} must be printable and at most 249 bytes long."
        )));
    }
    Ok(group)
}

fn dlq_prefix(reader: &SettingsReader<'_>) -> Result<String> {
    let (prefix, place) = reader.text_at(&k::DLQ_PREFIX, "dlq")?;
    let prefix = prefix.trim_end_matches('.').to_owned();
    validate_topic(&prefix)
        .map_err(|e| Error::configuration(format!("{place}: {}", e.message())))?;
    if prefix.len() > 100 {
        return Err(Error::configuration(format!(
            "{place} has {} bytes; at most 100 leave room for topic names.",
            prefix.len()
        )));
    }
    Ok(prefix)
}

/// Reads `acks` and idempotence and refuses contradictions.
fn acks(reader: &mut SettingsReader<'_>, delivery: Delivery) -> Result<(Acks, bool)> {
    let choices = [
        ("all", Acks::All),
        ("-1", Acks::All),
        ("1", Acks::Leader),
        ("0", Acks::None),
    ];
    let acks = reader.choice(&k::ACKS, &choices, Acks::All)?;
    let wanted = match reader.sources.find(&k::IDEMPOTENCE) {
        Some(found) => Some((found.value.flag(&found.place)?, found.place)),
        None => None,
    };
    let number = i32::from(acks == Acks::Leader);
    if acks != Acks::All {
        if delivery == Delivery::ExactlyOnce {
            return Err(Error::configuration(format!(
                "acks={number} contradicts delivery 'exactly-once', which needs acks=all. Remove one of them."
            )));
        }
        if let Some((true, place)) = &wanted {
            return Err(Error::configuration(format!(
                "acks={number} contradicts {place}: an idempotent producer needs acks=all. Remove one of them."
            )));
        }
        if wanted.is_none() {
            reader.warnings.push(format!(
                "acks={number} turns idempotence off: after a broker failure messages can be lost, duplicated or \
                 reordered. Remove acks, or set it to 'all'."
            ));
        }
        return Ok((acks, false));
    }
    match wanted {
        Some((false, place)) if delivery == Delivery::ExactlyOnce => {
            Err(Error::configuration(format!(
                "{place} is false, which contradicts delivery 'exactly-once'. Remove one of them."
            )))
        }
        Some((idempotent, _)) => Ok((acks, idempotent)),
        None => Ok((acks, true)),
    }
}

/// An idempotent producer may have at most five requests in flight; Toporia's own configuration has ten.
fn in_flight(producer: &mut Properties, idempotent: bool, warnings: &mut Vec<String>) {
    const NAME: &str = "max.in.flight.requests.per.connection";
    let many = producer
        .get(NAME)
        .and_then(|v| v.parse::<u64>().ok())
        .is_some_and(|n| n > 5);
    if idempotent && many {
        producer.set(NAME, "5");
        warnings.push(format!(
            "{NAME} is lowered to 5, the maximum for an idempotent producer."
        ));
    }
}

fn backoff(reader: &SettingsReader<'_>) -> Result<(u64, u64)> {
    let least = reader.count(&k::RETRY_BACKOFF_MS, 100, (0, HOUR), "ms")?;
    let most = reader.count(
        &k::RETRY_BACKOFF_MAX_MS,
        10_000.max(least),
        (0, 24 * HOUR),
        "ms",
    )?;
    if least > most {
        return Err(Error::configuration(format!(
            "retry_backoff_ms ({least}) is greater than retry_backoff_max_ms ({most}). Lower the first or raise the \
             second."
        )));
    }
    Ok((least, most))
}

/// A list of class names, or comma-separated text; leading backslashes are ignored.
fn classes(reader: &SettingsReader<'_>, setting: &k::Setting) -> Result<Vec<String>> {
    let Some(found) = reader.sources.find(setting) else {
        return Ok(Vec::new());
    };
    let wanted = "a list of class names";
    let names: Vec<String> = match found.value.as_ref() {
        Value::Str(text) => text.split(',').map(str::to_owned).collect(),
        Value::List(list) => list
            .iter()
            .map(|entry| match entry {
                Value::Str(name) => Ok(name.clone()),
                other => Err(wrong(&found.place, wanted, other)),
            })
            .collect::<Result<_>>()?,
        other => return Err(wrong(&found.place, wanted, other)),
    };
    let names = names
        .iter()
        .map(|name| name.trim().trim_start_matches('\\'));
    Ok(names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

enum SpoolSetting {
    Off,
    /// Short for `spool_when: always`.
    Always,
    Directory(PathBuf),
}

/// Returns the directory and whether `spool_when` is `always`. No spool in tests: they would leave files behind and
/// replay old messages.
fn spool(reader: &mut SettingsReader<'_>) -> Result<(Option<PathBuf>, bool)> {
    let choices = [("undelivered", false), ("always", true)];
    let mut always = reader.choice(&k::SPOOL_WHEN, &choices, false)?;
    let when = reader.sources.find(&k::SPOOL_WHEN);
    let mut place = when
        .as_ref()
        .map_or_else(String::new, |found| found.place.clone());
    let mut layer = when.map_or(usize::MAX, |found| found.layer);
    let mut next = reader.sources.find(&k::SPOOL);
    while let Some(found) = next {
        match spool_setting(reader, &found)? {
            SpoolSetting::Directory(_) if is_test(reader) => {
                let note = format!("{} is ignored while APP_ENV is 'testing'.", found.place);
                reader.notes.push(note);
                return Ok((None, false));
            }
            SpoolSetting::Directory(path) => return Ok((Some(path), always)),
            // `spool: false` in a more specific layer overrides `spool_when: always` of a more general one.
            SpoolSetting::Off if !always || found.layer < layer => return Ok((None, false)),
            SpoolSetting::Off => break,
            SpoolSetting::Always => {
                if !always && found.layer < layer {
                    (always, layer, place) = (true, found.layer, found.place);
                }
                next = reader.sources.find_from(&k::SPOOL, found.layer + 1);
            }
        }
    }
    if always && !is_test(reader) {
        return Err(Error::configuration(format!(
            "{place} is 'always', but `spool` does not name a directory for the messages. Set `spool` to one that the \
             user running PHP can write to."
        )));
    }
    Ok((None, false))
}

fn is_test(reader: &SettingsReader<'_>) -> bool {
    let env = reader.sources.env.var("APP_ENV");
    env.is_some_and(|name| name.trim() == "testing")
}

fn spool_setting(reader: &mut SettingsReader<'_>, found: &Found<'_>) -> Result<SpoolSetting> {
    let place = &found.place;
    let text = match found.value.as_ref() {
        Value::Bool(false) => return Ok(SpoolSetting::Off),
        Value::Str(text) if !text.contains('\0') => text.trim(),
        other => return Err(wrong(place, "a directory, 'always', or false", other)),
    };
    match text.to_ascii_lowercase().as_str() {
        "off" | "false" => return Ok(SpoolSetting::Off),
        "always" => return Ok(SpoolSetting::Always),
        _ => {}
    }
    let path = std::path::absolute(text).map_err(|e| {
        Error::configuration(format!(
            "{place}: '{text}' cannot be made absolute ({e}). Give an absolute path."
        ))
    })?;
    if path.as_os_str() != text && !is_test(reader) {
        let path = path.display();
        reader.notes.push(format!("{place} is taken as '{path}'."));
    }
    Ok(SpoolSetting::Directory(path))
}
