//! `fetch`: prints the records of a topic up to its current end.

use std::time::Duration;

use dht_client::Offset;
use dht_console::errors::{Exit, Failure, note};
use dht_console::output;
use dht_console::session::Session;
use dht_console::text;

use crate::args;
use crate::places::{End, Place, Range};
use crate::records::{Printer, Wanted};

/// Runs the command `fetch TOPIC`.
pub(crate) fn fetch(fetch: &args::Fetch, session: &mut Session) -> Result<Exit, Failure> {
    let is_quiet = session.settings.quiet;
    let range = Range::new(fetch.from.as_deref(), fetch.last, fetch.to.as_deref(), Place::Earliest, is_quiet)?;
    let wait = fetch.wait.as_deref().map(text::duration).transpose()?;
    let wanted = Wanted { format: fetch.format.as_deref(), raw: fetch.raw, null: fetch.null };
    let printer = Printer::new(wanted, &session.out)?;
    if wait.is_some() && !session.is_line {
        output::end_with_reader();
    }
    let about = Failure::about(&fetch.topic);
    let (client, out) = session.client_and_out()?;
    let bounds = range.of(&fetch.topic, client).map_err(&about)?;
    // A time in the future is after every existing record.
    let end = if let End::Offset(end) = bounds.end { end } else { Offset(u64::MAX) };
    // `--last` counts back from the end at the time of the request, even if more records have arrived since.
    let limit = fetch.count.unwrap_or(u64::MAX).min(fetch.last.unwrap_or(u64::MAX));
    let records = client.records(&fetch.topic, bounds.start)?.limit(limit);
    let mut found = 0;
    for item in records.wait(wait.unwrap_or(Duration::ZERO)) {
        let item = item.map_err(&about)?;
        if item.offset().is_some_and(|offset| offset >= end) {
            break;
        }
        printer.item(&fetch.topic, &item, out)?;
        found += 1;
    }
    let Some(wait) = wait.filter(|_| found == 0 && limit > 0 && end.0 > 0) else { return Ok(Exit::Done) };
    if !is_quiet {
        note(&format!("dht-cli: no record arrived within {}", text::rough(wait)));
    }
    Ok(Exit::TimedOut)
}
