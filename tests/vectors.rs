//! protocol.md, protocol-nodes.md and their vectors against the code.
//!
//! `tests/vectors/` is replayed both ways; the tables of protocol.md are executed on the same bytes, so that the
//! text, the vectors and the code say the same or a test fails. `UPDATE_VECTORS=1 cargo test --test vectors` writes
//! the files, and the blocks and worked tables of protocol.md, anew from the code; the difference is to be read.

#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "what a test cannot read, fails it")]

mod vectors_support;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;
use dht_node::cube::{home, next_hop};
use dht_node::limits;
use dht_node::types::{Epoch, LinkSet, NodeId, Offset, ProducerId, RequestId, TopicId, TopicName};
use dht_node::wire::field::Observer;
use dht_node::wire::frame::{Corrupt, MAGIC, VERSION};
use dht_node::wire::inspect::inspect;
use dht_node::wire::raft::RaftItem;
use dht_node::wire::response::{Detail, Durability, ErrorResponse, Tag};
use dht_node::wire::{
    Class, Flags, Frame, FrameError, HEADER_BYTES, Header, Kind, Opcode, Raw, Response, Status, TrafficClass, field,
    hello, opcode, push, records, status,
};

use vectors_support::describe::{args_layout, describe, heading};
use vectors_support::document::Document;
use vectors_support::layout::number;
use vectors_support::text::{Entry, bytes, hex, is_update, load};
use vectors_support::{bad, frames, good, multicast, payloads, raft, routing, text};

/// Everything that the tests look at, read once; with UPDATE_VECTORS written first.
struct World {
    document: Document,
    good: Vec<(good::Good, Entry)>,
    bad: Vec<Entry>,
    records: Vec<Entry>,
    routing: Vec<Entry>,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let good = frames::all();
        let mut document = Document::read();
        if is_update() {
            rewrite(&mut document, &good);
            made(&document, &good).iter().for_each(|(file, heading, entries)| text::write(file, heading, entries));
        }
        let entries = load("good.txt");
        let entry = |good: good::Good| {
            let entry = entries.iter().find(|entry| entry.name() == good.name).cloned();
            let entry = entry.unwrap_or_else(|| panic!("no {} in good.txt", good.name));
            (good, entry)
        };
        World {
            document,
            good: good.into_iter().map(entry).collect(),
            bad: load("bad.txt"),
            records: load("records.txt"),
            routing: load("routing.txt"),
        }
    })
}

/// The files as the code makes them: name, heading, vectors.
fn made(document: &Document, good: &[good::Good]) -> [(&'static str, &'static str, Vec<Entry>); 5] {
    let entry = |good: &good::Good| {
        let frame = good.frame();
        let mut entry = Entry::new(good.name).with("what", good.what).with("hex", hex(&frame));
        entry.0.extend(describe(document, &frame).lines(&frame));
        entry
    };
    [
        ("good.txt", GOOD, good.iter().map(entry).collect()),
        ("bad.txt", BAD, bad::all(good).iter().map(bad::Bad::entry).collect()),
        ("records.txt", RECORDS, payloads::all()),
        ("routing.txt", ROUTING, routing::all(good)),
        ("raft.txt", RAFT, raft::all()),
    ]
}

const GOOD: &str = "Good frames with their fields. README.md describes the form.";
const BAD: &str = "Bytes that a client might send, and what a node does: chapter 13 of protocol.md.\n\
    Each is all that the client sends before it ends the stream. README.md describes the form.";
const RECORDS: &str = "Payloads: good ones with their records, and bad ones. README.md describes the form.";
const ROUTING: &str = "Homes, places of links, steps, journeys, splits, and frames before and after a hop.\n\
    Chapter 10 of protocol.md and protocol-nodes.md. README.md describes the form.";

const RAFT: &str = "Payloads of RAFT: good ones with their messages, and bad ones. README.md describes the form.";

#[test]
fn the_files_of_vectors_are_what_the_code_makes() {
    let world = world();
    for (file, heading, entries) in made(&world.document, &frames::all()) {
        text::compare(file, heading, &entries);
    }
}

// --- frames -------------------------------------------------------------------------------------------------------

#[test]
fn a_good_frame_is_read_as_it_was_meant_and_made_again_byte_by_byte() {
    let world = world();
    for (good, entry) in &world.good {
        let bytes = entry.bytes("hex");
        good.check(&bytes, routing::cube(3));
        assert_eq!(hex(&good.frame()), hex(&bytes), "{}", good.name);
        let lines = describe(&world.document, &bytes).lines(&bytes);
        assert_eq!(lines, entry.0[3..], "the tables of protocol.md read {} otherwise", good.name);
    }
    let names: BTreeSet<_> = world.good.iter().map(|(good, _)| good.name).collect();
    assert_eq!(names.len(), world.good.len(), "two vectors of one name");
}

#[test]
fn every_field_of_a_table_is_where_the_code_reads_it_under_that_name() {
    let world = world();
    for (good, entry) in &world.good {
        let bytes = Bytes::from(entry.bytes("hex"));
        let described = describe(&world.document, &bytes);
        let frame = sound(&bytes);
        let args = frame.args().expect("a good frame");
        let payload = bytes.slice(described.payload_at..);
        let mut read = FieldsRead { frame: bytes.clone(), fields: vec![], tlvs: vec![] };
        inspect(good.opcode, &frame.header, args, &payload, &mut read).expect("a good frame");
        let of_tables = described.args.iter().chain(&described.payload);
        let of_tables: Vec<_> = of_tables.map(|field| (field.name.as_str(), field.range.clone())).collect();
        let is_in_tlv =
            |range: &Range<usize>| read.tlvs.iter().any(|tlv| tlv.start <= range.start && range.end <= tlv.end);
        read.fields.retain(|(_, range)| !is_in_tlv(range));
        if matches!(good.opcode, Opcode::Raft | Opcode::Chunks) {
            // Their items have lengths of their own, and no table of offsets. For RAFT, `raft.txt` has the fields.
            read.fields.retain(|(_, range)| range.end <= described.payload_at);
        }
        assert_eq!(read.fields, of_tables, "{}: the fields that the code reads, and those of the text", good.name);
        let tlvs: Vec<_> = described.tlvs.iter().map(|tlv| tlv.range.clone()).collect();
        assert_eq!(read.tlvs, tlvs, "{}", good.name);
    }
}

/// The fields and TLVs that a decoder has read, as ranges of the frame.
struct FieldsRead {
    frame: Bytes,
    fields: Vec<(&'static str, Range<usize>)>,
    tlvs: Vec<Range<usize>>,
}

impl FieldsRead {
    fn range(&self, bytes: &[u8]) -> Range<usize> {
        let at = bytes.as_ptr().addr() - self.frame.as_ptr().addr();
        at..at + bytes.len()
    }
}

impl Observer for FieldsRead {
    fn field(&mut self, name: &'static str, bytes: &[u8]) {
        self.fields.push((name, self.range(bytes)));
    }

    fn text(&mut self, name: &'static str, bytes: &[u8], _: &[u8]) {
        self.field(name, bytes);
    }

    fn tlv(&mut self, _: u8, head: &[u8], value: &[u8], _: bool) {
        let start = self.range(head).start;
        let whole = start..start + head.len() + value.len();
        self.tlvs.retain(|inner| inner.end <= whole.start); // those within its value came before it
        self.tlvs.push(whole);
    }
}

#[test]
fn a_bad_frame_gets_what_chapter_13_says() {
    let world = world();
    let table = world.document.table("13 Malformed", &["id", "seen"]);
    let rows: Vec<_> = table.rows.iter().map(|row| (row[0].as_str(), row[2].as_str(), row[3].as_str())).collect();
    for entry in &world.bad {
        let bytes = entry.bytes("hex");
        let (does, status) = bad::judge(&bytes, entry.value("when") == "as the first bytes").written();
        assert_eq!((does, status), (entry.value("does"), entry.find("status").unwrap_or("–")), "{}", entry.name());
        assert!(rows.contains(&(entry.value("row"), does, status)), "{} is no row of the table", entry.name());
        if let Some(like) = entry.find("like") {
            let (good, _) = world.good.iter().find(|(good, _)| good.name == like).expect("a good vector");
            let frame = sound(&bytes);
            let args = frame.args().expect("sound args");
            assert!(inspect(good.opcode, &frame.header, args, &Bytes::new(), &mut ()).is_ok(), "{}", entry.name());
        }
    }
    let by_time = ["M-25"];
    for (row, ..) in rows.iter().filter(|(row, ..)| !by_time.contains(row)) {
        assert!(world.bad.iter().any(|entry| entry.value("row") == *row), "no vector for row {row}");
    }
}

#[test]
fn a_frame_may_come_byte_by_byte_or_with_others() {
    let all: Vec<_> = world().good.iter().map(|(_, entry)| entry.bytes("hex")).collect();
    for frame in &all {
        for end in 0..HEADER_BYTES {
            assert_eq!(Header::parse(&frame[..end], limits::FRAME_MAX), Ok(None), "{end} bytes");
        }
        let header = Header::parse(&frame[..HEADER_BYTES], limits::FRAME_MAX).unwrap().unwrap();
        assert_eq!(header.frame_len(), frame.len());
        assert_eq!(bad::judge(&frame[..frame.len() - 1], false), bad::Verdict::Drop);
    }
    let mut stream = all.concat();
    for frame in &all {
        let header = Header::parse(&stream, limits::FRAME_MAX).unwrap().unwrap();
        assert_eq!(stream.drain(..header.frame_len()).collect::<Vec<_>>(), *frame);
    }
}

#[test]
fn every_flipped_bit_is_caught_where_it_is() {
    for (good, entry) in &world().good {
        let frame = entry.bytes("hex");
        let args_end = frame.len() - sound(&frame).payload().len();
        let args_at = frame.len() - sound(&frame).body().len();
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if bit / 8 < HEADER_BYTES {
                let expected = if (4..6).contains(&(bit / 8)) { FrameError::Magic } else { FrameError::HeaderCrc };
                assert_eq!(Header::parse(&damaged, limits::FRAME_MAX), Err(expected), "{}, bit {bit}", good.name);
                continue;
            }
            if bit / 8 < args_at {
                assert!(parse(&damaged).is_err(), "{}, bit {bit} of its route section", good.name);
                continue;
            }
            let found = sound(&damaged);
            assert_eq!(found.args().err(), (bit / 8 < args_end).then_some(Corrupt::Args));
            assert_eq!(found.keep_payload().err(), (bit / 8 >= args_end).then_some(Corrupt::Payload));
        }
    }
}

/// A frame whose header is good.
fn sound(bytes: &[u8]) -> Frame<'_> {
    parse(bytes).unwrap()
}

fn parse(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    let header = Header::parse(bytes, limits::FRAME_MAX).unwrap().unwrap();
    Frame::parse(header, Raw::Borrowed(bytes), routing::cube(3))
}

// --- records and routing ------------------------------------------------------------------------------------------

#[test]
fn payloads_are_records_or_refused() {
    for entry in &world().records {
        let payload = entry.bytes("hex");
        let count = entry.value("count").parse().unwrap();
        let published = records::check_published(&payload, count);
        assert_eq!(
            published.is_err(),
            entry.find("error").is_some() || entry.find("publish").is_some(),
            "{}",
            entry.name()
        );
        match (records::check(&payload, count), entry.find("because")) {
            (Ok(()), None) => {
                let found = records::iter(&payload).enumerate();
                let lines: Vec<_> =
                    found.flat_map(|(index, record)| payloads::lines(index, &record.unwrap())).collect();
                let expected = entry.below("record.").into_iter();
                let expected: Vec<_> =
                    expected.map(|(key, value)| (format!("record.{key}"), value.to_owned())).collect();
                assert_eq!(lines, expected, "{}", entry.name());
            }
            (Err(error), Some(because)) => assert_eq!(error.to_string(), because, "{}", entry.name()),
            (found, _) => panic!("{}: {found:?}", entry.name()),
        }
    }
}

#[test]
fn the_cube_is_as_the_vectors_say() {
    for entry in &world().routing {
        let value = |key| entry.value(key).parse::<u16>().unwrap();
        let dimension = routing::cube(entry.find("dimension").map_or(0, |bits| bits.parse().unwrap()));
        let links = |key| routing::link_set(&pairs(entry.value(key)), dimension);
        let name = entry.name();
        match entry.value("kind") {
            "home" => {
                let topic = TopicName::new(entry.value("topic")).unwrap();
                for (bits, id) in entry.below("d") {
                    let dimension = routing::cube(bits.parse().unwrap());
                    assert_eq!(home(topic, dimension).index().to_string(), id, "{name} at d = {bits}");
                }
            }
            "place" => {
                let place = usize::from(value("place"));
                let words = links("link").words().to_vec();
                assert_eq!((words.len(), words[place / 64]), (place / 64 + 1, 1 << (place % 64)), "{name}");
            }
            "link-set" => {
                let word = |word: &[u8]| u64::from_be_bytes(word.try_into().unwrap());
                let words = entry.bytes("hex").chunks(8).map(word).collect();
                assert_eq!(LinkSet::from_words(words, dimension), Some(links("links")), "{name}");
            }
            "next-hop" => {
                let id = |key| NodeId::new(value(key), dimension).unwrap();
                let step = next_hop(id("here"), id("target"), dimension, &links("down"));
                assert_eq!(routing::written(step, value("here")), entry.value("step"), "{name}");
            }
            "journey" => {
                let (path, end, carried) = routing::travel(dimension, value("source"), value("target"), &links("dead"));
                assert_eq!((path, end), (ids(entry.value("path")), entry.value("end")), "{name}");
                assert_eq!(carried, links("carried"), "{name}");
            }
            "hop" if name != "trace-expired" => {
                let (to, after) = routing::hop(&entry.bytes("before"), value("here"), &pairs(entry.value("dead")));
                assert_eq!((to, hex(&after).as_str()), (value("to"), entry.value("after")), "{name}");
            }
            "multicast" => {
                let (takes, sent) = multicast::hop(&entry.bytes("before"), value("here"), &pairs(entry.value("dead")));
                assert_eq!(takes, entry.value("takes") == "yes", "{name}");
                let expected = entry.below("to.").into_iter().map(|(to, frame)| (to.parse().unwrap(), bytes(frame)));
                assert_eq!(sent, expected.collect::<Vec<_>>(), "{name}");
            }
            "hop" | "split" => {}
            kind => panic!("{kind}"),
        }
    }
}

/// `0-4 2-6`.
fn pairs(text: &str) -> Vec<(u16, u16)> {
    let pair = |pair: &str| {
        let (a, b) = pair.split_once('-').unwrap();
        (a.parse().unwrap(), b.parse().unwrap())
    };
    text.split_whitespace().map(pair).collect()
}

fn ids(text: &str) -> Vec<u16> {
    text.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

#[test]
fn a_hop_changes_the_route_section_and_what_counts_it() {
    let world = world();
    for entry in world.routing.iter().filter(|entry| entry.value("kind") == "hop" && entry.name() != "trace-expired") {
        let (before, after) = (entry.bytes("before"), entry.bytes("after"));
        let [was, is] = [&before, &after].map(|frame| describe(&world.document, frame));
        let differing: Vec<_> = was.header.iter().zip(&is.header).filter(|(was, is)| was.value != is.value).collect();
        let names: Vec<_> = differing.iter().map(|(was, _)| was.name.as_str()).collect();
        let allowed: &[&str] = match before.len() == after.len() {
            true => &[],
            false if was.route.is_empty() => &["flags", "header_crc", "length", "route_len"],
            false => &["header_crc", "length", "route_len"],
        };
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, allowed, "{}", entry.name());
        let [was_at, is_at] = [&was, &is].map(|frame| frame.args[0].range.start);
        assert_eq!(before[was_at..], after[is_at..], "{}", entry.name());
        let routed = |name| number(&is.route, name).unwrap();
        let route = sound(&after).route.expect("frames between nodes have one");
        assert_eq!(routed("source"), u64::from(route.source.index()));
        assert_eq!(routed("target"), u64::from(route.target.index()));
        assert_eq!((routed("ttl"), routed("hops")), (u64::from(route.ttl), u64::from(route.hops)));
        let class = u64::from(route.dimension.bits()) << 4 | route.class as u64;
        assert_eq!((routed("kind"), routed("class")), (route.kind as u64, class));
        assert_eq!(routed("origin"), route.origin.number());
        assert_eq!(routed("link_words"), route.down.words().len() as u64);
        assert_eq!(number(&is.route, "down"), route.down.words().first().copied());
    }
}

// --- the text -----------------------------------------------------------------------------------------------------

/// Writes the blocks and the worked tables of protocol.md.
fn rewrite(document: &mut Document, good: &[good::Good]) {
    let routing = routing::all(good);
    for (columns, section, rows) in worked_tables(&routing) {
        let table = document.table(section, columns);
        document.replace_rows(&table, &rows);
    }
    for block in document.blocks() {
        let made = good.iter().find(|good| good.name == block.name).map(good::Good::frame);
        let hop = || Some(routing.iter().find(|entry| entry.name() == block.name)?.bytes("after"));
        let frame = made.or_else(hop).unwrap_or_else(|| panic!("no vector {}", block.name));
        document.replace_block(&block.name, describe(document, &frame).block(document, &frame));
    }
    document.write();
}

type WorkedTable = (&'static [&'static str], &'static str, Vec<Vec<String>>);

/// The tables of chapters 10 and 11 that repeat vectors: their columns, section and rows.
fn worked_tables(routing: &[Entry]) -> Vec<WorkedTable> {
    let kind = |kind: &'static str, three: bool| {
        let is_it = move |entry: &&Entry| entry.value("kind") == kind && (!three || entry.value("dimension") == "3");
        routing.iter().filter(is_it)
    };
    let row = |entry: &Entry, keys: &[&str]| keys.iter().map(|key| entry.value(key).to_owned()).collect::<Vec<_>>();
    let binary = |id: &str| id.parse::<u16>().map_or_else(|_| id.to_owned(), |id| format!("{id:03b}"));
    let all = |text: &str| match text {
        "" => "none".to_owned(),
        text => text
            .split(' ')
            .map(|part| part.split('-').map(binary).collect::<Vec<_>>().join("–"))
            .collect::<Vec<_>>()
            .join(" "),
    };
    let readable = |entry: &Entry, keys: &[&str]| row(entry, keys).iter().map(|text| all(text)).collect::<Vec<_>>();
    let short = kind("home", false).filter(|entry| entry.value("topic").len() < 40);
    let places: Vec<_> =
        kind("place", true).map(|entry| vec![entry.value("place").to_owned(), all(entry.value("link"))]).collect();
    vec![
        (
            &["name", "crc"],
            "10.2",
            short.map(|entry| row(entry, &["topic", "crc", "d1", "d2", "d3", "d4", "d10"])).collect(),
        ),
        (
            &["place", "link"],
            "11.2",
            (0..4).map(|at| [&*places[at], &*places[at + 4], &*places[at + 8]].concat()).collect(),
        ),
        (
            &["here", "target"],
            "11.5",
            kind("next-hop", true).map(|entry| readable(entry, &["here", "target", "down", "step"])).collect(),
        ),
        (
            &["from", "to"],
            "11.5",
            kind("journey", true)
                .map(|entry| readable(entry, &["source", "target", "dead", "path", "end", "carried"]))
                .collect(),
        ),
    ]
}

#[test]
fn the_worked_tables_are_the_vectors() {
    let world = world();
    for (columns, section, rows) in worked_tables(&world.routing) {
        assert_eq!(world.document.table(section, columns).rows, rows, "{section} {columns:?}");
    }
}

#[test]
fn the_blocks_are_the_vectors() {
    let world = world();
    let good = world.good.iter().map(|(good, entry)| (good.name, entry.value("hex")));
    let hops = world.routing.iter().filter_map(|entry| Some((entry.name(), entry.find("after")?)));
    let vectors: Vec<_> = good.chain(hops).collect();
    for block in world.document.blocks() {
        let vector = vectors.iter().find(|(name, _)| *name == block.name);
        let (_, expected) = vector.unwrap_or_else(|| panic!("no vector {}", block.name));
        assert_eq!(hex(&block.bytes), *expected, "the block {} in protocol.md", block.name);
    }
}

#[test]
fn every_operation_has_its_section_its_blocks_and_its_vectors() {
    let world = world();
    let has = |opcode, role: &str| world.good.iter().any(|(good, _)| good.opcode == opcode && good.role() == role);
    for opcode in Opcode::ALL {
        let text = world.document.text(&heading(&world.document, opcode));
        let roles: &[&str] = match opcode {
            Opcode::Goaway | Opcode::Deliver => &["request"],
            Opcode::Credit | Opcode::Raft => &["request", "error"],
            Opcode::Event => &["request", "waiting", "flowing", "error"],
            _ => &["request", "response", "error"],
        };
        for role in roles {
            assert!(has(opcode, role), "no {role} of {} in good.txt", opcode.name());
            args_layout(&world.document, opcode, role);
        }
        for part in [
            "**Asked of**",
            "**Payload**",
            "**Idempotent**",
            "Request args",
            "esponse args",
            "Statuses: ",
            "```hex name=",
        ] {
            let is_notice = opcode == Opcode::Goaway || opcode.is_push();
            let is_other =
                is_notice && ["**Asked of**", "**Idempotent**", "Request args", "esponse args"].contains(&part);
            assert!(is_other || text.contains(part), "the section of {} has no {part}", opcode.name());
        }
        let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
        for word in words.filter(|word| word.trim_matches('_').contains('_')) {
            let is_status = Status::ALL.iter().any(|status| status.name() == word);
            assert!(is_status || details().iter().any(|(name, ..)| *name == word), "{word} is no status or detail");
        }
    }
}

#[test]
fn the_registries_are_the_codes() {
    let document = &world().document;
    let row = |number: u8, name: &str| (format!("0x{number:02X}"), number.to_string(), name.to_owned());
    let written = |section: &str, columns: &[&str]| {
        let rows = document.table(section, columns).rows.into_iter();
        rows.map(|row| (row[0].clone(), row[1].clone(), row[2].clone())).collect::<Vec<_>>()
    };
    let opcodes: Vec<_> = Opcode::ALL.iter().map(|opcode| row(opcode.number(), opcode.name())).collect();
    assert_eq!(written("16.1", &["hex", "dec", "name"]), opcodes);
    let reserved: [(&str, &[(u8, &str)]); 4] = [
        ("16.1", &opcode::RESERVED),
        ("16.2", &field::TAGS_RESERVED),
        ("16.3", &status::RESERVED),
        ("16.5", &push::EVENTS_RESERVED),
    ];
    for (section, numbers) in reserved {
        let numbers: Vec<_> = numbers.iter().map(|(number, name)| row(*number, name)).collect();
        assert_eq!(written(section, &["hex", "dec", "reserved name"]), numbers, "{section}");
    }
    let events: Vec<_> = push::EVENTS.iter().map(|(number, name)| row(*number, name)).collect();
    assert_eq!(written("16.5", &["hex", "dec", "name"]), events);
    let features = document.table("14.3", &["bit", "name"]).rows;
    let features: Vec<_> = features.iter().map(|row| (row[0].parse().unwrap(), row[1].as_str())).collect();
    assert_eq!(features, hello::FEATURES);
    let features = document.table("14.3", &["bit", "reserved name"]).rows;
    let features: Vec<_> = features.iter().map(|row| (row[0].parse().unwrap(), row[1].as_str())).collect();
    assert_eq!(features, hello::FEATURES_RESERVED);
    let statuses: Vec<_> = Status::ALL.iter().map(|status| row(status.number(), status.name())).collect();
    assert_eq!(written("12.2", &["hex", "dec", "name"]), statuses);
    let sections = document.table("16.1", &["hex", "dec", "name"]);
    for (opcode, section) in Opcode::ALL.iter().zip(sections.column("section")) {
        assert!(heading(document, *opcode).starts_with(&format!("{section} ")), "{}", opcode.name());
    }
    let durabilities = [Durability::Memory, Durability::Interval, Durability::Synced];
    let durabilities = durabilities.map(|level| (level as u8, level.name()));
    let table = document.table("16.4", &["number", "name"]).rows;
    let table: Vec<_> = table.iter().map(|row| (row[0].parse().unwrap(), row[1].as_str())).collect();
    assert_eq!(table, durabilities);
}

#[test]
fn a_number_that_is_set_aside_is_not_in_use() {
    for (number, name) in opcode::RESERVED {
        assert_eq!(Opcode::from_number(number), None, "{name}");
    }
    for (number, name) in status::RESERVED {
        assert_eq!(Status::from_number(number), None, "{name}");
    }
    for (number, name) in push::EVENTS_RESERVED {
        assert!(!push::is_known_event(number), "{name}");
    }
    for (number, name) in field::TAGS_RESERVED {
        assert!(!field::TAGS_GREASE.contains(&number) && details().iter().all(|(_, tag, _)| *tag != number), "{name}");
    }
}

#[test]
fn the_classes_of_statuses_are_the_codes() {
    let document = &world().document;
    let name = |class| match class {
        Class::Success => ("success", false),
        Class::Refused => ("refused", false),
        Class::Transient => ("transient", true),
        Class::Unknown => ("unknown", false),
        Class::Stale => ("stale", true),
        Class::Server => ("server", false),
        Class::Fatal => ("fatal", false),
    };
    let mut next = 0u16;
    for row in document.table("12.1", &["from", "to", "class"]).rows {
        let [from, to] = [&row[0], &row[1]].map(|hex| number_of(hex));
        assert_eq!(u16::from(from), next, "classes follow each other");
        for number in from..=to {
            let class = Class::of(number);
            assert_eq!(name(class), (row[2].as_str(), row[4].starts_with("yes")), "{number:#04x}");
            assert_eq!(name(class).1, class.is_retryable(), "{number:#04x}");
        }
        next = u16::from(to) + 1;
    }
    assert_eq!(next, 256);
    let table = document.table("12.2", &["hex"]);
    for (status, class) in Status::ALL.iter().zip(table.column("class")) {
        assert_eq!(name(status.class()).0, class, "{}", status.name());
    }
}

/// Name, tag and type of each detail of an error, from the bytes that the code makes of it.
fn details() -> Vec<(&'static str, u8, &'static str)> {
    let id = TopicId::new(1).unwrap();
    let all = [
        Detail::ExpectedSequence(1),
        Detail::Earliest(Offset(1)),
        Detail::Next(Offset(1)),
        Detail::Limit(1),
        Detail::Node(1),
        Detail::Hops(1),
        Detail::Links(vec![(1, 3)]),
        Detail::TopicId(id),
        Detail::Epoch(Epoch(1)),
        Detail::Term(1),
    ];
    let entry = |detail: Detail| {
        let name = detail.tag().name();
        let message = String::new();
        let error = ErrorResponse { status: 0x40, retry_after_ms: 0, message, details: vec![detail] };
        let mut frame = vec![];
        Response::Error(Box::new(error)).encode(1, RequestId(0), None, &mut frame);
        let tlv = &frame[HEADER_BYTES + 6..];
        let kind = match tlv[3..] {
            [0, 1] => "u16",
            [0, 0, 0, 1] => "u32",
            [0, 0, 0, 0, 0, 0, 0, 1] => "u64",
            [0, 1, 0, 1, 0, 3] => "links",
            _ => "another type",
        };
        (name, tlv[0], kind)
    };
    all.into_iter().map(entry).collect()
}

#[test]
fn the_details_of_errors_are_the_codes() {
    let table = world().document.table("5.6", &["tag", "name", "type"]).rows;
    let cells: Vec<_> = table.iter().map(|row| (row[1].as_str(), number_of(&row[0]), row[2].as_str())).collect();
    assert_eq!(cells, details());
}

#[test]
fn the_details_of_each_status_are_the_codes() {
    let world = world();
    let names = |tags: &[Tag]| match tags {
        [] => "–".to_owned(),
        tags => tags.iter().map(|tag| tag.name()).collect::<Vec<_>>().join(", "),
    };
    let rows = Status::ALL.iter().map(|status| (status.name(), status.details()));
    let rows = rows.filter(|(_, details)| *details != (&[], &[]));
    let rows: Vec<_> = rows.map(|(name, (always, known))| vec![name.to_owned(), names(always), names(known)]).collect();
    let table = world.document.table("12.3", &["status", "always", "where it is known"]).rows;
    assert_eq!(table.into_iter().map(|row| row[..3].to_vec()).collect::<Vec<_>>(), rows);
    for (good, _) in &world.good {
        let Some(error) = good.error() else { continue };
        let Some((always, known)) = Status::from_number(error.status).map(Status::details) else { continue };
        let found: Vec<_> = error.details.iter().map(Detail::tag).collect();
        assert!(always.iter().all(|tag| found.contains(tag)), "{}: {error:?}", good.name);
        assert!(found.iter().all(|tag| always.contains(tag) || known.contains(tag)), "{}: {error:?}", good.name);
    }
    // What the sections of the operations repeat of it.
    for opcode in Opcode::ALL {
        let text = world.document.text(&heading(&world.document, opcode));
        for status in Status::ALL {
            let (always, known) = status.details();
            for (at, mark) in text.match_indices(&format!(" {} (", status.name())) {
                let said = text[at + mark.len()..].split(')').next().unwrap();
                let words = said.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
                let named = details().into_iter().map(|(name, ..)| name);
                for name in named.filter(|name| words.clone().any(|word| word == *name)) {
                    let is_said = always.iter().chain(known).any(|tag| tag.name() == name);
                    assert!(is_said, "{}: {} does not have {name}", opcode.name(), status.name());
                }
            }
        }
    }
}

#[test]
fn the_limits_are_the_codes() {
    let limits: &[(&str, u64)] = &[
        ("DIMENSION_MAX", limits::DIMENSION_MAX.into()),
        ("TOPIC_NAME_MAX", limits::TOPIC_NAME_MAX as u64),
        ("LABEL_MAX", limits::LABEL_MAX as u64),
        ("FRAME_MAX", limits::FRAME_MAX.into()),
        ("FRAME_MAX_LEAST", limits::FRAME_MAX_LEAST.into()),
        ("FRAME_BEFORE_HELLO_MAX", limits::FRAME_BEFORE_HELLO_MAX.into()),
        ("LINK_FRAME_EXTRA", limits::LINK_FRAME_EXTRA.into()),
        ("PAYLOAD_MAX", limits::PAYLOAD_MAX.into()),
        ("FETCH_RUNS_MAX", limits::FETCH_RUNS_MAX as u64),
        ("FETCH_WAIT_MAX", u64::from(limits::FETCH_WAIT_MAX_MS) * 1000),
        ("LIST_NAMES_MAX", limits::LIST_NAMES_MAX as u64),
        ("NODES_PAGE_MAX", limits::NODES_PAGE_MAX.into()),
        ("INFLIGHT_MAX", limits::INFLIGHT_MAX.into()),
        ("INFLIGHT_SHARED", limits::INFLIGHT_SHARED.into()),
        ("INFLIGHT_LEAST", limits::INFLIGHT_LEAST.into()),
        ("RESPONSE_CHARGE", limits::RESPONSE_CHARGE.into()),
        ("RESPONSE_CHARGE_SHORT", limits::RESPONSE_CHARGE_SHORT.into()),
        ("FETCH_RESERVE_LEAST", limits::FETCH_RESERVE_LEAST.into()),
        ("CLIENT_CHARGE_MAX", limits::CLIENT_CHARGE_MAX),
        ("CLIENTS_BYTES_LEAST", limits::CLIENTS_BYTES_LEAST),
        ("CLIENT_QUEUE_MAX", limits::CLIENT_QUEUE_MAX as u64),
        ("CLIENTS_MAX", limits::CLIENTS_MAX as u64),
        ("SUBSCRIPTIONS_PER_CLIENT_MAX", limits::SUBSCRIPTIONS_PER_CLIENT_MAX as u64),
        ("SUBSCRIPTIONS_MAX", limits::SUBSCRIPTIONS_MAX as u64),
        ("TOPICS_MAX", limits::TOPICS_MAX as u64),
        ("PRODUCERS_MAX", limits::PRODUCERS_MAX as u64),
        ("ONE_SHOTS_MAX", limits::ONE_SHOTS_MAX as u64),
        ("OPENED_PRODUCERS_MAX", limits::OPENED_PRODUCERS_MAX as u64),
        ("PRODUCER_WINDOW", limits::PRODUCER_WINDOW as u64),
        ("TTL_PER_NODE", limits::TTL_PER_NODE.into()),
        ("HELLO_TIMEOUT", limits::HELLO_TIMEOUT_US),
        ("PARTIAL_FRAME_TIMEOUT", limits::PARTIAL_FRAME_TIMEOUT_US),
        ("REQUEST_TIMEOUT", limits::REQUEST_TIMEOUT_US),
        ("CLIENT_KEEPALIVE", limits::CLIENT_KEEPALIVE_US),
        ("CLIENT_KEEPALIVE_LEAST", limits::CLIENT_KEEPALIVE_LEAST_US),
        ("PAUSED_PING", limits::PAUSED_PING_US),
        ("UNREACHABLE_HOLD", limits::UNREACHABLE_HOLD_US),
        ("DRAIN", limits::DRAIN_US),
        ("DRAIN_CLIENTS", limits::DRAIN_CLIENTS_US),
        ("DRAIN_LINKS", limits::DRAIN_LINKS_US),
        ("LINGER", limits::LINGER_US),
        ("LINK_PING", limits::LINK_PING_US),
        ("LINK_SILENCE", limits::LINK_SILENCE_US),
        ("DUPLICATE_PROBE", limits::DUPLICATE_PROBE_US),
        ("DIAL_TIMEOUT", limits::DIAL_TIMEOUT_US),
        ("HEADS", limits::HEADS_US),
        ("HEADS_MISSING_MAX", limits::HEADS_MISSING_MAX),
        ("HEADS_ITEMS_MAX", limits::HEADS_ITEMS_MAX as u64),
        ("FEED_ITEMS_MAX", limits::FEED_ITEMS_MAX as u64),
        ("RAFT_ITEMS_MAX", limits::RAFT_ITEMS_MAX as u64),
        ("CHUNK_BATCHES_MAX", limits::CHUNK_BATCHES_MAX as u64),
        ("PUSH_QUEUE_MAX", limits::PUSH_QUEUE_MAX as u64),
        ("TAIL_BYTES_MAX", limits::TAIL_BYTES_MAX as u64),
        ("TAILS_BYTES_MAX", limits::TAILS_BYTES_MAX as u64),
        ("PULL_BYTES", limits::PULL_BYTES.into()),
        ("PULLS_MAX", limits::PULLS_MAX as u64),
    ];
    let table = world().document.table("15 ", &["name", "value"]).rows;
    let kinds = ["fixed", "told", "node", "link"];
    assert!(table.iter().all(|row| kinds.contains(&row[2].as_str())), "a kind that the text does not explain");
    let table: Vec<_> = table.iter().map(|row| (row[0].as_str(), quantity(&row[1]))).collect();
    assert_eq!(table, limits);
}

#[test]
fn the_defaults_are_the_codes() {
    let configured = [
        ("TOPIC_BYTES_DEFAULT", limits::TOPIC_BYTES_DEFAULT),
        ("TOPIC_BYTES_ON_DISK_DEFAULT", limits::TOPIC_BYTES_ON_DISK_DEFAULT),
        ("NODE_BYTES_DEFAULT", limits::NODE_BYTES_DEFAULT),
        ("DISK_BYTES_DEFAULT", limits::DISK_BYTES_DEFAULT),
        ("CREATES_PER_SECOND_DEFAULT", limits::CREATES_PER_SECOND_DEFAULT),
        ("CREATES_BURST_DEFAULT", limits::CREATES_BURST_DEFAULT),
    ];
    let table = world().document.table("15 ", &["name", "default"]).rows;
    let table = table.iter().filter(|row| row[0] != "–");
    let table: Vec<_> = table.map(|row| (row[0].as_str(), quantity(&row[1]))).collect();
    assert_eq!(table, configured);
}

/// `0x1F`.
fn number_of(hex: &str) -> u8 {
    bytes(hex.strip_prefix("0x").expect("0x"))[0]
}

/// `64 KiB` in bytes, `250 ms` in microseconds, `10` as it is.
fn quantity(text: &str) -> u64 {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let scale = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "ms" => 1_000,
        "s" => 1_000_000,
        _ => panic!("the unit of {text}"),
    };
    number.parse::<u64>().unwrap() * scale
}

#[test]
fn the_numbers_in_running_text_are_the_codes() {
    let document = &world().document;
    let text = document.lines().join("\n");
    let flags = document.table("3.2", &["bit", "name"]).rows;
    let named: Vec<_> =
        flags.iter().filter(|row| !row[1].is_empty()).map(|row| (number_of(&row[0]), row[1].as_str())).collect();
    let expected = [
        (Flags::RESPONSE.0, "RESPONSE"),
        (Flags::ROUTED.0, "ROUTED"),
        (Flags::ONEWAY.0, "ONEWAY"),
        (Flags::MORE.0, "MORE"),
    ];
    assert_eq!(named, expected);
    let grease = field::TAGS_GREASE.map(|tag| format!("0x{tag:02X}")).join(", ");
    let numbers = [
        format!("| 4 | 2 | u16 | magic | 0x{MAGIC:04X} |"),
        format!("| 6 | 1 | u8 | version | {VERSION} |"),
        format!("header ({HEADER_BYTES} bytes)"),
        format!("Of `123456789` it is 0x{:08X}", crc32fast::hash(b"123456789")),
        format!("TLV tags {grease}"),
        format!("the bit 0x{:02X} of its tag", field::TAG_CRITICAL),
        "| 0x40, 0x80 | | reserved, critical".to_owned(),
        format!("{} node, {} group, {} multicast", Kind::Node as u8, Kind::Group as u8, Kind::Multicast as u8),
        format!("{} bulk: what clients cause; {} control", TrafficClass::Bulk as u8, TrafficClass::Control as u8),
        format!("more than\n{} bytes: LIMIT", limits::PAYLOAD_MAX),
        format!("at most {} bytes, and arrive within 5 s", limits::FRAME_BEFORE_HELLO_MAX),
        format!("before HELLO {} |", limits::FRAME_BEFORE_HELLO_MAX),
        format!("`max_frame` of at least {}", limits::FRAME_MAX_LEAST),
        format!("HELLO with max_frame < {}", limits::FRAME_MAX_LEAST),
        format!("at least {} ms", limits::CLIENT_KEEPALIVE_LEAST_US / 1000),
        format!("a node's own is {} ms", limits::CLIENT_KEEPALIVE_US / 1000),
        format!("was not answered within {} s", limits::REQUEST_TIMEOUT_US / 1_000_000),
        format!("does not end within {} s", limits::PARTIAL_FRAME_TIMEOUT_US / 1_000_000),
        format!("a frame takes over {} s", limits::PARTIAL_FRAME_TIMEOUT_US / 1_000_000),
        format!("at most {} |", limits::LIST_NAMES_MAX),
        format!("nodes in the payload, at most {} |", limits::NODES_PAGE_MAX),
        format!("at most {} |", limits::FETCH_RUNS_MAX),
        format!("reserves {} bytes, or {} if its answer", limits::RESPONSE_CHARGE, limits::RESPONSE_CHARGE_SHORT),
        format!("- {} MiB reserved for the responses to them", limits::CLIENT_CHARGE_MAX >> 20),
        format!("- {} KiB of responses and DELIVERs", limits::CLIENT_QUEUE_MAX >> 10),
        format!("budget is {} MiB and", limits::CLIENTS_BYTES_LEAST >> 20),
        format!("one part in {} of the node's `--memory`", limits::CLIENTS_MEMORY_PART),
        format!("than {max}, are {max};", max = limits::PAYLOAD_MAX),
        format!(
            "So {} FETCHes",
            limits::CLIENT_CHARGE_MAX.div_ceil((limits::PAYLOAD_MAX + limits::RESPONSE_CHARGE).into())
        ),
        format!("`max_frame` bytes and {} runs", limits::FETCH_RUNS_MAX),
        format!("0: none; more than {ms} is {ms} |", ms = limits::FETCH_WAIT_MAX_MS),
        format!("longest wait of a FETCH: {} ms", limits::FETCH_WAIT_MAX_MS),
        format!("A link with more than {} MiB unsent", limits::PUSH_QUEUE_MAX >> 20),
        format!("`count` items, at most {}; of the response", limits::FEED_ITEMS_MAX),
        format!("follows more than {} topics", limits::FEED_ITEMS_MAX),
        format!("`count` items, at most {}. **Idempotent**", limits::HEADS_ITEMS_MAX),
        format!("more than {} HEADS unanswered", limits::HEADS_MISSING_MAX),
        format!("no HEADS for {} s", limits::HEADS_MISSING_MAX * limits::HEADS_US / 1_000_000),
        format!("{} runs, {} bytes", limits::FETCH_RUNS_MAX, limits::PAYLOAD_MAX),
        format!("remembers the {} producers", limits::PRODUCERS_MAX),
        format!("the newest {} of those", limits::ONE_SHOTS_MAX),
        format!("more than {} unacknowledged", limits::PRODUCER_WINDOW),
        format!("one of the last {}, same count", limits::PRODUCER_WINDOW),
        format!("one of the last {}, otherwise", limits::PRODUCER_WINDOW),
        format!("`max_frame` {}", limits::FRAME_MAX),
        format!("at most {} · 2^d hops", limits::TTL_PER_NODE),
        format!("within {} ms, else", limits::DUPLICATE_PROBE_US / 1000),
        "1 client, 2 node".to_owned(),
    ];
    assert_eq!(Flags::CRITICAL, Flags(0x40).with(Flags(0x80)));
    for number in numbers {
        assert!(text.contains(&number), "the document does not say: {number}");
    }
}

#[test]
fn messages_of_members_are_read_as_their_fields_say_or_refused() {
    let table = world().document.table("11.11", &["kind", "message", "fields"]);
    let mut kinds = BTreeSet::new();
    for entry in load("raft.txt") {
        let payload = Bytes::from(entry.bytes("hex"));
        let items = RaftItem::decode_all(&payload, entry.value("count").parse().unwrap());
        if let Some(status) = entry.find("error") {
            assert_eq!(items.unwrap_err().status().name(), status, "{}", entry.name());
            continue;
        }
        let items = items.unwrap();
        let lines: Vec<_> = items.iter().enumerate().flat_map(|(index, item)| raft::lines(index, item)).collect();
        assert_eq!(lines, entry.0[4..], "{}", entry.name());
        for index in 0..items.len() {
            let fields = entry.below(&format!("message.{index}."));
            let kind = fields.iter().find(|(name, _)| *name == "kind").expect("a message has a kind").1;
            let row = table.rows.iter().find(|row| row[0] == kind).expect("a kind of the table");
            let names = fields[6..].iter().map(|(name, _)| *name).filter(|name| !name.starts_with("entry."));
            assert_eq!(names.collect::<Vec<_>>().join(", "), row[2], "the fields of {}", row[1]);
            kinds.insert(kind.to_owned());
        }
    }
    assert_eq!(kinds.len(), table.rows.len(), "a vector for each kind");
}

#[test]
fn limits_between_nodes_are_as_the_text_says() {
    let text = world().document.lines().join("\n");
    let (most, beside_route) = (limits::FRAME_MAX + limits::LINK_FRAME_EXTRA, limits::FRAME_MAX);
    assert!(text.contains(&format!("at most {most} bytes, of which at most {beside_route} (`max_frame`)")));
    assert!(text.contains(&format!("`count` messages, at most {}", limits::RAFT_ITEMS_MAX)));
    for most in [limits::FEED_ITEMS_MAX, limits::HEADS_ITEMS_MAX] {
        assert!(text.contains(&format!("MALFORMED_ARGS for more than {most} items")), "{most}");
    }
}

#[test]
fn opened_producers_are_as_the_text_says() {
    let text = world().document.lines().join("\n");
    let foobar = format!("\"foobar\" gives 0x{:016X}", ProducerId::of_name("foobar").number());
    let most = format!("remembers the {} opened producers", limits::OPENED_PRODUCERS_MAX);
    assert!(text.contains(&foobar) && text.contains(&most));
}

#[test]
fn rules_are_numbered_and_what_is_referred_to_is_there() {
    let document = &world().document;
    let mut rules = BTreeSet::new();
    for line in document.lines() {
        let Some(rule) = line.strip_prefix("- [W-").and_then(|rest| rest.split(']').next()) else { continue };
        let (chapter, number) = rule.split_once('.').unwrap();
        let rule_id = (chapter.parse::<u32>().unwrap(), number.parse::<u32>().unwrap());
        assert!(rules.insert(rule_id), "{rule} is the name of two rules");
    }
    // Rules keep their numbers when text moves, and new ones get the next number of their chapter.
    // Changes made in parallel each got a range of numbers for their rules, and need not use all of it.
    let was_given_out = |chapter: u32, number: u32| chapter == 11 && (46..=66).contains(&number);
    for &(chapter, number) in &rules {
        let has_before = number == 1 || rules.contains(&(chapter, number - 1)) || was_given_out(chapter, number - 1);
        assert!(has_before, "there is no W-{chapter}.{}", number - 1);
    }
    let text = document.lines().join("\n");
    for (at, _) in text.match_indices("[W-") {
        let rule = text[at + 3..].split(']').next().unwrap();
        let (chapter, number) = rule.split_once('.').unwrap();
        let is_rule = rules.contains(&(chapter.parse().unwrap(), number.parse().unwrap()));
        assert!(is_rule, "the rule W-{rule} does not exist");
    }
    let headings: Vec<_> = document.headings().filter_map(|heading| heading.split(' ').next()).collect();
    for word in text.split(|c: char| !(c.is_ascii_digit() || c == '.')).map(|word| word.trim_matches('.')) {
        let is_section = word.split('.').count() == 2 && !word.starts_with('0') && word.len() <= 5;
        let is_other = ["1.1", "1.5", "0.1"].contains(&word);
        assert!(!is_section || is_other || headings.contains(&word) || text.contains(&format!("[W-{word}]")), "{word}");
    }
    for (at, _) in text.match_indices("M-") {
        let number = text[at + 2..].split(|c: char| !c.is_ascii_digit()).next().unwrap();
        assert!(text.contains(&format!("\n| M-{number} | ")), "there is no row M-{number}");
    }
    assert!(text.contains("```python\n# first_client.py\n"), "the first client is where a test finds it");
}

#[test]
fn the_worked_credit_adds_up() {
    let table = world().document.table("9.5", &["frame", "base_offset", "count", "bytes"]);
    let cell = |row: &[String], at: usize| row[at].parse::<u64>().ok();
    let (mut sent, mut limit, mut cursor, mut told) = (0, 0, 40, 0);
    let mut waited = false;
    for row in &table.rows {
        let [base, count, bytes, new_limit] = [1, 2, 3, 4].map(|at| cell(row, at));
        if row[0].contains("DELIVER") {
            assert!(sent < limit, "{row:?}: the node had to wait");
            sent += bytes.unwrap();
            waited |= sent > limit;
        }
        if let (Some(base), Some(count)) = (base, count) {
            assert_eq!(base, cursor, "{row:?}");
            cursor += count;
        }
        if row[0].contains("CREDIT") {
            limit = limit.max(new_limit.unwrap());
        }
        told = new_limit.unwrap_or(told);
        if row[0].contains("its answer, `from`") {
            limit = told;
        }
        // The client handles all that comes before it sends anything.
        let expected = [sent, limit, cursor, sent].map(Some);
        assert_eq!([5, 6, 7, 8].map(|at| cell(row, at)), expected, "{row:?}");
    }
    assert!(waited, "the last DELIVER before CREDIT exceeds the limit");
}

#[test]
fn the_table_of_chapter_7_reads_records() {
    let world = world();
    let rows = world.document.table("7 Records", &["offset", "size", "type", "field"]).rows;
    for entry in world.records.iter().filter(|entry| entry.find("because").is_none()) {
        let payload = entry.bytes("hex");
        let mut rest = payload.as_slice();
        for record in records::iter(&payload) {
            let record = record.unwrap();
            let (mut attrs, mut read) = (0, vec![]);
            let size = 4 + u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let mut fields = rest.split_off(..size).unwrap();
            for row in &rows {
                let bit = row[0].strip_prefix("attrs ").map_or(0, |bit| u8::from_str_radix(bit, 16).unwrap());
                if attrs & bit != bit {
                    continue;
                }
                let length = match row[2].as_str() {
                    "u8" => 1,
                    "u32" => 4,
                    "u64" => 8,
                    "bytes16" => 2 + usize::from(u16::from_be_bytes(fields[..2].try_into().unwrap())),
                    _ => fields.len(),
                };
                let field = fields.split_off(..length).unwrap();
                if row[3] == "attrs" {
                    attrs = field[0];
                }
                read.push((row[3].as_str(), field));
            }
            let field = |name| read.iter().find(|(found, _)| *found == name).map(|(_, field)| *field);
            assert_eq!(
                field("timestamp_us").map(|time| time.to_vec()),
                record.timestamp_us.map(|time| time.to_be_bytes().to_vec())
            );
            assert_eq!(field("key").map(|key| &key[2..]), record.key);
            assert_eq!(field("headers").is_none_or(|headers| headers.len() == 2), record.headers.is_empty());
            assert_eq!(field("value"), Some(record.value));
        }
        assert!(rest.is_empty());
    }
}
