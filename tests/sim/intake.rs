//! The input of a simulated node: bytes from its connections are split into frames and handled.

use bytes::Bytes;
use dht_node::limits::OWN_BUFFER_MIN;
use dht_node::node::Event;
use dht_node::types::{ConnId, Dimension, Now};
use dht_node::wire::{Frame, FrameError, Header, Raw};

use crate::conns::State;
use crate::host::{Around, Host};
use crate::wire::{Got, Place};

impl Host {
    /// Reads from a connection within the fairness budget, and handles its frames.
    pub(crate) fn read(&mut self, now: Now, id: ConnId, around: &mut Around<'_>) {
        let Some(conn) = self.turn.conns.get_mut(id) else { return };
        if conn.state == State::Open && conn.paused {
            return;
        }
        let mut is_fresh = false;
        loop {
            match around.network.read(conn.end) {
                Got::Nothing => break,
                Got::Bytes(_) if conn.state != State::Open => {}
                Got::Bytes(part) => {
                    around.trace.mix(around.now_us, self.index, &part);
                    is_fresh = true;
                    conn.inbox.extend_from_slice(&part);
                }
                Got::End => conn.ended = true,
                Got::Broken => return self.drop_conn(now, id, around),
            }
        }
        if conn.state != State::Open {
            return;
        }
        let has_frames_left = self.hand_in(now, id, is_fresh, around);
        let Some(conn) = self.turn.conns.get_mut(id).filter(|conn| conn.state == State::Open) else { return };
        let wants_turn = has_frames_left && !conn.paused;
        if conn.ended && !has_frames_left {
            self.handle(now, Event::Ended { conn: id });
        } else if wants_turn {
            self.turn.conns.mark_ready(id);
        }
    }

    /// Handles the frames at the start of the inbox. Returns whether whole frames may be left.
    fn hand_in(&mut self, now: Now, id: ConnId, is_fresh: bool, around: &mut Around<'_>) -> bool {
        let Some(conn) = self.turn.conns.get_mut(id) else { return false };
        let (bytes, end) = (std::mem::take(&mut conn.inbox), conn.end);
        let places = (Place::Node(self.index), around.network.place(end.other()));
        let (mut at, mut taken) = (0, 0);
        let has_frames_left = loop {
            let Some(conn) = self.turn.conns.get_mut(id).filter(|conn| conn.state == State::Open) else { return false };
            if taken == self.frames_per_turn || conn.paused {
                break at < bytes.len();
            }
            match next_frame(&bytes[at..], conn.frame_max, self.dimension) {
                Ok(Some(frame)) => {
                    around.trace.frame(around.now_us, places, &frame.header);
                    self.turn.conns.note_asked(id, &frame);
                    at += frame.len();
                    self.handle(now, Event::Frame { conn: id, frame: &frame });
                }
                Ok(None) => break false,
                Err(error) => {
                    self.handle(now, Event::Broken { conn: id, error });
                    return false;
                }
            }
            taken += 1;
        };
        if let Some(conn) = self.turn.conns.get_mut(id).filter(|conn| conn.state == State::Open) {
            conn.inbox = if at == 0 { bytes } else { bytes[at..].to_vec() };
            let is_partial = !conn.inbox.is_empty() && !has_frames_left;
            let since_us = conn.partial_since_us.filter(|_| taken == 0).unwrap_or(now.monotonic_us);
            conn.partial_since_us = is_partial.then_some(since_us);
            if taken == 0 && is_fresh {
                self.handle(now, Event::Heard { conn: id });
            }
        }
        has_frames_left
    }
}

/// Returns the frame at the start of `bytes`; a large one has a buffer of its own, as in `driver/inbox.rs`.
pub(crate) fn next_frame(bytes: &[u8], frame_max: u32, dimension: Dimension) -> Result<Option<Frame<'_>>, FrameError> {
    let Some(header) = Header::parse(bytes, frame_max)? else { return Ok(None) };
    let Some(raw) = bytes.get(..header.frame_len()) else { return Ok(None) };
    let is_large = raw.len() >= OWN_BUFFER_MIN;
    let raw = if is_large { Raw::Shared(Bytes::copy_from_slice(raw)) } else { Raw::Borrowed(raw) };
    Frame::parse(header, raw, dimension).map(Some)
}
