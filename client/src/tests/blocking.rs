//! The blocking client, for the tests that both clients pass.

use crate::{Builder, Client, Subscriber};

/// A subscriber uses the client's connection.
const HAS_OWN_CONNECTION: bool = false;

#[cfg_attr(feature = "tokio", expect(clippy::duplicate_mod, reason = "both clients pass the same tests"))]
#[path = "operations.rs"]
mod operations;
#[cfg_attr(feature = "tokio", expect(clippy::duplicate_mod, reason = "both clients pass the same tests"))]
#[path = "records.rs"]
mod records;
#[cfg_attr(feature = "tokio", expect(clippy::duplicate_mod, reason = "both clients pass the same tests"))]
#[path = "subscriber.rs"]
pub(super) mod subscriber;

fn connect(builder: Builder) -> Client {
    builder.connect().unwrap()
}

/// Returns a client that is to have only a subscriber.
fn subscribing(builder: Builder) -> Client {
    connect(builder)
}
