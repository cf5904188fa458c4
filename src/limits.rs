//! Every bound of the system in one place, each with its reason. Reaching one is a handled case with a status code.
//!
//! protocol.md repeats those that a client meets; a test holds the two against each other.

use std::time::Duration;

/// Most bits of a node id: 1024 nodes. A set of links (5120 bits) still fits into a route section of under 1 KiB.
pub const DIMENSION_MAX: u8 = 10;

/// Most bytes of a topic name: with its length byte it fits 250 bytes of args.
pub const TOPIC_NAME_MAX: usize = 249;

/// Most bytes of a cluster name, of a software name and of an address in args: they share a 1 KiB HELLO.
pub const LABEL_MAX: usize = 200;

/// Most bytes of a whole frame between a client and a node; what a client may lower in HELLO.
/// Large enough for any sensible message, small enough that one cannot delay a link's PING by 100 ms.
pub const FRAME_MAX: u32 = 1 << 20;

/// The least `max_frame` that a client may ask for: every answer without payload fits it.
pub const FRAME_MAX_LEAST: u32 = 64 << 10;

/// What a link accepts beyond `FRAME_MAX`: the route section, so that no client's largest frame can break a link.
pub const LINK_FRAME_EXTRA: u32 = 4 << 10;

/// Most bytes of the first frame of a connection: HELLO fits, and an unknown peer can make us hold no more.
pub const FRAME_BEFORE_HELLO_MAX: u32 = 1 << 10;

/// Most bytes of records in one PUBLISH: what was published in one frame must fit one FETCH response, whose args
/// are longer.
pub const PAYLOAD_MAX: u32 = FRAME_MAX - RESPONSE_ARGS_MAX;

/// Room for the header and args of any response with payload.
pub const RESPONSE_ARGS_MAX: u32 = 4 << 10;

/// Most runs of equal append time in one FETCH response: 12 bytes each, within `RESPONSE_ARGS_MAX`.
pub const FETCH_RUNS_MAX: usize = 256;

/// A frame starts with this many times `2^d` hops left. With any links dead it needs at most 13 of them for d = 3 and
/// 37 for d = 4, which was enumerated; for 5 to 7 the worst that a search found is 93, 206 and 433, below 4 · 2^d.
pub const TTL_PER_NODE: u16 = 8;

/// Frames of at least this many bytes get a buffer of their own that is passed on; smaller ones are copied once.
pub const OWN_BUFFER_MIN: usize = 16 << 10;

/// Bytes read from one connection in one turn, before the others have theirs.
pub const READ_BUDGET: usize = 256 << 10;

/// Frames of one connection that one turn handles, before the others have theirs: small frames cost more than bytes.
pub const FRAMES_PER_TURN: usize = 4096;

/// Most client connections of a node: 1 KiB each when idle. Fewer when the process may open fewer files.
pub const CLIENTS_MAX: usize = 10_000;

/// Connections beyond the clients that may be in their handshake: one may be a neighbour.
pub const HANDSHAKES_EXTRA: usize = 64;

/// Closed connections that may linger, so that their peer can read why, when all other descriptors are in use.
pub const LINGERING_MAX: usize = 256;

/// Descriptors of the process itself: standard streams, poll, listener, signals, waker, a peers file while it is read.
pub const PROCESS_DESCRIPTORS: usize = 12;

/// Descriptors of the journal: its lock and folder, the segments that are written, filled, cleaned and read, an index,
/// a checkpoint. At most ten are open at once.
pub const JOURNAL_DESCRIPTORS: usize = 16;

/// Descriptors of each link: the connection, the attempt that may replace it, and one being dialled.
pub const LINK_DESCRIPTORS: usize = 3;

/// The fewest descriptors for clients, handshakes and connections that linger with which a node starts.
pub const SPARE_DESCRIPTORS_LEAST: usize = 8;

/// Connections accepted in one turn: a flood of them must not stall the links.
pub const ACCEPTS_PER_TURN: usize = 256;

/// Most unanswered requests of one client; beyond it the client is not read (told in HELLO as `max_inflight`).
pub const INFLIGHT_MAX: u32 = 1024;

/// What an unanswered request is charged besides its payload: the size of an answer without one.
pub const RESPONSE_CHARGE: u32 = RESPONSE_ARGS_MAX;

/// Charged bytes of one client's unanswered requests, beyond which it is not read.
pub const CLIENT_CHARGE_MAX: u64 = 8 << 20;

/// Charged bytes of all clients of a node, beyond which those with requests in flight are not read.
pub const NODE_CHARGE_MAX: u64 = 256 << 20;

/// Unsent bytes of one client, beyond which it is not read; it is never cut off for reading slowly.
pub const CLIENT_QUEUE_MAX: usize = 256 << 10;

/// Unsent bytes of a link, beyond which it takes no more requests (OVERLOADED). Responses always have room: the
/// ingress reserved it.
pub const LINK_QUEUE_MAX: usize = 8 << 20;

/// Unsent bytes of a link, beyond which it takes no more pushed records: they are not sent, and whoever misses them
/// fetches them. Low, so that pushes leave room for requests.
pub const PUSH_QUEUE_MAX: usize = 2 << 20;

/// Most subscriptions of one client.
pub const SUBSCRIPTIONS_PER_CLIENT_MAX: usize = 4096;

/// Most subscriptions of a node: about 200 bytes each.
pub const SUBSCRIPTIONS_MAX: usize = 100_000;

/// Bytes queued for a subscription that catches up, before the others have theirs.
pub const CATCH_UP_BYTES: usize = 64 << 10;

/// Subscriptions that catch up in one turn.
pub const CATCH_UPS_PER_TURN: usize = 64;

/// Pushed records of one topic of another node that are kept for subscriptions that are a little behind.
pub const TAIL_BYTES_MAX: usize = 256 << 10;

/// The same of all topics together.
pub const TAILS_BYTES_MAX: usize = 16 << 20;

/// Most bytes of records that one fetch for subscriptions brings.
pub const PULL_BYTES: u32 = 256 << 10;

/// Fetches for subscriptions in flight.
pub const PULLS_MAX: usize = 64;

/// The same to one home, so that one that does not answer leaves room for the others.
pub const PULLS_PER_HOME_MAX: usize = 16;

/// A fetch for subscriptions that was not answered after this time is made again.
pub const PULL_TIMEOUT_US: u64 = 1_000_000;

/// A fetch for subscriptions that failed is made again after this time.
pub const PULL_AGAIN_US: u64 = 300_000;

/// Each node that records are pushed to is told this often how far the topics are.
pub const HEADS_US: u64 = 1_000_000;

/// HEADS that may be missing, or unanswered, before the other side is thought to have forgotten.
pub const HEADS_MISSING_MAX: u64 = 3;

/// A home that sent nothing for this long, while it is followed, is asked: HEADS come every `HEADS_US`.
pub const OUTAGE_ASK_US: u64 = 1_500_000;

/// While it is silent or out of reach, it is asked again this often.
pub const OUTAGE_PROBE_US: u64 = 500_000;

/// A home that has been out of reach for this long is told to its subscribers: a link that comes back at once, or a
/// node that is started again quickly, is no news.
pub const OUTAGE_TOLD_US: u64 = 1_000_000;

/// The same when nobody says that there is no path, but nothing comes from it either.
pub const OUTAGE_SILENT_US: u64 = 4_000_000;

/// What a home was told is told again when it was not confirmed in this time.
pub const FEED_AGAIN_US: u64 = 900_000;

/// Items of one FEED: at most 275 bytes each.
pub const FEED_ITEMS_MAX: usize = 200;

/// Items of one HEADS: 20 bytes each.
pub const HEADS_ITEMS_MAX: usize = 2048;

/// Topics whose pushes nobody here wants, noted until their home is told.
pub const STRAYS_MAX: usize = 1024;

/// The longest that FETCH may wait for a record.
pub const FETCH_WAIT_MAX_MS: u32 = 30_000;

/// Bytes of entries that one record of the journal holds, unless a single one is larger: two fit the smallest segment.
pub const RECORD_BYTES_MAX: usize = 2 << 20;

/// Bytes of proposed batches that are not committed yet; beyond it publishes are answered OVERLOADED: the disk hangs.
pub const PROPOSALS_BYTES_MAX: u64 = 64 << 20;

/// Turns whose entries are made safe together: their memory is bound by those above.
pub const COMMIT_TURNS_MAX: usize = 1024;

/// Bytes of the first segments of a journal.
pub const SEGMENT_BYTES_FIRST: u32 = 4 << 20;

/// Bytes of the others: a checkpoint comes with each, so that a start reads little more than one.
pub const SEGMENT_BYTES: u32 = 64 << 20;

/// Bytes of a segment that are filled with zeros before whoever waits for records has a turn.
pub const FILL_BYTES: u32 = 1 << 20;

/// Bytes after which that, or what cleaning copies, is synced: all of a segment at once would take as long as hundreds
/// of reads.
pub const FILL_SYNC_BYTES: u32 = 8 << 20;

/// A segment that could not be made ready, most likely for want of space, is tried again after this time.
pub const SEGMENT_AGAIN_US: u64 = 200_000;

/// Batches, trims and deletions that the loop collects before it tells the thread that keeps the journal's books.
pub const NOTES_MAX: usize = 1024;

/// The longest that those wait for more: so soon a node that does nothing else learns that whole segments are dead.
pub const NOTES_WAIT: Duration = Duration::from_millis(200);

/// A checkpoint that could not be made is tried again after this time.
pub const CHECKPOINT_AGAIN: Duration = Duration::from_secs(1);

/// A call of the journal's thread that the system refuses for want of descriptors or memory is repeated for this long
/// before publishes are refused because of it.
pub const SHORTAGE_PATIENCE: Duration = Duration::from_secs(2);

/// A write to the journal that is refused for want of memory is repeated after this time, then after twice as long, and
/// so on.
pub const SHORTAGE_WAIT_LEAST: Duration = Duration::from_millis(10);

/// The longest of these times.
pub const SHORTAGE_WAIT_MAX: Duration = Duration::from_secs(1);

/// A shortage of descriptors or memory that lasts is logged this often.
pub const SHORTAGE_LOG: Duration = Duration::from_secs(10);

/// Batches of a topic between two places where its index can be entered: about a kilobyte is read to find one.
pub const INDEX_BLOCK_BATCHES: usize = 128;

/// Bytes of records that one read from the journal brings.
pub const READ_BYTES_MAX: u32 = 256 << 10;

/// Reads from the journal in flight: what they bring is in memory until it is sent.
pub const READS_MAX: usize = 64;

/// Reads that wait for those, beyond which FETCH is answered OVERLOADED: the disk hangs, or is asked too much.
pub const READS_WAITING_MAX: usize = 4096;

/// Milliseconds after which a FETCH is repeated that could not be read because the node was short of descriptors or
/// memory.
pub const READ_AGAIN_MS: u32 = 200;

/// Bytes of a segment between two wanted batches that are read and thrown away, which costs less than another read.
pub const READ_GAP_MAX: u32 = 512;

/// Segments are looked through this often for those that hold mostly dead records; one is cleaned when none of its
/// records have died between two looks.
pub const CLEAN_LOOK: Duration = Duration::from_secs(5);

/// Cleaning that could not be done, most likely for want of space, is tried again after this time.
pub const CLEAN_AGAIN: Duration = Duration::from_secs(1);

/// Bytes that cleaning writes a second while space is not short; it reads about as many. A fraction of what a disk
/// does, so that commits and reads keep most of it.
pub const CLEAN_BYTES_PER_SECOND: u32 = 32 << 20;

/// A segment that is this small a part of a full one is put together with others.
pub const CLEAN_SMALL_PART: u32 = 8;

/// So many of them are, so that each record is copied for this reason a few times at most.
pub const CLEAN_SMALL_SEGMENTS: usize = 16;

/// With `--sync interval`: more often than this is always.
pub const SYNC_INTERVAL_LEAST: Duration = Duration::from_millis(1);

/// With `--sync interval`: less often than this is never.
pub const SYNC_INTERVAL_MAX: Duration = Duration::from_mins(1);

/// Bytes at the end of a segment that no records take until the next one is ready: on a full disk this is the room for
/// thousands of entries that remove topics or records, which is what makes space.
pub const SEGMENT_RESERVE: u32 = 256 << 10;

/// Most topics of a node: at under 400 bytes each, what a node's memory cap can hold beside its records.
pub const TOPICS_MAX: usize = 1 << 20;

/// Batches of up to this many bytes are stored behind each other in one chunk; larger ones keep their own buffer.
pub const MERGE_BYTES_MAX: usize = 4 << 10;

/// Bytes of the buffer that small payloads of one turn share.
pub const PAYLOADS_BYTES: usize = 64 << 10;

/// Bytes beyond which such a chunk takes no more: trimmed records are freed at this grain. Freed memory serves the next
/// records; how much of it the system sees again is up to its allocator.
pub const CHUNK_MERGED_MAX: usize = 16 << 10;

/// Different append times in such a chunk.
pub const CHUNK_PARTS_MAX: usize = 256;

/// A log remembers this many times for each bound of its topic how far it had come: as exact is what retention by size
/// and age removes.
pub const MARKS_PER_BOUND: u64 = 64;

/// Bytes of records between two of those times at most: 16 GiB of records have 512 KiB of them.
pub const MARK_BYTES_MAX: u64 = 1 << 20;

/// Epochs that a repair or a restored backup leaves out: more than starts that could not exclude a loss may have begun
/// in what is gone, so that none of those is taken for one that comes.
pub const EPOCHS_GIVEN_UP: u32 = 1 << 16;

/// Most producers that have stored more than sequence 0 and that a topic remembers; the least recently active goes.
pub const PRODUCERS_MAX: usize = 1024;

/// Most producers that have stored only sequence 0 and that a topic remembers, about 50 bytes each; the oldest goes. As
/// each is one message of a command line, a message can be retried until as many others have come.
pub const ONE_SHOTS_MAX: usize = 16_384;

/// Most producers of a topic whose records are counted, 64 bytes each; the least recently active is forgotten, and that
/// some were is told to whoever opens one.
pub const OPENED_PRODUCERS_MAX: usize = 16_384;

/// Losses that a topic remembers one by one; older ones are told together.
pub const LOSSES_MAX: usize = 8;

/// Eras of the clock that a node tells apart, 40 bytes each and 16 in each topic with records of several: only a clock
/// that jumps begins one. Records of older eras count as appended when the oldest of these began.
pub const ERAS_MAX: usize = 64;

/// Unacknowledged batches of a producer in one topic, and as many answers remembered.
pub const PRODUCER_WINDOW: usize = 64;

/// Nodes in one NODES response: 204 bytes each at most, within one frame of `FRAME_MAX_LEAST`. A cube of up to eight
/// dimensions is one page.
pub const NODES_PAGE_MAX: u16 = 256;

/// Bytes of the payload of a NODES response: id, link and address of each node.
pub const NODES_BYTES_MAX: u32 = NODES_PAGE_MAX as u32 * 204;

/// Names in one LIST response: 282 bytes each at most, within one frame of `FRAME_MAX_LEAST`.
pub const LIST_NAMES_MAX: usize = 200;

/// Bytes that a topic takes in such a response beside its name.
pub const LISTED_BYTES: usize = 33;

/// Bytes of such a response, beside what any has.
pub const LIST_BYTES_MAX: u32 = FRAME_MAX_LEAST - RESPONSE_ARGS_MAX;

/// Topics that one LIST request looks at, so that a prefix that matches nothing does not stall the node.
pub const LIST_SCAN_MAX: usize = 4096;

/// Topics that one tick examines for records past their age: a hundred thousand are through in ten seconds.
pub const AGE_SCAN_PER_TICK: usize = 1024;

/// Bytes that one topic keeps of a node without a journal unless its creator says otherwise.
pub const TOPIC_BYTES_DEFAULT: u64 = 64 << 20;

/// Bytes that one topic keeps of a node with a journal unless its creator says otherwise.
pub const TOPIC_BYTES_ON_DISK_DEFAULT: u64 = 1 << 30;

/// Bytes of all topics of a node in memory unless the command line says otherwise.
pub const NODE_BYTES_DEFAULT: u64 = 1 << 30;

/// Bytes of a node's journal unless the command line says otherwise.
pub const DISK_BYTES_DEFAULT: u64 = 16 << 30;

/// The least that a journal may be bound to: room for one segment that is full, one that is written to, one that is
/// made ready, and one that is left to cleaning; and for what else is small.
pub const DISK_BYTES_LEAST: u64 = 5 * SEGMENT_BYTES as u64;

/// A connection says HELLO within this time.
pub const HELLO_TIMEOUT_US: u64 = 5_000_000;

/// A frame that has begun ends within this time.
pub const PARTIAL_FRAME_TIMEOUT_US: u64 = 10_000_000;

/// The ingress answers OUTCOME_UNKNOWN for the target after this time: below the client library's 5 s, so that the
/// client learns what happened instead of giving up first.
pub const REQUEST_TIMEOUT_US: u64 = 4_000_000;

/// A client that was silent for this long is asked, and after as long again closed.
pub const CLIENT_KEEPALIVE_US: u64 = 15_000_000;

/// The shortest keepalive that a client may ask for.
pub const CLIENT_KEEPALIVE_LEAST_US: u64 = 1_000_000;

/// A client that is not read, although it reads, gets a PING this often: a sign of life, which it cannot ask for. The
/// client library gives a node up after 2 s of silence, and a scan of the clients finds it at most 0.5 s late.
pub const PAUSED_PING_US: u64 = 1_000_000;

/// A link on which nothing was heard or sent for this long carries a PING.
pub const LINK_PING_US: u64 = 250_000;

/// A link that heard nothing for this long is down.
pub const LINK_SILENCE_US: u64 = 1_000_000;

/// A lost link is dialled again after half of this, plus as much again at random.
pub const REDIAL_US: u64 = 100_000;

/// A connect that has not succeeded in this time is given up.
pub const DIAL_TIMEOUT_US: u64 = 1_000_000;

/// A second link of a live neighbour waits this long for the first one to answer a PING.
pub const DUPLICATE_PROBE_US: u64 = 400_000;

/// After UNREACHABLE the ingress answers for that target itself for this long.
pub const UNREACHABLE_HOLD_US: u64 = 100_000;

/// The core looks at its links and clients this often.
pub const TICK_US: u64 = 100_000;

/// A wall clock that is off by less than this is followed slowly: leap seconds and what time servers correct are less.
pub const CLOCK_JUMP_US: u64 = 5_000_000;

/// One that is off by more for this long has jumped: two clocks that are read in turn cannot look like it.
pub const CLOCK_JUMP_LASTS_US: u64 = 1_000_000;

/// So much of a small difference is made up at a tick: a hundredth of the time, so that ages are as exact as that.
pub const CLOCK_SLEW_US: i64 = 1_000;

/// Clocks of neighbours that differ by no more are right, or wrong in the same way.
pub const CLOCK_AGREES_US: u64 = 60_000_000;

/// Until one agrees, they are asked this often.
pub const CLOCK_ASK_US: u64 = 1_000_000;

/// A clock that has not jumped for so long after a start is believed without them: time servers have answered by then.
pub const CLOCK_TRUST_US: u64 = 600_000_000;

/// After SIGTERM the process is gone within this time, whoever does not read.
pub const DRAIN_US: u64 = 4_000_000;

/// A node that ends gives its clients this long to leave by themselves, once it has answered them.
pub const DRAIN_CLIENTS_US: u64 = 100_000;

/// A node that ends waits this long for its neighbours to confirm that they send it nothing more.
pub const DRAIN_LINKS_US: u64 = 100_000;

/// The same as `LINGER_US` at the end of the process, for a connection with nothing left to send.
pub const DRAIN_LINGER_US: u64 = 100_000;

/// A connection that was told why it is closed has this long to read it.
pub const LINGER_US: u64 = 1_000_000;

const _: () = {
    assert!(FRAME_BEFORE_HELLO_MAX < FRAME_MAX_LEAST);
    assert!(FRAME_MAX_LEAST < FRAME_MAX);
    assert!(OWN_BUFFER_MIN < READ_BUDGET);
    assert!(36 + 80 + FETCH_RUNS_MAX * 12 <= RESPONSE_ARGS_MAX as usize);
    assert!(LIST_NAMES_MAX * (TOPIC_NAME_MAX + LISTED_BYTES) <= LIST_BYTES_MAX as usize);
    assert!(NODES_BYTES_MAX as usize == NODES_PAGE_MAX as usize * (4 + LABEL_MAX));
    assert!(NODES_BYTES_MAX + 4096 <= FRAME_MAX_LEAST);
    assert!(2 * LABEL_MAX + 256 <= FRAME_BEFORE_HELLO_MAX as usize);
    assert!(LINK_PING_US * 3 < LINK_SILENCE_US, "two lost answers must not end a link");
    assert!(TICK_US * 2 < LINK_PING_US, "a tick finds every link in time");
    assert!(DUPLICATE_PROBE_US < LINK_SILENCE_US);
    assert!(CLIENT_CHARGE_MAX < NODE_CHARGE_MAX);
    assert!(PUSH_QUEUE_MAX < LINK_QUEUE_MAX, "pushes leave room for requests");
    assert!(PULLS_PER_HOME_MAX < PULLS_MAX);
    assert!(HEADS_US < OUTAGE_ASK_US, "a home that sends HEADS is not asked");
    assert!(OUTAGE_PROBE_US < OUTAGE_TOLD_US, "it is asked once more before anybody is told");
    assert!(HEADS_MISSING_MAX * HEADS_US < OUTAGE_SILENT_US, "it was told everything again before");
    assert!(FEED_AGAIN_US < HEADS_US, "the next tick of a second tells it again");
    assert!(FEED_ITEMS_MAX * (TOPIC_NAME_MAX + 26) <= FRAME_MAX_LEAST as usize);
    assert!(HEADS_ITEMS_MAX * 20 <= FRAME_MAX_LEAST as usize);
    assert!(RECORD_BYTES_MAX + PAYLOAD_MAX as usize + 4096 <= SEGMENT_BYTES_FIRST as usize, "any entry fits a segment");
    assert!(INFLIGHT_MAX as u64 * RESPONSE_CHARGE as u64 <= CLIENT_CHARGE_MAX);
};
