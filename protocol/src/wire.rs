//! The wire format between nodes, and between a client and a node. protocol.md is its normative specification.
//!
//! ```text
//! frame  = header (36) | route (route_len, only between nodes) | args (args_len) | payload (the rest)
//! ```
//!
//! | file | what |
//! |---|---|
//! | `frame` | header, checksums, and the boundaries of a frame's sections |
//! | `route` | the section that each hop rewrites |
//! | `opcode`, `status` | the registries |
//! | `field` | encoding and decoding the fields of args, and TLVs |
//! | `hello` | HELLO and GOAWAY |
//! | `request`, `response` | the args of every operation: encoding and decoding side by side |
//! | `push` | DELIVER and EVENT, which a subscriber gets without a request |
//! | `feed` | the messages between nodes about subscriptions |
//! | `raft` | the messages between the members of a replica group |
//! | `inspect` | frames of any kind, field by field |
//! | `records` | the payload of PUBLISH, FETCH and DELIVER |
//!
//! Nothing here does I/O, and nothing here panics on input.

// Lengths and counts come from peers and files: an overflow would wrap in a release.
#![warn(clippy::arithmetic_side_effects)]

pub mod chunks;
pub mod feed;
pub mod field;
pub mod frame;
pub mod hello;
pub mod inspect;
pub mod opcode;
pub mod push;
pub mod raft;
pub mod records;
pub mod request;
pub mod response;
pub mod route;
pub mod status;

pub use field::DecodeError;
pub use frame::{Flags, Frame, FrameError, HEADER_BYTES, Head, Header, Kept, Raw};
pub use hello::{Goaway, Hello, Role};
pub use opcode::Opcode;
pub use push::Push;
pub use request::Request;
pub use response::Response;
pub use route::{Kind, Origin, Route, TrafficClass};
pub use status::{Class, Status};
