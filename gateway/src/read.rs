//! Reading records with one request.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dht_client::{Fetch, Message, json};
use serde::Deserialize;
use serde_json::{Value, json as object};
use utoipa::IntoParams;

use crate::api::App;
use crate::input::{self, Params, Topic, TopicPath};
use crate::limits::{RECORDS_DEFAULT, RECORDS_MAX, WAIT_MAX};
use crate::problem::{Invalid, Missing, Problem, Retry};

/// The parameters of [`read()`].
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Read {
    /// `earliest` (the default), `next`, an offset, a time such as `2026-11-22T10:00:00Z` or `@1763805600`, or how long
    /// ago, such as `5m`.
    pub(crate) from: Option<String>,
    /// Maximum number of records, at least 1; more than 10000 counts as 10000. An answer has at most 1 MiB of records,
    /// but at least one record if there is one.
    #[param(minimum = 1)]
    limit: Option<u32>,
    /// How long to wait for a first record, up to 55 s.
    pub(crate) wait: Option<String>,
}

/// What an answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Lines,
    Raw,
}

impl Form {
    /// Returns the first form that the client accepts.
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
        for range in accept.split(',') {
            match range.split(';').next().unwrap_or_default().trim() {
                "*/*" | "application/*" | "application/json" => return Ok(Self::Json),
                "application/x-ndjson" | "application/ndjson" | "application/jsonl" => return Ok(Self::Lines),
                "application/octet-stream" => return Ok(Self::Raw),
                _ => {}
            }
        }
        Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", format!("no form of the records is {accept}"))
            .hint("accept application/json, application/x-ndjson or application/octet-stream"))
    }
}

/// Reads records.
///
/// `application/json` is an object with the records and the offset to read from next; `application/x-ndjson` has a
/// record per line, and that offset in `Dht-Next`. `application/octet-stream` is the payload of one record with the
/// rest of it in `Dht-` headers; 204 if there is none.
#[utoipa::path(
    get, path = "/v1/topics/{topic}/records", tag = "records",
    params(TopicPath, Read),
    responses(
        (status = 200, content(
            (Value = "application/json"), (String = "application/x-ndjson"), (Vec<u8> = "application/octet-stream"),
        )),
        (status = 204, description = "There is no record (application/octet-stream)"),
        (status = 406, body = Problem, content_type = "application/problem+json"),
        (status = 416, description = "The topic ends before that offset", body = Problem, content_type = "application/problem+json"),
        Invalid, Missing, Retry,
    ),
)]
pub(crate) async fn read(
    State(app): State<Arc<App>>,
    Topic(topic): Topic,
    Params(read): Params<Read>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let form = Form::of(&headers)?;
    let start = input::start(read.from.as_deref().unwrap_or("earliest"), SystemTime::now())?;
    let limit = input::limit(read.limit, RECORDS_DEFAULT)?.min(if form == Form::Raw { 1 } else { RECORDS_MAX });
    let wait = read.wait.map_or(Ok(Duration::ZERO), |text| input::time("wait", &text, WAIT_MAX))?;
    let client = app.pool.client().await?;
    // A waiting request ends when the gateway does.
    let fetch = tokio::select! {
        fetch = client.fetch_wait(&topic, start, limit, wait) => fetch?,
        () = app.ending.wait(), if !wait.is_zero() => {
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "ENDING", "this gateway is ending")
                .retry_after(Duration::from_secs(1)));
        }
    };
    Ok(match form {
        Form::Json => axum::Json(as_json(&topic, &fetch)).into_response(),
        Form::Lines => as_lines(&topic, &fetch),
        Form::Raw => fetch.messages.first().map_or_else(|| StatusCode::NO_CONTENT.into_response(), as_raw),
    })
}

/// Returns the offset to read from next.
fn next_of(fetch: &Fetch) -> u64 {
    fetch.base.0 + fetch.messages.len() as u64
}

fn as_json(topic: &str, fetch: &Fetch) -> Value {
    let records: Vec<_> = fetch.messages.iter().map(|message| json::encode(topic, message)).collect();
    object!({
        "topic": topic, "topic_id": format!("{:016x}", fetch.topic_id.number()), "epoch": fetch.epoch.0,
        "first_offset": fetch.first.0, "next_offset": fetch.next.0, "from": fetch.from.0,
        // Retention has removed the records before it.
        "gap": (fetch.base > fetch.from).then_some([fetch.from.0, fetch.base.0]),
        "next": next_of(fetch), "records": records,
    })
}

fn as_lines(topic: &str, fetch: &Fetch) -> Response {
    let mut lines = String::new();
    for message in &fetch.messages {
        lines += &json::encode(topic, message).to_string();
        lines.push('\n');
    }
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson".to_owned())];
    let next = [(HeaderName::from_static("dht-next"), next_of(fetch).to_string())];
    (headers, next, lines).into_response()
}

fn as_raw(message: &Message) -> Response {
    let mut response = Body::from(message.value.clone()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    // The bytes are a publisher's: a browser must not take them for a page.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let mut number = |name, number: u64| headers.insert(HeaderName::from_static(name), HeaderValue::from(number));
    number("dht-offset", message.offset.0);
    number("dht-append-us", message.append_us);
    if let Some(timestamp_us) = message.timestamp_us {
        number("dht-timestamp-us", timestamp_us);
    }
    if let Some(key) = &message.key {
        match HeaderValue::from_bytes(key) {
            Ok(value) => headers.insert("dht-key", value),
            Err(_) => {
                headers.insert("dht-key-b64", HeaderValue::from_str(&STANDARD.encode(key)).expect("base64 is ASCII"))
            }
        };
    }
    for (name, value) in &message.headers {
        // What cannot be an HTTP header is left out; the other forms have it.
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(format!("dht-header-{name}")), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_is_accepted_is_used() {
        for (accept, expected) in [
            (None, Ok(Form::Json)),
            (Some("*/*"), Ok(Form::Json)),
            (Some("text/html, application/x-ndjson;q=0.9, */*"), Ok(Form::Lines)),
            (Some("application/octet-stream"), Ok(Form::Raw)),
            (Some("text/html"), Err("NOT_ACCEPTABLE".to_owned())),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(Form::of(&headers).map_err(|problem| problem.code().to_owned()), expected, "{accept:?}");
        }
    }
}
