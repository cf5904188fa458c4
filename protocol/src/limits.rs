//! Every limit of the wire format, with its reason: what all peers of version 1 rely on, and what a decoder refuses.
//!
//! Limits that a node may choose are in the node; a client learns them from HELLO or from a status. protocol.md
//! (chapter 15) lists both, and a test compares that list with the code.

/// Maximum number of bits of a node id: 1024 nodes. A set of links (5120 bits) still fits into a route section of under
/// 1 KiB.
pub const DIMENSION_MAX: u8 = 10;

/// Maximum number of bytes of a topic name: with its length byte it fits 250 bytes of args.
pub const TOPIC_NAME_MAX: usize = 249;

/// Maximum number of bytes of a cluster name, of a software name and of an address in args: they share a 1 KiB HELLO.
pub const LABEL_MAX: usize = 200;

/// Maximum number of bytes of a whole frame between a client and a node; a client may choose a lower limit in HELLO. It
/// is large enough for any sensible message, and small enough that a single frame cannot delay a link's PING by 100 ms.
pub const FRAME_MAX: u32 = 1 << 20;

/// The lowest `max_frame` that a client may ask for: every response without a payload fits it.
pub const FRAME_MAX_LEAST: u32 = 64 << 10;

/// Bytes that a link accepts in addition to `FRAME_MAX`, for the route section, so that no client's largest frame can
/// break a link.
pub const LINK_FRAME_EXTRA: u32 = 4 << 10;

/// Maximum number of bytes of the first frame of a connection: HELLO fits, and a peer that has not sent HELLO cannot
/// make the receiver buffer more.
pub const FRAME_BEFORE_HELLO_MAX: u32 = 1 << 10;

/// Maximum number of bytes of records in one PUBLISH: records that were published in one frame must fit one FETCH
/// response, whose args are longer.
pub const PAYLOAD_MAX: u32 = FRAME_MAX - RESPONSE_ARGS_MAX;

/// Bytes reserved for the header and args of any response with a payload.
pub const RESPONSE_ARGS_MAX: u32 = 4 << 10;

/// Maximum number of runs of equal append time in one FETCH response: 12 bytes each, within `RESPONSE_ARGS_MAX`.
pub const FETCH_RUNS_MAX: usize = 256;

/// Longest time that a FETCH may wait for a record.
pub const FETCH_WAIT_MAX_MS: u32 = 30_000;

/// Maximum number of names in one LIST response, at up to 282 bytes each, which fits one frame of `FRAME_MAX_LEAST`.
pub const LIST_NAMES_MAX: usize = 200;

/// Bytes that a topic takes in a LIST response in addition to its name.
pub const LISTED_BYTES: usize = 33;

/// Maximum size in bytes of the payload of a LIST response.
pub const LIST_BYTES_MAX: u32 = FRAME_MAX_LEAST - RESPONSE_ARGS_MAX;

/// Maximum number of nodes in one NODES response, at up to 204 bytes each, which fits one frame of `FRAME_MAX_LEAST`. A
/// cube of up to eight dimensions fits one page.
pub const NODES_PAGE_MAX: u16 = 256;

/// Maximum size in bytes of the payload of a NODES response: id, link and address of each node.
pub const NODES_BYTES_MAX: u32 = NODES_PAGE_MAX as u32 * 204;

/// Maximum number of unacknowledged batches of a producer in one topic, and the number of answers remembered for it.
pub const PRODUCER_WINDOW: usize = 64;

/// The initial TTL of a frame is this number times `2^d` hops. For d = 3 and d = 4 an enumeration of all sets of dead
/// links shows that a frame needs at most 13 and 37 hops; for d = 5 to 7 the worst cases that a search found are 93,
/// 206 and 433 hops, below 4 · 2^d.
pub const TTL_PER_NODE: u16 = 8;

/// A connection must send HELLO within this time.
pub const HELLO_TIMEOUT_US: u64 = 5_000_000;

/// A frame must be complete within this time of its first byte.
pub const PARTIAL_FRAME_TIMEOUT_US: u64 = 10_000_000;

/// The shortest keepalive that a client may ask for.
pub const CLIENT_KEEPALIVE_LEAST_US: u64 = 1_000_000;

/// Maximum number of items of one FEED, at up to 275 bytes each.
pub const FEED_ITEMS_MAX: usize = 200;

/// Maximum number of items of one HEADS, at 20 bytes each.
pub const HEADS_ITEMS_MAX: usize = 2048;

/// Maximum number of items of one RAFT: a node leads at most 256 groups, and few others bring more to one neighbour.
pub const RAFT_ITEMS_MAX: usize = 1024;

/// Bytes of a frame that are reserved for the header and args of a RAFT and for an item without the body of its entry.
pub const RAFT_OVERHEAD: u32 = 1 << 10;

/// Maximum number of batches in the response to one CHUNKS.
pub const CHUNK_BATCHES_MAX: usize = 4096;

/// Relations between the limits, checked by the compiler.
const _: () = {
    assert!(FRAME_BEFORE_HELLO_MAX < FRAME_MAX_LEAST);
    assert!(FRAME_MAX_LEAST < FRAME_MAX);
    assert!(36 + 80 + FETCH_RUNS_MAX * 12 <= RESPONSE_ARGS_MAX as usize);
    assert!(LIST_NAMES_MAX * (TOPIC_NAME_MAX + LISTED_BYTES) <= LIST_BYTES_MAX as usize);
    assert!(NODES_BYTES_MAX as usize == NODES_PAGE_MAX as usize * (4 + LABEL_MAX));
    assert!(NODES_BYTES_MAX + 4096 <= FRAME_MAX_LEAST);
    assert!(2 * LABEL_MAX + 256 <= FRAME_BEFORE_HELLO_MAX as usize);
    assert!(FEED_ITEMS_MAX * (TOPIC_NAME_MAX + 26) <= FRAME_MAX_LEAST as usize);
    assert!(HEADS_ITEMS_MAX * 20 <= FRAME_MAX_LEAST as usize);
};
