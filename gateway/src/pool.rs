//! The connections to the cube that requests share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::http::StatusCode;
use dht_client::Builder;
use dht_client::tokio::Client;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::limits::{CONNECT_AGAIN, CONNECT_TIME};
use crate::problem::Problem;

/// A fixed number of clients, which take turns. Each has many requests in flight, and reconnects by itself.
#[derive(Debug)]
pub(crate) struct Pool {
    builder: Builder,
    slots: Vec<Slot>,
    turn: AtomicUsize,
}

/// A client, from its first connection on.
#[derive(Debug, Default)]
struct Slot {
    client: OnceLock<Client>,
    /// The last attempt to connect, if it failed. Locked during an attempt, so that there is one at a time.
    failure: Mutex<Option<(Instant, Problem)>>,
}

impl Pool {
    /// Returns a pool of `clients` clients, which connect when they are first used.
    pub(crate) fn new(builder: Builder, clients: usize) -> Self {
        let slots = (0..clients.max(1)).map(|_| Slot::default()).collect();
        Self { builder, slots, turn: AtomicUsize::new(0) }
    }

    /// Returns a connected client.
    ///
    /// # Errors
    /// Returns a problem with 503 if no node answers; at once, if none answered a moment ago.
    pub(crate) async fn client(&self) -> Result<Client, Problem> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.slots[turn % self.slots.len()].client(|| self.settings()).await
    }

    /// Returns the settings of a new client: those of one that has connected, which knows nodes that are not listed.
    fn settings(&self) -> Builder {
        let known = self.slots.iter().find_map(|slot| slot.client.get());
        known.map_or_else(|| self.builder.clone(), Client::to_builder)
    }
}

impl Slot {
    fn connected(&self) -> Option<Client> {
        self.client.get().filter(|client| client.server().is_some()).cloned()
    }

    async fn client(&self, settings: impl FnOnce() -> Builder) -> Result<Client, Problem> {
        if let Some(client) = self.connected() {
            return Ok(client);
        }
        let mut failure = self.failure.lock().await;
        if let Some(client) = self.connected() {
            return Ok(client);
        }
        if let Some((at, problem)) = &*failure
            && at.elapsed() < CONNECT_AGAIN
        {
            return Err(problem.clone());
        }
        let attempt = async {
            match self.client.get() {
                Some(client) => client.ingress().await.map(|_| client.clone()),
                None => {
                    let client = settings().connect_tokio().await?;
                    Ok(self.client.get_or_init(|| client).clone())
                }
            }
        };
        let problem = match timeout(CONNECT_TIME, attempt).await {
            Ok(Ok(client)) => {
                *failure = None;
                return Ok(client);
            }
            Ok(Err(error)) => Problem::from(error),
            Err(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "CONNECT", "no node of the cube answers"),
        };
        let problem = problem.retry_after(CONNECT_AGAIN).hint("are the nodes of --servers running?");
        *failure = Some((Instant::now(), problem.clone()));
        Err(problem)
    }
}
