//! A message with its bytes: the content of PHP's `Message`, created here or read from Kafka; and a record to send.

use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use crate::envelope::{same_json, scan_envelope, write_envelope, EnvelopeKind, Scanned};
use crate::error::Result;
use crate::ids;

/// A record header: a name and a value, which may be null.
pub type Header = (String, Option<Vec<u8>>);

/// A record to send. All parts are borrowed: librdkafka copies them.
#[derive(Clone, Copy)]
pub struct ProducerRecord<'a> {
    /// Envelope id, or another id that identifies the record in a failure.
    pub id: &'a str,
    pub topic: &'a str,
    /// Partition; `None` leaves it to the partitioner.
    pub partition: Option<i32>,
    /// Record key; `None` for no key.
    pub key: Option<&'a [u8]>,
    /// Record value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Record headers in order.
    pub headers: &'a [Header],
    /// Milliseconds since 1970; 0 for the current time.
    pub timestamp_ms: i64,
}

impl ProducerRecord<'_> {
    /// Bytes of key and value.
    #[must_use]
    pub fn size(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }
}

/// The Kafka position and attempt of a received record.
#[derive(Debug, Clone)]
pub struct Origin {
    pub topic: Rc<str>,
    pub partition: i32,
    pub offset: i64,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Earlier attempts that do not count, as they failed transiently.
    pub transient: u32,
    /// Since when it has failed transiently.
    pub transient_since: Option<Instant>,
    /// Record timestamp in ms; -1 if not set.
    pub timestamp_ms: i64,
}

impl Origin {
    /// The number of this attempt without those that do not count.
    #[must_use]
    pub const fn counted_attempt(&self) -> u32 {
        self.attempt - self.transient
    }
}

/// A string: a range of the bytes, or owned if it had to be unescaped.
#[derive(Debug, Clone)]
enum Text {
    Slice(Range<usize>),
    Owned(Box<str>),
}

#[derive(Debug, Clone, Default)]
pub struct Message {
    bytes: Vec<u8>,
    /// The end of the value in `bytes`; the record key follows it. `None` for a tombstone.
    value: Option<usize>,
    /// `None` for a raw record.
    kind: Option<EnvelopeKind>,
    id: Option<Text>,
    channel: Option<Text>,
    event: Option<Text>,
    data: Option<Range<usize>>,
    timestamp: Option<i64>,
    key: Option<Key>,
    pub headers: Vec<Header>,
    /// `None` for a message created here.
    pub origin: Option<Origin>,
}

#[derive(Debug, Clone)]
enum Key {
    Slice(Range<usize>),
    Owned(Box<[u8]>),
}

fn range_of(bytes: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
    start..start + part.len()
}

/// Larger buffers are not kept for the next record.
const MAX_KEPT_BYTES: usize = 1 << 16;

#[inline]
fn text(bytes: &[u8], found: &str) -> Text {
    if bytes.as_ptr_range().contains(&found.as_ptr()) {
        Text::Slice(range_of(bytes, found.as_bytes()))
    } else {
        Text::Owned(found.into())
    }
}

impl Message {
    /// A new message with a new id.
    ///
    /// `data_json` is the JSON of the data; `None` and `null` leave it out.
    #[must_use]
    pub fn new(channel: Option<&str>, event: &str, data_json: Option<&[u8]>) -> Self {
        let (id, millis) = ids::new_id_with_time();
        let mut bytes = Vec::with_capacity(160 + data_json.map_or(0, <[u8]>::len));
        let seconds = i64::try_from(millis / 1000).unwrap_or(0);
        write_envelope(
            &mut bytes,
            id.as_bytes(),
            EnvelopeKind::Event.as_str(),
            channel,
            Some(event),
            data_json,
            seconds,
        );
        Self::from_own(&bytes)
    }

    /// An envelope written by this crate.
    fn from_own(bytes: &[u8]) -> Self {
        Self::from_envelope(bytes).unwrap_or_default()
    }

    /// A message from the bytes of an envelope.
    ///
    /// # Errors
    /// Encoding: not an envelope.
    pub fn from_envelope(bytes: &[u8]) -> Result<Self> {
        let scanned = scan_envelope(bytes)?;
        let mut message = Self::default();
        message.set_parts(bytes, None, Some(&scanned));
        Ok(message)
    }

    /// Adds an id and a timestamp if the envelope has none.
    #[must_use]
    pub fn completed(self) -> Self {
        if !self.id().is_empty() && self.timestamp.is_some() {
            return self;
        }
        let (fresh, millis) = ids::new_id_with_time();
        let id = self.id();
        let mut bytes = Vec::with_capacity(self.bytes.len() + 80);
        write_envelope(
            &mut bytes,
            if id.is_empty() {
                fresh.as_bytes()
            } else {
                id.as_bytes()
            },
            self.kind(),
            self.channel(),
            self.event(),
            self.data_json(),
            self.timestamp
                .unwrap_or_else(|| i64::try_from(millis / 1000).unwrap_or(0)),
        );
        Self::from_own(&bytes)
    }

    /// A message from a record, with its scanned envelope, or raw.
    #[must_use]
    pub fn from_record(
        value: Option<&[u8]>,
        key: Option<&[u8]>,
        headers: Vec<Header>,
        scanned: Option<&Scanned<'_>>,
        origin: Origin,
    ) -> Self {
        let mut message = Self::default();
        message.replace_by_record(value, key, headers, scanned, origin);
        message
    }

    /// Becomes the message of a record, in the memory that it has.
    pub fn replace_by_record(
        &mut self,
        value: Option<&[u8]>,
        key: Option<&[u8]>,
        headers: Vec<Header>,
        scanned: Option<&Scanned<'_>>,
        origin: Origin,
    ) {
        self.set_parts(value.unwrap_or_default(), key, scanned);
        if value.is_none() {
            self.value = None;
        }
        self.headers = headers;
        self.origin = Some(origin);
    }

    #[inline]
    fn set_parts(&mut self, value: &[u8], key: Option<&[u8]>, scanned: Option<&Scanned<'_>>) {
        let size = value.len() + key.map_or(0, <[u8]>::len);
        if self.bytes.capacity() > MAX_KEPT_BYTES.max(size) {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.bytes.reserve_exact(size);
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(key.unwrap_or_default());
        self.value = Some(value.len());
        self.key = key.map(|key| Key::Slice(value.len()..value.len() + key.len()));
        let Some(scanned) = scanned else {
            (self.kind, self.id, self.channel, self.event) = (None, None, None, None);
            (self.data, self.timestamp) = (None, None);
            return;
        };
        let field = |found: Option<&str>| found.map(|found| text(value, found));
        self.kind = Some(scanned.kind);
        self.id = Some(text(value, &scanned.id));
        self.channel = field(scanned.channel.as_deref());
        self.event = field(scanned.event.as_deref());
        self.data = scanned.data.map(|data| range_of(value, data));
        self.timestamp = scanned.timestamp;
    }

    /// The bytes of a field, which are UTF-8.
    #[inline]
    fn bytes_of<'a>(&'a self, field: Option<&'a Text>) -> Option<&'a [u8]> {
        match field? {
            Text::Slice(range) => self.bytes.get(range.clone()),
            Text::Owned(own) => Some(own.as_bytes()),
        }
    }

    fn read<'a>(&'a self, field: Option<&'a Text>) -> Option<&'a str> {
        match field? {
            // The range lies on character boundaries of validated UTF-8.
            Text::Slice(range) => std::str::from_utf8(&self.bytes[range.clone()]).ok(),
            Text::Owned(own) => Some(own),
        }
    }

    /// Envelope id; `topic-partition-offset` for a raw record and for an envelope without one, the same on each
    /// delivery.
    #[must_use]
    pub fn id(&self) -> Cow<'_, str> {
        let own = self.read(self.id.as_ref()).filter(|id| !id.is_empty());
        match (own, &self.origin) {
            (Some(id), _) => id.into(),
            (None, Some(origin)) => {
                format!("{}-{}-{}", origin.topic, origin.partition, origin.offset).into()
            }
            (None, None) => "".into(),
        }
    }

    /// True if both have the same id, type, channel, event, data, timestamp, key and headers. The data is compared as
    /// JSON.
    #[must_use]
    pub fn has_same_content(&self, other: &Self) -> bool {
        fn data(message: &Message) -> Option<&[u8]> {
            if message.is_raw() {
                message.value()
            } else {
                message.data_json()
            }
        }
        let same_data = match (data(self), data(other)) {
            (Some(left), Some(right)) => {
                left == right || (!self.is_raw() && same_json(left, right))
            }
            (left, right) => left == right,
        };
        self.id() == other.id()
            && self.kind() == other.kind()
            && self.channel() == other.channel()
            && self.event() == other.event()
            && same_data
            && self.timestamp() == other.timestamp()
            && self.key() == other.key()
            && self.headers == other.headers
    }

    /// Envelope type, or `raw`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind.map_or("raw", EnvelopeKind::as_str)
    }

    /// True for a record of a raw topic.
    #[must_use]
    pub const fn is_raw(&self) -> bool {
        self.kind.is_none()
    }

    #[must_use]
    pub fn channel(&self) -> Option<&str> {
        self.read(self.channel.as_ref())
    }

    /// The channel as bytes, for a host whose strings are bytes.
    #[inline]
    #[must_use]
    pub fn channel_bytes(&self) -> Option<&[u8]> {
        self.bytes_of(self.channel.as_ref())
    }

    #[must_use]
    pub fn event(&self) -> Option<&str> {
        self.read(self.event.as_ref())
    }

    /// The event as bytes.
    #[inline]
    #[must_use]
    pub fn event_bytes(&self) -> Option<&[u8]> {
        self.bytes_of(self.event.as_ref())
    }

    /// The JSON of the data, undecoded.
    #[must_use]
    pub fn data_json(&self) -> Option<&[u8]> {
        self.data.clone().map(|range| &self.bytes[range])
    }

    /// Unix seconds from the envelope; for a raw record from Kafka's timestamp.
    #[must_use]
    pub fn timestamp(&self) -> i64 {
        let of_record = self.origin.as_ref().filter(|_| self.is_raw());
        self.timestamp
            .or_else(|| of_record.map(|origin| origin.timestamp_ms / 1000))
            .unwrap_or(0)
    }

    /// The value as it is on the wire; `None` for a tombstone.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.value.map(|end| &self.bytes[..end])
    }

    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|key| match key {
            Key::Slice(range) => &self.bytes[range.clone()],
            Key::Owned(own) => own,
        })
    }

    /// The same message with another record key.
    #[must_use]
    pub fn with_key(&self, key: Option<&[u8]>) -> Self {
        Self {
            key: key.map(|key| Key::Owned(key.into())),
            ..self.clone()
        }
    }

    /// The same message with these record headers.
    #[must_use]
    pub fn with_headers(&self, headers: Vec<Header>) -> Self {
        Self {
            headers,
            ..self.clone()
        }
    }

    /// The envelope for `channel` with `data_json`; the original bytes if neither changes.
    #[must_use]
    pub fn bytes_with(&self, channel: &str, data_json: &[u8]) -> Cow<'_, [u8]> {
        if self.data_json() == Some(data_json) {
            return self.bytes_for(channel);
        }
        let mut bytes = Vec::with_capacity(self.bytes.len() + data_json.len());
        write_envelope(
            &mut bytes,
            self.id().as_bytes(),
            self.kind(),
            Some(channel),
            self.event(),
            Some(data_json),
            self.timestamp(),
        );
        bytes.into()
    }

    /// The envelope for `channel`; the original bytes if the channel does not change.
    #[must_use]
    pub fn bytes_for(&self, channel: &str) -> Cow<'_, [u8]> {
        if self.channel() == Some(channel) || self.is_raw() {
            return self.value().unwrap_or_default().into();
        }
        let mut bytes = Vec::with_capacity(self.bytes.len() + channel.len() + 16);
        write_envelope(
            &mut bytes,
            self.id().as_bytes(),
            self.kind(),
            Some(channel),
            self.event(),
            self.data_json(),
            self.timestamp(),
        );
        bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use super::Message;

    #[test]
    fn an_unchanged_message_keeps_its_bytes() {
        let bytes = br#"{"type":"event", "id":"msg_1","channel":"a\/b","event":"x","data":{"n":1.0},"timestamp":5}"#;
        let message = Message::from_envelope(bytes).expect("an envelope");
        assert_eq!(message.channel(), Some("a/b"));
        assert_eq!(message.data_json(), Some(&br#"{"n":1.0}"#[..]));
        assert_eq!(&*message.bytes_for("a/b"), bytes);
        let moved = message.bytes_for("c");
        let moved = Message::from_envelope(&moved).expect("an envelope");
        assert_eq!(
            (moved.id(), moved.channel(), moved.timestamp()),
            (message.id(), Some("c"), 5)
        );
    }

    #[test]
    fn the_key_is_separate_from_the_value() {
        let message = Message::new(Some("user.1"), "x", None);
        assert_eq!(message.key(), None);
        let keyed = message.with_key(Some(b"k"));
        assert_eq!(keyed.key(), Some(&b"k"[..]));
        assert_eq!(keyed.value(), message.value());
    }
}
