//! The bytes of a connection: any stream gives the same frames wherever it is cut into reads, and no panic.
//!
//! ```text
//! input    u8 control, u16 cuts, then the stream
//! control  bits 0-3 dimension, bit 4 correct the checksums, bit 5 make the first frame a large one,
//!          bit 6 limit the first frame to the size allowed before HELLO
//! ```
//!
//! Almost every change of a frame makes its checksums wrong, so most inputs have them corrected; otherwise nothing
//! after the header would ever be decoded.

// The code that splits streams into frames is private to `driver`. Nothing else there can be tested with bytes alone.
#[path = "../../src/driver/inbox.rs"]
mod inbox;

use dht_node::limits::{FRAME_BEFORE_HELLO_MAX, FRAME_MAX, LINK_FRAME_EXTRA, OWN_BUFFER_MIN};
use dht_node::types::{Dimension, crc32};
use dht_node::wire::{Frame, FrameError, HEADER_BYTES, Header, Raw, Route};
use fastrand::Rng;

use crate::decoders;
use inbox::{Frames, Inbox};

/// Reads the input in one piece and in many. Returns the length of the stream.
pub(crate) fn run(input: &[u8]) -> usize {
    let Some((&[control, high, low], stream)) = input.split_first_chunk() else { return 0 };
    let mut stream = stream.to_vec();
    if control & 0x20 != 0 {
        stretch(&mut stream);
    }
    if control & 0x10 != 0 {
        mend(&mut stream);
    }
    let dimension = Dimension::new((control & 0x0f) % 11).expect("DIMENSION_MAX is 10");
    let is_fresh = control & 0x40 != 0;
    let whole = Reading::of(&stream, dimension, is_fresh, None);
    let cuts = Rng::with_seed(u16::from_be_bytes([high, low]).into());
    let cut = Reading::of(&stream, dimension, is_fresh, Some(cuts));
    assert_eq!(whole.error, cut.error, "the error does not depend on where the stream is cut");
    assert!(whole.frames == cut.frames, "the frames do not depend on where the stream is cut");
    let mut rest = &stream[..];
    for frame in &whole.frames {
        let came = rest.split_off(..frame.bytes.len()).expect("frames are not longer than the stream");
        let came = if frame.route.is_some() { stamped(came, dimension) } else { came.to_vec() };
        assert!(came == frame.bytes, "frames are the received bytes");
    }
    stream.len()
}

/// Returns a routed frame as the node forwards it: with the node's own dimension in its route section if the sender
/// left that field 0.
fn stamped(frame: &[u8], dimension: Dimension) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let section = HEADER_BYTES + usize::from(u16::from_be_bytes([frame[12], frame[13]]));
    let (body, crc) =
        frame[HEADER_BYTES..section].split_at_mut_checked(section - HEADER_BYTES - 4).expect("the section is complete");
    if body[9] >> 4 == 0 {
        body[9] |= dimension.bits() << 4;
        crc.copy_from_slice(&crc32(body).to_be_bytes());
    }
    frame
}

/// A frame found in the stream.
#[derive(Debug, PartialEq)]
struct Found {
    header: Header,
    route: Option<Route>,
    bytes: Vec<u8>,
}

/// The state and the result of reading a stream.
struct Reading {
    dimension: Dimension,
    frame_max: u32,
    /// Chooses the sizes of reads; if `None`, each read takes everything.
    cuts: Option<Rng>,
    inbox: Inbox,
    frames: Vec<Found>,
    error: Option<FrameError>,
}

impl Reading {
    fn of(mut stream: &[u8], dimension: Dimension, is_fresh: bool, cuts: Option<Rng>) -> Self {
        let frame_max = if is_fresh { FRAME_BEFORE_HELLO_MAX } else { FRAME_MAX + LINK_FRAME_EXTRA };
        let mut reading = Self { dimension, frame_max, cuts, inbox: Inbox::default(), frames: Vec::new(), error: None };
        let given = stream.len();
        loop {
            let read = if reading.inbox.is_large() { reading.large(&mut stream) } else { reading.small(&mut stream) };
            let most = OWN_BUFFER_MIN.max(2 * reading.frame_max as usize).max(given);
            assert!(reading.inbox.size() <= most, "{} bytes wait", reading.inbox.size());
            match read {
                Ok(true) => {}
                Ok(false) => return reading,
                Err(error) => {
                    reading.error = Some(error);
                    return reading;
                }
            }
        }
    }

    /// Performs one read into the buffer that all connections share. Returns false at the end of the stream.
    fn small(&mut self, stream: &mut &[u8]) -> Result<bool, FrameError> {
        let (was_left, bytes, handled) = match self.inbox.take_frames() {
            Some((bytes, handled)) => (true, bytes, handled),
            None => {
                let mut bytes = self.inbox.take_rest();
                let count = self.cut().min(stream.len());
                bytes.extend_from_slice(take(stream, count));
                (false, bytes, 0)
            }
        };
        let mut frames = Frames::new(&bytes[handled..], self.dimension, self.frame_max);
        for _ in 0..self.cut() {
            frames.set_frame_max(self.frame_max);
            let Some(frame) = frames.next()? else {
                self.inbox.keep(frames.rest(), self.frame_max, false);
                return Ok(!stream.is_empty());
            };
            self.found(&frame);
        }
        // As when a turn has used up its budget, or reads are suspended: the remaining frames wait.
        let rest = frames.rest();
        let has_frames = !rest.is_empty();
        if was_left && has_frames {
            let handled = bytes.len() - rest.len();
            self.inbox.put_frames(bytes, handled);
        } else {
            self.inbox.keep(rest, self.frame_max, has_frames);
        }
        Ok(has_frames || !stream.is_empty())
    }

    /// Performs one read into the buffer of a large frame. Returns false at the end of the stream.
    fn large(&mut self, stream: &mut &[u8]) -> Result<bool, FrameError> {
        let mut buffer = self.inbox.take_large_buffer();
        let growth = self.inbox.large_growth(buffer.len());
        assert!(growth > 0, "a complete frame was not returned");
        let count = self.cut().min(growth).min(stream.len());
        buffer.extend_from_slice(take(stream, count));
        if let Some(frame) = self.inbox.put_large_buffer(buffer, self.dimension, self.frame_max)? {
            self.found(&frame);
        }
        Ok(!stream.is_empty())
    }

    /// Returns the size of the next read: often very small, sometimes larger than any frame.
    fn cut(&mut self) -> usize {
        let Some(rng) = &mut self.cuts else { return usize::MAX };
        match rng.u8(..8) {
            0 => 1,
            1..4 => rng.usize(1..8),
            4..7 => rng.usize(1..200),
            _ => rng.usize(1..2 * OWN_BUFFER_MIN),
        }
    }

    fn found(&mut self, frame: &Frame<'_>) {
        self.frame_max = FRAME_MAX + LINK_FRAME_EXTRA; // the limit after HELLO
        let bytes = check_parts(frame);
        if self.cuts.is_none() {
            decoders::check(frame);
        }
        self.frames.push(Found { header: frame.header, route: frame.route.clone(), bytes });
    }
}

fn take<'a>(stream: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = stream.split_at(count);
    *stream = rest;
    taken
}

/// Checks that the parts of a frame are consistent, however it is kept and forwarded. Returns its bytes.
fn check_parts(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode_head(frame.header.request_id, frame.route.as_ref(), &mut bytes);
    bytes.extend_from_slice(frame.body());
    assert_eq!(bytes.len(), frame.len());
    if let Some(route) = &frame.route {
        let mut section = Vec::new();
        route.encode(&mut section);
        assert_eq!(&bytes[HEADER_BYTES..][..section.len()], section, "the encoding of a route is unique");
    }
    assert!(frame.body().ends_with(frame.payload()));
    assert!(frame.shared_body().is_none_or(|body| body == frame.body()));
    if let Ok(payload) = frame.keep_payload() {
        assert_eq!(payload, frame.payload());
        assert_eq!(frame.checked_payload(), Ok(&payload[..]));
    }
    assert_eq!(frame.keep().into_frame().body(), frame.body());
    // As forwarded to a client: with another id and without its route it is a complete frame with the same args and
    // payload.
    let mut plain = Vec::new();
    frame.encode_head(dht_node::types::RequestId(!frame.header.request_id.0), None, &mut plain);
    plain.extend_from_slice(frame.body());
    let header = Header::parse(&plain, u32::MAX).expect("a valid header").expect("a complete header");
    let plain = Frame::parse(header, Raw::Borrowed(&plain), Dimension::new(0).expect("one node")).expect("no route");
    assert_eq!((plain.args(), plain.payload()), (frame.args(), frame.payload()));
    bytes
}

/// Corrects every checksum whose bytes are present, according to the lengths in the headers.
fn mend(stream: &mut [u8]) {
    let mut at = 0;
    while let Some(rest) = stream.get_mut(at..).filter(|rest| rest.len() >= HEADER_BYTES) {
        let frame_len = frame_len(rest);
        let (args_len, route_len) = (number(&rest[10..12]), number(&rest[12..14]));
        let parts = HEADER_BYTES + route_len + args_len;
        if let Some(frame) = rest.get_mut(..frame_len).filter(|frame| frame.len() >= parts) {
            if route_len >= 4 {
                let crc_at = HEADER_BYTES + route_len - 4;
                put_crc(frame, HEADER_BYTES..crc_at, crc_at);
            }
            put_crc(frame, HEADER_BYTES + route_len..parts, 24);
            put_crc(frame, parts..frame_len, 28);
        }
        put_crc(rest, 0..32, 32);
        at = at.saturating_add(frame_len.max(HEADER_BYTES));
    }
}

/// Adds enough payload to the first frame that it gets a buffer of its own.
fn stretch(stream: &mut Vec<u8>) {
    if stream.len() < HEADER_BYTES || frame_len(stream) > stream.len() {
        return;
    }
    let end = frame_len(stream);
    stream.splice(end..end, std::iter::repeat_n(0x55, OWN_BUFFER_MIN + 1000));
    let length = u32::try_from(end + OWN_BUFFER_MIN + 1000 - 4).expect("a short stream");
    stream[..4].copy_from_slice(&length.to_be_bytes());
}

fn frame_len(frame: &[u8]) -> usize {
    number(&frame[..4]) + 4
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn put_crc(bytes: &mut [u8], of: std::ops::Range<usize>, at: usize) {
    let crc = crc32(&bytes[of]);
    bytes[at..at + 4].copy_from_slice(&crc.to_be_bytes());
}
