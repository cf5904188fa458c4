//! A process that cannot open more files: no data is damaged, and no damage is reported. Clients cannot cause this, as
//! `process::descriptors` tests, but other parts of the system can.

use std::process::Command;

use dht_client::{Batch, Client, Deadline, Error, Item, Start};
use dht_node::types::Offset;
use dht_node::wire::{Response, Status};

use super::acked::EVERYTHING;
use super::skip;
use crate::cube::Cube;
use crate::daemon::{PATIENCE, wait_for};
use crate::requests;

/// Bytes of a record of this test.
const RECORD: usize = 900_000;

fn publish(client: &mut Client, number: usize) -> Result<Offset, Error> {
    let value = vec![u8::try_from(number % 251).unwrap(); RECORD];
    client.publish("topic", &Batch::of(&value)).map(|published| published.base)
}

/// Reads the record at an offset, which is only on disk.
fn fetch(client: &mut Client, offset: Offset) -> Result<Vec<u8>, Error> {
    match client.records("topic", Start::Offset(offset))?.next().unwrap()? {
        Item::Record(message) => Ok(message.value.to_vec()),
        other @ (Item::Gap { .. } | Item::Lost { .. } | Item::Notice(_)) => panic!("{other:?}"),
    }
}

/// Limits the descriptors of a running node. Returns false if that is not possible.
fn limit_descriptors(cube: &mut Cube, soft: &str) -> bool {
    let pid = cube.daemon(0).pid().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={soft}:")]).status();
    status.is_ok_and(|status| status.success())
}

#[test]
fn a_node_without_free_descriptors_loses_nothing_reports_no_damage_and_recovers() {
    const TEST: &str = "a_node_without_free_descriptors_loses_nothing_reports_no_damage_and_recovers";
    let mut cube = Cube::start_with(0, &["--memory", "2MiB"]);
    let mut client = cube.client(0);
    client.create("topic", EVERYTHING).unwrap();
    let mut stored: Vec<(Offset, usize)> =
        (0..8).map(|number| (publish(&mut client, number).unwrap(), number)).collect();
    let mut connection = cube.connection(0);
    // Open files stay open, but no more can be opened.
    if !limit_descriptors(&mut cube, "1") {
        return skip(TEST, "prlimit cannot be used");
    }
    // Records are accepted until the log needs another segment.
    let full = (8..100).find_map(|number| match publish(&mut client, number) {
        Ok(offset) => {
            stored.push((offset, number));
            None
        }
        Err(error) => Some(error),
    });
    assert_eq!(full.and_then(|error| error.status()), Some(Status::Quota));
    connection.send(&requests::fetch("topic", 0, 0), &[]).unwrap();
    let answer = connection.receive(Deadline::after(PATIENCE)).unwrap().expect("an answer in time");
    let Response::Error(error) = answer.response else { panic!("{answer:?} without a descriptor") };
    assert_eq!(error.status, Status::Overloaded.number(), "{error:?}");
    assert!(limit_descriptors(&mut cube, "1024"));
    wait_for("the node accepts records again", || publish(&mut client, 160).ok());
    for (offset, number) in stored {
        let value = wait_for("the node reads records again", || fetch(&mut client, offset).ok());
        assert!(value == vec![u8::try_from(number % 251).unwrap(); RECORD], "{offset:?} has another value");
    }
    assert_eq!(cube.daemon(0).logged("cannot read records of topic"), 0, "no record is reported as damaged");
}
