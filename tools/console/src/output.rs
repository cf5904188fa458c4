//! Standard output: data and nothing else. If its reader closes it, the program ends quietly.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde_json::Value;

use crate::errors::{Exit, Failure};

/// The style of good news.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// The style of bad news.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// The style of less important text.
pub const DIM: Style = Style::new().dimmed();
/// The style of important text.
pub const BOLD: Style = Style::new().bold();

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the values of --color")]
pub enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    /// Parses the value of `--color`.
    ///
    /// # Errors
    /// Returns an error for any value except these three.
    pub fn from_option(option: Option<&str>) -> Result<Self, Failure> {
        match option {
            None | Some("auto") => Ok(Self::Auto),
            Some("always") => Ok(Self::Always),
            Some("never") => Ok(Self::Never),
            Some(other) => {
                Err(Failure::usage_with(format!("no colour {other:?}"), "--color is auto, always or never".to_owned()))
            }
        }
    }
}

/// The standard output.
#[derive(Debug)]
pub struct Out {
    writer: BufWriter<Stdout>,
    is_json: bool,
    is_terminal: bool,
    has_color: bool,
    /// The output that is held back, between [`Self::hold`] and [`Self::release`].
    held: Option<Vec<u8>>,
}

impl Out {
    /// Returns the standard output. Whether colours are used is decided here.
    pub fn new(is_json: bool, color: Color) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let has_color = match color {
            Color::Auto => AutoStream::choice(&stdout) != ColorChoice::Never,
            Color::Always => true,
            Color::Never => false,
        };
        Self { writer: BufWriter::with_capacity(64 << 10, stdout), is_json, is_terminal, has_color, held: None }
    }

    /// Returns true if results are printed as JSON.
    pub const fn is_json(&self) -> bool {
        self.is_json
    }

    /// Returns true if standard output is a terminal.
    pub const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Applies a style to text, if colours are enabled.
    pub fn paint(&self, style: Style, text: &str) -> String {
        if self.has_color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// Writes a line.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Writes a value as a line of JSON.
    pub fn json(&mut self, value: &Value) -> io::Result<()> {
        self.line(&value.to_string())
    }

    /// Writes bytes unchanged.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.held {
            Some(held) => {
                held.extend_from_slice(bytes);
                Ok(())
            }
            None => self.writer.write_all(bytes),
        }
    }

    /// Selects whether results are printed as JSON.
    pub const fn set_json(&mut self, is_json: bool) {
        self.is_json = is_json;
    }

    /// Starts to hold back output.
    pub fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Takes the output held back, so that other output can precede it.
    pub const fn take_held(&mut self) -> Option<Vec<u8>> {
        self.held.take()
    }

    /// Puts the output taken by [`Self::take_held`] back.
    pub fn restore_held(&mut self, held: Option<Vec<u8>>) {
        self.held = held;
    }

    /// Writes the output held back, and stops holding it back.
    pub fn release(&mut self) -> io::Result<()> {
        match self.held.take() {
            Some(held) => self.bytes(&held),
            None => Ok(()),
        }
    }

    /// Flushes the output to its reader.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Ends the program quietly as soon as the reader of its standard output is gone, even while it has nothing to write.
/// This is for commands that only print and may wait for long. Files and terminals have no such reader.
///
/// A thread waits for that, so that the commands need not divide their waits into slices.
pub fn end_with_reader() {
    let watch = || {
        let stdout = io::stdout();
        loop {
            // No events are requested: poll always reports the error that a pipe without a reader has.
            let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
            match poll(&mut watched, None) {
                Ok(_) if !watched[0].revents().is_empty() => std::process::exit(Exit::Done as i32),
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return, // the next write will fail
            }
        }
    };
    #[expect(clippy::disallowed_methods, reason = "the command itself waits for the network")]
    std::thread::spawn(watch);
}

/// Prints help or similar text, and exits.
pub fn print(text: &str) -> Exit {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Exit::Done,
        Err(error) => Failure::Output(error).print(false),
    }
}
