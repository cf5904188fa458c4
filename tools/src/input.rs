//! Standard input in pieces, read by a thread of its own, so that the connection is looked after while nobody types.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::Duration;

/// Pieces that are read ahead.
const AHEAD: usize = 1024;

/// What separates pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Separator {
    /// The end of a line; a carriage return before it is dropped.
    Line,
    /// A NUL byte.
    Null,
}

/// Pieces of an input, as they come.
#[derive(Debug)]
pub(crate) struct Pieces(Receiver<io::Result<Vec<u8>>>);

/// What came of looking for a piece.
#[derive(Debug)]
pub(crate) enum Next {
    /// Here it is.
    Piece(Vec<u8>),
    /// None has come yet.
    NotYet,
    /// There are no more.
    End,
}

impl Pieces {
    /// Starts to read.
    pub(crate) fn read(input: Box<dyn Read + Send>, separator: Separator) -> Self {
        let (sender, receiver) = sync_channel(AHEAD);
        let read = move || {
            let mut input = BufReader::with_capacity(64 << 10, input);
            loop {
                let piece = match next_piece(&mut input, separator) {
                    Ok(None) => return,
                    Ok(Some(piece)) => Ok(piece),
                    Err(error) => Err(error),
                };
                let is_last = piece.is_err();
                if sender.send(piece).is_err() || is_last {
                    return;
                }
            }
        };
        #[expect(clippy::disallowed_methods, reason = "reading a terminal blocks, and PINGs want answers meanwhile")]
        std::thread::spawn(read);
        Self(receiver)
    }

    /// The next piece if it is there.
    pub(crate) fn ready(&self) -> io::Result<Next> {
        match self.0.try_recv() {
            Ok(piece) => piece.map(Next::Piece),
            Err(TryRecvError::Empty) => Ok(Next::NotYet),
            Err(TryRecvError::Disconnected) => Ok(Next::End),
        }
    }

    /// The next piece, waited for so long.
    pub(crate) fn wait(&self, time: Duration) -> io::Result<Next> {
        match self.0.recv_timeout(time) {
            Ok(piece) => piece.map(Next::Piece),
            Err(RecvTimeoutError::Timeout) => Ok(Next::NotYet),
            Err(RecvTimeoutError::Disconnected) => Ok(Next::End),
        }
    }
}

fn next_piece(input: &mut impl BufRead, separator: Separator) -> io::Result<Option<Vec<u8>>> {
    let end = match separator {
        Separator::Line => b'\n',
        Separator::Null => 0,
    };
    let mut piece = Vec::new();
    if input.read_until(end, &mut piece)? == 0 {
        return Ok(None);
    }
    piece.pop_if(|last| *last == end);
    if separator == Separator::Line {
        piece.pop_if(|last| *last == b'\r');
    }
    Ok(Some(piece))
}
