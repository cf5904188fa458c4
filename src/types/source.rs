//! Where a connection comes from, as limits count it.

use std::fmt;

/// The key by which the limits for each source of connections count. Once clients prove who they are, their user takes
/// the place of the address here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// This process, which opened the connection itself. No limit applies to it.
    Own,
    /// An IPv4 address.
    Ipv4([u8; 4]),
    /// The /64 network of an IPv6 address. One machine may use all the addresses of its network.
    Ipv6Network([u16; 4]),
}

impl Source {
    /// Returns the source of a connection from the IPv6 address of these eight groups. An IPv4-mapped address is the
    /// same source as the IPv4 address.
    pub const fn of_ipv6(groups: [u16; 8]) -> Self {
        match groups {
            [0, 0, 0, 0, 0, 0xffff, high, low] => {
                let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
                Self::Ipv4([a, b, c, d])
            }
            [a, b, c, d, ..] => Self::Ipv6Network([a, b, c, d]),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("this node"),
            Self::Ipv4([a, b, c, d]) => write!(f, "{a}.{b}.{c}.{d}"),
            Self::Ipv6Network([a, b, c, d]) => write!(f, "{a:x}:{b:x}:{c:x}:{d:x}::/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let cases = [
            ([0, 0, 0, 0, 0, 0xffff, 0x7f00, 2], "127.0.0.2"),
            ([0x2001, 0xdb8, 1, 2, 3, 4, 5, 6], "2001:db8:1:2::/64"),
            ([0x2001, 0xdb8, 1, 2, 0, 0, 0, 0], "2001:db8:1:2::/64"),
            ([0x2001, 0xdb8, 1, 3, 0, 0, 0, 1], "2001:db8:1:3::/64"),
            ([0, 0, 0, 0, 0, 0, 0, 1], "0:0:0:0::/64"),
        ];
        for (groups, source) in cases {
            assert_eq!(Source::of_ipv6(groups).to_string(), source, "{groups:x?}");
        }
        assert_eq!(Source::of_ipv6([0, 0, 0, 0, 0, 0xffff, 0x0a00, 1]), Source::Ipv4([10, 0, 0, 1]));
        assert_eq!(Source::Own.to_string(), "this node");
    }
}
