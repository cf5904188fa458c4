//! The bytes of a connection: what has arrived and what is to be sent.
//!
//! The owner of the socket reads into [`Buffers::room`], writes from [`Buffers::output`], and reports how many bytes
//! were moved, or that the connection has ended.

use std::io::{self, ErrorKind};
use std::time::Instant;

use crate::session::tap::{Direction, Tap};

/// Minimum free space for a read, in bytes.
const READ_BYTES: usize = 16 << 10;

/// Maximum unread input in bytes. A correct node stays below it: it stops at 8 MiB of responses to a client's requests.
const INPUT_MAX: usize = 64 << 20;

/// Input, output, and how the connection ended.
#[derive(Debug)]
pub(crate) struct Buffers {
    /// The unread bytes are `input[start..end]`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// The unsent bytes are `output[sent..]`.
    output: Vec<u8>,
    sent: usize,
    /// The time of the peer's last sign of life: bytes arrived, or it took output that had to wait.
    heard: Instant,
    /// Why nothing can be sent any more. Input that the peer has sent can still be read.
    broken: Option<io::Error>,
    /// Why nothing arrives any more; `None` while something may.
    ended: Option<io::Error>,
    tap: Option<Tap>,
}

impl Buffers {
    /// Returns the buffers of a new connection. With `has_tap`, all frames are copied for [`Self::tapped`].
    pub(crate) fn new(has_tap: bool, now: Instant) -> Self {
        Self {
            input: Vec::new(),
            start: 0,
            end: 0,
            output: Vec::new(),
            sent: 0,
            heard: now,
            broken: None,
            ended: None,
            tap: has_tap.then(Tap::default),
        }
    }

    // --- for the owner of the socket ---

    /// Returns where to read bytes to: at least 16 KiB.
    ///
    /// # Errors
    /// Returns an error if the peer has sent far more than it may. The caller must then end the connection with that
    /// error.
    pub(crate) fn room(&mut self) -> io::Result<&mut [u8]> {
        if self.input.len() - self.end < READ_BYTES {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end > INPUT_MAX {
                return Err(io::Error::new(ErrorKind::InvalidData, "it sent more than was requested"));
            }
            if self.input.len() - self.end < READ_BYTES {
                self.input.resize((self.end * 2).max(2 * READ_BYTES), 0);
            }
        }
        Ok(&mut self.input[self.end..])
    }

    /// Records that `count` bytes were read into [`Self::room`].
    pub(crate) fn on_read(&mut self, count: usize, now: Instant) {
        self.end += count;
        assert!(self.end <= self.input.len(), "no more was read than there was room for");
        self.heard = now;
    }

    /// Returns the bytes to be sent.
    pub(crate) fn output(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// Records that the first `count` bytes of [`Self::output`] were sent. `has_waited` is true if the socket did not
    /// take them at first: then the peer has made room for them, which is a sign of life.
    pub(crate) fn on_written(&mut self, count: usize, has_waited: bool, now: Instant) {
        self.sent += count;
        assert!(self.sent <= self.output.len(), "no more was sent than there was");
        if has_waited {
            self.heard = now;
        }
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
        }
    }

    /// Records that nothing can be sent any more. The peer may have sent the reason, so its bytes are still read.
    pub(crate) fn on_write_failed(&mut self, error: io::Error) {
        self.broken = Some(error);
        self.output.clear();
        self.sent = 0;
    }

    /// Records that nothing arrives any more. `None` is the regular end of the stream.
    pub(crate) fn on_ended(&mut self, error: Option<io::Error>) {
        let error = error.or_else(|| self.broken.take());
        self.ended = Some(error.unwrap_or_else(|| ErrorKind::UnexpectedEof.into()));
    }

    /// Returns true once nothing arrives any more.
    pub(crate) const fn is_ended(&self) -> bool {
        self.ended.is_some()
    }

    // --- for the protocol ---

    /// Returns the time of the peer's last sign of life. Output that the operating system accepts at once does not
    /// count.
    pub(crate) const fn heard(&self) -> Instant {
        self.heard
    }

    /// Returns the unread input.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    /// Consumes the frame of `count` bytes at the start of the input, which is copied for the tap.
    pub(crate) fn consume(&mut self, count: usize) {
        if let Some(tap) = &mut self.tap {
            tap.add(Direction::Received, &self.input[self.start..self.start + count]);
        }
        self.start += count;
        assert!(self.start <= self.end, "only received bytes are consumed");
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Appends a frame to the output.
    pub(crate) fn send(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let start = self.output.len();
        encode(&mut self.output);
        if let Some(tap) = &mut self.tap {
            tap.add(Direction::Sent, &self.output[start..]);
        }
        if self.broken.is_some() {
            self.output.clear();
        }
    }

    /// Takes the reason why the connection ended. Further calls return an error of the same kind.
    pub(crate) fn take_end(&mut self) -> Option<io::Error> {
        let again = self.ended.as_ref()?.kind().into();
        self.ended.replace(again)
    }

    /// Returns the frames in both directions since the last call; none without a tap.
    pub(crate) fn tapped(&mut self) -> Vec<(Direction, Vec<u8>)> {
        self.tap.as_mut().map(Tap::take).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;

    fn read(buffers: &mut Buffers, bytes: &[u8]) {
        buffers.room().unwrap()[..bytes.len()].copy_from_slice(bytes);
        buffers.on_read(bytes.len(), now());
    }

    #[test]
    fn bytes_pass_in_pieces_in_both_directions() {
        let mut buffers = Buffers::new(true, now());
        buffers.send(|out| out.extend(b"abcdef"));
        buffers.on_written(4, false, now());
        assert_eq!(buffers.output(), b"ef");
        buffers.send(|out| out.extend(b"gh"));
        assert_eq!(buffers.output(), b"efgh");
        buffers.on_written(4, false, now());
        assert_eq!(buffers.output(), b"");
        read(&mut buffers, b"12");
        read(&mut buffers, b"345");
        buffers.consume(3);
        assert_eq!(buffers.input(), b"45");
        let frames = [(Direction::Sent, b"abcdef".as_slice()), (Direction::Sent, b"gh"), (Direction::Received, b"123")];
        assert_eq!(buffers.tapped(), frames.map(|(direction, bytes)| (direction, bytes.to_vec())));
    }

    #[test]
    fn the_input_is_bounded_and_its_room_is_reused() {
        let mut buffers = Buffers::new(false, now());
        let mut held = 0;
        while let Ok(room) = buffers.room() {
            assert!(room.len() >= READ_BYTES);
            let count = room.len();
            buffers.on_read(count, now());
            held += count;
        }
        assert!((INPUT_MAX..4 * INPUT_MAX).contains(&held), "{held}");
        buffers.consume(held - 5);
        assert!(buffers.room().unwrap().len() > INPUT_MAX && buffers.input().len() == 5);
    }

    #[test]
    fn only_output_that_had_to_wait_is_a_sign_of_life() {
        let start = now();
        let later = start + std::time::Duration::from_secs(1);
        let mut buffers = Buffers::new(false, start);
        buffers.send(|out| out.extend(b"ab"));
        buffers.on_written(1, false, later);
        assert_eq!(buffers.heard(), start);
        buffers.on_written(1, true, later);
        assert_eq!(buffers.heard(), later);
    }

    #[test]
    fn the_error_of_a_write_is_the_reason_of_the_end_unless_the_system_has_another_one() {
        let kinds = |written: Option<ErrorKind>, read: Option<ErrorKind>| {
            let mut buffers = Buffers::new(false, now());
            if let Some(kind) = written {
                buffers.on_write_failed(kind.into());
                buffers.send(|out| out.extend(b"lost"));
                assert_eq!(buffers.output(), b"");
            }
            assert!(buffers.take_end().is_none() && !buffers.is_ended());
            buffers.on_ended(read.map(ErrorKind::into));
            [buffers.take_end(), buffers.take_end()].map(|error| error.unwrap().kind())
        };
        for (written, read, reason) in [
            (None, None, ErrorKind::UnexpectedEof),
            (Some(ErrorKind::BrokenPipe), None, ErrorKind::BrokenPipe),
            (Some(ErrorKind::BrokenPipe), Some(ErrorKind::ConnectionReset), ErrorKind::ConnectionReset),
            (None, Some(ErrorKind::ConnectionReset), ErrorKind::ConnectionReset),
        ] {
            assert_eq!(kinds(written, read), [reason, reason]);
        }
    }
}
