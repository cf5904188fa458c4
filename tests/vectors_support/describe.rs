//! What a frame says, read by the tables of protocol.md: the lines of `good.txt` and the blocks in the text.

use dht_node::wire::{Flags, Opcode};

use super::document::{Document, Table};
use super::good::role;
use super::layout::{Field, Layout, number, tlvs};
use super::text::hex;

/// A frame's fields by its parts; ranges count from the start of the frame.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) header: Vec<Field>,
    pub(crate) route: Vec<Field>,
    pub(crate) args: Vec<Field>,
    pub(crate) tlvs: Vec<Field>,
    /// Of the operations whose payload is a list.
    pub(crate) payload: Vec<Field>,
    /// Where the payload begins.
    pub(crate) payload_at: usize,
}

/// The tables of fields in a section; others may explain them.
fn field_tables(document: &Document, heading: &str) -> Vec<Table> {
    let mut tables = document.tables(heading);
    tables.retain(|table| table.head[0] == "offset");
    tables
}

/// The table of the args of an operation: of its request, its response or its errors.
pub(crate) fn args_layout(document: &Document, opcode: Opcode, role: &str) -> Layout {
    let own = match document.text(&heading(document, opcode)).split_once("Request args as in ") {
        Some((_, section)) if role == "request" => {
            let section = section.split(['\n', ' ']).next().expect("split gives one").trim_end_matches('.');
            field_tables(document, &format!("{section} "))
        }
        // Then the section's first table is that of the response.
        Some(_) => {
            let own = field_tables(document, &heading(document, opcode));
            [own.clone(), own].concat()
        }
        None => field_tables(document, &heading(document, opcode)),
    };
    Layout::of(&match (opcode, role) {
        (Opcode::Hello | Opcode::Goaway | Opcode::Deliver, _) | (_, "request") => own[0].clone(),
        (_, "error") => document.table("5.6", &["offset"]),
        (Opcode::Event, "flowing") => own[2].clone(),
        (Opcode::Create | Opcode::Info | Opcode::Query | Opcode::Alter, _) => document.table("6.1 ", &["offset"]),
        (..) => own[1].clone(),
    })
}

/// The table of the items of a payload that is a list.
fn items_layout(document: &Document, opcode: Opcode, role: &str) -> Option<Layout> {
    let table = match (opcode, role) {
        (Opcode::List | Opcode::Nodes, "response") | (Opcode::Feed | Opcode::Heads, "request") => 2,
        (Opcode::Feed, "response") => 3,
        _ => return None,
    };
    Some(Layout::of(&field_tables(document, &heading(document, opcode))[table]))
}

/// The heading of an operation's section.
pub(crate) fn heading(document: &Document, opcode: Opcode) -> String {
    let end = format!(" {} (0x{:02X})", opcode.name(), opcode.number());
    let mut found = document.headings().filter(|heading| heading.ends_with(&end));
    let heading = found.next().unwrap_or_else(|| panic!("protocol.md has no section{end}"));
    assert!(found.next().is_none(), "two sections{end}");
    heading.to_owned()
}

/// Takes a good frame apart.
pub(crate) fn describe(document: &Document, frame: &[u8]) -> Described {
    let (header, header_len) = decode(&Layout::of(&document.table("3.1", &["offset"])), frame, 0, &[]);
    let byte = |name| u8::try_from(number(&header, name).expect("a field of the header")).expect("8 bits");
    let opcode = Opcode::from_number(byte("opcode")).expect("good vectors have known opcodes");
    let (flags, status) = (Flags(byte("flags")), byte("status"));
    let role = role(opcode, flags, status);
    let mut route_len = 0;
    let mut route = vec![];
    if flags.has(Flags::ROUTED) {
        let layout = Layout::of(&document.table("11.2", &["offset"]));
        (route, route_len) = decode(&layout, &frame[header_len..], header_len, &[]);
    }
    let args_at = header_len + route_len;
    let args_len = usize::try_from(number(&header, "args_len").expect("there")).expect("16 bits");
    let payload_at = args_at + args_len;
    let (args, fixed_len) = decode(&args_layout(document, opcode, role), &frame[args_at..payload_at], args_at, &[]);
    let mut tlvs = tlvs(&frame[args_at + fixed_len..payload_at]).expect("good TLVs");
    tlvs.iter_mut()
        .for_each(|tlv| tlv.range = tlv.range.start + args_at + fixed_len..tlv.range.end + args_at + fixed_len);
    let mut payload = vec![];
    if let Some(layout) = items_layout(document, opcode, role) {
        let rest;
        (payload, rest) = decode(&layout, &frame[payload_at..], payload_at, &args);
        assert_eq!(payload_at + rest, frame.len());
    }
    Described { header, route, args, tlvs, payload, payload_at }
}

fn decode(layout: &Layout, bytes: &[u8], at: usize, known: &[Field]) -> (Vec<Field>, usize) {
    let (mut fields, end) = layout.decode(bytes, known).expect("a good frame has all fields of its tables");
    fields.iter_mut().for_each(|field| field.range = field.range.start + at..field.range.end + at);
    (fields, end)
}

impl Described {
    /// The lines of a vector.
    pub(crate) fn lines(&self, frame: &[u8]) -> Vec<(String, String)> {
        let part = |prefix: &'static str, fields: &[Field]| {
            let line = move |field: &Field| (format!("{prefix}.{}", field.key()), field.value.clone());
            fields.iter().map(line).collect::<Vec<_>>()
        };
        let mut lines = part("header", &self.header);
        lines.extend(part("route", &self.route));
        lines.extend(part("args", &self.args));
        lines.extend(part("tlv", &self.tlvs));
        lines.extend(part("payload", &self.payload));
        if self.payload.is_empty() && self.payload_at < frame.len() {
            lines.push(("payload".to_owned(), hex(&frame[self.payload_at..])));
        }
        lines
    }

    /// The lines of a block in protocol.md: bytes, and what they are.
    pub(crate) fn block(&self, document: &Document, frame: &[u8]) -> Vec<String> {
        let opcode = u8::try_from(number(&self.header, "opcode").expect("there")).expect("8 bits");
        let name = Opcode::from_number(opcode).map_or("", Opcode::name);
        let details = document.table("5.6", &["tag", "name"]).rows;
        let mut lines = vec![];
        for part in [&self.header[..9], &self.header[9..]] {
            push(part.iter().map(|field| (grouped(field, frame), comment(field, name))), usize::MAX, &mut lines);
        }
        for part in [&self.route, &self.args, &self.payload] {
            push(part.iter().map(|field| (grouped(field, frame), comment(field, name))), COLUMN, &mut lines);
        }
        let tlvs = self.tlvs.iter().map(|tlv| {
            let unknown = if tlv.name == "0xC7" { "SETTINGS" } else { "that means nothing" };
            let detail = details.iter().find(|row| row[0] == tlv.name).map_or(unknown, |row| &row[1]);
            (grouped(tlv, frame), format!("TLV {detail}"))
        });
        push(tlvs, COLUMN, &mut lines);
        if self.payload.is_empty() {
            for (number, bytes) in frame[self.payload_at..].chunks(20).enumerate() {
                let says = if number == 0 { "payload" } else { "" };
                push([(hex(bytes), says.to_owned())].into_iter(), COLUMN, &mut lines);
            }
        }
        lines
    }
}

/// Where comments begin in a block.
const COLUMN: usize = 44;

/// Adds fields to the lines of a block: as many to a line as fit.
fn push(fields: impl Iterator<Item = (String, String)>, width: usize, lines: &mut Vec<String>) {
    let mut open: Vec<(String, Vec<String>)> = vec![];
    for (bytes, says) in fields {
        match open.last_mut() {
            Some((line, comments)) if line.len() + bytes.len() < width && has_room(comments, &says) => {
                *line = format!("{line} {bytes}");
                comments.push(says);
            }
            _ => open.push((bytes, vec![says])),
        }
    }
    for (bytes, mut comments) in open {
        comments.retain(|comment| !comment.is_empty());
        // Long text goes on below.
        let mut rest = bytes.as_str();
        while rest.len() > COLUMN {
            let digits = rest[..COLUMN - 1].bytes().filter(u8::is_ascii_hexdigit).count();
            let (line, below) = rest.split_at(COLUMN - 1 - digits % 2);
            lines.push(format!("{line:COLUMN$}; {}", std::mem::take(&mut comments).join(", ")));
            rest = below;
        }
        let line = format!("{rest:COLUMN$}; {}", comments.join(", "));
        lines.push(line.trim_end_matches([' ', ';']).to_owned());
    }
}

/// Do the comments of a line stay readable with one more?
fn has_room(comments: &[String], says: &str) -> bool {
    comments.iter().map(|comment| comment.len() + 2).sum::<usize>() + says.len() <= 76
}

/// Lengths of text and the head of a TLV stand apart.
fn grouped(field: &Field, frame: &[u8]) -> String {
    let bytes = &frame[field.range.clone()];
    if field.name.starts_with("0x") {
        return [&bytes[..1], &bytes[1..3], &bytes[3..]].map(hex).join(" ");
    }
    match field.value.strip_prefix('"') {
        Some(text) if text.len() > 1 => {
            let head = bytes.len() + 1 - text.len();
            [&bytes[..head], &bytes[head..]].map(hex).join(" ")
        }
        _ => hex(bytes),
    }
}

/// What a field says, if that is worth saying.
fn comment(field: &Field, opcode: &str) -> String {
    match field.name.as_str() {
        "opcode" => opcode.to_owned(),
        "magic" | "version" | "reserved" => String::new(),
        "flags" | "status" | "route_len" if field.number == 0 && field.index.is_none() => String::new(),
        name if name.ends_with("_crc") => name.to_owned(),
        name if field.value.len() == 18 && field.number == 0 => format!("{name} 0"),
        name if field.value.len() == 18 => name.to_owned(),
        _ => format!("{} {}", field.key(), field.value),
    }
}
