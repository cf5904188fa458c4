//! The commands that work on a folder: `dht-node inspect` and `repair`, and how all of them refuse unusable folders.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dht_client::{Batch, Item, Retention, Start};
use dht_node::types::Offset;

use super::acked::EVERYTHING;
use crate::cube::Cube;

/// Runs a command of the daemon's program.
pub(crate) fn command(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dht-node")).args(arguments).output().unwrap()
}

pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_folder_can_be_inspected_while_its_node_runs_under_load() {
    let cube = Cube::start_with(0, &["--disk", "320MiB"]);
    let few = Retention { bytes: 48 << 20, ..Retention::default() };
    cube.client(0).create("topic", few).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = cube.client(0);
            let batch = vec![7; 200_000];
            while !stop.load(Ordering::Relaxed) {
                client.publish("topic", &Batch::of(&batch)).unwrap();
            }
        });
        let _stopping = Stopping(&stop);
        // After this many entries, segments have been recycled.
        let (mut entries, mut round) = (0, 0);
        while entries < 2000 {
            round += 1;
            let output = command(&["inspect", text(&cube.data(0)), "--json"]);
            assert_eq!(output.status.code(), Some(0), "round {round}: {}", said(&output));
            let shown = said(&output);
            assert!(shown.contains("\"sound\":true") && shown.contains("\"topic\":\"topic\""), "{shown}");
            let found = shown.split("\"entries\":").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
            assert!(found >= entries, "{found} entries after {entries}");
            entries = found;
        }
    });
}

/// Stops the load when it is dropped, also if the test fails.
pub(super) struct Stopping<'s>(pub(super) &'s AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn damaged_records_are_reported_and_dropped_only_on_request() {
    let mut cube = Cube::start(0);
    cube.client(0).create("topic", EVERYTHING).unwrap();
    let mut client = cube.client(0);
    (0..20_u64)
        .for_each(|number| drop(client.publish("topic", &Batch::of(&[&number.to_be_bytes()[..], &[3; 300]].concat()))));
    let data = cube.data(0);
    let output = command(&["repair", text(&data)]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("another process uses it"), "{}", said(&output));
    cube.stop(0);
    let output = command(&["inspect", text(&data)]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("topic topic: 20 records from offset 0 on\n"), "{}", said(&output));
    // Damage records 8 and 9.
    let log = data.join("0000000001.log");
    let mut bytes = fs::read(&log).unwrap();
    for number in [8_u64, 9] {
        let value = [&number.to_be_bytes()[..], &[3; 300]].concat();
        let at = bytes.windows(value.len()).position(|window| window == value).unwrap();
        bytes[at + 100] ^= 1;
    }
    fs::write(&log, &bytes).unwrap();
    for arguments in [&["inspect", text(&data)][..], &["repair", text(&data)]] {
        let output = command(arguments);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("offsets 8 to 9 cannot be read"), "{}", said(&output));
    }
    assert!(!Path::new(&format!("{}.damaged-1", text(&data))).exists());
    let output = command(&["repair", "--drop-damaged", text(&data)]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let original = format!("{}.damaged-1/0000000001.log", text(&data));
    assert!(fs::read(original).unwrap() == bytes, "{}", said(&output));
    cube.restart(0);
    let mut client = cube.client(0);
    let items: Vec<Item> = client.records("topic", Start::Earliest).unwrap().map(Result::unwrap).collect();
    let offsets: Vec<u64> =
        items.iter().filter_map(|item| if let Item::Record(it) = item { Some(it.offset.0) } else { None }).collect();
    assert_eq!(offsets, (0..8).chain(10..20).collect::<Vec<_>>());
    assert_eq!(items[8], Item::Gap { from: Offset(8), to: Offset(10) });
    let mut subscriber = client.subscribe(&["topic"], Start::Offset(Offset(9))).unwrap();
    let first = subscriber.next_within(std::time::Duration::from_secs(5)).unwrap().unwrap().item.unwrap();
    assert_eq!(first, Item::Gap { from: Offset(9), to: Offset(10) });
    drop(subscriber);
    assert_eq!(client.publish("topic", &Batch::of(b"more")).unwrap().base, Offset(20));
    // The description of a topic only has offsets, so it is the same as without the repair.
    let described = client.info("topic").unwrap().topic.unwrap();
    assert_eq!((described.first, described.next), (Offset(0), Offset(21)));
    cube.stop(0);
    let output = command(&["inspect", text(&data)]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let counted = "topic topic: 21 records from offset 0 on, of which a repair has dropped 2 (offsets 8 to 9)\n";
    assert!(said(&output).contains(counted), "{}", said(&output));
    let shown = said(&command(&["inspect", text(&data), "--json"]));
    assert!(shown.contains("\"dropped\":[[8,10]]") && shown.contains("\"lost\":[]"), "{shown}");
}

#[test]
fn a_folder_that_cannot_be_used_is_refused_by_each_command() {
    let (empty, unfinished) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(unfinished.path().join("backup-unfinished"), "").unwrap();
    for name in ["inspect", "repair"] {
        let output = command(&[name, text(unfinished.path())]);
        let expected = "it holds a backup that was never completed; run the same `dht-node backup` again";
        assert!(output.status.code() == Some(2) && said(&output).contains(expected), "{}", said(&output));
        let output = command(&[name, "/dev/null"]);
        assert!(said(&output).contains("/dev/null: it, or a part of its path, is not a folder"), "{}", said(&output));
    }
    for arguments in [
        &["inspect"][..],
        &["inspect", "/nonexistent/folder"],
        &["inspect", text(empty.path())],
        &["repair", text(empty.path())],
        &["repair", "--drop", text(empty.path())],
        &["backup", text(empty.path()), "/nonexistent/folder"],
        &["backup", text(empty.path())],
    ] {
        let output = command(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert!(said(&output).starts_with("dht-node: "), "{}", said(&output));
    }
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "nothing was written");
    for command_name in ["inspect", "repair", "backup", "recover"] {
        let output = command(&[command_name, "--help"]);
        assert!(output.status.success() && said(&output).contains("Error codes:"), "{}", said(&output));
    }
}
