//! Memory of an idle node, of an idle connection, and of an empty topic.

use std::net::SocketAddr;
use std::path::Path;

use dht_protocol::wire::request::Retention;

use crate::error::Error;
use crate::load::topic_names;
use crate::process::{self, Process};
use crate::session::{self, Session};
use crate::setup::{self, Side};

/// Number of connections that are opened and stay idle.
const CONNECTIONS: usize = 1000;

/// Number of topics that are created and stay empty.
const TOPICS: usize = 100_000;

/// Number of connections before the first reading: one-time allocations are not attributed to the others.
const WARM_CONNECTIONS: usize = 16;

/// Memory in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PerItem {
    /// The increase per idle connection.
    pub(crate) connection: f64,
    /// The increase per empty topic.
    pub(crate) topic: f64,
}

/// Returns the memory of the largest node of a cube.
pub(crate) fn idle_node(cube: &Side) -> Result<f64, Error> {
    let mut largest = 0;
    for pid in cube.pids() {
        largest = largest.max(process::resident_bytes(pid)?);
    }
    Ok(largest as f64)
}

/// Measures the memory per connection and per topic on new single nodes.
pub(crate) fn per_item(program: &Path, base_port: u16) -> Result<PerItem, Error> {
    let (node, addr) = setup::start_single(program, base_port, None)?;
    let connection = per_connection(&node, addr)?;
    drop(node);
    let (node, addr) = setup::start_single(program, base_port, None)?;
    let before = process::resident_bytes(node.pid())?;
    session::create_topics(addr, &topic_names("topic", TOPICS), Retention::default())?;
    let topic = growth(&node, before)? / TOPICS as f64;
    Ok(PerItem { connection, topic })
}

fn per_connection(node: &Process, addr: SocketAddr) -> Result<f64, Error> {
    let mut sessions = Vec::new();
    let mut before = 0;
    for opened in 0..WARM_CONNECTIONS + CONNECTIONS {
        if opened == WARM_CONNECTIONS {
            before = process::resident_bytes(node.pid())?;
        }
        sessions.push(Session::open(addr)?);
    }
    let bytes = growth(node, before)? / CONNECTIONS as f64;
    drop(sessions);
    Ok(bytes)
}

fn growth(node: &Process, before: u64) -> Result<f64, Error> {
    Ok(process::resident_bytes(node.pid())? as f64 - before as f64)
}
