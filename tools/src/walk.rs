//! Walks along the bytes of a frame and records each field.

use dht_client::{Dimension, NodeId};
use dht_console::text;
use dht_protocol::wire::Opcode;
use dht_protocol::wire::field::{TAG_CRITICAL, TAGS_GREASE};
use dht_protocol::wire::hello::NO_NODE;
use dht_protocol::wire::records;

use crate::fields::{Field, status_name};
use crate::layout::{self, Kind, Part};

/// The position of the walk, and the fields found so far.
pub(crate) struct Walk<'i> {
    input: &'i [u8],
    pub(crate) at: usize,
    pub(crate) end: usize,
    pub(crate) dimension: Dimension,
    pub(crate) fields: Vec<Field>,
    /// Numbers that other fields refer to.
    numbers: Vec<(&'static str, u64)>,
}

impl<'i> Walk<'i> {
    pub(crate) const fn new(input: &'i [u8], dimension: Dimension) -> Self {
        Self { input, at: 0, end: input.len(), dimension, fields: Vec::new(), numbers: Vec::new() }
    }

    /// Decodes parts of args; `None` if the bytes end.
    pub(crate) fn parts(&mut self, parts: &[Part]) -> Option<()> {
        for part in parts {
            match part {
                Part::Field(name, kind) => self.field(name, *kind)?,
                Part::Repeat(name, each) => {
                    let count = self.take(name, 2, |n| text::counted(n, "time"))?;
                    (0..count).try_for_each(|_| self.parts(each))?;
                }
                Part::Times(name, each) => {
                    (0..self.number(name)).try_for_each(|_| self.parts(each))?;
                }
                Part::If(name, then) => {
                    if self.number(name) == 1 {
                        self.parts(then)?;
                    }
                }
            }
        }
        Some(())
    }

    fn number(&self, name: &str) -> u64 {
        self.numbers.iter().rev().find(|(found, _)| *found == name).map_or(0, |(_, number)| *number)
    }

    fn field(&mut self, name: &'static str, kind: Kind) -> Option<()> {
        let dimension = self.dimension;
        let number = match kind {
            Kind::U8 => self.take(name, 1, |n| n.to_string())?,
            Kind::U16 => self.take(name, 2, |n| n.to_string())?,
            Kind::U32 => self.take(name, 4, |n| n.to_string())?,
            Kind::U64 => self.take(name, 8, |n| n.to_string())?,
            Kind::Id => self.take(name, 8, |n| if n == 0 { "none".to_owned() } else { format!("{n:#x}") })?,
            Kind::Time => self.take(name, 8, text::time)?,
            Kind::Node => self.take(name, 2, |n| node(n, dimension))?,
            Kind::Durability => self.take(name, 1, |n| named(n, &["memory", "interval", "synced"]))?,
            Kind::Status => self.take(name, 1, |n| status_name(u8::try_from(n).unwrap_or(u8::MAX)))?,
            Kind::Role => self.take(name, 1, |n| named(n, &["0", "client", "node"]))?,
            Kind::Start => self.take(name, 1, |n| named(n, &["offset", "earliest", "next", "time"]))?,
            Kind::Str8 => return self.text(name, 1),
            Kind::Str16 => return self.text(name, 2),
        };
        self.numbers.push((name, number));
        Some(())
    }

    /// Reads a number of `size` bytes.
    pub(crate) fn take(&mut self, name: &str, size: usize, show: impl FnOnce(u64) -> String) -> Option<u64> {
        let bytes = self.input[..self.end].get(self.at..self.at + size)?;
        let number = bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        self.add(name, size, show(number));
        Some(number)
    }

    /// Reads text after its length.
    fn text(&mut self, name: &str, length_size: usize) -> Option<()> {
        let prefix = self.input[..self.end].get(self.at..self.at + length_size)?;
        let length = prefix.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let bytes = self.input[..self.end].get(self.at + length_size..self.at + length_size + length)?;
        let shown = format!("{:?}", String::from_utf8_lossy(bytes));
        self.add(name, length_size + length, shown);
        Some(())
    }

    fn add(&mut self, name: &str, size: usize, value: String) {
        let bytes = self.input[self.at..self.at + size].to_vec();
        self.fields.push(Field { at: self.at, bytes, name: name.to_owned(), value });
        self.at += size;
    }

    pub(crate) fn tlvs(&mut self, is_error: bool) {
        while self.at + 3 <= self.end {
            let tag = self.input[self.at];
            let length = usize::from(u16::from_be_bytes([self.input[self.at + 1], self.input[self.at + 2]]));
            if self.at + 3 + length > self.end {
                return;
            }
            let detail = if is_error { layout::detail(tag) } else { None };
            let name = match detail {
                Some((name, _)) => name,
                None if TAGS_GREASE.contains(&tag) => "grease",
                None if tag & TAG_CRITICAL != 0 => "critical TLV",
                None => "unknown TLV",
            };
            let end = self.at + 3 + length;
            match detail {
                Some((_, parts)) => {
                    self.add(name, 3, format!("tag {tag:#04x}, {}", text::counted(length as u64, "byte")));
                    let before = std::mem::replace(&mut self.end, end);
                    self.parts(parts);
                    self.rest(end, "detail");
                    self.end = before;
                }
                None => self.add(name, 3 + length, format!("tag {tag:#04x}, {}", text::counted(length as u64, "byte"))),
            }
        }
    }

    pub(crate) fn payload(&mut self, opcode: Option<Opcode>, is_response: bool) {
        match (opcode, is_response) {
            (Some(Opcode::Publish | Opcode::Deliver), false) | (Some(Opcode::Fetch), true) => self.records(),
            (Some(Opcode::List), true) => self.items(layout::LISTED),
            (Some(Opcode::Nodes), true) => self.items(layout::NODE_ADDRESS),
            (Some(Opcode::Feed), false) => self.items(layout::FEED_ITEM),
            (Some(Opcode::Feed), true) => self.items(layout::FED_ITEM),
            (Some(Opcode::Heads), false) => self.items(layout::HEADS_ITEM),
            (Some(Opcode::Stats), true) => {
                let lines = String::from_utf8_lossy(&self.input[self.at..self.end]).lines().count();
                self.add("text", self.end - self.at, text::counted(lines as u64, "line"));
            }
            _ => {}
        }
    }

    fn items(&mut self, each: &[Part]) {
        while self.at < self.end && self.parts(each).is_some() {}
    }

    fn records(&mut self) {
        let mut index = 0;
        while self.at < self.end {
            let payload = &self.input[self.at..self.end];
            let Ok((record, rest)) = records::Record::decode(payload) else { return };
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
            self.add(&format!("record {index}"), payload.len() - rest.len(), value);
            index += 1;
        }
    }

    /// Records the bytes up to `end` as undecodable.
    pub(crate) fn rest(&mut self, end: usize, name: &str) {
        if self.at < end {
            self.add(name, end - self.at, "not understood".to_owned());
        }
    }
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
