//! Rust's types for the objects and strings of librdkafka: a reference is an object that is alive, [`Owned`] is one
//! that we destroy, and [`Text`] is a C string. The files beside this one declare librdkafka's functions with these
//! types as `safe` where every such argument is valid; the others, which take a pointer with a length, a callback or a
//! buffer, are those of `rdkafka_sys`.
#![allow(unsafe_code)]

use std::ffi::{c_char, CStr, CString};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use rdkafka_sys as sys;

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
