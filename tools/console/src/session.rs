//! What every command needs: the settings, the connection and the output.

use std::time::Duration;

use dht_client::{Address, Client, Dimension, Error, NodeId};
use dht_protocol::wire::Status;

use crate::errors::{Exit, Failure, note};
use crate::output::{Color, Out};
use crate::text;

const SERVER_DEFAULT: &str = "127.0.0.1:5000";
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const PING_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// The options of the program as they stand on the command line.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "they are the options of these names")]
pub struct Options<'a> {
    pub server: Option<&'a str>,
    pub timeout: Option<&'a str>,
    pub ping_after: Option<&'a str>,
    pub color: Option<&'a str>,
    pub json: bool,
    pub quiet: bool,
    pub verbose: bool,
}

/// The options of the program, parsed, including those from the environment.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "they are the options of these names")]
pub struct Settings {
    pub servers: Vec<Address>,
    pub timeout: Duration,
    /// The silence after which a node is sent PING.
    pub ping_after: Duration,
    pub json: bool,
    pub color: Color,
    pub quiet: bool,
    pub verbose: bool,
    /// True if frames are shown.
    pub tap: bool,
}

impl Settings {
    /// # Errors
    /// Returns an error for an invalid server, timeout or colour.
    pub fn new(options: &Options<'_>) -> Result<Self, Failure> {
        let timeout = or_variable(options.timeout, "DHT_TIMEOUT", text::duration)?;
        let waiting = |text: &str| text::waiting("--ping-after", text);
        let ping_after = or_variable(options.ping_after, "DHT_PING_AFTER", waiting)?;
        Ok(Self {
            servers: match or_variable(options.server, "DHT_SERVER", addresses)? {
                Some(servers) => servers,
                None => addresses(SERVER_DEFAULT)?,
            },
            timeout: timeout.unwrap_or(TIMEOUT_DEFAULT),
            ping_after: ping_after.unwrap_or(PING_AFTER_DEFAULT),
            json: options.json,
            color: Color::from_option(options.color)?,
            quiet: options.quiet,
            verbose: options.verbose,
            tap: false,
        })
    }
}

/// Parses a list of servers.
pub fn addresses(list: &str) -> Result<Vec<Address>, Failure> {
    Address::list(list).map_err(|error| {
        Failure::usage_with(error.to_string(), "write it like 127.0.0.1:5000, several separated by commas".to_owned())
    })
}

/// Parses an option, or else the environment variable of that name, which an error then mentions. An empty variable
/// counts as unset.
fn or_variable<T>(
    option: Option<&str>,
    name: &str,
    read: impl Fn(&str) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    if let Some(text) = option {
        return read(text).map(Some);
    }
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.map(|text| read(&text).map_err(|failure| failure.in_variable(name))).transpose()
}

/// A run of the program, or of `nc`.
#[derive(Debug)]
pub struct Session {
    /// The options of the program; `nc` changes some for a line.
    pub settings: Settings,
    /// The standard output.
    pub out: Out,
    /// True if this command is a line of `nc`, which reads standard input itself.
    pub is_line: bool,
    client: Option<Client>,
}

impl Session {
    /// Returns a session that has not connected yet.
    pub fn new(settings: Settings) -> Self {
        let out = Out::new(settings.json, settings.color);
        Self { settings, out, is_line: false, client: None }
    }

    /// Returns the client, connected.
    ///
    /// # Errors
    /// Returns an error if no server answers.
    pub fn client(&mut self) -> Result<&mut Client, Failure> {
        if self.client.is_none() {
            let client = self.connect()?;
            if let (true, Some(server), Some(hello)) = (self.settings.verbose, client.server(), client.hello()) {
                let (software, node) = (&hello.software, hello.node);
                note(&format!(
                    "connected to {server}: node {node:0width$b}, {software}",
                    width = usize::from(hello.dimension.max(1))
                ));
            }
            self.client = Some(client);
        }
        Ok(self.client.as_mut().expect("there is one, or has just been made"))
    }

    /// Returns the client, if it has connected.
    pub const fn connected(&mut self) -> Option<&mut Client> {
        self.client.as_mut()
    }

    /// Returns the client, connected, and the output.
    ///
    /// # Errors
    /// Returns an error if no server answers.
    pub fn client_and_out(&mut self) -> Result<(&mut Client, &mut Out), Failure> {
        self.client()?;
        Ok((self.client.as_mut().expect("it has just been connected"), &mut self.out))
    }

    fn connect(&self) -> Result<Client, Error> {
        let builder = Client::builder()
            .servers(self.settings.servers.iter().cloned())
            .timeout(self.settings.timeout)
            .ping_after(self.settings.ping_after)
            .software(concat!("dht-cli/", env!("CARGO_PKG_VERSION")));
        if self.settings.tap { builder.tap().connect() } else { builder.connect() }
    }

    /// Returns the cube's dimension, for formatting ids.
    pub fn dimension(&mut self) -> Result<Dimension, Failure> {
        Ok(self.client()?.dimension()?)
    }

    /// Parses node ids in binary digits; without any, returns all nodes.
    ///
    /// # Errors
    /// Returns an error for text that is not a node of this cube.
    pub fn nodes(&mut self, written: &[String]) -> Result<Vec<NodeId>, Failure> {
        let dimension = self.dimension()?;
        if written.is_empty() {
            return Ok(dimension.all().collect());
        }
        written.iter().map(|text| node(text, dimension).ok_or_else(|| no_node(text, dimension))).collect()
    }

    /// Prints a failure, and returns the exit code.
    pub fn report(&mut self, mut failure: Failure) -> Exit {
        let _ = self.out.flush();
        let cause = if let Failure::Partial { cause, .. } = &mut failure { cause.as_mut() } else { &mut failure };
        if let Failure::Client { error, topic: Some(topic), similar, .. } = cause
            && error.status() == Some(Status::UnknownTopic)
        {
            *similar = self.similar_topic(topic);
        }
        failure.print(self.settings.json)
    }

    /// Returns the topic that a misspelt name most likely means, among the first page of topics of each node.
    fn similar_topic(&mut self, name: &str) -> Option<String> {
        let client = self.client.as_mut()?;
        let beginning = &name[..name.floor_char_boundary(2.min(name.len()))];
        for prefix in [beginning, ""] {
            let listing = client.list_first(prefix).ok()?;
            if let Some(similar) = text::closest(name, listing.topics.iter().map(|(_, topic)| topic.name.as_str())) {
                return Some(similar.to_owned());
            }
        }
        None
    }
}

/// Parses a node id, written in as many binary digits as the cube has dimensions.
pub fn node(text: &str, dimension: Dimension) -> Option<NodeId> {
    let digits = usize::from(dimension.bits().max(1));
    if text.len() != digits || !text.bytes().all(|digit| matches!(digit, b'0' | b'1')) {
        return None;
    }
    NodeId::new(u16::from_str_radix(text, 2).ok()?, dimension)
}

fn no_node(text: &str, dimension: Dimension) -> Failure {
    let last = NodeId::from_low_bits(u32::MAX, dimension).binary(dimension);
    let first = NodeId::from_low_bits(0, dimension).binary(dimension);
    Failure::usage_with(
        format!("{text:?} is not a node of this cube"),
        format!("nodes are written as binary digits: {first} to {last}"),
    )
}
