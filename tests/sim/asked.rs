//! The requests that clients remember until they are answered.

use dht_node::limits::{FETCH_RESERVE_LEAST, LIST_BYTES_MAX, PAYLOAD_MAX, RESPONSE_CHARGE, RESPONSE_CHARGE_SHORT};
use dht_node::types::{Epoch, Offset, Retention, TopicId};
use dht_node::wire::request::{Fetch, Start, Topic};
use dht_node::wire::{Opcode, Response};

/// A request as its client remembers it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub what: What,
    pub request_id: u64,
    /// The node that it was sent to.
    pub ingress: usize,
    pub sent_us: u64,
    /// Largest frame that this client accepts, in bytes.
    pub frame_max: u32,
    /// True if the client reads immediately.
    pub is_reading: bool,
}

/// The limits of a FETCH; 0 means none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    pub bytes: u32,
    pub records: u32,
    pub wait_ms: u32,
}

impl Bounds {
    /// Returns a FETCH with these limits.
    pub(crate) const fn fetch(self, topic: Topic<'_>, epoch: Option<Epoch>, start: Start) -> Fetch<'_> {
        let Self { bytes: max_bytes, records: max_records, wait_ms: max_wait_ms } = self;
        Fetch { topic, epoch, start, max_bytes, max_records, max_wait_ms }
    }
}

/// The request; a topic is an index into the profile's topics.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Ping {
        node: usize,
        token: u64,
    },
    Create {
        topic: usize,
        retention: Retention,
    },
    Delete {
        topic: usize,
        id: Option<TopicId>,
        attempt: usize,
    },
    Alter {
        topic: usize,
        id: TopicId,
    },
    Trim {
        topic: usize,
        id: TopicId,
        to: Offset,
    },
    Producer {
        topic: usize,
        id: TopicId,
    },
    List {
        node: usize,
        cursor: u64,
    },
    Info {
        topic: usize,
        id: Option<TopicId>,
    },
    Publish {
        topic: usize,
        id: Option<TopicId>,
        batch: usize,
    },
    Fetch {
        topic: usize,
        id: Option<TopicId>,
        epoch: Option<Epoch>,
        start: Start,
        bounds: Bounds,
    },
    /// `again` is true if its request id is already in use.
    Subscribe {
        topic: usize,
        id: Option<TopicId>,
        epoch: Option<Epoch>,
        start: Start,
        again: bool,
    },
    Unsubscribe {
        subscription: u64,
    },
    /// An operation that no client may send, or not in this form.
    Misuse {
        opcode: Opcode,
    },
    Query {
        topic: usize,
    },
    /// A probe to the node `target`, or, if `topic` is set, to the leader of that topic, which is `target`.
    Trace {
        target: usize,
        topic: Option<usize>,
        ttl: u16,
    },
    Cluster {
        node: usize,
    },
    Stats {
        node: usize,
    },
    Nodes {
        node: usize,
        from: u16,
    },
}

impl Asked {
    /// Checks that a response is within the budget that the ingress has reserved for it. Only a response with a single
    /// record may exceed it.
    pub(crate) fn check_charge(&self, response: &Response, length: usize) {
        let charged = if let What::Fetch { bounds, .. } = self.what {
            if bounds.bytes == 0 { PAYLOAD_MAX } else { bounds.bytes.clamp(FETCH_RESERVE_LEAST, PAYLOAD_MAX) }
        } else if let What::List { .. } = self.what {
            LIST_BYTES_MAX
        } else {
            0
        };
        let is_single = matches!(response, Response::Fetched(fetched) if fetched.count == 1);
        let rest = if has_short_answer(self.what.opcode()) { RESPONSE_CHARGE_SHORT } else { RESPONSE_CHARGE };
        let most = u64::from(charged + rest);
        assert!(
            is_single || length as u64 <= most,
            "a response of {length} bytes to {self:?}, for which {most} were reserved"
        );
    }
}

impl What {
    /// Returns true if it changes a topic that it names by id.
    pub(crate) const fn is_change(&self) -> bool {
        matches!(self, Self::Alter { .. } | Self::Trim { .. } | Self::Producer { .. })
    }

    pub(crate) const fn opcode(&self) -> Opcode {
        match self {
            Self::Ping { .. } => Opcode::Ping,
            Self::Create { .. } => Opcode::Create,
            Self::Delete { .. } => Opcode::Delete,
            Self::Alter { .. } => Opcode::Alter,
            Self::Trim { .. } => Opcode::Trim,
            Self::Producer { .. } => Opcode::Producer,
            Self::List { .. } => Opcode::List,
            Self::Info { .. } => Opcode::Info,
            Self::Publish { .. } => Opcode::Publish,
            Self::Fetch { .. } => Opcode::Fetch,
            Self::Subscribe { .. } => Opcode::Subscribe,
            Self::Unsubscribe { .. } => Opcode::Unsubscribe,
            Self::Misuse { opcode } => *opcode,
            Self::Query { .. } => Opcode::Query,
            Self::Trace { .. } => Opcode::Trace,
            Self::Cluster { .. } => Opcode::Cluster,
            Self::Stats { .. } => Opcode::Stats,
            Self::Nodes { .. } => Opcode::Nodes,
        }
    }
}

/// Returns true if the answer to such a request has only a few numbers.
const fn has_short_answer(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::Ping
            | Opcode::Create
            | Opcode::Delete
            | Opcode::Alter
            | Opcode::Trim
            | Opcode::Producer
            | Opcode::Publish
            | Opcode::Subscribe
            | Opcode::Unsubscribe
    )
}
