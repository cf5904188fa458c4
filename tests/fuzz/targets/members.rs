#![no_main]

mod heap;
#[path = "../members.rs"]
#[allow(dead_code)]
mod members;

libfuzzer_sys::fuzz_target!(|input: &[u8]| heap::bounded(64 << 20, || members::run(input)));
