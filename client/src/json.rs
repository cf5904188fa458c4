//! Records as lines of JSON: `dht-cli` and the gateway print and read them.
//!
//! ```text
//! {"topic":"t","offset":7,"payload":"text","key":null,"timestamp_us":null,"append_us":1763805600000000,
//!  "headers":[{"name":"n","value":"v"}]}
//! ```
//!
//! Bytes that are not UTF-8 are in base64 under `payload_b64`, `key_b64` and `value_b64` instead. `timestamp_us` is the
//! publisher's timestamp or null; `headers` is absent if there are none. On input, `offset` and `append_us` are
//! ignored: the topic assigns them.
//!
//! What else a reader or a subscriber gets is an object with another first member, which says what it is:
//!
//! ```text
//! {"gap":[5,8],"topic":"t"}    the records 5 to 7 were removed before they were read
//! {"lost":[5,8],"topic":"t"}   they exist, but their node cannot read them from its disk
//! {"waiting":{"node":"110","reason":"…"},"topic":"t"}   no records can arrive at the moment
//! {"flowing":{"node":"110"},"topic":"t"}                they can again
//! ```

use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dht_protocol::types::NodeId;
use dht_protocol::wire::records::{Record, encode_headers};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::item::{Item, Message};
use crate::notice::Notice;

/// The content of a record that was read, or is to be published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The publisher's timestamp, in microseconds since 1970.
    pub timestamp_us: Option<u64>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The encoded headers.
    pub headers: Vec<u8>,
    /// The payload.
    pub value: Vec<u8>,
}

impl Content {
    /// Returns the record, for [`Batch::push`](crate::Batch::push).
    ///
    /// # Errors
    /// Returns [`Error::Record`] if a part is too large.
    pub fn record(&self) -> Result<Record<'_>, Error> {
        let record = Record {
            timestamp_us: self.timestamp_us,
            key: self.key.as_deref(),
            value: &self.value,
            ..Record::default()
        };
        Ok(record.with_headers(&self.headers)?)
    }
}

/// Returns a record as a JSON object.
pub fn encode(topic: &str, message: &Message) -> Value {
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
    value.insert("timestamp_us".to_owned(), json!(message.timestamp_us));
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

/// Returns an item as a JSON object. `name` formats the id of a node.
pub fn encode_item(topic: &str, item: &Item, name: impl Fn(NodeId) -> String) -> Value {
    match item {
        Item::Record(message) => encode(topic, message),
        Item::Gap { from, to } => json!({"gap": [from.0, to.0], "topic": topic}),
        Item::Lost { from, to } => json!({"lost": [from.0, to.0], "topic": topic}),
        Item::Notice(Notice::Waiting { node, reason }) => {
            json!({"waiting": {"node": name(*node), "reason": reason.to_string()}, "topic": topic})
        }
        Item::Notice(Notice::Flowing { node }) => json!({"flowing": {"node": name(*node)}, "topic": topic}),
    }
}

/// Adds text as a string, and other bytes in base64 under a name that says so.
fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), json!(text)),
        Err(_) => object.insert(format!("{name}_b64"), json!(STANDARD.encode(bytes))),
    };
}

/// The content of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A record, with the topic that it came from if the line has one.
    Record(Option<String>, Content),
    /// A notice between records: a gap, or a home that was unreachable for a while.
    Notice,
    /// A blank line.
    Blank,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLine {
    topic: Option<String>,
    #[serde(default, rename = "offset")]
    _offset: Option<u64>,
    payload: Option<String>,
    payload_b64: Option<String>,
    key: Option<String>,
    key_b64: Option<String>,
    timestamp_us: Option<u64>,
    #[serde(default, rename = "append_us")]
    _append_us: Option<u64>,
    #[serde(default)]
    headers: Vec<Object<RawHeader>>,
}

/// A value that is written as an object. Serde would also take an array of the values of its members.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeader {
    name: String,
    value: Option<String>,
    value_b64: Option<String>,
}

/// Members that mark an object as a notice rather than a record.
const NOTICES: [&str; 4] = ["gap", "lost", "waiting", "flowing"];

/// Decodes a line.
///
/// # Errors
/// Returns what is wrong with it, in a few words.
pub fn decode(line: &[u8]) -> Result<Line, String> {
    match line.trim_ascii_start().first() {
        None => return Ok(Line::Blank),
        Some(b'{') => {}
        Some(_) => return Err("not an object of JSON".to_owned()),
    }
    let raw: RawLine = match serde_json::from_slice(line) {
        Ok(raw) => raw,
        Err(error) => return if is_notice(line) { Ok(Line::Notice) } else { Err(fault(&error)) },
    };
    let headers: Vec<(String, Vec<u8>)> = raw
        .headers
        .into_iter()
        .map(|Object(RawHeader { name, value, value_b64 })| {
            let bytes = bytes("value", value, value_b64)?;
            Ok((name, bytes.ok_or("a header without \"value\" or \"value_b64\"")?))
        })
        .collect::<Result<_, String>>()?;
    let borrowed = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    let content = Content {
        timestamp_us: raw.timestamp_us,
        key: bytes("key", raw.key, raw.key_b64)?,
        headers: encode_headers(borrowed).map_err(|error| error.to_string())?,
        value: bytes("payload", raw.payload, raw.payload_b64)?.ok_or("no \"payload\" or \"payload_b64\"")?,
    };
    Ok(Line::Record(raw.topic, content))
}

fn is_notice(line: &[u8]) -> bool {
    let object: Option<Map<String, Value>> = serde_json::from_slice(line).ok();
    object.is_some_and(|object| NOTICES.iter().any(|name| object.contains_key(*name)))
}

/// Returns what is wrong in the terms of JSON rather than of Rust. The line number is removed, because the input always
/// has one line here.
fn fault(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    if error.is_data() {
        let terms = [
            ("type: map", "type: object"),
            ("type: sequence", "type: array"),
            ("expected a sequence", "expected an array"),
            ("expected u64", "expected a whole number below 2^64"),
        ];
        terms.iter().fold(what.to_owned(), |what, (of_rust, of_json)| what.replace(of_rust, of_json))
    } else {
        format!("not an object of JSON: {what} at column {}", error.column())
    }
}

fn bytes(name: &str, text: Option<String>, base64: Option<String>) -> Result<Option<Vec<u8>>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!("both \"{name}\" and \"{name}_b64\"")),
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(base64)) => {
            STANDARD.decode(base64).map(Some).map_err(|error| format!("\"{name}_b64\" is not base 64: {error}"))
        }
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use dht_protocol::types::Offset;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_written_in_base_64() {
        let mut object = Map::new();
        insert_bytes(&mut object, "payload", b"caf\xc3\xa9");
        insert_bytes(&mut object, "key", b"\xff\x00");
        assert_eq!(Value::Object(object).to_string(), r#"{"payload":"café","key_b64":"/wA="}"#);
    }

    #[test]
    fn lines_that_are_no_record_say_why() {
        let cases = [
            (r#"{"payload":"x"}"#, "record"),
            (r#"{"payload_b64":"/w==","offset":1,"append_us":2,"topic":"t","key":null,"timestamp_us":null}"#, "record"),
            (r#"{"gap":[5,8],"topic":"t"}"#, "notice"),
            (r#"{"lost":[5,8],"topic":"t"}"#, "notice"),
            (r#"{"waiting":"t","node":"110"}"#, "notice"),
            (r#"{"topic":"t"}"#, "no \"payload\" or \"payload_b64\""),
            (r#"{"payload":"x","payload_b64":"eA=="}"#, "both \"payload\" and \"payload_b64\""),
            (r#"{"payload_b64":"/w"}"#, "\"payload_b64\" is not base 64: "),
            (r#"{"paylod":"x"}"#, "unknown field `paylod`"),
            (r#"{"payload":"x","headers":[{"name":"n"}]}"#, "a header without \"value\""),
            (r#"{"payload":"x","headers":{"n":"v"}}"#, "invalid type: object, expected an array"),
            (r#"{"payload":"x","headers":[["n","v",null]]}"#, "invalid type: array, expected an object"),
            (r#"{"payload":"x","timestamp_us":-1}"#, "invalid value: integer `-1`, expected a whole number below 2^64"),
            (r#"{"payload":5}"#, "invalid type: integer `5`"),
            (r#"{"payload":"\ud800"}"#, "not an object of JSON: "),
            ("[\"t\",1,\"x\"]", "not an object of JSON"),
            ("hello", "not an object of JSON"),
            ("{\"payload\":\"x", "not an object of JSON: EOF while parsing a string at column 13"),
            (" \r", "blank"),
            ("{\"payload\":\"x\"} {}", "not an object of JSON: trailing characters"),
        ];
        for (line, expected) in cases {
            let found = match decode(line.as_bytes()) {
                Ok(Line::Record(..)) => "record".to_owned(),
                Ok(Line::Notice) => "notice".to_owned(),
                Ok(Line::Blank) => "blank".to_owned(),
                Err(what) => what,
            };
            assert!(found.starts_with(expected), "{line}: {found}");
        }
    }

    prop_compose! {
        fn message()(
            timestamp_us in any::<Option<u64>>(),
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..5)),
            headers in prop::collection::vec((".{0,4}", prop::collection::vec(any::<u8>(), 0..4)), 0..3),
            value in prop::collection::vec(any::<u8>(), 0..9),
        ) -> Message {
            let headers = headers.into_iter().map(|(name, value)| (name, value.into())).collect();
            let key = key.map(Into::into);
            Message { offset: Offset(7), append_us: 5, timestamp_us, key, headers, value: value.into() }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_part_of_a_record_comes_back(message in message()) {
            let line = encode("t", &message).to_string();
            let Ok(Line::Record(Some(topic), content)) = decode(line.as_bytes()) else {
                return Err(TestCaseError::fail(line));
            };
            let headers = message.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
            let headers = encode_headers(headers).unwrap();
            let value = message.value.to_vec();
            let key = message.key.as_ref().map(|key| key.to_vec());
            prop_assert_eq!(topic, "t");
            prop_assert_eq!(content, Content { timestamp_us: message.timestamp_us, key, headers, value });
        }
    }
}
