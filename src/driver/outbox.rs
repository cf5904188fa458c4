//! The send queue of one socket.
//!
//! Frames leave in the order in which they were queued, except that a large one that may be overtaken waits in a lane
//! of its own while others are queued. Small answers on a link therefore do not wait for the megabytes of other
//! clients.
//!
//! ```text
//! append_frame ──────────────► │ frames in order │ ──► socket
//!        └─► │ large frames │ ───┘ one, when nothing else is queued, or when as many
//!                                  bytes as it has have been sent before it
//! ```
//!
//! Large frames that wait delay nobody, so they do not count for the queue's high-water mark. Their ingresses have
//! reserved memory for them.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};

use crate::limits::OWN_BUFFER_MIN;
use crate::node::Packet;
use crate::wire::{Flags, Route, TrafficClass};

/// Maximum number of parts in one vectored write. The kernel accepts at most 1024.
const PARTS_MAX: usize = 64;

/// A queue of frames. Small ones are copied one after the other; large ones are kept by reference.
#[derive(Debug, Default)]
pub struct Outbox {
    parts: VecDeque<Bytes>,
    /// The last part, which is still growing. Its first `written` bytes have been sent.
    tail: Vec<u8>,
    written: usize,
    /// The frames that others overtake, oldest first.
    large: VecDeque<Large>,
    /// Bytes of other frames that are sent before the first of `large` gets its turn.
    before_large: usize,
    /// Bytes of `parts` and `tail`.
    in_order: usize,
    /// Bytes of these and of `large`.
    len: usize,
}

/// A frame that others overtake.
#[derive(Debug)]
struct Large {
    parts: Vec<Bytes>,
    len: usize,
}

/// Whether frames that are queued later may leave earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Not before this frame.
    Kept,
    /// Before this frame if it is large.
    MayBeOvertaken,
    /// Not before this frame; nor does it overtake any.
    Last,
}

impl Order {
    /// Returns the order of a frame that this node has made.
    pub fn of_packet(packet: &Packet, route: Option<&Route>) -> Self {
        match packet {
            Packet::Goaway(_) => Self::Last,
            Packet::Response(..) => Self::of_response(route),
            Packet::Hello(_) | Packet::HelloResponse(..) | Packet::Ping | Packet::Published(_) | Packet::Push(_) => {
                Self::Kept
            }
        }
    }

    /// Returns the order of a frame that is forwarded along this route.
    pub fn of_frame(flags: Flags, route: Option<&Route>) -> Self {
        if flags.has(Flags::RESPONSE) { Self::of_response(route) } else { Self::Kept }
    }

    /// On a link, a bulk response is in no order with other frames [W-11.37]. Responses of class 1 are in order with
    /// pushes [W-11.20].
    fn of_response(route: Option<&Route>) -> Self {
        if route.is_some_and(|route| route.class == TrafficClass::Bulk) { Self::MayBeOvertaken } else { Self::Kept }
    }
}

/// Spare buffers, so that an idle connection holds none and a busy one need not grow one in each turn.
#[derive(Debug, Default)]
pub struct Spares(Vec<Vec<u8>>);

impl Spares {
    const COUNT_MAX: usize = 16;
    const CAPACITY_MAX: usize = 256 << 10;

    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= Self::CAPACITY_MAX && self.0.len() < Self::COUNT_MAX {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

impl Outbox {
    /// Returns the number of queued bytes.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of queued bytes without the frames that others overtake.
    pub const fn in_order(&self) -> usize {
        self.in_order
    }

    /// Returns true if nothing is queued.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a frame: what `head` appends to the buffer that it is given, and the parts that it returns.
    pub fn append_frame<'p>(
        &mut self,
        spares: &mut Spares,
        order: Order,
        head: impl FnOnce(&mut Vec<u8>) -> &'p [Bytes],
    ) {
        if self.tail.capacity() == 0 {
            self.tail = spares.take();
        }
        if order == Order::Last {
            while self.admit_large() {}
        }
        let start = self.tail.len();
        let parts = head(&mut self.tail);
        let len = self.tail.len() - start + parts.iter().map(Bytes::len).sum::<usize>();
        self.len += len;
        if order == Order::MayBeOvertaken && len >= OWN_BUFFER_MIN {
            let head = Bytes::copy_from_slice(&self.tail[start..]);
            self.tail.truncate(start);
            let parts = std::iter::once(head).chain(parts.iter().cloned()).collect();
            self.large.push_back(Large { parts, len });
            if self.large.len() == 1 {
                self.before_large = self.in_order + len;
            }
            return;
        }
        self.in_order += len;
        for part in parts {
            if part.len() >= OWN_BUFFER_MIN {
                self.append_shared(part.clone());
            } else {
                self.tail.extend_from_slice(part);
            }
        }
    }

    /// Writes once, by a function that writes to the socket. Returns true if the socket took everything that was
    /// offered, so it may take more.
    ///
    /// # Errors
    /// Returns the socket's error; `WouldBlock` if it takes nothing.
    pub fn write_to(
        &mut self,
        spares: &mut Spares,
        write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        if !self.large.is_empty() && (self.in_order == 0 || self.before_large == 0) {
            self.admit_large();
        }
        let (written, offered) = if self.parts.is_empty() {
            let tail = &self.tail[self.written..];
            (write(&[IoSlice::new(tail)])?, tail.len())
        } else {
            let mut slices = [IoSlice::new(&[]); PARTS_MAX];
            let sources = self.parts.iter().map(|part| &part[..]).chain([&self.tail[self.written..]]);
            let count = slices.iter_mut().zip(sources).map(|(slice, source)| *slice = IoSlice::new(source)).count();
            let offered = slices[..count].iter().map(|slice| slice.len()).sum();
            (write(&slices[..count])?, offered)
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.advance(written, spares);
        Ok(written == offered)
    }

    /// Moves the first of the large frames to the end of those that leave in order. Returns false if there is none.
    fn admit_large(&mut self) -> bool {
        let Some(Large { parts, len }) = self.large.pop_front() else { return false };
        self.in_order += len;
        parts.into_iter().for_each(|part| self.append_shared(part));
        self.before_large = self.large.front().map_or(0, |next| self.in_order + next.len);
        if self.large.is_empty() {
            self.large = VecDeque::new();
        }
        true
    }

    fn advance(&mut self, mut written: usize, spares: &mut Spares) {
        self.len -= written;
        self.in_order -= written;
        self.before_large = self.before_large.saturating_sub(written);
        while let Some(part) = self.parts.front_mut() {
            if written < part.len() {
                part.advance(written);
                return;
            }
            written -= part.len();
            self.parts.pop_front();
        }
        self.written += written;
        if self.written == self.tail.len() {
            spares.give(std::mem::take(&mut self.tail));
            self.written = 0;
        } else if self.written > self.tail.len() / 2 {
            // A queue that never becomes empty must not keep bytes that have been sent.
            self.tail.drain(..self.written);
            self.written = 0;
        }
        if self.parts.is_empty() {
            self.parts = VecDeque::new();
        }
    }

    /// Appends bytes without copying them.
    fn append_shared(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.seal_tail();
        self.parts.push_back(bytes);
    }

    fn seal_tail(&mut self) {
        if self.tail.len() > self.written {
            let mut tail = Bytes::from(std::mem::take(&mut self.tail));
            tail.advance(self.written);
            self.parts.push_back(tail);
        }
        self.written = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::tests::route;
    use crate::types::Offset;
    use crate::wire::{Opcode, Response};

    /// A socket that takes a few bytes at a time.
    struct Narrow(Vec<u8>, usize);

    impl Narrow {
        fn take_from(&mut self, outbox: &mut Outbox, spares: &mut Spares) {
            let write = |slices: &[IoSlice<'_>]| {
                let before = self.0.len();
                for slice in slices {
                    let room = self.1 - (self.0.len() - before);
                    self.0.extend_from_slice(&slice[..room.min(slice.len())]);
                }
                Ok(self.0.len() - before)
            };
            outbox.write_to(spares, write).unwrap();
        }
    }

    /// Queues a frame: a head of its first byte, and a payload of the rest.
    fn queue(outbox: &mut Outbox, spares: &mut Spares, order: Order, frame: &[u8]) {
        let payload = [Bytes::copy_from_slice(&frame[1..])];
        outbox.append_frame(spares, order, |tail| {
            tail.push(frame[0]);
            &payload
        });
    }

    /// Returns a frame of which each byte is `name`.
    fn frame(name: u8, len: usize) -> Vec<u8> {
        vec![name; len]
    }

    /// Writes everything, and returns the names of the frames in the order in which they left.
    fn drain(outbox: &mut Outbox, spares: &mut Spares, width: usize) -> String {
        let mut socket = Narrow(Vec::new(), width);
        while !outbox.is_empty() {
            socket.take_from(outbox, spares);
        }
        assert_eq!(outbox.in_order + outbox.large.len() + outbox.before_large, 0, "it is empty");
        socket.0.dedup();
        String::from_utf8(socket.0).unwrap()
    }

    #[test]
    fn bytes_come_out_in_order_however_little_is_taken() {
        for width in [1, 2, 3, 100, 1 << 20] {
            let (mut outbox, mut spares) = (Outbox::default(), Spares::default());
            let mut socket = Narrow(Vec::new(), width);
            let shared = frame(b'd', OWN_BUFFER_MIN + 1);
            queue(&mut outbox, &mut spares, Order::Kept, b"abc");
            queue(&mut outbox, &mut spares, Order::Kept, &shared);
            socket.take_from(&mut outbox, &mut spares);
            queue(&mut outbox, &mut spares, Order::Kept, b"ij");
            queue(&mut outbox, &mut spares, Order::Kept, b"k");
            while !outbox.is_empty() {
                socket.take_from(&mut outbox, &mut spares);
            }
            assert_eq!(socket.0, [b"abc", &shared[..], b"ijk"].concat(), "{width} at a time");
            assert_eq!(outbox.tail.capacity() + outbox.parts.capacity(), 0, "an empty outbox has no buffer");
        }
    }

    #[test]
    fn a_large_frame_is_overtaken_until_as_many_bytes_as_it_has_have_left() {
        use Order::{Kept, Last, MayBeOvertaken};
        type Queued = &'static [(u8, usize, Order)];
        const LARGE: usize = OWN_BUFFER_MIN;
        // Frames in the order of queueing, and in that of leaving.
        let cases: [(Queued, &str); 7] = [
            (&[(b'A', LARGE, MayBeOvertaken), (b'b', 10, Kept), (b'c', 10, MayBeOvertaken)], "bcA"),
            (&[(b'A', LARGE - 1, MayBeOvertaken), (b'b', 10, Kept)], "Ab"),
            (&[(b'A', LARGE, Kept), (b'b', 10, Kept)], "Ab"),
            (&[(b'A', LARGE, MayBeOvertaken), (b'B', LARGE, MayBeOvertaken), (b'c', 10, Kept)], "cAB"),
            (&[(b'A', LARGE, MayBeOvertaken), (b'b', LARGE / 2, Kept), (b'c', LARGE / 2, Kept)], "bcA"),
            // Nothing overtakes the last one, nor does it overtake anything.
            (&[(b'A', LARGE, MayBeOvertaken), (b'b', 10, Kept), (b'c', 10, Last), (b'd', 10, Kept)], "bAcd"),
            (&[(b'a', 10, Last), (b'B', LARGE, MayBeOvertaken), (b'c', 10, Kept)], "acB"),
        ];
        for (queued, expected) in cases {
            for width in [1, 7, LARGE - 1, LARGE, LARGE + 1, 1 << 20] {
                let (mut outbox, mut spares) = (Outbox::default(), Spares::default());
                queued.iter().for_each(|(name, len, order)| {
                    queue(&mut outbox, &mut spares, *order, &frame(*name, *len));
                });
                assert_eq!(outbox.len(), queued.iter().map(|(_, len, _)| len).sum::<usize>());
                assert_eq!(drain(&mut outbox, &mut spares, width), expected, "{width} bytes at a time");
            }
        }
    }

    #[test]
    fn a_frame_that_has_begun_is_finished_first_and_small_frames_without_end_leave_large_ones_their_turn() {
        const LARGE: usize = 4 * OWN_BUFFER_MIN;
        const SMALL: usize = 1000;
        let (mut outbox, mut spares) = (Outbox::default(), Spares::default());
        for name in [b'A', b'B'] {
            queue(&mut outbox, &mut spares, Order::MayBeOvertaken, &frame(name, LARGE));
        }
        let mut socket = Narrow(Vec::new(), SMALL);
        socket.take_from(&mut outbox, &mut spares);
        // From now on there is always a small frame in the queue.
        while outbox.large.len() + outbox.parts.len() > 0 {
            queue(&mut outbox, &mut spares, Order::Kept, &frame(b'c', SMALL));
            socket.take_from(&mut outbox, &mut spares);
        }
        let ends = |name: u8| {
            let place = |byte: &u8| *byte == name;
            (socket.0.iter().position(place).unwrap(), socket.0.iter().rposition(place).unwrap() + 1)
        };
        let (first, second) = (ends(b'A'), ends(b'B'));
        assert_eq!((first, second.1 - second.0), ((0, LARGE), LARGE), "no frame is interrupted");
        // Behind what was queued when the first one had been sent, and a frame's length of later ones.
        let queued_meanwhile = LARGE;
        assert!((first.1 + LARGE..=first.1 + queued_meanwhile + 2 * LARGE).contains(&second.0), "{second:?}");
    }

    #[test]
    fn only_bulk_responses_on_links_may_be_overtaken() {
        let (bulk, control) = (route(TrafficClass::Bulk), route(TrafficClass::Control));
        let response = Packet::Response(Opcode::Trim.number(), Response::Unsubscribed { next: Offset(0) });
        let (request, answer) = (Flags::default(), Flags::RESPONSE);
        for (route, of_response) in
            [(None, Order::Kept), (Some(&control), Order::Kept), (Some(&bulk), Order::MayBeOvertaken)]
        {
            assert_eq!(Order::of_packet(&response, route), of_response);
            assert_eq!(Order::of_frame(answer, route), of_response);
            assert_eq!(Order::of_frame(request, route), Order::Kept);
            assert_eq!(Order::of_packet(&Packet::Ping, route), Order::Kept);
        }
    }
}
