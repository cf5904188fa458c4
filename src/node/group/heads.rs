//! HEADS: what a leader tells the nodes that have readers of its topics, once a second.

use super::super::Step;
use super::super::frames::request_frame;
use super::Group;
use super::feeds::Feeds;
use crate::limits::{HEADS_ITEMS_MAX, HEADS_MISSING_MAX};
use crate::types::{Epoch, NodeId, Offset, RequestId, SlotId};
use crate::wire::feed::{Head, Heads};
use crate::wire::field::Writer;
use crate::wire::{Flags, Frame, Request};

impl Group {
    /// Returns the HEADS that are due, which happens once a second, for each node that reads topics of this group. The
    /// feeds of a node that does not answer are dropped; it resends its FEED when it is back.
    pub(in crate::node) fn heads(&mut self, step: &mut Step<'_>) -> Vec<(NodeId, Frame<'static>)> {
        let Some(lead) = &mut self.lead else { return Vec::new() };
        let mut items: Vec<Vec<Head>> = vec![Vec::new(); lead.feeds.ingresses.len()];
        for (id, targets) in lead.feeds.take_pushed() {
            if let Some(topic) = self.catalogue.get(id) {
                let head = Head { topic: id, epoch: topic.epoch, next: topic.log.next() };
                targets.iter().for_each(|node| items[usize::from(node.index())].push(head));
            }
        }
        for (topic, nodes) in lead.feeds.take_gone() {
            let head = Head { topic, epoch: Epoch(0), next: Offset(0) };
            nodes.iter().for_each(|node| items[usize::from(node.index())].push(head));
        }
        let mut heads = Vec::new();
        for (index, items) in items.into_iter().enumerate() {
            let ingress = &mut lead.feeds.ingresses[index];
            if ingress.topics.is_empty() && items.is_empty() {
                continue;
            }
            let node = NodeId::new(u16::try_from(index).expect("a node"), step.settings.dimension).expect("a node");
            if ingress.unanswered > HEADS_MISSING_MAX {
                step.stats.feeds_dropped += 1;
                lead.feeds.forget(step.work, node);
                continue;
            }
            ingress.unanswered += 1;
            let mut rest = items.chunks(HEADS_ITEMS_MAX);
            let mut part = rest.next().unwrap_or_default();
            loop {
                heads.push((node, heads_frame(step, (self.slot, lead.term), &mut lead.feeds, node, part)));
                match rest.next() {
                    Some(next) => part = next,
                    None => break,
                }
            }
        }
        heads
    }

    /// Returns, once, the HEADS that tell all other nodes that this node leads. A node that follows topics of an
    /// earlier leader then sends FEED at once, and does not wait until that one has been silent for some time.
    pub(in crate::node) fn announce(&mut self, step: &Step<'_>) -> Vec<(NodeId, Frame<'static>)> {
        let Some(lead) = self.lead.as_mut().filter(|lead| !lead.has_announced) else { return Vec::new() };
        lead.has_announced = true;
        let here = step.settings.id;
        let others = step.settings.dimension.all().filter(|node| *node != here);
        others.map(|node| (node, heads_frame(step, (self.slot, lead.term), &mut lead.feeds, node, &[]))).collect()
    }

    /// Records that a node has answered HEADS, so it is alive.
    pub(in crate::node) fn on_heads_answered(&mut self, node: NodeId) {
        if let Some(lead) = &mut self.lead {
            lead.feeds.ingresses[usize::from(node.index())].unanswered = 0;
        }
    }
}

/// Returns HEADS for a node, which are counted.
fn heads_frame(
    step: &Step<'_>,
    (slot, term): (SlotId, u64),
    feeds: &mut Feeds,
    node: NodeId,
    items: &[Head],
) -> Frame<'static> {
    let ingress = &mut feeds.ingresses[usize::from(node.index())];
    ingress.counter += 1;
    let heads = Heads {
        slot: slot.index(),
        term,
        instance: step.settings.instance,
        counter: ingress.counter,
        feeds: u32::try_from(ingress.topics.len()).unwrap_or(u32::MAX),
        digest: ingress.digest,
        count: u16::try_from(items.len()).expect("HEADS_ITEMS_MAX"),
    };
    let mut payload = Vec::new();
    items.iter().for_each(|item| item.encode(&mut Writer::new(&mut payload)));
    request_frame(&Request::Heads(heads), &payload, RequestId(0), Flags::default())
}
