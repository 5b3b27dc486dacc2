//! A spooled record: everything needed to send it again unchanged, and its encoding.

use crate::message::{Header, ProducerRecord};

/// Length that encodes an absent key, value or header value.
const ABSENT: u32 = u32::MAX;

/// A message Kafka did not acknowledge. It is sent again with the same id, topic, key, value and headers.
///
/// `value` and `headers` contain the envelope's id and the hop count; `id` repeats the id for logs and errors.
#[derive(Clone, Debug, PartialEq)]
pub struct SpoolRecord {
    /// Message id; empty for a raw record.
    pub id: String,
    pub topic: String,
    /// The partition requested by the caller; `None`: chosen by the partitioner.
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    /// Record value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Record headers in their order; names may repeat, values may be null.
    pub headers: Vec<Header>,
    /// Record timestamp, ms since 1970.
    pub timestamp_ms: i64,
    /// Why it was not acknowledged.
    pub reason: String,
}

impl SpoolRecord {
    /// A copy of a message.
    pub(crate) fn of(message: &ProducerRecord<'_>, reason: &str) -> Self {
        Self {
            id: message.id.to_owned(),
            topic: message.topic.to_owned(),
            partition: message.partition,
            key: message.key.map(<[u8]>::to_vec),
            value: message.value.map(<[u8]>::to_vec),
            headers: message.headers.to_vec(),
            timestamp_ms: message.timestamp_ms,
            reason: reason.to_owned(),
        }
    }

    /// Bytes of key, value and headers.
    pub(crate) fn size(&self) -> usize {
        let bytes = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + bytes(value));
        bytes(&self.key) + bytes(&self.value) + headers.sum::<usize>()
    }

    /// The record without its reason, borrowed.
    pub(crate) fn message(&self) -> ProducerRecord<'_> {
        ProducerRecord {
            id: &self.id,
            topic: &self.topic,
            partition: self.partition,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &self.headers,
            timestamp_ms: self.timestamp_ms,
        }
    }

    /// The record to be sent again.
    pub(crate) fn outgoing(&self) -> ProducerRecord<'_> {
        ProducerRecord {
            timestamp_ms: self.timestamp_ms.max(0),
            ..self.message()
        }
    }

    /// Decodes a record; `None` if the bytes are not exactly one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let id = text(&mut rest)?;
        let topic = text(&mut rest)?;
        let explicit = take::<1>(&mut rest)? != [0];
        let partition = i32::from_le_bytes(take(&mut rest)?);
        let key = get(&mut rest)?;
        let value = get(&mut rest)?;
        // The count is not used to reserve memory: each header takes at least 8 bytes, so a wrong count ends the loop.
        let mut headers = Vec::new();
        for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
            headers.push((text(&mut rest)?, get(&mut rest)?));
        }
        let timestamp_ms = i64::from_le_bytes(take(&mut rest)?);
        let reason = text(&mut rest)?;
        rest.is_empty().then_some(Self {
            id,
            topic,
            partition: explicit.then_some(partition),
            key,
            value,
            headers,
            timestamp_ms,
            reason,
        })
    }
}

/// Bytes of the encoded record; `None` if a part has 4 GiB or more.
pub(super) fn encoded_length(message: &ProducerRecord<'_>, reason: &str) -> Option<usize> {
    let part = |bytes: Option<&[u8]>| {
        let length = bytes.map_or(0, <[u8]>::len);
        (length < ABSENT as usize).then_some(4 + length)
    };
    u32::try_from(message.headers.len()).ok()?;
    let mut length = part(Some(message.id.as_bytes()))? + part(Some(message.topic.as_bytes()))?;
    length += 5 + part(message.key)? + part(message.value)? + 4;
    for (name, value) in message.headers {
        length += part(Some(name.as_bytes()))? + part(value.as_deref())?;
    }
    Some(length + 8 + part(Some(reason.as_bytes()))?)
}

/// Encodes the record into `out`, which has its [`encoded_length`].
#[allow(clippy::cast_possible_truncation)] // see `encoded_length`
pub(super) fn encode(message: &ProducerRecord<'_>, reason: &str, out: &mut [u8]) {
    let out = put(out, Some(message.id.as_bytes()));
    let out = put(out, Some(message.topic.as_bytes()));
    let out = raw(out, &[u8::from(message.partition.is_some())]);
    let out = raw(out, &message.partition.unwrap_or(-1).to_le_bytes());
    let out = put(out, message.key);
    let out = put(out, message.value);
    let mut out = raw(out, &(message.headers.len() as u32).to_le_bytes());
    for (name, value) in message.headers {
        out = put(out, Some(name.as_bytes()));
        out = put(out, value.as_deref());
    }
    let out = raw(out, &message.timestamp_ms.to_le_bytes());
    put(out, Some(reason.as_bytes()));
}

/// Writes the bytes at the beginning of `out` and returns what is behind them.
#[inline]
fn raw<'a>(out: &'a mut [u8], bytes: &[u8]) -> &'a mut [u8] {
    let (to, rest) = out.split_at_mut(bytes.len());
    to.copy_from_slice(bytes);
    rest
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // less than `ABSENT`, see `encoded_length`
fn put<'a>(out: &'a mut [u8], bytes: Option<&[u8]>) -> &'a mut [u8] {
    let length = bytes.map_or(ABSENT, |bytes| bytes.len() as u32);
    let out = raw(out, &length.to_le_bytes());
    raw(out, bytes.unwrap_or_default())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[allow(clippy::option_option)] // the outer is "readable", the inner is the record's null
fn get(rest: &mut &[u8]) -> Option<Option<Vec<u8>>> {
    let length = u32::from_le_bytes(take(rest)?);
    if length == ABSENT {
        return Some(None);
    }
    let (head, tail) = rest.split_at_checked(length as usize)?;
    *rest = tail;
    Some(Some(head.to_vec()))
}

fn text(rest: &mut &[u8]) -> Option<String> {
    String::from_utf8(get(rest)??).ok()
}
