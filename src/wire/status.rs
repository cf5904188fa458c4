//! The status byte: its high bits are a class, so that an unknown code still says what to do.

/// What a class of statuses means to the requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Done.
    Success,
    /// Not done; the same request will fail again.
    Refused,
    /// Not done; the same request may succeed after `retry_after_ms`.
    Transient,
    /// Done or not: only a request that is harmless when done twice may be repeated.
    Unknown,
    /// Not done; ask again where it lives, then repeat.
    Stale,
    /// A fault of the server: done or not, and not to be repeated blindly.
    Server,
    /// The connection ends.
    Fatal,
}

impl Class {
    /// The class of any status byte, known or not.
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

    /// May the very same request be sent again without asking anybody?
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Transient | Self::Stale)
    }
}

macro_rules! statuses {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $wire:literal;)+) => {
        /// What became of a request, or why a connection ends. Numbers are never used again for something else.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Status { $($(#[doc = $doc])+ $name = $number,)+ }

        impl Status {
            /// All of them in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// `None` for a number that this version does not know; its class still holds.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)+ _ => None }
            }

            /// The name in protocol.md.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $wire,)+ }
            }
        }
    };
}

statuses! {
    /// Done.
    Ok = 0x00, "OK";
    /// This very batch was stored before; the answer is the first one's.
    OkDuplicate = 0x01, "OK_DUPLICATE";
    /// The topic was there, with the same configuration.
    OkExists = 0x02, "OK_EXISTS";
    /// The request makes no sense here.
    BadRequest = 0x40, "BAD_REQUEST";
    /// The args cannot be read.
    MalformedArgs = 0x41, "MALFORMED_ARGS";
    /// The payload is not `count` records back to back.
    MalformedRecords = 0x42, "MALFORMED_RECORDS";
    /// No such operation in this version.
    UnknownOpcode = 0x43, "UNKNOWN_OPCODE";
    /// A critical flag, TLV or feature that this version does not know.
    Unsupported = 0x44, "UNSUPPORTED";
    /// No topic of that name.
    UnknownTopic = 0x45, "UNKNOWN_TOPIC";
    /// The topic is there with another configuration.
    TopicExists = 0x46, "TOPIC_EXISTS";
    /// Not a topic name.
    InvalidName = 0x47, "INVALID_NAME";
    /// More than a limit; the limit is in the details.
    TooLarge = 0x48, "TOO_LARGE";
    /// Beyond the end of the topic.
    OffsetOutOfRange = 0x49, "OFFSET_OUT_OF_RANGE";
    /// A sequence was left out; the expected one is in the details.
    SequenceGap = 0x4A, "SEQUENCE_GAP";
    /// The sequence was used for another batch.
    SequenceReused = 0x4B, "SEQUENCE_REUSED";
    /// A newer epoch of this producer has published.
    ProducerFenced = 0x4C, "PRODUCER_FENCED";
    /// No node of that id in this cube.
    UnknownNode = 0x4D, "UNKNOWN_NODE";
    /// No room by configuration; not repeated by itself.
    Quota = 0x4E, "QUOTA";
    /// The topic was deleted and made again: its offsets start anew.
    Recreated = 0x4F, "RECREATED";
    /// The topic lost records at its end: offsets from there on are new records.
    Truncated = 0x50, "TRUNCATED";
    /// No subscription of that request id on this connection.
    UnknownSubscription = 0x51, "UNKNOWN_SUBSCRIPTION";
    /// The producer cannot be opened as requested: it was opened or has published before, or its epochs are used up.
    ProducerExists = 0x56, "PRODUCER_EXISTS";
    /// The queue towards the target is full.
    Overloaded = 0x80, "OVERLOADED";
    /// No path to the target while the links that were met are down.
    Unreachable = 0x81, "UNREACHABLE";
    /// The frame made all the hops it was allowed.
    TtlExpired = 0x82, "TTL_EXPIRED";
    /// The node that would do it is ending.
    ShuttingDown = 0x83, "SHUTTING_DOWN";
    /// Args or payload were damaged on the way.
    CorruptFrame = 0x84, "CORRUPT_FRAME";
    /// No answer in time, or the way to it was lost.
    OutcomeUnknown = 0xA0, "OUTCOME_UNKNOWN";
    /// The topic does not remember this producer any more.
    UnknownProducer = 0xA1, "UNKNOWN_PRODUCER";
    /// Not the leader of the group.
    NotLeader = 0xC0, "NOT_LEADER";
    /// A fault of the server.
    Internal = 0xD0, "INTERNAL";
    /// Its storage failed.
    Storage = 0xD1, "STORAGE";
    /// The peer broke a rule of the protocol.
    ProtocolError = 0xE0, "PROTOCOL_ERROR";
    /// A damaged header.
    BadHeader = 0xE1, "BAD_HEADER";
    /// A length that does not hold its own parts.
    BadLength = 0xE2, "BAD_LENGTH";
    /// More than the agreed `max_frame`.
    FrameTooLarge = 0xE3, "FRAME_TOO_LARGE";
    /// The first frame was not HELLO, or none came in time.
    HelloRequired = 0xE4, "HELLO_REQUIRED";
    /// No version in common.
    UnsupportedVersion = 0xE5, "UNSUPPORTED_VERSION";
    /// Another cluster.
    ClusterMismatch = 0xE6, "CLUSTER_MISMATCH";
    /// A cube of another dimension.
    DimensionMismatch = 0xE7, "DIMENSION_MISMATCH";
    /// Not a neighbour of this node.
    NotANeighbour = 0xE8, "NOT_A_NEIGHBOUR";
    /// A living node has that id.
    DuplicateNode = 0xE9, "DUPLICATE_NODE";
    /// Nothing was heard for too long.
    KeepaliveTimeout = 0xEA, "KEEPALIVE_TIMEOUT";
    /// The node ends.
    Closing = 0xEB, "CLOSING";
    /// As many clients as this node takes.
    TooManyClients = 0xEC, "TOO_MANY_CLIENTS";
}

/// Reserved numbers, with the names that they will have. Until they are assigned, a receiver knows only their class.
pub const RESERVED: [(u8, &str); 9] = [
    (0x52, "FORBIDDEN"),
    (0x53, "UNKNOWN_POSITION"),
    (0x54, "POSITION_EXISTS"),
    (0x55, "CONFLICT"),
    (0x85, "NO_QUORUM"),
    (0x86, "NO_RESPONDERS"),
    (0xED, "AUTH_REQUIRED"),
    (0xEE, "AUTH_FAILED"),
    (0xEF, "IDENTITY_MISMATCH"),
];

impl Status {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// What it means to the requester.
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
