//! `publish`: a message from the command line, a file or standard input, or one per line.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::time::Duration;

use dht_node::client::{Error, Record, Retention};
use dht_node::wire::Status;
use serde_json::json;

use crate::args;
use crate::errors::{Exit, Failure, Partial, note};
use crate::input::{InputError, Next, PIECE_BYTES_MAX, Pieces, Separator};
use crate::interrupt;
use crate::outgoing::{Halt, Outgoing, Stored};
use crate::session::Session;

/// Most bytes that are read for one message; far more than one can have, so that its size can be told.
const INPUT_MAX: u64 = 256 << 20;

/// How long standard input is waited for before the connection is looked after.
const INPUT_SLICE: Duration = Duration::from_millis(50);

/// `publish TOPIC [MESSAGE]`
pub(crate) fn publish(publish: &args::Publish, session: &mut Session) -> Result<Exit, Failure> {
    let form = Form::new(publish)?;
    let separator = match (publish.lines, publish.null) {
        (true, true) => return Err(Failure::usage("-l and -0 exclude each other".to_owned())),
        (true, false) => Some(Separator::Line),
        (false, true) => Some(Separator::Null),
        (false, false) => None,
    };
    let typed = publish.message.as_deref().filter(|message| *message != "-");
    if typed.is_some() && (separator.is_some() || publish.file.is_some()) {
        return Err(Failure::usage_with(
            "a MESSAGE excludes -l, -0 and -f".to_owned(),
            "those read messages from a file or standard input".to_owned(),
        ));
    }
    if publish.create {
        create_if_missing(&publish.topic, session)?;
    }
    match (separator, typed) {
        (Some(separator), _) => {
            let input = Input::open(publish, session)?;
            let source =
                Source { pieces: Pieces::read(input.reader, separator), unit: separator.unit(), input: input.name };
            publish_pieces(&publish.topic, &form, source, session)
        }
        (None, Some(message)) => publish_one(&publish.topic, &form, message.as_bytes(), session),
        (None, None) => {
            let mut input = Input::open(publish, session)?;
            let mut message = Vec::new();
            let read = input.reader.by_ref().take(INPUT_MAX).read_to_end(&mut message);
            read.map_err(|error| Failure::Input { name: input.name, error })?;
            publish_one(&publish.topic, &form, &message, session)
        }
    }
}

/// What all messages of a command have in common.
struct Form {
    key: Option<String>,
    headers: Vec<u8>,
}

impl Form {
    fn new(publish: &args::Publish) -> Result<Self, Failure> {
        let mut headers = Vec::new();
        for header in &publish.header {
            let Some((name, value)) = header.split_once('=') else {
                return Err(Failure::usage_with(
                    format!("{header:?} is not a header"),
                    "write it like -H NAME=VALUE".to_owned(),
                ));
            };
            headers.push((name, value.as_bytes()));
        }
        let headers = dht_node::wire::records::encode_headers(headers).map_err(Error::from)?;
        Ok(Self { key: publish.key.clone(), headers })
    }

    fn record<'r>(&'r self, value: &'r [u8]) -> Result<Record<'r>, Error> {
        let record = Record { key: self.key.as_deref().map(str::as_bytes), value, ..Record::default() };
        Ok(record.with_headers(&self.headers)?)
    }
}

/// Where messages are read from.
struct Input {
    name: String,
    reader: Box<dyn Read + Send>,
}

impl Input {
    fn open(publish: &args::Publish, session: &Session) -> Result<Self, Failure> {
        match publish.file.as_deref() {
            Some(name) if name != "-" => match File::open(name) {
                Ok(file) => Ok(Self { name: name.to_owned(), reader: Box::new(file) }),
                Err(error) => Err(Failure::Input { name: name.to_owned(), error }),
            },
            _ if session.is_line => Err(Failure::usage_with(
                "no message".to_owned(),
                "standard input has the commands here: publish TOPIC MESSAGE, or -f FILE".to_owned(),
            )),
            _ => {
                if io::stdin().is_terminal() && !session.settings.quiet {
                    note("reading from the terminal, end with Ctrl-D");
                }
                Ok(Self { name: "standard input".to_owned(), reader: Box::new(io::stdin()) })
            }
        }
    }
}

fn create_if_missing(topic: &str, session: &mut Session) -> Result<(), Failure> {
    match session.client()?.create(topic, Retention::default()) {
        Ok(_) => Ok(()),
        // It is there, with a retention that somebody chose.
        Err(error) if error.status() == Some(Status::TopicExists) => Ok(()),
        Err(error) => Err(Failure::about(topic)(error)),
    }
}

fn publish_one(topic: &str, form: &Form, message: &[u8], session: &mut Session) -> Result<Exit, Failure> {
    // What a producer sends can be sent again whatever became of it: it is stored once.
    let mut outgoing = Outgoing::new(session.client()?.producer(topic)?);
    outgoing.push(&form.record(message)?, 1).and_then(|()| outgoing.flush().map_err(Halt::Cube)).map_err(|halt| {
        match halt {
            Halt::Record(error) => error.into(),
            Halt::Cube(error) => Failure::about(topic)(error),
        }
    })?;
    print(topic, &outgoing.stored(), None, session)?;
    Ok(Exit::Done)
}

/// What is published piece by piece.
struct Source {
    pieces: Pieces,
    /// What a piece is called.
    unit: &'static str,
    /// What the input is called.
    input: String,
}

/// Publishes pieces as they come: what is there goes out as one batch, and nothing waits for more. When it cannot go
/// on, what was read before is stored all the same, and how much that is is told exactly.
fn publish_pieces(topic: &str, form: &Form, mut source: Source, session: &mut Session) -> Result<Exit, Failure> {
    interrupt::listen()?;
    let mut outgoing = Outgoing::new(session.client()?.producer(topic)?);
    let halted = match pump(form, &mut source, &mut outgoing) {
        Ok(()) => outgoing.flush().map_err(Halted::by_cube),
        Err(Halted { cause: Cause::Local(cause), at }) => {
            outgoing.flush().map_err(Halted::by_cube).and(Err(Halted { cause: Cause::Local(cause), at }))
        }
        Err(by_cube) => Err(by_cube),
    };
    let Err(Halted { cause, at }) = halted else {
        print(topic, &outgoing.stored(), None, session)?;
        return Ok(Exit::Done);
    };
    let (cause, is_exact) = match cause {
        Cause::Local(cause) => (cause, true),
        Cause::Cube(error) => {
            let is_exact = outgoing.settle().is_ok() && !error.may_be_done();
            (Box::new(Failure::about(topic)(error)), is_exact)
        }
    };
    let stored = outgoing.stored();
    let partial = Partial { unit: source.unit, at, through: stored.through, is_exact };
    print(topic, &stored, Some(&partial), session)?;
    Err(Failure::Partial { cause, partial })
}

/// Why there is no going on, and at which piece.
struct Halted {
    cause: Cause,
    at: Option<u64>,
}

enum Cause {
    /// The input, a piece of it, or Ctrl-C: what was read before is to be stored.
    Local(Box<Failure>),
    /// The cube does not take what was sent.
    Cube(Error),
}

impl Halted {
    const fn by_cube(error: Error) -> Self {
        Self { cause: Cause::Cube(error), at: None }
    }

    fn by_halt(halt: Halt, number: u64) -> Self {
        match halt {
            Halt::Record(error) => Self { cause: Cause::Local(Box::new(error.into())), at: Some(number) },
            Halt::Cube(error) => Self::by_cube(error),
        }
    }
}

/// Hands on pieces up to the end of the input, or Ctrl-C.
fn pump(form: &Form, source: &mut Source, outgoing: &mut Outgoing<'_>) -> Result<(), Halted> {
    let Source { pieces, unit, input } = source;
    let mut is_idle = false;
    loop {
        let next = if is_idle { pieces.wait(INPUT_SLICE) } else { pieces.ready() };
        let next = next.map_err(|error| unreadable(error, pieces.next_number(), unit, input))?;
        is_idle = matches!(next, Next::NotYet);
        match next {
            Next::Piece(piece) => {
                let record = form.record(&piece.bytes);
                let record = record.map_err(|error| Halted::by_halt(Halt::Record(error), piece.number))?;
                outgoing.push(&record, piece.number).map_err(|halt| Halted::by_halt(halt, piece.number))?;
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
    if interrupt::is_pressed() {
        Err(Halted { cause: Cause::Local(Box::new(Failure::Interrupted)), at: None })
    } else {
        Ok(())
    }
}

fn unreadable(error: InputError, number: u64, unit: &str, input: &str) -> Halted {
    match error {
        InputError::Unreadable(error) => {
            Halted { cause: Cause::Local(Box::new(Failure::Input { name: input.to_owned(), error })), at: None }
        }
        InputError::TooLong => {
            let what = format!("this {unit} has more than {PIECE_BYTES_MAX} bytes");
            Halted { cause: Cause::Local(Box::new(Failure::Found(what))), at: Some(number) }
        }
    }
}

/// Says what was stored; `partial` when that is not all.
fn print(topic: &str, stored: &Stored, partial: Option<&Partial>, session: &mut Session) -> Result<(), Failure> {
    let Stored { first, last, count, .. } = *stored;
    if session.out.is_json() {
        let mut value = json!({
            "topic": topic, "offset": first.map(|first| first.base.0), "count": count,
            "last_offset": first.map(|_| last), "durability": first.map(|first| first.durability.name()),
            "append_us": first.map(|first| first.append_us), "complete": partial.is_none(),
        });
        if let Some(partial) = partial {
            value["exact"] = json!(partial.is_exact);
            value["failed_at"] = json!(partial.at);
        }
        session.out.json(&value)?;
    } else if !session.settings.quiet {
        let line = match first {
            None if partial.is_some() => return Ok(()),
            None => "nothing to publish".to_owned(),
            Some(first) if count == 1 => {
                format!("published to {topic} at offset {} ({})", first.base, first.durability.name())
            }
            Some(first) => {
                let durability = first.durability.name();
                format!("published {count} messages to {topic} at offsets {} to {last} ({durability})", first.base)
            }
        };
        session.out.line(&line)?;
    }
    Ok(())
}
