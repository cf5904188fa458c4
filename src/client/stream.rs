//! A socket with a buffer each way that cannot be deadlocked by a peer which stops reading.
//!
//! A node does not read a client that has too much unanswered. A client that then blocks in writing, with answers
//! waiting to be read, would wait for ever. So a write blocks for [`WRITE_SLICE`] only; then what came is taken into
//! the buffer, and the write is tried again.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::clock::{Deadline, now};

/// How long a write blocks before input is looked at.
const WRITE_SLICE: Duration = Duration::from_millis(10);

/// Bytes that a read asks for at least.
const READ_BYTES: usize = 16 << 10;

/// Most unread input. An honest node stays below: it stops at 8 MiB of answers that a client has asked for.
const INPUT_MAX: usize = 64 << 20;

/// A read timeout at least this long is set to half of what is left, so that most reads need not set it anew.
const EXACT_BELOW: Duration = Duration::from_millis(20);

/// The socket and its buffers.
#[derive(Debug)]
pub(super) struct Stream {
    socket: TcpStream,
    /// The unread bytes are `input[start..end]`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// The unsent bytes are `output[sent..]`.
    output: Vec<u8>,
    sent: usize,
    read_timeout: Option<Duration>,
    /// When the peer last gave a sign of life: bytes came, or it made room for output that had to wait.
    heard: Instant,
    /// Why nothing can be written any more; what the peer still said can be read.
    broken: Option<io::Error>,
}

/// What came of waiting for input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// More input.
    Some,
    /// Nothing until the deadline.
    Nothing,
}

impl Stream {
    /// Connects.
    pub(super) fn connect(address: &SocketAddr, deadline: Deadline) -> io::Result<Self> {
        let socket = match deadline.remaining() {
            None => TcpStream::connect(address)?,
            Some(left) if left.is_zero() => return Err(ErrorKind::TimedOut.into()),
            Some(left) => TcpStream::connect_timeout(address, left)?,
        };
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(WRITE_SLICE))?;
        Ok(Self {
            socket,
            input: Vec::new(),
            start: 0,
            end: 0,
            output: Vec::new(),
            sent: 0,
            read_timeout: None,
            heard: now(),
            broken: None,
        })
    }

    /// When the peer last gave a sign of life. Output that the operating system took at once is none.
    pub(super) const fn heard(&self) -> Instant {
        self.heard
    }

    /// What came and was not consumed.
    pub(super) fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    /// Passes over the first `count` bytes of the input.
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        assert!(self.start <= self.end, "nothing is consumed that did not come");
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Where to append what is to be written.
    pub(super) const fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Writes all output, taking in what comes meanwhile. `false` when the deadline came first.
    ///
    /// A connection that takes nothing more is found out by the next [`Self::fill`], after what the peer still said.
    pub(super) fn flush(&mut self, deadline: Deadline) -> io::Result<bool> {
        let mut has_waited = false;
        while self.sent < self.output.len() && self.broken.is_none() {
            match self.socket.write(&self.output[self.sent..]) {
                Ok(0) => self.broken = Some(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.sent += count;
                    if std::mem::take(&mut has_waited) {
                        self.heard = now();
                    }
                }
                Err(error) if is_wait(&error) => {
                    has_waited = true;
                    if self.fill_now()? == Filled::Nothing && deadline.is_over() {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.broken = Some(error),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(true)
    }

    /// Waits for input.
    ///
    /// # Errors
    /// The connection has ended, and everything the peer said has been read.
    pub(super) fn fill(&mut self, deadline: Deadline) -> io::Result<Filled> {
        loop {
            let left = deadline.remaining();
            if left.is_some_and(|left| left.is_zero()) {
                return self.fill_now();
            }
            self.wait_at_most(left)?;
            match self.read() {
                Err(error) if is_wait(&error) => {}
                other => return other,
            }
        }
    }

    /// Takes what has come without waiting.
    pub(super) fn fill_now(&mut self) -> io::Result<Filled> {
        self.socket.set_nonblocking(true)?;
        let filled = self.read();
        self.socket.set_nonblocking(false)?;
        match filled {
            Err(error) if is_wait(&error) => Ok(Filled::Nothing),
            other => other,
        }
    }

    fn read(&mut self) -> io::Result<Filled> {
        self.make_room()?;
        loop {
            match self.socket.read(&mut self.input[self.end..]) {
                Ok(0) => return Err(self.broken.take().unwrap_or_else(|| ErrorKind::UnexpectedEof.into())),
                Ok(count) => {
                    self.end += count;
                    self.heard = now();
                    return Ok(Filled::Some);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Leaves room for [`READ_BYTES`] behind the input.
    fn make_room(&mut self) -> io::Result<()> {
        if self.input.len() - self.end >= READ_BYTES {
            return Ok(());
        }
        self.input.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end > INPUT_MAX {
            return Err(io::Error::new(ErrorKind::InvalidData, "more answers than were asked for"));
        }
        if self.input.len() - self.end < READ_BYTES {
            self.input.resize((self.end * 2).max(2 * READ_BYTES), 0);
        }
        Ok(())
    }

    fn wait_at_most(&mut self, left: Option<Duration>) -> io::Result<()> {
        let fits = match (self.read_timeout, left) {
            (None, None) => true,
            (Some(set), Some(left)) => set <= left && (set * 4 >= left || left < EXACT_BELOW),
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !fits {
            let timeout =
                left.map(|left| if left < EXACT_BELOW { left.max(Duration::from_micros(1)) } else { left / 2 });
            self.socket.set_read_timeout(timeout)?;
            self.read_timeout = timeout;
        }
        Ok(())
    }
}

fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
