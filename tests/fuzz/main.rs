//! Runs the fuzz targets on a few thousand inputs from fixed seeds. With `scripts/fuzz.sh`, libFuzzer chooses the
//! inputs.
//!
//! A target is a function of bytes that panics if it finds an error. `targets/` has the few lines that pass it to
//! libFuzzer; they and `Cargo.toml` are not part of the project's workspace.

mod decoders;
#[path = "../support/disk.rs"]
#[expect(dead_code, reason = "the simulator uses the rest")]
mod disk;
mod entries;
mod frames;
#[expect(dead_code, reason = "the test of the replica uses the rest")]
mod members;
#[path = "../journal/model.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "the test of the journal uses the rest; an unexpected result fails the test"
)]
mod model;
#[path = "../support/records.rs"]
mod records;
mod segments;

use dht_node::{limits, types, wire}; // src/driver/inbox.rs refers to these as crate::…
use fastrand::Rng;

/// Returns the bytes after `hex:` in a file of vectors.
fn vectors(text: &str) -> Vec<Vec<u8>> {
    let digits = text.lines().filter_map(|line| line.strip_prefix("hex: "));
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal");
    digits.map(|digits| digits.as_bytes().chunks(2).map(byte).collect()).collect()
}

/// Makes up to four random changes, mostly small ones.
fn change(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.usize(..5) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.usize(..bytes.len());
        match rng.u8(..8) {
            0..3 => bytes[at] ^= 1 << rng.u8(..8),
            3 => bytes[at] = rng.u8(..),
            4 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.usize(..5)],
            5 => bytes.truncate(at),
            6 => drop(bytes.remove(at)),
            _ => bytes.insert(at, rng.u8(..)),
        }
    }
}

#[test]
fn any_stream_gives_the_same_frames_wherever_it_is_cut_and_decoding_them_is_consistent() {
    let mut good = vectors(include_str!("../vectors/good.txt"));
    good.extend(vectors(include_str!("../vectors/bad.txt")));
    good.extend(vectors(include_str!("../vectors/routing.txt")));
    assert!(good.len() > 100, "{} vectors", good.len());
    let mut rng = Rng::with_seed(1);
    for _ in 0..20_000 {
        let control = if rng.u8(..4) == 0 { rng.u8(..) } else { 0x13 | rng.u8(..) & 0x60 };
        let mut input = vec![control, rng.u8(..), rng.u8(..)];
        for _ in 0..rng.usize(1..4) {
            let mut frame = good[rng.usize(..good.len())].clone();
            change(&mut frame, &mut rng);
            input.extend(frame);
        }
        frames::run(&input);
    }
}

#[test]
fn any_record_body_is_refused_or_its_entries_are_unchanged_by_a_round_trip() {
    let mut rng = Rng::with_seed(1);
    for _ in 0..50_000 {
        let mut body = vec![0; 8];
        for _ in 0..rng.usize(..40) {
            let tag = [1, 2, 3, 4, 5, 0x42, 0x43, 0x83, 0xc3][rng.usize(..9)];
            body.push(tag);
            body.extend((0..rng.usize(..60)).map(|_| if rng.bool() { rng.u8(..4) } else { rng.u8(..) }));
        }
        change(&mut body, &mut rng);
        entries::run(&body);
    }
}

#[test]
fn any_messages_leave_the_members_of_a_group_without_a_panic() {
    let mut rng = Rng::with_seed(1);
    for _ in 0..2_000 {
        let bytes = rng.usize(..2_000);
        let script: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(bytes).collect();
        members::run(&script);
    }
}

#[test]
fn any_folder_is_refused_and_left_unchanged_or_read_the_same_by_the_next_start() {
    let mut rng = Rng::with_seed(1);
    for _ in 0..2000 {
        let steps = rng.usize(..200);
        let script: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(steps).collect();
        segments::check(&segments::play(&script));
    }
}
