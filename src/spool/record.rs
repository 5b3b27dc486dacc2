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

    /// Appends the encoded record to `out`. Returns `None` and leaves `out` unchanged if a part has 4 GiB or more.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Option<()> {
        let start = out.len();
        let done = self.encode_parts(out);
        if done.is_none() {
            out.truncate(start);
        }
        done
    }

    fn encode_parts(&self, out: &mut Vec<u8>) -> Option<()> {
        put(out, Some(self.id.as_bytes()))?;
        put(out, Some(self.topic.as_bytes()))?;
        out.push(u8::from(self.partition.is_some()));
        out.extend_from_slice(&self.partition.unwrap_or(-1).to_le_bytes());
        put(out, self.key.as_deref())?;
        put(out, self.value.as_deref())?;
        out.extend_from_slice(&u32::try_from(self.headers.len()).ok()?.to_le_bytes());
        for (name, value) in &self.headers {
            put(out, Some(name.as_bytes()))?;
            put(out, value.as_deref())?;
        }
        out.extend_from_slice(&self.timestamp_ms.to_le_bytes());
        put(out, Some(self.reason.as_bytes()))
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

fn put(out: &mut Vec<u8>, bytes: Option<&[u8]>) -> Option<()> {
    let Some(bytes) = bytes else {
        out.extend_from_slice(&ABSENT.to_le_bytes());
        return Some(());
    };
    let length = u32::try_from(bytes.len()).ok().filter(|n| *n != ABSENT)?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
    Some(())
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
