//! Reads standard input or a file in pieces on a thread of its own, so that the connection is serviced while the user
//! is not typing.
//!
//! A piece is the text between two separators, byte for byte: only the separator is removed.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use dht_console::clock;
use dht_console::errors::{Failure, note};
use dht_console::interrupt;
use dht_console::session::Session;

/// Maximum size of a piece in bytes. A record has at most 1 MiB, and JSON may need six bytes for each of them.
pub(crate) const PIECE_BYTES_MAX: usize = 8 << 20;

/// Size in bytes of the pieces that are passed on together, if that many are available.
const GROUP_BYTES: usize = 64 << 10;

/// Number of groups that are read ahead.
const AHEAD: usize = 8;

/// A file or standard input.
pub(crate) struct Input {
    /// Its name in messages.
    pub(crate) name: String,
    pub(crate) reader: Box<dyn Read + Send>,
    /// Its size in bytes, if it is a file.
    pub(crate) size: Option<u64>,
    /// True if it is typed on a terminal.
    pub(crate) is_typed: bool,
}

impl Input {
    /// Opens the file of this name. `-` and no name stand for standard input.
    ///
    /// # Errors
    /// Returns [`Failure::Input`], or [`Failure::Usage`] if standard input is the script of `nc`, with what to write
    /// instead.
    pub(crate) fn open(name: Option<&str>, instead: &str, session: &Session) -> Result<Self, Failure> {
        if let Some(name) = name.filter(|name| *name != "-") {
            let file = File::open(name).map_err(|error| Failure::Input { name: name.to_owned(), error })?;
            let size = size_of(&file);
            return Ok(Self { name: name.to_owned(), reader: Box::new(file), size, is_typed: false });
        }
        if session.is_line {
            let advice = format!("standard input has the commands here: {instead}");
            return Err(Failure::usage_with("no input".to_owned(), advice));
        }
        let is_typed = io::stdin().is_terminal();
        if is_typed && !session.settings.quiet {
            note("reading from the terminal, end with Ctrl-D");
        }
        let size = io::stdin().as_fd().try_clone_to_owned().ok().and_then(|stdin| size_of(&File::from(stdin)));
        Ok(Self { name: "standard input".to_owned(), reader: Box::new(io::stdin()), size, is_typed })
    }
}

fn size_of(file: &File) -> Option<u64> {
    file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
}

/// The longest delay, after the end of the input, until Ctrl-C is noticed.
const CTRL_C_LATE: Duration = Duration::from_millis(50);

/// The separator between pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Separator {
    /// A line feed.
    Line,
    /// A NUL byte.
    Null,
}

impl Separator {
    const fn byte(self) -> u8 {
        match self {
            Self::Line => b'\n',
            Self::Null => 0,
        }
    }

    /// Returns what a piece is called in messages.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Null => "message",
        }
    }
}

/// The pieces of an input, as they arrive.
#[derive(Debug)]
pub(crate) struct Pieces {
    receiver: Receiver<Group>,
    ready: VecDeque<Vec<u8>>,
    /// Number of pieces returned so far, which is the number of the last one.
    number: u64,
}

type Group = Result<Vec<Vec<u8>>, InputError>;

/// A piece of the input.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Its bytes, without the separator.
    pub(crate) bytes: Vec<u8>,
    /// Its number in the input, from 1.
    pub(crate) number: u64,
}

/// Why there are no more pieces.
#[derive(Debug)]
pub(crate) enum InputError {
    /// The operating system returned an error.
    Unreadable(io::Error),
    /// There are more than [`PIECE_BYTES_MAX`] bytes without a separator.
    TooLong,
}

/// The result of asking for a piece.
#[derive(Debug)]
pub(crate) enum Next {
    /// A piece.
    Piece(Piece),
    /// No piece has arrived yet.
    NotYet,
    /// The input has ended.
    End,
}

impl Pieces {
    /// Starts to read. After Ctrl-C only the complete pieces that had been read by then are returned.
    pub(crate) fn read(input: Box<dyn Read + Send>, separator: Separator) -> Self {
        let (sender, receiver) = sync_channel(AHEAD);
        let read = move || read_groups(BufReader::with_capacity(GROUP_BYTES, UntilCtrlC(input)), separator, &sender);
        #[expect(
            clippy::disallowed_methods,
            reason = "reading a terminal blocks, and PINGs must be answered meanwhile"
        )]
        std::thread::spawn(read);
        Self { receiver, ready: VecDeque::new(), number: 0 }
    }

    /// Returns the number of the next piece, from 1.
    pub(crate) const fn next_number(&self) -> u64 {
        self.number + 1
    }

    /// Returns the next piece if it is available.
    pub(crate) fn ready(&mut self) -> Result<Next, InputError> {
        if let Some(bytes) = self.ready.pop_front() {
            return Ok(self.give(bytes));
        }
        match self.receiver.try_recv() {
            Ok(group) => self.take(group),
            Err(TryRecvError::Empty) => Ok(Next::NotYet),
            Err(TryRecvError::Disconnected) => Ok(Next::End),
        }
    }

    /// Waits up to the given time for the next piece.
    pub(crate) fn wait(&mut self, time: Duration) -> Result<Next, InputError> {
        if let Some(bytes) = self.ready.pop_front() {
            return Ok(self.give(bytes));
        }
        match self.receiver.recv_timeout(time) {
            Ok(group) => self.take(group),
            Err(RecvTimeoutError::Timeout) => Ok(Next::NotYet),
            Err(RecvTimeoutError::Disconnected) => Ok(Next::End),
        }
    }

    fn take(&mut self, group: Group) -> Result<Next, InputError> {
        self.ready.extend(group?);
        let first = self.ready.pop_front().expect("no empty group is sent");
        Ok(self.give(first))
    }

    const fn give(&mut self, bytes: Vec<u8>) -> Next {
        self.number += 1;
        Next::Piece(Piece { bytes, number: self.number })
    }
}

/// Sends pieces as soon as the next read would block, several at once if they are available.
fn read_groups(mut input: BufReader<UntilCtrlC>, separator: Separator, sender: &SyncSender<Group>) {
    let (mut group, mut group_bytes) = (Vec::new(), 0);
    loop {
        let mut next = next_piece(&mut input, separator.byte());
        if let Ok(Some((_, false))) = next {
            // Ctrl-C ends a whole pipeline, so the writer may end before this program sees the signal. A last piece
            // without a separator is then incomplete, and is dropped.
            clock::pause(CTRL_C_LATE);
            if interrupt::is_pressed() {
                next = Ok(None);
            }
        }
        if let Ok(Some((piece, _))) = next {
            group_bytes += piece.len();
            group.push(piece);
            if group_bytes < GROUP_BYTES && input.buffer().contains(&separator.byte()) {
                continue;
            }
            group_bytes = 0;
            if sender.send(Ok(std::mem::take(&mut group))).is_err() {
                return;
            }
            continue;
        }
        if !group.is_empty() && sender.send(Ok(group)).is_err() {
            return;
        }
        if let Err(error) = next {
            let _ = sender.send(Err(error)); // the receiver may be gone
        }
        return;
    }
}

/// An input that ends with Ctrl-C.
struct UntilCtrlC(Box<dyn Read + Send>);

impl Read for UntilCtrlC {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if interrupt::is_pressed() { Ok(0) } else { self.0.read(buffer) }
    }
}

/// Returns the next piece, and whether a separator or the end of the input ended it.
fn next_piece(input: &mut impl BufRead, end: u8) -> Result<Option<(Vec<u8>, bool)>, InputError> {
    let mut piece = Vec::new();
    let most = PIECE_BYTES_MAX as u64 + 1;
    input.by_ref().take(most).read_until(end, &mut piece).map_err(InputError::Unreadable)?;
    if piece.pop_if(|last| *last == end).is_some() {
        return Ok(Some((piece, true)));
    }
    if piece.len() > PIECE_BYTES_MAX {
        return Err(InputError::TooLong);
    }
    Ok((!piece.is_empty()).then_some((piece, false)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(input: &[u8], end: u8) -> Vec<Vec<u8>> {
        let mut input = input;
        std::iter::from_fn(|| next_piece(&mut input, end).unwrap()).map(|(piece, _)| piece).collect()
    }

    #[test]
    fn nothing_but_the_separator_is_removed() {
        type Case<'c> = (&'c [u8], u8, &'c [&'c [u8]]);
        let cases: [Case<'_>; 9] = [
            (b"", b'\n', &[]),
            (b"a\nb\n", b'\n', &[b"a", b"b"]),
            (b"a\nb", b'\n', &[b"a", b"b"]),
            (b"a\r\nb\r\n", b'\n', &[b"a\r", b"b\r"]),
            (b"a\r", b'\n', &[b"a\r"]),
            (b"\n\n", b'\n', &[b"", b""]),
            (b" a \n\t\0\n", b'\n', &[b" a ", b"\t\0"]),
            (b"a\n\0b\r\n\0\0", 0, &[b"a\n", b"b\r\n", b""]),
            (b"\xff\xfe\n\xef\xbb\xbfx\n", b'\n', &[b"\xff\xfe", b"\xef\xbb\xbfx"]),
        ];
        for (input, end, expected) in cases {
            assert_eq!(pieces(input, end), expected, "{input:?}");
        }
    }

    #[test]
    fn a_piece_has_a_longest_size() {
        let mut input = vec![b'x'; PIECE_BYTES_MAX];
        assert_eq!(pieces(&input, b'\n'), [input.as_slice()]);
        input.push(b'\n');
        assert_eq!(pieces(&input, b'\n'), [&input[..PIECE_BYTES_MAX]]);
        input[PIECE_BYTES_MAX] = b'x';
        assert!(matches!(next_piece(&mut input.as_slice(), b'\n'), Err(InputError::TooLong)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn pieces_and_separators_make_up_the_input(
            input in prop::collection::vec(prop::sample::select(vec![0_u8, 10, 13, 32, 255]), 0..40),
        ) {
            for end in [b'\n', 0] {
                let mut joined = pieces(&input, end).join(&end);
                if input.ends_with(&[end]) {
                    joined.push(end);
                }
                prop_assert_eq!(&joined, &input);
            }
        }
    }
}
