//! Subscribing at the ingress: SUBSCRIBE, UNSUBSCRIBE, CREDIT, and FETCH that waits.
//!
//! A SUBSCRIBE is sent to the leader like any request, and the ingress keeps a [`PendingReader`] until the answer
//! passes through here and the subscription begins. A FETCH with a waiting time is treated alike: if its answer has no
//! records, it becomes a reader that waits for them.

use super::super::action::{Action, Packet};
use super::super::asked::{Asked, opens_reader};
use super::super::{Settings, Step};
use super::pending::{PendingReader, ReaderKind};
use super::table::{Consumer, Followed, Poll, Reader, ReaderKey, Report, TopicKey};
use super::{Effect, Readers};
use crate::limits::{
    ENDED_PER_TURN, FETCH_WAIT_MAX_MS, POLLS_ENDED_PER_TICK, SUBSCRIPTIONS_MAX, SUBSCRIPTIONS_PER_CLIENT_MAX,
};
use crate::types::{ConnId, Offset, RequestId, TopicId};
use crate::wire::request::{Fetch, Subscribe};
use crate::wire::response::{Detail, ErrorResponse, Fetched, Payload, Subscribed};
use crate::wire::{Flags, Frame, Push, Request, Response, Status};

/// Work of adding or removing a reader, as that of looking at so many entries: it has places in six tables.
const READER_ENTRIES: usize = 50;

impl Readers {
    /// Executes the part of a client's request that concerns this node's own subscriptions. Returns false if the
    /// request must also be sent to the leader.
    pub(in crate::node) fn serve(
        &mut self,
        step: &mut Step<'_>,
        id: ConnId,
        request: &Request<'_>,
        frame: &Frame<'_>,
    ) -> Result<bool, ErrorResponse> {
        let request_id = frame.header.request_id;
        let is_oneway = frame.header.flags.has(Flags::ONEWAY);
        match request {
            Request::Credit { .. } if !is_oneway => {
                Err(ErrorResponse::new(Status::BadRequest, "CREDIT has no answer: send it with the ONEWAY flag"))
            }
            Request::Credit { limit } => {
                self.credit(id, request_id, *limit);
                Ok(true)
            }
            Request::Subscribe(_) | Request::Unsubscribe { .. } if is_oneway => {
                Err(ErrorResponse::new(Status::BadRequest, "the answer to this request is needed"))
            }
            Request::Unsubscribe { subscription } => {
                let next = self.unsubscribe(step, id, *subscription)?;
                let packet = Packet::Response(frame.header.opcode, Response::Unsubscribed { next });
                step.out.push(Action::Send { conn: id, request_id, route: None, packet });
                Ok(true)
            }
            Request::Subscribe(subscribe) => self.open_stream(step.settings, id, request_id, subscribe).map(|()| false),
            Request::Fetch(fetch) if opens_reader(request, frame.header.flags) => {
                self.open_poll(step, id, request_id, fetch).map(|()| false)
            }
            Request::Fetch(_)
            | Request::Ping { .. }
            | Request::Create { .. }
            | Request::Delete(_)
            | Request::Alter { .. }
            | Request::Trim { .. }
            | Request::Producer { .. }
            | Request::List(_)
            | Request::Info(_)
            | Request::Publish(_)
            | Request::Query { .. }
            | Request::Trace { .. }
            | Request::Cluster { .. }
            | Request::Stats { .. }
            | Request::Nodes { .. }
            | Request::Feed { .. }
            | Request::Heads(_)
            | Request::Raft { .. }
            | Request::Chunks(_) => Ok(false),
        }
    }

    fn open_stream(
        &mut self,
        settings: &Settings,
        id: ConnId,
        request_id: RequestId,
        subscribe: &Subscribe<'_>,
    ) -> Result<(), ErrorResponse> {
        let kind = ReaderKind::Stream { limit: subscribe.limit };
        self.open(settings, id, request_id, PendingReader::new(settings, subscribe.topic.name, kind))
    }

    fn open_poll(
        &mut self,
        step: &Step<'_>,
        id: ConnId,
        request_id: RequestId,
        fetch: &Fetch<'_>,
    ) -> Result<(), ErrorResponse> {
        let wait_us = u64::from(fetch.max_wait_ms.min(FETCH_WAIT_MAX_MS)) * 1000;
        let kind = ReaderKind::Poll {
            max_bytes: fetch.max_bytes,
            max_records: fetch.max_records,
            deadline_us: step.now.after_us(wait_us),
        };
        self.open(step.settings, id, request_id, PendingReader::new(step.settings, fetch.topic.name, kind))
    }

    /// Adds a pending reader, unless its client or this node has as many readers as are allowed.
    fn open(
        &mut self,
        settings: &Settings,
        id: ConnId,
        request_id: RequestId,
        pending: PendingReader,
    ) -> Result<(), ErrorResponse> {
        self.check_unused(id, request_id)?;
        let Some(client) = self.clients.get(id) else { return Ok(()) };
        let full = |limit: usize, whose: &str| {
            let message =
                format!("{whose} has at most {limit} subscriptions and waiting FETCHes; end some, or use another node");
            Err(ErrorResponse::new(Status::Quota, message).with(Detail::Limit(limit as u64)))
        };
        if client.len() >= SUBSCRIPTIONS_PER_CLIENT_MAX {
            return full(SUBSCRIPTIONS_PER_CLIENT_MAX, "a client");
        }
        if self.table.len() + self.table.pending_readers.len() >= SUBSCRIPTIONS_MAX {
            return full(SUBSCRIPTIONS_MAX, "a node");
        }
        let limit = settings.source_limits.subscriptions;
        if let Some((source, count)) = self.clients.source_of(id)
            && limit > 0
            && count >= limit
        {
            let message = format!(
                "this node takes at most {limit} subscriptions from {source} (--subscriptions-per-source); end some"
            );
            return Err(ErrorResponse::new(Status::Quota, message).with(Detail::Limit(limit)));
        }
        self.clients.add_pending(id);
        self.table.pending_readers.insert((id, request_id), pending);
        Ok(())
    }

    /// Refuses a request whose id names something already (W-6.12).
    fn check_unused(&self, id: ConnId, request_id: RequestId) -> Result<(), ErrorResponse> {
        if self.table.is_used(id, request_id) {
            let message = "this request id belongs to a subscription, to a waiting FETCH or to an unanswered request";
            return Err(ErrorResponse::new(Status::BadRequest, message));
        }
        Ok(())
    }

    /// Removes and returns the pending reader of a request that is being answered.
    pub(in crate::node) fn take_pending(&mut self, asked: &Asked) -> Option<PendingReader> {
        if !asked.opens {
            return None;
        }
        let pending = self.table.pending_readers.remove(&(asked.conn, asked.request_id))?;
        self.clients.remove_pending(asked.conn);
        Some(pending)
    }

    /// Turns a pending reader into a reader. Called right after the response to its SUBSCRIBE has been sent.
    pub(in crate::node) fn begin_stream(
        &mut self,
        step: &mut Step<'_>,
        asked: &Asked,
        pending: PendingReader,
        subscribed: &Subscribed,
    ) {
        let (ReaderKind::Stream { limit }, slot) = (pending.kind, pending.slot) else { return };
        let new = Followed::new(subscribed.topic_id, subscribed.epoch, pending.name, slot, subscribed.next);
        let Some(place) = self.follow(step, new) else { return };
        self.note_alive(step, slot);
        self.end_outage(place);
        self.raise_head(place, subscribed.next);
        self.table.topic_mut(place).push = true;
        if !self.table.is_here(place) {
            // The leader pushes to this node as from its response. The next FEED reports how many readers there are.
            let report = Report { push: true, subscribers: 0, slowest: None };
            self.table.set_confirmed_report(place, Some(report));
        }
        let consumer = Consumer::Stream { id: asked.request_id, sent: 0, limit };
        if !self.add_reader(step, asked.conn, (place, subscribed.from), consumer) {
            self.leave(step, place);
        }
    }

    /// Turns a FETCH that may wait into a reader if its answer has no records. Returns true if it waits and is answered
    /// later. While it waits it holds only a cursor, so what it has reserved is released.
    pub(in crate::node) fn begin_poll(
        &mut self,
        step: &mut Step<'_>,
        asked: &Asked,
        pending: &PendingReader,
        fetched: &Fetched,
    ) -> bool {
        let ReaderKind::Poll { max_bytes, max_records, deadline_us } = pending.kind else { return false };
        let is_gap = fetched.from < fetched.base;
        if fetched.count > 0 || is_gap || deadline_us <= step.now.monotonic_us {
            return false;
        }
        let new = Followed::new(fetched.topic_id, fetched.epoch, pending.name.clone(), pending.slot, fetched.next);
        let Some(place) = self.follow(step, new) else { return false };
        self.note_alive(step, pending.slot);
        self.end_outage(place);
        let asked = Asked { opens: false, ..*asked };
        let poll = Poll { asked, max_bytes, max_records, deadline_us, first: fetched.first };
        if !self.add_reader(step, asked.conn, (place, fetched.base), Consumer::Poll(poll)) {
            self.leave(step, place);
            return false;
        }
        // Records published since the leader answered are either being pushed already, or the answer to this FEED
        // reveals them.
        self.table.topic_mut(place).push = true;
        if !self.table.is_here(place) && self.table.topic(place).confirmed_report().is_none_or(|report| !report.push) {
            self.send_report(step, place);
        }
        true
    }

    /// Answers a FETCH that has waited.
    pub(super) fn finish_poll(&mut self, asked: Asked, response: Response) {
        if let Some(client) = self.clients.get_mut(asked.conn) {
            client.begin_answer();
        }
        self.effects.push_back(Effect::Answer { asked, response });
    }

    /// Follows a topic in the epoch of `new`. Readers of the same topic in another epoch are ended first.
    fn follow(&mut self, step: &mut Step<'_>, new: Followed) -> Option<TopicKey> {
        let epoch = new.epoch;
        let place = self.table.follow(new, step.now.monotonic_us);
        let topic = self.table.topic(place);
        if topic.epoch != epoch {
            // If `new` is itself the older of the two, because its response was delayed, the leader rejects it in its
            // answer to the next FEED.
            let (id, slot, name) = (topic.id, topic.slot, topic.name.clone());
            let head = Offset(0);
            let error = ErrorResponse::new(Status::Truncated, "the topic lost records at its end");
            // Clients learn the offset to resume from in the response to their next SUBSCRIBE.
            self.end_topic(step, place, &error);
            let again = Followed::new(id, epoch, name, slot, head);
            return Some(self.table.follow(again, step.now.monotonic_us));
        }
        Some(place)
    }

    /// Adds a reader for a client. Returns false if the client has disconnected, or has closed its sending side: it
    /// could grant a subscription no credit.
    fn add_reader(
        &mut self,
        step: &mut Step<'_>,
        conn: ConnId,
        (place, cursor): (TopicKey, Offset),
        consumer: Consumer,
    ) -> bool {
        let Some(client) = self.clients.get(conn) else { return false };
        if client.has_ended && matches!(consumer, Consumer::Stream { .. }) {
            return false;
        }
        step.work.add_entries(READER_ENTRIES);
        let key = self.table.insert(conn, place, cursor, consumer);
        self.clients.add(conn, key);
        self.table.enqueue(key);
        true
    }

    fn credit(&mut self, conn: ConnId, id: RequestId, granted: u64) {
        let Some(key) = self.table.stream(conn, id) else { return };
        if let Some(Consumer::Stream { limit, .. }) = self.table.get_mut(key).map(|reader| &mut reader.consumer)
            && *limit < granted
        {
            *limit = granted;
            self.table.enqueue(key);
        }
    }

    fn unsubscribe(&mut self, step: &mut Step<'_>, conn: ConnId, id: RequestId) -> Result<Offset, ErrorResponse> {
        let Some(key) = self.table.stream(conn, id) else {
            let message = format!("no subscription {} on this connection: it has ended, or never began", id.0);
            return Err(ErrorResponse::new(Status::UnknownSubscription, message));
        };
        let cursor = self.table.get(key).map(Reader::cursor).expect("it was just found");
        self.remove_reader(step, key);
        Ok(cursor)
    }

    /// Removes a reader, and stops following its topic if that was the last reader.
    pub(super) fn remove_reader(&mut self, step: &mut Step<'_>, key: ReaderKey) -> Consumer {
        step.work.add_entries(READER_ENTRIES);
        let reader = self.table.remove(key);
        self.clients.remove(reader.conn, key);
        self.leave(step, reader.topic);
        reader.consumer
    }

    /// Stops following a topic if it has no more readers.
    fn leave(&mut self, step: &Step<'_>, place: TopicKey) {
        if self.table.topic(place).is_unread() {
            let topic = self.table.unfollow(place);
            if !self.table.leader(topic.slot).is_here && !topic.has_ended() {
                self.report_no_readers(step, topic.slot, topic.id, topic.epoch);
            }
        } else {
            self.table.trim_tail(place);
        }
    }

    /// Removes a client that has disconnected, with its readers. If there are very many, most are removed in later
    /// turns.
    pub(in crate::node) fn close_client(&mut self, step: &mut Step<'_>, id: ConnId) {
        let readers = self.clients.close(id);
        if !readers.is_empty() {
            self.left.push_back(readers);
            self.remove_left(step);
        }
    }

    /// Removes at most [`ENDED_PER_TURN`] of the readers whose clients have disconnected.
    pub(super) fn remove_left(&mut self, step: &mut Step<'_>) {
        for _ in 0..ENDED_PER_TURN {
            let Some(readers) = self.left.front_mut() else { return };
            match readers.pop_first() {
                // It may have ended for another reason since.
                Some(key) if self.table.get(key).is_some() => drop(self.remove_reader(step, key)),
                Some(_) => {}
                None => drop(self.left.pop_front()),
            }
        }
    }

    /// Removes the subscriptions of a client that has closed its sending side: it can grant no more credit. Its pending
    /// requests are still answered.
    pub(in crate::node) fn end_client(&mut self, step: &mut Step<'_>, id: ConnId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.has_ended = true;
        for key in client.readers().clone() {
            if self.table.get(key).is_some_and(|reader| matches!(reader.consumer, Consumer::Stream { .. })) {
                self.remove_reader(step, key);
            }
        }
    }

    /// Ends all readers of a deleted topic.
    pub(in crate::node) fn end(&mut self, step: &mut Step<'_>, id: TopicId, error: &ErrorResponse) {
        if let Some(place) = self.table.topic_of(id) {
            self.end_topic(step, place, error);
        }
    }

    /// Ends all readers of a topic with the reason. If there are very many, most end in later turns.
    pub(super) fn end_topic(&mut self, step: &mut Step<'_>, place: TopicKey, error: &ErrorResponse) {
        self.table.end(place, error.clone());
        self.end_some(step);
    }

    /// Ends at most [`ENDED_PER_TURN`] of the readers whose topics have ended.
    pub(super) fn end_some(&mut self, step: &mut Step<'_>) {
        for _ in 0..ENDED_PER_TURN {
            let Some((key, error)) = self.table.next_ended() else { return };
            let conn = self.table.get(key).expect("it was just found").conn;
            let consumer = self.remove_reader(step, key);
            if self.clients.get(conn).is_none() {
                continue;
            }
            match consumer {
                Consumer::Stream { id, .. } => self.send_ended(step, conn, id, error),
                Consumer::Poll(poll) => self.finish_poll(poll.asked, error.into()),
            }
        }
    }

    /// Notifies a client that one of its subscriptions has ended.
    pub(super) fn send_ended(&self, step: &mut Step<'_>, conn: ConnId, id: RequestId, error: ErrorResponse) {
        step.stats.ended += 1;
        let packet = Packet::Push(Push::Ended(Box::new(error)));
        step.out.push(Action::Send { conn, request_id: id, route: None, packet });
    }

    /// Answers the waiting FETCHes whose deadline has passed, a limited number at a time.
    pub(super) fn expire_polls(&mut self, step: &mut Step<'_>) {
        self.answer_polls(step, step.now.monotonic_us, POLLS_ENDED_PER_TICK);
    }

    /// Answers all waiting FETCHes, because the node is about to end.
    pub(in crate::node) fn end_polls(&mut self, step: &mut Step<'_>) {
        self.answer_polls(step, u64::MAX, usize::MAX);
    }

    fn answer_polls(&mut self, step: &mut Step<'_>, now_us: u64, most: usize) {
        for _ in 0..most {
            let Some(key) = self.table.expired_poll(now_us) else { return };
            let reader = self.table.get(key).expect("polls are readers");
            let topic = self.table.topic(reader.topic);
            let (cursor, id, epoch) = (reader.cursor(), topic.id, topic.epoch);
            let conn = reader.conn;
            if let Consumer::Poll(poll) = self.remove_reader(step, key)
                && self.clients.get(conn).is_some()
            {
                self.finish_poll(poll.asked, nothing(id, epoch, cursor, poll.first));
            }
        }
    }
}

/// Returns the answer without records to a FETCH at the log end offset.
fn nothing(topic_id: TopicId, epoch: crate::types::Epoch, at: Offset, first: Offset) -> Response {
    let runs = Vec::new();
    let payload = Payload::default();
    let fetched = Fetched { topic_id, epoch, from: at, base: at, count: 0, first, next: at, runs, payload };
    Response::Fetched(Box::new(fetched))
}
