//! Records as `fetch` and `subscribe` print them.

use std::io;

use dht_client::{Item, Message, NodeId, Notice, Offset, json};
use dht_console::errors::{Failure, note};
use dht_console::output::{BAD, DIM, Out};
use dht_console::text;
use serde_json::json;

use crate::format::Format;

/// How records are printed.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    style: Style,
    /// True if the topic is shown in output for people.
    names_topic: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Style {
    Json,
    /// The payload, followed by this.
    Payload(&'static [u8]),
    /// As `-F` specifies, and nothing else.
    Format(Format),
    Terminal,
}

/// The options for printing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) format: Option<&'a str>,
    pub(crate) raw: bool,
    pub(crate) null: bool,
}

impl Printer {
    /// # Errors
    /// Returns an error for options that exclude each other, and for an invalid format.
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

    /// Shows the topic in output for people, because there are several.
    #[must_use]
    pub(crate) const fn naming_topics(mut self) -> Self {
        self.names_topic = true;
        self
    }

    /// Shows topic and offset unless the options specify the format, because records are mixed with other output.
    #[must_use]
    pub(crate) fn beside_others(mut self) -> Self {
        if self.style == Style::Payload(b"\n") {
            self.style = Style::Format(Format::parse("%t %i %p\\n").expect("a format that is one"));
        }
        self.naming_topics()
    }

    /// Prints a record, or a notice that some are missing.
    pub(crate) fn item(&self, topic: &str, item: &Item, out: &mut Out) -> io::Result<()> {
        match item {
            Item::Record(message) => self.record(topic, message, out),
            Item::Gap { from, to } => self.gap(
                topic,
                ("gap", "were removed by retention or by a repair before they were read"),
                (*from, *to),
                out,
            ),
            Item::Lost { from, to } => {
                self.gap(topic, ("lost", "cannot be read from their node's disk; its log says why"), (*from, *to), out)
            }
            Item::Notice(_) => Ok(()), // a notice needs the dimension of the cube: see `notice`
        }
    }

    /// Prints that a subscription waits for its home, or that records flow again. `name` formats a node's id.
    pub(crate) fn notice(
        &self,
        topic: &str,
        notice: Notice,
        name: impl Fn(NodeId) -> String,
        out: &mut Out,
    ) -> io::Result<()> {
        if self.style == Style::Json {
            return out.json(&json::encode_item(topic, &Item::Notice(notice), name));
        }
        out.flush()?; // in its place between the records, where both go to one terminal
        let of = if self.names_topic { format!("{topic}: ") } else { String::new() };
        note(&match notice {
            Notice::Waiting { node, reason } => format!("dht-cli: {of}waiting for node {}: {reason}", name(node)),
            Notice::Flowing { node } => format!("dht-cli: {of}node {} is back, records flow again", name(node)),
        });
        Ok(())
    }

    fn record(&self, topic: &str, message: &Message, out: &mut Out) -> io::Result<()> {
        match &self.style {
            Style::Json => out.json(&json::encode(topic, message)),
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

    fn gap(
        &self,
        topic: &str,
        (what, why): (&str, &str),
        (from, to): (Offset, Offset),
        out: &mut Out,
    ) -> io::Result<()> {
        let of = if self.names_topic { format!("{topic}: ") } else { String::new() };
        let last = to.0.saturating_sub(1);
        let line = format!("{of}offsets {from} to {last} {why}");
        match self.style {
            Style::Json => out.json(&json!({what: [from.0, to.0], "topic": topic})),
            Style::Terminal => out.line(&out.paint(BAD, &line)),
            Style::Payload(_) | Style::Format(..) => {
                out.flush()?; // in its place between the records, where both go to one terminal
                note(&format!("dht-cli: {line}"));
                Ok(())
            }
        }
    }
}
