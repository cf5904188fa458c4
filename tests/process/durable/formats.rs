//! Folders that earlier versions of the program wrote can still be opened, with everything that was acknowledged.
//!
//! `format_1` has two folders of format 1, written by the build of 23 November 2026. The node of `stopped` was shut
//! down by SIGTERM, that of `killed` was ended by SIGKILL, so that its state has to be read from the log. The zeros at
//! the end of their last segments are left out. `format_2` has the same folders after a start of the build of 30
//! November 2026, which made them folders of format 2 and stored one more record.

use std::fs;
use std::path::Path;

use byteorder::{BigEndian, ByteOrder};
use dht_client::{Batch, Error, Item, Start};
use dht_node::wire::Status;

use crate::cube::Cube;

#[test]
fn a_folder_of_an_older_format_opens_after_an_orderly_stop() {
    opens("format_1/stopped", 20, &[]);
    opens("format_2/stopped", 20, &[b"in format 2"]);
}

#[test]
fn a_folder_of_an_older_format_opens_after_a_crash() {
    opens("format_1/killed", 24, &[]);
    opens("format_2/killed", 24, &[b"in format 2"]);
}

/// Starts a node on a copy of the folder, reads the published records, and publishes more, also after restarts. The
/// topic `few` has so many records, and `plain` these beside those that all folders have.
fn opens(folder: &str, few: u64, more: &[&[u8]]) {
    let mut cube = Cube::start(0);
    cube.kill(0);
    fs::remove_dir_all(cube.data(0)).unwrap();
    unpack(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/durable").join(folder), &cube.data(0));
    cube.restart(0);
    // From now on, a program that knows only an older format refuses the folder.
    let identity = fs::read_to_string(cube.data(0).join("identity")).unwrap();
    assert!(identity.starts_with("dht-node journal, format 3\n"), "{identity}");
    let all = 204 + more.len();
    for start in 0..3 {
        let mut client = cube.client(0);
        let plain = values(&cube, "plain");
        assert_eq!(plain[..3], [(0, b"first".to_vec()), (1, b"1".to_vec()), (2, b"2".to_vec())]);
        assert_eq!(plain[200].1, b"200");
        assert_eq!(plain[201].1, b"with key");
        assert_eq!(plain[202], (202, vec![b'z'; 30_000]));
        assert_eq!(plain[203].1, b"after a restart");
        assert!(plain[204..all].iter().map(|(_, value)| &value[..]).eq(more.iter().copied()));
        assert_eq!(plain.len(), all + start);
        let few: Vec<_> = (few - 5..few).map(|offset| (offset, (offset + 1).to_string().into_bytes())).collect();
        assert_eq!(values(&cube, "few"), few);
        assert_eq!(values(&cube, "aged"), [(0, b"kept for long".to_vec())]);
        assert_eq!(client.info("gone").unwrap_err().status(), Some(Status::UnknownTopic));
        let published = client.publish("plain", &Batch::of(b"new")).unwrap();
        assert_eq!(published.base.0, (all + start) as u64);
        if start == 0 {
            cube.stop(0);
        } else {
            cube.kill(0);
        }
        cube.restart(0);
    }
}

fn values(cube: &Cube, topic: &str) -> Vec<(u64, Vec<u8>)> {
    let mut client = cube.client(0);
    let record = |item: Result<Item, Error>| match item.unwrap() {
        Item::Record(record) => (record.offset.0, record.value.to_vec()),
        other @ (Item::Gap { .. } | Item::Lost { .. } | Item::Notice(_)) => panic!("{topic}: {other:?}"),
    };
    client.records(topic, Start::Earliest).unwrap().map(record).collect()
}

/// Copies a folder, and extends its last segment to the size in its header.
fn unpack(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let names = fs::read_dir(to).unwrap().map(|entry| entry.unwrap().path());
    let last = names.filter(|name| name.extension().is_some_and(|it| it == "log")).max().unwrap();
    let mut bytes = fs::read(&last).unwrap();
    bytes.resize(BigEndian::read_u32(&bytes[16..]) as usize, 0);
    fs::write(last, bytes).unwrap();
}
