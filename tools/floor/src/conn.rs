//! A connection of a bare server: bytes in, frames out, one write per turn.

use std::io::{self, IoSlice, Read, Write};

use mio::net::TcpStream;

use crate::error::Error;
use crate::frames;

/// Copying this much costs less than a second part of a vectored write.
const COPIED_MAX: usize = 4 << 10;

/// A connection with its pending input and output.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: TcpStream,
    /// The start of an incomplete frame.
    partial: Vec<u8>,
    /// Frames to be written at the end of the turn.
    pub(crate) out: Vec<u8>,
    /// True if it is in the list of connections to be written.
    pub(crate) listed: bool,
}

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// This many bytes are in the buffer; there may be more.
    More(usize),
    /// This many bytes are in the buffer; the socket is drained.
    Last(usize),
    /// The other side has closed the connection.
    End,
}

impl Conn {
    /// Creates a connection from a connected, registered stream.
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self { stream, partial: Vec::new(), out: Vec::new(), listed: false }
    }

    /// Fills `buffer`, first with the rest of the last call, then from the socket.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Input, Error> {
        let held = self.partial.len();
        buffer[..held].copy_from_slice(&self.partial);
        if held == buffer.len() {
            return Err(Error::Unsupported);
        }
        loop {
            match self.stream.read(&mut buffer[held..]) {
                Ok(0) => return Ok(Input::End),
                Ok(count) => {
                    self.partial.clear();
                    let filled = held + count;
                    return Ok(if filled == buffer.len() { Input::More(filled) } else { Input::Last(filled) });
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Input::Last(0));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Keeps the start of a frame for the next read.
    pub(crate) fn keep(&mut self, partial: &[u8]) {
        self.partial.extend_from_slice(partial);
    }

    /// Writes as much of the pending output as the socket takes.
    pub(crate) fn write(&mut self) -> Result<(), Error> {
        let mut written = 0;
        while written < self.out.len() {
            match self.stream.write(&self.out[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.out.drain(..written);
        Ok(())
    }

    /// Writes as much of the pending output, followed by `payload`, as the socket takes.
    pub(crate) fn write_with(&mut self, payload: &[u8]) -> Result<(), Error> {
        if payload.len() <= COPIED_MAX {
            self.out.extend_from_slice(payload);
            return self.write();
        }
        let before = self.out.len();
        let written = loop {
            match self.stream.write_vectored(&[IoSlice::new(&self.out), IoSlice::new(payload)]) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break 0,
                Err(error) => return Err(error.into()),
            }
        };
        self.out.drain(..written.min(before));
        self.out.extend_from_slice(&payload[written.saturating_sub(before)..]);
        Ok(())
    }
}

/// Passes each whole frame of `input` to `take`, and returns their total size.
pub(crate) fn each_frame(input: &[u8], mut take: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<usize, Error> {
    let mut at = 0;
    while let Some(frame) = frames::first(&input[at..])? {
        take(frame)?;
        at += frame.len();
    }
    Ok(at)
}
