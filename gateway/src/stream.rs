//! Records as they are published: server-sent events and WebSockets.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use dht_client::Start;
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::{App, Ending};
use crate::input::{self, Params, Topic, TopicPath};
use crate::limits::{COMMENT_INTERVAL, CREDIT_MAX, MESSAGE_BYTES_MAX};
use crate::problem::{Invalid, Missing, Problem, Retry};
use crate::reader::{Event, From, Reader};
use crate::server::Place;

/// The parameters of [`stream()`].
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stream {
    /// Where to begin, as in a read; `next` by default. `Last-Event-ID` takes precedence.
    pub(crate) from: Option<String>,
    /// Only for a WebSocket: how many records may be sent before a message `{"credit":100}` grants more, at most
    /// 4294967296. Without it there is no limit.
    credit: Option<u64>,
}

/// Streams records as they are published, as server-sent events or, if the client asks for that, on a WebSocket.
///
/// Each record is an event without a name, whose `id` is the topic's id, the epoch and the offset; a client that sends
/// it as `Last-Event-ID` continues behind it. A bare offset is accepted, too. Other events:
///
/// | event | meaning |
/// |---|---|
/// | `gap` | retention removed records before they were read |
/// | `lost` | records cannot be read from their node's disk |
/// | `waiting`, `flowing` | the topic's node cannot be reached; it can again |
/// | `truncated` | the topic lost records at its end; the stream continues from the offset `next` |
/// | `recreated` | the topic was deleted and created again; the stream continues with the new one |
/// | `deleted`, `error` | the stream ends; the data is a problem |
///
/// A WebSocket gets the same objects, each in a message of text.
#[utoipa::path(
    get, path = "/v1/topics/{topic}/stream", tag = "records",
    params(
        TopicPath, Stream,
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was handled, or its offset"),
    ),
    responses(
        (status = 200, description = "Events", body = String, content_type = "text/event-stream"),
        (status = 101, description = "A WebSocket"),
        (status = 416, body = Problem, content_type = "application/problem+json"),
        Invalid, Missing, Retry,
    ),
)]
pub(crate) async fn stream(
    State(app): State<Arc<App>>,
    Topic(topic): Topic,
    Params(wanted): Params<Stream>,
    headers: HeaderMap,
    server: Option<Extension<Place>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let from = match (headers.get(HeaderName::from_static("last-event-id")), &wanted.from) {
        (Some(last), _) => From::last_event(last.to_str().unwrap_or("?"))?,
        (None, Some(from)) => From::Start(input::start(from, SystemTime::now())?),
        (None, None) => From::Start(Start::Next),
    };
    if let (Err(rejection), true) = (&upgrade, headers.contains_key(header::UPGRADE)) {
        return Err(Problem::bad_request("BAD_UPGRADE", rejection.body_text()));
    }
    let reader = Reader::begin(Arc::clone(&app), topic, from).await?;
    if let Ok(upgrade) = upgrade {
        let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
        return Ok(upgrade.on_upgrade(move |socket| async move {
            talk(socket, reader, Credit::new(wanted.credit), &app.ending).await;
            drop(server);
        }));
    }
    if wanted.credit.is_some() {
        return Err(Problem::bad_request("BAD_QUERY", "credit: only a WebSocket has one"));
    }
    let events = stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok::<_, Infallible>(sent(&event)), reader))
    });
    let comments = KeepAlive::new().interval(COMMENT_INTERVAL).text("still here");
    // Proxies such as nginx keep what they are sent unless told otherwise.
    let headers =
        [(HeaderName::from_static("x-accel-buffering"), "no"), (HeaderName::from_static("cache-control"), "no-cache")];
    Ok((headers, Sse::new(events).keep_alive(comments)).into_response())
}

/// Returns an event as it is sent.
fn sent(event: &Event) -> sse::Event {
    let mut sent = sse::Event::default().data(event.data.as_ref());
    if let Some(name) = event.name {
        sent = sent.event(name);
    }
    match event.place {
        Some(place) => sent.id(place.to_string()),
        None => sent,
    }
}

/// How many records a WebSocket may be sent; `None` for any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Credit(Option<u64>);

impl Credit {
    fn new(records: Option<u64>) -> Self {
        Self(records.map(|records| records.min(CREDIT_MAX)))
    }

    /// Adds what the client grants.
    fn grant(&mut self, records: u64) {
        *self = Self::new(self.0.map(|credit| credit.saturating_add(records)));
    }

    fn is_used_up(self) -> bool {
        self.0 == Some(0)
    }

    /// Counts a record.
    fn spend(&mut self) {
        self.0 = self.0.map(|credit| credit - 1);
    }
}

/// Sends a WebSocket what the reader gets, for as long as the client grants credit.
async fn talk(mut socket: WebSocket, mut reader: Reader, mut credit: Credit, ending: &Ending) {
    loop {
        tokio::select! {
            message = socket.recv() => match message {
                None | Some(Err(_) | Ok(Message::Close(_))) => return,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => match granted(&message.into_data()) {
                    Some(records) => credit.grant(records),
                    None => {
                        let detail = r#"a message is an object such as {"credit":100}"#;
                        let problem = Problem::bad_request("BAD_MESSAGE", detail).json();
                        let _ = socket.send(Message::text(problem)).await;
                        return;
                    }
                },
            },
            // The reader ends with the gateway, but without credit nobody asks it.
            () = ending.wait(), if credit.is_used_up() => break,
            event = reader.next(), if !credit.is_used_up() => {
                let Some(event) = event else { break };
                if event.name.is_none() {
                    credit.spend();
                }
                if socket.send(Message::text(event.data.as_ref())).await.is_err() {
                    return;
                }
            }
        }
    }
    let _ = socket.send(Message::Close(None)).await;
}

/// Returns the credit that a message grants.
pub(crate) fn granted(message: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Grant {
        credit: u64,
    }
    input::object::<Grant>(message).ok().map(|grant| grant.credit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_has_a_bound_unless_there_is_no_limit() {
        for (start, grants, expected) in [
            (Some(2), &[3][..], Some(5)),
            (Some(0), &[], Some(0)),
            (Some(CREDIT_MAX), &[1], Some(CREDIT_MAX)),
            (Some(u64::MAX), &[], Some(CREDIT_MAX)),
            (Some(1), &[u64::MAX, u64::MAX], Some(CREDIT_MAX)),
            (None, &[7], None),
        ] {
            let mut credit = Credit::new(start);
            grants.iter().for_each(|records| credit.grant(*records));
            assert_eq!(credit, Credit(expected), "{start:?} {grants:?}");
        }
        let (mut one, mut unlimited) = (Credit::new(Some(1)), Credit::new(None));
        one.spend();
        unlimited.spend();
        assert!(one.is_used_up() && !unlimited.is_used_up());
    }

    #[test]
    fn only_a_grant_is_a_message() {
        for (message, expected) in [
            (r#"{"credit":5}"#, Some(5)),
            (r#"{"credit":-5}"#, None),
            (r#"{"credit":5,"more":1}"#, None),
            ("5", None),
            ("[5]", None),
            ("", None),
            ("\u{0}", None),
        ] {
            assert_eq!(granted(message.as_bytes()), expected, "{message}");
        }
    }
}
