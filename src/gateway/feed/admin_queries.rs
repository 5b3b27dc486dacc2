//! Admin requests for many topics in one batch: offsets by time, first and last offsets, topic ids.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::Offset;

use super::consumer::FeedConsumer;
use super::positions::TopicId;
use crate::kafka::client::{partitions_of, AdminRequests, EventQueue};

/// Maximum topics in one request for ids.
const MAX_TOPICS_PER_REQUEST: usize = 500;

/// A partition, by the name of its topic.
pub(crate) type Key = (String, i32);

/// Selects an offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OffsetSpec {
    /// The first offset that exists.
    Beginning,
    /// The offset after the last record.
    End,
    /// The first offset with this timestamp or a later one, Unix ms; -1 if all records are older.
    Since(i64),
}

impl FeedConsumer {
    /// Requests the offsets of all these partitions in one batch. A partition whose leader does not answer is missing
    /// in the result.
    ///
    /// # Errors
    /// The error code if no broker answers in time.
    pub fn offsets(
        &self,
        partitions: &[Key],
        offset_spec: OffsetSpec,
        bound: Duration,
    ) -> Result<HashMap<Key, i64>, Code> {
        if partitions.is_empty() {
            return Ok(HashMap::new());
        }
        let spec = match offset_spec {
            OffsetSpec::Beginning => Offset::Beginning,
            OffsetSpec::End => Offset::End,
            OffsetSpec::Since(ms) => Offset::Offset(ms.max(0)),
        };
        let mut requested = partitions_of(partitions);
        if requested.set_all_offsets(spec).is_err() {
            return Err(Code::InvalidArgument);
        }
        let queue = EventQueue::new(self.client());
        AdminRequests::new(self.client(), &queue, bound)
            .list_offsets(&requested, self.reads_committed());
        let response = queue
            .poll(bound + Duration::from_secs(1))
            .ok_or(Code::OperationTimedOut)?;
        if let Some((code, _)) = response.error() {
            return Err(code);
        }
        let found = response.listed_offsets().into_iter();
        let found = found.filter(|entry| entry.error == Code::NoError);
        Ok(found
            .map(|entry| ((entry.topic, entry.partition), entry.offset))
            .collect())
    }

    /// The ids of these topics; brokers before 2.8 have none.
    pub fn topic_ids(&self, names: &[String], bound: Duration) -> HashMap<String, TopicId> {
        let mut found = HashMap::with_capacity(names.len());
        for some in names.chunks(MAX_TOPICS_PER_REQUEST) {
            self.topic_ids_chunk(some, bound, &mut found);
        }
        found
    }

    fn topic_ids_chunk(
        &self,
        names: &[String],
        bound: Duration,
        found: &mut HashMap<String, TopicId>,
    ) {
        let queue = EventQueue::new(self.client());
        AdminRequests::new(self.client(), &queue, bound).describe_topics(names, false);
        let Some(response) = queue.poll(bound + Duration::from_secs(1)) else {
            return;
        };
        if response.error().is_some() {
            return;
        }
        let described = response.described_topics().into_iter();
        let described = described.filter(|topic| topic.error == Code::NoError);
        found.extend(described.filter_map(|topic| Some((topic.name, topic.id?))));
    }
}
