//! Files of another folder: if any file is replaced by one of another folder, a start refuses it.

use dht_node::journal::{Disk, DiskFile, OpenError, claim, inspect};
use dht_node::storage::Scratch;

use crate::crafted::{long, names, read, write};
use crate::disk::FakeDisk;
use crate::formats::first_format;
use crate::model::{self, Live, SEGMENT, blank, create};

/// Returns a folder of the node that all these tests use; its folder id depends on `random`.
fn folder(random: u64) -> FakeDisk {
    let disk = FakeDisk::default();
    claim(&disk, &model::identity(), random << 16).unwrap();
    drop(long(&disk, 4, true));
    disk
}

fn contents(disk: &FakeDisk) -> Vec<(String, Vec<u8>)> {
    disk.files().into_iter().map(|(name, _)| (name.clone(), read(disk, &name))).collect()
}

#[test]
fn any_file_of_another_folder_is_refused_by_its_name() {
    let other = folder(2);
    let files: Vec<String> =
        ["log", "index", "checkpoint", "watermark"].iter().flat_map(|it| names(&other, it)).collect();
    // Four segments, the indexes of three, two checkpoints, the watermark.
    assert!(files.len() >= 10, "{files:?}");
    // The last segment has no index yet, and the older checkpoint is not read.
    let newest = names(&other, ".checkpoint").pop().unwrap();
    for file in files.iter().filter(|file| !file.ends_with(".checkpoint") || **file == newest) {
        let disk = folder(1);
        assert_eq!(names(&disk, file), std::slice::from_ref(file), "both folders have the same files");
        write(&disk, file, &read(&other, file));
        let before = contents(&disk);
        let Err(error) = Live::start(&disk, false) else { panic!("{file} of another folder was accepted") };
        assert!(matches!(&error, OpenError::Misplaced { file: named, .. } if named == file), "{file}: {error}");
        assert!(error.to_string().contains("another folder of this node"), "{error}");
        let error = inspect(&disk, false, || Scratch::new(blank())).unwrap_err();
        assert!(
            matches!(&error, OpenError::Misplaced { file: named, .. } if named == file),
            "inspect, {file}: {error}"
        );
        assert!(contents(&disk) == before, "{file}: the refused start has changed the folder");
    }
}

/// All files that a program of format 1 wrote are accepted, although they do not name their folder; new files do.
#[test]
fn a_folder_of_format_1_gets_an_id_and_keeps_its_files() {
    for name in ["stopped", "killed"] {
        let disk = first_format(name);
        let (mut live, ..) = Live::start(&disk, false).unwrap();
        live.append(vec![create("topic/5", 7)]).unwrap();
        live.sync().unwrap();
        live.checkpoint().unwrap();
        drop(live);
        let identity = String::from_utf8(read(&disk, "identity")).unwrap();
        assert!(identity.lines().nth(2).is_some_and(|line| line.starts_with("disk ")), "{identity}");
        Live::start(&disk, false).unwrap();
        assert_eq!(String::from_utf8(read(&disk, "identity")).unwrap(), identity, "the id is unchanged");
        let newest = names(&disk, ".log").pop().unwrap();
        let other = folder(3);
        let foreign = read(&other, "0000000001.log");
        // Replace it by a segment of another folder.
        write(&disk, &newest, &foreign);
        assert!(Live::start(&disk, false).is_err());
    }
}

/// A segment that a program of format 1 wrote names no folder, but its records name the vertex.
#[test]
fn a_segment_of_another_vertex_is_refused_although_its_header_has_no_stamp() {
    use dht_node::entry;
    use dht_node::journal::Stamp;
    use dht_node::journal::format::{Begin, Head, Kind, put_record, segment_header};
    use dht_node::types::{SlotId, Slots, crc32};
    let slot = SlotId::from_low_bits(1, Slots::MOST);
    for is_first in [false, true] {
        let disk = FakeDisk::default();
        claim(&disk, &model::identity(), 1 << 16).unwrap();
        let mut bytes = segment_header(Stamp::NONE, 1, SEGMENT).to_vec();
        let head = Head { kind: Kind::Begin, slot, index: 0, term: 1, synced: 0 };
        put_record(1, head, &mut bytes, |out| Begin::default().encode(out));
        if is_first {
            bytes[8..12].copy_from_slice(&1_u32.to_be_bytes());
            let crc = crc32(&bytes[..28]);
            bytes[28..32].copy_from_slice(&crc.to_be_bytes());
        } else {
            let head = Head { kind: Kind::Entry, index: 1, ..head };
            put_record(1, head, &mut bytes, |out| entry::encode(&mut [create("topic/0", 7)], out));
        }
        bytes.resize(SEGMENT as usize, 0);
        write(&disk, "0000000001.log", &bytes);
        write(&disk, "watermark", &[0; 4160]);
        let error = Live::start_mending(&disk, false, SEGMENT).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("0000000001.log belongs to another node or cluster"), "{error}");
    }
}

/// In a folder of format 2 every file has the stamp of the folder.
#[test]
fn every_file_has_the_stamp_of_its_folder() {
    let disk = folder(1);
    let (mut live, ..) = Live::start(&disk, false).unwrap();
    let topic = model::topic_id(&live.node, "topic/0").unwrap();
    // Half of the records are trimmed, so that a segment is cleaned and there are copies.
    live.append(vec![dht_node::entry::Entry::Trim { topic, first: dht_node::types::Offset(20) }]).unwrap();
    live.sync().unwrap();
    live.checkpoint().unwrap();
    let victims = live.clean(usize::MAX).unwrap();
    assert!(victims.is_some_and(|victims| victims.copied > 0), "{victims:?}");
    live.checkpoint().unwrap();
    drop(live);
    let stamps = disk.files().into_iter().filter_map(|(name, _)| {
        let bytes = read(&disk, &name);
        let at = match () {
            () if name.ends_with(".log") || name.ends_with(".checkpoint") => 20,
            () if name.ends_with(".index") => 28,
            () if name == "watermark" => 40,
            () => return None,
        };
        Some((name, bytes[at..at + 8].to_vec()))
    });
    let stamps: Vec<(String, Vec<u8>)> = stamps.collect();
    let (_, own) = &stamps[0];
    assert!(stamps.len() > 8 && *own != [0; 8], "{stamps:?}");
    for (name, stamp) in &stamps {
        assert!(stamp == own, "{name}: {stamp:?}, not {own:?}");
    }
    assert!(disk.open("identity").unwrap().size().unwrap() > 60);
}
