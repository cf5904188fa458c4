//! The readers of this node's own clients: subscriptions and waiting FETCHes, and what brings them their records.
//!
//! ```text
//!  SUBSCRIBE, FETCH ──► open ──► (answered) ──► begin_stream, begin_poll
//!  records pushed here ──► on_push ──► deliver ──► every reader at their offset that can take them
//!  a reader that is behind ──► catch_up ──► this node's log, or the tail of pushed frames, or a fetch
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `subscribe`, `pending` | how readers begin and end; requests that become readers |
//! | `deliver`, `pull` | records to readers: new ones as they come, older ones to readers that are behind |
//! | `follow` | reports to leaders about the readers here, and what the leaders say |
//! | `leader`, `outage` | what is known about leaders; unreachable ones, and the notices to their subscribers |
//! | `table`, `clients` | the readers with the topics that they follow; the clients that have them |
//!
//! What the other parts have to do about the readers is an [`Effect`].

mod clients;
mod deliver;
mod follow;
mod leader;
mod leading;
mod outage;
mod pending;
mod pull;
mod subscribe;
mod table;

use std::collections::{BTreeSet, VecDeque};

use super::asked::Asked;
use super::pending::PendingTable;
use super::{Settings, Step};
use crate::types::{ConnId, Offset, SlotId, Source, TopicId};
use crate::wire::response::TopicState;
use crate::wire::{Frame, Origin, Response};
use clients::{Client, Clients};
use deliver::Delivered;
use pull::Pull;
use table::{ReaderKey, Table};

/// The readers of this node's own clients.
#[derive(Debug)]
pub(super) struct Readers {
    table: Table,
    clients: Clients,
    /// Fetches for readers in flight.
    pulls: PendingTable<Pull>,
    /// The readers of clients that have disconnected, which are still to be removed.
    left: VecDeque<BTreeSet<ReaderKey>>,
    /// Readers that got new records during this event.
    delivered: Delivered,
    effects: VecDeque<Effect>,
}

/// What another part has to do about the readers.
#[derive(Debug)]
pub(super) enum Effect {
    /// Sends a report about readers to the leader of their topics. If there is no path to the leader,
    /// [`Readers::note_unreachable`] is called.
    Report {
        /// Their slot.
        slot: SlotId,
        /// The FEED.
        frame: Frame<'static>,
    },
    /// Fetches records from their leader. [`Readers::on_pulled`] has the answer; if the fetch cannot be sent,
    /// [`Readers::on_pull_failed`] is called.
    Fetch {
        /// The slot of their topic.
        slot: SlotId,
        /// Names the fetch.
        origin: Origin,
        /// The FETCH.
        frame: Frame<'static>,
    },
    /// Reads records from this node's journal. [`Readers::on_pulled_here`] has the answer.
    Read {
        /// The slot of the topic.
        slot: SlotId,
        /// The topic's id.
        topic: TopicId,
        /// The first offset.
        from: Offset,
        /// Maximum number of bytes of records.
        max_bytes: u32,
        /// Names the fetch.
        origin: Origin,
    },
    /// Answers a FETCH that has waited.
    Answer {
        /// The client's request.
        asked: Asked,
        /// The answer.
        response: Response,
    },
}

impl Readers {
    /// Returns a node without readers.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            table: Table::new(settings.slots),
            clients: Clients::default(),
            // Another mark than that of the requests of clients.
            pulls: PendingTable::new(!settings.origin_mark),
            left: VecDeque::new(),
            delivered: Delivered::default(),
            effects: VecDeque::new(),
        }
    }

    /// Returns true if an [`Effect`] waits to be carried out.
    pub(super) fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// Returns the next thing that another part has to do.
    pub(super) fn next_effect(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front()?;
        if let Effect::Answer { asked, .. } = &effect
            && let Some(client) = self.clients.get_mut(asked.conn)
        {
            client.end_answer();
        }
        Some(effect)
    }

    /// Records at the start that this node leads a slot, and so has the records of its topics and who reads them.
    pub(super) fn start_leading(&mut self, slot: SlotId) {
        self.table.leader_mut(slot).is_here = true;
    }

    /// Adds a client.
    pub(super) fn open_client(&mut self, id: ConnId, source: Source, frame_max: u32, takes_notices: bool) {
        self.clients.open(id, source, frame_max, takes_notices);
    }

    /// Returns true if the client has readers, or FETCHes that have stopped waiting and are not answered yet.
    pub(super) fn has_readers(&self, id: ConnId) -> bool {
        self.clients.get(id).is_some_and(Client::waits)
    }

    /// Returns the number of readers.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns the number of pending readers.
    #[cfg(test)]
    pub(super) fn pending(&self) -> usize {
        self.table.pending_readers.len()
    }

    /// Returns true if a topic has readers here.
    pub(super) fn follows(&self, id: TopicId) -> bool {
        self.table.topic_of(id).is_some()
    }

    /// Returns the number of followed topics, and how many of those live on other nodes.
    pub(super) fn followed(&self) -> (usize, usize) {
        let elsewhere = self.table.topics().filter(|(_, topic)| !self.table.leader(topic.slot).is_here).count();
        (self.table.topics_len(), elsewhere)
    }

    /// Returns the size of all tails of pushed frames, in bytes.
    pub(super) const fn tails_bytes(&self) -> usize {
        self.table.tails_bytes()
    }

    /// Adds this node's readers to the description of a topic.
    pub(super) fn count_readers(&self, described: &mut TopicState) {
        self.table.count_readers(described);
    }

    /// Returns true if an answer with this origin belongs to a fetch for readers.
    pub(super) const fn has_asked(&self, origin: Origin) -> bool {
        self.pulls.is_of(origin)
    }

    /// Returns true if readers may be able to continue, for which [`Self::catch_up`] has to be called.
    pub(super) fn are_ready(&self) -> bool {
        self.table.has_queued() || self.table.has_ended() || !self.left.is_empty()
    }

    /// Does what is due in each tick: fetches and waiting FETCHes that have timed out, and leaders that are silent.
    pub(super) fn tick(&mut self, step: &mut Step<'_>) {
        self.expire_pulls(step);
        self.retry_pulls(step);
        self.expire_polls(step);
        if self.len() > 0 {
            self.tick_leaders(step);
            self.tick_outages(step);
        }
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        self.table.check();
        self.clients.check();
        self.pulls.check();
        assert!(self.effects.is_empty(), "all effects of an event are carried out at its end");
    }
}
