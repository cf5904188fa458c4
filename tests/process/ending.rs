//! Shutdown by signals: accepted requests are answered, all clients get GOAWAY, and the process exits in time.

use std::time::Duration;

use dht_node::wire::{Request, Status};

use crate::cube::Cube;
use crate::daemon::Daemon;
use crate::raw::{Got, Raw, ping_frame, request_frame};
use crate::requests::{create, fetch, publish, record};

/// The maximum duration of a shutdown that the daemon promises.
const IN_TIME: Duration = Duration::from_secs(5);

#[test]
fn a_node_that_shuts_down_answers_requests_sends_goaway_and_exits_with_0() {
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
        let status = daemon.wait(IN_TIME).unwrap_or_else(|| panic!("{signal}: still running after {IN_TIME:?}"));
        assert_eq!(status.code(), Some(0), "{signal}: {status}");
        check_output(&daemon, named);
        // A client that does not read gets what fits into socket buffers, and does not delay the shutdown.
        while let Got::Frame(frame) = deaf.next(IN_TIME) {
            assert!(frame.header.request_id.0 < 3000, "{frame:?}");
        }
        cube.wait_linked();
    }
}

#[test]
fn a_node_that_waits_for_an_unresponsive_node_still_exits_in_time() {
    let (_cube, mut daemon, mut raw) = ending_with_an_open_request();
    let status = daemon.wait(IN_TIME).unwrap_or_else(|| panic!("still running after {IN_TIME:?}"));
    assert_eq!(status.code(), Some(0), "{status}");
    let goaway = raw.frame().goaway();
    assert_eq!(goaway.status, Status::Closing);
    assert_eq!(goaway.last_request_id, 3, "the unanswered request may have been executed");
    // The node reports the unknown outcome as soon as it knows, unless it exits before.
    while let Got::Frame(frame) = raw.next(IN_TIME) {
        assert_eq!((frame.header.request_id.0, frame.header.status), (2, Status::OutcomeUnknown.number()));
    }
}

#[test]
fn a_node_that_shuts_down_does_not_dial_its_neighbours_again() {
    let mut cube = Cube::start(3);
    // Node 7 dials all its neighbours, and it keeps running until this client closes its connection or a timeout.
    let mut idle = Raw::greet(cube.address(7));
    let mut daemon = cube.take(7);
    daemon.signal("TERM");
    assert_eq!(idle.goaway(), Status::Closing);
    let status = daemon.wait(Duration::from_secs(3)).expect("it exits even if the client does not close");
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(daemon.logged(" is up"), 3);
}

#[test]
fn a_second_signal_makes_a_node_exit_at_once() {
    let (_cube, mut daemon, mut raw) = ending_with_an_open_request();
    // It waits for the answer of the other node, and accepts no new requests.
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
    // Without the second signal it would wait for two seconds.
    let status = daemon.wait(Duration::from_millis(1500)).expect("it exits at once");
    assert_eq!(status.code(), Some(0));
    assert_eq!(daemon.logged("again: ending at once"), 1);
}

/// Returns node 0 of a cube of two, during its shutdown: a client's request 2 waits for node 1, which is stopped, and
/// request 3 has been answered.
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

/// Checks that every request up to the id in GOAWAY has been answered, and that all later ones were refused.
fn check_last_words(raw: &mut Raw) {
    let mut frames = raw.frames_to_end();
    let goaway = frames.remove(&0).expect("GOAWAY").goaway();
    assert_eq!(goaway.status, Status::Closing);
    for id in 2..=goaway.last_request_id {
        let frame = frames.remove(&id).unwrap_or_else(|| panic!("no answer to {id} of {goaway:?}"));
        assert_eq!(frame.header.status, 0, "{frame:?}");
    }
    for frame in frames.values() {
        assert_eq!(frame.header.status, Status::ShuttingDown.number(), "after {goaway:?}: {frame:?}");
    }
}

/// Checks that stdout has one line, and that the log says why the node shut down.
fn check_output(daemon: &Daemon, signal: &str) {
    let lines: Vec<_> = daemon.stdout().lines().collect();
    assert!(lines.len() == 1 && lines[0].contains("Z INFO  node 000 net: listens on 127.0.0.1:"), "{lines:?}");
    let log = daemon.stderr();
    assert_eq!(log.matches(signal).count(), 1, "{log}");
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}
