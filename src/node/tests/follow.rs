//! Subscriptions follow the node that leads their slot.
//!
//! The node is number 0 of a cube of eight, with the link across dimension 0. Its client subscribes to a topic of slot
//! 7, which the nodes 7, 6 and 5 keep; or to one of slot 0, of which it has a copy itself.

use super::harness::{Harness, SLOT, names, refusal, subscribed, topic};
use super::sent::{Sent, only};
use crate::limits::{FEED_AGAIN_US, HEADS_US, TICK_US};
use crate::types::{ConnId, Copies, Retention};
use crate::wire::feed::{FedList, Heads};
use crate::wire::response::{Detail, ErrorResponse};
use crate::wire::{Opcode, Request, Response, Status};

const TOPIC: u64 = 0x77;

/// Returns a node whose client follows a topic of slot 7 at node 7, which has confirmed that.
fn follower() -> Harness {
    let mut node = Harness::linked_with_three_copies(3);
    let client = node.client();
    node.follow(client, 1, &names(7, 3).next().unwrap(), subscribed(TOPIC, 1, 0));
    let sent = feeds(node.pass(HEADS_US));
    assert_eq!(targets(&sent), [7]);
    let answer = Response::Fed(FedList { slot: 7, term: 3, instance: 70, counter: 1, items: Vec::new() });
    node.node_responds_to(7, &sent[0], &answer);
    node
}

fn feeds(sent: Vec<Sent>) -> Vec<Sent> {
    sent.into_iter().filter(|sent| sent.opcode() == Opcode::Feed && !sent.is_response()).collect()
}

fn targets(sent: &[Sent]) -> Vec<u16> {
    sent.iter().map(|sent| sent.route().target.index()).collect()
}

/// Sends HEADS of that node as the leader of slot 7. Returns the status of the answer, and the FEEDs that follow.
fn heads(node: &mut Harness, source: u16, term: u64, counter: u64) -> (Status, Vec<Sent>) {
    let heads = Heads { slot: 7, term, instance: source.into(), counter, feeds: 0, digest: 0, count: 0 };
    let sent = node.node_asks(source, 0, &Request::Heads(heads), &[]);
    (only(&sent, Opcode::Heads)[0].status(), feeds(sent))
}

fn leader(node: &Harness) -> u16 {
    let slot = node.node.settings.slots.all().nth(7).unwrap();
    node.node.leaders.of(slot).index()
}

#[test]
fn a_new_leader_gets_a_complete_report_as_soon_as_it_is_heard_of() {
    let mut node = follower();
    let (status, sent) = heads(&mut node, 6, 4, 1);
    assert_eq!((status, targets(&sent)), (Status::Ok, vec![6]));
    assert!(matches!(sent[0].request(), Request::Feed { slot: 7, reset: true, count: 1, .. }), "{sent:?}");
    // The earlier leader does not know yet that it leads no more.
    let (status, sent) = heads(&mut node, 7, 3, 2);
    assert_eq!((status, sent.len(), leader(&node)), (Status::NotLeader, 0, 6));
    // It leads again, and its counter begins anew.
    let (status, sent) = heads(&mut node, 7, 5, 2);
    assert_eq!((status, targets(&sent)), (Status::Ok, vec![7]));
}

#[test]
fn the_next_report_goes_where_a_node_that_does_not_lead_has_sent_it() {
    for (named, expected) in [(Some((5, 4)), 5), (Some((5, 2)), 7), (None, 6)] {
        let mut node = follower();
        let name = names(7, 3).nth(1).unwrap();
        let client = node.client();
        node.follow(client, 1, &name, subscribed(TOPIC + 1, 1, 0));
        let sent = feeds(node.pass(HEADS_US));
        assert_eq!(targets(&sent), [7]);
        let answer: Response = match named {
            Some((leader, term)) => {
                let error = ErrorResponse::new(Status::NotLeader, "the test says so").with(Detail::Node(leader));
                error.with(Detail::Term(term)).into()
            }
            None => refusal(Status::NotLeader),
        };
        assert_eq!(
            feeds(node.node_responds_to(7, &sent[0], &answer)).len(),
            0,
            "two that are wrong would be asked forever"
        );
        assert_eq!(leader(&node), expected);
        let sent = feeds(node.pass(FEED_AGAIN_US + HEADS_US));
        assert!(!sent.is_empty() && targets(&sent).iter().all(|target| *target == expected), "{sent:?}");
    }
}

#[test]
fn requests_go_to_the_leader_that_the_answer_to_a_report_names() {
    let refused = ErrorResponse::new(Status::NotLeader, "the test says so").with(Detail::Node(5)).with(Detail::Term(4));
    let fed = Response::Fed(FedList { slot: 7, term: 4, instance: 50, counter: 1, items: Vec::new() });
    for (from, answer, expected) in [(7, refused.into(), 5), (5, fed, 5)] {
        let mut node = follower();
        let (client, other) = (node.client(), node.client());
        let mut all = names(7, 3);
        let (first, name) = (all.next().unwrap(), all.next().unwrap());
        node.follow(client, 1, &name, subscribed(TOPIC + 1, 1, 0));
        let report = feeds(node.pass(HEADS_US));
        assert_eq!(targets(&report), [7]);
        assert_eq!(targets(&node.ask(other, 9, &Request::Info(topic(&first)))), [7]);
        let mut sent = node.node_responds_to(from, &report[0], &answer);
        sent.extend(node.pass(TICK_US));
        let again = only(&sent, Opcode::Info).into_iter().map(|sent| sent.route().target.index());
        assert_eq!(again.collect::<Vec<_>>(), [expected], "{sent:?}");
    }
}

#[test]
fn readers_of_a_node_that_begins_to_lead_go_on_with_its_own_log() {
    // It has asked the leader for the record, or does not know of it yet.
    for next in [1, 0] {
        let mut node = Harness::linked(2);
        let (client, name) = (node.client(), names(0, 2).next().unwrap());
        let id = node.create(client, &name, Retention::default());
        node.publish(client, &name, 1, 10);
        node.set_leads(false);
        // Its group is still that of a single copy; only who may lead is determined by this.
        node.node.settings.copies = Copies::Three;
        let other = node.node.settings.id.across(0);
        assert!(node.node.leaders.note(SLOT, 99, other));
        let sent = node.follow(client, 5, &name, subscribed(id.number(), 1, next));
        assert_eq!(delivered(&sent, client) + delivered(&node.pass(TICK_US), client), 0);
        node.set_leads(true);
        assert_eq!(delivered(&node.pass(TICK_US), client), 1);
    }
}

fn delivered(sent: &[Sent], client: ConnId) -> usize {
    only(sent, Opcode::Deliver).into_iter().filter(|sent| sent.conn == client).count()
}
