//! librdkafka's mock cluster. Not the crate's `MockCluster`: that lacks the calls for the advertised address and the
//! rebalance delay, does not know the request of the consumer protocol, and does not give its pointer to add them.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::{RDKafkaRespErr, RDKafkaType};
use rdkafka_sys::{self as sys, rd_kafka_mock_cluster_t as Cluster};

use super::handle::{ms, NativeClient, Part};
use super::owned::{Owned, Text};
use super::{c_string, raw_code, Conf};
use crate::error::Result;

/// All brokers of the cluster.
const ALL: i32 = -1;

// SAFETY: as librdkafka has them, which copies texts and takes the cluster's own lock.
unsafe extern "C" {
    safe fn rd_kafka_mock_cluster_new(
        client: &NativeClient,
        brokers: c_int,
    ) -> Option<Owned<'_, Cluster>>;
    safe fn rd_kafka_mock_cluster_bootstraps(cluster: &Cluster) -> Text<'_>;
    safe fn rd_kafka_mock_group_initial_rebalance_delay_ms(cluster: &Cluster, delay: i32);
    safe fn rd_kafka_mock_broker_set_host_port(
        cluster: &Cluster,
        broker: i32,
        host: Text<'_>,
        port: c_int,
    );
    safe fn rd_kafka_mock_topic_create(
        cluster: &Cluster,
        topic: Text<'_>,
        partitions: c_int,
        replicas: c_int,
    ) -> RDKafkaRespErr;
    #[cfg(test)]
    safe fn rd_kafka_mock_set_apiversion(
        cluster: &Cluster,
        request: i16,
        first: i16,
        last: i16,
    ) -> RDKafkaRespErr;
    safe fn rd_kafka_mock_clear_request_errors(cluster: &Cluster, request: i16);
    safe fn rd_kafka_mock_topic_set_error(
        cluster: &Cluster,
        topic: Text<'_>,
        error: RDKafkaRespErr,
    );
    safe fn rd_kafka_mock_broker_set_rtt(
        cluster: &Cluster,
        broker: i32,
        ms: c_int,
    ) -> RDKafkaRespErr;
    safe fn rd_kafka_mock_broker_set_up(cluster: &Cluster, broker: i32) -> RDKafkaRespErr;
    safe fn rd_kafka_mock_broker_set_down(cluster: &Cluster, broker: i32) -> RDKafkaRespErr;
}

/// A mock cluster of one broker, and the client it lives on.
pub(in crate::kafka) struct MockCluster(Part<Cluster>);

impl MockCluster {
    /// `None`: librdkafka cannot start it.
    ///
    /// # Errors
    /// See [`Conf::into_client`].
    pub fn start() -> Result<Option<Self>> {
        let client = Conf::silent().into_client(RDKafkaType::RD_KAFKA_PRODUCER)?;
        Ok(Part::new(&client, |client| rd_kafka_mock_cluster_new(client, 1)).map(Self))
    }

    /// Address of the broker.
    pub fn address(&self) -> String {
        rd_kafka_mock_cluster_bootstraps(&self.0).to_string()
    }

    /// The time for which the first join of a group waits for others.
    pub fn set_rebalance_delay(&self, delay: Duration) {
        rd_kafka_mock_group_initial_rebalance_delay_ms(&self.0, ms(delay));
    }

    /// The address that the broker advertises; broker ids begin at 1.
    pub fn advertise(&self, host: &str, port: u16) {
        let host = c_string(host);
        rd_kafka_mock_broker_set_host_port(&self.0, 1, Text::from(&host), i32::from(port));
    }

    pub fn create_topic(&self, name: &str, partitions: i32) -> Code {
        rd_kafka_mock_topic_create(&self.0, Text::from(&c_string(name)), partitions, 1).into()
    }

    /// Limits the versions of a request that the broker supports.
    #[cfg(test)]
    pub fn set_api_versions(&self, request: i16, first: i16, last: i16) {
        rd_kafka_mock_set_apiversion(&self.0, request, first, last);
    }

    /// The next `times` requests of this kind fail.
    pub fn push_errors(&self, request: i16, error: Code, times: usize) {
        let errors = vec![raw_code(error); times];
        let (raw, first) = (self.0.raw(), errors.as_ptr());
        // SAFETY: a live cluster; the list is copied.
        unsafe { sys::rd_kafka_mock_push_request_errors_array(raw, request, times, first) };
    }

    pub fn clear_errors(&self, request: i16) {
        rd_kafka_mock_clear_request_errors(&self.0, request);
    }

    /// All requests for the topic fail; none with `NoError`.
    pub fn set_topic_error(&self, topic: &str, error: Code) {
        let topic = c_string(topic);
        rd_kafka_mock_topic_set_error(&self.0, Text::from(&topic), raw_code(error));
    }

    /// Delays every response.
    pub fn set_latency(&self, ms: i32) -> Code {
        rd_kafka_mock_broker_set_rtt(&self.0, ALL, ms).into()
    }

    pub fn set_up(&self, is_up: bool) -> Code {
        let set = if is_up {
            rd_kafka_mock_broker_set_up
        } else {
            rd_kafka_mock_broker_set_down
        };
        set(&self.0, ALL).into()
    }
}
