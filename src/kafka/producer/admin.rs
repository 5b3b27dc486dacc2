//! Topics looked up and created through Kafka's admin API, without blocking the thread that asks.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::topics::Readiness;
use crate::config::BrokerConfig;
use crate::kafka::native;
use crate::log::Level;
use crate::process;

/// One request takes this long at most before it is asked again.
const REQUEST: Duration = Duration::from_secs(5);

/// Until a broker has told its cluster's id there is nobody to ask.
const CONNECTED: Duration = Duration::from_millis(20);

/// A topic being looked up (creation off) or created (creation on).
pub struct Lookup {
    client: *mut sys::rd_kafka_t,
    config: Arc<BrokerConfig>,
    topic: String,
    queue: *mut sys::rd_kafka_queue_t,
    asked: Option<Instant>,
}

// SAFETY: used by the one thread that owns it.
unsafe impl Send for Lookup {}

impl Lookup {
    /// Begins. `client` must outlive it.
    pub fn start(client: *mut sys::rd_kafka_t, config: &Arc<BrokerConfig>, topic: String) -> Self {
        Self {
            client,
            config: Arc::clone(config),
            topic,
            // SAFETY: a live client; destroyed in drop.
            queue: unsafe { sys::rd_kafka_queue_new(client) },
            asked: None,
        }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Goes one step on; `Some` once it is known.
    pub fn poll(&mut self) -> Option<Readiness> {
        let Some(asked) = self.asked else {
            if let Some(embedded) = crate::kafka::embedded::local(&self.config.brokers) {
                return Some(self.ask_embedded(&embedded));
            }
            match native::cluster_id(self.client, CONNECTED) {
                None => return None,
                // Another process's embedded broker: no admin API, and no controller to wait for. It creates topics by itself.
                Some(id) if native::is_mock(&id) => return Some(Readiness::Ready),
                Some(_) => self.ask(),
            }
            self.asked = Some(Instant::now());
            return None;
        };
        // SAFETY: our own queue; the event is destroyed below.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.queue, 0);
            if event.is_null() {
                if asked.elapsed() > REQUEST + Duration::from_secs(1) {
                    self.asked = None;
                }
                return None;
            }
            let answer = self.read(event);
            sys::rd_kafka_event_destroy(event);
            if answer.is_none() {
                // Kafka is away: ask again, once its client had time to find it.
                self.asked = None;
                std::thread::sleep(Duration::from_millis(20));
            }
            answer
        }
    }

    /// The mock cluster has no admin API, but it is in this process.
    fn ask_embedded(&self, embedded: &crate::kafka::embedded::Embedded) -> Readiness {
        if self.config.auto_create_topics {
            let spec = self.config.topics.spec_for_topic(&self.topic);
            let partitions = spec.and_then(|spec| spec.partitions).unwrap_or(1);
            if let Err(error) = embedded.create_topic(&self.topic, partitions) {
                process::current().log.say(Level::Warning, error.message());
            }
        }
        Readiness::Ready
    }

    fn ask(&self) {
        // SAFETY: every object made here is destroyed here; the request copies what it needs.
        unsafe {
            let kind = if self.config.auto_create_topics {
                sys::bindings::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS
            } else {
                sys::bindings::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS
            };
            let options = sys::rd_kafka_AdminOptions_new(self.client, kind);
            let mut reason = [0 as c_char; 256];
            let bound = i32::try_from(REQUEST.as_millis()).unwrap_or(5000);
            sys::rd_kafka_AdminOptions_set_request_timeout(
                options,
                bound,
                reason.as_mut_ptr(),
                reason.len(),
            );
            let name = native::c_string(&self.topic);
            if self.config.auto_create_topics {
                self.create(&name, options);
            } else {
                let mut names = [name.as_ptr()];
                let topics =
                    sys::bindings::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
                sys::bindings::rd_kafka_DescribeTopics(self.client, topics, options, self.queue);
                sys::bindings::rd_kafka_TopicCollection_destroy(topics);
            }
            sys::rd_kafka_AdminOptions_destroy(options);
        }
    }

    unsafe fn create(&self, name: &std::ffi::CStr, options: *const sys::rd_kafka_AdminOptions_t) {
        let spec = self.config.topics.spec_for_topic(&self.topic);
        // -1 leaves it to the broker's own defaults (Kafka 2.4 and later).
        let partitions = spec.and_then(|spec| spec.partitions).unwrap_or(-1);
        let replication = spec.and_then(|spec| spec.replication).unwrap_or(-1);
        let mut reason = [0 as c_char; 256];
        let new = sys::rd_kafka_NewTopic_new(
            name.as_ptr(),
            partitions,
            replication,
            reason.as_mut_ptr(),
            reason.len(),
        );
        if new.is_null() {
            process::current().log.say(
                Level::Error,
                format!(
                    "Topic \"{}\" cannot be created: {}.",
                    self.topic,
                    native::text(reason.as_ptr())
                ),
            );
            return;
        }
        if let Some(retention) = spec.and_then(|spec| spec.retention_ms) {
            let value = native::c_string(&retention.to_string());
            sys::rd_kafka_NewTopic_set_config(new, c"retention.ms".as_ptr(), value.as_ptr());
        }
        let mut list = [new];
        sys::rd_kafka_CreateTopics(self.client, list.as_mut_ptr(), 1, options, self.queue);
        sys::rd_kafka_NewTopic_destroy(new);
    }

    /// What the answer says; `None` to ask again.
    unsafe fn read(&self, event: *mut sys::rd_kafka_event_t) -> Option<Readiness> {
        let code = sys::rd_kafka_event_error(event);
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return self.judge(code, &native::text(sys::rd_kafka_event_error_string(event)));
        }
        let mut count = 0usize;
        if self.config.auto_create_topics {
            let result = sys::rd_kafka_event_CreateTopics_result(event);
            let topics = sys::rd_kafka_CreateTopics_result_topics(result, &raw mut count);
            if count == 0 {
                return Some(Readiness::Ready);
            }
            let code = sys::rd_kafka_topic_result_error(*topics);
            self.judge(
                code,
                &native::text(sys::rd_kafka_topic_result_error_string(*topics)),
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
            let code = sys::rd_kafka_error_code(error);
            self.judge(code, &native::text(sys::rd_kafka_error_string(error)))
        }
    }

    fn judge(&self, code: Code, reason: &str) -> Option<Readiness> {
        match code {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR
            | Code::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS
            // An old broker, or another process's embedded one: it creates topics by itself.
            | Code::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE => Some(Readiness::Ready),
            Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => Some(Readiness::Missing(Instant::now())),
            Code::RD_KAFKA_RESP_ERR__TRANSPORT
            | Code::RD_KAFKA_RESP_ERR__TIMED_OUT
            | Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT
            | Code::RD_KAFKA_RESP_ERR_NOT_CONTROLLER
            | Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR__DESTROY => None,
            _ => {
                process::current().log.say(
                    Level::Warning,
                    format!("Kafka does not let us create or see topic \"{}\": {reason}. Sending to it anyway.", self.topic),
                );
                Some(Readiness::Ready)
            }
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::rd_kafka_queue_destroy(self.queue) };
    }
}
