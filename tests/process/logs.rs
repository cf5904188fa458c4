//! Nodes log little, whatever their peers do.

use dht_node::limits::LOG_WARNINGS_MAX;
use dht_node::wire::{Hello, Status};

use crate::cube::Cube;
use crate::daemon::{PATIENCE, wait_for};
use crate::raw::{Raw, client_hello, hello_frame};

#[test]
fn a_link_goes_down_and_up_once_when_a_node_is_stopped_and_continued() {
    let mut cube = Cube::start(1);
    // The node with the larger id dials. Its debug log shows the failed attempts.
    cube.kill(1);
    cube.change(&[], &["env", "RUST_LOG=debug"]);
    cube.restart(1);
    cube.wait_linked();
    let before = changes(&cube);
    cube.daemon(0).signal("STOP");
    wait_for("the neighbour has dialled many times", || {
        (cube.daemon(1).stderr().matches("ended: no answer to HELLO").count() >= 4).then_some(())
    });
    cube.daemon(0).signal("CONT");
    cube.wait_linked();
    let after = changes(&cube);
    for (before, after) in before.into_iter().zip(after).flat_map(|(before, after)| before.into_iter().zip(after)) {
        // One more change is accepted, in case the test machine itself stalls.
        assert!((before + 1..=before + 2).contains(&after), "from {before} to {after}");
    }
}

#[test]
fn the_log_says_why_a_link_went_down() {
    let mut cube = Cube::start(1);
    let expect = |cube: &mut Cube, reason: &str| {
        let line = format!("link to 1 is down: {reason}");
        wait_for(&line, || cube.daemon(0).stderr().contains(&line).then_some(()));
    };
    cube.daemon(1).signal("STOP");
    expect(&mut cube, "KEEPALIVE_TIMEOUT: nothing was heard for 1000 ms");
    cube.daemon(1).signal("CONT");
    cube.wait_linked();
    let mut node = cube.take(1);
    node.signal("TERM");
    assert!(node.wait(PATIENCE).unwrap().success());
    expect(&mut cube, "the other side sent GOAWAY CLOSING: this node is shutting down");
    cube.restart(1);
    cube.wait_linked();
    cube.kill(1);
    let crashed = ["closed by the other side", "connection reset"].map(|reason| format!("link to 1 is down: {reason}"));
    wait_for("the end of the crashed node's link", || {
        let log = cube.daemon(0).stderr();
        crashed.iter().any(|line| log.contains(line)).then_some(())
    });
}

#[test]
fn refused_connections_do_not_fill_the_log() {
    const TIMES: usize = 1000;
    let mut cube = Cube::start(0);
    let hello = Hello { cluster: "another".to_owned(), ..client_hello() };
    for _ in 0..TIMES {
        let mut raw = Raw::connect(cube.address(0));
        raw.send(&hello_frame(&hello));
        assert_eq!(raw.frame().hello().0, Status::ClusterMismatch);
        assert_eq!(raw.goaway(), Status::ClusterMismatch);
    }
    let mut node = cube.take(0);
    node.signal("TERM");
    assert!(node.wait(PATIENCE).unwrap().success());
    let log = node.stderr();
    let (mut written, mut suppressed) = (0, 0);
    for line in log.lines().filter(|line| line.contains("CLUSTER_MISMATCH")) {
        written += 1;
        let count = line.split(" similar lines were suppressed").next().filter(|start| *start != line);
        suppressed += count.map_or(1, |start| start.split(' ').next_back().unwrap().parse().unwrap());
    }
    assert_eq!(suppressed, TIMES, "{log}");
    // The test may last longer than one period of the log's rate limit.
    assert!(written < TIMES / 10 && written > LOG_WARNINGS_MAX as usize, "{log}");
}

/// Returns how often the link went up and down, as counted by each node.
fn changes(cube: &Cube) -> [[u64; 2]; 2] {
    [0, 1].map(|node| ["links_up", "links_down"].map(|name| cube.counter(node, name)))
}
