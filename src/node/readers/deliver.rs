//! Delivery of records to subscribers: new records as they are stored or pushed here, and older ones to readers that
//! are behind.
//!
//! Push is only an optimisation of pull. A reader at the end of the topic with credit gets a new frame at once. Any
//! other reader resumes from its cursor when it can: from the log if the topic lives here, else from the tail, else by
//! a fetch that all readers at that cursor share.

use super::super::Step;
use super::super::action::{Action, Packet};
use super::super::cut::{self, fit_records, or_most, shorten};
use super::super::groups::Groups;
use super::super::ingress::Admission;
use super::super::news::News;
use super::Readers;
use super::table::{Consumer, Pushed, ReaderKey, TopicKey, first_at};
use crate::limits::{
    CATCH_UP_BYTES, CATCH_UP_WORK, CATCH_UPS_PER_TURN, DELIVERED_BYTES, DELIVERED_READERS, OWN_BUFFER_MIN, PULL_BYTES,
};
use crate::topic::NotHeld;
use crate::types::{ConnId, Offset};
use crate::wire::push::Span;
use crate::wire::response::Fetched;
use crate::wire::{Frame, Opcode, Push, Response, records};

/// Counts the readers that get new records during one event. The others are queued, and have their turn later: a node
/// may have very many readers, and one event must not take as long as all of them need.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delivered {
    /// The number of the event.
    event: u64,
    readers: usize,
}

impl Delivered {
    /// Returns how many more readers may get a frame of this size in bytes during an event.
    pub(super) fn left(&mut self, event: u64, frame_len: usize) -> usize {
        if self.event != event {
            *self = Self { event, readers: 0 };
        }
        // A large frame is not copied.
        let most = if frame_len < OWN_BUFFER_MIN { DELIVERED_BYTES / frame_len.max(1) } else { DELIVERED_READERS };
        most.min(DELIVERED_READERS).saturating_sub(self.readers)
    }

    pub(super) const fn add(&mut self, readers: usize) {
        self.readers += readers;
    }
}

impl Readers {
    /// Delivers new records of a topic. Each reader whose cursor is at their beginning and that can take them gets the
    /// frame; readers that are behind catch up when they can.
    pub(in crate::node) fn deliver(
        &mut self,
        step: &mut Step<'_>,
        admission: &Admission,
        span: Span,
        news: News<'_, '_>,
    ) {
        let Some(place) = self.table.topic_of(span.topic) else { return };
        let (frame_len, payload_len) = news.lens();
        let is_local = self.table.is_here(place);
        let topic = self.table.topic_mut(place);
        // The frame may have been delayed, and fill a gap before frames that arrived earlier. Readers then wait at its
        // base, which is below the known end.
        let known = topic.head.min(span.base);
        topic.head = topic.head.max(span.end);
        let head = topic.head;
        let mut taken = 0;
        let (keys, rest) = topic.newly_behind(known, self.delivered.left(step.event, frame_len));
        self.delivered.add(keys.len());
        step.work.add_entries(keys.len());
        if let Some(rest) = rest {
            self.table.wake_later(place, rest, false);
        }
        for key in keys {
            let reader = self.table.get_mut(key).expect("readers hang on their topic");
            let mut cursor = reader.cursor();
            match &mut reader.consumer {
                // A subscriber that was sent WAITING must get FLOWING before any records.
                Consumer::Stream { id, sent, limit }
                    if cursor == span.base && *sent < *limit && !reader.is_notified_waiting =>
                {
                    if let Some(client) = self.clients.get_mut(reader.conn)
                        && admission.room(reader.conn) > 0
                        && client.takes(step.event)
                        && frame_len <= client.frame_max as usize
                    {
                        client.give(frame_len);
                        *sent += payload_len;
                        taken += 1;
                        step.out.push(news.action(reader.conn, *id, None, false));
                        cursor = span.end;
                        self.table.move_to(key, cursor);
                    }
                }
                Consumer::Stream { .. } | Consumer::Poll(_) => {}
            }
            if cursor < head {
                self.table.enqueue(key);
            }
        }
        let behind = self.table.topic(place).slowest().is_some_and(|slowest| slowest < head);
        step.work.add_deliveries(taken);
        if frame_len < OWN_BUFFER_MIN {
            step.work.add_bytes(frame_len * taken);
        }
        step.stats.delivers += taken as u64;
        if is_local {
            return;
        }
        if !self.table.topic(place).push {
            // The frame was in transit when the leader was asked to stop pushing. A reader that took it has caught up.
            if taken > 0 {
                self.arrive(step, place);
            }
            return;
        }
        if !behind {
            return self.table.clear_tail(place);
        }
        let pushed = Pushed { base: span.base, end: span.end, frame: news.keep() };
        let had_room = self.table.push_tail(place, pushed);
        if !had_room && taken == 0 {
            // No reader here is near the end. The first one to get there asks for pushes again.
            self.table.topic_mut(place).push = false;
            self.table.clear_tail(place);
            self.send_report(step, place);
        }
    }

    /// Advances readers that can catch up by one step each; the remaining ones have their turn later. At least one
    /// reader advances, however much work that is.
    pub(in crate::node) fn catch_up(&mut self, step: &mut Step<'_>, admission: &Admission, groups: &Groups) {
        self.end_some(step);
        self.remove_left(step);
        self.table.wake_some(step.work);
        let ready = self.table.queue.len().min(CATCH_UPS_PER_TURN);
        let end = step.work.units().saturating_add(CATCH_UP_WORK);
        for _ in 0..ready {
            if step.work.units() >= end {
                return;
            }
            let Some(key) = self.table.dequeue(step.work) else { return };
            self.advance_reader(step, admission, groups, key);
        }
    }

    /// Advances a reader by one step, if it is behind and can take something.
    fn advance_reader(&mut self, step: &mut Step<'_>, admission: &Admission, groups: &Groups, key: ReaderKey) {
        if self.table.get(key).is_none_or(|reader| self.table.topic(reader.topic).has_ended()) {
            return;
        }
        self.notify(step, admission, key);
        let Some(reader) = self.table.get(key) else { return };
        let (conn, cursor, place) = (reader.conn, reader.cursor(), reader.topic);
        let room = match reader.consumer {
            Consumer::Stream { sent, limit, .. } => limit.saturating_sub(sent),
            Consumer::Poll(_) => u64::MAX,
        };
        let Some(client) = self.clients.get_mut(conn) else { return };
        let allowed = admission.room(conn);
        if room == 0 || allowed == 0 {
            // A fetch may have moved the cursor past frames in the tail that were kept for this reader.
            return self.table.trim_tail(place);
        }
        if !client.takes(step.event) {
            return self.table.enqueue(key);
        }
        let max_bytes = usize::try_from(room).unwrap_or(usize::MAX).min(allowed);
        let topic = self.table.topic(place);
        if self.table.is_here(place) {
            self.read_on(step, admission, groups, key, max_bytes);
        } else if cursor >= topic.head {
            self.arrive(step, place);
        } else if self.table.tail_at(place, cursor).is_some() {
            self.send_from_tail(step, admission, key, max_bytes);
        } else {
            self.pull(step, key, pull_bytes(max_bytes));
        }
    }

    /// Sends a reader records from this node's log, or fetches them from the journal.
    fn read_on(
        &mut self,
        step: &mut Step<'_>,
        admission: &Admission,
        groups: &Groups,
        key: ReaderKey,
        max_bytes: usize,
    ) {
        let Some(reader) = self.table.get(key) else { return };
        let (cursor, topic) = (reader.cursor(), self.table.topic(reader.topic));
        let Some(group) = groups.of(topic.slot) else { return };
        let most = u32::try_from(max_bytes.min(CATCH_UP_BYTES)).expect("a small bound");
        match group.read(step, topic.id, cursor, most) {
            Some(Ok(fetched)) => self.send_records(step, admission, key, fetched),
            Some(Err(NotHeld)) => self.pull(step, key, pull_bytes(max_bytes)),
            None => {}
        }
    }

    /// Sends a reader records from the tail of pushed frames.
    fn send_from_tail(&mut self, step: &mut Step<'_>, admission: &Admission, key: ReaderKey, max_bytes: usize) {
        let reader = self.table.get(key).expect("it was just looked at");
        let (conn, cursor, place) = (reader.conn, reader.cursor(), reader.topic);
        let stream = if let Consumer::Stream { id, .. } = reader.consumer { Some(id) } else { None };
        let pushed = self.table.tail_at(place, cursor).expect("it was just looked at");
        let (base, end, frame) = (pushed.base, pushed.end, pushed.frame.clone());
        let Some(client) = self.clients.get_mut(conn) else { return };
        let is_whole = base == cursor && frame.payload().len() <= max_bytes;
        if let Some(request_id) = stream
            && is_whole
            && frame.len() <= client.frame_max as usize
        {
            client.give(frame.len());
            self.advance_stream(step, key, end, frame.payload().len() as u64);
            let frame = frame.keep();
            step.out.push(Action::SendFrame { conn, request_id, route: None, frame, droppable: false });
            return self.table.enqueue(key);
        }
        // The frame's checksums and records are verified, and the records before the cursor are skipped.
        step.work.add_bytes(frame.len());
        step.work.add_walk(2 * frame.len());
        match records_from(&frame, cursor) {
            Some(fetched) => self.send_records(step, admission, key, fetched),
            None => {
                // The frame was corrupted in transit; the leader can supply it intact.
                step.stats.corrupt += 1;
                self.table.drop_tail_at(place, cursor);
                self.table.enqueue(key);
            }
        }
    }

    /// Sends a reader as many of the records as it has credit for, after a notice if there is a gap before them.
    pub(super) fn send_records(
        &mut self,
        step: &mut Step<'_>,
        admission: &Admission,
        key: ReaderKey,
        fetched: Fetched,
    ) {
        let Some(reader) = self.table.get_mut(key) else { return };
        let (id, sent, limit) = match reader.consumer {
            Consumer::Stream { id, sent, limit } => (id, sent, limit),
            Consumer::Poll(poll) => {
                let (conn, fetched) = (reader.conn, Fetched { from: reader.cursor(), ..fetched });
                if admission.room(conn) == 0 {
                    return; // once the client reads again, `wake_client` queues all its readers
                }
                let Some(client) = self.clients.get_mut(conn) else { return };
                if !client.takes(step.event) {
                    return self.table.enqueue(key);
                }
                let fetched = shorten(fetched, or_most(poll.max_bytes) as usize, or_most(poll.max_records));
                client.give(fetched.payload.len());
                step.stats.fetches += 1;
                self.remove_reader(step, key);
                return self.finish_poll(poll.asked, Response::Fetched(Box::new(fetched)));
            }
        };
        let conn = reader.conn;
        let (from, to) = (reader.cursor(), fetched.base);
        if from < to {
            self.table.move_to(key, to);
            step.stats.gaps += 1;
            let packet = Packet::Push(Push::Gap { from, to });
            step.out.push(Action::Send { conn, request_id: id, route: None, packet });
        }
        let Some(client) = self.clients.get_mut(conn) else { return };
        let room = usize::try_from(limit.saturating_sub(sent)).unwrap_or(usize::MAX);
        let room = room.min(admission.room(conn));
        if fetched.count > 0 && room > 0 && client.takes(step.event) {
            let mut fetched = shorten(fetched, room, u32::MAX);
            fetched.from = fetched.base;
            match fit_records(fetched, client.frame_max) {
                Ok(fetched) => {
                    client.give(fetched.payload.len());
                    self.advance_stream(step, key, fetched.end(), fetched.payload.len() as u64);
                    let packet = Packet::Push(Push::Deliver(Box::new(fetched)));
                    step.out.push(Action::Send { conn, request_id: id, route: None, packet });
                }
                Err(error) => {
                    self.remove_reader(step, key);
                    return self.send_ended(step, conn, id, error);
                }
            }
        }
        self.table.enqueue(key);
    }

    fn advance_stream(&mut self, step: &mut Step<'_>, key: ReaderKey, end: Offset, bytes: u64) {
        step.stats.delivers += 1;
        let Some(reader) = self.table.get_mut(key) else { return };
        if let Consumer::Stream { sent, .. } = &mut reader.consumer {
            *sent += bytes;
        }
        self.table.move_to(key, end);
    }

    /// Asks the leader for pushes again if necessary, because a reader has caught up with a topic of another node.
    fn arrive(&mut self, step: &Step<'_>, place: TopicKey) {
        self.table.trim_tail(place);
        let topic = self.table.topic_mut(place);
        if !topic.push {
            topic.push = true;
            self.send_report(step, place);
        }
    }

    /// Queues all readers of a topic in the next turns, so that each checks for records and notices.
    pub(super) fn wake_topic(&mut self, place: TopicKey) {
        self.table.wake_later(place, first_at(Offset(0)), true);
    }

    /// Queues at most this many of the readers that wait because too many fetches are in flight.
    pub(super) fn wake_waiting(&mut self, most: usize) {
        for _ in 0..self.table.waiting.len().min(most) {
            let key = self.table.waiting.pop_front().expect("it was counted");
            self.table.enqueue(key);
        }
    }

    /// Queues the readers of a client, because it can be sent more.
    pub(in crate::node) fn wake_client(&mut self, step: &mut Step<'_>, id: ConnId) {
        if let Some(client) = self.clients.get(id) {
            step.work.add_entries(client.readers().len());
            for &key in client.readers() {
                self.table.enqueue(key);
            }
        }
    }
}

/// Returns how many bytes to fetch for a reader with this much credit.
fn pull_bytes(room: usize) -> u32 {
    u32::try_from(room).unwrap_or(u32::MAX).min(PULL_BYTES)
}

/// Returns the records of a DELIVER from an offset on, or `None` when the frame is corrupt.
fn records_from(frame: &Frame<'_>, from: Offset) -> Option<Fetched> {
    let (args, payload) = (frame.args().ok()?, frame.keep_payload().ok()?);
    let Ok(Push::Deliver(fetched)) = Push::decode(Opcode::Deliver, 0, args, &payload) else { return None };
    records::check(&payload, fetched.count).ok()?;
    let skip = u32::try_from(from.0.checked_sub(fetched.base.0)?).ok()?;
    cut::skip(*fetched, skip)
}
