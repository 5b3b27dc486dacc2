//! The thread that reads records from Kafka and passes them to the sink, in order.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;

use super::positions::PartitionState;
use super::{PartitionReader, RawControlRecord, Shared, TopicRole};
use crate::gateway::broadcast::{At, Broadcast, BroadcastHeaders, Skip};
use crate::kafka::client::{self, KafkaMessage};
use crate::log::MinuteLog;
use crate::runtime;
use crate::topic::socket_channel::{Reason, Undeliverable, UndeliverableLog};

/// Maximum wait for a record; also the time that stopping can take.
const POLL_TIMEOUT: Duration = Duration::from_millis(50);

/// State of the reader thread.
struct FeedReader<'a> {
    shared: &'a Shared,
    readers: HashMap<(usize, i32), PartitionReader>,
    mismatches: MinuteLog,
    bad_records: MinuteLog,
    undeliverable: UndeliverableLog,
}

pub(super) fn run(shared: &Shared) {
    let mut reader = FeedReader {
        shared,
        readers: HashMap::new(),
        mismatches: MinuteLog::default(),
        bad_records: MinuteLog::default(),
        undeliverable: UndeliverableLog::default(),
    };
    let mut batch: Vec<KafkaMessage> = Vec::with_capacity(1024);
    while !shared.is_stopping() {
        shared.client.poll(POLL_TIMEOUT, &mut batch);
        for message in batch.drain(..) {
            reader.take(&message);
        }
        while let Some((code, words)) = shared.client.next_error() {
            if code == Code::AllBrokersDown {
                shared.connected.store(false, Ordering::Release);
            } else {
                let words = words.split(" (after ").next().unwrap_or_default();
                let text = format!("The gateway's Kafka feed: {words}");
                runtime::warn(text);
            }
        }
    }
}

impl FeedReader<'_> {
    fn take(&mut self, message: &KafkaMessage) {
        let key = (message.topic_address(), message.partition());
        let reader = if let Some(reader) = self.readers.get(&key) {
            reader.clone()
        } else {
            let Some(reader) = self.shared.readers.lock().get(&key).cloned() else {
                return;
            };
            self.readers.entry(key).or_insert(reader).clone()
        };
        if message.is_record() {
            return self.record(&reader, message);
        }
        match message.code() {
            // Transaction markers behind the last record also take offsets.
            Code::PartitionEOF => reader.state.advance_to(message.offset()),
            Code::AutoOffsetReset => {
                self.restart_partition(&reader.state, "the offset is out of range");
            }
            Code::UnknownTopicOrPartition
            | Code::UnknownTopicId
            | Code::UnknownTopic
            | Code::UnknownPartition => {
                self.restart_partition(&reader.state, "the partition no longer exists");
            }
            code => {
                if code == Code::TopicAuthorizationFailed {
                    reader.state.denied.store(true, Ordering::Release);
                }
                let text = format!(
                    "The gateway cannot read partition {} of topic \"{}\": {}.",
                    reader.state.number,
                    reader.state.name,
                    client::describe(code)
                );
                runtime::warn(text);
            }
        }
    }

    /// A partition cannot be read further: counted, logged, and started again by topic discovery.
    fn restart_partition(&self, state: &Arc<PartitionState>, why: &str) {
        if !state.is_active.swap(false, Ordering::AcqRel) {
            return;
        }
        self.shared.counters.offsets_lost.add_one();
        let line = format!(
            "The gateway restarts reading partition {} of topic \"{}\": {why} (offset {}). Events may be missing; \
            clients that reconnect receive recovered: false.",
            state.number,
            state.name,
            state.next()
        );
        runtime::warn(line);
        self.shared.sink.partition_stopped(state);
        let key = (state.name.to_string(), state.number);
        self.shared.to_restart.lock().push(key);
        self.shared.positions.refresh_request.notify();
    }

    fn record(&mut self, reader: &PartitionReader, message: &KafkaMessage) {
        let state = &reader.state;
        let offset = message.offset();
        if offset < state.next() || !state.is_active.load(Ordering::Acquire) {
            return;
        }
        let timestamp_ms = message.timestamp_ms();
        if timestamp_ms < state.not_before_ms.load(Ordering::Acquire) {
            state.advance_to(offset + 1);
            return;
        }
        let value = message.value().unwrap_or_default();
        let live = offset >= state.live_from.load(Ordering::Acquire);
        if reader.role == TopicRole::Channels {
            let live = live || timestamp_ms >= self.shared.live_since_ms.load(Ordering::Acquire);
            self.shared.counters.records.add_one();
            let mut headers = BroadcastHeaders::default();
            message.each_header(|name, value| {
                headers.add(name.to_bytes(), value.unwrap_or_default());
            });
            let at = At {
                topic: state.topic,
                partition: state.number,
                offset,
            };
            self.broadcast(state, value, headers, at, timestamp_ms, live);
        } else {
            self.shared.sink.control(&RawControlRecord {
                role: reader.role,
                key: message.key().unwrap_or_default(),
                value,
                offset,
                appended_ms: message.append_time_ms(),
                live,
            });
        }
        if state.denied.load(Ordering::Relaxed) {
            state.denied.store(false, Ordering::Release);
        }
        // Last, because a position promises that all records below were passed on.
        state.advance_to(offset + 1);
    }

    fn broadcast(
        &mut self,
        state: &PartitionState,
        value: &[u8],
        headers: BroadcastHeaders,
        at: At,
        timestamp_ms: i64,
        live: bool,
    ) {
        let shared = self.shared;
        let max_event_bytes = shared.settings.max_event;
        let read = Broadcast::from_record(
            &state.name,
            value,
            headers,
            &shared.topics,
            max_event_bytes,
            Some(at),
        );
        match read {
            Ok(broadcast) => {
                let channels = &shared.settings.channels;
                if !channels.is_empty() && !channels.iter().any(|p| p.matches(broadcast.channel()))
                {
                    return;
                }
                let broadcast = Arc::new(broadcast);
                shared.sink.broadcast(&broadcast, timestamp_ms, live);
            }
            // Counted once: records that fill the replay buffer were counted by the gateway that delivered them.
            Err(_) if !live => {}
            Err(skip) => self.skipped(&state.name, at, skip),
        }
    }

    /// Counts a skipped record and warns, because its sender is not told.
    #[cold]
    fn skipped(&self, topic: &str, at: At, skip: Skip) {
        let counters = &self.shared.counters;
        let warn = |channel: &str, event: &str, reason| {
            self.undeliverable.warn(
                &runtime::current().log,
                &Undeliverable {
                    channel,
                    event,
                    reason,
                },
            );
        };
        match skip {
            Skip::TopicMismatch { channel } => self.mismatch(topic, &channel),
            Skip::Reserved { channel, event } => {
                counters.reserved_events.add_one();
                warn(&channel, &event, Reason::ReservedEvent);
            }
            Skip::TooLarge {
                channel,
                event,
                bytes,
            } => {
                counters.oversized_events.add_one();
                let max = self.shared.settings.max_event;
                warn(&channel, &event, Reason::TooLarge { bytes, max });
            }
            Skip::Replayed => {}
            // Other types are not for browsers.
            Skip::Type => counters.bad_records.add_one(),
            Skip::NotAnEnvelope => {
                counters.bad_records.add_one();
                self.bad_records.warn(&runtime::current().log, || {
                    format!(
                        "No browser receives a record of topic \"{topic}\" (partition {}, offset {}): it is not an \
                        event with a valid channel, an event name and JSON data.",
                        at.partition, at.offset
                    )
                });
            }
        }
    }

    fn mismatch(&self, topic: &str, channel: &str) {
        self.shared.counters.topic_mismatch.add_one();
        self.mismatches.warn(&runtime::current().log, || {
            let right = self.shared.topics.topic_for(channel);
            let right = right.unwrap_or_else(|_| "none".to_owned());
            let channel: String = channel.escape_debug().take(200).collect();
            format!(
                "A record was skipped: topic \"{topic}\" has a message for channel \"{channel}\", whose topic is \
                \"{right}\". Another application uses the same prefix, or a producer writes to the wrong topic."
            )
        });
    }
}
