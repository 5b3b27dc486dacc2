//! How long callbacks take, for one look at the clock each.
//!
//! A look costs some 25 ns, where a record costs less than a microsecond in all. So a callback counts from the end of the one
//! before it, which takes the loop's own work in (under a microsecond), unless something else came between: a fetch, a failure,
//! a signal's handler. Then the clock is read at its beginning, too.

use std::time::Instant;

use super::liveness::Liveness;
use super::number::{Histogram, SingleWriterCounter, SIZES, TIMES};
use crate::clock::coarse_ms;

/// Times of callbacks and batches, and the pulse of the loop that makes them. One thread writes.
#[derive(Debug)]
pub struct Timing {
    /// Whether the loop comes round.
    pub liveness: Liveness,
    /// Time of each callback, in ns.
    pub callbacks: Histogram,
    /// Time of each batch, in ns.
    pub batches: Histogram,
    /// Records of each batch.
    pub sizes: Histogram,
    epoch: Instant,
    /// When the callback in hand began, or the last one ended; 0 where something came between.
    mark: SingleWriterCounter,
    /// When the batch in hand came; 0 for none.
    batch: SingleWriterCounter,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            liveness: Liveness::default(),
            callbacks: Histogram::new(TIMES),
            batches: Histogram::new(TIMES),
            sizes: Histogram::new(SIZES),
            epoch: Instant::now(),
            mark: SingleWriterCounter::default(),
            batch: SingleWriterCounter::default(),
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
    pub fn callback_started(&self) {
        self.liveness.callback_started();
        if self.mark.get() == 0 {
            self.mark.set(self.now());
        }
    }

    /// It ended, well or not.
    #[inline]
    pub fn callback_finished(&self) {
        let now = self.now();
        self.callbacks.observe(now.saturating_sub(self.mark.get()));
        self.mark.set(now);
        self.liveness.callback_finished();
    }

    /// Something that takes its own time comes between two callbacks.
    #[inline]
    pub fn interrupted(&self) {
        self.mark.set(0);
    }

    /// A fetch brought records.
    pub fn batch_fetched(&self, records: usize) {
        self.batch_done();
        self.interrupted();
        self.sizes.observe(records as u64);
        self.batch.set(self.now());
        self.liveness.loop_tick(coarse_ms());
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
        self.liveness.stop();
        self.callbacks.reset();
        self.batches.reset();
        self.sizes.reset();
        self.interrupted();
        self.batch.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::Timing;
    use crate::clock::coarse_ms;
    use std::time::{Duration, Instant};

    #[test]
    fn every_callback_is_counted() {
        let timing = Timing::default();
        timing.batch_fetched(100);
        for _ in 0..100 {
            timing.liveness.loop_tick(coarse_ms());
            timing.callback_started();
            timing.callback_finished();
        }
        timing.batch_done();
        timing.batch_done();
        assert_eq!(timing.callbacks.read().count(), 100);
        assert_eq!(timing.batches.read().count(), 1);
        assert_eq!(timing.sizes.read().sum, 100);
    }

    #[test]
    fn each_is_counted_where_it_belongs_after_a_quick_one_too() {
        let timing = Timing::default();
        timing.batch_fetched(5);
        for pause in [0, 2, 2, 30, 0] {
            timing.liveness.loop_tick(coarse_ms());
            timing.callback_started();
            std::thread::sleep(Duration::from_millis(pause));
            timing.callback_finished();
        }
        let read = timing.callbacks.read();
        assert_eq!(read.count(), 5);
        // On a busy machine the quick ones may be slow; the slow ones cannot be quick.
        assert!(read.counts[..2].iter().sum::<u64>() <= 2, "{read:?}");
        assert!(read.counts[5..].iter().sum::<u64>() >= 1, "{read:?}");
        assert!(read.sum > 34_000_000);
    }

    #[test]
    fn what_comes_between_is_nobodys_time() {
        let timing = Timing::default();
        let begun = Instant::now();
        let mut between = Duration::ZERO;
        timing.batch_fetched(2);
        for _ in 0..2 {
            timing.callback_started();
            timing.callback_finished();
            let pause = Instant::now();
            std::thread::sleep(Duration::from_millis(30));
            between += pause.elapsed();
            timing.interrupted();
        }
        let rest = begun.elapsed().saturating_sub(between);
        let read = timing.callbacks.read();
        assert_eq!(read.count(), 2);
        assert!(u128::from(read.sum) <= rest.as_nanos(), "{read:?}");
    }
}
