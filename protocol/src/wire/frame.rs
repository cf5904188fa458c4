//! A frame: its header, its checksums, and the boundaries of its sections.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | length: the bytes after this field; never counts itself |
//! | 4 | 2 | magic `0xC448` |
//! | 6 | 1 | version |
//! | 7 | 1 | opcode; a response repeats it |
//! | 8 | 1 | flags |
//! | 9 | 1 | status; 0 in requests |
//! | 10 | 2 | args_len |
//! | 12 | 2 | route_len; 0 between client and node |
//! | 14 | 2 | reserved: sent as 0, ignored by receivers |
//! | 16 | 8 | request_id |
//! | 24 | 4 | args_crc |
//! | 28 | 4 | payload_crc |
//! | 32 | 4 | header_crc: CRC-32 of bytes 0 to 31 |
//!
//! The header is validated from its own 36 bytes before any length in it is trusted or any memory is allocated for it.

use std::ops::Deref;

use byteorder::{BigEndian, ByteOrder};
use bytes::Bytes;

use super::field::Writer;
use super::route::{ROUTE_BYTES_MIN, Route, RouteError};
use super::status::Status;
use crate::limits::FRAME_MAX;
use crate::types::{Dimension, RequestId, crc32};

/// Size of a header in bytes.
pub const HEADER_BYTES: usize = 36;

/// The protocol version of this code.
pub const VERSION: u8 = 1;

/// The magic is not text in any encoding, so that HTTP or TLS on this port is recognised at once.
pub const MAGIC: u16 = 0xC448;

/// Size of the length field in bytes, which `length` does not count.
const LENGTH_BYTES: usize = 4;

/// `length` of a frame that consists only of its header.
const LENGTH_MIN: usize = HEADER_BYTES - LENGTH_BYTES;

/// Positions of the header's fields in a frame.
#[expect(missing_docs, reason = "they are named like the fields of `Header`")]
pub mod at {
    use std::ops::Range;

    pub const LENGTH: Range<usize> = 0..4;
    pub const MAGIC: Range<usize> = 4..6;
    pub const VERSION: usize = 6;
    pub const OPCODE: usize = 7;
    pub const FLAGS: usize = 8;
    pub const STATUS: usize = 9;
    pub const ARGS_LEN: Range<usize> = 10..12;
    pub const ROUTE_LEN: Range<usize> = 12..14;
    pub const RESERVED: Range<usize> = 14..16;
    pub const REQUEST_ID: Range<usize> = 16..24;
    pub const ARGS_CRC: Range<usize> = 24..28;
    pub const PAYLOAD_CRC: Range<usize> = 28..32;
    pub const HEADER_CRC: Range<usize> = 32..36;
}

/// The flags byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// The frame is the response to the request with its `request_id`.
    pub const RESPONSE: Self = Self(0x01);
    /// The frame has a route section.
    pub const ROUTED: Self = Self(0x02);
    /// The request gets no response, not even an error.
    pub const ONEWAY: Self = Self(0x04);
    /// Reserved: further frames of the same response follow. Not sent by this version.
    pub const MORE: Self = Self(0x08);
    /// Bits whose meaning a receiver must know to act on the frame.
    pub const CRITICAL: Self = Self(0xC0);

    /// Returns true if all bits of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns true if any bit of `other` is set.
    pub const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns the union of both sets of bits.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the bits that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// The part of a header that the sender chooses; lengths and checksums are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The operation, as on the wire: an unknown opcode is echoed in its error response.
    pub opcode: u8,
    /// The flags, except ROUTED, which follows from the route.
    pub flags: Flags,
    /// The status byte; 0 in requests.
    pub status: u8,
    /// The id of the request, or of the request that this frame answers.
    pub request_id: RequestId,
}

impl Head {
    /// Appends header, route and args of a frame to `out`. The caller appends the payload.
    ///
    /// # Panics
    /// If args exceed 65 535 bytes. None of our encoders exceeds that, and a truncated length would corrupt the stream.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "lengths of buffers in memory add up to less than a usize holds"
    )]
    pub fn seal(
        self,
        route: Option<&Route>,
        payload: (usize, u32),
        out: &mut Vec<u8>,
        args: impl FnOnce(&mut Writer<'_>),
    ) {
        let start = out.len();
        out.resize(start + HEADER_BYTES, 0);
        let flags = match route {
            Some(route) => {
                route.encode(out);
                self.flags.with(Flags::ROUTED)
            }
            None => self.flags.without(Flags::ROUTED),
        };
        let args_start = out.len();
        args(&mut Writer::new(out));
        let args_crc = crc32(&out[args_start..]);
        let (payload_len, payload_crc) = payload;
        let header = Header {
            length: u32::try_from(out.len() - start - LENGTH_BYTES + payload_len).expect("frames end far below 4 GiB"),
            version: VERSION,
            opcode: self.opcode,
            flags,
            status: self.status,
            args_len: u16::try_from(out.len() - args_start).expect("encoders keep args below 64 KiB"),
            route_len: u16::try_from(args_start - start - HEADER_BYTES).expect("a route is below 1 KiB"),
            reserved: 0,
            request_id: self.request_id,
            args_crc,
            payload_crc,
        };
        out[start..start + HEADER_BYTES].copy_from_slice(&header.encode());
    }
}

/// A header with valid checksum, magic, version and lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    length: u32,
    version: u8,
    /// The operation, which may be unknown.
    pub opcode: u8,
    /// The flags.
    pub flags: Flags,
    /// The status byte, which may be unknown.
    pub status: u8,
    args_len: u16,
    route_len: u16,
    /// Ignored, but kept when the frame is forwarded: a later version may use it.
    reserved: u16,
    /// The id of the request, or of the request that this frame answers.
    pub request_id: RequestId,
    args_crc: u32,
    payload_crc: u32,
}

impl Header {
    /// Validates the header at the start of `input`. Returns `Ok(None)` while there are too few bytes for a decision.
    ///
    /// # Errors
    /// Returns a [`FrameError`], after which the connection cannot continue. A wrong magic is detected from 6 bytes on.
    // Without this, the header of each frame is copied several times on its way into the frame.
    #[inline(always)]
    pub fn parse(input: &[u8], frame_max: u32) -> Result<Option<Self>, FrameError> {
        if let Some(magic) = input.get(at::MAGIC)
            && BigEndian::read_u16(magic) != MAGIC
        {
            return Err(FrameError::Magic);
        }
        let Some(bytes) = input.get(..HEADER_BYTES) else { return Ok(None) };
        if crc32(&bytes[..at::HEADER_CRC.start]) != BigEndian::read_u32(&bytes[at::HEADER_CRC]) {
            return Err(FrameError::HeaderCrc);
        }
        if bytes[at::VERSION] != VERSION {
            return Err(FrameError::Version { found: bytes[at::VERSION] });
        }
        let header = Self::read(bytes);
        let parts_len = u32::from(header.args_len).saturating_add(header.route_len.into());
        if (header.length as usize) < LENGTH_MIN.saturating_add(parts_len as usize) {
            return Err(FrameError::Length { length: header.length });
        }
        // A node that forwards the frame may lengthen its route section. Without the limit on the rest of the frame,
        // the whole frame could then exceed what the next node accepts, and a correct node would lose its link.
        let unrouted_len = header.frame_len().saturating_sub(header.route_len.into());
        if header.frame_len() > frame_max as usize || unrouted_len > FRAME_MAX as usize {
            return Err(FrameError::TooLarge { length: header.length, frame_max });
        }
        Ok(Some(header))
    }

    /// Decodes a header that has been validated, or that this node encoded.
    fn read(bytes: &[u8]) -> Self {
        Self {
            length: BigEndian::read_u32(&bytes[at::LENGTH]),
            version: bytes[at::VERSION],
            opcode: bytes[at::OPCODE],
            flags: Flags(bytes[at::FLAGS]),
            status: bytes[at::STATUS],
            args_len: BigEndian::read_u16(&bytes[at::ARGS_LEN]),
            route_len: BigEndian::read_u16(&bytes[at::ROUTE_LEN]),
            reserved: BigEndian::read_u16(&bytes[at::RESERVED]),
            request_id: RequestId(BigEndian::read_u64(&bytes[at::REQUEST_ID])),
            args_crc: BigEndian::read_u32(&bytes[at::ARGS_CRC]),
            payload_crc: BigEndian::read_u32(&bytes[at::PAYLOAD_CRC]),
        }
    }

    /// Returns the size of the whole frame in bytes, including the length field.
    pub const fn frame_len(&self) -> usize {
        (self.length as usize).saturating_add(LENGTH_BYTES)
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        BigEndian::write_u32(&mut bytes[at::LENGTH], self.length);
        BigEndian::write_u16(&mut bytes[at::MAGIC], MAGIC);
        bytes[at::VERSION] = self.version;
        bytes[at::OPCODE] = self.opcode;
        bytes[at::FLAGS] = self.flags.0;
        bytes[at::STATUS] = self.status;
        BigEndian::write_u16(&mut bytes[at::ARGS_LEN], self.args_len);
        BigEndian::write_u16(&mut bytes[at::ROUTE_LEN], self.route_len);
        BigEndian::write_u16(&mut bytes[at::RESERVED], self.reserved);
        BigEndian::write_u64(&mut bytes[at::REQUEST_ID], self.request_id.0);
        BigEndian::write_u32(&mut bytes[at::ARGS_CRC], self.args_crc);
        BigEndian::write_u32(&mut bytes[at::PAYLOAD_CRC], self.payload_crc);
        let header_crc = crc32(&bytes[..at::HEADER_CRC.start]);
        BigEndian::write_u32(&mut bytes[at::HEADER_CRC], header_crc);
        bytes
    }
}

/// Sets the request id in an encoded header and recomputes the checksums, after the frame's args were changed in place.
/// With it, a response can be reused for another request.
pub(super) fn reseal(header: &mut [u8; HEADER_BYTES], args: &[u8], request_id: RequestId) {
    BigEndian::write_u64(&mut header[at::REQUEST_ID], request_id.0);
    BigEndian::write_u32(&mut header[at::ARGS_CRC], crc32(args));
    let header_crc = crc32(&header[..at::HEADER_CRC.start]);
    BigEndian::write_u32(&mut header[at::HEADER_CRC], header_crc);
}

/// The bytes of a frame: a small frame is in the reader's buffer, a large one in a buffer of its own.
#[derive(Clone, Debug)]
pub enum Raw<'a> {
    /// In the reader's buffer; copied when the frame is kept.
    Borrowed(&'a [u8]),
    /// In a buffer of its own, which is shared when the frame is kept.
    Shared(Bytes),
}

impl Deref for Raw<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// A whole frame with a validated header and route section. Args and payload are not validated: their user does that,
/// and a node that forwards the frame uses neither.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// The validated header.
    pub header: Header,
    /// The validated route section, which is present if and only if the ROUTED flag is set.
    pub route: Option<Route>,
    raw: Raw<'a>,
}

/// A whole frame to be stored, without its decoded route, so that it takes little space in an action. Its header is
/// decoded again when the frame is sent.
#[derive(Clone, Debug)]
pub struct Kept(Bytes);

impl Kept {
    /// Returns the size of the frame in bytes.
    pub fn size(&self) -> u32 {
        u32::try_from(self.0.len()).expect("a frame is below 4 GiB")
    }

    /// Returns the frame.
    pub fn into_frame(self) -> Frame<'static> {
        Frame { header: Header::read(&self.0), route: None, raw: Raw::Shared(self.0) }
    }
}

impl Frame<'static> {
    /// Returns a frame from the bytes of a whole frame without a route. A frame for many receivers is encoded once.
    ///
    /// # Panics
    /// If `bytes` is not a frame.
    pub fn sealed(bytes: Vec<u8>) -> Self {
        let header = Header::read(&bytes);
        assert!(header.route_len == 0 && header.frame_len() == bytes.len(), "one whole frame");
        Self { header, route: None, raw: Raw::Shared(bytes.into()) }
    }
}

impl<'a> Frame<'a> {
    /// Splits a whole frame into its sections. `raw` must have the length that its header states.
    ///
    /// # Errors
    /// Returns an error if the route section is corrupt or not valid in this cube; the connection cannot continue.
    // As for `Header::parse`.
    #[inline(always)]
    pub fn parse(header: Header, raw: Raw<'a>, dimension: Dimension) -> Result<Self, FrameError> {
        assert_eq!(raw.len(), header.frame_len(), "the reader cuts frames where their header says");
        let section = &raw[HEADER_BYTES..HEADER_BYTES + usize::from(header.route_len)];
        let route = match (header.flags.has(Flags::ROUTED), section.len()) {
            (false, 0) => None,
            (true, ROUTE_BYTES_MIN..) => Some(Route::decode(section, dimension).map_err(FrameError::Route)?),
            (true | false, _) => return Err(FrameError::Route(RouteError::Length)),
        };
        Ok(Self { header, route, raw })
    }

    /// Returns the args after verifying their checksum.
    ///
    /// # Errors
    /// Returns [`Corrupt`] if the checksum is wrong. The frame's boundaries are intact.
    pub fn args(&self) -> Result<&[u8], Corrupt> {
        let args = self.unchecked_args();
        if crc32(args) == self.header.args_crc { Ok(args) } else { Err(Corrupt::Args) }
    }

    /// Returns the args without verifying their checksum.
    #[expect(clippy::arithmetic_side_effects, reason = "the header was found to hold its parts")]
    pub fn unchecked_args(&self) -> &[u8] {
        let start = HEADER_BYTES + usize::from(self.header.route_len);
        &self.raw[start..start + usize::from(self.header.args_len)]
    }

    /// Returns the args' checksum as their sender computed it.
    pub const fn args_crc(&self) -> u32 {
        self.header.args_crc
    }

    /// Returns the payload without verifying its checksum.
    pub fn payload(&self) -> &[u8] {
        &self.raw[self.payload_start()..]
    }

    /// Returns the payload's checksum as its sender computed it.
    pub const fn payload_crc(&self) -> u32 {
        self.header.payload_crc
    }

    /// Returns the payload after verifying its checksum.
    ///
    /// # Errors
    /// Returns [`Corrupt`] if the checksum is wrong. The frame's boundaries are intact.
    pub fn checked_payload(&self) -> Result<&[u8], Corrupt> {
        let payload = self.payload();
        if crc32(payload) == self.header.payload_crc { Ok(payload) } else { Err(Corrupt::Payload) }
    }

    /// Returns the payload to be kept, without verifying its checksum. It is shared if the frame has a buffer of its
    /// own, else copied.
    pub fn share_payload(&self) -> Bytes {
        match &self.raw {
            Raw::Borrowed(_) => Bytes::copy_from_slice(self.payload()),
            Raw::Shared(bytes) => bytes.slice(self.payload_start()..),
        }
    }

    /// Returns the payload to be kept, after verifying its checksum.
    ///
    /// # Errors
    /// Returns [`Corrupt`] if the checksum is wrong. The frame's boundaries are intact.
    pub fn keep_payload(&self) -> Result<Bytes, Corrupt> {
        self.checked_payload().map(|_| self.share_payload())
    }

    /// Returns the frame to be kept, without its decoded route.
    pub fn keep(&self) -> Kept {
        Kept(match &self.raw {
            Raw::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Raw::Shared(bytes) => bytes.clone(),
        })
    }

    /// Returns the size of the frame as received, in bytes.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Returns false: a frame has at least its header.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Appends this frame's header and the given route to `out`. Followed by [`Frame::body`], they form the forwarded
    /// frame. An unchanged header is copied rather than encoded again, so that the next receiver can detect a memory
    /// error on this machine.
    #[expect(clippy::arithmetic_side_effects, reason = "the header was found to hold its parts")]
    pub fn encode_head(&self, request_id: RequestId, route: Option<&Route>, out: &mut Vec<u8>) {
        let route_len = route.map_or(0, Route::encoded_len);
        if route_len == usize::from(self.header.route_len) && request_id == self.header.request_id {
            out.extend_from_slice(&self.raw[..HEADER_BYTES]);
        } else {
            let body_len = self.raw.len() - HEADER_BYTES - usize::from(self.header.route_len);
            let flags = self.header.flags.without(Flags::ROUTED);
            let header = Header {
                length: u32::try_from(LENGTH_MIN + route_len + body_len).expect("a frame is below 4 GiB"),
                flags: if route.is_some() { flags.with(Flags::ROUTED) } else { flags },
                route_len: u16::try_from(route_len).expect("a route is below 1 KiB"),
                request_id,
                ..self.header
            };
            out.extend_from_slice(&header.encode());
        }
        if let Some(route) = route {
            route.encode(out);
        }
    }

    /// Returns everything after the route section: args and payload, as received.
    pub fn body(&self) -> &[u8] {
        &self.raw[HEADER_BYTES + usize::from(self.header.route_len)..]
    }

    /// Returns the body without copying it, if the frame has a buffer of its own.
    pub fn shared_body(&self) -> Option<Bytes> {
        match &self.raw {
            Raw::Borrowed(_) => None,
            Raw::Shared(bytes) => Some(bytes.slice(HEADER_BYTES + usize::from(self.header.route_len)..)),
        }
    }

    #[expect(clippy::arithmetic_side_effects, reason = "the header was found to hold its parts")]
    fn payload_start(&self) -> usize {
        HEADER_BYTES + usize::from(self.header.route_len) + usize::from(self.header.args_len)
    }
}

/// The section of a frame whose checksum is wrong. The frame's boundaries are intact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// The args.
    #[error("the args of a frame do not match their checksum")]
    Args,
    /// The payload.
    #[error("the payload of a frame does not match its checksum")]
    Payload,
}

/// Why a stream of bytes is not a sequence of frames. The connection cannot continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The magic is wrong: the peer uses some other protocol.
    #[error("bytes 4 and 5 are not {MAGIC:#06x}: this is another protocol")]
    Magic,
    /// The header is corrupt.
    #[error("the header does not match its checksum")]
    HeaderCrc,
    /// The version is not the one that was negotiated.
    #[error("the frame has version {found}, but this connection uses version {VERSION}")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// The length is too small for the frame's sections.
    #[error("length {length} is too short for the sections that the header states")]
    Length {
        /// The length field.
        length: u32,
    },
    /// The frame is larger than the connection allows, or has more than [`FRAME_MAX`] bytes without the route section.
    #[error("length {length} makes a frame of more than {frame_max} bytes")]
    TooLarge {
        /// The length field.
        length: u32,
        /// Largest frame of the connection, in bytes.
        frame_max: u32,
    },
    /// The route section is not valid.
    #[error("route section: {0}")]
    Route(#[from] RouteError),
    /// A partial frame was not completed in time.
    #[error("a partial frame was not completed in time")]
    Unfinished,
}

impl FrameError {
    /// Returns the status for GOAWAY, or `None` if the peer does not speak this protocol at all and would not
    /// understand it.
    pub const fn status(self) -> Option<Status> {
        match self {
            Self::Magic => None,
            Self::HeaderCrc => Some(Status::BadHeader),
            Self::Version { .. } => Some(Status::UnsupportedVersion),
            Self::Length { .. } => Some(Status::BadLength),
            Self::TooLarge { .. } => Some(Status::FrameTooLarge),
            Self::Route(_) | Self::Unfinished => Some(Status::ProtocolError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LINK_FRAME_EXTRA;

    #[test]
    fn flags_are_sets_of_bits() {
        let critical = Flags::CRITICAL;
        for (flags, has, any) in [(0xC0, true, true), (0x40, false, true), (0x81, false, true), (0x3F, false, false)] {
            assert_eq!((Flags(flags).has(critical), Flags(flags).any(critical)), (has, any), "{flags:#04x}");
        }
        assert_eq!(Flags(0x05).with(Flags::ROUTED).without(Flags::RESPONSE), Flags(0x06));
        assert_eq!(Flags(0x05).with(Flags::RESPONSE).without(Flags::ROUTED), Flags(0x05));
    }

    #[test]
    fn a_frame_leaves_room_for_the_longest_route_section() {
        let link_max = FRAME_MAX + LINK_FRAME_EXTRA;
        for (route_len, beside_route, fits) in [
            (24, FRAME_MAX, true),
            (24, FRAME_MAX + 1, false),
            (4096, FRAME_MAX, true),
            (4097, FRAME_MAX, false),
            (4097, FRAME_MAX - 1, true),
            (0, FRAME_MAX, true),
            (0, FRAME_MAX + 1, false),
        ] {
            let length = beside_route + u32::from(route_len) - 4;
            let header = Header {
                length,
                version: VERSION,
                opcode: 1,
                flags: Flags::ROUTED,
                status: 0,
                args_len: 0,
                route_len,
                reserved: 0,
                request_id: RequestId(1),
                args_crc: 0,
                payload_crc: 0,
            };
            let expected =
                if fits { Ok(Some(header)) } else { Err(FrameError::TooLarge { length, frame_max: link_max }) };
            assert_eq!(Header::parse(&header.encode(), link_max), expected, "{route_len} and {beside_route}");
        }
    }
}
