//! A good frame as a value: what it is made from, and what it must be read as.

use bytes::Bytes;
use dht_node::types::{Dimension, RequestId};
use dht_node::wire::response::{ErrorResponse, Payload};
use dht_node::wire::{Flags, Frame, Goaway, Head, Header, Hello, Opcode, Push, Raw, Request, Response, Route};

/// A frame, what it is for, and what it is made from.
#[derive(Clone, Debug)]
pub(crate) struct Good {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) id: u64,
    pub(crate) opcode: Opcode,
    pub(crate) flags: Flags,
    /// What it has between nodes.
    pub(crate) route: Option<Route>,
    pub(crate) content: Content,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Hello { status: u8, hello: Hello, grease: Option<u64> },
    Goaway(Goaway),
    Request(Request<'static>, Vec<u8>),
    Response(Response),
    Push(Push),
}

impl Good {
    pub(crate) fn status(&self) -> u8 {
        match &self.content {
            Content::Hello { status, .. } => *status,
            Content::Goaway(goaway) => goaway.status.number(),
            Content::Request(..) => 0,
            Content::Response(response) => response.status(),
            Content::Push(push) => push.status(),
        }
    }

    /// Is it the request, the response or an error response of its operation?
    pub(crate) fn role(&self) -> &'static str {
        role(self.opcode, self.flags, self.status())
    }

    /// The frame as it is.
    pub(crate) fn frame(&self) -> Vec<u8> {
        self.encode(self.route.as_ref())
    }

    /// The frame with a route section or without.
    pub(crate) fn encode(&self, route: Option<&Route>) -> Vec<u8> {
        let (opcode, status, request_id) = (self.opcode.number(), self.status(), RequestId(self.id));
        let head = Head { opcode, flags: self.flags, status, request_id };
        let mut out = vec![];
        match &self.content {
            Content::Hello { hello, grease, .. } => {
                head.seal(route, (0, 0), &mut out, |args| hello.encode(args, *grease));
            }
            Content::Goaway(goaway) => head.seal(route, (0, 0), &mut out, |args| goaway.encode(args)),
            Content::Request(request, payload) => {
                let sum = (payload.len(), crc32fast::hash(payload));
                head.seal(route, sum, &mut out, |args| request.encode(args));
                out.extend_from_slice(payload);
            }
            Content::Response(response) => {
                let payload = response.encode(opcode, request_id, route, &mut out);
                out.extend(payload.map(|payload| payload.parts.concat()).unwrap_or_default());
            }
            Content::Push(push) => {
                let payload = push.encode(request_id, route, &mut out);
                out.extend(payload.map(|payload| payload.parts.concat()).unwrap_or_default());
            }
        }
        out
    }

    /// Reads the bytes as a receiver does and compares what it finds with what they were made from.
    pub(crate) fn check(&self, bytes: &[u8], dimension: Dimension) {
        let header = Header::parse(bytes, u32::try_from(bytes.len()).expect("vectors are small"));
        let header = header.expect("a good header").expect("a whole header");
        let frame = Frame::parse(header, Raw::Borrowed(bytes), dimension).expect("a good frame");
        assert_eq!(frame.header.opcode, self.opcode.number());
        assert_eq!(frame.header.flags.without(Flags::ROUTED), self.flags);
        assert_eq!(frame.route, self.route);
        assert_eq!((frame.header.status, frame.header.request_id), (self.status(), RequestId(self.id)));
        let (args, payload) = (frame.args().expect("sound args"), frame.keep_payload().expect("a sound payload"));
        match &self.content {
            Content::Hello { hello, .. } => assert_eq!(Hello::decode(args).as_ref(), Ok(hello)),
            Content::Goaway(goaway) => assert_eq!(Goaway::decode(self.status(), args).as_ref(), Ok(goaway)),
            Content::Request(request, records) => {
                assert_eq!(Request::decode(self.opcode, args).as_ref(), Ok(request));
                assert_eq!(&payload, records);
            }
            Content::Response(response) => {
                let found = Response::decode(self.opcode, self.status(), args, &payload).expect("a good response");
                assert_eq!(without_crc(found), without_crc(response.clone()));
            }
            Content::Push(push) => {
                let found = Push::decode(self.opcode, self.status(), args, &payload).expect("a good push");
                assert_eq!(in_one_part(found), in_one_part(push.clone()));
            }
        }
    }

    /// The error that it is, or the end of a subscription.
    pub(crate) fn error(&self) -> Option<&ErrorResponse> {
        match &self.content {
            Content::Response(Response::Error(error)) | Content::Push(Push::Ended(error)) => Some(error),
            _ => None,
        }
    }
}

/// Which args a frame has: those of a request, of a response, or of an error; of an EVENT, those of its code.
pub(crate) fn role(opcode: Opcode, flags: Flags, status: u8) -> &'static str {
    match (flags.has(Flags::RESPONSE), status) {
        (false, 0x40..) if opcode == Opcode::Event => "error",
        (false, 0x03) if opcode == Opcode::Event => "waiting",
        (false, 0x04) if opcode == Opcode::Event => "flowing",
        (false, _) => "request",
        (true, ..0x40) => "response",
        (true, _) => "error",
    }
}

/// A reader has the payload in one part and does not keep its checksum.
fn without_crc(response: Response) -> Response {
    let Response::Fetched(mut fetched) = response else { return response };
    fetched.payload = whole(&fetched.payload);
    Response::Fetched(fetched)
}

fn in_one_part(push: Push) -> Push {
    let Push::Deliver(mut records) = push else { return push };
    records.payload = whole(&records.payload);
    Push::Deliver(records)
}

fn whole(payload: &Payload) -> Payload {
    Payload { parts: vec![Bytes::from(payload.parts.concat())], crc: None }
}
