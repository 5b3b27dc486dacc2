//! librdkafka's callbacks note what happened, and the consumer's own loop processes it: no host code runs inside a
//! callback.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

use super::message::KafkaMessage;
use super::state::State;
use super::{group_protocol, Consumer};
use crate::kafka::client;
use crate::kafka::client::{Conf, TopicPartitionList};
use crate::topic::TopicFilter;

/// A rebalance or an error.
pub enum Event {
    /// The group assigns these partitions and waits until they are taken.
    Assign(TopicPartitionList),
    /// The group revokes these partitions and waits until they are released.
    Revoke(TopicPartitionList),
    /// A client-wide error, such as all brokers being down or a refused password.
    Error(Code, String),
}

/// The state of the callbacks. Boxed: librdkafka has its address until the consumer is destroyed.
#[derive(Default)]
pub struct Events {
    waiting: Mutex<VecDeque<Event>>,
    /// While closing, revocations are answered immediately: the loop runs no more.
    pub closing: AtomicBool,
    /// Set while records are taken by the batch call. It loses a record where a callback calls `rd_kafka_yield`: it
    /// takes the record out of the queue, sees the request, and returns. It never waits here, so there is no need to
    /// interrupt it.
    pub in_batch: AtomicBool,
}

impl Events {
    pub fn attach(&self, conf: &mut Conf) {
        // SAFETY: the conf is ours, the functions are static, and `self` is boxed by the consumer.
        unsafe {
            sys::bindings::rd_kafka_conf_set_rebalance_cb(conf.raw(), Some(on_rebalance));
            sys::bindings::rd_kafka_conf_set_error_cb(conf.raw(), Some(on_error));
            sys::bindings::rd_kafka_conf_set_opaque(conf.raw(), client::opaque(self));
        }
    }

    /// Notes an event and interrupts the running poll, which would wait for its full timeout otherwise.
    unsafe fn note(&self, client: *mut sys::rd_kafka_t, event: Event) {
        self.waiting.lock().push_back(event);
        if !self.in_batch.load(Ordering::Acquire) {
            sys::bindings::rd_kafka_yield(client);
        }
    }

    /// Notes an error from a thread of librdkafka; the next poll processes it.
    pub fn add_error(&self, code: Code, reason: String) {
        self.waiting.lock().push_back(Event::Error(code, reason));
    }

    /// True where an assignment or revocation waits to be processed.
    pub fn has_rebalance(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting
            .iter()
            .any(|event| matches!(event, Event::Assign(_) | Event::Revoke(_)))
    }

    /// The oldest event.
    pub fn next(&self) -> Option<Event> {
        self.waiting.lock().pop_front()
    }
}

/// True for a cooperative (incremental) protocol.
///
/// # Safety
/// `client` must be a live consumer.
pub(super) unsafe fn is_cooperative(client: *mut sys::rd_kafka_t) -> bool {
    client::text(sys::bindings::rd_kafka_rebalance_protocol(client)) == "COOPERATIVE"
}

/// Releases partitions; all of them for an eager protocol.
///
/// # Safety
/// `client` must be a live consumer and `list` a valid list.
pub(super) unsafe fn unassign(
    client: *mut sys::rd_kafka_t,
    list: *mut sys::rd_kafka_topic_partition_list_t,
) -> Option<String> {
    if is_cooperative(client) {
        let error = sys::bindings::rd_kafka_incremental_unassign(client, list);
        return client::take_error(error).map(|(_, reason)| reason);
    }
    let code = sys::bindings::rd_kafka_assign(client, std::ptr::null());
    code.is_error().then(|| client::describe(code.into()))
}

unsafe extern "C" fn on_rebalance(
    client: *mut sys::rd_kafka_t,
    code: RDKafkaRespErr,
    list: *mut sys::rd_kafka_topic_partition_list_t,
    events: *mut c_void,
) {
    let events = &*events.cast::<Events>();
    if events.closing.load(Ordering::Acquire) {
        unassign(client, list);
        return;
    }
    let copy = TopicPartitionList::from_raw(sys::rd_kafka_topic_partition_list_copy(list));
    let event = if Code::from(code) == Code::AssignPartitions {
        Event::Assign(copy)
    } else {
        Event::Revoke(copy)
    };
    events.note(client, event);
}

unsafe extern "C" fn on_error(
    client: *mut sys::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    events: *mut c_void,
) {
    let events = &*events.cast::<Events>();
    // librdkafka hands over its own enum as an int.
    let code = RDKafkaRespErr::try_from(code).map_or(Code::Unknown, Code::from);
    events.note(client, Event::Error(code, client::text(reason)));
}

// Errors that Kafka reports in messages and events: missing topics, and errors that end a consumer.

impl Consumer {
    /// An error or the end of a partition, delivered as a message.
    pub(super) fn on_message_error(
        &self,
        state: &mut State,
        fetched: &KafkaMessage,
        slot: Option<usize>,
    ) {
        let message = fetched.message();
        let topic = fetched.topic();
        // SAFETY: a live message; the text is copied.
        let reason = unsafe { client::text(sys::rd_kafka_message_errstr(fetched.raw())) };
        match Code::from(message.err) {
            Code::PartitionEOF => {
                if let Some(partition) = slot.and_then(|slot| state.records.at(slot)) {
                    partition.reached_end(message.offset);
                }
            }
            Code::UnknownTopicOrPartition | Code::UnknownTopic => {
                if state.filters.contains(&TopicFilter::Exact(topic.clone())) {
                    state.late.insert(topic.clone());
                    state.waiting_for.insert(topic);
                }
            }
            code => self.on_error(state, code, &reason, &topic),
        }
    }

    pub(super) fn on_error(&self, state: &mut State, code: Code, reason: &str, topic: &str) {
        if let Some(reason) = crate::kafka::oauth::TOKENS.current().missing(self.client) {
            // Not refused by Kafka: the token is requested again.
            state.last_error = Some(format!("no OAUTHBEARER token: {reason}"));
            self.stats.reachability.on_error(code);
            return;
        }
        state.last_error = Some(reason.to_owned());
        self.stats.reachability.on_error(code);
        let repeated = client::describe(Code::IllegalSASLState);
        match code {
            // Authenticated again within a second: the client reconnects.
            Code::Authentication if reason.contains(&repeated) => {}
            Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::GroupAuthorizationFailed
            | Code::TopicAuthorizationFailed
            | Code::InvalidGroupId
            | Code::InvalidSessionTimeout
            | Code::InconsistentGroupProtocol
            | Code::InvalidTopic
            | Code::AutoOffsetReset
            | Code::UnsupportedFeature
            | Code::Fatal => {
                let place = if topic.is_empty() {
                    String::new()
                } else {
                    format!(", topic \"{topic}\"")
                };
                let doing = format!(
                    "Kafka at {} refuses consumer group \"{}\"{place}",
                    self.config.brokers, self.config.consumer_group
                );
                state.fatal_error = Some(if group_protocol::is_unsupported(code, reason) {
                    let error = group_protocol::error(&doing);
                    state.last_error = Some(error.message().to_owned());
                    error
                } else {
                    client::to_error(code, &doing, reason, &self.config.brokers)
                });
            }
            _ => {}
        }
    }
}
