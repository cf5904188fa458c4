use dht_protocol::types::{Epoch, Offset, ProducerId, RequestId, TopicId};
use dht_protocol::wire::response::{Detail, Durability, ErrorResponse, Published};
use dht_protocol::wire::{Frame, Header, Opcode, Raw, Request, Response, Status};

use super::cluster::Driver;
use super::{SEED, millis};
use crate::error::Error;
use crate::session::driving::Watching;
use crate::session::publisher::Publisher;
use crate::{Batch, Dimension};

/// A publisher, and the session that it uses.
struct One {
    driver: Driver,
    publisher: Publisher,
}

impl One {
    /// Returns a publisher with `batches` batches that are not sent yet.
    fn new(servers: u16, batches: u64) -> Self {
        let mut driver = Driver::new(servers);
        driver.session.set_watching(Watching::Within(Some(millis(5000))));
        let mut publisher = Publisher::new("t", ProducerId::new(9).unwrap(), SEED, driver.now);
        publisher.restart(&driver.session, driver.now);
        assert!((0..batches).all(|sequence| publisher.push(Batch::of(b"x")) == sequence));
        Self { driver, publisher }
    }

    /// Connects to the server that the session asks for.
    fn connect(&mut self, server: u16) {
        self.advance().unwrap();
        assert_eq!(self.driver.actions().pop(), Some(server));
        self.driver.connect();
    }

    fn advance(&mut self) -> Result<(), Error> {
        self.publisher.advance(&mut self.driver.session, self.driver.now)
    }

    /// Lets time pass until something is due.
    fn pass_until_due(&mut self) {
        let session = &self.driver.session;
        let due = session.wake_at().earlier(self.publisher.wake_at(session));
        self.driver.pass(due.left(self.driver.now).expect("it waits for a time"));
    }

    /// Returns the request ids and the sequences of the PUBLISHes that are sent now.
    fn published(&mut self) -> Vec<(RequestId, u64)> {
        self.advance().unwrap();
        let sent = self.driver.sent();
        let mut frames = sent.as_slice();
        let mut published = Vec::new();
        while let Some(header) = Header::parse(frames, 1 << 20).unwrap() {
            let (raw, rest) = frames.split_at(header.frame_len());
            let frame = Frame::parse(header, Raw::Borrowed(raw), Dimension::new(0).unwrap()).unwrap();
            let request = Request::decode(Opcode::Publish, frame.args().unwrap()).unwrap();
            let Request::Publish(publish) = request else { panic!("{request:?}") };
            published.push((frame.header.request_id, publish.producer.unwrap().sequence));
            frames = rest;
        }
        published
    }

    fn acks(&mut self) -> Vec<u64> {
        self.publisher.take_acks().map(|ack| ack.sequence).collect()
    }
}

fn sequences(published: &[(RequestId, u64)]) -> Vec<u64> {
    published.iter().map(|(_, sequence)| *sequence).collect()
}

fn acknowledged(id: RequestId, base: u64) -> Vec<u8> {
    let (topic_id, durability) = (TopicId::new(7).unwrap(), Durability::Synced);
    let base = Offset(base);
    let published = Published { duplicate: false, topic_id, epoch: Epoch(1), base, count: 1, append_us: 5, durability };
    encoded(id, &Response::Published(published))
}

fn refused(id: RequestId, status: Status, retry_after_ms: u32, details: Vec<Detail>) -> Vec<u8> {
    let error = ErrorResponse { retry_after_ms, details, ..ErrorResponse::new(status, "as the test says") };
    encoded(id, &Response::Error(Box::new(error)))
}

fn encoded(id: RequestId, response: &Response) -> Vec<u8> {
    let mut out = Vec::new();
    response.encode(Opcode::Publish.number(), id, None, &mut out);
    out
}

#[test]
fn batches_of_a_lost_connection_are_sent_to_the_next_server_with_the_same_sequences() {
    let mut one = One::new(2, 3);
    one.connect(1);
    let sent = one.published();
    assert_eq!(sequences(&sent), [0, 1, 2]);
    one.driver.arrive(&acknowledged(sent[0].0, 0));
    one.driver.end();
    one.advance().unwrap();
    assert_eq!((one.acks(), one.driver.actions()), (vec![0], vec![0]));
    one.pass_until_due();
    one.connect(2);
    assert_eq!(sequences(&one.published()), [1, 2]);
}

#[test]
fn a_refused_batch_and_those_after_it_are_sent_again_after_the_pause_that_the_node_asks_for() {
    let mut one = One::new(1, 3);
    one.connect(1);
    let sent = one.published();
    one.driver.arrive(&refused(sent[1].0, Status::Overloaded, 300, Vec::new()));
    assert_eq!(one.published(), []);
    let start = one.driver.now;
    // The acknowledgement of an earlier batch does not end the pause, and the gap behind the refused batch is expected.
    one.driver.arrive(&acknowledged(sent[0].0, 0));
    one.driver.arrive(&refused(sent[2].0, Status::SequenceGap, 0, vec![Detail::ExpectedSequence(1)]));
    assert_eq!((one.published(), one.acks()), (vec![], vec![0]));
    one.pass_until_due();
    assert_eq!(sequences(&one.published()), [1, 2]);
    assert!((millis(300)..millis(600)).contains(&(one.driver.now - start)));
}

#[test]
fn the_time_limit_restarts_with_each_acknowledgement_and_ends_the_attempt() {
    let mut one = One::new(1, 2);
    one.driver.session.set_watching(Watching::No); // which would give up the node earlier
    one.connect(1);
    let sent = one.published();
    one.driver.pass(millis(4000));
    one.driver.arrive(&acknowledged(sent[0].0, 0));
    one.advance().unwrap();
    one.driver.pass(millis(4999));
    one.advance().unwrap();
    one.pass_until_due();
    assert!(matches!(one.advance().unwrap_err(), Error::TimedOut { .. }));
    assert_eq!((one.acks(), one.publisher.unacknowledged()), (vec![0], 1));
    one.publisher.restart(&one.driver.session, one.driver.now);
    one.connect(1);
    assert_eq!(sequences(&one.published()), [1]);
}

#[test]
fn a_refusal_after_a_lost_attempt_does_not_say_that_nothing_was_stored() {
    // Each case: what happens to the first attempt at two batches before the second one is refused for good.
    let lost: fn(&mut One, RequestId) = |one, _| one.driver.end();
    let unknown = |one: &mut One, id| one.driver.arrive(&refused(id, Status::OutcomeUnknown, 0, Vec::new()));
    let not_done = |one: &mut One, id| one.driver.arrive(&refused(id, Status::Overloaded, 0, Vec::new()));
    for (ends, expected) in
        [(lost, Status::OutcomeUnknown), (unknown, Status::OutcomeUnknown), (not_done, Status::Quota)]
    {
        let mut one = One::new(1, 2);
        one.connect(1);
        let first = one.published();
        ends(&mut one, first[0].0);
        one.advance().unwrap();
        let is_lost = one.driver.session.is_closed();
        one.pass_until_due();
        if is_lost {
            one.driver.actions();
            one.connect(1);
        }
        let again = one.published();
        assert_eq!(sequences(&again), [0, 1]);
        one.driver.arrive(&refused(again[0].0, Status::Quota, 0, Vec::new()));
        let error = one.advance().unwrap_err();
        assert_eq!((error.status(), error.may_be_done()), (Some(expected), expected != Status::Quota), "{error}");
        // The sequences stay those of the same records.
        one.publisher.restart(&one.driver.session, one.driver.now);
        assert_eq!((sequences(&one.published()), one.publisher.next_sequence()), (vec![0, 1], 2));
    }
}

#[test]
fn a_batch_that_is_refused_until_the_time_is_over_fails_with_the_refusal() {
    for delay in (5..100).step_by(5).map(millis) {
        let mut one = One::new(1, 1);
        one.connect(1);
        let error = loop {
            let sent = one.published();
            let left = one.publisher.wake_at(&one.driver.session).left(one.driver.now).unwrap();
            one.driver.pass(left.min(delay));
            if left > delay {
                sent.iter().for_each(|(id, _)| one.driver.arrive(&refused(*id, Status::Unreachable, 100, Vec::new())));
            }
            match one.advance() {
                Ok(()) => one.pass_until_due(),
                Err(error) => break error,
            }
        };
        assert_eq!(error.status(), Some(Status::Unreachable), "answered after {delay:?}: {error}");
    }
}
