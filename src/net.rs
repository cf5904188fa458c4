//! Sockets: the event loop and everything that it does I/O with. Only this module uses `mio`.
//!
//! | file | what |
//! |---|---|
//! | `server` | the loop: poll, accept, dial, and the driver |
//! | `descriptors` | how the process's file descriptors are shared out, which bounds the connections |
//! | `dial` | where the neighbours are |
//! | `host` | `HOST:PORT` |
//! | `resolver` | looks up host names, on threads beside the loop |
//! | `clock` | the only reader of the clocks |

mod clock;
mod descriptors;
mod dial;
mod host;
mod resolver;
mod server;

pub use clock::Clock;
pub use descriptors::{Descriptors, TooFewDescriptors};
pub use dial::{Peer, Peers, PeersError, parse_id};
pub use host::{HostPort, HostPortError};
pub use server::{Server, StartError};
