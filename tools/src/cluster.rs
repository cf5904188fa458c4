//! `cluster`: the cube as its nodes see it.

use std::fmt::Write as _;
use std::time::Duration;

use dht_client::{Cluster, Deadline, Member};
use dht_console::clock;
use dht_console::errors::{Exit, Failure};
use dht_console::output::{BAD, DIM, GOOD};
use dht_console::session::Session;
use dht_console::text::{self, Align};
use serde_json::{Value, json};

use crate::args;
use crate::cube;

/// Interval at which `--wait` checks the cluster.
const LOOK: Duration = Duration::from_millis(100);

/// The index of the column LEADS in the table. It is shown only if several nodes keep each topic.
const GROUPS_COLUMN: usize = 5;

/// Runs the command `cluster`.
pub(crate) fn cluster(cluster: &args::Cluster, session: &mut Session) -> Result<Exit, Failure> {
    let found = match cluster.wait.as_deref().map(text::duration).transpose()? {
        None => session.client()?.cluster()?,
        Some(patience) => wait(patience, session)?,
    };
    if session.out.is_json() {
        session.out.json(&cluster_json(&found))?;
    } else {
        print(&found, session)?;
    }
    let is_answered = found.nodes.iter().all(|member| member.view.is_ok());
    let is_done = if cluster.wait.is_some() { found.is_whole() } else { is_answered };
    Ok(if is_done { Exit::Done } else { Exit::Partial })
}

/// Checks the cluster until it is complete or the time is over, and returns its last state.
fn wait(patience: Duration, session: &mut Session) -> Result<Cluster, Failure> {
    let deadline = Deadline::of_timeout(patience);
    loop {
        let found = session.client().and_then(|client| Ok(client.cluster()?));
        let is_over = deadline.is_over();
        match found {
            Ok(found) if found.is_whole() || is_over => return Ok(found),
            Ok(_) => {}
            Err(Failure::Client { error, .. }) if !is_over && error.is_retryable() => {}
            Err(failure) => return Err(failure),
        }
        clock::pause(LOOK);
    }
}

fn print(cluster: &Cluster, session: &mut Session) -> Result<(), Failure> {
    if let Some(drawing) = cube::draw(cluster, &session.out) {
        for line in drawing {
            session.out.line(&line)?;
        }
        session.out.line("")?;
    }
    let dimension = cluster.dimension;
    let replicas =
        cluster.nodes.iter().filter_map(|member| member.view.as_ref().ok()?.groups).map(|of| of.replicas).max();
    let mut heading = vec!["NODE", "ADDRESS", "STATE", "UPTIME", "LEVEL", "LINKS UP", "LINKS DOWN", "SOFTWARE"];
    if replicas.is_some() {
        heading.insert(GROUPS_COLUMN, "LEADS");
    }
    let mut rows = vec![heading.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for member in &cluster.nodes {
        let neighbours = |up: bool| {
            let links = cluster.links.iter().filter(|link| link.up == up);
            let others = links.filter_map(|link| match member.node {
                node if node == link.a => Some(link.b.binary(dimension)),
                node if node == link.b => Some(link.a.binary(dimension)),
                _ => None,
            });
            let others = others.collect::<Vec<_>>().join(" ");
            if others.is_empty() { "-".to_owned() } else { others }
        };
        let (state, uptime, level, software) = match &member.view {
            Ok(view) => {
                let uptime = text::rough(Duration::from_millis(view.uptime_ms));
                ("up", uptime, view.durability.name(), view.software.as_str())
            }
            Err(_) => ("DOWN", "-".to_owned(), "-", "-"),
        };
        let address = if member.address.is_empty() { "?" } else { &member.address };
        let mut row = vec![
            member.node.binary(dimension),
            text::harmless(address),
            state.to_owned(),
            uptime,
            level.to_owned(),
            neighbours(true),
            neighbours(false),
            text::harmless(software),
        ];
        if replicas.is_some() {
            row.insert(GROUPS_COLUMN, leads(member));
        }
        rows.push(row);
    }
    let lines = text::table(&vec![Align::Left; rows[0].len()], &rows);
    for (index, line) in lines.iter().enumerate() {
        let line = match index.checked_sub(1).map(|node| cluster.nodes[node].view.is_ok()) {
            None => session.out.paint(DIM, line),
            Some(true) => line.clone(),
            Some(false) => session.out.paint(BAD, line),
        };
        session.out.line(&line)?;
    }
    let up = cluster.nodes.iter().filter(|member| member.view.is_ok()).count();
    let links_up = cluster.links.iter().filter(|link| link.up).count();
    let mut summary =
        format!("{up} of {} nodes up, {links_up} of {} links up", cluster.nodes.len(), cluster.links.len());
    if let Some(replicas) = replicas {
        let _ = write!(summary, ", {replicas} copies of each topic");
    }
    session.out.line("")?;
    let style = if cluster.is_whole() { GOOD } else { BAD };
    Ok(session.out.line(&session.out.paint(style, &summary))?)
}

/// Returns the text of the column LEADS: how many of the groups of topics that a node keeps it leads.
fn leads(member: &Member) -> String {
    let groups = member.view.as_ref().ok().and_then(|view| view.groups);
    groups.map_or_else(|| "-".to_owned(), |groups| format!("{} of {}", groups.led, groups.kept))
}

fn cluster_json(cluster: &Cluster) -> Value {
    let dimension = cluster.dimension;
    let nodes = cluster.nodes.iter().map(|member| {
        let mut value = json!({
            "id": member.node.binary(dimension), "address": member.address, "up": member.view.is_ok(),
        });
        match &member.view {
            Ok(view) => {
                value["uptime_ms"] = json!(view.uptime_ms);
                value["durability"] = json!(view.durability.name());
                value["software"] = json!(view.software);
                value["cluster"] = json!(view.cluster);
                if let Some(groups) = view.groups {
                    value["groups"] = json!({"replicas": groups.replicas, "led": groups.led, "kept": groups.kept});
                }
            }
            Err(error) => value["reason"] = json!(error.to_string()),
        }
        value
    });
    let links = cluster
        .links
        .iter()
        .map(|link| json!({"a": link.a.binary(dimension), "b": link.b.binary(dimension), "up": link.up}));
    json!({
        "dimension": dimension.bits(), "nodes": nodes.collect::<Value>(), "links": links.collect::<Value>(),
        "whole": cluster.is_whole(),
    })
}
