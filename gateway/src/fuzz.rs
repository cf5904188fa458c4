//! What must hold for any request, whatever its bytes are: for a test, and for the fuzz target `requests`.
//!
//! Nothing panics, and what is accepted keeps its meaning when it is written and read again.

use axum::extract::Query;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use bytes::Bytes;
use dht_client::{Batch, Message, Offset, json};
use dht_protocol::wire::records;
use serde::de::DeserializeOwned;

use crate::bodies::{Form, batch};
use crate::input;
use crate::limits::WAIT_MAX;
use crate::problem::Problem;
use crate::read::Read;
use crate::reader::From;
use crate::stream::{Stream, granted};
use crate::topics::{List, Settings, Trim};

/// Reads an input as each part of a request, of which its first byte chooses one.
///
/// # Panics
/// If something does not hold.
pub fn run(input: &[u8]) {
    let Some((part, rest)) = input.split_first() else { return };
    match part % 8 {
        0 => check_records(Form::Json, rest),
        1 | 2 => check_records(Form::Lines, rest),
        3 => check_raw(rest),
        4 => check_query(rest),
        5 => check_last_event(rest),
        6 => check_settings(rest),
        _ => {
            let _ = granted(rest);
        }
    }
}

/// A batch of JSON has records, fits a frame, and is the same batch again when its records are written as lines or as
/// an array.
fn check_records(form: Form, body: &[u8]) {
    let accepted = match batch(form, &HeaderMap::new(), body) {
        Ok(accepted) => accepted,
        Err(problem) => return check_problem(&problem),
    };
    assert!(accepted.count() > 0 && accepted.payload().len() <= Batch::BYTES_MAX);
    let lines: Vec<_> = messages(&accepted).iter().map(|message| json::encode("t", message).to_string()).collect();
    for (form, text) in [(Form::Lines, lines.join("\n")), (Form::Json, format!("[{}]", lines.join(",")))] {
        let again = batch(form, &HeaderMap::new(), text.as_bytes()).expect("what was accepted is accepted again");
        assert_eq!(again.payload(), accepted.payload(), "{text}");
    }
}

/// A body of bytes is the payload of one record, with what the headers say. The input is lines of headers, an empty
/// line, and the body.
fn check_raw(input: &[u8]) {
    let (lines, body) = match input.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (&[][..], input),
    };
    let headers = lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        Some((name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?))
    });
    let headers: HeaderMap = headers.collect();
    match batch(Form::Raw, &headers, body) {
        Ok(accepted) => {
            let messages = messages(&accepted);
            let [message] = messages.as_slice() else { panic!("one record: {messages:?}") };
            assert_eq!(message.value, body);
            let key = headers.get("dht-key").map(HeaderValue::as_bytes);
            assert!(key.is_none() || message.key.as_deref() == key, "{message:?}");
        }
        Err(problem) => check_problem(&problem),
    }
}

/// Parameters are read, or a problem says why not; a time has its bound.
fn check_query(text: &[u8]) {
    let Ok(uri) = Uri::try_from([b"/?", text].concat()) else { return };
    if let Some(read) = parameters::<Read>(&uri) {
        check_positions(read.from.as_deref());
        let wait = read.wait.map(|text| input::time("wait", &text, WAIT_MAX));
        match wait {
            Some(Ok(wait)) => assert!(wait <= WAIT_MAX),
            Some(Err(problem)) => check_problem(&problem),
            None => {}
        }
    }
    if let Some(stream) = parameters::<Stream>(&uri) {
        check_positions(stream.from.as_deref());
    }
    let _ = parameters::<List>(&uri);
    let _ = parameters::<Trim>(&uri);
}

fn parameters<T: DeserializeOwned>(uri: &Uri) -> Option<T> {
    Query::try_from_uri(uri).ok().map(|Query(parameters)| parameters)
}

fn check_positions(text: Option<&str>) {
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000);
    if let Some(Err(problem)) = text.map(|text| input::start(text, now)) {
        check_problem(&problem);
    }
}

/// An id that was accepted is the id of its place.
fn check_last_event(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    match From::last_event(text) {
        Ok(From::Behind(place)) => assert_eq!(From::last_event(&place.to_string()), Ok(From::Behind(place))),
        Ok(From::Start(_)) => {}
        Err(problem) => check_problem(&problem),
    }
}

/// Settings that were accepted are written as what they mean.
fn check_settings(body: &[u8]) {
    match input::json::<Settings>(body) {
        Ok(settings) => {
            let text = serde_json::to_vec(&settings).expect("settings are objects of numbers");
            assert_eq!(input::json::<Settings>(&text), Ok(settings));
        }
        Err(problem) => check_problem(&problem),
    }
}

/// A problem with a request is the client's fault, and a document.
fn check_problem(problem: &Problem) {
    assert!(problem.status().is_client_error(), "{problem:?}");
    assert!(problem.json().starts_with("{\"type\":\"urn:dht-node:"));
}

/// Returns the records of a batch as a reader would get them.
fn messages(batch: &Batch) -> Vec<Message> {
    let payload = Bytes::copy_from_slice(batch.payload());
    let records = records::iter(&payload).map(|record| record.expect("a batch has whole records"));
    let message = |record: records::Record<'_>| Message {
        offset: Offset(0),
        append_us: 0,
        timestamp_us: record.timestamp_us,
        key: record.key.map(|key| payload.slice_ref(key)),
        headers: record.headers.iter().map(|(name, value)| (name.to_owned(), payload.slice_ref(value))).collect(),
        value: payload.slice_ref(record.value),
    };
    records.map(message).collect()
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    /// Whole inputs, and parts of others.
    const SAMPLES: [&str; 10] = [
        "\0[{\"payload\":\"x\",\"key\":\"k\",\"timestamp_us\":7},{\"payload_b64\":\"/wA=\"}]",
        "\0{\"payload\":\"x\",\"headers\":[{\"name\":\"n\",\"value_b64\":\"/w==\"},{\"name\":\"é\",\"value\":\"\"}]}",
        "\u{1}{\"payload\":\"x\",\"offset\":1,\"topic\":\"t\"}\n\n{\"payload\":\"\\u0000\"}",
        "\u{1}{\"gap\":[1,2],\"topic\":\"t\"}\n{\"payload\":\"y\"}\n",
        "\u{3}dht-key:k\ndht-timestamp-us:17\ndht-header-n:v\n\nbody",
        "\u{3}dht-key-b64:/w==\n\n",
        "\u{4}from=2026-11-22T10:00:00Z&limit=7&wait=500ms",
        "\u{5}00000000000000ab-3-17",
        "\u{6}{\"retention\":{\"records\":5,\"bytes\":null,\"age_ms\":18446744073709551615}}",
        "\u{7}{\"credit\":5}",
    ];

    #[test]
    fn whatever_a_request_contains_is_refused_or_keeps_its_meaning() {
        const PARTS: [&str; 12] =
            ["{", "}", "[", "]", ",", "\"", "\\u00", "1e999", "null", "%00", "\n\n", "{\"payload\":\"x\"}"];
        SAMPLES.iter().for_each(|sample| run(sample.as_bytes()));
        let mut rng = Rng::with_seed(1);
        for _ in 0..50_000 {
            let mut input = SAMPLES[rng.usize(..SAMPLES.len())].as_bytes().to_vec();
            for _ in 0..rng.usize(..6) {
                let at = rng.usize(..=input.len());
                let end = (at + rng.usize(..8)).min(input.len());
                match rng.u8(..4) {
                    0 => drop(input.drain(at..end)),
                    1 => input.insert(at, rng.u8(..)),
                    2 => drop(input.splice(at..end, PARTS[rng.usize(..PARTS.len())].bytes())),
                    _ => input[at..end].iter_mut().for_each(|byte| *byte ^= 1 << rng.u8(..8)),
                }
            }
            run(&input);
        }
    }
}
