#![no_main]

#[path = "../../support/disk.rs"]
#[allow(dead_code)]
mod disk;
mod heap;
#[path = "../../journal/model.rs"]
#[allow(dead_code)]
mod model;
#[path = "../segments.rs"]
mod segments;

/// A checkpoint's number of topics is believed up to TOPICS_MAX, whatever follows. Not as it should be; when it is,
/// this goes.
const BELIEVED: usize = 512 << 20;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let disk = segments::play(input);
    heap::bounded(BELIEVED, || segments::check(&disk));
});
