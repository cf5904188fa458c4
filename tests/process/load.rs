//! Load: publishing while nodes die, a thousand clients, a thousand simultaneous connects.

use std::fs;
use std::net::TcpStream;
use std::time::Duration;

use dht_client::{Ack, Batch, Client, Connection, Deadline, Item, Producer, Retention, Start};
use dht_node::types::RequestId;
use dht_node::wire::Response;

use crate::cube::Cube;
use crate::daemon::{PATIENCE, pause, wait_for};
use crate::requests::{create, fetch, fetched, publish, published, record};

#[test]
fn records_published_while_transit_nodes_die_are_stored_once_and_in_order() {
    const EACH: u64 = 800;
    const CAUGHT: u64 = 30;
    let mut cube = Cube::start(3);
    let topic = cube.topic_at(0b111, "journal");
    let mut client = cube.client_of(&[0b000, 0b011]);
    client.create(&topic, Retention::default()).unwrap();
    let mut producer = client.producer(&topic).unwrap();
    let mut sent = 0;
    let mut send = |producer: &mut Producer<'_>, count: u64| {
        (0..count).for_each(|number| send(producer, sent + number));
        sent += count;
        sent
    };
    send(&mut producer, EACH);
    producer.flush().unwrap();

    // Batches go through 100 and 110, and acknowledgements come back through 110 and 100. Some of both reach 110 while
    // it is stopped, and are lost when it is killed.
    let passed = cube.counter(0b110, "forwarded");
    cube.daemon(0b111).signal("STOP");
    let stored = send(&mut producer, CAUGHT);
    wait_for("the batches have been forwarded to the home", || {
        (cube.counter(0b110, "forwarded") >= passed + CAUGHT).then_some(())
    });
    cube.daemon(0b110).signal("STOP");
    cube.daemon(0b111).signal("CONT");
    wait_for("the batches are stored", || (cube.counter(0b111, "batches") == stored).then_some(()));
    send(&mut producer, CAUGHT);
    wait_for("more batches are in flight", || (cube.counter(0b000, "inflight") >= 2 * CAUGHT).then_some(()));
    cube.kill(0b110);
    send(&mut producer, EACH);
    cube.restart(0b110);
    send(&mut producer, EACH);
    cube.wait_linked();
    cube.kill(0b100);
    send(&mut producer, EACH);
    let (repeated, duplicates) = (cube.counter(0b000, "requests_repeated"), cube.counter(0b111, "duplicates"));
    assert!(repeated > 0 && duplicates > 0, "{repeated} batches were retried, {duplicates} were duplicates");
    // Finally the ingress dies.
    cube.kill(0b000);
    let count = send(&mut producer, EACH);
    wait_for("everything is acknowledged", || producer.flush().ok());

    let mut acks: Vec<Ack> = producer.acks().collect();
    drop(producer);
    acks.sort_by_key(|ack| ack.sequence);
    assert!(acks.iter().map(|ack| ack.sequence).eq(0..count), "{} acknowledgements of {count}", acks.len());
    for ack in &acks {
        assert_eq!(ack.published.base.0, ack.sequence, "one batch, one offset, in the order of sending");
    }
    let records = read(&mut cube.client(0b101), &topic);
    assert!(records == (0..count).map(|number| number.to_be_bytes().to_vec()).collect::<Vec<_>>());
}

#[test]
fn a_thousand_clients_at_once_are_served_and_cost_little_while_idle() {
    const CLIENTS: u64 = 1000;
    rlimit::increase_nofile_limit(4 * CLIENTS).unwrap();
    let mut cube = Cube::start(3);
    let names: Vec<String> = (0..CLIENTS).map(|number| format!("client-{number}")).collect();
    let mut clients: Vec<Connection> = names.iter().map(|_| cube.connection(0)).collect();
    assert_eq!(cube.counter(0, "clients"), CLIENTS + 1, "all of them, and the client that asks");
    type Step = fn(&mut Connection, &str) -> RequestId;
    let steps: [Step; 3] = [
        |client, name| client.send(&create(name), &[]).unwrap(),
        |client, name| client.send(&publish(name, 1), &record(name.as_bytes())).unwrap(),
        |client, name| client.send(&fetch(name, 0, 0), &[]).unwrap(),
    ];
    for (index, step) in steps.iter().enumerate() {
        // All clients send their requests before any of them reads a response.
        let ids: Vec<RequestId> = clients.iter_mut().zip(&names).map(|(client, name)| step(client, name)).collect();
        for client in &mut clients {
            assert!(client.flush(Deadline::after(PATIENCE)).unwrap());
        }
        for ((client, name), id) in clients.iter_mut().zip(&names).zip(ids) {
            let answer = client.receive(Deadline::after(PATIENCE)).unwrap().expect("an answer");
            assert_eq!(answer.id, id);
            match index {
                0 => assert!(matches!(answer.response, Response::Created { existed: false, .. }), "{name}"),
                1 => assert_eq!(published(&answer.response), 0),
                _ => assert_eq!(fetched(&answer.response), &record(name.as_bytes())),
            }
        }
    }
    let before = cube.daemon(0).processor_time();
    pause(Duration::from_secs(1));
    let spent = cube.daemon(0).processor_time() - before;
    assert!(spent < Duration::from_millis(100), "{spent:?} of CPU time in a second for idle clients");
    let (_, peak_kib) = cube.daemon(0).memory_kib();
    assert!(peak_kib < 48 << 10, "{peak_kib} KiB");
    drop(clients);
    wait_for("the node has removed all clients but this one", || (cube.counter(0, "clients") == 1).then_some(()));
}

/// Publishes a record with a number, retrying until it succeeds.
fn send(producer: &mut Producer<'_>, number: u64) {
    if let Err(error) = producer.send(Batch::of(&number.to_be_bytes())) {
        // The producer has queued the batch nevertheless, so only a flush is needed.
        assert!(error.is_retryable(), "{error}");
        wait_for("a retry of the failed batches succeeds", || producer.flush().ok());
    }
}

/// Returns the values of all records of a topic.
fn read(client: &mut Client, topic: &str) -> Vec<Vec<u8>> {
    let items = client.records(topic, Start::Earliest).unwrap();
    let value = |item: Result<Item, _>| match item.unwrap() {
        Item::Record(message) => message.value.to_vec(),
        other @ (Item::Gap { .. } | Item::Lost { .. } | Item::Notice(_)) => panic!("{other:?}"),
    };
    items.map(value).collect()
}

#[test]
fn a_thousand_simultaneous_connects_wait_in_the_backlog_of_a_busy_node() {
    const CONNECTS: usize = 1000;
    let waiting_max =
        fs::read_to_string("/proc/sys/net/core/somaxconn").map_or(128, |text| text.trim().parse().unwrap());
    let mut cube = Cube::start_with(0, &["--in-memory"]);
    let address = cube.address(0);
    cube.daemon(0).signal("STOP");
    // The kernel completes connects on behalf of the node while its listen backlog has room.
    let connect = |_| TcpStream::connect_timeout(&address, PATIENCE);
    let connected: Vec<_> = (0..CONNECTS.min(waiting_max)).map_while(|number| connect(number).ok()).collect();
    assert_eq!(connected.len(), CONNECTS.min(waiting_max));
    cube.daemon(0).signal("CONT");
    drop(connected);
    cube.client(0).cluster().unwrap();
}
