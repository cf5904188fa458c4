//! Ten thousand feeds: many topics, each read through most nodes, and one record for each topic once all readers are
//! there.

use bytes::Bytes;
use dht_node::types::{Dimension, Retention};
use dht_node::wire::Request;
use dht_node::wire::request::{Publish, Topic};
use fastrand::Rng;

use crate::asked::What;
use crate::client::{Ctx, Role};
use crate::host::Care;
use crate::profile::Profile;
use crate::publisher::add_record;
use crate::session::Session;
use crate::subscriber::Subscriber;
use crate::world::World;

const TOPICS: usize = 2_000;
const SUBSCRIBERS: usize = 8;

/// Subscribers start when the topics exist, and records are published when the subscribers exist.
const SUBSCRIBE_US: u64 = 1_000_000;
const SOW_US: u64 = 2_000_000;
const END_US: u64 = 3_000_000;

/// Number of requests of the sower in flight.
const WINDOW: usize = 200;

/// Creates all topics, and later publishes one record to each.
#[derive(Debug)]
pub(crate) struct Sower {
    topics: usize,
    created: usize,
    sown: usize,
}

impl Sower {
    /// Creates a sower for this many topics.
    pub(crate) const fn of(topics: usize) -> Self {
        Self { topics, created: 0, sown: 0 }
    }

    pub(crate) const fn is_done(&self) -> bool {
        self.sown == self.topics
    }

    pub(crate) fn act(&mut self, ctx: &mut Ctx<'_>, session: &mut Session, rng: &mut Rng) {
        while session.unanswered() < WINDOW {
            if self.created < self.topics {
                let (topic, retention) = (self.created, Retention::default());
                let request = Request::Create { topic: ctx.profile.name(topic), retention };
                session.ask(ctx, &request, What::Create { topic, retention });
                self.created += 1;
            } else if self.sown < self.topics && ctx.now_us >= SOW_US {
                sow(ctx, session, self.sown, rng);
                self.sown += 1;
            } else {
                return;
            }
        }
    }
}

fn sow(ctx: &mut Ctx<'_>, session: &mut Session, topic: usize, rng: &mut Rng) {
    let batch = ctx.model.next_batch();
    let mut payload = Vec::new();
    add_record(&mut payload, (batch, 0), 40, rng);
    let payload = Bytes::from(payload);
    ctx.model.add_batch(payload.clone(), None);
    ctx.model.attempt(batch, ctx.now_us);
    let request = Request::Publish(Publish {
        topic: Topic { name: ctx.profile.name(topic), id: None },
        producer: None,
        count: 1,
    });
    session.ask_with(ctx, &request, &payload, Some(What::Publish { topic, id: None, batch }));
}

/// A calm cube of eight nodes with many topics and readers.
pub(crate) fn world() -> World {
    let mut rng = Rng::with_seed(3);
    let names = (0..TOPICS).map(|index| format!("crowd-{index}")).collect();
    let profile = Profile::calm(Dimension::new(3).expect("it is small"), names, END_US);
    let mut roles = vec![Role::Sower(Sower::of(TOPICS))];
    roles.extend((0..SUBSCRIBERS).map(|_| Role::Subscriber(Subscriber::of_all(TOPICS, SUBSCRIBE_US))));
    let mut world = World::with(profile, roles, &mut rng);
    world.care = Care::SomeTurns;
    world
}

/// Number of pairs of a topic and a node that reads it, not counting homes.
pub(crate) fn count_feeds(world: &World) -> usize {
    let homes = &world.profile.topics;
    let seats = world.model.seats.values().filter(|seat| homes[seat.name].home != seat.node);
    let mut feeds: Vec<_> = seats.map(|seat| (seat.life.id, seat.node)).collect();
    feeds.sort_unstable();
    feeds.dedup();
    feeds.len()
}
