//! What an ingress knows about the leaders of the topics that are followed here.

use crate::wire::Status;

/// What is known about the node that leads a slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Leader {
    /// True while this node is the leader.
    pub is_here: bool,
    /// Number of topics of the slot that are followed here.
    pub topics: u32,
    /// Number of those for which the leader has confirmed a report.
    pub feeds: u32,
    /// Exclusive or of the ids of the topics for which it has confirmed that it pushes.
    pub digest: u64,
    /// The leader's instance and term, and the counter of its last HEADS. Counting starts with the answer to a FEED;
    /// while this is `None`, no HEADS counts as missed.
    pub last: Option<((u64, u64), u64)>,
    /// Monotonic time in microseconds of the last HEADS, or at which following began.
    pub heard_us: u64,
    /// Number of consecutive HEADS with a digest that differs from ours.
    pub mismatches: u32,
    /// Monotonic time in microseconds of the last frame that the leader sent, or at which following began.
    pub alive_us: u64,
    /// Monotonic time in microseconds at which a request first found no path to the leader since then.
    pub unreachable_us: Option<u64>,
    /// Monotonic time in microseconds from which a silent leader may be probed again.
    pub probe_at_us: u64,
    /// The outage, once it has lasted long enough for the subscribers to be notified.
    pub outage: Option<Outage>,
    /// The request id of the last FEED to the leader.
    pub feed_version: u64,
    /// Number of fetches in flight to the leader.
    pub pulls: usize,
}

/// Why a leader cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outage {
    /// This node or a node along the path knows no path to the leader.
    NoPath,
    /// There may be a path, but the leader does not answer.
    NoAnswer,
}

impl Outage {
    /// Returns the reason code that WAITING carries.
    pub(super) const fn reason(self) -> Status {
        match self {
            Self::NoPath => Status::Unreachable,
            Self::NoAnswer => Status::OutcomeUnknown,
        }
    }
}
