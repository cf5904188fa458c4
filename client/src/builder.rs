//! The settings of a client.

use std::time::Duration;

use crate::address::Address;
use crate::client::Client;
use crate::error::Error;
use crate::session::driving::Settings;
use crate::session::handshake::Introduction;
use crate::session::servers::Learned;
use crate::session::watch::QUIET_DEFAULT;

/// The settings of a [`Client`].
#[derive(Clone, Debug)]
pub struct Builder(pub(crate) Settings);

impl Default for Builder {
    fn default() -> Self {
        Self(Settings {
            servers: Vec::new(),
            learned: Learned::default(),
            timeout: Duration::from_secs(5),
            ping_after: QUIET_DEFAULT,
            learns_servers: true,
            introduction: Introduction {
                software: concat!("dht-node-client/", env!("CARGO_PKG_VERSION")).to_owned(),
                ..Introduction::default()
            },
        })
    }
}

impl Builder {
    /// Adds a server. Servers are tried in turn. Without any, the client uses `127.0.0.1:5000`.
    #[must_use]
    pub fn server(mut self, address: Address) -> Self {
        self.0.servers.push(address);
        self
    }

    /// Adds several servers.
    #[must_use]
    pub fn servers(mut self, addresses: impl IntoIterator<Item = Address>) -> Self {
        self.0.servers.extend(addresses);
        self
    }

    /// Sets the time limit for connecting and for each reply, including all retries through any servers. Zero means no
    /// limit. The default is 5 s.
    ///
    /// A node answers OUTCOME_UNKNOWN by itself after 4 s, so with a shorter limit the client learns less.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = timeout;
        self
    }

    /// Sets the silence after which a node is sent PING: 1 s by default, at least 10 ms. From the second PING on, a
    /// random addition of up to half of that time spreads the PINGs of many clients. If no sign of life follows the
    /// PING within three quarters of that time, the client fails over to the next server.
    ///
    /// This applies while something is expected of the node: there is a subscription, or an idempotent request is
    /// unanswered. A shorter time detects a frozen node sooner, and costs a live one more PINGs. While the
    /// client waits for the reply to a request, the silence is at most a third of its time limit, so that a quarter of
    /// that limit or more is left for the next server.
    #[must_use]
    pub const fn ping_after(mut self, silence: Duration) -> Self {
        self.0.ping_after = silence;
        self
    }

    /// Connects only to the servers that were added. By default the client asks each node that it connects to for the
    /// addresses of the others, and uses them if the connection is lost and no other added server answers: one added
    /// server is then enough to survive the loss of that node.
    #[must_use]
    pub const fn only_listed(mut self) -> Self {
        self.0.learns_servers = false;
        self
    }

    /// Sets the name and version of the program, for the operators of the cluster.
    #[must_use]
    pub fn software(mut self, software: impl Into<String>) -> Self {
        self.0.introduction.software = cut(software.into());
        self
    }

    /// Sets the cluster's name. Nodes of other clusters are refused.
    #[must_use]
    pub fn cluster(mut self, cluster: impl Into<String>) -> Self {
        self.0.introduction.cluster = cut(cluster.into());
        self
    }

    /// Keeps a copy of every frame, for [`Client::tapped`]. The client then sends only what the program asks for, so it
    /// implies [`Self::only_listed`].
    #[must_use]
    pub const fn tap(mut self) -> Self {
        self.0.introduction.tap = true;
        self.0.learns_servers = false;
        self
    }

    /// Connects to the first server that answers.
    ///
    /// # Errors
    /// Returns the error of the last server if none answers.
    pub fn connect(self) -> Result<Client, Error> {
        Client::with(self.with_default_server())
    }

    /// Adds the default server if there is none.
    pub(crate) fn with_default_server(mut self) -> Self {
        if self.0.servers.is_empty() {
            self.0.servers.push("127.0.0.1".parse().expect("an address without port"));
        }
        self
    }
}

/// Shortens a text to the length of a label of HELLO.
fn cut(mut label: String) -> String {
    label.truncate(label.floor_char_boundary(dht_protocol::limits::LABEL_MAX));
    label
}
