//! Wakes topic discovery before its interval has passed.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// A flag that one thread waits for. Notifications between two waits are merged.
#[derive(Debug, Default)]
pub struct Notify {
    notified: Mutex<bool>,
    wake: Condvar,
}

impl Notify {
    /// Asks for a look.
    pub fn notify(&self) {
        *self.notified.lock() = true;
        self.wake.notify_all();
    }

    /// Waits for a notification, at most `bound`; true if there was one, also one before the call.
    pub fn wait(&self, bound: Duration) -> bool {
        let until = Instant::now() + bound;
        let mut notified = self.notified.lock();
        while !*notified && !self.wake.wait_until(&mut notified, until).timed_out() {}
        std::mem::take(&mut *notified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_before_a_wait_are_merged() {
        let notify = Notify::default();
        notify.notify();
        notify.notify();
        assert!(notify.wait(Duration::from_secs(5)));
        assert!(!notify.wait(Duration::from_millis(1)));
    }
}
