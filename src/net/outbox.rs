//! The send queue of one socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, Bytes};

/// Maximum number of parts in one vectored write. The kernel accepts at most 1024.
const PARTS_MAX: usize = 64;

/// A queue of bytes. Small frames are copied one after the other; large ones are kept by reference.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    parts: VecDeque<Bytes>,
    /// The last part, which is still growing. Its first `written` bytes have been sent.
    tail: Vec<u8>,
    written: usize,
    len: usize,
}

/// Spare buffers, so that an idle connection holds none and a busy one need not grow one in each turn.
#[derive(Debug, Default)]
pub(super) struct Spares(Vec<Vec<u8>>);

impl Spares {
    const COUNT_MAX: usize = 16;
    const CAPACITY_MAX: usize = 256 << 10;

    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= Self::CAPACITY_MAX && self.0.len() < Self::COUNT_MAX {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

impl Outbox {
    /// Returns the number of queued bytes.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Returns true if nothing is queued.
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends what `write` appends to the buffer that it is given.
    pub(super) fn append(&mut self, spares: &mut Spares, write: impl FnOnce(&mut Vec<u8>)) {
        if self.tail.capacity() == 0 {
            self.tail = spares.take();
        }
        let before = self.tail.len();
        write(&mut self.tail);
        self.len += self.tail.len() - before;
    }

    /// Appends bytes without copying them.
    pub(super) fn append_shared(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.seal_tail();
        self.len += bytes.len();
        self.parts.push_back(bytes);
    }

    /// Writes once. Returns true if the socket took everything that was offered, so it may take more.
    ///
    /// # Errors
    /// Returns the socket's error; `WouldBlock` if it takes nothing.
    pub(super) fn write_to(&mut self, socket: &mut impl Write, spares: &mut Spares) -> io::Result<bool> {
        let (written, offered) = if self.parts.is_empty() {
            let tail = &self.tail[self.written..];
            (socket.write(tail)?, tail.len())
        } else {
            let mut slices = [IoSlice::new(&[]); PARTS_MAX];
            let sources = self.parts.iter().map(|part| &part[..]).chain([&self.tail[self.written..]]);
            let count = slices.iter_mut().zip(sources).map(|(slice, source)| *slice = IoSlice::new(source)).count();
            let offered = slices[..count].iter().map(|slice| slice.len()).sum();
            (socket.write_vectored(&slices[..count])?, offered)
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.advance(written, spares);
        Ok(written == offered)
    }

    fn advance(&mut self, mut written: usize, spares: &mut Spares) {
        self.len -= written;
        while let Some(part) = self.parts.front_mut() {
            if written < part.len() {
                part.advance(written);
                return;
            }
            written -= part.len();
            self.parts.pop_front();
        }
        self.written += written;
        if self.written == self.tail.len() {
            spares.give(std::mem::take(&mut self.tail));
            self.written = 0;
        } else if self.written > self.tail.len() / 2 {
            // A queue that never becomes empty must not keep bytes that have been sent.
            self.tail.drain(..self.written);
            self.written = 0;
        }
        if self.parts.is_empty() {
            self.parts = VecDeque::new();
        }
    }

    fn seal_tail(&mut self) {
        if self.tail.len() > self.written {
            let mut tail = Bytes::from(std::mem::take(&mut self.tail));
            tail.advance(self.written);
            self.parts.push_back(tail);
        }
        self.written = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer that takes a few bytes at a time.
    struct Narrow(Vec<u8>, usize);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.1);
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bytes_come_out_in_order_however_little_is_taken() {
        for width in [1, 2, 3, 100] {
            let (mut outbox, mut spares) = (Outbox::default(), Spares::default());
            let mut socket = Narrow(Vec::new(), width);
            outbox.append(&mut spares, |tail| tail.extend_from_slice(b"abc"));
            outbox.append_shared(Bytes::from_static(b"defgh"));
            outbox.write_to(&mut socket, &mut spares).unwrap();
            outbox.append(&mut spares, |tail| tail.extend_from_slice(b"ij"));
            outbox.append_shared(Bytes::new());
            outbox.append(&mut spares, |tail| tail.extend_from_slice(b"k"));
            while !outbox.is_empty() {
                outbox.write_to(&mut socket, &mut spares).unwrap();
            }
            assert_eq!(socket.0, b"abcdefghijk", "{width} at a time");
            assert_eq!(outbox.tail.capacity() + outbox.parts.capacity(), 0, "an empty outbox has no buffer");
        }
    }
}
