//! Configuration of a topic, and adding partitions.

use rdkafka::error::RDKafkaErrorCode as Code;

use super::{is_unknown_topic, Admin, AdminCall, AdminResult, PollInterrupts};
use crate::error::{Error, Kind};
use crate::kafka::client::PartitionInfo;
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
        let response = self.request(&call, &action, |request| {
            request.describe_topic_config(topic);
        })?;
        match response.topic_config() {
            None => Err(self.timeout_error(&action).into()),
            Some(Ok(settings)) => Ok(settings),
            Some(Err((code, _))) if is_unknown_topic(code) => {
                Err(self.unknown_topic(topic, &action).into())
            }
            Some(Err((code, detail))) => Err(self.response_error(code, &action, &detail).into()),
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
        let response = self.try_request(&call, &action, |request| {
            request.create_partitions(topic, wanted)
        })?;
        let (code, detail) = response.topic_result();
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
