//! The first steps of a user: create, publish, fetch, query, trace, each through another node; then with nodes dead.

use std::thread;
use std::time::Duration;

use dht_client::{Batch, Client, Connection, Deadline, ErrorResponse, Item, Retention, Start, Trace, TraceTarget};
use dht_node::types::{Offset, TopicName};
use dht_node::wire::request::Topic;
use dht_node::wire::{Request, Response, Status};

use crate::cube::Cube;

/// Shorter than the timeout after which a node answers OUTCOME_UNKNOWN.
const AT_ONCE: Duration = Duration::from_secs(3);

#[test]
fn a_topic_is_created_published_to_read_and_queried_through_different_nodes() {
    let cube = Cube::start(3);
    let topic = cube.topic_at(6, "weather");
    let (made, existed) = cube.client(0).create(&topic, Retention::default()).unwrap();
    assert!(!existed);
    assert_eq!((made.home, made.path.as_slice()), (6, [0, 4, 6].as_slice()));
    let (_, existed) = cube.client(1).create(&topic, Retention::default()).unwrap();
    assert!(existed, "creating the topic again finds the existing one");

    let published = cube.client(3).publish(&topic, &Batch::of(b"sunny")).unwrap();
    assert_eq!((published.base, published.count), (Offset(0), 1));
    cube.client(6).publish(&topic, &Batch::of(b"rainy")).unwrap();
    assert_eq!(values(&mut cube.client(5), &topic), [b"sunny", b"rainy"]);

    let found = cube.client(7).query(&topic).unwrap();
    assert_eq!((found.home, found.path.as_slice()), (6, [7, 6].as_slice()));
    assert_eq!(found.topic.unwrap().next, Offset(2));
    let trace = cube.client(1).trace_topic(&topic).unwrap();
    assert_eq!(hops(&trace), [1, 5, 7, 6], "the highest differing dimension is crossed first");
    assert_eq!((trace.target, trace.bound), (cube.id(6), 3));
    assert!(trace.failure.is_none() && trace.hops.iter().all(|hop| !hop.detour && hop.down.is_empty()), "{trace:?}");
}

#[test]
fn with_two_nodes_dead_the_rest_still_reach_each_other() {
    let mut cube = Cube::start(3);
    // Node 000 keeps only its link to 010, and node 101 only its link to 111.
    let dead = [0b001, 0b100];
    dead.iter().for_each(|&node| cube.kill(node));
    cube.wait_linked();
    let living = cube.living();
    assert_eq!(living.len(), 6);
    for &home in &living {
        let topic = cube.topic_at(home, "living");
        cube.client(living[0]).create(&topic, Retention::default()).unwrap();
        for &through in &living {
            cube.client(through).publish(&topic, &Batch::of(&through.to_be_bytes())).unwrap();
        }
        let expected: Vec<_> = living.iter().map(|node| node.to_be_bytes()).collect();
        for &through in &living {
            assert_eq!(values(&mut cube.client(through), &topic), expected, "{home} through {through}");
        }
    }
}

#[test]
fn requests_for_a_dead_home_fail_at_once_and_name_what_is_down() {
    let mut cube = Cube::start(3);
    let topic = cube.topic_at(0b100, "gone");
    cube.client(0).create(&topic, Retention::default()).unwrap();
    cube.kill(0b100);
    cube.kill(0b001);
    cube.wait_linked();
    let check = |through| {
        let mut connection = cube.connection(through);
        // The second request is answered by the ingress itself, which remembers the result of the first.
        for _ in 0..2 {
            let name = Topic { name: TopicName::new(&topic).unwrap(), id: None };
            let error = refusal(&mut connection, &Request::Info(name));
            assert_eq!((error.status, error.retry_after_ms), (Status::Unreachable.number(), 100), "{error:?}");
            assert!(error.message.contains("100"), "{error:?} does not name the node");
        }
        // Another target, about which it remembers nothing.
        let error = refusal(&mut connection, &Request::Ping { node: 0b001, token: 0 });
        for (a, b) in [(0b000, 0b001), (0b001, 0b011), (0b001, 0b101)] {
            assert!(error.down().contains(&(a, b)), "{a:03b}-{b:03b} is not among the reported links: {error:?}");
        }
    };
    // Skip the first one: `wait_linked` asked through it, so it may already remember that both nodes are unreachable.
    // The others are asked at the same time, because each retries for more than a second before it gives up.
    thread::scope(|scope| {
        for &through in &cube.living()[1..] {
            scope.spawn(move || check(through));
        }
    });
}

#[test]
fn a_trace_around_dead_nodes_names_the_links_that_caused_detours() {
    let mut cube = Cube::start(3);
    cube.kill(0b001);
    cube.kill(0b100);
    cube.wait_linked();
    let trace = cube.client(0).trace(TraceTarget::Node(0b101)).unwrap();
    assert!(trace.failure.is_none(), "{trace:?}");
    let path = hops(&trace);
    assert_eq!((path.len(), path.first(), path.last()), (5, Some(&0b000), Some(&0b101)), "{trace:?}");
    assert!(path.windows(2).all(|pair| (pair[0] ^ pair[1]).is_power_of_two()), "{trace:?}");
    assert!(path.iter().all(|node| ![0b001, 0b100].contains(node)), "{trace:?}");
    assert!(trace.hops.iter().any(|hop| hop.detour), "{trace:?}");
    let met = &trace.hops.last().unwrap().down;
    assert!(met.contains(&(cube.id(0b000), cube.id(0b100))), "the link that it had to avoid: {met:?}");
    assert!(path.len() - 1 <= usize::from(trace.bound), "{trace:?}");
}

/// Sends a request and returns the error that it is immediately answered with.
fn refusal(connection: &mut Connection, request: &Request<'_>) -> ErrorResponse {
    connection.send(request, &[]).unwrap();
    let answer = connection.receive(Deadline::after(AT_ONCE)).unwrap().expect("an immediate answer");
    match answer.response {
        Response::Error(error) => *error,
        other => panic!("{other:?} from a dead node"),
    }
}

/// Returns the values of all records of a topic.
fn values(client: &mut Client, topic: &str) -> Vec<Vec<u8>> {
    let items = client.records(topic, Start::Earliest).unwrap();
    let value = |item: Result<Item, _>| match item.unwrap() {
        Item::Record(message) => message.value.to_vec(),
        other @ (Item::Gap { .. } | Item::Lost { .. } | Item::Notice(_)) => panic!("{other:?}"),
    };
    items.map(value).collect()
}

fn hops(trace: &Trace) -> Vec<u16> {
    trace.hops.iter().map(|hop| hop.node.index()).collect()
}
