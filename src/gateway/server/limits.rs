//! Limits connections that have not finished the handshake, in total and per address. When the limit is reached, the
//! oldest is dropped: a real client finishes its handshake within milliseconds, so it is never the oldest.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::proxy;

/// An IPv6 /64 is often a whole site, so it may have this many times the permits of an IPv4 address.
const NETWORK_FACTOR: u32 = 10;

/// Number of permits per address.
pub(super) type PerAddress = Mutex<HashMap<IpAddr, u32>>;

pub(super) struct PendingConnections {
    max: usize,
    max_per_address: usize,
    table: Mutex<PendingTable>,
}

#[derive(Default)]
struct PendingTable {
    last_id: u64,
    /// From oldest to newest. Dropping the sender tells the connection that it was evicted.
    by_age: BTreeMap<u64, (Option<IpAddr>, oneshot::Sender<()>)>,
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
}

/// A pending connection, until the guard is dropped.
pub(super) struct PendingGuard {
    pending: Arc<PendingConnections>,
    id: u64,
    evicted: oneshot::Receiver<()>,
}

impl PendingConnections {
    pub fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            max: max.max(1),
            max_per_address: max_per_address.max(1),
            table: Mutex::default(),
        })
    }

    /// Adds a connection, and evicts the oldest one if a limit is reached. Without an address only the total limit
    /// applies.
    pub fn insert(self: &Arc<Self>, address: Option<IpAddr>) -> PendingGuard {
        let address = address.map(proxy::limit_key);
        let (evict_on_drop, evicted) = oneshot::channel();
        let mut table = self.table.lock();
        if let Some(address) = address {
            let own = table.by_address.get(&address);
            let oldest = own
                .filter(|own| own.len() >= self.max_per_address)
                .and_then(|own| own.first().copied());
            if let Some(oldest) = oldest {
                table.remove(oldest);
            }
        }
        if table.by_age.len() >= self.max {
            table.remove_oldest();
        }
        table.last_id += 1;
        let id = table.last_id;
        if let Some(address) = address {
            table.by_address.entry(address).or_default().insert(id);
        }
        table.by_age.insert(id, (address, evict_on_drop));
        drop(table);
        PendingGuard {
            pending: Arc::clone(self),
            id,
            evicted,
        }
    }

    /// Evicts the oldest connection; false if there is none.
    pub fn drop_oldest(&self) -> bool {
        self.table.lock().remove_oldest()
    }
}

impl PendingTable {
    fn remove_oldest(&mut self) -> bool {
        let oldest = self.by_age.keys().next().copied();
        oldest.is_some_and(|oldest| self.remove(oldest))
    }

    fn remove(&mut self, id: u64) -> bool {
        let Some((address, _)) = self.by_age.remove(&id) else {
            return false;
        };
        if let Some(address) = address {
            if let Some(own) = self.by_address.get_mut(&address) {
                own.remove(&id);
                if own.is_empty() {
                    self.by_address.remove(&address);
                }
            }
        }
        true
    }
}

impl PendingGuard {
    /// Runs `future`; `None` if the connection is evicted first.
    pub async fn run_until_evicted<T>(
        &mut self,
        future: impl std::future::Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            done = future => Some(done),
            _ = &mut self.evicted => None,
        }
    }
}

impl Drop for PendingGuard {
    fn drop(&mut self) {
        self.pending.table.lock().remove(self.id);
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn is_evicted(guard: &mut PendingGuard) -> bool {
        guard.evicted.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn the_oldest_pending_connection_is_evicted() {
        let pending = PendingConnections::new(3, 2);
        let (one, two): (IpAddr, IpAddr) = ("1.2.3.4".parse().unwrap(), "5.6.7.8".parse().unwrap());
        let mut first = pending.insert(Some(one));
        let mut second = pending.insert(Some(one));
        let mut other = pending.insert(Some(two));
        // A third connection of an address evicts the oldest of the same address.
        let mut third = pending.insert(Some(one));
        assert!(is_evicted(&mut first));
        assert!(![&mut second, &mut other, &mut third]
            .into_iter()
            .any(is_evicted));
        // A fourth connection in total.
        let mut fourth = pending.insert(None);
        assert!(is_evicted(&mut second) && !is_evicted(&mut other) && !is_evicted(&mut third));
        assert!(pending.drop_oldest() && is_evicted(&mut other));
        // A finished handshake frees a slot.
        drop(third);
        let last = pending.insert(Some(one));
        assert!(!is_evicted(&mut fourth));
        drop((first, second, other, fourth, last));
        assert!(!pending.drop_oldest());
        assert!(pending.table.lock().by_address.is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_limit() {
        let pending = PendingConnections::new(10, 1);
        let mut first = pending.insert("2001:db8::1".parse().ok());
        let _second = pending.insert("2001:db8::2".parse().ok());
        assert!(is_evicted(&mut first));
    }
}
