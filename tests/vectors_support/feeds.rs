//! The frames of `good.txt` that nodes send each other about subscriptions, each as it arrives: 110 is the home of
//! "orders", 000 and 011 have subscribers.

use bytes::Bytes;
use dht_node::types::{Epoch, Link, LinkSet, NodeId, NodeSet, Offset, SlotId, Slots, TopicId};
use dht_node::wire::chunks::{Chunk, ChunkBatch, Chunks};
use dht_node::wire::feed::{Fed, FedList, FeedItem, Head, Heads};
use dht_node::wire::field::Writer;
use dht_node::wire::raft::{self, LogEntry, MemberId, Message, RaftItem};
use dht_node::wire::response::{Detail, ErrorResponse, Payload};
use dht_node::wire::{Flags, Kind, Opcode, Origin, Push, Request, Response, Route, Status, TrafficClass};

use super::frames::{ORDERS, because, error, name, request, response, state};
use super::good::{Content, Good};
use super::routing::cube;
use super::subscriptions::{push, records};

pub(crate) const INGRESS: u16 = 0b000;
/// The home, and its slot.
pub(crate) const HOME: u16 = 0b110;

/// The number of a FEED.
const VERSION: u64 = 17;

pub(crate) fn all() -> Vec<Good> {
    [feed(), heads(), pushes(), raft(), chunks()].into_iter().flatten().collect()
}

/// The section of a control frame between two nodes, at its end.
fn control(source: u16, target: u16) -> Option<Route> {
    let hops = u16::try_from((source ^ target).count_ones()).expect("at most 3");
    Some(Route { class: TrafficClass::Control, ..straight(source, target, hops) })
}

/// The section of a frame that met no dead link.
pub(crate) fn straight(source: u16, target: u16, hops: u16) -> Route {
    let node = |id| NodeId::new(id, cube(3)).expect("of eight");
    Route {
        source: node(source),
        target: node(target),
        ttl: 64 - hops,
        hops,
        kind: Kind::Node,
        class: TrafficClass::Bulk,
        dimension: cube(3),
        origin: Origin::from_number(0),
        down: LinkSet::new(),
        targets: NodeSet::new(),
    }
}

/// The section of a frame of the home for many.
pub(crate) fn multicast(targets: &[u16], hops: u16) -> Route {
    let targets = targets.iter().map(|id| NodeId::new(*id, cube(3)).expect("of eight")).collect();
    Route { kind: Kind::Multicast, targets, ..straight(HOME, HOME, hops) }
}

fn other() -> TopicId {
    TopicId::new(0x77).expect("not 0")
}

fn listed<T>(request: Good, items: &[T], encode: impl Fn(&T, &mut Writer<'_>)) -> Good {
    let mut payload = vec![];
    items.iter().for_each(|item| encode(item, &mut Writer::new(&mut payload)));
    let Content::Request(content, _) = request.content else { panic!("{request:?}") };
    Good { content: Content::Request(content, payload), ..request }
}

fn feed() -> Vec<Good> {
    let follows = FeedItem {
        topic: state().id,
        epoch: Epoch(1),
        push: true,
        subscribers: 2,
        slowest: Some(Offset(1217)),
        name: Some(name("orders")),
    };
    let paused = FeedItem { push: false, ..follows };
    let at_end = FeedItem { slowest: None, ..follows };
    let ends = FeedItem { topic: other(), epoch: Epoch(0), push: false, subscribers: 0, slowest: None, name: None };
    let fed =
        Fed { topic: state().id, status: Status::Ok.number(), epoch: Epoch(1), next: Offset(1234), successor: None };
    let ended = Fed { topic: other(), status: Status::Ok.number(), epoch: Epoch(0), next: Offset(0), successor: None };
    let gone = Fed { status: Status::UnknownTopic.number(), topic: state().id, ..ended };
    let again = Fed { status: Status::Recreated.number(), successor: Some(other()), ..gone };
    let asks = |name, what, reset, items: &[FeedItem<'static>]| {
        let count = u16::try_from(items.len()).expect("few");
        let request =
            request(name, what, VERSION, Request::Feed { slot: HOME, instance: 0x5EED_0000_0000_0001, reset, count });
        Good { route: control(INGRESS, HOME), ..listed(request, items, FeedItem::encode) }
    };
    let answers = |name, what, items: Vec<Fed>| {
        let list = FedList { slot: HOME, term: 3, instance: 0x5EED_0000_0000_0006, counter: 40, items };
        let answer = response(name, what, VERSION, Opcode::Feed, Response::Fed(list));
        Good { route: control(HOME, INGRESS), ..answer }
    };
    vec![
        asks(
            "feed-request",
            "000 has two subscribers of orders, the slowest at 1217, and none of another topic any more.",
            false,
            &[follows, ends],
        ),
        answers(
            "feed-response",
            "110 pushes orders, whose next record is 1234, and no more the other one.",
            vec![fed, ended],
        ),
        Good {
            route: control(0b100, INGRESS),
            ..error(
                "feed-error",
                "100 has no way to 110 left.",
                VERSION,
                Opcode::Feed,
                unreachable(&[(2, 6), (4, 6), (4, 5)]),
            )
        },
        asks("feed-request-paused", "Nobody is near the end: no pushes for now.", false, &[paused]),
        asks("feed-request-reset", "All that 000 wants of 110; nobody is behind.", true, &[at_end]),
        answers(
            "feed-response-gone",
            "There is no such topic; the other one was deleted and made again.",
            vec![gone, again],
        ),
    ]
}

/// What 100 says when its ways on are down.
fn unreachable(links: &[(u16, u16)]) -> ErrorResponse {
    let details = [Detail::Node(0b100), Detail::Hops(1), Detail::Links(links.to_vec())];
    let error = because(Status::Unreachable, "no path to node 110 is left", &details);
    ErrorResponse { retry_after_ms: 100, ..error }
}

fn heads() -> Vec<Good> {
    let digest = ORDERS ^ 0x99;
    let heads = Heads { slot: HOME, term: 3, instance: 0xA5A5_0000_0000_0006, counter: 41, feeds: 2, digest, count: 2 };
    let head = Head { topic: state().id, epoch: Epoch(1), next: Offset(1236) };
    let gone = Head { topic: other(), epoch: Epoch(0), next: Offset(0) };
    let tells = |name, what, heads, items: &[Head]| {
        let request = request(name, what, 0, Request::Heads(heads));
        Good { route: control(HOME, INGRESS), ..listed(request, items, Head::encode) }
    };
    let answer = Response::Heads { slot: HOME, counter: heads.counter };
    let answer = response("heads-response", "000 has read it.", 0, Opcode::Heads, answer);
    let details = [Detail::Node(INGRESS)];
    let ending = because(Status::ShuttingDown, "node 000 is shutting down", &details);
    let back = |good| Good { route: control(INGRESS, HOME), ..good };
    vec![
        tells("heads-request", "110 tells 000: orders ends before 1236, another topic is gone.", heads, &[head, gone]),
        back(answer),
        back(error("heads-error", "000 is ending.", 0, Opcode::Heads, ending)),
        tells("heads-request-idle", "A second later nothing is new.", Heads { counter: 42, count: 0, ..heads }, &[]),
    ]
}

fn raft() -> Vec<Good> {
    let message = |from, to, payload: raft::Payload| RaftItem {
        slot: SlotId::new(HOME, Slots::MOST).expect("below 1024"),
        message: Message { from: member(from), to: member(to), term: 7, founding: 1 << 32 | 0x5ba1_c3e7, payload },
    };
    let tells = |name, what, route, item: RaftItem| {
        let request = request(name, what, 0, Request::Raft { count: 1 });
        Good { route: Some(route), flags: Flags::ONEWAY, ..listed(request, &[item], RaftItem::encode) }
    };
    let entries = vec![LogEntry { index: 41, term: 7, body: Bytes::from_static(b"body") }];
    let append = raft::Payload::Append { index: 40, log_term: 6, commit: 40, entries };
    let between_neighbours = |node, to: u16| {
        let home = |bit| Link::new(NodeId::new(node, cube(3)).expect("of eight"), bit);
        let mut down = LinkSet::new();
        down.insert(home(0));
        Route { class: TrafficClass::Control, down, ..straight(node, to, 2) }
    };
    vec![
        tells(
            "raft-request",
            "110 leads the group of its slot, and sends its neighbour 111 an entry.",
            straight(HOME, 0b111, 1),
            message(7, 8, append),
        ),
        tells(
            "raft-request-around",
            "111 leads after 110 has died, and tells 100; its frame does not go over 110.",
            between_neighbours(0b111, 0b100),
            message(8, 5, raft::Payload::Heartbeat { commit: 40, context: 0 }),
        ),
        Good {
            route: control(0b111, HOME),
            ..error(
                "raft-error",
                "It lacked the flag ONEWAY.",
                0,
                Opcode::Raft,
                because(Status::BadRequest, "RAFT has no answer", &[]),
            )
        },
    ]
}

fn chunks() -> Vec<Good> {
    let asks = |name, what, index, topic, from| {
        let request = request(name, what, 0, Request::Chunks(Chunks { slot: HOME, index, topic, from }));
        Good { route: Some(straight(0b111, HOME, 1)), ..request }
    };
    let part = |from, batches, payload: Vec<Bytes>| {
        let payload = Payload { parts: payload, crc: None };
        Response::Chunk(Box::new(Chunk { slot: HOME, index: 40, term: 6, length: 9, from, batches, payload }))
    };
    let answers = |name, what, chunk| {
        let answer = response(name, what, 0, Opcode::Chunks, chunk);
        Good { route: Some(straight(HOME, 0b111, 1)), ..answer }
    };
    let found = records();
    let records = Bytes::from(found.payload.parts.concat());
    let mut payload = Vec::new();
    let mut at = 0;
    for length in lengths(&records) {
        let next = at + length as usize;
        let append_us = found.runs[0].append_us;
        let batch = ChunkBatch { count: 1, append_us, records: records.slice(at..next) };
        batch.encode(&mut Writer::new(&mut payload));
        at = next;
    }
    vec![
        asks("chunks-request", "111 copies the records of orders that it does not have.", 40, Some(state().id), 1234),
        answers("chunks-response", "Two batches of one record each.", part(1234, 2, vec![payload.into()])),
        Good {
            route: Some(straight(HOME, 0b111, 1)),
            ..error(
                "chunks-error",
                "110 does not lead the group any more.",
                0,
                Opcode::Chunks,
                because(Status::NotLeader, "node 110 does not lead this slot", &[Detail::Node(0b111)]),
            )
        },
        asks("chunks-request-state", "111 begins to copy the state of the group.", 0, None, 0),
        answers(
            "chunks-response-state",
            "The whole state, up to entry 40.",
            part(0, 0, vec![Bytes::from_static(b"the state")]),
        ),
        // A decoder gets the empty payload as a part.
        answers("chunks-response-gap", "The records before 1300 are removed.", part(1300, 0, vec![Bytes::new()])),
    ]
}

/// The lengths of records that are encoded back to back.
fn lengths(payload: &[u8]) -> Vec<u32> {
    let mut rest = payload;
    let mut lengths = vec![];
    while let Some((length, _)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) + 4;
        lengths.push(length);
        rest = &rest[length as usize..];
    }
    lengths
}

fn member(number: u64) -> MemberId {
    MemberId::new(number).expect("not 0")
}

fn pushes() -> Vec<Good> {
    let deliver = || Push::Deliver(Box::new(records()));
    let many = Some(multicast(&[0b000, 0b011], 1));
    let gone = because(Status::UnknownTopic, "orders was deleted", &[Detail::Node(HOME)]);
    let deleted = push("event-link", "110 has deleted orders.", ORDERS, Push::Ended(Box::new(gone)));
    let control = multicast(&[0b000, 0b011], 1);
    vec![
        Good { route: many, ..push("deliver-link", "The same records, from 110 for 000 and 011.", ORDERS, deliver()) },
        Good {
            route: Some(straight(HOME, 0b011, 2)),
            ..push("deliver-link-single", "For 011 alone, because a link was down.", ORDERS, deliver())
        },
        Good { route: Some(Route { class: TrafficClass::Control, ..control }), ..deleted },
    ]
}
