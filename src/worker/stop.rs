//! Stop conditions of a worker.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Reason of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// `stopConsuming()`.
    Requested,
    /// SIGTERM or SIGINT.
    Signal,
    /// `maxMessages` were handled.
    MaxMessages,
    /// Every assigned partition is read to its end.
    Empty,
}

impl Reason {
    /// The value of `stats()['stop_reason']`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "stopped",
            Self::Signal => "signal",
            Self::MaxMessages => "max_messages",
            Self::Empty => "empty",
        }
    }
}

/// Limits of one `consume()`.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum wait of one poll.
    pub wait: Duration,
    /// Maximum records per fetch.
    pub batch: usize,
    /// Stop after this many records; 0 for no limit.
    pub max_messages: u64,
    /// Stop at the end of every assigned partition.
    pub when_empty: bool,
}

impl Limits {
    /// The reason to stop after `handled` records, if there is one.
    #[must_use]
    pub fn reached(&self, handled: u64) -> Option<Reason> {
        (self.max_messages > 0 && handled >= self.max_messages).then_some(Reason::MaxMessages)
    }

    /// How many records may still be handled.
    #[must_use]
    pub fn remaining(&self, handled: u64) -> u64 {
        if self.max_messages == 0 {
            return u64::MAX;
        }
        self.max_messages.saturating_sub(handled)
    }
}

/// Set by a signal handler, which may touch nothing but an atomic.
static SIGNALLED: AtomicBool = AtomicBool::new(false);

/// A request to stop after the current record.
#[derive(Debug, Default)]
pub struct StopSignal {
    requested: Cell<bool>,
}

impl StopSignal {
    /// Called by `stopConsuming()`.
    pub fn request(&self) {
        self.requested.set(true);
    }

    /// Clears every request before a new run.
    pub fn reset(&self) {
        self.requested.set(false);
        SIGNALLED.store(false, Ordering::Relaxed);
    }

    /// Clears `stopConsuming()` before a new run; a signal that arrived already still ends it.
    pub fn clear_request(&self) {
        self.requested.set(false);
    }

    /// A signal stops every worker of the process; async-signal-safe.
    pub fn signal() {
        SIGNALLED.store(true, Ordering::Relaxed);
    }

    /// True once a stop signal arrived.
    #[must_use]
    pub fn is_signalled() -> bool {
        SIGNALLED.load(Ordering::Relaxed)
    }

    /// The reason to stop, if one was requested.
    #[inline]
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        if self.requested.get() {
            return Some(Reason::Requested);
        }
        SIGNALLED.load(Ordering::Relaxed).then_some(Reason::Signal)
    }
}
