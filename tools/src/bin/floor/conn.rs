//! One connection of a bare server: bytes in, frames out, one write a turn.

use std::io::{self, IoSlice, Read, Write};

use mio::net::TcpStream;

use crate::error::Error;
use crate::frames;

/// Copying this much costs less than a second part of a write.
const COPIED_MAX: usize = 4 << 10;

/// A connection with the bytes that wait on either side of it.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: TcpStream,
    /// The start of a frame whose end has not come.
    partial: Vec<u8>,
    /// Frames to be written at the end of the turn.
    pub(crate) out: Vec<u8>,
    /// Is it on the list of those to be written?
    pub(crate) listed: bool,
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// That many bytes are in the buffer; there may be more.
    More(usize),
    /// That many bytes are in the buffer; there are no more now.
    Last(usize),
    /// The other side has closed.
    End,
}

impl Conn {
    /// Over a connected, registered stream.
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self { stream, partial: Vec::new(), out: Vec::new(), listed: false }
    }

    /// Fills `buffer`: first with what the last call left over, then from the socket.
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

    /// Writes what waits, as far as the socket takes it.
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

    /// Writes what waits and `payload` behind it, as far as the socket takes it.
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

/// Gives each whole frame of `input` to `take`; how many bytes they have.
pub(crate) fn each_frame(input: &[u8], mut take: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<usize, Error> {
    let mut at = 0;
    while let Some(frame) = frames::first(&input[at..])? {
        take(frame)?;
        at += frame.len();
    }
    Ok(at)
}
