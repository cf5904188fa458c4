//! `dht-node backup` of running nodes, and nodes that are started on such a backup.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dht_client::{Batch, Client, Item, Retention, Start};
use dht_node::net::Clock;
use dht_node::types::{Epoch, Offset};
use dht_node::wire::Status;

use super::acked::EVERYTHING;
use super::rescue::{Stopping, command, said, text};
use crate::cube::Cube;
use crate::daemon::wait_for;

/// Makes a backup, and returns the output of the command.
fn back_up(data: &Path, copy: &Path) -> String {
    let output = command(&["backup", text(data), text(copy)]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    said(&output)
}

/// Returns the time in seconds since 1970.
fn second() -> u32 {
    u32::try_from(Clock::start().now().wall_us / 1_000_000).unwrap()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Starts a killed node on a backup.
fn restore(cube: &mut Cube, node: u16, copy: &Path) {
    let data = cube.data(node);
    if data.exists() {
        fs::remove_dir_all(&data).unwrap();
    }
    copy_folder(copy, &data);
    cube.restart(node);
    let said = cube.daemon(node).stderr();
    assert!(said.contains("was restored from a backup"), "{said}");
}

fn publish(client: &mut Client, topic: &str, value: &[u8], times: usize) {
    for _ in 0..times {
        client.publish(topic, &Batch::of(value)).unwrap();
    }
}

/// Returns all values of a topic. Gaps, where retention has removed records, are skipped.
fn values(client: &mut Client, topic: &str) -> Vec<String> {
    let records = client.records(topic, Start::Earliest).unwrap();
    records
        .filter_map(|item| match item.unwrap() {
            Item::Record(record) => Some(String::from_utf8(record.value.to_vec()).unwrap()),
            Item::Gap { .. } => None,
            other @ (Item::Lost { .. } | Item::Notice(_)) => panic!("{other:?}"),
        })
        .collect()
}

/// Segments are removed, cleaned and recycled all the time, but each backup has everything that was acknowledged before
/// it was begun.
#[test]
fn backups_of_a_node_under_load_have_everything_acknowledged_before_they_were_begun() {
    let mut cube = Cube::start_with(0, &["--disk", "640MiB"]);
    let few = Retention { bytes: 32 << 20, ..Retention::default() };
    cube.client(0).create("load", few).unwrap();
    cube.client(0).create("kept", EVERYTHING).unwrap();
    let (stop, data, copy) = (AtomicBool::new(false), cube.data(0), cube.folder().join("copy"));
    let (mut acked, mut copies): (u64, Vec<(u64, PathBuf)>) = (0, Vec::new());
    let batch = vec![b'7'; 200_000];
    thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let mut client = cube.client(0);
            while !stop.load(Ordering::Relaxed) {
                client.publish("load", &Batch::of(&batch)).unwrap();
            }
        });
        let deleting = scope.spawn(|| {
            let mut client = cube.client(0);
            for number in 0.. {
                let topic = format!("short-lived/{number}");
                client.create(&topic, EVERYTHING).unwrap();
                publish(&mut client, &topic, &batch, 20);
                client.delete(&topic).unwrap();
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let _stopping = Stopping(&stop);
        let mut client = cube.client(0);
        while copies.len() < 4 || client.info("load").unwrap().topic.unwrap().next < Offset(1000) {
            assert!(!publishing.is_finished() && !deleting.is_finished());
            for _ in 0..5 {
                client.publish("kept", &Batch::of(format!("{acked}").as_bytes())).unwrap();
                acked += 1;
            }
            back_up(&data, &copy);
            if copies.len() < 4 {
                let path = cube.folder().join(format!("copy-{acked}"));
                copy_folder(&copy, &path);
                copies.push((acked, path));
            }
        }
    });
    copies.push((acked, copy));
    cube.kill(0);
    for (acked, copy) in copies {
        let output = command(&["inspect", text(&copy)]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        restore(&mut cube, 0, &copy);
        let mut client = cube.client(0);
        let expected: Vec<String> = (0..acked).map(|number| number.to_string()).collect();
        assert_eq!(values(&mut client, "kept"), expected);
        let load = client.info("load").unwrap().topic.unwrap();
        assert_eq!(values(&mut client, "load").len() as u64, load.next.0 - load.first.0);
        cube.kill(0);
    }
}

#[test]
fn readers_of_restored_topics_are_notified_that_records_are_lost() {
    let mut cube = Cube::start(1);
    let topic = &cube.topic_at(1, "restored");
    let copy = cube.folder().join("copy");
    let mut client = cube.client(0);
    client.create(topic, EVERYTHING).unwrap();
    publish(&mut client, topic, b"kept", 3);
    back_up(&cube.data(1), &copy);
    let output = back_up(&cube.data(1), &copy);
    assert!(output.contains("files copied: 0, 0 bytes in total"), "{output}");
    publish(&mut client, topic, b"lost", 2);
    let mut subscriber = client.subscribe(&[topic], Start::Earliest).unwrap();
    assert!(subscriber.by_ref().take(5).all(|delivery| matches!(delivery.unwrap().item, Ok(Item::Record(_)))));
    cube.kill(1);
    let now = second();
    restore(&mut cube, 1, &copy);
    cube.wait_linked();
    let end = subscriber.find_map(|delivery| delivery.unwrap().item.err()).unwrap();
    assert_eq!(end.status(), Some(Status::Truncated));
    drop(subscriber);
    let found = client.info(topic).unwrap().topic.unwrap();
    assert!(found.epoch >= Epoch(now) && found.next == Offset(3), "{found:?}");
    // If the same backup is restored again, readers of the records published in between are notified, too.
    publish(&mut client, topic, b"lost again", 1);
    cube.kill(1);
    wait_for("the next second, which gives another epoch", || (second() > found.epoch.0).then_some(()));
    restore(&mut cube, 1, &copy);
    cube.wait_linked();
    let again = client.info(topic).unwrap().topic.unwrap();
    assert!(again.epoch > found.epoch && again.next == Offset(3), "{found:?}, {again:?}");
}

#[test]
fn a_backup_needs_a_folder_of_its_own() {
    let cube = Cube::start(0);
    cube.create("topic");
    let data = cube.data(0);
    let before = fs::read_dir(&data).unwrap().count();
    let (inside, foreign, around) = (data.join("new/copy"), cube.folder().join("foreign"), cube.folder());
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("notes.txt"), "a text of somebody").unwrap();
    for (dest, expected) in [
        (data.as_path(), "lies in the folder of the node"),
        (&inside, "lies in the folder of the node"),
        (around, "the folder of the node lies in it"),
        (&foreign, "it is not empty and does not hold a backup"),
    ] {
        let output = command(&["backup", text(&data), text(dest)]);
        assert!(output.status.code() == Some(2) && said(&output).contains(expected), "{}", said(&output));
    }
    assert_eq!(fs::read_dir(&data).unwrap().count(), before);
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
    let copy = cube.folder().join("copy");
    back_up(&data, &copy);
    // The folder is in use by another process, such as another backup.
    let lock = fs::File::open(copy.join("lock")).unwrap();
    lock.lock().unwrap();
    let output = command(&["backup", text(&data), text(&copy)]);
    assert!(output.status.code() == Some(2) && said(&output).contains("another process uses it"), "{}", said(&output));
}

#[test]
fn a_node_that_starts_with_an_empty_folder_in_a_running_cube_logs_one_warning() {
    const WARNING: &str = "was empty at the start";
    let mut cube = Cube::start(2);
    let topic = cube.topic_at(3, "lost");
    cube.client(3).create(&topic, EVERYTHING).unwrap();
    let (data, aside) = (cube.data(3), cube.folder().join("aside"));
    cube.kill(3);
    cube.restart(3);
    cube.wait_linked();
    assert!(!cube.daemon(3).stderr().contains(WARNING));
    cube.kill(3);
    fs::rename(&data, &aside).unwrap();
    cube.restart(3);
    cube.wait_linked();
    let log = cube.daemon(3).stderr();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(WARNING)).collect();
    assert_eq!(lines.len(), 1, "both neighbours knew the topic: {log}");
    let said = format!("the data folder {} {WARNING}, but node ", data.display());
    assert!(lines[0].contains(" WARN ") && lines[0].contains(&said) && lines[0].contains("knew 1 topics"), "{log}");
    // With its own folder again, it does not warn.
    cube.kill(3);
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&aside, &data).unwrap();
    cube.restart(3);
    cube.wait_linked();
    assert_eq!(cube.daemon(3).stderr().matches(WARNING).count(), 1);
    cube.client(0).info(&topic).unwrap();
}
