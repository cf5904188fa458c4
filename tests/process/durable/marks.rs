//! The end of the log after `kill -9`: an acknowledged record that cannot be read is damage, not a torn write.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use dht_client::{Batch, Record, Start};

use super::acked::EVERYTHING;
use super::folder::{DAMAGED, segments, unchanged};
use super::rescue::{command, said, text};
use crate::cube::Cube;

const ID: [&str; 4] = ["--id", "0", "--dimension", "0"];

const COMMITS: u64 = 9;

/// Returns a killed node with [`COMMITS`] commits of three records each, the last segment with records, and the range
/// of the last commit's bytes in it.
fn killed() -> (Cube, PathBuf, Range<usize>) {
    let mut cube = Cube::start(0);
    cube.client(0).create("topic", EVERYTHING).unwrap();
    let mut client = cube.client(0);
    let values = |commit: u64| -> Vec<Vec<u8>> {
        (0..3).map(|record| format!("commit {commit}, record {record}: {:.>80}", "").into_bytes()).collect()
    };
    for commit in 0..COMMITS {
        let values = values(commit);
        let mut batch = Batch::default();
        values.iter().for_each(|value| batch.push(&Record { value, ..Record::default() }).unwrap());
        client.publish("topic", &batch).unwrap();
    }
    drop(client);
    cube.kill(0);
    let last = &values(COMMITS - 1)[0];
    let holds = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        bytes.windows(last.len()).position(|window| window == last)
    };
    let found = segments(&cube.data(0)).into_iter().find_map(|path| holds(&path).map(|at| (path, at)));
    let (path, at) = found.expect("the commit was acknowledged");
    (cube, path, at..at + 3 * last.len())
}

#[test]
fn a_damaged_bit_in_the_last_acknowledged_commit_is_reported() {
    let (mut cube, path, commit) = killed();
    let sound = fs::read(&path).unwrap();
    for trial in 0..9 {
        let mut bytes = sound.clone();
        bytes[commit.start + trial * commit.len() / 9] ^= 1 << (trial % 8);
        fs::write(&path, &bytes).unwrap();
        let line =
            unchanged(&cube.data(0), &ID, DAMAGED, "was durable, and may have been acknowledged, cannot be read");
        assert!(line.contains("`dht-node repair`"), "trial {trial}: {line}");
    }
    // A start never drops records by itself, but an operator may.
    let data = cube.data(0);
    let output = command(&["inspect", text(&data)]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("they are the last ones, and the watermark says"), "{}", said(&output));
    let output = command(&["repair", "--drop-damaged", text(&data)]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("what could not be read was dropped"), "{}", said(&output));
    cube.restart(0);
    let mut client = cube.client(0);
    let records = client.records("topic", Start::Earliest).unwrap().map(Result::unwrap).count();
    assert_eq!(records as u64, 3 * (COMMITS - 1), "without the damaged commit");
    assert_eq!(client.publish("topic", &Batch::of(b"more")).unwrap().base.0, 3 * (COMMITS - 1));
    drop(client);
    cube.kill(0);
    cube.restart(0);
}

/// The folders of two nodes of a cube have files with the same names.
#[test]
fn files_that_two_nodes_have_swapped_are_refused_by_name() {
    let mut cube = Cube::start(1);
    for node in 0..2 {
        let topic = cube.topic_at(node, "topic");
        let mut client = cube.client(node);
        client.create(&topic, EVERYTHING).unwrap();
        client.publish(&topic, &Batch::of(b"of this node")).unwrap();
    }
    (0..2).for_each(|node| cube.kill(node));
    let logs = [0, 1].map(|node| segments(&cube.data(node)).remove(0));
    let (marks, bytes) =
        ([0, 1].map(|node| cube.data(node).join("watermark")), |path: &PathBuf| fs::read(path).unwrap());
    for (swapped, name) in [(&logs, "0000000001.log"), (&marks, "watermark")] {
        let own = [bytes(&swapped[0]), bytes(&swapped[1])];
        for node in 0..2 {
            fs::write(&swapped[node], &own[1 - node]).unwrap();
        }
        for (node, id) in [(0, "0"), (1, "1")] {
            let what = format!("{name} belongs to another node or cluster");
            unchanged(&cube.data(node), &["--id", id, "--dimension", "1"], 2, &what);
            let output = command(&["inspect", text(&cube.data(node))]);
            assert_eq!(output.status.code(), Some(2), "{}", said(&output));
            assert!(said(&output).contains(&what), "{}", said(&output));
        }
        for node in 0..2 {
            fs::write(&swapped[node], &own[node]).unwrap();
        }
    }
    (0..2).for_each(|node| cube.restart(node));
}

#[test]
fn a_truncated_segment_is_reported_as_damaged_and_is_accepted_when_it_is_restored() {
    let (mut cube, path, commit) = killed();
    let sound = fs::read(&path).unwrap();
    for len in [commit.end, commit.start, commit.start / 2, 0] {
        fs::write(&path, &sound[..len]).unwrap();
        unchanged(&cube.data(0), &ID, DAMAGED, "is damaged at byte");
    }
    fs::remove_file(&path).unwrap();
    unchanged(&cube.data(0), &ID, DAMAGED, "is missing");
    fs::write(&path, sound).unwrap();
    cube.restart(0);
    let records = cube.client(0).records("topic", Start::Earliest).unwrap().map(Result::unwrap).count();
    assert_eq!(records as u64, 3 * COMMITS);
    assert_eq!(cube.daemon(0).logged("unfinished records at its end"), 0);
}
