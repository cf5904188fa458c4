//! Clients that ask for much work, or ask and go: links and others are served, and a backlog ends with its client.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use dht_client::{Batch, Retention, Start};
use dht_node::types::Offset;
use dht_node::wire::Request;
use dht_node::wire::request::{ANY_NODE, List};
use socket2::SockRef;

use crate::cube::Cube;
use crate::daemon::wait_for;
use crate::raw::{client_hello, hello_frame, ping_frame, request_frame};
use crate::requests::{create, fetch, publish, record};

/// Records of five bytes in a batch of nearly the largest size.
const MANY: u32 = 200_000;

/// A client that pipelines the same requests without end and discards the answers.
struct Flood {
    socket: TcpStream,
    requests: Vec<u8>,
    /// Number of bytes of `requests` that were sent in this round.
    sent: usize,
}

impl Flood {
    fn begin(cube: &Cube, node: u16, request: &[u8]) -> Self {
        let mut socket = TcpStream::connect(cube.address(node)).unwrap();
        socket.write_all(&hello_frame(&client_hello())).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, requests: request.repeat(1000), sent: 0 }
    }

    /// Takes all answers that have come, and sends as many requests as the system takes.
    fn go_on(&mut self) {
        let mut answers = [0; 64 << 10];
        while let Some(count) = moved(self.socket.read(&mut answers)) {
            assert!(count > 0, "the node has closed the connection");
        }
        while let Some(count) = moved(self.socket.write(&self.requests[self.sent..])) {
            self.sent = (self.sent + count) % self.requests.len();
        }
    }
}

fn moved(result: std::io::Result<usize>) -> Option<usize> {
    match result {
        Ok(count) => Some(count),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn clients_that_pipeline_dear_requests_take_no_time_from_links_and_other_clients() {
    const FLOODS: usize = 8;
    const ROUNDS: u64 = 50;
    const TOPICS: usize = 1000;
    const COUNTERS: [&str; 5] = ["links_down", "errors", "timeouts", "unreachable", "clients_silent"];
    let cube = Cube::start(1);
    let [here, there, many] = [(0, "here"), (1, "there"), (0, "many")].map(|(home, stem)| cube.topic_at(home, stem));
    let mut polite = cube.client(0);
    [&here, &there, &many].into_iter().for_each(|topic| drop(polite.create(topic, Retention::default()).unwrap()));
    let batch = record(b"").repeat(MANY as usize);
    let mut raw = crate::raw::Raw::greet(cube.address(0));
    raw.call(&publish(&many, MANY), &batch);
    let mut create_all = Vec::new();
    let others: Vec<String> = (0..2 * TOPICS).map(|number| format!("other-{number}")).collect();
    others.iter().for_each(|name| create_all.extend(request_frame(raw.next_id(), &create(name), &[])));
    raw.send(&create_all);
    wait_for("there are many topics", || (cube.counter(0, "topics") >= TOPICS as u64 / 2).then_some(()));
    let before = COUNTERS.map(|name| [0, 1].map(|node| cube.counter(node, name)));
    // From there to the end, so that the node finds a place in the batch and hashes what it returns.
    let deep = request_frame(2, &fetch(&many, u64::from(MANY) - 1000, 0), &[]);
    // A page of topics that is empty, but for which many are looked at.
    let list = List { node: ANY_NODE, max: 0, cursor: 0, prefix: "no topic begins so" };
    let list = request_frame(3, &Request::List(list), &[]);
    let floods = [deep, list].into_iter().flat_map(|request| vec![request; FLOODS]);
    let mut floods: Vec<Flood> = floods.map(|request| Flood::begin(&cube, 0, &request)).collect();
    for round in 0..ROUNDS {
        floods.iter_mut().for_each(Flood::go_on);
        for topic in [&here, &there] {
            let published = polite.publish(topic, &Batch::of(&round.to_be_bytes())).unwrap();
            assert_eq!(published.base, Offset(round));
            let messages = polite.fetch(topic, Start::Offset(Offset(round)), 1).unwrap().messages;
            assert_eq!(messages[0].value, round.to_be_bytes()[..]);
        }
    }
    println!("the longest turn of the node took {} us", cube.counter(0, "turn_longest_us"));
    assert!(cube.counter(0, "fetches") > 10 * ROUNDS, "the floods were served as well");
    for (name, before) in COUNTERS.into_iter().zip(before) {
        assert_eq!([0, 1].map(|node| cube.counter(node, name)), before, "{name}");
    }
}

#[test]
fn of_what_a_client_asked_before_its_connection_was_reset_only_changes_are_made() {
    const READS: usize = 500;
    let mut cube = Cube::start_with(0, &["--in-memory"]);
    let mut socket = TcpStream::connect(cube.address(0)).unwrap();
    socket.write_all(&[hello_frame(&client_hello()), request_frame(2, &create("t"), &[])].concat()).unwrap();
    wait_for("the topic is there", || (cube.counter(0, "topics") == 1).then_some(()));
    // The node finds all requests and the reset at once.
    cube.daemon(0).signal("STOP");
    let change = |id| request_frame(id, &publish("t", 1), &record(b"kept"));
    let read = [request_frame(4, &fetch("t", 0, 0), &[]), ping_frame(5)].concat();
    socket.write_all(&[change(3), read.repeat(READS), change(6)].concat()).unwrap();
    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    drop(socket);
    cube.daemon(0).signal("CONT");
    wait_for("the client is gone", || (cube.counter(0, "clients") == 1).then_some(()));
    assert_eq!(cube.counter(0, "batches"), 2, "what came before and after the reads");
    assert_eq!((cube.counter(0, "abandoned"), cube.counter(0, "fetches")), (2 * READS as u64, 0));
}
