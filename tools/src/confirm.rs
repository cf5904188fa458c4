//! Asking a person before something is destroyed.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::errors::Failure;
use crate::session::Session;

/// Refuses a command that destroys something and was not given `-y` where nobody can be asked: a program that has
/// written its answer in advance may not know the question. `verb` is what is done, `command` how to write it.
///
/// # Errors
/// [`Failure::Usage`] when standard input or standard error is no terminal, or standard input has the lines of `nc`.
pub(crate) fn require_person(verb: &str, command: &str, session: &Session) -> Result<(), Failure> {
    if !session.is_line && io::stdin().is_terminal() && io::stderr().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage_with(
        format!("there is no terminal to ask whether to {verb}; nothing was done"),
        format!("to {verb} without being asked: {command}"),
    ))
}

/// Asks; anything but yes is no.
pub(crate) fn ask(question: &str) -> bool {
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}
