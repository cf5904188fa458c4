//! `export` and `import`: whole topics as lines of JSON.
//!
//! ```text
//! {"export":"weather","retention":{"records":0,"bytes":1073741824,"age_ms":0},"first_offset":0,"next_offset":2}
//! {"topic":"weather","offset":0,"payload":"sunny",…}
//! {"topic":"weather","offset":1,"payload":"rainy",…}
//! {"exported":"weather","records":2}
//! ```
//!
//! The last line of a topic distinguishes a complete export from a truncated one. Imported records get new offsets and
//! append times; everything that their publisher set is preserved.

use std::collections::{BTreeMap, BTreeSet};

use dht_client::json::{self, Content, Line};
use dht_client::{Item, Retention, Start, TopicName};
use dht_console::errors::{Exit, Failure, Partial};
use dht_console::interrupt;
use dht_console::session::Session;
use dht_console::text;
use dht_protocol::wire::Status;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args;
use crate::forms::no_record;
use crate::input::{Input, Piece, Separator};
use crate::outgoing::Outgoing;
use crate::progress::Progress;
use crate::stream::{Parsed, Source, conclude, push};

/// The first line of a topic.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Head {
    export: String,
    retention: Kept,
    first_offset: u64,
    next_offset: u64,
}

/// The retention of a topic; 0 means no bound.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    records: u64,
    bytes: u64,
    age_ms: u64,
}

/// The last line of a topic.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Tail {
    exported: String,
    records: u64,
}

/// Runs the command `export TOPIC…`.
pub(crate) fn export(export: &args::Export, session: &mut Session) -> Result<Exit, Failure> {
    if export.topics.is_empty() {
        return Err(Failure::usage("no topic given".to_owned()));
    }
    let mut progress = Progress::new(None, false, session);
    for topic in &export.topics {
        let records = export_topic(topic, &mut progress, session)?;
        if !session.settings.quiet && !session.is_line {
            progress.say(&format!("dht-cli: exported {topic} with {}", text::counted(records, "record")));
        }
    }
    Ok(Exit::Done)
}

fn export_topic(topic: &str, progress: &mut Progress, session: &mut Session) -> Result<u64, Failure> {
    let about = Failure::about(topic);
    let is_quiet = session.settings.quiet;
    let (client, out) = session.client_and_out()?;
    let state = client.info(topic).map_err(&about)?.topic;
    let Some(state) = state else { return Err(Failure::Found(format!("{topic}: there is no such topic"))) };
    let Retention { records, bytes, age_ms } = state.retention;
    let head = Head {
        export: topic.to_owned(),
        retention: Kept { records, bytes, age_ms },
        first_offset: state.first.0,
        next_offset: state.next.0,
    };
    out.json(&json!(head))?;
    let mut count = 0;
    for item in client.records(topic, Start::Earliest)? {
        match item.map_err(&about)? {
            Item::Record(message) => {
                count += 1;
                progress.add(message.value.len());
                out.json(&json::encode(topic, &message))?;
            }
            Item::Notice(_) => {} // only subscriptions have them
            Item::Gap { from, to } => {
                out.json(&json!({"gap": [from.0, to.0], "topic": topic}))?;
                if !is_quiet {
                    let last = to.0.saturating_sub(1);
                    progress.say(&format!("dht-cli: {topic}: retention removed offsets {from} to {last} meanwhile"));
                }
            }
            Item::Lost { from, to } => {
                out.json(&json!({"gap": [from.0, to.0], "topic": topic, "lost": true}))?;
                let last = to.0.saturating_sub(1);
                progress
                    .say(&format!("dht-cli: {topic}: offsets {from} to {last} cannot be read from their node's disk"));
            }
        }
    }
    out.json(&json!(Tail { exported: topic.to_owned(), records: count }))?;
    out.flush()?;
    Ok(count)
}

/// The content of a line of an export.
#[derive(Debug)]
enum Entry {
    Head(Head),
    Record(String, Content),
    Tail(Tail),
}

/// The state of an import.
#[derive(Default)]
struct Import {
    is_append: bool,
    /// The topics that have been checked, with the number of their records in this import.
    topics: BTreeMap<String, u64>,
    /// The topics whose first line has been read and whose last line has not.
    open: BTreeSet<String>,
    /// All lines up to this one have been handled.
    through: u64,
}

/// Runs the command `import [FILE]`.
pub(crate) fn import(import: &args::Import, session: &mut Session) -> Result<Exit, Failure> {
    let input = Input::open(import.file.as_deref(), "import FILE", session)?;
    interrupt::listen()?;
    session.client()?;
    let mut source = Source::new(input, Separator::Line, session);
    let mut state = Import { is_append: import.append, ..Import::default() };
    let outcome = state.run(&mut source, session);
    source.progress.end();
    for (topic, records) in &state.topics {
        if session.out.is_json() {
            session.out.json(&json!({"topic": topic, "records": records, "complete": outcome.is_ok()}))?;
        } else if !session.settings.quiet {
            session.out.line(&format!("imported {} to {topic}", text::counted(*records, "record")))?;
        }
    }
    outcome.map_err(|(cause, partial)| Failure::Partial { cause, partial })?;
    Ok(Exit::Done)
}

type Stopped = (Box<Failure>, Partial);

impl Import {
    fn run(&mut self, source: &mut Source, session: &mut Session) -> Result<(), Stopped> {
        let mut next = self.next(source, session)?;
        while let Some((entry, number)) = next {
            next = match entry {
                Entry::Head(head) => {
                    self.begin(&head.export, Some(head.retention), session).map_err(|cause| self.at(number, cause))?;
                    self.open.insert(head.export);
                    self.through = number;
                    self.next(source, session)?
                }
                Entry::Tail(tail) => {
                    self.end(&tail).map_err(|cause| self.at(number, cause))?;
                    self.through = number;
                    self.next(source, session)?
                }
                Entry::Record(topic, content) => {
                    self.begin(&topic, None, session).map_err(|cause| self.at(number, cause))?;
                    self.records(&topic, (content, number), source, session)?
                }
            };
        }
        match self.open.first() {
            None => Ok(()),
            Some(topic) => {
                let what = format!("the export of {topic} was cut off: its last line is missing");
                Err(self.stopped(Failure::usage_with(what, "export it again".to_owned()), None))
            }
        }
    }

    /// Returns the next line that is not blank.
    fn next(&self, source: &mut Source, session: &mut Session) -> Result<Option<(Entry, u64)>, Stopped> {
        loop {
            let client = session.client().map_err(|cause| self.stopped(cause, None))?;
            let next = source.next(client).map_err(|(cause, at)| self.stopped(*cause, at))?;
            let Some(Piece { bytes, number }) = next else { return Ok(None) };
            if let Some(entry) = parse(&bytes).map_err(|cause| self.at(number, cause))? {
                return Ok(Some((entry, number)));
            }
        }
    }

    /// Publishes the records of a topic, up to a line of another kind or topic.
    fn records(
        &mut self,
        topic: &str,
        first: (Content, u64),
        source: &mut Source,
        session: &mut Session,
    ) -> Result<Option<(Entry, u64)>, Stopped> {
        let client = session.client().map_err(|cause| self.stopped(cause, None))?;
        let producer = client.producer(topic).map_err(|error| self.stopped(error.into(), None))?;
        let mut outgoing = Outgoing::new(producer);
        let mut parse = |bytes: Vec<u8>| {
            Ok(match parse(&bytes)? {
                None => Parsed::Skip,
                Some(Entry::Record(of, content)) if of == topic => Parsed::Record(content),
                Some(other) => Parsed::Other(other),
            })
        };
        let pumped = push(&mut outgoing, &first.0, first.1).and_then(|()| source.pump(&mut outgoing, &mut parse));
        let concluded = conclude(&mut outgoing, pumped, source.unit, topic);
        let stored = outgoing.stored();
        *self.topics.entry(topic.to_owned()).or_default() += stored.count;
        self.through = self.through.max(stored.through);
        concluded.map_err(|(cause, partial)| (cause, Partial { through: self.through, ..partial }))
    }

    /// Checks a topic before its first record, and creates it if it does not exist.
    fn begin(&mut self, topic: &str, kept: Option<Kept>, session: &mut Session) -> Result<(), Failure> {
        if self.topics.contains_key(topic) {
            return Ok(());
        }
        let client = session.client()?;
        match client.info(topic) {
            Ok(found) => {
                let records = found.topic.map_or(0, |state| state.next.0.saturating_sub(state.first.0));
                if records > 0 && !self.is_append {
                    return Err(Failure::usage_with(
                        format!("{topic} has {} already", text::counted(records, "record")),
                        "to add to them: dht-cli import --append".to_owned(),
                    ));
                }
            }
            Err(error) if error.status() == Some(Status::UnknownTopic) => {
                let Kept { records, bytes, age_ms } = kept.unwrap_or(Kept { records: 0, bytes: 0, age_ms: 0 });
                client.create(topic, Retention { records, bytes, age_ms }).map_err(Failure::about(topic))?;
            }
            Err(error) => return Err(Failure::about(topic)(error)),
        }
        self.topics.insert(topic.to_owned(), 0);
        Ok(())
    }

    /// Compares the imported records of a topic with the number that its export states.
    fn end(&mut self, tail: &Tail) -> Result<(), Failure> {
        let found = self.topics.get(&tail.exported).copied().unwrap_or(0);
        if !self.open.remove(&tail.exported) || found != tail.records {
            let what = format!("{} has {found} of its {}", tail.exported, text::counted(tail.records, "record"));
            return Err(Failure::usage_with(what, "lines of the export are missing; export it again".to_owned()));
        }
        Ok(())
    }

    fn at(&self, number: u64, cause: Failure) -> Stopped {
        self.stopped(cause, Some(number))
    }

    fn stopped(&self, cause: Failure, at: Option<u64>) -> Stopped {
        (Box::new(cause), Partial { unit: "line", at, through: self.through, is_exact: true, producer: None })
    }
}

/// Decodes a line; `None` if it has no content.
fn parse(line: &[u8]) -> Result<Option<Entry>, Failure> {
    match json::decode(line) {
        Ok(Line::Record(Some(topic), content)) => {
            TopicName::new(&topic).map_err(|error| Failure::from(dht_client::Error::from(error)))?;
            Ok(Some(Entry::Record(topic, content)))
        }
        Ok(Line::Record(None, _)) => Err(no_record("no \"topic\"")),
        Ok(Line::Notice | Line::Blank) => Ok(None),
        Err(what) => {
            let head = serde_json::from_slice(line).ok().map(Entry::Head);
            let entry = head.or_else(|| serde_json::from_slice(line).ok().map(Entry::Tail));
            entry.map(Some).ok_or_else(|| no_record(&what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_they_say() {
        let head = r#"{"export":"t","retention":{"records":1,"bytes":2,"age_ms":3},"first_offset":4,"next_offset":5}"#;
        for (line, expected) in [
            (head, Some("Head(Head { export: \"t\", retention: Kept { records: 1, bytes: 2, age_ms: 3 }")),
            (r#"{"exported":"t","records":5}"#, Some("Tail(Tail { exported: \"t\", records: 5 })")),
            (r#"{"topic":"t","payload":"x"}"#, Some("Record(\"t\", Content")),
            (r#"{"gap":[5,8],"topic":"t"}"#, Some("nothing")),
            ("", Some("nothing")),
            (r#"{"payload":"x"}"#, None),
            (r#"{"topic":"no/*","payload":"x"}"#, None),
            (r#"{"export":"t"}"#, None),
            ("x", None),
        ] {
            let found = parse(line.as_bytes())
                .ok()
                .map(|entry| entry.map_or_else(|| "nothing".to_owned(), |entry| format!("{entry:?}")));
            let is_it = match (&found, expected) {
                (Some(found), Some(expected)) => found.starts_with(expected),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(is_it, "{line}: {found:?}");
        }
    }
}
