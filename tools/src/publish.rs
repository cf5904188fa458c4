//! `publish`: publishes a message from the command line, a file or standard input, or one message per line.

use std::convert::Infallible;
use std::io::Read;

use dht_client::{OpenedProducer, Retention};
use dht_console::errors::{Exit, Failure, Partial, note};
use dht_console::interrupt;
use dht_console::session::Session;
use dht_console::text;
use dht_protocol::wire::Status;
use serde_json::json;

use crate::args;
use crate::forms::Form;
use crate::input::{Input, Separator};
use crate::outgoing::{Halt, Outgoing, Stored};
use crate::stream::{Parsed, Source, conclude};

/// Maximum number of bytes read for one message. It is far more than a message can have, so that the error can state
/// the size.
const INPUT_MAX: u64 = 256 << 20;

/// Runs the command `publish TOPIC [MESSAGE]`.
pub(crate) fn publish(publish: &args::Publish, session: &mut Session) -> Result<Exit, Failure> {
    let form = Form::new(publish)?;
    let separator = match (publish.lines || form.has_pieces(), publish.null) {
        (_, true) if publish.lines => return Err(Failure::usage("-l and -0 exclude each other".to_owned())),
        (_, true) => Some(Separator::Null),
        (true, false) => Some(Separator::Line),
        (false, false) => None,
    };
    let typed = publish.message.as_deref().filter(|message| *message != "-");
    if typed.is_some() && (separator.is_some() || publish.file.is_some()) {
        return Err(Failure::usage_with(
            "a MESSAGE excludes -l, -0 and -f".to_owned(),
            "those read messages from a file or standard input".to_owned(),
        ));
    }
    if publish.resume && publish.producer.is_none() {
        return Err(Failure::usage_with(
            "--resume needs --producer NAME".to_owned(),
            "the name under which the topic counts what it stores of this input".to_owned(),
        ));
    }
    if publish.producer.as_deref() == Some("") {
        return Err(Failure::usage_with(
            "--producer is empty".to_owned(),
            "name this input, so that --resume can find it".to_owned(),
        ));
    }
    if publish.create {
        create_if_missing(&publish.topic, session)?;
    }
    let instead = "publish TOPIC MESSAGE, or -f FILE";
    match (separator, typed) {
        (Some(separator), _) => {
            let input = Input::open(publish.file.as_deref(), instead, session)?;
            publish_pieces(publish, &form, Source::new(input, separator, session), session)
        }
        (None, Some(message)) => publish_one(publish, &form, message.as_bytes().to_vec(), session),
        (None, None) => {
            let mut input = Input::open(publish.file.as_deref(), instead, session)?;
            let mut message = Vec::new();
            let read = input.reader.by_ref().take(INPUT_MAX).read_to_end(&mut message);
            read.map_err(|error| Failure::Input { name: input.name, error })?;
            publish_one(publish, &form, message, session)
        }
    }
}

fn create_if_missing(topic: &str, session: &mut Session) -> Result<(), Failure> {
    match session.client()?.create(topic, Retention::default()) {
        Ok(_) => Ok(()),
        // The topic exists, with a retention that somebody else chose.
        Err(error) if error.status() == Some(Status::TopicExists) => Ok(()),
        Err(error) => Err(Failure::about(topic)(error)),
    }
}

/// The publishing of an input, and the input's name if it has one.
struct Begun<'s> {
    outgoing: Outgoing<'s>,
    named: Option<Named>,
}

/// A named input.
#[derive(Clone, Debug)]
struct Named {
    name: String,
    /// Number of its messages that were already stored.
    stored: u64,
}

/// Starts to publish, under a name if one was given.
fn begin<'s>(publish: &args::Publish, unit: &str, session: &'s mut Session) -> Result<Begun<'s>, Failure> {
    let (topic, is_quiet) = (publish.topic.as_str(), session.settings.quiet);
    let client = session.client()?;
    let Some(name) = &publish.producer else {
        return Ok(Begun { outgoing: Outgoing::new(client.producer(topic)?), named: None });
    };
    let (producer, opened) = client.named_producer(topic, name, publish.resume).map_err(Failure::about(topic))?;
    let OpenedProducer { records: stored, forgotten, .. } = opened;
    if !is_quiet && stored > 0 {
        let messages = text::counted(stored, "message");
        note(&format!("dht-cli: {topic} has {messages} of {name}; skipping as many {unit}s"));
    } else if !is_quiet && publish.resume {
        note(&format!("dht-cli: {topic} has nothing of {name} yet; starting with the first {unit}"));
    }
    if forgotten > 0 && stored == 0 {
        note(&format!(
            "dht-cli: {topic} has forgotten {}; if {name} is one of them, its messages are stored again",
            text::counted(forgotten, "named producer")
        ));
    }
    Ok(Begun { outgoing: Outgoing::continuing(producer, stored), named: Some(Named { name: name.clone(), stored }) })
}

fn publish_one(publish: &args::Publish, form: &Form, message: Vec<u8>, session: &mut Session) -> Result<Exit, Failure> {
    let topic = publish.topic.as_str();
    let Parsed::Record(content) = form.parse::<Infallible>(message)? else { return Ok(Exit::Done) };
    // A producer can send a batch again whatever its outcome: it is stored once.
    let Begun { mut outgoing, named } = begin(publish, "message", session)?;
    let sent = outgoing.push(&content.record()?, 1).and_then(|()| outgoing.flush().map_err(Halt::Cube));
    sent.map_err(|halt| match halt {
        Halt::Record(error) => error.into(),
        Halt::Cube(error) => Failure::about(topic)(error),
    })?;
    is_whole(&outgoing, named.as_ref(), topic)?;
    print(publish, named.as_ref(), &outgoing.stored(), 0, None, session)?;
    Ok(Exit::Done)
}

/// Returns an error if the input has fewer messages than are stored under its name, because it is then another input.
fn is_whole(outgoing: &Outgoing<'_>, named: Option<&Named>, topic: &str) -> Result<(), Failure> {
    match (named, outgoing.missing()) {
        (None, _) | (_, 0) => Ok(()),
        (Some(Named { stored, name }), missing) => {
            let [found, stored] = [stored - missing, *stored].map(|count| text::counted(count, "message"));
            let what = format!("this is another input: it has {found}, and {topic} has {stored} of {name}");
            Err(Failure::Found(what))
        }
    }
}

/// Publishes the pieces of an input. If the input fails, the pieces read before are still stored, and the exact number
/// of stored pieces is reported.
fn publish_pieces(
    publish: &args::Publish,
    form: &Form,
    mut source: Source,
    session: &mut Session,
) -> Result<Exit, Failure> {
    interrupt::listen()?;
    let mut skipped = 0;
    let mut parse = |bytes| {
        let parsed = form.parse(bytes);
        skipped += u64::from(matches!(parsed, Ok(Parsed::Skip)));
        parsed
    };
    let Begun { mut outgoing, named } = begin(publish, source.unit, session)?;
    let pumped = source.pump::<Infallible>(&mut outgoing, &mut parse);
    let concluded = conclude(&mut outgoing, pumped, source.unit, &publish.topic);
    let stored = outgoing.stored();
    source.progress.end();
    if concluded.is_ok() {
        is_whole(&outgoing, named.as_ref(), &publish.topic)?;
    }
    print(publish, named.as_ref(), &stored, skipped, concluded.as_ref().err().map(|(_, partial)| partial), session)?;
    match concluded {
        Ok(_) => Ok(Exit::Done),
        Err((cause, partial)) => {
            let producer = publish.producer.clone();
            Err(Failure::Partial { cause, partial: Partial { producer, ..partial } })
        }
    }
}

/// Prints what was stored; `partial` is set if that is not everything.
fn print(
    publish: &args::Publish,
    named: Option<&Named>,
    stored: &Stored,
    skipped: u64,
    partial: Option<&Partial>,
    session: &mut Session,
) -> Result<(), Failure> {
    let topic = publish.topic.as_str();
    let Stored { first, last, count, .. } = *stored;
    if session.out.is_json() {
        let mut value = json!({
            "topic": topic, "offset": first.map(|first| first.base.0), "count": count,
            "last_offset": first.map(|_| last), "durability": first.map(|first| first.durability.name()),
            "append_us": first.map(|first| first.append_us), "complete": partial.is_none(),
        });
        if let Some(Named { name, stored }) = named {
            value["producer"] = json!(name);
            value["stored_before"] = json!(stored);
        }
        if skipped > 0 {
            value["skipped"] = json!(skipped);
        }
        if let Some(partial) = partial {
            value["exact"] = json!(partial.is_exact);
            value["failed_at"] = json!(partial.at);
        }
        session.out.json(&value)?;
    } else if !session.settings.quiet {
        let line = match first {
            None if partial.is_some() => return Ok(()),
            None if named.is_some_and(|named| named.stored > 0) => format!("{topic} has all of it already"),
            None => "nothing to publish".to_owned(),
            Some(first) if count == 1 => {
                format!("published to {topic} at offset {} ({})", first.base, first.durability.name())
            }
            Some(first) => {
                let durability = first.durability.name();
                format!("published {count} messages to {topic} at offsets {} to {last} ({durability})", first.base)
            }
        };
        let skipped =
            if skipped == 0 { String::new() } else { format!(", {} skipped", text::counted(skipped, "line")) };
        session.out.line(&format!("{line}{skipped}"))?;
    }
    Ok(())
}
