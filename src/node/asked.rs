//! What a node remembers of a client's request until it is answered.

use super::cut::or_most;
use crate::limits::{
    FETCH_RESERVE_LEAST, LIST_BYTES_MAX, NODES_BYTES_MAX, PAYLOAD_MAX, RESPONSE_CHARGE, RESPONSE_CHARGE_SHORT,
};
use crate::types::{ConnId, RequestId};
use crate::wire::request::Fetch;
use crate::wire::{Flags, Frame, Opcode, Request, Response};

/// A client's request, as needed to respond to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The client's connection.
    pub conn: ConnId,
    /// The request id that the client chose.
    pub request_id: RequestId,
    /// The opcode as on the wire.
    pub opcode: u8,
    /// Bytes reserved for its response.
    pub charge: u32,
    /// True if it is a SUBSCRIBE or a FETCH with a waiting time, and so has a pending reader. Only then is the pending
    /// reader with this request id its own: another request of the client may have the same id.
    pub opens: bool,
}

impl Asked {
    /// Returns the request of a client.
    pub(super) fn new(conn: ConnId, frame: &Frame<'_>, request: &Request<'_>) -> Self {
        let header = &frame.header;
        let opens = opens_reader(request, header.flags);
        Self { conn, request_id: header.request_id, opcode: header.opcode, charge: charge_of(request), opens }
    }

    /// Returns a PUBLISH of a client.
    pub(super) const fn of_publish(conn: ConnId, request_id: RequestId) -> Self {
        Self { conn, request_id, opcode: Opcode::Publish.number(), charge: RESPONSE_CHARGE_SHORT, opens: false }
    }

    /// Decodes the response to this request; returns `None` when it is corrupt.
    pub(super) fn decode(&self, frame: &Frame<'_>) -> Option<Response> {
        let (args, payload) = (frame.args().ok()?, frame.keep_payload().ok()?);
        Response::decode(Opcode::from_number(self.opcode)?, frame.header.status, args, &payload).ok()
    }
}

/// Returns true if the request has a pending reader until it is answered.
pub(super) fn opens_reader(request: &Request<'_>, flags: Flags) -> bool {
    let may_wait = matches!(request, Request::Subscribe(_) | Request::Fetch(Fetch { max_wait_ms: 1.., .. }));
    may_wait && !flags.has(Flags::ONEWAY)
}

/// Returns the response budget to reserve for a request: the size of its largest possible answer.
fn charge_of(request: &Request<'_>) -> u32 {
    match request {
        // Only nodes send it, and they reserve nothing.
        Request::Chunks(_) => RESPONSE_CHARGE,
        Request::Fetch(fetch) => or_most(fetch.max_bytes).clamp(FETCH_RESERVE_LEAST, PAYLOAD_MAX) + RESPONSE_CHARGE,
        Request::Nodes { .. } => NODES_BYTES_MAX + RESPONSE_CHARGE,
        Request::List(_) => LIST_BYTES_MAX + RESPONSE_CHARGE,
        Request::Info(_)
        | Request::Feed { .. }
        | Request::Heads(_)
        | Request::Raft { .. }
        | Request::Query { .. }
        | Request::Trace { .. }
        | Request::Cluster { .. }
        | Request::Stats { .. } => RESPONSE_CHARGE,
        Request::Ping { .. }
        | Request::Create { .. }
        | Request::Delete(_)
        | Request::Alter { .. }
        | Request::Trim { .. }
        | Request::Producer { .. }
        | Request::Publish(_)
        | Request::Subscribe(_)
        | Request::Unsubscribe { .. }
        | Request::Credit { .. } => RESPONSE_CHARGE_SHORT,
    }
}
