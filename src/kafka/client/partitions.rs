//! Lists of topic partitions, with offsets and metadata.
#![allow(unsafe_code)]

use rdkafka_sys as sys;

use super::{c_string, text};

/// An owned `rd_kafka_topic_partition_list_t`.
pub struct TopicPartitionList(*mut sys::rd_kafka_topic_partition_list_t);

impl TopicPartitionList {
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: plain constructor.
        Self(unsafe { sys::rd_kafka_topic_partition_list_new(8) })
    }

    /// A list of partitions, without offsets.
    #[must_use]
    pub fn of(partitions: &[(impl AsRef<str>, i32)]) -> Self {
        let mut list = Self::new();
        for (topic, partition) in partitions {
            list.add(topic.as_ref(), *partition, super::INVALID_OFFSET);
        }
        list
    }

    /// Takes ownership of a list that librdkafka returned to the caller.
    ///
    /// # Safety
    /// `raw` must be a list that the caller owns.
    pub(crate) unsafe fn from_raw(raw: *mut sys::rd_kafka_topic_partition_list_t) -> Self {
        Self(raw)
    }

    /// Adds a partition at `offset`.
    pub fn add(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> &mut sys::rd_kafka_topic_partition_t {
        let topic = c_string(topic);
        // SAFETY: the list is ours; the added element is valid until the list changes, which the borrow prevents.
        unsafe {
            let added =
                &mut *sys::rd_kafka_topic_partition_list_add(self.0, topic.as_ptr(), partition);
            added.offset = offset;
            added
        }
    }

    /// Copies bytes into the metadata of an element; freed with the list.
    pub fn set_metadata(element: &mut sys::rd_kafka_topic_partition_t, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        // SAFETY: librdkafka frees element metadata with free(), so it has to come from malloc().
        unsafe {
            let copy = libc::malloc(bytes.len());
            if !copy.is_null() {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy.cast::<u8>(), bytes.len());
                element.metadata = copy;
                element.metadata_size = bytes.len();
            }
        }
    }

    #[must_use]
    pub fn elements(&self) -> &[sys::rd_kafka_topic_partition_t] {
        // SAFETY: `elems` points at `cnt` elements.
        unsafe {
            let list = &*self.0;
            if list.cnt <= 0 {
                return &[];
            }
            std::slice::from_raw_parts(list.elems, usize::try_from(list.cnt).unwrap_or(0))
        }
    }

    pub fn elements_mut(&mut self) -> &mut [sys::rd_kafka_topic_partition_t] {
        // SAFETY: as above, and the list is ours alone.
        unsafe {
            let list = &mut *self.0;
            if list.cnt <= 0 {
                return &mut [];
            }
            std::slice::from_raw_parts_mut(list.elems, usize::try_from(list.cnt).unwrap_or(0))
        }
    }

    #[must_use]
    pub(crate) fn raw(&self) -> *mut sys::rd_kafka_topic_partition_list_t {
        self.0
    }
}

impl Default for TopicPartitionList {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TopicPartitionList {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0) };
    }
}

/// The topic of a list element.
pub(crate) fn topic_of(element: &sys::rd_kafka_topic_partition_t) -> String {
    // SAFETY: librdkafka sets the topic of every element.
    unsafe { text(element.topic) }
}

/// What a member of a group wrote beside a committed offset.
pub(crate) fn metadata_of(element: &sys::rd_kafka_topic_partition_t) -> Vec<u8> {
    if element.metadata.is_null() {
        return Vec::new();
    }
    // SAFETY: librdkafka sets pointer and size together.
    unsafe { std::slice::from_raw_parts(element.metadata.cast::<u8>(), element.metadata_size) }
        .to_vec()
}

/// Visits every element of a list owned by librdkafka.
///
/// # Safety
/// `list` must be null or alive.
pub(crate) unsafe fn each_element(
    list: *const sys::rd_kafka_topic_partition_list_t,
    mut look: impl FnMut(&sys::rd_kafka_topic_partition_t),
) {
    if list.is_null() {
        return;
    }
    for place in 0..usize::try_from((*list).cnt).unwrap_or(0) {
        look(&*(*list).elems.add(place));
    }
}
