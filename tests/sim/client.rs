//! A client: a session, and its activity.

use dht_node::node::Copies;
use dht_node::wire::Response;
use fastrand::Rng;

use crate::admin::Admin;
use crate::asked::Asked;
use crate::check;
use crate::crowd::Sower;
use crate::ground::Ground;
use crate::hostile::Hostile;
use crate::model::Model;
use crate::network::Network;
use crate::phases::Phase;
use crate::profile::{Profile, choose, within};
use crate::publisher::Publisher;
use crate::reader::Reader;
use crate::session::{Session, SessionItem};
use crate::subscriber::Subscriber;
use crate::trace::Trace;
use crate::verifier::Verifier;
use crate::wire::Leave;

/// The parts of the world that a step of a client needs.
pub(crate) struct Ctx<'a> {
    pub now_us: u64,
    pub network: &'a mut Network,
    pub model: &'a mut Model,
    pub ground: &'a mut Ground,
    pub trace: &'a mut Trace,
    pub profile: &'a Profile,
    pub phase: Phase,
}

impl Ctx<'_> {
    /// Returns the node that leads the slot of a topic.
    pub(crate) fn leader(&self, topic: usize) -> usize {
        self.ground.leader_of(&self.profile.topics[topic])
    }

    /// Returns true if an ingress may have had no path to the leader of a topic's slot at the time `asked_us`.
    pub(crate) fn may_be_out_of_reach(&self, ingress: usize, topic: usize, asked_us: u64) -> bool {
        let home = self.profile.topics[topic].home;
        match self.profile.copies {
            Copies::One => self.ground.may_be_unreachable(ingress, home, asked_us),
            Copies::Three => self.ground.may_lack_leader(ingress, home, asked_us),
        }
    }
}

/// The activity of a client.
#[derive(Debug)]
pub(crate) enum Role {
    Publisher(Publisher),
    Reader(Reader),
    Subscriber(Subscriber),
    Sower(Sower),
    Admin(Admin),
    Verifier(Verifier),
    Hostile(Hostile),
}

#[derive(Debug)]
pub(crate) struct Client {
    pub session: Session,
    role: Role,
    rng: Rng,
    /// The time of its next action.
    act_us: u64,
    /// The interval at which it reads its input; 0 means immediately.
    reads_every_us: u64,
    reads_us: u64,
    /// The time of the last input from its node.
    heard_us: u64,
}

/// Time without any input after which a client gives its node up.
const PATIENCE_US: u64 = 7_000_000;
/// Time without a connection after which it tries another node.
const CALL_US: u64 = 2_500_000;

impl Role {
    /// Creates the clients of a profile.
    pub(crate) fn cast(profile: &Profile, rng: &mut Rng) -> Vec<Self> {
        let mut roles = Vec::new();
        let topics = profile.topics.len();
        let counts = &profile.clients;
        roles.extend((0..counts.publishers).map(|_| Self::Publisher(Publisher::draw(profile, rng))));
        roles.extend((0..counts.readers).map(|_| Self::Reader(Reader::new(rng.usize(..topics)))));
        roles.extend((0..counts.subscribers).map(|_| Self::Subscriber(Subscriber::draw(profile, rng))));
        roles.extend((0..counts.admins).map(|_| Self::Admin(Admin::default())));
        roles.extend((0..counts.hostile).map(|_| Self::Hostile(Hostile::default())));
        roles.extend((0..counts.greedy).map(|_| Self::Hostile(Hostile::greedy())));
        roles
    }

    /// Returns true if it stays to the end.
    const fn stays(&self) -> bool {
        matches!(self, Self::Subscriber(subscriber) if subscriber.stays)
    }

    pub(crate) fn verifier(node: usize, nodes: usize) -> Self {
        Self::Verifier(Verifier::new(node, nodes))
    }
}

impl Client {
    pub(crate) fn new(index: usize, mut role: Role, mut rng: Rng) -> Self {
        let mut session = Session::new(index);
        let is_plain = matches!(role, Role::Verifier(_) | Role::Sower(_));
        if !is_plain {
            session.is_eager = rng.bool();
            session.has_notices = index.is_multiple_of(2);
            session.keepalive_ms = *choose(&mut rng, &[0, 0, 1, 1500]);
            session.frame_max = *choose(&mut rng, &[1 << 20, 64 << 10]);
        }
        let reads_every_us = if is_plain { 0 } else { *choose(&mut rng, &[0, 0, 0, 0, 20_000, 300_000, 1_500_000]) };
        session.is_reading = reads_every_us == 0;
        match &mut role {
            Role::Hostile(hostile) => hostile.set_place(index),
            Role::Subscriber(subscriber) => subscriber.set_place(index),
            Role::Publisher(_) | Role::Reader(_) | Role::Sower(_) | Role::Admin(_) | Role::Verifier(_) => {}
        }
        Self { session, role, rng, act_us: 0, reads_every_us, reads_us: 0, heard_us: 0 }
    }

    /// Handles its input and does what is due. Returns the time of its next step.
    pub(crate) fn step(&mut self, ctx: &mut Ctx<'_>) -> Option<u64> {
        if let Role::Hostile(hostile) = &mut self.role {
            return hostile.step(ctx, &mut self.rng);
        }
        if ctx.now_us < self.reads_us && ctx.phase == Phase::Work {
            return Some(self.reads_us);
        }
        self.reads_us = ctx.now_us + self.reads_every_us;
        self.hear(ctx);
        self.give_up_if_stuck(ctx);
        if let Role::Subscriber(subscriber) = &mut self.role
            && self.session.can_ask()
        {
            subscriber.feed(ctx, &mut self.session, &mut self.rng);
        }
        if ctx.phase > Phase::Work && self.is_done(ctx.phase, ctx.model) {
            self.session.flush(ctx);
            return None;
        }
        if ctx.now_us >= self.act_us {
            self.act(ctx);
            self.act_us = ctx.now_us + self.think_us(ctx);
        }
        self.session.flush(ctx);
        Some(self.act_us)
    }

    /// Returns true if it has nothing more to do in this phase.
    pub(crate) fn is_done(&self, phase: Phase, model: &Model) -> bool {
        let is_answered = self.session.unanswered() == 0;
        match &self.role {
            Role::Publisher(publisher) => phase > Phase::Heal || is_answered && publisher.is_done(),
            Role::Reader(_) | Role::Admin(_) => phase > Phase::Heal || is_answered,
            Role::Subscriber(subscriber) => is_answered && subscriber.is_done(phase, model),
            Role::Verifier(verifier) => is_answered && verifier.is_done(phase),
            Role::Sower(sower) => is_answered && sower.is_done(),
            Role::Hostile(hostile) => hostile.is_idle(),
        }
    }

    /// Returns true if its node has all its links, as far as this client can tell.
    pub(crate) fn sees_all_links(&self) -> bool {
        if let Role::Verifier(verifier) = &self.role { verifier.sees_all_links } else { true }
    }

    /// Fails if a subscription is late.
    pub(crate) fn check_lag(&self, model: &Model, stopped_us: u64, now_us: u64) {
        if let Role::Subscriber(subscriber) = &self.role {
            subscriber.check_lag(model, stopped_us, now_us, self.session.node);
        }
    }

    pub(crate) fn describe(&self) -> String {
        format!("{:?}: {}", self.role, self.session.describe())
    }

    fn think_us(&mut self, ctx: &Ctx<'_>) -> u64 {
        match (&self.role, ctx.phase) {
            (Role::Verifier(_), Phase::Verify) => 500,
            (Role::Verifier(verifier), Phase::Quiet) if verifier.is_busy() => 500,
            (Role::Verifier(_), _) => 100_000,
            _ => within(&mut self.rng, ctx.profile.clients.think_us),
        }
    }

    fn hear(&mut self, ctx: &mut Ctx<'_>) {
        for item in self.session.pump(ctx) {
            self.heard_us = ctx.now_us;
            match item {
                SessionItem::Answer(asked, response) => {
                    check::answered(ctx, &asked, &response);
                    self.on_answer(ctx, &asked, &response);
                }
                SessionItem::NotDone(asked) => {
                    check::lost(ctx, &asked, true);
                    self.on_lost(ctx, &asked);
                }
                SessionItem::Unknown(asked, by_node) => {
                    check::not_dropped(ctx, &asked, by_node);
                    check::lost(ctx, &asked, false);
                    self.on_lost(ctx, &asked);
                }
                SessionItem::Pushed(request_id, push) => {
                    let Role::Subscriber(subscriber) = &mut self.role else {
                        panic!("{push:?} to a client without a subscription")
                    };
                    subscriber.on_push(ctx, &self.session, request_id, &push);
                }
                SessionItem::Gone => {
                    self.act_us = ctx.now_us + self.rng.u64(1_000..100_000);
                    if let Role::Subscriber(subscriber) = &mut self.role {
                        subscriber.on_gone(ctx);
                    }
                }
            }
        }
    }

    fn on_answer(&mut self, ctx: &mut Ctx<'_>, asked: &Asked, response: &Response) {
        match &mut self.role {
            Role::Publisher(publisher) => publisher.on_answer(ctx, asked, response, &mut self.rng),
            Role::Reader(reader) => reader.on_answer(asked, response),
            Role::Subscriber(subscriber) => subscriber.on_answer(ctx, &self.session, asked, response),
            Role::Admin(_) | Role::Sower(_) => {}
            Role::Verifier(verifier) => verifier.on_answer(ctx, asked, response),
            Role::Hostile(_) => unreachable!("a hostile client has no session"),
        }
    }

    fn on_lost(&mut self, ctx: &Ctx<'_>, asked: &Asked) {
        match &mut self.role {
            Role::Publisher(publisher) => publisher.on_lost(asked, &mut self.rng),
            Role::Subscriber(subscriber) => subscriber.on_lost(ctx.now_us, asked),
            Role::Verifier(_) => Verifier::check_lost(asked),
            Role::Reader(_) | Role::Sower(_) | Role::Admin(_) | Role::Hostile(_) => {}
        }
    }

    fn give_up_if_stuck(&mut self, ctx: &mut Ctx<'_>) {
        let silent_us = ctx.now_us.saturating_sub(self.heard_us);
        let is_lost = self.session.is_waiting() && silent_us > PATIENCE_US;
        let is_apart = self.session.is_apart();
        if !is_apart && (is_lost || !self.session.is_ready() && silent_us > CALL_US) {
            self.session.break_off(ctx.network, ctx.now_us, Leave::Reset);
        }
    }

    fn act(&mut self, ctx: &mut Ctx<'_>) {
        if self.session.is_apart() {
            let node = self.rng.usize(..ctx.ground.nodes.len());
            let node = if let Role::Verifier(verifier) = &self.role { verifier.node } else { node };
            self.heard_us = ctx.now_us;
            return self.session.call(ctx, node);
        }
        if self.session.is_dismissed() && matches!(self.role, Role::Subscriber(_)) {
            // The node is shutting down, so the client continues at another one.
            return self.session.break_off(ctx.network, ctx.now_us, Leave::Reset);
        }
        if !self.session.can_ask() {
            return;
        }
        if self.session.unanswered() == 0 {
            // If nothing is expected, silence is no reason to give a node up.
            self.heard_us = ctx.now_us;
        }
        match &mut self.role {
            Role::Publisher(publisher) => publisher.act(ctx, &mut self.session, &mut self.rng),
            Role::Reader(reader) => reader.act(ctx, &mut self.session, &mut self.rng),
            Role::Subscriber(subscriber) => subscriber.act(ctx, &mut self.session, &mut self.rng),
            Role::Sower(sower) => sower.act(ctx, &mut self.session, &mut self.rng),
            Role::Admin(admin) => admin.act(ctx, &mut self.session, &mut self.rng),
            Role::Verifier(verifier) => verifier.act(ctx, &mut self.session),
            Role::Hostile(_) => {}
        }
        if ctx.phase == Phase::Work && self.rng.u8(..) == 0 && !self.role.stays() {
            self.session.half_close(ctx);
        }
    }
}
