//! What `tests/vectors.rs` is made of.
//!
//! | file | what |
//! |---|---|
//! | `text` | the files of vectors |
//! | `document`, `layout`, `describe` | protocol.md, its tables of fields executed, what they say of a frame |
//! | `good` | a good frame as a value, encoded and decoded |
//! | `frames`, `bad`, `payloads`, `routing` | the vectors: one module for each file |

pub(crate) mod bad;
pub(crate) mod describe;
pub(crate) mod document;
pub(crate) mod frames;
pub(crate) mod good;
pub(crate) mod layout;
pub(crate) mod payloads;
pub(crate) mod routing;
pub(crate) mod text;
