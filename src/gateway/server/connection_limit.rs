//! Permits for connections, counted in total and per address, and released on drop.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;

use super::proxy;

/// An IPv6 /64 is often a whole site, so it may have this many times the permits of an IPv4 address.
const NETWORK_FACTOR: u32 = 10;

/// Number of permits per address.
pub(super) type PerAddress = Mutex<HashMap<IpAddr, u32>>;

/// A permit that is released on drop.
pub(super) struct ConnectionPermit(Box<dyn FnMut() + Send>);

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Acquires a permit, unless `max` are taken.
pub(super) fn acquire(count: &Arc<AtomicUsize>, max: usize) -> Option<ConnectionPermit> {
    if count.fetch_add(1, Ordering::Relaxed) >= max {
        count.fetch_sub(1, Ordering::Relaxed);
        return None;
    }
    let count = Arc::clone(count);
    Some(ConnectionPermit(Box::new(move || {
        count.fetch_sub(1, Ordering::Relaxed);
    })))
}

/// Acquires a permit regardless of the limit.
pub(super) fn acquire_unbounded(count: &Arc<AtomicUsize>) -> ConnectionPermit {
    count.fetch_add(1, Ordering::Relaxed);
    let count = Arc::clone(count);
    ConnectionPermit(Box::new(move || {
        count.fetch_sub(1, Ordering::Relaxed);
    }))
}

/// Acquires a permit, unless `max` are taken.
pub(super) fn acquire_for_address(
    table: &Arc<PerAddress>,
    address: IpAddr,
    max: u32,
) -> Option<ConnectionPermit> {
    let key = proxy::limit_key(address);
    let max = if address.is_ipv6() {
        max.saturating_mul(NETWORK_FACTOR)
    } else {
        max
    };
    {
        let mut counts = table.lock();
        let count = counts.entry(key).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
    }
    let table = Arc::clone(table);
    Some(ConnectionPermit(Box::new(move || {
        let mut counts = table.lock();
        if let Some(count) = counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&key);
            }
        }
    })))
}
