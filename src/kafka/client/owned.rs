//! Rust's types for the objects, strings and lists of librdkafka: a reference is an object that is alive, [`Owned`] is
//! one that we destroy, and [`Text`] is a C string. The files beside this one declare librdkafka's functions with these
//! types as `safe` where every such argument is valid; the others, which take a pointer with a length, a callback or a
//! buffer, are those of `rdkafka_sys`.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, CStr, CString};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_sys as sys;

use super::c_string;

/// An object of librdkafka.
///
/// # Safety
/// `DESTROY` must release it, and be callable from any thread.
pub(super) unsafe trait Native: Sized {
    const DESTROY: unsafe extern "C" fn(*mut Self);
}

macro_rules! destroyed_by {
    ($($object:ty: $destroy:path),* $(,)?) => {$(
        // SAFETY: librdkafka's function for objects of this type.
        unsafe impl Native for $object {
            const DESTROY: unsafe extern "C" fn(*mut Self) = $destroy;
        }
    )*};
}

destroyed_by! {
    sys::rd_kafka_AdminOptions_t: sys::rd_kafka_AdminOptions_destroy,
    sys::rd_kafka_error_t: sys::rd_kafka_error_destroy,
    sys::rd_kafka_event_t: sys::rd_kafka_event_destroy,
    sys::rd_kafka_headers_t: sys::rd_kafka_headers_destroy,
    sys::rd_kafka_queue_t: sys::rd_kafka_queue_destroy,
    sys::rd_kafka_topic_t: sys::rd_kafka_topic_destroy,
    sys::rd_kafka_topic_conf_t: sys::rd_kafka_topic_conf_destroy,
    sys::rd_kafka_consumer_group_metadata_t: sys::rd_kafka_consumer_group_metadata_destroy,
    sys::rd_kafka_mock_cluster_t: sys::rd_kafka_mock_cluster_destroy,
    sys::rd_kafka_TopicCollection_t: sys::rd_kafka_TopicCollection_destroy,
    sys::rd_kafka_NewTopic_t: sys::rd_kafka_NewTopic_destroy,
    sys::rd_kafka_DeleteTopic_t: sys::rd_kafka_DeleteTopic_destroy,
    sys::rd_kafka_NewPartitions_t: sys::rd_kafka_NewPartitions_destroy,
    sys::rd_kafka_DeleteRecords_t: sys::rd_kafka_DeleteRecords_destroy,
    sys::rd_kafka_ConfigResource_t: sys::rd_kafka_ConfigResource_destroy,
    sys::rd_kafka_ListConsumerGroupOffsets_t: sys::rd_kafka_ListConsumerGroupOffsets_destroy,
}

/// An object that is ours until it is dropped, at the end of `'a` at the latest.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Owned<'a, T: Native>(NonNull<T>, PhantomData<&'a ()>);

impl<T: Native> Owned<'_, T> {
    /// # Safety
    /// `raw` must be null, or a live object that nothing else destroys.
    #[inline]
    pub unsafe fn from_raw(raw: *mut T) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self(raw, PhantomData))
    }

    pub fn into_raw(self) -> NonNull<T> {
        std::mem::ManuallyDrop::new(self).0
    }

    #[inline]
    pub const fn raw(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T: Native> Deref for Owned<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: alive until it is dropped.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Native> DerefMut for Owned<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and ours alone.
        unsafe { self.0.as_mut() }
    }
}

impl<T: Native> Drop for Owned<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: ours, destroyed once.
        unsafe { T::DESTROY(self.0.as_ptr()) };
    }
}

/// A C string that lives as long as `'a`.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Text<'a>(NonNull<c_char>, PhantomData<&'a CStr>);

impl<'a> From<&'a CStr> for Text<'a> {
    fn from(text: &'a CStr) -> Self {
        Self(NonNull::from(text).cast(), PhantomData)
    }
}

impl<'a> From<&'a CString> for Text<'a> {
    fn from(text: &'a CString) -> Self {
        text.as_c_str().into()
    }
}

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // SAFETY: a C string that is alive.
        f.write_str(&unsafe { CStr::from_ptr(self.0.as_ptr()) }.to_string_lossy())
    }
}

/// The string, empty for null.
pub(super) fn text(of: Option<Text<'_>>) -> String {
    of.map_or_else(String::new, |text| text.to_string())
}

/// The result of `call`, and the text that it wrote to the buffer.
pub(super) fn written<R>(call: impl FnOnce(*mut c_char, usize) -> R) -> (R, String) {
    let mut buffer = [0_u8; 512];
    let result = call(buffer.as_mut_ptr().cast(), buffer.len());
    let text = CStr::from_bytes_until_nul(&buffer).unwrap_or_default();
    (result, text.to_string_lossy().into_owned())
}

/// Reads a text that librdkafka may overwrite with the next one.
///
/// # Safety
/// `text` must be null or a C string.
pub(super) unsafe fn copied(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    CStr::from_ptr(text).to_string_lossy().into_owned()
}

/// Key, value, and header values of a message: bytes or null.
///
/// # Safety
/// `pointer` must be null or point at `length` bytes that live as long as the slice is used.
#[inline]
pub(super) unsafe fn bytes<'a>(pointer: *const u8, length: usize) -> Option<&'a [u8]> {
    (!pointer.is_null()).then(|| std::slice::from_raw_parts(pointer, length))
}

// Lists of partitions: the crate's own where we build them, and what librdkafka returns.

/// A list of partitions, without offsets.
pub(crate) fn partitions_of(partitions: &[(impl AsRef<str>, i32)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        list.add_partition(topic.as_ref(), *partition);
    }
    list
}

/// A list of partitions with their offsets, as librdkafka has them.
pub(crate) fn offsets_of<T: AsRef<str>>(
    partitions: impl IntoIterator<Item = (T, i32, i64)>,
) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in partitions {
        // Refused for a negative offset that means nothing: the partition then has none.
        let _ = list
            .add_partition(topic.as_ref(), partition)
            .set_offset(Offset::from_raw(offset));
    }
    list
}

/// A list of librdkafka, the crate's own or not.
#[repr(transparent)]
pub(super) struct NativeList(sys::rd_kafka_topic_partition_list_t);

// SAFETY: librdkafka's function for these lists.
unsafe impl Native for NativeList {
    const DESTROY: unsafe extern "C" fn(*mut Self) = rd_kafka_topic_partition_list_destroy;
}

// SAFETY: as librdkafka has them.
unsafe extern "C" {
    fn rd_kafka_topic_partition_list_destroy(list: *mut NativeList);
    safe fn rd_kafka_topic_partition_list_copy(list: &NativeList) -> Owned<'static, NativeList>;
    safe fn rd_kafka_topic_partition_list_set_offset(
        list: &mut NativeList,
        topic: Text<'_>,
        partition: c_int,
        offset: i64,
    ) -> RDKafkaRespErr;
}

impl NativeList {
    pub fn of(list: &TopicPartitionList) -> &Self {
        // SAFETY: alive as long as the crate's list.
        unsafe { &*list.ptr().cast() }
    }

    /// For calls that write to the elements.
    pub fn of_mut(list: &mut TopicPartitionList) -> &mut Self {
        // SAFETY: as above, and borrowed alone.
        unsafe { &mut *list.ptr().cast() }
    }

    pub fn read(&self) -> Vec<PartitionEntry> {
        let count = usize::try_from(self.0.cnt).unwrap_or(0);
        // SAFETY: the list has so many elements.
        let elements = (0..count).map(|place| unsafe { &*self.0.elems.add(place).cast() });
        elements.map(NativeElement::read).collect()
    }
}

/// An element of a list of librdkafka.
#[repr(transparent)]
pub(super) struct NativeElement(sys::rd_kafka_topic_partition_t);

impl NativeElement {
    pub fn read(&self) -> PartitionEntry {
        let one = &self.0;
        // SAFETY: text and bytes of the element live as long as it.
        let (topic, metadata) = unsafe {
            let bytes = bytes(one.metadata.cast(), one.metadata_size);
            (copied(one.topic), bytes)
        };
        PartitionEntry {
            topic,
            partition: one.partition,
            offset: one.offset,
            error: one.err.into(),
            metadata: metadata.map_or_else(Vec::new, <[u8]>::to_vec),
        }
    }
}

/// An element of a list that librdkafka filled.
#[derive(Debug, Clone)]
pub(crate) struct PartitionEntry {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// `NoError`, or why there is no offset.
    pub error: Code,
    /// The crate's `metadata()` panics for bytes that are no UTF-8, which another client may have committed.
    pub metadata: Vec<u8>,
}

/// The elements of a list that librdkafka filled.
pub(in crate::kafka) fn entries(list: &TopicPartitionList) -> Vec<PartitionEntry> {
    NativeList::of(list).read()
}

/// The partitions of a rebalance. Not the crate's list: that cannot be made from one of librdkafka's, and without the
/// topic ids in its private part the consumer protocol (KIP-848) does not accept an assignment.
pub(crate) struct AssignedPartitions(Owned<'static, NativeList>);

// SAFETY: plain data of librdkafka with a single owner.
unsafe impl Send for AssignedPartitions {}

impl AssignedPartitions {
    pub(super) fn copy_of(list: &NativeList) -> Self {
        Self(rd_kafka_topic_partition_list_copy(list))
    }

    /// Topics and partitions, in order.
    pub fn names(&self) -> Vec<(String, i32)> {
        let entries = self.0.read().into_iter();
        entries.map(|one| (one.topic, one.partition)).collect()
    }

    /// Sets where a partition of the list is read from; without an effect for one that is not in it.
    pub fn set_offset(&mut self, topic: &str, partition: i32, offset: i64) {
        let topic = c_string(topic);
        let topic = Text::from(&topic);
        rd_kafka_topic_partition_list_set_offset(&mut self.0, topic, partition, offset);
    }

    pub(super) fn list(&self) -> &NativeList {
        &self.0
    }
}
