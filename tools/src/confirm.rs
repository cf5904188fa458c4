//! Asks the user for confirmation before data is destroyed.

use std::io::{self, BufRead, IsTerminal, Write};

use dht_console::errors::Failure;
use dht_console::session::Session;

/// Refuses a destructive command without `-y` if the user cannot be asked: a program that pipes in a prepared answer
/// may not know the question. `verb` says what the command does, `command` how to write it with `-y`.
///
/// # Errors
/// Returns [`Failure::Usage`] if standard input or standard error is not a terminal, or if standard input is the script
/// of `nc`.
pub(crate) fn require_person(verb: &str, command: &str, session: &Session) -> Result<(), Failure> {
    if !session.is_line && io::stdin().is_terminal() && io::stderr().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage_with(
        format!("there is no terminal to ask whether to {verb}; nothing was done"),
        format!("to {verb} without being asked: {command}"),
    ))
}

/// Asks the user; any answer except yes means no.
pub(crate) fn ask(question: &str) -> bool {
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}
