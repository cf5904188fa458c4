//! Publishes an input of many records piece by piece as it arrives, and reports exactly how much of it is stored.

use std::time::Duration;

use dht_client::json::Content;
use dht_client::{Client, Error};
use dht_console::errors::{Failure, Partial};
use dht_console::interrupt;
use dht_console::session::Session;

use crate::input::{Input, InputError, Next, PIECE_BYTES_MAX, Piece, Pieces, Separator};
use crate::outgoing::{Halt, Outgoing};
use crate::progress::Progress;

/// How long to wait for input before the connection is serviced.
const INPUT_SLICE: Duration = Duration::from_millis(50);

/// An input that is published piece by piece.
pub(crate) struct Source {
    pub(crate) pieces: Pieces,
    /// What a piece is called.
    pub(crate) unit: &'static str,
    /// What the input is called.
    pub(crate) input: String,
    pub(crate) progress: Progress,
}

/// The meaning of a piece.
pub(crate) enum Parsed<T> {
    /// A record.
    Record(Content),
    /// Nothing to publish.
    Skip,
    /// Something that the caller handles.
    Other(T),
}

/// Why publishing stopped, and at which piece.
pub(crate) struct Halted {
    cause: Cause,
    at: Option<u64>,
}

enum Cause {
    /// The input, one of its pieces, or Ctrl-C. The pieces read before can still be stored.
    Local(Box<Failure>),
    /// A batch was refused, or its outcome is unknown.
    Cube(Error),
}

impl Halted {
    /// Stopped by the input or Ctrl-C, at this piece or at none.
    fn by(cause: Failure, at: Option<u64>) -> Self {
        Self { cause: Cause::Local(Box::new(cause)), at }
    }

    const fn by_cube(error: Error) -> Self {
        Self { cause: Cause::Cube(error), at: None }
    }

    fn by_halt(halt: Halt, number: u64) -> Self {
        match halt {
            Halt::Record(error) => Self::by(error.into(), Some(number)),
            Halt::Cube(error) => Self::by_cube(error),
        }
    }
}

impl Source {
    /// Starts to read the input.
    pub(crate) fn new(input: Input, separator: Separator, session: &Session) -> Self {
        let Input { name, reader, size, is_typed } = input;
        let progress = Progress::new(size, is_typed, session);
        Self { pieces: Pieces::read(reader, separator), unit: separator.unit(), input: name, progress }
    }

    /// Publishes pieces up to the end of the input, to Ctrl-C, or to a piece that the caller handles, which is returned
    /// with its number. Whatever is available is sent as one batch without waiting for more input.
    pub(crate) fn pump<T>(
        &mut self,
        outgoing: &mut Outgoing<'_>,
        parse: &mut impl FnMut(Vec<u8>) -> Result<Parsed<T>, Failure>,
    ) -> Result<Option<(T, u64)>, Halted> {
        let mut is_idle = false;
        loop {
            let next = if is_idle { self.pieces.wait(INPUT_SLICE) } else { self.pieces.ready() };
            let next = next.map_err(|error| self.unreadable(error))?;
            is_idle = matches!(next, Next::NotYet);
            match next {
                Next::Piece(Piece { bytes, number }) => {
                    self.progress.add(bytes.len() + 1);
                    match parse(bytes).map_err(|failure| Halted::by(failure, Some(number)))? {
                        Parsed::Record(content) => push(outgoing, &content, number)?,
                        Parsed::Skip => {}
                        Parsed::Other(other) => return Ok(Some((other, number))),
                    }
                }
                Next::NotYet => {
                    outgoing.send().and_then(|()| outgoing.poll()).map_err(Halted::by_cube)?;
                    if interrupt::is_pressed() {
                        break;
                    }
                }
                Next::End => break,
            }
        }
        if interrupt::is_pressed() { Err(Halted::by(Failure::Interrupted, None)) } else { Ok(None) }
    }

    /// Returns the next piece while no batch is in flight, or `None` at the end. PINGs are answered meanwhile.
    ///
    /// # Errors
    /// Returns the error of the input, or Ctrl-C, and at which piece it occurred.
    pub(crate) fn next(&mut self, client: &mut Client) -> Result<Option<Piece>, (Box<Failure>, Option<u64>)> {
        loop {
            if interrupt::is_pressed() {
                return Err((Box::new(Failure::Interrupted), None));
            }
            match self.pieces.wait(INPUT_SLICE).map_err(|error| self.fault(error))? {
                Next::Piece(piece) => return Ok(Some(piece)),
                Next::NotYet => {
                    let _ = client.idle(Duration::ZERO); // the next request reconnects
                }
                Next::End => return Ok(None),
            }
        }
    }

    fn unreadable(&self, error: InputError) -> Halted {
        let (cause, at) = self.fault(error);
        Halted { cause: Cause::Local(cause), at }
    }

    fn fault(&self, error: InputError) -> (Box<Failure>, Option<u64>) {
        match error {
            InputError::Unreadable(error) => (Box::new(Failure::Input { name: self.input.clone(), error }), None),
            InputError::TooLong => {
                let what = format!("this {} has more than {PIECE_BYTES_MAX} bytes", self.unit);
                (Box::new(Failure::Found(what)), Some(self.pieces.next_number()))
            }
        }
    }
}

/// Adds the record of a piece.
pub(crate) fn push(outgoing: &mut Outgoing<'_>, content: &Content, number: u64) -> Result<(), Halted> {
    let record = content.record().map_err(|error| Halted::by_halt(Halt::Record(error), number))?;
    outgoing.push(&record, number).map_err(|halt| Halted::by_halt(halt, number))
}

/// Waits until everything that was queued is stored, even if the input has failed. Otherwise returns the cause and how
/// much is stored.
pub(crate) fn conclude<T>(
    outgoing: &mut Outgoing<'_>,
    pumped: Result<T, Halted>,
    unit: &'static str,
    topic: &str,
) -> Result<T, (Box<Failure>, Partial)> {
    let halted = match pumped {
        Ok(value) => match outgoing.flush() {
            Ok(()) => return Ok(value),
            Err(error) => Halted::by_cube(error),
        },
        Err(Halted { cause: Cause::Local(cause), at }) => match outgoing.flush() {
            Ok(()) => Halted { cause: Cause::Local(cause), at },
            Err(error) => Halted::by_cube(error),
        },
        Err(by_cube) => by_cube,
    };
    let (cause, is_exact) = match halted.cause {
        Cause::Local(cause) => (cause, true),
        Cause::Cube(error) => {
            let is_exact = outgoing.settle().is_ok() && !error.may_be_done();
            (Box::new(Failure::about(topic)(error)), is_exact)
        }
    };
    Err((cause, Partial { unit, at: halted.at, through: outgoing.stored().through, is_exact, producer: None }))
}
