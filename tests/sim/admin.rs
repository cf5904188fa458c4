//! A client that sends all kinds of queries, and creates and deletes topics.

use dht_node::types::{Retention, TopicId};
use dht_node::wire::Request;
use dht_node::wire::request::{ANY_NODE, List, Topic, TraceTarget};
use fastrand::Rng;

use crate::asked::What;
use crate::changes::change_to;
use crate::client::Ctx;
use crate::phases::Phase;
use crate::session::Session;

#[derive(Debug, Default)]
pub(crate) struct Admin {
    /// Maximum number of requests in flight.
    most: usize,
}

impl Admin {
    pub(crate) fn act(&mut self, ctx: &mut Ctx<'_>, session: &mut Session, rng: &mut Rng) {
        if self.most == 0 {
            self.most = rng.usize(1..=40);
        }
        if ctx.phase > Phase::Work || session.unanswered() >= self.most {
            return;
        }
        let topic = rng.usize(..ctx.profile.topics.len());
        let name = ctx.profile.name(topic);
        let node = rng.usize(..ctx.ground.nodes.len());
        let id = ctx.model.guess_id(topic).filter(|_| rng.bool());
        if rng.u8(..100) < ctx.profile.clients.deletes {
            return Self::delete(ctx, session, topic, id);
        }
        if let Some(id) = ctx.model.guess_id(topic).filter(|_| rng.u8(..100) < ctx.profile.clients.changes) {
            return Self::change(ctx, session, (topic, id), rng);
        }
        let (request, what) = match rng.u8(..9) {
            0 => Self::create(ctx, topic, rng),
            1 => (Request::Info(Topic { name, id }), What::Info { topic, id }),
            2 => (Request::Query { topic: name }, What::Query { topic }),
            3 => {
                let token = rng.u64(..);
                (Request::Ping { node: on_wire(node), token }, What::Ping { node, token })
            }
            4 if rng.bool() => {
                let from = rng.u16(..=ctx.profile.dimension.nodes());
                (Request::Nodes { node: on_wire(node), from }, What::Nodes { node, from })
            }
            4 => (Request::Cluster { node: on_wire(node) }, What::Cluster { node }),
            5 => (Request::Stats { node: on_wire(node) }, What::Stats { node }),
            6 => {
                let list = List { node: on_wire(node), max: rng.u16(..4), cursor: rng.u64(..3), prefix: "" };
                (Request::List(list), What::List { node, cursor: list.cursor })
            }
            7 => {
                let ttl = rng.u16(..8);
                (
                    Request::Trace { ttl, target: TraceTarget::Node(on_wire(node)) },
                    What::Trace { target: node, topic: None, ttl },
                )
            }
            _ => {
                let target = ctx.leader(topic);
                (
                    Request::Trace { ttl: u16::MAX, target: TraceTarget::Topic(name) },
                    What::Trace { target, topic: Some(topic), ttl: u16::MAX },
                )
            }
        };
        session.ask(ctx, &request, what);
        if rng.u8(..) < 8 {
            // A response that nobody waits for must not be sent.
            session.ask_with(ctx, &Request::Ping { node: ANY_NODE, token: 0 }, &bytes::Bytes::new(), None);
        }
    }

    fn create<'p>(ctx: &Ctx<'p>, topic: usize, rng: &mut Rng) -> (Request<'p>, What) {
        let plan = &ctx.profile.topics[topic];
        let other = Retention { age_ms: plan.retention.age_ms + 77, ..plan.retention };
        let is_there = ctx.model.surely_there(topic, ctx.now_us, ctx.ground).is_some();
        // A CREATE with another retention for an existing topic is refused.
        let retention = if is_there && ctx.profile.clients.deletes == 0 && ctx.profile.is_calm() && rng.bool() {
            other
        } else {
            plan.retention
        };
        (Request::Create { topic: ctx.profile.name(topic), retention }, What::Create { topic, retention })
    }

    fn change(ctx: &mut Ctx<'_>, session: &mut Session, (topic, id): (usize, TopicId), rng: &mut Rng) {
        let named = Topic { name: ctx.profile.name(topic), id: Some(id) };
        let (request, what) = if rng.bool() {
            ctx.model.ask_to_alter(id);
            let change = change_to(ctx.profile.topics[topic].other);
            (Request::Alter { topic: named, change }, What::Alter { topic, id })
        } else {
            let to = ctx.model.some_offset(id, rng);
            ctx.model.ask_to_trim(id, to);
            (Request::Trim { topic: named, first: to }, What::Trim { topic, id, to })
        };
        session.ask(ctx, &request, what);
    }

    fn delete(ctx: &mut Ctx<'_>, session: &mut Session, topic: usize, id: Option<TopicId>) {
        let attempt = ctx.model.begin_delete(topic, id);
        let request = Request::Delete(Topic { name: ctx.profile.name(topic), id });
        session.ask(ctx, &request, What::Delete { topic, id, attempt });
    }
}

/// Returns a node's id on the wire.
pub(crate) fn on_wire(node: usize) -> u16 {
    u16::try_from(node).expect("at most 1024 nodes")
}
