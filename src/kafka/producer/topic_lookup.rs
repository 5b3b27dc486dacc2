//! Looks up and creates topics through the admin API without blocking the calling thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::topic_cache::Readiness;
use crate::config::BrokerConfig;
use crate::kafka::client::{self, AdminRequests, Client, ClientEvent, EventQueue, NewTopic};
use crate::log::Level;
use crate::runtime;

/// Timeout of a request before it is sent again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Wait for the cluster id; until a broker has reported it, no request can be sent.
const CONNECT_WAIT: Duration = Duration::from_millis(20);

/// A topic being looked up (auto_create_topics off) or created (on).
pub struct TopicLookup {
    client: Client,
    config: Arc<BrokerConfig>,
    topic: String,
    queue: EventQueue,
    requested_at: Option<Instant>,
}

impl TopicLookup {
    pub fn start(client: &Client, config: &Arc<BrokerConfig>, topic: String) -> Self {
        Self {
            client: client.clone(),
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
            match self.client.cluster_id(CONNECT_WAIT) {
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
                runtime::current()
                    .log
                    .write(Level::Warning, error.message());
            }
        }
        Readiness::Ready
    }

    fn send_request(&self) {
        let requests = AdminRequests::new(&self.client, &self.queue, REQUEST_TIMEOUT);
        if !self.config.auto_create_topics {
            return requests.describe_topics(&[&self.topic], false);
        }
        let spec = self.config.topics.spec_for_topic(&self.topic);
        let retention = spec.and_then(|spec| spec.retention_ms);
        let config = retention.map(|ms| ("retention.ms".to_owned(), ms.to_string()));
        let to_create = NewTopic {
            name: self.topic.clone(),
            partitions: spec.and_then(|spec| spec.partitions).unwrap_or(-1),
            replication: spec.and_then(|spec| spec.replication).unwrap_or(-1),
            config: config.into_iter().collect(),
            validate_only: false,
        };
        if let Err(reason) = requests.create_topic(&to_create) {
            runtime::current().log.write(
                Level::Error,
                format!("Topic \"{}\" cannot be created: {reason}.", self.topic),
            );
        }
    }

    /// Interprets the response; `None` to send the request again.
    fn read(&self, response: &ClientEvent) -> Option<Readiness> {
        if let Some((code, reason)) = response.error() {
            return self.readiness_for(code, &reason);
        }
        if self.config.auto_create_topics {
            let (code, reason) = response.topic_result();
            return self.readiness_for(code, &reason);
        }
        match response.described_topics().first() {
            Some(topic) => self.readiness_for(topic.error, &topic.error_text),
            None => Some(Readiness::Missing(Instant::now())),
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
                runtime::current().log.write(
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
