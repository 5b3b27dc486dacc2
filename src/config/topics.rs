//! `topic_prefix`, `topic_strategy`, `topic_mapping`, `default_topic`: how channels map to topics.

use super::keys::{
    self, DEFAULT_PARTITIONS, DEFAULT_TOPIC, MAPPING_KEYS, TOPIC_MAPPING, TOPIC_PREFIX,
    TOPIC_STRATEGY,
};
use super::sources::SettingsReader;
use super::{wrong, Value};
use crate::error::{Error, Result};
use crate::topic::{
    is_control_topic, validate_topic, ChannelPattern, Mapping, TopicMap, TopicSpec, TopicStrategy,
    MAX_KAFKA_TOPIC, MAX_TOPIC,
};

const DAY_MS: i64 = 86_400_000;

/// Reads the topic settings. `dlq_prefix` limits the length of topic names.
pub(super) fn resolve(reader: &mut SettingsReader<'_>, dlq_prefix: &str) -> Result<TopicMap> {
    let (prefix, place) = reader.text_at(&TOPIC_PREFIX, "realtime")?;
    check_name(&prefix, &place)?;
    if prefix.len() > 200 {
        return Err(Error::configuration(format!(
            "{place} has {} bytes; at most 200 leave room for channel names.",
            prefix.len()
        )));
    }
    let strategy_set = reader.sources.find(&TOPIC_STRATEGY).is_some();
    let (strategy, place) = reader.text_at(&TOPIC_STRATEGY, "one-per-channel")?;
    let strategy = parse_strategy(&strategy, &place)?;
    let partitions = reader.optional_int(&DEFAULT_PARTITIONS, (1, 100_000), "")?;
    let partitions = partitions.and_then(|n| i32::try_from(n).ok());
    let mapping = mapping(reader, partitions)?;
    let (default_topic, place) = reader.text_at(&DEFAULT_TOPIC, &prefix)?;
    check_name(&default_topic, &place)?;

    let map = if strategy == TopicStrategy::Grouped {
        let default_spec = partitions.map(|n| TopicSpec {
            partitions: Some(n),
            ..TopicSpec::default()
        });
        TopicMap::grouped(prefix, mapping, default_topic, default_spec)
    } else {
        if !mapping.is_empty() {
            let message = format!(
                "topic_mapping has no effect while topic_strategy is '{}'. Set topic_strategy to 'grouped' to use it.",
                strategy.as_str()
            );
            if strategy_set {
                reader.notes.push(message);
            } else {
                reader.warnings.push(message);
            }
        }
        TopicMap::one_per_channel(prefix, strategy == TopicStrategy::OnePerChannelDots)
    };
    let longest = MAX_KAFKA_TOPIC.saturating_sub(dlq_prefix.len() + 1);
    Ok(map.with_longest_topic(longest.min(MAX_TOPIC)))
}

fn parse_strategy(text: &str, place: &str) -> Result<TopicStrategy> {
    match text.to_ascii_lowercase().replace('_', "-").as_str() {
        "one-per-channel" => Ok(TopicStrategy::OnePerChannel),
        "one-per-channel-dots" => Ok(TopicStrategy::OnePerChannelDots),
        "grouped" => Ok(TopicStrategy::Grouped),
        _ => Err(wrong(
            place,
            "'one-per-channel', 'one-per-channel-dots' or 'grouped'",
            &Value::from(text),
        )),
    }
}

fn mapping(reader: &SettingsReader<'_>, partitions: Option<i32>) -> Result<Vec<Mapping>> {
    let Some(found) = reader.sources.find(&TOPIC_MAPPING) else {
        return Ok(Vec::new());
    };
    let entries = found.value.as_map().ok_or_else(|| {
        wrong(
            &found.place,
            "an array of channel patterns and topics, such as ['user.*' => 'realtime.user']",
            &found.value,
        )
    })?;
    entries
        .iter()
        .map(|(pattern, entry)| parse_mapping(pattern, entry, &found.place, partitions))
        .collect()
}

fn parse_mapping(
    pattern: &str,
    entry: &Value,
    place: &str,
    partitions: Option<i32>,
) -> Result<Mapping> {
    let place = format!("'{}' in {place}", pattern.escape_debug());
    let pattern = ChannelPattern::parse(pattern)
        .map_err(|e| Error::configuration(format!("{place}: {}", e.message())))?;
    let mut spec = TopicSpec {
        partitions,
        ..TopicSpec::default()
    };
    let topic = match entry {
        Value::Str(topic) => topic.trim().to_owned(),
        Value::Map(members) => {
            keys::check(members, &place, MAPPING_KEYS)?;
            let member = |names: &[&str]| {
                members
                    .iter()
                    .find(|(k, v)| names.contains(&k.as_str()) && !v.is_unset())
                    .map(|(k, v)| (format!("{k} of {place}"), v))
            };
            if let Some((place, value)) = member(&["partitions"]) {
                spec.partitions = i32::try_from(value.int(&place, (1, 100_000), "")?).ok();
            }
            if let Some((place, value)) = member(&["replication", "replication_factor"]) {
                let copies = value.int(&place, (-1, 32_767), "")?;
                spec.replication = i32::try_from(copies).ok().filter(|n| *n > 0);
            }
            if let Some((place, value)) = member(&["retention_ms", "retention"]) {
                spec.retention_ms = Some(retention(value, &place)?);
            }
            match member(&["topic"]) {
                Some((place, value)) => value.text(&place)?,
                None => {
                    return Err(Error::configuration(format!(
                        "{place} has no topic. Add one: ['topic' => 'realtime.user']."
                    )))
                }
            }
        }
        other => {
            return Err(wrong(
                &place,
                "a topic name, or an array with 'topic'",
                other,
            ))
        }
    };
    check_name(&topic, &place)?;
    Ok(Mapping {
        pattern,
        topic,
        spec,
    })
}

/// Milliseconds, or a number with the unit ms, s, m, h, d or w; -1 for unlimited.
fn retention(value: &Value, place: &str) -> Result<i64> {
    const LONGEST: i64 = 36_500 * DAY_MS;
    if let Value::Str(text) = value {
        let text = text.trim();
        let split = text.find(|c: char| c.is_ascii_alphabetic());
        if let Some((number, unit)) = split.map(|at| text.split_at(at)) {
            let factor = match unit.to_ascii_lowercase().as_str() {
                "ms" => 1,
                "s" => 1000,
                "m" | "min" => 60_000,
                "h" => 3_600_000,
                "d" => DAY_MS,
                "w" => 7 * DAY_MS,
                _ => 0,
            };
            return number
                .trim()
                .parse::<i64>()
                .ok()
                .and_then(|n| n.checked_mul(factor))
                .filter(|ms| (1..=LONGEST).contains(ms))
                .ok_or_else(|| {
                    wrong(
                        place,
                        "milliseconds, or a time such as '7d' or '12h'",
                        value,
                    )
                });
        }
    }
    value.int(place, (-1, LONGEST), "ms")
}

fn check_name(topic: &str, place: &str) -> Result<()> {
    validate_topic(topic).map_err(|e| Error::configuration(format!("{place}: {}", e.message())))?;
    if is_control_topic(topic) {
        return Err(Error::configuration(format!(
            "{place} cannot be '{topic}': topics ending in __presence, __client and __events are reserved for the \
             gateways."
        )));
    }
    Ok(())
}
