//! Counters and histograms that one thread writes and any thread reads: an increment needs no atomic read-modify-write.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
    use super::{Distribution, Histogram, SIZES, TIMES};

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
}
