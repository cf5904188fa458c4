//! Pushes on links: each link carries a chunk once unless there are faults, and the loss and delay of pushes.

use std::collections::BTreeSet;

use bytes::Bytes;
use dht_node::types::{ConnId, Dimension};
use dht_node::wire::{Kind, Opcode, Push};
use fastrand::Rng;

use crate::frames::next_frame;

/// The chunks that were sent over the links of a node.
#[derive(Debug)]
pub(crate) struct Edges {
    /// In a calm run each chunk crosses a link once.
    is_calm: bool,
    /// The link, the topic and the first offset.
    seen: BTreeSet<((u32, u32), u64, u64)>,
    pub chunks: u64,
}

/// Loses and delays the frames that pushes depend on: DELIVER, EVENT, FEED and HEADS.
#[derive(Debug)]
pub(crate) struct Sieve {
    rng: Rng,
    /// The percentage that is lost, and the percentage that is delayed.
    pub loses: u8,
    pub holds: u8,
    held: Vec<(u64, ConnId, Bytes)>,
    pub lost: u64,
    pub kept: u64,
}

impl Edges {
    pub(crate) const fn new(is_calm: bool) -> Self {
        Self { is_calm, seen: BTreeSet::new(), chunks: 0 }
    }

    /// Records a frame on a link.
    pub(crate) fn note(&mut self, link: ConnId, bytes: &[u8], dimension: Dimension, world_us: u64) {
        if bytes[7] != Opcode::Deliver.number() {
            return;
        }
        self.chunks += 1;
        if !self.is_calm {
            return;
        }
        let frame = next_frame(bytes, u32::MAX, dimension).expect("it was just made").expect("a complete frame");
        let kind = frame.route.as_ref().map(|route| route.kind);
        if kind == Some(Kind::Node) && world_us < SETTLED_US {
            // Links may still come up, and until then there are detours.
            return;
        }
        assert_eq!(kind, Some(Kind::Multicast), "a push has one target although there are no faults");
        let (args, payload) = (frame.args().expect("it is sound"), frame.keep_payload().expect("it is sound"));
        let push = Push::decode(Opcode::Deliver, frame.header.status, args, &payload);
        let Ok(Push::Deliver(records)) = push else { panic!("no DELIVER: {push:?}") };
        let id = records.topic_id.number();
        assert_eq!(frame.header.request_id.0, id, "on links, a push carries its topic's id");
        let is_new = self.seen.insert(((link.slot, link.generation), id, records.base.0));
        assert!(is_new, "{link:?} carried the chunk at {} of {id:016x} twice", records.base);
    }
}

/// By then the links of a calm run are up.
pub(crate) const SETTLED_US: u64 = 3_000_000;

impl Sieve {
    pub(crate) const fn new(rng: Rng) -> Self {
        Self { rng, loses: 0, holds: 0, held: Vec::new(), lost: 0, kept: 0 }
    }

    /// Returns true while it loses or delays frames.
    pub(crate) const fn is_active(&self) -> bool {
        self.loses > 0 || self.holds > 0
    }

    /// Returns whether this frame is lost or delayed.
    pub(crate) fn takes(&mut self, link: ConnId, bytes: &[u8], now_us: u64) -> bool {
        if !self.is_active() {
            return false;
        }
        let roll = self.rng.u8(..100);
        if roll < self.loses {
            self.lost += 1;
            return true;
        }
        if roll < self.loses + self.holds {
            self.kept += 1;
            self.held.push((now_us + self.rng.u64(1_000..1_500_000), link, Bytes::copy_from_slice(bytes)));
            return true;
        }
        false
    }

    /// Returns the frames that have been delayed for long enough.
    pub(crate) fn release(&mut self, now_us: u64) -> Vec<(ConnId, Bytes)> {
        let due = self.held.extract_if(.., |(until_us, ..)| *until_us <= now_us);
        due.map(|(_, link, bytes)| (link, bytes)).collect()
    }
}
