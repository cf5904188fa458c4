//! Nodes that start without the topics that their neighbours knew.

use super::harness::{Harness, names};
use super::sent::{Sent, only};
use crate::limits::{TICK_US, TOPICS_ASK_US};
use crate::node::Event;
use crate::types::{Retention, TopicName};
use crate::wire::{Hello, Opcode, Request, Role};

/// Returns the HELLO of node 1, or of node 0, in a cube of dimension 1.
fn hello(node: u16, instance: u64, topics: Option<u32>, topics_known: Option<u32>) -> Hello {
    Hello { role: Role::Node, dimension: 1, node, topics, topics_known, ..Hello::of_client(instance, "test") }
}

fn answer(sent: &[Sent]) -> Hello {
    let hellos = only(sent, Opcode::Hello);
    assert_eq!(hellos.len(), 1);
    Hello::decode(hellos[0].frame.args().unwrap()).unwrap()
}

#[test]
fn a_start_of_a_neighbour_without_topics_is_told_how_many_it_had() {
    enum Said {
        /// In the HELLO of this instance, which opens the link.
        Hello(u64, Option<u32>),
        /// In the response to PING.
        Pong(u32),
    }
    use Said::{Hello as Greeted, Pong};
    let cases: [(&[Said], Option<u32>); 8] = [
        (&[], None),
        (&[Greeted(7, None)], None),
        (&[Greeted(7, Some(0))], None),
        (&[Greeted(7, Some(3))], Some(3)),
        (&[Greeted(7, Some(0)), Pong(5)], Some(5)),
        // The neighbour has deleted all its topics.
        (&[Greeted(7, Some(0)), Pong(5), Pong(0)], None),
        // Another instance has never had any.
        (&[Greeted(7, Some(5)), Greeted(8, Some(0)), Pong(0)], Some(5)),
        (&[Greeted(7, Some(5)), Greeted(8, Some(0)), Pong(2)], Some(2)),
    ];
    for (number, (said, known)) in cases.into_iter().enumerate() {
        let mut node = Harness::in_cube(1);
        for said in said {
            match said {
                Greeted(instance, topics) => {
                    node.link_as(&hello(1, *instance, *topics, None));
                }
                Pong(topics) => {
                    let asked = node.pass(TOPICS_ASK_US);
                    node.answer_ping_with(only(&asked, Opcode::Ping)[0], None, Some(*topics));
                }
            }
        }
        let told = answer(&node.link_as(&hello(1, 9, Some(0), None)));
        assert_eq!((told.topics, told.topics_known), (Some(0), known), "case {number}");
    }
}

#[test]
fn a_node_tells_its_neighbours_how_many_topics_it_holds() {
    let mut node = Harness::in_cube(1);
    let client = node.client();
    for name in names(0, 1).take(3) {
        node.create(client, &name, Retention::default());
    }
    assert_eq!(answer(&node.link_as(&hello(1, 1, None, None))).topics, Some(3));
}

#[test]
fn an_empty_folder_is_warned_of_once_and_only_when_a_neighbour_knew_topics() {
    for (is_empty, known, is_warned) in [(true, Some(3), true), (true, None, false), (true, Some(0), false)] {
        let mut node = Harness::in_cube(1);
        if is_empty {
            node.node.start_empty("/data".to_owned());
        }
        node.link_as(&hello(1, 1, Some(0), known));
        assert_eq!(node.node.parts.empty_folder.is_none(), is_warned, "{known:?}");
    }
    // The node that dials learns of it from the response to HELLO.
    let mut node = Harness::at_vertex(1, 1);
    node.node.start_empty("/data".to_owned());
    node.answer_dialed(&hello(0, 1, Some(0), Some(3)));
    assert!(node.node.parts.empty_folder.is_none());
}

#[test]
fn a_busy_link_is_asked_too() {
    let mut node = Harness::linked(1);
    let (link, here, mut asked) = (node.link(), names(0, 1).next().unwrap(), 0);
    let query = Request::Query { topic: TopicName::new(&here).unwrap() };
    for _ in 0..TOPICS_ASK_US / TICK_US {
        // Both sides have just received the other's HELLO.
        node.node_asks(1, 6, &query, &[]);
        node.handle(Event::Heard { conn: link });
        asked += only(&node.pass_silently(TICK_US), Opcode::Ping).len();
    }
    assert_eq!(asked, 1);
}
