//! The true state of the simulation: which nodes run, and which links work and since when. The nodes never see this;
//! the checks use it to decide whether a response such as UNREACHABLE can be true.

use std::collections::VecDeque;

use dht_node::cube;
use dht_node::node::{Copies, Node};
use dht_node::types::{Link, NodeId, SlotId};

use crate::model::Span;
use crate::profile::{Plan, Profile};

/// A link that has been broken for this long is known to be down at both ends: a second of silence and some ticks.
const DOWN_SETTLES_US: u64 = 1_600_000;

/// A link that has worked for this long is up at both ends: earlier connections are gone, and it was dialled again.
const UP_SETTLES_US: u64 = 3_500_000;

/// When links have connected two of the three nodes that keep a slot for this long, these have elected a leader.
const LED_US: u64 = UP_SETTLES_US + 4_000_000;

/// The true state of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    pub is_up: bool,
    pub is_draining: bool,
    pub is_stalled: bool,
    /// True while it loses or delays frames that pushes depend on.
    pub is_sieved: bool,
    /// When it last did.
    pub sieved_us: Option<u64>,
    /// When it may have lost something that it had acknowledged.
    pub losses: Vec<Loss>,
    /// Everything acknowledged before this time is durable; otherwise nothing is.
    pub durable_us: u64,
    /// True once its disk was replaced by an empty one.
    pub has_new_disk: bool,
    /// How its last process ended.
    pub ending: Ending,
    /// The number of starts that may have begun a new epoch of every log, and the time of the last one that must have.
    pub raises: u32,
    pub raised_us: Option<u64>,
    /// When its process last ended.
    pub ended_us: Option<u64>,
    /// True if its wall clock was wrong by days, so that append times say little.
    pub is_misdated: bool,
    /// When it last started, or its wall clock last jumped.
    pub clock_us: u64,
    /// When its wall clock last jumped by days, whether a process ran or not.
    pub jumped_us: Option<u64>,
}

/// A node may have lost acknowledged data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    pub at_us: u64,
    /// Everything acknowledged before this time is present; `None` if nothing is.
    pub durable_us: Option<u64>,
}

/// How a process ended whose disk may lack acknowledged data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// It recorded that it has everything, or there was no process.
    #[default]
    Orderly,
    /// It may have recorded that.
    Unclear,
    /// It did not record that.
    Killed,
}

impl Truth {
    /// Records an attempt to start a node with interval sync.
    pub(crate) fn note_start(&mut self, now_us: u64, runs: bool) {
        self.raises += u32::from(self.ending != Ending::Orderly);
        if !runs {
            // It may have begun to write, and recorded nothing at its end.
            self.ending = self.ending.max(Ending::Unclear);
            return;
        }
        self.durable_us = now_us;
        if self.ending == Ending::Killed {
            self.raised_us = Some(now_us);
        }
    }
}

#[derive(Debug)]
struct Edge {
    ends: [usize; 2],
    works: bool,
    since_us: u64,
}

#[derive(Debug)]
pub(crate) struct Ground {
    pub nodes: Vec<Truth>,
    edges: Vec<Edge>,
    /// When all faults were repaired: from then on no request may fail.
    pub healed_us: Option<u64>,
    /// True once publishing has stopped.
    pub stopped_us: Option<u64>,
    /// True if connects are so slow that it is unknown when a link is up.
    is_slow: bool,
    /// True if disks fill up, fail or stall in this run, so that a node that is up may be unable to acknowledge
    /// anything.
    has_poor_disks: bool,
    /// The node that leads each slot, if several nodes keep its topics: the one that has begun last.
    leaders: Option<Vec<Option<usize>>>,
    /// For each home, when each of its slots had a leader for the first time; `None` before. That takes until all three
    /// nodes of a group run, because only then is it founded.
    led_us: Vec<Vec<Option<u64>>>,
    /// When a slot last got or lost its leader.
    moved_us: u64,
    /// How often a node has begun to lead a slot that several nodes keep.
    pub elections: u64,
}

impl Ground {
    pub(crate) fn new(profile: &Profile) -> Self {
        let (dimension, is_slow) = (profile.dimension, profile.network.hang > 0 || profile.is_far());
        let slots = usize::from(profile.slots.count());
        let mut edges: Vec<Link> = Vec::new();
        for node in dimension.all() {
            edges.extend(
                cube::neighbours(node, dimension)
                    .filter(|(_, other)| node < *other)
                    .map(|(bit, _)| Link::new(node, bit)),
            );
        }
        let index = |node: NodeId| usize::from(node.index());
        let edge = |link: Link| Edge { ends: [index(link.ends().0), index(link.ends().1)], works: false, since_us: 0 };
        Self {
            nodes: vec![Truth::default(); usize::from(dimension.nodes())],
            edges: edges.into_iter().map(edge).collect(),
            healed_us: None,
            stopped_us: None,
            is_slow,
            has_poor_disks: profile.faults.kinds.iter().any(|kind| kind.is_of_disks()),
            leaders: (profile.copies == Copies::Three).then(|| vec![None; slots]),
            led_us: vec![vec![None; slots >> dimension.bits()]; usize::from(dimension.nodes())],
            moved_us: 0,
            elections: 0,
        }
    }

    /// Records which slots a node leads. Returns those that it has begun to lead.
    pub(crate) fn note_leading(&mut self, now_us: u64, index: usize, node: &Node) -> Vec<SlotId> {
        let mut begun = Vec::new();
        let Some(leaders) = &mut self.leaders else { return begun };
        for slot in node.slots() {
            let (number, homes) = (usize::from(slot.index()), self.led_us.len());
            if node.leads(slot) {
                self.led_us[number % homes][number / homes].get_or_insert(now_us);
            }
            let leader = &mut leaders[usize::from(slot.index())];
            if node.leads(slot) {
                if leader.replace(index) != Some(index) {
                    (self.elections, self.moved_us) = (self.elections + 1, now_us);
                    begun.push(slot);
                }
            } else if *leader == Some(index) {
                (*leader, self.moved_us) = (None, now_us);
            }
        }
        begun
    }

    /// Records that a node leads nothing any more.
    pub(crate) fn note_ended(&mut self, node: usize) {
        let leaders = self.leaders.iter_mut().flatten();
        leaders.filter(|leader| **leader == Some(node)).for_each(|leader| *leader = None);
    }

    /// Returns the node that leads the slot of a topic; its home while nobody does.
    pub(crate) fn leader_of(&self, topic: &Plan) -> usize {
        let leader = self.leaders.as_ref().and_then(|leaders| leaders[usize::from(topic.slot.index())]);
        leader.unwrap_or(topic.home)
    }

    /// Returns true if a node leads the slot of a topic.
    pub(crate) fn leads(&self, node: usize, topic: &Plan) -> bool {
        match &self.leaders {
            None => topic.home == node,
            Some(leaders) => leaders[usize::from(topic.slot.index())] == Some(node),
        }
    }

    /// Returns true if every slot is led by somebody.
    pub(crate) fn is_led(&self) -> bool {
        self.leaders.as_ref().is_none_or(|leaders| leaders.iter().all(Option::is_some))
    }

    /// Returns true if a slot may have had another leader at the time `asked_us` than it has now: three nodes keep its
    /// topics, and a node or a link failed shortly before that time, or a leader has changed since.
    pub(crate) fn may_have_changed_leader(&self, asked_us: u64) -> bool {
        self.leaders.is_some() && (self.has_moved_since(asked_us) || !self.is_settled(asked_us, LED_US))
    }

    /// Returns true if any slot has got or lost its leader since the time `asked_us`.
    pub(crate) const fn has_moved_since(&self, asked_us: u64) -> bool {
        self.moved_us >= asked_us
    }

    /// Returns true if a node may have found no leader of a slot with this home at the time `asked_us`: by then it had
    /// not been connected for long enough to two of the three nodes that keep its topics, or disks or connections are
    /// slow, or the slot had not been led before. A failure of only the third node does not count.
    pub(crate) fn may_lack_leader(&self, source: usize, home: usize, asked_us: u64) -> bool {
        let is_sure = |edge: &Edge| edge.works && edge.since_us + LED_US <= asked_us;
        let reached = self.reached(source, is_sure);
        let was_led = |led_us: &Option<u64>| led_us.is_some_and(|led_us| led_us <= asked_us);
        let is_sound = !self.is_slow && !self.has_poor_disks && self.led_us[home].iter().all(was_led);
        !is_sound || [home, home ^ 1, home ^ 2].iter().filter(|member| reached[**member]).count() < 2
    }

    /// Returns the two ends of each link.
    pub(crate) fn edges(&self) -> impl Iterator<Item = (usize, usize)> {
        self.edges.iter().map(|edge| (edge.ends[0], edge.ends[1]))
    }

    /// Records changes of the links: `is_cut` states whether a direction is cut.
    pub(crate) fn refresh(&mut self, now_us: u64, is_cut: impl Fn(usize, usize) -> bool) {
        let is_there = |node: usize| {
            let truth = &self.nodes[node];
            truth.is_up && !truth.is_draining && !truth.is_stalled
        };
        for edge in &mut self.edges {
            let [a, b] = edge.ends;
            let works = is_there(a) && is_there(b) && !is_cut(a, b) && !is_cut(b, a);
            if works != edge.works {
                (edge.works, edge.since_us) = (works, now_us);
            }
        }
    }

    /// Records a change to all links of a node.
    pub(crate) fn disturb_node(&mut self, now_us: u64, node: usize) {
        self.edges.iter_mut().filter(|edge| edge.ends.contains(&node)).for_each(|edge| edge.since_us = now_us);
    }

    /// Records a change to a link.
    pub(crate) fn disturb(&mut self, now_us: u64, a: usize, b: usize) {
        let is_it = |edge: &&mut Edge| edge.ends.contains(&a) && edge.ends.contains(&b);
        self.edges.iter_mut().filter(is_it).for_each(|edge| edge.since_us = now_us);
    }

    /// Returns true if all links have worked for this long.
    pub(crate) fn is_settled(&self, now_us: u64, for_us: u64) -> bool {
        self.edges.iter().all(|edge| edge.works && edge.since_us + for_us <= now_us)
    }

    /// Returns true if UNREACHABLE can be true for a request of that time: there was no path of settled links.
    pub(crate) fn may_be_unreachable(&self, source: usize, target: usize, asked_us: u64) -> bool {
        let is_sure = |edge: &Edge| edge.works && edge.since_us + UP_SETTLES_US <= asked_us;
        self.is_slow && source != target || !self.reached(source, is_sure)[target]
    }

    /// Returns true if a frame sent at the time `asked_us` may have been lost: some link had changed shortly before.
    pub(crate) fn may_lose_frames(&self, asked_us: u64) -> bool {
        let settles_us = |edge: &Edge| if edge.works { UP_SETTLES_US } else { DOWN_SETTLES_US };
        !self.edges.iter().all(|edge| edge.since_us + settles_us(edge) <= asked_us)
    }

    /// Returns true if a node that runs and can be reached may seem silent to its subscribers: since that time, FEED or
    /// HEADS may have been lost or delayed at any node on the way.
    pub(crate) fn may_seem_silent(&self, since_us: u64) -> bool {
        let was_sieved = |truth: &Truth| truth.sieved_us.is_some_and(|sieved_us| sieved_us >= since_us);
        self.nodes.iter().any(|truth| truth.is_sieved || was_sieved(truth))
    }

    /// Returns true if a node must still have data that a client learned of at `learned_us` and that still existed at
    /// `known_us`.
    pub(crate) fn keeps(&self, node: usize, learned_us: u64, known_us: u64) -> bool {
        let is_safe = |loss: &Loss| loss.durable_us.is_some_and(|durable_us| learned_us < durable_us);
        self.nodes[node].losses.iter().all(|loss| loss.at_us < known_us || is_safe(loss))
    }

    /// Returns true if a node may have lost the execution of a request with these times of request and response,
    /// because it was not durable at a crash.
    pub(crate) fn may_undo(&self, node: usize, done: Span) -> bool {
        let is_unsafe = |loss: &Loss| loss.durable_us.is_some_and(|durable_us| durable_us <= done.now_us);
        self.nodes[node].losses.iter().any(|loss| loss.at_us >= done.asked_us && is_unsafe(loss))
    }

    /// Returns true if this is the process that ran at that time.
    pub(crate) fn has_run(&self, node: usize, since_us: u64) -> bool {
        self.nodes[node].ended_us.is_none_or(|ended_us| ended_us < since_us)
    }

    /// Returns for each node whether a path of usable links leads to it from `source`.
    fn reached(&self, source: usize, is_usable: impl Fn(&Edge) -> bool) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        reached[source] = true;
        let mut frontier = VecDeque::from([source]);
        while let Some(here) = frontier.pop_front() {
            for edge in self.edges.iter().filter(|edge| edge.ends.contains(&here) && is_usable(edge)) {
                let next = if edge.ends[0] == here { edge.ends[1] } else { edge.ends[0] };
                if !std::mem::replace(&mut reached[next], true) {
                    frontier.push_back(next);
                }
            }
        }
        reached
    }
}
