//! Cubes with three copies of each topic that come from elsewhere: from one copy, from the last copy of a group, and
//! from backups of all nodes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use dht_client::{Batch, Client, Item, Start};
use dht_node::types::Offset;
use dht_node::wire::Status;

use crate::cube::Cube;
use crate::daemon::{PATIENCE, pause, wait_for};
use crate::durable::{EVERYTHING, command, said, text};
use crate::replicated::values;

/// The numbers below this one, as the values of records.
fn numbered(end: u64) -> Vec<Vec<u8>> {
    (0..end).map(|number| number.to_be_bytes().to_vec()).collect()
}

fn publish(client: &mut Client, topic: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        client.publish(topic, &Batch::of(&number.to_be_bytes())).unwrap();
    }
}

fn wait_for_copies(client: &mut Client, topic: &str) {
    wait_for("all copies are the same", || {
        let copies = client.query(topic).ok()?.copies?;
        copies.members.iter().all(|copy| copy.answers && copy.behind == 0).then_some(())
    });
}

/// Runs a command that is expected to end with this code, and returns its output.
fn run(arguments: &[&str], code: i32) -> String {
    let output = command(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
    said(&output)
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Starts a node that is expected to end at once with this message.
fn refused(cube: &Cube, node: u16, expected: &str) {
    let mut daemon = cube.try_start(node);
    assert_eq!(daemon.wait(PATIENCE).and_then(|status| status.code()), Some(2), "{}", daemon.stderr());
    assert!(daemon.stderr().contains(expected), "{}", daemon.stderr());
}

#[test]
fn a_cube_with_one_copy_of_each_topic_gets_three() {
    const BIG: usize = 100_000;
    let mut cube = Cube::start(2);
    let topics = [0, 1, 2, 3].map(|home| cube.topic_at(home, "kept"));
    let mut client = cube.client_of(&[0, 1, 2, 3]);
    // The log of node 1 does not begin with its first entry any more.
    let deleted = cube.topic_at(1, "deleted");
    client.create(&deleted, EVERYTHING).unwrap();
    for _ in 0..120 {
        client.publish(&deleted, &Batch::of(&[7; BIG])).unwrap();
    }
    client.delete(&deleted).unwrap();
    for topic in &topics {
        client.create(topic, EVERYTHING).unwrap();
        publish(&mut client, topic, 0..20);
    }
    // Neither of the two checkpoints that are kept needs the first segment any more.
    for _ in 0..3 {
        cube.stop(1);
        cube.restart(1);
    }
    wait_for("the first segment is gone", || (!cube.data(1).join("0000000001.log").exists()).then_some(()));
    // While the others still have one copy, a node with three finds no others, and loses nothing.
    cube.stop(0);
    cube.change(&["--replicas", "3"], &[]);
    cube.restart(0);
    wait_for("the others are missed", || cube.daemon(0).stderr().contains("slot 0 waits for nodes").then_some(()));
    publish(&mut cube.client(1), &topics[1], 20..21);
    for node in 1..4 {
        cube.stop(node);
        cube.restart(node);
    }
    cube.wait_linked();
    let mut client = cube.client_of(&[0, 1, 2, 3]);
    topics.iter().for_each(|topic| wait_for_copies(&mut client, topic));
    cube.kill(1);
    let mut client = cube.client(2);
    for (home, topic) in (0..).zip(&topics) {
        assert_eq!(values(&mut client, topic), numbered(20 + u64::from(home == 1)), "{topic}");
        client.publish(topic, &Batch::of(b"more")).unwrap();
    }
    // There is no way back.
    cube.change(&["--replicas", "1"], &[]);
    refused(&cube, 1, "--replicas 1: this data folder");
}

/// Nodes 0 and 3 lose their disks. The groups of 0 and 3 still have two copies, those of 1 and 2 one.
#[test]
fn topics_are_recovered_from_the_last_of_their_three_copies() {
    let mut cube = Cube::start_with(2, &["--replicas", "3"]);
    let topics = [0, 1, 2, 3].map(|home| cube.topic_at(home, "kept"));
    let mut client = cube.client_of(&[1, 2]);
    for topic in &topics {
        client.create(topic, EVERYTHING).unwrap();
        publish(&mut client, topic, 0..30);
        wait_for_copies(&mut client, topic);
    }
    let mut reader = cube.client_of(&[1, 2]);
    let mut subscriber = reader.subscribe(&[&topics[1]], Start::Earliest).unwrap();
    assert!(subscriber.by_ref().take(30).all(|delivery| matches!(delivery.unwrap().item, Ok(Item::Record(_)))));
    let aside = cube.folder().join("aside");
    [0, 3].into_iter().for_each(|node| cube.kill(node));
    fs::rename(cube.data(0), &aside).unwrap();
    fs::remove_dir_all(cube.data(3)).unwrap();
    [0, 3].into_iter().for_each(|node| cube.restart(node));
    cube.wait_linked();
    for (node, slot, left) in [(0, 1, "01"), (3, 2, "10")] {
        let line = format!("only node {left} has the topics of slot {slot}");
        wait_for("the operator is told", || cube.daemon(node).stderr().contains(&line).then_some(()));
    }

    // Nothing is done where it is not needed.
    let data = [1, 2].map(|node| cube.data(node));
    assert!(run(&["recover", "--home", "01", text(&data[0])], 2).contains("another process uses it"));
    cube.stop(1);
    assert!(run(&["recover", text(&data[0])], 2).contains("this node keeps those of 00, 01, 11"));
    assert!(run(&["recover", "--home", "10", text(&data[0])], 2).contains("keeps the topics of 00, 01, 11 only"));
    let told = run(&["recover", "--home", "01", text(&data[0])], 0);
    assert!(told.contains("the topics of 01 (1) continue from") && told.contains("00 and 11: unchanged"), "{told}");
    assert!(run(&["recover", "--home", "01", text(&data[0])], 2).contains("needs no recovery"));
    cube.restart(1);
    cube.stop(2);
    run(&["recover", "--home", "10", text(&data[1])], 0);
    cube.restart(2);
    cube.wait_linked();
    topics.iter().for_each(|topic| wait_for_copies(&mut client, topic));
    let end = subscriber.find_map(|delivery| delivery.unwrap().item.err()).unwrap();
    assert_eq!(end.status(), Some(Status::Truncated));
    drop(subscriber);
    for (home, topic) in (0..).zip(&topics) {
        assert_eq!(values(&mut client, topic), numbered(30), "{topic}");
        let epoch = client.info(topic).unwrap().topic.unwrap().epoch.0;
        assert_eq!(epoch > 1_000_000_000, home == 1 || home == 2, "{topic} has the epoch {epoch}");
        publish(&mut client, topic, 30..40);
    }

    // A folder from before comes back: it takes no part, while the two others go on.
    cube.stop(0);
    let new = cube.folder().join("new");
    fs::rename(cube.data(0), &new).unwrap();
    copy_folder(&aside, &cube.data(0));
    cube.restart(0);
    wait_for("the old copy is refused", || {
        (cube.daemon(0).logged("the group was recovered from another copy") > 0).then_some(())
    });
    publish(&mut client, &topics[1], 40..50);
    cube.stop(0);
    fs::remove_dir_all(cube.data(0)).unwrap();
    fs::rename(&new, cube.data(0)).unwrap();
    cube.restart(0);
    cube.wait_linked();
    wait_for_copies(&mut client, &topics[1]);
    cube.kill(1);
    assert_eq!(values(&mut cube.client(2), &topics[1]), numbered(50));
}

/// All folders are restored from backups that were made one after the other under load.
#[test]
fn a_whole_cube_is_recovered_from_the_backups_of_its_nodes() {
    let mut cube = Cube::start_with(2, &["--replicas", "3"]);
    let topics = [0, 1, 2, 3].map(|home| cube.topic_at(home, "load"));
    let copies: [PathBuf; 4] = [0, 1, 2, 3].map(|node| cube.folder().join(format!("copy-{node}")));
    let mut client = cube.client_of(&[0, 1, 2, 3]);
    for topic in &topics {
        client.create(topic, EVERYTHING).unwrap();
        publish(&mut client, topic, 0..1);
    }
    let (stop, acked) = (AtomicBool::new(false), [1; 4].map(AtomicU64::new));
    let before = thread::scope(|scope| {
        for ((node, topic), acked) in (0..).zip(&topics).zip(&acked) {
            let (mut client, stop) = (cube.client(node), &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = acked.load(Ordering::Relaxed);
                    publish(&mut client, topic, number..number + 1);
                    acked.store(number + 1, Ordering::Relaxed);
                }
            });
        }
        // The backup of each home has what was acknowledged before it began.
        let before: Vec<u64> = (0..4_u16)
            .map(|node| {
                pause(Duration::from_millis(200));
                let index = usize::from(node);
                // Only the copy of a leader has everything that was acknowledged.
                let query = cube.client(node).query(&topics[index]);
                let leads = query.is_ok_and(|query| query.copies.is_some_and(|copies| copies.leader == node));
                let acked = if leads { acked[index].load(Ordering::Relaxed) } else { 1 };
                let output = command(&["backup", text(&cube.data(node)), text(&copies[index])]);
                stop.fetch_or(output.status.code() != Some(0), Ordering::Relaxed);
                acked
            })
            .collect();
        pause(Duration::from_millis(100));
        stop.store(true, Ordering::Relaxed);
        before
    });
    let mut subscriber = client.subscribe(&[&topics[0]], Start::Earliest).unwrap();
    assert!(subscriber.by_ref().take(2).all(|delivery| matches!(delivery.unwrap().item, Ok(Item::Record(_)))));
    for node in 0..4 {
        cube.kill(node);
        fs::remove_dir_all(cube.data(node)).unwrap();
        copy_folder(&copies[usize::from(node)], &cube.data(node));
    }
    refused(&cube, 0, "run `dht-node recover` on each");
    for node in 0..4 {
        let home = cube.id(node).binary(cube.dimension);
        let told = run(&["recover", "--home", &home, text(&cube.data(node))], 0);
        assert!(told.contains("its copies are dropped"), "{told}");
    }
    (0..4).for_each(|node| cube.restart(node));
    cube.wait_linked();
    let end = subscriber.find_map(|delivery| delivery.unwrap().item.err()).unwrap();
    assert_eq!(end.status(), Some(Status::Truncated));
    drop(subscriber);
    let mut client = cube.client_of(&[0, 1, 2, 3]);
    for ((topic, before), acked) in topics.iter().zip(before).zip(acked) {
        wait_for_copies(&mut client, topic);
        let Offset(end) = client.info(topic).unwrap().topic.unwrap().next;
        assert!(
            (before..=acked.into_inner() + 1).contains(&end),
            "{topic}: {before} were acknowledged, {end} are left"
        );
        publish(&mut client, topic, end..end + 10);
        wait_for_copies(&mut client, topic);
        for node in 0..4 {
            assert_eq!(values(&mut cube.client(node), topic), numbered(end + 10), "{topic} through node {node}");
        }
    }
    any_node_may_be_lost(&mut cube, &topics);
}

/// Checks that all topics can be read without each of the nodes.
fn any_node_may_be_lost(cube: &mut Cube, topics: &[String]) {
    for node in 0..4 {
        cube.kill(node);
        let left = (node + 1) % 4;
        topics.iter().for_each(|topic| assert!(values(&mut cube.client(left), topic).len() > 10, "{topic}"));
        cube.restart(node);
        cube.wait_linked();
    }
}
