//! Requests for a slot that several nodes keep, of which another one leads than before.
//!
//! The node is number 0 of a cube of eight. Its clients ask for topics of slot 7, which the nodes 7, 6 and 5 keep.

use super::harness::{Harness, names, records, refusal, topic, topic_id};
use super::sent::Sent;
use crate::limits::{
    FAILOVER_US, REQUEST_TIMEOUT_US, RETRY_FOR_US, RETRY_MOST_US, RETRY_SILENCE_US, SILENT_LEADER_US, TICK_US,
};
use crate::node::group::member_of;
use crate::replica::{Message, Payload};
use crate::types::{ConnId, Epoch, NodeId, Offset, ProducerId, Retention, SlotId};
use crate::wire::request::{Publish, Sequenced};
use crate::wire::response::{Detail, Durability, ErrorResponse, Published};
use crate::wire::{Kind, Opcode, Origin, Request, Response, Route, Status, TrafficClass};

/// How long a node that does not lead asks to wait.
const AGAIN_US: u64 = 50_000;

/// A node that is not among those that keep slot 7, its client, and the name of a topic of that slot.
fn ingress() -> (Harness, ConnId, String) {
    let mut node = Harness::linked_with_three_copies(3);
    let client = node.client();
    (node, client, names(7, 3).next().unwrap())
}

fn node_of(harness: &Harness, number: u16) -> NodeId {
    NodeId::new(number, harness.node.settings.dimension).unwrap()
}

fn slot_of(harness: &Harness, number: u16) -> SlotId {
    SlotId::new(number, harness.node.settings.slots).unwrap()
}

/// Records that a node leads a slot in this term.
fn note(harness: &mut Harness, slot: u16, term: u64, node: u16) {
    let (slot, node) = (slot_of(harness, slot), node_of(harness, node));
    assert!(harness.node.leaders.note(slot, term, node));
}

/// Returns the node that is taken for the leader of slot 7.
fn leader(harness: &Harness) -> u16 {
    harness.node.leaders.of(slot_of(harness, 7)).index()
}

/// Returns the sent frames that are attempts of requests.
fn requests(sent: &[Sent]) -> Vec<&Sent> {
    sent.iter().filter(|sent| sent.frame.route.is_some() && !sent.is_response() && sent.id() > 0).collect()
}

/// Returns the ids and targets of the attempts among the sent frames.
fn attempts(sent: &[Sent]) -> Vec<(u64, u16)> {
    requests(sent).into_iter().map(|sent| (sent.id(), sent.route().target.index())).collect()
}

/// Returns the request ids and statuses of the answers that a client got.
fn answers(sent: &[Sent], client: ConnId) -> Vec<(u64, Status)> {
    let to_client = sent.iter().filter(|sent| sent.conn == client && sent.is_response());
    to_client.map(|sent| (sent.id(), sent.status())).collect()
}

fn publish(name: &str, sequence: Option<u64>) -> Request<'_> {
    let producer = sequence.map(|sequence| Sequenced { producer: ProducerId::new(9).unwrap(), epoch: 0, sequence });
    Request::Publish(Publish { topic: topic(name), producer, count: 1 })
}

/// Sends the batches of a producer with these sequences; the ids of their requests are 2 more.
fn send_batches(node: &mut Harness, client: ConnId, name: &str, sequences: std::ops::Range<u64>) -> Vec<Sent> {
    sequences.flat_map(|n| node.ask_with(client, 2 + n, &publish(name, Some(n)), &records(1, 10))).collect()
}

fn published() -> Response {
    Response::Published(Published {
        duplicate: false,
        topic_id: topic_id(9),
        epoch: Epoch(1),
        base: Offset(0),
        count: 1,
        append_us: 1,
        durability: Durability::Memory,
    })
}

fn not_leader(leader: u16, term: Option<u64>) -> Response {
    let error = ErrorResponse::new(Status::NotLeader, "the test says so").with(Detail::Node(leader)).retry_after(50);
    term.into_iter().fold(error, |error, term| error.with(Detail::Term(term))).into()
}

#[test]
fn requests_that_wait_are_sent_to_the_new_leader_in_their_order() {
    let (mut node, client, name) = ingress();
    let sent = send_batches(&mut node, client, &name, 0..3);
    assert_eq!(attempts(&sent), [(2, 7), (3, 7), (4, 7)]);
    for asked in sent.iter().rev() {
        assert_eq!(node.answer(asked, &refusal(Status::Overloaded)).len(), 0);
    }
    note(&mut node, 7, 1, 6);
    let probe = node.pass(TICK_US);
    assert_eq!(attempts(&probe), [(2, 6)]);
    let sent = node.answer(&probe[0], &refusal(Status::Quota));
    assert_eq!(attempts(&sent), [(3, 6), (4, 6)]);
    // New ones go there at once, and requests for a node still to that node.
    assert_eq!(attempts(&node.ask(client, 9, &Request::Info(topic(&name)))), [(9, 6)]);
    assert_eq!(attempts(&node.ask(client, 10, &Request::Ping { node: 7, token: 7 })), [(10, 7)]);
}

#[test]
fn a_request_that_waits_is_executed_here_when_this_node_has_begun_to_lead() {
    let mut node = Harness::linked(1);
    let (client, name) = (node.client(), names(0, 1).next().unwrap());
    node.create(client, &name, Retention::default());
    node.set_leads(false);
    note(&mut node, 0, 7, 1);
    let sent = send_batches(&mut node, client, &name, 0..2);
    assert_eq!(attempts(&sent), [(2, 1), (3, 1)]);
    sent.iter().for_each(|asked| assert_eq!(node.answer(asked, &refusal(Status::Overloaded)).len(), 0));
    // This node is named before it leads: it refuses the request itself, and keeps it for another attempt.
    note(&mut node, 0, 8, 0);
    assert_eq!(node.pass(TICK_US).len(), 0);
    node.set_leads(true);
    let sent = node.pass(4 * TICK_US);
    assert_eq!(answers(&sent, client), [(2, Status::Ok), (3, Status::Ok)]);
    assert!(sent.iter().all(|sent| sent.conn == client || sent.opcode() != Opcode::Publish));
    assert_eq!(node.node.parts.ingress.admission().reserved(), 0);
}

#[test]
fn a_request_goes_at_once_to_the_leader_that_a_refusal_names() {
    let (mut node, client, name) = ingress();
    let first = send_batches(&mut node, client, &name, 0..1);
    assert_eq!(first[0].route().kind, Kind::Group);
    let second = node.answer(&first[0], &not_leader(5, Some(3)));
    assert_eq!(attempts(&second), [(2, 5)]);
    assert_eq!(second[0].route().kind, Kind::Node, "it is for this node, which is not to hand it on");
    assert_ne!(second[0].route().origin, first[0].route().origin);
    let info = node.ask(client, 9, &Request::Info(topic(&name)));
    assert_eq!((attempts(&info), info[0].route().kind), (vec![(9, 5)], Kind::Group));
    assert_eq!(answers(&node.answer(&second[0], &published()), client), [(2, Status::Ok)]);
}

#[test]
fn only_new_news_of_a_member_change_the_leader() {
    for (named, term, expected, is_at_once) in [
        (7, Some(4), 6, false),
        (7, Some(5), 7, true),
        (5, Some(6), 5, true),
        // Who is named without a term, the refusing node itself, a node without a copy, and no node of the cube.
        (7, None, 5, true),
        (6, Some(6), 5, true),
        (3, Some(6), 5, true),
        (8, Some(6), 5, true),
    ] {
        let (mut node, client, name) = ingress();
        note(&mut node, 7, 5, 6);
        let sent = send_batches(&mut node, client, &name, 0..1);
        assert_eq!(attempts(&sent), [(2, 6)]);
        let mut next = node.answer(&sent[0], &not_leader(named, term));
        assert_eq!(!attempts(&next).is_empty(), is_at_once, "{named} {term:?}");
        next.extend(node.pass(AGAIN_US));
        assert_eq!(attempts(&next), [(2, expected)], "{named} {term:?}");
        assert_eq!(leader(&node), expected);
    }
}

#[test]
fn two_nodes_that_name_each_other_are_asked_no_faster_than_refused_ones() {
    let (mut node, client, name) = ingress();
    let mut sent = send_batches(&mut node, client, &name, 0..1);
    let mut rounds = Vec::new();
    for _ in 0..10 {
        let mut asked = Vec::new();
        while let [(2, target)] = attempts(&sent)[..] {
            asked.push(target);
            sent = node.answer(&sent[0], &not_leader(if target == 7 { 6 } else { 7 }, Some(2)));
        }
        assert_eq!(attempts(&sent), []);
        rounds.push(asked);
        assert_eq!(attempts(&node.pass(AGAIN_US - 1)), []);
        sent = node.pass(1);
    }
    assert_eq!(rounds, vec![vec![7, 6]; 10]);
    assert_eq!(answers(&sent, client), []);
}

#[test]
fn when_a_node_is_unreachable_the_next_one_is_asked_at_once() {
    let (mut node, client, name) = ingress();
    let mut sent = send_batches(&mut node, client, &name, 0..1);
    let mut asked = Vec::new();
    while let [(2, target)] = attempts(&sent)[..] {
        asked.push(target);
        sent = node.answer(&sent[0], &refusal(Status::Unreachable));
    }
    assert_eq!(asked, [7, 6, 5], "each once");
    let sent = node.pass(TICK_US * 2);
    assert_eq!(attempts(&sent), [(2, 7)], "and again after a pause");
    // The next one is reachable, and says that the one that is not leads: it is not asked before there is a pause.
    let sent = node.answer(&sent[0], &refusal(Status::Unreachable));
    assert_eq!(attempts(&sent), [(2, 6)]);
    assert_eq!(attempts(&node.answer(&sent[0], &not_leader(7, Some(1)))), []);
    let sent = node.pass(AGAIN_US);
    assert_eq!(attempts(&sent), [(2, 6)], "7 was unreachable just now");
    assert_eq!(answers(&node.answer(&sent[0], &published()), client), [(2, Status::Ok)]);
    assert_eq!(leader(&node), 6);
}

#[test]
fn a_repeatable_request_goes_to_the_next_node_after_silence() {
    let (mut node, client, name) = ingress();
    node.ask_with(client, 9, &publish(&name, None), &records(1, 10));
    send_batches(&mut node, client, &name, 0..3);
    assert_eq!(attempts(&node.pass(RETRY_SILENCE_US - TICK_US)), []);
    let mut sent = node.pass(TICK_US);
    assert_eq!(attempts(&sent), [(2, 6)], "the oldest one that may be repeated");
    assert_eq!(sent[0].route().kind, Kind::Node);
    // Until another leader is elected, the others still name the silent one. It is not asked again meanwhile.
    let mut waited_us = 0;
    while waited_us < SILENT_LEADER_US - AGAIN_US {
        assert_eq!(attempts(&sent), [(2, 6)], "after {waited_us} us");
        assert_eq!(attempts(&node.answer(&sent[0], &not_leader(7, Some(1)))), []);
        sent = node.pass(AGAIN_US);
        waited_us += AGAIN_US;
    }
    let mut asked = Vec::new();
    let mut sent = node.answer(&sent[0], &published());
    assert_eq!(answers(&sent, client), [(2, Status::Ok)]);
    while !attempts(&sent).is_empty() {
        asked.extend(attempts(&sent));
        let next = requests(&sent).into_iter().flat_map(|asked| node.answer(asked, &published())).collect();
        sent = next;
    }
    assert_eq!(asked, [(3, 6), (4, 6)], "those that were sent to the silent one follow, in their order");
    assert_eq!(leader(&node), 6);
    // What may not be repeated was not sent again.
    let sent = node.pass(REQUEST_TIMEOUT_US);
    assert_eq!((attempts(&sent), answers(&sent, client)), (vec![], vec![(9, Status::OutcomeUnknown)]));
}

#[test]
fn all_repeatable_requests_follow_to_a_leader_that_is_named() {
    // Whichever of them is refused first.
    for refused in 0..3 {
        let (mut node, client, name) = ingress();
        node.ask_with(client, 9, &publish(&name, None), &records(1, 10));
        let sent = send_batches(&mut node, client, &name, 0..3);
        let mut next = node.answer(&sent[refused], &not_leader(5, Some(2)));
        next.extend(node.timeout());
        let mut asked = Vec::new();
        while !attempts(&next).is_empty() {
            asked.extend(attempts(&next));
            // The refusals of the others come meanwhile.
            let mut later: Vec<Sent> = Vec::new();
            sent.iter().for_each(|it| later.extend(node.answer(it, &not_leader(5, Some(2)))));
            requests(&next).into_iter().for_each(|it| later.extend(node.answer(it, &published())));
            next = later;
        }
        assert_eq!(asked, [(2, 5), (3, 5), (4, 5)]);
    }
}

#[test]
fn a_gap_in_the_sequence_is_not_final_while_an_earlier_batch_is_at_another_node() {
    let (mut node, client, name) = ingress();
    let early = send_batches(&mut node, client, &name, 0..2);
    // Another leader is heard of by other means, and the next batch is sent there.
    note(&mut node, 7, 2, 6);
    let late = send_batches(&mut node, client, &name, 2..3);
    assert_eq!(attempts(&late), [(4, 6)]);
    assert_eq!(node.answer(&late[0], &refusal(Status::SequenceGap)).len(), 0);
    let next = node.answer(&early[0], &not_leader(6, Some(2)));
    assert_eq!(attempts(&next), [(2, 6)]);
    let next = node.answer(&next[0], &published());
    assert_eq!((answers(&next, client), attempts(&next)), (vec![(2, Status::Ok)], vec![(4, 6)]));
    // The gap is still there. The second batch follows when its refusal comes.
    assert_eq!(answers(&node.answer(&next[1], &refusal(Status::SequenceGap)), client), []);
    let next = node.answer(&early[1], &not_leader(6, Some(2)));
    assert_eq!(attempts(&next), [(3, 6)]);
    let next = node.answer(&next[0], &published());
    assert_eq!(attempts(&next), [(4, 6)]);
    let next = node.answer(&next[1], &refusal(Status::SequenceGap));
    assert_eq!(answers(&next, client), [(4, Status::SequenceGap)], "no earlier one is missing");
}

#[test]
fn an_answer_shows_who_leads_unless_there_is_newer_news() {
    let (mut node, client, name) = ingress();
    let sent = send_batches(&mut node, client, &name, 0..3);
    // Number 7 has handed it on.
    let next = node.node_responds_to(5, &sent[0], &published());
    assert_eq!(
        (answers(&next, client), attempts(&next)),
        (vec![(2, Status::Ok)], vec![]),
        "so it does with the others"
    );
    assert_eq!(leader(&node), 5);
    // Number 7 answers one of them although it does not lead any more.
    note(&mut node, 7, 2, 6);
    assert_eq!(answers(&node.answer(&sent[1], &published()), client), [(3, Status::Ok)]);
    assert_eq!(leader(&node), 6);
    // A node without a copy does not lead.
    let sent = send_batches(&mut node, client, &name, 4..5);
    node.node_responds_to(3, sent.last().unwrap(), &published());
    assert_eq!(leader(&node), 6);
}

/// Sends a request for a topic of slot 7 to the node as the ingress 3, and returns what is sent because of it.
fn arrive(node: &mut Harness, name: &str, kind: Kind) -> Vec<Sent> {
    let route = node.route_from(3, TrafficClass::Bulk, Origin::from_number(0x77));
    node.node_sends(&Route { kind, ..route }, 5, &Request::Info(topic(name)), &[])
}

#[test]
fn a_request_for_a_group_is_handed_on_once_to_its_leader() {
    let (mut node, _, name) = ingress();
    note(&mut node, 7, 4, 6);
    let sent = arrive(&mut node, &name, Kind::Group);
    assert_eq!(attempts(&sent), [(5, 6)]);
    let route = sent[0].route();
    assert_eq!((route.kind, route.source.index(), route.origin), (Kind::Node, 3, Origin::from_number(0x77)));
    let before = node.route_from(3, TrafficClass::Bulk, Origin::from_number(0));
    assert_eq!((route.ttl, route.hops), (before.ttl - 1, before.hops + 1));
    assert_eq!(node.node.stats.forwarded, 1);
    // Of kind node, it is for this node and no other.
    let sent = arrive(&mut node, &name, Kind::Node);
    assert_eq!((sent.len(), sent[0].status(), sent[0].route().target.index()), (1, Status::NotLeader, 3));
    assert_eq!(sent[0].details(), [Detail::Node(6), Detail::Term(4)]);
    // This node is named, and does not lead.
    note(&mut node, 7, 5, 0);
    let sent = arrive(&mut node, &name, Kind::Group);
    assert_eq!((sent.len(), sent[0].status()), (1, Status::NotLeader));
    assert_eq!(sent[0].details(), [Detail::Node(0), Detail::Term(5)]);
}

#[test]
fn a_node_that_has_a_group_and_does_not_lead_it_hands_on_too() {
    let (mut node, client, _) = ingress();
    let name = names(0, 3).next().unwrap();
    note(&mut node, 0, 2, 1);
    assert_eq!(attempts(&arrive(&mut node, &name, Kind::Group)), [(5, 1)]);
    // A request of its own client goes there like any other.
    let sent = node.ask(client, 8, &Request::Info(topic(&name)));
    assert_eq!((attempts(&sent), sent[0].route().kind), (vec![(8, 1)], Kind::Group));
}

#[test]
fn a_request_that_cannot_be_handed_on_is_refused_with_the_leader() {
    let (mut node, _, name) = ingress();
    note(&mut node, 7, 4, 6);
    let mut route = node.route_from(3, TrafficClass::Bulk, Origin::from_number(0x77));
    (route.kind, route.ttl) = (Kind::Group, 0);
    let sent = node.node_sends(&route, 5, &Request::Info(topic(&name)), &[]);
    assert_eq!((sent.len(), sent[0].status()), (1, Status::NotLeader), "UNREACHABLE would mean this node");
    assert_eq!(sent[0].details(), [Detail::Node(6), Detail::Term(4)]);
}

/// Answers each attempt with what `answer` returns for its target until the client has `count` answers. Returns these,
/// and how long that took, in microseconds.
fn refuse_to_the_end(
    node: &mut Harness,
    client: ConnId,
    mut sent: Vec<Sent>,
    count: usize,
    mut answer: impl FnMut(u16) -> Response,
) -> (Vec<(u64, Status)>, Vec<String>, u64) {
    let (began_us, mut answered, mut messages) = (node.now.monotonic_us, Vec::new(), Vec::new());
    loop {
        for sent in sent.iter().filter(|sent| sent.conn == client) {
            let Response::Error(error) = sent.response() else { panic!("{sent:?} is no refusal") };
            messages.push(error.message);
        }
        answered.extend(answers(&sent, client));
        if answered.len() == count {
            return (answered, messages, node.now.monotonic_us - began_us);
        }
        let mut next: Vec<Sent> = Vec::new();
        for asked in requests(&sent) {
            next.extend(node.answer(asked, &answer(asked.route().target.index())));
        }
        if next.is_empty() {
            next = node.pass(10_000);
        }
        sent = next;
    }
}

#[test]
fn when_no_node_leads_the_answer_is_no_quorum_after_the_time_of_a_failover() {
    let (mut node, client, name) = ingress();
    let mut sent = send_batches(&mut node, client, &name, 0..1);
    while !attempts(&sent).is_empty() {
        sent = node.answer(&sent[0], &not_leader(7, None));
    }
    // It waits behind the first one, and is never sent.
    assert_eq!(attempts(&node.ask_with(client, 9, &publish(&name, None), &records(1, 10))), []);
    // Number 5 is dead. The other two do not elect a leader.
    let answer = |target| if target == 5 { refusal(Status::Unreachable) } else { not_leader(5, Some(1)) };
    let (answered, messages, took_us) = refuse_to_the_end(&mut node, client, sent, 2, answer);
    assert_eq!(answered, [(2, Status::NoQuorum), (9, Status::NoQuorum)]);
    assert!((FAILOVER_US..FAILOVER_US + RETRY_MOST_US).contains(&took_us), "after {took_us} us");
    assert!(messages[0].ends_with("(111, 110, 101) can be reached; asked: 111, 110, 101"), "{messages:?}");
    assert!(messages[1].ends_with("asked: none, earlier requests wait"), "{messages:?}");
    let admission = node.node.parts.ingress.admission();
    assert_eq!((admission.reserved(), admission.inflight()), (0, 0));
}

#[test]
fn requests_do_not_wait_again_for_nodes_that_were_all_unreachable_for_long() {
    let (mut node, client, name) = ingress();
    let sent = send_batches(&mut node, client, &name, 0..1);
    let (answered, ..) = refuse_to_the_end(&mut node, client, sent, 1, |_| refusal(Status::Unreachable));
    assert_eq!(answered, [(2, Status::NoQuorum)]);
    let sent = node.ask(client, 9, &Request::Info(topic(&name)));
    let (answered, _, took_us) = refuse_to_the_end(&mut node, client, sent, 1, |_| refusal(Status::Unreachable));
    assert_eq!((answered, took_us), (vec![(9, Status::NoQuorum)], 0));
    // A request for one of them is no matter of a quorum.
    let sent = node.ask(client, 10, &Request::Ping { node: 7, token: 7 });
    let (answered, _, took_us) = refuse_to_the_end(&mut node, client, sent, 1, |_| refusal(Status::Unreachable));
    assert_eq!(answered, [(10, Status::Unreachable)]);
    assert!(took_us <= RETRY_FOR_US + RETRY_MOST_US);
}

#[test]
fn the_answer_is_not_no_quorum_if_an_attempt_was_silent_or_refused_for_another_reason() {
    // The first attempt may have been applied.
    let (mut node, client, name) = ingress();
    send_batches(&mut node, client, &name, 0..1);
    let sent = node.pass(RETRY_SILENCE_US);
    let (answered, ..) = refuse_to_the_end(&mut node, client, sent, 1, |_| not_leader(7, None));
    assert_eq!(answered, [(2, Status::OutcomeUnknown)]);
    // A leader was there, and busy.
    let (mut node, client, name) = ingress();
    let sent = send_batches(&mut node, client, &name, 0..1);
    node.answer(&sent[0], &refusal(Status::Overloaded));
    let (answered, ..) = refuse_to_the_end(&mut node, client, Vec::new(), 1, |_| not_leader(7, None));
    assert_eq!(answered, [(2, Status::NotLeader)]);
}

#[test]
fn requests_that_wait_when_their_time_is_over_at_once_are_answered_as_they_stand() {
    for (is_silent, expected) in [(false, Status::NoQuorum), (true, Status::OutcomeUnknown)] {
        let (mut node, client, name) = ingress();
        let mut sent = send_batches(&mut node, client, &name, 0..1);
        if is_silent {
            sent = node.pass(RETRY_SILENCE_US);
        }
        while let Some(asked) = requests(&sent).first() {
            sent = node.answer(asked, &not_leader(7, None));
        }
        assert_eq!(answers(&node.stall(REQUEST_TIMEOUT_US), client), [(2, expected)]);
    }
}

#[test]
fn requests_follow_a_leader_of_which_the_member_on_this_node_hears() {
    let (mut node, client, _) = ingress();
    let (name, slot) = (names(1, 3).next().unwrap(), slot_of(&node, 1));
    assert_eq!(attempts(&send_batches(&mut node, client, &name, 0..1)), [(2, 1)]);
    let (now, from, to) = (node.now, member_of(node_of(&node, 3)), member_of(node_of(&node, 0)));
    let mut out = Vec::new();
    let (parts, mut step) = node.node.split(now, &mut out);
    let payload = Payload::Heartbeat { commit: 0, context: 0 };
    let message = Message { from, to, term: 3, founding: parts.groups.existing_mut(slot).founding_id(), payload };
    assert!(parts.groups.existing_mut(slot).on_message(step.settings, message));
    parts.follow_up(&mut step, slot);
    assert_eq!(attempts(&node.timeout()), [(2, 3)]);
}
