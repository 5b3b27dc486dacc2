//! The delay before a failed record is tried again, and the circuit breaker of a subscription, which pauses it while
//! its callback fails for every record.
//!
//! A single record that keeps failing is the record's fault: it uses up its retries and becomes a dead letter. A
//! callback that fails several times in a row for different records has lost something that it needs. Its circuit
//! opens, so that the topic is not pushed through its retries: the subscription waits, and after each wait one record
//! is tried (half-open). Success closes the circuit, failure doubles the wait up to the maximum of the backoff.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

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

/// Topic, partition and offset of a record.
pub type Place = (String, i32, i64);

/// When circuits open, and how long they stay open.
#[derive(Debug, Clone, Copy)]
pub struct CircuitPolicy {
    /// Consecutive failures that open a circuit (`circuit_failures`); 0: never.
    pub failures: u32,
    pub backoff: ExponentialBackoff,
}

/// How a circuit treats the next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Closed,
    /// Open until then.
    Open(Instant),
    /// Half-open: this record alone is tried. `is_first`: the first one since the circuit opened or a probe failed.
    Probe {
        is_first: bool,
    },
}

/// Change of a circuit by a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    None,
    /// It opened, for this time.
    Opened(Duration),
    /// It closed, after this time.
    Closed(Duration),
}

/// The state of one subscription.
#[derive(Debug, Default)]
pub struct Circuit {
    /// Consecutive failures; beside the state, so that a success of a working callback costs one comparison.
    failures: Cell<u32>,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The record of the first of the consecutive failures.
    first: Option<Place>,
    /// The failures are of different records.
    is_several: bool,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    since: Instant,
    until: Instant,
    is_probed: bool,
}

impl Circuit {
    /// How the next record is treated.
    #[inline]
    pub fn gate(&self, now: impl FnOnce() -> Instant) -> Gate {
        if self.failures.get() == 0 {
            return Gate::Closed;
        }
        let now = now();
        let mut state = self.state.borrow_mut();
        match &mut state.open {
            None => Gate::Closed,
            Some(open) if open.until > now => Gate::Open(open.until),
            Some(open) => Gate::Probe {
                is_first: !std::mem::replace(&mut open.is_probed, true),
            },
        }
    }

    /// The time of the next probe; `None` while the circuit is closed.
    #[must_use]
    pub fn open_until(&self) -> Option<Instant> {
        self.state.borrow().open.map(|open| open.until)
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.failures.get() > 0 && self.open_until().is_some()
    }

    /// The callback handled a record.
    #[inline]
    pub fn succeeded(&self, now: impl FnOnce() -> Instant) -> Transition {
        if self.failures.get() == 0 {
            return Transition::None;
        }
        self.failures.set(0);
        let open = self.state.take().open;
        open.map_or(Transition::None, |open| {
            Transition::Closed(now().saturating_duration_since(open.since))
        })
    }

    /// The callback failed with this record, and the record itself is not known to be the reason.
    pub fn failed(&self, record: &Place, policy: &CircuitPolicy, now: Instant) -> Transition {
        let failures = self.failures.get().saturating_add(1);
        self.failures.set(failures);
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let first = state.first.get_or_insert_with(|| record.clone());
        state.is_several |= first != record;
        let has_tripped = policy.failures > 0 && failures >= policy.failures && state.is_several;
        if state.open.is_none() && !has_tripped {
            return Transition::None;
        }
        let wait = policy.backoff.wait(failures);
        let since = state.open.map_or(now, |open| open.since);
        let has_opened = state.open.is_none();
        state.open = Some(Open {
            since,
            until: now + wait,
            is_probed: false,
        });
        if has_opened {
            Transition::Opened(wait)
        } else {
            Transition::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    const POLICY: CircuitPolicy = CircuitPolicy {
        failures: 5,
        backoff: ExponentialBackoff {
            max_retries: 3,
            initial: Duration::from_millis(100),
            max: Duration::from_secs(10),
        },
    };

    fn place(offset: i64) -> Place {
        ("t".to_owned(), 0, offset)
    }

    /// Opens a circuit, and returns the time until which it is open.
    fn opened(now: Instant) -> (Circuit, Instant) {
        let circuit = Circuit::default();
        for offset in [0, 0, 0, 0] {
            assert_eq!(
                circuit.failed(&place(offset), &POLICY, now),
                Transition::None
            );
        }
        let opened = circuit.failed(&place(1), &POLICY, now);
        let Transition::Opened(wait) = opened else {
            panic!("{opened:?}");
        };
        assert!((1600..=1760).contains(&wait.as_millis()), "{wait:?}");
        (circuit, now + wait)
    }

    #[test]
    fn consecutive_failures_of_different_records_open_it() {
        let now = Instant::now();
        let (circuit, until) = opened(now);
        assert_eq!(circuit.gate(|| now), Gate::Open(until));
        assert_eq!(circuit.gate(|| until), Gate::Probe { is_first: true });
        assert_eq!(circuit.gate(|| until), Gate::Probe { is_first: false });
    }

    #[test]
    fn one_record_never_opens_it() {
        let now = Instant::now();
        let circuit = Circuit::default();
        for _ in 0..100 {
            assert_eq!(circuit.failed(&place(7), &POLICY, now), Transition::None);
        }
        assert_eq!(circuit.gate(|| now), Gate::Closed);
    }

    #[test]
    fn a_success_between_failures_keeps_it_closed() {
        let now = Instant::now();
        let circuit = Circuit::default();
        for offset in 0..100 {
            assert_eq!(
                circuit.failed(&place(offset), &POLICY, now),
                Transition::None
            );
            if offset % 4 == 3 {
                assert_eq!(circuit.succeeded(|| now), Transition::None);
            }
        }
    }

    #[test]
    fn a_probe_that_fails_doubles_the_wait_up_to_the_maximum() {
        let (circuit, mut until) = opened(Instant::now());
        for least in [3_200, 6_400, 10_000, 10_000] {
            assert_eq!(circuit.gate(|| until), Gate::Probe { is_first: true });
            assert_eq!(circuit.failed(&place(1), &POLICY, until), Transition::None);
            let next = circuit.open_until().expect("open");
            let wait = next - until;
            assert!(
                (least..=least * 11 / 10).contains(&wait.as_millis()),
                "{wait:?}"
            );
            until = next;
        }
    }

    #[test]
    fn a_probe_that_succeeds_closes_it() {
        let now = Instant::now();
        let (circuit, until) = opened(now);
        assert_eq!(circuit.gate(|| until), Gate::Probe { is_first: true });
        assert_eq!(circuit.succeeded(|| until), Transition::Closed(until - now));
        assert_eq!(circuit.gate(|| until), Gate::Closed);
        assert_eq!(circuit.failed(&place(1), &POLICY, until), Transition::None);
    }

    #[test]
    fn zero_failures_turn_it_off() {
        let now = Instant::now();
        let policy = CircuitPolicy {
            failures: 0,
            ..POLICY
        };
        let circuit = Circuit::default();
        for offset in 0..100 {
            assert_eq!(
                circuit.failed(&place(offset), &policy, now),
                Transition::None
            );
        }
        assert_eq!(circuit.gate(|| now), Gate::Closed);
    }
}
