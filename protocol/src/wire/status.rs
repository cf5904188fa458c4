//! The status byte. Its high bits are a class, which tells a client how to treat a status that it does not know.

/// The meaning of a class of statuses for the requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The request was executed.
    Success,
    /// The request was not executed; the same request will fail again.
    Refused,
    /// The request was not executed; it may succeed after `retry_after_ms`.
    Transient,
    /// The outcome is unknown: only an idempotent request may be repeated.
    Unknown,
    /// The request was not executed; it may be repeated after asking for the home again.
    Stale,
    /// A fault of the server: the outcome is unknown, and the request must not be repeated blindly.
    Server,
    /// The connection is closed.
    Fatal,
}

impl Class {
    /// Returns the class of any status byte, known or not.
    pub const fn of(number: u8) -> Self {
        match number {
            0x00..=0x3F => Self::Success,
            0x40..=0x7F => Self::Refused,
            0x80..=0x9F => Self::Transient,
            0xA0..=0xBF => Self::Unknown,
            0xC0..=0xCF => Self::Stale,
            0xD0..=0xDF => Self::Server,
            0xE0..=0xFF => Self::Fatal,
        }
    }

    /// Returns true if the same request may be sent again without further precautions.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Transient | Self::Stale)
    }
}

macro_rules! statuses {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $wire:literal;)+) => {
        /// The outcome of a request, or the reason why a connection was closed. A number is never reused for another
        /// status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Status { $($(#[doc = $doc])+ $name = $number,)+ }

        impl Status {
            /// All statuses in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Returns the status, or `None` for a number that this version does not know; its class is still valid.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)+ _ => None }
            }

            /// Returns the name in protocol.md.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $wire,)+ }
            }
        }
    };
}

statuses! {
    /// The request was executed.
    Ok = 0x00, "OK";
    /// The batch is a duplicate; the response is that of the original.
    OkDuplicate = 0x01, "OK_DUPLICATE";
    /// The topic already existed, with the same configuration.
    OkExists = 0x02, "OK_EXISTS";
    /// The request makes no sense here.
    BadRequest = 0x40, "BAD_REQUEST";
    /// The args cannot be decoded.
    MalformedArgs = 0x41, "MALFORMED_ARGS";
    /// The payload is not a sequence of `count` records.
    MalformedRecords = 0x42, "MALFORMED_RECORDS";
    /// This version has no such operation.
    UnknownOpcode = 0x43, "UNKNOWN_OPCODE";
    /// A critical flag, TLV or feature is unknown to this version.
    Unsupported = 0x44, "UNSUPPORTED";
    /// There is no topic of that name.
    UnknownTopic = 0x45, "UNKNOWN_TOPIC";
    /// The topic exists with another configuration.
    TopicExists = 0x46, "TOPIC_EXISTS";
    /// The name is not a topic name.
    InvalidName = 0x47, "INVALID_NAME";
    /// A limit is exceeded; the details have the limit.
    TooLarge = 0x48, "TOO_LARGE";
    /// The offset is beyond the log end offset.
    OffsetOutOfRange = 0x49, "OFFSET_OUT_OF_RANGE";
    /// A sequence was skipped; the details have the expected one.
    SequenceGap = 0x4A, "SEQUENCE_GAP";
    /// The sequence was used for another batch.
    SequenceReused = 0x4B, "SEQUENCE_REUSED";
    /// A newer epoch of this producer has published.
    ProducerFenced = 0x4C, "PRODUCER_FENCED";
    /// The cube has no node of that id.
    UnknownNode = 0x4D, "UNKNOWN_NODE";
    /// A configured limit leaves no room; clients do not retry by themselves.
    Quota = 0x4E, "QUOTA";
    /// The topic was deleted and re-created: its offsets start anew.
    Recreated = 0x4F, "RECREATED";
    /// The topic lost records at its end: offsets from there on are new records.
    Truncated = 0x50, "TRUNCATED";
    /// The connection has no subscription of that request id.
    UnknownSubscription = 0x51, "UNKNOWN_SUBSCRIPTION";
    /// The producer cannot be opened as requested: it was opened or has published before, or its epochs are used up.
    ProducerExists = 0x56, "PRODUCER_EXISTS";
    /// The send queue towards the target is full.
    Overloaded = 0x80, "OVERLOADED";
    /// There is no path to the target that avoids the dead links that the frame met.
    Unreachable = 0x81, "UNREACHABLE";
    /// The TTL of the frame ran out.
    TtlExpired = 0x82, "TTL_EXPIRED";
    /// The node that would execute the request is shutting down.
    ShuttingDown = 0x83, "SHUTTING_DOWN";
    /// Args or payload were corrupted in transit.
    CorruptFrame = 0x84, "CORRUPT_FRAME";
    /// Too few of the nodes that keep the topic can be reached.
    NoQuorum = 0x85, "NO_QUORUM";
    /// No response arrived in time, or the path to it was lost.
    OutcomeUnknown = 0xA0, "OUTCOME_UNKNOWN";
    /// The topic does not remember this producer any more.
    UnknownProducer = 0xA1, "UNKNOWN_PRODUCER";
    /// The node is not the leader of the group.
    NotLeader = 0xC0, "NOT_LEADER";
    /// The server has a fault.
    Internal = 0xD0, "INTERNAL";
    /// The server's storage has failed.
    Storage = 0xD1, "STORAGE";
    /// The peer violated the protocol.
    ProtocolError = 0xE0, "PROTOCOL_ERROR";
    /// A header is corrupt.
    BadHeader = 0xE1, "BAD_HEADER";
    /// A length is too small for the frame's sections.
    BadLength = 0xE2, "BAD_LENGTH";
    /// A frame exceeds the negotiated `max_frame`.
    FrameTooLarge = 0xE3, "FRAME_TOO_LARGE";
    /// The first frame was not HELLO, or HELLO did not arrive in time.
    HelloRequired = 0xE4, "HELLO_REQUIRED";
    /// There is no version that both sides support.
    UnsupportedVersion = 0xE5, "UNSUPPORTED_VERSION";
    /// The peer belongs to another cluster.
    ClusterMismatch = 0xE6, "CLUSTER_MISMATCH";
    /// The peer's cube has another dimension.
    DimensionMismatch = 0xE7, "DIMENSION_MISMATCH";
    /// The peer is not a neighbour of this node.
    NotANeighbour = 0xE8, "NOT_A_NEIGHBOUR";
    /// A live node already has that id.
    DuplicateNode = 0xE9, "DUPLICATE_NODE";
    /// The peer was silent for too long.
    KeepaliveTimeout = 0xEA, "KEEPALIVE_TIMEOUT";
    /// The node is shutting down.
    Closing = 0xEB, "CLOSING";
    /// The node has as many clients as it accepts.
    TooManyClients = 0xEC, "TOO_MANY_CLIENTS";
}

/// Reserved numbers, with the names that they will have. Until they are assigned, a receiver knows only their class.
pub const RESERVED: [(u8, &str); 8] = [
    (0x52, "FORBIDDEN"),
    (0x53, "UNKNOWN_POSITION"),
    (0x54, "POSITION_EXISTS"),
    (0x55, "CONFLICT"),
    (0x86, "NO_RESPONDERS"),
    (0xED, "AUTH_REQUIRED"),
    (0xEE, "AUTH_FAILED"),
    (0xEF, "IDENTITY_MISMATCH"),
];

impl Status {
    /// Returns the number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the class: the meaning for the requester.
    pub const fn class(self) -> Class {
        Class::of(self as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_and_come_back() {
        for pair in Status::ALL.windows(2) {
            assert!(pair[0].number() < pair[1].number(), "{pair:?}");
        }
        for number in 0..=u8::MAX {
            assert!(Status::from_number(number).is_none_or(|status| status.number() == number));
        }
    }
}
