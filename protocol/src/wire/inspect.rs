//! Decodes frames of any kind, for programs that show what is in a frame.

use bytes::Bytes;

use super::feed::{FeedItem, Head};
use super::field::{DecodeError, Observer, Reader};
use super::frame::{Flags, Header};
use super::hello::{Goaway, Hello};
use super::opcode::Opcode;
use super::push::{Push, is_known_event};
use super::raft::RaftItem;
use super::request::Request;
use super::response::Response;

/// Decodes the args and the payload of a frame, and reports every field and TLV to `observer`, up to the first that is
/// malformed. Returns the number of records of which the payload must consist; `None` if it has none.
///
/// It decodes as a receiver does, except that it verifies neither checksums nor records.
///
/// # Errors
/// Returns a [`DecodeError`], which names the field.
pub fn inspect(
    opcode: Opcode,
    header: &Header,
    args: &[u8],
    payload: &Bytes,
    observer: &mut impl Observer,
) -> Result<Option<u32>, DecodeError> {
    let status = header.status;
    let reader = Reader::observed(args, &mut *observer);
    if opcode == Opcode::Hello {
        return Hello::read(reader).map(|_| None);
    }
    if opcode == Opcode::Goaway {
        return Goaway::read(status, reader).map(|_| None);
    }
    if header.flags.has(Flags::RESPONSE) {
        let response = Response::read(opcode, status, reader, payload)?;
        return Ok(if let Response::Fetched(fetched) = response { Some(fetched.count) } else { None });
    }
    if opcode == Opcode::Event && !is_known_event(status) {
        return Ok(None); // a receiver ignores it
    }
    if opcode.is_push() {
        let push = Push::read(opcode, status, reader, payload)?;
        return Ok(if let Push::Deliver(delivered) = push { Some(delivered.count) } else { None });
    }
    if !payload.is_empty() && !Request::has_payload(opcode) {
        return Err(DecodeError::Payload);
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "only these have a payload")]
    match Request::read(opcode, reader)? {
        Request::Publish(publish) => return Ok(Some(publish.count)),
        Request::Feed { count, .. } => {
            FeedItem::read_all(Reader::observed(payload, observer), count)?;
        }
        Request::Heads(heads) => {
            Head::read_all(Reader::observed(payload, observer), heads.count)?;
        }
        Request::Raft { count } => {
            RaftItem::read_all(Reader::observed(payload, observer), payload, count)?;
        }
        _ => {}
    }
    Ok(None)
}
