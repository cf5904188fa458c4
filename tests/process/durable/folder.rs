//! Folders that a node refuses to use, and damaged ones: it prints one line that says why, exits with a code, and
//! changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use byteorder::{BigEndian, ByteOrder};
use dht_client::{Batch, Item, Start};
use dht_node::journal::format::VERSION;
use dht_node::types::Offset;
use dht_node::wire::Status;

use super::acked::EVERYTHING;
use super::skip;
use crate::cube::Cube;
use crate::daemon::{Daemon, PATIENCE, wait_for};
use crate::requests::record;

/// The exit code for a folder that this node must not use.
const USAGE: i32 = 2;
/// The exit code for a damaged folder.
pub(super) const DAMAGED: i32 = 1;

/// The number of batches in the journal that [`journal`] makes.
const BATCHES: u64 = 12;

#[test]
fn a_folder_that_is_in_use_is_left_alone() {
    let mut cube = Cube::start(0);
    cube.create("topic");
    let before = contents(&cube.data(0));
    refused(&cube.data(0), &["--id", "0", "--dimension", "0"], USAGE, "another process uses it");
    assert_eq!(contents(&cube.data(0)), before);
    cube.client(0).publish("topic", &Batch::of(b"goes on")).unwrap();
    // The refused process neither keeps nor removes the lock.
    cube.kill(0);
    cube.restart(0);
    assert_eq!(cube.client(0).info("topic").unwrap().topic.unwrap().next.0, 1);
}

#[test]
fn a_folder_of_another_node_or_program_is_left_alone() {
    let cube = journal();
    let (own, at) = (&cube.data(0), |name: &str| cube.folder().join(name));
    let ids: [&[&str]; 3] = [
        &["--id", "1", "--dimension", "1"],
        &["--id", "0", "--dimension", "1"],
        &["--id", "0", "--dimension", "0", "--cluster", "other"],
    ];
    let owner = "it belongs to node 0 of a cube of dimension 0, cluster dht; give another folder";
    for id in ids {
        unchanged(own, id, USAGE, owner);
    }
    let usual = ids[2].split_at(4).0;
    for (name, file, expected) in [
        ("foreign", "notes.txt", "it holds \"notes.txt\" and is not a journal; give another folder"),
        ("senseless", "identity", "it is not a journal"),
        ("unfinished", "backup-unfinished", "a backup that was never completed; run the same `dht-node backup` again"),
        ("without-identity", "0000000001.log", "and is not a journal"),
    ] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join(file), "a text of somebody").unwrap();
        unchanged(&at(name), usual, USAGE, expected);
    }
    fs::write(at("file"), "no folder").unwrap();
    refused(&at("file"), usual, USAGE, "it is not a folder; give another folder");
    refused(&at("file").join("in"), usual, USAGE, "it, or a part of its path, is not a folder; give another folder");
    assert_eq!(fs::read(at("file")).unwrap(), b"no folder");
}

#[test]
fn a_folder_without_permission_is_refused() {
    let cube = journal();
    let closed = cube.folder().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o500)).unwrap();
    if fs::write(closed.join("try"), "").is_ok() {
        return skip("a_folder_without_permission_is_refused", "this user may do anything");
    }
    refused(&closed, &["--id", "0", "--dimension", "0"], USAGE, "denied");
    refused(&closed.join("inside"), &["--id", "0", "--dimension", "0"], USAGE, "denied");
    assert!(contents(&closed).is_empty());
}

#[test]
fn a_journal_of_a_newer_format_is_refused_and_left_unchanged() {
    let cube = journal();
    let id = ["--id", "0", "--dimension", "0"];
    let newer =
        format!("has format {}, but this program reads formats up to {VERSION}; run the newer program", VERSION + 1);
    let (identity, segment) = (cube.data(0).join("identity"), last_segment(&cube));
    let text = fs::read_to_string(&identity).unwrap();
    fs::write(&identity, text.replace(&format!("format {VERSION}"), &format!("format {}", VERSION + 1))).unwrap();
    unchanged(&cube.data(0), &id, USAGE, &newer);
    fs::write(&identity, text).unwrap();
    let checkpoint = with_extension(&cube.data(0), "checkpoint").pop().unwrap();
    for file in [segment, checkpoint] {
        let bytes = fs::read(&file).unwrap();
        let mut header = bytes.clone();
        BigEndian::write_u32(&mut header[8..], VERSION + 1);
        let crc = crc32fast::hash(&header[..28]);
        BigEndian::write_u32(&mut header[28..], crc);
        fs::write(&file, header).unwrap();
        unchanged(&cube.data(0), &id, USAGE, &newer);
        fs::write(&file, bytes).unwrap();
    }
    is_whole(cube);
}

#[test]
fn a_damaged_journal_is_refused_and_left_unchanged() {
    let mut cube = journal();
    let data = cube.data(0);
    let segments = segments(&data);
    let (first, last) = (&segments[0], &segments[segments.len() - 1]);
    let checkpoints = with_extension(&data, "checkpoint");
    assert_eq!(checkpoints.len(), 2);
    type Harm<'h> = &'h dyn Fn(&Path);
    // Each case: the file, how it is damaged, and the expected message. Byte 130 of a segment is in its first record.
    let flip = |at: usize| move |path: &Path| flip(path, at);
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    let cases: [(&Path, Harm<'_>, &str); 5] = [
        (last, &flip(50), "a record that was durable cannot be read"),
        (last, &flip(130), "a record that was durable cannot be read"),
        (last, &remove, "the segment is missing"),
        (first, &flip(20), "its header is damaged or belongs to another segment"),
        (first, &remove, "the segment is missing"),
    ];
    for (path, harm, what) in cases {
        let sound = fs::read(path).unwrap();
        harm(path);
        let line = unchanged(&data, &["--id", "0", "--dimension", "0"], DAMAGED, what);
        assert!(line.contains("`dht-node repair` to repair the folder"), "{line}");
        fs::write(path, sound).unwrap();
    }
    // The refused starts have changed nothing, so the repaired folder starts.
    cube.restart(0);
    cube.kill(0);
    is_whole(cube);
}

#[test]
fn missing_or_damaged_derived_files_are_rebuilt_and_everything_is_served() {
    let mut cube = journal();
    let data = cube.data(0);
    let derived = [with_extension(&data, "index"), with_extension(&data, "checkpoint")].concat();
    let indexes = with_extension(&data, "index").len();
    for path in &derived {
        let others = contents(&data);
        for harm in 0..3 {
            match harm {
                0 => fs::remove_file(path).unwrap(),
                1 => flip(path, 40),
                _ => flip(path, 20),
            }
            cube.restart(0);
            has_everything(&cube);
            cube.kill(0);
            put_back(&data, &others);
        }
    }
    // Only the newest checkpoint is read, so only its two flipped bits are reported.
    let log = fs::read_to_string(cube.folder().join("0.log")).unwrap();
    let lines = |what: &str| log.matches(what).count();
    assert_eq!((lines("rebuilt from its segment"), lines("an older state was used")), (3 * indexes, 2));
    // All of them at once: no segment has been removed yet, so the log alone is enough.
    derived.iter().for_each(|path| fs::remove_file(path).unwrap());
    is_whole(cube);
}

/// A start does not read all records, so damage to a record is reported when it is read, and only to its reader.
#[test]
fn damaged_records_are_reported_to_whoever_reads_them() {
    let mut cube = journal();
    let data = cube.data(0);
    let first = segments(&data).remove(0);
    let batch = record(&0_u64.to_be_bytes());
    // Damage to two different bytes of the first batch, one after the other.
    for offset in [1, 3] {
        let (file, sound) = (&first, fs::read(&first).unwrap());
        let at =
            sound.windows(batch.len()).position(|bytes| bytes == batch).expect("it is in the first segment") + offset;
        flip(file, at);
        cube.restart(0);
        let mut client = cube.client(0);
        let error = client.fetch("topic", Start::Earliest, 0).unwrap_err();
        assert_eq!((error.status(), error.is_retryable()), (Some(Status::Storage), false), "{error}");
        assert!(error.to_string().contains("the log of node 0 says why"), "{error}");
        // The next readable record is known, so a reader reports the lost offsets and continues after them.
        let lost = Item::Lost { from: Offset(0), to: Offset(1) };
        let mut items = client.records("topic", Start::Earliest).unwrap().map(Result::unwrap);
        assert_eq!(items.next(), Some(lost.clone()));
        let offset = |item| if let Item::Record(record) = item { record.offset.0 } else { panic!("{item:?}") };
        let rest: Vec<u64> = items.map(offset).collect();
        assert!(rest.len() as u64 >= BATCHES - 1 && rest[0] == 1, "{rest:?}");
        let mut subscriber = client.subscribe(&["topic"], Start::Earliest).unwrap();
        let mut next = || subscriber.next_within(Duration::from_secs(5)).unwrap().expect("an item").item.unwrap();
        assert_eq!(next(), lost);
        assert_eq!((0..BATCHES - 1).map(|_| offset(next())).collect::<Vec<_>>(), rest[..rest.len().min(11)]);
        drop(subscriber);
        client.publish("topic", &Batch::of(b"more")).unwrap();
        let log = cube.daemon(0).stderr();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(log.contains(&format!("cannot read records of topic topic: {name} is damaged at byte")), "{log}");
        cube.kill(0);
        fs::write(file, sound).unwrap();
    }
}

/// Restores the former content of a folder.
fn put_back(folder: &Path, files: &[(PathBuf, Vec<u8>)]) {
    contents(folder).into_iter().for_each(|(path, _)| fs::remove_file(path).unwrap());
    files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

/// Returns a cube of one node that was killed. Its journal has a checkpoint, indexes of the segments before the
/// checkpoint, and four batches after it.
fn journal() -> Cube {
    let mut cube = Cube::start(0);
    cube.client(0).create("topic", EVERYTHING).unwrap();
    for round in 0..BATCHES / 4 {
        if round > 0 {
            cube.stop(0);
            cube.restart(0);
            // Each start makes a checkpoint, which contains the number of the segment that the start has begun.
            wait_for("the checkpoint of this start", || {
                let last = last_segment(&cube);
                with_extension(&cube.data(0), "checkpoint").iter().find_map(|checkpoint| {
                    let number = BigEndian::read_u32(fs::read(checkpoint).ok()?.get(12..16)?);
                    last.ends_with(format!("{number:010}.log")).then_some(())
                })
            });
        }
        let mut client = cube.client(0);
        for number in 0..4 {
            client.publish("topic", &Batch::of(&(round * 4 + number).to_be_bytes())).unwrap();
        }
    }
    cube.kill(0);
    cube
}

/// Checks that the node starts and has all records.
fn is_whole(mut cube: Cube) {
    cube.restart(0);
    has_everything(&cube);
}

fn has_everything(cube: &Cube) {
    let mut client = cube.client(0);
    let value = |item| if let Ok(Item::Record(message)) = item { message.value.to_vec() } else { Vec::new() };
    let values: Vec<_> = client.records("topic", Start::Earliest).unwrap().map(value).collect();
    assert_eq!(values, (0..BATCHES).map(|number| number.to_be_bytes().to_vec()).collect::<Vec<_>>());
}

/// Checks that a start is refused and leaves the folder unchanged. Returns the message.
pub(super) fn unchanged(folder: &Path, id: &[&str], code: i32, expected: &str) -> String {
    let before = contents(folder);
    let line = refused(folder, id, code, expected);
    let after = contents(folder);
    let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before), "{line}");
    assert!(before == after, "a file was changed: {line}");
    line
}

/// Checks that a start is refused with this exit code and a message of one line. Returns the message.
fn refused(folder: &Path, id: &[&str], code: i32, expected: &str) -> String {
    let others = tempfile::tempdir().unwrap();
    let (peers, log) = (others.path().join("peers"), others.path().join("log"));
    fs::write(&peers, "0 127.0.0.1:0\n1 127.0.0.1:0\n").unwrap();
    if id.contains(&"0") && id.windows(2).any(|words| words == ["--dimension", "0"]) {
        fs::write(&peers, "0 127.0.0.1:0\n").unwrap();
    }
    let places = ["--peers", peers.to_str().unwrap(), "--data", folder.to_str().unwrap()];
    let mut daemon = Daemon::spawn(&[id, &places].concat(), &log);
    let status =
        daemon.wait(PATIENCE).unwrap_or_else(|| panic!("{id:?} starts in {}, expected {expected:?}", folder.display()));
    let said = daemon.stderr();
    assert_eq!(status.code(), Some(code), "{said}");
    assert_eq!((said.lines().count(), daemon.stdout()), (1, ""), "{said}");
    let begin = format!("dht-node: {}: ", folder.display());
    assert!(said.starts_with(&begin) && said.contains(expected), "{said} is not {expected:?}");
    said
}

/// Returns the paths and bytes of all files.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(&path).unwrap_or_default())).collect()
}

fn with_extension(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = contents(folder).into_iter().map(|(path, _)| path);
    paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

pub(super) fn segments(folder: &Path) -> Vec<PathBuf> {
    with_extension(folder, "log")
}

fn last_segment(cube: &Cube) -> PathBuf {
    segments(&cube.data(0)).pop().unwrap()
}
