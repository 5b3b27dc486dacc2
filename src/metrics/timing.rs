//! How long callbacks take, for less than they cost: quick ones are timed one in sixteen, slow ones each.
//!
//! The exact clock costs some 30 ns, twice for each callback, where a record costs less than a microsecond in all. So one that was
//! quicker than [`QUICK`] stands for the next ones in hand as well. Those are watched with the coarse clock (5 ns, a step every
//! 4 ms): one that it sees take long is counted as that, and the next is timed exactly again. What a fetch brings first always is.

use std::time::Instant;

use super::number::{Histogram, Single, SIZES, TIMES};
use super::pulse::Pulse;
use crate::clock::coarse_ms;

/// A callback under this many ns stands for the next ones.
const QUICK: u64 = 50_000;
/// For so many.
const STANDS_FOR: u64 = 15;
/// The coarse clock has moved by at least so many ms: it was certainly a slow one (one step may have been under way).
const SLOW_MS: u64 = 8;

/// Times of callbacks and batches, and the pulse of the loop that makes them. One thread writes.
#[derive(Debug)]
pub struct Timing {
    /// Whether the loop comes round.
    pub pulse: Pulse,
    /// Time of each callback, in ns.
    pub callbacks: Histogram,
    /// Time of each batch, in ns.
    pub batches: Histogram,
    /// Records of each batch.
    pub sizes: Histogram,
    epoch: Instant,
    /// What the last callback timed exactly took, in ns, and for how many more that stands.
    sample: Single,
    stands_for: Single,
    /// When the callback that is timed exactly began.
    began: Single,
    /// When the batch in hand came; 0 for none.
    batch: Single,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            pulse: Pulse::default(),
            callbacks: Histogram::new(TIMES),
            batches: Histogram::new(TIMES),
            sizes: Histogram::new(SIZES),
            epoch: Instant::now(),
            sample: Single::default(),
            stands_for: Single::default(),
            began: Single::default(),
            batch: Single::default(),
        }
    }
}

impl Timing {
    /// ns, never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    /// A callback begins.
    #[inline]
    pub fn begins(&self) {
        self.pulse.callback_begins();
        if self.stands_for.get() == 0 {
            self.began.set(self.now());
        }
    }

    /// It ended, well or not.
    #[inline]
    pub fn ends(&self) {
        let left = self.stands_for.get();
        if left > 0 {
            let took = coarse_ms().saturating_sub(self.pulse.began());
            if took < SLOW_MS {
                // A sample is quicker than the first bound, or it would not stand for others.
                self.callbacks.observe_least(self.sample.get());
                self.stands_for.set(left - 1);
            } else {
                self.callbacks.observe(took * 1_000_000);
                self.stands_for.set(0);
            }
        } else {
            let took = self.now().saturating_sub(self.began.get());
            self.callbacks.observe(took);
            if took < QUICK {
                self.sample.set(took);
                self.stands_for.set(STANDS_FOR);
            }
        }
        self.pulse.callback_ends();
    }

    /// A fetch brought records.
    pub fn batch_came(&self, records: usize) {
        self.batch_done();
        self.stands_for.set(0);
        self.sizes.observe(records as u64);
        self.batch.set(self.now());
        self.pulse.came_round(coarse_ms());
    }

    /// What the last fetch brought was handed over.
    #[inline]
    pub fn batch_done(&self) {
        let came = self.batch.get();
        if came > 0 {
            self.batches.observe(self.now().saturating_sub(came));
            self.batch.set(0);
        }
    }

    /// From the beginning, in a forked child.
    pub fn reset(&self) {
        self.pulse.rests();
        self.callbacks.reset();
        self.batches.reset();
        self.sizes.reset();
        self.stands_for.set(0);
        self.batch.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Timing, STANDS_FOR};
    use crate::clock::coarse_ms;
    use std::time::Duration;

    #[test]
    fn every_callback_is_counted() {
        let timing = Timing::default();
        timing.batch_came(100);
        for _ in 0..100 {
            timing.pulse.came_round(coarse_ms());
            timing.begins();
            timing.ends();
        }
        timing.batch_done();
        timing.batch_done();
        assert_eq!(timing.callbacks.read().count(), 100);
        assert_eq!(timing.batches.read().count(), 1);
        assert_eq!(timing.sizes.read().sum, 100);
    }

    #[test]
    fn a_slow_one_among_quick_ones_is_seen() {
        let timing = Timing::default();
        timing.batch_came(3);
        for pause in [0, 30, 0] {
            timing.pulse.came_round(coarse_ms());
            timing.begins();
            std::thread::sleep(Duration::from_millis(pause));
            timing.ends();
        }
        let read = timing.callbacks.read();
        assert_eq!(read.count(), 3);
        let slow: u64 = read.counts[5..].iter().sum();
        assert_eq!(slow, 1, "{read:?}");
        assert!(read.sum > 20_000_000);
        assert!(timing.stands_for.get() <= STANDS_FOR);
    }
}
