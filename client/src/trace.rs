//! The path of a request, found by probes with a TTL of 0, 1, 2 … hops: each is answered by the node where its TTL runs
//! out.

use dht_protocol::cube;
use dht_protocol::types::{Dimension, Link, LinkSet, NodeId, TopicName};
use dht_protocol::wire::request::TraceTarget;
use dht_protocol::wire::{Opcode, Request, Response, Status};

use crate::caller::{Caller, ask, at_once};
use crate::client::Client;
use crate::error::Error;
use crate::nodes::micros_between;
use crate::session::call::Repeat;

/// A path through the cube.
#[derive(Debug)]
pub struct Trace {
    /// The ingress: the first node of the path.
    pub ingress: NodeId,
    /// The target.
    pub target: NodeId,
    /// The upper bound on the number of hops, given the dead links that the path met.
    pub bound: u16,
    /// The nodes that answered, in the order of the path.
    pub hops: Vec<Hop>,
    /// Why the path ends before its target, if it does.
    pub failure: Option<Error>,
}

/// A node on the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The node's id.
    pub node: NodeId,
    /// The round-trip time of the probe as the client measured it.
    pub micros: u64,
    /// True if the node is not on the fault-free path.
    pub detour: bool,
    /// The dead links that the probe had met when it arrived here.
    pub down: Vec<(NodeId, NodeId)>,
}

impl Client {
    /// Returns the path to a node or to the home of a name, whether or not there is such a topic.
    ///
    /// # Errors
    /// Returns an error if there is no connection, or if the name is not valid. A path that ends early is not an error;
    /// it states the reason itself.
    pub fn trace(&mut self, target: TraceTarget<'_>) -> Result<Trace, Error> {
        at_once(trace(self, target))
    }

    /// Returns the path to the home of a name.
    ///
    /// # Errors
    /// As [`Self::trace`].
    pub fn trace_topic(&mut self, topic: &str) -> Result<Trace, Error> {
        self.trace(TraceTarget::Topic(TopicName::new(topic)?))
    }
}

pub(crate) async fn trace(client: &mut impl Caller, target: TraceTarget<'_>) -> Result<Trace, Error> {
    let (ingress, dimension) = client.place().await?;
    let target_node = match target {
        TraceTarget::Topic(name) => cube::home(name, dimension),
        TraceTarget::Node(node) => NodeId::new(node, dimension).unwrap_or(ingress),
    };
    let mut trace = Trace { ingress, target: target_node, bound: 0, hops: Vec::new(), failure: None };
    let mut met = LinkSet::new();
    for ttl in 0..=cube::hops_limit(dimension) {
        let start = client.now();
        let answer = ask(client, &Request::Trace { ttl, target }, Repeat::Unanswered).await;
        let micros = micros_between(start, client.now());
        let (node, down, has_arrived) = match &answer {
            Ok(Response::Traced(probe)) => (probe.node, probe.down.as_slice(), true),
            Ok(_) => return Err(client.mismatch(Opcode::Trace)),
            Err(error) => match (error.status(), error.refusal()) {
                (Some(Status::TtlExpired), Some(refusal)) if refusal.node().is_some() => {
                    (refusal.node().unwrap_or_default(), refusal.down(), false)
                }
                (_, refusal) => {
                    note(&mut met, refusal.map_or(&[], |refusal| refusal.down()), dimension);
                    trace.failure = answer.err();
                    break;
                }
            },
        };
        let Some(node) = NodeId::new(node, dimension) else { return Err(client.mismatch(Opcode::Trace)) };
        let down = note(&mut met, down, dimension);
        let detour = trace.hops.last().is_some_and(|last| is_detour(last.node, node, target_node));
        trace.hops.push(Hop { node, micros, detour, down });
        if has_arrived {
            break;
        }
    }
    trace.bound = cube::hop_bound(ingress, target_node, dimension, &met);
    Ok(trace)
}

/// Returns true if the hop is not on the fault-free path, which corrects the highest bit in which a node differs from
/// the target.
fn is_detour(from: NodeId, to: NodeId, target: NodeId) -> bool {
    match (from.index() ^ target.index()).checked_ilog2() {
        Some(bit) => from.index() ^ to.index() != 1 << bit,
        None => true,
    }
}

/// Adds dead links to the set of those met so far, and returns the added ones. Pairs that are not links of the cube are
/// left out.
fn note(met: &mut LinkSet, down: &[(u16, u16)], dimension: Dimension) -> Vec<(NodeId, NodeId)> {
    let mut links = Vec::new();
    for (a, b) in down {
        let ends = NodeId::new(*a, dimension).zip(NodeId::new(*b, dimension));
        if let Some((a, b)) = ends
            && let Some(bit) = a.edge_to(b)
        {
            met.insert(Link::new(a, bit));
            links.push((a, b));
        }
    }
    links
}
