//! A reader of one topic: from a position to the log end, and then whatever is published, across gaps, lost records and
//! the re-creation of the topic.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use dht_client::{Epoch, Offset, Start, TopicId, json};
use dht_protocol::wire::Status;

use crate::api::App;
use crate::hub::{Follower, News, Text};
use crate::limits::STREAM_BYTES;
use crate::problem::Problem;

/// Something that a reader gets.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// The name of the event; `None` for a record.
    pub(crate) name: Option<&'static str>,
    /// The position after it, from which a client can resume.
    pub(crate) place: Option<Place>,
    /// The event as JSON.
    pub(crate) data: Data,
}

/// The text of an event.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Own(String),
    Shared(Arc<Text>),
}

impl AsRef<str> for Data {
    fn as_ref(&self) -> &str {
        match self {
            Self::Own(text) => text,
            Self::Shared(text) => &text.json,
        }
    }
}

/// The identity of a log and the offset of a record in it: the `id` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) topic: TopicId,
    pub(crate) epoch: Epoch,
    pub(crate) offset: Offset,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}-{}", self.topic.number(), self.epoch.0, self.offset.0)
    }
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// At a position in whichever topic has the name.
    Start(Start),
    /// Behind an event of an earlier stream.
    Behind(Place),
}

impl From {
    /// Parses a `Last-Event-ID`: the id of an event, or an offset.
    ///
    /// # Errors
    /// Returns a problem for anything else.
    pub(crate) fn last_event(text: &str) -> Result<Self, Problem> {
        if let Ok(offset) = text.parse::<u64>() {
            return Ok(Self::Start(Start::Offset(Offset(offset.saturating_add(1)))));
        }
        let place = || {
            let mut parts = text.splitn(3, '-');
            let topic = parts.next().filter(|id| id.len() == 16).and_then(|id| u64::from_str_radix(id, 16).ok())?;
            let epoch = Epoch(parts.next()?.parse().ok()?);
            let offset = Offset(parts.next()?.parse().ok()?);
            Some(Self::Behind(Place { topic: TopicId::new(topic)?, epoch, offset }))
        };
        place().ok_or_else(|| {
            Problem::bad_request("BAD_HEADER", format!("Last-Event-ID: {text:?} is no id of this stream"))
                .hint("send the id of the last event that you have handled, or its offset")
        })
    }
}

/// A reader of a topic. It gets nothing while nobody asks for its next event: its cursor stays where it is.
#[derive(Debug)]
pub(crate) struct Reader {
    app: Arc<App>,
    topic: String,
    /// The log that the cursor belongs to; `None` before the first answer.
    log: Option<(TopicId, Epoch)>,
    start: Start,
    events: VecDeque<Event>,
    follower: Option<Follower>,
    /// The reader fetches the records before this offset by itself, although it has a follower: the follower brings
    /// only those from here on.
    until: Offset,
    is_done: bool,
}

impl Reader {
    /// Begins to read.
    ///
    /// # Errors
    /// Returns a problem if there is no such topic, or if nothing can be read from there.
    pub(crate) async fn begin(app: Arc<App>, topic: String, from: From) -> Result<Self, Problem> {
        let (log, start) = match from {
            From::Start(start) => (None, start),
            From::Behind(place) => (Some((place.topic, place.epoch)), Start::Offset(place.offset.plus(1))),
        };
        let (events, follower, until, is_done) = (VecDeque::new(), None, Offset(0), false);
        let mut reader = Self { app, topic, log, start, events, follower, until, is_done };
        reader.read().await?;
        Ok(reader)
    }

    /// Returns the next event; `None` at the end of the stream: the topic is gone, or the gateway is ending.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.is_done {
                return None;
            }
            let app = Arc::clone(&self.app);
            tokio::select! {
                () = self.step() => {}
                () = app.ending.wait() => self.is_done = true,
            }
        }
    }

    /// Waits for what comes next.
    async fn step(&mut self) {
        let (Some(follower), Some((topic, epoch)), Start::Offset(cursor)) = (&mut self.follower, self.log, self.start)
        else {
            return self.read_on().await;
        };
        if cursor < self.until {
            return self.read_on().await;
        }
        let place = |offset: Offset| Some(Place { topic, epoch, offset });
        match follower.next().await {
            // The reader has fetched these by itself.
            Some(News::Record(offset, _) | News::Elsewhere(offset)) if offset < cursor => {}
            Some(News::Record(offset, text)) if offset == cursor => {
                self.start = Start::Offset(offset.plus(1));
                self.events.push_back(Event { name: None, place: place(offset), data: Data::Shared(text) });
            }
            Some(News::Record(offset, _) | News::Elsewhere(offset)) => self.until = offset.plus(1),
            Some(News::Missed) => self.until = cursor.plus(1),
            Some(News::Notice(name, next, text)) => {
                let next = next.filter(|next| *next > cursor);
                if let Some(next) = next {
                    self.start = Start::Offset(next);
                }
                let place = next.and_then(|next| place(Offset(next.0 - 1)));
                self.events.push_back(Event { name: Some(name), place, data: Data::Shared(text) });
            }
            Some(News::End(problem)) => {
                self.follower = None;
                // The next read finds out whether the topic was deleted, re-created or truncated. It would not show any
                // other reason, so that one ends the stream here.
                if !problem.is_of_log() {
                    self.fail((*problem).clone()).await;
                }
            }
            None => self.follower = None,
        }
    }

    /// Reads from the cursor on, and handles the error.
    async fn read_on(&mut self) {
        if let Err(problem) = self.read().await {
            self.fail(problem).await;
        }
    }

    /// Reads from the cursor on, or follows the topic if there is nothing.
    async fn read(&mut self) -> Result<(), Problem> {
        let client = self.app.pool.client().await?;
        let fetch = match client.fetch_of(&self.topic, self.log, self.start, STREAM_BYTES).await {
            Ok(fetch) => fetch,
            Err(error) => {
                return match error.status() {
                    Some(Status::Recreated) => self.restart("recreated", Start::Earliest, error.to_string()),
                    Some(Status::Truncated) => {
                        let next = Problem::from(error);
                        let start = next.next().map_or(Start::Next, |next| Start::Offset(Offset(next)));
                        self.restart("truncated", start, next.json())
                    }
                    _ => Err(error.into()),
                };
            }
        };
        self.log = Some((fetch.topic_id, fetch.epoch));
        let place = |offset: Offset| Some(Place { topic: fetch.topic_id, epoch: fetch.epoch, offset });
        if fetch.base > fetch.from && !fetch.messages.is_empty() {
            let data = serde_json::json!({"gap": [fetch.from.0, fetch.base.0], "topic": self.topic}).to_string();
            let event = Event { name: Some("gap"), place: place(Offset(fetch.base.0 - 1)), data: Data::Own(data) };
            self.events.push_back(event);
        }
        for message in &fetch.messages {
            let data = Data::Own(json::encode(&self.topic, message).to_string());
            self.events.push_back(Event { name: None, place: place(message.offset), data });
        }
        let cursor = fetch.base.plus(fetch.messages.len() as u64);
        self.start = Start::Offset(cursor);
        if fetch.messages.is_empty() {
            // There is no record before the cursor that is not read, whatever the follower has announced.
            self.until = self.until.min(cursor);
            if self.follower.is_none() {
                let (follower, head) = self.app.hub.follow(&self.topic, cursor);
                (self.follower, self.until) = (Some(follower), head);
            }
        }
        Ok(())
    }

    /// Continues with another log of the same name, after an event that tells the client.
    fn restart(&mut self, name: &'static str, start: Start, detail: String) -> Result<(), Problem> {
        (self.log, self.start, self.follower) = (None, start, None);
        let data = serde_json::json!({name: detail, "topic": self.topic}).to_string();
        self.events.push_back(Event { name: Some(name), place: None, data: Data::Own(data) });
        Ok(())
    }

    /// Ends the stream with a problem, or waits a moment if a retry may help.
    async fn fail(&mut self, problem: Problem) {
        if problem.is_retryable() {
            return tokio::time::sleep(problem.pause()).await;
        }
        let name = if problem.code() == Status::UnknownTopic.name() { "deleted" } else { "error" };
        self.events.push_back(Event { name: Some(name), place: None, data: Data::Own(problem.json()) });
        self.is_done = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_an_event_is_read_again() {
        let place = Place { topic: TopicId::new(0xab).unwrap(), epoch: Epoch(3), offset: Offset(17) };
        assert_eq!(place.to_string(), "00000000000000ab-3-17");
        assert_eq!(From::last_event(&place.to_string()), Ok(From::Behind(place)));
        assert_eq!(From::last_event("17"), Ok(From::Start(Start::Offset(Offset(18)))));
        for text in ["", "x", "-1", "ab-3-17", "00000000000000ab-3", "00000000000000ab-3-x", "00000000000000ab-3-1-2"] {
            assert_eq!(
                From::last_event(text).map_err(|problem| problem.code().to_owned()),
                Err("BAD_HEADER".into()),
                "{text}"
            );
        }
    }
}
