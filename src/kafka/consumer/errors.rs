//! Errors that Kafka reports in messages and events: missing topics, and errors that end a consumer.
#![allow(unsafe_code)]

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;

use super::group_protocol;
use super::message::KafkaMessage;
use super::state::State;
use super::Consumer;
use crate::kafka::client;
use crate::topic::TopicFilter;

impl Consumer {
    /// An error or the end of a partition, delivered as a message.
    pub(super) fn on_message_error(
        &self,
        state: &mut State,
        fetched: &KafkaMessage,
        slot: Option<usize>,
    ) {
        let message = fetched.message();
        let topic = fetched.topic();
        // SAFETY: a live message; the text is copied.
        let reason = unsafe { client::text(sys::rd_kafka_message_errstr(fetched.raw())) };
        match Code::from(message.err) {
            Code::PartitionEOF => {
                if let Some(partition) = slot.and_then(|slot| state.records.at(slot)) {
                    partition.reached_end(message.offset);
                }
            }
            Code::UnknownTopicOrPartition | Code::UnknownTopic => {
                if state.filters.contains(&TopicFilter::Exact(topic.clone())) {
                    state.late.insert(topic.clone());
                    state.waiting_for.insert(topic);
                }
            }
            code => self.on_error(state, code, &reason, &topic),
        }
    }

    pub(super) fn on_error(&self, state: &mut State, code: Code, reason: &str, topic: &str) {
        if let Some(reason) = crate::process::current().tokens.missing(self.client) {
            // Not refused by Kafka: the token is requested again.
            state.last_error = Some(format!("no OAUTHBEARER token: {reason}"));
            self.stats.reachability.on_error(code);
            return;
        }
        state.last_error = Some(reason.to_owned());
        self.stats.reachability.on_error(code);
        let repeated = client::describe(Code::IllegalSASLState);
        match code {
            // Authenticated again within a second: the client reconnects.
            Code::Authentication if reason.contains(&repeated) => {}
            Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::GroupAuthorizationFailed
            | Code::TopicAuthorizationFailed
            | Code::InvalidGroupId
            | Code::InvalidSessionTimeout
            | Code::InconsistentGroupProtocol
            | Code::InvalidTopic
            | Code::AutoOffsetReset
            | Code::UnsupportedFeature
            | Code::Fatal => {
                let place = if topic.is_empty() {
                    String::new()
                } else {
                    format!(", topic \"{topic}\"")
                };
                let doing = format!(
                    "Kafka at {} refuses consumer group \"{}\"{place}",
                    self.config.brokers, self.config.consumer_group
                );
                state.fatal_error = Some(if group_protocol::is_unsupported(code, reason) {
                    let error = group_protocol::error(&doing);
                    state.last_error = Some(error.message().to_owned());
                    error
                } else {
                    client::to_error(code, &doing, reason, &self.config.brokers)
                });
            }
            _ => {}
        }
    }
}
