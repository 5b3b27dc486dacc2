//! The arguments of Admin's methods, and their results as PHP arrays.

use std::borrow::Cow;
use std::path::PathBuf;

use ext_php_rs::boxed::ZBox;
use ext_php_rs::convert::IntoZval;
use ext_php_rs::error::Result;
use ext_php_rs::types::{ArrayKey, ZendHashTable, Zval};

use crate::config::{BrokerConfig, MonitorConfig};
use crate::error::{Error, Kind};
use crate::kafka::admin::{
    BrokerNode, BrokerProbe, ClusterDescription, CommittedOffset, GroupDescription, GroupListing,
    GroupOffsets, GroupSubscriptions, OffsetRange, TopicOffsets,
};
use crate::kafka::client::TopicInfo;
use crate::php::arguments::{self, CallError, Key};

type Table = ZBox<ZendHashTable>;

/// The resolved configuration without secrets.
pub fn configuration(config: &BrokerConfig, monitor: &MonitorConfig) -> Result<Table> {
    let topics = &config.topics;
    let mut mapping = ZendHashTable::new();
    for one in topics.mapping() {
        let mut entry = ZendHashTable::new();
        entry.insert("pattern", one.pattern.as_str())?;
        entry.insert("topic", one.topic.as_str())?;
        entry.insert("partitions", one.spec.partitions.map(i64::from))?;
        entry.insert("replication", one.spec.replication.map(i64::from))?;
        entry.insert("retention_ms", one.spec.retention_ms)?;
        mapping.push(entry)?;
    }
    let default = topics.spec_for_topic(topics.default_topic());
    let mut all = ZendHashTable::new();
    all.insert("broker", config.name.as_str())?;
    all.insert("brokers", config.brokers.as_str())?;
    all.insert("consumer_group", config.consumer_group.as_str())?;
    all.insert("topic_prefix", topics.prefix())?;
    all.insert("topic_strategy", topics.strategy().as_str())?;
    all.insert("topic_mapping", mapping)?;
    all.insert("default_topic", topics.default_topic())?;
    all.insert(
        "default_partitions",
        default.and_then(|spec| spec.partitions).map(i64::from),
    )?;
    all.insert("auto_create_topics", config.auto_create_topics)?;
    all.insert("dlq", config.dlq)?;
    all.insert("dlq_prefix", config.dlq_prefix.as_str())?;
    let path = |path: Option<&PathBuf>| path.map(|path| path.to_string_lossy().into_owned());
    all.insert("delivery", config.delivery.as_str())?;
    all.insert("transactional_id", config.transactional_id.clone())?;
    all.insert("idempotence", config.idempotent)?;
    all.insert("application", config.application.as_str())?;
    all.insert("spool", path(config.spool.as_ref()))?;
    all.insert(
        "spool_max_bytes",
        i64::try_from(config.spool_max_bytes).unwrap_or(i64::MAX),
    )?;
    all.insert("metrics", monitor.listen.clone())?;
    all.insert("metrics_textfile", path(monitor.textfile.as_ref()))?;
    all.insert("heartbeat_file", path(monitor.heartbeat.as_ref()))?;
    let property = |name| config.consumer_overrides.get(name).map(str::to_owned);
    all.insert("group_protocol", property("group.protocol"))?;
    all.insert("security", security(config)?)?;
    all.insert("warnings", config.warnings.clone())?;
    all.insert("advice", config.advice.clone())?;
    Ok(all)
}

/// How the consumers of this configuration connect; producers may differ by `producer_config`.
fn security(config: &BrokerConfig) -> Result<Table> {
    let property = |name| config.consumer_overrides.get(name);
    let protocol = property("security.protocol").unwrap_or("plaintext");
    let is_name_verified =
        property("ssl.endpoint.identification.algorithm").is_none_or(|name| name == "https");
    let is_verified = property("enable.ssl.certificate.verification").is_none_or(|on| on == "true");
    let mut all = ZendHashTable::new();
    all.insert("protocol", protocol)?;
    for (name, of) in [
        ("mechanism", "sasl.mechanism"),
        ("username", "sasl.username"),
        ("ca", "ssl.ca.location"),
        ("certificate", "ssl.certificate.location"),
        ("key", "ssl.key.location"),
    ] {
        all.insert(name, property(of).map(str::to_owned))?;
    }
    all.insert("verify", is_verified)?;
    all.insert("verify_name", is_verified && is_name_verified)?;
    Ok(all)
}

pub fn topics(topics: &[TopicInfo]) -> Result<Table> {
    let mut all = ZendHashTable::new();
    for topic in topics {
        let mut partitions = ZendHashTable::new();
        for partition in &topic.partitions {
            let numbers = |list: &[i32]| list.iter().map(|id| i64::from(*id)).collect::<Vec<_>>();
            let mut entry = ZendHashTable::new();
            entry.insert("partition", i64::from(partition.id))?;
            entry.insert("leader", i64::from(partition.leader))?;
            entry.insert("replicas", numbers(&partition.replicas))?;
            entry.insert("isr", numbers(&partition.isr))?;
            partitions.push(entry)?;
        }
        let mut entry = ZendHashTable::new();
        entry.insert("partitions", partitions)?;
        all.insert(topic.name.as_str(), entry)?;
    }
    Ok(all)
}

/// Values by partition number.
pub fn by_partition<T: IntoZval>(list: impl IntoIterator<Item = (i32, T)>) -> Result<Table> {
    let mut all = ZendHashTable::new();
    for (partition, what) in list {
        all.insert(ArrayKey::Long(i64::from(partition)), what)?;
    }
    Ok(all)
}

/// The first and last offset by partition.
pub fn offset_ranges(offset_ranges: &[OffsetRange]) -> Result<Table> {
    let entries = offset_ranges.iter().map(|range| {
        let mut entry = ZendHashTable::new();
        entry.insert("beginning", range.beginning)?;
        entry.insert("end", range.end)?;
        Ok((range.partition, entry))
    });
    by_partition(entries.collect::<Result<Vec<_>>>()?)
}

/// Offset ranges of several topics, each with its error.
pub fn all_offset_ranges(list: &[TopicOffsets]) -> Result<Table> {
    let mut all = ZendHashTable::new();
    for topic in list {
        let mut entry = ZendHashTable::new();
        entry.insert("error", words(topic.error.as_ref()))?;
        entry.insert("partitions", offset_ranges(&topic.offset_ranges)?)?;
        all.insert(topic.topic.as_str(), entry)?;
    }
    Ok(all)
}

pub fn cluster(cluster: &ClusterDescription) -> Result<Table> {
    let mut brokers = ZendHashTable::new();
    for broker in &cluster.brokers {
        let mut entry = node(broker)?;
        entry.insert("rack", broker.rack.clone())?;
        brokers.push(entry)?;
    }
    let mut all = ZendHashTable::new();
    all.insert("id", cluster.id.clone())?;
    all.insert("controller", i64::from(cluster.controller))?;
    all.insert("brokers", brokers)?;
    all.insert("operations", cluster.authorized_operations.clone())?;
    Ok(all)
}

/// Authorized operations by topic.
pub fn operations(list: &[(String, Vec<&'static str>)]) -> Result<Table> {
    let mut all = ZendHashTable::new();
    for (topic, operations) in list {
        all.insert(topic.as_str(), operations.clone())?;
    }
    Ok(all)
}

pub fn groups(list: &[GroupListing]) -> Result<Table> {
    let mut all = ZendHashTable::new();
    for group in list {
        let mut entry = ZendHashTable::new();
        entry.insert("group", group.group.as_str())?;
        entry.insert("state", group.state.as_str())?;
        entry.insert("type", group.kind.as_str())?;
        entry.insert("protocol", group.protocol)?;
        all.push(entry)?;
    }
    Ok(all)
}

pub fn group(group: &GroupDescription) -> Result<Table> {
    let mut members = ZendHashTable::new();
    for member in &group.members {
        let mut assignment = ZendHashTable::new();
        for of_topic in member.assignment.chunk_by(|a, b| a.0 == b.0) {
            let numbers: Vec<i64> = of_topic.iter().map(|(_, id)| i64::from(*id)).collect();
            assignment.insert(of_topic[0].0.as_str(), numbers)?;
        }
        let mut entry = ZendHashTable::new();
        entry.insert("id", member.id.as_str())?;
        entry.insert("instance", member.instance.clone())?;
        entry.insert("client", member.client.as_str())?;
        entry.insert("host", member.host.as_str())?;
        entry.insert("assignment", assignment)?;
        members.push(entry)?;
    }
    let mut all = ZendHashTable::new();
    all.insert("group", group.group.as_str())?;
    all.insert("state", group.state.as_str())?;
    all.insert("type", group.kind.as_str())?;
    all.insert("assignor", group.assignor.as_str())?;
    all.insert(
        "coordinator",
        group.coordinator.as_ref().map(node).transpose()?,
    )?;
    all.insert("members", members)?;
    all.insert("operations", group.authorized_operations.clone())?;
    Ok(all)
}

/// Several groups by name, each with its error.
pub fn all_groups(list: &[GroupDescription]) -> Result<Table> {
    let mut all = ZendHashTable::new();
    for one in list {
        let mut entry = group(one)?;
        entry.insert("error", words(one.error.as_ref()))?;
        all.insert(one.group.as_str(), entry)?;
    }
    Ok(all)
}

/// Committed offsets by topic and partition.
pub fn commits(list: &[CommittedOffset]) -> Result<Table> {
    let mut all = ZendHashTable::new();
    for of_topic in list.chunk_by(|a, b| a.topic == b.topic) {
        let offsets = of_topic
            .iter()
            .map(|commit| (commit.partition, commit.offset));
        all.insert(of_topic[0].topic.as_str(), by_partition(offsets)?)?;
    }
    Ok(all)
}

/// Committed offsets of several groups, each with its error.
pub fn all_commits(list: &[GroupOffsets]) -> Result<Table> {
    let mut all = ZendHashTable::new();
    for group in list {
        let mut entry = ZendHashTable::new();
        entry.insert("error", words(group.error.as_ref()))?;
        entry.insert("offsets", commits(&group.commits)?)?;
        all.insert(group.group.as_str(), entry)?;
    }
    Ok(all)
}

/// The steps of connecting to a broker, what failed, and the cluster it belongs to.
pub fn probe(probe: &BrokerProbe) -> Result<Table> {
    let mut steps = ZendHashTable::new();
    for (step, took) in &probe.steps {
        let ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        steps.insert(step.as_str(), ms)?;
    }
    let failure = probe.failure.as_ref().map(|failure| {
        let mut entry = ZendHashTable::new();
        entry.insert("step", failure.step.as_str())?;
        entry.insert("error", failure.error.as_str())?;
        entry.insert("text", failure.text.as_str())?;
        Ok::<_, ext_php_rs::error::Error>(entry)
    });
    let mut brokers = ZendHashTable::new();
    for (id, host, port) in &probe.brokers {
        let mut entry = ZendHashTable::new();
        entry.insert("id", i64::from(*id))?;
        entry.insert("host", host.as_str())?;
        entry.insert("port", i64::from(*port))?;
        brokers.push(entry)?;
    }
    let mut all = ZendHashTable::new();
    all.insert("steps", steps)?;
    all.insert("failure", failure.transpose()?)?;
    all.insert("id", probe.cluster_id.clone())?;
    all.insert("brokers", brokers)?;
    all.insert("features", probe.features.clone())?;
    Ok(all)
}

/// The topics by member, and the distinct lists of subscriptions.
pub fn subscriptions(subscriptions: &GroupSubscriptions) -> Result<Table> {
    let mut members = ZendHashTable::new();
    for (member, topics) in &subscriptions.members {
        members.insert(member.as_str(), topics.clone())?;
    }
    let mut all = ZendHashTable::new();
    all.insert("members", members)?;
    all.insert("fingerprints", subscriptions.fingerprints.clone())?;
    Ok(all)
}

pub fn settings(list: &[(String, Option<String>)]) -> Result<Table> {
    let mut all = ZendHashTable::new();
    for (name, value) in list {
        all.insert(name.as_str(), value.clone())?;
    }
    Ok(all)
}

fn node(broker: &BrokerNode) -> Result<Table> {
    let mut entry = ZendHashTable::new();
    entry.insert("id", i64::from(broker.id))?;
    entry.insert("host", broker.host.as_str())?;
    entry.insert("port", i64::from(broker.port))?;
    Ok(entry)
}

fn words(error: Option<&Error>) -> Option<String> {
    error.map(|error| error.message().to_owned())
}

/// The array as a method returns it.
pub fn array_result(table: Result<Table>) -> std::result::Result<Zval, CallError> {
    match table {
        Ok(table) => Ok(crate::php::array(table)),
        Err(error) => Err(Error::new(Kind::Encoding, error.to_string()).into()),
    }
}

pub fn topic_argument(topic: &Zval, method: &str) -> std::result::Result<String, CallError> {
    let place = format!("Admin::{method}(): Argument #1 ($topic)");
    arguments::channel(topic, &place).map(Cow::into_owned)
}

pub fn group_argument(group: &Zval, method: &str) -> std::result::Result<String, CallError> {
    let place = format!("Admin::{method}(): Argument #1 ($group)");
    arguments::text(group, &place).map(Cow::into_owned)
}

pub fn names_argument(
    list: &Zval,
    method: &str,
    argument: &str,
) -> std::result::Result<Vec<String>, CallError> {
    let place = format!("Admin::{method}(): Argument #1 (${argument})");
    let list = arguments::array(list, &place)?;
    let mut names = Vec::with_capacity(list.len());
    for (key, name) in arguments::entries(list) {
        let place = format!("{place}[{key}]");
        names.push(arguments::text(&name, &place)?.into_owned());
    }
    Ok(names)
}

/// An array of partition => offset.
pub fn offsets_argument(
    value: Option<&Zval>,
    place: &str,
) -> std::result::Result<Vec<(i32, i64)>, CallError> {
    let Some(table) = arguments::optional(value, |value| arguments::array(value, place))? else {
        return Ok(Vec::new());
    };
    let mut list = Vec::new();
    for (key, offset) in arguments::entries(table) {
        let partition = match &key {
            Key::Int(number) => i32::try_from(*number).ok().filter(|number| *number >= 0),
            Key::Bytes(_) => None,
        };
        let offset = offset
            .long()
            .or_else(|| offset.zend_str()?.as_str().ok()?.parse().ok())
            .filter(|offset| *offset >= 0);
        let (Some(partition), Some(offset)) = (partition, offset) else {
            return Err(Error::configuration(format!(
                "{place} must be an array of partition => offset, both integers of 0 or more; entry \"{key}\" is not."
            ))
            .into());
        };
        list.push((partition, offset));
    }
    Ok(list)
}

/// The settings of a new topic, by name.
pub fn settings_argument(
    value: Option<&Zval>,
) -> std::result::Result<Vec<(String, String)>, CallError> {
    let place = "Admin::createTopic(): Argument #4 ($config)";
    let Some(table) = arguments::optional(value, |value| arguments::array(value, place))? else {
        return Ok(Vec::new());
    };
    let mut list = Vec::new();
    for (key, setting) in arguments::entries(table) {
        let Some(name) = key.text() else {
            return Err(Error::configuration(format!(
                "{place}: the name \"{key}\" is not valid UTF-8."
            ))
            .into());
        };
        let text = if setting.is_bool() {
            setting.is_true().to_string()
        } else {
            arguments::text(&setting, &format!("{place}[\"{name}\"]"))?.into_owned()
        };
        list.push((name, text));
    }
    Ok(list)
}

/// A 32-bit number of at least `least`.
pub fn integer_argument(value: i64, least: i32, place: &str) -> std::result::Result<i32, Error> {
    let number = i32::try_from(value).ok().filter(|number| *number >= least);
    number.ok_or_else(|| arguments::out_of_range(value, format_args!("{least} or more"), place))
}
