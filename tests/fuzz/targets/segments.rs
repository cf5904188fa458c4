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

libfuzzer_sys::fuzz_target!(|input: &[u8]| heap::bounded(|| segments::run(input)));
