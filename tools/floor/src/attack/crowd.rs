//! The attackers: a process whose connections send their scripts until it is killed.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use dht_protocol::types::{Dimension, NodeId};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

use super::cases::Script;
use super::ground::Topics;
use crate::Crowd;
use crate::clock;
use crate::error::Error;
use crate::session;

/// Maximum number of bytes that a connection reads or writes before the next one has its turn.
const TURN_BYTES: usize = 64 << 10;

/// Maximum interval between two writes of a connection with a limited rate.
const TICK: Duration = Duration::from_millis(5);

/// Attacks until the process is killed.
pub(crate) fn run(options: &Crowd) -> Result<(), Error> {
    let case = options.attack;
    let dimension = Dimension::new(options.dimension).ok_or(Error::Unsupported)?;
    let home = NodeId::new(options.home, dimension).ok_or(Error::Unsupported)?;
    let topics = Topics::at(home, dimension);
    let (mut poll, mut conns) = (Poll::new()?, Vec::new());
    for slot in 0..case.conns {
        let (mut script, source) = (case.script(&topics, slot)?, source(slot, case.sources));
        script.once.splice(0..0, session::hello());
        let stream = connect(&poll, slot, source, options.addr)?;
        conns.push(Conn { stream, source, script, sent_once: 0, sent_again: 0, allowance: 0.0, state: State::NEW });
    }
    let (mut events, mut scratch) = (Events::with_capacity(1024), vec![0; TURN_BYTES]);
    let mut before = clock::now();
    loop {
        let now = clock::now();
        let passed = now.duration_since(before);
        before = now;
        for (slot, conn) in conns.iter_mut().enumerate() {
            if conn.turn(passed, &mut scratch).is_err() {
                // The node has closed the connection, so the attacker reconnects.
                conn.stream = connect(&poll, slot, conn.source, options.addr)?;
                (conn.sent_once, conn.sent_again, conn.state) = (0, 0, State::NEW);
            }
        }
        wait(&mut poll, &mut events, &mut conns)?;
    }
}

/// Waits until some connection can read or write.
fn wait(poll: &mut Poll, events: &mut Events, conns: &mut [Conn]) -> Result<(), Error> {
    let is_slow = conns.iter().any(|conn| conn.script.bytes_per_second.is_some());
    let timeout = match conns.iter().any(Conn::can_go_on) {
        true => Some(Duration::ZERO),
        false => is_slow.then_some(TICK),
    };
    match poll.poll(events, timeout) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
        result => result?,
    }
    for event in &*events {
        let state = &mut conns[event.token().0].state;
        state.is_readable |= event.is_readable() || event.is_read_closed();
        state.is_writable |= event.is_writable();
    }
    Ok(())
}

/// Returns the source address of a connection; `None` if it uses the polite client's.
fn source(slot: usize, sources: u8) -> Option<Ipv4Addr> {
    let number = u8::try_from(slot.checked_rem(sources.into())?).expect("fewer than sources");
    Some(Ipv4Addr::new(127, 0, 0, 2 + number))
}

fn connect(poll: &Poll, slot: usize, source: Option<Ipv4Addr>, addr: SocketAddr) -> Result<TcpStream, Error> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    socket.connect(&addr.into())?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(socket.into());
    poll.registry().register(&mut stream, Token(slot), Interest::READABLE | Interest::WRITABLE)?;
    Ok(stream)
}

/// One attacking connection.
#[derive(Debug)]
struct Conn {
    stream: TcpStream,
    source: Option<Ipv4Addr>,
    script: Script,
    /// Number of bytes sent of [`Script::once`].
    sent_once: usize,
    /// Position in [`Script::again`] of the next byte to be sent.
    sent_again: usize,
    /// Number of bytes that a connection with a limited rate may send now.
    allowance: f64,
    state: State,
}

/// Whether the socket is believed to be readable or writable; edge-triggered events only say when it becomes so.
#[derive(Clone, Copy, Debug)]
struct State {
    is_readable: bool,
    is_writable: bool,
}

impl State {
    const NEW: Self = Self { is_readable: true, is_writable: true };
}

impl Conn {
    /// Reads once and writes once, as far as the socket allows.
    ///
    /// # Errors
    /// Returns the socket's error, or an error if the node has closed the connection.
    fn turn(&mut self, passed: Duration, scratch: &mut [u8]) -> io::Result<()> {
        if self.state.is_readable && !self.script.is_deaf {
            self.state.is_readable = match unless_blocked(self.stream.read(scratch))? {
                Some(0) => return Err(io::ErrorKind::ConnectionReset.into()),
                Some(_) => true,
                None => false,
            };
        }
        if let Some(rate) = self.script.bytes_per_second {
            self.allowance += passed.as_secs_f64() * f64::from(rate);
        }
        let is_beginning = self.sent_once < self.script.once.len();
        let unsent =
            if is_beginning { &self.script.once[self.sent_once..] } else { &self.script.again[self.sent_again..] };
        let most = if is_beginning { TURN_BYTES } else { self.allowed() };
        let part = &unsent[..unsent.len().min(most)];
        if !self.state.is_writable || part.is_empty() {
            return Ok(());
        }
        let Some(count) = unless_blocked(self.stream.write(part))? else {
            self.state.is_writable = false;
            return Ok(());
        };
        if is_beginning {
            self.sent_once += count;
        } else {
            self.sent_again = (self.sent_again + count) % self.script.again.len();
            self.allowance -= count as f64;
        }
        Ok(())
    }

    /// Returns how many bytes of [`Script::again`] may be sent now.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut to a small positive number")]
    fn allowed(&self) -> usize {
        match self.script.bytes_per_second {
            Some(_) => self.allowance.clamp(0.0, TURN_BYTES as f64) as usize,
            None => TURN_BYTES,
        }
    }

    /// Returns true if another turn would read or write something.
    fn can_go_on(&self) -> bool {
        let is_begun = self.sent_once == self.script.once.len();
        let has_unsent = !is_begun || !self.script.again.is_empty() && self.allowed() > 0;
        self.state.is_readable && !self.script.is_deaf || self.state.is_writable && has_unsent
    }
}

/// Returns `None` if the operation would block.
fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}
