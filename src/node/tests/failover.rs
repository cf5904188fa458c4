//! Requests for a slot that several nodes keep, of which another one leads than before.

use super::harness::{Harness, SLOT, names, records, refusal, topic};
use super::sent::{Sent, only};
use crate::limits::TICK_US;
use crate::types::{NodeId, ProducerId, Retention, SlotId};
use crate::wire::request::{Publish, Sequenced};
use crate::wire::{Opcode, Request, Status};

fn node_of(harness: &Harness, number: u16) -> NodeId {
    NodeId::new(number, harness.node.settings.dimension).unwrap()
}

/// Returns the ids and targets of the attempts among the sent frames.
fn attempts(sent: &[Sent]) -> Vec<(u64, u16)> {
    let is_attempt = |sent: &&Sent| sent.frame.route.is_some() && !sent.is_response() && sent.id() > 0;
    sent.iter().filter(is_attempt).map(|sent| (sent.id(), sent.route().target.index())).collect()
}

fn publish(name: &str, sequence: u64) -> Request<'_> {
    let producer = Some(Sequenced { producer: ProducerId::new(9).unwrap(), epoch: 0, sequence });
    Request::Publish(Publish { topic: topic(name), producer, count: 1 })
}

/// Records that a node leads a slot in this term.
fn note(harness: &mut Harness, slot: SlotId, term: u64, node: NodeId) {
    assert!(harness.node.leaders.note(slot, term, node));
}

#[test]
fn requests_that_wait_are_sent_to_the_new_leader_in_their_order() {
    let mut node = Harness::linked(2);
    let (client, name) = (node.client(), names(3, 2).next().unwrap());
    let slot = SlotId::new(3, node.node.settings.slots).unwrap();
    let sent: Vec<Sent> =
        (0..3).flat_map(|n| node.ask_with(client, 2 + n, &publish(&name, n), &records(1, 10))).collect();
    assert_eq!(attempts(&sent), [(2, 3), (3, 3), (4, 3)]);
    for asked in sent.iter().rev() {
        assert_eq!(node.answer(asked, &refusal(Status::Overloaded)).len(), 0);
    }
    let leader = node_of(&node, 2);
    note(&mut node, slot, 1, leader);
    let probe = node.pass(TICK_US);
    assert_eq!(attempts(&probe), [(2, 2)]);
    let sent = node.answer(&probe[0], &refusal(Status::Quota));
    assert_eq!(attempts(&sent), [(3, 2), (4, 2)]);
    // New ones go there at once, and requests for a node still to that node.
    assert_eq!(attempts(&node.ask(client, 9, &Request::Info(topic(&name)))), [(9, 2)]);
    assert_eq!(attempts(&node.ask(client, 10, &Request::Ping { node: 3, token: 7 })), [(10, 3)]);
}

#[test]
fn a_request_that_waits_is_executed_here_when_this_node_has_begun_to_lead() {
    let mut node = Harness::linked(1);
    let (client, name) = (node.client(), names(0, 1).next().unwrap());
    node.create(client, &name, Retention::default());
    node.set_leads(false);
    let (here, other) = (node_of(&node, 0), node_of(&node, 1));
    note(&mut node, SLOT, 7, other);
    let sent: Vec<Sent> =
        (0..2).flat_map(|n| node.ask_with(client, 2 + n, &publish(&name, n), &records(1, 10))).collect();
    assert_eq!(attempts(&sent), [(2, 1), (3, 1)]);
    sent.iter().for_each(|asked| assert_eq!(node.answer(asked, &refusal(Status::Overloaded)).len(), 0));
    // This node is named before it leads: it refuses the request itself, and keeps it for another attempt.
    note(&mut node, SLOT, 8, here);
    assert_eq!(node.pass(TICK_US).len(), 0);
    node.set_leads(true);
    let sent = node.pass(4 * TICK_US);
    let answers: Vec<(u64, Status)> =
        only(&sent, Opcode::Publish).iter().map(|sent| (sent.id(), sent.status())).collect();
    assert_eq!(answers, [(2, Status::Ok), (3, Status::Ok)]);
    assert!(sent.iter().all(|sent| sent.conn == client || sent.opcode() != Opcode::Publish));
    assert_eq!(node.node.parts.ingress.admission().reserved(), 0);
}
