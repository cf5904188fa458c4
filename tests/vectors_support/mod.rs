//! What `tests/vectors.rs` is made of.
//!
//! | file | what |
//! |---|---|
//! | `text` | the files of vectors |
//! | `document`, `layout`, `describe` | protocol.md, its tables of fields executed, what they say of a frame |
//! | `good` | a good frame as a value, encoded and decoded |
//! | `frames`, `bad`, `payloads`, `routing`, `raft` | the vectors: one module for each file |
//! | `subscriptions`, `feeds` | more of `frames`: what a subscriber sees, and what nodes tell each other about it |
//! | `multicast` | more of `routing`: frames for many nodes |

pub(crate) mod bad;
pub(crate) mod describe;
pub(crate) mod document;
pub(crate) mod feeds;
pub(crate) mod frames;
pub(crate) mod good;
pub(crate) mod layout;
pub(crate) mod multicast;
pub(crate) mod payloads;
pub(crate) mod raft;
pub(crate) mod routing;
pub(crate) mod subscriptions;
pub(crate) mod text;
