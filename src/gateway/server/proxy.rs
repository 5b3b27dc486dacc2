//! The client's address behind proxies: the rightmost hop of X-Forwarded-For that is not a trusted proxy.

use std::net::IpAddr;

/// A network in CIDR notation, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Parses a network or a single address: `10.0.0.0/8`, `::1`, `192.168.1.7`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (
                address.parse::<IpAddr>().ok()?,
                Some(bits.parse::<u8>().ok()?),
            ),
            None => (text.parse::<IpAddr>().ok()?, None),
        };
        let max_bits = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(max_bits);
        (bits <= max_bits).then_some(Self { address, bits })
    }

    /// True if the network contains the address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same_prefix(
                u128::from(a.to_bits()) << 96,
                u128::from(b.to_bits()) << 96,
                self.bits,
            ),
            (IpAddr::V6(a), IpAddr::V6(b)) => same_prefix(a.to_bits(), b.to_bits(), self.bits),
            _ => false,
        }
    }
}

fn same_prefix(a: u128, b: u128, bits: u8) -> bool {
    bits == 0 || (a ^ b) >> (128 - u32::from(bits)) == 0
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
    trusted: &[Network],
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
) -> ClientAddress {
    let peer = peer.to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|n| n.contains(address));
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
        IpAddr::V6(v6) => IpAddr::V6(std::net::Ipv6Addr::from_bits(
            v6.to_bits() & (u128::MAX << 64),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{client_address, limit_key, Network};

    #[test]
    fn the_client_is_the_rightmost_untrusted_hop() {
        let trusted: Vec<Network> = ["127.0.0.1", "10.0.0.0/8"]
            .iter()
            .map(|n| Network::parse(n).unwrap())
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
        assert!(Network::parse("0.0.0.0/0")
            .unwrap()
            .contains("9.9.9.9".parse().unwrap()));
        assert!(Network::parse("2001:db8::/32")
            .unwrap()
            .contains("2001:db8::1".parse().unwrap()));
        assert!(!Network::parse("10.0.0.0/8")
            .unwrap()
            .contains("11.0.0.0".parse().unwrap()));
        for bad in ["", "x", "10.0.0.0/33", "10.0.0.0/x", "10.0.0"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
        assert_eq!(
            limit_key("2001:db8:1:2:3:4:5:6".parse().unwrap()),
            "2001:db8:1:2::".parse::<std::net::IpAddr>().unwrap()
        );
    }
}
