//! Retries of requests that another node does not answer, or refuses with a status that means that they were not
//! applied.

use super::harness::{Harness, fetch, names, records, refusal, subscribe, topic};
use super::sent::Sent;
use crate::limits::{
    CLIENT_CHARGE_MAX, LINK_SILENCE_US, REQUEST_TIMEOUT_US, RETRY_FIRST_US, RETRY_FOR_US, RETRY_LOST_US, RETRY_MOST_US,
    RETRY_SILENCE_US, TICK_US,
};
use crate::types::{ConnId, Epoch, Offset, ProducerId, Retention};
use crate::wire::request::{Publish, Sequenced, TraceTarget};
use crate::wire::response::{Durability, Published};
use crate::wire::{Request, Response, Route, Status};

const PING: Request<'static> = Request::Ping { node: 1, token: 7 };

/// Returns the sent frames that are attempts of requests to the other node.
fn attempts(sent: &[Sent]) -> Vec<&Sent> {
    sent.iter().filter(|sent| sent.frame.route.is_some() && !sent.is_response() && sent.id() > 0).collect()
}

/// Returns the request ids and statuses of the responses sent to a client.
fn client_answers(sent: &[Sent], client: ConnId) -> Vec<(u64, Status)> {
    let is_answer = |sent: &&Sent| sent.conn == client && sent.is_response();
    sent.iter().filter(is_answer).map(|sent| (sent.id(), sent.status())).collect()
}

fn publish(name: &str, sequence: Option<u64>) -> Request<'_> {
    let producer = sequence.map(|sequence| Sequenced { producer: ProducerId::new(9).unwrap(), epoch: 0, sequence });
    Request::Publish(Publish { topic: topic(name), producer, count: 1 })
}

fn published() -> Response {
    Response::Published(Published {
        duplicate: false,
        topic_id: super::harness::topic_id(9),
        epoch: Epoch(1),
        base: Offset(0),
        count: 1,
        append_us: 1,
        durability: Durability::Memory,
    })
}

/// Returns every request that a client may send to another node, with its payload, whether it is retried after silence,
/// and whether it is retried when it was refused.
fn requests(name: &str) -> Vec<(Request<'_>, Vec<u8>, bool, bool)> {
    let retention = Retention::default();
    let batch = records(1, 10);
    vec![
        (PING, vec![], true, true),
        (Request::Create { topic: topic(name).name, retention }, vec![], true, true),
        (Request::Info(topic(name)), vec![], true, true),
        (Request::Fetch(fetch(name)), vec![], true, true),
        (subscribe(name), vec![], true, true),
        (publish(name, Some(0)), batch.clone(), true, true),
        (publish(name, None), batch, false, true),
        (Request::Delete(topic(name)), vec![], false, true),
        (Request::Trace { ttl: 3, target: TraceTarget::Node(1) }, vec![], false, false),
    ]
}

#[test]
fn after_silence_only_idempotent_requests_are_retried() {
    let name = names(1, 1).next().unwrap();
    for (request, payload, repeats, _) in requests(&name) {
        let mut node = Harness::linked(1);
        let client = node.client();
        let first = node.ask_with(client, 5, &request, &payload);
        assert_eq!(attempts(&first).len(), 1);
        let mut at_us = Vec::new();
        let mut origins = vec![attempts(&first)[0].route().origin];
        for tick in 1..=REQUEST_TIMEOUT_US / TICK_US {
            let sent = node.pass(TICK_US);
            for attempt in attempts(&sent) {
                at_us.push(tick * TICK_US);
                origins.push(attempt.route().origin);
                assert_eq!(attempt.frame.body(), attempts(&first)[0].frame.body(), "the attempts are identical");
            }
            let is_over = tick * TICK_US == REQUEST_TIMEOUT_US;
            let expected = if is_over { vec![(5, Status::OutcomeUnknown)] } else { vec![] };
            assert_eq!(client_answers(&sent, client), expected, "{request:?} after {tick} ticks");
        }
        let times = if repeats { 1..REQUEST_TIMEOUT_US / RETRY_SILENCE_US } else { 0..0 };
        let expected: Vec<u64> = times.map(|times| times * RETRY_SILENCE_US).collect();
        assert_eq!(at_us, expected, "{request:?}");
        let slot = origins[0].slot;
        assert!(origins.iter().all(|origin| origin.slot == slot));
        origins.dedup();
        assert_eq!(origins.len(), expected.len() + 1, "each attempt has another origin");
        assert_eq!(
            (node.node.parts.ingress.admission().reserved(), node.node.parts.ingress.admission().inflight()),
            (0, 0)
        );
    }
}

#[test]
fn requests_that_were_not_applied_are_retried_for_a_limited_time() {
    let name = names(1, 1).next().unwrap();
    for status in [Status::Unreachable, Status::Overloaded, Status::ShuttingDown, Status::NotLeader] {
        for (request, payload, _, is_sent_again) in requests(&name) {
            let mut node = Harness::linked(1);
            let client = node.client();
            let mut sent = node.ask_with(client, 5, &request, &payload);
            let (mut count, mut waited_us) = (0, 0);
            while client_answers(&sent, client).is_empty() {
                let asked: Vec<Sent> = sent;
                count += attempts(&asked).len();
                let mut next = Vec::new();
                attempts(&asked).iter().for_each(|attempt| next.extend(node.answer(attempt, &refusal(status))));
                if client_answers(&next, client).is_empty() {
                    next.extend(node.pass(RETRY_MOST_US / 10));
                    waited_us += RETRY_MOST_US / 10;
                }
                sent = next;
            }
            assert_eq!(client_answers(&sent, client), [(5, status)], "{request:?}");
            let least_us = if is_sent_again { RETRY_FOR_US } else { 0 };
            assert!((least_us..=least_us + RETRY_MOST_US).contains(&waited_us), "{request:?} after {waited_us} us");
            assert_eq!(count, if is_sent_again { 9 } else { 1 }, "{request:?} {}", status.name());
            assert_eq!(
                (node.node.parts.ingress.admission().reserved(), node.node.parts.ingress.admission().inflight()),
                (0, 0)
            );
        }
    }
}

#[test]
fn the_success_of_any_attempt_is_final_but_only_the_latest_refusal_counts() {
    let name = names(1, 1).next().unwrap();
    for is_first in [true, false] {
        let mut node = Harness::linked(1);
        let client = node.client();
        let first = node.ask_with(client, 5, &publish(&name, Some(0)), &records(1, 10));
        let second = node.pass(RETRY_SILENCE_US);
        let (first, second) = (attempts(&first)[0], attempts(&second)[0]);
        for status in [Status::Unreachable, Status::Quota, Status::SequenceGap] {
            assert_eq!(node.answer(first, &refusal(status)).len(), 0, "the latest attempt may still be applied");
        }
        let sent = node.answer(if is_first { first } else { second }, &published());
        assert_eq!(client_answers(&sent, client), [(5, Status::Ok)]);
        assert_eq!(node.answer(if is_first { second } else { first }, &published()).len(), 0, "answered once");
    }
    // The first attempt may have been stored, although the second is refused for a change that happened in between; or
    // it is stored later, once a missing batch has arrived.
    for (request, status, expected) in [
        (publish(&name, Some(0)), Status::ProducerFenced, Status::OutcomeUnknown),
        (publish(&name, Some(0)), Status::Quota, Status::OutcomeUnknown),
        (publish(&name, Some(0)), Status::UnknownTopic, Status::OutcomeUnknown),
        (publish(&name, Some(0)), Status::SequenceGap, Status::OutcomeUnknown),
        (Request::Info(topic(&name)), Status::UnknownTopic, Status::UnknownTopic),
    ] {
        let mut node = Harness::linked(1);
        let client = node.client();
        let payload = if let Request::Publish(_) = request { records(1, 10) } else { Vec::new() };
        node.ask_with(client, 5, &request, &payload);
        let second = node.pass(RETRY_SILENCE_US);
        let sent = node.answer(attempts(&second)[0], &refusal(status));
        assert_eq!(client_answers(&sent, client), [(5, expected)], "{request:?}");
    }
    // Silence, then refusals to the end: the outcome of the first attempt is unknown.
    let mut node = Harness::linked(1);
    let client = node.client();
    node.ask_with(client, 5, &publish(&name, Some(0)), &records(1, 10));
    let mut sent = node.pass(RETRY_SILENCE_US);
    let mut answers = Vec::new();
    while answers.is_empty() {
        let mut next = Vec::new();
        for attempt in attempts(&sent) {
            next.extend(node.answer(attempt, &refusal(Status::Unreachable)));
        }
        next.extend(node.pass(TICK_US));
        answers = client_answers(&next, client);
        sent = next;
    }
    assert_eq!(answers, [(5, Status::OutcomeUnknown)]);
}

#[test]
fn an_earlier_attempt_that_comes_back_says_nothing_about_the_latest() {
    let (mut node, client, first) = publishing(1);
    let second = node.pass(RETRY_SILENCE_US);
    // The first attempt was forwarded around dead links until its TTL expired, and is back at its ingress.
    let route = Route { ttl: 0, hops: 2, ..attempts(&first)[0].route().clone() };
    let name = names(1, 1).next().unwrap();
    let sent = node.node_sends(&route, 2, &publish(&name, Some(0)), &records(1, 10));
    assert_eq!((sent.len(), node.node.stats.responses_late), (0, 1), "it is neither refused nor queued");
    let sent = node.answer(attempts(&second)[0], &published());
    assert_eq!(client_answers(&sent, client), [(2, Status::Ok)]);
}

#[test]
fn requests_sent_over_a_lost_link_are_retried_or_soon_given_up() {
    let name = names(1, 1).next().unwrap();
    for (request, payload, repeats, _) in requests(&name) {
        let mut node = Harness::linked(1);
        let client = node.client();
        node.ask_with(client, 5, &request, &payload);
        let link = node.link();
        node.lose(link);
        assert_eq!(attempts(&node.pass(TICK_US)).len(), 0, "there is no path");
        let link = node.link_up();
        let sent = node.timeout();
        assert_eq!(
            attempts(&sent).iter().filter(|sent| sent.conn == link).count(),
            usize::from(repeats),
            "{request:?}"
        );
        let sent = node.pass(RETRY_LOST_US);
        let expected = if repeats { vec![] } else { vec![(5, Status::OutcomeUnknown)] };
        assert_eq!(client_answers(&sent, client), expected, "{request:?}");
        assert_eq!(node.node.stats.timeouts, u64::from(!repeats), "{request:?}");
        // The retry may have been lost as well, so it is repeated after the same silence as a first attempt.
        let sent = node.pass(RETRY_SILENCE_US - RETRY_LOST_US);
        assert_eq!(attempts(&sent).len(), usize::from(repeats), "{request:?}");
    }
}

#[test]
fn one_request_probes_an_unreachable_target_and_the_others_follow_in_order() {
    let name = names(3, 2).next().unwrap();
    let mut node = Harness::linked(2);
    let client = node.client();
    let batch = records(1, 10);
    let mut first = node.ask_with(client, 2, &publish(&name, Some(0)), &batch);
    first.extend(node.ask_with(client, 3, &publish(&name, Some(1)), &batch));
    assert_eq!(ids(&first), [2, 3]);
    // The later request is refused first.
    for attempt in attempts(&first).iter().rev() {
        assert_eq!(node.answer(attempt, &refusal(Status::Unreachable)).len(), 0);
    }
    assert_eq!(
        node.ask_with(client, 4, &publish(&name, Some(2)), &batch).len(),
        0,
        "it is queued after those that wait"
    );
    let probe = node.pass(TICK_US);
    assert_eq!(ids(&probe), [2]);
    assert_eq!(ids(&node.pass(RETRY_MOST_US - TICK_US)), [0; 0], "one probe at a time");
    let sent = node.answer(attempts(&probe)[0], &published());
    assert_eq!(client_answers(&sent, client), [(2, Status::Ok)]);
    assert_eq!(ids(&sent), [3, 4]);
    // Requests to another target are not held back.
    assert_eq!(ids(&node.ask(client, 5, &PING)), [5]);
}

/// Returns the ids of the attempts among the sent frames.
fn ids(sent: &[Sent]) -> Vec<u64> {
    attempts(sent).iter().map(|sent| sent.id()).collect()
}

/// Returns a linked node, its client, and `count` PUBLISH requests of one producer that the client has sent to the
/// other node, with ids from 2 on.
fn publishing(count: u64) -> (Harness, ConnId, Vec<Sent>) {
    let name = names(1, 1).next().unwrap();
    let mut node = Harness::linked(1);
    let client = node.client();
    let sent = (0..count).flat_map(|n| node.ask_with(client, 2 + n, &publish(&name, Some(n)), &records(1, 10)));
    let sent: Vec<Sent> = sent.collect();
    assert_eq!(ids(&sent), (2..2 + count).collect::<Vec<u64>>());
    (node, client, sent)
}

#[test]
fn each_answer_of_a_busy_target_releases_two_requests() {
    let (mut node, client, sent) = publishing(20);
    for attempt in attempts(&sent) {
        assert_eq!(node.answer(attempt, &refusal(Status::Overloaded)).len(), 0);
    }
    let mut sent = node.pass(TICK_US);
    let (mut answered, mut rounds) = (Vec::new(), Vec::new());
    while !attempts(&sent).is_empty() {
        rounds.push(attempts(&sent).len());
        let mut next = Vec::new();
        attempts(&sent).iter().for_each(|attempt| next.extend(node.answer(attempt, &published())));
        answered.extend(client_answers(&next, client));
        sent = next;
    }
    assert_eq!(rounds, [1, 2, 4, 8, 5]);
    assert_eq!(answered, (2..22).map(|id| (id, Status::Ok)).collect::<Vec<_>>());
}

#[test]
fn a_refusal_while_a_lane_is_released_puts_its_requests_back_in_order() {
    let (mut node, client, sent) = publishing(4);
    attempts(&sent).iter().for_each(|attempt| assert_eq!(node.answer(attempt, &refusal(Status::Overloaded)).len(), 0));
    let probe = node.pass(TICK_US);
    let two = node.answer(attempts(&probe)[0], &published());
    assert_eq!(ids(&two), [3, 4]);
    attempts(&two).iter().for_each(|attempt| assert_eq!(node.answer(attempt, &refusal(Status::Overloaded)).len(), 0));
    let probe = node.pass(TICK_US);
    assert_eq!(ids(&probe), [3], "soon, and in order");
    let two = node.answer(attempts(&probe)[0], &published());
    assert_eq!((client_answers(&two, client), ids(&two)), (vec![(3, Status::Ok)], vec![4, 5]));
}

#[test]
fn a_sequence_gap_is_not_final_while_an_earlier_batch_waits() {
    let (mut node, client, sent) = publishing(3);
    let sent = attempts(&sent);
    // Only the first one found a full queue.
    assert_eq!(node.answer(sent[0], &refusal(Status::Overloaded)).len(), 0);
    assert_eq!(node.answer(sent[1], &refusal(Status::SequenceGap)).len(), 0);
    let probe = node.pass(TICK_US);
    assert_eq!(ids(&probe), [2]);
    assert_eq!(node.answer(sent[2], &refusal(Status::SequenceGap)).len(), 0, "the second batch still waits");
    let next = node.answer(attempts(&probe)[0], &published());
    assert_eq!((client_answers(&next, client), ids(&next)), (vec![(2, Status::Ok)], vec![3, 4]));
    let third = node.answer(attempts(&next)[1], &refusal(Status::SequenceGap));
    assert_eq!(client_answers(&third, client), [(4, Status::SequenceGap)], "no earlier batch waits");
}

#[test]
fn a_silent_target_is_probed_with_its_oldest_request_only() {
    for is_slow in [true, false] {
        let (mut node, client, first) = publishing(10);
        let test = node.pass(RETRY_SILENCE_US);
        assert_eq!(ids(&test), [2]);
        let answered = if is_slow { attempts(&first)[0] } else { attempts(&test)[0] };
        let sent = node.answer(answered, &published());
        assert_eq!(client_answers(&sent, client), [(2, Status::Ok)]);
        if is_slow {
            // The first attempt was only slow, so the others may be as well: the next one becomes the probe.
            assert_eq!((ids(&sent), ids(&node.pass(TICK_US))), (vec![], vec![3]));
        } else {
            assert_eq!(ids(&sent), [3, 4], "requests sent before the probe are lost");
            assert_eq!(ids(&node.answer(attempts(&sent)[0], &published())), [5, 6]);
        }
    }
}

#[test]
fn requests_found_lost_late_are_retried_long_enough_for_every_node_to_learn_of_the_dead_link() {
    let (mut node, client, _) = publishing(4);
    node.pass(LINK_SILENCE_US + TICK_US);
    node.lose(node.link());
    node.link_up();
    assert_eq!(ids(&node.timeout()), [2]);
    // Its answer is lost again, on a link that the other node still considers up.
    let next = node.pass(RETRY_MOST_US);
    assert_eq!(client_answers(&next, client), []);
    assert_eq!(ids(&next), [3]);
    let sent = node.answer(attempts(&next)[0], &published());
    assert_eq!((client_answers(&sent, client), ids(&sent)), (vec![(3, Status::Ok)], vec![4, 5]));
}

#[test]
fn requests_found_lost_late_do_not_wait_longer_for_an_unreachable_target() {
    let (mut node, client, _) = publishing(4);
    node.pass(LINK_SILENCE_US + TICK_US);
    node.lose(node.link());
    let sent = node.pass(RETRY_FOR_US - LINK_SILENCE_US);
    let expected = [2, 3, 4, 5].map(|id| (id, Status::OutcomeUnknown));
    assert_eq!(client_answers(&sent, client), expected);
}

#[test]
fn reads_do_not_wait_for_refused_publishes() {
    let (mut node, client, sent) = publishing(1);
    node.answer(attempts(&sent)[0], &refusal(Status::Overloaded));
    let name = names(1, 1).next().unwrap();
    assert_eq!(ids(&node.ask(client, 7, &Request::Info(topic(&name)))), [7]);
    assert_eq!(ids(&node.ask_with(client, 8, &publish(&name, Some(1)), &records(1, 10))), [0; 0]);
}

#[test]
fn requests_that_only_waited_for_others_are_answered_as_not_applied() {
    for (status, name) in [(Status::Unreachable, "unreachable"), (Status::Overloaded, "busy")] {
        let (mut node, client, sent) = publishing(1);
        node.answer(attempts(&sent)[0], &refusal(status));
        let topic = names(1, 1).next().unwrap();
        assert_eq!(ids(&node.ask_with(client, 8, &publish(&topic, Some(1)), &records(1, 10))), [0; 0]);
        let mut answers = Vec::new();
        for _ in 0..RETRY_FOR_US.div_ceil(TICK_US) + 1 {
            let sent = node.pass(TICK_US);
            answers.extend(client_answers(&sent, client));
            for probe in attempts(&sent) {
                assert_eq!(probe.id(), 2, "{name}");
                answers.extend(client_answers(&node.answer(probe, &refusal(status)), client));
            }
        }
        assert_eq!(answers, [(2, status), (8, status)], "{name}");
    }
}

#[test]
fn requests_sent_over_the_link_of_a_node_that_shuts_down_are_retried_when_the_link_closes() {
    let (mut node, _, sent) = publishing(1);
    let link = node.link();
    assert_eq!(attempts(&sent)[0].conn, link);
    node.send_goaway(link, Status::Closing);
    node.link_up();
    assert_eq!(ids(&node.timeout()), [0; 0], "its answer may still come over the old link");
    node.lose(link);
    let sent = node.timeout();
    assert_eq!((ids(&sent), attempts(&sent)[0].conn), (vec![2], node.link()));
}

/// Refuses each attempt until the client is answered, and returns the answers.
fn refuse_to_the_end(node: &mut Harness, client: ConnId, mut sent: Vec<Sent>, status: Status) -> Vec<(u64, Status)> {
    loop {
        let mut next: Vec<Sent> =
            attempts(&sent).iter().flat_map(|attempt| node.answer(attempt, &refusal(status))).collect();
        next.extend(node.pass(TICK_US));
        let answers = client_answers(&next, client);
        if !answers.is_empty() {
            return answers;
        }
        sent = next;
    }
}

#[test]
fn a_refusal_after_an_attempt_that_may_have_been_applied_gives_an_unknown_outcome() {
    // The link is lost, and the retry over another path is refused.
    let (mut node, client, sent) = publishing(1);
    node.lose(attempts(&sent)[0].conn);
    node.link_up();
    let sent = node.timeout();
    assert_eq!(ids(&sent), [2]);
    let answers = refuse_to_the_end(&mut node, client, sent, Status::Overloaded);
    assert_eq!(answers, [(2, Status::OutcomeUnknown)]);
    // The last refusal, from another node or from this one, comes too late for another attempt.
    for is_here in [false, true] {
        let (mut node, client, _) = publishing(1);
        let sent = node.pass(RETRY_FOR_US);
        let answers = if is_here {
            let mut sent = node.lose(node.link());
            sent.extend(node.timeout());
            client_answers(&sent, client)
        } else {
            client_answers(&node.answer(attempts(&sent).last().unwrap(), &refusal(Status::Unreachable)), client)
        };
        assert_eq!(answers, [(2, Status::OutcomeUnknown)], "{is_here}");
    }
}

#[test]
fn after_an_answer_the_delay_of_the_next_retry_is_short_again() {
    let (mut node, client, mut sent) = publishing(1);
    for _ in 0..RETRY_FOR_US / 2 / TICK_US {
        attempts(&sent).iter().for_each(|attempt| drop(node.answer(attempt, &refusal(Status::Overloaded))));
        sent = node.pass(TICK_US);
    }
    while attempts(&sent).is_empty() {
        sent = node.pass(TICK_US);
    }
    assert_eq!(client_answers(&node.answer(attempts(&sent)[0], &published()), client), [(2, Status::Ok)]);
    let name = names(1, 1).next().unwrap();
    let sent = node.ask_with(client, 9, &publish(&name, Some(1)), &records(1, 10));
    node.answer(attempts(&sent)[0], &refusal(Status::Overloaded));
    assert_eq!(node.node.next_timeout(), node.now.monotonic_us + RETRY_FIRST_US);
}

#[test]
fn new_requests_do_not_wait_for_a_target_that_has_been_unreachable_for_long() {
    let (mut node, client, sent) = publishing(1);
    let answers = refuse_to_the_end(&mut node, client, sent, Status::Unreachable);
    assert_eq!(answers, [(2, Status::Unreachable)]);
    let name = names(1, 1).next().unwrap();
    // Later requests get the refusal at once and are not queued.
    for id in 3..6 {
        let sent = node.ask_with(client, id, &publish(&name, Some(id)), &records(1, 10));
        let mut answers = client_answers(&sent, client);
        for attempt in attempts(&sent) {
            answers.extend(client_answers(&node.answer(attempt, &refusal(Status::Unreachable)), client));
        }
        assert_eq!(answers, [(id, Status::Unreachable)]);
    }
}

#[test]
fn a_request_that_is_read_late_does_not_wait_again_for_a_target_that_has_been_unreachable_for_long() {
    let (mut node, client, mut sent) = publishing(1);
    let (other, name) = (node.client(), names(1, 1).next().unwrap());
    let mut answers = Vec::new();
    for tick in 1..=RETRY_FOR_US / TICK_US {
        for attempt in attempts(&sent) {
            answers.extend(client_answers(&node.answer(attempt, &refusal(Status::Unreachable)), client));
        }
        if tick == RETRY_FOR_US / TICK_US {
            assert_eq!(answers, []);
            // It waits behind the first one, which is about to be given up.
            assert_eq!(ids(&node.ask_with(other, 7, &publish(&name, Some(1)), &records(1, 10))), [0; 0]);
        }
        sent = node.pass(TICK_US);
    }
    assert_eq!(client_answers(&sent, client), [(2, Status::Unreachable)]);
    assert_eq!(client_answers(&sent, other), [(7, Status::Unreachable)]);
}

#[test]
fn a_request_that_cannot_be_retried_is_given_up_if_its_target_becomes_unreachable() {
    let name = names(3, 2).next().unwrap();
    let mut node = Harness::linked(2);
    let client = node.client();
    node.ask_with(client, 2, &publish(&name, None), &records(1, 10));
    node.pass(TICK_US);
    let asked = node.ask(client, 3, &Request::Info(topic(&name)));
    node.answer(attempts(&asked)[0], &refusal(Status::Unreachable));
    assert_eq!(client_answers(&node.pass(RETRY_SILENCE_US - TICK_US), client), [], "its answer may be in transit");
    let sent = node.pass(RETRY_LOST_US);
    assert_eq!(client_answers(&sent, client), [(2, Status::OutcomeUnknown)]);
}

#[test]
fn a_request_is_charged_for_its_frame_while_the_frame_is_kept() {
    let name = names(1, 1).next().unwrap();
    let mut node = Harness::linked(1);
    let client = node.client();
    let batch = records(1, 512 << 10);
    let mut asked = Vec::new();
    for id in 2.. {
        asked.extend(node.ask_with(client, id, &publish(&name, Some(id - 2)), &batch));
        if !node.is_read(client) {
            break;
        }
    }
    assert_eq!(asked.len() as u64, CLIENT_CHARGE_MAX / (batch.len() as u64), "reads from the client are suspended");
    for attempt in &asked {
        node.answer(attempt, &published());
    }
    assert!(node.is_read(client));
    assert_eq!(node.node.parts.ingress.admission().reserved(), 0);
}
