//! Subscriptions at the level of one connection.

use std::time::Duration;

use dht_protocol::types::{Offset, RequestId, TopicName};
use dht_protocol::wire::hello::NO_NODE;
use dht_protocol::wire::request::{Start, Subscribe, Topic};
use dht_protocol::wire::{Flags, Opcode, Push, Request, Response, Status};

use crate::fake::{Fake, Peer, deliver, ended, fetched, subscribed};
use crate::{Answer, Connection, Deadline, Error, Fault, Incoming, Introduction, Pushed};

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn connect(fake: &Fake) -> Connection {
    Connection::open(fake.address(), &Introduction::default(), soon()).unwrap()
}

fn subscribe(limit: u64) -> Request<'static> {
    let topic = Topic { name: TopicName::new("t").unwrap(), id: None };
    Request::Subscribe(Subscribe { topic, epoch: None, start: Start::Next, limit })
}

const PING: Request<'_> = Request::Ping { node: NO_NODE, token: 3 };

fn pong() -> Response {
    Response::Ping { node: 0, token: 3, wall_us: None, topics: None }
}

/// Describes the next frame in a few words.
fn next(connection: &mut Connection) -> String {
    match connection.next(soon()).unwrap().expect("a frame arrives") {
        Incoming::Answer(Answer { id, response }) => {
            if let Response::Subscribed(subscribed) = response {
                format!("{} begins at {}", id.0, subscribed.from)
            } else if let Response::Unsubscribed { next } = response {
                format!("{} ended at {next}", id.0)
            } else if let Response::Error(error) = response {
                format!("{} {}", id.0, error.name())
            } else {
                assert_eq!(response, pong());
                format!("{} pong", id.0)
            }
        }
        Incoming::Push(Pushed { subscription, push }) => match push {
            Push::Deliver(records) => format!("{} has {}+{}", subscription.0, records.base, records.count),
            Push::Gap { from, to } => format!("{} lacks {from}-{to}", subscription.0),
            Push::Waiting { .. } | Push::Flowing { .. } => format!("{} {push:?}", subscription.0),
            Push::Ended(error) => format!("{} over {}", subscription.0, error.name()),
        },
    }
}

#[test]
fn pushes_that_arrive_before_an_awaited_answer_are_queued_in_order() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let asked = peer.expect(Opcode::Subscribe);
        let other = peer.expect(Opcode::Ping);
        peer.answer(&asked, &subscribed(4));
        peer.push(asked.id, &deliver(4, b"ab"));
        peer.push(asked.id, &Push::Gap { from: Offset(6), to: Offset(9) });
        peer.answer(&other, &pong());
        peer.say(Opcode::Event, Flags::ONEWAY, Status::OkExists, asked.id, |args| {
            args.u8(7); // an EVENT of an unknown kind, which the client ignores
        });
        peer.push(asked.id, &deliver(9, b"c"));
        peer.push(asked.id, &ended(Status::UnknownTopic));
        peer.push(asked.id, &deliver(10, b"late")); // the subscription is over
        peer.flush();
        let other = peer.expect(Opcode::Ping);
        peer.answer(&other, &pong());
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut connection = connect(&fake);
    connection.send(&subscribe(100), &[]).unwrap();
    let ping = connection.send(&PING, &[]).unwrap();
    assert_eq!(connection.receive(soon()).unwrap().unwrap().id, ping);
    let seen: Vec<_> = (0..5).map(|_| next(&mut connection)).collect();
    assert_eq!(seen, ["2 begins at 4", "2 has 4+2", "2 lacks 6-9", "2 has 9+1", "2 over UNKNOWN_TOPIC"]);
    connection.send(&PING, &[]).unwrap();
    assert_eq!(next(&mut connection), "4 pong");
    drop(connection);
    fake.finish();
}

#[test]
fn pushes_for_unknown_subscriptions_are_ignored() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let asked = peer.expect(Opcode::Subscribe);
        peer.push(RequestId(900), &deliver(0, b"x"));
        peer.push(asked.id, &deliver(0, b"x")); // before the answer to SUBSCRIBE
        peer.refuse(&asked, Status::Quota, 0, Vec::new());
        peer.push(asked.id, &deliver(0, b"x"));
        peer.flush();
        let asked = peer.expect(Opcode::Ping);
        peer.answer(&asked, &pong());
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut connection = connect(&fake);
    let id = connection.send(&subscribe(100), &[]).unwrap();
    assert_eq!(next(&mut connection), "2 QUOTA");
    connection.credit(id, 1000); // not sent, because there is no such subscription
    connection.send(&PING, &[]).unwrap();
    assert_eq!(next(&mut connection), "3 pong");
    drop(connection);
    fake.finish();
}

#[test]
fn unsubscribe_is_a_barrier_if_awaited_and_otherwise_drops_later_pushes_at_once() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let first = peer.expect(Opcode::Subscribe);
        let second = peer.expect(Opcode::Subscribe);
        for asked in [&first, &second] {
            peer.answer(asked, &subscribed(0));
            peer.push(asked.id, &deliver(0, b"a"));
        }
        peer.flush();
        let end = peer.expect(Opcode::Unsubscribe);
        assert_eq!(end.request(), Request::Unsubscribe { subscription: first.id });
        peer.push(first.id, &deliver(1, b"b"));
        peer.answer(&end, &Response::Unsubscribed { next: Offset(2) });
        peer.push(first.id, &deliver(2, b"never")); // a node must not do this
        peer.flush();
        let end = peer.expect(Opcode::Unsubscribe);
        assert_eq!(end.request(), Request::Unsubscribe { subscription: second.id });
        peer.push(second.id, &deliver(1, b"late"));
        peer.answer(&end, &Response::Unsubscribed { next: Offset(2) });
        let asked = peer.expect(Opcode::Ping);
        peer.answer(&asked, &pong());
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut connection = connect(&fake);
    let first = connection.send(&subscribe(100), &[]).unwrap();
    let second = connection.send(&subscribe(100), &[]).unwrap();
    connection.send(&Request::Unsubscribe { subscription: first }, &[]).unwrap();
    let seen: Vec<_> = (0..4).map(|_| next(&mut connection)).collect();
    assert_eq!(seen, ["2 begins at 0", "2 has 0+1", "3 begins at 0", "3 has 0+1"]);
    assert_eq!([next(&mut connection), next(&mut connection)], ["2 has 1+1", "4 ended at 2"]);
    connection.unsubscribe(second);
    connection.send(&PING, &[]).unwrap();
    assert_eq!(next(&mut connection), "6 pong");
    assert_eq!(connection.unanswered(), 0);
    drop(connection);
    fake.finish();
}

#[test]
fn an_abandoned_subscription_is_ended_as_soon_as_it_begins() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let asked = peer.expect(Opcode::Subscribe);
        let other = peer.expect(Opcode::Ping);
        peer.answer(&asked, &subscribed(0));
        peer.push(asked.id, &deliver(0, b"a"));
        peer.answer(&other, &pong());
        peer.flush();
        let end = peer.expect(Opcode::Unsubscribe);
        assert_eq!(end.request(), Request::Unsubscribe { subscription: asked.id });
        peer.wait_for_end();
    })]);
    let mut connection = connect(&fake);
    let id = connection.send(&subscribe(100), &[]).unwrap();
    connection.abandon(id);
    connection.send(&PING, &[]).unwrap();
    assert_eq!(next(&mut connection), "3 pong");
    connection.flush(soon()).unwrap();
    drop(connection);
    fake.finish();
}

/// The actions of a node after its answer to a SUBSCRIBE with a limit of 12 bytes.
type Act = fn(&mut Peer, RequestId);

#[test]
fn exceeding_the_credit_and_damaged_frames_are_protocol_errors() {
    let cases: [(&str, Act, Fault); 3] = [
        (
            "above the limit",
            |peer, id| {
                peer.push(id, &deliver(0, b"a"));
                peer.push(id, &deliver(1, b"bc")); // allowed, because it begins below the limit
                peer.push(id, &deliver(3, b"d"));
            },
            Fault::Credit,
        ),
        (
            "a payload with a bit changed",
            |peer, id| {
                let mut frame = Vec::new();
                let push = deliver(0, b"a");
                let payload = push.encode(id, None, &mut frame).unwrap();
                frame.extend_from_slice(&payload.parts[0]);
                *frame.last_mut().unwrap() ^= 1;
                peer.raw(&frame);
            },
            Fault::Corrupt(dht_protocol::wire::frame::Corrupt::Payload),
        ),
        (
            "an EVENT that is too short for its fields",
            |peer, id| {
                peer.say(Opcode::Event, Flags::ONEWAY, Status::Ok, id, |args| {
                    args.u64(1);
                })
            },
            Fault::Decode { opcode: Opcode::Event, error: dht_protocol::wire::DecodeError::Short { field: "to" } },
        ),
    ];
    for (name, act, expected) in cases {
        let fake = Fake::play(vec![Box::new(move |peer| {
            peer.greet();
            let asked = peer.expect(Opcode::Subscribe);
            peer.answer(&asked, &subscribed(0));
            act(peer, asked.id);
            peer.flush();
            peer.wait_for_end();
        })]);
        let mut connection = connect(&fake);
        connection.send(&subscribe(12), &[]).unwrap();
        let error = loop {
            match connection.next(soon()) {
                Ok(incoming) => assert!(incoming.is_some(), "{name}"),
                Err(error) => break error,
            }
        };
        assert!(matches!(&error, Error::Protocol { fault, .. } if *fault == expected), "{name}: {error:?}");
        drop(connection);
        fake.finish();
    }
}

#[test]
fn answers_and_pushes_that_arrive_while_idle_are_not_lost() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let asked = peer.expect(Opcode::Subscribe);
        let fetch = peer.expect(Opcode::Ping);
        peer.answer(&asked, &subscribed(0));
        peer.answer(&fetch, &pong());
        peer.push(asked.id, &deliver(0, b"a"));
        peer.say(Opcode::Ping, Flags::default(), Status::Ok, RequestId(77), |args| PING.encode(args));
        peer.flush();
        assert_eq!(peer.expect(Opcode::Ping).id, RequestId(77));
        let fetch = peer.expect(Opcode::Fetch);
        peer.answer(&fetch, &fetched(0, 0, 1, b"a"));
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut connection = connect(&fake);
    connection.send(&subscribe(100), &[]).unwrap();
    let ping = connection.send(&PING, &[]).unwrap();
    // `idle` returns when nothing has arrived for a moment; the node sends everything at once.
    while connection.unanswered() > 0 {
        connection.idle(Duration::from_millis(1)).unwrap();
    }
    let topic = Topic { name: TopicName::new("t").unwrap(), id: None };
    let fetch = dht_protocol::wire::request::Fetch {
        topic,
        epoch: None,
        start: Start::Earliest,
        max_bytes: 0,
        max_records: 0,
        max_wait_ms: 0,
    };
    let fetch = connection.send(&Request::Fetch(fetch), &[]).unwrap();
    assert_eq!(connection.receive(soon()).unwrap().unwrap().id, ping);
    assert_eq!(connection.receive(soon()).unwrap().unwrap().id, fetch);
    assert_eq!([next(&mut connection), next(&mut connection)], ["2 begins at 0", "2 has 0+1"]);
    drop(connection);
    fake.finish();
}

#[test]
fn an_unknown_critical_flag_or_tlv_is_a_protocol_error() {
    let (flag, unknown) = (Flags(0x40), [0x9F, 0, 0]);
    for (flags, tlv) in [(Flags::RESPONSE.with(flag), [0x1F, 0, 0]), (Flags::RESPONSE, unknown)] {
        let fake = Fake::play(vec![Box::new(move |peer| {
            peer.greet();
            let asked = peer.expect(Opcode::Ping);
            peer.say(Opcode::Ping, flags, Status::Ok, asked.id, |args| {
                args.u16(0).u64(3).bytes(&tlv);
            });
            peer.flush();
            peer.wait_for_end();
        })]);
        let mut connection = connect(&fake);
        connection.send(&PING, &[]).unwrap();
        let error = connection.receive(soon()).unwrap_err();
        let is_expected = matches!(&error, Error::Protocol { fault: Fault::Critical | Fault::Decode { .. }, .. });
        assert!(is_expected, "{error:?}");
        drop(connection);
        fake.finish();
    }
}
