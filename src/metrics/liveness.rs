//! Whether a loop still comes round: written by the loop itself, read by whoever asks for `/live`.

use std::time::Duration;

use super::number::SingleWriterCounter;
use crate::clock::coarse_ms;

/// The pulse of one loop. Times are those of [`coarse_ms`]; 0 is none.
#[derive(Debug, Default)]
pub struct Liveness {
    /// When the loop last came round; 0 while it does not run.
    last_tick: SingleWriterCounter,
    /// When the callback in hand began; 0 where there is none.
    callback: SingleWriterCounter,
}

/// What a pulse tells at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoopAge {
    /// Since the loop came round; zero while it does not run.
    pub since_tick: Duration,
    /// How long the callback in hand has been running; zero where there is none.
    pub in_callback: Duration,
}

impl Liveness {
    /// The loop came round.
    #[inline]
    pub fn loop_tick(&self, now: u64) {
        self.last_tick.set(now);
    }

    /// The loop does not run any more, or waits for nobody.
    pub fn stop(&self) {
        self.last_tick.set(0);
        self.callback.set(0);
    }

    /// A callback begins. It counts from when the loop last came round, a moment ago.
    #[inline]
    pub fn callback_started(&self) {
        self.callback.set(self.last_tick.get());
    }

    /// It ended.
    #[inline]
    pub fn callback_finished(&self) {
        self.callback.set(0);
    }

    /// What it tells now.
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
    /// Why this loop counts as stuck, where it does.
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
                "{name}: the loop has not come round for {}",
                seconds(self.since_tick)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Liveness, LoopAge};
    use crate::clock::coarse_ms;
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
    fn a_stuck_loop_says_where_it_hangs() {
        let bound = Duration::from_secs(1);
        let liveness = Liveness::default();
        liveness.loop_tick(coarse_ms() - 5000);
        let words = liveness
            .read()
            .stuck("group \"g\"", bound)
            .unwrap_or_default();
        assert!(
            words.starts_with("group \"g\": the loop has not come round for 5."),
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
