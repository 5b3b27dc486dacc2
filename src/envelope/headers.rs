//! Names of the record headers that are ours. Callers' own headers stand beside them.

/// Socket id that a gateway leaves out when it delivers.
pub const SOCKET: &str = "x-realtime-socket";
/// `1`: the channel is public by the sender's convention.
pub const PUBLIC: &str = "x-realtime-public";
/// How often a message was published again from its own consumer.
pub const HOPS: &str = "x-realtime-hops";
/// W3C trace context, handed on unchanged.
pub const TRACE_PARENT: &str = "traceparent";
/// W3C trace context, vendors' part.
pub const TRACE_STATE: &str = "tracestate";
/// W3C baggage.
pub const BAGGAGE: &str = "baggage";

/// Dead letters: topic of the record that failed.
pub const ORIGINAL_TOPIC: &str = "x-original-topic";
/// Dead letters: its partition.
pub const ORIGINAL_PARTITION: &str = "x-original-partition";
/// Dead letters: its offset.
pub const ORIGINAL_OFFSET: &str = "x-original-offset";
/// Dead letters: its Kafka timestamp, Unix milliseconds.
pub const ORIGINAL_TIMESTAMP: &str = "x-original-timestamp";
/// Dead letters: the consumer group in which it failed.
pub const ORIGINAL_GROUP: &str = "x-original-group";
/// Dead letters without their value, which was too large to be written again: its size in bytes.
pub const ORIGINAL_SIZE: &str = "x-original-size";
/// Dead letters: class of the exception.
pub const EXCEPTION_CLASS: &str = "x-exception-class";
/// Dead letters: its message, cut to 1 KB.
pub const EXCEPTION_MESSAGE: &str = "x-exception-message";
/// Dead letters: how often it was tried; 0 for what never was an envelope.
pub const ATTEMPTS: &str = "x-attempts";
/// Dead letters: when it failed for the last time.
pub const FAILED_AT: &str = "x-failed-at";
/// Dead letters: how often it was replayed.
pub const REPLAYS: &str = "x-replays";
/// Replays: the one group that takes the record.
pub const REPLAY_GROUP: &str = "x-replay-group";

/// True for the headers that the extension sets itself; a caller's header of that name is refused
/// or replaced.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    name.starts_with("x-realtime-") || is_of_dead_letters(name)
}

/// True for what dead letters and their replays say about a record. Raw records may carry them: that is how a letter is replayed.
#[must_use]
pub fn is_of_dead_letters(name: &str) -> bool {
    name.starts_with("x-original-")
        || name.starts_with("x-exception-")
        || matches!(name, ATTEMPTS | FAILED_AT | REPLAYS | REPLAY_GROUP)
}
