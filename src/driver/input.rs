//! Reads from the connections that may have input, each within its share of the turn's work, and passes their frames to
//! the turn.

use std::io;

use super::conn::{Got, State, Stream};
use super::inbox::Frames;
use super::{Driver, Os, Tabled};
use crate::limits::{READ_BUDGET, READ_LEAST, READ_PER_UNIT, READ_WORK, TURN_INPUT_US};
use crate::node::Event;
use crate::turn::Store;
use crate::types::{ConnId, Now};
use crate::wire::{Frame, Opcode};

/// The result of handling received bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    /// Number of frames that were handled.
    frames: usize,
    /// Their total size in bytes.
    bytes: usize,
    /// True if the bytes after them may contain whole frames.
    has_left: bool,
    /// True if the connection is still open.
    is_open: bool,
}

impl<C: Tabled, S: Store> Driver<C, S> {
    /// Reads from the connections that are ready until the turn's work is done, or its time is over. Returns the time
    /// of the last read.
    ///
    /// Frames are handled at the time when their bytes had been read: a process that is stopped between the poll and
    /// the read must not take a request for one from before the stop.
    pub fn read_ready(&mut self, os: &mut impl Os<C::Socket>, mut now: Now) -> Now {
        // Work from the end of the last turn has limits of its own, and is not charged to any connection.
        self.turn.take_work();
        self.conns().take_queued_work();
        self.conns().ready.begin();
        let end_us = now.after_us(TURN_INPUT_US);
        while let Some((id, allowed)) = self.conns().ready.next() {
            let Some(conn) = self.conns().get_mut(id) else { continue };
            let result = match conn.state {
                State::Open if conn.is_wanted() => self.read_open(os, &mut now, id, allowed),
                State::Closing { .. } => self.read_closing(os, id),
                State::Open | State::Dialing(_) => Ok(false),
            };
            match result {
                Ok(true) => self.conns().mark_ready(id),
                Ok(false) => {}
                Err(error) => self.drop_conn(os, now, id, &error),
            }
            self.conns().recount(id);
            let written = self.conns().take_queued_work();
            let work = self.turn.take_work().saturating_add(written).saturating_add(READ_WORK);
            self.conns().ready.spend(id, work);
            if !self.conns().ready.is_empty() && os.monotonic_us() >= end_us {
                break;
            }
        }
        self.conns().feed();
        let waiting = self.conns().intake.used();
        self.turn.note_input(waiting);
        now
    }

    /// Handles the frames that an earlier turn has left in the inbox, or, if there are none, reads once. Returns true
    /// if there may be more.
    fn read_open(&mut self, os: &mut impl Os<C::Socket>, now: &mut Now, id: ConnId, allowed: u64) -> io::Result<bool> {
        let Some(conn) = self.conns().get_mut(id) else { return Ok(false) };
        if conn.is_starved {
            return conn.failure.map_or(Ok(false), |failure| Err(failure.into()));
        }
        if conn.inbox.is_large() {
            return self.read_large(os, now, id);
        }
        let (taken, got) = match conn.inbox.take_frames() {
            Some(left) => (self.take_left(*now, id, left, allowed), Got::More(0)),
            None => self.take_fresh(os, now, id, allowed)?,
        };
        let Some(conn) = self.conns().get_mut(id).filter(|_| taken.is_open) else { return Ok(false) };
        if !taken.has_left && !matches!(got, Got::More(_)) {
            if let Some(failure) = conn.failure {
                return Err(failure.into());
            }
            if conn.has_ended() {
                self.turn.handle(*now, Event::Ended { conn: id });
                return Ok(false);
            }
        }
        Ok((matches!(got, Got::More(_)) || taken.has_left) && conn.is_wanted())
    }

    /// Handles frames that an earlier turn has left in the inbox, and puts back what is still not handled.
    fn take_left(&mut self, now: Now, id: ConnId, (bytes, handled): (Vec<u8>, usize), allowed: u64) -> Taken {
        let taken = self.take_frames(now, id, &bytes[handled..], allowed);
        if let Some(conn) = self.conns().get_mut(id).filter(|_| taken.is_open) {
            let handled = handled + taken.bytes;
            if taken.has_left {
                conn.inbox.put_frames(bytes, handled);
            } else {
                let frame_max = conn.frame_max;
                conn.inbox.keep(&bytes[handled..], frame_max, false);
            }
        }
        taken
    }

    /// Reads once from a connection, handles the frames, and keeps the rest. Sets `now` to the time after the read.
    fn take_fresh(
        &mut self,
        os: &mut impl Os<C::Socket>,
        now: &mut Now,
        id: ConnId,
        allowed: u64,
    ) -> io::Result<(Taken, Got)> {
        let most = self.conns().intake.read_max(READ_BUDGET);
        let Some(conn) = self.turn.conns.table_mut().get_mut(id) else { return Ok((Taken::default(), Got::End)) };
        let kept = conn.inbox.take_rest();
        self.scratch[..kept.len()].copy_from_slice(&kept);
        let read_max = if conn.is_link { conn.read_max } else { most.min(conn.read_max) };
        let room = self.scratch.len().min(kept.len() + read_max);
        let got = if conn.has_ended() { Got::Drained(0) } else { conn.read(os, &mut self.scratch[kept.len()..room])? };
        *now = os.now();
        let count = match got {
            Got::More(count) | Got::Drained(count) => count,
            Got::End => 0,
        };
        if matches!(got, Got::End) {
            conn.stream = Stream::Ended;
        }
        let filled = kept.len() + count;
        let scratch = std::mem::take(&mut self.scratch);
        let taken = self.take_frames(*now, id, &scratch[..filled], allowed);
        if let Some(conn) = self.conns().get_mut(id).filter(|_| taken.is_open) {
            conn.set_pace(taken.has_left, filled == room);
            let frame_max = conn.frame_max;
            conn.inbox.keep(&scratch[taken.bytes..filled], frame_max, taken.has_left);
            if taken.frames == 0 && count > 0 {
                self.turn.handle(*now, Event::Heard { conn: id });
            }
        }
        self.scratch = scratch;
        Ok((taken, got))
    }

    /// Passes the frames at the start of `bytes` to the turn, until they have caused the allowed work.
    fn take_frames(&mut self, now: Now, id: ConnId, bytes: &[u8], allowed: u64) -> Taken {
        let mut taken = Taken::default();
        let Some(conn) = self.turn.conns.table_mut().get_mut(id) else { return taken };
        let mut frames = Frames::new(bytes, self.dimension, conn.frame_max);
        let mut worked = 0;
        while let Some(conn) = self.conns().get_mut(id).filter(|conn| conn.state == State::Open) {
            if !conn.is_wanted() || worked >= allowed {
                taken.is_open = true;
                taken.has_left = !frames.rest().is_empty();
                break;
            }
            let is_gone = conn.failure.is_some();
            frames.set_frame_max(conn.frame_max);
            match frames.next() {
                Ok(Some(ref frame)) if is_gone && is_only_asked(frame) => self.turn.handle(now, Event::Abandoned),
                Ok(Some(ref frame)) => self.turn.handle(now, Event::Frame { conn: id, frame }),
                Ok(None) => {
                    taken.is_open = true;
                    break;
                }
                Err(error) => {
                    self.turn.handle(now, Event::Broken { conn: id, error });
                    break;
                }
            }
            taken.frames += 1;
            worked = self.turn.node().work().saturating_add(self.conns().queued_work());
        }
        taken.bytes = bytes.len() - frames.rest().len();
        if taken.is_open
            && let Some(conn) = self.conns().get_mut(id)
        {
            conn.note_partial(taken.bytes < bytes.len() && !taken.has_left, taken.frames > 0, now.monotonic_us);
        }
        taken
    }

    /// Continues to read into the buffer of a large frame. Returns true if there may be more. Sets `now` to the time
    /// after the read.
    fn read_large(&mut self, os: &mut impl Os<C::Socket>, now: &mut Now, id: ConnId) -> io::Result<bool> {
        let Some(conn) = self.conns().get_mut(id) else { return Ok(false) };
        let mut buffer = conn.inbox.take_large_buffer();
        let start = buffer.len();
        let grown = start + conn.inbox.large_growth(start);
        let is_new = buffer.capacity() < grown && !conn.is_link;
        let is_admitted = !is_new || self.conns().intake.admits(id, grown);
        let Some(conn) = self.turn.conns.table_mut().get_mut(id) else { return Ok(false) };
        if !is_admitted {
            conn.is_starved = true;
            let put = conn.inbox.put_large_buffer(buffer, self.dimension, conn.frame_max);
            assert!(matches!(put, Ok(None)), "a large frame that is to grow is incomplete");
            return Ok(false);
        }
        buffer.resize(grown, 0);
        let got = conn.read(os, &mut buffer[start..]);
        *now = os.now();
        let now = *now;
        let (count, more) = match got? {
            Got::More(count) => (count, true),
            Got::Drained(count) => (count, false),
            Got::End => {
                conn.stream = Stream::Ended;
                (0, false)
            }
        };
        if !more
            && conn.inbox.large_growth(start + count) > 0
            && let Some(failure) = conn.failure
        {
            return Err(failure.into());
        }
        if conn.has_ended() {
            self.turn.handle(now, Event::Ended { conn: id });
            return Ok(false);
        }
        let is_gone = conn.failure.is_some();
        self.conns().add_work(count as u64 / READ_PER_UNIT);
        let Some(conn) = self.turn.conns.table_mut().get_mut(id) else { return Ok(false) };
        conn.grown_us = if count > 0 { now.monotonic_us } else { conn.grown_us };
        buffer.truncate(start + count);
        match conn.inbox.put_large_buffer(buffer, self.dimension, conn.frame_max) {
            Ok(None) => self.turn.handle(now, Event::Heard { conn: id }),
            Ok(Some(frame)) => {
                conn.note_partial(false, true, now.monotonic_us);
                self.turn.handle(now, Event::Frame { conn: id, frame: &frame });
            }
            Err(error) => self.turn.handle(now, Event::Broken { conn: id, error }),
        }
        Ok(more || is_gone)
    }

    /// Reads and discards the input of a closing connection. Otherwise closing would reset it, and the peer might lose
    /// what was just sent.
    fn read_closing(&mut self, os: &mut impl Os<C::Socket>, id: ConnId) -> io::Result<bool> {
        let Some(conn) = self.turn.conns.table_mut().get_mut(id) else { return Ok(false) };
        // Only a little at a time, because a read of discarded bytes is charged the same whatever its length.
        match conn.read(os, &mut self.scratch[..READ_LEAST])? {
            Got::More(_) => Ok(true),
            Got::Drained(_) => Ok(false),
            Got::End => {
                conn.stream = Stream::Ended;
                let is_over = conn.outbox.is_empty();
                if is_over {
                    self.remove(os, id);
                }
                Ok(false)
            }
        }
    }
}

/// Returns true if a client's request changes nothing: once the client is gone, there is no use in executing it.
fn is_only_asked(frame: &Frame<'_>) -> bool {
    Opcode::from_number(frame.header.opcode).is_some_and(Opcode::only_asks)
}
