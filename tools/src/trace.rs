//! `trace`: shows the path to a topic's home or to a node.

use dht_client::{Dimension, Hop, NodeId, TopicName, TraceTarget};
use dht_console::errors::{Exit, Failure};
use dht_console::output::{BAD, BOLD};
use dht_console::session::{self, Session};
use dht_console::text::{self, Align};
use serde_json::{Value, json};

use crate::args;

/// Runs the command `trace TOPIC|NODE`.
pub(crate) fn trace(trace: &args::Trace, session: &mut Session) -> Result<Exit, Failure> {
    let dimension = session.dimension()?;
    let node = session::node(&trace.target, dimension);
    let target = match node {
        Some(node) => TraceTarget::Node(node.index()),
        None => TraceTarget::Topic(TopicName::new(&trace.target).map_err(dht_client::Error::from)?),
    };
    let found = session.client()?.trace(target)?;
    let has_arrived = found.failure.is_none();
    if session.out.is_json() {
        let hops: Vec<_> = found.hops.iter().map(|hop| hop_json(hop, dimension)).collect();
        session.out.json(&json!({
            "target": found.target.binary(dimension), "source": found.ingress.binary(dimension),
            "topic": if node.is_none() { json!(trace.target) } else { Value::Null },
            "bound": found.bound, "reached": has_arrived, "hops": hops,
        }))?;
    } else {
        let home = if node.is_none() { format!(", the home of {}", trace.target) } else { String::new() };
        let (from, to) = (found.ingress.binary(dimension), found.target.binary(dimension));
        session.out.line(&format!("from node {from} to node {}{home}", session.out.paint(BOLD, &to)))?;
        let rows = found.hops.iter().enumerate().map(|(index, hop)| {
            // Dead links that the probe already knew at the previous node are not repeated.
            let known = index.checked_sub(1).map_or(&[][..], |before| &found.hops[before].down);
            let news = reason(hop, known, dimension);
            vec![index.to_string(), hop.node.binary(dimension), text::micros(hop.micros), news]
        });
        let columns = [Align::Right, Align::Left, Align::Right, Align::Left];
        for line in text::table(&columns, &rows.collect::<Vec<_>>()) {
            session.out.line(&format!("  {line}"))?;
        }
        if has_arrived {
            let made = found.hops.len().saturating_sub(1) as u64;
            session.out.line(&format!("{}, at most {} are possible", text::counted(made, "hop"), found.bound))?;
        } else {
            session.out.line(&session.out.paint(BAD, "the path ends here"))?;
        }
    }
    match found.failure {
        None => Ok(Exit::Done),
        Some(error) => Err(error.into()),
    }
}

/// Explains why the path is not the usual one.
fn reason(hop: &Hop, known: &[(NodeId, NodeId)], dimension: Dimension) -> String {
    let news = hop.down.iter().filter(|link| !known.contains(link));
    let links: Vec<_> = news.map(|(a, b)| format!("{}-{}", a.binary(dimension), b.binary(dimension))).collect();
    match (hop.detour, links.is_empty()) {
        (true, true) => "detour".to_owned(),
        (true, false) => format!("detour, down: {}", links.join(" ")),
        (false, true) => String::new(),
        (false, false) => format!("down: {}", links.join(" ")),
    }
}

fn hop_json(hop: &Hop, dimension: Dimension) -> Value {
    let down: Vec<_> = hop.down.iter().map(|(a, b)| json!([a.binary(dimension), b.binary(dimension)])).collect();
    json!({"node": hop.node.binary(dimension), "micros": hop.micros, "detour": hop.detour, "down": down})
}
