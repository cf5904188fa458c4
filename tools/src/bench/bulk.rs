//! Many requests over one connection, as fast as they are answered, for what is made ready and cleared away.

use std::collections::BTreeMap;
use std::time::Duration;

use dht_node::client::{Connection, Deadline, Error};
use dht_node::types::RequestId;
use dht_node::wire::Response;

/// In flight at once: more does not make it faster.
const WINDOW: usize = 256;

/// Asks for each thing and hands over its answer. Nothing is repeated: what is not handed over was not answered.
///
/// # Errors
/// The connection is lost, or no answer comes for so long.
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
