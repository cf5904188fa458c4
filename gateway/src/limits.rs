//! Every bound of the gateway, each with its reason.

use std::time::Duration;

/// Maximum size in bytes of the body of a JSON or NDJSON request. Such a body becomes one batch, whose records may take
/// a third more in base64, and more with escapes.
pub const JSON_BYTES_MAX: usize = 4 << 20;

/// Time within which the headers of a request must arrive, so that a connection that sends nothing ends.
pub const HEADERS_TIME: Duration = Duration::from_secs(15);

/// Time within which the body of a request must arrive: a client that sends a byte a second is not waited for.
pub const BODY_TIME: Duration = Duration::from_secs(30);

/// Time in which the rest of a body is received that a refusal left unread, so that its client gets to the response.
pub const LINGER_TIME: Duration = Duration::from_secs(10);

/// Bytes of such a rest that are received. The connection of a client that sends more is closed.
pub const LINGER_BYTES: usize = 64 << 20;

/// Time that a request waits for a connection to the cube. If none is made, it is answered 503.
pub const CONNECT_TIME: Duration = Duration::from_secs(1);

/// After a failure to connect, requests are answered 503 at once for this long.
pub const CONNECT_AGAIN: Duration = Duration::from_millis(500);

/// Maximum value of `wait`: proxies end a request that is silent for a minute.
pub const WAIT_MAX: Duration = Duration::from_secs(55);

/// Maximum value of `limit` of a read, in records. An answer has at most one frame of records, 1 MiB.
pub const RECORDS_MAX: u32 = 10_000;

/// Value of `limit` of a read that has none.
pub const RECORDS_DEFAULT: u32 = 100;

/// Maximum number of topics in one answer.
pub const TOPICS_MAX: usize = 10_000;

/// Interval of the comments in a stream of events without records, and of the pings on a WebSocket, so that proxies do
/// not close it and a client that is gone is noticed.
pub const COMMENT_INTERVAL: Duration = Duration::from_secs(15);

/// Records of a topic that are kept for readers that are a little behind its head. One that is further behind reads
/// from its own cursor.
pub const FEED_RECORDS: usize = 256;

/// Largest payload in bytes that a feed keeps. Readers read a larger record by themselves.
pub const FEED_BYTES_MAX: usize = 64 << 10;

/// Bytes of the records of all feeds above which they keep no more: readers then read by themselves.
pub const FEEDS_BYTES_MAX: usize = 128 << 20;

/// Bytes of records that a stream reads at once, and holds while its client takes none; a larger record is read alone.
pub const STREAM_BYTES: u32 = 32 << 10;

/// Credit in records that a WebSocket may have at most.
pub const CREDIT_MAX: u64 = 1 << 32;

/// Maximum size in bytes of a message on a WebSocket: they grant credit.
pub const MESSAGE_BYTES_MAX: usize = 1 << 10;

/// Time in which the client of a WebSocket that is closed may close it, too.
pub const CLOSE_TIME: Duration = Duration::from_secs(1);

/// Topics of one subscribing connection: as many subscriptions as a node gives one connection, less some that end.
pub const TOPICS_PER_SUBSCRIBER: usize = 4_000;

/// Idle producers that are kept for each topic. Requests without an `Idempotency-Key` that are in flight at the same
/// time need one each. A topic remembers 1024 producers, which several gateways share.
pub const LANES_PER_TOPIC: usize = 64;

/// Topics whose producers are kept. When there are more, the producers of one that is not in use are dropped, which
/// costs nothing but an entry in the topic.
pub const LANE_TOPICS: usize = 10_000;

/// Maximum size in bytes of the headers of a request, and of what is buffered of responses for a client that reads
/// slowly.
pub const BUFFER_BYTES: usize = 64 << 10;

/// Maximum number of connections of HTTP clients unless the limit on open files is lower.
pub const CONNECTIONS_MAX: u32 = 20_000;

/// File descriptors that are not for HTTP clients: the listener, connections to the cube, and those of the process.
pub const DESCRIPTORS_KEPT: u32 = 64;

/// Time after SIGTERM in which requests that were received are still answered. Streams end at once.
pub const DRAIN_TIME: Duration = Duration::from_secs(4);
