//! The blocking client, for the tests that both clients pass.

use crate::{Builder, Client};

#[cfg_attr(feature = "tokio", expect(clippy::duplicate_mod, reason = "both clients pass the same tests"))]
#[path = "operations.rs"]
mod operations;

fn connect(builder: Builder) -> Client {
    builder.connect().unwrap()
}
