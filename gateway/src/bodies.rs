//! Bodies that hold records.
//!
//! | Content-Type | the body is |
//! |---|---|
//! | `application/json` | an array of records, or one record |
//! | `application/x-ndjson` | a record per line |
//! | any other, or none | the payload of one record; its other parts are in headers |
//!
//! A body becomes one batch: all its records are stored, or none. A record as JSON is in the form of
//! [`dht_client::json`].

use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dht_client::json::{self, Content, Line};
use dht_client::{Batch, Error};
use dht_protocol::wire::records::encode_headers;
use serde_json::value::RawValue;

use crate::input::single;
use crate::problem::Problem;

/// The prefix of HTTP headers that become headers of the record, which are called as what follows it.
const HEADER_PREFIX: &str = "dht-header-";

/// The hint for a body that has no records, or something that is not a record.
const RECORD_HINT: &str =
    r#"a record is an object such as {"payload":"text"}; bytes that are not UTF-8 go into "payload_b64""#;

/// The form of a body, which follows from its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One record or an array of records.
    Json,
    /// A record per line.
    Lines,
    /// The payload of one record.
    Raw,
}

impl Form {
    /// Returns the form of a body of this media type.
    pub(crate) fn of(media_type: &str) -> Self {
        match media_type {
            "application/json" => Self::Json,
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Self::Lines,
            _ => Self::Raw,
        }
    }
}

/// Decodes a body to one batch.
///
/// # Errors
/// Returns a problem that names the record that is wrong; none is stored then.
pub(crate) fn batch(form: Form, headers: &HeaderMap, body: &[u8]) -> Result<Batch, Problem> {
    check_headers(form, headers)?;
    let mut batch = Batch::new();
    match form {
        Form::Raw => push(&mut batch, &raw(headers, body)?, 0)?,
        Form::Lines => {
            for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
                push_line(&mut batch, line, index)?;
            }
        }
        Form::Json if body.trim_ascii_start().first() == Some(&b'[') => {
            let records: Vec<&RawValue> = serde_json::from_slice(body)
                .map_err(|error| bad_json(format!("the body is not an array of records: {error}")).hint(RECORD_HINT))?;
            for (index, record) in records.iter().enumerate() {
                push_line(&mut batch, record.get().as_bytes(), index)?;
            }
        }
        Form::Json => push_line(&mut batch, body, 0)?,
    }
    if batch.is_empty() {
        return Err(Problem::bad_request("NO_RECORDS", "the body has no records").hint(RECORD_HINT));
    }
    Ok(batch)
}

/// Refuses a header that would be without effect, because it is misspelt or belongs to a body of another form.
fn check_headers(form: Form, headers: &HeaderMap) -> Result<(), Problem> {
    for name in headers.keys().map(axum::http::HeaderName::as_str) {
        let is_of_record = match name {
            "dht-key" | "dht-key-b64" | "dht-timestamp-us" => true,
            // The topic assigns them; an answer has them, which may be sent as a request.
            "dht-offset" | "dht-append-us" => continue,
            _ if name.starts_with(HEADER_PREFIX) => true,
            _ if name.starts_with("dht-") => false,
            _ => continue,
        };
        if !is_of_record {
            return Err(Problem::bad_request("BAD_HEADER", format!("{name}: no header of a record is called so"))
                .hint("a record may have Dht-Key or Dht-Key-B64, Dht-Timestamp-Us, and Dht-Header-NAME"));
        }
        if form != Form::Raw {
            return Err(Problem::bad_request(
                "BAD_HEADER",
                format!("{name}: only a raw body takes it; each record of JSON has its own"),
            )
            .hint(r#"write {"payload":"text","key":"k","timestamp_us":1,"headers":[{"name":"n","value":"v"}]}"#));
        }
    }
    Ok(())
}

fn push_line(batch: &mut Batch, line: &[u8], index: usize) -> Result<(), Problem> {
    match json::decode(line) {
        Ok(Line::Record(_, content)) => push(batch, &content, index),
        // Notices stand between the records of a stream and of `dht-cli fetch --json`, whose output may be published.
        Ok(Line::Notice | Line::Blank) => Ok(()),
        Err(what) => Err(bad_json(format!("record {}: {what}", index + 1)).hint(RECORD_HINT)),
    }
}

fn push(batch: &mut Batch, content: &Content, index: usize) -> Result<(), Problem> {
    let pushed = content.record().and_then(|record| batch.push(&record));
    pushed.map_err(|error| {
        if let Error::BatchTooLarge { .. } = error {
            let detail = format!("the records up to number {} have more than {} bytes", index + 1, Batch::BYTES_MAX);
            return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", detail)
                .hint("send them in several requests");
        }
        Problem::bad_request("RECORD", format!("record {}: {error}", index + 1))
    })
}

fn bad_json(detail: String) -> Problem {
    Problem::bad_request("BAD_JSON", detail)
}

/// Returns the record whose payload is the body, with the key, timestamp and headers that the request's headers have.
fn raw(headers: &HeaderMap, body: &[u8]) -> Result<Content, Problem> {
    let bad = |name: &str, what: &str| Problem::bad_request("BAD_HEADER", format!("{name}: {what}"));
    let key = match (single(headers, "dht-key")?, single(headers, "dht-key-b64")?) {
        (Some(_), Some(_)) => return Err(bad("Dht-Key", "there is also a Dht-Key-B64; send one of them")),
        (Some(key), None) => Some(key.as_bytes().to_vec()),
        (None, Some(key)) => {
            Some(STANDARD.decode(key.as_bytes()).map_err(|error| bad("Dht-Key-B64", &format!("not base64: {error}")))?)
        }
        (None, None) => None,
    };
    let timestamp_us = match single(headers, "dht-timestamp-us")? {
        None => None,
        Some(value) => {
            let micros = value.to_str().ok().and_then(|text| text.parse().ok());
            Some(micros.ok_or_else(|| bad("Dht-Timestamp-Us", "not a number of microseconds since 1970"))?)
        }
    };
    let named = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(HEADER_PREFIX)?;
        Some((name, value.as_bytes()))
    });
    let headers = encode_headers(named).map_err(|error| bad("Dht-Header-…", &error.to_string()))?;
    Ok(Content { timestamp_us, key, headers, value: body.to_vec() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcome(form: Form, headers: &[(&'static str, &str)], body: &str) -> String {
        let headers = headers.iter().map(|(name, value)| {
            (axum::http::HeaderName::from_static(name), axum::http::HeaderValue::from_str(value).unwrap())
        });
        match batch(form, &headers.collect(), body.as_bytes()) {
            Ok(batch) => format!("{} records, {} bytes", batch.count(), batch.payload().len()),
            Err(problem) => format!("{} {}", problem.status().as_u16(), problem.code()),
        }
    }

    #[test]
    fn each_form_of_a_body_becomes_one_batch() {
        for (form, headers, body, expected) in [
            (Form::Raw, &[][..], "hello", "1 records, 10 bytes"),
            (Form::Raw, &[], "", "1 records, 5 bytes"),
            (Form::Raw, &[("dht-timestamp-us", "x")], "a", "400 BAD_HEADER"),
            (Form::Raw, &[("dht-key-b64", "/w")], "a", "400 BAD_HEADER"),
            (Form::Raw, &[("dht-key", "k")], "a", "1 records, 9 bytes"),
            (Form::Raw, &[("dht-key", "k"), ("dht-key", "l")], "a", "400 BAD_HEADER"),
            (Form::Raw, &[("dht-timestamp-us", "1"), ("dht-timestamp-us", "2")], "a", "400 BAD_HEADER"),
            (Form::Raw, &[("dht-timestamp", "1")], "a", "400 BAD_HEADER"),
            (Form::Raw, &[("dht-offset", "7"), ("dht-append-us", "1")], "a", "1 records, 6 bytes"),
            (Form::Json, &[("dht-key", "k")], r#"{"payload":"a"}"#, "400 BAD_HEADER"),
            (Form::Lines, &[("dht-header-n", "v")], r#"{"payload":"a"}"#, "400 BAD_HEADER"),
            (Form::Raw, &[("dht-key-b64", "/w=="), ("dht-key", "k")], "a", "400 BAD_HEADER"),
            (Form::Json, &[], r#"{"payload":"hello"}"#, "1 records, 10 bytes"),
            (Form::Json, &[], r#" [{"payload":"hello"}, {"payload_b64":"aGVsbG8="}]"#, "2 records, 20 bytes"),
            (Form::Json, &[], "[]", "400 NO_RECORDS"),
            (Form::Json, &[], "", "400 NO_RECORDS"),
            (Form::Json, &[], "[1]", "400 BAD_JSON"),
            (Form::Json, &[], r#"[{"payload":"a"},{"paylod":"b"}]"#, "400 BAD_JSON"),
            (Form::Json, &[], r#"{"payload":"a"} {}"#, "400 BAD_JSON"),
            (Form::Json, &[], "hello", "400 BAD_JSON"),
            (
                Form::Lines,
                &[],
                "{\"payload\":\"a\"}\n\n{\"gap\":[1,2],\"topic\":\"t\"}\r\n{\"payload\":\"b\"}\n",
                "2 records, 12 bytes",
            ),
            (Form::Lines, &[], "{\"payload\":\"a\"}\nx", "400 BAD_JSON"),
        ] {
            assert_eq!(outcome(form, headers, body), expected, "{form:?} {body}");
        }
        let large = format!(r#"{{"payload":"{}"}}"#, "x".repeat(600_000));
        assert_eq!(outcome(Form::Lines, &[], &format!("{large}\n{large}")), "413 TOO_LARGE");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_become_a_batch_or_a_problem(
            form in prop::sample::select(vec![Form::Json, Form::Lines, Form::Raw]),
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "{", "}", "[", "]", "\"payload\"", ":", ",", "\"a\"", "\\u00", "\"key_b64\"", "\n", " ", "1e999",
                    "\"headers\"", "{\"payload\":\"x\"}", "null", "\u{0}", "é", "-",
                ]),
                0..24,
            ),
        ) {
            match batch(form, &HeaderMap::new(), parts.concat().as_bytes()) {
                Ok(batch) => prop_assert!(batch.count() > 0),
                Err(problem) => prop_assert!(problem.status().is_client_error()),
            }
        }
    }
}
