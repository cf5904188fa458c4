//! `publish`: a message from the command line, a file or standard input, or one per line.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::time::Duration;

use dht_node::client::{Batch, Error, Producer, Published, Record, Retention};
use dht_node::wire::Status;
use serde_json::json;

use crate::args;
use crate::errors::{Exit, Failure, note};
use crate::input::{Next, Pieces, Separator};
use crate::session::Session;
use crate::text;

/// Bytes of records that make a batch worth sending.
const BATCH_BYTES: usize = 64 << 10;

/// Most records of a batch, so that an acknowledgement is never far.
const BATCH_RECORDS: u32 = 4096;

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
            publish_pieces(&publish.topic, &form, Pieces::read(input.reader, separator), &input.name, session)
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
    let mut batch = Batch::new();
    batch.push(&form.record(message)?)?;
    let published = session.client()?.publish(topic, &batch).map_err(Failure::about(topic))?;
    let mut total = Total::default();
    total.add(&published);
    total.print(topic, session)
}

/// Publishes pieces as they come: what is there goes out as one batch, and nothing waits for more.
fn publish_pieces(
    topic: &str,
    form: &Form,
    pieces: Pieces,
    input: &str,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let unreadable = |error| Failure::Input { name: input.to_owned(), error };
    let mut total = Total::default();
    let mut producer = session.client()?.producer(topic)?;
    let outcome = loop {
        match pieces.wait(INPUT_SLICE).map_err(unreadable)? {
            Next::Piece(piece) => {
                let sent = fill(form, piece, &pieces)
                    .map_err(unreadable)?
                    .and_then(|batches| batches.into_iter().try_for_each(|batch| producer.send(batch).map(|_| ())));
                if let Err(error) = sent {
                    break Err(error);
                }
            }
            Next::NotYet => {
                if let Err(error) = producer.poll() {
                    break Err(error);
                }
            }
            Next::End => break producer.flush(),
        }
        total.take(&mut producer);
    };
    total.take(&mut producer);
    let unacknowledged = producer.unacknowledged();
    match outcome {
        Ok(()) => total.print(topic, session),
        Err(error) => {
            if !session.settings.quiet && total.count > 0 {
                note(&format!(
                    "dht-cli: {} were stored before this, up to offset {}; {unacknowledged} batches were not acknowledged",
                    text::counted(total.count, "message"),
                    total.last
                ));
            }
            Err(Failure::about(topic)(error))
        }
    }
}

/// A piece and what is ready behind it, up to one batch; two when the last piece did not fit.
fn fill(form: &Form, first: Vec<u8>, pieces: &Pieces) -> io::Result<Result<Vec<Batch>, Error>> {
    let mut batches = vec![Batch::new()];
    let mut piece = first;
    loop {
        if let Err(error) = add(form, &piece, &mut batches) {
            return Ok(Err(error));
        }
        let is_full =
            batches.len() > 1 || batches[0].payload().len() >= BATCH_BYTES || batches[0].count() >= BATCH_RECORDS;
        match if is_full { Next::NotYet } else { pieces.ready()? } {
            Next::Piece(next) => piece = next,
            Next::NotYet | Next::End => return Ok(Ok(batches)),
        }
    }
}

fn add(form: &Form, piece: &[u8], batches: &mut Vec<Batch>) -> Result<(), Error> {
    let record = form.record(piece)?;
    let last = batches.last_mut().expect("there is one from the start");
    match last.push(&record) {
        Err(Error::BatchTooLarge { .. }) if !last.is_empty() => {
            let mut batch = Batch::new();
            batch.push(&record)?;
            batches.push(batch);
            Ok(())
        }
        other => other,
    }
}

/// What was stored.
#[derive(Default)]
struct Total {
    first: Option<Published>,
    last: u64,
    count: u64,
}

impl Total {
    fn add(&mut self, published: &Published) {
        let first = self.first.get_or_insert(*published);
        if published.base < first.base {
            *first = *published;
        }
        self.count += u64::from(published.count);
        self.last = self.last.max(published.base.0.saturating_add(u64::from(published.count)) - 1);
    }

    fn take(&mut self, producer: &mut Producer<'_>) {
        producer.acks().for_each(|ack| self.add(&ack.published));
    }

    fn print(&self, topic: &str, session: &mut Session) -> Result<Exit, Failure> {
        let Some(first) = &self.first else {
            if session.out.is_json() {
                session.out.json(&json!({"topic": topic, "offset": null, "count": 0}))?;
            } else if !session.settings.quiet {
                session.out.line("nothing to publish")?;
            }
            return Ok(Exit::Done);
        };
        let durability = first.durability.name();
        if session.out.is_json() {
            session.out.json(&json!({
                "topic": topic, "offset": first.base.0, "count": self.count, "last_offset": self.last,
                "durability": durability, "append_us": first.append_us,
            }))?;
        } else if !session.settings.quiet {
            let line = if self.count == 1 {
                format!("published to {topic} at offset {} ({durability})", first.base)
            } else {
                format!(
                    "published {} messages to {topic} at offsets {} to {} ({durability})",
                    self.count, first.base, self.last
                )
            };
            session.out.line(&line)?;
        }
        Ok(Exit::Done)
    }
}
