//! A stream of the new records of topics.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
#[expect(
    clippy::disallowed_types,
    reason = "the task and the subscriber share what has arrived, on any two threads"
)]
use std::sync::{Arc, Mutex};
use std::sync::{MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use dht_protocol::types::{NodeId, Offset};
use dht_protocol::wire::request::Start;
use futures_core::Stream;

use crate::clock::random;
use crate::error::{Error, Loss};
use crate::session::cluster::Session;
use crate::session::deadline::Deadline;
use crate::session::driving::{Settings, Watching};
use crate::session::streams::{Delivery, Streams};
use crate::tokio::driver::{Driver, now};

/// A [`Stream`] of the records of topics as they arrive; see [`Client::subscribe`].
///
/// It has a connection of its own, which a task keeps alive, re-establishes, and ends with the subscriber. A subscriber
/// that is not polled gets no more records than its window holds: its credit with the node is then used up, and the
/// records wait at their home. Nothing is dropped for that reason; records that retention removes meanwhile are
/// reported as [`Item::Gap`].
///
/// The stream ends when all subscriptions have ended. An `Err` of the stream itself concerns all topics: no server
/// answered for the client's timeout, or the error is not transient. Polling the stream again tries again, and nothing
/// is lost. [`Delivery::item`] has the errors of single topics.
///
/// [`Client::subscribe`]: crate::tokio::Client::subscribe
/// [`Item::Gap`]: crate::Item::Gap
pub struct Subscriber {
    shared: Shared,
}

/// What the task and the subscriber share. Neither keeps it locked while it waits.
#[derive(Clone)]
#[expect(clippy::disallowed_types, reason = "the task and the subscriber share what has arrived, on any two threads")]
struct Shared(Arc<Mutex<State>>);

struct State {
    driver: Driver,
    streams: Streams,
    /// An error that the subscriber has yet to return. The task does not reconnect before that.
    failure: Option<Error>,
    /// The wakers of the task and of the subscriber, each present while that one waits for the other.
    task: Option<Waker>,
    subscriber: Option<Waker>,
    /// True once the subscriber was dropped, or the runtime has dropped the task.
    has_ended: bool,
}

impl Subscriber {
    /// Subscribes to topics, each from its start, and waits until every subscription is established, has ended, or has
    /// a notice that it waits.
    pub(crate) async fn open(settings: Settings, streams: Streams) -> Result<Self, Error> {
        let mut session = Session::new(settings, random());
        session.set_watching(Watching::Within(None));
        #[expect(clippy::disallowed_types, reason = "as in `Shared`")]
        let shared = Shared(Arc::new(Mutex::new(State {
            driver: Driver::new(session),
            streams,
            failure: None,
            task: None,
            subscriber: None,
            has_ended: false,
        })));
        ::tokio::spawn(Task(shared.clone()));
        let mut subscriber = Self { shared };
        subscriber.settle().await?;
        Ok(subscriber)
    }

    /// Waits until every subscription is established, has ended, or has a notice that it waits: everything that is
    /// published from then on will arrive. To be used after [`Self::add`] by those who need to know.
    ///
    /// # Errors
    /// As the stream.
    pub async fn settle(&mut self) -> Result<(), Error> {
        std::future::poll_fn(|cx| {
            let state = &mut *self.shared.lock();
            match state.failure.take() {
                Some(error) => {
                    state.wake_task();
                    Poll::Ready(Err(error))
                }
                None if state.streams.are_all_settled() || state.has_ended => Poll::Ready(Ok(())),
                None => {
                    state.subscriber = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Subscribes to a topic, unless it is subscribed to already.
    ///
    /// # Errors
    /// Returns [`Error::Name`].
    pub fn add(&mut self, topic: &str, start: Start) -> Result<(), Error> {
        let state = &mut *self.shared.lock();
        state.streams.add(topic, start, now())?;
        state.wake_task();
        Ok(())
    }

    /// Ends the subscription to a topic. Returns the offset of the first record that was not taken, if it is known.
    pub fn remove(&mut self, topic: &str) -> Option<Offset> {
        let state = &mut *self.shared.lock();
        let cursor = state.streams.remove(&mut state.driver.session, topic);
        state.wake_task();
        cursor
    }

    /// Returns the offset of the next record to be taken; `None` if it is unknown yet, or if the topic is not
    /// subscribed to.
    pub fn cursor(&self, topic: &str) -> Option<Offset> {
        self.shared.lock().streams.cursor(topic)
    }

    /// Returns the topics that are subscribed to.
    pub fn topics(&self) -> Vec<String> {
        self.shared.lock().streams.topics().map(str::to_owned).collect()
    }

    /// Returns the nodes from which and to which the subscriptions moved after a lost connection, if they moved since
    /// the last call. The two may be the same.
    pub fn moved(&mut self) -> Option<(NodeId, NodeId)> {
        self.shared.lock().streams.moved()
    }

    /// Returns the address of the node that it is connected to, or `None` without a connection.
    pub fn server(&self) -> Option<String> {
        self.shared.lock().driver.session.channel().map(|channel| channel.server().to_owned())
    }

    /// Returns the next item of the stream, or `None` when all subscriptions have ended. Dropping the future loses
    /// nothing.
    pub async fn next(&mut self) -> Option<Result<Delivery, Error>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Subscriber {
    type Item = Result<Delivery, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let state = &mut *self.shared.lock();
        if let Some(delivery) = state.streams.take(&mut state.driver.session) {
            if state.driver.has_output() {
                state.wake_task(); // a CREDIT
            }
            return Poll::Ready(Some(Ok(delivery)));
        }
        if let Some(error) = state.failure.take() {
            state.wake_task();
            return Poll::Ready(Some(Err(error)));
        }
        if state.streams.is_empty() || state.has_ended {
            return Poll::Ready(None);
        }
        state.subscriber = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let state = &mut *self.shared.lock();
        state.has_ended = true;
        state.wake_task();
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("topics", &self.topics()).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake_task(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// Drives the session until nothing more can be done without waiting.
    fn poll(&mut self, cx: &mut Context<'_>) {
        loop {
            let mut wake = Deadline::NEVER;
            if self.failure.is_none() {
                self.failure = self.streams.advance(&mut self.driver.session, |_| false, now()).err();
                wake = self.streams.wake_at(&self.driver.session);
            }
            let has_moved = self.driver.poll(cx);
            if !self.driver.poll_timer(cx, wake) && !has_moved {
                return;
            }
        }
    }
}

/// The task that drives the connection while the subscriber is not polled.
struct Task(Shared);

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let state = &mut *self.0.lock();
        if state.has_ended {
            return Poll::Ready(());
        }
        state.poll(cx);
        state.task = Some(cx.waker().clone());
        if let Some(subscriber) = state.subscriber.take() {
            subscriber.wake();
        }
        Poll::Pending
    }
}

impl Drop for Task {
    /// The connection ends with the task, also when the runtime drops it before the subscriber.
    fn drop(&mut self) {
        let state = &mut *self.0.lock();
        if !state.has_ended {
            state.has_ended = true;
            let server = state.driver.session.last_server().to_owned();
            let reason = Loss::Io(io::ErrorKind::ConnectionAborted.into());
            state.failure = Some(Error::Lost { server, reason, untouched: false });
        }
        state.driver.close();
        if let Some(subscriber) = state.subscriber.take() {
            subscriber.wake();
        }
    }
}
