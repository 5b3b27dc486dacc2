//! Duration of callbacks and batches, with one clock read for each callback.
//!
//! A clock read costs about 25 ns, handling a record less than a microsecond in total. A callback is therefore measured
//! from the end of the previous one, which includes the loop's own work (under a microsecond). After anything else,
//! such as a fetch, a failure or a signal handler, the clock is also read when the callback starts.

use super::liveness::Liveness;
use super::number::{Histogram, SingleWriterCounter, SIZES, TIMES};
use crate::runtime::clock::{coarse_ms, monotonic_ns};

/// Durations of callbacks and batches, and the liveness of their loop. One thread writes.
#[derive(Debug)]
pub struct Timing {
    pub liveness: Liveness,
    /// Duration of each callback, in ns.
    pub callbacks: Histogram,
    /// Duration of each batch, in ns.
    pub batches: Histogram,
    /// Records of each batch.
    pub sizes: Histogram,
    /// Start of the running callback, or end of the last one; 0 if the clock must be read again.
    mark: SingleWriterCounter,
    /// When the current batch was fetched; 0 for none.
    batch: SingleWriterCounter,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            liveness: Liveness::default(),
            callbacks: Histogram::new(TIMES),
            batches: Histogram::new(TIMES),
            sizes: Histogram::new(SIZES),
            mark: SingleWriterCounter::default(),
            batch: SingleWriterCounter::default(),
        }
    }
}

impl Timing {
    /// ns, never 0.
    #[inline]
    fn now() -> u64 {
        monotonic_ns().max(1)
    }

    #[inline]
    pub fn callback_started(&self) {
        self.liveness.callback_started();
        if self.mark.get() == 0 {
            self.mark.set(Self::now());
        }
    }

    /// The callback has returned or thrown.
    #[inline]
    pub fn callback_finished(&self) {
        let now = Self::now();
        self.callbacks.observe(now.saturating_sub(self.mark.get()));
        self.mark.set(now);
        self.liveness.callback_finished();
    }

    /// Time that belongs to no callback passes; the next callback reads the clock at its start.
    #[inline]
    pub fn interrupted(&self) {
        self.mark.set(0);
    }

    /// A fetch returned records.
    pub fn batch_fetched(&self, records: usize) {
        self.batch_done();
        self.interrupted();
        self.sizes.observe(records as u64);
        self.batch.set(Self::now());
        self.liveness.loop_tick(coarse_ms());
    }

    /// Every record of the last fetch was handled.
    #[inline]
    pub fn batch_done(&self) {
        let came = self.batch.get();
        if came > 0 {
            self.batches.observe(Self::now().saturating_sub(came));
            self.batch.set(0);
        }
    }

    /// Resets everything, in a forked child.
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
    use crate::runtime::clock::coarse_ms;
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
    fn a_slow_callback_counts_in_its_own_bucket_after_quick_ones() {
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
        // On a busy machine quick callbacks may be slow, but slow ones are never quick.
        assert!(read.counts[..2].iter().sum::<u64>() <= 2, "{read:?}");
        assert!(read.counts[5..].iter().sum::<u64>() >= 1, "{read:?}");
        assert!(read.sum > 34_000_000);
    }

    #[test]
    fn time_between_callbacks_is_not_measured() {
        let timing = Timing::default();
        let started = Instant::now();
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
        let rest = started.elapsed().saturating_sub(between);
        let read = timing.callbacks.read();
        assert_eq!(read.count(), 2);
        assert!(u128::from(read.sum) <= rest.as_nanos(), "{read:?}");
    }
}
