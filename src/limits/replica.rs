//! Replica groups: how much of its log a member keeps in memory and in flight, and its timeouts.

/// Election timeouts in ticks (`TICK_US`), by the member's rank in its group. They are fixed instead of random, so that
/// no two members start an election at the same time and a simulation can repeat a run. The shortest is several times a
/// round trip with two slow fsyncs.
pub const ELECTION_TICKS: [usize; 3] = [8, 10, 12];

/// Ticks between two heartbeats of a leader. Three in a row may be lost before a follower starts an election.
pub const HEARTBEAT_TICKS: usize = 2;

/// Ticks for which a member gives nobody its vote after a message of its leader, and after its own start: it may have
/// answered a leader right before. Shorter than the shortest election timeout, so that it delays no election. The first
/// tick may come at once, so the time that passes is at least that of one tick less.
pub const VOTE_HOLD_TICKS: usize = 7;

/// Ticks between two `Join` messages of a member that does not vote yet. The messages and their answers are small, and
/// each answer takes a round trip.
pub const JOIN_TICKS: u64 = 2;

/// Ticks for which the answer to a `Join` counts. A member that has not answered for so long, although several more
/// were sent, is taken to be absent.
pub const JOIN_ANSWER_TICKS: u64 = 5 * JOIN_TICKS;

/// Ticks after which a member that cannot join its group reports for the first time which members it is waiting for.
pub const JOIN_NOTE_TICKS: u64 = 50;

/// Ticks between two such reports.
pub const JOIN_REMINDER_TICKS: u64 = 600;

/// Ticks without a leader after which a member reports that to its operator, and between two such reports. Far more
/// than the restart of a node takes.
pub const LEADERLESS_TICKS: u64 = 600;

/// How many terms a recovery of a group from one copy skips. Nodes still remember the leaders of the group from before,
/// and the lost members may have known far later terms than the copy. They would take a new leader with an earlier term
/// for one that has been replaced.
pub const RECOVERY_TERMS: u32 = 1 << 20;

/// Microseconds for which a leader may answer reads from what it has applied, from the time at which it sent a
/// heartbeat that another member has answered. Three quarters of the time for which that member holds its vote, so that
/// no other leader acknowledges anything meanwhile even if the clocks of the two run at different rates.
pub const LEASE_US: u64 = 450_000;

/// Microseconds after which the answers to a round of heartbeats are late, so that a read that waits begins another
/// one. While there are reads, a round begins at the first tick after as long: at every second tick.
pub const ROUND_US: u64 = 150_000;

/// Microseconds after the latest read for which a leader renews its lease.
pub const READ_RECENT_US: u64 = 1_000_000;

/// Microseconds for which a request waits until its leader knows that it still leads. Then another node may lead, and
/// the request is refused, so that its ingress tries that one.
pub const UNCONFIRMED_US: u64 = 300_000;

/// Maximum number of requests that wait on a node until it knows that it still leads. After a pause without reads, all
/// that come within a round trip wait.
pub const UNCONFIRMED_MAX: usize = 4096;

/// Maximum number of bytes of the frames of these requests.
pub const UNCONFIRMED_BYTES_MAX: usize = 4 << 20;

/// Maximum number of rounds of heartbeats that a leader waits for at once. The answer to one of them ends all before
/// it, so more are in flight only while no other member answers.
pub const ROUNDS_MAX: usize = 16;

/// Ticks without a message after which another member counts as unreachable. Two heartbeats in a row may be lost.
pub const HEARD_TICKS: u32 = 6;

/// Ticks for which the home of a slot must have been caught up before leadership is handed back to it. A node that has
/// just started, or whose links come and go, may fail again soon.
pub const HOME_TICKS: u32 = 30;

/// Ticks after a hand-over during which leadership moves again only if the node of the leader shuts down. Each
/// hand-over delays requests by some tens of milliseconds; after one that fails, each read takes a round trip for the
/// rest of the term.
pub const HAND_OVER_TICKS: u32 = 100;

/// Ticks for which a write may wait for the disk before the disk counts as slow. An election takes about twice as long.
pub const SLOW_TICKS: u32 = 5;

/// Ticks for which a disk counts as slow after it has recovered, so that leadership does not return to its node after
/// each stall.
pub const SLOW_MEMORY_TICKS: u32 = 300;

/// Ticks between two comparisons of the copies of a group. There is none if nothing has changed since the last one.
pub const CHECK_TICKS: u32 = 100;

/// Maximum number of bodies of a group for which a member remembers the digest. The leader proposes the digest after
/// the newest body that it has applied; a follower applies that proposal within some hundred bodies, and compares it
/// with the digest that it remembers. If it no longer remembers that one, it compares the next proposal.
pub const DIGESTS_MAX: usize = 1024;

/// Bytes of applied entries that a member keeps for followers that are a little behind.
pub const LOG_WINDOW_BYTES: usize = 4 << 20;

/// Bytes that an entry of a group's log counts besides its body, so that empty ones are limited too.
pub const LOG_ENTRY_BYTES: usize = 64;

/// Maximum number of bytes of entries in one append, unless it has a single entry. Heartbeats wait behind an append on
/// the same link.
pub const APPEND_BYTES_MAX: usize = 256 << 10;

/// Maximum number of bytes of messages in one RAFT frame, unless it is a single message.
pub const RAFT_FRAME_BYTES: usize = APPEND_BYTES_MAX + (16 << 10);

/// Maximum number of reads of a group's log from the disk at once, for followers that need entries from before the
/// window: there are two.
pub const FETCHES_MAX: usize = 2;

/// Bytes of the journal that are read at once in search of such entries. The journal's thread does other work in
/// between. Twice what one append takes, since the log has the entries of other groups as well.
pub const LOG_READ_BYTES: usize = 2 * APPEND_BYTES_MAX;

/// Places of each group's log in the journal that are remembered, so that a read of what follows begins there. Each of
/// two followers needs one, and another one if it misses an append.
pub const LOG_SPOTS_MAX: usize = 4 * FETCHES_MAX;

/// Ticks after which a leader offers a snapshot again to a follower that has not acknowledged the previous offer. An
/// offer may be lost; a follower that is still copying ignores further ones.
pub const OFFER_TICKS: usize = 10;

/// Requests and writes of a copy of a group's state that are under way at once, each of up to `READ_BYTES_MAX` bytes or
/// one batch.
pub const COPY_STEPS_MAX: usize = 4;

/// Reads of the journal for members that copy a group's state, of both others together.
pub const COPY_READS_MAX: usize = 2 * COPY_STEPS_MAX;

/// Bytes of copies of groups' states that a node takes in a second, of all groups together. A gigabyte takes half a
/// minute, and a disk or a network of any server has much more than this, so that clients hardly notice.
pub const COPY_BYTES_PER_S: u64 = 32 << 20;

/// Bytes that a node may take at once after it has taken less than [`COPY_BYTES_PER_S`]: those of two ticks, since a
/// copy that has used up its rate continues with the next tick.
pub const COPY_BURST_BYTES: u64 = COPY_BYTES_PER_S / 5;

/// Bytes of a group's state, without records, that one CHUNKS brings.
pub const STATE_PART_BYTES: usize = 256 << 10;

/// Maximum number of bytes of a group's state that is copied, without its records: more than the largest number of
/// topics takes.
pub const STATE_BYTES_MAX: u64 = 1 << 30;

/// A part of a copy that has not come within this time is asked for again.
pub const CHUNK_AGAIN_US: u64 = 1_000_000;

/// Maximum number of consecutive records that a copy may lack because retention has removed them meanwhile: more than
/// are published to a topic in a day. Each batch that stands for some of them in the journal covers 2^32.
pub const GAP_RECORDS_MAX: u64 = 1 << 40;

/// If a member has not asked for more of a copied state for this time, it is not copying it any more, and another
/// member that begins a copy gets a newer state.
pub const STATE_AGAIN_US: u64 = 2 * CHUNK_AGAIN_US;

/// A copy that gets nothing for this long is given up, and the leader drops a state that nobody asks for.
pub const COPY_SILENCE_US: u64 = 30_000_000;

/// Maximum number of appends in flight to one follower. More would only lengthen the queue in which heartbeats wait.
pub const APPENDS_INFLIGHT_MAX: usize = 8;

/// Bytes of uncommitted proposals of a leader, beyond which it refuses further ones.
pub const UNCOMMITTED_BYTES_MAX: usize = 8 << 20;

/// Maximum number of bytes of committed entries that are passed on together, unless it is a single entry.
pub const COMMIT_BYTES_MAX: usize = 1 << 20;

/// Bytes of entries that are not durable yet, beyond which a follower drops appends: twice what a leader has in flight.
pub const UNWRITTEN_BYTES_MAX: usize = 16 << 20;

/// Maximum number of messages that wait until a write is durable. Beyond it the oldest is dropped, as if it were lost
/// in the network.
pub const HELD_MESSAGES_MAX: usize = 1024;

/// The highest term that is accepted from a peer. The journal stores terms in 32 bits; a member that a faulty peer has
/// brought to this term can still start an election each second for 68 years.
pub const TERM_MAX: u64 = 1 << 31;

/// A thousand recoveries leave room for as many terms as elections could ever need.
const _: () = assert!(RECOVERY_TERMS as u64 * 1_000 < TERM_MAX);

/// The highest index that is accepted from a peer, so that no addition to it can overflow.
pub const INDEX_MAX: u64 = 1 << 62;
