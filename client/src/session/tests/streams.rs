use bytes::Bytes;
use dht_protocol::types::{Epoch, Offset, RequestId, TopicId};
use dht_protocol::wire::request::Start;
use dht_protocol::wire::response::{ErrorResponse, Fetched, Payload, Run, Subscribed};
use dht_protocol::wire::{Frame, Header, Opcode, Push, Raw, Request, Response, Status};

use super::cluster::Driver;
use super::{SEED, millis};
use crate::Dimension;
use crate::error::Error;
use crate::item::Item;
use crate::notice::Notice;
use crate::session::driving::Watching;
use crate::session::streams::Streams;

/// Subscriptions to one topic, and the session that they use.
struct Follower {
    driver: Driver,
    streams: Streams,
}

impl Follower {
    fn new(servers: u16) -> Self {
        let mut driver = Driver::new(servers);
        let mut streams = Streams::new(SEED, driver.now);
        streams.add("t", Start::Earliest, driver.now).unwrap();
        driver.session.set_watching(Watching::Within(None));
        Self { driver, streams }
    }

    fn advance(&mut self) -> Result<(), Error> {
        self.streams.advance(&mut self.driver.session, |_| false, self.driver.now)
    }

    /// Lets time pass until something is due.
    fn pass_until_due(&mut self) {
        let session = &self.driver.session;
        let due = session.wake_at().earlier(self.streams.wake_at(session));
        self.driver.pass(due.left(self.driver.now).expect("it waits for a time"));
        self.advance().unwrap();
    }

    /// Returns the id and the start of the SUBSCRIBE that was sent.
    fn asked(&mut self) -> (RequestId, Start) {
        let sent = self.driver.sent();
        let header = Header::parse(&sent, 1 << 20).unwrap().expect("something was sent");
        assert_eq!(header.frame_len(), sent.len(), "one frame");
        let frame = Frame::parse(header, Raw::Borrowed(&sent), Dimension::new(0).unwrap()).unwrap();
        let request = Request::decode(Opcode::from_number(header.opcode).unwrap(), frame.args().unwrap()).unwrap();
        let Request::Subscribe(subscribe) = request else { panic!("{request:?}") };
        (header.request_id, subscribe.start)
    }

    fn arrive(&mut self, bytes: &[u8]) {
        self.driver.arrive(bytes);
        self.advance().unwrap();
    }

    /// Takes all items, as short texts.
    fn items(&mut self) -> Vec<String> {
        let take = || self.streams.take(&mut self.driver.session);
        std::iter::from_fn(take)
            .map(|delivery| match delivery.item {
                Ok(Item::Record(record)) => format!("{} {}", record.offset, String::from_utf8_lossy(&record.value)),
                Ok(Item::Notice(Notice::Waiting { .. })) => "waiting".to_owned(),
                other => format!("{other:?}"),
            })
            .collect()
    }
}

fn ids() -> (TopicId, Epoch) {
    (TopicId::new(7).unwrap(), Epoch(1))
}

fn subscribed(id: RequestId, from: u64) -> Vec<u8> {
    let (topic_id, epoch) = ids();
    let (from, first, next) = (Offset(from), Offset(0), Offset(100));
    let mut out = Vec::new();
    let response = Response::Subscribed(Subscribed { topic_id, epoch, from, first, next });
    response.encode(Opcode::Subscribe.number(), id, None, &mut out);
    out
}

/// Returns a DELIVER of one record.
fn deliver(id: RequestId, base: u64, value: u8) -> Vec<u8> {
    let (topic_id, epoch) = ids();
    let payload = Bytes::copy_from_slice(&[0, 0, 0, 2, 0, value]);
    let records = Fetched {
        topic_id,
        epoch,
        from: Offset(base),
        base: Offset(base),
        count: 1,
        first: Offset(0),
        next: Offset(base + 1),
        runs: vec![Run { count: 1, append_us: 5 }],
        payload: Payload { parts: vec![payload.clone()], crc: None },
    };
    let mut out = Vec::new();
    Push::Deliver(Box::new(records)).encode(id, None, &mut out);
    out.extend_from_slice(&payload);
    out
}

fn refused(id: RequestId, status: Status) -> Vec<u8> {
    let mut out = Vec::new();
    let response = Response::Error(Box::new(ErrorResponse::new(status, "as the test says")));
    response.encode(Opcode::Subscribe.number(), id, None, &mut out);
    out
}

#[test]
fn a_subscription_resumes_at_another_server_from_its_cursor_after_all_that_had_arrived() {
    let mut one = Follower::new(2);
    one.advance().unwrap();
    assert_eq!(one.driver.actions(), [1]);
    one.driver.connect();
    one.advance().unwrap();
    let (id, start) = one.asked();
    assert_eq!(start, Start::Earliest);
    one.arrive(&[subscribed(id, 3), deliver(id, 3, b'a')].concat());
    assert_eq!(one.items(), ["3 a"]);
    // A record and the end of the connection arrive together.
    let now = one.driver.now;
    super::arrive(one.driver.session.bytes().unwrap(), &deliver(id, 4, b'b'), now);
    one.driver.end();
    one.advance().unwrap();
    assert_eq!((one.items(), one.driver.actions()), (vec!["4 b".to_owned()], vec![0]));
    one.pass_until_due();
    assert!(one.driver.now < now + millis(100), "the first attempt to reconnect is soon");
    assert_eq!(one.driver.actions(), [2]);
    one.driver.connect();
    one.advance().unwrap();
    let (id, start) = one.asked();
    assert_eq!(start, Start::Offset(Offset(5)));
    one.arrive(&[subscribed(id, 5), deliver(id, 5, b'c')].concat());
    assert_eq!(one.items(), ["5 c"]);
    assert!(one.streams.moved().is_some());
}

#[test]
fn an_unreachable_home_gives_one_notice_and_then_another_server_is_tried() {
    let mut one = Follower::new(2);
    one.advance().unwrap();
    one.driver.actions();
    one.driver.connect();
    one.advance().unwrap();
    let start = one.driver.now;
    let mut items = Vec::new();
    let actions = loop {
        let actions = one.driver.actions();
        if !actions.is_empty() {
            break actions;
        }
        if one.driver.session.bytes().is_some_and(|bytes| !bytes.output().is_empty()) {
            let (id, _) = one.asked();
            one.arrive(&refused(id, Status::Unreachable));
        } else {
            one.pass_until_due();
        }
        items.extend(one.items());
    };
    assert_eq!((items, actions), (vec!["waiting".to_owned()], vec![0, 2]));
    let waited = one.driver.now - start;
    assert!((millis(2000)..millis(2700)).contains(&waited), "{waited:?}");
}
