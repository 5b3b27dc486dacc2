//! Message ids (UUID version 7) and the clock they are made from.
//!
//! An id is 48 bits of Unix milliseconds, a 12-bit counter (starting at the fraction of the millisecond) and 62 random
//! bits. The first 60 bits strictly increase within a process even if the clock is set back, so ids sort in creation
//! order.
//!
//! The uuid crate does not make them: `Uuid::now_v7()` costs 640 instructions instead of 190 and a system call under a
//! lock; with `fast-rng` it costs 670, and a forked process repeats the random bits of its parent. Nor does it write
//! them, which would cost another 80.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of an id in text form.
pub const ID_LEN: usize = 36;

/// The 60 time bits of the last id; each id uses a larger value.
static LAST_TICK: AtomicU64 = AtomicU64::new(0);

/// Incremented in a forked child: generators of an older generation hold the random state of the parent.
static GENERATION: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static RANDOM: Cell<Random> = const { Cell::new(Random { generation: 0, state: [0; 4] }) };
}

/// An id in text form, e.g. `019a9f5e-2b7c-7c41-9d2e-3f6a1b0c8d7e`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id([u8; ID_LEN]);

impl Id {
    #[inline]
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
        &self.0
    }

    #[allow(unsafe_code)]
    #[inline]
    #[must_use]
    pub fn as_str(&self) -> &str {
        // SAFETY: only `format` makes ids: hexadecimal digits and hyphens.
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }
}

/// A new id as text.
#[must_use]
pub fn new_id() -> String {
    new_id_with_time().0.as_str().to_owned()
}

/// A new id and its Unix milliseconds, with one clock read for both.
#[must_use]
pub fn new_id_with_time() -> (Id, u64) {
    let (seconds, nanos) = read_clock(libc::CLOCK_REALTIME_COARSE);
    let (millis, fraction) = parts(seconds, nanos);
    let tick = next_tick(&LAST_TICK, (millis << 12) | fraction);
    (format(tick, random_bits()), millis)
}

// SAFETY: as the C library has it; it touches no memory but what the reference lends. All supported Linux versions have
// the clocks that are read here.
#[allow(unsafe_code)]
unsafe extern "C" {
    safe fn clock_gettime(clock: libc::clockid_t, time: &mut libc::timespec) -> libc::c_int;
}

/// Seconds and nanoseconds of a clock. A coarse one has the time of the kernel's last tick, at most 10 ms ago, at a
/// fifth of the cost.
#[inline]
#[must_use]
pub fn read_clock(clock: libc::clockid_t) -> (u64, u32) {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    clock_gettime(clock, &mut time);
    (
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Unix time in milliseconds.
#[must_use]
pub fn unix_ms() -> u64 {
    now().0
}

/// Makes the generator of every thread reseed before its next id. Safe in the child handler of `pthread_atfork`: it
/// only increments an atomic.
pub fn reseed_after_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Unix milliseconds, and the fraction of the millisecond in 4096ths.
fn now() -> (u64, u64) {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    parts(since.as_secs(), since.subsec_nanos())
}

fn parts(seconds: u64, nanos: u32) -> (u64, u64) {
    let millis = seconds * 1000 + u64::from(nanos / 1_000_000);
    // 1_000_000 ns to 4096 steps; 1/2^20 is close enough to 1/1_000_000 and cannot reach 4096.
    (millis, (u64::from(nanos % 1_000_000) << 12) >> 20)
}

/// The maximum of `wanted` and the last tick plus one.
fn next_tick(counter: &AtomicU64, wanted: u64) -> u64 {
    let mut last = counter.load(Ordering::Relaxed);
    loop {
        let next = wanted.max(last + 1);
        match counter.compare_exchange_weak(last, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return next,
            Err(seen) => last = seen,
        }
    }
}

fn random_bits() -> u64 {
    RANDOM.with(|cell| {
        let mut random = cell.get();
        let generation = GENERATION.load(Ordering::Relaxed);
        if random.generation != generation {
            random = Random::seeded(generation);
        }
        let bits = random.next();
        cell.set(random);
        bits
    })
}

/// xoshiro256++: ids must differ, they need not be secret.
#[derive(Clone, Copy)]
struct Random {
    generation: u64,
    state: [u64; 4],
}

impl Random {
    fn seeded(generation: u64) -> Self {
        let mut state = [0_u64; 4];
        for word in &mut state {
            *word = system_random();
        }
        // The generator would stay in an all-zero state forever.
        state[0] |= u64::from(state == [0; 4]);
        Self { generation, state }
    }

    fn next(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }
}

/// Eight bytes from the system's random source. If the call is not available (a sandbox), a mix of process id, clock
/// and a stack address, which still differs in every process.
fn system_random() -> u64 {
    if let Ok(random) = getrandom::u64() {
        return random;
    }
    let (millis, fraction) = now();
    let address = std::ptr::from_ref(&millis).addr() as u64;
    let tick = next_tick(&LAST_TICK, (millis << 12) | fraction);
    let mut mixed = tick ^ (u64::from(std::process::id()) << 40) ^ address.rotate_left(17);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The hexadecimal digits of each byte.
static DIGITS: [[u8; 2]; 256] = {
    let digit = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [digit[byte >> 4], digit[byte & 15]];
        byte += 1;
    }
    pairs
};

fn format(tick: u64, random: u64) -> Id {
    let high = ((tick >> 12) << 16) | 0x7000 | (tick & 0x0fff);
    let low = (random >> 2) | (1 << 63);
    let bytes = ((u128::from(high) << 64) | u128::from(low)).to_be_bytes();
    let places = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let mut out = [b'-'; ID_LEN];
    for (byte, place) in bytes.into_iter().zip(places) {
        out[place..place + 2].copy_from_slice(&DIGITS[usize::from(byte)]);
    }
    Id(out)
}

/// FNV-1a: the same on every machine and in every version, unlike the standard library's hash.
pub(crate) fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn an_id_is_a_version_7_uuid_of_now() {
        let before = unix_ms();
        let id = new_id();
        let after = unix_ms();
        assert_eq!(id.len(), ID_LEN);
        for (i, c) in id.char_indices() {
            match i {
                8 | 13 | 18 | 23 => assert_eq!(c, '-'),
                14 => assert_eq!(c, '7'),
                19 => assert!("89ab".contains(c)),
                _ => assert!(c.is_ascii_digit() || ('a'..='f').contains(&c)),
            }
        }
        let millis = u64::from_str_radix(&id[..13].replace('-', ""), 16).unwrap();
        // The clock of ids is up to 10 ms late, and other tests may have advanced the counter ahead of it.
        assert!(millis + 10 >= before && millis <= after + 1000, "{millis}");
    }

    #[test]
    fn ids_increase_and_are_unique_across_threads() {
        let made: Vec<Vec<Id>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..20_000)
                            .map(|_| new_id_with_time().0)
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            workers.into_iter().map(|w| w.join().unwrap()).collect()
        });
        for ids in &made {
            assert!(ids.windows(2).all(|w| w[0] < w[1]));
        }
        // The 60 time bits alone are unique: within a process, uniqueness does not depend on randomness.
        let heads: HashSet<&[u8]> = made
            .iter()
            .flatten()
            .map(|id| &id.as_bytes()[..18])
            .collect();
        assert_eq!(heads.len(), 80_000);
    }

    #[test]
    fn ticks_increase_when_the_clock_is_set_back() {
        let counter = AtomicU64::new(0);
        assert_eq!(next_tick(&counter, 900), 900);
        assert_eq!(next_tick(&counter, 5), 901);
        assert_eq!(next_tick(&counter, 902), 902);
    }

    #[test]
    fn an_id_has_the_digits_of_its_numbers() {
        let id = super::format(0x019_a9f5_e2b7_cc41, 0x7654_3210_fedc_ba98 << 2);
        assert_eq!(id.as_bytes(), b"019a9f5e-2b7c-7c41-b654-3210fedcba98");
    }

    #[test]
    fn reseeding_changes_the_random_state() {
        let _ = random_bits();
        let before = RANDOM.with(Cell::get);
        reseed_after_fork();
        let _ = random_bits();
        let after = RANDOM.with(Cell::get);
        assert_ne!(before.state, after.state);
        assert_ne!(before.generation, after.generation);
    }

    #[test]
    fn the_id_matches_its_time() {
        let (_, millis) = new_id_with_time();
        assert!(unix_ms() - millis < 1000);
    }
}
