//! The last clients, one at each node: they see the links come up, then ask for everything and read everything.

use std::collections::VecDeque;

use dht_node::limits::RESPONSE_CHARGE;
use dht_node::types::{Offset, TopicId};
use dht_node::wire::request::{ANY_NODE, Fetch, List, Start, Topic};
use dht_node::wire::{Request, Response, Status};

use crate::admin::on_wire;
use crate::asked::{Asked, What};
use crate::client::Ctx;
use crate::phases::Phase;
use crate::session::Session;

#[derive(Debug)]
pub(crate) struct Verifier {
    pub node: usize,
    nodes: usize,
    pub sees_all_links: bool,
    tasks: VecDeque<Task>,
    has_begun: bool,
    is_quiet: bool,
    /// Topics that this node listed, to find one that comes twice.
    listed: Vec<TopicId>,
    /// The topic that is being read: where it began.
    reading: Option<(TopicId, Offset)>,
}

#[derive(Clone, Copy, Debug)]
enum Task {
    Ping(usize),
    List {
        cursor: u64,
    },
    Info(usize),
    /// A part of a topic from an offset on.
    Read {
        topic: usize,
        start: Start,
    },
}

impl Verifier {
    pub(crate) const fn new(node: usize, nodes: usize) -> Self {
        Self {
            node,
            nodes,
            sees_all_links: false,
            tasks: VecDeque::new(),
            has_begun: false,
            is_quiet: false,
            listed: Vec::new(),
            reading: None,
        }
    }

    pub(crate) fn is_done(&self, phase: Phase) -> bool {
        match phase {
            Phase::Work | Phase::Heal => self.sees_all_links,
            Phase::Verify => self.has_begun && self.tasks.is_empty(),
            Phase::Quiet | Phase::Over => self.is_quiet,
        }
    }

    pub(crate) fn act(&mut self, ctx: &mut Ctx<'_>, session: &mut Session) {
        match ctx.phase {
            _ if session.unanswered() > 0 => {}
            Phase::Heal if ctx.ground.healed_us.is_none() => {
                session.ask(ctx, &Request::Cluster { node: ANY_NODE }, What::Cluster { node: self.node });
            }
            Phase::Verify => {
                self.plan(ctx);
                self.do_next(ctx, session);
            }
            Phase::Quiet => session.ask(ctx, &Request::Stats { node: ANY_NODE }, What::Stats { node: self.node }),
            Phase::Work | Phase::Heal | Phase::Over => {}
        }
    }

    pub(crate) fn on_answer(&mut self, ctx: &Ctx<'_>, asked: &Asked, response: &Response) {
        let is_unknown = matches!(response, Response::Error(error) if error.status == Status::UnknownTopic.number());
        match response {
            Response::Cluster(view) => self.sees_all_links = view.links.iter().all(|link| link.up),
            Response::Stats { text, .. } => self.is_quiet = self.check_quiet(ctx, text),
            // Queues with low marks fill at any time; it asks again.
            Response::Error(error) if error.status == Status::Overloaded.number() => {}
            Response::Error(error) if ctx.phase == Phase::Verify => {
                assert!(is_unknown, "{asked:?} failed after all was healed: {error:?}");
                self.tasks.pop_front();
            }
            Response::Error(_) => {}
            Response::Listed(page) => {
                for listed in &page.topics {
                    assert!(!self.listed.contains(&listed.id), "{} was listed twice", listed.name);
                    self.listed.push(listed.id);
                }
                self.tasks.pop_front();
                if page.cursor != 0 {
                    self.tasks.push_front(Task::List { cursor: page.cursor });
                } else {
                    self.check_listed(ctx);
                }
            }
            Response::Fetched(fetched) => {
                let Some(Task::Read { topic, .. }) = self.tasks.pop_front() else { unreachable!("it was reading") };
                let (id, first) = *self.reading.get_or_insert((fetched.topic_id, fetched.base));
                assert_eq!(id, fetched.topic_id, "nobody makes topics any more");
                let end = fetched.base.plus(u64::from(fetched.count));
                if end < fetched.next {
                    self.tasks.push_front(Task::Read { topic, start: Start::Offset(end) });
                } else {
                    ctx.model.check_whole(id, first.max(fetched.first), end);
                    self.reading = None;
                }
            }
            Response::Ping { .. } | Response::Described(_) => {
                self.tasks.pop_front();
            }
            Response::Created { .. } | Response::Deleted { .. } | Response::Published(_) | Response::Traced(_) => {
                unreachable!("nobody asked for that")
            }
        }
    }

    pub(crate) fn check_lost(asked: &Asked) {
        assert!(matches!(asked.what, What::Cluster { .. }), "a connection was lost when all was healed: {asked:?}");
    }

    fn plan(&mut self, ctx: &Ctx<'_>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        self.tasks.extend((0..self.nodes).map(Task::Ping));
        self.tasks.push_back(Task::List { cursor: 0 });
        // Each topic is read through two nodes.
        for topic in 0..ctx.profile.topics.len() {
            if topic % self.nodes == self.node || (topic + 1) % self.nodes == self.node {
                self.tasks.push_back(Task::Info(topic));
                self.tasks.push_back(Task::Read { topic, start: Start::Earliest });
            }
        }
    }

    fn do_next(&self, ctx: &mut Ctx<'_>, session: &mut Session) {
        let Some(task) = self.tasks.front().copied() else { return };
        let (request, what) = match task {
            Task::Ping(node) => (Request::Ping { node: on_wire(node), token: 1 }, What::Ping { node, token: 1 }),
            Task::List { cursor } => {
                let list = List { node: ANY_NODE, max: 13, cursor, prefix: "" };
                (Request::List(list), What::List { node: self.node, cursor })
            }
            Task::Info(topic) => {
                (Request::Info(Topic { name: ctx.profile.name(topic), id: None }), What::Info { topic, id: None })
            }
            Task::Read { topic, start } => {
                let id = self.reading.map(|(id, _)| id);
                let (max_bytes, max_records) = if self.node.is_multiple_of(2) { (0, 0) } else { (20_000, 1_000) };
                let name = ctx.profile.name(topic);
                let fetch = Fetch { topic: Topic { name, id }, epoch: None, start, max_bytes, max_records };
                (Request::Fetch(fetch), What::Fetch { topic, id, epoch: None, start, bounds: (max_bytes, max_records) })
            }
        };
        session.ask(ctx, &request, what);
    }

    /// Every topic of this node that must be there was listed.
    fn check_listed(&self, ctx: &Ctx<'_>) {
        for (topic, plan) in ctx.profile.topics.iter().enumerate().filter(|(_, plan)| plan.home == self.node) {
            let there = ctx.model.surely_there(topic, ctx.now_us, ctx.ground);
            assert!(there.is_none_or(|id| self.listed.contains(&id)), "{} was not listed", plan.name);
        }
    }

    /// Is nothing under way at this node but the question itself?
    fn check_quiet(&self, ctx: &Ctx<'_>, text: &str) -> bool {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse::<u64>().ok()).expect("STATS has this line")
        };
        assert!(value("memory_bytes") <= ctx.profile.memory_bytes, "topics take more than the node may");
        (value("inflight"), value("charged_bytes"), value("proposals")) == (1, u64::from(RESPONSE_CHARGE), 0)
            && value("links") == u64::from(ctx.profile.dimension.bits())
    }
}
