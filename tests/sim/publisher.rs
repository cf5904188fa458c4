//! A client that publishes, with or without sequences.

use std::collections::VecDeque;

use bytes::Bytes;
use dht_node::types::{self, ProducerId, Sequenced, TopicId};
use dht_node::wire::records::{Record, encode_headers};
use dht_node::wire::request::{Publish, Topic};
use dht_node::wire::response::{Detail, ErrorResponse, OpenedProducer};
use dht_node::wire::{Request, Response, Status};
use fastrand::Rng;

use crate::asked::{Asked, What};
use crate::client::Ctx;
use crate::phases::Phase;
use crate::profile::Profile;
use crate::session::Session;

/// The publisher of one topic. With sequences it sends all unacknowledged batches again after each failure, and gives
/// up only those whose outcome cannot be determined. Without sequences it sends each batch once.
#[derive(Debug)]
pub(crate) struct Publisher {
    topic: usize,
    is_sequenced: bool,
    /// The state of its opening, if it is opened and resumes after some failures.
    opening: Option<Opening>,
    /// True if it names the topic's id, so that it detects a re-created topic.
    names_id: bool,
    /// True if it repeats at once instead of waiting for the responses in flight.
    is_hasty: bool,
    window: usize,
    topic_id: Option<TopicId>,
    producer: (u64, u32),
    next_sequence: u64,
    unacked: VecDeque<Item>,
    must_rewind: bool,
    is_creating: bool,
    wait_until_us: u64,
    /// The latest acknowledged sequence, and its topic.
    acked: Option<(u64, TopicId)>,
    /// Number of bytes that it may still publish.
    budget: usize,
    /// True once nothing more can be done. It sends nothing more, but keeps the batches without an acknowledgement:
    /// those already on their way may be stored, and a response to PRODUCER counts them.
    has_given_up: bool,
}

/// The state of a publisher whose records are counted.
#[derive(Debug, Default)]
struct Opening {
    is_open: bool,
    is_asked: bool,
    /// The token of the request without a response.
    token: u64,
    /// Number of records that were acknowledged, or are stored according to the topic.
    stored: u64,
}

#[derive(Debug)]
struct Item {
    batch: usize,
    count: u32,
    sequence: u64,
    payload: Bytes,
    under_way: u32,
}

impl Publisher {
    pub(crate) fn draw(profile: &Profile, rng: &mut Rng) -> Self {
        let is_sequenced = rng.u8(..100) < 75;
        // A home that loses acknowledged records also loses their count.
        let is_opened = is_sequenced && !profile.has_interval_sync() && rng.u8(..100) < 40;
        Self {
            topic: rng.usize(..profile.topics.len()),
            is_sequenced,
            opening: is_opened.then(Opening::default),
            names_id: is_opened || rng.bool(),
            is_hasty: rng.u8(..100) < 30,
            window: profile.clients.window,
            topic_id: None,
            producer: (rng.u64(1..), 0),
            next_sequence: 0,
            unacked: VecDeque::new(),
            must_rewind: false,
            is_creating: false,
            wait_until_us: 0,
            acked: None,
            budget: 1 << 20,
            has_given_up: false,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.has_given_up || self.unacked.is_empty()
    }

    pub(crate) fn act(&mut self, ctx: &mut Ctx<'_>, session: &mut Session, rng: &mut Rng) {
        let is_over = self.has_given_up || ctx.phase > Phase::Work && self.unacked.is_empty();
        if self.is_creating || is_over || ctx.now_us < self.wait_until_us {
            return;
        }
        if self.topic_id.is_none() {
            self.is_creating = true;
            let retention = ctx.profile.topics[self.topic].retention;
            let request = Request::Create { topic: ctx.profile.name(self.topic), retention };
            return session.ask(ctx, &request, What::Create { topic: self.topic, retention });
        }
        if ctx.phase == Phase::Work && rng.u8(..100) < 3 {
            // Like a restarted program, whose predecessor's batches are still in transit.
            self.opening.iter_mut().for_each(|opening| opening.is_open = false);
        }
        if let (Some(opening), Some(id)) = (&mut self.opening, self.topic_id)
            && !opening.is_open
        {
            if !std::mem::replace(&mut opening.is_asked, true) {
                // A repeated request has the same token.
                opening.token = if opening.token == 0 { rng.u64(1..) } else { opening.token };
                let producer = ProducerId::new(self.producer.0).expect("a valid producer id");
                let opening = types::Opening { producer, token: opening.token, resume: true };
                let topic = Topic { name: ctx.profile.name(self.topic), id: Some(id) };
                let what = What::Producer { topic: self.topic, id };
                ctx.model.opening_asked(self.producer.0);
                session.ask(ctx, &Request::Producer { topic, opening }, what);
            }
            return;
        }
        if self.must_rewind {
            let is_clear = self.unacked.iter().all(|item| item.under_way == 0);
            if is_clear || self.is_hasty {
                self.must_rewind = false;
                (0..self.unacked.len()).for_each(|index| self.send(ctx, session, index));
            }
            return;
        }
        if let Some((sequence, id)) = self.acked
            && ctx.phase == Phase::Work
            && self.is_sequenced
            // A home that has lost the acknowledged batch may store another one under its sequence.
            && !ctx.profile.has_interval_sync()
            && rng.u8(..100) < 2
        {
            self.forge(ctx, session, (sequence, id), rng);
        }
        let most = if ctx.phase == Phase::Work && self.budget > 0 { rng.usize(1..=4) } else { 0 };
        for _ in 0..most.min(self.window.saturating_sub(self.unacked.len())) {
            self.add_batch(ctx, session.payload_max(), rng);
            if !self.is_sequenced && rng.u8(..100) < 20 {
                self.send_oneway(ctx, session);
            } else {
                self.send(ctx, session, self.unacked.len() - 1);
            }
        }
    }

    pub(crate) fn on_answer(&mut self, ctx: &mut Ctx<'_>, asked: &Asked, response: &Response, rng: &mut Rng) {
        match (&asked.what, response) {
            (What::Create { .. }, Response::Created { description, .. }) => {
                self.is_creating = false;
                self.topic_id = description.topic.map(|topic| topic.id);
            }
            (What::Create { .. }, Response::Error(error)) => {
                self.is_creating = false;
                // The topic exists, and was altered.
                let there = |detail: &Detail| if let Detail::TopicId(id) = detail { Some(*id) } else { None };
                self.topic_id = error.details.iter().find_map(there);
                self.wait(ctx, error);
            }
            (What::Producer { .. }, Response::Opened(opened)) => self.on_opened(ctx, opened),
            (What::Producer { .. }, Response::Error(error)) => self.on_not_opened(ctx, error, rng),
            (What::Publish { batch, .. }, Response::Published(published)) => {
                let acked = self.unacked.iter().find(|item| item.batch == *batch).map(|item| item.sequence);
                let same = self.acked.filter(|(_, id)| *id == published.topic_id);
                let newest = same.map_or(0, |(sequence, _)| sequence);
                self.acked = acked.map(|sequence| (sequence.max(newest), published.topic_id)).or(self.acked);
                if let (Some(item), Some(opening)) = (self.find(*batch), &mut self.opening) {
                    opening.stored += u64::from(self.unacked[item].count);
                }
                self.unacked.retain(|item| item.batch != *batch);
            }
            (What::Publish { batch, .. }, Response::Error(error)) => {
                if let Some(place) = self.unacked.iter().position(|item| item.batch == *batch) {
                    self.unacked[place].under_way -= 1;
                    self.on_failure(ctx, error, place, rng);
                }
            }
            (what, response) => unreachable!("{response:?} answers {what:?}"),
        }
    }

    pub(crate) fn on_lost(&mut self, asked: &Asked, rng: &mut Rng) {
        self.is_creating = false;
        if let (What::Producer { .. }, Some(opening)) = (&asked.what, &mut self.opening) {
            opening.is_asked = false;
        }
        let What::Publish { batch, .. } = asked.what else { return };
        let Some(place) = self.unacked.iter().position(|item| item.batch == batch) else { return };
        self.unacked[place].under_way -= 1;
        if !self.is_sequenced {
            self.unacked.remove(place);
        } else if rng.u8(..100) < 10 {
            self.begin_epoch();
        } else {
            self.must_rewind = true;
        }
    }

    fn on_failure(&mut self, ctx: &Ctx<'_>, error: &ErrorResponse, place: usize, rng: &mut Rng) {
        self.wait(ctx, error);
        if !self.is_sequenced {
            self.unacked.remove(place);
        }
        let status = Status::from_number(error.status).expect("checked before");
        if matches!(status, Status::UnknownTopic | Status::Recreated) {
            self.topic_id = None;
            return self.begin_anew(rng);
        }
        let expected = error
            .details
            .iter()
            .find_map(|detail| if let Detail::ExpectedSequence(sequence) = detail { Some(*sequence) } else { None });
        // The topic lacks an acknowledged sequence, so it is a re-created one, which an old frame has reached.
        let is_another =
            expected.is_some_and(|expected| self.unacked.front().is_some_and(|item| item.sequence > expected));
        if let (Status::UnknownProducer, Some(opening)) = (status, &mut self.opening) {
            opening.is_open = false;
            return;
        }
        if status == Status::UnknownProducer || is_another {
            return self.begin_anew(rng);
        }
        self.must_rewind = self.is_sequenced;
    }

    fn wait(&mut self, ctx: &Ctx<'_>, error: &ErrorResponse) {
        let least_us = if error.status == Status::Quota.number() { 200_000 } else { 10_000 };
        self.wait_until_us = ctx.now_us + least_us.max(u64::from(error.retry_after_ms) * 1000);
        if error.status == Status::Quota.number() && ctx.phase > Phase::Work {
            self.has_given_up = true;
        }
    }

    /// Continues as another producer. The outcome of the unacknowledged batches stays unknown.
    fn begin_anew(&mut self, rng: &mut Rng) {
        self.producer = (rng.u64(1..), 0);
        self.opening = self.opening.take().map(|_| Opening::default());
        (self.next_sequence, self.must_rewind, self.acked) = (0, false, None);
        self.unacked.clear();
    }

    /// Starts again in another epoch, or first queries how many of its records are stored.
    fn begin_epoch(&mut self) {
        if let Some(opening) = &mut self.opening {
            opening.is_open = false;
            return;
        }
        self.producer.1 += 1;
        (self.next_sequence, self.must_rewind, self.acked) = (0, false, None);
        self.unacked.clear();
    }

    /// Handles the response to opening: the number of stored records is known exactly, and the rest follows in the new
    /// epoch.
    fn on_opened(&mut self, ctx: &mut Ctx<'_>, opened: &OpenedProducer) {
        let Some(opening) = &mut self.opening else { unreachable!("nothing else is opened") };
        assert!(opened.records >= opening.stored, "{opened:?}, and {opening:?}");
        while opening.stored < opened.records {
            let item = self.unacked.pop_front().expect("more records are counted than were published");
            opening.stored += u64::from(item.count);
            ctx.trace.totals.resumed += 1;
        }
        assert_eq!(opening.stored, opened.records, "a batch is counted in part");
        (opening.is_open, opening.is_asked, opening.token) = (true, false, 0);
        (self.producer.1, self.next_sequence, self.acked) = (opened.epoch, opened.sequence, None);
        for item in &mut self.unacked {
            item.sequence = self.next_sequence;
            self.next_sequence += 1;
            ctx.model.move_batch(item.batch, (self.producer.0, self.producer.1, item.sequence));
        }
        self.must_rewind = !self.unacked.is_empty();
    }

    fn on_not_opened(&mut self, ctx: &Ctx<'_>, error: &ErrorResponse, rng: &mut Rng) {
        self.wait(ctx, error);
        if let Some(opening) = &mut self.opening {
            opening.is_asked = false;
        }
        if [Status::UnknownTopic, Status::Recreated].map(Status::number).contains(&error.status) {
            self.topic_id = None;
            self.begin_anew(rng);
        }
    }

    fn find(&self, batch: usize) -> Option<usize> {
        self.unacked.iter().position(|item| item.batch == batch)
    }

    fn add_batch(&mut self, ctx: &mut Ctx<'_>, payload_max: usize, rng: &mut Rng) {
        let batch = ctx.model.next_batch();
        let most = ctx.profile.clients.record_bytes.min(payload_max / 2);
        let wanted = rng.u32(1..=ctx.profile.clients.batch_records);
        let (mut payload, mut count) = (Vec::new(), 0);
        while count < wanted && payload.len() + most + 64 < payload_max {
            add_record(&mut payload, (batch, count), most, rng);
            count += 1;
        }
        let payload = Bytes::from(payload);
        self.budget = self.budget.saturating_sub(payload.len());
        let sequence = self.next_sequence;
        let sequenced = self.is_sequenced.then_some((self.producer.0, self.producer.1, sequence));
        ctx.model.add_batch(payload.clone(), sequenced);
        self.next_sequence += 1;
        self.unacked.push_back(Item { batch, count, sequence, payload, under_way: 0 });
    }

    fn send(&mut self, ctx: &mut Ctx<'_>, session: &mut Session, index: usize) {
        let id = self.topic_id.filter(|_| self.names_id);
        let item = &mut self.unacked[index];
        item.under_way += 1;
        let (producer, epoch) = self.producer;
        let producer = ProducerId::new(producer).filter(|_| self.is_sequenced);
        let producer = producer.map(|producer| Sequenced { producer, epoch, sequence: item.sequence });
        let topic = Topic { name: ctx.profile.name(self.topic), id };
        let request = Request::Publish(Publish { topic, producer, count: item.count });
        ctx.model.attempt(item.batch, ctx.now_us);
        let what = What::Publish { topic: self.topic, id, batch: item.batch };
        session.ask_with(ctx, &request, &item.payload, Some(what));
    }

    /// Publishes other records under an acknowledged sequence, or the next ones in an old epoch.
    fn forge(&mut self, ctx: &mut Ctx<'_>, session: &mut Session, (sequence, id): (u64, TopicId), rng: &mut Rng) {
        let kept = (self.names_id, self.topic_id, self.producer, self.next_sequence);
        (self.names_id, self.topic_id, self.next_sequence) = (true, Some(id), sequence);
        if self.producer.1 > 0 && rng.bool() {
            self.producer.1 -= 1;
            self.next_sequence += 1;
        }
        self.add_batch(ctx, session.payload_max(), rng);
        ctx.model.forge();
        self.send(ctx, session, self.unacked.len() - 1);
        self.unacked.pop_back();
        (self.names_id, self.topic_id, self.producer, self.next_sequence) = kept;
    }

    /// Sends the newest batch as a one-way request.
    fn send_oneway(&mut self, ctx: &mut Ctx<'_>, session: &mut Session) {
        let Some(item) = self.unacked.pop_back() else { return };
        let topic = Topic { name: ctx.profile.name(self.topic), id: None };
        let request = Request::Publish(Publish { topic, producer: None, count: item.count });
        ctx.model.attempt(item.batch, ctx.now_us);
        session.ask_with(ctx, &request, &item.payload, None);
    }
}

/// Returns a record whose value begins with the number of its batch and its position in it.
pub(crate) fn add_record(payload: &mut Vec<u8>, (batch, index): (usize, u32), most: usize, rng: &mut Rng) {
    let mut value = (batch as u64).to_be_bytes().to_vec();
    value.extend_from_slice(&index.to_be_bytes());
    value.resize(12 + rng.usize(0..=most), b'x');
    let headers = if rng.u8(..) < 20 { encode_headers([("from", b"sim".as_slice())]) } else { Ok(Vec::new()) };
    let headers = headers.expect("short");
    let record = Record {
        timestamp_us: (rng.u8(..) < 20).then_some(1),
        key: (rng.u8(..) < 20).then_some(b"key".as_slice()),
        value: &value,
        ..Record::default()
    };
    record.with_headers(&headers).and_then(|record| record.encode(payload)).expect("short");
}
