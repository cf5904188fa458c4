//! The network: byte streams between nodes and clients, with delay, small buffers, cuts and resets.
//!
//! A stream behaves like TCP: bytes arrive in order or not at all. Bytes in transit when a link is cut arrive after its
//! repair, if both ends still exist. A write to an end that is gone is answered by a reset.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, Bytes};
use fastrand::Rng;

use crate::profile::{Wires, within};
use crate::wire::{End, Got, Leave, Pipe, Place, State, Wire};
use crate::world::Wake;

/// Largest part of a write that arrives at once.
const PART: usize = 8 << 10;

/// The largest delay at the end of a run.
const NEAR_US: u64 = 10_000;

/// Longest time until a lost segment or connect is sent again.
const RETRY_US: u64 = 400_000;

#[derive(Debug)]
pub(crate) struct Network {
    wires: Vec<Wire>,
    nodes: usize,
    /// The number of cuts of each direction between two nodes.
    cuts: Vec<u8>,
    /// Nodes that are gone and do not even send resets.
    pub is_dark: Vec<bool>,
    pub settings: Wires,
    rng: Rng,
    /// Future events.
    pub later: Vec<(u64, Wake)>,
    /// Ends with pending events.
    pub news: Vec<End>,
}

impl Network {
    pub(crate) fn new(nodes: usize, settings: Wires, rng: Rng) -> Self {
        Self {
            wires: Vec::new(),
            nodes,
            cuts: vec![0; nodes * nodes],
            is_dark: vec![false; nodes],
            settings,
            rng,
            later: Vec::new(),
            news: Vec::new(),
        }
    }

    pub(crate) fn place(&self, end: End) -> Place {
        self.wires[end.wire].places[end.side]
    }

    /// Starts to connect. Success is reported as an event of an end that is then open.
    pub(crate) fn dial(&mut self, now_us: u64, from: Place, to: Place) -> End {
        let end = End { wire: self.wires.len(), side: 0 };
        let latency_us = within(&mut self.rng, self.settings.latency_us);
        self.wires.push(Wire {
            places: [from, to],
            states: [State::Waiting; 2],
            inbound: [Pipe::default(), Pipe::default()],
            latency_us,
        });
        let hangs = self.rng.u8(..100) < self.settings.hang;
        let delay_us = if hangs { self.rng.u64(200_000..3_000_000) } else { latency_us };
        self.later.push((now_us + delay_us, Wake::Knock(end.other())));
        end
    }

    /// Handles the arrival of a connect. Returns whether the process at this end is to be asked to accept it.
    pub(crate) fn knock(&mut self, now_us: u64, end: End) -> bool {
        let (from, to) = (self.place(end.other()), self.place(end));
        if self.state(end.other()) != State::Waiting {
            return false;
        }
        if self.is_cut(from, to) || self.is_cut(to, from) || self.is_dark(to) {
            self.later.push((now_us + RETRY_US, Wake::Knock(end)));
            return false;
        }
        true
    }

    /// Answers a connect.
    pub(crate) fn accept(&mut self, now_us: u64, end: End, accepted: bool) {
        let wire = &mut self.wires[end.wire];
        let at_us = now_us + wire.latency_us;
        if accepted {
            wire.states = [State::Open; 2];
            self.later.push((at_us, Wake::News(end.other())));
        } else {
            self.later.push((at_us, Wake::Break(end.other())));
        }
    }

    pub(crate) fn is_open(&self, end: End) -> bool {
        self.state(end) == State::Open
    }

    /// Returns true if it was reset.
    pub(crate) fn is_broken(&self, end: End) -> bool {
        self.state(end) == State::Broken
    }

    /// Sends as much of a queue as there is room for.
    pub(crate) fn write(&mut self, now_us: u64, end: End, queue: &mut VecDeque<Bytes>) {
        while let Some(part) = queue.front_mut() {
            let sent = self.send(now_us, end, part);
            part.advance(sent);
            if !part.is_empty() {
                break;
            }
            queue.pop_front();
        }
    }

    /// Sends as much as there is room for, and returns the number of bytes.
    pub(crate) fn send(&mut self, now_us: u64, end: End, bytes: &[u8]) -> usize {
        let Self { settings, wires, rng, .. } = self;
        let wire = &mut wires[end.wire];
        let pipe = &mut wire.inbound[end.other().side];
        let mut sent = 0;
        while sent < bytes.len() {
            let (room, left) = (settings.room.saturating_sub(pipe.load), &bytes[sent..]);
            if room == 0 {
                pipe.is_blocked = true;
                break;
            }
            let cut = if rng.u8(..100) < settings.split { rng.usize(1..=left.len()) } else { PART };
            let part = Bytes::copy_from_slice(&left[..cut.min(room).min(left.len())]);
            sent += part.len();
            pipe.load += part.len();
            let jitter_us = rng.u64(0..=wire.latency_us / 4);
            let flight_us = part.len() as u64 * 1_000_000 / settings.bytes_per_second;
            pipe.last_us = pipe.last_us.max(now_us + wire.latency_us + jitter_us) + flight_us;
            pipe.flying.push_back((pipe.last_us, part));
        }
        self.schedule(end.other());
        sent
    }

    /// Closes the sending direction.
    pub(crate) fn shut(&mut self, now_us: u64, end: End) {
        let wire = &mut self.wires[end.wire];
        let pipe = &mut wire.inbound[end.other().side];
        pipe.last_us = pipe.last_us.max(now_us + wire.latency_us);
        pipe.flying.push_back((pipe.last_us, Bytes::new()));
        self.schedule(end.other());
    }

    /// Takes one part of what has arrived.
    pub(crate) fn read(&mut self, end: End) -> Got {
        let state = self.state(end);
        let pipe = &mut self.wires[end.wire].inbound[end.side];
        match pipe.arrived.pop_front() {
            _ if state == State::Broken => Got::Broken,
            None => Got::Nothing,
            Some(part) if part.is_empty() => Got::End,
            Some(part) => {
                pipe.load -= part.len();
                if std::mem::take(&mut pipe.is_blocked) {
                    self.news.push(end.other());
                }
                Got::Bytes(part)
            }
        }
    }

    /// Takes what has arrived, as much as there is room for.
    ///
    /// # Errors
    /// Returns `WouldBlock` if nothing has arrived, or `ConnectionReset`.
    pub(crate) fn read_into(&mut self, end: End, room: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < room.len() {
            match self.read(end) {
                Got::Broken => return Err(io::ErrorKind::ConnectionReset.into()),
                Got::Nothing if filled == 0 => return Err(io::ErrorKind::WouldBlock.into()),
                Got::Nothing => break,
                Got::End => {
                    // It stays, behind what is returned now or for every later read.
                    self.put_back(end, Bytes::new());
                    break;
                }
                Got::Bytes(mut part) => {
                    let taken = part.len().min(room.len() - filled);
                    room[filled..filled + taken].copy_from_slice(&part.split_to(taken));
                    filled += taken;
                    if !part.is_empty() {
                        self.put_back(end, part);
                    }
                }
            }
        }
        Ok(filled)
    }

    fn put_back(&mut self, end: End, part: Bytes) {
        let pipe = &mut self.wires[end.wire].inbound[end.side];
        pipe.load += part.len();
        pipe.arrived.push_front(part);
    }

    /// Returns how many bytes have arrived and are not read.
    pub(crate) fn arrived(&self, end: End) -> usize {
        self.wires[end.wire].inbound[end.side].arrived.iter().map(Bytes::len).sum()
    }

    /// Returns true if the end of the stream has arrived.
    pub(crate) fn has_ended(&self, end: End) -> bool {
        self.wires[end.wire].inbound[end.side].arrived.back().is_some_and(Bytes::is_empty)
    }

    /// Abandons an end.
    pub(crate) fn leave(&mut self, now_us: u64, end: End, how: Leave) {
        let wire = &mut self.wires[end.wire];
        if matches!(wire.states[end.side], State::Gone | State::Vanished) {
            return;
        }
        wire.states[end.side] = if how == Leave::Vanish { State::Vanished } else { State::Gone };
        wire.inbound[end.side].arrived.clear();
        if how == Leave::Reset {
            self.later.push((now_us + wire.latency_us, Wake::Break(end.other())));
        }
    }

    /// Handles the arrival of a reset.
    pub(crate) fn break_end(&mut self, end: End) {
        let (from, to) = (self.place(end.other()), self.place(end));
        let state = &mut self.wires[end.wire].states[end.side];
        if matches!(state, State::Open | State::Waiting) && !self.is_cut(from, to) {
            self.wires[end.wire].states[end.side] = State::Broken;
            self.news.push(end);
        }
    }

    /// Handles the arrival of data.
    pub(crate) fn arrive(&mut self, now_us: u64, end: End) {
        let (from, to) = (self.place(end.other()), self.place(end));
        self.wires[end.wire].inbound[end.side].is_scheduled = false;
        if self.is_cut(from, to) {
            return;
        }
        let (state, is_dark) = (self.state(end), self.is_dark(to));
        let wire = &mut self.wires[end.wire];
        let pipe = &mut wire.inbound[end.side];
        let mut is_refused = false;
        while pipe.flying.front().is_some_and(|(at_us, _)| *at_us <= now_us) {
            let (_, part) = pipe.flying.pop_front().expect("there is a front");
            match state {
                State::Open => pipe.arrived.push_back(part),
                State::Vanished if is_dark => {}
                State::Gone | State::Vanished => is_refused = true,
                State::Waiting | State::Broken => {}
            }
        }
        if is_refused {
            self.later.push((now_us + wire.latency_us, Wake::Break(end.other())));
        }
        self.schedule(end);
        self.news.push(end);
    }

    /// Cuts one direction between two nodes, or repairs one cut of it.
    pub(crate) fn set_cut(&mut self, now_us: u64, (from, to): (usize, usize), cut: bool) {
        let count = &mut self.cuts[from * self.nodes + to];
        *count = if cut { *count + 1 } else { count.saturating_sub(1) };
        if *count > 0 {
            return;
        }
        for wire in 0..self.wires.len() {
            for side in 0..2 {
                let end = End { wire, side };
                let is_it = (self.place(end.other()), self.place(end)) == (Place::Node(from), Place::Node(to));
                let pipe = &mut self.wires[wire].inbound[side];
                if is_it && !pipe.flying.is_empty() && !pipe.is_scheduled {
                    pipe.is_scheduled = true;
                    let wait_us = self.rng.u64(..RETRY_US);
                    self.later.push((now_us + wait_us, Wake::Arrive(end)));
                }
            }
        }
    }

    /// Repairs everything, and enlarges all buffers.
    pub(crate) fn calm(&mut self, now_us: u64) {
        for way in 0..self.cuts.len() {
            self.cuts[way] = self.cuts[way].min(1);
            self.set_cut(now_us, (way / self.nodes, way % self.nodes), false);
        }
        (self.settings.hang, self.settings.bytes_per_second, self.settings.room) = (0, 1 << 30, 256 << 10);
        let near_us = self.settings.latency_us.1.min(NEAR_US);
        self.settings.latency_us = (self.settings.latency_us.0.min(near_us), near_us);
        self.wires.iter_mut().for_each(|wire| wire.latency_us = wire.latency_us.min(near_us));
    }

    pub(crate) fn is_cut_between(&self, from: usize, to: usize) -> bool {
        self.cuts[from * self.nodes + to] > 0
    }

    /// Resets all connections between two nodes.
    pub(crate) fn reset_between(&mut self, a: usize, b: usize) {
        for wire in 0..self.wires.len() {
            let nodes = [Place::Node(a), Place::Node(b)];
            if nodes.contains(&self.wires[wire].places[0]) && nodes.contains(&self.wires[wire].places[1]) {
                self.break_end(End { wire, side: 0 });
                self.break_end(End { wire, side: 1 });
            }
        }
    }

    fn schedule(&mut self, end: End) {
        let pipe = &mut self.wires[end.wire].inbound[end.side];
        if let Some((at_us, _)) = pipe.flying.front()
            && !pipe.is_scheduled
        {
            pipe.is_scheduled = true;
            self.later.push((*at_us, Wake::Arrive(end)));
        }
    }

    fn state(&self, end: End) -> State {
        self.wires[end.wire].states[end.side]
    }

    fn is_cut(&self, from: Place, to: Place) -> bool {
        matches!((from, to), (Place::Node(from), Place::Node(to)) if self.is_cut_between(from, to))
    }

    fn is_dark(&self, place: Place) -> bool {
        matches!(place, Place::Node(node) if self.is_dark[node])
    }
}
