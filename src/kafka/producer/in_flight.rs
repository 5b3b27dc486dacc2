//! Tracks messages in flight, so that a flush that times out can name them.
//!
//! Delivery reports are enabled for failures only, because a report per success would cost more than sending. An
//! interceptor sees the acknowledgements in librdkafka's threads, at the cost of one relaxed store per message. The
//! last 4096 messages can be named. And the failures that no flush has reported yet.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::topic_gate;
use super::PINNED;
use crate::error::{FailedMessage, Kind};
use crate::ids::ID_LEN;
use crate::kafka::client::{NativeClient, OnAcknowledgement, ProducedMessage, REFUSED_BATCH};
use crate::runtime::ProcessCounters;
use crate::spool::Journal;

/// Power of two: the number of recent messages whose ids are stored.
pub const TRACKED_MESSAGES: usize = 4096;
/// Ids are truncated to this many 8-byte words; a UUID has 36 bytes.
const ID_WORDS: usize = 5;

/// The remaining bits of the opaque are the sequence number.
const SEQUENCE: u64 = PINNED - 1;

thread_local! {
    /// Consecutive messages refused with their batch on this thread of librdkafka's, and their client.
    static REFUSED: Cell<(usize, u32)> = const { Cell::new((0, 0)) };
}

/// True for a broker's refusal of a batch because of one of its messages, without saying which.
fn is_invalid_batch(code: Code) -> bool {
    matches!(code, Code::InvalidRecord | Code::InvalidTimestamp)
}

/// librdkafka's text for a valid message of a batch that was refused because of another one.
const OTHER_RECORD: &str = "Failed to append record because it was part of a batch";

/// The code of a refused message. Where exactly one record of a batch is invalid, librdkafka passes that record's code
/// for all of them, and only the text tells them apart.
pub fn refusal_code(code: Code, text: &str) -> Code {
    if is_invalid_batch(code) && text.starts_with(OTHER_RECORD) {
        Code::InvalidDifferentRecord
    } else {
        code
    }
}

/// True for a valid message of a batch that was refused because of another one.
pub fn is_innocent(code: Code) -> bool {
    code == Code::InvalidDifferentRecord
}

/// True for the refusal of a whole batch for which its messages are sent again in smaller ones. Kafka names the invalid
/// records of a batch; without a text it did not.
pub fn refuses_batch(code: Code, has_text: bool) -> bool {
    is_too_large(code) || (is_invalid_batch(code) && !has_text)
}

/// True for a broker's refusal of a batch, or of its only message, for its size.
pub fn is_too_large(code: Code) -> bool {
    matches!(code, Code::MessageSizeTooLarge | Code::MessageBatchTooLarge)
}

/// Stops the client when a batch of several messages was refused.
///
/// The messages of the batch must be sent again in smaller batches, before later messages of their partition. A fatal
/// error does that: raised here, in the thread that sends for the partition, it keeps librdkafka from sending anything
/// else, and the client that takes over sends everything in order. A single message is refused for its own size, and
/// the client continues. The size of a batch is not visible here, so two single messages refused in a row also stop it.
fn stop_after_refused_batch(client: &NativeClient, code: Code) {
    let key = client.address();
    let (last, count) = REFUSED.get();
    let count = if last == key { count + 1 } else { 1 };
    REFUSED.set((key, count));
    if count == 2 || is_innocent(code) {
        client.raise_fatal_error(code, REFUSED_BATCH);
    }
}

#[derive(Default)]
struct InFlightSlot {
    sequence: AtomicU64,
    topic: AtomicU32,
    id: [AtomicU64; ID_WORDS],
}

/// Written by the sending thread alone, under the lock of the topic cache: plain loads and stores, in a cache line of
/// their own.
#[repr(align(128))]
#[derive(Default)]
struct Sent {
    tracked: AtomicU64,
    accepted: AtomicU64,
    bytes: AtomicU64,
}

/// Written by librdkafka's threads.
#[repr(align(128))]
#[derive(Default)]
struct Acked {
    completed: AtomicU64,
}

/// Tracks the messages of one client. Shared with librdkafka's threads.
pub struct InFlight {
    sent: Sent,
    acked: Acked,
    slots: Box<[InFlightSlot]>,
    /// The last completed sequence number of each slot. Separate from the slots, which the sending thread writes.
    completed: Box<[AtomicU64]>,
    /// Acknowledged messages of the current replay.
    pub replayed: AtomicU64,
    /// Set by every acknowledgement.
    pub broker_responded: AtomicBool,
    /// Error texts of refused messages, by opaque, until their delivery reports are read.
    refusals: Mutex<HashMap<u64, String>>,
    /// With `spool_when: always`: the unacknowledged messages, on disk.
    pub journal: Option<Journal>,
    counters: &'static ProcessCounters,
    /// A transaction is aborted as a whole instead of sending a part of it again.
    transactional: bool,
    /// A message has failed, or was purged.
    undelivered: AtomicBool,
}

impl InFlight {
    pub fn new(
        counters: &'static ProcessCounters,
        journal: Option<Journal>,
        transactional: bool,
    ) -> Self {
        Self {
            sent: Sent::default(),
            acked: Acked::default(),
            slots: (0..TRACKED_MESSAGES)
                .map(|_| InFlightSlot::default())
                .collect(),
            completed: (0..TRACKED_MESSAGES).map(|_| AtomicU64::new(0)).collect(),
            replayed: AtomicU64::new(0),
            broker_responded: AtomicBool::new(false),
            refusals: Mutex::default(),
            journal,
            counters,
            transactional,
            undelivered: AtomicBool::new(false),
        }
    }

    /// The sequence number in an opaque: the order in which messages were sent.
    pub const fn sequence_of(opaque: u64) -> u64 {
        opaque & SEQUENCE
    }

    /// Registers a message about to be sent; the result is its opaque. The caller holds the lock of the topic cache.
    #[inline]
    pub fn track(&self, id: &str, topic: u32) -> u64 {
        let sent = &self.sent;
        let sequence = sent.tracked.load(Ordering::Relaxed) + 1;
        sent.tracked.store(sequence, Ordering::Release);
        let slot = self.slot(sequence);
        // A copy of a known length is a few instructions, and most ids are ours.
        let mut words = [0u8; ID_WORDS * 8];
        if let Ok(id) = <&[u8; ID_LEN]>::try_from(id.as_bytes()) {
            words[..ID_LEN].copy_from_slice(id);
        } else {
            words = cut(id.as_bytes());
        }
        for (word, bytes) in slot.id.iter().zip(words.chunks_exact(8)) {
            word.store(
                u64::from_ne_bytes(bytes.try_into().unwrap_or_default()),
                Ordering::Relaxed,
            );
        }
        slot.topic.store(topic, Ordering::Relaxed);
        slot.sequence.store(sequence, Ordering::Release);
        sequence
    }

    /// The registered message was accepted; `bytes` is the size of key and value. The caller still holds the same lock.
    #[inline]
    pub fn accepted(&self, bytes: usize) {
        let sent = &self.sent;
        let count = sent.accepted.load(Ordering::Relaxed) + 1;
        sent.accepted.store(count, Ordering::Relaxed);
        let total = sent.bytes.load(Ordering::Relaxed) + bytes as u64;
        sent.bytes.store(total, Ordering::Relaxed);
    }

    /// Number of accepted messages, and the bytes of their keys and values.
    pub fn sent(&self) -> (u64, u64) {
        let sent = &self.sent;
        (
            sent.accepted.load(Ordering::Relaxed),
            sent.bytes.load(Ordering::Relaxed),
        )
    }

    /// Number of messages neither acknowledged nor reported as failed.
    pub fn count(&self) -> u64 {
        let completed = self.acked.completed.load(Ordering::Acquire);
        self.sent
            .tracked
            .load(Ordering::Acquire)
            .saturating_sub(completed)
    }

    /// True if a message that librdkafka had accepted was not acknowledged.
    pub fn has_undelivered(&self) -> bool {
        self.undelivered.load(Ordering::Acquire)
    }

    /// Completes a message: acknowledged, failed and reported, or rejected by librdkafka.
    pub fn complete(&self, opaque: u64) {
        let sequence = opaque & SEQUENCE;
        if let Some(journal) = &self.journal {
            journal.done(sequence);
        }
        self.mark_completed(sequence);
    }

    /// True if the journal has the message.
    pub fn is_in_journal(&self, opaque: u64) -> bool {
        let journal = self.journal.as_ref();
        journal.is_some_and(|journal| journal.has(opaque & SEQUENCE))
    }

    /// Completes a message that was not delivered and is stored only in the journal.
    pub fn keep_in_journal(&self, opaque: u64) {
        let sequence = opaque & SEQUENCE;
        if let Some(journal) = &self.journal {
            journal.keep(sequence);
        }
        self.mark_completed(sequence);
    }

    fn mark_completed(&self, sequence: u64) {
        self.completed[slot_index(sequence)].store(sequence, Ordering::Relaxed);
        self.acked.completed.fetch_add(1, Ordering::Release);
    }

    fn slot(&self, sequence: u64) -> &InFlightSlot {
        &self.slots[slot_index(sequence)]
    }

    /// The sequence number of the last message.
    pub fn last_sequence(&self) -> u64 {
        self.sent.tracked.load(Ordering::Acquire)
    }

    /// Unacknowledged messages after the sequence number `after`, oldest first, at most `limit`: (id, topic number).
    pub fn unacknowledged(&self, after: u64, limit: usize) -> Vec<(String, u32)> {
        let last = self.sent.tracked.load(Ordering::Acquire);
        let first = last.saturating_sub(TRACKED_MESSAGES as u64).max(after) + 1;
        (first..=last)
            .filter_map(|sequence| {
                let slot = self.slot(sequence);
                let here = slot.sequence.load(Ordering::Acquire) == sequence;
                let open = self.completed[slot_index(sequence)].load(Ordering::Acquire) != sequence;
                (here && open).then(|| (slot.id_text(), slot.topic.load(Ordering::Relaxed)))
            })
            .take(limit)
            .collect()
    }

    /// The id of the message with this opaque, if it is still stored.
    pub fn id_of(&self, opaque: u64) -> Option<String> {
        let sequence = opaque & SEQUENCE;
        let slot = self.slot(sequence);
        (slot.sequence.load(Ordering::Acquire) == sequence).then(|| slot.id_text())
    }

    /// The broker's own text for the refusal of the message with this opaque.
    pub fn take_refusal(&self, opaque: u64) -> Option<String> {
        self.refusals.lock().remove(&opaque)
    }

    #[inline]
    fn on_acknowledged(&self, opaque: u64, failed: bool) {
        if failed {
            // Completed with its delivery report, which carries the message itself.
            self.undelivered.store(true, Ordering::Release);
            return;
        }
        if !self.broker_responded.load(Ordering::Relaxed) {
            self.broker_responded.store(true, Ordering::Release);
        }
        self.counters.delivered.fetch_add(1, Ordering::Relaxed);
        if opaque & super::REPLAY == 0 {
            self.complete(opaque);
        } else {
            self.replayed.fetch_add(1, Ordering::Release);
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // masked to the table's size
fn slot_index(sequence: u64) -> usize {
    (sequence as usize) & (TRACKED_MESSAGES - 1)
}

impl InFlightSlot {
    fn id_text(&self) -> String {
        let mut bytes = Vec::with_capacity(ID_WORDS * 8);
        for word in &self.id {
            bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl OnAcknowledgement for InFlight {
    #[inline]
    fn on_acknowledgement(&self, client: &NativeClient, message: &ProducedMessage) {
        let opaque = message.opaque();
        let failed = !message.is_record();
        let mut code = Code::NoError;
        let mut has_text = false;
        if failed {
            code = message.code();
            // Copied here, because the text belongs to the response, which is destroyed before the delivery report is
            // read.
            if let Some(text) = message.refusal_text() {
                has_text = !text.is_empty();
                code = refusal_code(code, &text);
                self.refusals.lock().insert(opaque, text);
            }
        }
        if failed && !self.transactional && (refuses_batch(code, has_text) || is_innocent(code)) {
            stop_after_refused_batch(client, code);
        } else if REFUSED.get().1 > 0 {
            REFUSED.set((0, 0));
        }
        self.on_acknowledged(opaque, failed);
        if topic_gate::on_outcome(message) {
            client.wake();
        }
    }
}

/// As much of an id as a slot holds.
#[cold]
fn cut(id: &[u8]) -> [u8; ID_WORDS * 8] {
    let mut words = [0; ID_WORDS * 8];
    let length = id.len().min(words.len());
    words[..length].copy_from_slice(&id[..length]);
    words
}

/// Failures kept with their ids until the next flush; further ones are only counted.
const MAX_NAMED: usize = 1000;

#[derive(Default)]
struct Unreported {
    named: VecDeque<FailedMessage>,
    count: u64,
}

/// Failures that no flush has reported yet.
#[derive(Default)]
pub struct DeliveryFailures {
    unreported: Mutex<Unreported>,
}

impl DeliveryFailures {
    pub fn add(&self, failed: FailedMessage) {
        let mut unreported = self.unreported.lock();
        unreported.count += 1;
        if unreported.named.len() < MAX_NAMED {
            unreported.named.push_back(failed);
        }
    }

    /// True if there is no failure.
    pub fn is_empty(&self) -> bool {
        self.unreported.lock().count == 0
    }

    /// Removes the failure with this id if the message was too large; returns its reason.
    pub fn take_too_large(&self, id: &str) -> Option<String> {
        let failed = self.remove_if(|one| one.id == id && one.kind == Kind::MessageTooLarge)?;
        Some(failed.reason)
    }

    /// Removes the failure with this id, because the caller handles it.
    pub fn remove(&self, id: &str) {
        self.remove_if(|one| one.id == id);
    }

    fn remove_if(&self, wanted: impl Fn(&FailedMessage) -> bool) -> Option<FailedMessage> {
        let mut unreported = self.unreported.lock();
        let place = unreported.named.iter().position(wanted)?;
        unreported.count -= 1;
        unreported.named.remove(place)
    }

    /// Takes all failures: those with ids, and the total number.
    pub fn take(&self) -> (Vec<FailedMessage>, u64) {
        let unreported = std::mem::take(&mut *self.unreported.lock());
        (unreported.named.into(), unreported.count)
    }
}

#[cfg(test)]
mod tests {
    use super::{refusal_code, Code, InFlight, ProcessCounters, OTHER_RECORD, TRACKED_MESSAGES};

    fn in_flight() -> InFlight {
        InFlight::new(Box::leak(Box::new(ProcessCounters::default())), None, false)
    }

    #[test]
    fn valid_records_of_a_refused_batch_are_told_apart_by_code_or_text() {
        let invalid = Code::InvalidRecord;
        let other = Code::InvalidDifferentRecord;
        let text = format!("{OTHER_RECORD} which had one more more invalid records");
        assert_eq!(refusal_code(invalid, &text), other);
        assert_eq!(
            refusal_code(invalid, "Compacted topic cannot accept"),
            invalid
        );
        assert_eq!(refusal_code(other, &text), other);
        let large = Code::MessageSizeTooLarge;
        assert_eq!(refusal_code(large, ""), large);
    }

    #[test]
    fn unacknowledged_messages_are_named() {
        let in_flight = in_flight();
        let first = in_flight.track("a", 0);
        in_flight.accepted(3);
        in_flight.track("b", 1);
        in_flight.accepted(4);
        in_flight.on_acknowledged(first, false);
        assert_eq!(in_flight.sent(), (2, 7));
        assert_eq!(in_flight.unacknowledged(0, 10), [("b".to_owned(), 1)]);
        assert_eq!(
            in_flight.counters.delivered.load(super::Ordering::Relaxed),
            1
        );
    }

    #[test]
    fn only_the_latest_messages_can_be_named() {
        let in_flight = in_flight();
        for n in 0..=TRACKED_MESSAGES {
            in_flight.track(&format!("{n}"), 0);
        }
        let open = in_flight.unacknowledged(0, usize::MAX);
        assert_eq!(open.len(), TRACKED_MESSAGES);
        assert_eq!(open[0].0, "1");
        assert_eq!(in_flight.id_of(1), None);
    }
}
