//! Configuration of a topic, and adding partitions.
#![allow(unsafe_code)]

use std::ffi::c_char;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use sys::bindings::{self, rd_kafka_ResourceType_t as Resource, rd_kafka_admin_op_t as Operation};

use super::topics::first_topic_error;
use super::{is_unknown_topic, Admin, AdminCall, AdminResult, PollInterrupts};
use crate::error::{Error, Kind};
use crate::kafka::client::{self, PartitionInfo};
use crate::topic::validate_kafka_topic;

impl Admin {
    /// All settings of a topic, sorted, including defaults; `None` for sensitive values.
    ///
    /// # Errors
    /// UnknownTopic; Configuration: an embedded broker. Connection: Kafka does not respond, or refuses.
    pub fn topic_config(
        &self,
        topic: &str,
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<Vec<(String, Option<String>)>> {
        validate_kafka_topic(topic)?;
        let action = format!("The configuration of topic \"{topic}\" cannot be read");
        let call = AdminCall::new(poll_interrupts);
        self.refuse_mock(&call, &action)?;
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, &call);
        let name = client::c_string(topic);
        // SAFETY: live objects; the request copies what it needs.
        let response = self.request(&options, &call, &action, |client, options, queue| unsafe {
            let resource = bindings::rd_kafka_ConfigResource_new(
                Resource::RD_KAFKA_RESOURCE_TOPIC,
                name.as_ptr(),
            );
            let mut list = [resource];
            bindings::rd_kafka_DescribeConfigs(client, list.as_mut_ptr(), 1, options, queue);
            bindings::rd_kafka_ConfigResource_destroy(resource);
        })?;
        // SAFETY: the result lives as long as its event.
        unsafe {
            let result = bindings::rd_kafka_event_DescribeConfigs_result(response.raw());
            let mut count = 0usize;
            let list = bindings::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
            if count == 0 {
                return Err(self.timeout_error(&action).into());
            }
            match Code::from(bindings::rd_kafka_ConfigResource_error(*list)) {
                Code::NoError => Ok(read(*list)),
                code if is_unknown_topic(code) => Err(self.unknown_topic(topic, &action).into()),
                code => {
                    let detail =
                        client::text(bindings::rd_kafka_ConfigResource_error_string(*list));
                    Err(self.response_error(code, &action, &detail).into())
                }
            }
        }
    }

    /// Increases the number of partitions to `total`, and waits until they are available.
    ///
    /// # Errors
    /// UnknownTopic; Configuration: the topic has as many or more, or an embedded broker. Connection: Kafka does not
    /// respond, or refuses.
    pub fn create_partitions(
        &self,
        topic: &str,
        total: i32,
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<()> {
        validate_kafka_topic(topic)?;
        let action = format!("Topic \"{topic}\" cannot have {total} partitions");
        let call = AdminCall::new(poll_interrupts);
        self.refuse_mock(&call, &action)?;
        let has = self.partitions(topic, &call, &action)?.len();
        let wanted = usize::try_from(total).unwrap_or(0);
        if wanted <= has {
            return Err(Error::configuration(format!(
                "{action}: it has {has}, and partitions can only be added."
            ))
            .into());
        }
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS, &call);
        let name = client::c_string(topic);
        let mut reason = [0 as c_char; 256];
        // SAFETY: ours until the request, which copies it, is on its way.
        let more = unsafe {
            bindings::rd_kafka_NewPartitions_new(
                name.as_ptr(),
                wanted,
                reason.as_mut_ptr(),
                reason.len(),
            )
        };
        if more.is_null() {
            // SAFETY: librdkafka ended the text with a NUL.
            let reason = unsafe { client::text(reason.as_ptr()) };
            return Err(Error::configuration(format!("{action}: {reason}.")).into());
        }
        let response = self.request(&options, &call, &action, |client, options, queue| unsafe {
            let mut list = [more];
            bindings::rd_kafka_CreatePartitions(client, list.as_mut_ptr(), 1, options, queue);
            bindings::rd_kafka_NewPartitions_destroy(more);
        })?;
        // SAFETY: the result lives as long as its event.
        let (code, detail) = unsafe {
            let result = sys::rd_kafka_event_CreatePartitions_result(response.raw());
            let mut count = 0usize;
            first_topic_error(
                sys::rd_kafka_CreatePartitions_result_topics(result, &raw mut count),
                count,
            )
        };
        match code {
            Code::NoError => {}
            Code::ReassignmentInProgress => {
                return Err(Error::new(
                    Kind::Connection,
                    format!("{action}: a partition reassignment is in progress. Try again when it has completed."),
                )
                .into());
            }
            code if is_unknown_topic(code) => {
                return Err(self.unknown_topic(topic, &action).into())
            }
            code => return Err(self.response_error(code, &action, &detail).into()),
        }
        let is_there = |partitions: Option<&[PartitionInfo]>| {
            partitions
                .is_some_and(|list| list.len() >= wanted && list.iter().all(|one| one.leader >= 0))
        };
        self.wait_for_propagation(topic, &call, is_there)
    }
}

unsafe fn read(resource: *const sys::rd_kafka_ConfigResource_t) -> Vec<(String, Option<String>)> {
    let mut count = 0usize;
    let entries = bindings::rd_kafka_ConfigResource_configs(resource, &raw mut count);
    let mut all: Vec<_> = (0..count)
        .map(|place| {
            let entry = *entries.add(place);
            let value = bindings::rd_kafka_ConfigEntry_value(entry);
            let secret = bindings::rd_kafka_ConfigEntry_is_sensitive(entry) == 1;
            (
                client::text(bindings::rd_kafka_ConfigEntry_name(entry)),
                (!secret && !value.is_null()).then(|| client::text(value)),
            )
        })
        .collect();
    all.sort_unstable();
    all
}
