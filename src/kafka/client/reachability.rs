//! Reachability of Kafka: the time at which a client last received a response from a broker.
//!
//! librdkafka reports neither that a broker has stopped responding, nor reliably that all brokers are down, and a lost
//! connection may be no outage: a broker closes idle connections, and other brokers may respond. A client therefore
//! counts as connected for [`RESPONSE_WITHIN_MS`] after a response, and an idle client sends a request every
//! [`KEEP_ALIVE_MS`]. The responses are recorded by librdkafka's threads, also while a callback runs.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

use crate::clock::coarse_ms;

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

/// Times are by [`coarse_ms`], 0 for never. Must live as long as the client it is attached to.
#[derive(Debug)]
pub struct Reachability {
    created: u64,
    last_response: AtomicU64,
    /// The first lost connection since the last response.
    lost: AtomicU64,
    probed: AtomicU64,
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
        }
    }

    /// Records every response that `client` receives from now on; false if librdkafka refuses.
    ///
    /// # Safety
    /// `client` must be alive, and `self` must not move or be dropped before the client is destroyed.
    pub(in crate::kafka) unsafe fn attach(&self, client: *mut sys::rd_kafka_t) -> bool {
        let result = sys::bindings::rd_kafka_interceptor_add_on_response_received(
            client,
            c"toporia_realtime_reachability".as_ptr(),
            Some(on_response),
            super::opaque(self),
        );
        !result.is_error()
    }

    /// Adds the configured brokers again, because librdkafka may have forgotten all of them. To be called only where no
    /// broker responds: beside known ones it adds threads.
    ///
    /// librdkafka 2.12 removes brokers that a metadata response does not list. A Kafka that was suspended for longer
    /// than its broker session lists none for a moment: the client then has no broker to ask again, and stays
    /// disconnected for ever (librdkafka issue 5301).
    ///
    /// # Safety
    /// `client` must be alive.
    pub(crate) unsafe fn add_brokers(client: *mut sys::rd_kafka_t) {
        // The property and not the setting, which may name the embedded broker.
        let list = super::property(sys::bindings::rd_kafka_conf(client), "bootstrap.servers");
        if let Some(list) = list {
            sys::bindings::rd_kafka_brokers_add(client, super::c_string(&list).as_ptr());
        }
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
    ///
    /// # Safety
    /// `client` must be alive.
    pub(in crate::kafka) unsafe fn probe_due(
        &self,
        client: *mut sys::rd_kafka_t,
        unknown: bool,
    ) -> bool {
        let unanswered =
            self.last_response.load(Ordering::Acquire) < self.probed.load(Ordering::Relaxed);
        let due = self.probe_due_at(coarse_ms(), unknown);
        if due && unanswered {
            Self::add_brokers(client);
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
}

/// Called by librdkafka's broker threads.
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
    reachability: *mut c_void,
) -> RDKafkaRespErr {
    if !error.is_error() && !HANDSHAKE_KEYS.contains(&api_key) {
        (*reachability.cast_const().cast::<Reachability>()).record_response(coarse_ms());
    }
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
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
    fn a_new_client_is_neither_reachable_nor_unreachable() {
        let broker = Reachability::default();
        assert!(!broker.is_reachable());
        assert!(!broker.is_unreachable());
        broker.on_error(Code::BrokerTransportFailure);
        assert!(broker.is_unreachable());
    }
}
