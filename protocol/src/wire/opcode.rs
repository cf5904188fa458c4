//! The operations and their numbers.

/// An operation. A number is never reused for another operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// The first frame in each direction.
    Hello = 0x01,
    /// Announces that the sender will close the connection; one-way.
    Goaway = 0x02,
    /// Checks whether the receiver is alive.
    Ping = 0x03,
    /// Creates a topic.
    Create = 0x10,
    /// Deletes a topic.
    Delete = 0x11,
    /// Lists a page of one node's topics.
    List = 0x12,
    /// Describes a topic.
    Info = 0x13,
    /// Changes settings of a topic.
    Alter = 0x14,
    /// Removes the records of a topic before an offset.
    Trim = 0x15,
    /// Opens a producer: begins its next epoch and counts its stored records.
    Producer = 0x16,
    /// Appends records.
    Publish = 0x20,
    /// Reads records.
    Fetch = 0x21,
    /// Subscribes to new records; its request id identifies the subscription.
    Subscribe = 0x22,
    /// Ends a subscription: after the response, no more of its records arrive.
    Unsubscribe = 0x23,
    /// Raises the credit of a subscription; one-way.
    Credit = 0x24,
    /// Delivers records of a subscription to its subscriber; one-way.
    Deliver = 0x25,
    /// Notifies a subscriber of an event of its subscription; one-way.
    Event = 0x26,
    /// Returns the home of a name, whether or not there is such a topic.
    Query = 0x30,
    /// Probes a path once.
    Trace = 0x31,
    /// Returns a node's view of itself and its links.
    Cluster = 0x32,
    /// Returns a node's counters.
    Stats = 0x33,
    /// Lists all nodes of the cube with their addresses, according to one node's configuration.
    Nodes = 0x34,
    /// Between nodes: reports the topics that an ingress follows, and which of them it wants to have pushed.
    Feed = 0x40,
    /// Between nodes: reports the log end offsets of topics that were pushed.
    Heads = 0x41,
    /// Between nodes: what the members of replica groups tell each other.
    Raft = 0x42,
    /// Between nodes: copies the state of a replica group from its leader.
    Chunks = 0x44,
}

/// Reserved numbers, with the names that they will have. Until they are assigned, they are unknown opcodes.
pub const RESERVED: [(u8, &str); 19] = [
    (0x04, "AUTH"),
    (0x27, "SUBSCRIBE_MATCHING"),
    (0x43, "JOIN"),
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
    /// All operations in the order of their numbers.
    pub const ALL: [Self; 26] = [
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
        Self::Raft,
        Self::Chunks,
    ];

    /// Returns the operation, or `None` for a number that this version does not know.
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

    /// Returns true if the operation is used only between nodes.
    pub const fn is_between_nodes(self) -> bool {
        matches!(self, Self::Feed | Self::Heads | Self::Raft | Self::Chunks)
    }

    /// Returns true for a push, which a client receives without a request, under the request id of its subscription.
    pub const fn is_push(self) -> bool {
        matches!(self, Self::Deliver | Self::Event)
    }

    /// Returns true if the operation changes no topic and no connection, so that executing it is useless when nobody
    /// receives the response.
    pub const fn only_asks(self) -> bool {
        match self {
            Self::Ping
            | Self::List
            | Self::Info
            | Self::Fetch
            | Self::Subscribe
            | Self::Unsubscribe
            | Self::Credit
            | Self::Query
            | Self::Trace
            | Self::Cluster
            | Self::Stats
            | Self::Nodes
            | Self::Chunks => true,
            Self::Hello
            | Self::Goaway
            | Self::Create
            | Self::Delete
            | Self::Alter
            | Self::Trim
            | Self::Producer
            | Self::Publish
            | Self::Deliver
            | Self::Event
            | Self::Feed
            | Self::Heads
            | Self::Raft => false,
        }
    }

    /// Returns the number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the name in protocol.md.
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
            Self::Raft => "RAFT",
            Self::Chunks => "CHUNKS",
        }
    }
}
