//! Message ids (UUID version 7) and the clock they are made from.
//!
//! An id is 48 bits of Unix milliseconds, 12 bits that count up (they start as the fraction of the
//! millisecond), and 62 random bits. The first 60 bits never repeat and never go back within a
//! process, whatever the clock does, so ids sort in the order they were made.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of an id in text form.
pub const ID_LEN: usize = 36;

/// The 60 time bits of the last id; every id takes a larger one.
static LAST_TICK: AtomicU64 = AtomicU64::new(0);

/// Raised in a forked child: generators with an older number hold their parent's random state.
static GENERATION: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static RANDOM: Cell<Random> = const { Cell::new(Random { generation: 0, state: [0; 4] }) };
}

/// A new id in text form, e.g. `019a9f5e-2b7c-7c41-9d2e-3f6a1b0c8d7e`.
#[must_use]
pub fn new_id() -> String {
    String::from_utf8_lossy(&new_id_bytes()).into_owned()
}

/// A new id as 36 ASCII bytes, without allocating.
#[must_use]
pub fn new_id_bytes() -> [u8; ID_LEN] {
    new_id_with_time().0
}

/// A new id and the Unix milliseconds it was made at: one look at the clock for both.
#[must_use]
pub fn new_id_with_time() -> ([u8; ID_LEN], u64) {
    let (millis, fraction) = now();
    let tick = next_tick(&LAST_TICK, (millis << 12) | fraction);
    (format(tick, random_bits()), millis)
}

/// Unix time in milliseconds.
#[must_use]
pub fn unix_ms() -> u64 {
    now().0
}

/// Makes every thread's generator take fresh random bits before its next id. For the child side of
/// `pthread_atfork`: it only raises a number, so it is safe there.
pub fn reseed_after_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Unix milliseconds, and the fraction of the millisecond in 4096ths.
fn now() -> (u64, u64) {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let nanos = since.subsec_nanos();
    let millis = since.as_secs() * 1000 + u64::from(nanos / 1_000_000);
    // 1_000_000 ns to 4096 steps; 1/2^20 is close enough to 1/1_000_000 and cannot reach 4096.
    (millis, (u64::from(nanos % 1_000_000) << 12) >> 20)
}

/// The larger of `wanted` and one past the last tick.
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
        // All zeros is the one state the generator never leaves.
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

/// Eight bytes of the system's randomness. Where it refuses (a sandbox without the call), process
/// id, clock and an address stand in, mixed: still different in every process.
#[allow(unsafe_code)]
fn system_random() -> u64 {
    let mut bytes = [0_u8; 8];
    // SAFETY: the pointer and the length describe `bytes`, which outlives the call.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == 8 {
        return u64::from_ne_bytes(bytes);
    }
    let (millis, fraction) = now();
    let address = std::ptr::from_ref(&bytes).addr() as u64;
    let tick = next_tick(&LAST_TICK, (millis << 12) | fraction);
    let mut mixed = tick ^ (u64::from(std::process::id()) << 40) ^ address.rotate_left(17);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Two hexadecimal digits for each byte value.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0_u8; 2]; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = [digits[i >> 4], digits[i & 15]];
        i += 1;
    }
    table
};

/// Where each of the 16 bytes begins: the dashes stand at 8, 13, 18 and 23.
const AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

fn format(tick: u64, random: u64) -> [u8; ID_LEN] {
    let high = ((tick >> 12) << 16) | 0x7000 | (tick & 0x0fff);
    let low = (random >> 2) | (1 << 63);
    let mut out = [b'-'; ID_LEN];
    let bytes = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
    for (at, byte) in AT.into_iter().zip(bytes) {
        let [a, b] = HEX[usize::from(byte)];
        out[at] = a;
        out[at + 1] = b;
    }
    out
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
        // Other tests may have run the counter a little ahead of the clock.
        assert!(millis >= before && millis <= after + 1000, "{millis}");
    }

    #[test]
    fn ids_rise_and_never_repeat_over_threads() {
        let made: Vec<Vec<[u8; ID_LEN]>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..20_000).map(|_| new_id_bytes()).collect::<Vec<_>>()))
                .collect();
            workers.into_iter().map(|w| w.join().unwrap()).collect()
        });
        for ids in &made {
            assert!(ids.windows(2).all(|w| w[0] < w[1]));
        }
        // The 60 time bits alone differ: uniqueness in a process does not rest on chance.
        let heads: HashSet<&[u8]> = made.iter().flatten().map(|id| &id[..18]).collect();
        assert_eq!(heads.len(), 80_000);
    }

    #[test]
    fn a_clock_that_goes_back_does_not() {
        let counter = AtomicU64::new(0);
        assert_eq!(next_tick(&counter, 900), 900);
        assert_eq!(next_tick(&counter, 5), 901);
        assert_eq!(next_tick(&counter, 902), 902);
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
    fn the_id_and_its_time_agree() {
        let (_, millis) = new_id_with_time();
        assert!(unix_ms() - millis < 1000);
    }
}
