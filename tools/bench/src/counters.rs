//! The counters of the nodes during a benchmark, and the traffic on the edges that follows from them.
//!
//! A node counts what it receives on each of its links: `link_<dimension>_frames_in` and `link_<dimension>_bytes_in`.
//! The traffic from one neighbour to another is therefore known from the receiver.

use std::collections::BTreeMap;

use dht_client::{Dimension, Error};
use dht_console::session::Session;
use dht_report::{Counters, Edge};

/// The counters of all nodes that answered, by node number.
pub(super) type Snapshot = BTreeMap<u32, BTreeMap<String, u64>>;

/// Asks all nodes for their counters. Nodes that do not answer are left out; without a connection the result is empty.
pub(super) fn take(session: &mut Session, dimension: Dimension) -> Snapshot {
    let nodes: Vec<_> = dimension.all().collect();
    let asked = session.client().ok().map_or_else(|| Ok(Vec::new()), |client| client.stats(&nodes));
    let Ok::<_, Error>(answers) = asked else { return Snapshot::new() };
    let answered = answers.into_iter().filter_map(|answer| Some((answer.node.index().into(), answer.answer.ok()?)));
    answered.map(|(node, text)| (node, parse(&text))).collect()
}

/// Parses lines of `name value`; values that are not integers are left out.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let counter =
        |line: &str| line.split_once(' ').and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
    text.lines().filter_map(counter).collect()
}

/// Returns the nodes that answered both times.
pub(super) fn both(before: &Snapshot, after: &Snapshot) -> Vec<Counters> {
    let answered = before.iter().filter_map(|(node, before)| Some((*node, before, after.get(node)?)));
    answered.map(|(node, before, after)| Counters { node, before: before.clone(), after: after.clone() }).collect()
}

/// Returns the traffic on each edge in each direction, by sender, then by receiver. It is empty if a node did not
/// answer both times, does not count its links, or has restarted, so that a counter decreased.
pub(super) fn edges(counters: &[Counters], dimension: Dimension) -> Vec<Edge> {
    if counters.len() != 1 << dimension.bits() {
        return Vec::new();
    }
    let mut edges = Vec::new();
    for receiver in counters {
        for bit in 0..dimension.bits() {
            let counted = |what: &str| {
                let name = format!("link_{bit}_{what}_in");
                receiver.after.get(&name)?.checked_sub(*receiver.before.get(&name)?)
            };
            let Some((frames, bytes)) = counted("frames").zip(counted("bytes")) else { return Vec::new() };
            edges.push(Edge { from: receiver.node ^ (1 << bit), to: receiver.node, frames, bytes });
        }
    }
    edges.sort_by_key(|edge| (edge.from, edge.to));
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(node: u32, before: &str, after: &str) -> Counters {
        Counters { node, before: parse(before), after: parse(after) }
    }

    #[test]
    fn what_came_is_what_the_neighbour_sent() {
        let line = Dimension::new(1).unwrap();
        let zero =
            counters(0, "link_0_frames_in 5\nlink_0_bytes_in 500\n", "link_0_frames_in 7\nlink_0_bytes_in 650\n");
        let one = counters(1, "link_0_frames_in 0\nlink_0_bytes_in 0\n", "link_0_frames_in 3\nlink_0_bytes_in 90\n");
        let expected = [Edge { from: 0, to: 1, frames: 3, bytes: 90 }, Edge { from: 1, to: 0, frames: 2, bytes: 150 }];
        assert_eq!(edges(&[zero.clone(), one], line), expected);
        let anew = counters(1, "link_0_frames_in 9\nlink_0_bytes_in 9\n", "link_0_frames_in 1\nlink_0_bytes_in 1\n");
        let silent = counters(1, "uptime 1.5\nrequests 3\n", "requests 4\n");
        for (what, nodes) in [("one is missing", vec![zero.clone()]), ("anew", vec![zero.clone(), anew])] {
            assert_eq!(edges(&nodes, line), [], "{what}");
        }
        assert_eq!(silent.before.len(), 1, "only whole numbers are counters");
        assert_eq!(edges(&[zero, silent], line), []);
        assert_eq!(edges(&[counters(0, "", "")], Dimension::new(0).unwrap()), []);
    }

    #[test]
    fn only_who_answered_both_times_is_told_of() {
        let snapshot = |nodes: &[u32]| nodes.iter().map(|node| (*node, parse("requests 1"))).collect::<Snapshot>();
        let told: Vec<_> = both(&snapshot(&[0, 1, 2]), &snapshot(&[1, 2, 3])).iter().map(|one| one.node).collect();
        assert_eq!(told, [1, 2]);
    }
}
