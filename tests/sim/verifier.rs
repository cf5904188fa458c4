//! The last clients, one at each node: they wait for the links, then query everything and read everything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dht_node::limits::{RESPONSE_CHARGE, TAILS_BYTES_MAX};
use dht_node::node::Copies;
use dht_node::types::{Offset, TopicId};
use dht_node::wire::request::{ANY_NODE, List, Start, Topic};
use dht_node::wire::response::Fetched;
use dht_node::wire::{Request, Response, Status};

use crate::admin::on_wire;
use crate::asked::{Asked, Bounds, What};
use crate::client::Ctx;
use crate::model::Seat;
use crate::phases::Phase;
use crate::session::Session;
use crate::truth::Life;

#[derive(Debug)]
pub(crate) struct Verifier {
    pub node: usize,
    nodes: usize,
    pub sees_all_links: bool,
    tasks: VecDeque<Task>,
    has_begun: bool,
    is_quiet: bool,
    /// The deviations from the required final state.
    odd: Option<String>,
    odd_before: Option<String>,
    /// The subscribers of the topics of this node.
    audiences: BTreeMap<TopicId, Audience>,
    /// The time of the next check.
    round_us: u64,
    /// The topics that this node has listed, to detect duplicates.
    listed: Vec<TopicId>,
    /// Indexes of the topics whose slots this node led when its LIST began. Leadership may move before the LIST ends.
    led: Vec<usize>,
    /// The topic that is being read, and where reading began.
    reading: Option<(Life, Offset)>,
}

/// The subscribers of a topic: their number, their nodes, and the lag of the slowest.
#[derive(Debug, Default)]
struct Audience {
    subscribers: u32,
    nodes: BTreeSet<usize>,
    lag: u64,
}

/// Interval at which the final state is checked.
const ROUND_US: u64 = 100_000;

#[derive(Clone, Copy, Debug)]
enum Task {
    Ping(usize),
    List {
        cursor: u64,
    },
    Stats,
    Info(usize),
    /// FETCH from an offset of a topic on.
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
            odd: None,
            odd_before: None,
            audiences: BTreeMap::new(),
            round_us: 0,
            listed: Vec::new(),
            led: Vec::new(),
            reading: None,
        }
    }

    /// Returns true if it has more requests to send in a row.
    pub(crate) fn is_busy(&self) -> bool {
        !self.tasks.is_empty()
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
            Phase::Quiet => {
                if self.tasks.is_empty() {
                    if ctx.now_us < self.round_us {
                        return;
                    }
                    self.round_us = ctx.now_us + ROUND_US;
                    self.audiences = audiences(ctx, self.node);
                    (self.odd, self.odd_before) = (None, self.odd.take());
                    self.tasks.push_back(Task::Stats);
                    let is_mine = |topic: &usize| ctx.leader(*topic) == self.node;
                    self.tasks.extend((0..ctx.profile.topics.len()).filter(is_mine).map(Task::Info));
                }
                self.do_next(ctx, session);
            }
            Phase::Work | Phase::Heal | Phase::Over => {}
        }
    }

    pub(crate) fn on_answer(&mut self, ctx: &mut Ctx<'_>, asked: &Asked, response: &Response) {
        let is_unknown = matches!(response, Response::Error(error) if error.status == Status::UnknownTopic.number());
        match response {
            Response::Cluster(view) => self.sees_all_links = view.links.iter().all(|link| link.up),
            Response::Stats { text, .. } => {
                self.check_quiet(ctx, text);
                self.note_quiet();
            }
            Response::Described(description) if ctx.phase == Phase::Quiet => {
                let state = description.topic.as_ref().expect("INFO describes an existing topic");
                let wanted = self.audiences.remove(&state.id).unwrap_or_default();
                let found = (state.subscribers, usize::from(state.feeds), state.lag);
                if found != (wanted.subscribers, wanted.nodes.len(), wanted.lag) {
                    self.odd = Some(format!("{wanted:?}, not {state:?}"));
                }
                self.note_quiet();
            }
            Response::Error(_) if is_unknown && ctx.phase == Phase::Quiet => self.note_quiet(),
            // Queues with low marks may be full at any time; the request is repeated.
            Response::Error(error) if error.status == Status::Overloaded.number() => {}
            Response::Error(error) if ctx.phase == Phase::Verify => {
                assert!(is_unknown, "{asked:?} failed after all faults were repaired: {error:?}");
                if let What::Info { topic, .. } = asked.what {
                    ctx.model.names[topic].found = Some(None);
                }
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
            Response::Fetched(fetched) => self.on_read(ctx, fetched),
            Response::Described(description) => {
                if let What::Info { topic, .. } = asked.what {
                    let life = description.topic.map(|state| Life { id: state.id, epoch: state.epoch });
                    ctx.model.names[topic].found = Some(life);
                }
                self.tasks.pop_front();
            }
            Response::Ping { .. } => drop(self.tasks.pop_front()),
            Response::Created { .. }
            | Response::Trimmed { .. }
            | Response::Opened(_)
            | Response::Deleted { .. }
            | Response::Published(_)
            | Response::Subscribed(_)
            | Response::Unsubscribed { .. }
            | Response::Traced(_)
            | Response::Nodes(_)
            | Response::Fed(_)
            | Response::Chunk(_)
            | Response::Heads { .. } => unreachable!("a response without a request"),
        }
    }

    /// Continues to read the current topic, or finishes it.
    fn on_read(&mut self, ctx: &mut Ctx<'_>, fetched: &Fetched) {
        let Some(Task::Read { topic, .. }) = self.tasks.pop_front() else { unreachable!("it was reading") };
        let life = Life { id: fetched.topic_id, epoch: fetched.epoch };
        let (begun, first) = *self.reading.get_or_insert((life, fetched.base));
        assert_eq!(begun, life, "no more topics are created");
        let end = fetched.base.plus(u64::from(fetched.count));
        if end < fetched.next {
            self.tasks.push_front(Task::Read { topic, start: Start::Offset(end) });
        } else {
            ctx.model.check_whole(life, first.max(fetched.first), end);
            self.reading = None;
        }
    }

    pub(crate) fn check_lost(asked: &Asked) {
        assert!(
            matches!(asked.what, What::Cluster { .. }),
            "a connection was lost after all faults were repaired: {asked:?}"
        );
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

    fn do_next(&mut self, ctx: &mut Ctx<'_>, session: &mut Session) {
        let Some(task) = self.tasks.front().copied() else { return };
        if let Task::List { cursor: 0 } = task {
            self.led = self.leads(ctx).collect();
        }
        let (request, what) = match task {
            Task::Ping(node) => (Request::Ping { node: on_wire(node), token: 1 }, What::Ping { node, token: 1 }),
            Task::Stats => (Request::Stats { node: ANY_NODE }, What::Stats { node: self.node }),
            Task::List { cursor } => {
                let list = List { node: ANY_NODE, max: 13, cursor, prefix: "" };
                (Request::List(list), What::List { node: self.node, cursor })
            }
            Task::Info(topic) => {
                (Request::Info(Topic { name: ctx.profile.name(topic), id: None }), What::Info { topic, id: None })
            }
            Task::Read { topic, start } => {
                let id = self.reading.map(|(life, _)| life.id);
                let (bytes, records) = if self.node.is_multiple_of(2) { (0, 0) } else { (20_000, 1_000) };
                let bounds = Bounds { bytes, records, wait_ms: 0 };
                let fetch = bounds.fetch(Topic { name: ctx.profile.name(topic), id }, None, start);
                (Request::Fetch(fetch), What::Fetch { topic, id, epoch: None, start, bounds })
            }
        };
        session.ask(ctx, &request, what);
    }

    /// Returns the indexes of the topics whose slots this node leads now.
    fn leads(&self, ctx: &Ctx<'_>) -> impl Iterator<Item = usize> {
        let topics = ctx.profile.topics.iter().enumerate();
        topics.filter(|(_, plan)| ctx.ground.leads(self.node, plan)).map(|(topic, _)| topic)
    }

    /// Checks that every topic of this node that must exist was listed.
    fn check_listed(&self, ctx: &Ctx<'_>) {
        for topic in self.leads(ctx).filter(|topic| self.led.contains(topic)) {
            let there = ctx.model.surely_there(topic, ctx.now_us, ctx.ground);
            let name = &ctx.profile.topics[topic].name;
            assert!(there.is_none_or(|id| self.listed.contains(&id)), "{name} was not listed");
        }
    }

    /// Handles a response of the last round.
    fn note_quiet(&mut self) {
        self.tasks.pop_front();
        self.is_quiet = self.tasks.is_empty() && self.odd.is_none();
    }

    /// Checks that this node has no work except this request, and that the required subscriptions exist.
    fn check_quiet(&mut self, ctx: &Ctx<'_>, text: &str) {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse::<u64>().ok()).expect("STATS has this line")
        };
        // After a restart, records may be in other chunks and tables than before, and occupy a slightly different
        // amount of memory.
        let is_applied_anyway = ctx.profile.disks.is_some() || ctx.profile.copies == Copies::Three;
        let slack = if is_applied_anyway { ctx.profile.memory_bytes } else { 0 };
        let (used, most) = (value("memory_bytes"), ctx.profile.memory_bytes + slack);
        assert!(used <= most, "topics use {used} bytes of at most {most}");
        assert!(value("tail_bytes") <= TAILS_BYTES_MAX as u64, "the tails exceed their limit");
        // Hostile clients pose as neighbours.
        let is_claimed = ctx.profile.clients.hostile > 0 || value("false_claims") == 0;
        assert!(is_claimed, "a frame of a node was taken for one that it may not send");
        let home = |seat: &Seat| ctx.leader(seat.name);
        let seats = || ctx.model.seats.values();
        let here = seats().filter(|seat| seat.node == self.node);
        let followed: BTreeSet<TopicId> =
            here.clone().filter(|seat| home(seat) != self.node).map(|seat| seat.life.id).collect();
        let fed = seats().filter(|seat| home(seat) == self.node && seat.node != self.node);
        let feeds: BTreeSet<(TopicId, usize)> = fed.map(|seat| (seat.life.id, seat.node)).collect();
        let wanted = [
            ("inflight", 1),
            ("charged_bytes", u64::from(RESPONSE_CHARGE)),
            ("proposals", 0),
            ("links", u64::from(ctx.profile.dimension.bits())),
            ("subscriptions", here.clone().count() as u64),
            ("followed", followed.len() as u64),
            ("feeds", feeds.len() as u64),
        ];
        let mut odd = wanted.iter().filter(|(name, wanted)| value(name) != *wanted);
        self.odd = odd.next().map(|(name, wanted)| format!("{name} is {}, not {wanted}", value(name)));
        let is_behind = |seat: &Seat| seat.cursor.0 < ctx.model.logs[&seat.life].nexts.at(u64::MAX);
        if self.odd.is_none() && value("tail_bytes") > 0 && !here.clone().any(is_behind) {
            self.odd = Some("a tail is kept for nobody".to_owned());
        }
    }
}

/// Returns the subscribers of the topics at a node.
fn audiences(ctx: &Ctx<'_>, node: usize) -> BTreeMap<TopicId, Audience> {
    let mut audiences: BTreeMap<TopicId, Audience> = BTreeMap::new();
    for seat in ctx.model.seats.values().filter(|seat| ctx.leader(seat.name) == node) {
        let audience = audiences.entry(seat.life.id).or_default();
        let end = ctx.model.logs[&seat.life].nexts.at(u64::MAX);
        audience.subscribers += 1;
        audience.nodes.insert(seat.node);
        audience.lag = audience.lag.max(end.saturating_sub(seat.cursor.0));
    }
    audiences
}
