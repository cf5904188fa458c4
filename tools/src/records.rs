//! Records as `fetch` and `subscribe` print them, and where in a topic they begin.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dht_node::client::{Item, Message, Offset, Start};
use serde_json::{Map, Value, json};

use crate::clock;
use crate::errors::{Failure, note};
use crate::format::{Format, time_us};
use crate::output::{BAD, DIM, Out};
use crate::text;

/// How records are printed.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    style: Style,
    /// Is the topic said where a person reads?
    names_topic: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Style {
    Json,
    /// The payload, and this behind it.
    Payload(&'static [u8]),
    /// As `-F` says, and nothing else.
    Format(Format),
    Terminal,
}

/// What the options say about printing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) format: Option<&'a str>,
    pub(crate) raw: bool,
    pub(crate) null: bool,
}

impl Printer {
    /// # Errors
    /// Options that exclude each other, and a format that is none.
    pub(crate) fn new(wanted: Wanted<'_>, out: &Out) -> Result<Self, Failure> {
        let exclude = |what: &str| Failure::usage(format!("{what} exclude each other"));
        let behind: Option<&[u8]> = match (wanted.raw, wanted.null) {
            (true, true) => return Err(exclude("-r and -0")),
            (true, false) => Some(b""),
            (false, true) => Some(b"\0"),
            (false, false) => None,
        };
        let style = match (wanted.format, out.is_json(), behind) {
            (Some(_), true, _) => return Err(exclude("--json and -F")),
            (Some(_), false, Some(_)) => {
                return Err(Failure::usage_with(
                    "-F excludes -r and -0".to_owned(),
                    "the format is all that is printed: end it with \\n, \\0 or nothing".to_owned(),
                ));
            }
            (Some(format), false, None) => Style::Format(Format::parse(format)?),
            (None, true, _) => Style::Json,
            (None, false, Some(behind)) => Style::Payload(behind),
            (None, false, None) if out.is_terminal() => Style::Terminal,
            (None, false, None) => Style::Payload(b"\n"),
        };
        Ok(Self { style, names_topic: false })
    }

    /// Says the topic where a person reads: there are several.
    #[must_use]
    pub(crate) const fn naming_topics(mut self) -> Self {
        self.names_topic = true;
        self
    }

    /// Says topic and offset unless the options say how to print: records stand between other output.
    #[must_use]
    pub(crate) fn beside_others(mut self) -> Self {
        if self.style == Style::Payload(b"\n") {
            self.style = Style::Format(Format::parse("%t %i %p\\n").expect("a format that is one"));
        }
        self.naming_topics()
    }

    /// Prints a record, or that some are missing.
    pub(crate) fn item(&self, topic: &str, item: &Item, out: &mut Out) -> io::Result<()> {
        match item {
            Item::Record(message) => self.record(topic, message, out),
            Item::Gap { from, to } => self.gap(topic, *from, *to, out),
        }
    }

    fn record(&self, topic: &str, message: &Message, out: &mut Out) -> io::Result<()> {
        match &self.style {
            Style::Json => out.json(&message_json(topic, message)),
            Style::Payload(behind) => {
                out.bytes(&message.value)?;
                out.bytes(behind)
            }
            Style::Format(format) => {
                let mut bytes = Vec::new();
                format.write(topic, message, &mut bytes);
                out.bytes(&bytes)
            }
            Style::Terminal => {
                let offset = out.paint(DIM, &format!("{:>6}", message.offset.0));
                let time = out.paint(DIM, &text::time(message.append_us));
                let topic = if self.names_topic { format!("{topic} ") } else { String::new() };
                let shown = |bytes: &[u8]| text::harmless(&String::from_utf8_lossy(bytes));
                let key = message.key.as_ref().map(|key| format!("[{}] ", shown(key))).unwrap_or_default();
                out.line(&format!("{topic}{offset}  {time}  {key}{}", shown(&message.value)))
            }
        }
    }

    fn gap(&self, topic: &str, from: Offset, to: Offset, out: &mut Out) -> io::Result<()> {
        let of = if self.names_topic { format!("{topic}: ") } else { String::new() };
        let last = to.0.saturating_sub(1);
        let line = format!("{of}offsets {from} to {last} were removed by retention before they were read");
        match self.style {
            Style::Json => out.json(&json!({"gap": [from.0, to.0], "topic": topic})),
            Style::Terminal => out.line(&out.paint(BAD, &line)),
            Style::Payload(_) | Style::Format(..) => {
                out.flush()?; // in its place between the records, where both go to one terminal
                note(&format!("dht-cli: {line}"));
                Ok(())
            }
        }
    }
}

/// `earliest`, `next`, an offset, RFC 3339, or a duration ago.
pub(crate) fn start(text: &str) -> Result<Start, Failure> {
    match text {
        "earliest" => return Ok(Start::Earliest),
        "next" => return Ok(Start::Next),
        _ => {}
    }
    if let Ok(offset) = text.parse() {
        return Ok(Start::Offset(Offset(offset)));
    }
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        return Ok(Start::Time(u64::try_from(since.as_micros()).unwrap_or(u64::MAX)));
    }
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(Start::Time(clock::wall_us().saturating_sub(u64::try_from(ago.as_micros()).unwrap_or(u64::MAX))));
    }
    Err(Failure::usage_with(
        format!("--from {text:?} is no place in a topic"),
        "write earliest, next, an offset, a time like 2026-11-22T10:00:00Z, or how long ago like 5m".to_owned(),
    ))
}

fn message_json(topic: &str, message: &Message) -> Value {
    let mut value = Map::new();
    value.insert("topic".to_owned(), json!(topic));
    value.insert("offset".to_owned(), json!(message.offset.0));
    insert_bytes(&mut value, "payload", &message.value);
    match &message.key {
        Some(key) => insert_bytes(&mut value, "key", key),
        None => {
            value.insert("key".to_owned(), Value::Null);
        }
    }
    value.insert("timestamp_us".to_owned(), json!(time_us(message)));
    value.insert("append_us".to_owned(), json!(message.append_us));
    if !message.headers.is_empty() {
        let headers = message.headers.iter().map(|(name, bytes)| {
            let mut header = Map::new();
            header.insert("name".to_owned(), json!(name));
            insert_bytes(&mut header, "value", bytes);
            Value::Object(header)
        });
        value.insert("headers".to_owned(), headers.collect());
    }
    Value::Object(value)
}

/// Text as it is, other bytes in base 64 under a name that says so.
fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), json!(text)),
        Err(_) => object.insert(format!("{name}_b64"), json!(STANDARD.encode(bytes))),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        for (from, expected) in [
            ("earliest", Some(Start::Earliest)),
            ("next", Some(Start::Next)),
            ("17", Some(Start::Offset(Offset(17)))),
            ("1970-01-01T00:00:01Z", Some(Start::Time(1_000_000))),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(start(from).ok(), expected, "{from:?}");
        }
        assert!(matches!(start("5m"), Ok(Start::Time(micros)) if micros > 1_600_000_000_000_000));
    }

    #[test]
    fn bytes_that_are_no_text_are_written_in_base_64() {
        let mut object = Map::new();
        insert_bytes(&mut object, "payload", b"caf\xc3\xa9");
        insert_bytes(&mut object, "key", b"\xff\x00");
        assert_eq!(Value::Object(object).to_string(), r#"{"payload":"café","key_b64":"/wA="}"#);
    }
}
