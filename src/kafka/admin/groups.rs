//! Lists and describes consumer groups: state, members and their assignments.
#![allow(unsafe_code)]

use std::ffi::CStr;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use sys::bindings::{self, rd_kafka_admin_op_t as Operation};

use super::cluster::{authorized_operations, code, node, BrokerNode};
use super::{is_transient, Admin, AdminCall, AdminResult, PollInterrupts};
use crate::error::Error;
use crate::kafka::client;

/// Maximum length of a group name: Kafka's protocol uses 15 bits.
const MAX_GROUP_NAME_BYTES: usize = 32_767;

/// An entry of ListConsumerGroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    pub group: String,
    /// `Stable`, `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Dead` or `Unknown`.
    pub state: String,
    /// `Classic`, `Consumer` (the KIP-848 protocol) or `Unknown`.
    pub kind: String,
    /// `consumer`; empty if offsets were committed without joining.
    pub protocol: &'static str,
}

/// A member of a consumer group.
#[derive(Debug, Clone)]
pub struct GroupMember {
    /// Member id, assigned by Kafka.
    pub id: String,
    /// `group.instance.id`, for static members.
    pub instance: Option<String>,
    pub client: String,
    /// Host the member connects from.
    pub host: String,
    /// Assigned topics and partitions, in order.
    pub assignment: Vec<(String, i32)>,
}

/// Result of DescribeConsumerGroups for one group.
#[derive(Debug, Clone)]
pub struct GroupDescription {
    pub group: String,
    /// Set if the group could not be described.
    pub error: Option<Error>,
    pub state: String,
    pub kind: String,
    /// Partition assignor; empty without members.
    pub assignor: String,
    pub coordinator: Option<BrokerNode>,
    /// Sorted by member id.
    pub members: Vec<GroupMember>,
    /// The caller's authorized operations on the group; `None` if the broker does not report them.
    pub authorized_operations: Option<Vec<&'static str>>,
}

impl Admin {
    /// Lists the consumer groups visible to the caller, sorted by name.
    ///
    /// # Errors
    /// Configuration: an embedded broker. Connection: no broker responds, or one refuses.
    pub fn groups(&self, poll_interrupts: PollInterrupts<'_>) -> AdminResult<Vec<GroupListing>> {
        let action = "The consumer groups cannot be listed";
        let call = AdminCall::new(poll_interrupts);
        self.refuse_mock(&call, action)?;
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS, &call);
        // SAFETY: live objects; the request copies what it needs.
        let response = self.request(&options, &call, action, |client, options, queue| unsafe {
            bindings::rd_kafka_ListConsumerGroups(client, options, queue);
        })?;
        // SAFETY: the result lives as long as its event.
        unsafe {
            let result = bindings::rd_kafka_event_ListConsumerGroups_result(response.raw());
            let mut count = 0usize;
            let valid = bindings::rd_kafka_ListConsumerGroups_result_valid(result, &raw mut count);
            let mut groups: Vec<GroupListing> =
                (0..count).map(|place| listing(*valid.add(place))).collect();
            let errors =
                bindings::rd_kafka_ListConsumerGroups_result_errors(result, &raw mut count);
            for place in 0..count {
                let (code, detail) = code(*errors.add(place));
                // A broker that is down coordinates no groups: others have taken them over.
                if !is_transient(code) || groups.is_empty() {
                    return Err(self.response_error(code, action, &detail).into());
                }
            }
            groups.sort_unstable_by(|a, b| a.group.cmp(&b.group));
            groups.dedup_by(|a, b| a.group == b.group);
            Ok(groups)
        }
    }

    /// Describes one group. A group that does not exist is `Dead`, without members.
    ///
    /// # Errors
    /// Configuration: an embedded broker, or not a consumer group. Connection: Kafka does not respond, or refuses.
    pub fn group(
        &self,
        group: &str,
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<GroupDescription> {
        let mut found = self.describe_groups(&[group.to_owned()], poll_interrupts)?;
        let Some(description) = found.pop() else {
            return Err(self
                .timeout_error("The consumer group cannot be described")
                .into());
        };
        match description.error {
            Some(error) => Err(error.into()),
            None => Ok(description),
        }
    }

    /// Describes several groups with one request, sorted by name. An error of one group is stored in its result.
    ///
    /// # Errors
    /// Configuration: an embedded broker, or an empty name. Connection: Kafka does not respond.
    pub fn describe_groups(
        &self,
        groups: &[String],
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<Vec<GroupDescription>> {
        let action = "The consumer groups cannot be described";
        let call = AdminCall::new(poll_interrupts);
        let names = distinct(groups, action)?;
        self.refuse_mock(&call, action)?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<_> = names.iter().map(|name| client::c_string(name)).collect();
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, &call);
        let options = options.with_operations();
        // SAFETY: live objects; the request copies the names.
        let response = self.request(&options, &call, action, |client, options, queue| unsafe {
            bindings::rd_kafka_DescribeConsumerGroups(
                client,
                pointers.as_mut_ptr(),
                pointers.len(),
                options,
                queue,
            );
        })?;
        // SAFETY: the result lives as long as its event.
        unsafe {
            let result = bindings::rd_kafka_event_DescribeConsumerGroups_result(response.raw());
            let mut count = 0usize;
            let list =
                bindings::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
            Ok((0..count)
                .map(|place| self.description(*list.add(place)))
                .collect())
        }
    }

    unsafe fn description(
        &self,
        group: *const bindings::rd_kafka_ConsumerGroupDescription_t,
    ) -> GroupDescription {
        let name = client::text(bindings::rd_kafka_ConsumerGroupDescription_group_id(group));
        let (code, detail) = code(bindings::rd_kafka_ConsumerGroupDescription_error(group));
        let missing = code == Code::GroupIdNotFound;
        let error = (code != Code::NoError && !missing).then(|| {
            let action = format!("Consumer group \"{name}\" cannot be described");
            self.response_error(code, &action, &detail)
        });
        let mut count = 0usize;
        let list = bindings::rd_kafka_ConsumerGroupDescription_authorized_operations(
            group,
            &raw mut count,
        );
        let mut members: Vec<GroupMember> = (0
            ..bindings::rd_kafka_ConsumerGroupDescription_member_count(group))
            .map(|place| {
                member(bindings::rd_kafka_ConsumerGroupDescription_member(
                    group, place,
                ))
            })
            .collect();
        members.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        GroupDescription {
            group: name,
            error,
            state: if missing {
                "Dead".to_owned()
            } else {
                state(bindings::rd_kafka_ConsumerGroupDescription_state(group))
            },
            kind: kind(bindings::rd_kafka_ConsumerGroupDescription_type(group)),
            assignor: client::text(
                bindings::rd_kafka_ConsumerGroupDescription_partition_assignor(group),
            ),
            coordinator: node(bindings::rd_kafka_ConsumerGroupDescription_coordinator(
                group,
            )),
            members,
            authorized_operations: authorized_operations(list, count),
        }
    }
}

/// Group names, sorted and without duplicates.
pub(super) fn distinct<'a>(groups: &'a [String], action: &str) -> AdminResult<Vec<&'a str>> {
    let mut names: Vec<&str> = groups.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    // A longer name would corrupt the request and break the connection.
    let cannot =
        |name: &&str| name.is_empty() || name.len() > MAX_GROUP_NAME_BYTES || name.contains('\0');
    if let Some(name) = names.iter().copied().find(cannot) {
        let start: String = name.chars().take(40).collect();
        return Err(Error::configuration(format!(
            "{action}: \"{}\" is not a valid consumer group name. \
             A name has 1 to {MAX_GROUP_NAME_BYTES} bytes and no NUL.",
            start.escape_debug()
        ))
        .into());
    }
    Ok(names)
}

unsafe fn listing(group: *const bindings::rd_kafka_ConsumerGroupListing_t) -> GroupListing {
    let simple = bindings::rd_kafka_ConsumerGroupListing_is_simple_consumer_group(group);
    GroupListing {
        group: client::text(bindings::rd_kafka_ConsumerGroupListing_group_id(group)),
        state: state(bindings::rd_kafka_ConsumerGroupListing_state(group)),
        kind: kind(bindings::rd_kafka_ConsumerGroupListing_type(group)),
        protocol: if simple == 0 { "consumer" } else { "" },
    }
}

unsafe fn member(member: *const bindings::rd_kafka_MemberDescription_t) -> GroupMember {
    let instance = bindings::rd_kafka_MemberDescription_group_instance_id(member);
    let assignment = bindings::rd_kafka_MemberDescription_assignment(member);
    let list = if assignment.is_null() {
        std::ptr::null()
    } else {
        bindings::rd_kafka_MemberAssignment_partitions(assignment)
    };
    let mut assignment = Vec::new();
    client::each_element(list, |element| {
        assignment.push((client::topic_of(element), element.partition));
    });
    assignment.sort_unstable();
    GroupMember {
        id: client::text(bindings::rd_kafka_MemberDescription_consumer_id(member)),
        instance: (!instance.is_null()).then(|| client::text(instance)),
        client: client::text(bindings::rd_kafka_MemberDescription_client_id(member)),
        host: client::text(bindings::rd_kafka_MemberDescription_host(member))
            .trim_start_matches('/')
            .to_owned(),
        assignment,
    }
}

fn state(state: bindings::rd_kafka_consumer_group_state_t) -> String {
    // SAFETY: returns a static string.
    let name = unsafe { CStr::from_ptr(bindings::rd_kafka_consumer_group_state_name(state)) };
    name.to_string_lossy().into_owned()
}

fn kind(kind: bindings::rd_kafka_consumer_group_type_t) -> String {
    // SAFETY: returns a static string.
    let name = unsafe { CStr::from_ptr(bindings::rd_kafka_consumer_group_type_name(kind)) };
    name.to_string_lossy().into_owned()
}
