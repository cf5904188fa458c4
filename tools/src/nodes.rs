//! `ping` and `stats`: requests to single nodes. `rolling` has the rolling lines of `stats -i`.

use dht_client::{Dimension, Error, NodeAnswer, NodeId};
use dht_console::errors::{Exit, Failure};
use dht_console::output::{BAD, BOLD, DIM};
use dht_console::session::Session;
use dht_console::text::{self, Align};
use serde_json::{Map, Value, json};

use crate::args;
use crate::rolling;

/// Number of nodes side by side in the table of `stats`.
const STATS_COLUMNS: usize = 8;

/// The responses of one node to several PINGs.
struct Times {
    node: NodeId,
    micros: Vec<u64>,
    failure: Option<Error>,
}

/// Runs the command `ping [NODE…]`.
pub(crate) fn ping(ping: &args::Ping, session: &mut Session) -> Result<Exit, Failure> {
    if ping.count == 0 {
        return Err(Failure::usage("-n 0: nothing can be measured without a PING".to_owned()));
    }
    let nodes = session.nodes(&ping.nodes)?;
    let dimension = session.dimension()?;
    let client = session.client()?;
    let mut found: Vec<_> = nodes.iter().map(|node| Times { node: *node, micros: Vec::new(), failure: None }).collect();
    for _ in 0..ping.count {
        for times in &mut found {
            match client.ping(times.node) {
                Ok(pong) => times.micros.push(pong.micros),
                Err(error) if error.refusal().is_none() => return Err(error.into()),
                Err(error) => times.failure = Some(error),
            }
        }
    }
    if session.out.is_json() {
        let nodes: Vec<_> = found.iter().map(|times| times_json(times, ping.count, dimension)).collect();
        session.out.json(&json!({"nodes": nodes}))?;
    } else {
        let heading = ["NODE", "MIN", "AVG", "MAX", "ANSWERS"].map(str::to_owned).to_vec();
        let rows = found.iter().map(|times| times_row(times, ping.count, dimension));
        let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
        let columns = [Align::Left, Align::Right, Align::Right, Align::Right, Align::Left];
        for (index, line) in text::table(&columns, &rows).iter().enumerate() {
            let line = match index.checked_sub(1).map(|node| found[node].failure.is_some()) {
                None => session.out.paint(DIM, line),
                Some(false) => line.clone(),
                Some(true) => session.out.paint(BAD, line),
            };
            session.out.line(&line)?;
        }
    }
    let is_whole = found.iter().all(|times| times.failure.is_none());
    Ok(if is_whole { Exit::Done } else { Exit::Partial })
}

fn average(micros: &[u64]) -> Option<u64> {
    micros.iter().sum::<u64>().checked_div(micros.len() as u64)
}

fn times_row(times: &Times, count: u32, dimension: Dimension) -> Vec<String> {
    let shown = |micros: Option<u64>| micros.map_or_else(|| "-".to_owned(), text::micros);
    let mut answers = format!("{} of {count}", times.micros.len());
    if let Some(refusal) = times.failure.as_ref().and_then(Error::refusal) {
        answers = format!("{answers}: {}", refusal.name().to_ascii_lowercase().replace('_', " "));
    }
    let (least, most) = (times.micros.iter().min().copied(), times.micros.iter().max().copied());
    vec![times.node.binary(dimension), shown(least), shown(average(&times.micros)), shown(most), answers]
}

fn times_json(times: &Times, count: u32, dimension: Dimension) -> Value {
    json!({
        "id": times.node.binary(dimension), "up": !times.micros.is_empty(), "sent": count,
        "answered": times.micros.len(), "min_us": times.micros.iter().min(), "avg_us": average(&times.micros),
        "max_us": times.micros.iter().max(), "reason": times.failure.as_ref().map(Error::to_string),
    })
}

/// Runs the command `stats [NODE…]`.
pub(crate) fn stats(stats: &args::Stats, session: &mut Session) -> Result<Exit, Failure> {
    if let Some(interval) = &stats.interval {
        return rolling::roll(stats, interval, session);
    }
    if stats.count.is_some() {
        return Err(Failure::usage_with("-n counts lines of -i".to_owned(), "see: dht-cli stats --help".to_owned()));
    }
    let nodes = session.nodes(&stats.nodes)?;
    let dimension = session.dimension()?;
    let answers = session.client()?.stats(&nodes)?;
    if session.out.is_json() {
        let nodes: Vec<_> = answers.iter().map(|answer| stats_json(answer, dimension)).collect();
        session.out.json(&json!({"nodes": nodes}))?;
    } else {
        for (index, block) in answers.chunks(STATS_COLUMNS).enumerate() {
            if index > 0 {
                session.out.line("")?;
            }
            print_block(block, dimension, session)?;
        }
    }
    let is_whole = answers.iter().all(|answer| answer.answer.is_ok());
    Ok(if is_whole { Exit::Done } else { Exit::Partial })
}

/// Builds the table: a row for each counter, a column for each node.
fn print_block(block: &[NodeAnswer<String>], dimension: Dimension, session: &mut Session) -> Result<(), Failure> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in block.iter().filter_map(|answer| answer.answer.as_ref().ok()).flat_map(|text| counters(text)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let heading = block.iter().map(|answer| answer.node.binary(dimension));
    let mut rows = vec![std::iter::once("NODE".to_owned()).chain(heading).collect::<Vec<_>>()];
    for name in names {
        let values = block.iter().map(|answer| match &answer.answer {
            Ok(text) => counters(text).find(|(found, _)| *found == name).map_or("-", |(_, value)| value).to_owned(),
            Err(_) => "down".to_owned(),
        });
        rows.push(std::iter::once(name.to_owned()).chain(values).collect());
    }
    let columns: Vec<_> = std::iter::once(Align::Left).chain(block.iter().map(|_| Align::Right)).collect();
    for (index, line) in text::table(&columns, &rows).iter().enumerate() {
        let line = if index == 0 { session.out.paint(BOLD, line) } else { line.clone() };
        session.out.line(&line)?;
    }
    Ok(())
}

/// Parses lines of `name value`.
pub(crate) fn counters(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once(' '))
}

fn stats_json(answer: &NodeAnswer<String>, dimension: Dimension) -> Value {
    let mut value = json!({"id": answer.node.binary(dimension), "up": answer.answer.is_ok()});
    match &answer.answer {
        Ok(text) => {
            let stats: Map<_, _> = counters(text)
                .map(|(name, value)| {
                    let number =
                        value.parse::<u64>().map(Value::from).or_else(|_| value.parse::<f64>().map(Value::from));
                    (name.to_owned(), number.unwrap_or_else(|_| json!(value)))
                })
                .collect();
            value["stats"] = Value::Object(stats);
        }
        Err(error) => value["reason"] = json!(error.to_string()),
    }
    value
}
