//! Walks along the bytes of a frame and records each field.

use bytes::Bytes;
use dht_client::{Dimension, NodeId};
use dht_console::text;
use dht_protocol::wire::field::{Observer, TAG_CRITICAL, TAGS_GREASE};
use dht_protocol::wire::hello::NO_NODE;
use dht_protocol::wire::records;

use crate::fields::{Field, status_name};

/// The position of the walk, and the fields found so far. Those of args and payload are reported by the decoders, in
/// any order, as parts of [`Self::input`]; [`Self::settle`] puts them in order.
pub(crate) struct Walk {
    input: Bytes,
    pub(crate) at: usize,
    pub(crate) end: usize,
    pub(crate) dimension: Dimension,
    pub(crate) fields: Vec<Field>,
}

impl Walk {
    pub(crate) fn new(input: &[u8], dimension: Dimension) -> Self {
        let input = Bytes::copy_from_slice(input);
        Self { at: 0, end: input.len(), input, dimension, fields: Vec::new() }
    }

    /// Returns all bytes. The decoders must be given slices of them.
    pub(crate) const fn input(&self) -> &Bytes {
        &self.input
    }

    /// Reads a number of `size` bytes.
    pub(crate) fn take(&mut self, name: &str, size: usize, show: impl FnOnce(u64) -> String) -> Option<u64> {
        let bytes = self.input[..self.end].get(self.at..self.at + size)?;
        let number = number(bytes);
        self.add(name, size, show(number));
        Some(number)
    }

    fn add(&mut self, name: &str, size: usize, value: String) {
        let bytes = self.input[self.at..self.at + size].to_vec();
        self.fields.push(Field { at: self.at, bytes, name: name.to_owned(), value });
        self.at += size;
    }

    /// Sorts the fields that the decoders have reported, and fills the gaps between them: in args up to `args_end`, and
    /// in the payload up to its last field.
    pub(crate) fn settle(&mut self, args_end: usize) {
        self.fields.sort_by_key(|field| field.at);
        for field in std::mem::take(&mut self.fields) {
            if field.at > self.at {
                self.rest(field.at.min(args_end), "args");
                self.rest(field.at, "payload");
            }
            self.at = self.at.max(field.at + field.bytes.len());
            self.fields.push(field);
        }
        self.rest(args_end, "args");
    }

    /// Records the bytes up to `end` as undecodable.
    pub(crate) fn rest(&mut self, end: usize, name: &str) {
        if self.at < end {
            self.add(name, end - self.at, "not understood".to_owned());
        }
    }

    /// Adds the bytes up to `end`, whose content is not part of the protocol.
    pub(crate) fn opaque(&mut self, end: usize, what: &str) {
        if self.at < end {
            self.add("payload", end - self.at, what.to_owned());
        }
    }

    /// Adds the records of the payload, up to the first that is malformed.
    pub(crate) fn records(&mut self) {
        let payload = self.input.slice(self.at..self.end);
        let mut rest = &payload[..];
        for index in 0.. {
            let Ok((record, behind)) = records::Record::decode(rest) else { return };
            let mut value = format!("{:?}", String::from_utf8_lossy(record.value));
            if let Some(key) = record.key {
                value = format!("{value}, key {:?}", String::from_utf8_lossy(key));
            }
            if let Some(time) = record.timestamp_us {
                value = format!("{value}, time {}", text::time(time));
            }
            for (name, bytes) in record.headers.iter() {
                value = format!("{value}, {name}={:?}", String::from_utf8_lossy(bytes));
            }
            self.add(&format!("record {index}"), rest.len() - behind.len(), value);
            rest = behind;
        }
    }

    /// Adds the payload as one text.
    pub(crate) fn lines(&mut self) {
        let lines = String::from_utf8_lossy(&self.input[self.at..self.end]).lines().count();
        self.add("text", self.end - self.at, text::counted(lines as u64, "line"));
    }

    /// Adds a field that a decoder has read.
    fn report(&mut self, name: &str, bytes: &[u8], value: String) {
        let at = bytes.as_ptr().addr() - self.input.as_ptr().addr();
        assert!(self.input.get(at..at + bytes.len()) == Some(bytes), "decoders get slices of the input");
        self.fields.push(Field { at, bytes: bytes.to_vec(), name: name.to_owned(), value });
    }
}

impl Observer for Walk {
    fn field(&mut self, name: &'static str, bytes: &[u8]) {
        let number = number(bytes);
        let value = match name {
            "topic_id" | "producer_id" | "token" | "features" | "instance" | "digest" | "successor" => match number {
                0 => "none".to_owned(),
                id => format!("{id:#x}"),
            },
            "node" | "node_id" | "home" | "path_node" | "link_node" | "link_a" | "link_b" | "NODE" => {
                node(number, self.dimension)
            }
            "append_us" | "run_append_us" | "created_us" | "wall_us" => text::time(number),
            "durability" => named(number, &["memory", "interval", "synced"]),
            "reason" => status_name(u8::try_from(number).unwrap_or(u8::MAX)),
            "role" => named(number, &["0", "client", "node"]),
            "start" => named(number, &["offset", "earliest", "next", "time"]),
            _ => number.to_string(),
        };
        self.report(name, bytes, value);
    }

    fn text(&mut self, name: &'static str, bytes: &[u8], text: &[u8]) {
        self.report(name, bytes, format!("{:?}", String::from_utf8_lossy(text)));
    }

    fn tlv(&mut self, tag: u8, head: &[u8], value: &[u8], is_known: bool) {
        let name = match tag {
            _ if is_known => "TLV",
            tag if TAGS_GREASE.contains(&tag) => "grease",
            tag if tag & TAG_CRITICAL != 0 => "critical TLV",
            _ => "unknown TLV",
        };
        self.report(name, head, format!("tag {tag:#04x}, {}", text::counted(value.len() as u64, "byte")));
        if !is_known && !value.is_empty() {
            self.report("value", value, "not known".to_owned());
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Returns the name of an enumerated value.
pub(crate) fn named(number: u64, names: &[&str]) -> String {
    let name = usize::try_from(number).ok().and_then(|index| names.get(index));
    name.map_or_else(|| format!("{number}, unknown"), |name| (*name).to_owned())
}

/// Formats a node's id in binary digits.
pub(crate) fn node(number: u64, dimension: Dimension) -> String {
    match u16::try_from(number) {
        Ok(NO_NODE) => "none".to_owned(),
        Ok(id) => {
            NodeId::new(id, dimension).map_or_else(|| format!("{id}, not of this cube"), |node| node.binary(dimension))
        }
        Err(_) => number.to_string(),
    }
}
