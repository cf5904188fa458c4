//! The few fields of a frame that a bare server reads or rewrites, at fixed positions.
//!
//! The header's checksum is verified for every received frame, and computed again when a field of the header changes. A
//! route section has the size of this protocol's and carries the origin; its own checksum is neither verified nor
//! computed.

use std::ops::Range;

use byteorder::{BigEndian, ByteOrder};
use bytes::Bytes;
use dht_protocol::limits::FRAME_MAX;
use dht_protocol::types::{Epoch, Offset, RequestId, TopicId, crc32};
use dht_protocol::wire::field::Observer;
use dht_protocol::wire::frame::at::{
    ARGS_CRC, ARGS_LEN, FLAGS, HEADER_CRC, LENGTH, OPCODE, PAYLOAD_CRC, REQUEST_ID, ROUTE_LEN,
};
use dht_protocol::wire::inspect::inspect;
use dht_protocol::wire::request::PUBLISH_SEQUENCE;
use dht_protocol::wire::response::{Durability, Fetched, Payload, Published, Run, Subscribed};
use dht_protocol::wire::route::{self, ROUTE_BYTES_MIN};
use dht_protocol::wire::{Flags, FrameError, HEADER_BYTES, Header, Opcode, Push, Response};

use crate::error::Error;

const ROUTE_ORIGIN: Range<usize> = HEADER_BYTES + route::at::ORIGIN.start..HEADER_BYTES + route::at::ORIGIN.end;

/// Where the sequence stands in a PUBLISH of a client.
const SEQUENCE: Range<usize> = HEADER_BYTES + PUBLISH_SEQUENCE.start..HEADER_BYTES + PUBLISH_SEQUENCE.end;

/// Returns the whole frame with a valid header at the start of `input`; `None` while it is incomplete.
pub(crate) fn first(input: &[u8]) -> Result<Option<&[u8]>, Error> {
    let Some(header) = input.get(..HEADER_BYTES) else { return Ok(None) };
    if crc32(&header[..HEADER_CRC.start]) != BigEndian::read_u32(&header[HEADER_CRC]) {
        return Err(FrameError::HeaderCrc.into());
    }
    let length = BigEndian::read_u32(&header[LENGTH]) as usize;
    Ok(input.get(..LENGTH.end + length))
}

/// Returns true if the frame has this opcode.
pub(crate) fn is(frame: &[u8], opcode: Opcode) -> bool {
    frame[OPCODE] == opcode.number()
}

/// Returns the request id.
pub(crate) fn request_id(frame: &[u8]) -> RequestId {
    RequestId(BigEndian::read_u64(&frame[REQUEST_ID]))
}

/// Returns the payload's checksum in the header.
pub(crate) fn payload_crc(frame: &[u8]) -> u32 {
    BigEndian::read_u32(&frame[PAYLOAD_CRC])
}

/// Returns true if it is a response.
pub(crate) fn is_response(frame: &[u8]) -> bool {
    Flags(frame[FLAGS]).has(Flags::RESPONSE)
}

/// Returns true if it has a route section.
pub(crate) fn is_routed(frame: &[u8]) -> bool {
    Flags(frame[FLAGS]).has(Flags::ROUTED)
}

/// Returns the origin, which the relay that received the frame from a client has written.
pub(crate) fn origin(routed: &[u8]) -> u64 {
    BigEndian::read_u64(&routed[ROUTE_ORIGIN])
}

/// Returns the payload after verifying its checksum.
pub(crate) fn payload(frame: &[u8]) -> Result<&[u8], Error> {
    let parts = BigEndian::read_u16(&frame[ARGS_LEN]) + BigEndian::read_u16(&frame[ROUTE_LEN]);
    let payload = frame.get(HEADER_BYTES + usize::from(parts)..).ok_or(Error::Unsupported)?;
    if crc32(payload) == payload_crc(frame) { Ok(payload) } else { Err(Error::Corrupt) }
}

/// Appends a client's frame to `out` in the form for a link.
pub(crate) fn add_route(frame: &[u8], origin: u64, out: &mut Vec<u8>) {
    let (header, body) = frame.split_at(HEADER_BYTES);
    let mut section = [0; ROUTE_BYTES_MIN];
    BigEndian::write_u64(&mut section[route::at::ORIGIN], origin);
    out.extend_from_slice(&with_route_len(header, ROUTE_BYTES_MIN));
    out.extend_from_slice(&section);
    out.extend_from_slice(body);
}

/// Appends a link's frame to `out` in the form for a client.
pub(crate) fn strip_route(routed: &[u8], out: &mut Vec<u8>) {
    let (header, rest) = routed.split_at(HEADER_BYTES);
    out.extend_from_slice(&with_route_len(header, 0));
    out.extend_from_slice(&rest[ROUTE_BYTES_MIN..]);
}

/// Appends the response to a HELLO: the same HELLO.
pub(crate) fn answer_hello(hello: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(hello);
    let header = &mut out[start..start + HEADER_BYTES];
    header[FLAGS] |= Flags::RESPONSE.0;
    seal(header);
}

/// Appends the response to a SUBSCRIBE, with the next record at offset `next`.
pub(crate) fn answer_subscribe(request_id: RequestId, next: u64, out: &mut Vec<u8>) {
    let (topic_id, epoch) = topic();
    let (first, next) = (Offset(0), Offset(next));
    let subscribed = Response::Subscribed(Subscribed { topic_id, epoch, from: next, first, next });
    subscribed.encode(Opcode::Subscribe.number(), request_id, None, out);
}

/// Sets the sequence of a client's PUBLISH.
pub(crate) fn set_sequence(publish: &mut [u8], sequence: u64) {
    BigEndian::write_u64(&mut publish[SEQUENCE], sequence);
    let args_end = HEADER_BYTES + usize::from(BigEndian::read_u16(&publish[ARGS_LEN]));
    let args_crc = crc32(&publish[HEADER_BYTES..args_end]);
    BigEndian::write_u32(&mut publish[ARGS_CRC], args_crc);
    seal(&mut publish[..HEADER_BYTES]);
}

/// Returns the header of the same frame with a route section of that length, or none.
fn with_route_len(header: &[u8], route_len: usize) -> [u8; HEADER_BYTES] {
    let route_len = u16::try_from(route_len).expect("a route section of this protocol is short");
    let mut changed = [0; HEADER_BYTES];
    changed.copy_from_slice(header);
    let length = BigEndian::read_u32(&header[LENGTH]) - u32::from(BigEndian::read_u16(&header[ROUTE_LEN]));
    BigEndian::write_u32(&mut changed[LENGTH], length + u32::from(route_len));
    BigEndian::write_u16(&mut changed[ROUTE_LEN], route_len);
    let flags = Flags(header[FLAGS]);
    changed[FLAGS] = if route_len > 0 { flags.with(Flags::ROUTED) } else { flags.without(Flags::ROUTED) }.0;
    seal(&mut changed);
    changed
}

/// The only topic of a bare server, whatever its name is.
fn topic() -> (TopicId, Epoch) {
    (TopicId::new(1).expect("1 is not 0"), Epoch(1))
}

fn seal(header: &mut [u8]) {
    let crc = crc32(&header[..HEADER_CRC.start]);
    BigEndian::write_u32(&mut header[HEADER_CRC], crc);
}

/// A prepared acknowledgement of PUBLISH, of which only the variable fields remain to be set.
#[derive(Debug)]
pub(crate) struct Ack {
    frame: Vec<u8>,
    /// Where the offset of the record stands.
    base: Range<usize>,
}

impl Ack {
    /// Creates one with this protocol's fields.
    pub(crate) fn new() -> Self {
        let (topic_id, epoch) = topic();
        let published = Response::Published(Published {
            duplicate: false,
            topic_id,
            epoch,
            base: Offset(0),
            count: 1,
            append_us: 0,
            durability: Durability::Memory,
        });
        let mut frame = Vec::new();
        published.encode(Opcode::Publish.number(), RequestId(0), None, &mut frame);
        let [base] = places(&frame, ["base_offset"]);
        Self { frame, base }
    }

    /// Appends the response to `request`, whose record is at offset `base`; with a route if the request had one.
    pub(crate) fn write(&mut self, request: &[u8], base: u64, out: &mut Vec<u8>) {
        let ack = &mut self.frame;
        ack[OPCODE] = request[OPCODE];
        ack[REQUEST_ID].copy_from_slice(&request[REQUEST_ID]);
        BigEndian::write_u64(&mut ack[self.base.clone()], base);
        let args_crc = crc32(&ack[HEADER_BYTES..]);
        BigEndian::write_u32(&mut ack[ARGS_CRC], args_crc);
        let (header, args) = ack.split_at_mut(HEADER_BYTES);
        if is_routed(request) {
            out.extend_from_slice(&with_route_len(header, ROUTE_BYTES_MIN));
            out.extend_from_slice(&request[HEADER_BYTES..][..ROUTE_BYTES_MIN]);
        } else {
            seal(header);
            out.extend_from_slice(header);
        }
        out.extend_from_slice(args);
    }
}

/// A prepared DELIVER without its payload, of which only the variable fields remain to be set.
#[derive(Debug)]
pub(crate) struct Deliver {
    frame: Vec<u8>,
    /// Where `from`, `base_offset`, `count`, `next_offset` and `run_count` stand.
    places: [Range<usize>; 5],
}

impl Deliver {
    /// Creates one with this protocol's fields.
    pub(crate) fn new() -> Self {
        let (topic_id, epoch) = topic();
        let deliver = Push::Deliver(Box::new(Fetched {
            topic_id,
            epoch,
            from: Offset(0),
            base: Offset(0),
            count: 1,
            first: Offset(0),
            next: Offset(1),
            runs: vec![Run { count: 1, append_us: 0 }],
            payload: Payload::default(),
        }));
        let mut frame = Vec::new();
        deliver.encode(RequestId(0), None, &mut frame);
        let places = places(&frame, ["from", "base_offset", "count", "next_offset", "run_count"]);
        Self { frame, places }
    }

    /// Sets the records, the first of which is at offset `base`.
    pub(crate) fn fill(&mut self, base: u64, count: u32, payload: &[u8], payload_crc: u32) {
        let frame = &mut self.frame;
        let [at_from, at_base, at_count, at_next, at_run_count] = self.places.clone();
        BigEndian::write_u64(&mut frame[at_from], base);
        BigEndian::write_u64(&mut frame[at_base], base);
        BigEndian::write_u32(&mut frame[at_count], count);
        BigEndian::write_u64(&mut frame[at_next], base + u64::from(count));
        BigEndian::write_u32(&mut frame[at_run_count], count);
        let length = u32::try_from(frame.len() - LENGTH.end + payload.len()).expect("a turn brings less than 4 GiB");
        BigEndian::write_u32(&mut frame[LENGTH], length);
        BigEndian::write_u32(&mut frame[PAYLOAD_CRC], payload_crc);
        let args_crc = crc32(&frame[HEADER_BYTES..]);
        BigEndian::write_u32(&mut frame[ARGS_CRC], args_crc);
    }

    /// Appends it in the form for that subscription; the payload follows.
    pub(crate) fn write(&mut self, subscription: RequestId, out: &mut Vec<u8>) {
        BigEndian::write_u64(&mut self.frame[REQUEST_ID], subscription.0);
        seal(&mut self.frame[..HEADER_BYTES]);
        out.extend_from_slice(&self.frame);
    }
}

/// Returns where the fields of these names stand in a valid frame without route and payload, as the decoder of the
/// protocol reads them.
fn places<const N: usize>(frame: &[u8], names: [&'static str; N]) -> [Range<usize>; N] {
    let header = Header::parse(frame, FRAME_MAX).ok().flatten().expect("a valid header");
    let opcode = Opcode::from_number(header.opcode).expect("an operation of this protocol");
    let mut read = Places { args: &frame[HEADER_BYTES..], found: Vec::new() };
    inspect(opcode, &header, read.args, &Bytes::new(), &mut read).expect("valid args");
    names.map(|name| {
        let mut found = read.found.iter().filter(|(found, _)| *found == name);
        let (_, range) = found.next().expect("the frame has the field");
        assert!(found.next().is_none(), "{name} occurs twice");
        range.clone()
    })
}

/// Collects the fields that a decoder reads, with their places in the frame.
struct Places<'f> {
    args: &'f [u8],
    found: Vec<(&'static str, Range<usize>)>,
}

impl Observer for Places<'_> {
    fn field(&mut self, name: &'static str, bytes: &[u8]) {
        let start = HEADER_BYTES + bytes.as_ptr().addr() - self.args.as_ptr().addr();
        self.found.push((name, start..start + bytes.len()));
    }

    fn text(&mut self, _: &'static str, _: &[u8], _: &[u8]) {}

    fn tlv(&mut self, _: u8, _: &[u8], _: &[u8], _: bool) {}
}

#[cfg(test)]
mod tests {
    use dht_protocol::types::{Dimension, Sequenced};
    use dht_protocol::wire::{Frame, Raw, Request};

    use super::*;
    use crate::session;

    #[test]
    fn a_relay_removes_the_route_that_it_has_added() {
        let request = session::publish("floor", 7, 1, b"\0\0\0\x02\0x").unwrap();
        let (mut linked, mut back) = (Vec::new(), Vec::new());
        add_route(&request, 0x1234_5678, &mut linked);
        assert_eq!(linked.len(), request.len() + ROUTE_BYTES_MIN);
        assert_eq!(first(&linked).unwrap(), Some(&linked[..]));
        assert_eq!((is_routed(&linked), origin(&linked)), (true, 0x1234_5678));
        assert_eq!(payload(&linked).unwrap(), b"\0\0\0\x02\0x");
        strip_route(&linked, &mut back);
        assert_eq!(back, request);
    }

    #[test]
    fn an_acknowledgement_has_the_id_of_its_request_and_a_route_if_the_request_had_one() {
        let request = session::publish("floor", 7, 1, b"").unwrap();
        let mut linked = Vec::new();
        add_route(&request, 9, &mut linked);
        for (request, length) in [(request, 69), (linked, 69 + ROUTE_BYTES_MIN)] {
            let mut ack = Vec::new();
            Ack::new().write(&request, 3, &mut ack);
            let header = Header::parse(&ack, 1 << 20).unwrap().unwrap();
            assert_eq!((ack.len(), header.frame_len()), (length, length));
            assert_eq!((header.request_id, header.status), (RequestId(7), 0));
            assert_eq!(is_routed(&ack), is_routed(&request));
        }
    }

    #[test]
    fn a_deliver_frame_is_valid_in_the_protocol() {
        let records = b"\0\0\0\x02\0x\0\0\0\x02\0y";
        let mut deliver = Deliver::new();
        deliver.fill(5, 2, records, crc32(records));
        for subscription in [1, 9].map(RequestId) {
            let mut bytes = Vec::new();
            deliver.write(subscription, &mut bytes);
            bytes.extend_from_slice(records);
            let header = Header::parse(&bytes, 1 << 20).unwrap().unwrap();
            assert_eq!((header.request_id, header.frame_len()), (subscription, bytes.len()));
            let frame = Frame::parse(header, Raw::Borrowed(&bytes), Dimension::new(0).unwrap()).unwrap();
            let payload = Bytes::copy_from_slice(payload(&bytes).unwrap());
            let push = Push::decode(Opcode::Deliver, 0, frame.args().unwrap(), &payload).unwrap();
            let Push::Deliver(fetched) = push else { panic!("{push:?}") };
            assert_eq!((fetched.from, fetched.base, fetched.count, fetched.next), (Offset(5), Offset(5), 2, Offset(7)));
        }
    }

    #[test]
    fn a_sequence_is_set_as_if_it_had_been_encoded() {
        let producer = session::new_producer();
        let mut bytes = session::publish_by(Some(producer), "floor", 7, 1, b"\0\0\0\x02\0x").unwrap();
        set_sequence(&mut bytes, 1 << 40);
        let header = Header::parse(&bytes, 1 << 20).unwrap().unwrap();
        let frame = Frame::parse(header, Raw::Borrowed(&bytes), Dimension::new(0).unwrap()).unwrap();
        let request = Request::decode(Opcode::Publish, frame.args().unwrap()).unwrap();
        let Request::Publish(publish) = request else { panic!("{request:?}") };
        assert_eq!(publish.producer, Some(Sequenced { producer, epoch: 0, sequence: 1 << 40 }));
    }

    #[test]
    fn a_damaged_frame_is_detected() {
        let request = session::publish("floor", 7, 1, b"\0\0\0\x02\0x").unwrap();
        for (at, in_header) in [(20, true), (request.len() - 1, false)] {
            let mut damaged = request.clone();
            damaged[at] ^= 1;
            assert_eq!(first(&damaged).is_err(), in_header);
            assert!(payload(&damaged).is_err() || in_header);
        }
        assert_eq!(first(&request[..request.len() - 1]).unwrap(), None);
    }
}
