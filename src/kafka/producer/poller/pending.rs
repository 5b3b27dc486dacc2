//! Sends messages that waited for their topic, or for the client that replaces one with a fatal error.
#![allow(unsafe_code)]

use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::Poller;
use crate::kafka::client;
use crate::kafka::producer::delivery::Undelivered;
use crate::kafka::producer::delivery_failure::spool_or_report;
use crate::kafka::producer::record::produce;
use crate::kafka::producer::topic_cache::Readiness;
use crate::kafka::producer::topic_lookup::TopicLookup;
use crate::kafka::producer::{Producer, ProducerRecord};
use crate::process;
use crate::spool::SpoolRecord;

impl Poller<'_> {
    /// Sends messages whose topic lookup has completed.
    pub(super) fn serve_pending(&mut self) {
        let producer = self.producer;
        if self.lookup.is_none() {
            let topic = producer.pending.lock().next_topic();
            self.lookup =
                topic.map(|topic| TopicLookup::start(producer.client, &producer.config, topic));
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
            let handle = if matches!(readiness, Readiness::Ready) {
                topics.handle(&topic)
            } else {
                std::ptr::null_mut()
            };
            for message in messages {
                let code = match readiness {
                    Readiness::Ready => {
                        // SAFETY: the handle is alive while the cache is locked.
                        unsafe { send_record(producer, handle, &message.record, message.sequence) }
                    }
                    _ => Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                };
                if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                    let record = SpoolRecord {
                        reason: client::describe(code),
                        ..message.record
                    };
                    failed.push(Undelivered {
                        record,
                        code,
                        opaque: message.sequence,
                    });
                }
            }
        }
        spool_or_report(producer, failed);
    }

    /// Hands the messages of a client with a fatal error to its replacement, or to the spool. Until then they count as
    /// in flight, so that no flush reports them as delivered.
    pub(super) fn hand_over(&mut self) {
        let producer = self.producer;
        let next = process::current().producers.get(&producer.config);
        let mut lost = Vec::new();
        for mut report in self.unsent.drain(..) {
            let sent = next
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|next| next.send(&outgoing(&report.record)));
            match sent {
                Ok(()) => producer.in_flight.complete(report.opaque),
                Err(error) => {
                    error.message().clone_into(&mut report.record.reason);
                    report.code = Code::RD_KAFKA_RESP_ERR__FATAL;
                    lost.push(report);
                }
            }
        }
        spool_or_report(producer, lost);
    }
}

/// A stored record as a message to send.
pub(in crate::kafka::producer) fn outgoing(record: &SpoolRecord) -> ProducerRecord<'_> {
    ProducerRecord {
        id: &record.id,
        topic: &record.topic,
        partition: record.partition,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &record.headers,
        timestamp_ms: record.timestamp_ms.max(0),
    }
}

/// Sends a stored record; waits for a full queue until the client is closed.
///
/// # Safety
/// `handle` must be alive.
unsafe fn send_record(
    producer: &Producer,
    handle: *mut sys::rd_kafka_topic_t,
    record: &SpoolRecord,
    opaque: u64,
) -> Code {
    loop {
        let code = produce(producer.client, handle, &outgoing(record), opaque);
        let full = code == Code::RD_KAFKA_RESP_ERR__QUEUE_FULL;
        if !full || producer.closing.load(Ordering::Acquire) {
            return code;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
