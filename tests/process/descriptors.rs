//! A node with a low limit of file descriptors: enough of them are reserved for its journal and its links, whatever
//! clients do.

use std::net::TcpStream;

use dht_client::{Address, Batch, Connection, Deadline, Introduction, Item, Start};
use dht_node::types::Offset;
use dht_node::wire::Status;

use crate::cube::Cube;
use crate::daemon::{PATIENCE, wait_for};

/// The node's limit of open file descriptors.
const LIMIT: &str = "64";

/// Number of clients: far more than the limit.
const CLIENTS: usize = 100;

/// Number of clients that connect and disconnect at once.
const VISITS: usize = 400;

/// Bytes of a record: a few of them exceed the node's memory limit.
const LARGE: usize = 100_000;

#[test]
fn idle_clients_take_no_descriptors_from_the_journal_and_the_links() {
    let mut cube = Cube::start(1);
    cube.kill(0);
    let limited = ["sh", "-c", "ulimit -n $0 && exec \"$@\"", LIMIT];
    cube.change(&["--memory", "1MiB"], &limited);
    cube.restart(0);
    cube.wait_linked();
    let topic = cube.topic_at(0, "topic");
    cube.create(&topic);

    let server: Address = cube.address(0).to_string().parse().unwrap();
    let visit = || Connection::open(&server, &Introduction::default(), Deadline::after(PATIENCE));
    let (taken, refused): (Vec<_>, Vec<_>) = (0..CLIENTS).map(|_| visit()).partition(Result::is_ok);
    assert!(taken.len() > 8, "{} clients", taken.len());
    let statuses: Vec<_> = refused.iter().map(|error| error.as_ref().unwrap_err().code()).collect();
    assert_eq!(statuses, vec![Some(Status::TooManyClients.number()); CLIENTS - taken.len()]);
    (0..VISITS).for_each(|_| drop(visit()));
    // Refused connections linger if the client does not close them.
    let silent: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(cube.address(0)).unwrap()).collect();

    // A lost link is reestablished, and the topic is reachable over it.
    cube.kill(1);
    cube.restart(1);
    let mut client = cube.client(1);
    wait_for("the link is up again", || client.info(&topic).ok());
    // The journal begins new segments, and reads old ones.
    for number in 0..150_u8 {
        let mut value = vec![7; LARGE];
        value[0] = number;
        let batch = Batch::of(&value);
        let published = client.publish(&topic, &batch).unwrap();
        assert_eq!(published.base, Offset(number.into()));
    }
    let values = client.records(&topic, Start::Earliest).unwrap().map(|item| match item.unwrap() {
        Item::Record(record) => record.value[0],
        Item::Gap { .. } | Item::Lost { .. } | Item::Notice(_) => panic!("nothing is removed"),
    });
    assert!(values.eq(0..150));
    assert_eq!(cube.daemon(0).logged("cannot accept connections"), 0);
    drop((taken, silent));
    wait_for("clients are accepted again", || visit().ok());
}
