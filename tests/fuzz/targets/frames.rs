#![no_main]

#[path = "../decoders.rs"]
mod decoders;
#[path = "../frames.rs"]
mod frames;
mod heap;

use dht_node::{limits, types, wire}; // src/driver/inbox.rs refers to these as crate::…

libfuzzer_sys::fuzz_target!(|input: &[u8]| heap::bounded(0, || frames::run(input)));
