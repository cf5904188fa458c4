//! Errors as problem documents (RFC 9457): what happened, whether a retry helps, and what to do.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dht_client::Error;
use dht_protocol::wire::response::Detail;
use dht_protocol::wire::{Class, Status};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

/// The media type of a problem.
pub(crate) const PROBLEM_TYPE: &str = "application/problem+json";

/// Least time before a stream tries again.
const PAUSE_LEAST: Duration = Duration::from_millis(100);

/// Longest time before a stream tries again.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// A name for the kind of problem, as a URN.
    #[serde(rename = "type")]
    #[schema(rename = "type", example = "urn:dht-node:UNKNOWN_TOPIC")]
    kind: String,
    /// The kind of problem in a few words.
    #[schema(example = "Not Found")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// What happened.
    #[schema(example = "no topic \"weather\"; its home is node 110")]
    detail: String,
    /// The name of the error, as in protocol.md where the cube gave it.
    #[schema(example = "UNKNOWN_TOPIC")]
    code: String,
    /// True if the same request may succeed later without any other change.
    retryable: bool,
    /// True if a request that changes something may have been executed all the same.
    maybe_done: bool,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The log start offset, if the problem is about an offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    earliest: Option<u64>,
    /// The offset to continue from, if the problem is about an offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
    #[serde(skip)]
    retry_after: Duration,
}

// The three answers that many requests can get, for the document of the API. Doc comments would become part of it.

// The request is wrong.
#[derive(IntoResponses)]
#[response(status = 400, content_type = "application/problem+json")]
#[expect(dead_code, reason = "it is only described")]
pub(crate) struct Invalid(Problem);

// There is no such topic.
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
#[expect(dead_code, reason = "it is only described")]
pub(crate) struct Missing(Problem);

// The cube cannot be used at the moment.
#[derive(IntoResponses)]
#[response(status = 503, description = "Retry", content_type = "application/problem+json")]
#[expect(dead_code, reason = "it is only described")]
pub(crate) struct Retry(Problem);

impl Problem {
    /// Returns a problem with the request itself, so that a retry does not help.
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:dht-node:{code}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            retryable: false,
            maybe_done: false,
            hint: None,
            earliest: None,
            next: None,
            retry_after: Duration::ZERO,
        }
    }

    /// Returns a problem with a part of the request: `detail` says which, and what would be right.
    pub(crate) fn bad_request(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// Adds what to do.
    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Says that the same request may succeed after that time.
    #[must_use]
    pub(crate) fn retry_after(self, retry_after: Duration) -> Self {
        Self { retryable: true, retry_after, ..self }
    }

    /// Says that the request may have been executed.
    #[must_use]
    pub(crate) fn outcome_unknown(self) -> Self {
        Self { maybe_done: true, ..self }
    }

    /// Returns the HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Returns the name of the error.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// Returns the offset to continue from, if the problem is about an offset.
    pub(crate) const fn next(&self) -> Option<u64> {
        self.next
    }

    /// Returns true if the same request may succeed later without any other change.
    pub(crate) const fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// Returns how long to wait before a retry.
    pub(crate) fn pause(&self) -> Duration {
        self.retry_after.clamp(PAUSE_LEAST, PAUSE_MAX)
    }

    /// Returns true if the topic or its log is another one than before.
    pub(crate) fn is_of_log(&self) -> bool {
        [Status::UnknownTopic, Status::Recreated, Status::Truncated].iter().any(|status| status.name() == self.code)
    }

    /// Returns the document.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("a problem has no keys that are no strings")
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (status, code) = match error.refusal() {
            Some(refusal) => (http_status(refusal.status, error.retry_after()), refusal.name().to_owned()),
            None => {
                let (status, code) = local_status(&error);
                (status, code.to_owned())
            }
        };
        let mut problem = Self::new(status, &code, error.to_string());
        problem.retryable = error.is_retryable();
        problem.maybe_done = error.may_be_done();
        problem.hint = error.status().and_then(hint_for).map(str::to_owned);
        // Whole seconds, at least one, are all that Retry-After can say.
        problem.retry_after = error.retry_after();
        for detail in error.refusal().into_iter().flat_map(|refusal| &refusal.details) {
            if let Detail::Earliest(offset) = detail {
                problem.earliest = Some(offset.0);
            } else if let Detail::Next(offset) = detail {
                problem.next = Some(offset.0);
            }
        }
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.json()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        if self.retryable {
            let seconds = self.retry_after.as_millis().div_ceil(1000).clamp(1, 3600);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(u32::try_from(seconds).unwrap_or(1)));
        }
        response
    }
}

/// Returns the HTTP status for an error of a node.
#[expect(clippy::wildcard_enum_match_arm, reason = "statuses without a line of their own go by their class")]
fn http_status(number: u8, retry_after: Duration) -> StatusCode {
    match Status::from_number(number) {
        Some(Status::UnknownTopic | Status::UnknownNode) => StatusCode::NOT_FOUND,
        Some(Status::TopicExists | Status::Recreated | Status::Truncated) => StatusCode::CONFLICT,
        Some(Status::SequenceGap | Status::ProducerFenced | Status::ProducerExists) => StatusCode::CONFLICT,
        Some(Status::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        Some(Status::OffsetOutOfRange) => StatusCode::RANGE_NOT_SATISFIABLE,
        Some(Status::SequenceReused) => StatusCode::UNPROCESSABLE_ENTITY,
        Some(Status::Quota) if retry_after.is_zero() => StatusCode::INSUFFICIENT_STORAGE,
        Some(Status::Quota) => StatusCode::TOO_MANY_REQUESTS,
        Some(Status::OutcomeUnknown | Status::UnknownProducer) => StatusCode::GATEWAY_TIMEOUT,
        _ => match Class::of(number) {
            Class::Refused => StatusCode::BAD_REQUEST,
            Class::Transient | Class::Stale => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        },
    }
}

/// Returns the HTTP status and the code for an error that no node has reported.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is non_exhaustive")]
fn local_status(error: &Error) -> (StatusCode, &'static str) {
    match error {
        Error::Name(_) => (StatusCode::BAD_REQUEST, "INVALID_NAME"),
        Error::Record(_) => (StatusCode::BAD_REQUEST, "RECORD"),
        Error::BatchTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE"),
        Error::Connect { .. } => (StatusCode::SERVICE_UNAVAILABLE, "CONNECT"),
        Error::Rejected { .. } => (StatusCode::SERVICE_UNAVAILABLE, "REJECTED"),
        Error::Lost { .. } => (StatusCode::BAD_GATEWAY, "LOST"),
        Error::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "TIMED_OUT"),
        Error::Protocol { .. } => (StatusCode::BAD_GATEWAY, "PROTOCOL"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
    }
}

/// Returns what to do about an error of a node.
#[expect(clippy::wildcard_enum_match_arm, reason = "most errors say themselves what to do")]
const fn hint_for(status: Status) -> Option<&'static str> {
    Some(match status {
        Status::UnknownTopic => "create it first: PUT /v1/topics/{topic}",
        Status::TopicExists => "change its retention with PATCH /v1/topics/{topic}, or leave out the body",
        Status::TooLarge => "send fewer or smaller records in one request",
        Status::OffsetOutOfRange => "read from an offset up to `next`",
        Status::SequenceReused => "this Idempotency-Key was used for another body; use a new key for a new request",
        Status::Quota => "delete topics, lower their retention, or raise the limits of the node",
        Status::Truncated => "records at the end of the topic were lost; read again from `next`",
        Status::Recreated => "the topic was deleted and created again; read it from the start",
        Status::OutcomeUnknown => "send it again with the same Idempotency-Key: it is stored once",
        Status::NoQuorum => "most of the nodes that keep the topic are down, or cut off: see /v1/cluster",
        Status::Unreachable => "the topic's node is down, or cut off: see /v1/cluster",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_of_the_wire_has_an_http_status_that_fits_its_class() {
        for status in Status::ALL {
            let http = http_status(status.number(), Duration::ZERO);
            let class = Class::of(status.number());
            let fits = match class {
                Class::Success => true,
                Class::Refused => http.is_client_error() || http == 507,
                Class::Transient | Class::Stale => http == 503,
                Class::Unknown | Class::Server | Class::Fatal => http.is_server_error(),
            };
            assert!(fits, "{}, {class:?}: {http}", status.name());
        }
    }

    #[test]
    fn a_retryable_problem_says_when() {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "CONNECT", "no node answers");
        assert_eq!(problem.clone().into_response().headers().get("retry-after"), None);
        for (millis, seconds) in [(0, "1"), (500, "1"), (1001, "2")] {
            let response = problem.clone().retry_after(Duration::from_millis(millis)).into_response();
            assert_eq!(response.headers()["retry-after"], seconds);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
        }
    }
}
