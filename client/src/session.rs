//! The state of a connection, without its socket and without a clock.
//!
//! ```text
//!            Connection or another driver: the socket and the clock
//!      bytes │ room, on_read, on_ended     ▲ output, on_written       Buffers
//!       time │ on_time                     │ wake_at
//!            ▼                             │
//!   Greeting ── poll ──► Agreed            HELLO and its answer
//!   Channel  ── next ──► Answer, Push      requests and subscriptions
//! ```
//!
//! | file | what |
//! |---|---|
//! | `buffers` | bytes that have arrived and bytes to be sent |
//! | `handshake` | HELLO, its answer, and refusals |
//! | `channel` | an open connection |
//! | `incoming`, `pending`, `grants` | its parts: decoding, unanswered requests, subscriptions and their credit |
//! | `watch` | when a silent node is sent PING, and when it is given up |
//! | `tap` | copies of frames |
//! | `deadline` | points in time |
//!
//! The same input at the same times, with the same seed, gives the same output. `tests/tidy.rs` keeps sockets, threads
//! and clocks out.

pub(crate) mod buffers;
pub(crate) mod channel;
pub(crate) mod deadline;
pub(crate) mod grants;
pub(crate) mod handshake;
pub(crate) mod incoming;
pub(crate) mod pending;
pub(crate) mod tap;
#[cfg(test)]
mod tests;
pub(crate) mod watch;
