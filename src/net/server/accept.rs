//! Accepts connections: as many as are waiting, up to a maximum per turn, within the available descriptors.

use std::io;
use std::net::IpAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};
use socket2::SockRef;

use super::{FIRST_CONN, Loop};
use crate::limits::ACCEPTS_PER_TURN;
use crate::turn::Store;
use crate::types::{Now, Source};

/// Raises the listen backlog from the standard library's 128 to the system's maximum (`somaxconn`): when the backlog is
/// full, the system drops connection attempts, and clients retry only after a second.
///
/// # Errors
/// Returns the error of the system.
pub(super) fn lengthen_backlog(listener: &TcpListener) -> io::Result<()> {
    SockRef::from(listener).listen(i32::MAX)
}

/// Returns the source of a connection from this address.
const fn source_of(address: IpAddr) -> Source {
    match address {
        IpAddr::V4(address) => Source::Ipv4(address.octets()),
        IpAddr::V6(address) => Source::of_ipv6(address.segments()),
    }
}

impl<S: Store> Loop<S> {
    pub(super) fn accept(&mut self, now: Now) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &self.server.listener else { return };
            match listener.accept() {
                Ok((socket, address)) => {
                    self.note_accept(None);
                    self.take_in(now, socket, source_of(address.ip()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.server.accept_ready = false;
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // The process or the machine may be out of descriptors. Connections stay in the backlog until a
                    // later tick.
                    self.note_accept(Some(&error));
                    self.server.accept_ready = false;
                    return;
                }
            }
        }
    }

    fn take_in(&mut self, now: Now, socket: TcpStream, source: Source) {
        self.driver.make_room(&mut self.sockets);
        match socket.set_nodelay(true).and_then(|()| self.register(socket)) {
            Ok(socket) => self.driver.accept(now, socket, source),
            Err(error) => log::debug!("cannot set up an accepted connection: {error}"),
        }
    }

    /// Registers a socket that is added to the connections next.
    pub(super) fn register(&mut self, mut socket: TcpStream) -> io::Result<TcpStream> {
        let token = Token(self.driver.conns().next_slot() + FIRST_CONN);
        self.server.poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(socket)
    }

    /// Logs the first of a series of failures to accept connections, and the first success after it.
    fn note_accept(&mut self, failure: Option<&io::Error>) {
        if self.accept_fails == failure.is_some() {
            return;
        }
        self.accept_fails = failure.is_some();
        match failure {
            Some(error) => log::warn!("cannot accept connections: {error}; new ones wait until this succeeds"),
            None => log::info!("new connections are accepted again"),
        }
    }
}
