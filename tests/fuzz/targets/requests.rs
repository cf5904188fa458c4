#![no_main]

mod heap;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    heap::bounded(0, || {
        dht_gateway::fuzz::run(input);
        input.len()
    });
});
