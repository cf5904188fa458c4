//! More records than fit into memory: all of them can be read, from the disk.

use std::time::Duration;

use dht_client::{Batch, Client, Item, Start};
use dht_node::limits::SEGMENT_BYTES;
use dht_node::types::Offset;
use dht_node::wire::records::Record;
use fastrand::Rng;

use super::acked::EVERYTHING;
use crate::cube::Cube;

/// Bytes of a record.
const RECORD: usize = 1000;

/// Number of records in a batch.
const BATCH: u64 = 40;

/// Number of records: together twenty times the memory limit of the nodes.
const RECORDS: u64 = 1000 * BATCH;

const MEMORY: &str = "2MiB";

fn value(number: u64) -> Vec<u8> {
    let mut value = vec![0; RECORD];
    Rng::with_seed(number).fill(&mut value);
    value
}

fn publish(client: &mut Client, topic: &str) {
    let mut producer = client.producer(topic).unwrap();
    for first in (0..RECORDS).step_by(usize::try_from(BATCH).unwrap()) {
        let mut batch = Batch::new();
        for number in first..first + BATCH {
            batch.push(&Record { value: &value(number), ..Record::default() }).unwrap();
        }
        producer.send(batch).unwrap();
    }
    producer.flush().unwrap();
}

/// Reads and checks `count` records from the offset `first` on.
fn read(client: &mut Client, topic: &str, start: Start, first: u64, count: u64) {
    let mut next = first;
    for item in client.records(topic, start).unwrap().take(usize::try_from(count).unwrap()) {
        let Item::Record(message) = item.unwrap() else { panic!("nothing is removed") };
        assert_eq!(message.offset, Offset(next), "from {start:?}");
        assert!(message.value == value(next), "record {next} has another value");
        next += 1;
    }
    assert_eq!(next, (first + count).min(RECORDS), "from {start:?}");
}

#[test]
fn a_store_larger_than_memory_can_be_read_completely() {
    let mut cube = Cube::start_with(1, &["--memory", MEMORY]);
    let topic = cube.topic_at(0, "large");
    let mut client = cube.client(0);
    client.create(&topic, EVERYTHING).unwrap();
    let (before, _) = cube.daemon(0).memory_kib();
    publish(&mut client, &topic);
    for round in ["as it is", "after a kill", "after an orderly end"] {
        let mut elsewhere = cube.client(1);
        let mut rng = Rng::with_seed(7);
        for client in [&mut client, &mut elsewhere] {
            read(client, &topic, Start::Earliest, 0, RECORDS);
            for _ in 0..20 {
                let first = rng.u64(..RECORDS);
                read(client, &topic, Start::Offset(Offset(first)), first, rng.u64(1..200));
            }
        }
        // Reading from the append time of a record starts with the first record that has this time.
        for _ in 0..20 {
            let wanted = rng.u64(..RECORDS);
            let mut at = client.records(&topic, Start::Offset(Offset(wanted))).unwrap();
            let Some(Ok(Item::Record(message))) = at.next() else { panic!("record {wanted}") };
            let time = message.append_us;
            drop(at);
            let mut found = elsewhere.records(&topic, Start::Time(time)).unwrap();
            let Some(Ok(Item::Record(first))) = found.next() else { panic!("time {time}") };
            assert!(first.append_us == time && first.offset.0 <= wanted, "{first:?} for {time}");
            drop(found);
            if let Some(before) = first.offset.0.checked_sub(1) {
                let mut before = elsewhere.records(&topic, Start::Offset(Offset(before))).unwrap();
                let Some(Ok(Item::Record(message))) = before.next() else { panic!("the previous record") };
                assert!(message.append_us < time);
            }
        }
        // Subscribers at the home and at the other node start at an offset that is not in memory.
        for client in [&mut client, &mut elsewhere] {
            let mut subscriber = client.subscribe(&[&topic], Start::Offset(Offset(RECORDS / 2))).unwrap();
            for number in RECORDS / 2..RECORDS {
                let delivery = subscriber.next_within(Duration::from_secs(10)).unwrap().expect("in time");
                let Item::Record(message) = delivery.item.unwrap() else { panic!("nothing is removed") };
                assert!(message.offset.0 == number && message.value == value(number));
            }
        }
        assert!(cube.counter(0, "reads") > 0, "most records are only on disk");
        let (_, most) = cube.daemon(0).memory_kib();
        // A start loads one segment at a time into memory.
        let room = (2 << 10) + (16 << 10) + if round == "as it is" { 0 } else { u64::from(SEGMENT_BYTES) >> 10 };
        assert!(most < before + room, "{round}: {before} KiB before, {most} KiB for {} KiB", RECORDS / 1024 * 1000);
        match round {
            "as it is" => cube.kill(0),
            "after a kill" => cube.stop(0),
            _ => break,
        }
        cube.restart(0);
        cube.wait_linked();
        client = cube.client(0);
    }
}
