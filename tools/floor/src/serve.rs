//! A bare server: one thread, edge-triggered events, one scratch buffer, and one write per connection and turn of the
//! event loop.
//!
//! With a file it is durable: all payloads of a turn are written and synced together before any of them is
//! acknowledged. It only serves as a yardstick, so it trusts its clients, has no limits, and a relay exits when the
//! server behind it closes the connection.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

use dht_protocol::wire::Opcode;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::conn::{Conn, Input, each_frame};
use crate::disk::Prewritten;
use crate::error::Error;
use crate::fanout::Fanout;
use crate::frames::{self, Ack};
use crate::log::Log;

/// What a bare server does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Acknowledges each request.
    Echo,
    /// Appends the payload to a log in memory, acknowledges the request, and sends the payload to subscribers.
    Log,
    /// Forwards each request to the next server, and the responses back.
    Relay,
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "echo" => Ok(Self::Echo),
            "log" => Ok(Self::Log),
            "relay" => Ok(Self::Relay),
            _ => Err("a mode is echo, log or relay"),
        }
    }
}

/// Larger than the largest frame, and than all small pipelined frames of one turn.
const SCRATCH_BYTES: usize = 256 << 10;

const EVENTS: usize = 256;
const LISTENER: Token = Token(usize::MAX);

/// The slot of a relay's connection to the next server.
const NEXT: usize = 0;

/// Serves until it is killed.
pub(crate) fn serve(mode: Mode, port: u16, next: Option<SocketAddr>, file: Option<&Path>) -> Result<(), Error> {
    let file = file.map(Prewritten::make).transpose()?;
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut server = Server::new(mode, port, file);
    if mode == Mode::Relay {
        let stream = std::net::TcpStream::connect(next.ok_or(Error::NoNext)?)?;
        stream.set_nonblocking(true)?;
        server.add(&poll, TcpStream::from_std(stream))?;
    }
    let mut events = Events::with_capacity(EVENTS);
    let mut scratch = vec![0; SCRATCH_BYTES];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            if event.token() == LISTENER {
                server.accept(&poll, &listener)?;
            } else {
                server.ready(event, &mut scratch)?;
            }
        }
        server.commit()?;
        server.write_all();
        server.fan_out();
    }
}

struct Server {
    mode: Mode,
    /// Part of the origin field that this relay writes, by which it recognises responses for its own clients.
    port: u16,
    conns: Vec<Option<Conn>>,
    /// The slots of connections that are written to at the end of the turn.
    to_write: Vec<usize>,
    /// The slot of the previous relay, from which requests that already have a route arrive.
    upstream: usize,
    log: Log,
    file: Option<Prewritten>,
    /// Payloads that are not yet written to the file.
    turn: Vec<u8>,
    fanout: Fanout,
    ack: Ack,
}

impl Server {
    fn new(mode: Mode, port: u16, file: Option<Prewritten>) -> Self {
        Self {
            mode,
            port,
            conns: Vec::new(),
            to_write: Vec::new(),
            upstream: NEXT,
            log: Log::default(),
            file,
            turn: Vec::new(),
            fanout: Fanout::new(),
            ack: Ack::new(),
        }
    }

    fn accept(&mut self, poll: &Poll, listener: &TcpListener) -> Result<(), Error> {
        loop {
            match listener.accept() {
                Ok((stream, _)) => self.add(poll, stream)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn add(&mut self, poll: &Poll, mut stream: TcpStream) -> Result<(), Error> {
        stream.set_nodelay(true)?;
        let free = self.conns.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.conns.len());
        poll.registry().register(&mut stream, Token(slot), Interest::READABLE | Interest::WRITABLE)?;
        if free.is_none() {
            self.conns.push(None);
        }
        self.conns[slot] = Some(Conn::new(stream));
        Ok(())
    }

    /// Handles an event of a connection. A client's error only closes its connection; an error of the next server ends
    /// the relay.
    fn ready(&mut self, event: &Event, scratch: &mut [u8]) -> Result<(), Error> {
        let slot = event.token().0;
        let is_next = self.mode == Mode::Relay && slot == NEXT;
        if event.is_writable() {
            self.list(slot);
        }
        match self.read(slot, scratch) {
            Ok(true) => Ok(()),
            Ok(false) if is_next => Err(Error::Closed),
            Ok(false) | Err(Error::Io(_)) if !is_next => {
                self.forget(slot);
                Ok(())
            }
            outcome => outcome.map(|_| ()),
        }
    }

    /// Reads a connection until no input is left. Returns whether it is still open.
    fn read(&mut self, slot: usize, scratch: &mut [u8]) -> Result<bool, Error> {
        loop {
            let Some(conn) = &mut self.conns[slot] else { return Ok(true) };
            let (filled, is_last) = match conn.read(scratch)? {
                Input::End => return Ok(false),
                Input::Last(0) => return Ok(true),
                Input::Last(filled) => (filled, true),
                Input::More(filled) => (filled, false),
            };
            let used = each_frame(&scratch[..filled], |frame| self.take(slot, frame))?;
            if let (true, Some(conn)) = (used < filled, &mut self.conns[slot]) {
                conn.keep(&scratch[used..filled]);
            }
            if is_last {
                return Ok(true);
            }
        }
    }

    fn take(&mut self, slot: usize, frame: &[u8]) -> Result<(), Error> {
        if frames::is(frame, Opcode::Hello) {
            self.send(slot, |_, out| frames::answer_hello(frame, out));
            return Ok(());
        }
        match self.mode {
            Mode::Echo => self.send(slot, |ack, out| ack.write(frame, 0, out)),
            Mode::Log => self.keep(slot, frame)?,
            Mode::Relay => self.relay(slot, frame),
        }
        Ok(())
    }

    fn keep(&mut self, slot: usize, frame: &[u8]) -> Result<(), Error> {
        if frames::is(frame, Opcode::Publish) {
            let payload = frames::payload(frame)?;
            if !self.fanout.has_room(payload) {
                self.commit()?;
                self.fan_out();
            }
            if self.file.is_some() {
                self.turn.extend_from_slice(payload);
            }
            let base = self.log.append(payload);
            self.fanout.add(base, payload, frames::payload_crc(frame));
            self.send(slot, |ack, out| ack.write(frame, base, out));
        } else if frames::is(frame, Opcode::Subscribe) {
            let (id, next) = (frames::request_id(frame), self.log.next());
            self.commit()?;
            self.fan_out();
            self.fanout.subscribe(slot, id);
            self.send(slot, |_, out| frames::answer_subscribe(id, next, out));
        } else if !frames::is(frame, Opcode::Credit) {
            if frames::is(frame, Opcode::Delete) {
                self.log = Log::default();
            }
            self.send(slot, |ack, out| ack.write(frame, 0, out));
        }
        Ok(())
    }

    /// Writes and syncs the payloads that were published in this turn.
    fn commit(&mut self) -> Result<(), Error> {
        if let Some(file) = &mut self.file
            && !self.turn.is_empty()
        {
            file.store(&self.turn)?;
            self.turn.clear();
        }
        Ok(())
    }

    /// Sends the payloads that were published in this turn to the subscribers.
    fn fan_out(&mut self) {
        for slot in self.fanout.flush(&mut self.conns) {
            self.forget(slot);
        }
    }

    fn forget(&mut self, slot: usize) {
        self.conns[slot] = None;
        self.fanout.forget(slot);
    }

    fn relay(&mut self, slot: usize, frame: &[u8]) {
        let port = u64::from(self.port) << 48;
        match (frames::is_response(frame), frames::is_routed(frame)) {
            (false, false) => self.send(NEXT, |_, out| frames::add_route(frame, port | slot as u64, out)),
            (false, true) => {
                self.upstream = slot;
                self.send(NEXT, |_, out| out.extend_from_slice(frame));
            }
            (true, _) => match usize::try_from(frames::origin(frame) ^ port) {
                Ok(client) if client < self.conns.len() => {
                    self.send(client, |_, out| frames::strip_route(frame, out));
                }
                _ => self.send(self.upstream, |_, out| out.extend_from_slice(frame)),
            },
        }
    }

    /// Lets `write` append to a connection's output, which is written at the end of the turn.
    fn send(&mut self, slot: usize, write: impl FnOnce(&mut Ack, &mut Vec<u8>)) {
        if let Some(conn) = &mut self.conns[slot] {
            write(&mut self.ack, &mut conn.out);
            self.list(slot);
        }
    }

    fn list(&mut self, slot: usize) {
        if let Some(conn) = &mut self.conns[slot]
            && !conn.listed
        {
            conn.listed = true;
            self.to_write.push(slot);
        }
    }

    fn write_all(&mut self) {
        let mut to_write = std::mem::take(&mut self.to_write);
        for slot in to_write.drain(..) {
            if let Some(conn) = &mut self.conns[slot] {
                conn.listed = false;
                if conn.write().is_err() {
                    self.forget(slot);
                }
            }
        }
        self.to_write = to_write;
    }
}
