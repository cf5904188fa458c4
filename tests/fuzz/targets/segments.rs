#![no_main]

#[path = "../../support/disk.rs"]
#[allow(dead_code)]
mod disk;
mod heap;
#[path = "../../journal/model.rs"]
#[allow(dead_code)]
mod model;
#[path = "../../support/records.rs"]
mod records;
#[path = "../segments.rs"]
mod segments;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let disk = segments::play(input);
    heap::bounded(0, || segments::check(&disk));
});
