//! Peers that falsely claim to be a neighbour: they are refused with the reason, and existing links are unaffected.

use dht_node::limits::{FRAME_MAX, FRAME_MAX_LEAST};
use dht_node::wire::{Hello, Role, Status};

use crate::cube::Cube;
use crate::raw::{Raw, client_hello, hello_frame};

#[test]
fn a_peer_that_is_not_a_neighbour_is_refused_with_the_reason() {
    let cube = Cube::start(3);
    let node = |node| Hello {
        role: Role::Node,
        dimension: 3,
        node,
        max_frame: FRAME_MAX,
        keepalive_ms: 1000,
        cluster: "dht".to_owned(),
        ..client_hello()
    };
    let elsewhere = |hello: Hello| Hello { cluster: "elsewhere".to_owned(), ..hello };
    // As seen by node 101, whose neighbours are 100, 111 and 001.
    let cases: [(&str, Hello, Status); 13] = [
        ("its own id", node(0b101), Status::NotANeighbour),
        ("two bits away", node(0b110), Status::NotANeighbour),
        ("not in this cube", node(8), Status::NotANeighbour),
        ("a neighbour that it dials itself", node(0b100), Status::NotANeighbour),
        ("a neighbour that is already linked", node(0b111), Status::DuplicateNode),
        ("another cluster", elsewhere(node(0b111)), Status::ClusterMismatch),
        ("no cluster", Hello { cluster: String::new(), ..node(0b111) }, Status::ClusterMismatch),
        ("another dimension", Hello { dimension: 4, ..node(0b111) }, Status::DimensionMismatch),
        ("another number of copies", Hello { replicas: Some(3), ..node(0b111) }, Status::ClusterMismatch),
        ("another version", Hello { version_min: 2, version_max: 9, ..node(0b111) }, Status::UnsupportedVersion),
        ("a client of another cluster", elsewhere(client_hello()), Status::ClusterMismatch),
        (
            "a client of version 2",
            Hello { version_min: 2, version_max: 2, ..client_hello() },
            Status::UnsupportedVersion,
        ),
        ("a client with too small frames", small_frames(), Status::ProtocolError),
    ];
    let lost = |cube: &Cube| [0b101, 0b100, 0b111, 0b001].map(|node| cube.counter(node, "links_down"));
    let before = lost(&cube);
    for (who, hello, expected) in cases {
        let mut raw = Raw::connect(cube.address(0b101));
        raw.send(&hello_frame(&hello));
        let (status, answer) = raw.frame().hello();
        assert_eq!(status, expected, "{who}");
        assert_eq!((answer.node, answer.dimension, answer.cluster.as_str()), (0b101, 3, "dht"), "{who}");
        assert_eq!(raw.goaway(), expected, "{who}");
    }
    assert_eq!(lost(&cube), before, "a false neighbour caused the loss of a link");
    cube.wait_linked();
}

#[test]
fn a_client_that_names_the_right_cluster_or_none_is_accepted() {
    let cube = Cube::start_with(1, &["--cluster", "blue"]);
    for cluster in ["", "blue"] {
        Raw::greet_as(cube.address(1), &Hello { cluster: cluster.to_owned(), ..client_hello() }).ping();
    }
}

fn small_frames() -> Hello {
    Hello { max_frame: FRAME_MAX_LEAST - 1, ..client_hello() }
}
