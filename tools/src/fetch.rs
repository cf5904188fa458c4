//! `fetch`: what a topic keeps, up to its end as it is now.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dht_node::client::{Item, Message, Offset, Start};
use serde_json::{Map, Value, json};

use crate::args;
use crate::clock;
use crate::errors::{Exit, Failure, note};
use crate::output::{BAD, DIM};
use crate::session::Session;
use crate::text;

/// `fetch TOPIC`
pub(crate) fn fetch(fetch: &args::Fetch, session: &mut Session) -> Result<Exit, Failure> {
    let start = start(fetch.from.as_deref())?;
    let style = match (session.out.is_json(), fetch.raw, fetch.null, session.out.is_terminal()) {
        (_, true, true, _) => return Err(Failure::usage("-r and -0 exclude each other".to_owned())),
        (true, ..) => Style::Json,
        (_, true, _, _) => Style::Raw,
        (_, _, true, _) => Style::Null,
        (_, _, _, true) => Style::Terminal,
        (_, _, _, false) => Style::Lines,
    };
    let (client, out) = session.client_and_out()?;
    let records = client.records(&fetch.topic, start)?.limit(fetch.count.unwrap_or(u64::MAX));
    for item in records {
        match item.map_err(Failure::about(&fetch.topic))? {
            Item::Record(message) => match style {
                Style::Json => out.json(&message_json(&fetch.topic, &message))?,
                Style::Raw => out.bytes(&message.value)?,
                Style::Null => {
                    out.bytes(&message.value)?;
                    out.bytes(b"\0")?;
                }
                Style::Lines => {
                    out.bytes(&message.value)?;
                    out.bytes(b"\n")?;
                }
                Style::Terminal => {
                    let (offset, time) =
                        (out.paint(DIM, &format!("{:>6}", message.offset.0)), text::time(message.append_us));
                    let key =
                        message.key.as_ref().map(|key| format!("[{}] ", text::harmless(&String::from_utf8_lossy(key))));
                    let value = text::harmless(&String::from_utf8_lossy(&message.value));
                    out.line(&format!("{offset}  {}  {}{value}", out.paint(DIM, &time), key.unwrap_or_default()))?;
                }
            },
            Item::Gap { from, to } => match style {
                Style::Json => out.json(&json!({"gap": [from.0, to.0], "topic": fetch.topic}))?,
                Style::Terminal => {
                    out.line(&out.paint(BAD, &gap(from, to)))?;
                }
                Style::Raw | Style::Null | Style::Lines => note(&format!("dht-cli: {}", gap(from, to))),
            },
        }
    }
    Ok(Exit::Done)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Json,
    Raw,
    Null,
    Lines,
    Terminal,
}

fn gap(from: Offset, to: Offset) -> String {
    format!("offsets {from} to {} were removed by retention before they were read", to.0.saturating_sub(1))
}

/// `earliest`, `next`, an offset, RFC 3339, or a duration ago.
fn start(from: Option<&str>) -> Result<Start, Failure> {
    match from {
        None | Some("earliest") => return Ok(Start::Earliest),
        Some("next") => return Ok(Start::Next),
        Some(_) => {}
    }
    let text = from.unwrap_or_default();
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
    // The publisher's time where it gave one, else that of storing.
    value.insert("timestamp_us".to_owned(), json!(message.timestamp_us.unwrap_or(message.append_us)));
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
            (None, Some(Start::Earliest)),
            (Some("earliest"), Some(Start::Earliest)),
            (Some("next"), Some(Start::Next)),
            (Some("17"), Some(Start::Offset(Offset(17)))),
            (Some("1970-01-01T00:00:01Z"), Some(Start::Time(1_000_000))),
            (Some("soon"), None),
            (Some("-1"), None),
        ] {
            assert_eq!(start(from).ok(), expected, "{from:?}");
        }
        assert!(matches!(start(Some("5m")), Ok(Start::Time(micros)) if micros > 1_600_000_000_000_000));
    }

    #[test]
    fn bytes_that_are_no_text_are_written_in_base_64() {
        let mut object = Map::new();
        insert_bytes(&mut object, "payload", b"caf\xc3\xa9");
        insert_bytes(&mut object, "key", b"\xff\x00");
        assert_eq!(Value::Object(object).to_string(), r#"{"payload":"café","key_b64":"/wA="}"#);
    }
}
