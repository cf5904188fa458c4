//! Requests about the nodes themselves: PING, TRACE, CLUSTER, NODES and STATS.

use std::fmt::Write as _;

use super::call::Answer;
use super::group::Group;
use super::router::ends_of;
use super::{Parts, Step};
use crate::limits::NODES_PAGE_MAX;
use crate::types::NodeId;
use crate::wire::response::{GroupsView, LinkState, LinkView, NodeAddress, NodePage, Probe, View};
use crate::wire::{Response, Route};

impl Parts {
    pub(super) const fn pong(&self, step: &Step<'_>, token: u64) -> Answer {
        Answer::Now(Response::Ping { node: step.settings.id.index(), token, wall_us: None, topics: None })
    }

    pub(super) fn traced(&self, step: &Step<'_>, route: &Route) -> Answer {
        let down = ends_of(&route.down);
        Answer::Now(Response::Traced(Probe { node: step.settings.id.index(), hops: route.hops, down }))
    }

    pub(super) fn view(&self, step: &Step<'_>) -> Answer {
        let links = self.router.reports().map(|link| LinkView {
            node: link.node.index(),
            up: link.is_up,
            address: self.address(step, link.node),
        });
        Answer::Now(Response::Cluster(Box::new(View {
            node: step.settings.id.index(),
            dimension: step.settings.dimension.bits(),
            instance: step.settings.instance,
            uptime_ms: self.clock.uptime_ms(step.now),
            durability: step.settings.durability,
            cluster: step.settings.cluster.clone(),
            software: step.settings.software.clone(),
            address: self.address(step, step.settings.id),
            links: links.collect(),
            groups: self.groups_view(step),
        })))
    }

    fn groups_view(&self, step: &Step<'_>) -> Option<GroupsView> {
        let replicas = step.settings.copies.number();
        let count = |groups: usize| u16::try_from(groups).unwrap_or(u16::MAX);
        let (led, kept) = (count(self.groups.led().count()), count(self.groups.iter().count()));
        (replicas > 1).then_some(GroupsView { replicas, led, kept })
    }

    /// Returns a page of the list of all nodes, from that id on.
    pub(super) fn nodes(&self, step: &Step<'_>, from: u16) -> Answer {
        let (here, dimension) = (step.settings.id, step.settings.dimension);
        let link = |node: NodeId| match here.edge_to(node) {
            Some(bit) if self.router.conn(bit).is_some() => LinkState::Up,
            Some(_) => LinkState::Down,
            None if node == here => LinkState::Itself,
            None => LinkState::Distant,
        };
        let end = from.saturating_add(NODES_PAGE_MAX);
        let page = dimension.all().skip(from.into()).take(NODES_PAGE_MAX.into());
        let nodes =
            page.map(|node| NodeAddress { node: node.index(), link: link(node), address: self.address(step, node) });
        Answer::Now(Response::Nodes(NodePage {
            node: here.index(),
            dimension: dimension.bits(),
            next: if end < dimension.nodes() { end } else { 0 },
            nodes: nodes.collect(),
        }))
    }

    /// Returns the address of a node by this node's configuration, or an empty string if that has none. If the
    /// configured port is 0, the node chose its port itself, and no other node knows it.
    fn address(&self, step: &Step<'_>, node: NodeId) -> String {
        let address = step.settings.addresses.get(usize::from(node.index()));
        address.filter(|address| !address.ends_with(":0")).cloned().unwrap_or_default()
    }

    pub(super) fn counters(&self, step: &mut Step<'_>) -> Answer {
        // All followed topics are counted.
        let (followed, elsewhere) = self.readers.followed();
        step.work.add_entries(followed);
        let (memory, admission) = (self.groups.memory(), self.ingress.admission());
        let gauges = [
            ("uptime_ms", self.clock.uptime_ms(step.now)),
            ("links", self.router.up() as u64),
            ("clients", self.conns.clients() as u64),
            ("inflight", admission.inflight()),
            ("charged_bytes", admission.reserved()),
            ("untaken_bytes", admission.untaken()),
            ("input_bytes", step.turns.input_bytes),
            ("topics", self.groups.led_topics() as u64),
            ("groups", self.groups.iter().count() as u64),
            ("groups_led", self.groups.led().count() as u64),
            ("groups_copying", self.groups.iter().filter(|group| group.is_copying()).count() as u64),
            ("groups_copied", self.groups.iter().filter(|group| group.pinned().is_some()).count() as u64),
            ("log_kept_bytes", step.budget.room.log_kept),
            ("memory_bytes", memory.total()),
            ("memory_bytes_max", step.settings.memory_bytes),
            ("memory_records", memory.records),
            ("memory_producers", memory.producers),
            ("memory_topics", memory.topics),
            ("subscriptions", self.readers.len() as u64),
            ("followed", elsewhere as u64),
            ("feeds", self.groups.iter().map(Group::feeds).sum::<usize>() as u64),
            ("tail_bytes", self.readers.tails_bytes() as u64),
            ("proposals", self.groups.proposals() as u64),
            ("turn_longest_us", step.turns.longest().turn_us),
            ("turn_longest_cpu_us", step.turns.longest().cpu_us),
        ];
        let mut text: String = gauges.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
        for (bit, link) in self.router.reports().enumerate() {
            let _ = write!(text, "link_{bit}_frames_in {}\nlink_{bit}_bytes_in {}\n", link.frames, link.bytes);
        }
        text.push_str(&step.stats.lines());
        Answer::Now(Response::Stats { node: step.settings.id.index(), text })
    }
}
