//! `fetch`: what a topic keeps, up to its end as it is now.

use std::time::Duration;

use crate::args;
use crate::errors::{Exit, Failure, note};
use crate::output;
use crate::records::{Printer, Wanted, start};
use crate::session::Session;
use crate::text;

/// `fetch TOPIC`
pub(crate) fn fetch(fetch: &args::Fetch, session: &mut Session) -> Result<Exit, Failure> {
    let start = start(fetch.from.as_deref().unwrap_or("earliest"))?;
    let wait = fetch.wait.as_deref().map(text::duration).transpose()?;
    let wanted = Wanted { format: fetch.format.as_deref(), raw: fetch.raw, null: fetch.null };
    let printer = Printer::new(wanted, &session.out)?;
    if wait.is_some() && !session.is_line {
        output::end_with_reader();
    }
    let is_quiet = session.settings.quiet;
    let (client, out) = session.client_and_out()?;
    let records = client.records(&fetch.topic, start)?.limit(fetch.count.unwrap_or(u64::MAX));
    let mut found = 0;
    for item in records.wait(wait.unwrap_or(Duration::ZERO)) {
        printer.item(&fetch.topic, &item.map_err(Failure::about(&fetch.topic))?, out)?;
        found += 1;
    }
    let Some(wait) = wait.filter(|_| found == 0 && fetch.count != Some(0)) else { return Ok(Exit::Done) };
    if !is_quiet {
        note(&format!("dht-cli: nothing came in {}", text::rough(wait)));
    }
    Ok(Exit::TimedOut)
}
