//! Stop conditions of a worker.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::runtime::clock;

/// Reason of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// `stopConsuming()`.
    Requested,
    /// A stop signal.
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

thread_local! {
    /// Number of [`Hold`]s. Read by signal handlers.
    static HOLDS: AtomicU32 = const { AtomicU32::new(0) };
    /// Signals received while there was a [`Hold`], one bit each.
    static DEFERRED: AtomicU32 = const { AtomicU32::new(0) };
}

/// True while records are being handled on this thread: the host's signal handlers run after them. Async-signal-safe.
pub fn holds_signals() -> bool {
    HOLDS.with(|holds| holds.load(Ordering::Relaxed)) > 0
}

/// The host's handler of this signal is to run after the current record. False if it was deferred before.
/// Async-signal-safe.
pub fn defer_signal(bit: u32) -> bool {
    DEFERRED.with(|bits| bits.fetch_or(bit, Ordering::Relaxed)) & bit == 0
}

/// The signals to deliver after the current record, one bit each.
#[inline]
pub fn deferred_signals() -> u32 {
    DEFERRED.with(|bits| bits.load(Ordering::Relaxed))
}

/// The signal is not deferred any more. False if it was not.
pub fn take_deferred_signal(bit: u32) -> bool {
    DEFERRED.with(|bits| bits.fetch_and(!bit, Ordering::Relaxed)) & bit != 0
}

/// Defers the host's signal handlers: the records that are being handled get their result first.
pub struct Hold<'a>(&'a Cell<u32>);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let own = self.0.get();
        // 0 after a fatal error, see `StopSignal::release()`.
        if own > 0 {
            self.0.set(own - 1);
            HOLDS.with(|holds| holds.fetch_sub(1, Ordering::Relaxed));
        }
    }
}

/// A request to stop after the current record.
#[derive(Debug, Default)]
pub struct StopSignal {
    requested: Cell<bool>,
    holds: Cell<u32>,
}

impl StopSignal {
    /// Called by `stopConsuming()`.
    pub fn request(&self) {
        self.requested.set(true);
    }

    /// Defers the host's signal handlers until the guard is dropped.
    pub fn hold(&self) -> Hold<'_> {
        self.holds.set(self.holds.get() + 1);
        HOLDS.with(|holds| holds.fetch_add(1, Ordering::Relaxed));
        Hold(&self.holds)
    }

    /// True while this worker defers signals; another one of the thread may.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.holds.get() > 0
    }

    /// Drops the holds of this worker: a fatal error jumped over their guards.
    pub fn release(&self) {
        let own = self.holds.take();
        HOLDS.with(|holds| holds.fetch_sub(own, Ordering::Relaxed));
    }

    /// Clears every request before a new run.
    pub fn reset(&self) {
        self.requested.set(false);
        clock::clear_signal();
    }

    /// Clears `stopConsuming()` before a new run; a signal that arrived already still ends it.
    pub fn clear_request(&self) {
        self.requested.set(false);
    }

    /// The reason to stop, if one was requested.
    #[inline]
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        if self.requested.get() {
            return Some(Reason::Requested);
        }
        clock::is_signalled().then_some(Reason::Signal)
    }
}
