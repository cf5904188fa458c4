//! Decodes a frame field by field, and reports what is wrong with it.
//!
//! Args and payload are decoded by the library that clients use, which reports each field that it reads; only header
//! and route section are described here again, so that they can be shown even if they are malformed.

use dht_client::Dimension;
use dht_protocol::limits::{FRAME_MAX, LINK_FRAME_EXTRA};
use dht_protocol::types::crc32;
use dht_protocol::wire::frame::{MAGIC, VERSION, at};
use dht_protocol::wire::inspect::inspect;
use dht_protocol::wire::push::EVENTS;
use dht_protocol::wire::records;
use dht_protocol::wire::route::ROUTE_BYTES_MIN;
use dht_protocol::wire::{Flags, Frame, HEADER_BYTES, Header, Opcode, Origin, Raw, Status};

use crate::walk::{self, Walk};

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its offset in the frame.
    pub(crate) at: usize,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Its name.
    pub(crate) name: String,
    /// Its value in words.
    pub(crate) value: String,
}

/// A decoded frame.
#[derive(Clone, Debug)]
pub(crate) struct Explained {
    /// A summary in a few words.
    pub(crate) title: String,
    /// The fields that could be decoded.
    pub(crate) fields: Vec<Field>,
    /// What is wrong with the frame.
    pub(crate) fault: Option<String>,
    /// Size of the frame in bytes; `None` if it cannot be determined.
    pub(crate) length: Option<usize>,
}

/// Decodes the frame at the start of `input`.
pub(crate) fn explain(input: &[u8], dimension: Dimension) -> Explained {
    let mut walk = Walk::new(input, dimension);
    let title = header(input, &mut walk);
    let done = |walk: Walk, title, fault, length| Explained { title, fields: walk.fields, fault, length };
    let header = match Header::parse(input, FRAME_MAX + LINK_FRAME_EXTRA) {
        Err(error) => return done(walk, title, Some(error.to_string()), None),
        Ok(None) => {
            let fault = format!("the input ends after {} of the header's {HEADER_BYTES} bytes", input.len());
            return done(walk, title, Some(fault), None);
        }
        Ok(Some(header)) => header,
    };
    let length = header.frame_len();
    if input.len() < length {
        let fault = format!("the input ends after {} of the frame's {length} bytes", input.len());
        return done(walk, title, Some(fault), None);
    }
    walk.end = length;
    let frame = match Frame::parse(header, Raw::Shared(walk.input().slice(..length)), dimension) {
        Ok(frame) => frame,
        Err(error) => return done(walk, title, Some(error.to_string()), Some(length)),
    };
    let body = length - frame.body().len();
    route(&mut walk, body);
    let args_end = length - frame.payload().len();
    walk.end = length;
    let fault = body_fields(&frame, args_end, &mut walk).err();
    walk.rest(length, "payload");
    done(walk, title, fault, Some(length))
}

/// Adds the fields of args and payload, as far as the decoders of the protocol understand them.
///
/// # Errors
/// Returns what is wrong with them.
fn body_fields(frame: &Frame<'_>, args_end: usize, walk: &mut Walk) -> Result<(), String> {
    let header = &frame.header;
    let (args, payload) = (walk.input().slice(walk.at..args_end), walk.input().slice(args_end..walk.end));
    let opcode = Opcode::from_number(header.opcode);
    let decoded = match opcode {
        Some(opcode) => inspect(opcode, header, &args, &payload, walk).map_err(|error| error.to_string()),
        None => Err(format!("unknown opcode {:#04x}", header.opcode)),
    };
    walk.settle(args_end);
    if matches!(decoded, Ok(Some(_))) {
        walk.records();
    } else if opcode == Some(Opcode::Stats) && decoded.is_ok() {
        walk.lines();
    } else if opcode == Some(Opcode::Chunks) && decoded.is_ok() {
        walk.opaque(walk.end, "part of the state of a group");
    }
    frame.args().map_err(|_| "args do not match args_crc".to_owned())?;
    frame.keep_payload().map_err(|_| "the payload does not match payload_crc".to_owned())?;
    if header.flags.any(Flags::CRITICAL) {
        return Err(format!("a critical flag is set: {:#04x}", header.flags.0));
    }
    match decoded? {
        Some(count) if count > 0 || !payload.is_empty() => {
            records::check(&payload, count).map_err(|error| error.to_string())
        }
        Some(_) | None => Ok(()),
    }
}

/// Adds the header's fields, valid or not, and returns the title.
fn header(input: &[u8], walk: &mut Walk) -> String {
    let byte = |at: usize| input.get(at).copied().unwrap_or_default();
    let (opcode, flags, status) = (byte(at::OPCODE), Flags(byte(at::FLAGS)), byte(at::STATUS));
    let is_notice = opcode == Opcode::Goaway.number();
    let is_push = Opcode::from_number(opcode).is_some_and(Opcode::is_push);
    let is_answer = flags.has(Flags::RESPONSE) || is_notice || is_push;
    walk.take("length", 4, |n| format!("{n}, so the frame has {} bytes", n + 4));
    walk.take("magic", 2, |n| {
        if n == u64::from(MAGIC) { "right".to_owned() } else { format!("wrong, it is {MAGIC:#06x}") }
    });
    walk.take("version", 1, |n| {
        if n == u64::from(VERSION) { n.to_string() } else { format!("{n}, this is version {VERSION}") }
    });
    walk.take("opcode", 1, |_| opcode_name(opcode));
    walk.take("flags", 1, |_| flag_names(flags));
    let outcome = if opcode == Opcode::Event.number() { event_name(status) } else { status_name(status) };
    walk.take("status", 1, |_| if is_answer { outcome.clone() } else { status.to_string() });
    let number = |n: u64| n.to_string();
    let args_len = walk.take("args_len", 2, number).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let route_len = walk.take("route_len", 2, number).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    walk.take("reserved", 2, number);
    let id = walk.take("request_id", 8, number);
    let args_at = HEADER_BYTES + route_len;
    let whole = frame_len(input);
    walk.take("args_crc", 4, |n| sum(n, input.get(args_at..args_at + args_len)));
    walk.take("payload_crc", 4, |n| sum(n, whole.and_then(|end| input.get(args_at + args_len..end))));
    walk.take("header_crc", 4, |n| sum(n, input.get(..HEADER_BYTES - 4)));
    let kind = match (is_notice, flags.has(Flags::RESPONSE)) {
        (true, _) => "notice",
        (false, true) => "response",
        (false, false) if is_push => "of subscription",
        (false, false) => "request",
    };
    let outcome = if is_answer { format!(", {outcome}") } else { String::new() };
    match id {
        Some(id) => format!("{} {kind} {id}{outcome}", opcode_name(opcode)),
        None => "not a whole header".to_owned(),
    }
}

/// Returns the size of the whole frame according to its first four bytes.
fn frame_len(input: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(input.get(..4)?.try_into().ok()?);
    usize::try_from(length).ok()?.checked_add(4)
}

/// Compares a checksum with the bytes that it covers, if they are present.
fn sum(found: u64, bytes: Option<&[u8]>) -> String {
    match bytes.map(crc32) {
        None => String::new(),
        Some(right) if u64::from(right) == found => "right".to_owned(),
        Some(right) => format!("wrong, {right:08x} would be right"),
    }
}

/// Adds the fields of the route section, up to `end`.
fn route(walk: &mut Walk, end: usize) {
    if end - walk.at < ROUTE_BYTES_MIN {
        return;
    }
    let dimension = walk.dimension;
    let number = |n: u64| n.to_string();
    walk.take("source", 2, |n| walk::node(n, dimension));
    walk.take("target", 2, |n| walk::node(n, dimension));
    walk.take("ttl", 2, number);
    walk.take("hops", 2, number);
    walk.take("kind", 1, |n| walk::named(n, &["node", "group", "multicast"]));
    walk.take("class", 1, |n| {
        let class = walk::named(n & 0x0F, &["bulk", "control"]);
        if n >> 4 == 0 { class } else { format!("{class}, routed in dimension {}", n >> 4) }
    });
    walk.take("link words", 1, number);
    walk.take("target words", 1, number);
    walk.take("origin", 8, |n| {
        let origin = Origin::from_number(n);
        format!("mark {:#06x}, generation {}, slot {}", origin.mark, origin.generation, origin.slot)
    });
    while walk.at + 4 < end && walk.take("set word", 8, |n| format!("{n:#b}")).is_some() {}
    walk.take("route_crc", 4, |_| "right".to_owned());
}

fn opcode_name(number: u8) -> String {
    Opcode::from_number(number)
        .map_or_else(|| format!("unknown opcode {number:#04x}"), |opcode| opcode.name().to_owned())
}

/// Returns the name of an EVENT: below 0x40 events have a registry of their own.
fn event_name(number: u8) -> String {
    let event = EVENTS.iter().find(|(event, _)| *event == number);
    event.map_or_else(|| status_name(number), |(_, name)| (*name).to_owned())
}

/// Returns the name of a status.
pub(crate) fn status_name(number: u8) -> String {
    Status::from_number(number)
        .map_or_else(|| format!("unknown status {number:#04x}"), |status| status.name().to_owned())
}

fn flag_names(flags: Flags) -> String {
    let known =
        [(Flags::RESPONSE, "RESPONSE"), (Flags::ROUTED, "ROUTED"), (Flags::ONEWAY, "ONEWAY"), (Flags::MORE, "MORE")];
    let mut names: Vec<_> =
        known.iter().filter(|(flag, _)| flags.has(*flag)).map(|(_, name)| (*name).to_owned()).collect();
    if flags.0 & 0xF0 != 0 {
        names.push(format!("unknown {:#04x}", flags.0 & 0xF0));
    }
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the frames of a file in tests/vectors, as name and bytes.
    fn vectors(text: &str) -> Vec<(&str, Vec<u8>)> {
        let mut found = Vec::new();
        let mut name = "";
        for line in text.lines() {
            match line.split_once(": ") {
                Some(("name", value)) => name = value,
                Some(("hex", value)) => {
                    let digits: Vec<u8> = value.bytes().filter(u8::is_ascii_hexdigit).collect();
                    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
                    found.push((name, digits.chunks_exact(2).map(byte).collect()));
                }
                Some(_) | None => {}
            }
        }
        found
    }

    #[test]
    fn every_good_vector_is_understood_to_its_last_byte() {
        let vectors = vectors(include_str!("../../tests/vectors/good.txt"));
        assert!(vectors.len() > 20);
        let cube = Dimension::new(3).unwrap();
        for (name, bytes) in vectors {
            let explained = explain(&bytes, cube);
            assert_eq!((explained.fault, explained.length), (None, Some(bytes.len())), "{name}");
            let mut at = 0;
            for field in &explained.fields {
                assert_eq!(field.at, at, "{name}: {field:?}");
                assert_ne!(field.value, "not understood", "{name}: {field:?}");
                at += field.bytes.len();
            }
            assert_eq!(at, bytes.len(), "{name}");
        }
    }

    #[test]
    fn any_bytes_are_explained_without_a_panic() {
        let vectors = vectors(include_str!("../../tests/vectors/bad.txt"));
        let cube = Dimension::new(3).unwrap();
        for (_, bytes) in &vectors {
            for end in 0..=bytes.len() {
                explain(&bytes[..end], cube);
            }
        }
        // A valid frame with any one byte changed can still be displayed.
        let good = &self::vectors(include_str!("../../tests/vectors/good.txt"))[0].1;
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0xFF;
            assert!(explain(&bytes, cube).fault.is_some(), "byte {at}");
        }
    }
}
