#![no_main]

#[path = "../entries.rs"]
mod entries;
mod heap;

libfuzzer_sys::fuzz_target!(|input: &[u8]| heap::bounded(0, || entries::run(input)));
