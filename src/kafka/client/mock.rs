//! librdkafka's mock cluster. Not the crate's `MockCluster`: that lacks the calls for the advertised address and the
//! rebalance delay, does not know the request of the consumer protocol, and does not give its pointer to add them.
#![allow(unsafe_code)]

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::{RDKafkaRespErr, RDKafkaType};
use rdkafka_sys::bindings as sys;

use super::handle::{ms, Client};
use super::{c_string, raw_code, text, Conf};
use crate::error::Result;

/// All brokers of the cluster.
const ALL: i32 = -1;

/// A mock cluster of one broker, and the client it lives on.
pub(in crate::kafka) struct MockCluster {
    raw: *mut sys::rd_kafka_mock_cluster_t,
    client: Client,
}

// SAFETY: the mock cluster's functions take its own lock.
unsafe impl Send for MockCluster {}
unsafe impl Sync for MockCluster {}

impl MockCluster {
    /// `None`: librdkafka cannot start it.
    ///
    /// # Errors
    /// See [`Conf::into_client`].
    pub fn start() -> Result<Option<Self>> {
        let client = Conf::silent().into_client(RDKafkaType::RD_KAFKA_PRODUCER)?;
        // SAFETY: a live client, on which the cluster lives.
        let raw = unsafe { sys::rd_kafka_mock_cluster_new(client.raw(), 1) };
        Ok((!raw.is_null()).then(|| Self { raw, client }))
    }

    /// Address of the broker.
    pub fn address(&self) -> String {
        // SAFETY: a live cluster; the text lives as long as it.
        unsafe { text(sys::rd_kafka_mock_cluster_bootstraps(self.raw)) }
    }

    /// The time for which the first join of a group waits for others.
    pub fn set_rebalance_delay(&self, delay: Duration) {
        // SAFETY: a live cluster.
        unsafe { sys::rd_kafka_mock_group_initial_rebalance_delay_ms(self.raw, ms(delay)) };
    }

    /// The address that the broker advertises.
    pub fn advertise(&self, host: &str, port: u16) {
        let host = c_string(host);
        // SAFETY: a live cluster; broker ids begin at 1.
        unsafe {
            sys::rd_kafka_mock_broker_set_host_port(self.raw, 1, host.as_ptr(), i32::from(port));
        }
    }

    pub fn create_topic(&self, name: &str, partitions: i32) -> Code {
        let name = c_string(name);
        // SAFETY: a live cluster.
        unsafe { sys::rd_kafka_mock_topic_create(self.raw, name.as_ptr(), partitions, 1) }.into()
    }

    /// Limits the versions of a request that the broker supports.
    #[cfg(test)]
    pub fn set_api_versions(&self, request: i16, first: i16, last: i16) {
        // SAFETY: a live cluster.
        unsafe { sys::rd_kafka_mock_set_apiversion(self.raw, request, first, last) };
    }

    /// The next `times` requests of this kind fail.
    pub fn push_errors(&self, request: i16, error: Code, times: usize) {
        let errors = vec![raw_code(error); times];
        // SAFETY: a live cluster; the list is copied.
        unsafe {
            sys::rd_kafka_mock_push_request_errors_array(
                self.raw,
                request,
                errors.len(),
                errors.as_ptr(),
            );
        }
    }

    pub fn clear_errors(&self, request: i16) {
        // SAFETY: a live cluster.
        unsafe { sys::rd_kafka_mock_clear_request_errors(self.raw, request) };
    }

    /// All requests for the topic fail; none with `NoError`.
    pub fn set_topic_error(&self, topic: &str, error: Code) {
        let topic = c_string(topic);
        // SAFETY: a live cluster; the name is copied.
        unsafe { sys::rd_kafka_mock_topic_set_error(self.raw, topic.as_ptr(), raw_code(error)) };
    }

    /// Delays every response.
    pub fn set_latency(&self, ms: i32) -> Code {
        // SAFETY: a live cluster.
        unsafe { sys::rd_kafka_mock_broker_set_rtt(self.raw, ALL, ms) }.into()
    }

    pub fn set_up(&self, is_up: bool) -> Code {
        // SAFETY: a live cluster.
        let code: RDKafkaRespErr = unsafe {
            if is_up {
                sys::rd_kafka_mock_broker_set_up(self.raw, ALL)
            } else {
                sys::rd_kafka_mock_broker_set_down(self.raw, ALL)
            }
        };
        code.into()
    }
}

impl Drop for MockCluster {
    fn drop(&mut self) {
        // A fork has no copy of the cluster's thread.
        if !self.client.is_inherited() {
            // SAFETY: ours.
            unsafe { sys::rd_kafka_mock_cluster_destroy(self.raw) };
        }
    }
}
