//! Operations that consist of a request and its response.

use dht_client::{Batch, Connection, Deadline, Error, NodeId, TopicName};
use dht_protocol::cube;
use dht_protocol::wire::records::Record;
use dht_protocol::wire::request::{Fetch, Publish, Start, Topic};
use dht_protocol::wire::{Request, Response};
use dht_report::Test;

use super::link::{Done, Left, Link, Seat, Sent, connect, mixed};

/// Mixed into the seed, so that the choice of the operation is independent of the choice of the topic.
const WHICH: u64 = 0x6d69_7865_6400_0000;

/// Publish, query, fetch, ping, and publish and fetch mixed.
pub(super) struct Plain<'p> {
    seat: &'p Seat<'p>,
    connection: Connection,
    batch: Batch,
}

impl<'p> Plain<'p> {
    pub(super) fn open(seat: &'p Seat<'p>) -> Result<Self, Error> {
        let connection = connect(seat.address, seat.timeout)?;
        Ok(Self { seat, connection, batch: alike(seat.size, seat.batch)? })
    }

    fn ping(&mut self, serial: u64) -> Result<Sent, Error> {
        let bits = u32::try_from(mixed(self.seat.seed, serial) >> 32).expect("32 bits are left");
        let node = NodeId::from_low_bits(bits, self.seat.dimension);
        let id = self.connection.send(&Request::Ping { node: node.index(), token: serial }, &[])?;
        Ok(Sent { key: id.0, hops: Some(self.seat.hops_to(node)) })
    }

    /// Returns true if this request of mixed is a PUBLISH.
    fn publishes(&self, serial: u64) -> bool {
        let (publish, fetch) = self.seat.mix;
        mixed(self.seat.seed ^ WHICH, serial) % u64::from(publish + fetch) < u64::from(publish)
    }

    /// Returns true if the response is the expected one.
    fn outcome(&self, response: &Response) -> Result<(), &'static str> {
        if let Response::Error(error) = response {
            return Err(error.name());
        }
        let has_record = |response: &Response| matches!(response, Response::Fetched(fetched) if fetched.count == 1);
        let is_right = match self.seat.test {
            Test::Publish => matches!(response, Response::Published(_)),
            Test::Query => matches!(response, Response::Described(description) if description.topic.is_some()),
            Test::Fetch => has_record(response),
            Test::Ping => matches!(response, Response::Ping { .. }),
            // The connection has checked that a response belongs to the operation of its request.
            Test::Mixed => matches!(response, Response::Published(_)) || has_record(response),
            Test::Create | Test::Delete | Test::Subscribe => false,
        };
        if is_right { Ok(()) } else { Err("WRONG_ANSWER") }
    }
}

/// Returns `count` records of `size` bytes each.
pub(super) fn alike(size: usize, count: u32) -> Result<Batch, Error> {
    let value = vec![b'x'; size];
    let mut batch = Batch::new();
    (0..count).try_for_each(|_| batch.push(&Record { value: &value, ..Record::default() }))?;
    Ok(batch)
}

impl Link for Plain<'_> {
    fn send(&mut self, serial: u64) -> Result<Sent, Error> {
        let seat = self.seat;
        if seat.test == Test::Ping {
            return self.ping(serial);
        }
        let name = TopicName::new(seat.topics[seat.picker.pick(seat.seed, serial)])?;
        let topic = Topic { name, id: None };
        let publishes = seat.test == Test::Publish || (seat.test == Test::Mixed && self.publishes(serial));
        let id = if publishes {
            let request = Publish { topic, producer: None, count: self.batch.count() };
            self.connection.send(&Request::Publish(request), self.batch.payload())?
        } else if seat.test == Test::Query {
            self.connection.send(&Request::Query { topic: name }, &[])?
        } else {
            let request =
                Fetch { topic, epoch: None, start: Start::Earliest, max_bytes: 0, max_records: 1, max_wait_ms: 0 };
            self.connection.send(&Request::Fetch(request), &[])?
        };
        Ok(Sent { key: id.0, hops: Some(seat.hops_to(cube::home(name, seat.dimension))) })
    }

    fn receive(&mut self, deadline: Deadline) -> Result<Option<Done>, Error> {
        let answer = self.connection.receive(deadline)?;
        Ok(answer.map(|answer| Done { key: answer.id.0, outcome: self.outcome(&answer.response) }))
    }

    fn missing(&mut self, _key: u64) -> &'static str {
        "TIMED_OUT"
    }

    fn close(self: Box<Self>, _is_broken: bool) -> Left {
        Left::default()
    }
}
