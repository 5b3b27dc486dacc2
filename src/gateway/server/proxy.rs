//! The client's address behind proxies: the rightmost hop of X-Forwarded-For that is not a trusted proxy.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};

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
