//! Subscribe: the latency from PUBLISH at one node to DELIVER at the opposite one.
//!
//! A record's value starts with the seat's mark and the record's number, and the remaining bytes follow from the
//! number, so that a corrupted record is detected. A request of `n` records has the numbers from its serial times `n`
//! on, and ends when the last of them has arrived. Each topic belongs to one seat, so that the order of its records is
//! known.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use dht_client::{Batch, Connection, Deadline, Error, Incoming, TopicName};
use dht_protocol::types::RequestId;
use dht_protocol::wire::records::{self, Record};
use dht_protocol::wire::request::{Publish, Start, Subscribe, Topic};
use dht_protocol::wire::response::Fetched;
use dht_protocol::wire::{Push, Request, Response};
use dht_report::Delivery;

use super::link::{Done, Left, Link, Seat, Sent, connect, mixed};

/// Size of the seat's mark and the record's number together, in bytes: the minimum size of a value.
pub(super) const VALUE_MIN: usize = 16;

/// How long to wait for a record before the responses to PUBLISH are read.
const SLICE: Duration = Duration::from_millis(5);

/// Number of requests after which the responses are read in any case, so that they do not pile up.
const UNREAD_MAX: u32 = 64;

/// How long after the last records the last responses may arrive.
const LAST: Duration = Duration::from_secs(1);

/// Two connections: one publishes, and one subscribes.
pub(super) struct Deliver<'p> {
    seat: &'p Seat<'p>,
    mark: u64,
    publisher: Connection,
    subscriber: Connection,
    /// The number of the last record received of each subscription.
    last: BTreeMap<RequestId, u64>,
    /// The serials of unanswered PUBLISH requests.
    asked: BTreeMap<RequestId, u64>,
    /// The serials of published requests, with the number of their records that have not arrived yet.
    expected: BTreeMap<u64, u32>,
    /// Completed requests that were not returned yet.
    done: VecDeque<Done>,
    unread: u32,
    delivery: Delivery,
}

impl<'p> Deliver<'p> {
    /// Connects and subscribes.
    pub(super) fn open(seat: &'p Seat<'p>) -> Result<Self, Error> {
        let publisher = connect(seat.address, seat.timeout)?;
        let mut subscriber = connect(seat.opposite, seat.timeout)?;
        let mut last = BTreeMap::new();
        for name in &seat.topics {
            let topic = Topic { name: TopicName::new(name)?, id: None };
            // Flow control is not needed: nothing else reads here, and a backlog would show in the latency.
            let request = Subscribe { topic, epoch: None, start: Start::Next, limit: u64::MAX >> 1 };
            last.insert(subscriber.send(&Request::Subscribe(request), &[])?, 0);
        }
        let deadline = Deadline::after(seat.timeout);
        for _ in &seat.topics {
            let server = || subscriber_name(seat);
            match subscriber.next(deadline)? {
                Some(Incoming::Answer(answer)) => {
                    if let Response::Error(response) = answer.response {
                        return Err(Error::Refused { server: server(), response });
                    }
                }
                Some(Incoming::Push(_)) => {} // nothing is published yet, except by an earlier connection of this seat
                None => return Err(Error::TimedOut { server: server(), waited: seat.timeout }),
            }
        }
        Ok(Self {
            seat,
            mark: mixed(seat.seed, u64::MAX),
            publisher,
            subscriber,
            last,
            asked: BTreeMap::new(),
            expected: BTreeMap::new(),
            done: VecDeque::new(),
            unread: 0,
            delivery: Delivery::default(),
        })
    }

    fn value(&self, number: u64) -> Vec<u8> {
        let mut value = Vec::with_capacity(self.seat.size.max(VALUE_MIN));
        value.extend_from_slice(&self.mark.to_be_bytes());
        value.extend_from_slice(&number.to_be_bytes());
        value.resize(self.seat.size.max(VALUE_MIN), filler(number));
        value
    }

    /// Returns the records of a request.
    fn batch(&self, serial: u64) -> Result<Batch, Error> {
        let mut batch = Batch::new();
        for place in 0..u64::from(self.seat.batch) {
            let value = self.value(serial * u64::from(self.seat.batch) + place);
            batch.push(&Record { value: &value, ..Record::default() })?;
        }
        Ok(batch)
    }

    /// Handles the responses to PUBLISH that arrive by the deadline.
    fn read_answers(&mut self, deadline: Deadline) -> Result<(), Error> {
        self.unread = 0;
        while !self.asked.is_empty()
            && let Some(answer) = self.publisher.receive(deadline)?
        {
            let Some(serial) = self.asked.remove(&answer.id) else { continue };
            if let Response::Published(_) = answer.response {
                self.delivery.published += u64::from(self.seat.batch);
                continue;
            }
            let kind = if let Response::Error(response) = answer.response { response.name() } else { "WRONG_ANSWER" };
            self.expected.remove(&serial);
            self.done.push_back(Done { key: serial, outcome: Err(kind) });
        }
        Ok(())
    }

    fn on_records(&mut self, subscription: RequestId, fetched: &Fetched) {
        // A payload received on a connection is in one part.
        let payload = fetched.payload.parts.first().cloned().unwrap_or_default();
        for record in records::iter(&payload) {
            match record.ok().and_then(|record| self.number(record.value)) {
                Some(number) => self.on_number(subscription, number),
                None => self.delivery.damaged += 1,
            }
        }
    }

    /// Returns the number of a value's record; `None` if the value is not from this seat.
    fn number(&self, value: &[u8]) -> Option<u64> {
        let number = u64::from_be_bytes(value.get(8..VALUE_MIN)?.try_into().ok()?);
        (value == self.value(number)).then_some(number)
    }

    fn on_number(&mut self, subscription: RequestId, number: u64) {
        let last = self.last.entry(subscription).or_default();
        if number <= *last {
            self.delivery.out_of_order += 1;
        }
        *last = number.max(*last);
        let serial = number / u64::from(self.seat.batch);
        if let Some(left) = self.expected.get_mut(&serial) {
            self.delivery.delivered += 1;
            *left -= 1;
            if *left == 0 {
                self.expected.remove(&serial);
                self.done.push_back(Done { key: serial, outcome: Ok(()) });
            }
        }
    }
}

fn filler(number: u64) -> u8 {
    number.to_be_bytes()[7]
}

fn subscriber_name(seat: &Seat<'_>) -> String {
    seat.opposite.to_string()
}

impl Link for Deliver<'_> {
    fn send(&mut self, serial: u64) -> Result<Sent, Error> {
        let name = TopicName::new(self.seat.topics[self.seat.picker.pick(self.seat.seed, serial)])?;
        let batch = self.batch(serial)?;
        let request = Publish { topic: Topic { name, id: None }, producer: None, count: batch.count() };
        let id = self.publisher.send(&Request::Publish(request), batch.payload())?;
        self.asked.insert(id, serial);
        self.expected.insert(serial, batch.count());
        self.unread += 1;
        Ok(Sent { key: serial, hops: None })
    }

    fn receive(&mut self, deadline: Deadline) -> Result<Option<Done>, Error> {
        self.publisher.flush(deadline)?;
        if self.unread >= UNREAD_MAX {
            self.read_answers(Deadline::at_once())?;
        }
        loop {
            if let Some(done) = self.done.pop_front() {
                return Ok(Some(done));
            }
            match self.subscriber.next(deadline.within(SLICE))? {
                Some(Incoming::Push(pushed)) => match pushed.push {
                    Push::Deliver(fetched) => self.on_records(pushed.subscription, &fetched),
                    // The records of a gap are counted as missing at the end.
                    Push::Gap { .. } | Push::Waiting { .. } | Push::Flowing { .. } => {}
                    Push::Ended(response) => {
                        return Err(Error::Refused { server: subscriber_name(self.seat), response });
                    }
                },
                Some(Incoming::Answer(_)) => {}
                None => {
                    self.read_answers(Deadline::at_once())?;
                    if self.done.is_empty() && deadline.is_over() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn missing(&mut self, key: u64) -> &'static str {
        if self.asked.values().any(|serial| *serial == key) {
            return "TIMED_OUT";
        }
        self.delivery.lost += self.expected.get(&key).copied().map_or(0, u64::from);
        "NOT_DELIVERED"
    }

    fn close(mut self: Box<Self>, is_broken: bool) -> Left {
        if !is_broken {
            let _ = self.read_answers(Deadline::after(LAST)); // for the count
        }
        Left { topics: Vec::new(), delivery: Some(self.delivery) }
    }
}
