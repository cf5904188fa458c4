//! Signals: what was taken is answered, everybody is told, and the process ends in time.

use std::time::Duration;

use dht_node::wire::{Request, Status};

use crate::cube::Cube;
use crate::daemon::Daemon;
use crate::raw::{Got, Raw, ping_frame, request_frame};
use crate::requests::{create, fetch, publish, record};

/// What the daemon promises for its end.
const IN_TIME: Duration = Duration::from_secs(5);

#[test]
fn a_node_that_is_asked_to_end_answers_says_so_and_exits_with_0() {
    for (signal, named) in [("TERM", "Terminate"), ("INT", "Interrupt")] {
        let mut cube = Cube::start(3);
        let topic = cube.topic_at(0, "ending");
        let mut idle = Raw::greet(cube.address(0));
        let mut busy = Raw::greet(cube.address(0));
        let mut deaf = Raw::greet(cube.address(0));
        idle.call(&create(&topic), &[]);
        idle.call(&publish(&topic, 1), &record(&vec![1; 60 << 10]));
        deaf.send(&(2..3000).flat_map(|id| request_frame(id, &fetch(&topic, 0, 1), &[])).collect::<Vec<u8>>());
        idle.ping();
        let ping = |id| request_frame(id, &Request::Ping { node: 7, token: id }, &[]);
        busy.send(&(2..202).flat_map(ping).collect::<Vec<u8>>());
        let mut daemon = cube.take(0);
        daemon.signal(signal);

        assert_eq!(idle.goaway(), Status::Closing, "{signal}");
        check_last_words(&mut busy);
        let status = daemon.wait(IN_TIME).unwrap_or_else(|| panic!("{signal}: not gone after {IN_TIME:?}"));
        assert_eq!(status.code(), Some(0), "{signal}: {status}");
        check_output(&daemon, named);
        // Whoever does not read gets what fits on the way, and then the end; it is not what the others wait for.
        while let Got::Frame(frame) = deaf.next(IN_TIME) {
            assert!(frame.header.request_id.0 < 3000, "{frame:?}");
        }
        cube.wait_linked();
    }
}

#[test]
fn a_node_that_waits_for_a_silent_one_ends_in_time_all_the_same() {
    let (_cube, mut daemon, mut raw) = ending_with_an_open_request();
    let status = daemon.wait(IN_TIME).unwrap_or_else(|| panic!("not gone after {IN_TIME:?}"));
    assert_eq!(status.code(), Some(0), "{status}");
    let goaway = raw.frame().goaway();
    assert_eq!(goaway.status, Status::Closing);
    assert_eq!(goaway.last_request_id, 3, "the request without an answer may have been done");
    // That nobody answers is told as soon as it is known, unless the node is gone before.
    while let Got::Frame(frame) = raw.next(IN_TIME) {
        assert_eq!((frame.header.request_id.0, frame.header.status), (2, Status::OutcomeUnknown.number()));
    }
}

#[test]
fn a_node_that_ends_does_not_dial_those_whom_it_has_told() {
    let mut cube = Cube::start(3);
    // It is the one that dials all its neighbours, and it stays for as long as a client may take to close.
    let mut idle = Raw::greet(cube.address(7));
    let mut daemon = cube.take(7);
    daemon.signal("TERM");
    assert_eq!(idle.goaway(), Status::Closing);
    let status = daemon.wait(Duration::from_secs(3)).expect("gone, whether or not the client closes");
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(daemon.logged(" is up"), 3);
}

#[test]
fn a_second_signal_ends_a_node_at_once() {
    let (_cube, mut daemon, mut raw) = ending_with_an_open_request();
    // It waits for the answer of the other node, and takes nothing new.
    assert_eq!(raw.frame().goaway().status, Status::Closing);
    for id in 4.. {
        raw.send(&ping_frame(id));
        let frame = raw.frame();
        assert_eq!(frame.header.request_id.0, id, "{frame:?}");
        if frame.header.status == Status::ShuttingDown.number() {
            break;
        }
    }
    daemon.signal("TERM");
    // Without the second one it would wait for two seconds.
    let status = daemon.wait(Duration::from_millis(1500)).expect("gone at once");
    assert_eq!(status.code(), Some(0));
    assert_eq!(daemon.logged("again: ending at once"), 1);
}

/// Node 0 of a cube of two, asked to end while a client's request 2 waits for node 1, which is stopped; 3 was the last
/// that it answered.
fn ending_with_an_open_request() -> (Cube, Daemon, Raw) {
    let mut cube = Cube::start(1);
    let mut raw = Raw::greet(cube.address(0));
    cube.daemon(1).signal("STOP");
    raw.send(&[request_frame(2, &Request::Ping { node: 1, token: 2 }, &[]), ping_frame(3)].concat());
    raw.answer(3);
    let daemon = cube.take(0);
    daemon.signal("TERM");
    (cube, daemon, raw)
}

/// Every request that was taken has its answer; of the others none was done.
fn check_last_words(raw: &mut Raw) {
    let mut frames = raw.frames_to_end();
    let goaway = frames.remove(&0).expect("GOAWAY").goaway();
    assert_eq!(goaway.status, Status::Closing);
    for id in 2..=goaway.last_request_id {
        let frame = frames.remove(&id).unwrap_or_else(|| panic!("no answer to {id} of {goaway:?}"));
        assert_eq!(frame.header.status, 0, "{frame:?}");
    }
    for frame in frames.values() {
        assert_eq!(frame.header.status, Status::ShuttingDown.number(), "behind {goaway:?}: {frame:?}");
    }
}

/// One line on stdout, and a log that says why the node ended.
fn check_output(daemon: &Daemon, signal: &str) {
    let lines: Vec<_> = daemon.stdout().lines().collect();
    assert!(lines.len() == 1 && lines[0].contains("Z INFO  node 000 net: listens on 127.0.0.1:"), "{lines:?}");
    let log = daemon.stderr();
    assert_eq!(log.matches(signal).count(), 1, "{log}");
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}
