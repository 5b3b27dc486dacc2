//! Topics of a cluster: which there are, making one, deleting one.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::time::Duration;

use rdkafka_sys as sys;
use sys::bindings::{rd_kafka_admin_op_t as Operation, rd_kafka_resp_err_t as Code};

use super::{is_missing, passes, Admin, Breathe, Call, Outcome};
use crate::error::Error;
use crate::kafka::native::{self, Answer, PartitionInfo, Topic, TopicInfo};
use crate::topic::{validate_kafka_topic, ChannelPattern};

/// Longest that a new topic is waited for, and one that was deleted: brokers learn of it one by one.
const SETTLE: Duration = Duration::from_secs(5);

/// How a topic is made.
#[derive(Debug, Clone)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// At least 1.
    pub partitions: i32,
    /// Copies of each partition; -1 leaves it to the broker.
    pub replication: i32,
    /// The topic's own settings, such as `retention.ms`.
    pub config: Vec<(String, String)>,
}

impl Admin {
    /// The topics whose names the pattern matches, in order; all but Kafka's own (`__…`) without one.
    ///
    /// # Errors
    /// InvalidChannel: no topic name or pattern. Connection: Kafka does not answer.
    pub fn topics(&self, pattern: Option<&str>, breathe: Breathe<'_>) -> Outcome<Vec<TopicInfo>> {
        let doing = "The topics cannot be listed";
        let call = Call::new(breathe);
        let pattern = pattern.map(ChannelPattern::parse_topic).transpose()?;
        let wanted = |name: &str| match &pattern {
            Some(pattern) if pattern.is_exact() => pattern.as_str() == name,
            Some(pattern) => !name.starts_with("__") && pattern.matches(name),
            None => !name.starts_with("__"),
        };
        let exact = pattern.as_ref().filter(|pattern| pattern.is_exact());
        let mut topics = match exact.map(ChannelPattern::as_str) {
            Some(name) => self.ask(Some(&self.handle(name, doing)?), &call, doing)?,
            None => self.ask(None, &call, doing)?,
        };
        topics.retain(|topic| wanted(&topic.name) && !is_missing(topic.error));
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// The partitions of a topic.
    pub(super) fn partitions(
        &self,
        name: &str,
        call: &Call<'_>,
        doing: &str,
    ) -> Outcome<Vec<PartitionInfo>> {
        validate_kafka_topic(name)?;
        let handle = self.handle(name, doing)?;
        loop {
            let topics = self.ask(Some(&handle), call, doing)?;
            let Some(topic) = topics.into_iter().find(|topic| topic.name == name) else {
                return Err(self.unknown(name, doing).into());
            };
            match topic.error {
                Code::RD_KAFKA_RESP_ERR_NO_ERROR => return Ok(topic.partitions),
                code if is_missing(code) => return Err(self.unknown(name, doing).into()),
                code if passes(code) => {
                    self.wait(call, doing)?;
                    std::thread::sleep(super::SLICE);
                }
                code => return Err(self.failed(code, doing, "").into()),
            }
        }
    }

    pub(super) fn handle(&self, name: &str, doing: &str) -> Outcome<Topic> {
        Topic::new(self.client, name).ok_or_else(|| {
            Error::channel(format!("{doing}: \"{name}\" is no name of a topic.")).into()
        })
    }

    /// Makes a topic and waits until it can be used; false where it exists.
    ///
    /// # Errors
    /// InvalidChannel: no name of a topic, or one that differs from another only by `.` and `_`. Configuration: Kafka refuses its
    /// settings, or the broker is an embedded one of another process. Connection: Kafka does not answer.
    pub fn create_topic(&self, new: &NewTopic, breathe: Breathe<'_>) -> Outcome<bool> {
        validate_kafka_topic(&new.name)?;
        let doing = format!("Topic \"{}\" cannot be created", new.name);
        let call = Call::new(breathe);
        if let Some(embedded) = self.local() {
            return Ok(embedded.create_topic(&new.name, new.partitions)?);
        }
        self.refuse_mock(&call, &doing)?;
        let answer = self.request_creation(new, &call, &doing)?;
        // SAFETY: the result lives as long as its event.
        let (code, words) = unsafe {
            let result = sys::rd_kafka_event_CreateTopics_result(answer.raw());
            let mut count = 0usize;
            first(
                sys::rd_kafka_CreateTopics_result_topics(result, &raw mut count),
                count,
            )
        };
        match code {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            Code::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS => return Ok(false),
            code => return Err(self.failed(code, &doing, &words).into()),
        }
        let is_there = |partitions: Option<&[PartitionInfo]>| {
            partitions.is_some_and(|list| list.iter().all(|one| one.leader >= 0))
        };
        self.settle(&new.name, &call, is_there)?;
        Ok(true)
    }

    fn request_creation(&self, new: &NewTopic, call: &Call<'_>, doing: &str) -> Outcome<Answer> {
        let name = native::c_string(&new.name);
        let mut reason = [0 as c_char; 256];
        // SAFETY: ours until the request, which copies it, is on its way.
        let topic = unsafe {
            let topic = sys::rd_kafka_NewTopic_new(
                name.as_ptr(),
                new.partitions,
                new.replication,
                reason.as_mut_ptr(),
                reason.len(),
            );
            if topic.is_null() {
                let reason = native::text(reason.as_ptr());
                return Err(Error::configuration(format!("{doing}: {reason}.")).into());
            }
            for (key, value) in &new.config {
                let (key, value) = (native::c_string(key), native::c_string(value));
                sys::rd_kafka_NewTopic_set_config(topic, key.as_ptr(), value.as_ptr());
            }
            topic
        };
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_CREATETOPICS, call);
        // SAFETY: live objects; the request copies the topic.
        self.request(&options, call, doing, |client, options, queue| unsafe {
            let mut list = [topic];
            sys::rd_kafka_CreateTopics(client, list.as_mut_ptr(), 1, options, queue);
            sys::rd_kafka_NewTopic_destroy(topic);
        })
    }

    /// Deletes a topic with all its records, and waits until it is gone.
    ///
    /// # Errors
    /// UnknownTopic: there is none. Configuration: the cluster does not allow it, or is an embedded broker. Connection: Kafka does
    /// not answer.
    pub fn delete_topic(&self, name: &str, breathe: Breathe<'_>) -> Outcome<()> {
        validate_kafka_topic(name)?;
        let doing = format!("Topic \"{name}\" cannot be deleted");
        let call = Call::new(breathe);
        self.refuse_mock(&call, &doing)?;
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DELETETOPICS, &call);
        let topic = native::c_string(name);
        // SAFETY: live objects; the request copies the name.
        let answer = self.request(&options, &call, &doing, |client, options, queue| unsafe {
            let delete = sys::rd_kafka_DeleteTopic_new(topic.as_ptr());
            let mut list = [delete];
            sys::rd_kafka_DeleteTopics(client, list.as_mut_ptr(), 1, options, queue);
            sys::rd_kafka_DeleteTopic_destroy(delete);
        })?;
        // SAFETY: the result lives as long as its event.
        let (code, words) = unsafe {
            let result = sys::rd_kafka_event_DeleteTopics_result(answer.raw());
            let mut count = 0usize;
            first(
                sys::rd_kafka_DeleteTopics_result_topics(result, &raw mut count),
                count,
            )
        };
        match code {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            code if is_missing(code) => return Err(self.unknown(name, &doing).into()),
            code => return Err(self.failed(code, &doing, &words).into()),
        }
        self.settle(name, &call, |partitions| partitions.is_none())
    }

    /// Waits until the cluster knows what was just done; not knowing is no error, because it is done.
    pub(super) fn settle(
        &self,
        name: &str,
        call: &Call<'_>,
        is_so: impl Fn(Option<&[PartitionInfo]>) -> bool,
    ) -> Outcome<()> {
        let doing = "The topic cannot be looked up";
        let handle = self.handle(name, doing)?;
        let until = call.until.min(std::time::Instant::now() + SETTLE);
        while std::time::Instant::now() < until {
            call.breathe()?;
            let topics = native::metadata(self.client, Some(&handle), super::TRY);
            if let Ok(topics) = topics {
                let known = topics.iter().find(|topic| {
                    topic.name == name && topic.error == Code::RD_KAFKA_RESP_ERR_NO_ERROR
                });
                if is_so(known.map(|topic| topic.partitions.as_slice())) {
                    return Ok(());
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// What the answer says of the one topic that was asked for.
pub(super) unsafe fn first(
    topics: *mut *const sys::rd_kafka_topic_result_t,
    count: usize,
) -> (Code, String) {
    if count == 0 {
        return (Code::RD_KAFKA_RESP_ERR_NO_ERROR, String::new());
    }
    (
        sys::rd_kafka_topic_result_error(*topics),
        native::text(sys::rd_kafka_topic_result_error_string(*topics)),
    )
}
