//! Where a node is reached, as people write it: `HOST:PORT`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::limits::HOST_MAX;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPort {
    /// A host given by its IP address.
    Ip(SocketAddr),
    /// A host given by its name, which may have other addresses each time it is looked up.
    Name {
        /// The name, of at most [`HOST_MAX`] bytes.
        host: String,
        /// The port.
        port: u16,
    },
}

/// The error for text that is not `HOST:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostPortError;

impl HostPort {
    /// Returns the port.
    pub const fn port(&self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Name { port, .. } => *port,
        }
    }

    /// Returns the same host with another port.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        match self {
            Self::Ip(address) => Self::Ip(SocketAddr::new(address.ip(), port)),
            Self::Name { host, .. } => Self::Name { host: host.clone(), port },
        }
    }

    /// Returns true if a client can connect to it: it has a port, and its address is neither unspecified, such as
    /// 0.0.0.0, nor multicast.
    pub fn is_reachable(&self) -> bool {
        let is_none = |ip: IpAddr| ip.is_unspecified() || ip.is_multicast();
        self.port() != 0 && !matches!(self, Self::Ip(address) if is_none(address.ip()))
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let (host, port) = text.rsplit_once(':').ok_or(HostPortError)?;
        // What RFC 1123 allows in names, and the underscore, which names of containers have.
        let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let is_name = (1..=HOST_MAX).contains(&host.len()) && host.chars().all(is_of_a_name);
        // The resolver would take digits and dots for an IP address of an unusual form: 1 for 0.0.0.1.
        let is_number = host.chars().all(|c| c.is_ascii_digit() || c == '.');
        let port = port.parse().ok().filter(|_| is_name && !is_number).ok_or(HostPortError)?;
        Ok(Self::Name { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl fmt::Display for HostPortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write it as HOST:PORT, for example 10.0.0.5:5000, [::1]:5000 or node-5.example:5000")
    }
}

impl std::error::Error for HostPortError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_a_name_and_has_a_port() {
        let long = format!("{}:1", "a".repeat(HOST_MAX));
        for text in ["127.0.0.1:5000", "[::1]:5000", "node-5:0", "b_1:2", "a.b.example:65535", long.as_str()] {
            assert_eq!(text.parse::<HostPort>().map(|it| it.to_string()).as_deref(), Ok(text));
        }
        let longer = format!("{}:1", "a".repeat(HOST_MAX + 1));
        let bad = ["", ":1", "a", "a:", "a:b", "a:65536", "::1:5000", "[::1]", "a b:1", "127.0.0:1", "1:1", "a/b:1"];
        for text in bad.into_iter().chain([longer.as_str()]) {
            assert_eq!(text.parse::<HostPort>(), Err(HostPortError), "{text:?}");
        }
    }

    #[test]
    fn clients_cannot_connect_to_every_address() {
        let cases = [
            ("node-5:5000", true),
            ("10.0.0.5:5000", true),
            ("[::1]:5000", true),
            ("node-5:0", false),
            ("10.0.0.5:0", false),
            ("0.0.0.0:5000", false),
            ("[::]:5000", false),
            ("224.0.0.1:5000", false),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<HostPort>().unwrap().is_reachable(), expected, "{text}");
        }
        for (text, expected) in [("a:0", "a:7"), ("[::1]:5", "[::1]:7")] {
            assert_eq!(text.parse::<HostPort>().unwrap().with_port(7).to_string(), expected);
        }
    }
}
