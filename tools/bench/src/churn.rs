//! Create and delete. Each keeps its number of topics constant by also executing the other operation, which is not
//! counted.

use std::collections::{BTreeMap, VecDeque};

use dht_client::{Connection, Deadline, Error, Retention, TopicName};
use dht_protocol::cube;
use dht_protocol::types::RequestId;
use dht_protocol::wire::request::Topic;
use dht_protocol::wire::{Request, Response};
use dht_report::Test;

use super::bulk::bulk;
use super::link::{Done, Left, Link, Seat, Sent, connect};

/// A connection that creates and deletes topics of its own.
pub(super) struct Churn<'p> {
    seat: &'p Seat<'p>,
    connection: Connection,
    /// The requests in flight.
    creating: BTreeMap<RequestId, String>,
    /// The existing topics, oldest first.
    created: VecDeque<String>,
    /// The topics being deleted, with the ids of their requests.
    deleting: BTreeMap<RequestId, (String, u64)>,
}

impl<'p> Churn<'p> {
    /// Connects, and creates the initial topics.
    pub(super) fn open(seat: &'p Seat<'p>) -> Result<Self, Error> {
        let mut connection = connect(seat.address, seat.timeout)?;
        let mut created = VecDeque::new();
        let names = (0..seat.share).map(|number| format!("{}s{}-{number}", seat.prefix, seat.index));
        let ask = |connection: &mut Connection, name: &String| connection.send(&create(name)?, &[]);
        // After a lost connection some of them exist already, which is not an error.
        bulk(&mut connection, seat.timeout, names, ask, |name, response| {
            if matches!(response, Response::Created { .. }) {
                created.push_back(name);
            }
        })?;
        Ok(Self { seat, connection, creating: BTreeMap::new(), created, deleting: BTreeMap::new() })
    }

    fn create(&mut self, serial: u64) -> Result<Sent, Error> {
        let name = format!("{}c{}-{serial}", self.seat.prefix, self.seat.index);
        let hops = self.seat.hops_to(cube::home(TopicName::new(&name)?, self.seat.dimension));
        let id = self.connection.send(&create(&name)?, &[])?;
        self.creating.insert(id, name);
        Ok(Sent { key: id.0, hops: Some(hops) })
    }

    fn delete_oldest(&mut self, serial: u64) -> Result<Option<Sent>, Error> {
        let Some(name) = self.created.pop_front() else { return Ok(None) };
        let topic = TopicName::new(&name)?;
        let hops = self.seat.hops_to(cube::home(topic, self.seat.dimension));
        let id = self.connection.send(&Request::Delete(Topic { name: topic, id: None }), &[])?;
        self.deleting.insert(id, (name, serial));
        Ok(Some(Sent { key: id.0, hops: Some(hops) }))
    }

    /// Handles a response, and sends the complementary request. Returns the outcome if the request is counted.
    fn on_answer(&mut self, id: RequestId, response: &Response) -> Result<Option<Done>, Error> {
        let failed = if let Response::Error(error) = response { error.name() } else { "WRONG_ANSWER" };
        if let Some(name) = self.creating.remove(&id) {
            // The topic may exist even if the response is an error, for example if the outcome is unknown.
            self.created.push_back(name);
            if self.seat.test != Test::Create {
                return Ok(None);
            }
            if self.created.len() > self.seat.share {
                self.delete_oldest(0)?;
            }
            let is_right = matches!(response, Response::Created { existed: false, .. });
            return Ok(Some(Done { key: id.0, outcome: if is_right { Ok(()) } else { Err(failed) } }));
        }
        let Some((name, serial)) = self.deleting.remove(&id) else { return Ok(None) };
        let is_right = matches!(response, Response::Deleted { .. });
        if !is_right {
            self.created.push_back(name);
        } else if self.seat.test == Test::Delete {
            self.create(serial)?;
        }
        let outcome = if is_right { Ok(()) } else { Err(failed) };
        Ok((self.seat.test == Test::Delete).then_some(Done { key: id.0, outcome }))
    }

    /// Deletes the topics that it has created.
    fn remove_created(&mut self) -> Result<(), Error> {
        let deadline = Deadline::after(self.seat.timeout);
        let mut kept = Vec::new();
        while !(self.creating.is_empty() && self.created.is_empty() && self.deleting.is_empty()) {
            while self.deleting.len() < 64 && self.delete_oldest(0)?.is_some() {}
            let Some(answer) = self.connection.receive(deadline)? else { break };
            if let Some(name) = self.creating.remove(&answer.id) {
                self.created.push_back(name);
            } else if let Some((name, _)) = self.deleting.remove(&answer.id)
                && !matches!(answer.response, Response::Deleted { .. })
            {
                kept.push(name); // the final cleanup tries again
            }
        }
        self.created.extend(kept);
        Ok(())
    }
}

/// Returns CREATE for a topic.
fn create(name: &str) -> Result<Request<'_>, Error> {
    Ok(Request::Create { topic: TopicName::new(name)?, retention: Retention::default() })
}

impl Link for Churn<'_> {
    /// There may be nothing to delete until a topic has been created.
    fn has_next(&self) -> bool {
        self.seat.test != Test::Delete || !self.created.is_empty()
    }

    fn send(&mut self, serial: u64) -> Result<Sent, Error> {
        if self.seat.test == Test::Create {
            return self.create(serial);
        }
        Ok(self.delete_oldest(serial)?.expect("the caller has checked `has_next`"))
    }

    fn receive(&mut self, deadline: Deadline) -> Result<Option<Done>, Error> {
        while let Some(answer) = self.connection.receive(deadline)? {
            let had_next = self.has_next();
            let done = self.on_answer(answer.id, &answer.response)?;
            if done.is_some() || self.has_next() != had_next {
                return Ok(done);
            }
        }
        Ok(None)
    }

    fn missing(&mut self, _key: u64) -> &'static str {
        "TIMED_OUT"
    }

    fn close(mut self: Box<Self>, is_broken: bool) -> Left {
        if !is_broken {
            let _ = self.remove_created(); // the remaining topics are removed over another connection
        }
        let Self { creating, created, deleting, .. } = *self;
        let deleting = deleting.into_values().map(|(name, _)| name);
        Left { topics: creating.into_values().chain(created).chain(deleting).collect(), delivery: None }
    }
}
