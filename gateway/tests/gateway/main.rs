//! The gateway as a process, in front of real nodes.

#![expect(clippy::unwrap_used, reason = "an unexpected result fails the test")]

mod harness;
#[path = "../../../tests/support/programs.rs"]
mod programs;
mod refused;
mod requests;
mod streams;
