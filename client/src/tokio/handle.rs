//! The channel from the handles of a client to its task, and what the task reports back.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
#[expect(clippy::disallowed_types, reason = "all handles have the same settings, which nobody changes")]
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ::tokio::sync::{mpsc, oneshot, watch};
use dht_protocol::types::{Dimension, NodeId};
use dht_protocol::wire::Hello;

use crate::caller::{Caller, PIPELINE};
use crate::error::{Error, Loss};
use crate::session::call::{Outcome, Repeat};
use crate::session::driving::Settings;
use crate::session::request::OwnedRequest;
use crate::session::servers::Learned;
use crate::tokio::driver::now;

/// What a handle asks its task to do.
#[derive(Debug)]
pub(super) enum Command {
    Call(Request),
    /// Connect, unless there is a connection.
    Open(oneshot::Sender<Result<Place, Error>>),
}

/// A request, and where to send its result.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) request: OwnedRequest,
    pub(super) repeat: Repeat,
    pub(super) wait: Duration,
    /// When it was made: its time limit includes the time that it waits for the task.
    pub(super) made: Instant,
    pub(super) reply: oneshot::Sender<Outcome>,
}

/// The node that the task is connected to.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) server: String,
    pub(super) node: NodeId,
    pub(super) dimension: Dimension,
    pub(super) hello: Hello,
}

/// What the task reports about its connection.
#[derive(Debug, Default)]
pub(super) struct Status {
    /// The connected node.
    pub(super) place: Option<Place>,
    /// The address of the current or last node.
    pub(super) last_server: String,
    /// What is known of other servers than the listed ones.
    pub(super) learned: Learned,
}

/// The sending end of the channel to the task; each clone is a handle.
#[derive(Clone, Debug)]
#[expect(clippy::disallowed_types, reason = "all handles have the same settings, which nobody changes")]
pub(super) struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    /// Tells the task that somebody has stopped to wait for a response; one message is enough for many of them.
    pub(super) abandoned: mpsc::Sender<()>,
    pub(super) status: watch::Receiver<Status>,
    pub(super) settings: Arc<Settings>,
}

impl Handle {
    /// Passes a request to the task.
    async fn begin(&self, request: OwnedRequest, repeat: Repeat, wait: Duration) -> Result<Reply, Error> {
        let (reply, outcome) = oneshot::channel();
        self.send(Command::Call(Request { request, repeat, wait, made: now(), reply })).await?;
        Ok(Reply { outcome, abandoned: self.abandoned.clone(), is_done: false, status: self.status.clone() })
    }

    /// Waits for room in the task's queue. The task empties it without waiting for the node.
    async fn send(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).await.map_err(|_| gone(&self.status, true))
    }

    /// Returns the settings of another session of the same client.
    pub(super) fn settings(&self) -> Settings {
        Settings { learned: self.status.borrow().learned.clone(), ..(*self.settings).clone() }
    }

    async fn place(&self) -> Result<Place, Error> {
        if let Some(place) = &self.status.borrow().place {
            return Ok(place.clone());
        }
        let (reply, place) = oneshot::channel();
        self.send(Command::Open(reply)).await?;
        place.await.unwrap_or_else(|_| Err(gone(&self.status, true)))
    }

    async fn call_all(&self, requests: Vec<OwnedRequest>) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(requests.len());
        let mut begun = VecDeque::with_capacity(PIPELINE);
        for request in requests {
            if begun.len() == PIPELINE
                && let Some(oldest) = begun.pop_front()
            {
                outcomes.push(settle(oldest).await);
            }
            begun.push_back(self.begin(request, Repeat::Unanswered, Duration::ZERO).await);
        }
        for reply in begun {
            outcomes.push(settle(reply).await);
        }
        outcomes
    }

    fn last_server(&self) -> String {
        self.status.borrow().last_server.clone()
    }
}

/// Waits for a response.
async fn settle(begun: Result<Reply, Error>) -> Outcome {
    match begun {
        Ok(reply) => reply.await,
        Err(error) => Outcome { result: Err(error), may_be_done: false },
    }
}

/// Returns the error for a task that has ended with its runtime.
fn gone(status: &watch::Receiver<Status>, untouched: bool) -> Error {
    let reason = Loss::Io(io::ErrorKind::ConnectionAborted.into());
    Error::Lost { server: status.borrow().last_server.clone(), reason, untouched }
}

/// The result of a request, once there is one. Dropping it abandons the request.
#[derive(Debug)]
struct Reply {
    outcome: oneshot::Receiver<Outcome>,
    abandoned: mpsc::Sender<()>,
    is_done: bool,
    status: watch::Receiver<Status>,
}

impl Future for Reply {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let received = ready!(Pin::new(&mut self.outcome).poll(cx));
        self.is_done = true;
        Poll::Ready(received.unwrap_or_else(|_| {
            let error = gone(&self.status, false);
            Outcome { result: Err(error), may_be_done: false }
        }))
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.is_done {
            self.outcome.close();
            let _ = self.abandoned.try_send(()); // if it is full, the task has yet to look for those that are closed
        }
    }
}

impl Caller for &Handle {
    async fn call(&mut self, request: OwnedRequest, repeat: Repeat, wait: Duration) -> Outcome {
        settle(self.begin(request, repeat, wait).await).await
    }

    async fn call_all(&mut self, requests: Vec<OwnedRequest>) -> Vec<Outcome> {
        Handle::call_all(self, requests).await
    }

    async fn place(&mut self) -> Result<(NodeId, Dimension), Error> {
        Handle::place(self).await.map(|place| (place.node, place.dimension))
    }

    fn last_server(&self) -> String {
        Handle::last_server(self)
    }

    fn now(&self) -> Instant {
        now()
    }
}
