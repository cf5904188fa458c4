//! The JSON of answers, with the names that `dht-cli --json` uses.

use dht_client::{Cluster, CopyView, Description, Dimension, Listed, NodeId, Published, Retention, Trace};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Returns a node's id in binary digits.
pub(crate) fn node_name(node: u16, dimension: Dimension) -> String {
    NodeId::new(node, dimension).map_or_else(|| format!("?{node}"), |node| node.binary(dimension))
}

/// What a topic keeps. A bound that is absent or 0 is the default of the topic's node; in an answer, 0 is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default, expecting = r#"an object such as {"records":100}"#)]
pub(crate) struct Bounds {
    /// Number of records.
    pub(crate) records: Option<u64>,
    /// Bytes of records.
    pub(crate) bytes: Option<u64>,
    /// Age of records in milliseconds.
    pub(crate) age_ms: Option<u64>,
}

impl Bounds {
    /// Returns the bounds as a new topic gets them.
    pub(crate) fn retention(self) -> Retention {
        Retention {
            records: self.records.unwrap_or(0),
            bytes: self.bytes.unwrap_or(0),
            age_ms: self.age_ms.unwrap_or(0),
        }
    }

    fn of(retention: &Retention) -> Self {
        let Retention { records, bytes, age_ms } = *retention;
        Self { records: Some(records), bytes: Some(bytes), age_ms: Some(age_ms) }
    }
}

/// A topic. For a name without a topic, only `home`, `exists` and `path` are there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopicView {
    topic: String,
    /// The node that stores the topic of that name.
    #[schema(example = "110")]
    home: String,
    exists: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "00c4f2a19b7e3d05")]
    topic_id: Option<String>,
    /// The epoch of the log: it rises when records at the end may have been lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u32>,
    /// The log start offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_offset: Option<u64>,
    /// The log end offset: that of the next record.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscribers: Option<u32>,
    /// The number of records between the slowest subscriber and the log end.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "synced")]
    durability: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention: Option<Bounds>,
    /// The nodes that the request passed through.
    path: Vec<String>,
    /// The node that executes the requests for the topic, if several nodes keep it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "110")]
    leader: Option<String>,
    /// The term in which that node leads: a later leader has a higher term.
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<u64>,
    /// The nodes that keep the topic, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    copies: Option<Vec<TopicCopy>>,
}

/// A node that keeps a topic.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopicCopy {
    node: String,
    /// True if the node is the leader, or the leader has heard from it within the last 0.7 s.
    answers: bool,
    /// Number of bodies in the leader's log that the node has not acknowledged yet.
    behind: u64,
}

impl TopicView {
    pub(crate) fn new(topic: &str, description: &Description, dimension: Dimension) -> Self {
        let state = description.topic.as_ref();
        Self {
            topic: topic.to_owned(),
            home: node_name(description.home, dimension),
            exists: state.is_some(),
            topic_id: state.map(|state| format!("{:016x}", state.id.number())),
            epoch: state.map(|state| state.epoch.0),
            first_offset: state.map(|state| state.first.0),
            next_offset: state.map(|state| state.next.0),
            bytes: state.map(|state| state.bytes),
            subscribers: state.map(|state| state.subscribers),
            lag: state.map(|state| state.lag),
            created_us: state.map(|state| state.created_us),
            durability: state.map(|state| state.durability.name()),
            retention: state.map(|state| Bounds::of(&state.retention)),
            path: description.path.iter().map(|node| node_name(*node, dimension)).collect(),
            leader: description.copies.as_ref().map(|copies| node_name(copies.leader, dimension)),
            term: description.copies.as_ref().map(|copies| copies.term),
            copies: description.copies.as_ref().map(|copies| {
                let copy = |copy: &CopyView| TopicCopy {
                    node: node_name(copy.node, dimension),
                    answers: copy.answers,
                    behind: copy.behind,
                };
                copies.members.iter().map(copy).collect()
            }),
        }
    }
}

/// A topic in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListedView {
    topic: String,
    home: String,
    topic_id: String,
    first_offset: u64,
    next_offset: u64,
    bytes: u64,
}

impl ListedView {
    pub(crate) fn new(node: NodeId, topic: &Listed, dimension: Dimension) -> Self {
        Self {
            topic: topic.name.clone(),
            home: node.binary(dimension),
            topic_id: format!("{:016x}", topic.id.number()),
            first_offset: topic.first.0,
            next_offset: topic.next.0,
            bytes: topic.bytes,
        }
    }
}

/// Topics by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopicsView {
    pub(crate) topics: Vec<ListedView>,
    /// True if these are all.
    pub(crate) complete: bool,
    /// The nodes whose topics are missing.
    pub(crate) unanswered: Vec<String>,
}

/// An acknowledgement.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PublishedView {
    topic: String,
    topic_id: String,
    epoch: u32,
    /// The offset of the first record; absent if they were stored before and the topic remembers no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    /// The number of records.
    count: u32,
    append_us: u64,
    #[schema(example = "synced")]
    durability: &'static str,
    /// True if the records were stored before, by a request with the same Idempotency-Key.
    duplicate: bool,
}

impl PublishedView {
    pub(crate) fn new(topic: &str, published: &Published) -> Self {
        Self {
            topic: topic.to_owned(),
            topic_id: format!("{:016x}", published.topic_id.number()),
            epoch: published.epoch.0,
            offset: (published.base.0 != u64::MAX).then_some(published.base.0),
            count: published.count,
            append_us: published.append_us,
            durability: published.durability.name(),
            duplicate: published.duplicate,
        }
    }
}

/// The path of a request through the cube.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TraceView {
    topic: String,
    source: String,
    target: String,
    /// The largest number of hops that the path can have.
    bound: u16,
    reached: bool,
    hops: Vec<HopView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HopView {
    node: String,
    micros: u64,
    /// True if the node is not on the fault-free path.
    detour: bool,
    /// The dead links met so far.
    down: Vec<[String; 2]>,
}

impl TraceView {
    pub(crate) fn new(topic: &str, trace: &Trace, dimension: Dimension) -> Self {
        let hops = trace.hops.iter().map(|hop| HopView {
            node: hop.node.binary(dimension),
            micros: hop.micros,
            detour: hop.detour,
            down: hop.down.iter().map(|(a, b)| [a.binary(dimension), b.binary(dimension)]).collect(),
        });
        Self {
            topic: topic.to_owned(),
            source: trace.ingress.binary(dimension),
            target: trace.target.binary(dimension),
            bound: trace.bound,
            reached: trace.failure.is_none(),
            hops: hops.collect(),
            reason: trace.failure.as_ref().map(ToString::to_string),
        }
    }
}

/// The cube as all its nodes see it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClusterView {
    dimension: u8,
    nodes: Vec<MemberView>,
    links: Vec<LinkView>,
    /// True if all nodes and links are up and, where several nodes keep each topic, each group of topics has a leader.
    whole: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemberView {
    id: String,
    address: String,
    up: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    software: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LinkView {
    a: String,
    b: String,
    up: bool,
}

impl ClusterView {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let dimension = cluster.dimension;
        let nodes = cluster.nodes.iter().map(|member| MemberView {
            id: member.node.binary(dimension),
            address: member.address.clone(),
            up: member.view.is_ok(),
            uptime_ms: member.view.as_ref().ok().map(|view| view.uptime_ms),
            software: member.view.as_ref().ok().map(|view| view.software.clone()),
            reason: member.view.as_ref().err().map(ToString::to_string),
        });
        let links = cluster.links.iter().map(|link| LinkView {
            a: link.a.binary(dimension),
            b: link.b.binary(dimension),
            up: link.up,
        });
        Self { dimension: dimension.bits(), nodes: nodes.collect(), links: links.collect(), whole: cluster.is_whole() }
    }
}
