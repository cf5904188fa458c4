//! A client that subscribes to some topics at once, from all kinds of starts and with different credit. It disconnects
//! and returns, and sometimes sends invalid requests.

use bytes::Bytes;
use dht_node::types::{Offset, RequestId};
use dht_node::wire::request::{ANY_NODE, Start, Subscribe, Topic};
use dht_node::wire::{Opcode, Push, Request, Response, Status};
use fastrand::Rng;

use crate::asked::{Asked, What};
use crate::check::NO_EPOCH;
use crate::client::Ctx;
use crate::faults::WALL_US;
use crate::model::{Model, Seat};
use crate::phases::{Phase, WATCH_US};
use crate::profile::{Profile, choose};
use crate::session::Session;
use crate::subscription::{State, Subscription};
use crate::truth::Life;
use crate::wire::Leave;

#[derive(Debug)]
pub(crate) struct Subscriber {
    me: usize,
    subscriptions: Vec<Subscription>,
    /// Percentage of its actions that are disruptive.
    restless: u8,
    /// When it sends PING to its node, because it has sent nothing for a while.
    ping_us: u64,
    /// True once its node has given a sign of life after all faults were repaired.
    is_sure: bool,
    /// Request ids of ended subscriptions on this connection.
    free_ids: Vec<u64>,
    /// True if it stays to the end.
    pub stays: bool,
}

impl Subscriber {
    pub(crate) fn draw(profile: &Profile, rng: &mut Rng) -> Self {
        let count = rng.usize(1..=profile.clients.subscriptions);
        let is_loyal = rng.bool();
        let first = rng.usize(..profile.topics.len());
        let topic = |rng: &mut Rng| if is_loyal { first } else { rng.usize(..profile.topics.len()) };
        let subscription = |rng: &mut Rng| Subscription::draw(topic(rng), rng);
        Self {
            me: 0,
            subscriptions: (0..count).map(|_| subscription(rng)).collect(),
            restless: *choose(rng, &[0, 1, 5, 30]),
            ping_us: 0,
            is_sure: false,
            free_ids: Vec::new(),
            stays: false,
        }
    }

    /// Returns a subscriber that subscribes to every topic from some time on, and reads.
    pub(crate) fn of_all(topics: usize, from_us: u64) -> Self {
        Self {
            me: 0,
            subscriptions: (0..topics).map(|topic| Subscription::plain(topic, from_us)).collect(),
            restless: 0,
            ping_us: 0,
            is_sure: false,
            free_ids: Vec::new(),
            stays: false,
        }
    }

    /// Returns a subscriber that stays to the end.
    pub(crate) fn staying(self) -> Self {
        Self { stays: true, ..self }
    }

    pub(crate) const fn set_place(&mut self, me: usize) {
        self.me = me;
    }

    /// Returns true if it has everything that it can get in this phase.
    pub(crate) fn is_done(&self, phase: Phase, model: &Model) -> bool {
        let is_there = |it: &Subscription| it.state == State::Active || it.is_absent;
        let is_fine = |it| if phase < Phase::Quiet { is_there(it) } else { it.is_settled(model) };
        self.is_sure && self.subscriptions.iter().all(is_fine)
    }

    /// Fails if a subscription is late.
    pub(crate) fn check_lag(&self, model: &Model, stopped_us: u64, now_us: u64, node: usize) {
        let whose = format!("client {} at node {node}", self.me);
        self.subscriptions.iter().for_each(|it| it.check_lag(model, stopped_us, now_us, &whose));
    }

    pub(crate) fn act(&mut self, ctx: &mut Ctx<'_>, session: &mut Session, rng: &mut Rng) {
        for index in 0..self.subscriptions.len() {
            let state = self.subscriptions[index].state;
            let is_due = matches!(state, State::Apart { until_us } if until_us <= ctx.now_us);
            // Another SUBSCRIBE under its request id may still be unanswered.
            if is_due && !session.has_asked(self.subscriptions[index].request_id) {
                self.subscribe(ctx, session, index, rng);
            }
        }
        if ctx.phase == Phase::Work && rng.u8(..100) < self.restless {
            self.disturb(ctx, session, rng);
        }
        if self.ping_us <= ctx.now_us {
            self.ping_us = ctx.now_us + PING_EVERY_US;
            session.ask(ctx, &Request::Ping { node: ANY_NODE, token: 0 }, What::Ping { node: session.node, token: 0 });
        }
    }

    /// Sends the credit that is due.
    pub(crate) fn feed(&mut self, ctx: &mut Ctx<'_>, session: &mut Session, rng: &mut Rng) {
        for subscription in &mut self.subscriptions {
            if let Some(limit) = subscription.next_grant(ctx.now_us, ctx.phase, rng) {
                grant(ctx, session, subscription.request_id, limit);
                if ctx.phase > Phase::Work {
                    // A lower limit than before has no effect; at the end no client repeats one.
                    grant(ctx, session, subscription.request_id, limit / 2_000);
                }
            }
        }
    }

    pub(crate) fn on_push(&mut self, ctx: &mut Ctx<'_>, session: &Session, request_id: u64, push: &Push) {
        let (me, is_reading, frame_max) = (self.me, session.is_reading, session.frame_max);
        let subscription = self.active(request_id);
        let subscription =
            subscription.unwrap_or_else(|| panic!("client {me} has no subscription {request_id}: {push:?}"));
        match push {
            Push::Deliver(records) => {
                subscription.on_deliver(ctx, records, is_reading);
                self.sit(ctx, request_id, records.base.plus(u64::from(records.count)));
            }
            Push::Gap { from, to } => {
                subscription.on_gap(ctx, *from, *to);
                self.sit(ctx, request_id, *to);
            }
            Push::Waiting { node, reason } => {
                assert!(session.has_notices, "client {me} does not know WAITING");
                subscription.on_waiting(ctx, (session.node, is_reading), *node, *reason);
                self.wait(ctx, request_id, true);
            }
            Push::Flowing { node } => {
                subscription.on_flowing(ctx, *node);
                self.wait(ctx, request_id, false);
            }
            Push::Ended(error) => {
                crate::check::has_its_details(error);
                subscription.on_ended(ctx, error, frame_max);
                self.free(ctx, request_id);
            }
        }
    }

    pub(crate) fn on_answer(&mut self, ctx: &mut Ctx<'_>, session: &Session, asked: &Asked, response: &Response) {
        let request_id = asked.request_id;
        match (&asked.what, response) {
            (What::Subscribe { again, .. }, Response::Subscribed(subscribed)) => {
                assert!(self.active(request_id).is_none(), "two subscriptions have the request id {request_id}");
                let is_it =
                    |it: &&mut Subscription| it.request_id == request_id && (*again || it.state == State::Asked);
                let subscription = self.subscriptions.iter_mut().find(is_it).expect("a subscription for the request");
                if *again {
                    subscription.ask_again(AGAIN_LIMIT);
                }
                subscription.begin(ctx, subscribed);
                let life = Life { id: subscribed.topic_id, epoch: subscribed.epoch };
                let waits = session.has_notices.then_some(false);
                let seat = Seat { node: session.node, name: subscription.topic, life, cursor: subscribed.from, waits };
                ctx.model.seats.insert((self.me, request_id), seat);
                self.free_ids.retain(|id| *id != request_id);
            }
            (What::Subscribe { again: true, .. }, Response::Error(error)) => {
                let is_used = self.active(request_id).is_some() || self.asked(request_id).is_some();
                let is_refused = error.status == Status::BadRequest.number();
                assert!(is_used || !is_refused, "request id {request_id} is not in use: {error:?}");
            }
            (What::Subscribe { epoch, .. }, Response::Error(error)) => {
                let status = Status::from_number(error.status).expect("checked before");
                let pause_us = u64::from(error.retry_after_ms) * 1000;
                let Some(subscription) = self.asked(request_id) else { unreachable!("a subscription for the request") };
                // On narrow links, clients that retry at once may keep another one out for ever.
                subscription.is_absent = matches!(status, Status::UnknownTopic | Status::Overloaded);
                if status == Status::Truncated
                    && subscription.cursor.is_some_and(|(life, _)| Some(life.epoch) == *epoch)
                {
                    subscription.go_on(error);
                } else if is_stale(status) {
                    subscription.cursor = None;
                }
                subscription.end(ctx.now_us + pause_us.max(if subscription.is_absent { 100_000 } else { 10_000 }));
                self.free_ids.push(request_id);
            }
            (What::Unsubscribe { subscription }, Response::Unsubscribed { next }) => {
                let ended = self.active(*subscription).expect("only existing subscriptions can end");
                let cursor = ended.cursor.map(|(_, cursor)| cursor);
                assert_eq!(Some(*next), cursor, "the next offset is wrong");
                ended.end(ctx.now_us);
                self.free(ctx, *subscription);
            }
            (What::Unsubscribe { subscription }, Response::Error(error)) => {
                let is_unknown = error.status == Status::UnknownSubscription.number();
                assert!(!is_unknown || self.active(*subscription).is_none(), "subscription {subscription} exists");
            }
            // An earlier response may be from a process that has disappeared without notice.
            (What::Ping { .. }, Response::Ping { .. }) => {
                self.is_sure = ctx.phase > Phase::Work && asked.sent_us > ctx.profile.faults.end_us + WATCH_US;
            }
            (What::Misuse { .. } | What::Ping { .. }, Response::Error(_)) => {}
            (what, response) => unreachable!("{response:?} answers {what:?}"),
        }
    }

    pub(crate) fn on_lost(&mut self, now_us: u64, asked: &Asked) {
        if let What::Subscribe { again: false, .. } = asked.what
            && let Some(subscription) = self.asked(asked.request_id)
        {
            subscription.end(now_us);
        }
    }

    /// Handles the loss of the connection, and with it of all subscriptions.
    pub(crate) fn on_gone(&mut self, ctx: &mut Ctx<'_>) {
        self.subscriptions.iter_mut().for_each(|it| it.end(ctx.now_us));
        ctx.model.seats.retain(|(client, _), _| *client != self.me);
        self.free_ids.clear();
        self.is_sure = false;
    }

    fn active(&mut self, request_id: u64) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|it| it.request_id == request_id && it.state == State::Active)
    }

    fn asked(&mut self, request_id: u64) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|it| it.request_id == request_id && it.state == State::Asked)
    }

    /// Records the progress of a subscription.
    fn sit(&self, ctx: &mut Ctx<'_>, request_id: u64, cursor: Offset) {
        if let Some(seat) = ctx.model.seats.get_mut(&(self.me, request_id)) {
            seat.cursor = cursor;
        }
    }

    /// Records a notice about whether the home is reachable.
    fn wait(&self, ctx: &mut Ctx<'_>, request_id: u64, waits: bool) {
        if let Some(seat) = ctx.model.seats.get_mut(&(self.me, request_id)) {
            seat.waits = Some(waits);
        }
    }

    /// Records the end of a subscription: its request id may be reused.
    fn free(&mut self, ctx: &mut Ctx<'_>, request_id: u64) {
        ctx.model.seats.remove(&(self.me, request_id));
        self.free_ids.push(request_id);
    }

    fn subscribe(&mut self, ctx: &mut Ctx<'_>, session: &mut Session, index: usize, rng: &mut Rng) {
        let free = self.free_ids.pop().filter(|id| rng.bool() && !session.has_asked(*id));
        let request_id = free.unwrap_or_else(|| session.new_id());
        self.subscriptions.iter_mut().filter(|it| it.request_id == request_id).for_each(|it| it.request_id = 0);
        let subscription = &mut self.subscriptions[index];
        let topic = subscription.topic;
        let known = subscription.cursor.filter(|_| ctx.phase > Phase::Work || rng.u8(..100) < 90);
        let (id, epoch, start) = match known {
            Some((Life { id, epoch }, cursor)) => {
                let names_it = ctx.phase > Phase::Work || rng.u8(..100) < 80;
                (Some(id).filter(|_| names_it), Some(epoch).filter(|_| names_it), Start::Offset(cursor))
            }
            None => (ctx.model.guess_id(topic).filter(|_| rng.u8(..100) < 20), None, elsewhere(ctx, topic, rng)),
        };
        let epoch = if ctx.phase == Phase::Work && rng.u8(..100) < 2 { Some(NO_EPOCH) } else { epoch };
        let limit = subscription.ask(request_id, rng);
        let request = Subscribe { topic: Topic { name: ctx.profile.name(topic), id }, epoch, start, limit };
        let what = What::Subscribe { topic, id, epoch, start, again: false };
        session.ask_as(ctx, request_id, &Request::Subscribe(request), &Bytes::new(), Some(what));
    }

    /// Ends something, or sends an invalid request.
    fn disturb(&self, ctx: &mut Ctx<'_>, session: &mut Session, rng: &mut Rng) {
        let index = rng.usize(..self.subscriptions.len());
        let Subscription { state, request_id, topic, .. } = self.subscriptions[index];
        let name = ctx.profile.name(topic);
        let again = Request::Subscribe(Subscribe {
            topic: Topic { name, id: None },
            epoch: None,
            start: Start::Earliest,
            limit: AGAIN_LIMIT,
        });
        let none = &Bytes::new();
        match rng.u8(..10) {
            0..=3 => self.unsubscribe(ctx, session, request_id),
            4 => session.break_off(ctx.network, ctx.now_us, Leave::Reset),
            5 if request_id > 0 && !session.has_asked_again() => {
                let what = What::Subscribe { topic, id: None, epoch: None, start: Start::Earliest, again: true };
                session.ask_as(ctx, request_id, &again, none, Some(what));
            }
            // As a one-way frame it is invalid.
            6 => session.ask_with(ctx, &again, none, None),
            7 => {
                let what = What::Misuse { opcode: Opcode::Credit };
                session.ask_with(ctx, &Request::Credit { limit: 1 << 40 }, none, Some(what));
            }
            // For a subscription that does not exist, or not yet.
            8 => {
                let unknown = session.new_id();
                grant(ctx, session, unknown, 1 << 40);
                self.unsubscribe(ctx, session, unknown);
            }
            // A lower limit than before has no effect.
            9 if state == State::Active => {
                let less = rng.u64(0..=self.subscriptions[index].granted());
                grant(ctx, session, request_id, less);
            }
            _ => {}
        }
    }

    fn unsubscribe(&self, ctx: &mut Ctx<'_>, session: &mut Session, request_id: u64) {
        let request = Request::Unsubscribe { subscription: RequestId(request_id) };
        session.ask(ctx, &request, What::Unsubscribe { subscription: request_id });
    }
}

/// A node that sends nothing may have disappeared without notice.
const PING_EVERY_US: u64 = 1_000_000;

/// The credit of an invalid SUBSCRIBE, in case it succeeds.
const AGAIN_LIMIT: u64 = 1 << 20;

/// Sends credit under the request id of a subscription.
fn grant(ctx: &mut Ctx<'_>, session: &mut Session, request_id: u64, limit: u64) {
    session.ask_as(ctx, request_id, &Request::Credit { limit }, &Bytes::new(), None);
}

/// Returns true if it makes no sense to resume from the cursor.
const fn is_stale(status: Status) -> bool {
    matches!(status, Status::UnknownTopic | Status::Recreated | Status::OffsetOutOfRange | Status::Truncated)
}

fn elsewhere(ctx: &Ctx<'_>, topic: usize, rng: &mut Rng) -> Start {
    match rng.u8(..6) {
        0 => Start::Offset(Offset(rng.u64(0..=ctx.model.guess_end(topic) + 2))),
        1 | 2 => Start::Next,
        3 => Start::Time(WALL_US + rng.u64(0..=ctx.now_us + 1_000_000)),
        _ => Start::Earliest,
    }
}
