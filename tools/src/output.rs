//! Standard output: data and nothing else. A reader that has seen enough ends the program quietly.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde_json::Value;

use crate::errors::{Exit, Failure};

/// Good news.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Bad news.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What matters less.
pub(crate) const DIM: Style = Style::new().dimmed();
/// What matters.
pub(crate) const BOLD: Style = Style::new().bold();

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    /// # Errors
    /// Something else than the three.
    pub(crate) fn from_option(option: Option<&str>) -> Result<Self, Failure> {
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

/// Where results go.
#[derive(Debug)]
pub(crate) struct Out {
    writer: BufWriter<Stdout>,
    is_json: bool,
    is_terminal: bool,
    has_color: bool,
    /// What is written while it is held back.
    held: Option<Vec<u8>>,
}

impl Out {
    pub(crate) fn new(is_json: bool, color: Color) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let has_color = match color {
            Color::Auto => AutoStream::choice(&stdout) != ColorChoice::Never,
            Color::Always => true,
            Color::Never => false,
        };
        Self { writer: BufWriter::with_capacity(64 << 10, stdout), is_json, is_terminal, has_color, held: None }
    }

    /// Are results JSON?
    pub(crate) const fn is_json(&self) -> bool {
        self.is_json
    }

    /// Does a person look at it?
    pub(crate) const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Text in a style, if there are colours.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        if self.has_color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Writes a line of JSON.
    pub(crate) fn json(&mut self, value: &Value) -> io::Result<()> {
        self.line(&value.to_string())
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.held {
            Some(held) => {
                held.extend_from_slice(bytes);
                Ok(())
            }
            None => self.writer.write_all(bytes),
        }
    }

    /// Are results JSON from now on?
    pub(crate) const fn set_json(&mut self, is_json: bool) {
        self.is_json = is_json;
    }

    /// Holds back what is written.
    pub(crate) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Takes what is held back, so that something else can be written before it.
    pub(crate) const fn take_held(&mut self) -> Option<Vec<u8>> {
        self.held.take()
    }

    /// Holds it back again.
    pub(crate) fn restore_held(&mut self, held: Option<Vec<u8>>) {
        self.held = held;
    }

    /// Writes what was held back, and holds back no more.
    pub(crate) fn release(&mut self) -> io::Result<()> {
        match self.held.take() {
            Some(held) => self.bytes(&held),
            None => Ok(()),
        }
    }

    /// Lets the reader see what was written.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// From now on the program ends quietly as soon as the reader of its standard output is gone, though it has nothing to
/// write: for commands that only print and may wait for long. Files and terminals have no such reader.
///
/// A thread waits for that, so that no wait of a command needs to be cut into slices.
pub(crate) fn end_with_reader() {
    let watch = || {
        let stdout = io::stdout();
        loop {
            // No events are asked for: an error, which is what a pipe without a reader has, is always told.
            let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
            match poll(&mut watched, None) {
                Ok(_) if !watched[0].revents().is_empty() => std::process::exit(Exit::Done as i32),
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return, // the next write finds it out
            }
        }
    };
    #[expect(clippy::disallowed_methods, reason = "nothing else can wait for this beside what the command waits for")]
    std::thread::spawn(watch);
}

/// Prints help or the like and ends.
pub(crate) fn print(text: &str) -> Exit {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Exit::Done,
        Err(error) => Failure::Output(error).print(false),
    }
}
