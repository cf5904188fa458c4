//! `dht-node`: a distributed hash table of topics with publish and subscribe, on a hypercube of nodes.
//!
//! This is the daemon. Clients need `dht-client`; the wire format is in `dht-protocol`.
//!
//! The modules stand in the order of their layers; a file imports only from those above it (`tests/tidy.rs` checks
//! it, ARCHITECTURE.md says why). From `node` up to the top there is no I/O, no clock and no randomness: the same
//! code runs in the daemon and in the simulator.

#[macro_use]
mod planted;

pub use dht_protocol::{cube, wire};

pub mod limits;
pub mod types;

pub mod entry;

pub mod replica;

pub mod topic;

pub mod node;

pub mod journal;

pub mod turn;

pub mod driver;

pub mod storage;

pub mod net;

pub mod config;

// The fakes of tests/support name this crate as the tests outside of it do.
#[cfg(test)]
extern crate self as dht_node;
