//! Counters, histograms and times that one thread writes and any thread reads: an increment needs no atomic
//! read-modify-write. Durations of callbacks and batches, with one clock read for each callback; and the liveness of a
//! loop, which records each iteration: `/live` reads how long ago the last one was.
//!
//! A clock read costs about 25 ns, handling a record less than a microsecond in total. A callback is therefore measured
//! from the end of the previous one, which includes the loop's own work (under a microsecond). After anything else,
//! such as a fetch, a failure or a signal handler, the clock is also read when the callback starts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::runtime::clock::{coarse_ms, monotonic_ns};

/// A counter with a single writer: a plain load and store, where a shared counter needs a locked instruction.
#[derive(Debug, Default)]
pub struct SingleWriterCounter(AtomicU64);

impl SingleWriterCounter {
    #[inline]
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the value. Only on the thread that owns the counter.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds to the value. Only on the thread that owns the counter.
    #[inline]
    pub fn add(&self, more: u64) {
        self.set(self.get() + more);
    }
}

/// Maximum number of buckets, including the one without an upper bound.
const BUCKETS: usize = 16;

/// Buckets for durations: upper bounds in ns, 0.5 ms to 30 s.
pub const TIMES: &[u64] = &[
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// Buckets for batch sizes, in records.
pub const SIZES: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

/// A histogram with a single writer.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    counts: [SingleWriterCounter; BUCKETS],
    sum: SingleWriterCounter,
}

/// The values of a histogram at one moment, in its unit (ns, records).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// Observations in each bucket, not cumulative; the last bucket has no upper bound.
    pub counts: Vec<u64>,
    /// Sum of all observed values.
    pub sum: u64,
}

impl Distribution {
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds the observations of `other`.
    pub fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum += other.sum;
    }
}

impl Histogram {
    /// An empty histogram; at most 15 bounds, ascending.
    #[must_use]
    pub fn new(bounds: &'static [u64]) -> Self {
        debug_assert!(bounds.len() < BUCKETS);
        Self {
            bounds,
            counts: Default::default(),
            sum: SingleWriterCounter::default(),
        }
    }

    #[inline]
    pub fn observe(&self, value: u64) {
        let place = self.bounds.iter().position(|bound| value <= *bound);
        self.counts[place.unwrap_or(self.bounds.len())].add(1);
        self.sum.add(value);
    }

    /// Reads the current values.
    #[must_use]
    pub fn read(&self) -> Distribution {
        Distribution {
            counts: self.counts[..=self.bounds.len()]
                .iter()
                .map(SingleWriterCounter::get)
                .collect(),
            sum: self.sum.get(),
        }
    }

    pub fn reset(&self) {
        for count in &self.counts {
            count.set(0);
        }
        self.sum.set(0);
    }
}

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
    use std::time::{Duration, Instant};

    use super::{Distribution, Histogram, Liveness, LoopAge, Timing, SIZES, TIMES};
    use crate::runtime::clock::coarse_ms;

    #[test]
    fn a_value_equal_to_a_bound_counts_in_its_bucket() {
        let sizes = Histogram::new(SIZES);
        for value in [0, 1, 2, 3, 1000, 1001] {
            sizes.observe(value);
        }
        let read = sizes.read();
        assert_eq!(read.counts, [2, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((read.count(), read.sum), (6, 2007));
        sizes.reset();
        assert_eq!(sizes.read().count(), 0);
    }

    #[test]
    fn distributions_are_summed_by_bucket() {
        let mut all = Distribution::default();
        let times = Histogram::new(TIMES);
        times.observe(400_000);
        times.observe(31_000_000_000);
        all.add(&times.read());
        all.add(&times.read());
        assert_eq!(all.count(), 4);
        assert_eq!((all.counts[0], all.counts[15]), (2, 2));
        assert_eq!(all.sum, 2 * 31_000_400_000);
    }

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
