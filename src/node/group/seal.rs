//! The end of a turn: what was proposed becomes bodies of the log, as far as the log has room.
//!
//! What a body contains is never changed later, so room is decided on here. Entries that find none wait for the next
//! segment, in their order. On a full disk nothing waits for space, because what has to make it would wait as well. The
//! rest of the segment is shared out instead, and what finds no room in its share is refused:
//!
//! | entry | bytes of the segment that it leaves |
//! |---|---|
//! | a batch, a topic that is created, a producer that is opened, a comparison of the copies | [`SEGMENT_RESERVE`] |
//! | other settings of a topic | [`SEGMENT_RESERVE_TRIMS`], so that records can be trimmed after any number of them |
//! | a trim | [`SEGMENT_RESERVE_DELETES`], so that topics can be deleted after any number of them |
//! | a topic that is deleted | [`SEGMENT_RESERVE_CLOCK`] |
//! | a jump of the clock | none: it is never refused, and waits even on a full disk |

use super::super::Step;
use super::super::call::ReplyTo;
use super::Group;
use crate::entry::{BodyLen, Entry, Room};
use crate::limits::{
    BODY_BYTES_MAX, SEGMENT_RESERVE, SEGMENT_RESERVE_CLOCK, SEGMENT_RESERVE_DELETES, SEGMENT_RESERVE_TRIMS,
};
use crate::wire::response::ErrorResponse;

impl Group {
    /// Returns true when entries were proposed that are not in the log yet, or something is to be written.
    pub(in crate::node) fn has_open(&self) -> bool {
        self.proposals.has_open() || self.member.has_writes()
    }

    /// Adds to the log what was proposed and fits. Returns who is to be told that a full disk has no room.
    pub(in crate::node) fn seal(&mut self, step: &mut Step<'_>) -> Vec<(ReplyTo, ErrorResponse)> {
        let mut refused = Vec::new();
        self.proposals.close_runs();
        while self.write(step) && self.member.accepts() {
            let (count, len) = self.next_body(step.budget.room);
            if count > 0 {
                step.work.add_bytes(len.bytes());
                self.propose_body(step, count);
            } else if !(step.budget.room.is_full && self.refuse(step, &mut refused)) {
                break;
            }
        }
        refused
    }

    /// Returns how many entries the next body has, and its length.
    fn next_body(&self, room: Room) -> (usize, BodyLen) {
        let (mut count, mut len) = (0, BodyLen::default());
        for entry in self.proposals.open() {
            let longer = len.with(entry);
            let is_too_long = count > 0 && longer.bytes() > BODY_BYTES_MAX;
            if is_too_long || room.bytes < longer.in_journal() as u64 + u64::from(reserve(entry)) {
                break;
            }
            (count, len) = (count + 1, longer);
        }
        (count, len)
    }

    /// Refuses the oldest entry that has to be refused, and returns true if there was one.
    fn refuse(&mut self, step: &mut Step<'_>, refused: &mut Vec<(ReplyTo, ErrorResponse)>) -> bool {
        let Some(place) = self.proposals.open().position(is_refusable) else { return false };
        refused.extend(self.proposals.refuse(place).map(|reply| (reply, step.settings.no_space())));
        self.note_usage(step.budget);
        true
    }
}

/// Returns true if an entry may be refused. Append times after a jump of the clock would be wrong without its entry.
const fn is_refusable(entry: &Entry) -> bool {
    reserve(entry) > 0
}

/// Returns how many bytes of a segment an entry leaves while the next segment is not ready.
const fn reserve(entry: &Entry) -> u32 {
    match entry {
        Entry::Publish(_) | Entry::Create { .. } | Entry::OpenProducer { .. } | Entry::Check { .. } => SEGMENT_RESERVE,
        Entry::Alter { .. } => SEGMENT_RESERVE_TRIMS,
        Entry::Trim { .. } => SEGMENT_RESERVE_DELETES,
        Entry::Delete { .. } => SEGMENT_RESERVE_CLOCK,
        Entry::Reclock(_) | Entry::RaiseEpochs | Entry::BeginEpochs { .. } => 0,
    }
}
