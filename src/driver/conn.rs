//! A socket with its two buffers and its state.

use std::io;

use super::Os;
use super::inbox::Inbox;
use super::outbox::{Outbox, Spares};
use crate::limits::{
    CLIENT_KEEPALIVE_US, DRAIN_LINGER_US, FRAME_BEFORE_HELLO_MAX, LINGER_US, PARTIAL_FRAME_TIMEOUT_US, READ_BUDGET,
    READ_LEAST, STALLED_FRAME_US,
};
use crate::types::{ConnId, NodeId};

/// A connection, whose socket is a `K`.
#[derive(Debug)]
pub struct Conn<K> {
    /// The node's name for the connection.
    pub id: ConnId,
    /// The socket.
    pub socket: K,
    /// Received bytes that do not complete a frame yet, or frames that are not handled yet.
    pub(crate) inbox: Inbox,
    /// Bytes to be sent.
    pub outbox: Outbox,
    /// Largest frame that is accepted, in bytes.
    pub frame_max: u32,
    /// High-water mark of the send queue in bytes; the node gets an event when the queue exceeds it.
    pub queue_mark: usize,
    /// The stage of the connection.
    pub state: State,
    /// True while the node has suspended reads.
    pub paused: bool,
    /// True while the node knows that the send queue is above its high-water mark.
    pub filled: bool,
    /// Length of the send queue in bytes as the node knows it.
    pub unsent: usize,
    /// True for a link, or a connection that this node has dialled to make one.
    pub is_link: bool,
    /// Maximum number of bytes that the next read takes.
    pub read_max: usize,
    /// The error of the socket of a client. Of the requests that it has sent, those that change something are still
    /// executed before the connection is removed.
    pub failure: Option<io::ErrorKind>,
    /// True while the connection is in the table's list of connections to be written.
    pub is_dirty: bool,
    /// Whether the peer still sends.
    pub stream: Stream,
    /// Monotonic time in microseconds at which the current partial frame began.
    pub partial_since_us: Option<u64>,
    /// Monotonic time in microseconds at which the current large frame last grew.
    pub grown_us: u64,
    /// True while a large frame waits for memory, and so is not read.
    pub is_starved: bool,
    /// Size of the inbox in bytes as the account of them knows it.
    pub counted: usize,
}

/// The stage of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Connecting to this neighbour.
    Dialing(NodeId),
    /// Exchanging frames.
    Open,
    /// Closed by the node: the queued bytes are sent, and the socket is closed at the deadline at the latest.
    Closing {
        /// Monotonic time in microseconds.
        deadline_us: u64,
        /// True once this side has shut down its sending direction.
        is_shut: bool,
    },
}

/// Whether a peer still sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// As far as is known, it does.
    Open,
    /// The poll has reported the end of its stream. Reads continue until they reach it.
    Ending,
    /// A read has reached the end of its stream.
    Ended,
}

/// The result of a read.
#[derive(Debug)]
pub enum Got {
    /// This many bytes; there may be more.
    More(usize),
    /// This many bytes; the socket is drained.
    Drained(usize),
    /// End of stream: the peer has closed its sending direction.
    End,
}

impl<K> Conn<K> {
    /// Creates a connection whose peer has sent nothing yet.
    pub fn new(id: ConnId, socket: K, state: State) -> Self {
        Self {
            id,
            socket,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            frame_max: FRAME_BEFORE_HELLO_MAX,
            queue_mark: usize::MAX,
            state,
            paused: false,
            filled: false,
            unsent: 0,
            is_link: matches!(state, State::Dialing(_)),
            read_max: READ_LEAST,
            failure: None,
            is_dirty: false,
            stream: Stream::Open,
            partial_since_us: None,
            grown_us: 0,
            is_starved: false,
            counted: 0,
        }
    }

    /// Returns true if the node currently handles this connection's frames. A client that is gone has no share of the
    /// response budget to wait for.
    pub const fn is_wanted(&self) -> bool {
        matches!(self.state, State::Open) && (!self.paused || self.failure.is_some())
    }

    /// Returns true once a read has reached the end of the peer's stream.
    pub const fn has_ended(&self) -> bool {
        matches!(self.stream, Stream::Ended)
    }

    /// Adapts the size of the next read: a connection whose frames take longer than a visit reads less, so that they
    /// wait in the kernel, and one whose frames are all handled at once reads more.
    pub fn set_pace(&mut self, has_frames_left: bool, has_filled_read: bool) {
        if has_frames_left {
            self.read_max = (self.read_max / 2).max(READ_LEAST);
        } else if has_filled_read {
            self.read_max = (2 * self.read_max).min(READ_BUDGET);
        }
    }

    /// Records whether the inbox holds a partial frame, and whether a frame was completed since the last call.
    pub const fn note_partial(&mut self, is_partial: bool, has_ended_one: bool, now_us: u64) {
        if !is_partial {
            self.partial_since_us = None;
        } else if has_ended_one || self.partial_since_us.is_none() {
            self.partial_since_us = Some(now_us);
        }
    }

    /// Returns true if the peer has not completed a frame in time. While memory for received bytes is short, the large
    /// frame of a client must also make progress, so that it does not keep others from being received.
    pub fn is_late(&self, is_short: bool, now_us: u64) -> bool {
        let is_over = |since_us: u64, most_us: u64| since_us.saturating_add(most_us) <= now_us;
        let is_stalled = is_short && !self.is_link && self.inbox.is_large() && is_over(self.grown_us, STALLED_FRAME_US);
        // While it is not read, it is not the peer that is late.
        let is_awaited = !self.paused && !self.is_starved;
        is_awaited
            && (is_stalled || self.partial_since_us.is_some_and(|since| is_over(since, PARTIAL_FRAME_TIMEOUT_US)))
    }

    /// Reads once into `room`. A short read means that the socket is drained, as edge-triggered polling requires.
    ///
    /// # Errors
    /// Returns the socket's error, but never `WouldBlock`.
    pub fn read(&mut self, os: &mut impl Os<K>, room: &mut [u8]) -> io::Result<Got> {
        match os.read(&mut self.socket, room) {
            Ok(0) => Ok(Got::End),
            Ok(count) if count == room.len() || self.stream >= Stream::Ending => Ok(Got::More(count)),
            Ok(count) => Ok(Got::Drained(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Got::Drained(0)),
            Err(error) => Err(error),
        }
    }

    /// Returns how long a connection that the node has closed may linger without taking bytes, in microseconds. A peer
    /// that has closed its sending side and takes its answers slowly gets as long as a silent client: half-close is no
    /// reason to lose answers. When the process ends, a peer that has taken everything gets only a short time.
    pub const fn linger_us(&self, is_draining: bool) -> u64 {
        match (self.outbox.is_empty(), is_draining) {
            (false, _) if self.has_ended() => 2 * CLIENT_KEEPALIVE_US,
            (true, true) => DRAIN_LINGER_US,
            (true, false) | (false, _) => LINGER_US,
        }
    }

    /// Writes until the queue is empty, the socket takes no more, or about `most` bytes are written. Returns true if
    /// the socket may take more.
    ///
    /// # Errors
    /// Returns the socket's error, but never `WouldBlock`.
    pub fn write(&mut self, os: &mut impl Os<K>, spares: &mut Spares, most: usize) -> io::Result<bool> {
        let least = self.outbox.len().saturating_sub(most);
        while !self.outbox.is_empty() {
            match self.outbox.write_to(spares, |slices| os.write(&mut self.socket, slices)) {
                Ok(true) if self.outbox.len() <= least && !self.outbox.is_empty() => return Ok(true),
                Ok(true) => {}
                // The poll reports when the socket is writable again.
                Ok(false) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if let State::Closing { is_shut, .. } = &mut self.state
            && self.outbox.is_empty()
            && !*is_shut
        {
            *is_shut = true;
            os.shut(&mut self.socket)?;
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::driver::outbox::Order;
    use crate::driver::tests::{FakeOs, Socket};
    use crate::limits::{FRAME_MAX, OWN_BUFFER_MIN};
    use crate::types::RequestId;
    use crate::wire::{Flags, Head};

    fn conn() -> Conn<Socket> {
        Conn::new(ConnId { slot: 0, generation: 1 }, Socket::default(), State::Open)
    }

    /// Returns a connection of a client that has sent the start of a frame with this many bytes of payload.
    fn with_partial_frame(payload_len: usize) -> Conn<Socket> {
        let mut conn = conn();
        let mut start = Vec::new();
        let head = Head { opcode: 0, flags: Flags::default(), status: 0, request_id: RequestId(1) };
        head.seal(None, (payload_len, 0), &mut start, |_| {});
        conn.inbox.keep(&start, FRAME_MAX, false);
        conn.note_partial(true, false, 0);
        conn
    }

    #[test]
    fn a_write_stops_when_it_has_written_enough_and_goes_on_later() {
        let (mut conn, os) = (conn(), &mut FakeOs::default());
        let spares = &mut Spares::default();
        let parts = [Bytes::from(vec![7; OWN_BUFFER_MIN])];
        (0..100).for_each(|_| conn.outbox.append_frame(spares, Order::Kept, |_| &parts));
        let len = 100 * OWN_BUFFER_MIN;
        assert!(conn.write(os, spares, 1).unwrap(), "the socket would take more");
        assert!((1..len).contains(&conn.outbox.len()), "{} bytes are left", conn.outbox.len());
        assert!(!conn.write(os, spares, usize::MAX).unwrap() && conn.outbox.is_empty());
    }

    #[test]
    fn a_frame_must_be_complete_in_time_and_a_large_one_make_progress_while_memory_is_short() {
        let (stalled_us, late_us) = (STALLED_FRAME_US, PARTIAL_FRAME_TIMEOUT_US);
        // Bytes of payload, whether memory is short, and when the frame is late.
        let cases = [
            (OWN_BUFFER_MIN, true, stalled_us),
            (OWN_BUFFER_MIN, false, late_us),
            (100, true, late_us),
            (100, false, late_us),
        ];
        for (payload_len, is_short, at_us) in cases {
            let mut conn = with_partial_frame(payload_len);
            let is_late = |conn: &Conn<Socket>, now_us| conn.is_late(is_short, now_us);
            assert_eq!((is_late(&conn, at_us - 1), is_late(&conn, at_us)), (false, true), "{payload_len} {is_short}");
            // It is not the peer that is late.
            conn.paused = true;
            assert!(!is_late(&conn, late_us));
            (conn.paused, conn.is_starved) = (false, true);
            assert!(!is_late(&conn, late_us));
            conn.is_starved = false;
            // It has grown just before.
            conn.grown_us = at_us - 1;
            assert_eq!(is_late(&conn, at_us), at_us == late_us, "progress is not completion");
            conn.is_link = true;
            conn.grown_us = 0;
            assert_eq!(is_late(&conn, at_us), at_us == late_us, "a link is not hurried");
        }
    }
}
