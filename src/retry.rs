//! The delay before a failed record is tried again.

use std::time::Duration;

/// Decides about the next attempt of a record.
pub trait RetryStrategy {
    /// The delay after the `failures`th failure (from 1); `None` to give up.
    fn delay(&self, failures: u32) -> Option<Duration>;
}

/// Doubles up to a maximum, with up to a tenth of random jitter so that records which failed together are not retried
/// together.
#[derive(Debug, Clone, Copy)]
pub struct ExponentialBackoff {
    /// Attempts after the first.
    pub max_retries: u32,
    pub initial: Duration,
    pub max: Duration,
}

impl ExponentialBackoff {
    /// The delay after the `failures`th failure (from 1), without a limit of retries.
    #[must_use]
    pub fn wait(&self, failures: u32) -> Duration {
        let doubled = self.initial.saturating_mul(
            1_u32
                .checked_shl(failures.saturating_sub(1))
                .unwrap_or(u32::MAX),
        );
        let bounded = doubled.min(self.max);
        let (id, _) = crate::ids::new_id_with_time();
        let id = id.as_bytes();
        let random = u32::from(id[34]) * 256 + u32::from(id[35]);
        bounded + bounded.mul_f64(f64::from(random % 1000) / 10_000.0)
    }
}

impl RetryStrategy for ExponentialBackoff {
    fn delay(&self, failures: u32) -> Option<Duration> {
        (failures <= self.max_retries).then(|| self.wait(failures))
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, ExponentialBackoff, RetryStrategy};

    #[test]
    fn delays_double_up_to_the_maximum_then_stop() {
        let strategy = ExponentialBackoff {
            max_retries: 40,
            initial: Duration::from_millis(100),
            max: Duration::from_secs(10),
        };
        let wait = |failures| strategy.delay(failures).map(|wait| wait.as_millis());
        assert!((100..=110).contains(&wait(1).unwrap_or(0)));
        assert!((400..=440).contains(&wait(3).unwrap_or(0)));
        assert!((10_000..=11_000).contains(&wait(40).unwrap_or(0)));
        assert_eq!(wait(41), None);
    }
}
