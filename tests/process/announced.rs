//! A node does not allocate memory for a frame's length before the bytes arrive.

use dht_node::limits::FRAME_MAX;
use dht_node::wire::Status;

use crate::cube::Cube;
use crate::raw::{Raw, client_hello, hello_frame, ping_frame, request_frame};
use crate::requests::{create, publish, record};

const CLIENTS: usize = 200;

#[test]
fn a_frame_of_four_gigabytes_is_refused_by_its_header_without_allocating_memory() {
    let mut cube = Cube::start(0);
    let mut bystander = Raw::greet(cube.address(0));
    let (before_kib, _) = cube.daemon(0).memory_kib();
    for length in [u32::MAX, 1 << 31, FRAME_MAX + 1 - 4] {
        let mut raw = Raw::greet(cube.address(0));
        raw.send(&announce(&ping_frame(2), length));
        assert_eq!(raw.goaway(), Status::FrameTooLarge, "{length} after HELLO");
    }
    for length in [u32::MAX, 1 << 20, 1024 + 1 - 4] {
        let mut raw = Raw::connect(cube.address(0));
        raw.send(&announce(&hello_frame(&client_hello()), length));
        assert_eq!(raw.goaway(), Status::FrameTooLarge, "{length} before HELLO");
    }
    bystander.ping();
    let (_, peak_kib) = cube.daemon(0).memory_kib();
    assert!(peak_kib < before_kib + 4096, "{before_kib} KiB before, {peak_kib} KiB at most");
}

#[test]
fn no_memory_is_reserved_for_announced_bytes_that_do_not_arrive() {
    let mut cube = Cube::start(0);
    let mut bystander = Raw::greet(cube.address(0));
    bystander.call(&create("announced"), &[]);
    let whole = request_frame(2, &publish("announced", 1), &record(&vec![0; 1 << 10]));
    let announced = announce(&whole, FRAME_MAX - 4);
    let (before_kib, _) = cube.daemon(0).memory_kib();
    let mut held: Vec<Raw> = (0..CLIENTS).map(|_| Raw::greet(cube.address(0))).collect();
    // In two pieces, so that the node knows the announced length when the second piece arrives.
    for piece in [&announced[..100], &announced[100..]] {
        held.iter_mut().for_each(|raw| raw.send(piece));
        bystander.ping();
    }
    let (now_kib, _) = cube.daemon(0).memory_kib();
    let each_kib = now_kib.saturating_sub(before_kib) / CLIENTS as u64;
    assert!(each_kib < 128, "{each_kib} KiB for each client that announced 1 MiB and sent 1 KiB");
    bystander.call(&publish("announced", 1), &record(b"others are served"));
    drop(held);
    bystander.ping();
}

/// Sets another length in the header of a frame; its checksum stays valid.
fn announce(frame: &[u8], length: u32) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    let sum = crc32fast::hash(&bytes[..32]);
    bytes[32..36].copy_from_slice(&sum.to_be_bytes());
    bytes
}
