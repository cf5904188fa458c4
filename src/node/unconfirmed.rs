//! Requests that wait until this node knows that it still leads.
//!
//! What the leader of a group of three has applied may be old, because another member may lead meanwhile. So a read is
//! answered at once only while the leader has a lease (`replica::Lease`); so is the refusal of a change, which relies
//! on the same. Otherwise the request waits here for a round of heartbeats that begins after its arrival, and is
//! executed then as if it had just come. A change that is proposed needs none of this: it is done if it is committed.
//!
//! LIST concerns all groups that this node leads. No group with a single member ever lets a request wait.

use super::call::{Call, ReplyTo};
use super::frames::decode;
use super::{Parts, Step};
use crate::limits::{UNCONFIRMED_BYTES_MAX, UNCONFIRMED_MAX, UNCONFIRMED_US};
use crate::types::SlotId;
use crate::wire::frame::Kept;
use crate::wire::response::{Detail, ErrorResponse};
use crate::wire::{Opcode, Route, Status};

/// The requests that wait, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed {
    requests: Vec<Waiting>,
    /// Bytes of their frames.
    bytes: usize,
}

/// A request that waits.
#[derive(Debug)]
struct Waiting {
    frame: Kept,
    route: Route,
    reply: ReplyTo,
    /// The slot of its topics; `None` for a LIST.
    slot: Option<SlotId>,
    /// When it came, in monotonic microseconds.
    since_us: u64,
}

impl Unconfirmed {
    /// Returns true if no request waits.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Returns how many requests wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Lets a request wait. Returns false if there is no room.
    fn add(&mut self, call: &Call<'_>) -> bool {
        let Call { frame, route, reply, slot, since_us } = *call;
        let bytes = self.bytes + frame.len();
        if self.requests.len() == UNCONFIRMED_MAX || bytes > UNCONFIRMED_BYTES_MAX {
            return false;
        }
        self.bytes = bytes;
        self.requests.push(Waiting { frame: frame.keep(), route: route.clone(), reply, slot, since_us });
        true
    }

    /// Removes and returns those that are wanted.
    fn take(&mut self, mut is_wanted: impl FnMut(&Waiting) -> bool) -> Vec<Waiting> {
        let (taken, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.requests).into_iter().partition(|waiting| is_wanted(waiting));
        self.requests = left;
        self.bytes -= taken.iter().map(|waiting| waiting.frame.size() as usize).sum::<usize>();
        taken
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert_eq!(self.bytes, self.requests.iter().map(|waiting| waiting.frame.size() as usize).sum::<usize>());
        assert!(self.requests.len() <= UNCONFIRMED_MAX && self.bytes <= UNCONFIRMED_BYTES_MAX);
        assert!(self.requests.iter().is_sorted_by_key(|waiting| waiting.since_us));
    }
}

impl Parts {
    /// Lets a request wait until the groups that it concerns know that this node still leads them, and asks the other
    /// members.
    pub(super) fn wait_until_confirmed(&mut self, step: &mut Step<'_>, call: &Call<'_>) {
        if !self.unconfirmed.add(call) {
            let message = "too many requests wait until this node knows whether it still leads their topics";
            let error = step.settings.overloaded(message).retry_after(20);
            return self.reply(step, call.reply, error.into());
        }
        let slots = call.slot.map_or_else(|| self.groups.led().collect(), |slot| vec![slot]);
        for slot in slots {
            let group = self.groups.existing_mut(slot);
            if !group.is_confirmed(step, call.since_us) {
                group.begin_round(step);
                self.follow_up(step, slot);
            }
        }
    }

    /// Executes the requests that need not wait any more.
    pub(super) fn serve_confirmed(&mut self, step: &mut Step<'_>) {
        let groups = &mut self.groups;
        let ready = self.unconfirmed.take(|waiting| match waiting.slot {
            Some(slot) => groups.led_mut(slot).is_some_and(|group| group.is_confirmed(step, waiting.since_us)),
            None => groups.are_confirmed(step, waiting.since_us),
        });
        for Waiting { frame, route, reply, slot, since_us } in ready {
            let frame = frame.into_frame();
            let opcode = Opcode::from_number(frame.header.opcode).expect("it was decoded when it came");
            let request = decode(opcode, frame.unchecked_args(), &frame).expect("it was decoded when it came");
            self.serve(step, &request, &Call { frame: &frame, route: &route, reply, slot, since_us });
        }
    }

    /// Refuses the requests that have waited for too long.
    pub(super) fn expire_unconfirmed(&mut self, step: &mut Step<'_>) {
        if self.unconfirmed.is_empty() {
            return;
        }
        let now_us = step.now.monotonic_us;
        let late = self.unconfirmed.take(|waiting| waiting.since_us.saturating_add(UNCONFIRMED_US) <= now_us);
        self.refuse_unconfirmed(step, late);
    }

    /// Refuses the requests that wait for a group which this node leads no more.
    pub(super) fn withdraw_unconfirmed(&mut self, step: &mut Step<'_>, slot: SlotId) {
        if !self.unconfirmed.is_empty() {
            let withdrawn = self.unconfirmed.take(|waiting| waiting.slot.is_none_or(|of| of == slot));
            self.refuse_unconfirmed(step, withdrawn);
        }
    }

    /// Answers that nothing was done. Who leads is not known here, if it is another node.
    fn refuse_unconfirmed(&mut self, step: &mut Step<'_>, refused: Vec<Waiting>) {
        let here = step.settings.id;
        let message = format!("node {} could not find out in time whether it still leads", step.settings.name(here));
        for Waiting { reply, slot, .. } in refused {
            let error = if slot.is_some() {
                ErrorResponse::new(Status::NotLeader, &message).with(Detail::Node(here.index()))
            } else {
                ErrorResponse::new(Status::NoQuorum, &message)
            };
            let error = error.retry_after(50);
            self.reply(step, reply, error.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::frames::request_frame;
    use crate::node::tests::settings;
    use crate::types::RequestId;
    use crate::wire::{Flags, Kind, Origin, Request, TrafficClass};

    #[test]
    fn requests_wait_up_to_a_number_and_up_to_a_size() {
        let settings = settings(0, 0);
        let route = settings.new_route(settings.id, Kind::Node, TrafficClass::Bulk, Origin::from_number(0));
        for (payload, expected) in [(0, UNCONFIRMED_MAX), (1 << 20, 3)] {
            let feed = Request::Feed { slot: 0, instance: 1, reset: false, count: 0 };
            let frame = request_frame(&feed, &vec![0; payload], RequestId(1), Flags::default());
            let mut unconfirmed = Unconfirmed::default();
            let mut add = |since_us| {
                let call = Call { frame: &frame, route: &route, reply: ReplyTo::Nobody, slot: None, since_us };
                let is_added = unconfirmed.add(&call);
                unconfirmed.check();
                is_added
            };
            assert_eq!((0..10_000).take_while(|since_us| add(*since_us)).count(), expected);
            assert_eq!(unconfirmed.take(|waiting| waiting.since_us == 1).len(), 1);
            unconfirmed.check();
        }
    }
}
