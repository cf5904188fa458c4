//! Tests of the ingress by itself: what it answers, sends and holds, without connections and links.

use super::*;
use crate::cube;
use crate::limits::{FETCH_RESERVE_LEAST, HELD_BYTES, PAYLOAD_MAX, RESPONSE_CHARGE, RETRY_FIRST_US, RETRY_SILENCE_US};
use crate::node::Node;
use crate::node::frames::request_frame;
use crate::node::subject::Subject;
use crate::node::tests::settings;
use crate::types::{Now, Offset, RequestId, TopicName};
use crate::wire::request::{Fetch, Start, Topic};
use crate::wire::response::Detail;
use crate::wire::{Flags, Kind, Request, TrafficClass};

const START_US: u64 = 1_000_000;
const CLIENT: ConnId = ConnId { slot: 3, generation: 1 };
const LINK: ConnId = ConnId { slot: 4, generation: 1 };
/// More than the budget of a node with a memory limit of 1 MiB.
const ALL_BYTES: u32 = 1 << 30;

const PING: Request<'static> = Request::Ping { node: 1, token: 7 };

/// Returns number 0 of two nodes, with a client and this memory limit.
fn node_with_memory(memory_bytes: u64) -> Node {
    let settings = Settings { memory_bytes, ..settings(0, 1) };
    let mut node = Node::new(settings, Now { monotonic_us: START_US, wall_us: 0 });
    node.parts.ingress.open_client(CLIENT, Source::Own);
    node
}

fn node() -> Node {
    node_with_memory(u64::MAX)
}

/// Calls `act` with the ingress of a node at a time after the start.
fn at<R>(node: &mut Node, after_us: u64, act: impl FnOnce(&mut Ingress, &mut Step<'_>) -> R) -> R {
    let mut out = Vec::new();
    let (parts, mut step) = node.split(Now { monotonic_us: START_US + after_us, wall_us: 0 }, &mut out);
    act(&mut parts.ingress, &mut step)
}

fn forwarding(settings: &Settings, request: &Request<'_>) -> Forwarding {
    let subject = Subject::of(settings, request).unwrap();
    Forwarding::of(settings, request, subject).unwrap()
}

/// Passes a request of the client for the other node to the ingress.
fn admit(node: &mut Node, id: u64, request: &Request<'_>) -> Option<Origin> {
    at(node, 0, |ingress, step| {
        let frame = request_frame(request, &[], RequestId(id), Flags::default());
        let asked = Asked::new(CLIENT, &frame, request);
        let attempt = ingress.admit(step, asked, &forwarding(step.settings, request), &frame).unwrap();
        attempt.map(|attempt| attempt.origin)
    })
}

/// Passes a request to the ingress, which sends it at once.
fn send(node: &mut Node, id: u64, request: &Request<'_>) -> Origin {
    let origin = admit(node, id, request).expect("it is sent at once");
    at(node, 0, |ingress, step| ingress.on_sent(step, origin, LINK));
    origin
}

fn refusal(status: Status) -> Response {
    ErrorResponse::new(status, "the test says so").into()
}

/// Returns the response of the other node to the request with this id.
fn response(id: u64, request: &Request<'_>, response: &Response) -> Frame<'static> {
    response_of(1, id, request, response)
}

/// Returns the response of a node to the request with this id.
fn response_of(source: u16, id: u64, request: &Request<'_>, response: &Response) -> Frame<'static> {
    let (opcode, mut bytes) = (request.opcode().number(), Vec::new());
    let settings = settings(source, 1);
    let target = NodeId::new(0, settings.dimension).unwrap();
    let route = settings.new_route(target, Kind::Node, TrafficClass::Bulk, Origin::from_number(0));
    assert!(response.encode(opcode, RequestId(id), None, &mut bytes).is_none(), "a response without records");
    let mut frame = Frame::sealed(bytes);
    frame.route = Some(route);
    frame
}

/// Carries out all effects at that time: what is sent leaves over the link. Returns the origins of what is sent, and
/// the ids and statuses of the answers.
fn carry_out(node: &mut Node, after_us: u64) -> (Vec<Origin>, Vec<(u64, u8)>) {
    let (mut sent, mut answers) = (Vec::new(), Vec::new());
    at(node, after_us, |ingress, step| {
        while let Some(effect) = ingress.next_effect(step) {
            match effect {
                Effect::Send { origin } => {
                    let Some((attempt, _)) = ingress.begin_attempt(step, origin) else { continue };
                    ingress.on_sent(step, attempt.origin, LINK);
                    sent.push(attempt.origin);
                }
                Effect::Answer { asked, response } => {
                    ingress.discharge(step, &asked);
                    answers.push((asked.request_id.0, response.status()));
                }
                Effect::Resumed { .. } => {}
            }
        }
        ingress.check();
    });
    (sent, answers)
}

#[test]
fn a_response_answers_its_request_once_and_a_late_one_nobody() {
    let mut node = node();
    let origin = send(&mut node, 5, &PING);
    let pong = response(5, &PING, &Response::Ping { node: 1, token: 7, wall_us: None, topics: None });
    for expected in [Some(5), None] {
        let answered = at(&mut node, 0, |ingress, step| ingress.on_response(step, &pong, origin));
        assert_eq!(answered.map(|asked| asked.request_id.0), expected);
        if let Some(asked) = answered {
            at(&mut node, 0, |ingress, step| ingress.discharge(step, &asked));
        }
        assert_eq!(carry_out(&mut node, 0), (vec![], vec![]));
    }
    assert_eq!(node.stats.responses_late, 1);
}

#[test]
fn only_the_node_that_was_asked_answers_and_any_other_says_that_there_is_no_way() {
    let stats = Request::Stats { node: 1 };
    let other = |status| ErrorResponse::new(status, "the test says so").into();
    let pong = Response::Ping { node: 1, token: 7, wall_us: None, topics: None };
    // The source, the id and the request that it answers, the response, and whether it counts.
    let cases = [
        (0, 5, &PING, pong.clone(), false),
        (1, 6, &PING, pong.clone(), false),
        (1, 5, &stats, pong.clone(), false),
        (0, 5, &PING, other(Status::Ok), false),
        (0, 5, &PING, other(Status::UnknownNode), false),
        (0, 5, &PING, other(Status::Unreachable), true),
        (0, 5, &PING, other(Status::Overloaded), true),
        (0, 5, &PING, other(Status::TtlExpired), true),
        (1, 5, &PING, pong, true),
    ];
    for (source, id, request, answer, counts) in cases {
        let mut node = node();
        let origin = send(&mut node, 5, &PING);
        let frame = response_of(source, id, request, &answer);
        let answered = at(&mut node, 0, |ingress, step| ingress.on_response(step, &frame, origin));
        let case = format!("{answer:?} of node {source} to {id}");
        assert_eq!(node.stats.false_claims, u64::from(!counts), "{case}");
        assert!(counts || answered.is_none(), "{case}");
        if let Some(asked) = answered {
            at(&mut node, 0, |ingress, step| ingress.discharge(step, &asked));
        }
    }
}

#[test]
fn a_refused_request_is_sent_again_later_and_others_wait_behind_it() {
    let mut node = node();
    let first = send(&mut node, 1, &PING);
    at(&mut node, 0, |ingress, step| ingress.on_answered_here(step, first, refusal(Status::Overloaded)));
    assert_eq!((admit(&mut node, 2, &PING), admit(&mut node, 3, &PING)), (None, None));
    assert_eq!(carry_out(&mut node, 0), (vec![], vec![]));
    for (after_us, attempts) in [(RETRY_FIRST_US - 1, 0), (RETRY_FIRST_US, 1)] {
        at(&mut node, after_us, Ingress::on_timeout);
        let (sent, answers) = carry_out(&mut node, after_us);
        assert_eq!((sent.len(), answers.len()), (attempts, 0), "after {after_us} us");
        for origin in sent {
            assert_eq!(origin.slot, first.slot);
            let pong = response(1, &PING, &Response::Ping { node: 1, token: 7, wall_us: None, topics: None });
            let answered = at(&mut node, after_us, |ingress, step| ingress.on_response(step, &pong, origin));
            at(&mut node, after_us, |ingress, step| ingress.discharge(step, &answered.unwrap()));
            assert_eq!(carry_out(&mut node, after_us).0.len(), 2, "its answer lets both others go");
        }
    }
}

#[test]
fn a_request_that_is_lost_while_it_is_about_to_be_sent_again_waits_in_no_lane() {
    let mut node = node();
    send(&mut node, 1, &PING);
    // The tick finds that it is to be sent again; in the same event its link goes down.
    let late_us = RETRY_SILENCE_US;
    at(&mut node, late_us, Ingress::tick);
    at(&mut node, late_us, |ingress, step| ingress.on_link_lost(step, LINK));
    assert_eq!(carry_out(&mut node, late_us).0.len(), 1);
    at(&mut node, late_us, Ingress::on_timeout);
    assert_eq!(carry_out(&mut node, late_us).0.len(), 0, "it is sent once");
}

#[test]
fn a_request_for_a_target_that_is_known_to_be_unreachable_is_not_sent() {
    let mut node = node();
    let target = NodeId::new(1, node.settings.dimension).unwrap();
    at(&mut node, 0, |ingress, step| ingress.note_reached(target, false, step.now.monotonic_us));
    assert_eq!(admit(&mut node, 1, &PING), None);
    assert_eq!(carry_out(&mut node, 0), (vec![], vec![]), "it waits for another attempt");
    let late_us = REQUEST_TIMEOUT_US;
    at(&mut node, late_us, Ingress::tick);
    assert_eq!(carry_out(&mut node, late_us).1, [(1, Status::OutcomeUnknown.number())]);
}

#[test]
fn requests_that_time_out_together_are_answered_so_many_in_a_turn() {
    let mut node = node();
    let count = EXPIRED_PER_TURN + 10;
    for id in 0..count as u64 {
        send(&mut node, id, &PING);
    }
    let late_us = REQUEST_TIMEOUT_US;
    at(&mut node, late_us, Ingress::tick);
    for (expected, due_us) in [(EXPIRED_PER_TURN, 0), (10, u64::MAX)] {
        assert_eq!(node.parts.ingress.due_us(), due_us);
        assert_eq!(carry_out(&mut node, late_us).1.len(), expected);
        at(&mut node, late_us, Ingress::on_timeout);
    }
}

/// Returns a FETCH for a topic of the other node.
fn fetch(max_bytes: u32) -> Request<'static> {
    let lives_there = |name: &TopicName<'_>| cube::home(*name, settings(0, 1).dimension).index() == 1;
    let name = ["a", "b", "c"].into_iter().map(|name| TopicName::new(name).unwrap()).find(lives_there);
    let topic = Topic { name: name.unwrap(), id: None };
    Request::Fetch(Fetch {
        topic,
        epoch: None,
        start: Start::Offset(Offset(0)),
        max_bytes,
        max_records: 0,
        max_wait_ms: 0,
    })
}

/// Returns a node whose memory is used up, with the request that uses it and three FETCHes that are held.
fn node_without_memory() -> (Node, Asked) {
    let mut node = node_with_memory(1 << 20);
    let fetch_all = fetch(PAYLOAD_MAX);
    let frame = request_frame(&fetch_all, &[], RequestId(1), Flags::default());
    let hog = Asked { charge: ALL_BYTES, ..Asked::new(CLIENT, &frame, &fetch_all) };
    at(&mut node, 0, |ingress, step| ingress.charge(step, CLIENT, hog.charge));
    for id in 2..5 {
        assert_eq!(admit(&mut node, id, &fetch(FETCH_RESERVE_LEAST)), None);
    }
    assert_eq!(carry_out(&mut node, 0), (vec![], vec![]));
    assert_eq!(node.parts.ingress.admission().reserved(), u64::from(ALL_BYTES + 3 * HELD_BYTES));
    (node, hog)
}

#[test]
fn held_fetches_are_sent_when_their_client_may_use_more_again() {
    let (mut node, hog) = node_without_memory();
    at(&mut node, 0, |ingress, step| {
        ingress.discharge(step, &hog);
        ingress.resume_if_due(step, CLIENT);
    });
    let (sent, answers) = carry_out(&mut node, 0);
    assert_eq!((sent.len(), answers.len()), (3, 0));
    let charge = u64::from(FETCH_RESERVE_LEAST + RESPONSE_CHARGE);
    assert_eq!(node.parts.ingress.admission().reserved(), 3 * charge);
}

#[test]
fn held_fetches_end_with_their_client_or_with_the_node() {
    let (mut node, hog) = node_without_memory();
    let ended = at(&mut node, 0, |ingress, _| ingress.close_client(CLIENT));
    assert_eq!(ended.iter().map(|asked| asked.request_id.0).collect::<Vec<_>>(), [2, 3, 4]);
    at(&mut node, 0, |ingress, step| ingress.discharge(step, &hog));
    assert_eq!(carry_out(&mut node, 0), (vec![], vec![]));

    let (mut node, _) = node_without_memory();
    at(&mut node, 0, |ingress, _| ingress.end());
    let refused = Status::ShuttingDown.number();
    assert_eq!(carry_out(&mut node, 0), (vec![], vec![(2, refused), (3, refused), (4, refused)]));
    assert_eq!(admit(&mut node, 5, &fetch(FETCH_RESERVE_LEAST)), None);
    assert_eq!(carry_out(&mut node, 0), (vec![], vec![(5, refused)]), "from now on none is held");
}

#[test]
fn a_fetch_of_a_larger_record_is_held_and_sent_again_unless_its_client_has_gone() {
    let request = fetch(FETCH_RESERVE_LEAST);
    let large = ErrorResponse::new(Status::TooLarge, "larger").with(Detail::Limit(PAYLOAD_MAX.into()));
    let large = response(7, &request, &large.into());
    for has_gone in [false, true] {
        let mut node = node();
        let origin = send(&mut node, 7, &request);
        if has_gone {
            at(&mut node, 0, |ingress, _| ingress.close_client(CLIENT));
        }
        let answered = at(&mut node, 0, |ingress, step| ingress.on_response(step, &large, origin));
        assert_eq!(answered.map(|asked| asked.request_id.0), has_gone.then_some(7));
        if let Some(asked) = answered {
            at(&mut node, 0, |ingress, step| ingress.discharge(step, &asked));
        }
        let (sent, answers) = carry_out(&mut node, 0);
        assert_eq!((sent.len(), answers.len()), (usize::from(!has_gone), 0));
        let reserved = if has_gone { 0 } else { PAYLOAD_MAX + RESPONSE_CHARGE };
        assert_eq!(node.parts.ingress.admission().reserved(), u64::from(reserved));
    }
}
