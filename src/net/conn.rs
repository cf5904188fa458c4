//! One socket with its two buffers and what is known of its state.

use std::io::{self, Read};
use std::net::Shutdown;

use mio::net::TcpStream;

use super::inbox::Inbox;
use super::outbox::{Outbox, Spares};
use crate::limits::{CLIENT_KEEPALIVE_US, DRAIN_LINGER_US, FRAME_BEFORE_HELLO_MAX, LINGER_US};
use crate::types::{ConnId, NodeId};

/// A connection of the server.
#[derive(Debug)]
pub(super) struct Conn {
    /// What the node calls it.
    pub id: ConnId,
    /// The socket.
    pub socket: TcpStream,
    /// What came and is no whole frame yet.
    pub inbox: Inbox,
    /// What is to be sent.
    pub outbox: Outbox,
    /// Most bytes of a whole frame.
    pub frame_max: u32,
    /// Unsent bytes beyond which the node is told.
    pub queue_mark: usize,
    /// How it stands.
    pub state: State,
    /// The node does not want its frames now.
    pub paused: bool,
    /// The node was told that the queue passed its mark.
    pub filled: bool,
    /// It waits in the list of those to be read.
    pub is_ready: bool,
    /// It waits in the list of those to be written.
    pub is_dirty: bool,
    /// The poll said that the peer sends nothing more: read until that is reached.
    pub read_closed: bool,
    /// The end of the stream was read.
    pub ended: bool,
    /// When the frame began that has not ended, monotonic microseconds.
    pub partial_since_us: Option<u64>,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Being connected, for that neighbour.
    Dialing(NodeId),
    /// Carrying frames.
    Open,
    /// The node is done with it: what is queued goes out, then it ends at the latest at that time.
    Closing {
        /// Monotonic microseconds.
        deadline_us: u64,
        /// We have said that nothing more comes.
        is_shut: bool,
    },
}

/// What a read gave.
pub(super) enum Got {
    /// That many bytes, and there may be more.
    More(usize),
    /// That many bytes, and no more for now.
    Drained(usize),
    /// The peer sends nothing more.
    End,
}

impl Conn {
    pub(super) fn new(id: ConnId, socket: TcpStream, state: State) -> Self {
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
            is_ready: false,
            is_dirty: false,
            read_closed: false,
            ended: false,
            partial_since_us: None,
        }
    }

    /// Are its frames wanted now?
    pub(super) const fn is_wanted(&self) -> bool {
        matches!(self.state, State::Open) && !self.paused
    }

    /// Takes note of whether a frame has begun and not ended, and whether one ended just now.
    pub(super) const fn note_partial(&mut self, is_partial: bool, has_ended_one: bool, now_us: u64) {
        if !is_partial {
            self.partial_since_us = None;
        } else if has_ended_one || self.partial_since_us.is_none() {
            self.partial_since_us = Some(now_us);
        }
    }

    /// Reads once into `room`. A read of less than that has drained the socket, as the poll counts it.
    ///
    /// # Errors
    /// As the socket's; never `WouldBlock` or `Interrupted`.
    pub(super) fn read(&mut self, room: &mut [u8]) -> io::Result<Got> {
        loop {
            return match self.socket.read(room) {
                Ok(0) => Ok(Got::End),
                Ok(count) if count == room.len() || self.read_closed => Ok(Got::More(count)),
                Ok(count) => Ok(Got::Drained(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Got::Drained(0)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }

    /// Returns how long a connection that the node has closed may linger without taking bytes, in microseconds. A peer
    /// that has closed its sending side and takes its answers slowly gets as long as a silent client: half-close is no
    /// reason to lose answers. When the process ends, a peer that has taken everything gets only a short time.
    pub(super) const fn linger_us(&self, is_draining: bool) -> u64 {
        match (self.outbox.is_empty(), is_draining) {
            (false, _) if self.ended => 2 * CLIENT_KEEPALIVE_US,
            (true, true) => DRAIN_LINGER_US,
            (true, false) | (false, _) => LINGER_US,
        }
    }

    /// Writes what the socket takes.
    ///
    /// # Errors
    /// As the socket's; never `WouldBlock` or `Interrupted`.
    pub(super) fn write(&mut self, spares: &mut Spares) -> io::Result<()> {
        while !self.outbox.is_empty() {
            match self.outbox.write_to(&mut self.socket, spares) {
                Ok(true) => {}
                // The poll tells when there is room again.
                Ok(false) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if let State::Closing { is_shut, .. } = &mut self.state
            && self.outbox.is_empty()
            && !*is_shut
        {
            *is_shut = true;
            self.socket.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }
}
