//! Every bound of a node in one place, each with its reason. Reaching one is a handled case with a status code.
//!
//! Those of the wire format, which all nodes and clients share, are in `dht_protocol::limits`. protocol.md repeats
//! those that a client meets; a test holds the two against each other.

mod consistency;
mod replica;
mod turns;

use std::time::Duration;

pub use dht_protocol::limits::*;
pub use replica::*;
pub use turns::*;

/// Maximum number of bytes of a host name in the peers file: with a colon and its port it must fit [`LABEL_MAX`].
pub const HOST_MAX: usize = LABEL_MAX - 6;

/// Maximum number of addresses of a host name that are tried. Each may take `DIAL_TIMEOUT_US` to be given up.
pub const NAME_ADDRESSES_MAX: usize = 8;

/// Maximum number of client connections of a node, at 1 KiB each when idle. A lower limit on open files lowers it.
pub const CLIENTS_MAX: usize = 10_000;

/// Connections beyond the client limit that may be in their handshake, since any of them may be a neighbour.
pub const HANDSHAKES_EXTRA: usize = 64;

/// Maximum number of closed connections that linger, so that their peer can read the reason, while no other descriptor
/// is free.
pub const LINGERING_MAX: usize = 256;

/// File descriptors of the process itself: standard streams, poll, listener, signals, waker, and a peers file while it
/// is read.
pub const PROCESS_DESCRIPTORS: usize = 12;

/// File descriptors reserved for the journal: its lock and folder, the segments being written, filled, cleaned and
/// read, an index and a checkpoint. At most ten are open at once.
pub const JOURNAL_DESCRIPTORS: usize = 16;

/// File descriptors reserved for each link: the connection, an attempt that may replace it, and one being dialled.
pub const LINK_DESCRIPTORS: usize = 3;

/// File descriptors reserved for looking up the host name of each neighbour: a file or a socket at a time, and one to
/// spare.
pub const LOOKUP_DESCRIPTORS: usize = 2;

/// Minimum number of descriptors that must be left for clients, handshakes and lingering connections; with fewer a node
/// does not start.
pub const SPARE_DESCRIPTORS_LEAST: usize = 8;

/// Connections accepted in one turn: a flood of them must not stall the links. Each takes about 10 us.
pub const ACCEPTS_PER_TURN: usize = 64;

/// Maximum number of unanswered requests of one client; beyond it the client is not read (HELLO says it as
/// `max_inflight`).
pub const INFLIGHT_MAX: u32 = 1024;

/// Number of unanswered requests that the clients of a node share equally. Such requests wait in one queue for
/// another node or for the disk, where a client with many of them would otherwise be served more often than others.
pub const INFLIGHT_SHARED: u32 = 2 * INFLIGHT_MAX;

/// Number of unanswered requests that each client may have, however many clients share `INFLIGHT_SHARED`.
pub const INFLIGHT_LEAST: u32 = 64;

/// What an unanswered request is charged besides its payload: the size of an answer without one.
pub const RESPONSE_CHARGE: u32 = RESPONSE_ARGS_MAX;

/// What an unanswered request is charged if its answer consists of a few numbers. It is small, so that a client that
/// uses little memory may have several hundred such requests in flight.
pub const RESPONSE_CHARGE_SHORT: u32 = 512;

/// Charged bytes of one client's unanswered requests, beyond which the client is not read. Its answers delay those of
/// other clients that use the same link: sending 3 MiB takes a millisecond or two.
pub const CLIENT_CHARGE_MAX: u64 = 3 << 20;

/// Bytes of records that a FETCH reserves at least: a record of that size is returned whatever `max_bytes` says. A
/// larger one needs another reservation.
pub const FETCH_RESERVE_LEAST: u32 = 16 << 10;

/// What a FETCH reserves that waits until its client may use more memory: its frame and its entry.
pub const HELD_BYTES: u32 = 256;

/// Bytes up to which a client may use the part of the budget that is kept for clients that use little.
pub const CLIENT_LITTLE_BYTES: u64 = 256 << 10;

/// The part of a node's budget for all its clients that does not depend on its memory limit: enough for a few clients
/// that use much.
pub const CLIENTS_BYTES_LEAST: u64 = 32 << 20;

/// One part in this many of a node's memory limit is added to that budget.
pub const CLIENTS_MEMORY_PART: u64 = 16;

/// Returns the bytes that all clients of a node together may reserve or leave unread, for a memory limit in bytes.
pub const fn clients_bytes(memory_bytes: u64) -> u64 {
    CLIENTS_BYTES_LEAST + memory_bytes / CLIENTS_MEMORY_PART
}

/// Returns the bytes received from clients that may wait in a node, for a memory limit in bytes.
pub const fn input_bytes(memory_bytes: u64) -> u64 {
    INPUT_BYTES_LEAST + memory_bytes / INPUT_MEMORY_PART
}

/// Unsent bytes of one client, beyond which it is not read; it is never cut off for reading slowly.
pub const CLIENT_QUEUE_MAX: usize = 256 << 10;

/// Unsent bytes of a link, beyond which it takes no more requests (OVERLOADED). Responses always have room: the
/// ingress reserved it. Those that others overtake do not count.
pub const LINK_QUEUE_MAX: usize = 8 << 20;

/// Unsent bytes of a link, beyond which it takes no more pushed records: they are not sent, and whoever misses them
/// fetches them. Low, so that pushes leave room for requests.
pub const PUSH_QUEUE_MAX: usize = 2 << 20;

/// Maximum number of subscriptions of one client.
pub const SUBSCRIPTIONS_PER_CLIENT_MAX: usize = 4096;

/// Maximum number of subscriptions of a node: about 300 bytes each.
pub const SUBSCRIPTIONS_MAX: usize = 100_000;

/// Bytes queued for a subscription that catches up, before the others have theirs.
pub const CATCH_UP_BYTES: usize = 64 << 10;

/// Subscriptions that catch up in one turn.
pub const CATCH_UPS_PER_TURN: usize = 32;

/// Work, in the unit of `TURN_WORK`, after which no further subscription catches up in a turn.
pub const CATCH_UP_WORK: u64 = 500_000;

/// Subscriptions that get new records as soon as these arrive. The others catch up in the turns after, so that a topic
/// with very many of them does not hold up a turn: a thousand take about 0.2 ms.
pub const DELIVERED_READERS: usize = 1024;

/// Bytes that are copied at most for those that get new records at once.
pub const DELIVERED_BYTES: usize = 1 << 20;

/// Subscriptions that are queued in one turn because there may be something for them.
pub const WAKES_PER_TURN: usize = 1024;

/// Maximum number of readers that one turn removes because their topic has ended, and most that it removes because
/// their client has disconnected: all subscriptions of a busy topic, or of one client, would hold up the turn for
/// milliseconds.
pub const ENDED_PER_TURN: usize = 256;

/// Pushed records of one topic of another node that are kept for subscriptions that are a little behind.
pub const TAIL_BYTES_MAX: usize = 256 << 10;

/// The same bound for all topics together.
pub const TAILS_BYTES_MAX: usize = 16 << 20;

/// Maximum number of bytes of records that one fetch for subscriptions brings.
pub const PULL_BYTES: u32 = 256 << 10;

/// Fetches for subscriptions in flight.
pub const PULLS_MAX: usize = 64;

/// Maximum number of bytes that these fetches in flight may bring together.
pub const PULLED_BYTES_MAX: u64 = 16 << 20;

/// Maximum number of these fetches in flight to one leader, so that an unresponsive leader leaves room for the others.
pub const PULLS_PER_LEADER_MAX: usize = 16;

/// A fetch for subscriptions that is not answered within this time is sent again.
pub const PULL_TIMEOUT_US: u64 = 1_000_000;

/// Delay before a failed fetch for subscriptions is sent again.
pub const PULL_AGAIN_US: u64 = 300_000;

/// Interval between the HEADS that a leader sends to each node it pushes to; they carry the log end offsets of the
/// pushed topics.
pub const HEADS_US: u64 = 1_000_000;

/// A starting node announces itself to all others once every link is up, or after this time over those that are.
pub const ANNOUNCE_US: u64 = 500_000;

/// Maximum number of consecutive HEADS that may be missing or unanswered before the other side counts as reset.
pub const HEADS_MISSING_MAX: u64 = 3;

/// A followed leader that has sent nothing for this long is probed. A live one sends HEADS every `HEADS_US`.
pub const OUTAGE_ASK_US: u64 = 1_500_000;

/// Interval between further probes while the leader stays silent or unreachable.
pub const OUTAGE_PROBE_US: u64 = 500_000;

/// Subscribers are notified when a leader has been unreachable for this long, so that a quickly restored link or a
/// quick restart of the node goes unreported.
pub const OUTAGE_NOTIFIED_US: u64 = 1_000_000;

/// The same delay for a leader that is silent although no node has reported it unreachable.
pub const OUTAGE_SILENT_US: u64 = 4_000_000;

/// A FEED that the leader has not confirmed within this time is sent again.
pub const FEED_AGAIN_US: u64 = 900_000;

/// Maximum number of topics noted as pushed here without a local subscriber, until the report to their leader is sent.
pub const STRAYS_MAX: usize = 1024;

/// Requests without an answer in time that one turn answers, which takes about a millisecond. The others have the next
/// turns.
pub const EXPIRED_PER_TURN: usize = 1024;

/// Waiting FETCHes without a record that one tick answers, which takes about a millisecond. The others wait a tick
/// longer.
pub const POLLS_ENDED_PER_TICK: usize = 4096;

/// Maximum number of bytes of a body of the log, which holds at least one entry. Any single entry fits, and a body fits
/// a frame between two nodes.
pub const BODY_BYTES_MAX: usize = (FRAME_MAX - RAFT_OVERHEAD) as usize;

/// Places for the args of PUBLISH requests that are remembered, at about 120 bytes each: for a few hundred topics that
/// this node's clients, or those of other nodes to topics here, publish to at the same time.
pub const REPEATS: usize = 1024;

/// Maximum number of bytes of args that are remembered. Longer ones, with longer names, are decoded each time.
pub const REPEAT_ARGS_MAX: usize = 56;

/// Maximum number of bytes of small batches that become one entry: as many as share a chunk.
pub const RUN_BYTES_MAX: u64 = CHUNK_MERGED_MAX as u64;

/// Maximum number of topics with batches that can become one entry with later ones. They are searched for each batch,
/// and each has a buffer of `RUN_BYTES_MAX` bytes, which is kept for the next turns: 1 MiB in all. Another topic ends
/// the runs of all others, so clients that publish to more topics in turn gain nothing.
pub const RUNS_MAX: usize = 64;

/// Maximum number of bytes of proposed entries that are not yet committed, with their encoding and the memory that
/// batches will take: a batch counts twice.
/// Above it requests that change something are answered OVERLOADED, because the disk hangs.
pub const PROPOSALS_BYTES_MAX: u64 = 64 << 20;

/// Maximum number of turns whose entries share one fsync. `PROPOSALS_BYTES_MAX` bounds their memory.
pub const COMMIT_TURNS_MAX: usize = 1024;

/// Size of the first segments of a journal, in bytes.
pub const SEGMENT_BYTES_FIRST: u32 = 4 << 20;

/// Bytes of segments at the end of the log that are kept for members of a group that are behind, although no topic has
/// records in them and no checkpoint needs them: four segments, some seconds of the highest load. A member that is
/// further behind needs a copy of all records of the group, which is often smaller than that much of the log.
pub const LOG_KEEP_BYTES: u64 = 4 * SEGMENT_BYTES as u64;

/// Size of all later segments, in bytes. Each brings a checkpoint, so a start replays little more than one segment.
pub const SEGMENT_BYTES: u32 = 64 << 20;

/// Bytes of a segment that are filled with zeros before waiting reads are served.
pub const FILL_BYTES: u32 = 1 << 20;

/// Bytes of filling or cleaning after which the file is fsynced. One fsync of a whole segment would take as long as
/// hundreds of reads.
pub const FILL_SYNC_BYTES: u32 = 8 << 20;

/// Delay before another attempt to prepare a segment after one failed, most likely for lack of space.
pub const SEGMENT_AGAIN_US: u64 = 200_000;

/// Notes on batches, trims and deletions that the event loop collects before it sends them to the keeping thread.
pub const NOTES_MAX: usize = 1024;

/// Longest time that collected notes are held back. It bounds how late an idle node learns that whole segments are
/// dead.
pub const NOTES_WAIT: Duration = Duration::from_millis(200);

/// Delay before a failed checkpoint is tried again.
pub const CHECKPOINT_AGAIN: Duration = Duration::from_secs(1);

/// How long the keeping thread retries an operation that the system refuses for lack of descriptors or memory before
/// publishes are refused.
pub const SHORTAGE_PATIENCE: Duration = Duration::from_secs(2);

/// First delay before a journal write that was refused for lack of memory is retried; the delay doubles each time.
pub const SHORTAGE_WAIT_LEAST: Duration = Duration::from_millis(10);

/// Longest delay between these retries.
pub const SHORTAGE_WAIT_MAX: Duration = Duration::from_secs(1);

/// Batches of a topic per block of its index. Finding a batch reads one block, about a kilobyte.
pub const INDEX_BLOCK_BATCHES: usize = 128;

/// Maximum number of bytes of records that one journal read returns.
pub const READ_BYTES_MAX: u32 = 256 << 10;

/// Maximum number of journal reads in flight, each of which may bring a record of 1 MiB. One thread does them all, so
/// more would not be faster.
pub const READS_MAX: usize = 16;

/// Maximum number of reads that wait for a free slot. Above it FETCH is answered OVERLOADED, because the disk hangs or
/// is overloaded.
pub const READS_WAITING_MAX: usize = 4096;

/// Delay in milliseconds before a FETCH is repeated whose journal read failed for lack of descriptors or memory.
pub const READ_AGAIN_MS: u32 = 200;

/// Largest gap in bytes between two wanted batches of a segment that is read and discarded, because that costs less
/// than a second read.
pub const READ_GAP_MAX: u32 = 512;

/// Interval between searches for segments whose records are mostly dead. Such a segment is cleaned once no record of it
/// has died between two searches.
pub const CLEAN_LOOK: Duration = Duration::from_secs(5);

/// Delay before cleaning that failed, most likely for lack of space, is tried again.
pub const CLEAN_AGAIN: Duration = Duration::from_secs(1);

/// Maximum number of bytes per second that cleaning writes while space is not short; it reads about as many. This is a
/// fraction of a disk's throughput, so commits and reads keep most of it.
pub const CLEAN_BYTES_PER_SECOND: u32 = 32 << 20;

/// A segment smaller than a full one divided by this counts as small and is merged with others.
pub const CLEAN_SMALL_PART: u32 = 8;

/// Small segments that are merged at a time, so that merging copies each record only a few times.
pub const CLEAN_SMALL_SEGMENTS: usize = 16;

/// Shortest interval of `--sync interval`; anything shorter amounts to `--sync always`.
pub const SYNC_INTERVAL_LEAST: Duration = Duration::from_millis(1);

/// Longest interval of `--sync interval`; anything longer amounts to never.
pub const SYNC_INTERVAL_MAX: Duration = Duration::from_mins(1);

/// Bytes at the end of a segment that batches may not use until the next segment is ready. On a full disk they hold
/// thousands of entries that delete topics or trim records, which is what frees space.
pub const SEGMENT_RESERVE: u32 = 256 << 10;

/// The part of `SEGMENT_RESERVE` that changed settings may not use either, so that a client that sends any number of
/// them leaves room for trims.
pub const SEGMENT_RESERVE_TRIMS: u32 = 192 << 10;

/// The part of `SEGMENT_RESERVE` that trims may not use either, so that a client that trims record by record leaves
/// room for deletions: a topic can be deleted only once.
pub const SEGMENT_RESERVE_DELETES: u32 = 128 << 10;

/// The part of `SEGMENT_RESERVE` that is left to entries that record a jump of the clock, which cannot be refused.
pub const SEGMENT_RESERVE_CLOCK: u32 = 8 << 10;

/// Maximum number of topics of a node. At about 400 bytes each, and twice their names, they fit a node's memory limit
/// beside its records.
pub const TOPICS_MAX: usize = 1 << 20;

/// Topics that clients of one address may create per second in the long run, unless configured. Without a bound one
/// client took all the topics of a node within seconds. Programs that make a topic for each of their users stay below.
pub const CREATES_PER_SECOND_DEFAULT: u64 = 2_000;

/// Topics that clients of one address may create at once after a rest, unless configured: twice the most keys that
/// `dht-cli bench` is usually run with.
pub const CREATES_BURST_DEFAULT: u64 = 200_000;

/// Minimum delay in milliseconds before a CREATE is repeated that was refused because too many came from its address.
pub const CREATE_AGAIN_MS: u32 = 20;

/// Maximum number of addresses without connections that are remembered for the topics that they created, at about 100
/// bytes each. Beyond it those that created the fewest are forgotten, and get a new burst when they connect again.
pub const SOURCES_IDLE_MAX: usize = 4_096;

/// Largest batch in bytes that shares a chunk with others; a larger one keeps its own buffer.
pub const MERGE_BYTES_MAX: usize = 4 << 10;

/// Size in bytes of the buffer that the small payloads of one turn share.
pub const PAYLOADS_BYTES: usize = 64 << 10;

/// Size in bytes at which a shared chunk is closed. Trimming frees whole chunks. The allocator reuses freed memory and
/// decides how much of it returns to the system.
pub const CHUNK_MERGED_MAX: usize = 16 << 10;

/// Maximum number of distinct append times in a shared chunk.
pub const CHUNK_PARTS_MAX: usize = 256;

/// Marks that a log keeps per retention bound of its topic. Retention by size and age removes whole marks, so this sets
/// its precision.
pub const MARKS_PER_BOUND: u64 = 64;

/// Maximum number of bytes of records between two marks. At that size 16 GiB of records have 512 KiB of marks.
pub const MARK_BYTES_MAX: u64 = 1 << 20;

/// Attempts before a backup is given up because the node keeps removing what is being copied. Each attempt keeps what
/// the ones before have copied, so only a node that writes faster than it can be read gets that far.
pub const BACKUP_ATTEMPTS: u32 = 100;

/// Bytes at the beginning and at the end of two segments that a backup compares to see whether they are the same.
pub const BACKUP_COMPARED_BYTES: usize = 64 << 10;

/// How far a repair raises every epoch. Starts in the lost part of the log may have raised epochs too, but never by
/// this much, so no lost epoch is issued again.
pub const EPOCHS_GIVEN_UP: u32 = 1 << 16;

/// Maximum number of producers per topic that are remembered after storing more than sequence 0. The least recently
/// active is forgotten.
pub const PRODUCERS_MAX: usize = 1024;

/// Maximum number of producers per topic that are remembered after storing only sequence 0, at up to 64 bytes each. The
/// oldest is forgotten. Each message sent from the command line is one, so its retry is recognised until this many
/// others have been stored.
pub const ONE_SHOTS_MAX: usize = 16_384;

/// Maximum number of opened producers per topic, whose records are counted, at about 120 bytes each. The least recently
/// active is forgotten, and every later open reports how many were.
pub const OPENED_PRODUCERS_MAX: usize = 16_384;

/// Maximum number of losses that a topic records individually; older ones are merged.
pub const LOSSES_MAX: usize = 8;

/// Maximum number of clock eras that a node keeps apart, at 40 bytes each, and 16 more in each topic that has records
/// of several. Only a clock jump or a start begins one. Records of older eras count as appended when the oldest kept
/// era began.
pub const ERAS_MAX: usize = 64;

/// Maximum number of topics that one LIST request examines, so that a prefix without matches does not stall the node.
pub const LIST_SCAN_MAX: usize = 4096;

/// Topics that one tick examines for expired records: a hundred thousand topics take ten seconds.
pub const AGE_SCAN_PER_TICK: usize = 1024;

/// Default retention of a topic in bytes on a node without a journal.
pub const TOPIC_BYTES_DEFAULT: u64 = 64 << 20;

/// Default retention of a topic in bytes on a node with a journal.
pub const TOPIC_BYTES_ON_DISK_DEFAULT: u64 = 1 << 30;

/// Default limit on the memory of all topics of a node, in bytes.
pub const NODE_BYTES_DEFAULT: u64 = 1 << 30;

/// Smallest allowed limit on the memory of all topics of a node. With less there is no room for batches of an ordinary
/// size.
pub const NODE_BYTES_LEAST: u64 = 1 << 20;

/// Default size limit of a node's journal, in bytes.
pub const DISK_BYTES_DEFAULT: u64 = 16 << 30;

/// Smallest allowed size limit of a journal: room for one full segment, one being written, one being prepared, one left
/// to cleaning, and the small files.
pub const DISK_BYTES_LEAST: u64 = 5 * SEGMENT_BYTES as u64;

/// The ingress answers OUTCOME_UNKNOWN on behalf of an unresponsive target after this time. It is below the client
/// library's timeout of 5 s, so a client learns the outcome before it gives up.
pub const REQUEST_TIMEOUT_US: u64 = 4_000_000;

/// A client that has been silent for this long gets a PING, and is closed after the same time again.
pub const CLIENT_KEEPALIVE_US: u64 = 15_000_000;

/// Interval between PINGs to a client whose reads are suspended although it reads its answers. They show that the node
/// is alive, because the client's own PING is not read. The client library gives up after 2 s of silence, and the scan
/// of the clients may be 0.5 s late.
pub const PAUSED_PING_US: u64 = 1_000_000;

/// A link that has been idle in either direction for this long carries a PING.
pub const LINK_PING_US: u64 = 250_000;

/// A link on which nothing has been received for this long is down.
pub const LINK_SILENCE_US: u64 = 1_000_000;

/// A lost link is redialled after half of this plus a random time of up to half of it.
pub const REDIAL_US: u64 = 100_000;

/// A connection attempt that has not succeeded within this time is abandoned.
pub const DIAL_TIMEOUT_US: u64 = 1_000_000;

/// A second link of a live neighbour waits this long for the first one to answer a PING.
pub const DUPLICATE_PROBE_US: u64 = 400_000;

/// For this long after an UNREACHABLE the ingress answers requests to that target with UNREACHABLE itself.
pub const UNREACHABLE_HOLD_US: u64 = 100_000;

/// Period in which the lines of each log statement are counted: clients and strangers can cause any number of them.
pub const LOG_PERIOD_US: u64 = 10_000_000;

/// Maximum number of warnings, or errors, that one log statement writes in a period.
pub const LOG_WARNINGS_MAX: u32 = 5;

/// Maximum number of lines at level info that one log statement writes in a period: a node has up to ten links, and a
/// restart of the cube takes each down and up.
pub const LOG_LINES_MAX: u32 = 20;

/// Maximum number of characters of the text of a log line: the reason in a peer's GOAWAY can be as long as a frame.
pub const LOG_TEXT_MAX: usize = 2000;

/// A node that no request has found unreachable for this long may be back: requests wait for it again.
pub const OUT_OF_REACH_KNOWN_US: u64 = 1_000_000;

/// First delay before a request that was refused as not applied is sent again. It doubles each time …
pub const RETRY_FIRST_US: u64 = 20_000;

/// … up to this.
pub const RETRY_MOST_US: u64 = 200_000;

/// Longest time that a request waits for another attempt. Together with the last attempt its client has an answer
/// within 1.5 s.
pub const RETRY_FOR_US: u64 = 1_200_000;

/// A request that was probably lost is sent again for at least this long, although `RETRY_FOR_US` is over: a dead link
/// is detected after `LINK_SILENCE_US`, and a node on the new path may detect that its own link to the dead node is
/// lost up to `LINK_PING_US` and a tick later.
pub const RETRY_AFTER_LOSS_US: u64 = 600_000;

/// The same for a topic that several nodes keep. It is longer than the longest failover: the others elect a leader
/// within 1.2 s of the last message of one that has died, and a second election, if one is needed, takes as long.
pub const FAILOVER_US: u64 = 3_000_000;

/// A node that has left a request unanswered is passed over for this long in favour of others that keep the same topic,
/// unless it answers: until they have elected another leader, they name the one that is silent.
pub const SILENT_LEADER_US: u64 = 1_200_000;

/// A node that leaves its oldest request unanswered for this long is sent that one again, if that is harmless, and so
/// on until the request times out. Each node detects a dead link after `LINK_SILENCE_US`, which is before the third
/// time.
pub const RETRY_SILENCE_US: u64 = 400_000;

/// A request that must not be repeated and that was probably lost is answered OUTCOME_UNKNOWN after this time, because
/// its answer may still arrive by another path.
pub const RETRY_LOST_US: u64 = 300_000;

/// Interval between ticks, in which the core checks its links and clients.
pub const TICK_US: u64 = 100_000;

/// Largest offset of the machine's wall clock that is corrected gradually. Leap seconds and corrections of time servers
/// are smaller.
pub const CLOCK_JUMP_US: u64 = 5_000_000;

/// A larger offset counts as a jump once it has lasted this long. Without the delay, the time between the readings of
/// the two clocks could look like one.
pub const CLOCK_JUMP_LASTS_US: u64 = 1_000_000;

/// Correction of a gradual offset per tick: a hundredth of the tick, so ages are accurate to one per cent.
pub const CLOCK_SLEW_US: i64 = 1_000;

/// Largest difference at which the clocks of two neighbours agree. They are then both right, or wrong in the same way.
pub const CLOCK_AGREES_US: u64 = 60_000_000;

/// Interval between requests for a neighbour's clock until one agrees.
pub const CLOCK_ASK_US: u64 = 1_000_000;

/// How often neighbours are asked how many topics they hold. The answers to other PINGs say it, too, but a busy link
/// has none.
pub const TOPICS_ASK_US: u64 = 10_000_000;

/// A clock that has not jumped for this long after a start is trusted without a neighbour, because time servers have
/// answered by then.
pub const CLOCK_TRUST_US: u64 = 600_000_000;

/// The process exits at most this long after SIGTERM, even if peers do not read.
pub const DRAIN_US: u64 = 4_000_000;

/// A draining node waits at most this long for other members to take over the leadership of its groups, before it
/// begins to disconnect its clients.
pub const DRAIN_HAND_OVER_US: u64 = 1_000_000;

/// After answering its clients, a draining node gives them this long to disconnect by themselves.
pub const DRAIN_CLIENTS_US: u64 = 100_000;

/// A draining node waits at most this long for its neighbours to confirm that they send it nothing more.
pub const DRAIN_LINKS_US: u64 = 200_000;

/// `LINGER_US` at the end of the process, for a connection that has nothing left to send.
pub const DRAIN_LINGER_US: u64 = 100_000;

/// A connection that was sent the reason for its closing stays open this long, so that the peer can read it.
pub const LINGER_US: u64 = 1_000_000;
