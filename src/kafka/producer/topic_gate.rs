//! Sends the first message of a client to each partition alone; later ones wait until it is acknowledged.
//!
//! A broker accepts any first sequence number from a producer id that is new to a partition. If the first batch is
//! refused (too large, an invalid record), a second one in flight would therefore be stored, and the messages of the
//! first one, which are sent again, would follow it. Once the broker knows the producer id, it rejects batches behind a
//! refused one.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

use rdkafka::error::RDKafkaErrorCode as Code;

use super::{PINNED, REPLAY};
use crate::kafka::client::{
    self, keyed_partitioner, Client, NativeMessage, NativePartitioner, Outgoing, Partitioner,
    TopicHandle,
};
use crate::message::ProducerRecord;

/// Messages for partitions from this number on are not held back.
const MAX_PARTITIONS: usize = 1024;

/// A set of partitions.
struct Partitions([AtomicU64; MAX_PARTITIONS / 64]);

impl Default for Partitions {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; MAX_PARTITIONS / 64])
    }
}

impl Partitions {
    fn has(&self, partition: usize) -> bool {
        self.0[partition / 64].load(Ordering::Acquire) & (1 << (partition % 64)) != 0
    }

    /// True if it was not in the set.
    fn add(&self, partition: usize) -> bool {
        let bit = 1 << (partition % 64);
        self.0[partition / 64].fetch_or(bit, Ordering::AcqRel) & bit == 0
    }

    /// True if it was in the set.
    fn remove(&self, partition: usize) -> bool {
        let bit = 1 << (partition % 64);
        self.0[partition / 64].fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    fn add_all(&self, others: &Self) {
        for (word, other) in self.0.iter().zip(&others.0) {
            word.fetch_or(other.load(Ordering::Acquire), Ordering::AcqRel);
        }
    }

    /// Moves all partitions out of `others`, and removes them here.
    fn remove_all(&self, others: &Self) {
        for (word, other) in self.0.iter().zip(&others.0) {
            word.fetch_and(!other.swap(0, Ordering::AcqRel), Ordering::AcqRel);
        }
    }
}

/// Which partitions of a topic know the producer id of this client.
///
/// librdkafka's threads only note outcomes. They take effect under the lock of the topic cache: in
/// [`TopicGate::release`], or where no message waits, as a later message must not overtake one that does.
pub struct TopicGate {
    partitioner: NativePartitioner,
    /// The first message to the topic was sent; until it has an outcome, the partitions of others are unknown.
    first_sent: AtomicBool,
    first_refused: AtomicBool,
    has_outcome: AtomicBool,
    started: AtomicBool,
    /// A first message failed because of Kafka: holding back others does not help.
    failed: AtomicBool,
    off: AtomicBool,
    /// Their first message was sent.
    opening: Partitions,
    /// It was refused: the next one is the first.
    refused: Partitions,
    /// It is acknowledged.
    acked: Partitions,
    /// The same, and the messages that waited for that are sent.
    open: Partitions,
    /// Messages held back.
    pub waiting: AtomicUsize,
    /// An outcome arrived since the last [`TopicGate::release`].
    changed: AtomicBool,
    /// An outcome has arrived, whatever it was.
    answered: AtomicBool,
}

impl TopicGate {
    /// `None` for a partitioner that keeps no order.
    pub fn new(partitioner: &str) -> Option<Arc<Self>> {
        let no = || AtomicBool::new(false);
        Some(Arc::new(Self {
            partitioner: keyed_partitioner(partitioner)?,
            first_sent: no(),
            first_refused: no(),
            has_outcome: no(),
            started: no(),
            failed: no(),
            off: no(),
            opening: Partitions::default(),
            refused: Partitions::default(),
            acked: Partitions::default(),
            open: Partitions::default(),
            waiting: AtomicUsize::new(0),
            changed: no(),
            answered: no(),
        }))
    }

    /// True if a message may be passed to librdkafka: the partitioner then decides about its partition, unless it is
    /// given.
    #[inline]
    fn admits(&self, partition: Option<i32>) -> bool {
        if self.started.load(Ordering::Acquire) || self.off.load(Ordering::Acquire) {
            return partition.is_none_or(|partition| self.admits_to(partition));
        }
        self.admits_first(partition)
    }

    #[cold]
    fn admits_first(&self, partition: Option<i32>) -> bool {
        if self.waiting.load(Ordering::Acquire) > 0 {
            return false;
        }
        self.apply();
        if self.started.load(Ordering::Acquire) || self.off.load(Ordering::Acquire) {
            return partition.is_none_or(|partition| self.admits_to(partition));
        }
        !self.first_sent.swap(true, Ordering::AcqRel)
    }

    /// True if a message may be sent to this partition.
    #[inline]
    fn admits_to(&self, partition: i32) -> bool {
        let Some(place) = place(partition) else {
            return true;
        };
        self.open.has(place) || self.admits_to_new(place)
    }

    #[cold]
    fn admits_to_new(&self, place: usize) -> bool {
        if self.off.load(Ordering::Acquire) {
            return true;
        }
        if self.waiting.load(Ordering::Acquire) == 0 {
            if self.failed.load(Ordering::Acquire) {
                self.off.store(true, Ordering::Release);
                return true;
            }
            if self.acked.has(place) {
                self.open.add(place);
                return true;
            }
            if self.refused.remove(place) {
                return true;
            }
        }
        self.opening.add(place)
    }

    /// Outcomes that arrived take effect.
    fn apply(&self) {
        if self.failed.load(Ordering::Acquire) {
            self.off.store(true, Ordering::Release);
        }
        if self.has_outcome.load(Ordering::Acquire) {
            self.started.store(true, Ordering::Release);
        }
        if self.first_refused.swap(false, Ordering::AcqRel) {
            self.first_sent.store(false, Ordering::Release);
        }
        self.open.add_all(&self.acked);
        self.opening.remove_all(&self.refused);
    }

    /// True once a message has its outcome.
    pub fn has_answer(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    /// True while the first message is under way. librdkafka may have refused it: then nothing is.
    pub fn awaits_first(&self) -> bool {
        self.first_sent.load(Ordering::Acquire) && !self.has_answer()
    }

    /// True if a first message failed because of Kafka.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The messages that were held back are about to be sent, if there was an outcome since the last call.
    pub fn release(&self) -> bool {
        if !self.changed.swap(false, Ordering::AcqRel) {
            return false;
        }
        self.apply();
        self.waiting.store(0, Ordering::Release);
        true
    }

    /// A message that was admitted was not sent: librdkafka did not accept it.
    #[cold]
    fn was_not_sent(&self, partition: Option<i32>) {
        if !self.started.load(Ordering::Acquire) {
            self.first_sent.store(false, Ordering::Release);
        } else if let Some(place) = partition.and_then(place) {
            self.opening.remove(place);
        }
    }

    /// A message has its outcome; true if messages wait for that.
    #[inline]
    fn on_outcome(&self, partition: i32, code: impl FnOnce() -> Code) -> bool {
        let place = place(partition);
        if place.is_some_and(|place| self.open.has(place)) {
            return false;
        }
        let code = code();
        match place {
            Some(place) if code == Code::NoError => {
                self.acked.add(place);
                self.has_outcome.store(true, Ordering::Release);
            }
            Some(place) if client::is_refused(code) => {
                self.refused.add(place);
                self.has_outcome.store(true, Ordering::Release);
            }
            None if client::is_refused(code) => self.first_refused.store(true, Ordering::Release),
            _ => self.failed.store(true, Ordering::Release),
        }
        self.changed.store(true, Ordering::Release);
        self.answered.store(true, Ordering::Release);
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// The handle of a topic whose keyed messages ask the gate.
    pub fn open_topic(self: &Arc<Self>, client: &Client, name: &str) -> Option<TopicHandle> {
        TopicHandle::with_partitioner(client, name, self)
    }
}

fn place(partition: i32) -> Option<usize> {
    usize::try_from(partition)
        .ok()
        .filter(|&place| place < MAX_PARTITIONS)
}

/// The outcome of a message, told to the gate of its topic; true if messages wait for that.
#[inline]
pub fn on_outcome(message: &NativeMessage) -> bool {
    // SAFETY: the topics of a producer have a gate, or no partitioner of ours.
    let gate = unsafe { message.partitioner::<TopicGate>() };
    gate.is_some_and(|gate| gate.on_outcome(message.partition(), || message.code()))
}

impl Partitioner for TopicGate {
    fn native(&self) -> NativePartitioner {
        self.partitioner
    }

    /// A partition that must wait is answered with one that does not exist, which librdkafka refuses. Messages without
    /// a key keep no order across partitions, and those of a spool are sent in small batches.
    #[inline]
    fn decide(&self, chosen: i32, count: i32, has_key: bool, opaque: u64) -> i32 {
        let is_free = !has_key || opaque & REPLAY != 0;
        if is_free || self.admits_to(chosen) {
            chosen
        } else {
            count
        }
    }
}

/// The result of a message.
pub(super) enum Passed<'a> {
    /// librdkafka's answer.
    Produced(Code),
    /// The first message of its partition is not acknowledged yet.
    Waits(&'a TopicGate),
}

/// Passes a message to librdkafka, unless it must wait behind the first one of its partition.
#[allow(clippy::inline_always)] // The record is not copied then.
#[inline(always)]
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

#[cfg(test)]
mod tests {
    use super::{Arc, Code, Ordering, TopicGate};

    const ACKED: Code = Code::NoError;
    const TOO_LARGE: Code = Code::MessageSizeTooLarge;
    const TIMED_OUT: Code = Code::MessageTimedOut;

    fn gate() -> Arc<TopicGate> {
        TopicGate::new("murmur2_random").expect("a known partitioner")
    }

    #[test]
    fn the_first_message_of_a_topic_is_sent_alone() {
        let gate = gate();
        assert!(gate.admits(None));
        // Its partition is known once there is metadata.
        assert!(gate.admits_to(3));
        assert!(!gate.admits(None));
        gate.waiting.store(1, Ordering::Release);
        assert!(gate.on_outcome(3, || ACKED));
        // The message that waits comes first.
        assert!(!gate.admits(None));
        assert!(gate.release());
        assert!(!gate.release());
        assert!(gate.admits(None) && gate.admits_to(3));
        assert!(gate.admits(None) && gate.admits_to(3));
    }

    #[test]
    fn so_is_the_first_one_of_each_partition() {
        let gate = gate();
        assert!(gate.admits(Some(0)));
        gate.on_outcome(0, || ACKED);
        assert!(gate.admits(Some(1)));
        assert!(!gate.admits(Some(1)));
        assert!(gate.admits(Some(0)));
        gate.waiting.store(1, Ordering::Release);
        assert!(gate.on_outcome(1, || ACKED));
        assert!(!gate.admits(Some(1)));
        assert!(gate.release());
        assert!(gate.admits(Some(1)));
        assert!(gate.admits(Some(5000)));
    }

    #[test]
    fn after_a_refusal_the_next_one_is_the_first() {
        let gate = gate();
        assert!(gate.admits(None) && gate.admits_to(0));
        gate.on_outcome(0, || TOO_LARGE);
        assert!(gate.admits(None) && gate.admits_to(0));
        assert!(!gate.admits_to(0));
        gate.waiting.store(1, Ordering::Release);
        gate.on_outcome(0, || TOO_LARGE);
        assert!(!gate.admits_to(0));
        assert!(gate.release());
        assert!(gate.admits_to(0));
        assert!(!gate.admits_to(0));
    }

    #[test]
    fn so_it_is_before_the_partition_is_known() {
        let gate = gate();
        assert!(gate.admits(None));
        gate.waiting.store(1, Ordering::Release);
        gate.on_outcome(-1, || Code::UnknownTopic);
        assert!(!gate.admits(None));
        assert!(gate.release());
        assert!(gate.admits(None));
        assert!(!gate.admits(None));
    }

    #[test]
    fn a_message_that_librdkafka_does_not_accept_is_not_the_first() {
        let gate = gate();
        assert!(gate.admits(None));
        gate.was_not_sent(None);
        assert!(gate.admits(Some(0)));
        gate.on_outcome(0, || ACKED);
        assert!(gate.admits(Some(1)));
        gate.was_not_sent(Some(1));
        assert!(gate.admits(Some(1)));
        assert!(!gate.admits(Some(1)));
    }

    #[test]
    fn without_kafka_nothing_is_held_back_once_the_others_are_sent() {
        let gate = gate();
        assert!(gate.admits(None));
        gate.waiting.store(1, Ordering::Release);
        gate.on_outcome(-1, || TIMED_OUT);
        assert!(!gate.admits(None));
        assert!(gate.release());
        assert!(gate.admits(None) && gate.admits_to(0) && gate.admits_to(0));
    }

    #[test]
    fn a_partitioner_without_an_order_has_no_gate() {
        assert!(TopicGate::new("random").is_none());
    }
}
