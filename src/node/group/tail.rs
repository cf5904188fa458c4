//! The bodies in the log that are not applied yet.
//!
//! ```text
//! add ──► proposed here ──┐                      ┌──► written ── committed ──► take ──► applied
//! admit ─────────────────►├── on its way to disk ┤
//!                         │                      └──► replaced by those of another leader: nobody applies it
//! restore ────────────────┘
//! ```
//!
//! The node that has proposed a body knows its entries, and whom to answer for each. Another member has its bytes, and
//! so has a start.

use std::collections::VecDeque;

use bytes::Bytes;

use super::super::call::ReplyTo;
use super::super::cost::{Cost, ENTRY_COST};
use super::proposal::{Proposal, Totals};
use crate::entry::{self, Body, Entry, Place};
use crate::replica::LogEntry;

/// The bodies that are not applied yet.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The bodies, whose positions are consecutive.
    bodies: VecDeque<Logged>,
    /// What all bodies count towards the totals of the group's proposals.
    totals: Totals,
    /// Number of bodies that were passed on to be written.
    written: u64,
}

/// A body in the log.
#[derive(Debug)]
pub(super) struct Logged {
    /// Its position.
    pub index: u64,
    /// The term of the leader that has proposed it.
    pub term: u32,
    /// Where it is in the journal, once it is written.
    pub place: Option<Place>,
    pub content: Content,
    /// Identifies it among all that were passed on to be written; `None` before that.
    number: Option<u64>,
}

/// What is known of a body.
#[derive(Debug)]
pub(super) enum Content {
    /// It was proposed here.
    Proposed(Sealed),
    /// The encoded entries. The body with which a leader begins its term has none.
    Received(Bytes),
}

/// What becomes a body of the log.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    /// The length of the encoded entries in bytes.
    pub len: u32,
    pub entries: Vec<Entry>,
    /// Whom to answer for each of the entries.
    pub proposals: Vec<Proposal>,
    pub totals: Totals,
    /// When it was made, in monotonic microseconds.
    pub at_us: u64,
}

impl Logged {
    /// Returns what it counts towards the totals of all proposals.
    fn totals(&self) -> Totals {
        match &self.content {
            Content::Proposed(sealed) => sealed.totals,
            Content::Received(bytes) => {
                Totals::of_batches(0, Cost { entry: (ENTRY_COST + bytes.len()) as u64, ..Cost::default() })
            }
        }
    }

    /// Returns true if it was proposed here, and is not on its way to the disk yet.
    const fn is_new(&self) -> bool {
        self.number.is_none() && self.place.is_none()
    }

    /// Returns the length of its encoded entries in bytes.
    pub(super) fn len(&self) -> u32 {
        match &self.content {
            Content::Proposed(sealed) => sealed.len,
            Content::Received(bytes) => u32::try_from(bytes.len()).expect("at most BODY_BYTES_MAX"),
        }
    }

    /// Returns its entries if it was proposed here.
    #[cfg(test)]
    pub(super) fn proposed(&self) -> &[Entry] {
        if let Content::Proposed(sealed) = &self.content { &sealed.entries } else { &[] }
    }

    /// Returns all who wait for an answer about it, and forgets them.
    pub(super) fn take_replies(&mut self) -> Vec<ReplyTo> {
        match &mut self.content {
            Content::Proposed(sealed) => sealed.proposals.iter_mut().flat_map(Proposal::take_replies).collect(),
            Content::Received(_) => Vec::new(),
        }
    }

    /// Returns its entries, each with whom to answer. The journal has it.
    pub(super) fn into_entries(self) -> impl Iterator<Item = (Entry, Proposal)> + use<> {
        let place = self.place.expect("it is written");
        let (entries, proposals) = match self.content {
            Content::Proposed(Sealed { mut entries, proposals, .. }) => {
                entries.iter_mut().for_each(|entry| entry.locate(place));
                (entries, proposals)
            }
            Content::Received(bytes) => {
                let mut entries = entry::decode(&bytes, place).expect("decoded when it came");
                // Otherwise a batch would keep the whole frame in memory that it came in.
                entries.iter_mut().for_each(Entry::own_payload);
                let proposals = entries.iter().map(|_| Proposal::default()).collect();
                (entries, proposals)
            }
        };
        entries.into_iter().zip(proposals)
    }
}

impl Tail {
    /// Returns how many proposals the bodies have, and what they cost.
    pub(super) const fn totals(&self) -> Totals {
        self.totals
    }

    /// Returns where the journal has the first body, if it has reported that.
    pub(super) fn place(&self) -> Option<Place> {
        self.bodies.front()?.place
    }

    /// Adds a body that was proposed here to the end of the log.
    pub(super) fn add(&mut self, index: u64, term: u32, body: Sealed) {
        self.push(Logged { index, term, place: None, content: Content::Proposed(body), number: None });
    }

    /// Adds a body that a start has found after those that it has applied.
    pub(super) fn restore(&mut self, Body { index, term, bytes, .. }: Body, place: Place) {
        self.push(Logged { index, term, place: Some(place), content: Content::Received(bytes), number: None });
    }

    /// Notes that a body is on its way to the disk, and returns its number. It is the one that was proposed here last,
    /// or comes from another leader. Then it replaces those that the log has at its position and after it; returns who
    /// waits for what was proposed in those.
    pub(super) fn admit(&mut self, body: &LogEntry, term: u32) -> (u64, Vec<ReplyTo>) {
        self.written += 1;
        let (number, mut replaced) = (Some(self.written), Vec::new());
        let is_new = |last: &Logged| (last.index, last.term) == (body.index, term) && last.is_new();
        if let Some(last) = self.bodies.back_mut().filter(|last| is_new(last)) {
            last.number = number;
            return (self.written, replaced);
        }
        while self.bodies.back().is_some_and(|last| last.index >= body.index) {
            let mut last = self.bodies.pop_back().expect("it was just looked at");
            self.totals = self.totals.minus(last.totals());
            replaced.extend(last.take_replies());
        }
        let content = Content::Received(body.body.clone());
        self.push(Logged { index: body.index, term, place: None, content, number });
        (self.written, replaced)
    }

    /// Records where the journal has the body of that number, unless another one has replaced it.
    pub(super) fn locate(&mut self, number: u64, index: u64, place: Place) {
        let first = self.bodies.front().map_or(index, |logged| logged.index);
        let at = index.checked_sub(first).and_then(|at| usize::try_from(at).ok());
        let found = at.and_then(|at| self.bodies.get_mut(at)).filter(|logged| logged.number == Some(number));
        if let Some(logged) = found {
            logged.place = Some(place);
        }
    }

    /// Removes and returns the oldest body if its position is at most `committed`.
    pub(super) fn take(&mut self, committed: u64) -> Option<Logged> {
        self.bodies.front().filter(|logged| logged.index <= committed)?;
        let logged = self.bodies.pop_front()?;
        self.totals = self.totals.minus(logged.totals());
        Some(logged)
    }

    /// Returns where the journal has the batches of all bodies.
    pub(super) fn void(&self) -> Vec<Place> {
        let mut void = Vec::new();
        for logged in &self.bodies {
            let Some(body) = logged.place else { continue };
            let mut add = |entry: &Entry| {
                if let Entry::Publish(batch) = entry {
                    void.push(batch.place);
                }
            };
            match &logged.content {
                Content::Proposed(sealed) => sealed.entries.iter().for_each(|entry| {
                    let mut entry = entry.clone();
                    entry.locate(body);
                    add(&entry);
                }),
                Content::Received(bytes) => {
                    entry::decode(bytes, body).expect("decoded when it came").iter().for_each(add);
                }
            }
        }
        void
    }

    /// Forgets all bodies, because another state has taken the place of what they would change. Returns who waits for
    /// what was proposed in them.
    pub(super) fn restart(&mut self) -> Vec<ReplyTo> {
        let unknown = self.bodies.iter_mut().flat_map(Logged::take_replies).collect();
        // Bodies are numbered on, since the store may still report earlier ones.
        *self = Self { written: self.written, ..Self::default() };
        unknown
    }

    /// Forgets all bodies, before a start restores others.
    pub(super) fn clear(&mut self) {
        assert_eq!(self.totals.requests(), 0, "nothing is proposed before the start");
        *self = Self::default();
    }

    /// Returns the bodies, the oldest first.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Logged> {
        self.bodies.iter()
    }

    /// Returns the bodies that were proposed here, the oldest first.
    pub(super) fn proposed_mut(&mut self) -> impl Iterator<Item = &mut Sealed> {
        self.bodies.iter_mut().filter_map(|logged| match &mut logged.content {
            Content::Proposed(sealed) => Some(sealed),
            Content::Received(_) => None,
        })
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let indexes = self.bodies.iter().map(|logged| logged.index);
        assert!(indexes.is_sorted_by(|before, after| before + 1 == *after), "the log has no gaps");
        let totals = self.bodies.iter().map(Logged::totals);
        assert_eq!(self.totals, totals.fold(Totals::default(), Totals::plus));
        assert!(self.bodies.iter().all(|logged| match &logged.content {
            Content::Proposed(Sealed { entries, proposals, .. }) => entries.len() == proposals.len(),
            Content::Received(_) => true,
        }));
    }

    fn push(&mut self, body: Logged) {
        self.totals = self.totals.plus(body.totals());
        self.bodies.push_back(body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> LogEntry {
        LogEntry { index, term, body: Bytes::new() }
    }

    /// Passes a body on to be written. Returns its number.
    fn admit(tail: &mut Tail, index: u64, term: u32) -> u64 {
        let (number, withdrawn) = tail.admit(&entry(index, term.into()), term);
        tail.check();
        assert_eq!(withdrawn.len(), 0, "nobody waits");
        number
    }

    fn place(position: u32) -> Place {
        Place { segment: 1, position }
    }

    /// Returns the positions, terms and places of the bodies.
    fn bodies(tail: &Tail) -> Vec<(u64, u32, Option<Place>)> {
        tail.iter().map(|logged| (logged.index, logged.term, logged.place)).collect()
    }

    #[test]
    fn a_body_that_was_proposed_here_is_the_one_that_is_written() {
        let mut tail = Tail::default();
        for index in [1, 2] {
            tail.add(index, 3, Sealed { len: 9, ..Sealed::default() });
            assert_eq!(admit(&mut tail, index, 3), index);
        }
        assert!(tail.take(0).is_none());
        tail.locate(1, 1, place(8));
        let taken = tail.take(1).unwrap();
        assert_eq!((taken.index, taken.len(), taken.place), (1, 9, Some(place(8))));
        assert!(tail.take(1).is_none());
        tail.locate(2, 2, place(40));
        assert_eq!(bodies(&tail), [(2, 3, Some(place(40)))]);
    }

    #[test]
    fn bodies_of_another_leader_replace_those_from_their_position_on() {
        let mut tail = Tail::default();
        let numbers: Vec<u64> = (5..8).map(|index| admit(&mut tail, index, 2)).collect();
        tail.locate(numbers[0], 5, place(8));
        tail.locate(numbers[1], 6, place(40));
        let number = admit(&mut tail, 6, 3);
        assert_eq!(bodies(&tail), [(5, 2, Some(place(8))), (6, 3, None)]);
        tail.locate(numbers[2], 7, place(72));
        tail.locate(number, 6, place(104));
        assert_eq!(bodies(&tail), [(5, 2, Some(place(8))), (6, 3, Some(place(104)))]);
        tail.check();
    }

    #[test]
    fn a_body_that_comes_back_is_another_one() {
        let mut tail = Tail::default();
        let first = admit(&mut tail, 1, 2);
        admit(&mut tail, 1, 3);
        // A third leader has the body of the first one, and sends it again.
        let last = admit(&mut tail, 1, 2);
        tail.locate(first, 1, place(8));
        assert_eq!(bodies(&tail), [(1, 2, None)], "the journal has two of them, and the later one counts");
        tail.locate(last, 1, place(72));
        assert_eq!(bodies(&tail), [(1, 2, Some(place(72)))]);
    }

    #[test]
    fn those_who_wait_for_a_replaced_body_are_told() {
        let mut tail = Tail::default();
        let proposals = vec![Proposal::of(ReplyTo::Nobody), Proposal::default(), Proposal::of(ReplyTo::Nobody)];
        let entries = vec![Entry::RaiseEpochs; 3];
        tail.add(1, 2, Sealed { entries, proposals, ..Sealed::default() });
        admit(&mut tail, 1, 2);
        let (_, withdrawn) = tail.admit(&entry(1, 3), 3);
        assert_eq!(withdrawn.len(), 2);
    }
}
