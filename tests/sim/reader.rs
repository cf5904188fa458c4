//! A client that reads a topic: from its first record to its end and on, with looks elsewhere in between.

use dht_node::types::{Epoch, Offset, TopicId};
use dht_node::wire::request::{Start, Topic};
use dht_node::wire::{Request, Response};
use fastrand::Rng;

use crate::asked::{Bounds, What};
use crate::client::Ctx;
use crate::faults::WALL_US;
use crate::phases::Phase;
use crate::profile::choose;
use crate::session::Session;

#[derive(Debug)]
pub(crate) struct Reader {
    topic: usize,
    position: Option<(TopicId, Epoch, Offset)>,
}

impl Reader {
    pub(crate) const fn new(topic: usize) -> Self {
        Self { topic, position: None }
    }

    pub(crate) fn act(&self, ctx: &mut Ctx<'_>, session: &mut Session, rng: &mut Rng) {
        if ctx.phase > Phase::Work || session.unanswered() > 4 {
            return;
        }
        let follows = rng.u8(..100) < 70;
        let start = match self.position {
            Some((_, _, offset)) if follows => Start::Offset(offset),
            None if follows => Start::Earliest,
            Some(_) | None => self.elsewhere(ctx, rng),
        };
        let (id, epoch) = match self.position {
            Some((id, epoch, _)) if follows || rng.bool() => (Some(id), Some(epoch)),
            Some(_) | None => (None, None),
        };
        // An epoch that no log has.
        let epoch = if rng.u8(..100) < 3 { Some(Epoch(2)) } else { epoch };
        let bounds = Bounds {
            bytes: *choose(rng, &[0, 0, 1, 100, 5_000]),
            records: *choose(rng, &[0, 0, 1, 3]),
            wait_ms: *choose(rng, &[0, 0, 0, 1, 300, 2_000]),
        };
        let topic = Topic { name: ctx.profile.name(self.topic), id };
        let request = bounds.fetch(topic, epoch, start);
        session.ask(ctx, &Request::Fetch(request), What::Fetch { topic: self.topic, id, epoch, start, bounds });
    }

    pub(crate) fn on_answer(&mut self, response: &Response) {
        // After any error it starts anew.
        let Response::Fetched(fetched) = response else { return self.position = None };
        let end = fetched.base.plus(u64::from(fetched.count));
        let before = self.position.filter(|(id, _, _)| *id == fetched.topic_id);
        let position = before.map_or(end, |(_, _, offset)| offset.max(end));
        self.position = Some((fetched.topic_id, fetched.epoch, position));
    }

    fn elsewhere(&self, ctx: &Ctx<'_>, rng: &mut Rng) -> Start {
        match rng.u8(..4) {
            0 => Start::Offset(Offset(rng.u64(0..=ctx.model.guess_end(self.topic) + 2))),
            1 => Start::Next,
            2 => Start::Time(WALL_US + rng.u64(0..=ctx.now_us + 1_000_000)),
            _ => Start::Earliest,
        }
    }
}
