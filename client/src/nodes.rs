//! Requests to single nodes, and to all of them.
//!
//! No node answers for the whole cluster: the client asks each one, in one pipeline, and lists those that did not
//! answer.

use std::collections::VecDeque;
use std::time::Instant;

use dht_protocol::types::{Dimension, Link, NodeId, RequestId};
use dht_protocol::wire::request::{ANY_NODE, List};
use dht_protocol::wire::response::{LinkState, Listed, Response, View};
use dht_protocol::wire::{Opcode, Request};

use crate::client::Client;
use crate::clock::{now, random};
use crate::error::Error;
use crate::session::call::Repeat;

/// Maximum number of requests in flight.
const PIPELINE: usize = 64;

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
    /// Returns true if all nodes answer and all links are up.
    pub fn is_whole(&self) -> bool {
        self.nodes.iter().all(|member| member.view.is_ok()) && self.links.iter().all(|edge| edge.up)
    }
}

impl Client {
    /// Sends PING to a node and measures the round-trip time. It is not retried if the node is unreachable.
    ///
    /// # Errors
    /// Returns the node's error, or that of the client if there was no response.
    pub fn ping(&mut self, node: NodeId) -> Result<Pong, Error> {
        let token = random();
        self.ingress()?;
        let start = now();
        let request = Request::Ping { node: node.index(), token };
        let response = self.call(&request, &[], Repeat::Never)?;
        if matches!(response, Response::Ping { token: echoed, .. } if echoed == token) {
            Ok(Pong { node, micros: micros_since(start) })
        } else {
            Err(self.mismatch(Opcode::Ping))
        }
    }

    /// Returns the counters of nodes as lines of `name value`.
    ///
    /// # Errors
    /// Returns an error if there is no connection. The error of a single node is in that node's place.
    pub fn stats(&mut self, nodes: &[NodeId]) -> Result<Vec<NodeAnswer<String>>, Error> {
        self.ask(
            nodes,
            |node| Request::Stats { node },
            |response| if let Response::Stats { text, .. } = response { Some(text) } else { None },
        )
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
        let dimension = self.dimension()?;
        let mut known = Vec::with_capacity(usize::from(dimension.nodes()));
        let mut from = 0;
        loop {
            let Response::Nodes(page) = self.call(&Request::Nodes { node: ANY_NODE, from }, &[], Repeat::Always)?
            else {
                return Err(self.mismatch(Opcode::Nodes));
            };
            for found in page.nodes {
                let node = NodeId::new(found.node, dimension).ok_or_else(|| self.mismatch(Opcode::Nodes))?;
                known.push(KnownNode { node, address: found.address, link: found.link });
            }
            match page.next {
                0 => return Ok(known),
                next if next > from => from = next,
                _ => return Err(self.mismatch(Opcode::Nodes)),
            }
        }
    }

    /// Returns the cluster as all its nodes see it.
    ///
    /// # Errors
    /// Returns an error if there is no connection.
    pub fn cluster(&mut self) -> Result<Cluster, Error> {
        let dimension = self.dimension()?;
        let nodes: Vec<_> = dimension.all().collect();
        let views = self.ask(
            &nodes,
            |node| Request::Cluster { node },
            |response| if let Response::Cluster(view) = response { Some(*view) } else { None },
        )?;
        let mut cluster = assemble(dimension, views);
        if cluster.nodes.iter().any(|member| member.address.is_empty()) {
            // The addresses of nodes that have no live neighbour. An older node does not know this request.
            let known = self.nodes().unwrap_or_default();
            for (member, known) in cluster.nodes.iter_mut().zip(known) {
                if member.address.is_empty() {
                    member.address = known.address;
                }
            }
        }
        Ok(cluster)
    }

    /// Returns all topics of the cluster whose names start with `prefix`.
    ///
    /// # Errors
    /// Returns an error if there is no connection.
    pub fn list(&mut self, prefix: &str) -> Result<Listing, Error> {
        self.list_pages(prefix, true)
    }

    /// Returns the first page of each node's topics whose names start with `prefix`: up to some hundred names.
    ///
    /// # Errors
    /// Returns an error if there is no connection.
    pub fn list_first(&mut self, prefix: &str) -> Result<Listing, Error> {
        self.list_pages(prefix, false)
    }

    fn list_pages(&mut self, prefix: &str, all_pages: bool) -> Result<Listing, Error> {
        let nodes: Vec<_> = self.dimension()?.all().collect();
        let mut listing = Listing::default();
        let topics = &mut listing.topics;
        let failed = self.ask_all(
            &nodes,
            |node, cursor| Request::List(List { node, max: 0, cursor, prefix }),
            |node, response| {
                let Response::Listed(page) = response else { return None };
                topics.extend(page.topics.into_iter().map(|topic| (node, topic)));
                Some((all_pages && page.cursor != 0).then_some(page.cursor))
            },
        )?;
        listing.unanswered = failed;
        Ok(listing)
    }

    /// Sends one request to each node.
    fn ask<T>(
        &mut self,
        nodes: &[NodeId],
        request: impl Fn(u16) -> Request<'static>,
        read: impl Fn(Response) -> Option<T>,
    ) -> Result<Vec<NodeAnswer<T>>, Error> {
        let mut answers = Vec::with_capacity(nodes.len());
        let failed = self.ask_all(
            nodes,
            |node, _| request(node),
            |node, response| {
                answers.push(NodeAnswer { node, answer: Ok(read(response)?) });
                Some(None)
            },
        )?;
        answers.extend(failed.into_iter().map(|(node, error)| NodeAnswer { node, answer: Err(error) }));
        answers.sort_by_key(|answer| answer.node);
        Ok(answers)
    }

    /// Sends requests to nodes, each of which may continue from a cursor, which is 0 at first. `take` returns `None`
    /// for a response of the wrong kind, else the cursor to continue from, if any. Returns the nodes that failed.
    fn ask_all<'r>(
        &mut self,
        nodes: &[NodeId],
        request: impl Fn(u16, u64) -> Request<'r>,
        mut take: impl FnMut(NodeId, Response) -> Option<Option<u64>>,
    ) -> Result<Vec<(NodeId, Error)>, Error> {
        let mut waiting: VecDeque<(NodeId, u64)> = nodes.iter().map(|node| (*node, 0)).collect();
        let mut asked: Vec<(RequestId, NodeId, u64)> = Vec::new();
        let mut failed = Vec::new();
        let mut lost = 0;
        let mut deadline = self.deadline();
        while !(waiting.is_empty() && asked.is_empty()) {
            let timeout = self.timeout();
            let received = match self.received() {
                Ok(None) => {
                    let channel = self.open(deadline)?;
                    while asked.len() < PIPELINE
                        && let Some((node, cursor)) = waiting.pop_front()
                    {
                        asked.push((channel.send(&request(node.index(), cursor), &[], now())?, node, cursor));
                    }
                    self.receive_watched(deadline, timeout)
                }
                // A failed connection is replaced only after its responses and its error have been handled.
                received => received,
            };
            match received {
                Ok(Some(answer)) => {
                    let Some(index) = asked.iter().position(|(id, ..)| *id == answer.id) else { continue };
                    let (_, node, _) = asked.swap_remove(index);
                    deadline = self.deadline();
                    match self.accept(answer.response) {
                        Ok(response) => match take(node, response) {
                            Some(Some(cursor)) => waiting.push_back((node, cursor)),
                            Some(None) => {}
                            None => return Err(self.mismatch(request(node.index(), 0).opcode())),
                        },
                        Err(error) => failed.push((node, error)),
                    }
                }
                Ok(None) => {
                    let server = self.last_server().to_owned();
                    let late = asked.drain(..).map(|(id, node, _)| {
                        self.abandon(id);
                        node
                    });
                    let unasked = waiting.drain(..).map(|(node, _)| node);
                    let timed_out = |node| (node, Error::TimedOut { server: server.clone(), waited: timeout });
                    failed.extend(late.chain(unasked).map(timed_out));
                }
                Err(error) => {
                    lost += 1;
                    if lost > LOSSES_MAX || !error.is_retryable() {
                        return Err(error);
                    }
                    self.close();
                    waiting.extend(asked.drain(..).map(|(_, node, cursor)| (node, cursor)));
                }
            }
        }
        Ok(failed)
    }
}

/// Maximum number of lost connections during a request to all nodes; after one more it fails.
const LOSSES_MAX: u32 = 3;

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

/// Returns the microseconds from an instant to now.
pub(crate) fn micros_since(start: Instant) -> u64 {
    u64::try_from(now().duration_since(start).as_micros()).unwrap_or(u64::MAX)
}
