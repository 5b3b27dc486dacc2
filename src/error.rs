//! The one error type of the crate: what went wrong, in words a PHP developer can act on.

use std::fmt;

/// Result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Which family an [`Error`] belongs to. Each kind is one PHP exception class
/// (`Toporia\Realtime\Exception\<Kind>Exception`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A setting is unknown, has the wrong type, or contradicts another.
    Configuration,
    /// A channel or topic name that cannot be used.
    InvalidChannel,
    /// Data that JSON cannot carry, or bytes that are not an envelope.
    Encoding,
    /// Kafka cannot be reached, or refused us (authentication, authorization).
    Connection,
    /// The producer's queue stayed full for `queue_full_ms`.
    QueueFull,
    /// Messages that were queued and not delivered.
    Delivery,
    /// Larger than the client or the broker accepts.
    MessageTooLarge,
    /// The topic does not exist and may not be created.
    UnknownTopic,
    /// Published again from its own consumer more often than `max_hops`.
    HopLimit,
}

impl Kind {
    /// Every kind, for tables and tests.
    pub const ALL: [Self; 9] = [
        Self::Configuration,
        Self::InvalidChannel,
        Self::Encoding,
        Self::Connection,
        Self::QueueFull,
        Self::Delivery,
        Self::MessageTooLarge,
        Self::UnknownTopic,
        Self::HopLimit,
    ];

    /// True where trying the same thing again later may succeed.
    #[must_use]
    pub const fn is_retriable(self) -> bool {
        matches!(self, Self::Connection | Self::QueueFull | Self::Delivery)
    }
}

/// One message that was accepted by `broadcast()`, `publish()` or `send()` and not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedMessage {
    /// Envelope id; empty for a raw record whose id is not known.
    pub id: String,
    /// Kafka topic it was meant for.
    pub topic: String,
    /// Kafka's reason, in words.
    pub reason: String,
    /// Which family the reason belongs to.
    pub kind: Kind,
}

/// What went wrong: a kind, a sentence, and for deliveries the messages concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    message: String,
    failed: Vec<FailedMessage>,
}

impl Error {
    /// An error of `kind`; `message` says what failed, where, and what to try next.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            failed: Vec::new(),
        }
    }

    /// A delivery failure naming the messages.
    pub fn delivery(message: impl Into<String>, failed: Vec<FailedMessage>) -> Self {
        Self {
            kind: Kind::Delivery,
            message: message.into(),
            failed,
        }
    }

    /// The same, for what somebody sent earlier: the sentence, and the first of the messages.
    pub fn undelivered(sentence: &str, failed: Vec<FailedMessage>) -> Self {
        let first = failed.first().map_or_else(String::new, |first| {
            format!(
                " The first: {} for topic \"{}\" ({}).",
                first.id, first.topic, first.reason
            )
        });
        Self::delivery(format!("{sentence}{first}"), failed)
    }

    /// The same with more words behind it.
    #[must_use]
    pub fn and(mut self, more: &str) -> Self {
        self.message.push_str(more);
        self
    }

    /// Shorthand for [`Kind::Configuration`].
    pub fn configuration(message: impl Into<String>) -> Self {
        Self::new(Kind::Configuration, message)
    }

    /// Shorthand for [`Kind::InvalidChannel`].
    pub fn channel(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidChannel, message)
    }

    /// Shorthand for [`Kind::Encoding`].
    pub fn encoding(message: impl Into<String>) -> Self {
        Self::new(Kind::Encoding, message)
    }

    /// Shorthand for [`Kind::Connection`].
    pub fn connection(message: impl Into<String>) -> Self {
        Self::new(Kind::Connection, message)
    }

    /// Which family it belongs to.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The messages concerned, where [`Kind::Delivery`] knows them.
    #[must_use]
    pub fn failed(&self) -> &[FailedMessage] {
        &self.failed
    }

    /// True where trying the same thing again later may succeed.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        self.kind.is_retriable()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
