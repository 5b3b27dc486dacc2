//! When a worker stops: each reason is one small thing.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Why it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// `stopConsuming()`.
    Asked,
    /// SIGTERM or SIGINT.
    Signal,
    /// `maxMessages` were handled.
    MaxMessages,
    /// Everything is read.
    Empty,
}

impl Reason {
    /// The word in `stats()['stop_reason']`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "stopped",
            Self::Signal => "signal",
            Self::MaxMessages => "max_messages",
            Self::Empty => "empty",
        }
    }
}

/// Limits of one `consume()`.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest one poll waits.
    pub wait: Duration,
    /// Most records fetched at once.
    pub batch: usize,
    /// Stop after so many; 0 for no limit.
    pub max_messages: u64,
    /// Stop at the end of everything assigned.
    pub when_empty: bool,
}

impl Limits {
    /// The reason to stop after `handled` records.
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

/// Raised by a signal handler: nothing but an atomic may be touched there.
static SIGNALLED: AtomicBool = AtomicBool::new(false);

/// Asks a worker to stop after the record in hand.
#[derive(Debug, Default)]
pub struct StopSignal {
    asked: Cell<bool>,
}

impl StopSignal {
    /// `stopConsuming()`.
    pub fn ask(&self) {
        self.asked.set(true);
    }

    /// Before a new run.
    pub fn reset(&self) {
        self.asked.set(false);
        SIGNALLED.store(false, Ordering::Relaxed);
    }

    /// Before a new run, where a signal that came already is to end it.
    pub fn renew(&self) {
        self.asked.set(false);
    }

    /// A signal of the process asks every worker; safe in a signal handler.
    pub fn signal() {
        SIGNALLED.store(true, Ordering::Relaxed);
    }

    /// True once a signal has asked.
    #[must_use]
    pub fn is_signalled() -> bool {
        SIGNALLED.load(Ordering::Relaxed)
    }

    /// Why to stop, if it was asked for.
    #[inline]
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        if self.asked.get() {
            return Some(Reason::Asked);
        }
        SIGNALLED.load(Ordering::Relaxed).then_some(Reason::Signal)
    }
}
