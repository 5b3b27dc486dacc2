//! The call that passes a message to librdkafka.

use rdkafka::error::RDKafkaErrorCode as Code;

use super::topic_gate::TopicGate;
use super::PINNED;
use crate::kafka::client::{self, Outgoing, TopicHandle};
use crate::message::ProducerRecord;

/// What became of a message.
pub(super) enum Passed<'a> {
    /// librdkafka's answer.
    Produced(Code),
    /// The first message of its partition is not acknowledged yet.
    Waits(&'a TopicGate),
}

/// Passes a message to librdkafka, unless it must wait behind the first one of its partition.
#[inline]
pub(super) fn produce_gated<'a>(
    topic: &TopicHandle,
    gate: Option<&'a TopicGate>,
    message: &ProducerRecord<'_>,
    opaque: u64,
) -> Passed<'a> {
    let Some(gate) = gate else {
        return Passed::Produced(produce(topic, message, opaque));
    };
    if !gate.admits(message.partition) {
        return Passed::Waits(gate);
    }
    let code = produce(topic, message, opaque);
    // Without a partition of its own, only the gate refuses one.
    if code == Code::UnknownPartition && message.partition.is_none() {
        return Passed::Waits(gate);
    }
    if code != Code::NoError {
        gate.was_not_sent(message.partition);
    }
    Passed::Produced(code)
}

/// Passes a message to librdkafka.
#[inline]
pub(super) fn produce(topic: &TopicHandle, message: &ProducerRecord<'_>, opaque: u64) -> Code {
    let pinned = if message.partition.is_some() {
        PINNED
    } else {
        0
    };
    let outgoing = Outgoing {
        partition: message.partition,
        key: message.key,
        value: message.value,
        headers: message.headers,
        timestamp_ms: message.timestamp_ms,
        opaque: opaque | pinned,
    };
    client::produce(topic, &outgoing)
}
