//! The operations and their numbers.

/// An operation. Numbers are never used again for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// First frame each way.
    Hello = 0x01,
    /// The sender will close; one-way.
    Goaway = 0x02,
    /// Is somebody there?
    Ping = 0x03,
    /// Make a topic.
    Create = 0x10,
    /// Remove a topic.
    Delete = 0x11,
    /// A page of one node's topics.
    List = 0x12,
    /// What a topic is like.
    Info = 0x13,
    /// Changes settings of a topic.
    Alter = 0x14,
    /// Removes the records of a topic before an offset.
    Trim = 0x15,
    /// Opens a producer: begins its next epoch, with a count of its stored records.
    Producer = 0x16,
    /// Append records.
    Publish = 0x20,
    /// Read records.
    Fetch = 0x21,
    /// Have records pushed as they come; its request id names the subscription.
    Subscribe = 0x22,
    /// End a subscription: after the answer nothing of it comes.
    Unsubscribe = 0x23,
    /// How much of a subscription may be sent; one-way.
    Credit = 0x24,
    /// Records of a subscription; one-way, to the subscriber.
    Deliver = 0x25,
    /// What happened to a subscription; one-way, to the subscriber.
    Event = 0x26,
    /// Where a name lives, whether or not it is there.
    Query = 0x30,
    /// One probe of a path.
    Trace = 0x31,
    /// One node's view of itself and its links.
    Cluster = 0x32,
    /// One node's counters.
    Stats = 0x33,
    /// Lists all nodes of the cube with their addresses, according to one node's configuration.
    Nodes = 0x34,
    /// Between nodes: what an ingress wants pushed.
    Feed = 0x40,
    /// Between nodes: how far the topics are that were pushed.
    Heads = 0x41,
}

/// Numbers that are set aside, with the names they will have. Until then they are unknown opcodes.
pub const RESERVED: [(u8, &str); 21] = [
    (0x04, "AUTH"),
    (0x27, "SUBSCRIBE_MATCHING"),
    (0x42, "RAFT"),
    (0x43, "JOIN"),
    (0x44, "CHUNKS"),
    (0x45, "WATCH"),
    (0x46, "CATALOGUE"),
    (0x47, "WORKERS"),
    (0x48, "GRANT"),
    (0x49, "SERVERS"),
    (0x4A, "GROW"),
    (0x50, "COMMIT"),
    (0x51, "POSITION"),
    (0x52, "POSITIONS"),
    (0x53, "FORGET"),
    (0x54, "QUEUE"),
    (0x55, "WORK"),
    (0x56, "SETTLE"),
    (0x58, "SERVE"),
    (0x59, "ASK"),
    (0x5A, "GET"),
];

impl Opcode {
    /// All of them in the order of their numbers.
    pub const ALL: [Self; 24] = [
        Self::Hello,
        Self::Goaway,
        Self::Ping,
        Self::Create,
        Self::Delete,
        Self::List,
        Self::Info,
        Self::Alter,
        Self::Trim,
        Self::Producer,
        Self::Publish,
        Self::Fetch,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Credit,
        Self::Deliver,
        Self::Event,
        Self::Query,
        Self::Trace,
        Self::Cluster,
        Self::Stats,
        Self::Nodes,
        Self::Feed,
        Self::Heads,
    ];

    /// `None` for a number that this version does not know.
    pub const fn from_number(number: u8) -> Option<Self> {
        const BY_NUMBER: [Option<Opcode>; 256] = {
            let mut table = [None; 256];
            let mut index = 0;
            while index < Opcode::ALL.len() {
                table[Opcode::ALL[index] as usize] = Some(Opcode::ALL[index]);
                index += 1;
            }
            table
        };
        BY_NUMBER[number as usize]
    }

    /// Do only nodes send it, to each other?
    pub const fn is_between_nodes(self) -> bool {
        matches!(self, Self::Feed | Self::Heads)
    }

    /// Does it come unasked, under the request id of a subscription?
    pub const fn is_push(self) -> bool {
        matches!(self, Self::Deliver | Self::Event)
    }

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name in protocol.md.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hello => "HELLO",
            Self::Goaway => "GOAWAY",
            Self::Ping => "PING",
            Self::Create => "CREATE",
            Self::Delete => "DELETE",
            Self::List => "LIST",
            Self::Info => "INFO",
            Self::Alter => "ALTER",
            Self::Trim => "TRIM",
            Self::Producer => "PRODUCER",
            Self::Publish => "PUBLISH",
            Self::Fetch => "FETCH",
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Credit => "CREDIT",
            Self::Deliver => "DELIVER",
            Self::Event => "EVENT",
            Self::Query => "QUERY",
            Self::Trace => "TRACE",
            Self::Cluster => "CLUSTER",
            Self::Stats => "STATS",
            Self::Nodes => "NODES",
            Self::Feed => "FEED",
            Self::Heads => "HEADS",
        }
    }
}
