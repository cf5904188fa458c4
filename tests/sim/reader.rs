//! A client that reads a topic from its first record to its end and beyond, with occasional reads at other positions.

use dht_node::types::Offset;
use dht_node::wire::request::{Start, Topic};
use dht_node::wire::{Request, Response};
use fastrand::Rng;

use crate::asked::{Asked, Bounds, What};
use crate::check::{NO_EPOCH, behind_loss};
use crate::client::Ctx;
use crate::faults::WALL_US;
use crate::phases::Phase;
use crate::profile::choose;
use crate::session::Session;
use crate::truth::Life;

#[derive(Debug)]
pub(crate) struct Reader {
    topic: usize,
    position: Option<(Life, Offset)>,
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
            Some((_, offset)) if follows => Start::Offset(offset),
            None if follows => Start::Earliest,
            Some(_) | None => self.elsewhere(ctx, rng),
        };
        let (id, epoch) = match self.position {
            Some((Life { id, epoch }, _)) if follows || rng.bool() => (Some(id), Some(epoch)),
            Some(_) | None => (None, None),
        };
        let epoch = if rng.u8(..100) < 3 { Some(NO_EPOCH) } else { epoch };
        let bounds = Bounds {
            bytes: *choose(rng, &[0, 0, 1, 100, 5_000]),
            records: *choose(rng, &[0, 0, 1, 3]),
            wait_ms: *choose(rng, &[0, 0, 0, 1, 300, 2_000]),
        };
        let topic = Topic { name: ctx.profile.name(self.topic), id };
        let request = bounds.fetch(topic, epoch, start);
        session.ask(ctx, &Request::Fetch(request), What::Fetch { topic: self.topic, id, epoch, start, bounds });
    }

    pub(crate) fn on_answer(&mut self, asked: &Asked, response: &Response) {
        let Response::Fetched(fetched) = response else {
            // After any error it starts again, except where its log has lost records.
            let is_its = |life: Life| matches!(asked.what, What::Fetch { epoch, .. } if epoch == Some(life.epoch));
            let before = self.position.take().filter(|(life, _)| is_its(*life));
            if let (Some((life, offset)), Response::Error(error)) = (before, response)
                && let Some((next, epoch)) = behind_loss(error)
            {
                self.position = Some((Life { epoch, ..life }, offset.min(next)));
            }
            return;
        };
        let end = fetched.base.plus(u64::from(fetched.count));
        let life = Life { id: fetched.topic_id, epoch: fetched.epoch };
        let before = self.position.filter(|(before, _)| *before == life);
        self.position = Some((life, before.map_or(end, |(_, offset)| offset.max(end))));
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
