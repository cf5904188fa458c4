//! `create`, `alter`, `trim`, `delete`, `list`, `info` and `query`: the commands on whole topics.

use dht_client::{
    CopyView, Description, Dimension, Listed, NodeId, Offset, Retention, SettingsChange, TopicState, Trimmed,
};
use dht_console::errors::{Exit, Failure, note};
use dht_console::output::{BOLD, DIM};
use dht_console::session::Session;
use dht_console::text::{self, Align};
use dht_protocol::wire::Status;
use serde_json::{Value, json};
use wildmatch::WildMatch;

use crate::args;
use crate::confirm;

/// Runs the command `create TOPIC…`.
pub(crate) fn create(create: &args::Create, session: &mut Session) -> Result<Exit, Failure> {
    let bounds = bounds(create.retain_records, create.retain_bytes.as_deref(), create.retain_age.as_deref())?;
    // Bounds that are not given are the defaults of the topic's node.
    let retention = bounds.applied_to(Retention::default());
    each(&create.topics, session, |topic, session| {
        let (description, existed) = session.client()?.create(topic, retention).map_err(Failure::about(topic))?;
        let dimension = session.dimension()?;
        if session.out.is_json() {
            let mut value = describe_json(topic, &description, dimension);
            value["existed"] = json!(existed);
            session.out.json(&value)?;
        } else if !session.settings.quiet {
            let verb = if existed { "there already:" } else { "created" };
            let home = id(description.home, dimension);
            session.out.line(&format!("{verb} {} at node {home}", session.out.paint(BOLD, topic)))?;
        }
        Ok(())
    })
}

/// Returns the bounds that the options specify.
fn bounds(records: Option<u64>, bytes: Option<&str>, age: Option<&str>) -> Result<SettingsChange, Failure> {
    let text = age.unwrap_or_default();
    let age = age.map(text::duration).transpose()?;
    if age.is_some_and(|age| !age.is_zero() && age.as_millis() == 0) {
        let what = format!("--retain-age {text}: ages count in milliseconds");
        return Err(Failure::usage_with(
            what,
            "write 1ms or more, or 0 for the default of the topic's node".to_owned(),
        ));
    }
    Ok(SettingsChange {
        retention_records: records,
        retention_bytes: bytes.map(text::size).transpose()?,
        retention_age_ms: age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
    })
}

/// Runs the command `alter TOPIC`.
pub(crate) fn alter(alter: &args::Alter, session: &mut Session) -> Result<Exit, Failure> {
    let change = bounds(alter.retain_records, alter.retain_bytes.as_deref(), alter.retain_age.as_deref())?;
    let topic = &alter.topic;
    if change == SettingsChange::default() {
        let advice = format!("such as: dht-cli alter {topic} --retain-age 7d");
        return Err(Failure::usage_with("no setting to change was given".to_owned(), advice));
    }
    let description = session.client()?.alter(topic, change).map_err(Failure::about(topic))?;
    let dimension = session.dimension()?;
    if session.out.is_json() {
        session.out.json(&describe_json(topic, &description, dimension))?;
    } else if !session.settings.quiet
        && let Some(state) = &description.topic
    {
        session.out.line(&format!("{topic} keeps at most {} now", bounds_text(&state.retention)))?;
    }
    Ok(Exit::Done)
}

/// Runs the command `trim TOPIC --to OFFSET`.
pub(crate) fn trim(trim: &args::Trim, session: &mut Session) -> Result<Exit, Failure> {
    let topic = &trim.topic;
    let Trimmed { topic_id, first, next } =
        session.client()?.trim(topic, Offset(trim.to)).map_err(|error| Failure::about_removing(topic, error))?;
    if session.out.is_json() {
        let topic_id = format!("{:016x}", topic_id.number());
        session.out.json(&json!({
            "topic": topic, "first_offset": first.0, "next_offset": next.0, "topic_id": topic_id,
        }))?;
    } else if !session.settings.quiet {
        session.out.line(&if first == next {
            format!("{topic} has no records now, the next offset is {next}")
        } else {
            format!("{topic} has the offsets {first} to {} now", next.0 - 1)
        })?;
    }
    Ok(Exit::Done)
}

/// Runs the command `delete TOPIC…`.
pub(crate) fn delete(delete: &args::Delete, session: &mut Session) -> Result<Exit, Failure> {
    if !delete.yes && !delete.topics.is_empty() {
        let command = format!("dht-cli delete -y {}", delete.topics.join(" "));
        confirm::require_person("delete", &command, session)?;
    }
    each(&delete.topics, session, |topic, session| {
        let client = session.client()?;
        let found = client.info(topic).and_then(|description| {
            let Some(state) = description.topic else { return Ok(None) };
            if !delete.yes && !may_delete(topic, &state) {
                return Ok(None);
            }
            client.delete_id(topic, state.id).map(|_| Some(state))
        });
        let deleted = match found {
            Ok(None) => return Err(Failure::Declined),
            Ok(Some(state)) => Some(state),
            Err(error) if delete.if_exists && error.status() == Some(Status::UnknownTopic) => None,
            Err(error) => return Err(Failure::about_removing(topic, error)),
        };
        if session.out.is_json() {
            let records = deleted.as_ref().map(kept);
            session.out.json(&json!({"topic": topic, "deleted": deleted.is_some(), "records": records}))?;
        } else if !session.settings.quiet {
            match deleted {
                Some(state) => {
                    let records = text::counted(kept(&state), "record");
                    session.out.line(&format!("deleted {topic} with {records}"))?;
                }
                None => session.out.line(&format!("not there: {topic}"))?,
            }
        }
        Ok(())
    })
}

/// Asks the user, unless the topics have no records to lose.
fn may_delete(topic: &str, state: &TopicState) -> bool {
    let records = kept(state);
    records == 0 || confirm::ask(&format!("delete {topic} with {}?", text::counted(records, "record")))
}

/// Runs an action for each topic. If one fails, the others are still handled.
fn each(
    topics: &[String],
    session: &mut Session,
    mut action: impl FnMut(&str, &mut Session) -> Result<(), Failure>,
) -> Result<Exit, Failure> {
    let Some((last, others)) = topics.split_last() else {
        return Err(Failure::usage("no topic given".to_owned()));
    };
    let mut exit = Exit::Done;
    for topic in others {
        match action(topic, session) {
            Ok(()) => {}
            Err(Failure::Output(error)) => return Err(Failure::Output(error)),
            Err(failure) => exit = session.report(failure),
        }
    }
    action(last, session).map(|()| exit)
}

/// Runs the command `list [PATTERN]`.
pub(crate) fn list(list: &args::List, session: &mut Session) -> Result<Exit, Failure> {
    let pattern = list.pattern.as_deref().unwrap_or("");
    // Nodes match prefixes of names only; the rest of the pattern is matched here.
    let prefix = pattern.split(['*', '?']).next().unwrap_or_default();
    let mut listing = session.client()?.list(prefix)?;
    if prefix.len() < pattern.len() {
        let matching = WildMatch::new(pattern);
        listing.topics.retain(|(_, topic)| matching.matches(&topic.name));
    }
    let dimension = session.dimension()?;
    listing.topics.sort_by(|(node_a, a), (node_b, b)| {
        let by_name = a.name.cmp(&b.name);
        match list.sort {
            args::SortBy::Name => by_name,
            args::SortBy::Node => node_a.cmp(node_b).then(by_name),
            args::SortBy::Records => records(b).cmp(&records(a)).then(by_name),
            args::SortBy::Bytes => b.bytes.cmp(&a.bytes).then(by_name),
        }
    });
    if session.out.is_json() {
        let topics: Vec<Value> =
            listing.topics.iter().map(|(node, topic)| listed_json(*node, topic, dimension)).collect();
        let unanswered: Vec<String> = listing.unanswered.iter().map(|(node, _)| node.binary(dimension)).collect();
        session.out.json(&json!({"topics": topics, "unanswered": unanswered}))?;
    } else if list.long {
        long_list(&listing.topics, dimension, session)?;
    } else {
        for (_, topic) in &listing.topics {
            session.out.line(&topic.name)?;
        }
    }
    session.out.flush()?;
    for (node, error) in &listing.unanswered {
        note(&format!("dht-cli: the topics of node {} are missing: {error}", node.binary(dimension)));
    }
    Ok(if listing.unanswered.is_empty() { Exit::Done } else { Exit::Partial })
}

fn long_list(topics: &[(NodeId, Listed)], dimension: Dimension, session: &mut Session) -> Result<(), Failure> {
    let heading = ["TOPIC", "NODE", "RECORDS", "BYTES", "OFFSETS"].map(str::to_owned).to_vec();
    let rows = topics.iter().map(|(node, topic)| {
        let offsets =
            if records(topic) == 0 { "-".to_owned() } else { format!("{} to {}", topic.first, topic.next.0 - 1) };
        vec![topic.name.clone(), node.binary(dimension), records(topic).to_string(), text::bytes(topic.bytes), offsets]
    });
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    let lines = text::table(&[Align::Left, Align::Left, Align::Right, Align::Right, Align::Left], &rows);
    for (index, line) in lines.iter().enumerate() {
        let line = if index == 0 { session.out.paint(DIM, line) } else { line.clone() };
        session.out.line(&line)?;
    }
    Ok(())
}

/// Returns the number of records that a topic retains.
const fn kept(state: &TopicState) -> u64 {
    state.next.0.saturating_sub(state.first.0)
}

const fn records(topic: &Listed) -> u64 {
    topic.next.0.saturating_sub(topic.first.0)
}

fn listed_json(node: NodeId, topic: &Listed, dimension: Dimension) -> Value {
    json!({
        "topic": topic.name, "home": node.binary(dimension), "first_offset": topic.first.0,
        "next_offset": topic.next.0, "records": records(topic), "bytes": topic.bytes,
        "topic_id": format!("{:016x}", topic.id.number()),
    })
}

/// Runs the command `info TOPIC`.
pub(crate) fn info(info: &args::Info, session: &mut Session) -> Result<Exit, Failure> {
    let description = session.client()?.info(&info.topic).map_err(Failure::about(&info.topic))?;
    describe(&info.topic, &description, session)
}

/// Runs the command `query TOPIC`.
pub(crate) fn query(query: &args::Query, session: &mut Session) -> Result<Exit, Failure> {
    let description = session.client()?.query(&query.topic).map_err(Failure::about(&query.topic))?;
    describe(&query.topic, &description, session)
}

fn describe(topic: &str, description: &Description, session: &mut Session) -> Result<Exit, Failure> {
    let dimension = session.dimension()?;
    if session.out.is_json() {
        session.out.json(&describe_json(topic, description, dimension))?;
        return Ok(Exit::Done);
    }
    let path: Vec<_> = description.path.iter().map(|node| id(*node, dimension)).collect();
    let hops = text::counted(path.len().saturating_sub(1) as u64, "hop");
    let mut rows = vec![
        ("home", format!("node {}", id(description.home, dimension))),
        ("path", format!("{}  ({hops})", path.join(" -> "))),
    ];
    if let Some(copies) = &description.copies {
        rows.push(("leader", format!("node {}, term {}", id(copies.leader, dimension), copies.term)));
        let members: Vec<_> = copies.members.iter().map(|copy| copy_text(copy, dimension)).collect();
        rows.push(("copies", members.join(", ")));
    }
    match &description.topic {
        None => rows.push(("state", "no topic has that name; this would be its home".to_owned())),
        Some(state) => rows.extend(state_rows(state)),
    }
    session.out.line(&session.out.paint(BOLD, topic))?;
    for (name, value) in rows {
        session.out.line(&format!("  {name:<12} {value}"))?;
    }
    Ok(Exit::Done)
}

/// Describes a copy of a topic in words.
fn copy_text(copy: &CopyView, dimension: Dimension) -> String {
    let node = id(copy.node, dimension);
    match (copy.answers, copy.behind) {
        (true, 0) => node,
        (true, behind) => format!("{node} ({behind} behind)"),
        (false, 0) => format!("{node} (does not answer)"),
        (false, behind) => format!("{node} (does not answer, {behind} behind)"),
    }
}

fn state_rows(state: &TopicState) -> Vec<(&'static str, String)> {
    let records = kept(state);
    let offsets = if records == 0 {
        format!("none yet, the next is {}", state.next)
    } else {
        format!("{} to {}", state.first, state.next.0 - 1)
    };
    vec![
        ("records", format!("{records} ({})", text::bytes(state.bytes))),
        ("offsets", offsets),
        ("keeps", format!("at most {}", bounds_text(&state.retention))),
        ("durability", state.durability.name().to_owned()),
        ("subscribers", subscribers(state)),
        ("created", text::time(state.created_us)),
        ("topic id", format!("{:016x}, epoch {}", state.id.number(), state.epoch.0)),
    ]
}

/// Describes the retention of a topic in words.
fn bounds_text(retention: &Retention) -> String {
    let mut keeps = Vec::new();
    if retention.records > 0 {
        keeps.push(text::counted(retention.records, "record"));
    }
    if retention.bytes > 0 {
        keeps.push(text::bytes(retention.bytes));
    }
    if retention.age_ms > 0 {
        keeps.push(text::rough(std::time::Duration::from_millis(retention.age_ms)));
    }
    keeps.join(", ")
}

/// Describes the subscriptions: how many there are, on how many nodes, and their lag.
fn subscribers(state: &TopicState) -> String {
    if state.feeds == 0 {
        return state.subscribers.to_string();
    }
    let nodes = text::counted(u64::from(state.feeds), "node");
    match state.lag {
        0 => format!("{} on {nodes}, none behind", state.subscribers),
        lag => format!("{} on {nodes}, the slowest {} behind", state.subscribers, text::counted(lag, "record")),
    }
}

fn describe_json(topic: &str, description: &Description, dimension: Dimension) -> Value {
    let path: Vec<_> = description.path.iter().map(|node| id(*node, dimension)).collect();
    let state = description.topic.as_ref();
    let number = |value: fn(&TopicState) -> u64| state.map(value);
    let mut value = json!({
        "topic": topic, "home": id(description.home, dimension), "exists": state.is_some(),
        "first_offset": number(|state| state.first.0), "next_offset": number(|state| state.next.0),
        "bytes": number(|state| state.bytes), "subscribers": number(|state| u64::from(state.subscribers)),
        "feeds": number(|state| u64::from(state.feeds)), "lag": number(|state| state.lag),
        "path": path, "durability": state.map(|state| state.durability.name()),
        "retention": state.map(|state| json!({
            "records": state.retention.records, "bytes": state.retention.bytes, "age_ms": state.retention.age_ms,
        })),
        "created_us": number(|state| state.created_us), "epoch": number(|state| u64::from(state.epoch.0)),
        "topic_id": state.map(|state| format!("{:016x}", state.id.number())),
    });
    if let Some(copies) = &description.copies {
        let copy =
            |copy: &CopyView| json!({"node": id(copy.node, dimension), "answers": copy.answers, "behind": copy.behind});
        (value["leader"], value["term"]) = (json!(id(copies.leader, dimension)), json!(copies.term));
        value["copies"] = copies.members.iter().map(copy).collect();
    }
    value
}

/// Formats a node's id on the wire in binary digits.
pub(crate) fn id(node: u16, dimension: Dimension) -> String {
    NodeId::new(node, dimension).map_or_else(|| format!("?{node}"), |node| node.binary(dimension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_described_by_what_is_unusual_about_it() {
        let cases = [
            (true, 0, "110"),
            (true, 7, "110 (7 behind)"),
            (false, 0, "110 (does not answer)"),
            (false, 7, "110 (does not answer, 7 behind)"),
        ];
        for (answers, behind, expected) in cases {
            let copy = CopyView { node: 6, answers, behind };
            assert_eq!(copy_text(&copy, Dimension::new(3).unwrap()), expected);
        }
    }
}
