//! A producer that collects records into batches by itself.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
#[expect(clippy::disallowed_types, reason = "the handles and the task share the room that is left")]
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::tokio::sync::{Semaphore, mpsc, oneshot};
use dht_protocol::types::{Offset, ProducerId, TopicName};
use dht_protocol::wire::records::{Record, RecordError};
use dht_protocol::wire::response::OpenedProducer;

use crate::clock::random;
use crate::error::{Error, Loss};
use crate::producer::open;
use crate::publish::Batch;
use crate::session::batcher::{Batcher, Batching};
use crate::session::cluster::Session;
use crate::session::deadline::Deadline;
use crate::session::driving::Watching;
use crate::session::publisher::Publisher;
use crate::tokio::driver::{Driver, now};
use crate::tokio::handle::Handle;

/// Maximum size in bytes of the records that are not acknowledged, with [`OVERHEAD`] for each send.
const WINDOW_BYTES: usize = 16 << 20;

/// What a send costs beside its records, in bytes.
const OVERHEAD: usize = 64;

/// The settings of a [`Producer`]; see [`Client::producer`](crate::tokio::Client::producer).
#[derive(Debug)]
pub struct ProducerBuilder {
    handle: Handle,
    topic: String,
    batching: Batching,
}

impl ProducerBuilder {
    pub(super) fn new(handle: Handle, topic: &str) -> Self {
        Self { handle, topic: topic.to_owned(), batching: Batching::default() }
    }

    /// Sets how long a record may wait for others to leave with, if nothing else is unacknowledged. The default is 0:
    /// only what arrives while a request is in flight waits, for the next one.
    #[must_use]
    pub const fn linger(mut self, linger: Duration) -> Self {
        self.batching.linger = linger;
        self
    }

    /// Sets the maximum size of a batch in bytes: 256 KiB by default, at most [`Batch::BYTES_MAX`]. A single record may
    /// be larger.
    #[must_use]
    pub const fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batching.bytes_max = bytes;
        self
    }

    /// Returns the producer. It connects with the first record.
    ///
    /// # Errors
    /// Returns [`Error::Name`].
    ///
    /// # Panics
    /// Outside of a Tokio runtime that has I/O and time enabled.
    pub fn start(self) -> Result<Producer, Error> {
        TopicName::new(&self.topic)?;
        let publisher = publisher(&self.topic);
        Ok(self.spawn(publisher, false))
    }

    /// Opens the producer by name, as [`crate::Client::named_producer`].
    ///
    /// It ends with the first batch that fails: everything that is sent after that fails with the same error, because
    /// the records that are stored may be fewer than those that were sent. Opened again with `resume`, it says how many
    /// are stored.
    ///
    /// # Errors
    /// Those of the blocking method.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub async fn open(self, name: &str, resume: bool) -> Result<(Producer, OpenedProducer), Error> {
        let (publisher, opened) = open(&mut &self.handle, &self.topic, name, resume).await?;
        Ok((self.spawn(publisher, true), opened))
    }

    fn spawn(self, publisher: Publisher, is_named: bool) -> Producer {
        let (sends, incoming) = mpsc::unbounded_channel();
        #[expect(clippy::disallowed_types, reason = "as in `Producer`")]
        let room = Arc::new(Semaphore::new(WINDOW_BYTES));
        let mut session = Session::new(self.handle.settings(), random());
        // A node that has stopped is given up early enough to leave time for another one.
        let timeout = session.timeout();
        session.set_watching(Watching::Within((!timeout.is_zero()).then_some(timeout)));
        let task = Task {
            driver: Driver::new(session),
            batcher: Batcher::new(publisher, self.batching, now()),
            topic: self.topic,
            is_named,
            ended: None,
            sends: Some(incoming),
            next: None,
            waiting: VecDeque::new(),
            failure: None,
            settled_by: Deadline::NEVER,
            room: room.clone(),
        };
        ::tokio::spawn(task);
        Producer { sends, room }
    }
}

fn publisher(topic: &str) -> Publisher {
    let id = ProducerId::new(random()).unwrap_or(ProducerId::new(1).expect("1 is not 0"));
    Publisher::new(topic, id, random(), now())
}

/// Publishes the records of one topic in order, each stored once, and collects them into batches by itself: what is
/// sent while a request is in flight leaves with the next one. Clones share a connection, which is the producer's own.
///
/// If a batch fails, so does everything that is not acknowledged by then; records that are sent after that belong to a
/// new producer of the topic, unless this one was opened [by name](ProducerBuilder::open). When the last handle is
/// dropped, what was sent before still leaves.
#[derive(Clone)]
#[expect(clippy::disallowed_types, reason = "the handles and the task share the room that is left")]
pub struct Producer {
    sends: mpsc::UnboundedSender<Queued>,
    room: Arc<Semaphore>,
}

/// Records that stay together, and where to send the offset of the first.
#[derive(Debug)]
struct Queued {
    records: Batch,
    reply: oneshot::Sender<Result<Offset, Error>>,
}

impl Producer {
    /// Queues a record and returns a future of its offset. Waits only while too much is unacknowledged, so a caller
    /// that sends one record after the other has many in flight, in this order.
    ///
    /// # Errors
    /// Returns [`Error::Record`] or [`Error::BatchTooLarge`], or [`Error::Lost`] if the runtime has ended.
    pub async fn send(&self, record: &Record<'_>) -> Result<Acknowledgement, Error> {
        let mut records = Batch::new();
        records.push(record)?;
        self.send_batch(records).await
    }

    /// Queues records that stay together: all of them are stored, or none. The future returns the offset of the first.
    ///
    /// # Errors
    /// As [`Self::send`]; a batch must have a record.
    pub async fn send_batch(&self, records: Batch) -> Result<Acknowledgement, Error> {
        if records.is_empty() {
            return Err(RecordError::Empty.into());
        }
        self.room.acquire_many(cost(&records)).await.map_err(|_| gone(true))?.forget();
        let (reply, acknowledged) = oneshot::channel();
        self.sends.send(Queued { records, reply }).map_err(|_| gone(true))?;
        Ok(Acknowledgement(acknowledged))
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

/// Returns how much of the window records use.
fn cost(records: &Batch) -> u32 {
    u32::try_from(records.payload().len() + OVERHEAD).expect("a batch is limited to one frame")
}

/// Returns the error for a task that has ended with its runtime.
fn gone(untouched: bool) -> Error {
    let reason = Loss::Io(io::ErrorKind::ConnectionAborted.into());
    Error::Lost { server: String::new(), reason, untouched }
}

/// The offset of a record, once it is acknowledged. If it is dropped, the record is published all the same.
///
/// # Errors
/// As those of the blocking [`Producer::flush`](crate::Producer::flush). If [`Error::may_be_done`] is true, the record
/// may be stored all the same.
#[derive(Debug)]
#[must_use = "a record may fail"]
pub struct Acknowledgement(oneshot::Receiver<Result<Offset, Error>>);

impl Future for Acknowledgement {
    type Output = Result<Offset, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).unwrap_or_else(|_| Err(gone(false))))
    }
}

/// Records that were added to a batch.
struct Waiting {
    sequence: u64,
    index: u32,
    cost: u32,
    reply: oneshot::Sender<Result<Offset, Error>>,
}

/// The task of a producer.
#[expect(clippy::disallowed_types, reason = "as in `Producer`")]
struct Task {
    driver: Driver,
    batcher: Batcher,
    topic: String,
    is_named: bool,
    /// Why a producer with a name takes no more records.
    ended: Option<Error>,
    /// `None` once there are no handles any more.
    sends: Option<mpsc::UnboundedReceiver<Queued>>,
    /// Records that were received, but for which the batches have no room yet.
    next: Option<Queued>,
    /// What is not acknowledged, in order.
    waiting: VecDeque<Waiting>,
    /// The error of the batch that failed, while answers to earlier batches are awaited. Everything else that is not
    /// acknowledged fails with it.
    failure: Option<Error>,
    /// Until when those answers are awaited.
    settled_by: Deadline,
    room: Arc<Semaphore>,
}

impl Task {
    /// Adds what the handles have sent to batches, while there is room. Returns true if there was anything.
    fn collect(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.waiting.len();
        while self.failure.is_none() {
            let Some(send) = self.next.take() else {
                match self.sends.as_mut().map(|sends| sends.poll_recv(cx)) {
                    Some(Poll::Ready(Some(send))) => self.next = Some(send),
                    Some(Poll::Ready(None)) => self.sends = None,
                    Some(Poll::Pending) | None => break,
                }
                continue;
            };
            let cost = cost(&send.records);
            if let Some(error) = &self.ended {
                self.room.add_permits(cost as usize);
                let _ = send.reply.send(Err(error.again()));
                continue;
            }
            if !self.batcher.has_room_for(send.records.payload().len()) {
                self.next = Some(send);
                break;
            }
            let (sequence, index) = self.batcher.add(&send.records, now());
            self.waiting.push_back(Waiting { sequence, index, cost, reply: send.reply });
        }
        self.waiting.len() > before
    }

    /// Handles what has arrived, and sends what is due. After an error, answers to earlier batches are awaited first.
    /// Returns true if everything has failed that was not acknowledged.
    fn advance(&mut self) -> bool {
        let (session, now) = (&mut self.driver.session, now());
        let publisher = &mut self.batcher.publisher;
        let mut is_settled = false;
        if self.failure.is_some() {
            is_settled = publisher.advance_unsending(session, now).is_err();
        } else if let Err(error) = self.batcher.advance(session, now) {
            self.failure = Some(error);
            self.settled_by = session.deadline(now);
            self.batcher.publisher.restart(session, now);
        }
        self.acknowledge();
        is_settled |= !self.batcher.publisher.has_unanswered();
        if is_settled && let Some(error) = self.failure.take() {
            self.fail(&error);
            return true;
        }
        false
    }

    /// Passes on the offsets of batches that were acknowledged.
    fn acknowledge(&mut self) {
        for ack in self.batcher.publisher.take_acks() {
            // Acknowledgements may overtake one another, so those that wait for this one need not be the first.
            let start = self.waiting.partition_point(|waiting| waiting.sequence < ack.sequence);
            let end = self.waiting.partition_point(|waiting| waiting.sequence <= ack.sequence);
            for waiting in self.waiting.drain(start..end) {
                self.room.add_permits(waiting.cost as usize);
                let _ = waiting.reply.send(Ok(ack.published.base.plus(u64::from(waiting.index))));
            }
        }
    }

    /// Fails everything that is not acknowledged, and begins with a new producer, or ends one that has a name.
    fn fail(&mut self, error: &Error) {
        for waiting in self.waiting.drain(..) {
            self.room.add_permits(waiting.cost as usize);
            let is_in_doubt = self.batcher.publisher.may_be_stored(waiting.sequence);
            let _ = waiting.reply.send(Err(if is_in_doubt { error.in_doubt() } else { error.again() }));
        }
        self.driver.session.forget_answers();
        self.ended = self.is_named.then(|| error.again());
        self.batcher = Batcher::new(publisher(&self.topic), self.batcher.batching, now());
    }
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            let mut has_moved = this.advance();
            if this.collect(cx) {
                has_moved |= this.advance();
            }
            has_moved |= this.driver.poll(cx);
            if this.sends.is_none() && this.next.is_none() && this.waiting.is_empty() {
                return Poll::Ready(());
            }
            let wake =
                if this.failure.is_none() { this.batcher.wake_at(&this.driver.session) } else { this.settled_by };
            if !this.driver.poll_timer(cx, wake) && !has_moved {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.room.close(); // those that wait for room get an error
    }
}
