//! Requests of Kafka's admin API.
//!
//! Not the crate's `AdminClient`. It makes its client itself, so that our callbacks cannot be installed (the lock of
//! name lookups that makes forks safe); it polls its own queue only, so that OAUTHBEARER tokens are not refreshed and
//! errors of the client, such as a wrong password, are not seen. And it lacks half of the calls.
#![allow(unsafe_code)]

use std::ffi::{c_int, CString};
use std::ptr::without_provenance_mut;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::TopicPartitionList;
use rdkafka_sys::{
    self as sys, rd_kafka_AdminOptions_t as Options, rd_kafka_ResourceType_t as Resource,
    rd_kafka_admin_op_t as Operation, rd_kafka_queue_t as Queue,
};

use super::admin_results::array;
use super::errors::Failure;
use super::handle::{ms, Client, NativeClient};
use super::owned::{copied, written, Native, NativeList, Owned, Text};
use super::{c_string, take_error, EventQueue};

// SAFETY: as librdkafka has them. A request copies what it is given.
unsafe extern "C" {
    safe fn rd_kafka_AdminOptions_new(
        client: &NativeClient,
        operation: Operation,
    ) -> Owned<'_, Options>;
    safe fn rd_kafka_AdminOptions_set_include_authorized_operations(
        options: &mut Options,
        include: c_int,
    ) -> Failure;
    safe fn rd_kafka_AdminOptions_set_isolation_level(
        options: &mut Options,
        level: sys::rd_kafka_IsolationLevel_t,
    ) -> Failure;
    safe fn rd_kafka_DescribeCluster(client: &NativeClient, options: &Options, queue: &Queue);
    safe fn rd_kafka_DescribeTopics(
        client: &NativeClient,
        topics: &sys::rd_kafka_TopicCollection_t,
        options: &Options,
        queue: &Queue,
    );
    safe fn rd_kafka_ListConsumerGroups(client: &NativeClient, options: &Options, queue: &Queue);
    safe fn rd_kafka_ListOffsets(
        client: &NativeClient,
        requested: &NativeList,
        options: &Options,
        queue: &Queue,
    );
    safe fn rd_kafka_ListConsumerGroupOffsets_new(
        group: Text<'_>,
        partitions: Option<&NativeList>,
    ) -> Owned<'static, sys::rd_kafka_ListConsumerGroupOffsets_t>;
    safe fn rd_kafka_NewTopic_set_config(
        topic: &mut sys::rd_kafka_NewTopic_t,
        name: Text<'_>,
        value: Text<'_>,
    ) -> RDKafkaRespErr;
    safe fn rd_kafka_DeleteTopic_new(
        topic: Text<'_>,
    ) -> Owned<'static, sys::rd_kafka_DeleteTopic_t>;
    safe fn rd_kafka_DeleteRecords_new(
        before: &NativeList,
    ) -> Owned<'static, sys::rd_kafka_DeleteRecords_t>;
    safe fn rd_kafka_ConfigResource_new(
        kind: Resource,
        name: Text<'_>,
    ) -> Option<Owned<'static, sys::rd_kafka_ConfigResource_t>>;
    safe fn rd_kafka_list_groups(
        client: &NativeClient,
        group: Option<Text<'_>>,
        list: &mut Option<Owned<'static, GroupList>>,
        bound: c_int,
    ) -> RDKafkaRespErr;
    fn rd_kafka_group_list_destroy(list: *const GroupList);
}

/// A request for some objects, of which we send one.
///
/// # Safety
/// `SEND` must be librdkafka's function for these objects.
unsafe trait Request: Native {
    const OPERATION: Operation;
    const SEND: unsafe extern "C" fn(
        *mut sys::rd_kafka_t,
        *mut *mut Self,
        usize,
        *const Options,
        *mut Queue,
    );
}

macro_rules! requests {
    ($($object:ident: $operation:ident, $send:ident;)*) => {$(
        // SAFETY: librdkafka's function for these objects.
        unsafe impl Request for sys::$object {
            const OPERATION: Operation = Operation::$operation;
            const SEND: unsafe extern "C" fn(
                *mut sys::rd_kafka_t,
                *mut *mut Self,
                usize,
                *const Options,
                *mut Queue,
            ) = sys::$send;
        }
    )*};
}

requests! {
    rd_kafka_NewTopic_t: RD_KAFKA_ADMIN_OP_CREATETOPICS, rd_kafka_CreateTopics;
    rd_kafka_DeleteTopic_t: RD_KAFKA_ADMIN_OP_DELETETOPICS, rd_kafka_DeleteTopics;
    rd_kafka_NewPartitions_t: RD_KAFKA_ADMIN_OP_CREATEPARTITIONS, rd_kafka_CreatePartitions;
    rd_kafka_DeleteRecords_t: RD_KAFKA_ADMIN_OP_DELETERECORDS, rd_kafka_DeleteRecords;
    rd_kafka_ConfigResource_t: RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, rd_kafka_DescribeConfigs;
    rd_kafka_ListConsumerGroupOffsets_t:
        RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, rd_kafka_ListConsumerGroupOffsets;
}

/// A topic to create.
#[derive(Debug, Clone)]
pub struct NewTopic {
    pub name: String,
    /// -1 selects the broker's default (Kafka 2.4 and later). The same for the replication factor.
    pub partitions: i32,
    pub replication: i32,
    /// Topic configuration, such as `retention.ms`.
    pub config: Vec<(String, String)>,
    /// Kafka only checks whether it would create the topic.
    pub validate_only: bool,
}

/// Sends requests, whose responses arrive in a queue. A request copies what it needs.
pub(crate) struct AdminRequests<'a> {
    client: &'a Client,
    queue: &'a EventQueue,
    /// Timeout of a request.
    bound: Duration,
    /// Returned with the response, for several requests on one queue.
    tag: usize,
}

impl<'a> AdminRequests<'a> {
    pub fn new(client: &'a Client, queue: &'a EventQueue, bound: Duration) -> Self {
        Self {
            client,
            queue,
            bound,
            tag: 0,
        }
    }

    pub fn tagged(self, tag: usize) -> Self {
        Self { tag, ..self }
    }

    /// `validate_only`: see [`NewTopic`].
    fn options(&self, operation: Operation, validate_only: bool) -> Owned<'a, Options> {
        let bound = ms(self.bound).clamp(1, 3_600_000);
        let options = rd_kafka_AdminOptions_new(self.client, operation);
        let raw = options.raw();
        // SAFETY: live options; a rejected value leaves the default, and these are within their limits. The tag is
        // only ever read as a number.
        written(|reason, size| unsafe {
            sys::rd_kafka_AdminOptions_set_request_timeout(raw, bound, reason, size);
            if matches!(
                operation,
                Operation::RD_KAFKA_ADMIN_OP_CREATETOPICS
                    | Operation::RD_KAFKA_ADMIN_OP_DELETETOPICS
                    | Operation::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS
                    | Operation::RD_KAFKA_ADMIN_OP_DELETERECORDS
            ) {
                // The broker's own limit: it responds once the topic exists, or the records are deleted.
                sys::rd_kafka_AdminOptions_set_operation_timeout(raw, bound, reason, size);
            }
            if validate_only {
                sys::rd_kafka_AdminOptions_set_validate_only(raw, 1, reason, size);
            }
            sys::rd_kafka_AdminOptions_set_opaque(raw, without_provenance_mut(self.tag));
        });
        options
    }

    /// The options of a request whose response includes the authorized operations.
    fn options_with_operations(&self, operation: Operation) -> Owned<'a, Options> {
        let mut options = self.options(operation, false);
        let set = rd_kafka_AdminOptions_set_include_authorized_operations;
        take_error(set(&mut options, 1));
        options
    }

    fn send<T: Request>(&self, object: &Owned<'_, T>, validate_only: bool) {
        let options = self.options(T::OPERATION, validate_only);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        let mut list = [object.raw()];
        // SAFETY: live objects, and a list of one.
        unsafe { T::SEND(client, list.as_mut_ptr(), 1, options.raw(), queue) };
    }

    pub fn describe_cluster(&self) {
        let options = self.options_with_operations(Operation::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER);
        rd_kafka_DescribeCluster(self.client, &options, self.queue.native());
    }

    pub fn describe_topics(&self, names: &[impl AsRef<str>], operations: bool) {
        let names: Vec<CString> = names.iter().map(|name| c_string(name.as_ref())).collect();
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let operation = Operation::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = if operations {
            self.options_with_operations(operation)
        } else {
            self.options(operation, false)
        };
        let (first, count) = (pointers.as_mut_ptr(), pointers.len());
        // SAFETY: so many names, which are copied; the collection is ours.
        let topics =
            unsafe { Owned::from_raw(sys::rd_kafka_TopicCollection_of_topic_names(first, count)) };
        if let Some(topics) = topics {
            rd_kafka_DescribeTopics(self.client, &topics, &options, self.queue.native());
        }
    }

    pub fn list_groups(&self) {
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS, false);
        rd_kafka_ListConsumerGroups(self.client, &options, self.queue.native());
    }

    pub fn describe_groups(&self, names: &[&str]) {
        let names: Vec<CString> = names.iter().map(|name| c_string(name)).collect();
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let operation = Operation::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
        let options = self.options_with_operations(operation);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        let (first, count) = (pointers.as_mut_ptr(), pointers.len());
        // SAFETY: live objects, and so many names.
        unsafe {
            sys::rd_kafka_DescribeConsumerGroups(client, first, count, options.raw(), queue);
        }
    }

    /// `every`: the partitions, for brokers that require them.
    pub fn list_group_offsets(&self, group: &str, every: Option<&TopicPartitionList>) {
        let (group, every) = (c_string(group), every.map(NativeList::of));
        let requested = rd_kafka_ListConsumerGroupOffsets_new(Text::from(&group), every);
        self.send(&requested, false);
    }

    /// The offset of a partition is `Beginning`, `End`, or a time in Unix ms. `is_committed`: the end offset is the
    /// last stable offset.
    pub fn list_offsets(&self, requested: &TopicPartitionList, is_committed: bool) {
        use sys::rd_kafka_IsolationLevel_t::{
            RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED, RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
        };
        let level = if is_committed {
            RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
        } else {
            RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
        };
        let mut options = self.options(Operation::RD_KAFKA_ADMIN_OP_LISTOFFSETS, false);
        let refused = rd_kafka_AdminOptions_set_isolation_level(&mut options, level);
        take_error(refused);
        let requested = NativeList::of(requested);
        rd_kafka_ListOffsets(self.client, requested, &options, self.queue.native());
    }

    /// # Errors
    /// librdkafka's reason to refuse the request.
    pub fn create_topic(&self, new: &NewTopic) -> Result<(), String> {
        let name = c_string(&new.name);
        let (partitions, replication) = (new.partitions, new.replication);
        // SAFETY: the topic is ours, and the buffer has this size.
        let (topic, reason) = written(|reason, size| unsafe {
            let name = name.as_ptr();
            let topic = sys::rd_kafka_NewTopic_new(name, partitions, replication, reason, size);
            Owned::from_raw(topic)
        });
        let mut topic = topic.ok_or(reason)?;
        for (key, value) in &new.config {
            let (key, value) = (c_string(key), c_string(value));
            rd_kafka_NewTopic_set_config(&mut topic, Text::from(&key), Text::from(&value));
        }
        self.send(&topic, new.validate_only);
        Ok(())
    }

    pub fn delete_topic(&self, name: &str) {
        let topic = rd_kafka_DeleteTopic_new(Text::from(&c_string(name)));
        self.send(&topic, false);
    }

    /// # Errors
    /// librdkafka's reason to refuse the request.
    pub fn create_partitions(&self, topic: &str, total: usize) -> Result<(), String> {
        let topic = c_string(topic);
        // SAFETY: the request is ours, and the buffer has this size.
        let (more, reason) = written(|reason, size| unsafe {
            let more = sys::rd_kafka_NewPartitions_new(topic.as_ptr(), total, reason, size);
            Owned::from_raw(more)
        });
        self.send(&more.ok_or(reason)?, false);
        Ok(())
    }

    /// Deletes the records before the offsets of the list.
    pub fn delete_records(&self, before: &TopicPartitionList) {
        let delete = rd_kafka_DeleteRecords_new(NativeList::of(before));
        self.send(&delete, false);
    }

    /// There is no response for an empty name.
    pub fn describe_topic_config(&self, topic: &str) {
        let topic = c_string(topic);
        let kind = Resource::RD_KAFKA_RESOURCE_TOPIC;
        if let Some(resource) = rd_kafka_ConfigResource_new(kind, Text::from(&topic)) {
            self.send(&resource, false);
        }
    }
}

/// The members of a group: ids, and what each tells the group about itself, if it does.
///
/// # Errors
/// The error code if Kafka does not respond within `bound`, or refuses.
pub(in crate::kafka) fn group_members(
    client: &NativeClient,
    group: &str,
    bound: Duration,
) -> Result<Vec<(String, Vec<u8>)>, Code> {
    let (group, mut list) = (c_string(group), None);
    let code = rd_kafka_list_groups(client, Some(Text::from(&group)), &mut list, ms(bound));
    match (list, Code::from(code)) {
        (Some(list), _) => Ok(list.members()),
        (None, Code::NoError) => Ok(Vec::new()),
        (None, code) => Err(code),
    }
}

/// A response of Kafka with groups.
#[repr(transparent)]
struct GroupList(sys::rd_kafka_group_list);

// SAFETY: librdkafka's function for such responses.
unsafe impl Native for GroupList {
    const DESTROY: unsafe extern "C" fn(*mut Self) = destroy_group_list;
}

unsafe extern "C" fn destroy_group_list(list: *mut GroupList) {
    rd_kafka_group_list_destroy(list);
}

impl GroupList {
    fn members(&self) -> Vec<(String, Vec<u8>)> {
        let length = |count: c_int| usize::try_from(count).unwrap_or(0);
        let first = self.0.groups.cast_const();
        // SAFETY: texts and arrays of the response, which are as long as it says.
        unsafe {
            let groups = array(first, length(self.0.group_cnt)).iter();
            let members = groups.flat_map(|group| {
                array(group.members.cast_const(), length(group.member_cnt)).iter()
            });
            let read = members.map(|member| {
                let metadata = member.member_metadata.cast_const().cast::<u8>();
                let metadata = array(metadata, length(member.member_metadata_size));
                (copied(member.member_id), metadata.to_vec())
            });
            read.collect()
        }
    }
}
