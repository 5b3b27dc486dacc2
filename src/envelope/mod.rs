//! The envelope: the JSON value of a record on a channel topic.

mod blocks;
mod bytes;
mod canonical;
mod escape;
pub mod headers;
mod same;
mod scan;
#[cfg(test)]
mod tests;

pub use bytes::end_of_run;
pub use escape::write_php_string;
pub use same::same_json;
pub use scan::{scan_envelope, Scanned};

/// Maximum nesting of arrays and objects in the data, the default of `json_encode` and `json_decode`.
pub const MAX_DEPTH: usize = 512;

/// The type of an envelope. `broadcast()` always sends events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EnvelopeKind {
    /// An event on a channel.
    Event,
    /// A client joins a channel.
    Subscribe,
    /// A client leaves a channel.
    Unsubscribe,
    /// An error for one client.
    Error,
    Ping,
    Pong,
}

impl EnvelopeKind {
    /// Every kind, for tables and tests.
    pub const ALL: [Self; 6] = [
        Self::Event,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Error,
        Self::Ping,
        Self::Pong,
    ];

    /// The value of `type` in the envelope.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Error => "error",
            Self::Ping => "ping",
            Self::Pong => "pong",
        }
    }

    /// The kind of a `type`; `None` if it is unknown.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Appends the beginning of an event envelope, `{"id":…,"type":"event","channel":…,"event":…`. Generated ids need no
/// escaping. The caller may append `,"data":…` and must then call [`write_end`].
pub fn write_event(out: &mut Vec<u8>, id: &crate::ids::Id, channel: &str, event: &str) {
    out.reserve(128 + channel.len() + event.len());
    out.extend_from_slice(br#"{"id":"#);
    out.push(b'"');
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(br#"","type":"event","channel":"#);
    write_php_string(out, channel);
    out.extend_from_slice(br#","event":"#);
    write_php_string(out, event);
}

/// Appends the end of an envelope.
pub fn write_end(out: &mut Vec<u8>, timestamp: i64) {
    out.extend_from_slice(br#","timestamp":"#);
    write_int(out, timestamp);
    out.push(b'}');
}

/// Appends an envelope to `out`, with the keys id, type, channel, event, data, timestamp in this order. Fields that are
/// `None`, and data that is `null`, are omitted. `data_json` is written unchanged. Invalid UTF-8 in `id` is replaced.
pub fn write_envelope(
    out: &mut Vec<u8>,
    id: &[u8],
    kind: &str,
    channel: Option<&str>,
    event: Option<&str>,
    data_json: Option<&[u8]>,
    timestamp: i64,
) {
    let data_json = data_json.filter(|data| *data != b"null");
    out.reserve(
        96 + id.len()
            + channel.map_or(0, str::len)
            + event.map_or(0, str::len)
            + data_json.map_or(0, <[u8]>::len),
    );
    out.extend_from_slice(br#"{"id":"#);
    match std::str::from_utf8(id) {
        Ok(id) => write_php_string(out, id),
        Err(_) => write_php_string(out, &String::from_utf8_lossy(id)),
    }
    out.extend_from_slice(br#","type":"#);
    write_php_string(out, kind);
    if let Some(channel) = channel {
        out.extend_from_slice(br#","channel":"#);
        write_php_string(out, channel);
    }
    if let Some(event) = event {
        out.extend_from_slice(br#","event":"#);
        write_php_string(out, event);
    }
    if let Some(data) = data_json {
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(data);
    }
    write_end(out, timestamp);
}

fn write_int(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}
