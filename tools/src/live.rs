//! Subscriptions in `nc`: they continue on the same connection while other commands are typed.

use std::collections::BTreeMap;

use dht_client::{Deadline, Error, Item, Offset, Start, Subscriptions, TopicName};
use dht_console::errors::{Exit, Failure, note};
use dht_console::session::Session;
use serde_json::json;

use crate::args;
use crate::records::Printer;
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

    /// Runs the line `subscribe TOPIC…`. Without topics it lists the subscriptions.
    pub(crate) fn start(
        &mut self,
        subscribe: &args::Subscribe,
        start: Start,
        printer: Printer,
        session: &mut Session,
    ) -> Result<Exit, Failure> {
        if subscribe.count.is_some() || subscribe.wait.is_some() {
            return Err(Failure::usage_with(
                "-n and -w work only outside of nc".to_owned(),
                "end it here with: unsubscribe TOPIC".to_owned(),
            ));
        }
        for topic in &subscribe.topics {
            TopicName::new(topic).map_err(Error::from)?;
            if self.subscriptions.contains(topic) {
                return Err(Failure::usage_with(
                    format!("{topic} is subscribed to already"),
                    format!("end that first: unsubscribe {topic}"),
                ));
            }
        }
        let printer = printer.beside_others();
        let client = session.client()?;
        for topic in &subscribe.topics {
            self.subscriptions.add(topic, start)?;
            self.printers.insert(topic.clone(), printer.clone());
        }
        if let Err(error) = self.subscriptions.settle(client) {
            for topic in &subscribe.topics {
                self.subscriptions.remove(client, topic);
            }
            return Err(error.into());
        }
        let topics: Vec<_> = match subscribe.topics.as_slice() {
            [] => self.subscriptions.topics().map(str::to_owned).collect(),
            topics => topics.to_vec(),
        };
        for topic in topics {
            // A topic that cannot be subscribed to prints its own error.
            if let Some(next) = self.subscriptions.cursor(&topic) {
                say(&topic, "subscribed", "to", next, session)?;
            }
        }
        self.show(session)
    }

    /// Runs the line `unsubscribe TOPIC…`.
    pub(crate) fn end(&mut self, topics: &[String], session: &mut Session) -> Result<Exit, Failure> {
        if topics.is_empty() {
            return Err(Failure::usage_with(
                "no topic given".to_owned(),
                "list the subscriptions: subscribe".to_owned(),
            ));
        }
        for topic in topics {
            if !self.subscriptions.contains(topic) {
                let what = format!("{topic} is not subscribed to");
                return Err(Failure::usage_with(what, "list the subscriptions: subscribe".to_owned()));
            }
            let next = self.subscriptions.remove(session.client()?, topic).unwrap_or_default();
            self.printers.remove(topic);
            say(topic, "unsubscribed", "from", next, session)?;
        }
        Ok(Exit::Done)
    }

    /// Prints the items that have arrived, and returns the exit code of the last topic that ended.
    pub(crate) fn show(&mut self, session: &mut Session) -> Result<Exit, Failure> {
        let mut exit = Exit::Done;
        for _ in 0..BURST {
            let Some(delivery) = self.subscriptions.next(session.client()?, Deadline::at_once())? else { break };
            match (delivery.item, self.printers.get(&delivery.topic)) {
                (Err(error), _) => {
                    self.printers.remove(&delivery.topic);
                    exit = session.report(Failure::about(&delivery.topic)(error));
                }
                (Ok(Item::Notice(notice)), Some(printer)) => print_notice(printer, &delivery.topic, notice, session)?,
                (Ok(item), Some(printer)) => printer.item(&delivery.topic, &item, &mut session.out)?,
                (Ok(_), None) => {}
            }
        }
        if let Some(moved) = self.subscriptions.moved()
            && !session.settings.quiet
        {
            note(&format!("dht-cli: {}", moved_line(moved, None, session)));
        }
        Ok(exit)
    }
}

fn say(topic: &str, done: &str, word: &str, next: Offset, session: &mut Session) -> Result<(), Failure> {
    if session.out.is_json() {
        session.out.json(&json!({done: topic, "next_offset": next.0}))?;
    } else if !session.settings.quiet {
        session.out.line(&format!("{done} {word} {topic}, next is offset {next}"))?;
    }
    Ok(())
}
