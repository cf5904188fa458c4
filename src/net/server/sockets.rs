//! The sockets and the clock, as the driver uses them.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;
use socket2::SockRef;

use crate::driver::Os;
use crate::limits::LINK_SEND_BUFFER;
use crate::net::Clock;
use crate::types::Now;

/// TCP, and the clock of the machine.
#[derive(Debug)]
pub(super) struct Sockets {
    pub clock: Clock,
}

impl Os<TcpStream> for Sockets {
    fn read(&mut self, socket: &mut TcpStream, room: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| socket.read(room))
    }

    fn write(&mut self, socket: &mut TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [slice] => uninterrupted(|| socket.write(slice)),
            slices => uninterrupted(|| socket.write_vectored(slices)),
        }
    }

    fn shut(&mut self, socket: &mut TcpStream) -> io::Result<()> {
        socket.shutdown(Shutdown::Write)
    }

    fn close(&mut self, socket: TcpStream, _is_flushed: bool) {
        drop(socket);
    }

    fn note_link(&mut self, socket: &mut TcpStream) {
        if let Err(error) = SockRef::from(&*socket).set_send_buffer_size(LINK_SEND_BUFFER) {
            log::debug!("cannot set the size of the send buffer of a link: {error}");
        }
    }

    fn now(&mut self) -> Now {
        self.clock.now()
    }

    fn monotonic_us(&mut self) -> u64 {
        self.clock.monotonic_us()
    }
}

/// Repeats a system call until no signal interrupts it.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn the_kernel_keeps_little_of_what_is_sent_on_a_link() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let size = |socket: &TcpStream| SockRef::from(socket).send_buffer_size().unwrap();
        let before = size(&socket);
        Sockets { clock: Clock::start() }.note_link(&mut socket);
        // Linux reports twice the size that was asked for, and allows no more than `net.core.wmem_max`.
        assert!(size(&socket) <= 2 * LINK_SEND_BUFFER && size(&socket) != before);
    }
}
