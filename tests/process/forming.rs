//! The nodes connect to each other in any order, and reconnect after a failure.

use std::time::Duration;

use dht_client::{LinkState, Retention};

use crate::cube::Cube;
use crate::daemon::{Daemon, pause, wait_for};

#[test]
fn the_cube_forms_in_any_order_of_node_starts() {
    let orders: [(u8, &[u16]); 6] = [
        (0, &[0]),
        (1, &[0, 1]),
        (1, &[1, 0]),
        (3, &[7, 6, 5, 4, 3, 2, 1, 0]),
        (3, &[0, 7, 3, 4, 1, 6, 2, 5]),
        (3, &[1, 2, 4, 7, 0, 3, 5, 6]),
    ];
    for (bits, order) in orders {
        let cube = Cube::start_in(bits, order, &[]);
        cube.wait_linked();
        let mut client = cube.client(order[0]);
        let cluster = client.cluster().unwrap();
        assert!(cluster.is_whole(), "{order:?}: {cluster:?}");
        assert_eq!(cluster.links.len(), usize::from(cube.dimension.links()));
        for (node, member) in (0..).zip(&cluster.nodes) {
            assert_eq!(member.node, cube.id(node));
            assert_eq!(member.address, cube.address(node).to_string(), "address of node {node}");
        }
    }
}

#[test]
fn a_node_knows_the_addresses_of_all_others() {
    let mut cube = Cube::start(3);
    // Restart it, because the nodes after it had no ports yet when it first started.
    cube.kill(5);
    cube.restart(5);
    cube.wait_linked();
    cube.kill(7);
    cube.wait_linked();
    let known = cube.client(5).nodes().unwrap();
    let links: Vec<_> = known.iter().map(|known| known.link).collect();
    let expected = [
        LinkState::Distant,
        LinkState::Up,
        LinkState::Distant,
        LinkState::Distant,
        LinkState::Up,
        LinkState::Itself,
        LinkState::Distant,
        LinkState::Down,
    ];
    assert_eq!(links, expected);
    for (node, known) in (0..).zip(&known) {
        assert_eq!((known.node, &known.address), (cube.id(node), &cube.address(node).to_string()));
    }
}

#[test]
fn a_killed_node_is_linked_again_after_its_restart() {
    let mut cube = Cube::start(3);
    // Node 0 is dialled by all its neighbours, node 7 dials all of its neighbours, and node 5 does both.
    for node in [0, 7, 5] {
        let address = cube.address(node);
        cube.kill(node);
        cube.wait_linked();
        cube.restart(node);
        assert_eq!(cube.address(node), address, "a restarted node has the same address");
        cube.wait_linked();
        let topic = cube.topic_at(node, "back");
        let (description, existed) = cube.client(7 - node).create(&topic, Retention::default()).unwrap();
        assert!(!existed && description.home == node, "{description:?}");
    }
}

#[test]
fn a_stopped_node_is_linked_again_when_it_continues() {
    let mut cube = Cube::start(1);
    cube.daemon(0).signal("STOP");
    // The other node dials repeatedly; each attempt waits in the listen backlog of the stopped node.
    pause(Duration::from_secs(4));
    cube.daemon(0).signal("CONT");
    cube.wait_linked();
}

#[test]
fn a_second_process_with_the_same_id_is_refused_and_the_first_stays_linked() {
    let cube = Cube::start(1);
    let mut client = cube.client(0);
    let instance = |client: &mut dht_client::Client| {
        let cluster = client.cluster().unwrap();
        assert!(cluster.is_whole(), "{cluster:?}");
        cluster.nodes[1].view.as_ref().unwrap().instance
    };
    let first = instance(&mut client);
    let lost = cube.counter(0, "links_down");
    let folder = tempfile::tempdir().unwrap();
    let (peers, log) = (folder.path().join("peers"), folder.path().join("second.log"));
    std::fs::write(&peers, format!("0 {}\n1 127.0.0.1:0\n", cube.address(0))).unwrap();
    let arguments = ["--id", "1", "--dimension", "1", "--in-memory", "--peers", peers.to_str().unwrap()];
    let mut second = Daemon::spawn(&arguments, &log);
    assert_ne!(second.listening().unwrap(), cube.address(1));
    // It retries, and each refusal contains the reason.
    wait_for("the second process is refused twice", || (second.logged("refused the link: ") >= 2).then_some(()));
    assert_eq!(instance(&mut client), first, "node 0 is still linked to the first process");
    assert_eq!(cube.counter(0, "links_down"), lost, "the link to the first process was never lost");
}
