//! Encoding and decoding frames, as several parts of the node need it.

use super::Step;
use crate::types::{RequestId, crc32};
use crate::wire::response::ErrorResponse;
use crate::wire::{DecodeError, Flags, Frame, Head, Opcode, Request, Response, Status};

/// Room for the header and the args of a request of this node's own.
const HEAD_BYTES: usize = 128;

/// Encodes a request of this node's own.
pub(super) fn request_frame(
    request: &Request<'_>,
    payload: &[u8],
    request_id: RequestId,
    flags: Flags,
) -> Frame<'static> {
    let head = Head { opcode: request.opcode().number(), flags, status: 0, request_id };
    let mut bytes = Vec::with_capacity(HEAD_BYTES + payload.len());
    let sum = (payload.len(), crc32(payload));
    head.seal(None, sum, &mut bytes, |args| request.encode(args));
    bytes.extend_from_slice(payload);
    Frame::sealed(bytes)
}

/// Encodes a request of this node's own with a payload of `payload_len` bytes, which `encode` appends. A large payload
/// is not copied once more for this.
pub(super) fn request_frame_of(
    request: &Request<'_>,
    (payload_len, encode): (usize, impl FnOnce(&mut Vec<u8>)),
    request_id: RequestId,
    flags: Flags,
) -> Frame<'static> {
    let head = Head { opcode: request.opcode().number(), flags, status: 0, request_id };
    let mut bytes = Vec::with_capacity(HEAD_BYTES + payload_len);
    // The header has the checksum of the payload, so the head is encoded again when that is known.
    head.seal(None, (0, 0), &mut bytes, |args| request.encode(args));
    let payload_start = bytes.len();
    encode(&mut bytes);
    let payload = &bytes[payload_start..];
    let sum = (payload.len(), crc32(payload));
    let mut sealed = Vec::with_capacity(payload_start);
    head.seal(None, sum, &mut sealed, |args| request.encode(args));
    bytes[..payload_start].copy_from_slice(&sealed);
    Frame::sealed(bytes)
}

/// Returns the frame of a request whose arguments this node has changed.
pub(super) fn changed_frame(frame: &Frame<'_>, request: &Request<'_>) -> Frame<'static> {
    request_frame(request, &[], frame.header.request_id, frame.header.flags)
}

/// Decodes a request whose args section has passed its checksum.
pub(super) fn decode<'a>(opcode: Opcode, args: &'a [u8], frame: &Frame<'_>) -> Result<Request<'a>, DecodeError> {
    if !frame.payload().is_empty() && !Request::has_payload(opcode) {
        return Err(DecodeError::Payload);
    }
    Request::decode(opcode, args)
}

/// Decodes the response to a request of this node's own. Returns `None` and counts it if it is corrupt, or needs to be
/// understood by a newer version.
pub(super) fn decode_response(step: &mut Step<'_>, opcode: Opcode, frame: &Frame<'_>) -> Option<Response> {
    let is_known = !frame.header.flags.any(Flags::CRITICAL);
    let parts = frame.args().ok().zip(frame.keep_payload().ok()).filter(|_| is_known);
    let response = parts.and_then(|(args, payload)| Response::decode(opcode, frame.header.status, args, &payload).ok());
    step.stats.corrupt += u64::from(response.is_none());
    response
}

/// Returns the error for args or a payload that cannot be decoded.
pub(super) fn malformed(error: DecodeError) -> ErrorResponse {
    ErrorResponse::new(error.status(), error.to_string())
}

/// Returns the payload of a frame between nodes, after verifying its checksum.
pub(super) fn sound_payload(frame: &Frame<'_>) -> Result<bytes::Bytes, ErrorResponse> {
    frame.keep_payload().map_err(|_| ErrorResponse::new(Status::CorruptFrame, "the payload was damaged on the way"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_the_same_whether_its_payload_is_copied_or_appended() {
        for payload in [&b""[..], b"payload"] {
            let (request, id) = (Request::Raft { count: 3 }, RequestId(7));
            let append = |bytes: &mut Vec<u8>| bytes.extend_from_slice(payload);
            let frame = request_frame_of(&request, (payload.len(), append), id, Flags::ONEWAY);
            assert_eq!(format!("{frame:?}"), format!("{:?}", request_frame(&request, payload, id, Flags::ONEWAY)));
            assert!(frame.args().is_ok() && frame.keep_payload().is_ok_and(|kept| kept == payload));
        }
    }
}
