//! The task of a client: it passes requests from its handles to the session, and responses back.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::tokio::sync::{mpsc, oneshot, watch};

use crate::builder::Builder;
use crate::clock::random;
use crate::error::Error;
use crate::session::call::Outcome;
use crate::session::calls::CallId;
use crate::session::channel::Channel;
use crate::session::cluster::Session;
use crate::session::deadline::Deadline;
use crate::tokio::driver::{Driver, now};
use crate::tokio::handle::{Command, Handle, Place, Status};

/// Maximum number of commands in the queue to the task. A handle with another one waits until the task has run.
const COMMANDS: usize = 1024;

/// The task.
pub(super) struct Requests {
    driver: Driver,
    commands: mpsc::Receiver<Command>,
    abandoned: mpsc::Receiver<()>,
    waiting: BTreeMap<CallId, oneshot::Sender<Outcome>>,
    /// The callers that wait for a connection, and their deadlines.
    opening: Vec<(Deadline, oneshot::Sender<Result<Place, Error>>)>,
    status: watch::Sender<Status>,
    /// The connection that was reported to the handles, and whether the servers that it has named were; `None` while
    /// there is no connection.
    reported: Option<(u64, bool)>,
}

impl Requests {
    /// Returns a task that has yet to run, and the first handle of it.
    pub(super) fn new(builder: Builder) -> (Self, Handle) {
        let (commands, incoming) = mpsc::channel(COMMANDS);
        let (abandoned, abandonments) = mpsc::channel(1);
        let (reports, status) = watch::channel(Status::default());
        #[expect(clippy::disallowed_types, reason = "as in `Handle`")]
        let settings = std::sync::Arc::new(builder.0.clone());
        let task = Self {
            driver: Driver::new(Session::new(builder.0, random())),
            commands: incoming,
            abandoned: abandonments,
            waiting: BTreeMap::new(),
            opening: Vec::new(),
            status: reports,
            reported: None,
        };
        (task, Handle { commands, abandoned, status, settings })
    }

    /// Passes commands to the session. Returns `None` when there are no handles any more, else whether there were any.
    fn take_commands(&mut self, cx: &mut Context<'_>) -> Option<bool> {
        let mut has_any = false;
        while let Poll::Ready(command) = self.commands.poll_recv(cx) {
            has_any = true;
            let session = &mut self.driver.session;
            match command? {
                Command::Call(call) => {
                    let id = session.enqueue(call.request, call.repeat, call.wait, call.made);
                    self.waiting.insert(id, call.reply);
                }
                Command::Open(reply) => {
                    let now = now();
                    let deadline = session.deadline(now);
                    session.open(deadline, now);
                    self.opening.push((deadline, reply));
                }
            }
        }
        Some(has_any)
    }

    /// Cancels the calls whose result nobody waits for any more.
    fn cancel_abandoned(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(())) = self.abandoned.poll_recv(cx) {
            let session = &mut self.driver.session;
            self.waiting.retain(|id, reply| {
                if reply.is_closed() {
                    session.cancel(*id);
                }
                !reply.is_closed()
            });
        }
    }

    /// Passes results to those who wait for them.
    fn reply(&mut self) {
        let session = &mut self.driver.session;
        session.forget_answers(); // those that were abandoned
        let connection = session.channel().map(|of| (session.connection_number(), !of.learned().is_empty()));
        if connection != self.reported {
            self.reported = connection;
            let place = session.channel().map(place);
            let last_server = session.last_server().to_owned();
            self.status.send_replace(Status { place, last_server, learned: session.learned() });
        }
        while let Some((id, outcome)) = session.take_any() {
            if let Some(reply) = self.waiting.remove(&id) {
                let _ = reply.send(outcome); // it may have been abandoned just now
            }
        }
        if !self.opening.is_empty() {
            self.reply_opened();
        }
    }

    fn reply_opened(&mut self) {
        let (session, now) = (&mut self.driver.session, now());
        let timed_out = Error::TimedOut { server: session.last_server().to_owned(), waited: session.timeout() };
        let result = match (session.opened(), session.channel()) {
            (Some(Ok(())), Some(channel)) => Ok(place(channel)),
            (Some(Err(error)), _) => Err(error),
            // An attempt for a later request may still go on.
            (Some(Ok(())) | None, _) => {
                for (_, reply) in self.opening.extract_if(.., |(deadline, _)| deadline.has_passed(now)) {
                    let _ = reply.send(Err(timed_out.again()));
                }
                return;
            }
        };
        for (_, reply) in self.opening.drain(..) {
            let _ = reply.send(result.as_ref().map(Place::clone).map_err(Error::again));
        }
    }

    /// Returns when those who wait for a connection give up.
    fn opening_until(&self) -> Deadline {
        self.opening.iter().fold(Deadline::NEVER, |until, (deadline, _)| until.earlier(*deadline))
    }
}

fn place(channel: &Channel) -> Place {
    Place {
        server: channel.server().to_owned(),
        node: channel.node(),
        dimension: channel.dimension(),
        hello: channel.hello().clone(),
    }
}

impl Future for Requests {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            let Some(mut has_moved) = this.take_commands(cx) else { return Poll::Ready(()) };
            this.cancel_abandoned(cx);
            has_moved |= this.driver.poll(cx);
            this.reply();
            has_moved |= this.driver.poll_timer(cx, this.opening_until());
            if !has_moved {
                return Poll::Pending;
            }
        }
    }
}
