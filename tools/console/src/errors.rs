//! Error messages, with reasons and advice, and the exit codes.

use std::io::{self, Write};

use dht_client::{Error, Fault, Loss};
use dht_protocol::types::NameError;
use dht_protocol::wire::{Class, FrameError, Status};
use serde_json::json;

use crate::text;

/// The exit codes of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// The node refused the request.
    Refused = 1,
    /// The command line, or a file that it names, is not valid.
    Usage = 2,
    /// No connection could be made.
    Connection = 3,
    /// No response arrived in time.
    TimedOut = 4,
    /// Some nodes did not answer.
    Partial = 5,
    /// The command is not possible now. Nothing was done, and the same command may succeed later.
    Retry = 6,
    /// The other side does not speak the protocol.
    Protocol = 7,
    /// A benchmark did not meet the requirements of `--require`.
    Missed = 99,
    /// The user pressed Ctrl-C before the command was done.
    Interrupted = 130,
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The command line is invalid.
    Usage {
        /// What is wrong with it.
        what: String,
        /// What to write instead.
        advice: Option<String>,
    },
    /// The client library returned an error.
    Client {
        /// The error.
        error: Error,
        /// The topic that the request was about.
        topic: Option<String>,
        /// An existing topic with a similar name.
        similar: Option<String>,
        /// True if creating the topic would help.
        may_create: bool,
    },
    /// A file or standard input cannot be read.
    Input {
        /// Its name.
        name: String,
        /// The error.
        error: io::Error,
    },
    /// The output cannot be written.
    Output(io::Error),
    /// The user declined.
    Declined,
    /// The command has found something wrong, and has printed it.
    Found(String),
    /// The user pressed Ctrl-C.
    Interrupted,
    /// An input of many records was stored in part.
    Partial {
        /// Why the remaining part was not stored.
        cause: Box<Self>,
        /// How much of the input was stored.
        partial: Partial,
    },
}

/// How much of an input was stored.
#[derive(Clone, Debug)]
pub struct Partial {
    /// What a piece of the input is called.
    pub unit: &'static str,
    /// The number of the piece that caused the failure.
    pub at: Option<u64>,
    /// All pieces up to this number are stored; 0 means none.
    pub through: u64,
    /// True if it is certain that no later piece is stored.
    pub is_exact: bool,
    /// The name under which the topic counts the stored records of the input.
    pub producer: Option<String>,
}

impl Partial {
    fn line(&self) -> String {
        let Self { unit, through, .. } = *self;
        match (through, self.is_exact) {
            (0, true) => "nothing was stored".to_owned(),
            (0, false) => "perhaps nothing was stored; some were sent but not acknowledged".to_owned(),
            (1, true) => format!("{unit} 1 is stored, and none after it"),
            (1, false) => format!("at least {unit} 1 is stored; later ones were sent but not acknowledged"),
            (_, true) => format!("{unit}s 1 to {through} are stored, and none after them"),
            (_, false) => {
                format!("at least {unit}s 1 to {through} are stored; later ones were sent but not acknowledged")
            }
        }
    }
}

impl Failure {
    /// Returns a failure for an invalid command line.
    pub fn usage(what: String) -> Self {
        Self::Usage { what, advice: None }
    }

    /// Returns a failure for an invalid command line, with advice what to write instead.
    pub fn usage_with(what: String, advice: String) -> Self {
        Self::Usage { what, advice: Some(advice) }
    }

    /// Adds a reference to the help of this command, if the command line is invalid and there is no other advice.
    pub fn in_command(self, verb: Option<&str>) -> Self {
        match (self, verb) {
            (Self::Usage { what, advice: None }, Some(verb)) => {
                Self::usage_with(what, format!("see: dht-cli {verb} --help"))
            }
            (failure, _) => failure,
        }
    }

    /// Adds that the value came from an environment variable rather than the command line.
    pub fn in_variable(self, name: &str) -> Self {
        let Self::Usage { what, advice } = self else { return self };
        Self::Usage { what: format!("{what} (in {name})"), advice }
    }

    /// Returns a function that converts a client's error that concerns a topic.
    pub fn about(topic: &str) -> impl Fn(Error) -> Self {
        move |error| Self::Client { error, topic: Some(topic.to_owned()), similar: None, may_create: true }
    }

    /// Converts an error about a topic that was to be deleted, so that no advice to create it is given.
    pub fn about_removing(topic: &str, error: Error) -> Self {
        Self::Client { error, topic: Some(topic.to_owned()), similar: None, may_create: false }
    }

    /// Prints the failure to standard error, and returns the exit code.
    pub fn print(self, is_json: bool) -> Exit {
        if matches!(&self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            return Exit::Done; // the reader has seen enough
        }
        let report = Report::new(&self);
        if is_json {
            let hint = joined(report.why.iter().chain(&report.advice));
            note(
                &json!({"error": {
                    "code": report.code, "name": report.name, "message": report.what, "hint": hint,
                    "retryable": report.retryable, "exit": report.exit as u8,
                }})
                .to_string(),
            );
        } else {
            let code = report.code.map(|code| format!(" (error {code:#04x} {})", report.name)).unwrap_or_default();
            // A message from a node may contain any characters.
            note(&format!("dht-cli: {}{code}", text::harmless(&report.what)));
            report.why.iter().chain(&report.advice).for_each(|line| note(&format!("  {line}")));
        }
        report.exit
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client { error, topic: None, similar: None, may_create: false }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Joins the parts of a hint to one line. A question ends a sentence.
fn joined<'s>(parts: impl Iterator<Item = &'s String>) -> String {
    parts.fold(String::new(), |line, part| {
        let between = match line.chars().last() {
            None => "",
            Some('?') => " ",
            Some(_) => "; ",
        };
        format!("{line}{between}{part}")
    })
}

/// Writes a line to standard error. Errors are ignored.
pub fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Rewrites a message of argh as one line, in the terms of this program.
pub fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(argument) = line.strip_prefix("Unrecognized argument: ") {
        return format!("unexpected argument `{argument}`");
    }
    for begin in ["Required positional arguments not provided: ", "Required options not provided: "] {
        if let Some(missing) = line.strip_prefix(begin) {
            return format!("missing: {missing}");
        }
    }
    let Some(rest) = line.strip_prefix("Error parsing ") else { return line };
    let quoted = rest.strip_prefix("option ").or_else(|| rest.strip_prefix("positional argument ")).unwrap_or(rest);
    let mut parts = quoted.splitn(2, "' with value '");
    let (Some(name), Some(rest)) = (parts.next(), parts.next()) else { return line };
    let Some((value, reason)) = rest.rsplit_once("': ") else { return line };
    let reason = match reason {
        "invalid digit found in string" | "invalid float literal" | "cannot parse integer from empty string" => {
            "not a number"
        }
        "number too large to fit in target type" => "the number is too large",
        other => other,
    };
    format!("{} {value:?}: {reason}", name.trim_start_matches('\''))
}

/// Returns a message of the operating system without its error number, which is of no use to users.
pub fn system(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error ").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// A failure in printable form.
struct Report {
    what: String,
    why: Option<String>,
    advice: Option<String>,
    code: Option<u8>,
    name: &'static str,
    retryable: bool,
    exit: Exit,
}

impl Report {
    fn new(failure: &Failure) -> Self {
        let local =
            |what: String, name, exit| Self { what, why: None, advice: None, code: None, name, retryable: false, exit };
        match failure {
            Failure::Usage { what, advice } => {
                let advice = advice.clone().or_else(|| Some("see: dht-cli --help".to_owned()));
                Self { advice, ..local(what.clone(), "USAGE", Exit::Usage) }
            }
            Failure::Input { name, error } => {
                local(format!("cannot read {name}: {}", system(error)), "INPUT", Exit::Usage)
            }
            Failure::Output(error) => local(format!("cannot write: {}", system(error)), "OUTPUT", Exit::Refused),
            Failure::Declined => local("nothing was done".to_owned(), "DECLINED", Exit::Refused),
            Failure::Found(what) => local(what.clone(), "FOUND", Exit::Refused),
            Failure::Interrupted => local("interrupted".to_owned(), "INTERRUPTED", Exit::Interrupted),
            Failure::Partial { cause, partial } => Self::of_partial(cause, partial),
            Failure::Client { error, topic, similar, may_create } => {
                let advice = Advice { topic: topic.as_deref(), similar: similar.as_deref(), may_create: *may_create };
                Self::of_client(error, advice)
            }
        }
    }

    fn of_partial(cause: &Failure, partial: &Partial) -> Self {
        let mut report = Self::new(cause);
        if let Some(number) = partial.at {
            let unit = partial.unit;
            if let Failure::Client { error: Error::BatchTooLarge { bytes, bytes_max }, .. } = cause {
                report.advice = None;
                report.what =
                    format!("{unit} {number} is too large: a record of {bytes} bytes, and {bytes_max} is the most");
            } else {
                report.what = format!("{unit} {number}: {}", report.what);
            }
        }
        if let Some(name) = &partial.producer {
            let name = if name.contains(char::is_whitespace) { format!("{name:?}") } else { name.clone() };
            report.advice = Some(format!("continue with the same input: --producer {name} --resume"));
        }
        report.why = Some(joined([partial.line()].iter().chain(&report.why.take())));
        report
    }

    fn of_client(error: &Error, advice: Advice<'_>) -> Self {
        let (name, exit) = name_and_exit(error);
        let mut what = match error.refusal() {
            None if is_foreign(error) => {
                format!("{} does not speak the protocol of dht-node", error.server().unwrap_or_default())
            }
            Some(refusal) if refusal.message.is_empty() => refusal.name().to_ascii_lowercase().replace('_', " "),
            Some(refusal) => refusal.message.clone(),
            None => error.to_string(),
        };
        if let (Some(topic), Some(_)) = (advice.topic, error.refusal())
            && !what.contains(&format!("{topic:?}"))
        {
            what = format!("{topic}: {what}"); // the command may concern several topics
        }
        let (why, advice) = match error.status() {
            Some(status) => explain_status(status, error, advice),
            None => explain_local(error),
        };
        let code = error.refusal().and_then(|_| error.code());
        Self { what, why, advice, code, name, retryable: error.is_retryable(), exit }
    }
}

/// Returns true if the response comes from a program that is not a node.
const fn is_foreign(error: &Error) -> bool {
    matches!(error, Error::Protocol { fault: Fault::Frame(FrameError::Magic), .. })
}

/// Returns the name of an error and the exit code for it.
pub fn name_and_exit(error: &Error) -> (&'static str, Exit) {
    match error {
        Error::Address(_) => ("ADDRESS", Exit::Usage),
        Error::Name(_) => ("INVALID_NAME", Exit::Usage),
        Error::Record(_) => ("RECORD", Exit::Refused),
        Error::BatchTooLarge { .. } => ("TOO_LARGE", Exit::Refused),
        Error::Connect { .. } => ("CONNECT", Exit::Connection),
        Error::Rejected { response, .. } => {
            let is_version = response.status == Status::UnsupportedVersion.number();
            (response.name(), if is_version { Exit::Protocol } else { Exit::Connection })
        }
        Error::Lost { .. } => ("LOST", Exit::Connection),
        Error::TimedOut { .. } => ("TIMED_OUT", Exit::TimedOut),
        Error::Protocol { .. } => ("PROTOCOL", Exit::Protocol),
        // Waiting would not help.
        Error::Refused { response, .. } if response.status == Status::UnknownProducer.number() => {
            (response.name(), Exit::Refused)
        }
        Error::Refused { response, .. } => match Class::of(response.status) {
            Class::Unknown => (response.name(), Exit::TimedOut),
            Class::Fatal => (response.name(), Exit::Protocol),
            Class::Transient | Class::Stale => (response.name(), Exit::Retry),
            Class::Success | Class::Refused | Class::Server => (response.name(), Exit::Refused),
        },
        _ => ("UNKNOWN", Exit::Refused), // later versions of the library may have others
    }
}

type Lines = (Option<String>, Option<String>);

/// The facts from which advice is derived.
#[derive(Clone, Copy)]
struct Advice<'a> {
    topic: Option<&'a str>,
    similar: Option<&'a str>,
    may_create: bool,
}

/// Returns the reason for a node's error and what to do about it, where the node's own message does not say so.
fn explain_status(status: Status, error: &Error, known: Advice<'_>) -> Lines {
    let line = |text: &str| Some(text.to_owned());
    let topic = known.topic.unwrap_or("TOPIC");
    #[expect(clippy::wildcard_enum_match_arm, reason = "the node's own words are enough for the others")]
    match status {
        Status::UnknownTopic => {
            let similar = known.similar.map(|similar| format!("did you mean {similar:?}?  ")).unwrap_or_default();
            let remedy = if known.may_create {
                format!("create it: dht-cli create {topic}")
            } else {
                "see: dht-cli list".to_owned()
            };
            (None, Some(format!("{similar}{remedy}")))
        }
        Status::TopicExists => {
            (None, Some(format!("see: dht-cli info {topic}      or remove it first: dht-cli delete {topic}")))
        }
        Status::Quota => (
            line("the quota of the topic or the node is used up"),
            line("give the topic a retention, or delete topics: dht-cli list -l --sort bytes"),
        ),
        Status::ProducerExists => {
            (None, line("to continue the same input: --resume      for another input: choose another name"))
        }
        Status::ProducerFenced => (line("another command has begun to publish under the same name"), None),
        Status::UnknownProducer => (
            line("too many other producers have published since"),
            Some(format!("see what is stored: dht-cli fetch {topic}      publish the rest under another name")),
        ),
        Status::OffsetOutOfRange => {
            let next = error.refusal().and_then(|refusal| refusal.next_offset());
            let advice = match next {
                Some(next) if !known.may_create => {
                    Some(format!("remove all its records: dht-cli trim {topic} --to {next}"))
                }
                Some(_) | None => line("start at the end: --from next"),
            };
            (next.map(|next| format!("the topic ends before offset {next}")), advice)
        }
        Status::Unreachable => (
            line("links that are down interrupt every path to it; is its node running?"),
            line("look at the cube: dht-cli cluster"),
        ),
        Status::NoQuorum => (
            line("most of the nodes that keep the topic are down or cut off; nothing was done"),
            line("look at the cube: dht-cli cluster"),
        ),
        Status::OutcomeUnknown => {
            (line("the request may have been executed nevertheless"), line("look at the cube: dht-cli cluster"))
        }
        Status::Recreated => (
            line("the topic was deleted and re-created while it was read: its offsets start at 0 again"),
            Some(format!("read it from its start: dht-cli fetch {topic}, or subscribe {topic} --from earliest")),
        ),
        Status::Truncated => {
            let next = error.refusal().and_then(|refusal| refusal.next_offset());
            let from = next.map_or_else(|| "earliest".to_owned(), |next| next.to_string());
            (
                line("its node restarted and lost records that had been read already"),
                Some(format!("read what is new: dht-cli fetch {topic} --from {from}")),
            )
        }
        Status::UnknownNode => (None, line("see: dht-cli cluster")),
        Status::TooLarge => (None, line("publish it in parts")),
        _ => (None, None),
    }
}

fn explain_local(error: &Error) -> Lines {
    let line = |text: &str| Some(text.to_owned());
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others say it all themselves")]
    match error {
        Error::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => (
            line("nothing listens on that port; is the node running?"),
            line("start the cube: scripts/deploy.sh      or name another node: dht-cli -s HOST:PORT ..."),
        ),
        Error::Connect { source, .. } if source.kind() == io::ErrorKind::TimedOut => (
            line("something listens there, but it does not answer like a node"),
            line("try another node: dht-cli -s HOST:PORT ..."),
        ),
        Error::Connect { source, .. }
            if [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset].contains(&source.kind()) =>
        {
            (
                line("a program other than dht-node listens there, or the node is shutting down"),
                line("name a node with -s HOST:PORT or DHT_SERVER"),
            )
        }
        Error::Connect { .. } => (None, line("name a node with -s HOST:PORT or DHT_SERVER")),
        Error::Protocol { .. } if is_foreign(error) => {
            (line("a program other than dht-node listens there"), line("name a node with -s HOST:PORT or DHT_SERVER"))
        }
        Error::Lost { untouched: false, .. } if error.may_be_done() => {
            (line("the request may have been executed nevertheless"), line("look at the cube: dht-cli cluster"))
        }
        Error::Lost { reason: Loss::Goaway(_) | Loss::Io(_), .. } => (None, line("try again")),
        Error::TimedOut { .. } => (
            line("the node, or one on the way, is stopped or overloaded"),
            line("wait longer: -t 30s      or look at the cube: dht-cli cluster"),
        ),
        Error::Name(NameError::Character { found: '*' | '?' }) => {
            (None, line("only list takes patterns: dht-cli list 'logs/*'"))
        }
        Error::Rejected { .. } => (None, line("name another node with -s HOST:PORT")),
        Error::BatchTooLarge { .. } => (None, line("publish it in parts, or a line at a time with -l")),
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_of_several_parts_is_one_well_formed_line() {
        let refused = |partial: Option<Partial>| {
            let mut response = dht_client::ErrorResponse::new(Status::Unreachable, "no path to node 1");
            response.retry_after_ms = 10;
            let cause = Failure::about("t")(Error::Refused { server: "a:1".to_owned(), response: Box::new(response) });
            let Some(partial) = partial else { return Report::new(&cause) };
            Report::new(&Failure::Partial { cause: Box::new(cause), partial })
        };
        let question = "links that are down interrupt every path to it; is its node running?";
        let alone = refused(None);
        assert_eq!(alone.why.as_deref(), Some(question));
        let hint = joined(alone.why.iter().chain(&alone.advice));
        assert_eq!(hint, format!("{question} look at the cube: dht-cli cluster"));
        let partial = Partial { unit: "line", at: None, through: 0, is_exact: true, producer: None };
        assert_eq!(refused(Some(partial)).why, Some(format!("nothing was stored; {question}")));
        let parts = ["one", "two"].map(str::to_owned);
        assert_eq!(joined(parts.iter()), "one; two");
    }

    #[test]
    fn what_others_say_is_put_into_our_words() {
        for (theirs, ours) in [
            ("Unrecognized argument: b\n", "unexpected argument `b`"),
            ("Required positional arguments not provided:\n    topic\n", "missing: topic"),
            (
                "Error parsing option '--count' with value 'x': invalid digit found in string\n",
                "--count \"x\": not a number",
            ),
            (
                "Error parsing option '--count' with value '99999999999999999999': number too large to fit in target type",
                "--count \"99999999999999999999\": the number is too large",
            ),
            (
                "Error parsing positional argument 'shell' with value 'it's': expected one of a, b",
                "shell \"it's\": expected one of a, b",
            ),
            ("Something  else\n", "Something else"),
        ] {
            assert_eq!(one_line(theirs), ours);
        }
        for (error, expected) in [
            (std::fs::File::open("/nonexistent").map(|_| ()).unwrap_err(), "no such file or directory"),
            (io::Error::other("Already said"), "already said"),
        ] {
            assert_eq!(system(&error), expected);
        }
    }
}
