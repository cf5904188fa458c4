//! The vectors of `routing.txt`: homes, places of links, steps, journeys, splits, and frames before and after a hop.

use dht_node::cube::{NextHop, hops_limit, next_hop, route, route_back, split};
use dht_node::limits::FRAME_MAX;
use dht_node::types::{Dimension, Link, LinkSet, NodeId, NodeSet, RequestId, TopicName};
use dht_node::wire::request::TraceTarget;
use dht_node::wire::response::{Detail, ErrorResponse};
use dht_node::wire::route::ROUTE_BYTES_MIN;
use dht_node::wire::{
    Flags, Frame, HEADER_BYTES, Head, Header, Kind, Origin, Raw, Request, Response, Route, Status, TrafficClass,
};

use super::feeds::straight;
use super::frames::name;
use super::good::{Content, Good};
use super::multicast;
use super::text::{Entry, hex};

/// All of them, in the order of the file.
pub(crate) fn all(good: &[Good]) -> Vec<Entry> {
    let groups = [homes(), places(), sets(), steps(), journeys(), splits(), hops(good), multicast::all(good)];
    groups.into_iter().flatten().collect()
}

pub(crate) fn cube(bits: u8) -> Dimension {
    Dimension::new(bits).expect("at most 10")
}

pub(crate) fn node(id: u16, dimension: Dimension) -> NodeId {
    NodeId::new(id, dimension).expect("a node of the cube")
}

fn homes() -> Vec<Entry> {
    let longest = "x".repeat(249);
    let names = [
        "a",
        "A",
        "_",
        "topic-1",
        "topic-2",
        "orders",
        "dht/meta",
        "logs.app_1",
        "123456789",
        "metrics.cpu-0",
        "sensors/kitchen/temperature",
        "first-client",
        &longest,
    ];
    let entry = |topic: &str| {
        let checked = TopicName::new(topic).expect("a good name");
        let crc = crc32fast::hash(topic.as_bytes());
        let entry = Entry::new(&format!("home-{topic}")).with("kind", "home").with("topic", topic);
        let entry = entry.with("crc", format!("0x{crc:08x}"));
        [0, 1, 2, 3, 4, 10].into_iter().fold(entry, |entry, bits| {
            entry.with(&format!("d{bits}"), dht_node::cube::home(checked, cube(bits)).index().to_string())
        })
    };
    names.into_iter().map(entry).collect()
}

/// The links of a small cube in the order of their places.
fn places() -> Vec<Entry> {
    let entry = |bits: u8, place: u16| {
        let mut word = vec![0u64; usize::from(place / 64) + 1];
        word[usize::from(place / 64)] = 1 << (place % 64);
        let set = LinkSet::from_words(word, cube(bits)).expect("a place of the cube");
        let entry = Entry::new(&format!("place-d{bits}-{place}")).with("kind", "place");
        entry.with("dimension", bits.to_string()).with("place", place.to_string()).with("link", links(&set))
    };
    let small = (0..12).map(|place| entry(3, place));
    small
        .chain(
            [(2, 0), (2, 3), (4, 11), (4, 12), (4, 31), (5, 63), (5, 64), (10, 64), (10, 5119)]
                .map(|(bits, place)| entry(bits, place)),
        )
        .collect()
}

fn sets() -> Vec<Entry> {
    type Case = (&'static str, u8, &'static [(u16, u16)]);
    let cases: [Case; 4] = [
        ("set-empty", 3, &[]),
        ("set-three", 3, &[(0, 1), (0, 4), (3, 7)]),
        ("set-two-words", 5, &[(0, 16), (0, 1)]),
        ("set-largest", 10, &[(511, 1023)]),
    ];
    let entry = |(name, bits, ends): Case| {
        let set = link_set(ends, cube(bits));
        let words: Vec<u8> = set.words().iter().flat_map(|word| word.to_be_bytes()).collect();
        let entry = Entry::new(name).with("kind", "link-set").with("dimension", bits.to_string());
        entry.with("links", links(&set)).with("hex", hex(&words))
    };
    cases.into_iter().map(entry).collect()
}

fn steps() -> Vec<Entry> {
    type Case = (u16, u16, &'static [(u16, u16)]);
    let cases: [Case; 12] = [
        (0b000, 0b000, &[]),
        (0b000, 0b111, &[]),
        (0b101, 0b110, &[]),
        (0b000, 0b111, &[(0b000, 0b100)]),
        (0b000, 0b110, &[(0b000, 0b100), (0b010, 0b110)]),
        (0b000, 0b111, &[(0b100, 0b110), (0b100, 0b101), (0b010, 0b110), (0b010, 0b011)]),
        (0b000, 0b001, &[(0b000, 0b001)]),
        (0b000, 0b011, &[(0b000, 0b010), (0b001, 0b011)]),
        (0b000, 0b001, &[(0b000, 0b001), (0b000, 0b100)]),
        (0b000, 0b001, &[(0b000, 0b001), (0b001, 0b011), (0b001, 0b101)]),
        (0b000, 0b001, &[(0b000, 0b001), (0b000, 0b010), (0b000, 0b100)]),
        (0b110, 0b110, &[(0b110, 0b111), (0b100, 0b110), (0b010, 0b110)]),
    ];
    let entry = |(number, (here, target, down)): (usize, Case)| {
        let (three, down) = (cube(3), link_set(down, cube(3)));
        let step = next_hop(node(here, three), node(target, three), three, &down);
        let entry = Entry::new(&format!("step-{number}")).with("kind", "next-hop").with("dimension", "3");
        let entry = entry.with("here", here.to_string()).with("target", target.to_string());
        entry.with("down", links(&down)).with("step", written(step, here))
    };
    (1..).zip(cases).map(entry).collect()
}

pub(crate) fn written(step: NextHop, here: u16) -> String {
    match step {
        NextHop::Here => "here".to_owned(),
        NextHop::Across(bit) => (here ^ 1 << bit).to_string(),
        NextHop::Unreachable => "unreachable".to_owned(),
    }
}

fn journeys() -> Vec<Entry> {
    type Case = (u8, u16, u16, &'static [(u16, u16)]);
    let cases: [Case; 9] = [
        (3, 0b000, 0b111, &[]),
        (3, 0b000, 0b110, &[(0b000, 0b100)]),
        (3, 0b000, 0b110, &[(0b100, 0b110)]),
        (3, 0b000, 0b111, &[(0b000, 0b100), (0b100, 0b101), (0b100, 0b110)]),
        (3, 0b000, 0b110, &[(0b100, 0b110), (0b110, 0b111)]),
        (3, 0b000, 0b110, &[(0b010, 0b110), (0b100, 0b110), (0b110, 0b111)]),
        (3, 0b000, 0b001, &[(0b000, 0b001), (0b001, 0b101), (0b010, 0b011), (0b100, 0b101)]),
        (3, 0b000, 0b001, &[(0b000, 0b001), (0b000, 0b010), (0b000, 0b100)]),
        (4, 0b0000, 0b1111, &[(0b1110, 0b1111), (0b1101, 0b1111)]),
    ];
    let entry = |(number, (bits, source, target, dead)): (usize, Case)| {
        let dead = link_set(dead, cube(bits));
        let (path, end, carried) = travel(cube(bits), source, target, &dead);
        let path: Vec<_> = path.iter().map(ToString::to_string).collect();
        let entry =
            Entry::new(&format!("journey-{number}")).with("kind", "journey").with("dimension", bits.to_string());
        let entry = entry.with("source", source.to_string()).with("target", target.to_string());
        let entry = entry.with("dead", links(&dead)).with("path", path.join(" "));
        entry.with("end", end).with("carried", links(&carried))
    };
    (1..).zip(cases).map(entry).collect()
}

/// The nodes that a frame comes through when the links `dead` are down, how it ends, and what it carries then.
pub(crate) fn travel(
    dimension: Dimension,
    source: u16,
    target: u16,
    dead: &LinkSet,
) -> (Vec<u16>, &'static str, LinkSet) {
    let (mut path, mut carried) = (vec![source], LinkSet::new());
    loop {
        let here = node(path[path.len() - 1], dimension);
        let is_up = |bit| !dead.contains(Link::new(here, bit));
        match route(here, node(target, dimension), dimension, &mut carried, is_up) {
            NextHop::Across(bit) => path.push(here.across(bit).index()),
            NextHop::Here => return (path, "arrived", carried),
            NextHop::Unreachable => return (path, "unreachable", carried),
        }
        assert!(path.len() <= usize::from(hops_limit(dimension)), "{path:?} does not end");
    }
}

fn splits() -> Vec<Entry> {
    let cases: [(u16, &[u16]); 4] =
        [(0, &[0, 1, 2, 3, 4, 5, 6, 7]), (6, &[0, 1, 2, 3, 4, 5, 6, 7]), (3, &[0, 4, 7]), (2, &[2])];
    let entry = |(number, (here, targets)): (usize, (u16, &[u16]))| {
        let three = cube(3);
        let set: NodeSet = targets.iter().map(|id| node(*id, three)).collect();
        let found = split(node(here, three), &set, three);
        let entry = Entry::new(&format!("split-{number}")).with("kind", "split").with("dimension", "3");
        let entry = entry.with("here", here.to_string()).with("targets", ids(&set));
        let entry = entry.with("takes", if found.here { "yes" } else { "no" });
        found
            .onward
            .iter()
            .fold(entry, |entry, (bit, branch)| entry.with(&format!("to.{}", here ^ 1 << bit), ids(branch)))
    };
    (1..).zip(cases).map(entry).collect()
}

/// One frame of a client through the cube, and what comes back.
fn hops(good: &[Good]) -> Vec<Entry> {
    let find = |name| good.iter().find(|good| good.name == name).expect("the vectors have it");
    let request = find("publish-request").encode(None);
    let (_, first) = hop(&request, 0, &[]);
    let (_, detour) = hop(&request, 0, &[(0, 4)]);
    let published = |hops| answer(find("publish-response"), straight(6, 0, hops));
    let subscribed = |hops| {
        let section = Route { class: TrafficClass::Control, ..straight(6, 0, hops) };
        answer(find("subscribe-response"), section)
    };
    let half = Route { dimension: cube(2), ..straight(1, 2, 1) };
    let half = find("publish-request").encode(Some(&Route { origin: ORIGIN, ..half }));
    vec![
        handed_on("publish-first-link", "The ingress 000 sends a client's request to 100.", 0, &[], &request),
        handed_on("publish-second-link", "100 hands it on to 110.", 4, &[], &first),
        handed_on(
            "publish-detour",
            "The ingress 000 sends it to 010, for the link to 100 is down.",
            0,
            &[(0, 4)],
            &request,
        ),
        handed_on("publish-detour-second", "010 hands it on to 110.", 2, &[], &detour),
        handed_on(
            "publish-late-detour",
            "100 has lost 110, and sends it to 101 with one word more.",
            4,
            &[(4, 6)],
            &first,
        ),
        handed_on("answer-first-link", "110 sends the answer back to 100, lowest first.", 6, &[], &published(0)),
        handed_on("answer-second-link", "100 hands the answer of 110 on to 000.", 4, &[], &published(1)),
        handed_on("control-first-link", "An answer of class control goes highest first.", 6, &[], &subscribed(0)),
        handed_on("control-second-link", "010 hands it on to 000.", 2, &[], &subscribed(1)),
        handed_on("trace-first-link", "A probe with ttl 1 leaves the ingress with ttl 0.", 0, &[], &probe(1)),
        expired(good),
        handed_on("unstamped", "A frame without a dimension is routed in that of HELLO.", 4, &[], &unstamped(&first)),
        handed_on("stamped-two", "A frame for 010 in two dimensions never meets 100.", 0, &[(0, 2), (0, 4)], &half),
    ]
}

/// The same frame with 0 for the dimension that it is routed in.
fn unstamped(frame: &[u8]) -> Vec<u8> {
    let (section, class) = (HEADER_BYTES..HEADER_BYTES + ROUTE_BYTES_MIN, HEADER_BYTES + 9);
    let mut frame = frame.to_vec();
    frame[class] &= 0x0F;
    let (fields, crc) = frame[section].split_at_mut(ROUTE_BYTES_MIN - 4);
    crc.copy_from_slice(&crc32fast::hash(fields).to_be_bytes());
    frame
}

/// A frame before and after a node.
fn handed_on(name: &str, what: &str, here: u16, dead: &[(u16, u16)], before: &[u8]) -> Entry {
    let (to, after) = hop(before, here, dead);
    entry_of_hop("hop", name, what, here, dead, before).with("to", to.to_string()).with("after", hex(&after))
}

/// The lines of a vector that a frame before a node has.
pub(crate) fn entry_of_hop(kind: &str, name: &str, what: &str, here: u16, dead: &[(u16, u16)], before: &[u8]) -> Entry {
    let entry = Entry::new(name).with("kind", kind).with("what", what).with("dimension", "3");
    let entry = entry.with("here", here.to_string()).with("dead", links(&link_set(dead, cube(3))));
    entry.with("before", hex(before))
}

/// A probe whose hops are made, and its answer as it leaves.
fn expired(good: &[Good]) -> Entry {
    let details = vec![Detail::Node(4), Detail::Hops(1), Detail::Links(vec![])];
    let error =
        ErrorResponse { status: Status::TtlExpired.number(), retry_after_ms: 0, message: String::new(), details };
    let error = Good { content: Content::Response(Response::Error(Box::new(error))), ..good_trace(good) };
    let (_, before) = hop(&probe(1), 0, &[]);
    let entry = entry_of_hop("hop", "trace-expired", "100 answers it instead of handing it on.", 4, &[], &before);
    entry.with("to", "0").with("after", hex(&answer(&error, straight(4, 0, 1))))
}

fn good_trace(good: &[Good]) -> Good {
    good.iter().find(|good| good.name == "trace-error").expect("the vectors have it").clone()
}

fn probe(ttl: u16) -> Vec<u8> {
    let request = Request::Trace { ttl, target: TraceTarget::Topic(name("orders")) };
    let mut out = vec![];
    let (opcode, request_id) = (request.opcode().number(), RequestId(32));
    let head = Head { opcode, flags: Flags::default(), status: 0, request_id };
    head.seal(None, (0, 0), &mut out, |args| request.encode(args));
    out
}

const ORIGIN: Origin = Origin { mark: 0xA5A5, generation: 1, slot: 7 };

/// A response to a request of an ingress.
fn answer(good: &Good, section: Route) -> Vec<u8> {
    good.encode(Some(&Route { origin: ORIGIN, ..section }))
}

/// Where `frame` goes from node `here`, whose links `dead` are down, and what it is then: 11.3 and 11.5 for a frame
/// that is for another node and has hops left.
pub(crate) fn hop(frame: &[u8], here: u16, dead: &[(u16, u16)]) -> (u16, Vec<u8>) {
    let frame = parse(frame);
    let here = node(here, cube(3));
    let section = frame.route.clone().unwrap_or_else(|| from_client(&frame, here));
    step_of(&frame, section, here, &link_set(dead, cube(3)))
}

/// A good frame.
pub(crate) fn parse(bytes: &[u8]) -> Frame<'_> {
    let header = Header::parse(bytes, FRAME_MAX).expect("a good header").expect("a whole one");
    Frame::parse(header, Raw::Borrowed(bytes), cube(3)).expect("a good frame")
}

/// The same with a route section that is given.
pub(crate) fn step_of(frame: &Frame<'_>, mut section: Route, here: NodeId, dead: &LinkSet) -> (u16, Vec<u8>) {
    let dimension = section.dimension;
    let is_up = |bit| !dead.contains(Link::new(here, bit));
    // Answers of class bulk go back the way of their requests.
    let is_back = frame.header.flags.has(Flags::RESPONSE) && section.class == TrafficClass::Bulk;
    let step = match is_back {
        true => route_back(here, section.target, dimension, &mut section.down, is_up),
        false => route(here, section.target, dimension, &mut section.down, is_up),
    };
    let NextHop::Across(bit) = step else { panic!("{step:?} at {here:?}") };
    (here.across(bit).index(), with_section(frame, section))
}

/// The frame as it leaves with that section.
pub(crate) fn with_section(frame: &Frame<'_>, mut section: Route) -> Vec<u8> {
    (section.ttl, section.hops) = (section.ttl - 1, section.hops + 1);
    let mut out = vec![];
    frame.encode_head(frame.header.request_id, Some(&section), &mut out);
    out.extend_from_slice(frame.body());
    out
}

/// The section that the ingress gives to a request for a topic.
fn from_client(frame: &Frame<'_>, source: NodeId) -> Route {
    let opcode = dht_node::wire::Opcode::from_number(frame.header.opcode).expect("a known one");
    let (target, ttl) = match Request::decode(opcode, frame.args().expect("sound")).expect("good args") {
        Request::Publish(publish) => (publish.topic.name, hops_limit(cube(3))),
        Request::Trace { ttl, target: TraceTarget::Topic(name) } => (name, ttl),
        other => panic!("no vector needs {other:?}"),
    };
    Route {
        source,
        target: dht_node::cube::home(target, cube(3)),
        ttl,
        hops: 0,
        kind: Kind::Group,
        class: TrafficClass::Bulk,
        dimension: cube(3),
        origin: ORIGIN,
        down: LinkSet::new(),
        targets: NodeSet::new(),
    }
}

pub(crate) fn link_set(ends: &[(u16, u16)], dimension: Dimension) -> LinkSet {
    let mut set = LinkSet::new();
    for &(a, b) in ends {
        let bit = node(a, dimension).edge_to(node(b, dimension)).expect("the ends of a link");
        set.insert(Link::new(node(a, dimension), bit));
    }
    set
}

/// `0-4 2-6`.
pub(crate) fn links(set: &LinkSet) -> String {
    let link = |link: Link| format!("{}-{}", link.ends().0.index(), link.ends().1.index());
    set.iter().map(link).collect::<Vec<_>>().join(" ")
}

fn ids(set: &NodeSet) -> String {
    set.iter().map(|id| id.index().to_string()).collect::<Vec<_>>().join(" ")
}
