//! Sends messages that waited for their topic, or for the client that replaces one with a fatal error.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;

use super::Poller;
use crate::kafka::client::{self, TopicHandle};
use crate::kafka::producer::delivery::Undelivered;
use crate::kafka::producer::delivery_failure::spool_or_report;
use crate::kafka::producer::in_flight::InFlight;
use crate::kafka::producer::pool::PRODUCERS;
use crate::kafka::producer::topic_cache::{PendingMessage, Readiness, TopicCache};
use crate::kafka::producer::topic_gate::TopicGate;
use crate::kafka::producer::topic_gate::{produce_gated, Passed};
use crate::kafka::producer::topic_lookup::TopicLookup;
use crate::kafka::producer::Producer;
use crate::spool::SpoolRecord;

impl Poller<'_> {
    /// Sends messages whose topic waited for others to be opened.
    pub(super) fn open_topics(&mut self) {
        let producer = self.producer;
        loop {
            // The cache stays locked until all of them are sent, so that later messages cannot overtake them.
            let mut topics = producer.topics.lock();
            let Some(topic) = topics.next_to_open() else {
                return;
            };
            let messages = producer.pending.lock().take(&topic);
            if messages.is_empty() {
                // A handle would create the topic.
                continue;
            }
            let failed = send_messages(producer, &mut topics, &topic, messages);
            drop(topics);
            self.report_or_keep(failed);
        }
    }

    /// Sends messages whose topic lookup has completed.
    pub(super) fn serve_pending(&mut self) {
        let producer = self.producer;
        if self.lookup.is_none() {
            let topics = producer.topics.lock();
            let pending = producer.pending.lock();
            let topic = pending.next_topic(|topic| !topics.is_queued(topic));
            drop((pending, topics));
            self.lookup =
                topic.map(|topic| TopicLookup::start(&producer.client, &producer.config, topic));
        }
        let Some(lookup) = self.lookup.as_mut() else {
            return;
        };
        let Some(readiness) = lookup.poll() else {
            return;
        };
        let topic = lookup.topic().to_owned();
        self.lookup = None;
        let mut failed = Vec::new();
        {
            // The cache stays locked until all of them are sent, so that later messages cannot overtake them.
            let mut topics = producer.topics.lock();
            let messages = producer.pending.lock().take(&topic);
            topics.set_readiness(&topic, readiness);
            if matches!(readiness, Readiness::Ready) {
                failed.extend(send_messages(producer, &mut topics, &topic, messages));
            } else {
                let code = Code::UnknownTopicOrPartition;
                failed.extend(messages.into_iter().map(|message| refused(message, code)));
            }
        }
        self.report_or_keep(failed);
    }

    /// Sends messages behind the first one of their partition, once that is acknowledged.
    pub(super) fn release_gated(&mut self) {
        let producer = self.producer;
        if producer.gated.lock().is_empty() {
            return;
        }
        let mut failed = Vec::new();
        {
            let mut topics = producer.topics.lock();
            let waiting = producer.gated.lock().topics();
            for topic in waiting {
                let Some((_, Some(gate))) = topics.outlet(&topic) else {
                    continue;
                };
                if gate.release() {
                    let messages = producer.gated.lock().take(&topic);
                    failed.extend(send_messages(producer, &mut topics, &topic, messages));
                }
            }
        }
        self.report_or_keep(failed);
    }

    /// Sends the messages held back, once the predecessor has handed over its own, which come first.
    pub(super) fn release_held(&mut self) {
        let producer = self.producer;
        let handed_over = |old: &Arc<Producer>| old.handed_over.load(Ordering::Acquire);
        if !producer.predecessor.lock().as_ref().is_none_or(handed_over) {
            return;
        }
        let mut failed = Vec::new();
        {
            let mut topics = producer.topics.lock();
            let waiting = producer.pending.lock().topics();
            for topic in waiting {
                if matches!(topics.get(&topic).readiness, Readiness::Ready) {
                    let messages = producer.pending.lock().take(&topic);
                    failed.extend(send_messages(producer, &mut topics, &topic, messages));
                }
            }
            producer.held.store(false, Ordering::Release);
        }
        producer.predecessor.lock().take();
        self.report_or_keep(failed);
    }

    /// Keeps messages that met a fatal error for the client that replaces this one, and reports the others.
    fn report_or_keep(&mut self, failed: Vec<Undelivered>) {
        let (unsent, failed): (Vec<_>, Vec<_>) = failed
            .into_iter()
            .partition(|report| report.code == Code::Fatal && !self.producer.transactional);
        if !unsent.is_empty() {
            self.producer.fatal.store(true, Ordering::Release);
            self.unsent.extend(unsent);
        }
        spool_or_report(self.producer, failed);
    }

    /// Hands the messages of a client with a fatal error to its replacement, or to the spool. Until then they count as
    /// in flight, so that no flush reports them as delivered.
    pub(super) fn hand_over(&mut self) {
        let producer = self.producer;
        if self.unsent.is_empty() {
            if self.replay.has_to_continue() && !producer.closing.load(Ordering::Acquire) {
                // The spool is sent by the next client, also if nothing else is.
                drop(PRODUCERS.current().get(&producer.config));
            }
            return;
        }
        self.unsent
            .sort_by_key(|report| InFlight::sequence_of(report.opaque));
        let next = PRODUCERS.current().get(&producer.config);
        if let Ok(next) = &next {
            if producer.tracks_callback_sends() {
                next.track_callback_sends();
            }
            *producer.successor.lock() = Some(Arc::clone(next));
            if matches!(next.take_over(&self.unsent), Ok(true)) {
                for report in self.unsent.drain(..) {
                    producer.in_flight.complete(report.opaque);
                }
            }
        }
        let mut lost = Vec::new();
        for mut report in self.unsent.drain(..) {
            let sent = next
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|next| next.send(&report.record.outgoing()));
            match sent {
                Ok(()) => producer.in_flight.complete(report.opaque),
                Err(error) => {
                    error.message().clone_into(&mut report.record.reason);
                    report.code = Code::Fatal;
                    lost.push(report);
                }
            }
        }
        spool_or_report(producer, lost);
    }
}

/// Sends messages that waited, or lets them wait behind the first one of their partition; returns those that
/// librdkafka does not accept.
fn send_messages(
    producer: &Producer,
    topics: &mut TopicCache,
    topic: &str,
    messages: VecDeque<PendingMessage>,
) -> Vec<Undelivered> {
    let Some((handle, gate)) = topics.outlet(topic) else {
        let code = Code::UnknownTopicOrPartition;
        let refused = messages.into_iter().map(|message| refused(message, code));
        return refused.collect();
    };
    let mut failed = Vec::new();
    for message in messages {
        match send_record(producer, handle, gate, &message.record, message.sequence) {
            Passed::Produced(Code::NoError) => {}
            Passed::Produced(code) => failed.push(refused(message, code)),
            Passed::Waits(gate) => {
                gate.waiting.fetch_add(1, Ordering::AcqRel);
                producer.gated.lock().append(message);
            }
        }
    }
    failed
}

fn refused(message: PendingMessage, code: Code) -> Undelivered {
    Undelivered {
        record: SpoolRecord {
            reason: client::describe(code),
            ..message.record
        },
        code,
        opaque: message.sequence,
    }
}

/// Sends a stored record; waits for a full queue until the client is closed.
fn send_record<'a>(
    producer: &Producer,
    handle: &TopicHandle,
    gate: Option<&'a TopicGate>,
    record: &SpoolRecord,
    opaque: u64,
) -> Passed<'a> {
    loop {
        let passed = produce_gated(handle, gate, &record.outgoing(), opaque);
        let full = matches!(passed, Passed::Produced(Code::QueueFull));
        if !full || producer.closing.load(Ordering::Acquire) {
            return passed;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
