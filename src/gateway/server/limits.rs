//! Limits connections that have not finished the handshake, in total and per address; when the limit is reached, the
//! oldest is dropped: a real client finishes its handshake within milliseconds, so it is never the oldest. The address
//! of a client behind proxies is the rightmost hop of X-Forwarded-For that is not a trusted proxy.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use ipnet::{IpNet, Ipv6Net};
use parking_lot::Mutex;
use tokio::sync::oneshot;

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
        let address = address.map(limit_key);
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

/// Acquires a permit, unless `max` are taken.
pub(super) fn acquire_for_address(
    table: &Arc<PerAddress>,
    address: IpAddr,
    max: u32,
) -> Option<ConnectionPermit> {
    let key = limit_key(address);
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

/// Parses a network or a single address: `10.0.0.0/8`, `::1`, `192.168.1.7`.
#[must_use]
pub fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address()).ok()
}

/// The address that a connection is attributed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress {
    /// The client's address, or the nearest known proxy.
    pub address: IpAddr,
    /// True if the limit per address applies: not to loopback, and not to a trusted proxy without X-Forwarded-For.
    pub is_limited: bool,
    /// A trusted proxy sent no usable X-Forwarded-For, which deserves a warning.
    pub missing_forwarded_for: bool,
}

/// The client of a connection from `peer` with the given `X-Forwarded-For` headers, first to last.
#[must_use]
pub fn client_address<'a>(
    peer: IpAddr,
    trusted: &[IpNet],
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
) -> ClientAddress {
    let peer = peer.to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|n| n.contains(&address));
    let mut found = ClientAddress {
        address: peer,
        is_limited: !peer.is_loopback(),
        missing_forwarded_for: false,
    };
    if !is_trusted(peer) {
        return found;
    }
    found.is_limited = false;
    found.missing_forwarded_for = true;
    for hop in forwarded.rev().flat_map(|field| field.rsplit(',')) {
        let Some(address) = hop_address(hop.trim()) else {
            // A hop that is not an address: the hops to its left are not trusted either.
            return found;
        };
        found = ClientAddress {
            address,
            is_limited: !address.is_loopback(),
            missing_forwarded_for: false,
        };
        if !is_trusted(address) {
            return found;
        }
    }
    found
}

/// Parses an address, with or without a port.
fn hop_address(hop: &str) -> Option<IpAddr> {
    if let Ok(address) = hop.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    hop.parse::<std::net::SocketAddr>()
        .ok()
        .map(|a| a.ip().to_canonical())
}

/// The key of limits per address: an IPv4 address, or the /64 of an IPv6 address, which is one customer's.
#[must_use]
pub fn limit_key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Net::new_assert(v6, 64).network().into(),
    }
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

    #[test]
    fn the_client_is_the_rightmost_untrusted_hop() {
        let trusted: Vec<IpNet> = ["127.0.0.1", "10.0.0.0/8"]
            .iter()
            .map(|n| network(n).unwrap())
            .collect();
        let who = |peer: &str, forwarded: &[&str]| {
            let c = client_address(peer.parse().unwrap(), &trusted, forwarded.iter().copied());
            (c.address.to_string(), c.is_limited, c.missing_forwarded_for)
        };
        let is = |address: &str, is_limited, silent| (address.to_owned(), is_limited, silent);
        assert_eq!(
            who("203.0.113.5", &["1.2.3.4"]),
            is("203.0.113.5", true, false)
        );
        assert_eq!(who("10.1.1.1", &["1.2.3.4"]), is("1.2.3.4", true, false));
        assert_eq!(
            who("10.1.1.1", &["6.6.6.6, 1.2.3.4"]),
            is("1.2.3.4", true, false)
        );
        assert_eq!(
            who("10.1.1.1", &["6.6.6.6", "1.2.3.4, 10.2.2.2"]),
            is("1.2.3.4", true, false)
        );
        assert_eq!(who("10.1.1.1", &["1.2.3.4:55"]), is("1.2.3.4", true, false));
        assert_eq!(who("10.1.1.1", &[]), is("10.1.1.1", false, true));
        assert_eq!(who("10.1.1.1", &["unknown"]), is("10.1.1.1", false, true));
        assert_eq!(who("127.0.0.1", &[]), is("127.0.0.1", false, true));
        assert_eq!(
            who("::ffff:203.0.113.5", &[]),
            is("203.0.113.5", true, false)
        );
        let c = client_address("127.0.0.1".parse().unwrap(), &[], std::iter::empty());
        assert!(!c.is_limited && !c.missing_forwarded_for);
    }

    #[test]
    fn networks_and_limit_keys() {
        let contains = |net: &str, address: &str| {
            network(net)
                .unwrap()
                .contains(&address.parse::<IpAddr>().unwrap())
        };
        assert!(contains("0.0.0.0/0", "9.9.9.9"));
        assert!(contains("2001:db8::/32", "2001:db8::1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.0"));
        for bad in ["", "x", "10.0.0.0/33", "10.0.0.0/x", "10.0.0"] {
            assert_eq!(network(bad), None, "{bad}");
        }
        assert_eq!(
            limit_key("2001:db8:1:2:3:4:5:6".parse().unwrap()),
            "2001:db8:1:2::".parse::<IpAddr>().unwrap()
        );
    }
}
