//! Reachability of Kafka: the time at which a client last received a response from a broker.
//!
//! librdkafka reports neither that a broker has stopped responding, nor reliably that all brokers are down, and a lost
//! connection may be no outage: a broker closes idle connections, and other brokers may respond. A client therefore
//! counts as connected for [`RESPONSE_WITHIN_MS`] after a response, and an idle client sends a request every
//! [`KEEP_ALIVE_MS`]. The responses are recorded by librdkafka's threads, also while a callback runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::interceptors::OnResponse;
use super::NativeClient;
use crate::runtime::clock::coarse_ms;

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
}

impl OnResponse for Reachability {
    fn on_response(&self, api_key: i16, is_error: bool) {
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
        Code, OnResponse, Reachability, KEEP_ALIVE_MS, RECONNECT_MS, RESPONSE_WITHIN_MS,
        SILENT_INTERVAL_MS,
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
