//! `subscribe`: prints the records of topics as they arrive.

use std::time::{Duration, Instant};

use dht_client::{Deadline, Delivery, Error, Item, NodeId, Notice, Offset, Start, Subscriptions, TopicName};
use dht_console::clock;
use dht_console::errors::{Exit, Failure, note};
use dht_console::interrupt;
use dht_console::output;
use dht_console::session::Session;
use dht_console::text;
use dht_protocol::wire::Status;

use crate::args;
use crate::ends::Ends;
use crate::live::Live;
use crate::places::{Place, Range};
use crate::records::{Printer, Wanted};

/// How long to wait for records before Ctrl-C and the idle time are checked.
const SLICE: Duration = Duration::from_millis(100);

/// Runs the command `subscribe TOPIC…`. As a line of `nc`, it adds the topics to `live`.
pub(crate) fn subscribe(subscribe: &args::Subscribe, session: &mut Session, live: &mut Live) -> Result<Exit, Failure> {
    if subscribe.topics.is_empty() && !session.is_line {
        return Err(Failure::usage("no topic given".to_owned()));
    }
    let is_quiet = session.settings.quiet;
    let (from, to) = (subscribe.from.as_deref(), subscribe.to.as_deref());
    let range = Range::new(from, subscribe.last, to, Place::Next, is_quiet)?;
    let wait = subscribe.wait.as_deref().map(|wait| text::waiting("-w", wait)).transpose()?;
    let wanted = Wanted { format: subscribe.format.as_deref(), raw: subscribe.raw, null: subscribe.null };
    let printer = Printer::new(wanted, &session.out)?;
    if session.is_line {
        let start = range.plain().ok_or_else(|| {
            Failure::usage_with(
                "--last and --to work only outside of nc".to_owned(),
                "to read existing records: fetch TOPIC --last N".to_owned(),
            )
        })?;
        return live.start(subscribe, start, printer, session);
    }
    interrupt::listen()?;
    output::end_with_reader();
    let (subscriptions, ends) = begin(&subscribe.topics, range, session)?;
    session.client()?;
    let mut run = Run {
        subscriptions,
        ends,
        printer: if subscribe.topics.len() > 1 { printer.naming_topics() } else { printer },
        left: subscribe.count.unwrap_or(u64::MAX),
        received: 0,
        begun: clock::now(),
        failed: None,
        is_told: !session.settings.verbose,
    };
    let end = run.until_the_end(wait, session)?;
    session.out.flush()?;
    run.leave(session);
    let summary = format!(
        "received {} in {}",
        text::counted(run.received, "record"),
        text::rough(clock::now().duration_since(run.begun))
    );
    let exit = match end {
        End::Enough => Exit::Done,
        End::Ended => Exit::Refused,
        End::Idle(wait) => {
            run.say(&format!("no record arrived for {}; {summary}", text::rough(wait)), session);
            Exit::TimedOut
        }
        End::Interrupted => {
            run.say(&summary, session);
            // Without a count, Ctrl-C is the intended way to end.
            if subscribe.count.is_none() { Exit::Done } else { Exit::Interrupted }
        }
    };
    Ok(run.failed.unwrap_or(exit))
}

/// Adds the topics, each with its start.
fn begin(topics: &[String], range: Range, session: &mut Session) -> Result<(Subscriptions, Ends), Failure> {
    let (mut subscriptions, mut ends) = (Subscriptions::new(), Ends::default());
    for topic in topics {
        TopicName::new(topic).map_err(Error::from)?;
        let start = match range.plain() {
            Some(start) => start,
            None => match range.of(topic, session.client()?) {
                Ok(bounds) => {
                    ends.add(topic, &bounds);
                    bounds.start
                }
                // Subscribing will report the same error, and the other topics continue.
                Err(error) if error.status() == Some(Status::UnknownTopic) => Start::Earliest,
                Err(error) => return Err(Failure::about(topic)(error)),
            },
        };
        subscriptions.add(topic, start)?;
    }
    Ok((subscriptions, ends))
}

/// Why the command ends.
enum End {
    /// The wanted number of records has arrived.
    Enough,
    /// All subscriptions have ended.
    Ended,
    /// No record arrived for this long.
    Idle(Duration),
    /// Ctrl-C was pressed.
    Interrupted,
}

/// The state of the command.
struct Run {
    subscriptions: Subscriptions,
    ends: Ends,
    printer: Printer,
    /// Number of records that are still wanted.
    left: u64,
    received: u64,
    begun: Instant,
    /// The exit code of the first topic that ended with an error.
    failed: Option<Exit>,
    /// True once the subscriptions have been reported as established.
    is_told: bool,
}

impl Run {
    fn until_the_end(&mut self, wait: Option<Duration>, session: &mut Session) -> Result<End, Failure> {
        let mut heard = clock::now();
        loop {
            if self.left == 0 {
                return Ok(End::Enough);
            }
            if interrupt::is_pressed() {
                return Ok(End::Interrupted);
            }
            let client = session.client()?;
            // Available records are printed at once, and flushed before waiting for more.
            let mut delivery = self.subscriptions.next(client, Deadline::at_once())?;
            if delivery.is_none() && !self.subscriptions.is_empty() {
                session.out.flush()?;
                let slice = wait.map_or(SLICE, |wait| SLICE.min(wait.saturating_sub(heard.elapsed())));
                let client = session.client()?;
                delivery = self.subscriptions.next(client, Deadline::after(slice))?;
            }
            self.tell(delivery.as_ref(), session);
            let has_come = delivery.is_some();
            if let Some(delivery) = delivery {
                // A notice is not a record, so it does not end the idle time.
                if !matches!(delivery.item, Ok(Item::Notice(_))) {
                    heard = clock::now();
                }
                self.print(delivery, session)?;
            }
            if !self.ends.is_empty() && (!has_come || self.subscriptions.is_empty()) {
                self.ends.check(&mut self.subscriptions, session.client()?)?;
            }
            match (has_come, wait) {
                (false, _) if self.subscriptions.is_empty() && self.ends.has_reached() => return Ok(End::Enough),
                (false, _) if self.subscriptions.is_empty() => return Ok(End::Ended),
                (_, Some(wait)) if heard.elapsed() >= wait => return Ok(End::Idle(wait)),
                (_, Some(_) | None) => {}
            }
        }
    }

    fn print(&mut self, delivery: Delivery, session: &mut Session) -> Result<(), Failure> {
        match delivery.item {
            Ok(Item::Notice(notice)) => print_notice(&self.printer, &delivery.topic, notice, session)?,
            Ok(item) if self.ends.is_behind(&delivery.topic, &item) => {
                self.ends.end(&delivery.topic, &mut self.subscriptions, session.client()?);
            }
            Ok(item) => {
                self.printer.item(&delivery.topic, &item, &mut session.out)?;
                if let Item::Record(_) = item {
                    self.left -= 1;
                    self.received += 1;
                }
                if self.ends.is_last(&delivery.topic, &item) {
                    self.ends.end(&delivery.topic, &mut self.subscriptions, session.client()?);
                }
            }
            Err(error) => {
                session.out.flush()?;
                let exit = session.report(Failure::about(&delivery.topic)(error));
                self.failed.get_or_insert(exit);
            }
        }
        Ok(())
    }

    /// Reports that the subscriptions are established, or that they have moved to another node; `next` is the item that
    /// arrived then.
    fn tell(&mut self, next: Option<&Delivery>, session: &mut Session) {
        if !self.is_told && self.subscriptions.is_settled() {
            self.is_told = true;
            self.subscriptions.topics().for_each(|topic| note(&format!("subscribed to {topic}")));
        }
        let Some(moved) = self.subscriptions.moved() else { return };
        let offset = match next.and_then(|delivery| delivery.item.as_ref().ok()) {
            Some(Item::Record(message)) => Some(message.offset),
            Some(Item::Gap { from, .. } | Item::Lost { from, .. }) => Some(*from),
            Some(Item::Notice(_)) | None => {
                self.subscriptions.topics().next().and_then(|topic| self.subscriptions.cursor(topic))
            }
        };
        let is_alone = self.subscriptions.topics().nth(1).is_none();
        let line = moved_line(moved, offset.filter(|_| is_alone), session);
        self.say(&line, session);
    }

    fn say(&self, what: &str, session: &Session) {
        if !session.settings.quiet {
            note(&format!("dht-cli: {what}"));
        }
    }

    fn leave(&mut self, session: &mut Session) {
        if let Some(client) = session.connected() {
            self.subscriptions.clear(client);
        }
    }
}

/// Prints a notice about whether records can arrive, unless `-q` is set.
pub(crate) fn print_notice(
    printer: &Printer,
    topic: &str,
    notice: Notice,
    session: &mut Session,
) -> Result<(), Failure> {
    let name = names(session);
    if session.out.is_json() || !session.settings.quiet {
        printer.notice(topic, notice, name, &mut session.out)?;
    }
    Ok(())
}

/// Returns a function that formats node ids in binary digits.
fn names(session: &mut Session) -> impl Fn(NodeId) -> String + use<> {
    let dimension = session.dimension().ok();
    move |node| dimension.map_or_else(|| node.index().to_string(), |dimension| node.binary(dimension))
}

/// Returns the message for subscriptions that have moved from one node to another.
pub(crate) fn moved_line(moved: (NodeId, NodeId), next: Option<Offset>, session: &mut Session) -> String {
    let (from, to) = moved;
    let name = names(session);
    let at = next.map_or_else(String::new, |offset| format!(" at offset {offset}"));
    if from == to {
        format!("the connection to node {} was lost; continuing{at}", name(to))
    } else {
        format!("node {} is gone; continuing through {}{at}", name(from), name(to))
    }
}
