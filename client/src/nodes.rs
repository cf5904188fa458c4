//! Requests to single nodes, and to all of them.
//!
//! No node answers for the whole cluster: the client asks each one, in one pipeline, and lists those that did not
//! answer.

use std::time::Instant;

use dht_protocol::types::{Dimension, Link, NodeId, TopicName};
use dht_protocol::wire::request::{ANY_NODE, List};
use dht_protocol::wire::response::{LinkState, Listed, Response, View};
use dht_protocol::wire::{Opcode, Request};

use crate::caller::{Caller, ask, at_once};
use crate::client::Client;
use crate::clock::random;
use crate::error::Error;
use crate::session::call::{Outcome, Repeat};
use crate::session::request::OwnedRequest;

/// A node's response, or why there is none.
#[derive(Debug)]
pub struct NodeAnswer<T> {
    /// The node that was asked.
    pub node: NodeId,
    /// Its response.
    pub answer: Result<T, Error>,
}

/// A response to PING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// The node that answered.
    pub node: NodeId,
    /// The round-trip time as the client measured it.
    pub micros: u64,
}

/// The topics of the whole cluster.
#[derive(Debug, Default)]
pub struct Listing {
    /// Each topic with its home node, in no particular order.
    pub topics: Vec<(NodeId, Listed)>,
    /// The nodes whose topics are missing, and the reasons.
    pub unanswered: Vec<(NodeId, Error)>,
}

/// The cluster as its nodes see it.
#[derive(Debug)]
pub struct Cluster {
    /// The dimension of the cube.
    pub dimension: Dimension,
    /// All nodes in the order of their ids.
    pub nodes: Vec<Member>,
    /// All links in the order of their lower ends, then of their higher ends.
    pub links: Vec<Edge>,
}

/// A node as others see it and as it sees itself.
#[derive(Debug)]
pub struct Member {
    /// The node's id.
    pub node: NodeId,
    /// Its listening address, as reported by itself or by another node; empty if no node knows it.
    pub address: String,
    /// Its own report, or why there is none.
    pub view: Result<View, Error>,
}

/// A node and its address for clients, according to another node's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownNode {
    /// The node's id.
    pub node: NodeId,
    /// Its address, as `host:port`; empty if that is unknown.
    pub address: String,
    /// The state of its link to the node that was asked.
    pub link: LinkState,
}

/// A link of the cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The lower end.
    pub a: NodeId,
    /// The higher end.
    pub b: NodeId,
    /// True if it is up according to both ends, or to the one that answered.
    pub up: bool,
}

impl Cluster {
    /// Returns true if all nodes answer, all links are up, and each group of topics has a leader where several nodes
    /// keep each topic.
    pub fn is_whole(&self) -> bool {
        let has_nodes = self.nodes.iter().all(|member| member.view.is_ok());
        has_nodes && self.links.iter().all(|edge| edge.up) && self.is_led()
    }

    fn is_led(&self) -> bool {
        let groups = || self.nodes.iter().filter_map(|member| member.view.as_ref().ok()?.groups);
        let led: u64 = groups().map(|of| u64::from(of.led) * u64::from(of.replicas)).sum();
        let kept: u64 = groups().map(|of| u64::from(of.kept)).sum();
        // Leadership may move while the nodes are asked, so that two say that they lead the same group.
        led >= kept
    }
}

impl Client {
    /// Sends PING to a node and measures the round-trip time. It is not retried if the node is unreachable.
    ///
    /// # Errors
    /// Returns the node's error, or that of the client if there was no response.
    pub fn ping(&mut self, node: NodeId) -> Result<Pong, Error> {
        at_once(ping(self, node, random()))
    }

    /// Returns the counters of nodes as lines of `name value`.
    ///
    /// # Errors
    /// Returns an error if there is no connection. The error of a single node is in that node's place.
    pub fn stats(&mut self, nodes: &[NodeId]) -> Result<Vec<NodeAnswer<String>>, Error> {
        at_once(stats(self, nodes))
    }

    /// Returns all nodes of the cube in the order of their ids, and their addresses, according to the connected node.
    /// This takes one request, or four in the largest cube. A program that keeps the addresses can continue when that
    /// node is lost.
    ///
    /// # Errors
    /// Returns the node's error, which is [`Status::UnknownOpcode`] for a node of an earlier version, or an error if
    /// there is no connection.
    ///
    /// [`Status::UnknownOpcode`]: dht_protocol::wire::Status::UnknownOpcode
    pub fn nodes(&mut self) -> Result<Vec<KnownNode>, Error> {
        at_once(nodes(self))
    }

    /// Returns the cluster as all its nodes see it.
    ///
    /// # Errors
    /// Returns an error if there is no connection.
    pub fn cluster(&mut self) -> Result<Cluster, Error> {
        at_once(cluster(self))
    }

    /// Returns all topics of the cluster whose names start with `prefix`.
    ///
    /// # Errors
    /// Returns [`Error::Name`] if no name can start like that, or an error if there is no connection.
    pub fn list(&mut self, prefix: &str) -> Result<Listing, Error> {
        at_once(list(self, prefix, true))
    }

    /// Returns the first page of each node's topics whose names start with `prefix`: up to some hundred names.
    ///
    /// # Errors
    /// Returns [`Error::Name`] if no name can start like that, or an error if there is no connection.
    pub fn list_first(&mut self, prefix: &str) -> Result<Listing, Error> {
        at_once(list(self, prefix, false))
    }
}

pub(crate) async fn ping(client: &mut impl Caller, node: NodeId, token: u64) -> Result<Pong, Error> {
    client.place().await?;
    let start = client.now();
    let response = ask(client, &Request::Ping { node: node.index(), token }, Repeat::Unanswered).await?;
    if matches!(response, Response::Ping { token: echoed, .. } if echoed == token) {
        Ok(Pong { node, micros: micros_between(start, client.now()) })
    } else {
        Err(client.mismatch(Opcode::Ping))
    }
}

pub(crate) async fn stats(client: &mut impl Caller, nodes: &[NodeId]) -> Result<Vec<NodeAnswer<String>>, Error> {
    let answers = ask_each(client, nodes, |node| Request::Stats { node }).await?;
    read_each(client, answers, Opcode::Stats, |response| {
        if let Response::Stats { text, .. } = response { Some(text) } else { None }
    })
}

pub(crate) async fn nodes(client: &mut impl Caller) -> Result<Vec<KnownNode>, Error> {
    let (_, dimension) = client.place().await?;
    let mut known = Vec::with_capacity(usize::from(dimension.nodes()));
    let mut from = 0;
    loop {
        let response = ask(client, &Request::Nodes { node: ANY_NODE, from }, Repeat::Always).await?;
        let Response::Nodes(page) = response else { return Err(client.mismatch(Opcode::Nodes)) };
        for found in page.nodes {
            let node = NodeId::new(found.node, dimension).ok_or_else(|| client.mismatch(Opcode::Nodes))?;
            known.push(KnownNode { node, address: found.address, link: found.link });
        }
        match page.next {
            0 => return Ok(known),
            next if next > from => from = next,
            _ => return Err(client.mismatch(Opcode::Nodes)),
        }
    }
}

pub(crate) async fn cluster(client: &mut impl Caller) -> Result<Cluster, Error> {
    let (_, dimension) = client.place().await?;
    let all: Vec<_> = dimension.all().collect();
    let answers = ask_each(client, &all, |node| Request::Cluster { node }).await?;
    let views = read_each(client, answers, Opcode::Cluster, |response| {
        if let Response::Cluster(view) = response { Some(*view) } else { None }
    })?;
    let mut cluster = assemble(dimension, views);
    if cluster.nodes.iter().any(|member| member.address.is_empty()) {
        // The addresses of nodes that have no live neighbour. An older node does not know this request.
        let known = nodes(client).await.unwrap_or_default();
        for (member, known) in cluster.nodes.iter_mut().zip(known) {
            if member.address.is_empty() {
                member.address = known.address;
            }
        }
    }
    Ok(cluster)
}

/// Lists the topics of each node: all pages, or the first one.
pub(crate) async fn list(client: &mut impl Caller, prefix: &str, all_pages: bool) -> Result<Listing, Error> {
    if !prefix.is_empty() {
        // The prefix of a name is a name. A longer one would not even fit the request.
        TopicName::new(prefix)?;
    }
    let (_, dimension) = client.place().await?;
    let mut cursors: Vec<(NodeId, u64)> = dimension.all().map(|node| (node, 0)).collect();
    let mut listing = Listing::default();
    while !cursors.is_empty() {
        let request = |(node, cursor): &(NodeId, u64)| {
            let list = List { node: node.index(), max: 0, cursor: *cursor, prefix };
            OwnedRequest::new(&Request::List(list), &[])
        };
        let requests = cursors.iter().map(request).collect::<Result<_, _>>()?;
        let outcomes = client.call_all(requests).await;
        for ((node, _), outcome) in std::mem::take(&mut cursors).into_iter().zip(outcomes) {
            match of_one(outcome)? {
                Ok(Response::Listed(page)) => {
                    listing.topics.extend(page.topics.into_iter().map(|topic| (node, topic)));
                    if all_pages && page.cursor != 0 {
                        cursors.push((node, page.cursor));
                    }
                }
                Ok(_) => return Err(client.mismatch(Opcode::List)),
                Err(error) => listing.unanswered.push((node, error)),
            }
        }
    }
    Ok(listing)
}

/// Sends one request to each node.
async fn ask_each(
    client: &mut impl Caller,
    nodes: &[NodeId],
    request: impl Fn(u16) -> Request<'static>,
) -> Result<Vec<NodeAnswer<Response>>, Error> {
    client.place().await?;
    let requests = nodes.iter().map(|node| OwnedRequest::new(&request(node.index()), &[]));
    let outcomes = client.call_all(requests.collect::<Result<_, _>>()?).await;
    let answers =
        nodes.iter().zip(outcomes).map(|(node, outcome)| Ok(NodeAnswer { node: *node, answer: of_one(outcome)? }));
    answers.collect()
}

/// Converts the responses of all nodes.
fn read_each<T>(
    client: &impl Caller,
    answers: Vec<NodeAnswer<Response>>,
    opcode: Opcode,
    read: impl Fn(Response) -> Option<T>,
) -> Result<Vec<NodeAnswer<T>>, Error> {
    let converted = answers.into_iter().map(|NodeAnswer { node, answer }| {
        let answer = match answer {
            Ok(response) => Ok(read(response).ok_or_else(|| client.mismatch(opcode))?),
            Err(error) => Err(error),
        };
        Ok(NodeAnswer { node, answer })
    });
    converted.collect()
}

/// Returns the result of a request to one of several nodes.
///
/// # Errors
/// Returns an error that concerns all nodes, because there is no connection.
fn of_one(outcome: Outcome) -> Result<Result<Response, Error>, Error> {
    match outcome.result {
        Err(error) if error.refusal().is_none() && !matches!(error, Error::TimedOut { .. }) => Err(error),
        result => Ok(result),
    }
}

fn assemble(dimension: Dimension, views: Vec<NodeAnswer<View>>) -> Cluster {
    let mut links = Vec::with_capacity(usize::from(dimension.links()));
    let mut addresses = vec![String::new(); usize::from(dimension.nodes())];
    for view in views.iter().filter_map(|answer| answer.answer.as_ref().ok()) {
        for link in &view.links {
            if let Some(address) = addresses.get_mut(usize::from(link.node))
                && address.is_empty()
            {
                address.clone_from(&link.address);
            }
        }
    }
    let says = |node: NodeId, neighbour: NodeId| {
        let view = views.iter().find(|answer| answer.node == node)?.answer.as_ref().ok()?;
        view.links.iter().find(|link| link.node == neighbour.index()).map(|link| link.up)
    };
    for node in dimension.all() {
        for bit in 0..dimension.bits() {
            let (a, b) = Link::new(node, bit).ends();
            if a == node {
                let (one, other) = (says(a, b), says(b, a));
                links.push(Edge { a, b, up: one.or(other).is_some_and(|up| up) && other.is_none_or(|up| up) });
            }
        }
    }
    let nodes = views.into_iter().map(|NodeAnswer { node, answer }| {
        let known = std::mem::take(&mut addresses[usize::from(node.index())]);
        let address = answer.as_ref().map_or(known, |view| view.address.clone());
        Member { node, address, view: answer }
    });
    Cluster { dimension, nodes: nodes.collect(), links }
}

/// Returns the microseconds from one instant to another.
pub(crate) fn micros_between(start: Instant, end: Instant) -> u64 {
    u64::try_from(end.saturating_duration_since(start).as_micros()).unwrap_or(u64::MAX)
}
