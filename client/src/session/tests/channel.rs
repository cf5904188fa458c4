use std::io::ErrorKind;

use dht_protocol::types::{Offset, RequestId};
use dht_protocol::wire::{Flags, Opcode, Push, Status};

use super::{SEED, arrive, channel, frame, goaway, greeting, hello_answer, millis, opcodes, ping, pong, sent};
use crate::clock::now;
use crate::error::Error;
use crate::session::channel::Channel;
use crate::session::handshake::{Greeting, Introduction};
use crate::session::incoming::Incoming;

#[test]
fn a_handshake_ends_with_what_the_node_says_wherever_its_bytes_are_cut() {
    let start = now();
    let hello = sent(greeting(start).bytes(), start);
    assert_eq!(opcodes(&hello), [Opcode::Hello]);
    let rejected = |status: Status, reason: &str| format!("rejected {} {reason}", status.name());
    let cases: [(Vec<u8>, String); 5] = [
        (hello_answer(&hello, Status::Ok), "agreed".to_owned()),
        (
            [hello_answer(&hello, Status::ClusterMismatch), goaway(1, "another cluster")].concat(),
            rejected(Status::ClusterMismatch, "another cluster"),
        ),
        (goaway(0, "full"), rejected(Status::Closing, "full")),
        (pong(RequestId(1)), "protocol".to_owned()),
        (b"HTTP/1.1 400 Bad Request\r\n\r\nno such thing".to_vec(), "protocol".to_owned()),
    ];
    for (answer, expected) in cases {
        for piece in [1, 7, answer.len()] {
            let mut greeting = greeting(start);
            let mut outcome = None;
            for bytes in answer.chunks(piece) {
                assert!(outcome.is_none(), "{expected} before the last byte");
                arrive(greeting.bytes(), bytes, start);
                outcome = match greeting.poll(start) {
                    Ok(None) => None,
                    Ok(Some(_)) => Some("agreed".to_owned()),
                    Err(Error::Rejected { response, .. }) => {
                        Some(format!("rejected {} {}", response.name(), response.message))
                    }
                    Err(Error::Protocol { .. }) => Some("protocol".to_owned()),
                    Err(other) => panic!("{other:?}"),
                };
                if expected == "protocol" && outcome.is_some() {
                    break; // it need not be read to its end
                }
            }
            assert_eq!(outcome.as_ref(), Some(&expected), "in pieces of {piece}");
        }
    }
}

#[test]
fn the_reason_for_a_refusal_is_awaited_for_half_a_second() {
    let start = now();
    for name in ["time", "end of the stream", "no frame"] {
        let mut greeting = greeting(start);
        let hello = sent(greeting.bytes(), start);
        arrive(greeting.bytes(), &hello_answer(&hello, Status::UnsupportedVersion), start);
        assert!(greeting.poll(start).unwrap().is_none(), "{name}");
        assert_eq!(greeting.wake_at().left(start), Some(millis(500)), "{name}");
        assert!(greeting.poll(start + millis(499)).unwrap().is_none(), "{name}");
        assert!(matches!(greeting.give_up(), Error::Rejected { .. }), "{name}");
        match name {
            "end of the stream" => greeting.bytes().on_ended(None),
            "no frame" => arrive(greeting.bytes(), &[0; 36], start),
            _ => {}
        }
        let error = greeting.poll(start + millis(500)).unwrap_err();
        assert_eq!(error.code(), Some(Status::UnsupportedVersion.number()), "{name}");
    }
}

#[test]
fn a_connection_that_ends_before_hello_was_not_made() {
    let start = now();
    let mut greeting = greeting(start);
    assert!(greeting.poll(start).unwrap().is_none());
    assert!(matches!(greeting.give_up(), Error::Connect { source, .. } if source.kind() == ErrorKind::TimedOut));
    greeting.bytes().on_ended(None);
    let error = greeting.poll(start).unwrap_err();
    assert!(matches!(error, Error::Connect { source, .. } if source.kind() == ErrorKind::UnexpectedEof));
}

#[test]
fn results_do_not_depend_on_where_the_bytes_are_cut() {
    let start = now();
    let stream = |channel: &mut Channel| {
        let ids: Vec<RequestId> = (0..3).map(|_| channel.send(&ping(), &[], start).unwrap()).collect();
        let asked = frame(Opcode::Ping, Flags::default(), Status::Ok, 900, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
        [pong(ids[2]), asked, pong(ids[0]), goaway(ids[1].0, "bye"), pong(ids[1])].concat()
    };
    let read = |piece: usize| {
        let mut channel = channel(start);
        let input = stream(&mut channel);
        sent(channel.bytes(), start);
        let mut results = Vec::new();
        for bytes in input.chunks(piece) {
            arrive(channel.bytes(), bytes, start);
            loop {
                match channel.next() {
                    Ok(None) => break,
                    Ok(Some(incoming)) => results.push(format!("{incoming:?}")),
                    Err(error) => {
                        results.push(error.to_string());
                        break;
                    }
                }
            }
        }
        (results, sent(channel.bytes(), start))
    };
    let whole = read(usize::MAX);
    assert_eq!(
        (whole.0.len(), opcodes(&whole.1)),
        (4, vec![Opcode::Ping]),
        "three answers, the end, one PING answered"
    );
    for piece in [1, 2, 35, 36, 37, 100] {
        assert_eq!(read(piece), whole, "{piece}");
    }
}

#[test]
fn what_arrived_before_the_end_of_a_connection_is_returned_before_the_error() {
    let start = now();
    let mut channel = channel(start);
    let id = channel.send(&ping(), &[], start).unwrap();
    arrive(channel.bytes(), &pong(id), start);
    channel.bytes().on_ended(Some(ErrorKind::ConnectionReset.into()));
    assert!(matches!(channel.next(), Ok(Some(Incoming::Answer(answer))) if answer.id == id));
    for _ in 0..2 {
        assert!(matches!(channel.next(), Err(Error::Lost { .. })));
    }
}

#[test]
fn a_silent_node_is_sent_ping_and_then_given_up_but_only_while_something_is_expected() {
    let start = now();
    let mut channel = channel(start);
    assert_eq!(channel.wake_at().left(start), None);
    channel.on_time(start + millis(60_000)).unwrap();
    assert!(channel.bytes().output().is_empty());

    let asked = start + millis(60_000);
    let id = channel.send(&ping(), &[], asked).unwrap();
    sent(channel.bytes(), asked);
    assert_eq!(channel.wake_at().left(asked), Some(millis(1000)));
    channel.on_time(asked + millis(999)).unwrap();
    assert!(channel.bytes().output().is_empty());
    channel.on_time(asked + millis(1000)).unwrap();
    assert_eq!(opcodes(&sent(channel.bytes(), asked)), [Opcode::Ping]);
    assert_eq!(channel.unanswered(), 1, "the PING is not awaited");
    channel.on_time(asked + millis(1749)).unwrap();
    assert!(matches!(channel.on_time(asked + millis(1750)), Err(Error::TimedOut { .. })));

    arrive(channel.bytes(), &pong(id), asked + millis(1751));
    channel.collect().unwrap();
    assert_eq!(channel.wake_at().left(asked), None, "nothing is expected any more");
}

#[test]
fn a_push_without_a_subscription_is_late_and_dropped() {
    let start = now();
    let mut channel = channel(start);
    let mut gap = Vec::new();
    Push::Gap { from: Offset(1), to: Offset(2) }.encode(RequestId(44), None, &mut gap);
    arrive(channel.bytes(), &gap, start);
    assert_eq!(channel.next().unwrap(), None);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let start = now();
    let hello = |seed| {
        let mut greeting = Greeting::new("node".to_owned(), &Introduction::default(), seed, start);
        sent(greeting.bytes(), start)
    };
    assert_eq!(hello(SEED), hello(SEED));
    assert_ne!(hello(SEED), hello(SEED + 1));
}
