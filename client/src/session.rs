//! The state of a client, without sockets and without a clock: a driver passes bytes and times in, and gets bytes,
//! actions and results out.
//!
//! ```text
//!              Client, or another driver: the socket and the clock
//!   Connected, │  bytes:           ▲ Connect, Close     ▲ wake_at     ▲ results of calls,
//!   Progress   │  room, on_read    │ next_action        │ when to     │ answers, pushes
//!   handle     ▼  on_ended         │ output, on_written │ call again  │
//!   ┌──────────────────────────────────────────────────────────────────────────┐
//!   │ Session   which server, which request, again or not                      │
//!   │   Round → Greeting → Channel   one connection: HELLO, then frames        │
//!   │   Call                         one request with its retries              │
//!   └──────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | `cluster` | the session: a connection to whichever server answers, and calls |
//! | `driving` | events, actions and settings |
//! | `servers` | the order of the servers, and one attempt to connect to any of them |
//! | `call`, `request`, `backoff` | a request with its retries |
//! | `calls` | all requests, by what they wait for |
//! | `publisher` | batches with sequence numbers: in order, each stored once |
//! | `batcher` | collects records into batches for a publisher |
//! | `streams`, `subscription` | subscriptions that survive lost connections: cursors, credit, notices |
//! | `lifeline` | when to reconnect, and when to report that no server answers |
//! | `channel` | an open connection, without retries |
//! | `handshake` | HELLO, its answer, and refusals |
//! | `buffers` | bytes that have arrived and bytes to be sent |
//! | `incoming`, `pending`, `grants` | decoding, unanswered requests, subscriptions and their credit |
//! | `watch` | when a silent node is sent PING, and when it is given up |
//! | `tap` | copies of frames |
//! | `deadline` | points in time |
//!
//! The same events at the same times, with the same seed, give the same output. `tests/tidy.rs` keeps sockets, threads
//! and clocks out.

pub(crate) mod backoff;
pub(crate) mod batcher;
pub(crate) mod buffers;
pub(crate) mod call;
pub(crate) mod calls;
pub(crate) mod channel;
pub(crate) mod cluster;
pub(crate) mod deadline;
pub(crate) mod driving;
pub(crate) mod grants;
pub(crate) mod handshake;
pub(crate) mod incoming;
pub(crate) mod lifeline;
pub(crate) mod pending;
pub(crate) mod publisher;
pub(crate) mod request;
pub(crate) mod servers;
pub(crate) mod streams;
pub(crate) mod subscription;
pub(crate) mod tap;
#[cfg(test)]
mod tests;
pub(crate) mod watch;
