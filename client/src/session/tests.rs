//! Tests without sockets: bytes and times in, bytes and results out.

mod channel;
mod cluster;
mod publisher;
mod streams;

use std::time::{Duration, Instant};

use dht_protocol::types::{Dimension, RequestId};
use dht_protocol::wire::hello::NO_NODE;
use dht_protocol::wire::{Flags, Frame, Goaway, Head, Header, Hello, Opcode, Raw, Request, Response, Role, Status};

use super::buffers::Buffers;
use super::channel::Channel;
use super::handshake::{Greeting, Introduction};

const SEED: u64 = 7;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn greeting(start: Instant) -> Greeting {
    Greeting::new("node".to_owned(), &Introduction::default(), SEED, start)
}

/// Returns the channel of a new connection to node 0, all of whose output was sent.
fn channel(start: Instant) -> Channel {
    let mut greeting = greeting(start);
    let hello = sent(greeting.bytes(), start);
    arrive(greeting.bytes(), &hello_answer(&hello, Status::Ok), start);
    let agreed = greeting.poll(start).unwrap().expect("it was answered");
    greeting.open(agreed, start)
}

/// Passes bytes as if they were read.
fn arrive(bytes: &mut Buffers, input: &[u8], now: Instant) {
    bytes.room().unwrap()[..input.len()].copy_from_slice(input);
    bytes.on_read(input.len(), now);
}

/// Takes all output as if it was sent.
fn sent(bytes: &mut Buffers, now: Instant) -> Vec<u8> {
    let output = bytes.output().to_vec();
    bytes.on_written(output.len(), false, now);
    output
}

/// Returns the opcodes of frames.
fn opcodes(mut frames: &[u8]) -> Vec<Opcode> {
    let mut opcodes = Vec::new();
    while let Some(header) = Header::parse(frames, 1 << 20).unwrap() {
        opcodes.push(Opcode::from_number(header.opcode).unwrap());
        frames = &frames[header.frame_len()..];
    }
    opcodes
}

fn frame(opcode: Opcode, flags: Flags, status: Status, id: u64, args: &[u8]) -> Vec<u8> {
    let head = Head { opcode: opcode.number(), flags, status: status.number(), request_id: RequestId(id) };
    let mut out = Vec::new();
    head.seal(None, (0, 0), &mut out, |writer| {
        args.iter().for_each(|byte| {
            writer.u8(*byte);
        });
    });
    out
}

/// Returns the response to a HELLO, as of node 0 of a cube of three dimensions.
fn hello_answer(hello: &[u8], status: Status) -> Vec<u8> {
    let header = Header::parse(hello, 1 << 20).unwrap().unwrap();
    let asked = Frame::parse(header, Raw::Borrowed(hello), Dimension::new(0).unwrap()).unwrap();
    let asked = Hello::decode(asked.args().unwrap()).unwrap();
    let answer = Hello { role: Role::Node, dimension: 3, node: 0, max_inflight: 1024, ..asked };
    let head =
        Head { opcode: header.opcode, flags: Flags::RESPONSE, status: status.number(), request_id: header.request_id };
    let mut out = Vec::new();
    head.seal(None, (0, 0), &mut out, |args| answer.encode(args, None));
    out
}

fn goaway(last_request_id: u64, message: &str) -> Vec<u8> {
    let goaway = Goaway { status: Status::Closing, last_request_id, message: message.to_owned() };
    let status = Status::Closing.number();
    let head = Head { opcode: Opcode::Goaway.number(), flags: Flags::ONEWAY, status, request_id: RequestId(0) };
    let mut out = Vec::new();
    head.seal(None, (0, 0), &mut out, |args| goaway.encode(args));
    out
}

fn pong(id: RequestId) -> Vec<u8> {
    let mut out = Vec::new();
    let response = Response::Ping { node: 0, token: 1, wall_us: None, topics: None };
    response.encode(Opcode::Ping.number(), id, None, &mut out);
    out
}

fn ping() -> Request<'static> {
    Request::Ping { node: NO_NODE, token: 1 }
}
