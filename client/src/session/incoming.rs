//! Frames from a node: responses and pushes.

use dht_protocol::types::{Dimension, RequestId};
use dht_protocol::wire::push::is_known_event;
use dht_protocol::wire::response::{ErrorResponse, LinkState};
use dht_protocol::wire::{Class, Flags, Frame, Goaway, Header, Opcode, Push, Raw, Request, Response, Status};

use crate::address::Address;
use crate::error::Fault;
use crate::session::pending::Pending;

/// A response and the id of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The id that [`Connection::send`](crate::Connection::send) returned.
    pub id: RequestId,
    /// The response.
    pub response: Response,
}

/// A push for a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The request id of its SUBSCRIBE.
    pub subscription: RequestId,
    /// The content.
    pub push: Push,
}

/// A response or a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A response to a request.
    Answer(Answer),
    /// A push for a subscription.
    Push(Pushed),
}

impl Incoming {
    pub(crate) fn is_push_of(&self, subscription: RequestId) -> bool {
        matches!(self, Self::Push(pushed) if pushed.subscription == subscription)
    }
}

/// The meaning of a received frame.
pub(crate) enum Taken {
    /// A response, and the operation of its request.
    Answer(Opcode, Answer),
    Push(Opcode, Push),
    Goaway(Goaway),
    /// A request from the node, and the response to it.
    Reply(Response),
    /// The start of a subscription that was abandoned meanwhile.
    Abandoned,
    /// A one-way frame, or the response to an abandoned request.
    Nothing,
}

/// Returns the header of the frame at the start of `input` once the whole frame is there.
pub(crate) fn whole_frame(input: &[u8], frame_max: u32) -> Result<Option<Header>, Fault> {
    let header = Header::parse(input, frame_max).map_err(Fault::Frame)?;
    Ok(header.filter(|header| header.frame_len() <= input.len()))
}

/// Decodes a whole frame.
pub(crate) fn read_frame(header: Header, bytes: &[u8], pending: &mut Pending) -> Result<Taken, Fault> {
    // Clients get no route sections, so the dimension for validating one does not matter.
    let point = Dimension::new(0).expect("a cube of one node");
    let frame = Frame::parse(header, Raw::Borrowed(bytes), point).map_err(Fault::Frame)?;
    if header.flags.any(Flags::CRITICAL) {
        return Err(Fault::Critical);
    }
    if header.flags.has(Flags::RESPONSE) {
        return read_answer(header, &frame, pending);
    }
    match Opcode::from_number(header.opcode) {
        Some(Opcode::Goaway) => {
            let args = frame.args().map_err(Fault::Corrupt)?;
            let decode = |error| Fault::Decode { opcode: Opcode::Goaway, error };
            Goaway::decode(header.status, args).map(Taken::Goaway).map_err(decode)
        }
        Some(Opcode::Event) if !is_known_event(header.status) => Ok(Taken::Nothing),
        Some(opcode) if opcode.is_push() => {
            let args = frame.args().map_err(Fault::Corrupt)?;
            let payload = frame.keep_payload().map_err(Fault::Corrupt)?;
            let push = Push::decode(opcode, header.status, args, &payload);
            push.map(|push| Taken::Push(opcode, push)).map_err(|error| Fault::Decode { opcode, error })
        }
        _ if header.flags.has(Flags::ONEWAY) => Ok(Taken::Nothing),
        Some(Opcode::Ping) => match Request::decode(Opcode::Ping, frame.args().map_err(Fault::Corrupt)?) {
            Ok(Request::Ping { node, token }) => {
                Ok(Taken::Reply(Response::Ping { node, token, wall_us: None, topics: None }))
            }
            Ok(_) => unreachable!("PING is decoded as PING"),
            Err(error) => Err(Fault::Decode { opcode: Opcode::Ping, error }),
        },
        _ => Ok(Taken::Reply(Response::Error(Box::new(ErrorResponse {
            status: Status::UnknownOpcode.number(),
            retry_after_ms: 0,
            message: "this is a client; it answers PING only".to_owned(),
            details: Vec::new(),
        })))),
    }
}

/// Returns the addresses of the other nodes from a response to NODES; none if it is an error, as from an older node
/// that does not know NODES, or cannot be decoded.
pub(crate) fn read_nodes(header: Header, bytes: &[u8]) -> Vec<Address> {
    let point = Dimension::new(0).expect("a cube of one node");
    let Ok(frame) = Frame::parse(header, Raw::Borrowed(bytes), point) else { return Vec::new() };
    let Some((args, payload)) = frame.args().ok().zip(frame.keep_payload().ok()) else { return Vec::new() };
    let Ok(Response::Nodes(page)) = Response::decode(Opcode::Nodes, header.status, args, &payload) else {
        return Vec::new();
    };
    let others = page.nodes.iter().filter(|known| known.link != LinkState::Itself);
    others.filter_map(|known| known.address.parse::<Address>().ok()).filter(Address::is_of_a_host).collect()
}

fn read_answer(header: Header, frame: &Frame<'_>, pending: &mut Pending) -> Result<Taken, Fault> {
    let Some(opcode) = pending.remove(header.request_id) else {
        let has_begun = header.opcode == Opcode::Subscribe.number() && Class::of(header.status) == Class::Success;
        return Ok(if has_begun { Taken::Abandoned } else { Taken::Nothing });
    };
    if header.opcode != opcode.number() {
        return Err(Fault::Answer { opcode });
    }
    let args = frame.args().map_err(Fault::Corrupt)?;
    let payload = frame.keep_payload().map_err(Fault::Corrupt)?;
    let response =
        Response::decode(opcode, header.status, args, &payload).map_err(|error| Fault::Decode { opcode, error })?;
    Ok(Taken::Answer(opcode, Answer { id: header.request_id, response }))
}
