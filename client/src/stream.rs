//! A buffered socket that cannot deadlock with a peer that stops reading.
//!
//! A node suspends reads from a client that has too many outstanding responses. If that client blocked in a write while
//! responses are waiting to be read, it would wait for ever. A write therefore blocks only for [`WRITE_SLICE`]; the
//! client then reads what has arrived and tries the write again.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::clock::{Deadline, now};

/// How long a write blocks before input is read.
const WRITE_SLICE: Duration = Duration::from_millis(10);

/// Minimum size of the buffer for a read, in bytes.
const READ_BYTES: usize = 16 << 10;

/// Maximum unread input in bytes. A correct node stays below it: it stops at 8 MiB of responses to a client's requests.
const INPUT_MAX: usize = 64 << 20;

/// A read timeout at least this long is set to half of the remaining time, so that most reads need not set it again.
const EXACT_BELOW: Duration = Duration::from_millis(20);

/// The socket and its buffers.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: TcpStream,
    /// The unread bytes are `input[start..end]`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// The unsent bytes are `output[sent..]`.
    output: Vec<u8>,
    sent: usize,
    read_timeout: Option<Duration>,
    /// The time of the peer's last sign of life: bytes arrived, or it made room for output that had to wait.
    heard: Instant,
    /// Why nothing can be written any more. Input that the peer has sent can still be read.
    broken: Option<io::Error>,
}

/// The result of waiting for input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// There is more input.
    Some,
    /// Nothing arrived by the deadline.
    Nothing,
}

impl Stream {
    /// Connects to an address.
    pub(crate) fn connect(address: &SocketAddr, deadline: Deadline) -> io::Result<Self> {
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

    /// Returns the time of the peer's last sign of life. Output that the operating system accepts at once is no such
    /// sign.
    pub(crate) const fn heard(&self) -> Instant {
        self.heard
    }

    /// Returns the unconsumed input.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    /// Consumes the first `count` bytes of the input.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        assert!(self.start <= self.end, "nothing is consumed that did not come");
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Returns the buffer to append output to.
    pub(crate) const fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Writes all output, and reads input meanwhile. Returns `false` if the deadline passed first.
    ///
    /// If the connection accepts no more output, the next [`Self::fill`] reports that, after the remaining input.
    pub(crate) fn flush(&mut self, deadline: Deadline) -> io::Result<bool> {
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
    /// Returns an error if the connection has ended and all its input has been read.
    pub(crate) fn fill(&mut self, deadline: Deadline) -> io::Result<Filled> {
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

    /// Reads what has arrived, without waiting.
    pub(crate) fn fill_now(&mut self) -> io::Result<Filled> {
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

    /// Makes room for [`READ_BYTES`] after the input.
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
