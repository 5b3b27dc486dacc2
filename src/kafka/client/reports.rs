//! The reports of librdkafka's threads about a client: responses, which tell whether Kafka is reachable,
//! acknowledgements, and the end of the client.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

use super::handle::{Client, NativeClient};
use super::message::NativeMessage;
use super::owned::Text;
use crate::runtime::clock::coarse_ms;

const NO_ERROR: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;

/// Called for every message that is acknowledged or has failed.
pub(in crate::kafka) trait OnAcknowledgement: Send + Sync + 'static {
    fn on_acknowledgement(&self, client: &NativeClient, message: &ProducedMessage);
}

/// A message whose acknowledgement is being handled.
#[repr(transparent)]
pub(in crate::kafka) struct ProducedMessage(NativeMessage);

// SAFETY: as librdkafka has it. Only messages of a producer have the text, which lives as long as the response.
unsafe extern "C" {
    safe fn rd_kafka_message_produce_errstr(message: &ProducedMessage) -> Option<Text<'_>>;
}

impl ProducedMessage {
    /// The broker's own text for the refusal of the message.
    pub fn refusal_text(&self) -> Option<String> {
        rd_kafka_message_produce_errstr(self).map(|refusal| refusal.to_string())
    }
}

impl Deref for ProducedMessage {
    type Target = NativeMessage;

    #[inline]
    fn deref(&self) -> &NativeMessage {
        &self.0
    }
}

impl Client {
    /// Reports every response from now on; false if librdkafka refuses. The client keeps the receiver.
    pub(in crate::kafka) fn report_responses(&self, to: &Arc<Reachability>) -> bool {
        self.keep(Arc::clone(to) as _);
        // SAFETY: a live client, which keeps the receiver until it is destroyed.
        let result = unsafe {
            sys::rd_kafka_interceptor_add_on_response_received(
                self.raw(),
                c"toporia_realtime_reachability".as_ptr(),
                Some(on_response),
                super::opaque(Arc::as_ptr(to)),
            )
        };
        !result.is_error()
    }

    /// Reports every acknowledgement from now on; false if librdkafka refuses. The client keeps the receiver.
    pub(in crate::kafka) fn report_acknowledgements<T: OnAcknowledgement>(
        &self,
        to: &Arc<T>,
    ) -> bool {
        self.keep(Arc::clone(to) as _);
        // SAFETY: as above.
        let result = unsafe {
            sys::rd_kafka_interceptor_add_on_acknowledgement(
                self.raw(),
                c"toporia_realtime".as_ptr(),
                Some(on_acknowledgement::<T>),
                super::opaque(Arc::as_ptr(to)),
            )
        };
        !result.is_error()
    }

    /// Calls a function before the client is destroyed; false if librdkafka refuses.
    pub(in crate::kafka) fn report_end(&self, to: fn(&NativeClient)) -> bool {
        // SAFETY: a live client; the opaque is a function.
        let result = unsafe {
            sys::rd_kafka_interceptor_add_on_destroy(
                self.raw(),
                c"toporia_realtime_token".as_ptr(),
                Some(on_destroy),
                to as *mut c_void,
            )
        };
        !result.is_error()
    }
}

unsafe extern "C" fn on_response(
    _client: *mut sys::rd_kafka_t,
    _socket: c_int,
    _broker: *const c_char,
    _broker_id: i32,
    api_key: i16,
    _api_version: i16,
    _correlation_id: i32,
    _size: usize,
    _rtt: i64,
    error: RDKafkaRespErr,
    to: *mut c_void,
) -> RDKafkaRespErr {
    (*to.cast_const().cast::<Reachability>()).on_response(api_key, error.is_error());
    NO_ERROR
}

unsafe extern "C" fn on_acknowledgement<T: OnAcknowledgement>(
    client: *mut sys::rd_kafka_t,
    message: *mut sys::rd_kafka_message_t,
    to: *mut c_void,
) -> RDKafkaRespErr {
    if let Some(message) = message.cast::<ProducedMessage>().as_ref() {
        let client = NativeClient::from_raw(client);
        (*to.cast_const().cast::<T>()).on_acknowledgement(client, message);
    }
    NO_ERROR
}

unsafe extern "C" fn on_destroy(client: *mut sys::rd_kafka_t, to: *mut c_void) -> RDKafkaRespErr {
    let to = std::mem::transmute::<*mut c_void, fn(&NativeClient)>(to);
    to(NativeClient::from_raw(client));
    NO_ERROR
}

// Reachability of Kafka: the time at which a client last received a response from a broker.
//
// librdkafka reports neither that a broker has stopped responding, nor reliably that all brokers are down, and a lost
// connection may be no outage: a broker closes idle connections, and other brokers may respond. A client therefore
// counts as connected for [`RESPONSE_WITHIN_MS`] after a response, and an idle client sends a request every
// [`KEEP_ALIVE_MS`]. The responses are recorded by librdkafka's threads, also while a callback runs.

/// A broker that has not responded for this long counts as unreachable.
const RESPONSE_WITHIN_MS: u64 = 25_000;
/// A client that has not received a response for this long sends a request.
const KEEP_ALIVE_MS: u64 = 10_000;
/// Time in which a broker must respond after a connection was lost.
const RECONNECT_MS: u64 = 2_000;
/// Interval of the requests after a connection was lost, or while no broker responds.
const PROBE_INTERVAL_MS: u64 = 500;
/// Interval of the requests until a silent broker counts as unreachable.
const SILENT_INTERVAL_MS: u64 = 5_000;
/// Responses before the client is authenticated: `SaslHandshake`, `ApiVersions`, `SaslAuthenticate`.
const HANDSHAKE_KEYS: [i16; 3] = [17, 18, 36];
/// Requests that change a transaction: `Produce`, `AddPartitionsToTxn`, `AddOffsetsToTxn`, `EndTxn`,
/// `TxnOffsetCommit`.
const TRANSACTION_KEYS: [i16; 5] = [0, 24, 25, 26, 28];

/// Times are by [`coarse_ms`], 0 for never.
#[derive(Debug)]
pub struct Reachability {
    created: u64,
    last_response: AtomicU64,
    /// The first lost connection since the last response.
    lost: AtomicU64,
    probed: AtomicU64,
    /// One of [`TRANSACTION_KEYS`] had no response: a broker may still receive it.
    unanswered: AtomicBool,
}

impl Default for Reachability {
    fn default() -> Self {
        Self::created_at(coarse_ms())
    }
}

impl Reachability {
    fn created_at(now: u64) -> Self {
        Self {
            created: now,
            last_response: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            probed: AtomicU64::new(now),
            unanswered: AtomicBool::new(false),
        }
    }

    /// True if a request of a transaction had no response, because its connection was lost or its time was over: a
    /// broker may still receive it.
    pub(in crate::kafka) fn has_unanswered_requests(&self) -> bool {
        self.unanswered.load(Ordering::Acquire)
    }

    /// True if a broker responded within [`RESPONSE_WITHIN_MS`], and after the last lost connection.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.is_reachable_at(coarse_ms())
    }

    fn is_reachable_at(&self, now: u64) -> bool {
        let last_response = self.last_response.load(Ordering::Acquire);
        let lost = self.lost.load(Ordering::Acquire);
        let reconnecting = now.saturating_sub(lost) < RECONNECT_MS;
        last_response != 0
            && now.saturating_sub(last_response) < RESPONSE_WITHIN_MS
            && (lost <= last_response || reconnecting)
    }

    /// True if Kafka is known to be unreachable; false for a new client that has not connected yet.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        let now = coarse_ms();
        let new = now.saturating_sub(self.created) < RESPONSE_WITHIN_MS
            && self.last_response.load(Ordering::Acquire) == 0
            && self.lost.load(Ordering::Acquire) == 0;
        !new && !self.is_reachable_at(now)
    }

    /// librdkafka reported an error of the client.
    pub(in crate::kafka) fn on_error(&self, code: Code) {
        if matches!(
            code,
            Code::BrokerTransportFailure
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::AllBrokersDown
                | Code::Authentication
                | Code::SSL
        ) {
            self.lost_at(coarse_ms());
        }
    }

    fn lost_at(&self, now: u64) {
        // Reports repeat while no broker can be reached: the first one counts.
        if self.lost.load(Ordering::Acquire) <= self.last_response.load(Ordering::Acquire) {
            self.lost.store(now.max(1), Ordering::Release);
        }
    }

    /// True if a request must be sent, because no broker has responded for a while; it counts as sent. `unknown`: the
    /// caller wants to know now. Adds the brokers of `client` again if the last request had no response.
    pub(in crate::kafka) fn probe_due(&self, client: &NativeClient, unknown: bool) -> bool {
        let unanswered =
            self.last_response.load(Ordering::Acquire) < self.probed.load(Ordering::Relaxed);
        let due = self.probe_due_at(coarse_ms(), unknown);
        if due && unanswered {
            client.add_brokers();
        }
        due
    }

    fn probe_due_at(&self, now: u64, unknown: bool) -> bool {
        let last_response = self.last_response.load(Ordering::Acquire);
        let lost = self.lost.load(Ordering::Acquire) > last_response;
        let interval = if lost || unknown || !self.is_reachable_at(now) {
            PROBE_INTERVAL_MS
        } else if now.saturating_sub(last_response) >= KEEP_ALIVE_MS {
            SILENT_INTERVAL_MS
        } else {
            return false;
        };
        let due = now.saturating_sub(self.probed.load(Ordering::Relaxed)) >= interval;
        if due {
            self.probed.store(now, Ordering::Relaxed);
        }
        due
    }

    fn record_response(&self, now: u64) {
        self.last_response.store(now.max(1), Ordering::Release);
    }

    /// `api_key`: the kind of request. `is_error`: it failed, or was not sent.
    pub(in crate::kafka) fn on_response(&self, api_key: i16, is_error: bool) {
        if is_error {
            if TRANSACTION_KEYS.contains(&api_key) {
                self.unanswered.store(true, Ordering::Release);
            }
        } else if !HANDSHAKE_KEYS.contains(&api_key) {
            self.record_response(coarse_ms());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Code, Reachability, KEEP_ALIVE_MS, RECONNECT_MS, RESPONSE_WITHIN_MS, SILENT_INTERVAL_MS,
    };

    #[test]
    fn a_broker_is_reachable_for_a_limited_time_after_a_response() {
        let broker = Reachability::created_at(1_000);
        assert!(!broker.is_reachable_at(1_000));
        broker.record_response(1_000);
        assert!(broker.is_reachable_at(1_000 + RESPONSE_WITHIN_MS - 1));
        assert!(!broker.is_reachable_at(1_000 + RESPONSE_WITHIN_MS));
    }

    #[test]
    fn lost_connections_count_unless_a_broker_responds_soon() {
        let broker = Reachability::created_at(1_000);
        broker.record_response(1_000);
        broker.lost_at(2_000);
        broker.lost_at(3_000);
        // A broker may have closed an idle connection.
        assert!(broker.is_reachable_at(2_000 + RECONNECT_MS - 1));
        assert!(!broker.is_reachable_at(2_000 + RECONNECT_MS));
        broker.record_response(6_000);
        assert!(broker.is_reachable_at(6_000));
    }

    #[test]
    fn a_client_sends_requests_only_while_no_broker_responds() {
        let broker = Reachability::created_at(10_000);
        assert!(!broker.probe_due_at(10_499, false), "it connects by itself");
        assert!(broker.probe_due_at(10_500, false));
        broker.record_response(11_000);
        let silent = 11_000 + KEEP_ALIVE_MS;
        assert!(!broker.probe_due_at(silent - 1, false));
        assert!(broker.probe_due_at(silent, false));
        assert!(!broker.probe_due_at(silent + SILENT_INTERVAL_MS - 1, false));
        assert!(broker.probe_due_at(silent + SILENT_INTERVAL_MS - 1, true));
        broker.lost_at(40_000);
        assert!(broker.probe_due_at(40_000, false));
        assert!(!broker.probe_due_at(40_499, false));
        assert!(broker.probe_due_at(40_500, false));
    }

    #[test]
    fn only_requests_of_a_transaction_count_as_unanswered() {
        let (produce, metadata) = (0, 3);
        let broker = Reachability::default();
        broker.on_response(produce, false);
        broker.on_response(metadata, true);
        assert!(!broker.has_unanswered_requests());
        broker.on_response(produce, true);
        assert!(broker.has_unanswered_requests());
    }

    #[test]
    fn a_new_client_is_neither_reachable_nor_unreachable() {
        let broker = Reachability::default();
        assert!(!broker.is_reachable());
        assert!(!broker.is_unreachable());
        broker.on_error(Code::BrokerTransportFailure);
        assert!(broker.is_unreachable());
    }
}
