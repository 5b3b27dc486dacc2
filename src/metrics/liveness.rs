//! Liveness of a loop: the loop records each iteration, `/live` reads how long ago the last one was.

use std::time::Duration;

use super::number::SingleWriterCounter;
use crate::runtime::clock::coarse_ms;

/// Times of one loop, by [`coarse_ms`]; 0 means unset.
#[derive(Debug, Default)]
pub struct Liveness {
    /// Time of the last iteration; 0 while the loop does not run.
    last_tick: SingleWriterCounter,
    /// Start of the running callback; 0 if none runs.
    callback: SingleWriterCounter,
}

/// Ages read at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoopAge {
    /// Time since the last iteration; zero while the loop does not run.
    pub since_tick: Duration,
    /// Running time of the current callback; zero if none runs.
    pub in_callback: Duration,
}

impl Liveness {
    /// Records an iteration of the loop.
    #[inline]
    pub fn loop_tick(&self, now: u64) {
        self.last_tick.set(now);
    }

    /// Time of the last iteration.
    #[inline]
    pub fn last_tick(&self) -> u64 {
        self.last_tick.get()
    }

    /// The loop has ended, or is paused on purpose.
    pub fn stop(&self) {
        self.last_tick.set(0);
        self.callback.set(0);
    }

    /// A callback starts. Its start is taken to be the last iteration, which was a moment ago and costs no clock read.
    #[inline]
    pub fn callback_started(&self) {
        self.callback.set(self.last_tick.get());
    }

    /// The callback has returned or thrown.
    #[inline]
    pub fn callback_finished(&self) {
        self.callback.set(0);
    }

    #[must_use]
    pub fn read(&self) -> LoopAge {
        let now = coarse_ms();
        let since = |moment: u64| match moment {
            0 => Duration::ZERO,
            moment => Duration::from_millis(now.saturating_sub(moment)),
        };
        LoopAge {
            since_tick: since(self.last_tick.get()),
            in_callback: since(self.callback.get()),
        }
    }
}

impl LoopAge {
    /// A description if the loop has been stuck for longer than `bound`.
    #[must_use]
    pub fn stuck(&self, name: &str, bound: Duration) -> Option<String> {
        if self.since_tick <= bound {
            return None;
        }
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        Some(if self.in_callback > bound {
            format!(
                "{name}: a callback has been running for {}",
                seconds(self.in_callback)
            )
        } else {
            format!(
                "{name}: no iteration of the loop for {}",
                seconds(self.since_tick)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Liveness, LoopAge};
    use crate::runtime::clock::coarse_ms;
    use std::time::Duration;

    #[test]
    fn a_loop_that_does_not_run_is_not_stuck() {
        let liveness = Liveness::default();
        assert_eq!(liveness.read(), LoopAge::default());
        liveness.loop_tick(coarse_ms());
        liveness.callback_started();
        liveness.stop();
        assert_eq!(liveness.read(), LoopAge::default());
    }

    #[test]
    fn a_stuck_loop_is_described_with_its_callback_time() {
        let bound = Duration::from_secs(1);
        let liveness = Liveness::default();
        liveness.loop_tick(coarse_ms() - 5000);
        let words = liveness
            .read()
            .stuck("group \"g\"", bound)
            .unwrap_or_default();
        assert!(
            words.starts_with("group \"g\": no iteration of the loop for 5."),
            "{words}"
        );
        liveness.callback_started();
        let words = liveness
            .read()
            .stuck("group \"g\"", bound)
            .unwrap_or_default();
        assert!(
            words.contains("a callback has been running for 5."),
            "{words}"
        );
        liveness.callback_finished();
        liveness.loop_tick(coarse_ms());
        assert_eq!(liveness.read().stuck("g", bound), None);
    }
}
