//! All decoders of args and payloads, on the args and the payload of one frame.
//!
//! Encoding what a decoder has accepted gives the same bytes, except for parts that decoders ignore on purpose: unknown
//! TLVs, reserved fields, and the end of a text that is too long. Decoding and encoding once more changes nothing.

use bytes::Bytes;
use dht_node::limits::LABEL_MAX;
use dht_node::types::Dimension;
use dht_node::wire::chunks::ChunkBatch;
use dht_node::wire::feed::{self, FeedItem};
use dht_node::wire::field::{Reader, Writer};
use dht_node::wire::push::Span;
use dht_node::wire::raft::RaftItem;
use dht_node::wire::records::{self, Record};
use dht_node::wire::response::Payload;
use dht_node::wire::{Frame, Goaway, Header, Hello, Opcode, Push, Raw, Request, Response};

/// The maximum length of an encoded message; longer ones are decoded, but truncated when they are encoded.
const MESSAGE_MAX: usize = 512;

/// Runs every decoder on the content of a frame, whatever its opcode.
pub(crate) fn check(frame: &Frame<'_>) {
    let (Ok(args), Ok(payload)) = (frame.args(), frame.keep_payload()) else { return };
    check_hello(args);
    check_goaway(frame.header.status, args);
    check_records(&payload, None);
    check_raft(args, &payload);
    let Some(opcode) = Opcode::from_number(frame.header.opcode) else { return };
    check_request(opcode, args, &payload);
    check_response(opcode, &frame.header, args, &payload);
    check_push(opcode, &frame.header, args, &payload);
}

fn check_hello(args: &[u8]) {
    let Ok(hello) = Hello::decode(args) else { return };
    let again = written(|out| hello.encode(out, None));
    // TLVs are accepted in any order, but encoded in a fixed one.
    let has_tlvs = hello.topics.is_some() || hello.topics_known.is_some() || hello.replicas.is_some();
    if args[6..8] == [0; 2] && !has_tlvs {
        assert_only_tlvs_behind(args, &again);
    }
    assert_eq!(Hello::decode(&again), Ok(hello));
}

fn check_goaway(status: u8, args: &[u8]) {
    let Ok(goaway) = Goaway::decode(status, args) else { return };
    let again = written(|out| goaway.encode(out));
    let read = Goaway::decode(goaway.status.number(), &again).expect("encoded args can be decoded");
    assert_eq!(written(|out| read.encode(out)), again);
    if goaway.message.len() <= MESSAGE_MAX {
        assert_only_tlvs_behind(args, &again);
        assert_eq!(read, goaway);
    }
}

/// Nodes do not send RAFT yet, so it has no opcode; its args would begin with the number of items.
fn check_raft(args: &[u8], payload: &Bytes) {
    let Ok(count) = Reader::new(args).u16("count") else { return };
    let Ok(items) = RaftItem::decode_all(payload, count) else { return };
    let again = written(|out| items.iter().for_each(|item| item.encode(out)));
    assert_eq!(again.len(), items.iter().map(RaftItem::encoded_len).sum::<usize>());
    // Items of an unknown kind are left out.
    assert!(items.len() < usize::from(count) || again == *payload);
    let known = u16::try_from(items.len()).expect("at most count");
    assert_eq!(RaftItem::decode_all(&again.into(), known), Ok(items));
}

fn check_request(opcode: Opcode, args: &[u8], payload: &Bytes) {
    let Ok(request) = Request::decode(opcode, args) else { return };
    assert_eq!(request.opcode(), opcode);
    let again = written(|out| request.encode(out));
    // The settings of ALTER are accepted in any order, but encoded in a fixed one.
    if !matches!(request, Request::Alter { .. }) {
        assert_only_tlvs_behind(args, &again);
    }
    assert_eq!(Request::decode(opcode, &again), Ok(request));
    if let Request::Publish(publish) = request {
        check_records(payload, Some(publish.count));
    }
    if let Request::Feed { count, .. } = request
        && let Ok(items) = FeedItem::decode_all(payload, count)
    {
        assert_eq!(written(|out| items.iter().for_each(|item| item.encode(out))), *payload);
    }
    if let Request::Heads(heads) = request
        && let Ok(items) = feed::Head::decode_all(payload, heads.count)
    {
        assert_eq!(written(|out| items.iter().for_each(|item| item.encode(out))), *payload);
    }
}

fn check_response(opcode: Opcode, header: &Header, args: &[u8], payload: &Bytes) {
    let Ok(response) = Response::decode(opcode, header.status, args, payload) else { return };
    let seal =
        |response: &Response, out: &mut Vec<u8>| response.encode(header.opcode, header.request_id, None, out).cloned();
    let sealed = |response: &Response| whole(|out| seal(response, out));
    let (again, payload_again) = sealed(&response);
    let status = response.status();
    let read = Response::decode(opcode, status, &again, &payload_again).expect("encoded args can be decoded");
    assert_eq!(sealed(&read), (again.clone(), payload_again.clone()));
    let (is_whole, is_in_order) = match &response {
        Response::Error(error) => (error.message.len() <= MESSAGE_MAX, false),
        Response::Cluster(view) => {
            let mut addresses = view.links.iter().map(|link| &link.address).chain([&view.address]);
            (addresses.all(|address| address.len() <= LABEL_MAX), false)
        }
        Response::Nodes(page) => (page.nodes.iter().all(|node| node.address.len() <= LABEL_MAX), false),
        // TLVs are accepted in any order, but encoded in a fixed one.
        Response::Ping { .. } => (true, false),
        Response::Created { description, .. } | Response::Described(description) => {
            (true, description.copies.is_none())
        }
        Response::Deleted { .. }
        | Response::Trimmed { .. }
        | Response::Opened(_)
        | Response::Listed(_)
        | Response::Published(_)
        | Response::Fetched(_)
        | Response::Subscribed(_)
        | Response::Unsubscribed { .. }
        | Response::Traced(_)
        | Response::Stats { .. }
        | Response::Fed(_)
        | Response::Heads { .. }
        | Response::Chunk(_) => (true, true),
    };
    assert!(!is_whole || read == response);
    if is_in_order {
        assert_only_tlvs_behind(args, &again);
    }
    if let Response::Stats { .. } | Response::Listed(_) | Response::Fed(_) | Response::Fetched(_) | Response::Chunk(_) =
        response
    {
        assert_eq!(payload_again, payload, "the payload is unchanged");
    }
    if let Response::Fetched(fetched) = &response {
        check_records(payload, Some(fetched.count));
    }
    if let Response::Chunk(chunk) = response
        && chunk.batches > 0
    {
        let batches = ChunkBatch::decode_all(payload, chunk.batches).expect("they were decoded with the args");
        assert_eq!(written(|out| batches.iter().for_each(|batch| batch.encode(out))), *payload);
    }
}

fn check_push(opcode: Opcode, header: &Header, args: &[u8], payload: &Bytes) {
    let Ok(push) = Push::decode(opcode, header.status, args, payload) else { return };
    assert_eq!(push.opcode(), opcode);
    let (again, payload_again) = whole(|out| push.encode(header.request_id, None, out).cloned());
    let read = Push::decode(opcode, push.status(), &again, &payload_again).expect("encoded args can be decoded");
    match &push {
        Push::Ended(error) => assert!(error.message.len() > MESSAGE_MAX || read == push),
        Push::Deliver(_) | Push::Gap { .. } | Push::Waiting { .. } | Push::Flowing { .. } => {
            assert_only_tlvs_behind(args, &again);
            assert_eq!(read, push);
        }
    }
    if let (Push::Deliver(records), Ok(span)) = (&push, Span::decode(args)) {
        let of_records = Span { topic: records.topic_id, epoch: records.epoch, base: records.base, end: records.end() };
        assert_eq!(span, of_records, "a forwarding node and a reader decode the same span");
    }
}

/// Checks the records of a payload. `count` is their number according to the args; the actual number is tried as well.
fn check_records(payload: &[u8], count: Option<u32>) {
    let (mut again, mut found) = (Vec::new(), 0);
    let is_sound = records::iter(payload).all(|record| {
        let Ok(record) = record else { return false };
        found += 1;
        let start = again.len();
        record.encode(&mut again).expect("not longer than before");
        assert_eq!(Record::decode(&again[start..]), Ok((record.clone(), &[][..])));
        record.headers.iter().for_each(drop);
        true
    });
    for count in [count.unwrap_or(0), found] {
        let expected = is_sound && count > 0 && count == found;
        assert_eq!(records::check(payload, count).is_ok(), expected, "{count} of {found}");
    }
    if is_sound && found > 0 {
        // Empty headers and reserved attributes are decoded, but not encoded.
        assert!(again.len() <= payload.len());
        assert_eq!(records::prefix_len(payload, found), payload.len());
        assert_eq!(records::fit(payload, usize::MAX, u32::MAX), (found, payload.len()));
        let half = payload.len() / 2;
        let (fitting, bytes) = records::fit(payload, half, u32::MAX);
        assert!(bytes <= half && records::prefix_len(payload, fitting) == bytes);
    }
}

/// Returns the args that `encode` writes.
fn written(encode: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut Writer::new(&mut out));
    out
}

/// Returns the args and payload of the frame that `encode` writes, which must be valid.
fn whole(encode: impl FnOnce(&mut Vec<u8>) -> Option<Payload>) -> (Vec<u8>, Bytes) {
    let mut out = Vec::new();
    let payload = encode(&mut out);
    out.extend(payload.into_iter().flat_map(|payload| payload.parts).flatten());
    let header = Header::parse(&out, u32::MAX).expect("a valid header").expect("a complete header");
    let dimension = Dimension::new(0).expect("one node");
    let frame = Frame::parse(header, Raw::Borrowed(&out), dimension).expect("a frame without a route");
    let args = frame.args().expect("its checksum was just made").to_vec();
    (args, frame.keep_payload().expect("its checksum was just made"))
}

/// Checks that the encoded args are the decoded ones, except for unknown TLVs at the end of the latter.
fn assert_only_tlvs_behind(args: &[u8], again: &[u8]) {
    let rest = args.strip_prefix(again).expect("the same fields are the same bytes");
    assert_eq!(Reader::new(rest).end(), Ok(()), "only TLVs are ignored");
}
