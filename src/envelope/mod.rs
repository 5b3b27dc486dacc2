//! The envelope: the JSON value of a record on a channel topic.

mod bytes;
mod scan;
#[cfg(test)]
mod tests;

use serde::de::Deserialize;
use serde_json::{Map, Number, Value};

pub use bytes::end_of_run;
use scan::is_shallow;
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

/// How a byte is written in a JSON string: 0 unchanged, 1 not ASCII, 2 `\u00xx`, otherwise the letter after the
/// backslash.
const ESCAPES: [u8; 256] = {
    let mut table = [0_u8; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = match i {
            8 => b'b',
            9 => b't',
            10 => b'n',
            12 => b'f',
            13 => b'r',
            0x22 => 0x22,
            0x2f => 0x2f,
            0x5c => 0x5c,
            0..=0x1f => 2,
            0x80..=0xff => 1,
            _ => 0,
        };
        i += 1;
    }
    table
};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends `s` as a JSON string with quotes, byte for byte as PHP's `json_encode` writes it with default
/// flags: `/` as `\/`, and non-ASCII characters as `\uXXXX` with lower-case digits and surrogate pairs.
///
/// ```text
/// write_php_string(&mut out, "a/é"); // "a\/\u00e9"
/// ```
pub fn write_php_string(out: &mut Vec<u8>, s: &str) {
    let bytes = s.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut from = 0;
    while let Some(run) = bytes[from..]
        .iter()
        .position(|&b| ESCAPES[usize::from(b)] != 0)
    {
        let at = from + run;
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        match ESCAPES[usize::from(bytes[at])] {
            1 => {
                // A run of non-ASCII characters that begins at `at`.
                let mut units = [0_u16; 2];
                from = at;
                for c in s[at..].chars().take_while(|c| !c.is_ascii()) {
                    for unit in c.encode_utf16(&mut units) {
                        write_unit(out, *unit);
                    }
                    from += c.len_utf8();
                }
            }
            2 => write_unit(out, u16::from(bytes[at])),
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

fn write_unit(out: &mut Vec<u8>, unit: u16) {
    let digit = |shift: u16| DIGITS[usize::from((unit >> shift) & 15)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// True if `a` and `b` decode to equal PHP arrays: the order of keys does not matter, `1.0` equals `1`, an empty object
/// equals an empty array, and an object with the keys 0, 1, 2, … equals a list. Invalid JSON is compared bytewise.
#[must_use]
pub fn same_json(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => same(&a, &b),
        _ => false,
    }
}

fn parse(json: &[u8]) -> Option<Value> {
    if !is_shallow(json) {
        return None;
    }
    let mut parser = serde_json::Deserializer::from_slice(json);
    parser.disable_recursion_limit();
    let value = Value::deserialize(&mut parser).ok()?;
    parser.end().ok()?;
    Some(value)
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (Value::Object(map), Value::Array(list)) | (Value::Array(list), Value::Object(map)) => {
            same_list(map, list)
        }
        _ => a == b,
    }
}

fn same_list(map: &Map<String, Value>, list: &[Value]) -> bool {
    map.len() == list.len()
        && list
            .iter()
            .enumerate()
            .all(|(i, b)| map.get(&i.to_string()).is_some_and(|a| same(a, b)))
}

/// Compares 64-bit integers exactly and all other numbers as floats, as PHP does.
fn same_number(a: &Number, b: &Number) -> bool {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a == b,
        _ => a.as_f64() == b.as_f64(),
    }
}
/// Names of the record headers set by the extension.
pub mod headers {
    /// The socket id that gateways exclude from delivery.
    pub const SOCKET: &str = "x-realtime-socket";
    /// `1`: the sender has marked the channel as public.
    pub const PUBLIC: &str = "x-realtime-public";
    /// How often a message was re-published from its own consumer.
    pub const HOPS: &str = "x-realtime-hops";
    /// W3C trace context, passed on unchanged.
    pub const TRACE_PARENT: &str = "traceparent";
    /// W3C trace context, vendor-specific part.
    pub const TRACE_STATE: &str = "tracestate";
    /// W3C baggage.
    pub const BAGGAGE: &str = "baggage";

    /// Dead letters: topic of the record that failed.
    pub const ORIGINAL_TOPIC: &str = "x-original-topic";
    /// Dead letters: original partition.
    pub const ORIGINAL_PARTITION: &str = "x-original-partition";
    /// Dead letters: original offset.
    pub const ORIGINAL_OFFSET: &str = "x-original-offset";
    /// Dead letters: original Kafka timestamp, Unix milliseconds.
    pub const ORIGINAL_TIMESTAMP: &str = "x-original-timestamp";
    /// Dead letters: the consumer group in which it failed.
    pub const ORIGINAL_GROUP: &str = "x-original-group";
    /// Dead letters without a value because it was too large: size of the original value in bytes.
    pub const ORIGINAL_SIZE: &str = "x-original-size";
    /// Dead letters: class of the exception.
    pub const EXCEPTION_CLASS: &str = "x-exception-class";
    /// Dead letters: message of the exception, truncated to 1 KB.
    pub const EXCEPTION_MESSAGE: &str = "x-exception-message";
    /// Dead letters: the exception and its previous ones with message, file and line, cut to 4 KB.
    pub const EXCEPTION_CHAIN: &str = "x-exception-chain";
    /// Dead letters: number of attempts; 0 if the record was not an envelope.
    pub const ATTEMPTS: &str = "x-attempts";
    /// Dead letters: time of the last failure.
    pub const FAILED_AT: &str = "x-failed-at";
    /// Dead letters: number of replays.
    pub const REPLAYS: &str = "x-replays";
    /// Replays: the consumer group that handles the record; others skip it.
    pub const REPLAY_GROUP: &str = "x-replay-group";

    /// True for headers set by the extension; a caller's header of that name is refused or replaced.
    #[must_use]
    pub fn is_ours(name: &str) -> bool {
        name.starts_with("x-realtime-") || is_of_dead_letters(name)
    }

    /// True for headers that the extension sets itself. They are dropped from the headers an application passes, as
    /// those of a received message may be passed on, and set again where they apply.
    #[must_use]
    pub fn is_set_by_us(name: &str) -> bool {
        is_ours(name) && name != PUBLIC && name != SOCKET
    }

    /// True for headers of dead letters and replays. Callers may set them on raw records, which is how a dead letter is
    /// replayed.
    #[must_use]
    pub fn is_of_dead_letters(name: &str) -> bool {
        name.starts_with("x-original-")
            || name.starts_with("x-exception-")
            || matches!(name, ATTEMPTS | FAILED_AT | REPLAYS | REPLAY_GROUP)
    }
}
