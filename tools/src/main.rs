//! `dht-cli`: the command line of a dht-node cluster.
//!
//! | file | what |
//! |---|---|
//! | `args`, `normalise` | parsing of the command line |
//! | `topics`, `publish`, `subscribe`, `fetch`, `transfer` | the commands about topics and records |
//! | `cluster`, `trace`, `nodes`, `rolling`, `nc`, `decode` | the other commands |
//! | `completions` | shell completion |
//! | `records`, `format` | printing and parsing records |
//! | `stream`, `forms`, `outgoing`, `progress` | publishing an input of many records |
//! | `places`, `ends` | `--from`, `--to`, `--last` |
//! | `live` | subscriptions in `nc` |
//! | `cube`, `input`, `confirm` | the drawing, standard input, confirmation |
//! | `fields`, `walk` | decoding frames field by field |
//!
//! What all commands share is in `dht-console`; the command `bench` is in `dht-bench`.

mod args;
mod cluster;
mod completions;
mod confirm;
mod cube;
mod decode;
mod ends;
mod fetch;
mod fields;
mod format;
mod forms;
mod input;
mod live;
mod nc;
mod nodes;
mod normalise;
mod outgoing;
mod places;
mod progress;
mod publish;
mod records;
mod rolling;
mod stream;
mod subscribe;
mod topics;
mod trace;
mod transfer;
mod walk;

use std::process::ExitCode;

use argh::FromArgs;
use dht_console::errors::{self, Exit, Failure};
use dht_console::output;
use dht_console::session::{Session, Settings};

use args::{Command, Top};
use live::Live;

fn main() -> ExitCode {
    let mut words = Vec::new();
    for word in std::env::args_os().skip(1) {
        match word.into_string() {
            Ok(word) => words.push(word),
            Err(word) => {
                let failure = Failure::usage_with(
                    format!("{word:?} is not UTF-8"),
                    "give such a message on standard input or with -f".to_owned(),
                );
                return ExitCode::from(failure.print(false) as u8);
            }
        }
    }
    ExitCode::from(run(&words) as u8)
}

/// Runs the command line.
fn run(words: &[String]) -> Exit {
    let wants_json = words.iter().take_while(|word| *word != "--").any(|word| word == "--json");
    let (top, verb) = match parse(words) {
        Ok(Parsed::Top(top, verb)) => (*top, verb),
        Ok(Parsed::Help(text)) => return output::print(&text),
        Err(failure) => return failure.print(wants_json),
    };
    if top.version {
        let protocol = dht_protocol::wire::frame::VERSION;
        return output::print(&format!("dht-cli {} (protocol {protocol})\n", env!("CARGO_PKG_VERSION")));
    }
    let settings = match Settings::new(&top.options()) {
        Ok(settings) => settings,
        Err(failure) => return failure.print(wants_json),
    };
    let Some(command) = top.command else {
        let _ = parse(&["--help".to_owned()]).map(|help| help.print());
        return Failure::usage("no command".to_owned()).print(wants_json);
    };
    let mut session = Session::new(settings);
    let outcome = execute(command, verb.as_deref(), &mut session, &mut Live::default()).and_then(|exit| {
        session.out.flush()?;
        Ok(exit)
    });
    match outcome {
        Ok(exit) => exit,
        Err(failure) => session.report(failure),
    }
}

/// The meaning of a command line.
enum Parsed {
    /// The options, and the name of the command.
    Top(Box<Top>, Option<String>),
    Help(String),
}

impl Parsed {
    fn print(&self) {
        if let Self::Help(text) = self {
            errors::note(text.trim_end());
        }
    }
}

/// Parses a command line.
fn parse(words: &[String]) -> Result<Parsed, Failure> {
    let typed: Vec<&str> = words.iter().map(String::as_str).collect();
    let words =
        normalise::normalise(words).map_err(|failure| failure.in_command(normalise::verb(&typed).as_deref()))?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match Top::from_args(&["dht-cli"], &words) {
        Ok(top) => Ok(Parsed::Top(Box::new(top), normalise::verb(&words))),
        Err(exit) if exit.status.is_ok() => Ok(Parsed::Help(exit.output)),
        Err(exit) => {
            let verb = normalise::verb(&words).map(|verb| format!(" {verb}")).unwrap_or_default();
            Err(Failure::usage_with(errors::one_line(&exit.output), format!("see: dht-cli{verb} --help")))
        }
    }
}

/// Runs one command; `nc` calls this for every line, with its subscriptions.
fn execute(command: Command, verb: Option<&str>, session: &mut Session, live: &mut Live) -> Result<Exit, Failure> {
    let outcome = match command {
        Command::Create(create) => topics::create(&create, session),
        Command::Alter(alter) => topics::alter(&alter, session),
        Command::Trim(trim) => topics::trim(&trim, session),
        Command::Delete(delete) => topics::delete(&delete, session),
        Command::List(list) => topics::list(&list, session),
        Command::Info(info) => topics::info(&info, session),
        Command::Query(query) => topics::query(&query, session),
        Command::Publish(publish) => publish::publish(&publish, session),
        Command::Subscribe(subscribe) => subscribe::subscribe(&subscribe, session, live),
        Command::Fetch(fetch) => fetch::fetch(&fetch, session),
        Command::Export(export) => transfer::export(&export, session),
        Command::Import(import) => transfer::import(&import, session),
        Command::Trace(trace) => trace::trace(&trace, session),
        Command::Cluster(cluster) => cluster::cluster(&cluster, session),
        Command::Ping(ping) => nodes::ping(&ping, session),
        Command::Stats(stats) => nodes::stats(&stats, session),
        Command::Nc(nc) => nc::nc(&nc, session, live),
        Command::Decode(decode) => decode::decode(&decode, session),
        Command::Bench(bench) => dht_bench::bench(bench, session),
        Command::Completions(completions) => completions::completions(&completions, session),
    };
    outcome.map_err(|failure| failure.in_command(verb))
}
