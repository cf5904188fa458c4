//! Tests of the client against a fake node, which does what nodes may do and what they may not.

#[cfg(feature = "tokio")]
mod asynchronous;
mod blocking;
mod connection;
mod producer;
mod pushes;
mod subscriptions;
