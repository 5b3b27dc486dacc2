//! Whether a loop still comes round: written by the loop itself, read by whoever asks for `/live`.

use std::time::Duration;

use super::number::Single;
use crate::clock::coarse_ms;

/// The pulse of one loop. Times are those of [`coarse_ms`]; 0 is none.
#[derive(Debug, Default)]
pub struct Pulse {
    /// When the loop last came round; 0 while it does not run.
    round: Single,
    /// When the callback in hand began; 0 where there is none.
    callback: Single,
}

/// What a pulse tells at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beat {
    /// Since the loop came round; zero while it does not run.
    pub since_round: Duration,
    /// How long the callback in hand has been running; zero where there is none.
    pub in_callback: Duration,
}

impl Pulse {
    /// The loop came round.
    #[inline]
    pub fn came_round(&self, now: u64) {
        self.round.set(now);
    }

    /// The loop does not run any more, or waits for nobody.
    pub fn rests(&self) {
        self.round.set(0);
        self.callback.set(0);
    }

    /// A callback begins. It counts from when the loop last came round, a moment ago.
    #[inline]
    pub fn callback_begins(&self) {
        self.callback.set(self.round.get());
    }

    /// It ended.
    #[inline]
    pub fn callback_ends(&self) {
        self.callback.set(0);
    }

    /// What it tells now.
    #[must_use]
    pub fn read(&self) -> Beat {
        let now = coarse_ms();
        let since = |moment: u64| match moment {
            0 => Duration::ZERO,
            moment => Duration::from_millis(now.saturating_sub(moment)),
        };
        Beat {
            since_round: since(self.round.get()),
            in_callback: since(self.callback.get()),
        }
    }
}

impl Beat {
    /// Why this loop counts as stuck, where it does.
    #[must_use]
    pub fn stuck(&self, name: &str, bound: Duration) -> Option<String> {
        if self.since_round <= bound {
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
                seconds(self.since_round)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Beat, Pulse};
    use crate::clock::coarse_ms;
    use std::time::Duration;

    #[test]
    fn a_loop_that_does_not_run_is_not_stuck() {
        let pulse = Pulse::default();
        assert_eq!(pulse.read(), Beat::default());
        pulse.came_round(coarse_ms());
        pulse.callback_begins();
        pulse.rests();
        assert_eq!(pulse.read(), Beat::default());
    }

    #[test]
    fn a_stuck_loop_says_where_it_hangs() {
        let bound = Duration::from_secs(1);
        let pulse = Pulse::default();
        pulse.came_round(coarse_ms() - 5000);
        let words = pulse.read().stuck("group \"g\"", bound).unwrap_or_default();
        assert!(
            words.starts_with("group \"g\": the loop has not come round for 5."),
            "{words}"
        );
        pulse.callback_begins();
        let words = pulse.read().stuck("group \"g\"", bound).unwrap_or_default();
        assert!(
            words.contains("a callback has been running for 5."),
            "{words}"
        );
        pulse.callback_ends();
        pulse.came_round(coarse_ms());
        assert_eq!(pulse.read().stuck("g", bound), None);
    }
}
