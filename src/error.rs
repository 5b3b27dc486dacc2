//! The error type of the crate. Messages say what failed, where, and what to do next.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an [`Error`]. Each kind maps to one PHP exception class
/// (`Toporia\Realtime\Exception\<Kind>Exception`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A setting is unknown, has the wrong type, or contradicts another.
    Configuration,
    /// A channel or topic name that cannot be used.
    InvalidChannel,
    /// Data that JSON cannot carry, or bytes that are not an envelope.
    Encoding,
    /// Kafka cannot be reached, or refuses the client (authentication, authorization).
    Connection,
    /// The producer's queue stayed full for `queue_full_ms`.
    QueueFull,
    /// Messages that were queued and not delivered.
    Delivery,
    /// The message is larger than the client or the broker accepts.
    MessageTooLarge,
    /// The topic does not exist and may not be created.
    UnknownTopic,
    /// A message was re-published from its own consumer more than `max_hops` times.
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

    /// True if the same operation may succeed later.
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
    pub topic: String,
    /// The error text from Kafka.
    pub reason: String,
    /// The kind of the failure.
    pub kind: Kind,
    /// Kafka refuses the message for good: sending it again cannot succeed.
    pub permanent: bool,
}

/// An error: kind, message, and for delivery failures the messages that failed.
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

    /// A delivery failure of messages sent earlier: `sentence`, followed by a description of the first message.
    pub fn undelivered(sentence: &str, failed: Vec<FailedMessage>) -> Self {
        let first = failed.first().map_or_else(String::new, |first| {
            format!(
                " First: {} for topic \"{}\" ({}).",
                first.id, first.topic, first.reason
            )
        });
        Self::delivery(format!("{sentence}{first}"), failed)
    }

    /// Appends to the message.
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

    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The messages that failed, for [`Kind::Delivery`].
    #[must_use]
    pub fn failed(&self) -> &[FailedMessage] {
        &self.failed
    }

    /// True if a message failed that Kafka refuses for good.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.failed.iter().any(|failed| failed.permanent)
    }

    /// True if the same operation may succeed later.
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
