//! How a client is set up.

use std::time::Duration;

use super::address::Address;
use super::connection::Introduction;
use super::error::Error;
use super::session::Client;
use super::watch::QUIET_DEFAULT;

/// Silence that is too short to mean anything: a busy machine answers no sooner.
const PING_AFTER_LEAST: Duration = Duration::from_millis(10);

/// The settings of a [`Client`].
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) servers: Vec<Address>,
    pub(super) timeout: Duration,
    pub(super) ping_after: Duration,
    pub(super) learns_servers: bool,
    pub(super) introduction: Introduction,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(5),
            ping_after: QUIET_DEFAULT,
            learns_servers: true,
            introduction: Introduction {
                software: concat!("dht-node-client/", env!("CARGO_PKG_VERSION")).to_owned(),
                ..Introduction::default()
            },
        }
    }
}

impl Builder {
    /// Adds a server; they are tried in turn. Without any it is `127.0.0.1:5000`.
    #[must_use]
    pub fn server(mut self, address: Address) -> Self {
        self.servers.push(address);
        self
    }

    /// Adds several.
    #[must_use]
    pub fn servers(mut self, addresses: impl IntoIterator<Item = Address>) -> Self {
        self.servers.extend(addresses);
        self
    }

    /// The limit for connecting and for each reply, with all repeated attempts; zero is no limit. 5 s when not said.
    ///
    /// A node answers OUTCOME_UNKNOWN after 4 s by itself, so a shorter limit learns less.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Asks a node for a sign of life when it has been silent for so long, from the second time on up to half of that
    /// longer at random, and leaves it for the next server when none comes within three quarters of it; 1 s when not
    /// said, at least 10 ms.
    ///
    /// It concerns a node of which something is expected: there is a subscription, or a request that may be repeated
    /// is not answered. Less finds a frozen node sooner, and costs one that is alive more PINGs.
    #[must_use]
    pub fn ping_after(mut self, silence: Duration) -> Self {
        self.ping_after = silence.max(PING_AFTER_LEAST);
        self
    }

    /// Connects to the servers that were added and to no others. Otherwise the client asks each node that it connects
    /// to for the addresses of the others, and uses them when the connection is lost and no other server that was added
    /// answers: so one of them is enough to survive the loss of that node.
    #[must_use]
    pub const fn only_listed(mut self) -> Self {
        self.learns_servers = false;
        self
    }

    /// Name and version of the program, for the people who run the cluster.
    #[must_use]
    pub fn software(mut self, software: impl Into<String>) -> Self {
        self.introduction.software = cut(software.into());
        self
    }

    /// Refuses nodes of another cluster than this.
    #[must_use]
    pub fn cluster(mut self, cluster: impl Into<String>) -> Self {
        self.introduction.cluster = cut(cluster.into());
        self
    }

    /// Keeps a copy of every frame, for [`Client::tapped`]. Nothing is sent that the program did not ask for, so the
    /// client behaves as with [`Self::only_listed`].
    #[must_use]
    pub const fn tap(mut self) -> Self {
        self.introduction.tap = true;
        self.learns_servers = false;
        self
    }

    /// Connects to the first server that answers.
    ///
    /// # Errors
    /// That of the last server when none does.
    pub fn connect(mut self) -> Result<Client, Error> {
        if self.servers.is_empty() {
            self.servers.push("127.0.0.1".parse().expect("an address without port"));
        }
        Client::with(self)
    }
}

/// To what fits a label of HELLO.
fn cut(mut label: String) -> String {
    label.truncate(label.floor_char_boundary(crate::limits::LABEL_MAX));
    label
}
