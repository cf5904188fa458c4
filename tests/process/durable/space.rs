//! The space of deleted and expired records is reclaimed, even on a node that does nothing else.

use std::fs;
use std::path::Path;

use dht_client::{Batch, Client, Item, Retention, Start};
use dht_node::limits::SEGMENT_BYTES;

use super::acked::EVERYTHING;
use crate::cube::Cube;
use crate::daemon::wait_for;

/// Bytes of a record of these tests.
const RECORD: usize = 1_000_000;

/// Number of records: enough to fill more than two segments.
const RECORDS: usize = 150;

/// The space that an empty journal takes: the current segment, the next one, one that is kept for recycling, and small
/// files.
const LEAST: u64 = 3 * SEGMENT_BYTES as u64 + (1 << 20);

fn publish(client: &mut Client, topic: &str, retention: Retention) {
    client.create(topic, retention).unwrap();
    let value = vec![7; RECORD];
    for _ in 0..RECORDS {
        client.publish(topic, &Batch::of(&value)).unwrap();
    }
}

/// Returns the total size of all files in a folder.
fn used(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().metadata());
    // A file may be removed between the two calls.
    files.filter_map(|metadata| metadata.ok().map(|metadata| metadata.len())).sum()
}

#[test]
fn the_space_of_deleted_or_expired_records_is_reclaimed_although_nothing_else_happens() {
    let cube = Cube::start_with(0, &[]);
    let (mut client, folder) = (cube.client(0), cube.data(0));
    publish(&mut client, "deleted", EVERYTHING);
    let before = used(&folder);
    client.delete("deleted").unwrap();
    wait_for("the space of a topic that was deleted", || {
        (used(&folder) <= before - u64::from(SEGMENT_BYTES)).then_some(())
    });
    publish(&mut client, "aged", Retention { age_ms: 1000, ..EVERYTHING });
    wait_for("the space of expired records", || (used(&folder) <= LEAST).then_some(()));
}

/// One topic has a tenth of the records in each segment. They are copied to other segments, and stay readable.
#[test]
fn a_topic_with_a_few_records_in_every_segment_does_not_prevent_their_removal() {
    const ALL: usize = 250;
    let mut cube = Cube::start_with(0, &["--memory", "2MiB"]);
    let mut client = cube.client(0);
    ["kept", "deleted"].iter().for_each(|topic| drop(client.create(topic, EVERYTHING).unwrap()));
    let value = |number: usize| vec![u8::try_from(number % 251).unwrap(); RECORD];
    for number in 0..ALL {
        let topic = if number % 10 == 0 { "kept" } else { "deleted" };
        client.publish(topic, &Batch::of(&value(number))).unwrap();
    }
    client.delete("deleted").unwrap();
    let most = LEAST + (ALL / 10 * RECORD) as u64;
    let folder = cube.data(0);
    wait_for("the space of the deleted records around those that are kept", || (used(&folder) <= most).then_some(()));
    for round in ["as it is", "after a kill", "after an orderly end"] {
        let mut numbers = (0..ALL).step_by(10);
        for item in cube.client(0).records("kept", Start::Earliest).unwrap() {
            let Item::Record(message) = item.unwrap() else { panic!("{round}: nothing is removed") };
            assert!(message.value == value(numbers.next().unwrap()), "{round}: {:?}", message.offset);
        }
        assert_eq!(numbers.next(), None, "{round}");
        match round {
            "as it is" => cube.kill(0),
            "after a kill" => cube.stop(0),
            _ => break,
        }
        cube.restart(0);
    }
}

/// The node is killed before it can make the checkpoint that the removal of segments requires.
#[test]
fn the_space_of_records_deleted_before_a_crash_is_reclaimed_after_it() {
    let mut cube = Cube::start_with(0, &[]);
    publish(&mut cube.client(0), "deleted", EVERYTHING);
    cube.client(0).delete("deleted").unwrap();
    cube.kill(0);
    cube.restart(0);
    let folder = cube.data(0);
    wait_for("the space of a topic that was deleted", || (used(&folder) <= LEAST).then_some(()));
}
