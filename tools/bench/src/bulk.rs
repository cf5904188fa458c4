//! Sends many requests over one connection with pipelining, to set up and clean up a benchmark.

use std::collections::BTreeMap;
use std::time::Duration;

use dht_client::{Connection, Deadline, Error};
use dht_protocol::types::RequestId;
use dht_protocol::wire::Response;

/// Number of requests in flight; more would not be faster.
const WINDOW: usize = 256;

/// Sends a request for each item, and passes each response to the caller. Nothing is retried.
///
/// # Errors
/// Returns an error if the connection is lost, or if no response arrives in time.
pub(super) fn bulk<T>(
    connection: &mut Connection,
    timeout: Duration,
    things: impl Iterator<Item = T>,
    mut ask: impl FnMut(&mut Connection, &T) -> Result<RequestId, Error>,
    mut on_answer: impl FnMut(T, Response),
) -> Result<(), Error> {
    let mut things = things.fuse();
    let mut asked = BTreeMap::new();
    loop {
        while asked.len() < WINDOW
            && let Some(thing) = things.next()
        {
            asked.insert(ask(connection, &thing)?, thing);
        }
        if asked.is_empty() {
            return Ok(());
        }
        let Some(answer) = connection.receive(Deadline::after(timeout))? else {
            return Err(Error::TimedOut { server: connection.server().to_owned(), waited: timeout });
        };
        if let Some(thing) = asked.remove(&answer.id) {
            on_answer(thing, answer.response);
        }
    }
}
