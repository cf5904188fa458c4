//! The largest frames across the whole cube, and requests that exceed the limit.

use dht_client::{Batch, Retention};
use dht_node::limits::{FRAME_MAX_LEAST, PAYLOAD_MAX};
use dht_node::wire::response::Detail;
use dht_node::wire::{Hello, Response, Status};

use crate::cube::Cube;
use crate::raw::{Raw, client_hello, request_frame};
use crate::requests::{create, fetch, fetched, publish, published, record};

/// Bytes of a record in addition to its value.
const RECORD_BYTES: usize = 5;

#[test]
fn the_largest_batch_crosses_three_hops_and_back_unchanged() {
    let cube = Cube::start(3);
    let topic = cube.topic_at(7, "largest");
    let mut random = fastrand::Rng::with_seed(7);
    let value: Vec<u8> = (0..Batch::BYTES_MAX - RECORD_BYTES).map(|_| random.u8(..)).collect();
    let batch = Batch::of(&value);
    assert_eq!(batch.payload().len(), PAYLOAD_MAX as usize);
    let mut client = cube.client(0);
    client.create(&topic, Retention::default()).unwrap();
    for offset in 0..3 {
        assert_eq!(client.publish(&topic, &batch).unwrap().base.0, offset);
    }
    // Compare all bytes, read through the home itself and through nodes one, two and three hops away.
    for node in [0, 4, 5, 7] {
        let mut raw = Raw::greet(cube.address(node));
        for offset in 0..3 {
            assert!(fetched(&raw.call(&fetch(&topic, offset, 0), &[])) == batch.payload(), "{offset} through {node}");
        }
    }
}

#[test]
fn a_batch_that_is_one_byte_too_large_is_refused_and_the_connection_stays_open() {
    let cube = Cube::start(3);
    let topic = cube.topic_at(7, "too-large");
    for node in [0, 7] {
        let mut raw = Raw::greet(cube.address(node));
        raw.call(&create(&topic), &[]);
        let batch = record(&vec![1; PAYLOAD_MAX as usize + 1 - RECORD_BYTES]);
        let id = raw.next_id();
        raw.send(&request_frame(id, &publish(&topic, 1), &batch));
        let (status, error) = raw.frame().error();
        assert_eq!(status, Status::TooLarge, "{error:?}");
        assert_eq!(error.details, [Detail::Limit(u64::from(PAYLOAD_MAX))]);
        assert!(error.message.contains(&PAYLOAD_MAX.to_string()), "{error:?}");
        raw.ping();
    }
}

#[test]
fn a_client_with_small_frames_learns_the_size_of_a_too_large_record_and_reads_the_others() {
    let cube = Cube::start(1);
    for home in [0, 1] {
        let topic = cube.topic_at(home, "small-frames");
        let mut other = Raw::greet(cube.address(1));
        other.call(&create(&topic), &[]);
        let (small, large) = (record(&vec![2; 10 << 10]), record(&vec![3; 100 << 10]));
        for (offset, batch) in (0..).zip([&small, &large, &small]) {
            assert_eq!(published(&other.call(&publish(&topic, 1), batch)), offset);
        }
        let hello = Hello { max_frame: FRAME_MAX_LEAST, ..client_hello() };
        let mut raw = Raw::greet_as(cube.address(0), &hello);
        let refused = raw.call(&fetch(&topic, 1, 0), &[]);
        let Response::Error(error) = refused else { panic!("{refused:?}") };
        assert_eq!(error.status, Status::TooLarge.number(), "{error:?}");
        let needed =
            error.details.iter().find_map(|detail| if let Detail::Limit(n) = detail { Some(*n) } else { None });
        let range = large.len() as u64..large.len() as u64 + 4096 + 1;
        assert!(range.contains(&needed.unwrap()), "{error:?}");
        for offset in [0, 2] {
            assert_eq!(fetched(&raw.call(&fetch(&topic, offset, 1), &[])), &small);
        }
    }
}

#[test]
fn a_client_with_small_frames_reads_as_many_records_at_once_as_fit() {
    let cube = Cube::start(1);
    for home in [0, 1] {
        let topic = cube.topic_at(home, "many-small");
        let mut raw = Raw::greet_as(cube.address(0), &Hello { max_frame: FRAME_MAX_LEAST, ..client_hello() });
        raw.call(&create(&topic), &[]);
        let batch = record(&vec![4; 10 << 10]);
        for offset in 0..10 {
            assert_eq!(published(&raw.call(&publish(&topic, 1), &batch)), offset);
        }
        let mut offset = 0;
        while offset < 10 {
            let answer = raw.call(&fetch(&topic, offset, 0), &[]);
            let Response::Fetched(read) = answer else { panic!("{answer:?}") };
            assert!(read.base.0 == offset && read.count > 0, "{read:?}");
            offset += u64::from(read.count);
        }
    }
}
