//! `nc`: netcat for the cube. Every line is a command, and all of them share one connection.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use dht_client::{Deadline, Dimension, Direction};
use dht_console::errors::{Exit, Failure, note};
use dht_console::output::{BOLD, Out};
use dht_console::session::{Session, addresses};
use dht_console::text;
use serde_json::json;

use crate::args;
use crate::decode;
use crate::input::{InputError, Next, PIECE_BYTES_MAX, Piece, Pieces, Separator};
use crate::live::Live;
use crate::{Parsed, execute, parse};

/// How long to wait for a line before the connection is serviced.
const SLICE: Duration = Duration::from_millis(100);

/// The same while there are subscriptions. It bounds the delay until their records are shown.
const SLICE_LIVE: Duration = Duration::from_millis(10);

/// Runs the command `nc [HOST PORT]`.
pub(crate) fn nc(nc: &args::Nc, session: &mut Session, live: &mut Live) -> Result<Exit, Failure> {
    if session.is_line {
        return Err(Failure::usage("nc within nc".to_owned()));
    }
    match nc.address.as_slice() {
        [] => {}
        [address] => session.settings.servers = addresses(address)?,
        [host, port] => session.settings.servers = addresses(&format!("{host}:{port}"))?,
        _ => return Err(Failure::usage_with("too many words".to_owned(), "nc takes HOST PORT at most".to_owned())),
    }
    let wait = nc.wait.as_deref().map(|wait| text::waiting("-w", wait)).transpose()?;
    let quit_after = nc.quit_after.as_deref().map(text::duration).transpose()?;
    session.settings.tap = nc.hex;
    session.client()?;
    session.is_line = true;
    show_frames(session)?;
    let prompt = Prompt::new(session);
    let mut pieces = Pieces::read(Box::new(io::stdin()), Separator::Line);
    let mut exit = Exit::Done;
    let patience = || wait.map_or(Deadline::NEVER, Deadline::after);
    let mut deadline = patience();
    prompt.show();
    loop {
        match pieces.wait(slice(live)).map_err(unreadable)? {
            Next::Piece(line) => {
                match text_of(line).and_then(|line| command(&line, session, live)) {
                    Ok(Some(Exit::Done)) => {}
                    Ok(Some(failed)) => exit = failed,
                    Ok(None) => return Ok(exit),
                    Err(Failure::Output(error)) => return Err(error.into()),
                    Err(failure) => exit = session.report(failure),
                }
                session.out.flush()?;
                exit = look_after(&Prompt(None), session, live)?.unwrap_or(exit);
                deadline = patience();
                prompt.show();
            }
            Next::NotYet => {
                exit = look_after(&prompt, session, live)?.unwrap_or(exit);
                if deadline.is_over() {
                    return Ok(exit);
                }
            }
            Next::End => break,
        }
    }
    let end = quit_after.map_or_else(Deadline::at_once, Deadline::after);
    while !end.is_over() {
        exit = look_after(&prompt, session, live)?.unwrap_or(exit);
        dht_console::clock::pause(slice(live).min(end.remaining().unwrap_or(SLICE)));
    }
    Ok(exit)
}

fn unreadable(error: InputError) -> Failure {
    match error {
        InputError::Unreadable(error) => Failure::Input { name: "standard input".to_owned(), error },
        InputError::TooLong => Failure::Found(format!("a line has more than {PIECE_BYTES_MAX} bytes")),
    }
}

/// Converts a line to text. Invalid bytes are rejected rather than replaced, because the replacement would be
/// published.
fn text_of(line: Piece) -> Result<String, Failure> {
    String::from_utf8(line.bytes).map_err(|_| {
        Failure::usage_with(
            format!("line {} is not UTF-8", line.number),
            "publish such a message from a file: publish TOPIC -f FILE".to_owned(),
        )
    })
}

fn slice(live: &Live) -> Duration {
    if live.is_empty() { SLICE } else { SLICE_LIVE }
}

/// Runs a line. Returns `None` if it asks to end.
fn command(line: &str, session: &mut Session, live: &mut Live) -> Result<Option<Exit>, Failure> {
    // Lines may end with CR LF.
    let words = shlex::split(line.strip_suffix('\r').unwrap_or(line)).ok_or_else(|| {
        Failure::usage_with(
            "a quote is not closed, or the line ends with \\".to_owned(),
            "words are quoted as in a shell: publish TOPIC 'two words'".to_owned(),
        )
    })?;
    match words.first().map(String::as_str) {
        None => return Ok(Some(Exit::Done)),
        Some("exit" | "quit") if words.len() == 1 => return Ok(None),
        Some("unsubscribe" | "unsub") => {
            let exit = live.end(&words[1..], session);
            show_frames(session)?;
            return exit.map(Some);
        }
        Some(_) => {}
    }
    let (top, verb) = match parse(&words)? {
        Parsed::Top(top, verb) => (*top, verb),
        Parsed::Help(text) => {
            session.out.line(text.trim_end())?;
            return Ok(Some(Exit::Done));
        }
    };
    if top.server.is_some() || top.timeout.is_some() || top.ping_after.is_some() || top.color.is_some() {
        return Err(Failure::usage_with(
            "--server, --timeout, --ping-after and --color cannot change here".to_owned(),
            "all lines use one connection; give them to dht-cli nc".to_owned(),
        ));
    }
    let Some(command) = top.command else { return Err(Failure::usage("no command".to_owned())) };
    let before = session.settings.clone();
    session.settings.quiet |= top.quiet;
    session.settings.json |= top.json;
    session.out.set_json(session.settings.json);
    if session.settings.tap {
        session.out.hold(); // the output of a command follows the frames that it is derived from
    }
    let outcome = execute(command, verb.as_deref(), session, live);
    let shown = show_frames(session);
    session.out.release()?;
    shown?;
    // A failure is printed in the format that this line asked for.
    let exit = match outcome {
        Ok(exit) => exit,
        Err(Failure::Output(error)) => return Err(error.into()),
        Err(failure) => session.report(failure),
    };
    session.settings = before;
    session.out.set_json(session.settings.json);
    Ok(Some(exit))
}

/// Answers PINGs, prints the items of subscriptions, and reports if the node closes the connection. Returns the exit
/// code of what failed.
fn look_after(prompt: &Prompt, session: &mut Session, live: &mut Live) -> Result<Option<Exit>, Failure> {
    let mut exit = None;
    if !live.is_empty() {
        session.out.hold();
        let shown = live.show(session);
        // The line that the user is typing must stay readable: records get lines of their own, and the prompt is
        // printed again.
        let held = session.out.take_held().unwrap_or_default();
        show_frames(session)?;
        if !held.is_empty() {
            prompt.leave();
            session.out.bytes(&held)?;
            session.out.flush()?;
            prompt.show();
        }
        exit = match shown {
            Ok(Exit::Done) => None,
            Ok(failed) => Some(failed),
            Err(Failure::Output(error)) => return Err(error.into()),
            Err(failure) => Some(session.report(failure)),
        };
    } else if let Some(client) = session.connected()
        && client.server().is_some()
        && let Err(error) = client.idle(Duration::ZERO)
    {
        note(&format!("dht-cli: {error}; the next line connects anew"));
    }
    show_frames(session)?;
    Ok(exit)
}

/// Prints the frames that the connection has carried since the last call.
fn show_frames(session: &mut Session) -> Result<(), Failure> {
    if !session.settings.tap {
        return Ok(());
    }
    let Some(client) = session.connected() else { return Ok(()) };
    let dimension = client.hello().and_then(|hello| Dimension::new(hello.dimension));
    let dimension = dimension.unwrap_or(Dimension::new(0).expect("a cube of one node"));
    let frames = client.tapped();
    let held = session.out.take_held();
    for (direction, bytes) in frames {
        show_frame(direction, &bytes, dimension, &mut session.out)?;
    }
    session.out.flush()?;
    session.out.restore_held(held);
    Ok(())
}

fn show_frame(direction: Direction, bytes: &[u8], dimension: Dimension, out: &mut Out) -> io::Result<()> {
    let (arrow, word) = match direction {
        Direction::Sent => (">", "sent"),
        Direction::Received => ("<", "received"),
    };
    if out.is_json() {
        let mut value = decode::frame_json(bytes, dimension);
        value["direction"] = json!(word);
        return out.json(&json!({"frame": value}));
    }
    decode::print_frame(&out.paint(BOLD, &format!("{arrow} {word}")), arrow, bytes, dimension, out)
}

/// The prompt.
struct Prompt(Option<String>);

impl Prompt {
    fn new(session: &mut Session) -> Self {
        let is_person = io::stdin().is_terminal() && session.out.is_terminal() && !session.settings.quiet;
        let server = session.connected().and_then(|client| client.server()).unwrap_or_default();
        Self(is_person.then(|| format!("{server}> ")))
    }

    /// Moves to a line of its own.
    fn leave(&self) {
        if self.0.is_some() {
            let _ = io::stdout().write_all(b"\n");
        }
    }

    fn show(&self) {
        if let Some(prompt) = &self.0 {
            let mut stdout = io::stdout();
            let _ = stdout.write_all(prompt.as_bytes()).and_then(|()| stdout.flush());
        }
    }
}
