//! A frame that the node under test has sent, decoded at the other end.

use crate::types::ConnId;
use crate::wire::feed::FeedItem;
use crate::wire::response::{Detail, Fetched};
use crate::wire::{Flags, Frame, Opcode, Push, Request, Response, Route, Status};

/// A frame as it arrives at the other end.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) conn: ConnId,
    pub(super) frame: Frame<'static>,
    /// True if the frame is dropped when the link's send queue is above its high-water mark.
    pub(super) is_droppable: bool,
}

impl Sent {
    /// Its request id.
    pub(super) const fn id(&self) -> u64 {
        self.frame.header.request_id.0
    }

    pub(super) fn opcode(&self) -> Opcode {
        Opcode::from_number(self.frame.header.opcode).unwrap()
    }

    pub(super) fn status(&self) -> Status {
        Status::from_number(self.frame.header.status).unwrap()
    }

    pub(super) const fn is_response(&self) -> bool {
        self.frame.header.flags.has(Flags::RESPONSE)
    }

    pub(super) fn route(&self) -> &Route {
        self.frame.route.as_ref().expect("it came over a link")
    }

    pub(super) fn request(&self) -> Request<'_> {
        Request::decode(self.opcode(), self.frame.args().unwrap()).unwrap()
    }

    pub(super) fn response(&self) -> Response {
        let (args, payload) = (self.frame.args().unwrap(), self.frame.keep_payload().unwrap());
        Response::decode(self.opcode(), self.frame.header.status, args, &payload).unwrap()
    }

    pub(super) fn fetched(&self) -> Fetched {
        let Response::Fetched(fetched) = self.response() else { panic!("{self:?} is no answer to FETCH") };
        *fetched
    }

    pub(super) fn push(&self) -> Push {
        let (args, payload) = (self.frame.args().unwrap(), self.frame.keep_payload().unwrap());
        Push::decode(self.opcode(), self.frame.header.status, args, &payload).unwrap()
    }

    /// The records of a DELIVER.
    pub(super) fn delivered(&self) -> Fetched {
        let Push::Deliver(fetched) = self.push() else { panic!("{self:?} has no records") };
        *fetched
    }

    /// What an answer, or the end of a subscription, says besides its status.
    pub(super) fn details(&self) -> Vec<Detail> {
        let error = if self.is_response() {
            if let Response::Error(error) = self.response() { Some(error) } else { None }
        } else {
            if let Push::Ended(error) = self.push() { Some(error) } else { None }
        };
        error.unwrap_or_else(|| panic!("{self:?} is no error")).details
    }

    /// The slot of a FEED.
    pub(super) fn feed_slot(&self) -> u16 {
        let Request::Feed { slot, .. } = self.request() else { panic!("{self:?} is no FEED") };
        slot
    }

    /// The items of a FEED, and whether it is everything.
    pub(super) fn feed(&self) -> (bool, Vec<FeedItem<'_>>) {
        let Request::Feed { reset, count, .. } = self.request() else { panic!("{self:?} is no FEED") };
        (reset, FeedItem::decode_all(self.frame.payload(), count).unwrap())
    }
}

/// The frames of that operation.
pub(super) fn only(sent: &[Sent], opcode: Opcode) -> Vec<&Sent> {
    sent.iter().filter(|sent| sent.opcode() == opcode).collect()
}
