//! A socket that moves the bytes of [`Buffers`] and cannot deadlock with a peer that stops reading.
//!
//! A node suspends reads from a client that has too many outstanding responses. If that client blocked in a write while
//! responses are waiting to be read, it would wait for ever. A write therefore blocks only for [`WRITE_SLICE`]; the
//! client then reads what has arrived and tries the write again.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::address::Address;
use crate::clock::now;
use crate::session::buffers::Buffers;
use crate::session::deadline::Deadline;

/// How long a write blocks before input is read.
const WRITE_SLICE: Duration = Duration::from_millis(10);

/// A read timeout at least this long is set to half of the remaining time, so that most reads need not set it again.
const EXACT_BELOW: Duration = Duration::from_millis(20);

/// The socket.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: TcpStream,
    read_timeout: Option<Duration>,
}

impl Stream {
    /// Connects to an address; a name may have several, which are tried in turn.
    pub(crate) fn connect(address: &Address, deadline: Deadline) -> io::Result<Self> {
        let mut refused = None;
        for resolved in address.resolve()? {
            match Self::connect_to(&resolved, deadline) {
                Ok(stream) => return Ok(stream),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or_else(|| ErrorKind::NotFound.into()))
    }

    fn connect_to(address: &SocketAddr, deadline: Deadline) -> io::Result<Self> {
        let socket = match deadline.remaining() {
            None => TcpStream::connect(address)?,
            Some(left) if left.is_zero() => return Err(ErrorKind::TimedOut.into()),
            Some(left) => TcpStream::connect_timeout(address, left)?,
        };
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(WRITE_SLICE))?;
        Ok(Self { socket, read_timeout: None })
    }

    /// Writes all output, then waits for input. Returns `false` if the deadline passed before any input arrived or the
    /// connection ended.
    pub(crate) fn exchange(&mut self, bytes: &mut Buffers, deadline: Deadline) -> bool {
        self.flush(bytes, deadline) && self.fill(bytes, deadline)
    }

    /// Writes all output, and reads input meanwhile. Returns `false` if the deadline passed first.
    pub(crate) fn flush(&mut self, bytes: &mut Buffers, deadline: Deadline) -> bool {
        let mut has_waited = false;
        while !bytes.output().is_empty() {
            match self.socket.write(bytes.output()) {
                Ok(0) => bytes.on_write_failed(ErrorKind::WriteZero.into()),
                Ok(count) => bytes.on_written(count, std::mem::take(&mut has_waited), now()),
                Err(error) if is_wait(&error) => {
                    has_waited = true;
                    if !self.fill_now(bytes) && deadline.is_over() {
                        return false;
                    }
                    if bytes.is_ended() {
                        return true;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => bytes.on_write_failed(error),
            }
        }
        true
    }

    /// Waits for input or the end of the connection. Returns `false` if the deadline passed first.
    pub(crate) fn fill(&mut self, bytes: &mut Buffers, deadline: Deadline) -> bool {
        loop {
            let left = deadline.remaining();
            if left.is_some_and(|left| left.is_zero()) {
                return self.fill_now(bytes);
            }
            let read = self.wait_at_most(left).and_then(|()| self.read(bytes));
            if settle(bytes, read) {
                return true;
            }
        }
    }

    /// Reads what has arrived, without waiting. Returns `false` if there was nothing.
    fn fill_now(&mut self, bytes: &mut Buffers) -> bool {
        let read = self.socket.set_nonblocking(true).and_then(|()| self.read(bytes));
        if let Err(error) = self.socket.set_nonblocking(false) {
            bytes.on_ended(Some(error));
            return true;
        }
        settle(bytes, read)
    }

    /// Reads once. Returns the number of bytes, 0 at the end of the stream.
    fn read(&mut self, bytes: &mut Buffers) -> io::Result<usize> {
        loop {
            match self.socket.read(bytes.room()?) {
                Ok(count) => {
                    if count > 0 {
                        bytes.on_read(count, now());
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
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

/// Reports the result of a read. Returns `false` if there was nothing to read.
fn settle(bytes: &mut Buffers, read: io::Result<usize>) -> bool {
    match read {
        Ok(0) => bytes.on_ended(None),
        Ok(_) => {}
        Err(error) if is_wait(&error) => return false,
        Err(error) => bytes.on_ended(Some(error)),
    }
    true
}

fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
