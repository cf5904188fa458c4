//! Questions to single nodes, and to all of them.
//!
//! No node answers for the cluster: the client asks each, in one pipeline, and notes those that did not answer.

use std::collections::VecDeque;
use std::time::Instant;

use super::clock::{now, random};
use super::error::Error;
use super::session::{Client, Repeat};
use crate::types::{Dimension, Link, NodeId, RequestId};
use crate::wire::request::{ANY_NODE, List};
use crate::wire::response::{LinkState, Listed, Response, View};
use crate::wire::{Opcode, Request};

/// Questions in flight at once.
const PIPELINE: usize = 64;

/// What a node answered, or why there is no answer.
#[derive(Debug)]
pub struct NodeAnswer<T> {
    /// The node that was asked.
    pub node: NodeId,
    /// Its answer.
    pub answer: Result<T, Error>,
}

/// An answer to PING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// Who answered.
    pub node: NodeId,
    /// How long that took, as the client measured it.
    pub micros: u64,
}

/// The topics of the whole cluster.
#[derive(Debug, Default)]
pub struct Listing {
    /// Each with the node that keeps it, in no order.
    pub topics: Vec<(NodeId, Listed)>,
    /// The nodes whose topics are missing, and why.
    pub unanswered: Vec<(NodeId, Error)>,
}

/// The cluster as its nodes see it.
#[derive(Debug)]
pub struct Cluster {
    /// Its dimension.
    pub dimension: Dimension,
    /// All nodes in the order of their ids.
    pub nodes: Vec<Member>,
    /// All links in the order of their lower and higher ends.
    pub links: Vec<Edge>,
}

/// A node as others see it, and itself.
#[derive(Debug)]
pub struct Member {
    /// Its id.
    pub node: NodeId,
    /// Where it listens, by its own words or those of another node; empty when nobody knows.
    pub address: String,
    /// What it says of itself; or why there is no answer.
    pub view: Result<View, Error>,
}

/// A node and where clients reach it, as another one's configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownNode {
    /// Its id.
    pub node: NodeId,
    /// Where it listens, as `host:port`; empty when that is not known.
    pub address: String,
    /// Its link to the node that was asked.
    pub link: LinkState,
}

/// A link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The lower end.
    pub a: NodeId,
    /// The higher end.
    pub b: NodeId,
    /// Is it up, as both ends see it, or the one that answered?
    pub up: bool,
}

impl Cluster {
    /// Do all nodes answer, and are all links up?
    pub fn is_whole(&self) -> bool {
        self.nodes.iter().all(|member| member.view.is_ok()) && self.links.iter().all(|edge| edge.up)
    }
}

impl Client {
    /// Asks a node for a sign of life and measures how long it takes. Not repeated when it is not reachable.
    ///
    /// # Errors
    /// The node's, or none came.
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

    /// The counters of nodes: lines of `name value`.
    ///
    /// # Errors
    /// No connection. What a single node failed with stands in its place.
    pub fn stats(&mut self, nodes: &[NodeId]) -> Result<Vec<NodeAnswer<String>>, Error> {
        self.ask(
            nodes,
            |node| Request::Stats { node },
            |response| if let Response::Stats { text, .. } = response { Some(text) } else { None },
        )
    }

    /// All nodes of the cube in the order of their ids, and where they listen, as the node at the other end knows them:
    /// one request, four in the largest cube. Whoever keeps the addresses can go on when that node is lost.
    ///
    /// # Errors
    /// The node's, [`Status::UnknownOpcode`](crate::wire::Status::UnknownOpcode) from one of an earlier version; or no
    /// connection.
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

    /// The cluster as all its nodes see it.
    ///
    /// # Errors
    /// No connection.
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
            // Nodes that nobody up is a neighbour of. An older node does not know the question.
            let known = self.nodes().unwrap_or_default();
            for (member, known) in cluster.nodes.iter_mut().zip(known) {
                if member.address.is_empty() {
                    member.address = known.address;
                }
            }
        }
        Ok(cluster)
    }

    /// All topics of the cluster whose names start so.
    ///
    /// # Errors
    /// No connection.
    pub fn list(&mut self, prefix: &str) -> Result<Listing, Error> {
        self.list_pages(prefix, true)
    }

    /// The first page of each node's topics whose names start so: up to some hundred names.
    ///
    /// # Errors
    /// No connection.
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

    /// Asks each node one question.
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

    /// Asks nodes questions that may go on from a cursor, 0 at first. `take` gives `None` for an answer of another
    /// kind, else the cursor to go on from, if any. Returns the nodes that failed.
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
            let connection = self.open(deadline)?;
            while asked.len() < PIPELINE
                && let Some((node, cursor)) = waiting.pop_front()
            {
                asked.push((connection.send(&request(node.index(), cursor), &[])?, node, cursor));
            }
            match connection.receive_watched(deadline) {
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
                    let server = connection.server().to_owned();
                    let late = asked.drain(..).map(|(id, node, _)| {
                        connection.abandon(id);
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

/// Connections that are lost before a question to all nodes is given up.
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

/// Microseconds from an instant to now.
pub(super) fn micros_since(start: Instant) -> u64 {
    u64::try_from(now().duration_since(start).as_micros()).unwrap_or(u64::MAX)
}
