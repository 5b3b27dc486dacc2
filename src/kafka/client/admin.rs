//! Requests of Kafka's admin API.
//!
//! Not the crate's `AdminClient`. It makes its client itself, so that our callbacks cannot be installed (the lock of
//! name lookups that makes forks safe); it polls its own queue only, so that OAUTHBEARER tokens are not refreshed and
//! errors of the client, such as a wrong password, are not seen. And it lacks half of the calls.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void, CString};
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::TopicPartitionList;
use rdkafka_sys as sys;
use sys::bindings::{self, rd_kafka_ResourceType_t as Resource, rd_kafka_admin_op_t as Operation};

use super::admin_results::array;
use super::handle::{ms, Client, NativeClient};
use super::{c_string, take_error, text, EventQueue};

/// A topic to create.
pub(crate) struct TopicToCreate<'a> {
    pub name: &'a str,
    /// -1 selects the broker's default (Kafka 2.4 and later). The same for the replication factor.
    pub partitions: i32,
    pub replication: i32,
    pub config: Vec<(&'a str, String)>,
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

/// Options of one request.
struct Options(*mut sys::rd_kafka_AdminOptions_t);

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0) };
    }
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

    fn options(&self, operation: Operation) -> Options {
        let mut reason = [0 as c_char; 256];
        let bound = ms(self.bound).clamp(1, 3_600_000);
        // SAFETY: a live client; a rejected value leaves the default, and these are within their limits. The tag is
        // only ever read as a number.
        unsafe {
            let raw = sys::rd_kafka_AdminOptions_new(self.client.raw(), operation);
            let (reason, size) = (reason.as_mut_ptr(), reason.len());
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
            bindings::rd_kafka_AdminOptions_set_opaque(raw, self.tag as *mut c_void);
            Options(raw)
        }
    }

    /// Asks the broker to include the authorized operations in its response.
    fn with_operations(options: &Options) {
        let set = bindings::rd_kafka_AdminOptions_set_include_authorized_operations;
        // SAFETY: ours; the error too.
        unsafe { take_error(set(options.0, 1)) };
    }

    pub fn describe_cluster(&self) {
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER);
        Self::with_operations(&options);
        // SAFETY: live objects. The same in the requests below.
        unsafe {
            bindings::rd_kafka_DescribeCluster(self.client.raw(), options.0, self.queue.raw());
        }
    }

    pub fn describe_topics(&self, names: &[impl AsRef<str>], operations: bool) {
        let names: Vec<CString> = names.iter().map(|name| c_string(name.as_ref())).collect();
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        if operations {
            Self::with_operations(&options);
        }
        let (client, queue) = (self.client.raw(), self.queue.raw());
        // SAFETY: as above; the collection copies the names.
        unsafe {
            let topics = bindings::rd_kafka_TopicCollection_of_topic_names(
                pointers.as_mut_ptr(),
                pointers.len(),
            );
            bindings::rd_kafka_DescribeTopics(client, topics, options.0, queue);
            bindings::rd_kafka_TopicCollection_destroy(topics);
        }
    }

    pub fn list_groups(&self) {
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
        // SAFETY: as above.
        unsafe {
            bindings::rd_kafka_ListConsumerGroups(self.client.raw(), options.0, self.queue.raw());
        }
    }

    pub fn describe_groups(&self, names: &[&str]) {
        let names: Vec<CString> = names.iter().map(|name| c_string(name)).collect();
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
        Self::with_operations(&options);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        let (list, count) = (pointers.as_mut_ptr(), pointers.len());
        // SAFETY: as above.
        unsafe { bindings::rd_kafka_DescribeConsumerGroups(client, list, count, options.0, queue) };
    }

    /// `every`: the partitions, for brokers that require them.
    pub fn list_group_offsets(&self, group: &str, every: Option<&TopicPartitionList>) {
        let group = c_string(group);
        let every = every.map_or(std::ptr::null(), |list| list.ptr().cast_const());
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        // SAFETY: as above.
        unsafe {
            let requested = bindings::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), every);
            let list = &raw const requested;
            let list = list.cast_mut();
            bindings::rd_kafka_ListConsumerGroupOffsets(client, list, 1, options.0, queue);
            bindings::rd_kafka_ListConsumerGroupOffsets_destroy(requested);
        }
    }

    /// The offset of a partition is `Beginning`, `End`, or a time in Unix ms. `is_committed`: the end offset is the
    /// last stable offset.
    pub fn list_offsets(&self, requested: &TopicPartitionList, is_committed: bool) {
        use bindings::rd_kafka_IsolationLevel_t::{
            RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED, RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
        };
        let level = if is_committed {
            RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
        } else {
            RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
        };
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_LISTOFFSETS);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        // SAFETY: as above; the error is ours.
        unsafe {
            let set = bindings::rd_kafka_AdminOptions_set_isolation_level;
            take_error(set(options.0, level));
            bindings::rd_kafka_ListOffsets(client, requested.ptr(), options.0, queue);
        }
    }

    /// # Errors
    /// librdkafka's reason to refuse the request.
    pub fn create_topic(&self, new: &TopicToCreate<'_>) -> Result<(), String> {
        let name = c_string(new.name);
        let mut reason = [0 as c_char; 256];
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_CREATETOPICS);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        // SAFETY: as above; the topic is ours until it is destroyed.
        unsafe {
            let mut topic = sys::rd_kafka_NewTopic_new(
                name.as_ptr(),
                new.partitions,
                new.replication,
                reason.as_mut_ptr(),
                reason.len(),
            );
            if topic.is_null() {
                return Err(text(reason.as_ptr()));
            }
            for (key, value) in &new.config {
                let (key, value) = (c_string(key), c_string(value));
                sys::rd_kafka_NewTopic_set_config(topic, key.as_ptr(), value.as_ptr());
            }
            if new.validate_only {
                let (reason, size) = (reason.as_mut_ptr(), reason.len());
                sys::rd_kafka_AdminOptions_set_validate_only(options.0, 1, reason, size);
            }
            sys::rd_kafka_CreateTopics(client, &raw mut topic, 1, options.0, queue);
            sys::rd_kafka_NewTopic_destroy(topic);
        }
        Ok(())
    }

    pub fn delete_topic(&self, name: &str) {
        let name = c_string(name);
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DELETETOPICS);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        // SAFETY: as above.
        unsafe {
            let mut delete = sys::rd_kafka_DeleteTopic_new(name.as_ptr());
            sys::rd_kafka_DeleteTopics(client, &raw mut delete, 1, options.0, queue);
            sys::rd_kafka_DeleteTopic_destroy(delete);
        }
    }

    /// # Errors
    /// librdkafka's reason to refuse the request.
    pub fn create_partitions(&self, topic: &str, total: usize) -> Result<(), String> {
        let topic = c_string(topic);
        let mut reason = [0 as c_char; 256];
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        // SAFETY: as above.
        unsafe {
            let (reason, size) = (reason.as_mut_ptr(), reason.len());
            let mut more =
                bindings::rd_kafka_NewPartitions_new(topic.as_ptr(), total, reason, size);
            if more.is_null() {
                return Err(text(reason));
            }
            bindings::rd_kafka_CreatePartitions(client, &raw mut more, 1, options.0, queue);
            bindings::rd_kafka_NewPartitions_destroy(more);
        }
        Ok(())
    }

    /// Deletes the records before the offsets of the list.
    pub fn delete_records(&self, before: &TopicPartitionList) {
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DELETERECORDS);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        // SAFETY: as above.
        unsafe {
            let mut delete = bindings::rd_kafka_DeleteRecords_new(before.ptr());
            bindings::rd_kafka_DeleteRecords(client, &raw mut delete, 1, options.0, queue);
            bindings::rd_kafka_DeleteRecords_destroy(delete);
        }
    }

    pub fn describe_topic_config(&self, topic: &str) {
        let topic = c_string(topic);
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        // SAFETY: as above.
        unsafe {
            let kind = Resource::RD_KAFKA_RESOURCE_TOPIC;
            let mut resource = bindings::rd_kafka_ConfigResource_new(kind, topic.as_ptr());
            bindings::rd_kafka_DescribeConfigs(client, &raw mut resource, 1, options.0, queue);
            bindings::rd_kafka_ConfigResource_destroy(resource);
        }
    }
}

impl NativeClient {
    /// The members of a group: ids, and what each tells the group about itself, if it does.
    ///
    /// # Errors
    /// The error code if Kafka does not respond within `bound`, or refuses.
    pub(in crate::kafka) fn list_members(
        &self,
        group: &str,
        bound: Duration,
    ) -> Result<Vec<(String, Vec<u8>)>, Code> {
        let (group, mut list) = (c_string(group), std::ptr::null());
        // SAFETY: a live client; the list is read and destroyed here.
        unsafe {
            let code = bindings::rd_kafka_list_groups(
                self.raw(),
                group.as_ptr(),
                &raw mut list,
                ms(bound),
            );
            if list.is_null() {
                return match Code::from(code) {
                    Code::NoError => Ok(Vec::new()),
                    code => Err(code),
                };
            }
            let members = read_members(&*list);
            bindings::rd_kafka_group_list_destroy(list);
            Ok(members)
        }
    }
}

unsafe fn read_members(list: &bindings::rd_kafka_group_list) -> Vec<(String, Vec<u8>)> {
    let groups = array(
        list.groups.cast_const(),
        usize::try_from(list.group_cnt).unwrap_or(0),
    );
    let members = groups.iter().flat_map(|group| {
        let count = usize::try_from(group.member_cnt).unwrap_or(0);
        array(group.members.cast_const(), count)
    });
    let read = members.map(|member| {
        let length = usize::try_from(member.member_metadata_size).unwrap_or(0);
        let metadata = array(member.member_metadata.cast_const().cast::<u8>(), length);
        (text(member.member_id), metadata.to_vec())
    });
    read.collect()
}
