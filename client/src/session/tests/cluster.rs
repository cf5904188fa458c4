use std::io::ErrorKind;
use std::time::{Duration, Instant};

use dht_protocol::types::RequestId;
use dht_protocol::wire::response::ErrorResponse;
use dht_protocol::wire::{Header, Opcode, Request, Response, Status};

use super::{SEED, arrive, goaway, hello_answer, millis, opcodes, ping, pong, sent};
use crate::clock::now;
use crate::error::Error;
use crate::session::call::{Outcome, Repeat};
use crate::session::calls::CallId;
use crate::session::cluster::Session;
use crate::session::deadline::Deadline;
use crate::session::driving::{Action, Event, Settings, Watching};
use crate::session::handshake::Introduction;
use crate::session::request::OwnedRequest;
use crate::session::servers::Learned;

/// A session with its time, and what a driver would do.
pub(super) struct Driver {
    pub(super) session: Session,
    start: Instant,
    pub(super) now: Instant,
}

impl Driver {
    /// Returns a session of the servers 1 to `servers`, with a timeout of five seconds.
    pub(super) fn new(servers: u16) -> Self {
        let start = now();
        let settings = Settings {
            servers: (1..=servers).map(|port| format!("node:{port}").parse().unwrap()).collect(),
            learned: Learned::default(),
            timeout: millis(5000),
            ping_after: millis(1000),
            learns_servers: false,
            introduction: Introduction::default(),
        };
        Self { session: Session::new(settings, SEED), start, now: start }
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.session.handle(Event::Progress, self.now);
    }

    /// Lets time pass until the session wants to be called.
    fn pass_until_due(&mut self) {
        self.pass(self.session.wake_at().left(self.now).expect("it waits for a time"));
    }

    /// Returns the ports of the servers to connect to; 0 stands for a closed connection.
    pub(super) fn actions(&mut self) -> Vec<u16> {
        let port = |action: Action| match action {
            Action::Connect(address, _) => address.port(),
            Action::Close => 0,
        };
        std::iter::from_fn(|| self.session.next_action()).map(port).collect()
    }

    /// Completes the connection that the session has asked for, as node 0.
    pub(super) fn connect(&mut self) {
        self.session.handle(Event::Connected, self.now);
        let hello = self.sent();
        self.arrive(&hello_answer(&hello, Status::Ok));
        assert!(self.session.channel().is_some());
    }

    fn fail(&mut self, kind: ErrorKind) {
        self.session.handle(Event::ConnectFailed(kind.into()), self.now);
    }

    pub(super) fn sent(&mut self) -> Vec<u8> {
        let now = self.now;
        self.session.bytes().map_or(Vec::new(), |bytes| sent(bytes, now))
    }

    pub(super) fn arrive(&mut self, input: &[u8]) {
        let now = self.now;
        arrive(self.session.bytes().expect("there is a connection"), input, now);
        self.session.handle(Event::Progress, now);
    }

    pub(super) fn end(&mut self) {
        self.session.bytes().expect("there is a connection").on_ended(None);
        self.session.handle(Event::Progress, self.now);
    }

    fn call(&mut self, repeat: Repeat) -> CallId {
        let request = OwnedRequest::new(&ping(), &[]).unwrap();
        self.session.call(request, repeat, Duration::ZERO, self.now)
    }

    /// Returns the ids of the requests that were sent.
    fn asked(&mut self) -> Vec<RequestId> {
        let sent = self.sent();
        let mut frames = sent.as_slice();
        let mut ids = Vec::new();
        while let Some(header) = Header::parse(frames, 1 << 20).unwrap() {
            ids.push(header.request_id);
            frames = &frames[header.frame_len()..];
        }
        ids
    }
}

fn refusal(id: RequestId, status: Status) -> Vec<u8> {
    let mut out = Vec::new();
    let response = Response::Error(Box::new(ErrorResponse::new(status, "as the test says")));
    response.encode(Opcode::Ping.number(), id, None, &mut out);
    out
}

fn error(outcome: Option<Outcome>) -> Error {
    outcome.expect("the call is done").result.expect_err("the call failed")
}

#[test]
fn calls_share_a_connection_and_are_answered_in_any_order() {
    let mut driver = Driver::new(1);
    let calls = [0; 3].map(|_| driver.call(Repeat::Always));
    assert_eq!(driver.actions(), [1]);
    driver.connect();
    let ids = driver.asked();
    assert_eq!(ids.len(), 3);
    for index in [1, 2, 0] {
        assert!(driver.session.take(calls[index]).is_none());
        driver.arrive(&pong(ids[index]));
        assert!(driver.session.take(calls[index]).is_some_and(|outcome| outcome.result.is_ok()));
        assert!(driver.session.take(calls[index]).is_none(), "once");
    }
    assert_eq!(driver.session.wake_at(), Deadline::NEVER);
}

#[test]
fn a_lost_connection_is_replaced_and_only_requests_that_may_be_repeated_are_sent_again() {
    let mut driver = Driver::new(2);
    let calls = [Repeat::Always, Repeat::NotDone].map(|repeat| driver.call(repeat));
    assert_eq!(driver.actions(), [1]);
    driver.connect();
    assert_eq!(driver.asked().len(), 2);
    driver.end();
    assert!(matches!(error(driver.session.take(calls[1])), Error::Lost { untouched: false, .. }));
    assert_eq!(driver.actions(), [0]);
    driver.pass_until_due();
    assert!(driver.now < driver.start + millis(100), "the first attempt to reconnect is soon");
    assert_eq!(driver.actions(), [2]);
    driver.connect();
    let ids = driver.asked();
    driver.arrive(&pong(ids[0]));
    let outcome = driver.session.take(calls[0]).unwrap();
    assert!(ids.len() == 1 && outcome.result.is_ok() && outcome.may_be_done);
}

#[test]
fn a_request_that_a_leaving_node_did_not_take_is_sent_to_another_one_and_the_others_are_awaited() {
    let mut driver = Driver::new(2);
    let first = driver.call(Repeat::NotDone);
    driver.actions();
    driver.connect();
    let asked = driver.asked();
    driver.arrive(&goaway(asked[0].0, "bye"));
    assert_eq!(driver.actions(), [0; 0], "the first request will be answered");
    let second = driver.call(Repeat::NotDone);
    assert_eq!((driver.asked().len(), driver.actions()), (0, vec![]), "the second one waits");
    driver.arrive(&pong(asked[0]));
    assert!(driver.session.take(first).is_some_and(|outcome| outcome.result.is_ok()));
    assert_eq!(driver.actions(), [0, 2]);
    driver.connect();
    let asked = driver.asked();
    driver.arrive(&pong(asked[0]));
    assert!(driver.session.take(second).is_some_and(|outcome| outcome.result.is_ok()));
}

#[test]
fn servers_that_hang_are_tried_quickly_and_then_again_with_the_time_that_is_left() {
    let mut driver = Driver::new(3);
    driver.session.open(Deadline::at(driver.now, millis(6000)), driver.now);
    assert_eq!(driver.actions(), [1]);
    driver.pass(millis(1000));
    assert_eq!(driver.actions(), [0, 2]);
    driver.fail(ErrorKind::ConnectionRefused);
    assert_eq!(driver.actions(), [0, 3]);
    driver.session.handle(Event::Connected, driver.now);
    driver.pass(millis(999));
    assert_eq!(driver.actions(), [0; 0]);
    driver.pass(millis(1));
    assert_eq!(driver.actions(), [0, 1], "the one that refused is not tried again");
    assert_eq!(driver.session.wake_at().left(driver.now), Some(millis(2000)), "half of what is left");
    driver.pass_until_due();
    assert_eq!(driver.actions(), [0, 3]);
    assert!(driver.session.opened().is_none());
    driver.pass_until_due();
    let failed = driver.session.opened().unwrap().unwrap_err();
    assert!(matches!(failed, Error::Connect { server, .. } if server == "node:3"));
    assert_eq!(driver.now, driver.start + millis(6000));
}

/// Makes a request to a node that answers each attempt after `delay` with this status. Returns the outcome and the
/// number of attempts.
fn refused(delay: Duration, status: Status) -> (Outcome, usize) {
    let mut driver = Driver::new(1);
    let call = driver.call(Repeat::NotDone);
    driver.actions();
    driver.connect();
    let mut attempts = 0;
    let outcome = loop {
        if let Some(outcome) = driver.session.take(call) {
            break outcome;
        }
        let asked = driver.asked();
        attempts += asked.len();
        match asked.first() {
            Some(id) => {
                driver.pass(delay);
                if driver.session.bytes().is_some() {
                    driver.arrive(&refusal(*id, status));
                }
            }
            None => driver.pass_until_due(),
        }
    };
    assert!(driver.now <= driver.start + millis(5000));
    assert_eq!(driver.actions(), [0; 0], "the connection stays");
    (outcome, attempts)
}

#[test]
fn a_refused_request_is_repeated_as_its_status_allows_until_the_timeout() {
    let cases =
        (0..100).step_by(5).flat_map(|delay| [(delay, Status::Overloaded, true), (delay, Status::UnknownTopic, false)]);
    for (delay, status, is_repeated) in cases {
        let (outcome, attempts) = refused(millis(delay), status);
        assert_eq!(outcome.result.unwrap_err().status(), Some(status), "answered after {delay} ms");
        assert_eq!((attempts > 10, attempts == 1), (is_repeated, !is_repeated), "{attempts}");
    }
}

#[test]
fn a_refusal_that_took_long_is_returned_if_another_attempt_would_end_unanswered() {
    for delay in (500..5000).step_by(100) {
        let (outcome, attempts) = refused(millis(delay), Status::NoQuorum);
        assert_eq!(outcome.result.unwrap_err().status(), Some(Status::NoQuorum), "answered after {delay} ms");
        assert!(attempts < 10, "{attempts}");
    }
}

#[test]
fn a_silent_node_is_replaced_unless_its_answer_must_be_awaited() {
    let mut driver = Driver::new(2);
    let call = driver.call(Repeat::Always);
    driver.actions();
    driver.connect();
    assert_eq!(driver.asked().len(), 1);
    driver.pass_until_due();
    assert_eq!(opcodes(&driver.sent()), [Opcode::Ping], "the library's own");
    driver.pass_until_due();
    assert!(driver.now < driver.start + millis(2000));
    driver.pass_until_due();
    assert_eq!(driver.actions(), [0, 2]);
    assert!(driver.session.take(call).is_none());

    let mut driver = Driver::new(2);
    let call = driver.call(Repeat::NotDone);
    driver.actions();
    driver.connect();
    assert_eq!(driver.asked().len(), 1);
    driver.pass_until_due();
    assert_eq!((driver.now, driver.sent()), (driver.start + millis(5000), vec![]));
    assert!(matches!(error(driver.session.take(call)), Error::TimedOut { waited, .. } if waited == millis(5000)));
}

#[test]
fn what_arrived_before_a_failure_is_returned_before_it_and_forgotten_with_the_next_connection() {
    let mut driver = Driver::new(1);
    driver.session.open(Deadline::NEVER, driver.now);
    driver.session.set_watching(Watching::Within(None));
    driver.actions();
    driver.connect();
    let now = driver.now;
    let send = |session: &mut Session| session.channel_mut().unwrap().send(&ping(), &[], now).unwrap();
    let ids = [0; 2].map(|_| send(&mut driver.session));
    let input = [pong(ids[0]), pong(ids[1])].concat();
    arrive(driver.session.bytes().unwrap(), &input, now);
    driver.end();
    assert_eq!(driver.session.next_answer().unwrap().unwrap().id, ids[0]);
    assert_eq!(driver.actions(), [0]);
    let again = |driver: &mut Driver| {
        driver.session.open(Deadline::NEVER, driver.now);
        assert_eq!(driver.actions(), [1]);
        driver.connect();
        driver.session.next_answer().unwrap()
    };
    assert_eq!(again(&mut driver), None, "another request has that id now");
    driver.end();
    driver.actions();
    assert!(driver.session.next_answer().is_err());
    assert!(driver.session.next_answer().unwrap().is_none(), "an error is told once");
}

#[test]
fn the_same_events_at_the_same_times_give_the_same_bytes_and_actions() {
    let run = |start: Instant| {
        let mut driver = Driver { start, now: start, ..Driver::new(3) };
        driver.call(Repeat::Always);
        let mut seen = Vec::new();
        for step in 0..20 {
            seen.push((driver.actions(), driver.sent(), driver.now.duration_since(start)));
            match step % 4 {
                0 => driver.session.handle(Event::Connected, driver.now),
                1 => driver.pass(millis(300)),
                2 if driver.session.bytes().is_some() => driver.end(),
                _ => driver.pass(driver.session.wake_at().left(driver.now).unwrap_or_else(|| millis(100))),
            }
        }
        seen
    };
    let start = now();
    assert_eq!(run(start), run(start));
}

#[test]
fn a_request_that_fits_no_frame_is_refused_at_once() {
    let payload = vec![0; 2 << 20];
    let topic = dht_protocol::wire::request::Topic { name: crate::TopicName::new("t").unwrap(), id: None };
    let request = Request::Publish(dht_protocol::wire::request::Publish { topic, producer: None, count: 1 });
    assert!(matches!(OwnedRequest::new(&request, &payload), Err(Error::BatchTooLarge { .. })));
}
