//! Addresses of nodes as people write them: `HOST[:PORT]`, several separated by commas.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// The default port: that of node 0 of a cube on one machine.
pub const PORT_DEFAULT: u16 = 5000;

/// The address of a node: a name or IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// Parses a list separated by commas.
    ///
    /// # Errors
    /// Returns an [`AddressError`], which names the invalid part and the reason.
    pub fn list(text: &str) -> Result<Vec<Self>, AddressError> {
        text.split(',').map(str::parse).collect()
    }

    /// Returns the name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns true if a client can connect to it. `0.0.0.0` and `::` are addresses to listen on, not to connect to.
    pub(crate) fn is_of_a_host(&self) -> bool {
        self.host.parse::<IpAddr>().map_or(true, |ip| !ip.is_unspecified())
    }

    /// Resolves the address; a name may have several.
    pub(crate) fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<_> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |fault| AddressError { text: text.to_owned(), fault };
        let (host, port) = split(text).map_err(error)?;
        if host.is_empty() {
            return Err(error(AddressFault::NoHost));
        }
        if host.chars().any(|c| c.is_whitespace() || matches!(c, '/' | '@' | '[' | ']')) {
            return Err(error(AddressFault::Host));
        }
        let port = match port {
            None => PORT_DEFAULT,
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| error(AddressFault::Port))?,
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

/// Splits an address into host and port: `[::1]:5000`, `::1`, `host:5000` or `host`.
fn split(text: &str) -> Result<(&str, Option<&str>), AddressFault> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or(AddressFault::Host)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(AddressFault::Port),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Ok((text, None)), // a bare IPv6 address
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The error for text that is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address HOST[:PORT]: {fault}")]
pub struct AddressError {
    text: String,
    fault: AddressFault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum AddressFault {
    #[error("it names no host")]
    NoHost,
    #[error("its host is neither a name nor an IP address")]
    Host,
    #[error("its port is not a number from 1 to 65535")]
    Port,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in [
            ("localhost", "localhost:5000"),
            ("127.0.0.1:5003", "127.0.0.1:5003"),
            ("[::1]:7", "[::1]:7"),
            ("[::1]", "[::1]:5000"),
            ("::1", "[::1]:5000"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, fault) in [
            ("", AddressFault::NoHost),
            (":5000", AddressFault::NoHost),
            ("a:", AddressFault::Port),
            ("a:0", AddressFault::Port),
            ("a:65536", AddressFault::Port),
            ("a:http", AddressFault::Port),
            ("[::1]x", AddressFault::Port),
            ("[::1", AddressFault::Host),
            ("http://a", AddressFault::Port),
            ("two words", AddressFault::Host),
        ] {
            assert_eq!(text.parse::<Address>().unwrap_err().fault, fault, "{text:?}");
        }
        assert!(Address::list("a:1,,b").is_err());
        assert_eq!(Address::list("a:1,b").unwrap().len(), 2);
    }
}
