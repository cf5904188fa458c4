//! The command line of the gateway.

use std::net::{IpAddr, SocketAddr};

use argh::FromArgs;
use dht_client::Address;

use crate::guard::Accepted;

/// A REST gateway of a dht-node cube.
#[derive(Debug, FromArgs)]
#[argh(
    note = "All options are optional. A running gateway describes its API at /v1/docs/.",
    example = "{command_name} -s 127.0.0.1:5000,127.0.0.1:5001",
    error_code(1, "the server failed"),
    error_code(2, "the command line or the address cannot be used")
)]
pub struct Options {
    /// nodes of the cube, as `HOST[:PORT]` separated by commas; it learns the others from them [default:
    /// 127.0.0.1:5000]
    #[argh(option, short = 's', arg_name = "servers", default = "String::from(\"127.0.0.1:5000\")")]
    pub servers: String,

    /// address to listen on [default: 127.0.0.1:8080]
    #[argh(option, short = 'l', arg_name = "ip:port", default = "SocketAddr::from(([127, 0, 0, 1], 8080))")]
    pub listen: SocketAddr,

    /// listen on an address that others can reach, without any protection
    #[argh(switch)]
    pub insecure_network: bool,

    /// host name by which clients know this gateway, beside IP addresses and localhost; can be repeated
    #[argh(option, arg_name = "name")]
    pub host: Vec<String>,

    /// site whose web pages may use this gateway, such as `https://example.org`; can be repeated
    #[argh(option, arg_name = "origin")]
    pub allow_origin: Vec<String>,

    /// connections to the cube for requests, 1 to 64 [default: 4]
    #[argh(option, arg_name = "count", default = "4")]
    pub connections: usize,

    /// print the version and exit
    #[argh(switch, short = 'V')]
    pub version: bool,
}

impl Options {
    /// Checks the command line as a whole, and returns the nodes.
    ///
    /// # Errors
    /// Returns one line that says what is wrong and what would be right.
    pub fn check(&self) -> Result<Vec<Address>, String> {
        let is_local = match self.listen.ip() {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_loopback(),
        };
        if !is_local && !self.insecure_network {
            return Err(format!(
                "{} can be reached from other machines and nothing protects it; listen on 127.0.0.1, or say \
                 --insecure-network if only friends can reach it",
                self.listen
            ));
        }
        if !(1..=64).contains(&self.connections) {
            return Err(format!("--connections {}: 1 to 64", self.connections));
        }
        for origin in &self.allow_origin {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            if authority.is_none_or(|authority| authority.is_empty() || authority.contains('/')) {
                return Err(format!("--allow-origin {origin}: write it as https://example.org, without a path"));
            }
        }
        Address::list(&self.servers).map_err(|error| format!("--servers: {error}"))
    }

    /// Returns the names and sites that are accepted.
    pub fn accepted(&self) -> Accepted {
        let hosts = self.host.iter().map(|host| host.trim_end_matches('.').to_ascii_lowercase()).collect();
        Accepted { hosts, origins: self.allow_origin.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(words: &[&str]) -> String {
        let options = match Options::from_args(&["dht-gateway"], words) {
            Ok(options) => options,
            Err(exit) => return exit.output,
        };
        options.check().map_or_else(|error| error, |servers| format!("{} servers", servers.len()))
    }

    #[test]
    fn a_command_line_is_checked() {
        for (words, expected) in [
            (&[][..], "1 servers"),
            (&["-s", "a:1,b:2"], "2 servers"),
            (&["-s", ""], "--servers: "),
            (&["-l", "0.0.0.0:80"], "0.0.0.0:80 can be reached from other machines"),
            (&["-l", "0.0.0.0:80", "--insecure-network"], "1 servers"),
            (&["-l", "[::1]:80"], "1 servers"),
            (&["--connections", "0"], "--connections 0: 1 to 64"),
            (&["--allow-origin", "example.org"], "--allow-origin example.org: write"),
            (&["--allow-origin", "https://example.org/"], "--allow-origin https://example.org/: write"),
            (&["--allow-origin", "https://example.org"], "1 servers"),
        ] {
            let found = outcome(words);
            assert!(found.starts_with(expected), "{words:?}: {found}");
        }
    }
}
