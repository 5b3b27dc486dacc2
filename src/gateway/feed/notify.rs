//! Wakes topic discovery before its interval has passed.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// A flag that one thread waits for. Notifications between two waits are merged.
#[derive(Debug, Default)]
pub struct Notify {
    rung: Mutex<bool>,
    wake: Condvar,
}

impl Notify {
    /// Asks for a look.
    pub fn notify(&self) {
        *self.rung.lock() = true;
        self.wake.notify_all();
    }

    /// Waits for a notification, at most `bound`; true if there was one, also one before the call.
    pub fn wait(&self, bound: Duration) -> bool {
        let until = Instant::now() + bound;
        let mut rung = self.rung.lock();
        while !*rung && !self.wake.wait_until(&mut rung, until).timed_out() {}
        std::mem::take(&mut *rung)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_before_a_wait_are_merged() {
        let bell = Notify::default();
        bell.notify();
        bell.notify();
        assert!(bell.wait(Duration::from_secs(5)));
        assert!(!bell.wait(Duration::from_millis(1)));
    }
}
