//! Looks up and creates topics through the admin API without blocking the calling thread.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use sys::bindings::rd_kafka_admin_op_t as Operation;

use super::topic_cache::Readiness;
use crate::config::BrokerConfig;
use crate::kafka::client::{self, AdminOptions, ClientEvent, EventQueue};
use crate::log::Level;
use crate::process;

/// Timeout of a request before it is sent again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Wait for the cluster id; until a broker has reported it, no request can be sent.
const CONNECT_WAIT: Duration = Duration::from_millis(20);

/// A topic being looked up (auto_create_topics off) or created (on).
pub struct TopicLookup {
    client: *mut sys::rd_kafka_t,
    config: Arc<BrokerConfig>,
    topic: String,
    queue: EventQueue,
    requested_at: Option<Instant>,
}

// SAFETY: used by the one thread that owns it.
unsafe impl Send for TopicLookup {}

impl TopicLookup {
    /// `client` must outlive the lookup.
    pub fn start(client: *mut sys::rd_kafka_t, config: &Arc<BrokerConfig>, topic: String) -> Self {
        Self {
            client,
            config: Arc::clone(config),
            topic,
            queue: EventQueue::new(client),
            requested_at: None,
        }
    }

    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Makes progress without blocking for long; `Some` once the lookup has completed.
    pub fn poll(&mut self) -> Option<Readiness> {
        let Some(requested_at) = self.requested_at else {
            if let Some(embedded) = crate::kafka::embedded::local(&self.config.brokers) {
                return Some(self.create_on_embedded(&embedded));
            }
            match client::cluster_id(self.client, CONNECT_WAIT) {
                None => return None,
                // An embedded broker of another process: no admin API and no controller. It creates topics by itself.
                Some(id) if client::is_mock(&id) => return Some(Readiness::Ready),
                Some(_) => self.send_request(),
            }
            self.requested_at = Some(Instant::now());
            return None;
        };
        let Some(response) = self.queue.poll(Duration::ZERO) else {
            if requested_at.elapsed() > REQUEST_TIMEOUT + Duration::from_secs(1) {
                self.requested_at = None;
            }
            return None;
        };
        let known = self.read(&response);
        if known.is_none() {
            // Kafka is unreachable: the request is sent again after a pause.
            self.requested_at = None;
            std::thread::sleep(Duration::from_millis(20));
        }
        known
    }

    /// The mock cluster has no admin API, but it runs in this process.
    fn create_on_embedded(&self, embedded: &crate::kafka::embedded::EmbeddedCluster) -> Readiness {
        if self.config.auto_create_topics {
            let spec = self.config.topics.spec_for_topic(&self.topic);
            let partitions = spec.and_then(|spec| spec.partitions).unwrap_or(1);
            if let Err(error) = embedded.create_topic(&self.topic, partitions) {
                process::current()
                    .log
                    .write(Level::Warning, error.message());
            }
        }
        Readiness::Ready
    }

    fn send_request(&self) {
        let name = client::c_string(&self.topic);
        if self.config.auto_create_topics {
            let kind = Operation::RD_KAFKA_ADMIN_OP_CREATETOPICS;
            self.create(
                &name,
                &AdminOptions::new(self.client, kind, REQUEST_TIMEOUT),
            );
            return;
        }
        let kind = Operation::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = AdminOptions::new(self.client, kind, REQUEST_TIMEOUT);
        let mut names = [name.as_ptr()];
        // SAFETY: the collection is ours; the request copies what it needs.
        unsafe {
            let topics =
                sys::bindings::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
            sys::bindings::rd_kafka_DescribeTopics(
                self.client,
                topics,
                options.raw(),
                self.queue.raw(),
            );
            sys::bindings::rd_kafka_TopicCollection_destroy(topics);
        }
    }

    fn create(&self, name: &std::ffi::CStr, options: &AdminOptions) {
        let spec = self.config.topics.spec_for_topic(&self.topic);
        // -1 selects the broker's default (Kafka 2.4 and later).
        let partitions = spec.and_then(|spec| spec.partitions).unwrap_or(-1);
        let replication = spec.and_then(|spec| spec.replication).unwrap_or(-1);
        let mut reason = [0 as c_char; 256];
        // SAFETY: the topic is ours until it is destroyed; the request copies what it needs.
        unsafe {
            let new = sys::rd_kafka_NewTopic_new(
                name.as_ptr(),
                partitions,
                replication,
                reason.as_mut_ptr(),
                reason.len(),
            );
            if new.is_null() {
                process::current().log.write(
                    Level::Error,
                    format!(
                        "Topic \"{}\" cannot be created: {}.",
                        self.topic,
                        client::text(reason.as_ptr())
                    ),
                );
                return;
            }
            if let Some(retention) = spec.and_then(|spec| spec.retention_ms) {
                let value = client::c_string(&retention.to_string());
                sys::rd_kafka_NewTopic_set_config(new, c"retention.ms".as_ptr(), value.as_ptr());
            }
            let mut list = [new];
            sys::rd_kafka_CreateTopics(
                self.client,
                list.as_mut_ptr(),
                1,
                options.raw(),
                self.queue.raw(),
            );
            sys::rd_kafka_NewTopic_destroy(new);
        }
    }

    /// Interprets the response; `None` to send the request again.
    fn read(&self, response: &ClientEvent) -> Option<Readiness> {
        if let Some((code, reason)) = response.error() {
            return self.readiness_for(code, &reason);
        }
        let event = response.raw();
        let mut count = 0usize;
        // SAFETY: the result lives as long as the response.
        unsafe {
            if self.config.auto_create_topics {
                let result = sys::rd_kafka_event_CreateTopics_result(event);
                let topics = sys::rd_kafka_CreateTopics_result_topics(result, &raw mut count);
                if count == 0 {
                    return Some(Readiness::Ready);
                }
                let code = sys::rd_kafka_topic_result_error(*topics).into();
                self.readiness_for(
                    code,
                    &client::text(sys::rd_kafka_topic_result_error_string(*topics)),
                )
            } else {
                let result = sys::bindings::rd_kafka_event_DescribeTopics_result(event);
                let topics =
                    sys::bindings::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
                if count == 0 {
                    return Some(Readiness::Missing(Instant::now()));
                }
                let error = sys::bindings::rd_kafka_TopicDescription_error(*topics);
                if error.is_null() {
                    return Some(Readiness::Ready);
                }
                let code = sys::rd_kafka_error_code(error).into();
                self.readiness_for(code, &client::text(sys::rd_kafka_error_string(error)))
            }
        }
    }

    fn readiness_for(&self, code: Code, reason: &str) -> Option<Readiness> {
        match code {
            Code::NoError
            | Code::TopicAlreadyExists
            // An old broker, or an embedded one of another process: it creates topics by itself.
            | Code::UnsupportedFeature => Some(Readiness::Ready),
            Code::UnknownTopicOrPartition => Some(Readiness::Missing(Instant::now())),
            Code::BrokerTransportFailure
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::NotController
            | Code::LeaderNotAvailable
            | Code::BrokerDestroy => None,
            _ => {
                process::current().log.write(
                    Level::Warning,
                    format!("Topic \"{}\" can be neither created nor described: {reason}. \
                     Messages are sent to it nevertheless.",
                    self.topic),
                );
                Some(Readiness::Ready)
            }
        }
    }
}
