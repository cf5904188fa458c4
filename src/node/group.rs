//! The topics of one slot: the requests for them, the log of their changes, and what their leader pushes to readers.
//!
//! ```text
//!  a request ──► execute ──► an answer at once
//!                   └──────► a proposal: seal adds its entry to the log (Action::Write)
//!  a committed entry ──► apply ──► the answer to whoever proposed it, and newly committed records
//!  newly committed records ──► next_push ──► the frame for all readers, and the nodes that have some
//!  a query of the journal (Action::Read) ──► on_read ──► the answer to whoever waits for it
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `topics` | creating, deleting, changing, listing and describing topics |
//! | `publish` | batches and producers |
//! | `fetch`, `read` | where reads and subscriptions start; reading records, from memory and from the journal |
//! | `proposal`, `proposals` | the entries that are not in the log yet, and whom to answer for each |
//! | `tail` | the bodies in the log that are not applied yet |
//! | `room` | whether there is room for an entry |
//! | `runs` | small batches that become one entry |
//! | `seal` | the end of a turn: entries become bodies of the log |
//! | `member` | this node's member of the group: when a body is in the log, and when it is committed |
//! | `apply` | committed entries: the only place that changes topics |
//! | `restore` | the same at a start |
//! | `compare` | periodic comparison of the members' copies by digest |
//! | `push` | newly committed records on their way to readers |
//! | `feeds`, `feed`, `heads` | the nodes that have readers, and what they are told once a second |
//! | `times`, `age` | append times, and how they compare with those from before; retention by age |
//! | `hand_over`, `fitness` | transfer of leadership to another member; which members are fit to lead |
//! | `copying`, `serving` | a state that this node copies from the leader; what a leader serves to others that do so |
//! | `lead` | what only a leader has: it is made when leading begins, and dropped when it ends |
//!
//! What is in [`Group`] itself follows from the committed entries, but for the proposals and the copies in progress.

mod age;
mod apply;
mod compare;
mod copying;
mod feed;
mod feeds;
mod fetch;
mod fitness;
mod hand_over;
mod heads;
mod lead;
mod member;
mod proposal;
mod proposals;
mod publish;
mod push;
mod read;
mod restore;
mod room;
mod runs;
mod seal;
mod serving;
mod tail;
mod times;
mod topics;

pub(super) use apply::Applied;
pub(super) use member::{FollowUp, member_of, node_of};
pub(super) use proposal::Proposal;
pub(super) use push::{EndOfTopic, NewRecords};
pub(super) use read::Finished;
pub(super) use runs::Part;

use super::budget::{Budget, Usage};
use super::call::{Answer, Call};
use super::{Settings, Step};
use crate::entry::{LogPosition, Note, TopicKey};
use crate::topic::{Catalogue, NotHeld};
use crate::types::{Offset, SlotId, TopicId};
use crate::wire::response::{Durability, ErrorResponse, Fetched};
use crate::wire::{Request, Response};
use compare::Digests;
use copying::Copying;
use lead::Lead;
use member::Member;
use proposal::Totals;
use proposals::Proposals;
use read::read_log;
use serving::Serving;
use tail::Tail;

/// The topics of one slot.
#[derive(Debug)]
pub(super) struct Group {
    slot: SlotId,
    catalogue: Catalogue,
    proposals: Proposals,
    tail: Tail,
    /// Outcomes of the entries that are being applied, for the journal.
    notes: Vec<Note>,
    /// What the budget of the node has recorded for the group.
    usage: Usage,
    /// How much of the log has been applied.
    applied: LogPosition,
    member: Member,
    /// Digests of the applied entries, for comparison with the leader's.
    digests: Digests,
    /// What this node has as the leader; `None` while it does not lead.
    lead: Option<Box<Lead>>,
    /// How many times this node has begun to lead the group.
    leads: u64,
    /// The copy that this node takes from the leader, if it does, and how many it has begun.
    copying: Option<Box<Copying>>,
    copies: u64,
    /// The state that other members are copying, if they are, and the number of states that were.
    serving: Option<Box<Serving>>,
    served: u64,
}

impl Group {
    /// Returns a group without topics.
    pub(super) fn new(settings: &Settings, slot: SlotId) -> Self {
        let mut catalogue = Catalogue::default();
        if settings.durability != Durability::Memory {
            catalogue.allow_eviction();
        }
        let mut group = Self {
            slot,
            catalogue,
            proposals: Proposals::default(),
            tail: Tail::default(),
            notes: Vec::new(),
            usage: Usage::default(),
            applied: LogPosition::default(),
            member: Member::new(settings, slot),
            digests: Digests::default(),
            lead: None,
            leads: 0,
            copying: None,
            copies: 0,
            serving: None,
            served: 0,
        };
        group.carry_out(settings);
        group
    }

    /// Executes a request for a topic of this group, which this node leads. A change is proposed, and answered once it
    /// is applied. Returns `None` for requests that concern no topic.
    pub(super) fn execute(
        &mut self,
        step: &mut Step<'_>,
        request: &Request<'_>,
        call: &Call<'_>,
    ) -> Option<Result<Answer, ErrorResponse>> {
        Some(match request {
            Request::Info(_)
            | Request::Query { .. }
            | Request::Fetch(_)
            | Request::Subscribe(_)
            | Request::Feed { .. }
                if !self.is_confirmed(step, call.since_us) =>
            {
                Ok(Answer::Unconfirmed)
            }
            Request::Create { topic, retention } => self.propose_create(step, *topic, *retention, call),
            Request::Delete(topic) => self.propose_delete(step, topic, call),
            Request::Alter { topic, change } => self.propose_alter(step, topic, change, call),
            Request::Trim { topic, first } => self.propose_trim(step, topic, *first, call),
            Request::Producer { topic, opening } => self.propose_open_producer(step, topic, *opening, call),
            Request::Publish(publish) => self.propose_publish(step, publish, call),
            Request::Info(topic) => self.info(step.settings, topic, call),
            Request::Query { topic } => Ok(self.query(step.settings, *topic, call)),
            Request::Fetch(fetch) => self.fetch(step, fetch, call),
            Request::Subscribe(subscribe) => self.subscribe(step, subscribe, call),
            Request::Feed { instance, reset, count, .. } => self.on_feed(step, (*instance, *reset, *count), call),
            Request::Ping { .. }
            | Request::List(_)
            | Request::Heads(_)
            | Request::Raft { .. }
            | Request::Chunks(_)
            | Request::Unsubscribe { .. }
            | Request::Credit { .. }
            | Request::Trace { .. }
            | Request::Cluster { .. }
            | Request::Stats { .. }
            | Request::Nodes { .. } => return None,
        })
    }

    /// Returns the answer to a read if it can be given at once and has at most `bytes_max` bytes of records: this node
    /// certainly leads the group, and what is asked for is in memory.
    pub(super) fn read_at_once(
        &mut self,
        step: &mut Step<'_>,
        request: &Request<'_>,
        call: &Call<'_>,
        bytes_max: u32,
    ) -> Option<Response> {
        let is_read = matches!(request, Request::Info(_) | Request::Query { .. } | Request::Fetch(_));
        if !is_read || !self.is_confirmed(step, call.since_us) {
            return None;
        }
        if let Request::Fetch(fetch) = request {
            return self.fetch_from_memory(step, fetch, bytes_max);
        }
        match self.execute(step, request, call) {
            Some(Ok(Answer::Now(response))) => Some(response),
            Some(Ok(Answer::Later | Answer::Unconfirmed) | Err(_)) | None => None,
        }
    }

    /// Returns records of a topic from an offset on, if they are in memory; `None` if the topic has none from there on.
    pub(super) fn read(
        &self,
        step: &mut Step<'_>,
        id: TopicId,
        from: Offset,
        max_bytes: u32,
    ) -> Option<Result<Fetched, NotHeld>> {
        let topic = self.catalogue.get(id).filter(|topic| from < topic.log.next())?;
        Some(read_log(step.work, topic, from, max_bytes, 0))
    }

    /// Returns the slot.
    pub(super) const fn slot(&self) -> SlotId {
        self.slot
    }

    /// Returns what identifies a topic of this group among those of all groups.
    pub(super) const fn key(&self, id: TopicId) -> TopicKey {
        TopicKey { slot: self.slot, id }
    }

    /// Returns all topics, for queries.
    pub(super) const fn topics(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Returns the log start and end offsets of a topic.
    pub(super) fn extent(&self, id: TopicId) -> Option<(Offset, Offset)> {
        self.catalogue.get(id).map(|topic| (topic.log.first(), topic.log.next()))
    }

    /// Returns true when another node reads topics of this group.
    pub(super) fn has_feeds(&self) -> bool {
        self.lead.as_ref().is_some_and(|lead| !lead.feeds.is_empty())
    }

    /// Returns the number of pairs of a topic and a node that reads it.
    pub(super) fn feeds(&self) -> usize {
        self.lead.as_ref().map_or(0, |lead| lead.feeds.len())
    }

    /// Returns the number of proposals that are not applied yet.
    pub(super) const fn proposals(&self) -> usize {
        self.proposed().requests()
    }

    /// Returns how many proposals are not applied yet, and what they cost.
    const fn proposed(&self) -> Totals {
        self.proposals.totals().plus(self.tail.totals())
    }

    /// Returns the bodies in the log that are not applied yet: their positions and entries.
    #[cfg(test)]
    pub(super) fn logged(&self) -> impl Iterator<Item = (u64, &[crate::entry::Entry])> {
        self.tail.iter().map(|logged| (logged.index, logged.proposed()))
    }

    /// Records in the budget of the node what the group uses now.
    pub(super) fn note_usage(&mut self, budget: &mut Budget) {
        let proposed = self.proposed();
        let now = Usage {
            memory: self.catalogue.cost().total(),
            evictable: self.catalogue.evictable(),
            proposed: proposed.cost(),
            topics: self.catalogue.len() + proposed.creates(),
        };
        budget.note(&mut self.usage, now);
    }

    /// Returns what the budget of the node has recorded for the group.
    pub(super) const fn usage(&self) -> Usage {
        self.usage
    }

    /// Returns true if nothing waits for the disk.
    pub(super) fn is_settled(&self) -> bool {
        self.proposals() == 0 && self.lead.as_ref().is_none_or(|lead| lead.reads.is_empty())
    }

    /// Sets whether all other nodes were told who leads.
    #[cfg(test)]
    pub(super) fn set_announced(&mut self, has_announced: bool) {
        self.lead.as_mut().expect("this node leads").has_announced = has_announced;
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        self.catalogue.check();
        self.proposals.check();
        self.tail.check();
        self.member.check();
        if let Some(lead) = &self.lead {
            lead.feeds.check();
            lead.reads.check();
        }
    }
}
