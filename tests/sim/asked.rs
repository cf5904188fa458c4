//! What clients remember of what they asked.

use dht_node::limits::{PAYLOAD_MAX, RESPONSE_CHARGE};
use dht_node::types::{Epoch, Retention, TopicId};
use dht_node::wire::request::Start;
use dht_node::wire::{Opcode, Response};

/// A request as the client remembers it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub what: What,
    /// The node that it was sent to.
    pub ingress: usize,
    pub sent_us: u64,
    /// Most bytes of an answer that this client takes.
    pub frame_max: u32,
}

/// What was asked; a topic is its place among the profile's.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Ping { node: usize, token: u64 },
    Create { topic: usize, retention: Retention },
    Delete { topic: usize, id: Option<TopicId>, attempt: usize },
    List { node: usize, cursor: u64 },
    Info { topic: usize, id: Option<TopicId> },
    Publish { topic: usize, id: Option<TopicId>, batch: usize },
    Fetch { topic: usize, id: Option<TopicId>, epoch: Option<Epoch>, start: Start, bounds: (u32, u32) },
    Query { topic: usize },
    Trace { target: usize, ttl: u16 },
    Cluster { node: usize },
    Stats { node: usize },
}

impl Asked {
    /// The ingress charged the client for the largest answer; one that is larger breaks its budget. One record alone
    /// may be.
    pub(crate) fn check_charge(&self, response: &Response, length: usize) {
        let charged = if let What::Fetch { bounds: (max_bytes, _), .. } = self.what {
            if max_bytes == 0 { PAYLOAD_MAX } else { max_bytes.min(PAYLOAD_MAX) }
        } else {
            0
        };
        let is_single = matches!(response, Response::Fetched(fetched) if fetched.count == 1);
        let most = u64::from(charged + RESPONSE_CHARGE);
        assert!(is_single || length as u64 <= most, "{length} bytes answer {self:?}, which was charged {most}");
    }
}

impl What {
    pub(crate) const fn opcode(&self) -> Opcode {
        match self {
            Self::Ping { .. } => Opcode::Ping,
            Self::Create { .. } => Opcode::Create,
            Self::Delete { .. } => Opcode::Delete,
            Self::List { .. } => Opcode::List,
            Self::Info { .. } => Opcode::Info,
            Self::Publish { .. } => Opcode::Publish,
            Self::Fetch { .. } => Opcode::Fetch,
            Self::Query { .. } => Opcode::Query,
            Self::Trace { .. } => Opcode::Trace,
            Self::Cluster { .. } => Opcode::Cluster,
            Self::Stats { .. } => Opcode::Stats,
        }
    }
}
