//! Names, queries, headers and bodies of requests, each with an error that says what is wrong with it.

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;
use dht_client::{Offset, Start, TopicName};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use utoipa::IntoParams;

use crate::limits::BODY_TIME;
use crate::problem::Problem;

/// The name of a topic in a path. It may contain `%2F`, and be `.` or `..` where the client sends those as they are.
#[derive(Debug)]
pub(crate) struct Topic(pub(crate) String);

/// The name of a topic, as the document of the API describes it.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it is only described")]
pub(crate) struct TopicPath {
    /// The name of the topic: 1 to 249 characters of `A-Z a-z 0-9 . _ / -`. A `/` is written as `%2F`.
    #[param(pattern = "^[A-Za-z0-9._/-]+$", min_length = 1, max_length = 249, example = "weather")]
    topic: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Topic {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::bad_request("INVALID_NAME", rejection.body_text()))?;
        match TopicName::new(&name) {
            Ok(_) => Ok(Self(name)),
            Err(error) => Err(Problem::bad_request("INVALID_NAME", format!("{name:?} is no topic name: {error}"))),
        }
    }
}

/// The parameters of a query. Unknown ones are refused, because they are most likely misspelt.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

/// The parameters of a path that has none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParams {}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(Problem::bad_request("BAD_QUERY", fault_of_query(&rejection.body_text()))
                .hint("the parameters are in /v1/openapi.json")),
        }
    }
}

/// Returns what is wrong with a query in the terms of HTTP rather than of Rust.
fn fault_of_query(text: &str) -> String {
    let terms = [
        ("Failed to deserialize query string: ", ""),
        ("invalid digit found in string", "not a whole number"),
        ("cannot parse integer from empty string", "a number is missing"),
        ("number too large to fit in target type", "the number is too large"),
        ("expected one of `", "known: `"),
        ("expected `", "known: `"),
        ("there are no fields", "there are none"),
        (" field `", " parameter `"),
    ];
    terms.iter().fold(text.to_owned(), |text, (of_rust, of_http)| text.replace(of_rust, of_http))
}

/// Returns the value of a header that may be sent once.
///
/// # Errors
/// Returns a problem if there are several: which one was meant is not known.
pub(crate) fn single<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<Option<&'h HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Problem::bad_request("BAD_HEADER", format!("{name}: sent more than once")).hint("send it once")),
    }
}

/// Reads a body of at most `bytes_max` bytes.
///
/// # Errors
/// Returns a problem for a larger body, and for one that does not arrive in time.
pub(crate) async fn read_body(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body has more than {bytes_max} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", detail).hint("send it in several requests")
    };
    // A length that was announced is refused before the bytes come.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large());
    }
    match timeout(BODY_TIME, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Ok(Err(error)) => {
            let mut cause: &dyn Error = error.as_ref();
            while let Some(source) = cause.source() {
                cause = source;
            }
            Err(Problem::bad_request("BODY", format!("the body did not arrive as a whole: {cause}"))
                .hint("send as many bytes as Content-Length says, or chunks that end with an empty one"))
        }
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "BODY_TIMEOUT", detail)
                .hint("send it faster, or in several requests"))
        }
    }
}

/// Decodes a body of JSON. An empty body stands for an empty object.
///
/// # Errors
/// Returns what is wrong with it and where.
pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let text = if body.trim_ascii().is_empty() { b"{}" } else { body };
    object(text).map_err(|what| {
        Problem::bad_request("BAD_JSON", format!("the body is wrong: {what}"))
            .hint(r#"write an object such as {"retention":{"records":100,"bytes":1000000,"age_ms":86400000}}"#)
    })
}

/// Decodes a JSON object whose members are numbers, or objects of numbers.
///
/// # Errors
/// Returns what is wrong with it and where.
pub(crate) fn object<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    // Serde would also accept an array of the values instead of an object with names.
    if let Some(at) = text.iter().position(|byte| *byte == b'[') {
        return Err(format!("an array at byte {at}, where an object or a number is expected"));
    }
    let number =
        |error: serde_json::Error| error.to_string().replace("expected u64", "expected a whole number below 2^64");
    serde_json::from_slice(text).map_err(number)
}

/// Returns the media type of the body without its parameters, in lower case; an empty string if there is none.
///
/// # Errors
/// Returns a problem if there are several.
pub(crate) fn media_type(headers: &HeaderMap) -> Result<String, Problem> {
    let value = single(headers, "content-type")?.and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Refuses a compressed body: it would be stored compressed, and no reader would be told.
///
/// # Errors
/// Returns a problem with 415.
pub(crate) fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    match single(headers, "content-encoding")? {
        None => Ok(()),
        Some(encoding) if encoding.as_bytes().eq_ignore_ascii_case(b"identity") => Ok(()),
        Some(encoding) => {
            let detail =
                format!("Content-Encoding: {} is not decoded here", String::from_utf8_lossy(encoding.as_bytes()));
            let hint = "send the body as it is; to store compressed bytes, tell readers in a header of the record, such \
                        as Dht-Header-Content-Encoding";
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "CONTENT_ENCODING", detail).hint(hint))
        }
    }
}

/// Returns the parameter `limit`, or `default` if there is none.
///
/// # Errors
/// Returns a problem for 0.
pub(crate) fn limit<T: From<u8> + PartialEq>(limit: Option<T>, default: T) -> Result<T, Problem> {
    match limit {
        Some(limit) if limit == T::from(0) => Err(Problem::bad_request("BAD_QUERY", "limit=0: nothing would be left")
            .hint("write at least 1, or leave it out")),
        limit => Ok(limit.unwrap_or(default)),
    }
}

/// Parses where a read starts: `earliest`, `next`, an offset, `@` and seconds since 1970, a time in RFC 3339, or how
/// long ago, such as `5m`.
///
/// # Errors
/// Returns a problem for anything else.
pub(crate) fn start(text: &str, now: SystemTime) -> Result<Start, Problem> {
    let micros = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Start::Time(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    };
    match text {
        "earliest" => return Ok(Start::Earliest),
        "next" | "latest" => return Ok(Start::Next),
        _ => {}
    }
    if let Ok(offset) = text.parse() {
        return Ok(Start::Offset(Offset(offset)));
    }
    if let Some(seconds) = text.strip_prefix('@').and_then(|seconds| seconds.parse::<u64>().ok()) {
        return Ok(Start::Time(seconds.saturating_mul(1_000_000)));
    }
    if let Ok(time) = humantime::parse_rfc3339(text) {
        return Ok(micros(time));
    }
    if let Some(time) = humantime::parse_duration(text).ok().and_then(|ago| now.checked_sub(ago)) {
        return Ok(micros(time));
    }
    Err(Problem::bad_request("BAD_QUERY", format!("from={text}: that is no position in a topic")).hint(
        "write earliest, next, an offset, a time such as 2026-11-22T10:00:00Z or @1763805600, or 5m for that ago",
    ))
}

/// Parses a time such as `5s`; a bare number counts seconds.
///
/// # Errors
/// Returns a problem for anything else, and for more than `most`.
pub(crate) fn time(name: &str, text: &str, most: Duration) -> Result<Duration, Problem> {
    let parsed = text.parse().map(Duration::from_secs).ok().or_else(|| humantime::parse_duration(text).ok());
    match parsed {
        Some(time) if time <= most => Ok(time),
        Some(_) => Err(Problem::bad_request("BAD_QUERY", format!("{name}={text}: at most {} s", most.as_secs()))),
        None => Err(Problem::bad_request("BAD_QUERY", format!("{name}={text}: write a time such as 5s or 500ms"))),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_a_byte_a_second_is_not_waited_for() {
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b"x")), ()))
        });
        let begun = tokio::time::Instant::now();
        let refused = read_body(Body::from_stream(drops), 1 << 20).await;
        assert_eq!(refused.map_err(|problem| problem.code().to_owned()), Err("BODY_TIMEOUT".to_owned()));
        assert_eq!(begun.elapsed(), BODY_TIME);
    }

    #[test]
    fn a_query_that_is_wrong_is_named_in_terms_of_http() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Two {
            #[expect(dead_code, reason = "only whether it can be read matters")]
            limit: Option<u32>,
            #[expect(dead_code, reason = "only whether it can be read matters")]
            from: Option<String>,
        }

        fn detail<T: DeserializeOwned>(query: &str) -> String {
            let uri: axum::http::Uri = format!("/?{query}").parse().unwrap();
            Query::<T>::try_from_uri(&uri).map_or_else(|error| fault_of_query(&error.body_text()), |_| "ok".to_owned())
        }

        for (query, expected) in [
            ("limit=7&from=x", "ok"),
            ("limit=-1", "limit: not a whole number"),
            ("limit=", "limit: a number is missing"),
            ("limit=4294967296", "limit: the number is too large"),
            ("limit=1&limit=2", "duplicate parameter `limit`"),
            ("limt=1", "limt: unknown parameter `limt`, known: `limit` or `from`"),
        ] {
            assert_eq!(detail::<Two>(query), expected, "{query}");
        }
        assert_eq!(detail::<NoParams>("x=1"), "x: unknown parameter `x`, there are none");
    }

    #[test]
    fn settings_of_the_wrong_type_are_named_in_terms_of_json() {
        for (body, expected) in [
            (r#"{"retention":null}"#, "null, expected an object such as {\"records\":100} at line 1 column 17"),
            (r#"{"retention":{"records":-1}}"#, "`-1`, expected a whole number below 2^64 at line 1 column 26"),
            ("5", "`5`, expected an object such as {\"retention\":{\"records\":100}} at line 1 column 1"),
        ] {
            let refused = json::<crate::topics::Settings>(body.as_bytes()).unwrap_err().json();
            let refused: serde_json::Value = serde_json::from_str(&refused).unwrap();
            assert!(refused["detail"].as_str().unwrap().ends_with(expected), "{body}: {refused}");
        }
    }

    #[test]
    fn a_header_that_is_there_twice_or_a_compressed_body_is_refused() {
        for (sent, name, expected) in [
            (&[][..], "dht-key", Ok(None)),
            (&[("dht-key", "a")], "dht-key", Ok(Some("a"))),
            (&[("dht-key", "a"), ("dht-key", "b")], "dht-key", Err("BAD_HEADER")),
            (&[("dht-key", "a"), ("dht-key", "b")], "content-type", Ok(None)),
        ] {
            let headers = map(sent);
            let found = single(&headers, name).map_err(|problem| problem.code().to_owned());
            let found = found.as_ref().map(|value| value.map(|value| value.to_str().unwrap())).map_err(String::as_str);
            assert_eq!(found, expected, "{sent:?} {name}");
        }
        for (encoding, expected) in [("identity", Ok(())), ("gzip", Err(StatusCode::UNSUPPORTED_MEDIA_TYPE))] {
            let checked = check_encoding(&map(&[("content-encoding", encoding)]));
            assert_eq!(checked.map_err(|problem| problem.status()), expected, "{encoding}");
        }
    }

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (axum::http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        headers.iter().map(pair).collect()
    }

    #[test]
    fn a_start_is_read_in_each_form() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        for (text, expected) in [
            ("earliest", Some(Start::Earliest)),
            ("next", Some(Start::Next)),
            ("latest", Some(Start::Next)),
            ("17", Some(Start::Offset(Offset(17)))),
            ("@17", Some(Start::Time(17_000_000))),
            ("1970-01-01T00:00:17Z", Some(Start::Time(17_000_000))),
            ("1m", Some(Start::Time(940_000_000))),
            ("1h", Some(Start::Time(0))),
            ("", None),
            ("-1", None),
            ("@x", None),
            ("tomorrow", None),
            ("99999999999999999999", None),
        ] {
            let found = start(text, now);
            match expected {
                Some(Start::Time(0)) => assert!(matches!(found, Ok(Start::Time(0)) | Err(_)), "{text}"),
                Some(expected) => assert_eq!(found, Ok(expected), "{text}"),
                None => {
                    assert_eq!(found.map_err(|problem| problem.code().to_owned()), Err("BAD_QUERY".into()), "{text}")
                }
            }
        }
    }

    #[test]
    fn a_time_has_a_bound() {
        let most = Duration::from_secs(55);
        assert_eq!(time("wait", "5", most), Ok(Duration::from_secs(5)));
        assert_eq!(time("wait", "500ms", most), Ok(Duration::from_millis(500)));
        for text in ["56", "1h", "-1", "soon", ""] {
            assert_eq!(
                time("wait", text, most).map_err(|problem| problem.status()),
                Err(StatusCode::BAD_REQUEST),
                "{text}"
            );
        }
    }
}
