//! Records as they are published: server-sent events and WebSockets.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseCode, CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dht_client::Start;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use utoipa::IntoParams;

use crate::api::{App, Ending};
use crate::input::{self, Params, Topic, TopicPath};
use crate::limits::{CLOSE_TIME, COMMENT_INTERVAL, CREDIT_MAX, MESSAGE_BYTES_MAX};
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

/// Streams records as they are published, as server-sent events, or on a WebSocket if the client upgrades.
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
/// A WebSocket gets the same objects, each in a message of text. It is closed with 1000 at the end of the stream, 1001
/// when the gateway ends, and 1008 after a message that is not understood; before that comes a problem.
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
    let from = match (input::single(&headers, "last-event-id")?, &wanted.from) {
        (Some(last), _) => From::last_event(&String::from_utf8_lossy(last.as_bytes()))?,
        (None, Some(from)) => From::Start(input::start(from, SystemTime::now())?),
        (None, None) => From::Start(Start::Next),
    };
    // A client may offer others, such as h2c, which need not be taken.
    let wants_socket = headers.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if let (Err(rejection), true) = (&upgrade, wants_socket) {
        return Err(Problem::bad_request("BAD_UPGRADE", rejection.body_text())
            .hint("send what RFC 6455 asks of a WebSocket's first request, or no Upgrade for server-sent events"));
    }
    let reader = Reader::begin(Arc::clone(&app), topic, from).await?;
    if let Ok(upgrade) = upgrade {
        let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
        return Ok(upgrade.on_upgrade(move |socket| async move {
            talk(socket, events(reader), Credit::new(wanted.credit), &app.ending).await;
            drop(server);
        }));
    }
    if wanted.credit.is_some() {
        return Err(Problem::bad_request("BAD_QUERY", "credit: only a WebSocket has one").hint("leave it out"));
    }
    Ok(event_stream(events(reader)))
}

/// Returns the response with server-sent events, and comments while there are none.
fn event_stream(events: impl futures_util::Stream<Item = Event> + Send + 'static) -> Response {
    let events = events.map(|event| Ok::<_, Infallible>(sent(&event)));
    let comments = KeepAlive::new().interval(COMMENT_INTERVAL).text("still here");
    // Proxies such as nginx buffer responses unless they are told not to.
    let headers =
        [(HeaderName::from_static("x-accel-buffering"), "no"), (HeaderName::from_static("cache-control"), "no-cache")];
    (headers, Sse::new(events).keep_alive(comments)).into_response()
}

/// Returns the events of a reader.
fn events(reader: Reader) -> impl futures_util::Stream<Item = Event> {
    stream::unfold(reader, |mut reader| async move { Some((reader.next().await?, reader)) })
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

/// Sends a WebSocket what a reader gets, for as long as the client grants credit.
async fn talk(
    mut socket: WebSocket,
    events: impl futures_util::Stream<Item = Event>,
    mut credit: Credit,
    ending: &Ending,
) {
    let mut events = pin!(events);
    // So that a client that vanished is noticed, and proxies do not close an idle connection.
    let mut pings = interval_at(Instant::now() + COMMENT_INTERVAL, COMMENT_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            message = socket.recv() => match message {
                None => return,
                Some(Ok(Message::Close(_))) => return close(socket, None).await,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => match granted(&message.into_data()) {
                    Some(records) => {
                        credit.grant(records);
                        Ok(())
                    }
                    None => return refuse(socket, "the message is not one that grants credit").await,
                },
                Some(Err(error)) => return refuse(socket, &error.to_string()).await,
            },
            _ = pings.tick() => socket.send(Message::Ping(Bytes::new())).await,
            // The stream of events ends with the gateway, but it is not polled without credit.
            () = ending.wait(), if credit.is_used_up() => return close(socket, Some((close_code::AWAY, "ending"))).await,
            event = events.next(), if !credit.is_used_up() => match event {
                Some(event) => {
                    if event.name.is_none() {
                        credit.spend();
                    }
                    socket.send(Message::text(event.data.as_ref())).await
                }
                None if ending.is_ending() => return close(socket, Some((close_code::AWAY, "ending"))).await,
                None => return close(socket, Some((close_code::NORMAL, "the stream has ended"))).await,
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Ends a WebSocket because of something that its client has sent.
async fn refuse(mut socket: WebSocket, what: &str) {
    let hint = format!(r#"send an object such as {{"credit":100}}, of at most {MESSAGE_BYTES_MAX} bytes"#);
    let problem = Problem::bad_request("BAD_MESSAGE", what).hint(hint);
    let _ = socket.send(Message::text(problem.json())).await;
    close(socket, Some((close_code::POLICY, "BAD_MESSAGE"))).await;
}

/// Ends a WebSocket with a reason, or after its client has closed it.
async fn close(mut socket: WebSocket, reason: Option<(CloseCode, &'static str)>) {
    let handshake = async {
        if let Some((code, reason)) = reason {
            let _ = socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
        }
        // Reading also sends the answer to the client's close. Its last messages are read, because the system would
        // otherwise reset the connection, and with it what the client has not read yet.
        while let Some(Ok(_)) = socket.recv().await {}
    };
    let _ = timeout(CLOSE_TIME, handshake).await;
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
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::server::serve;

    /// Opens a WebSocket without records, of a stream that goes on or has ended.
    async fn socket(has_ended: bool, ending: Ending) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let told = ending.clone();
        let upgrade = async move |upgrade: WebSocketUpgrade| {
            let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
            upgrade.on_upgrade(move |socket| async move {
                let rest = if has_ended { stream::empty().boxed() } else { stream::pending().boxed() };
                talk(socket, rest, Credit(Some(u64::from(has_ended))), &told).await;
            })
        };
        tokio::spawn(serve(listener, Router::new().route("/", get(upgrade)), 10, ending));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_stream_of_events_has_comments() {
        let mut body = event_stream(stream::pending()).into_body().into_data_stream();
        let begun = Instant::now();
        for _ in 0..2 {
            assert_eq!(body.next().await.unwrap().unwrap(), ": still here\n\n");
        }
        assert_eq!(begun.elapsed(), 2 * COMMENT_INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_web_socket_is_pinged() {
        let (_end, ending) = Ending::channel();
        let mut socket = socket(false, ending).await;
        let begun = Instant::now();
        for _ in 0..2 {
            let mut ping = [0; 2];
            socket.read_exact(&mut ping).await.unwrap();
            assert_eq!(ping, [0x89, 0]);
        }
        assert_eq!(begun.elapsed().as_secs(), 2 * COMMENT_INTERVAL.as_secs());
    }

    #[tokio::test]
    async fn a_web_socket_is_closed_with_a_reason() {
        let masked = |kind: u8, payload: &[u8]| {
            [&[kind, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0], payload].concat()
        };
        let too_large = [&[0x81, 0xfe, 0x07, 0xd0, 0, 0, 0, 0][..], &[b'x'; 2_000]].concat();
        for (sent, has_ended, problem, code) in [
            (masked(0x81, b"hello"), false, "grants credit", close_code::POLICY),
            (masked(0x82, b"[5]"), false, "grants credit", close_code::POLICY),
            (masked(0x81, b"\xff"), false, "BAD_MESSAGE", close_code::POLICY),
            (too_large, false, "too long", close_code::POLICY),
            ([0x81, 2, b'{', b'}'].into(), false, "masked", close_code::POLICY),
            (masked(0x83, b"x"), false, "BAD_MESSAGE", close_code::POLICY),
            (masked(0x88, &[0x03, 0xe8]), false, "", close_code::NORMAL),
            (vec![], true, "", close_code::NORMAL),
        ] {
            let (_end, ending) = Ending::channel();
            let mut socket = socket(has_ended, ending).await;
            socket.write_all(&sent).await.unwrap();
            let (text, found) = end_of(socket).await;
            assert!(text.contains(problem) && text.is_empty() == problem.is_empty(), "{sent:?}: {text}");
            assert_eq!(found, code, "{sent:?}");
        }
        let (end, ending) = Ending::channel();
        let socket = socket(false, ending).await;
        end.send(true).unwrap();
        assert_eq!(end_of(socket).await, (String::new(), close_code::AWAY));
    }

    /// Returns the text that comes before the end of a WebSocket, and the code of the latter.
    async fn end_of(mut socket: TcpStream) -> (String, CloseCode) {
        let mut text = String::new();
        loop {
            let (kind, len) = (socket.read_u8().await.unwrap(), socket.read_u8().await.unwrap());
            let len = if len == 126 { socket.read_u16().await.unwrap() } else { len.into() };
            let mut payload = vec![0; len.into()];
            socket.read_exact(&mut payload).await.unwrap();
            match kind {
                0x81 => text += str::from_utf8(&payload).unwrap(),
                0x88 => return (text, u16::from_be_bytes([payload[0], payload[1]])),
                other => panic!("a frame of kind {other:#x}"),
            }
        }
    }

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
