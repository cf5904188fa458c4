//! Subscriptions in `nc`: they continue on the same connection while other commands are typed.

use std::collections::BTreeMap;

use dht_client::{Deadline, Error, Item, Offset, Start, Subscriptions, TopicName};
use serde_json::json;

use crate::args;
use crate::errors::{Exit, Failure, note};
use crate::records::Printer;
use crate::session::Session;
use crate::subscribe::{moved_line, print_notice};

/// Maximum number of records that are printed before the next input line is checked.
const BURST: usize = 1000;

/// The subscriptions, and how each topic is printed.
#[derive(Debug, Default)]
pub(crate) struct Live {
    subscriptions: Subscriptions,
    printers: BTreeMap<String, Printer>,
}

impl Live {
    /// Returns true if there are no subscriptions.
    pub(crate) fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }
}

/// Runs the line `subscribe TOPIC…`. Without topics it lists the subscriptions.
pub(crate) fn start(
    subscribe: &args::Subscribe,
    start: Start,
    printer: Printer,
    session: &mut Session,
) -> Result<Exit, Failure> {
    if subscribe.count.is_some() || subscribe.wait.is_some() {
        return Err(Failure::usage_with(
            "-n and -w are for a subscribe of its own".to_owned(),
            "end it here with: unsubscribe TOPIC".to_owned(),
        ));
    }
    for topic in &subscribe.topics {
        TopicName::new(topic).map_err(Error::from)?;
        if session.live.subscriptions.contains(topic) {
            return Err(Failure::usage_with(
                format!("{topic} is subscribed to already"),
                format!("end that first: unsubscribe {topic}"),
            ));
        }
    }
    let printer = printer.beside_others();
    let (client, live) = session.client_and_live()?;
    for topic in &subscribe.topics {
        live.subscriptions.add(topic, start)?;
        live.printers.insert(topic.clone(), printer.clone());
    }
    if let Err(error) = live.subscriptions.settle(client) {
        for topic in &subscribe.topics {
            live.subscriptions.remove(client, topic);
        }
        return Err(error.into());
    }
    let topics: Vec<_> = match subscribe.topics.as_slice() {
        [] => live.subscriptions.topics().map(str::to_owned).collect(),
        topics => topics.to_vec(),
    };
    let found: Vec<_> = topics.into_iter().map(|topic| (live.subscriptions.cursor(&topic), topic)).collect();
    for (cursor, topic) in found {
        // A topic that cannot be subscribed to prints its own error.
        if let Some(next) = cursor {
            say(&topic, "subscribed", "to", next, session)?;
        }
    }
    show(session)
}

/// Runs the line `unsubscribe TOPIC…`.
pub(crate) fn end(topics: &[String], session: &mut Session) -> Result<Exit, Failure> {
    if topics.is_empty() {
        return Err(Failure::usage_with("no topic given".to_owned(), "see them all: subscribe".to_owned()));
    }
    for topic in topics {
        let (client, live) = session.client_and_live()?;
        if !live.subscriptions.contains(topic) {
            let what = format!("{topic} is not subscribed to");
            return Err(Failure::usage_with(what, "see what is: subscribe".to_owned()));
        }
        let next = live.subscriptions.remove(client, topic).unwrap_or_default();
        live.printers.remove(topic);
        say(topic, "unsubscribed", "from", next, session)?;
    }
    Ok(Exit::Done)
}

fn say(topic: &str, done: &str, word: &str, next: Offset, session: &mut Session) -> Result<(), Failure> {
    if session.out.is_json() {
        session.out.json(&json!({done: topic, "next_offset": next.0}))?;
    } else if !session.settings.quiet {
        session.out.line(&format!("{done} {word} {topic}, next is offset {next}"))?;
    }
    Ok(())
}

/// Prints the items that have arrived, and returns the exit code of the last topic that ended.
pub(crate) fn show(session: &mut Session) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    for _ in 0..BURST {
        let (client, live) = session.client_and_live()?;
        let Some(delivery) = live.subscriptions.next(client, Deadline::at_once())? else { break };
        match delivery.item {
            Ok(Item::Notice(notice)) => {
                if let Some(printer) = session.live.printers.get(&delivery.topic).cloned() {
                    print_notice(&printer, &delivery.topic, notice, session)?;
                }
            }
            Ok(item) => {
                let (live, out) = session.live_and_out();
                if let Some(printer) = live.printers.get(&delivery.topic) {
                    printer.item(&delivery.topic, &item, out)?;
                }
            }
            Err(error) => {
                session.live.printers.remove(&delivery.topic);
                exit = session.report(Failure::about(&delivery.topic)(error));
            }
        }
    }
    if let Some(moved) = session.live.subscriptions.moved()
        && !session.settings.quiet
    {
        note(&format!("dht-cli: {}", moved_line(moved, None, session)));
    }
    Ok(exit)
}
