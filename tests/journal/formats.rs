//! A start upgrades a folder of an older format to the newest one, even if it is interrupted at any point.

use std::fs;
use std::path::Path;

use byteorder::{BigEndian, ByteOrder};
use dht_node::entry::MemberState;
use dht_node::journal::format::{HEADER, VERSION, record_at};
use dht_node::journal::{Disk, DiskFile, Identity, OpenError};
use dht_node::node::Node;
use dht_node::storage::start;
use dht_node::types::{Copies, Dimension, NodeId};
use fastrand::Rng;

use crate::disk::FakeDisk;
use crate::model::{Live, SEGMENT, SLOT, create, put_checkpoint, sharing_node};

/// Returns a disk with the files that the program of format 1 wrote.
pub(crate) fn first_format(folder: &str) -> FakeDisk {
    disk_of(1, folder)
}

/// Returns a disk with the files that the program of this format wrote.
pub(crate) fn disk_of(format: u32, folder: &str) -> FakeDisk {
    let disk = FakeDisk::default();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/process/durable/format_{format}/{folder}"));
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (name, mut bytes) = (entry.file_name(), fs::read(entry.path()).unwrap());
        if format > 1 && bytes.starts_with(b"DHTJRNL") && name.to_str().unwrap().ends_with(".log") {
            // The zeros at the end are left out.
            bytes.resize(bytes.len().max(BigEndian::read_u32(&bytes[16..]) as usize), 0);
        }
        put(&disk, name.to_str().unwrap(), &bytes);
    }
    disk
}

fn put(disk: &FakeDisk, name: &str, bytes: &[u8]) {
    let mut file = disk.create(name).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
    disk.sync_names().unwrap();
}

fn contents(disk: &FakeDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name).unwrap();
    let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// Returns the format that the identity file names, and the newest format of any other file.
fn formats(disk: &FakeDisk) -> (u32, u32) {
    let (mut said, mut newest) = (0, 0);
    for (name, len) in disk.files() {
        let bytes = contents(disk, &name);
        if name == "identity" {
            let text = String::from_utf8(bytes).unwrap();
            said = text.lines().next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        } else if len >= HEADER && bytes.starts_with(b"DHT") && !name.starts_with("watermark") {
            // The program of format 1 does not read the watermark.
            newest = newest.max(BigEndian::read_u32(&bytes[8..]));
        }
    }
    (said, newest)
}

fn offsets(node: &Node) -> Vec<(u64, u64)> {
    node.topics().into_iter().filter_map(|id| node.kept(id)).map(|(first, next)| (first.0, next.0)).collect()
}

#[test]
fn the_identity_file_names_the_newest_format_before_any_file_has_it() {
    for (format, folder, seeds) in [(1, "stopped", 600), (1, "killed", 600), (2, "stopped", 120), (2, "killed", 120)] {
        let (mut raised, mut stopped, expected) = (0, 0, {
            let (live, ..) = Live::start(&disk_of(format, folder), false).unwrap();
            offsets(&live.node)
        });
        assert_eq!(expected.len(), 3, "{folder}");
        for seed in 0..seeds {
            let (mut rng, disk) = (Rng::with_seed(seed.into()), disk_of(format, folder));
            assert_eq!(formats(&disk), (format, format));
            disk.stop_after((seed % 30).into());
            if let Ok((mut live, ..)) = Live::start(&disk, false) {
                // The disk may stop here: the checkpoint is written in part or as a whole.
                let _ = live.checkpoint();
            }
            stopped += u32::from(disk.has_stopped());
            disk.crash(&mut rng);
            let (said, newest) = formats(&disk);
            assert!(newest <= said, "{folder}, seed {seed}: format {newest} in a folder of format {said}");
            raised += u32::from(said == VERSION);
            let (live, ..) = Live::start(&disk, false).unwrap();
            assert_eq!(offsets(&live.node), expected, "{folder}, seed {seed}");
            assert_eq!(formats(&disk).0, VERSION);
        }
        assert!(raised > seeds / 12 && stopped > seeds / 2, "{folder}: {raised} raised, {stopped} stopped of {seeds}");
    }
}

/// The cube of an old folder may get three copies by the first start of this program, which may stop at any point.
#[test]
fn a_folder_of_an_older_format_becomes_one_with_three_copies() {
    let dimension = Dimension::new(2).unwrap();
    let (node, cluster, copies) = (NodeId::new(0, dimension).unwrap(), "dht".to_owned(), Copies::Three);
    let identity = Identity { cluster, dimension, node, copies };
    let begin = |disk: &FakeDisk| {
        let mut node = sharing_node(0, dimension);
        start(disk, &identity, false, SEGMENT, &mut node).map(|started| (node, started))
    };
    for (format, folder) in [(1, "stopped"), (1, "killed"), (2, "stopped"), (2, "killed")] {
        let expected = offsets(&Live::start(&disk_of(format, folder), false).unwrap().0.node);
        for changes in 0..40 {
            let disk = disk_of(format, folder);
            let text = String::from_utf8(contents(&disk, "identity")).unwrap();
            let text = text.replace("node 0 of a cube of dimension 0", "node 00 of a cube of dimension 2");
            disk.remove("identity").unwrap();
            put(&disk, "identity", text.as_bytes());
            disk.stop_after(changes);
            let _ = begin(&disk);
            disk.crash(&mut Rng::with_seed(changes));
            let (node, started) = begin(&disk).unwrap();
            assert_eq!(offsets(&node), expected, "{folder} of format {format}, {changes} changes");
            let mut states = started.groups.values().map(|log| log.state);
            let own = states.next().unwrap();
            assert!(own.term > 0 && own.commit > 0 && !own.founding.is_known(), "{own:?}");
            assert_eq!(states.collect::<Vec<_>>(), [MemberState::default(); 2], "it has nothing of the other groups");
            let text = String::from_utf8(contents(&disk, "identity")).unwrap();
            assert!(text.starts_with("dht-node journal, format 3\n") && text.ends_with("\nreplicas 3\n"), "{text}");
        }
    }
}

/// A start that is refused for damage changes nothing, so that the program that wrote the folder can still read it.
#[test]
fn a_folder_that_is_refused_keeps_its_format() {
    let disk = first_format("stopped");
    disk.flip("0000000002.log", 30 * 8);
    let error = Live::start(&disk, false).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert_eq!(formats(&disk), (1, 1));
}

/// A newer program may store more about a topic. Rewriting its checkpoint here would lose that.
#[test]
fn a_checkpoint_with_an_unknown_part_is_left_to_the_newer_program() {
    let disk = FakeDisk::default();
    let (mut live, ..) = Live::start(&disk, false).unwrap();
    live.append(vec![create("topic/0", 7)]).unwrap();
    live.sync().unwrap();
    live.checkpoint().unwrap();
    let (mut image, applied) = (live.node.image(SLOT).topics, live.applied());
    drop(live);
    assert_eq!(image.pop(), Some(0), "the end of the topic's parts");
    image.extend_from_slice(&[255, 1, 9, 0]);
    let name = disk.files().into_iter().map(|(name, _)| name).find(|name| name.ends_with(".checkpoint")).unwrap();
    let mut bytes = contents(&disk, &name);
    let segment = BigEndian::read_u32(&bytes[12..]);
    let head = record_at(&bytes.clone().into(), segment, HEADER).unwrap().head;
    bytes.truncate(HEADER);
    put_checkpoint(segment, head, applied, (&image, image.len() as u64), &mut bytes);
    put(&disk, &name, &bytes);
    let before: Vec<_> = disk.files().into_iter().map(|(name, _)| contents(&disk, &name)).collect();
    let error = Live::start(&disk, false).map(|_| ()).unwrap_err();
    assert!(matches!(&error, OpenError::Newer { file, version: None } if *file == name), "{error}");
    let after: Vec<_> = disk.files().into_iter().map(|(name, _)| contents(&disk, &name)).collect();
    assert!(before == after, "a start that is refused changes nothing");
}
