//! A frame with newly committed records, on its way to readers.

use super::action::Action;
use crate::types::{ConnId, RequestId};
use crate::wire::{Frame, Route};

/// The frame that contains newly committed records.
#[derive(Clone, Copy, Debug)]
pub(super) enum News<'f, 'b> {
    /// The frame of the event that is being handled.
    Handled(&'f Frame<'b>),
    /// A frame created by this node.
    Made(&'f Frame<'static>),
}

impl News<'_, '_> {
    /// Returns the sizes of the frame and of its records, in bytes.
    pub(super) fn lens(&self) -> (usize, u64) {
        match self {
            Self::Handled(frame) => (frame.len(), frame.payload().len() as u64),
            Self::Made(frame) => (frame.len(), frame.payload().len() as u64),
        }
    }

    /// Copies the frame so that it can be kept.
    pub(super) fn keep(&self) -> Frame<'static> {
        match self {
            Self::Handled(frame) => frame.keep().into_frame(),
            Self::Made(frame) => frame.keep().into_frame(),
        }
    }

    /// Returns the request id that the frame has on links.
    pub(super) const fn request_id(&self) -> RequestId {
        match self {
            Self::Handled(frame) => frame.header.request_id,
            Self::Made(frame) => frame.header.request_id,
        }
    }

    /// Returns the action that sends the frame.
    pub(super) fn action(&self, conn: ConnId, request_id: RequestId, route: Option<Route>, droppable: bool) -> Action {
        match self {
            Self::Handled(_) => Action::Forward { conn, request_id, route, droppable },
            Self::Made(frame) => Action::SendFrame { conn, request_id, route, frame: frame.keep(), droppable },
        }
    }
}
