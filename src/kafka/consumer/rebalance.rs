//! What librdkafka tells a consumer in its callbacks, kept until the consumer's own loop looks: no host code runs inside them.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use crate::kafka::client::{self, Conf, TopicPartitionList};

/// One thing that happened.
pub enum Event {
    /// The group gives us these partitions; it waits until we have taken them.
    Assign(TopicPartitionList),
    /// The group takes these partitions away; it waits until we have let go.
    Revoke(TopicPartitionList),
    /// A client-wide error, such as all brokers being down or a refused password.
    Error(Code, String),
}

/// The callbacks' side. Lives in a box whose address librdkafka knows until the consumer is destroyed.
#[derive(Default)]
pub struct Events {
    waiting: Mutex<VecDeque<Event>>,
    /// While closing, revocations are answered at once: nobody looks any more.
    pub closing: AtomicBool,
    /// While records are taken by the batch call, which loses the next one where a callback has asked it to return: it takes it
    /// out of the queue, sees the request, and leaves. It never waits here, so there is nothing to cut short either.
    pub in_batch: AtomicBool,
}

impl Events {
    /// Sets the callbacks.
    pub fn attach(&self, conf: &mut Conf) {
        // SAFETY: the conf is ours, the functions are static, and `self` is boxed by the consumer.
        unsafe {
            sys::bindings::rd_kafka_conf_set_rebalance_cb(conf.raw(), Some(on_rebalance));
            sys::bindings::rd_kafka_conf_set_error_cb(conf.raw(), Some(on_error));
            sys::bindings::rd_kafka_conf_set_opaque(conf.raw(), client::opaque(self));
        }
    }

    /// Keeps what a callback tells, and ends the poll that is running it: it would wait out its time before anybody looks.
    unsafe fn note(&self, client: *mut sys::rd_kafka_t, event: Event) {
        self.waiting.lock().push_back(event);
        if !self.in_batch.load(Ordering::Acquire) {
            sys::bindings::rd_kafka_yield(client);
        }
    }

    /// The oldest thing that happened.
    pub fn next(&self) -> Option<Event> {
        self.waiting.lock().pop_front()
    }
}

/// True where the group rebalances step by step.
///
/// # Safety
/// `client` must be a live consumer.
pub(super) unsafe fn is_cooperative(client: *mut sys::rd_kafka_t) -> bool {
    client::text(sys::bindings::rd_kafka_rebalance_protocol(client)) == "COOPERATIVE"
}

/// Lets go of partitions; all of them for a protocol that takes everything away at once.
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
    (code != Code::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| client::describe(code))
}

unsafe extern "C" fn on_rebalance(
    client: *mut sys::rd_kafka_t,
    code: Code,
    list: *mut sys::rd_kafka_topic_partition_list_t,
    events: *mut c_void,
) {
    let events = &*events.cast::<Events>();
    if events.closing.load(Ordering::Acquire) {
        unassign(client, list);
        return;
    }
    let copy = TopicPartitionList::from_raw(sys::rd_kafka_topic_partition_list_copy(list));
    let event = if code == Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
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
    let code = std::mem::transmute::<c_int, Code>(code);
    events.note(client, Event::Error(code, client::text(reason)));
}
