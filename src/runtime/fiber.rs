//! Fibers of PHP, as far as the core has to know them: code that runs while a callback is suspended is not part of that
//! callback.

use std::sync::OnceLock;

/// The host's Fibers.
pub struct Fibers {
    /// The Fiber that is running; 0 outside of Fibers.
    pub current: fn() -> usize,
    /// True while a Fiber that was [`Fibers::current`] and has not ended is suspended.
    pub is_suspended: fn(usize) -> bool,
}

static HOST: OnceLock<Fibers> = OnceLock::new();

/// Called once; without it there are no Fibers.
pub fn install(fibers: Fibers) {
    let _ = HOST.set(fibers);
}

/// The Fiber that is running; 0 outside of Fibers.
#[inline]
pub fn current() -> usize {
    HOST.get().map_or(0, |host| (host.current)())
}

/// True while this Fiber is suspended. May run code of the host.
#[inline]
pub fn is_suspended(fiber: usize) -> bool {
    fiber != 0 && HOST.get().is_some_and(|host| (host.is_suspended)(fiber))
}
