//! DELIVER and EVENT: what a subscriber gets without a request, under the request id of its SUBSCRIBE.
//!
//! Between nodes the same frames carry the topic's id in place of the request id, so that the frame for a neighbour and
//! the frame for a subscriber differ only in the header and the route section.

use bytes::Bytes;

use super::field::{DecodeError, Observer, Reader};
use super::frame::{Flags, Head};
use super::opcode::Opcode;
use super::response::{ErrorResponse, Fetched, Payload};
use super::route::Route;
use super::status::Status;
use crate::types::{Epoch, Offset, RequestId, TopicId};

/// Statuses below 0x40 that an EVENT may have, with their names. They do not end the subscription.
pub const EVENTS: [(u8, &str); 3] = [(GAP, "GAP"), (WAITING, "WAITING"), (FLOWING, "FLOWING")];

/// Reserved statuses of EVENTs below 0x40, with the names that they will have. A client ignores an EVENT below 0x40
/// that it does not know, so later versions of the node may send these.
pub const EVENTS_RESERVED: [(u8, &str); 4] = [(0x05, "JOINED"), (0x06, "LEFT"), (0x07, "STALLED"), (0x08, "REWOUND")];

/// The status of the EVENT for records that retention has removed.
const GAP: u8 = 0x00;
/// The status of the EVENT for a home that cannot be reached.
const WAITING: u8 = 0x03;
/// The status of the EVENT for a home that can be reached again.
const FLOWING: u8 = 0x04;
/// The lowest status of an EVENT that ends its subscription.
const ENDS_FROM: u8 = 0x40;

/// Returns true when this version knows the meaning of an EVENT with that status. A client must ignore EVENTs that it
/// does not know.
pub const fn is_known_event(status: u8) -> bool {
    matches!(status, GAP | WAITING | FLOWING | ENDS_FROM..)
}

/// A push: a frame that a subscriber gets without a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// Records, as in a response to FETCH: at least one, and the first follows the last one of the previous DELIVER.
    Deliver(Box<Fetched>),
    /// Retention removed records before they were sent; the subscription continues after them.
    Gap {
        /// The first removed offset.
        from: Offset,
        /// The next offset that can be sent.
        to: Offset,
    },
    /// No records can arrive at present, because the topic's home cannot be reached. The subscription continues. Sent
    /// only to clients that offered [`Hello::NOTICES`](super::Hello::NOTICES).
    Waiting {
        /// The id of the home, as in [`NodeId::index`](crate::types::NodeId::index).
        node: u16,
        /// The reason, as a status: [`Status::Unreachable`] when there is no path, [`Status::OutcomeUnknown`] when the
        /// home does not answer. A client treats an unknown reason according to its class.
        reason: u8,
    },
    /// The home can be reached again, after [`Self::Waiting`]; records resume.
    Flowing {
        /// The id of the home, as in [`NodeId::index`](crate::types::NodeId::index).
        node: u16,
    },
    /// The subscription has ended.
    Ended(Box<ErrorResponse>),
}

/// The range of records in a DELIVER, which is all that a node needs to know to forward it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The topic's id.
    pub topic: TopicId,
    /// The epoch of the topic's log.
    pub epoch: Epoch,
    /// The offset of the first record.
    pub base: Offset,
    /// The offset after the last record.
    pub end: Offset,
}

impl Span {
    /// Decodes the start of the args of a DELIVER.
    ///
    /// # Errors
    /// Returns a [`DecodeError`], which names the field.
    pub fn decode(args: &[u8]) -> Result<Self, DecodeError> {
        let mut args = Reader::new(args);
        let topic = TopicId::new(args.u64("topic_id")?).ok_or(DecodeError::Value { field: "topic_id" })?;
        let epoch = Epoch(args.u32("epoch")?);
        let from = args.u64("from")?;
        let base = args.u64("base_offset")?;
        let count = args.u32("count")?;
        let end = base.checked_add(u64::from(count)).filter(|end| *end > base && from == base);
        let end = Offset(end.ok_or(DecodeError::Value { field: "count" })?);
        Ok(Self { topic, epoch, base: Offset(base), end })
    }
}

impl Push {
    /// Returns the operation.
    pub const fn opcode(&self) -> Opcode {
        match self {
            Self::Deliver(_) => Opcode::Deliver,
            Self::Gap { .. } | Self::Waiting { .. } | Self::Flowing { .. } | Self::Ended(_) => Opcode::Event,
        }
    }

    /// Returns the status of the frame.
    pub const fn status(&self) -> u8 {
        match self {
            Self::Deliver(_) => Status::Ok.number(),
            Self::Gap { .. } => GAP,
            Self::Waiting { .. } => WAITING,
            Self::Flowing { .. } => FLOWING,
            Self::Ended(error) => error.status,
        }
    }

    /// Appends the encoded frame to `out`, except for the parts of the payload, which the caller appends.
    pub fn encode(&self, request_id: RequestId, route: Option<&Route>, out: &mut Vec<u8>) -> Option<&Payload> {
        let (opcode, status) = (self.opcode().number(), self.status());
        let head = Head { opcode, flags: Flags::ONEWAY, status, request_id };
        match self {
            Self::Deliver(records) => {
                let payload = &records.payload;
                head.seal(route, (payload.len(), payload.checksum()), out, |args| records.encode(args));
                return Some(payload);
            }
            Self::Gap { from, to } => head.seal(route, (0, 0), out, |args| {
                args.u64(from.0).u64(to.0);
            }),
            Self::Waiting { node, reason } => head.seal(route, (0, 0), out, |args| {
                args.u16(*node).u8(*reason);
            }),
            Self::Flowing { node } => head.seal(route, (0, 0), out, |args| {
                args.u16(*node);
            }),
            Self::Ended(error) => head.seal(route, (0, 0), out, |args| error.encode(args)),
        }
        None
    }

    /// Decodes the args and payload of a DELIVER, or of an EVENT for whose status [`is_known_event`] returns true.
    ///
    /// # Errors
    /// Returns [`DecodeError`], which names the malformed field.
    pub fn decode(opcode: Opcode, status: u8, args: &[u8], payload: &Bytes) -> Result<Self, DecodeError> {
        Self::read(opcode, status, Reader::new(args), payload)
    }

    pub(super) fn read(
        opcode: Opcode,
        status: u8,
        mut args: Reader<'_, impl Observer>,
        payload: &Bytes,
    ) -> Result<Self, DecodeError> {
        if opcode == Opcode::Event && status >= ENDS_FROM {
            return Ok(Self::Ended(Box::new(ErrorResponse::decode(status, args)?)));
        }
        let push = match (opcode, status) {
            (Opcode::Deliver, _) => {
                let records = Fetched::decode(&mut args, payload)?;
                if records.count == 0 || records.from != records.base {
                    return Err(DecodeError::Value { field: "count" });
                }
                Self::Deliver(Box::new(records))
            }
            (Opcode::Event, GAP) => Self::Gap { from: Offset(args.u64("from")?), to: Offset(args.u64("to")?) },
            (Opcode::Event, WAITING) => Self::Waiting { node: args.u16("node")?, reason: reason(&mut args)? },
            (Opcode::Event, FLOWING) => Self::Flowing { node: args.u16("node")? },
            _ => return Err(DecodeError::Value { field: "status" }),
        };
        args.end()?;
        Ok(push)
    }
}

/// Reads the reason of a WAITING event, which must be a status of an error.
fn reason(args: &mut Reader<'_, impl Observer>) -> Result<u8, DecodeError> {
    let reason = args.u8("reason")?;
    if reason < ENDS_FROM { Err(DecodeError::Value { field: "reason" }) } else { Ok(reason) }
}
