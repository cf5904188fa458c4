//! The vectors of `routing.txt` in which a node makes several frames of one: 11.4 of protocol-nodes.md.

use dht_node::cube::split;
use dht_node::types::{Link, NodeSet};
use dht_node::wire::{Kind, Route};

use super::feeds::{HOME, multicast};
use super::good::Good;
use super::routing::{cube, entry_of_hop, link_set, node, parse, step_of, with_section};
use super::text::{Entry, hex};

/// All of them, in the order of the file.
pub(crate) fn all(good: &[Good]) -> Vec<Entry> {
    let push = good.iter().find(|good| good.name == "deliver-link").expect("the vectors have it");
    let event = good.iter().find(|good| good.name == "event-link").expect("the vectors have it");
    let sent = |targets: &[u16], hops| push.encode(Some(&multicast(targets, hops)));
    type Case = (&'static str, &'static str, u16, &'static [(u16, u16)], Vec<u8>);
    let all: &[u16] = &[0b000, 0b001, 0b011, 0b110, 0b111];
    let cases: [Case; 6] = [
        ("multicast-home", "The home 110 sends records to four others.", HOME, &[], sent(all, 0)),
        ("multicast-second", "010 has three targets behind two links.", 0b010, &[], sent(&[0, 1, 3], 1)),
        ("multicast-last", "000 takes it and hands it on to 001.", 0b000, &[], sent(&[0, 1], 2)),
        ("multicast-leaf", "011 takes it.", 0b011, &[], sent(&[3], 2)),
        ("multicast-broken", "110 has lost 010: one frame for each target.", HOME, &[(2, 6)], sent(all, 0)),
        ("multicast-event", "The end of a topic goes the same way.", 0b010, &[], event.frame()),
    ];
    let entry = |(name, what, here, dead, before): Case| {
        let (takes, after) = hop(&before, here, dead);
        let entry = entry_of_hop("multicast", name, what, here, dead, &before);
        let entry = entry.with("takes", if takes { "yes" } else { "no" });
        after.iter().fold(entry, |entry, (to, frame)| entry.with(&format!("to.{to}"), hex(frame)))
    };
    cases.into_iter().map(entry).collect()
}

/// Whether node `here` takes a frame for many, and what it sends to whom, when its links `dead` are down.
pub(crate) fn hop(frame: &[u8], here: u16, dead: &[(u16, u16)]) -> (bool, Vec<(u16, Vec<u8>)>) {
    let (three, dead) = (cube(3), link_set(dead, cube(3)));
    let (frame, here) = (parse(frame), node(here, three));
    let section = frame.route.clone().expect("frames for many have one");
    let found = split(here, &section.targets, section.dimension);
    let mut sent = vec![];
    for (bit, targets) in found.onward {
        if dead.contains(Link::new(here, bit)) {
            sent.extend(targets.iter().map(|target| {
                let alone = Route { kind: Kind::Node, target, targets: NodeSet::new(), ..section.clone() };
                step_of(&frame, alone, here, &dead)
            }));
        } else {
            let branch = Route { targets, ..section.clone() };
            sent.push((here.across(bit).index(), with_section(&frame, branch)));
        }
    }
    (found.here, sent)
}
