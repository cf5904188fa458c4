//! A subscription as its client knows it: its cursor, its credit, and what may arrive next.

use dht_node::limits::{FRAME_MAX, OUTAGE_SILENT_US};
use dht_node::node::Copies;
use dht_node::types::Offset;
use dht_node::wire::response::{Detail, ErrorResponse, Fetched, Subscribed};
use dht_node::wire::{HEADER_BYTES, Status};
use fastrand::Rng;

use crate::check::{behind_loss, is_prompt};
use crate::client::Ctx;
use crate::model::{Extent, Model};
use crate::phases::Phase;
use crate::profile::choose;
use crate::truth::Life;

/// What a client knows about a subscription.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The index of its topic in the profile.
    pub topic: usize,
    appetite: Appetite,
    pub state: State,
    /// The next offset, and the topic and epoch that it belongs to.
    pub cursor: Option<(Life, Offset)>,
    /// The request id of its SUBSCRIBE.
    pub request_id: u64,
    /// True if the last SUBSCRIBE found no topic.
    pub is_absent: bool,
    /// Bytes of records received since it began, and bytes that may be sent.
    got: u64,
    granted: u64,
    /// Since when it has had credit.
    fed_us: u64,
    /// When it reached the end of its topic; `None` while it has not.
    caught_up_us: Option<u64>,
    /// With [`Appetite::Fits`], the time until which it gives no credit.
    hungry_us: u64,
    /// True while the node's last notice was that its home is unreachable.
    waits: bool,
}

/// How a client gives credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Appetite {
    /// Always this many bytes ahead.
    Ample(u64),
    /// One byte at a time.
    Crumbs,
    /// Nothing for a while, then some.
    Fits,
    /// The initial credit, and never more.
    Starved,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It does not exist; it is to be created from this time on.
    Apart {
        until_us: u64,
    },
    /// SUBSCRIBE was sent.
    Asked,
    Active,
}

/// Without publishers, a cursor with credit reaches the end in 4 s; data in transit may take as long again as a fetch
/// in which every hop is as slow as the repaired network allows.
const LAG_US: u64 = 4_000_000 + 500_000;

/// At least this long before a notice that a home is unreachable, a request to it was sent and not answered.
const PROBED_US: u64 = 600_000;

/// The credit that every client gives at the end, except for those that give no more.
const AMPLE: u64 = 4 << 20;

impl Subscription {
    pub(crate) fn draw(topic: usize, rng: &mut Rng) -> Self {
        let ample = Appetite::Ample(*choose(rng, &[1_000, 64 << 10, 1 << 20]));
        let appetite = *choose(rng, &[ample, ample, ample, Appetite::Crumbs, Appetite::Fits, Appetite::Starved]);
        Self { appetite, ..Self::plain(topic, 0) }
    }

    /// Returns a subscription that takes everything from that time on.
    pub(crate) const fn plain(topic: usize, from_us: u64) -> Self {
        Self {
            topic,
            appetite: Appetite::Ample(64 << 10),
            state: State::Apart { until_us: from_us },
            cursor: None,
            request_id: 0,
            is_absent: false,
            got: 0,
            granted: 0,
            fed_us: 0,
            caught_up_us: None,
            hungry_us: 0,
            waits: false,
        }
    }

    /// Records that SUBSCRIBE is sent, and returns its credit.
    pub(crate) fn ask(&mut self, request_id: u64, rng: &mut Rng) -> u64 {
        self.granted = match self.appetite {
            Appetite::Ample(window) => window,
            Appetite::Crumbs | Appetite::Fits => rng.u64(0..2),
            Appetite::Starved => *choose(rng, &[0, 1, 2_000]),
        };
        (self.state, self.request_id, self.is_absent) = (State::Asked, request_id, false);
        self.granted
    }

    /// Records that a second SUBSCRIBE under its request id, with this credit, has replaced it.
    pub(crate) const fn ask_again(&mut self, granted: u64) {
        self.granted = granted;
    }

    /// Starts as the response says.
    pub(crate) fn begin(&mut self, ctx: &mut Ctx<'_>, subscribed: &Subscribed) {
        ctx.trace.totals.subscribed += 1;
        self.state = State::Active;
        self.cursor = Some((Life { id: subscribed.topic_id, epoch: subscribed.epoch }, subscribed.from));
        (self.got, self.fed_us, self.caught_up_us) = (0, ctx.now_us, None);
        self.look_for_end(ctx);
    }

    /// Records that it has ended, and is to be created again at that time.
    pub(crate) const fn end(&mut self, until_us: u64) {
        (self.state, self.waits) = (State::Apart { until_us }, false);
    }

    /// Handles the notice that its home is unreachable: it must be the first one, and no settled path may have existed.
    pub(crate) fn on_waiting(
        &mut self,
        ctx: &mut Ctx<'_>,
        (ingress, is_reading): (usize, bool),
        node: u16,
        reason: u8,
    ) {
        let home = ctx.profile.topics[self.topic].home;
        let is_single = ctx.profile.copies == Copies::One;
        assert!(usize::from(node) == home || !is_single, "the notice names another node than the home");
        assert!(!std::mem::replace(&mut self.waits, true), "two notices of the same outage");
        assert!([Status::Unreachable.number(), Status::OutcomeUnknown.number()].contains(&reason), "{reason:#x}");
        assert!(!ctx.profile.is_calm(), "node {home} was reported as unreachable without any fault");
        let probed_us = ctx.now_us.saturating_sub(PROBED_US);
        let may_be = ctx.ground.may_lose_frames(probed_us)
            || ctx.may_be_out_of_reach(ingress, self.topic, probed_us)
            || ctx.ground.may_seem_silent(probed_us.saturating_sub(OUTAGE_SILENT_US));
        assert!(may_be || !is_reading, "node {home} was reported as unreachable from {ingress}, but is reachable");
        ctx.trace.totals.waited += 1;
    }

    /// Handles the notice that its home is reachable again.
    pub(crate) fn on_flowing(&mut self, ctx: &mut Ctx<'_>, node: u16) {
        let home = ctx.profile.topics[self.topic].home;
        let is_single = ctx.profile.copies == Copies::One;
        assert!(usize::from(node) == home || !is_single, "the notice is about another node than the home");
        assert!(std::mem::take(&mut self.waits), "a notice of the end of an outage without one of its start");
        ctx.trace.totals.flowed += 1;
    }

    /// Handles received records.
    pub(crate) fn on_deliver(&mut self, ctx: &mut Ctx<'_>, records: &Fetched, is_reading: bool) {
        let (life, cursor) = self.cursor.expect("it is active");
        let Fetched { base, count, first, next, .. } = *records;
        assert_eq!((records.topic_id, records.epoch), (life.id, life.epoch), "records of another topic or epoch");
        assert_eq!(base, cursor, "the next offset is wrong");
        assert!(
            self.got < self.granted,
            "{} bytes were sent of {} granted, and more were sent",
            self.got,
            self.granted
        );
        let payload = records.payload.parts.concat();
        ctx.model.read(life, base, &payload, &records.runs);
        ctx.model.check_old_extent(life, Extent { first, next, bytes: None }, ctx.now_us);
        let end = base.plus(u64::from(count));
        assert!(end <= next, "records {base} to {end} of {life:?}, whose log is said to end at {next}");
        if let Some(caught_up_us) = self.caught_up_us
            && is_reading
            && matches!(self.appetite, Appetite::Ample(_))
        {
            is_prompt(ctx, life, base, caught_up_us.max(self.fed_us));
        }
        self.cursor = Some((life, end));
        self.got += payload.len() as u64;
        self.look_for_end(ctx);
        ctx.trace.totals.delivered += 1;
    }

    /// Handles a gap.
    pub(crate) fn on_gap(&mut self, ctx: &mut Ctx<'_>, from: Offset, to: Offset) {
        let (life, cursor) = self.cursor.expect("it is active");
        assert_eq!(from, cursor, "the gap does not start at the cursor");
        assert!(!self.waits, "a gap arrived before the notice of the end of the outage");
        assert!(from < to, "a gap without records");
        ctx.model.gap(life, to, ctx.now_us);
        self.cursor = Some((life, to));
        self.look_for_end(ctx);
    }

    /// Handles the end of the subscription.
    pub(crate) fn on_ended(&mut self, ctx: &mut Ctx<'_>, error: &ErrorResponse, frame_max: u32) {
        let (life, cursor) = self.cursor.expect("it is active");
        let id = life.id;
        let status = Status::from_number(error.status).expect("a known status");
        let there = ctx.model.surely_there(self.topic, ctx.now_us, ctx.ground);
        let context = || format!("{id:?} ended with {}: {} {:?}", status.name(), error.message, error.details);
        ctx.trace.totals.ended += 1;
        let topic_id_of = |detail: &Detail| if let Detail::TopicId(id) = detail { Some(*id) } else { None };
        let limit_of = |detail: &Detail| if let Detail::Limit(limit) = detail { Some(*limit) } else { None };
        if matches!(status, Status::UnknownTopic | Status::Recreated) {
            assert_ne!(there, Some(id), "{}", context());
            let other = error.details.iter().find_map(topic_id_of);
            // The topic may have been replaced once more since then.
            let is_another = status == Status::UnknownTopic || other.is_some_and(|other| other != id);
            assert!(is_another, "{}", context());
            self.cursor = None;
        } else if status == Status::Truncated {
            assert!(ctx.profile.has_interval_sync(), "{}", context());
            // An ingress may mistake a report of the home about the earlier epoch for one about this epoch. The
            // notification is then redundant; a reader that has already read in this epoch resumes from its cursor.
            if let Some((next, epoch)) = behind_loss(error).filter(|(_, epoch)| *epoch != life.epoch) {
                ctx.model.truncated(self.topic, life, (epoch, next), ctx.ground);
                self.go_on(error);
            }
        } else {
            assert_eq!(status, Status::TooLarge, "{}", context());
            let limit = error.details.iter().find_map(limit_of);
            let is_large = frame_max < FRAME_MAX && limit.is_some_and(|limit| limit > u64::from(frame_max));
            let length = ctx.model.length(life, cursor.0);
            let is_true = length.is_none_or(|length| length + HEADER_BYTES + 62 > frame_max as usize);
            assert!(is_large && is_true, "a record of {length:?} bytes: {}", context());
            // It continues after that record.
            self.cursor = Some((life, cursor.plus(1)));
        }
        self.end(ctx.now_us);
    }

    /// The log lost records: the cursor moves to where offsets may denote others. Without that position, the next
    /// SUBSCRIBE returns it.
    pub(crate) fn go_on(&mut self, error: &ErrorResponse) {
        if let Some(((life, cursor), (next, epoch))) = self.cursor.zip(behind_loss(error)) {
            self.cursor = Some((Life { epoch, ..life }, cursor.min(next)));
        }
    }

    /// Returns the credit to give now, if it is higher than before.
    pub(crate) fn next_grant(&mut self, now_us: u64, phase: Phase, rng: &mut Rng) -> Option<u64> {
        if self.state != State::Active {
            return None;
        }
        let is_empty = self.got >= self.granted;
        let window = match self.appetite {
            Appetite::Starved => return None,
            _ if phase > Phase::Work => AMPLE,
            Appetite::Ample(window) => window,
            Appetite::Crumbs => 1,
            Appetite::Fits if !is_empty || now_us < self.hungry_us => return None,
            Appetite::Fits => {
                self.hungry_us = now_us + rng.u64(0..2_000_000);
                rng.u64(1..20_000)
            }
        };
        let limit = self.got + window;
        if limit < self.granted + window.div_ceil(2) {
            return None;
        }
        if is_empty {
            (self.fed_us, self.caught_up_us) = (now_us, None);
        }
        self.granted = limit;
        Some(limit)
    }

    /// Returns the credit that it has given, for clients that repeat it.
    pub(crate) const fn granted(&self) -> u64 {
        self.granted
    }

    /// Returns true if nothing more can arrive according to what is known.
    pub(crate) fn is_settled(&self, model: &Model) -> bool {
        let Some(found) = model.names[self.topic].found else { return false };
        match (self.state, self.cursor) {
            (State::Active, Some((life, cursor))) => {
                let end = model.logs[&life].nexts.at(u64::MAX);
                let is_starved = self.appetite == Appetite::Starved && self.got >= self.granted;
                found == Some(life) && !self.waits && (is_starved || cursor.0 >= end)
            }
            (State::Apart { .. }, _) => self.is_absent && found.is_none(),
            (State::Active | State::Asked, _) => false,
        }
    }

    /// Fails if it should have reached its end long ago.
    pub(crate) fn check_lag(&self, model: &Model, stopped_us: u64, now_us: u64, whose: &str) {
        let since_us = self.fed_us.max(stopped_us);
        if self.state == State::Active && !self.is_settled(model) && now_us > since_us + LAG_US {
            let (life, cursor) = self.cursor.expect("it is active");
            let (end, found) = (model.logs[&life].nexts.at(u64::MAX), model.names[self.topic].found);
            panic!(
                "subscription {} of {whose} to topic {} ({life:?}, now {found:?}) is at {cursor} of {end}, {} us after \
                 publishing stopped or it began; it got {} bytes of {} that were granted",
                self.request_id,
                model.names[self.topic].plan.name,
                now_us - since_us,
                self.got,
                self.granted,
            );
        }
    }

    /// Records the first time at which it was at the end of its topic.
    fn look_for_end(&mut self, ctx: &Ctx<'_>) {
        let Some((life, cursor)) = self.cursor else { return };
        let end = ctx.model.logs[&life].nexts.at(u64::MAX);
        if self.got < self.granted && cursor.0 >= end {
            self.caught_up_us.get_or_insert(ctx.now_us);
        } else if self.got >= self.granted {
            self.caught_up_us = None;
        }
    }
}
