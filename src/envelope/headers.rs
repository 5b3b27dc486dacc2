//! Names of the record headers set by the extension.

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

/// True for headers that the extension sets itself. They are dropped from the headers an application passes, as those
/// of a received message may be passed on, and set again where they apply.
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
