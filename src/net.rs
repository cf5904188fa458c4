//! Sockets: the event loop and everything that it does I/O with. Only this module uses `mio`.
//!
//! | file | what |
//! |---|---|
//! | `server` | the loop: poll, read, turn, write |
//! | `table` | all connections; what the turn asks of them |
//! | `conn` | one socket: bytes in, frames out of them, bytes out |
//! | `fair` | which connection is read next |
//! | `dirty` | which connection is written next |
//! | `inbox`, `outbox` | its two buffers, which exist only while something is in them |
//! | `intake` | the memory of all inboxes |
//! | `descriptors` | how the process's file descriptors are shared out, which bounds the connections |
//! | `dial` | where the neighbours are, and connecting to them |
//! | `host` | `HOST:PORT` |
//! | `resolver` | looks up host names, on threads beside the loop |
//! | `clock` | the only reader of the clocks |

mod clock;
mod conn;
mod descriptors;
mod dial;
mod dirty;
mod fair;
mod host;
mod inbox;
mod intake;
mod outbox;
mod resolver;
mod server;
mod table;

pub use clock::Clock;
pub use descriptors::{Descriptors, TooFewDescriptors};
pub use dial::{Peer, Peers, PeersError, parse_id};
pub use host::{HostPort, HostPortError};
pub use outbox::{Order, Outbox, Spares};
pub use server::{Server, StartError};
