use std::time::Duration;

use dht_protocol::types::{RequestId, TopicName};
use dht_protocol::wire::hello::NO_NODE;
use dht_protocol::wire::request::{Publish, Topic};
use dht_protocol::wire::{Flags, FrameError, Opcode, Request, Response, Status};

use crate::clock::{now, pause};
use crate::fake::{Fake, Peer, Script, published};
use crate::session::cluster::Session;
use crate::session::driving::Watching;
use crate::{Answer, Client, Connection, Deadline, Error, Fault, Introduction, Loss};

/// How a peer writes the bytes that it has collected.
type Write = fn(&mut Peer);

/// Returns true for the error that a case expects.
type IsExpected = fn(&Error) -> bool;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn connect(fake: &Fake) -> Result<Connection, Error> {
    Connection::open(fake.address(), &Introduction::default(), soon())
}

fn ping(token: u64) -> Request<'static> {
    Request::Ping { node: NO_NODE, token }
}

fn pong(token: u64) -> Response {
    Response::Ping { node: 0, token, wall_us: None, topics: None }
}

#[test]
fn answers_may_arrive_in_any_order_and_in_any_pieces() {
    let writes: [(&str, Write); 2] = [("at once", Peer::flush), ("byte by byte", Peer::trickle)];
    for (name, write) in writes {
        let fake = Fake::play(vec![Box::new(move |peer| {
            peer.greet();
            let asked: Vec<_> = (0..3).map(|_| peer.expect(Opcode::Ping)).collect();
            for index in [2, 0, 1] {
                peer.answer(&asked[index], &pong(index as u64));
            }
            write(peer);
            peer.wait_for_end();
        })]);
        let mut connection = connect(&fake).unwrap();
        let ids: Vec<_> = (0..3).map(|token| connection.send(&ping(token), &[]).unwrap()).collect();
        assert_eq!((connection.unanswered(), connection.node().index()), (3, 0));
        for index in [2, 0, 1] {
            let answer = connection.receive(soon()).unwrap().unwrap();
            assert_eq!((answer.id, answer.response), (ids[index], pong(index as u64)), "{name}");
        }
        assert_eq!(connection.unanswered(), 0);
        drop(connection);
        fake.finish();
    }
}

#[test]
fn requests_of_the_node_and_late_answers_are_answered_or_ignored() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let late = peer.expect(Opcode::Ping);
        let asked = peer.expect(Opcode::Ping);
        peer.say(Opcode::Ping, Flags::default(), Status::Ok, RequestId(900), |args| ping(42).encode(args));
        peer.say(Opcode::Stats, Flags::ONEWAY, Status::Ok, RequestId(0), |_| {});
        peer.say(Opcode::Stats, Flags::default(), Status::Ok, RequestId(901), |args| {
            args.u16(0);
        });
        peer.answer(&late, &pong(1));
        peer.answer(&late, &pong(1));
        // An answer with an unknown TLV.
        peer.say(Opcode::Ping, Flags::RESPONSE, Status::Ok, asked.id, |args| {
            args.u16(0).u64(2).tlv(0x3F, b"grease");
        });
        peer.flush();
        let answered = peer.expect(Opcode::Ping);
        assert!(answered.flags.has(Flags::RESPONSE));
        assert_eq!((answered.id, answered.request()), (RequestId(900), Request::Ping { node: NO_NODE, token: 42 }));
        let refused = peer.expect(Opcode::Stats);
        assert!(refused.flags.has(Flags::RESPONSE));
        assert_eq!(refused.id, RequestId(901));
        peer.wait_for_end();
    })]);
    let mut connection = connect(&fake).unwrap();
    let late = connection.send(&ping(1), &[]).unwrap();
    let id = connection.send(&ping(2), &[]).unwrap();
    connection.abandon(late);
    let answer = connection.receive(soon()).unwrap().unwrap();
    assert_eq!((answer.id, answer.response), (id, pong(2)));
    assert!(connection.receive(Deadline::at_once()).unwrap().is_none());
    connection.flush(soon()).unwrap();
    drop(connection);
    fake.finish();
}

#[test]
fn writing_does_not_deadlock_with_a_node_that_waits_to_be_read() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let asked: Vec<_> = (0..8).map(|_| peer.expect(Opcode::Stats)).collect();
        // More bytes than both socket buffers hold, while the client also writes more than they hold.
        for asked in &asked {
            peer.answer(asked, &Response::Stats { node: 0, text: "x".repeat(1 << 20).split_off(4096) });
        }
        peer.flush();
        for _ in 0..16 {
            let asked = peer.expect(Opcode::Publish);
            peer.answer(&asked, &published(0, 1, false));
        }
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut connection = connect(&fake).unwrap();
    for _ in 0..8 {
        connection.send(&Request::Stats { node: 0 }, &[]).unwrap();
    }
    let topic = Topic { name: TopicName::new("t").unwrap(), id: None };
    let payload = vec![0; 1_000_000];
    for _ in 0..16 {
        connection.send(&Request::Publish(Publish { topic, producer: None, count: 1 }), &payload).unwrap();
    }
    assert!(connection.flush(soon()).unwrap());
    for left in (0..24).rev() {
        assert!(connection.receive(soon()).unwrap().is_some());
        assert_eq!(connection.unanswered(), left);
    }
    drop(connection);
    fake.finish();
}

#[test]
fn after_goaway_requests_up_to_its_id_are_answered_and_later_ones_are_lost() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let asked = peer.expect(Opcode::Ping);
        peer.expect(Opcode::Ping);
        peer.goaway(asked.id.0);
        peer.answer(&asked, &pong(1));
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut connection = connect(&fake).unwrap();
    let first = connection.send(&ping(1), &[]).unwrap();
    let second = connection.send(&ping(2), &[]).unwrap();
    assert_eq!(connection.receive(soon()).unwrap().unwrap().id, first);
    let lost = connection.receive(soon()).unwrap_err();
    assert!(matches!(&lost, Error::Lost { reason: Loss::Goaway(goaway), .. } if goaway.message == "bye"));
    assert!(connection.is_closing() && connection.is_untouched(second) && !connection.is_untouched(first));
    drop(connection);
    fake.finish();
}

#[test]
fn errors_of_the_handshake_are_distinguished() {
    let hello_is = |status| -> Script {
        Box::new(move |peer: &mut Peer| {
            let asked = peer.read();
            // The args are those of HELLO; GOAWAY with the reason follows.
            peer.say(Opcode::Hello, Flags::RESPONSE, status, asked.id, |args| {
                args.bytes(&asked.args);
            });
            peer.goaway(1);
            peer.flush();
        })
    };
    let cases: [(Script, IsExpected); 5] = [
        (
            Box::new(|peer| {
                peer.read();
                peer.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n");
                peer.flush();
            }),
            |error| matches!(error, Error::Protocol { fault: Fault::Frame(FrameError::Magic), .. }),
        ),
        (hello_is(Status::ClusterMismatch), |error| {
            error.code() == Some(0xE6) && !error.is_retryable() && error.to_string().contains("bye")
        }),
        (hello_is(Status::TooManyClients), |error| error.code() == Some(0xEC) && error.is_retryable()),
        (
            Box::new(|peer| {
                peer.read();
                peer.goaway(0);
                peer.flush();
            }),
            |error| matches!(error, Error::Rejected { .. }) && error.code() == Some(0xEB),
        ),
        (
            Box::new(|peer| {
                let asked = peer.read();
                peer.answer(&asked, &pong(0));
                peer.flush();
            }),
            |error| matches!(error, Error::Protocol { .. }),
        ),
    ];
    for (index, (script, is_expected)) in cases.into_iter().enumerate() {
        let fake = Fake::play(vec![script]);
        let error = connect(&fake).unwrap_err();
        assert!(is_expected(&error), "case {index}: {error:?}");
        fake.finish();
    }
}

#[test]
fn a_damaged_answer_ends_the_connection() {
    // The position of the damage, counted from the end of a frame of 36 + 10 bytes.
    for (place, expected) in [(11, "the header does not match"), (1, "the args of a frame do not match")] {
        let fake = Fake::play(vec![Box::new(move |peer| {
            peer.greet();
            let asked = peer.expect(Opcode::Ping);
            let mut frame = Vec::new();
            pong(1).encode(asked.opcode.number(), asked.id, None, &mut frame);
            let length = frame.len();
            frame[length - place] ^= 1;
            peer.raw(&frame);
            peer.flush();
            peer.wait_for_end();
        })]);
        let mut connection = connect(&fake).unwrap();
        connection.send(&ping(1), &[]).unwrap();
        let error = connection.receive(soon()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        drop(connection);
        fake.finish();
    }
}

#[test]
fn a_server_that_does_not_answer_leaves_time_to_try_the_next() {
    let silent = Fake::play(vec![Box::new(|peer| {
        peer.read();
        peer.wait_for_end();
    })]);
    let good = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        peer.wait_for_end();
    })]);
    let servers = [silent.address().clone(), good.address().clone()];
    let client = Client::builder().servers(servers).timeout(Duration::from_millis(400)).connect().unwrap();
    assert_eq!(client.server(), Some(good.address().to_string().as_str()));
    drop(client);
    silent.finish();
    good.finish();
}

#[test]
fn a_slow_server_is_tried_again_with_a_longer_timeout() {
    let slow = Fake::play(vec![
        Box::new(|peer| {
            peer.read();
            peer.wait_for_end(); // until the first, short timeout
        }),
        Box::new(|peer| {
            peer.greet();
            peer.wait_for_end();
        }),
    ]);
    let gone = Fake::play(Vec::new());
    let servers = [slow.address().clone(), gone.address().clone()];
    gone.finish(); // from now on, its port refuses connections
    let client = Client::builder().servers(servers).timeout(Duration::from_secs(30)).connect().unwrap();
    assert_eq!(client.server(), Some(slow.address().to_string().as_str()));
    drop(client);
    slow.finish();
}

/// Waits for the next response, and gives up a silent node.
fn receive(client: &mut Client, deadline: Deadline) -> Result<Option<Answer>, Error> {
    let next = |session: &mut Session| session.next_answer().transpose().ok_or(Deadline::NEVER);
    client.drive_watched(Watching::Within(None), deadline, |session, _| next(session)).transpose()
}

#[test]
fn input_that_arrived_while_the_program_was_busy_is_read_before_a_node_counts_as_silent() {
    let (silence, busy) = (Duration::from_millis(10), Duration::from_millis(60));
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        peer.expect(Opcode::Stats);
        for _ in 0..3 {
            let asked = peer.expect(Opcode::Ping);
            peer.answer(&asked, &pong(0));
            peer.flush();
        }
        peer.expect(Opcode::Ping);
        peer.wait_for_end();
    })]);
    let builder = Client::builder().server(fake.address().clone()).only_listed().ping_after(silence);
    let mut client = builder.connect().unwrap();
    client.open(soon()).unwrap().send(&Request::Stats { node: 0 }, &[], now()).unwrap();
    for _ in 0..4 {
        assert!(receive(&mut client, Deadline::at_once()).unwrap().is_none());
        pause(busy);
        // The first call reads the input that has arrived, and the second one notices the silence after that.
        assert!(receive(&mut client, Deadline::at_once()).unwrap().is_none());
        pause(busy);
    }
    let lost = receive(&mut client, soon()).unwrap_err();
    assert!(matches!(lost, Error::TimedOut { .. }), "{lost}");
    drop(client);
    fake.finish();
}
