#![no_main]

#[path = "../decoders.rs"]
mod decoders;
#[path = "../frames.rs"]
mod frames;
mod heap;

use dht_node::{limits, types, wire}; // where src/net/inbox.rs looks for them

libfuzzer_sys::fuzz_target!(|input: &[u8]| heap::bounded(0, || frames::run(input)));
