//! How much a turn of the loop reads, handles and writes, and how much of it for one connection.

/// Frames of at least this many bytes get a buffer of their own that is passed on; on links, others overtake those that
/// are bulk responses. Smaller ones are copied once.
pub const OWN_BUFFER_MIN: usize = 16 << 10;

/// Size in bytes of the kernel's send buffer of a link: what is in it is not overtaken, and it bounds what a link
/// carries in a round trip. With less than the largest frame, a link that carries large publishes falls behind: its
/// queue stays full, and other requests over it get OVERLOADED.
pub const LINK_SEND_BUFFER: usize = 1 << 20;

/// Maximum number of bytes read from one connection at once.
pub const READ_BUDGET: usize = 256 << 10;

/// Bytes read at once from a connection whose frames take more than `VISIT_WORK`, so that few of them wait in memory.
pub const READ_LEAST: usize = 16 << 10;

/// Work for which a turn takes input, in units of about a nanosecond of processor time (`node/work.rs`). What is left
/// waits for the next turn. Long enough that hundreds of requests share a write and an fsync; short enough that ten
/// nodes on the way of a request, each in the middle of such a turn, delay it by a few milliseconds.
pub const TURN_WORK: u64 = 500_000;

/// Time in microseconds after which a turn takes no more input, even if its work is not done: the account of work does
/// not know what a system call costs, which differs by a factor of ten between machines.
pub const TURN_INPUT_US: u64 = 500;

/// The processor time of a turn is measured when the turn before it took this long. Below it, the system calls for that
/// would show.
pub const LONG_TURN_US: u64 = 1_000;

/// Work of one connection in a turn before the others have theirs. Some 64 small requests, so that a turn of busy
/// clients still batches; a 16th of a turn, so that clients have a third of it even when all ten links are busy.
pub const VISIT_WORK: u64 = 32_000;

/// Bytes read at once from a client while the memory for received bytes is short.
pub const READ_SHORT: usize = 4 << 10;

/// The part of a node's budget for bytes that were received from clients and are not handled yet that does not depend
/// on its memory limit: enough for several of the largest frames.
pub const INPUT_BYTES_LEAST: u64 = 8 << 20;

/// One part in this many of a node's memory limit is added to that budget.
pub const INPUT_MEMORY_PART: u64 = 64;

/// While that memory is short, the connection of a client is ended whose large frame has made no progress for this
/// long.
pub const STALLED_FRAME_US: u64 = 1_000_000;

/// Work of a read from a socket, besides that of its frames.
pub const READ_WORK: u64 = 2_000;

/// Bytes of a large frame that are read from a socket in the time of one unit of work.
pub const READ_PER_UNIT: u64 = 3;

/// Work of a write to a socket, besides that of its bytes: the system call, and waking the peer.
pub const WRITE_WORK: u64 = 4_000;

/// Bytes that are written to a socket in the time of one unit of work.
pub const WRITTEN_PER_UNIT: u64 = 3;

/// Time in microseconds after which a turn writes to no further client. The others are written to in the next turns,
/// each of which writes to at least one client with few unsent bytes and to one with many.
pub const TURN_WRITES_US: u64 = 500;

/// A client with more unsent bytes than this is written to after all clients with fewer.
pub const LITTLE_UNSENT: usize = 16 << 10;

/// Bytes written to a connection before the others have theirs: about 0.1 ms.
pub const WRITE_BUDGET: usize = 256 << 10;

/// Work of the committed entries that one turn applies. What one fsync has made durable may be the entries of very many
/// turns; the rest has the next turns, each of which applies those of at least one.
pub const COMMIT_WORK: u64 = 500_000;

/// Work of the answers of the journal that one turn handles, in the unit of `TURN_WORK`. One answer may take 0.5 ms.
pub const LOOKUP_WORK: u64 = 500_000;
