//! A full file system (ext4 in a file, or tmpfs, if mounting is permitted), and a journal that has reached its limit.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use dht_client::{Batch, Client, Error, Item, Start};
use dht_node::limits::{DISK_BYTES_LEAST, SEGMENT_BYTES_FIRST};
use dht_node::types::{Offset, SettingsChange, TopicName};
use dht_node::wire::request::Topic;
use dht_node::wire::{Request, Response, Status};
use tempfile::TempDir;

use super::acked::EVERYTHING;
use super::{IN_TIME, skip};
use crate::cube::Cube;
use crate::daemon::{Daemon, pause, wait_for};
use crate::raw::{Raw, request_frame};
use crate::requests::{create, publish, record};

/// Bytes of a record of these tests.
const RECORD: usize = 1_000_000;

/// A mounted file system.
struct Mounted {
    /// The mount point, in `folder`.
    point: PathBuf,
    folder: TempDir,
}

impl Mounted {
    /// Creates and mounts an ext4 file system of this size. Returns `None` without the permission for that.
    fn new(mebibytes: u64, test: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        let image = image.to_str().unwrap();
        // No blocks are reserved for root, because the node may run as root.
        is_done(&["mkfs.ext4", "-q", "-m", "0", image], test)
            .then(|| Self::mount(folder, &["-o", "loop", image], test))
            .flatten()
    }

    /// Mounts a tmpfs of this size. Unlike on ext4, the space of removed files is free at once.
    fn in_memory(mebibytes: u64, test: &str) -> Option<Self> {
        Self::mount(tempfile::tempdir().unwrap(), &["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"], test)
    }

    fn mount(folder: TempDir, what: &[&str], test: &str) -> Option<Self> {
        let point = folder.path().join("disk");
        fs::create_dir(&point).unwrap();
        let is_mounted = is_done(&[&["mount"], what, &[point.to_str().unwrap()]].concat(), test);
        is_mounted.then_some(Self { point, folder })
    }

    /// Returns the path of a node's folder on it.
    fn data(&self) -> PathBuf {
        self.point.join("data")
    }

    /// Starts a cube of one node whose folder is on it.
    fn start(&self) -> Cube {
        Cube::start_with(0, &["--data", self.data().to_str().unwrap()])
    }

    /// Fills all remaining space except `but_kib` KiB with a file. This includes the space of segments that a node
    /// tries to prepare meanwhile and removes again.
    fn fill_up(&self, name: &str, but_kib: u64) -> PathBuf {
        let path = self.point.join(name);
        let (mut file, mut calm) = (File::create(&path).unwrap(), 0);
        while calm < 10 {
            let before = file.metadata().unwrap().len();
            let error = std::io::copy(&mut std::io::repeat(1), &mut file).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
            calm = if file.metadata().unwrap().len() == before { calm + 1 } else { 0 };
            // The space of removed files becomes free only when the removal is durable.
            file.sync_all().unwrap();
            pause(Duration::from_millis(40));
        }
        let len = file.metadata().unwrap().len();
        file.set_len(len.saturating_sub(but_kib << 10)).unwrap();
        file.sync_all().unwrap();
        path
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.point).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.point.display());
    }
}

/// Runs a command, or says why the test is skipped.
fn is_done(words: &[&str], test: &str) -> bool {
    let why = match Command::new(words[0]).args(&words[1..]).output() {
        Ok(Output { status, .. }) if status.success() => return true,
        Ok(Output { stderr, .. }) => format!("{} fails: {}", words[0], String::from_utf8_lossy(&stderr).trim()),
        Err(error) => format!("there is no {}: {error}", words[0]),
    };
    skip(test, &why);
    false
}

#[test]
fn a_node_with_a_full_disk_refuses_publishes_and_recovers_when_topics_are_deleted() {
    const TEST: &str = "a_node_with_a_full_disk_refuses_publishes_and_recovers_when_topics_are_deleted";
    let Some(disk) = Mounted::new(220, TEST) else { return };
    fill_up(disk.start(), |_| ());
}

#[test]
fn a_journal_at_its_size_limit_behaves_like_a_full_disk() {
    let within_its_bound = |data: &Path| {
        // The running node may remove a file meanwhile.
        let files = fs::read_dir(data).unwrap().filter_map(|entry| Some(entry.unwrap().metadata().ok()?.len()));
        // A start creates a small segment in any case, even beyond the limit.
        let most = DISK_BYTES_LEAST + u64::from(SEGMENT_BYTES_FIRST);
        let bytes: u64 = files.sum();
        assert!(bytes <= most, "{bytes} bytes of {most}");
    };
    fill_up(Cube::start_with(0, &["--disk", &DISK_BYTES_LEAST.to_string()]), within_its_bound);
}

/// Publishes until the disk is full, restarts, deletes topics, and publishes again.
fn fill_up(mut cube: Cube, look: impl Fn(&Path)) {
    let mut client = cube.client(0);
    let topics = ["one", "two", "three"];
    let mut stored = [0; 3];
    let full = (0_u64..1000).zip((0..3).cycle()).find_map(|(number, at)| {
        if number < 3 {
            client.create(topics[at], EVERYTHING).unwrap();
        }
        match client.publish(topics[at], &Batch::of(&content(number))) {
            Ok(_) => stored[at] += 1,
            Err(error) => return Some(error),
        }
        None
    });
    check_refusal(&full.unwrap());
    look(&cube.data(0));
    // Reads still work, also after a restart on the full disk, and so do deletions.
    for (topic, count) in topics.iter().zip(stored) {
        assert_eq!(records(&mut client, topic), count, "{topic}");
    }
    cube.kill(0);
    cube.restart(0);
    for (topic, count) in topics.iter().zip(stored) {
        assert_eq!(records(&mut client, topic), count, "{topic}");
    }
    client.delete("one").unwrap();
    client.delete("two").unwrap();
    client.delete("three").unwrap();
    client.create("next", EVERYTHING).unwrap();
    // As many records as before, which need the space of the deleted ones.
    for number in 0..100 {
        wait_for("the node accepts records again", || client.publish("next", &Batch::of(&content(number))).ok());
    }
    look(&cube.data(0));
    cube.kill(0);
    cube.restart(0);
    assert_eq!(records(&mut client, "next"), 100);
    for topic in topics {
        assert_eq!(client.info(topic).unwrap_err().status(), Some(Status::UnknownTopic));
    }
    cube.stop(0);
}

#[test]
fn a_node_recovers_when_others_free_space_on_a_full_disk() {
    const TEST: &str = "a_node_recovers_when_others_free_space_on_a_full_disk";
    let Some(disk) = Mounted::new(150, TEST) else { return };
    let mut cube = disk.start();
    let mut client = cube.client(0);
    client.create("topic", EVERYTHING).unwrap();
    client.create("other", EVERYTHING).unwrap();
    client.create("more", EVERYTHING).unwrap();
    let filler = disk.fill_up("filler", 16 << 10);
    let mut stored = 0;
    let full = (0..).find_map(|number| {
        let failed = client.publish("topic", &Batch::of(&content(number))).err();
        stored += u64::from(failed.is_none());
        failed
    });
    check_refusal(&full.unwrap());
    assert_eq!(records(&mut client, "topic"), stored);
    client.delete("other").unwrap();
    check_refusal(&client.publish("more", &Batch::of(b"small")).unwrap_err());
    fs::remove_file(&filler).unwrap();
    for number in 0..60 {
        wait_for("the node accepts records again", || client.publish("more", &Batch::of(&content(number))).ok());
    }
    assert_eq!(cube.daemon(0).logged("cannot prepare a segment"), 1, "logged once");
    assert_eq!(cube.daemon(0).logged("space is back: "), 1, "logged once");
    cube.kill(0);
    cube.restart(0);
    assert_eq!((records(&mut client, "topic"), records(&mut client, "more")), (stored, 60));
    cube.stop(0);
}

#[test]
fn unfinished_files_do_not_take_up_space_on_a_full_disk() {
    const TEST: &str = "unfinished_files_do_not_take_up_space_on_a_full_disk";
    let Some(disk) = Mounted::in_memory(20, TEST) else { return };
    let mut cube = disk.start();
    let mut client = cube.client(0);
    client.create("topic", EVERYTHING).unwrap();
    client.create("small", EVERYTHING).unwrap();
    let log = cube.daemon(0).stderr();
    assert!(log.contains("has room for a journal of 20MiB, and 320MiB are needed"), "{log}");
    check_refusal(&(0..9).find_map(|number| client.publish("topic", &Batch::of(&content(number))).err()).unwrap());
    let filler = disk.fill_up("filler", 0);
    client.delete("topic").unwrap();
    wait_for("a checkpoint fails", || (cube.daemon(0).logged("cannot make a checkpoint") > 0).then_some(()));
    assert_eq!(begun(&disk.data()), [""; 0]);
    fs::remove_file(filler).unwrap();
    check_start(&mut cube, &mut client);
}

#[test]
fn a_start_on_a_too_small_disk_fails_and_says_how_much_space_is_needed() {
    const TEST: &str = "a_start_on_a_too_small_disk_fails_and_says_how_much_space_is_needed";
    let Some(disk) = Mounted::in_memory(3, TEST) else { return };
    let data = disk.data();
    let arguments = ["--id", "0", "--dimension", "0", "--data", data.to_str().unwrap()];
    let peers = disk.folder.path().join("peers");
    fs::write(&peers, "0 127.0.0.1:0\n").unwrap();
    let arguments = [&arguments, ["--peers", peers.to_str().unwrap()].as_slice()].concat();
    let mut daemon = Daemon::spawn(&arguments, &disk.folder.path().join("log"));
    assert_eq!(daemon.wait(IN_TIME).unwrap().code(), Some(2));
    let log = daemon.stderr();
    assert!(log.contains("has room for a journal of 3MiB, and 320MiB are needed"), "{log}");
    let last = log.lines().last().unwrap();
    assert!(last.contains("the first segment of this start, which takes 4MiB: No space left"), "{log}");
}

/// Checks that a start finds the topic deleted and can use its space.
fn check_start(cube: &mut Cube, client: &mut Client) {
    cube.kill(0);
    cube.restart(0);
    assert_eq!(client.info("topic").unwrap_err().status(), Some(Status::UnknownTopic));
    client.publish("small", &Batch::of(b"small")).unwrap();
    cube.stop(0);
}

/// Batches that are in flight when the disk becomes full are refused like later ones, and do not block deletions.
#[test]
fn a_flood_of_publishes_to_a_full_disk_leaves_space_for_deletions() {
    const TEST: &str = "a_flood_of_publishes_to_a_full_disk_leaves_space_for_deletions";
    let Some(disk) = Mounted::new(66, TEST) else { return };
    let mut cube = disk.start();
    let mut floods: Vec<Raw> = (0..4).map(|_| Raw::greet(cube.address(0))).collect();
    let others: Vec<String> = (0..200).map(|number| format!("other-{number}")).collect();
    for topic in others.iter().map(String::as_str).chain(["topic", "small"]) {
        floods[0].call(&create(topic), &[]);
    }
    // The first segment has 4 MiB, and there is no space for the next one. Until the node notices that, small batches
    // fill the space that the large ones leave.
    const LARGE: u64 = 1;
    let first = 1000;
    let ids = first..first + 300;
    let payload = |id: u64| record(&if id < first + LARGE { content(0) } else { content(0)[..3000].to_vec() });
    let frame = |id| request_frame(id, &publish("topic", 1), &payload(id));
    for flood in &mut floods {
        flood.send(&ids.clone().flat_map(frame).collect::<Vec<u8>>());
    }
    let mut stored = 0;
    for flood in &mut floods {
        for id in ids.clone() {
            match flood.answer(id) {
                Response::Published(_) => stored += 1,
                Response::Error(error) => assert_eq!(error.status, Status::Quota.number(), "{error:?}"),
                other => panic!("{other:?}"),
            }
        }
    }
    let mut client = cube.client(0);
    let mut found = 0;
    for item in client.records("topic", Start::Earliest).unwrap() {
        let Item::Record(message) = item.unwrap() else { panic!("nothing is removed") };
        assert!(content(0).starts_with(&message.value));
        found += 1;
    }
    assert_eq!(found, stored);
    assert!(stored > 0 && stored < 4 * 300, "{stored} fit");
    for topic in others.iter().map(String::as_str).chain(["topic"]) {
        client.delete(topic).unwrap();
    }
    check_start(&mut cube, &mut client);
}

/// Whatever clients have sent before, a node on a full disk can delete and trim topics, and shut down in an orderly
/// way.
#[test]
fn requests_to_a_full_disk_cannot_use_up_the_space_reserved_for_operations_that_free_space() {
    const TEST: &str = "requests_to_a_full_disk_cannot_use_up_the_space_reserved_for_operations_that_free_space";
    const EACH: u64 = 20_000;
    let Some(disk) = Mounted::new(66, TEST) else { return };
    let mut cube = disk.start();
    let mut raw = Raw::greet(cube.address(0));
    for topic in ["large", "many", "deleted", "small"] {
        raw.call(&create(topic), &[]);
    }
    let many: Vec<u8> = (0..EACH).flat_map(|_| record(b"")).collect();
    let count = u32::try_from(EACH).unwrap();
    assert!(matches!(raw.call(&publish("many", count), &many), Response::Published(_)));
    let large = record(&content(0));
    let is_refused = (0..9).any(|_| matches!(raw.call(&publish("large", 1), &large), Response::Error(_)));
    assert!(is_refused, "the disk is full");

    let named = |topic| Topic { name: TopicName::new(topic).unwrap(), id: None };
    // Each of these requests takes as many bytes of the journal as a small request can.
    let alter = |number: u64| {
        let [records, bytes, age] = [1, 2, 3].map(|setting| Some(u64::MAX - 4 * number - setting));
        let change = SettingsChange { retention_records: records, retention_bytes: bytes, retention_age_ms: age };
        Request::Alter { topic: named("small"), change }
    };
    let trim = |first| Request::Trim { topic: named("many"), first: Offset(first) };
    // Requests that change nothing are answered without writing. Each other kind has its own share of the reserved
    // space, and never uses that of the next kind.
    assert_eq!(flood(&mut raw, EACH, |_| create("small")), [(Status::OkExists, EACH)]);
    let [(Status::Ok, altered), (Status::Quota, _)] = flood(&mut raw, 4 * EACH, alter)[..] else {
        panic!("settings are changed until their share is used up");
    };
    let [(Status::Ok, trimmed), (Status::Quota, _)] = flood(&mut raw, EACH, |number| trim(number + 1))[..] else {
        panic!("records are trimmed until their share is used up");
    };
    assert!(altered > 500 && trimmed > 500, "{altered} and {trimmed}");
    let deleted = raw.call(&Request::Delete(named("deleted")), &[]);
    assert!(matches!(deleted, Response::Deleted { .. }), "{deleted:?}");
    cube.stop(0);

    // After a restart, everything that was acknowledged is in effect.
    cube.restart(0);
    let mut client = cube.client(0);
    assert_eq!(client.info("deleted").unwrap_err().status(), Some(Status::UnknownTopic));
    assert_eq!(client.info("many").unwrap().topic.unwrap().first.0, trimmed);
    client.delete("large").unwrap();
    wait_for("the node accepts records again", || client.publish("small", &Batch::of(b"small")).ok());
    cube.stop(0);
}

/// Sends `count` requests, a thousand at a time. Returns how often each status was received, in the order of the first
/// occurrences.
fn flood<'a>(raw: &mut Raw, count: u64, request: impl Fn(u64) -> Request<'a>) -> Vec<(Status, u64)> {
    let mut statuses: Vec<(Status, u64)> = Vec::new();
    for first in (0..count).step_by(1000) {
        let ids: Vec<(u64, u64)> = (first..count.min(first + 1000)).map(|number| (number, raw.next_id())).collect();
        raw.send(&ids.iter().flat_map(|(number, id)| request_frame(*id, &request(*number), &[])).collect::<Vec<u8>>());
        for (_, id) in ids {
            let status = Status::from_number(raw.answer(id).status()).unwrap();
            match statuses.iter_mut().find(|(known, _)| *known == status) {
                Some((_, times)) => *times += 1,
                None => statuses.push((status, 1)),
            }
        }
    }
    statuses
}

/// Checks that the error says what is wrong and what to do.
fn check_refusal(error: &Error) {
    assert_eq!((error.status(), error.is_retryable()), (Some(Status::Quota), false), "{error}");
    let said = error.to_string();
    assert!(said.contains("no space left for its journal") && said.contains("delete topics, make space"), "{said}");
}

/// Returns the number of records of a topic, and checks their values.
fn records(client: &mut Client, topic: &str) -> u64 {
    let mut count = 0;
    for item in client.records(topic, Start::Earliest).unwrap() {
        let Item::Record(message) = item.unwrap() else { panic!("nothing is removed") };
        let number = u64::from_be_bytes(message.value[..8].try_into().unwrap());
        assert!(message.value == content(number), "record {number} is damaged");
        count += 1;
    }
    count
}

/// Returns the names of unfinished files.
fn begun(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".checkpoint.new") || name.ends_with(".index.new")).collect()
}

fn content(number: u64) -> Vec<u8> {
    let mut value = vec![0; RECORD];
    fastrand::Rng::with_seed(number).fill(&mut value);
    value[..8].copy_from_slice(&number.to_be_bytes());
    value
}
