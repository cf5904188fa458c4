//! The limits on readers, how long they wait, and how they catch up.

use super::harness::{Harness, fetch, fetched, names, records, subscribe, subscribed, topic};
use super::sent::{Sent, only};
use crate::limits::{
    CATCH_UP_BYTES, CATCH_UPS_PER_TURN, CLIENT_QUEUE_MAX, FETCH_WAIT_MAX_MS, FRAME_MAX_LEAST, SUBSCRIPTIONS_MAX,
    SUBSCRIPTIONS_PER_CLIENT_MAX, TICK_US,
};
use crate::node::Event;
use crate::types::{ConnId, Offset, RequestId, Retention};
use crate::wire::request::{Fetch, Start, Subscribe};
use crate::wire::response::{Detail, Fetched};
use crate::wire::{Hello, Opcode, Request, Response, Status};

const UNSUBSCRIBE_1: Request<'_> = Request::Unsubscribe { subscription: RequestId(1) };

/// Returns the response to a SUBSCRIBE beyond the limit.
fn assert_quota(answer: &Response, limit: usize) {
    let Response::Error(error) = answer else { panic!("{answer:?}") };
    assert_eq!((error.status, &error.details[..]), (Status::Quota.number(), &[Detail::Limit(limit as u64)][..]));
}

#[test]
fn a_client_has_so_many_subscriptions_and_those_it_has_asked_for_count() {
    let name = names(1, 1).next().unwrap();
    let mut node = Harness::linked(1);
    let client = node.client();
    let most = SUBSCRIPTIONS_PER_CLIENT_MAX as u64;
    node.fill(|node| (1..most).for_each(|id| drop(node.follow(client, id, &name, subscribed(9, 1, 0)))));
    let asked = node.ask(client, most, &subscribe(&name));
    assert_eq!((asked.len(), asked[0].is_response()), (1, false), "the last one goes to its home");
    let quota = node.answer_to(client, most + 1, &subscribe(&name));
    assert_quota(&quota, SUBSCRIPTIONS_PER_CLIENT_MAX);
    let other = node.client();
    assert!(!node.ask(other, 1, &subscribe(&name))[0].is_response(), "another client has its own");
    // Subscriptions that failed or ended leave room for others.
    node.answer(&asked[0], &super::harness::refusal(Status::UnknownTopic));
    let asked = node.ask(client, most + 2, &subscribe(&name));
    node.answer(&asked[0], &Response::Subscribed(subscribed(9, 1, 0)));
    assert_quota(&node.answer_to(client, most + 3, &subscribe(&name)), SUBSCRIPTIONS_PER_CLIENT_MAX);
    assert_eq!(node.answer_to(client, most + 4, &UNSUBSCRIBE_1).status(), Status::Ok.number());
    assert!(!node.ask(client, most + 5, &subscribe(&name))[0].is_response());
}

#[test]
fn a_node_has_so_many_subscriptions_and_a_client_that_goes_leaves_room() {
    let mut node = Harness::alone();
    let first = node.client();
    node.create(first, "t", Retention::default());
    let is_done = |answer: Response| matches!(answer, Response::Subscribed(_));
    node.fill(|node| {
        let mut left = SUBSCRIPTIONS_MAX;
        let mut client = first;
        while left > 0 {
            let now = left.min(SUBSCRIPTIONS_PER_CLIENT_MAX);
            (1..=now as u64).for_each(|id| assert!(is_done(node.answer_to(client, id, &subscribe("t")))));
            left -= now;
            client = node.client();
        }
        assert_quota(&node.answer_to(client, 1, &subscribe("t")), SUBSCRIPTIONS_MAX);
        // A subscription that ends leaves room for one, and a client that disconnects for all its own, in a few turns.
        assert_eq!(node.answer_to(first, 5000, &UNSUBSCRIBE_1).status(), Status::Ok.number());
        assert!(is_done(node.answer_to(client, 1, &subscribe("t"))));
        assert_quota(&node.answer_to(client, 2, &subscribe("t")), SUBSCRIPTIONS_MAX);
        node.lose(first);
        node.settle();
        let rest = SUBSCRIPTIONS_PER_CLIENT_MAX as u64;
        (2..=rest).for_each(|id| assert!(is_done(node.answer_to(client, id, &subscribe("t")))));
        let other = node.client();
        assert_quota(&node.answer_to(other, 1, &subscribe("t")), SUBSCRIPTIONS_MAX);
    });
}

#[test]
fn the_id_of_a_subscription_or_of_a_waiting_fetch_is_refused_to_others() {
    let elsewhere = names(1, 1).next().unwrap();
    let waiting = Request::Fetch(Fetch { max_wait_ms: 1_000, ..fetch(&elsewhere) });
    let subscribing = subscribe(&elsewhere);
    for (first, is_fetch) in [(&waiting, true), (&subscribing, false)] {
        for is_answered in [true, false] {
            let mut node = Harness::linked(1);
            let client = node.client();
            let asked = node.ask(client, 3, first);
            let empty = || match is_fetch {
                true => Response::Fetched(Box::new(fetched(9, 1, 0, 0))),
                false => Response::Subscribed(subscribed(9, 1, 0)),
            };
            if is_answered {
                node.answer(&asked[0], &empty());
            }
            let what = format!("{first:?}, answered: {is_answered}");
            for second in [&waiting, &subscribing] {
                assert_eq!(node.answer_to(client, 3, second).status(), Status::BadRequest.number(), "{what}");
            }
            // A FETCH that does not wait needs no id of its own, and another client has ids of its own.
            let other = node.client();
            assert!(!node.ask(client, 3, &Request::Fetch(fetch(&elsewhere)))[0].is_response(), "{what}");
            assert!(!node.ask(other, 3, &waiting)[0].is_response(), "{what}");
            // What has the id is unaffected, and only a subscription can be ended by its id.
            if !is_answered {
                node.answer(&asked[0], &empty());
            }
            let unsubscribe = Request::Unsubscribe { subscription: RequestId(3) };
            let ended = if is_fetch { Status::UnknownSubscription } else { Status::Ok };
            let sent = node.ask(client, 4, &unsubscribe);
            let statuses: Vec<Status> = only(&sent, Opcode::Unsubscribe).iter().map(|sent| sent.status()).collect();
            assert_eq!(statuses, [ended], "{what}");
            let late = node.fill(|node| node.pass(1_000_000));
            let polled = late.iter().filter(|sent| sent.conn == client && sent.is_response() && sent.id() == 3).count();
            assert_eq!(polled, usize::from(is_fetch), "{what}");
        }
    }
}

#[test]
fn a_fetch_waits_as_long_as_it_says_but_no_longer_than_the_limit() {
    let most_us = u64::from(FETCH_WAIT_MAX_MS) * 1000;
    let elsewhere = names(1, 1).next().unwrap();
    for (max_wait_ms, ends_us) in [(1_000, 1_000_000), (FETCH_WAIT_MAX_MS, most_us), (u32::MAX, most_us)] {
        for is_here in [true, false] {
            let mut node = if is_here { Harness::alone() } else { Harness::linked(1) };
            let client = node.client();
            let sent = if is_here {
                node.create(client, "t", Retention::default());
                node.ask(client, 3, &Request::Fetch(Fetch { max_wait_ms, ..fetch("t") }))
            } else {
                let asked = node.ask(client, 3, &Request::Fetch(Fetch { max_wait_ms, ..fetch(&elsewhere) }));
                node.answer(&asked[0], &Response::Fetched(Box::new(fetched(9, 1, 0, 0))))
            };
            let to_client = |sent: Vec<Sent>| -> Vec<Sent> {
                sent.into_iter().filter(|sent| sent.conn == client && sent.is_response()).collect()
            };
            assert_eq!(to_client(sent).len(), 0, "it waits");
            assert_eq!(to_client(node.fill(|node| node.pass(ends_us - TICK_US))).len(), 0);
            let answers = to_client(node.pass(TICK_US));
            assert_eq!(answers.iter().map(|sent| (sent.id(), sent.fetched().count)).collect::<Vec<_>>(), [(3, 0)]);
        }
    }
}

/// Creates a topic with records of a KiB, and subscribers of each of several clients at its first record.
fn crowd(records: u32, clients: u64, subscribers: u64) -> (Harness, Vec<ConnId>) {
    let mut node = Harness::alone();
    let publisher = node.client();
    node.create(publisher, "t", Retention::default());
    for _ in 0..records / 64 {
        node.publish(publisher, "t", 64, 1024);
    }
    let clients: Vec<ConnId> = (0..clients).map(|_| node.client()).collect();
    for id in 1..=subscribers {
        clients.iter().for_each(|client| drop(node.ask(*client, id, &subscribe("t"))));
    }
    (node, clients)
}

#[test]
fn a_reader_that_is_behind_takes_one_step_of_so_many_bytes_in_its_turn() {
    let (mut node, _) = crowd(256, 1, 1);
    for step in 0..4 {
        let sent = node.timeout();
        assert_eq!(sent.len(), 1);
        let delivered = sent[0].delivered();
        assert_eq!((delivered.base.0, delivered.payload.len()), (step * 64, CATCH_UP_BYTES));
    }
    assert_eq!(node.settle().len(), 0, "it is at the end");
}

#[test]
fn so_many_readers_take_a_step_in_one_turn_and_the_rest_in_the_next() {
    let (mut node, clients) = crowd(64, CATCH_UPS_PER_TURN as u64 + 1, 1);
    let firsts = node.timeout();
    let rest = node.timeout();
    assert_eq!((firsts.len(), rest.len()), (CATCH_UPS_PER_TURN, 1));
    let mut served: Vec<ConnId> = firsts.iter().chain(&rest).map(|sent| sent.conn).collect();
    served.sort_unstable();
    assert_eq!(served, clients);
}

#[test]
fn a_client_is_given_so_much_in_one_turn_and_nothing_while_it_does_not_read() {
    let (mut node, clients) = crowd(64, 1, 10);
    let per_turn = CLIENT_QUEUE_MAX / CATCH_UP_BYTES;
    assert_eq!(node.timeout().len(), per_turn);
    node.handle(Event::Filled { conn: clients[0] });
    assert_eq!(node.settle().len(), 0);
    node.handle(Event::Drained { conn: clients[0] });
    let sent = node.settle();
    assert_eq!(only(&sent, Opcode::Deliver).len(), 10 - per_turn, "each subscription gets the records once");
}

#[test]
fn a_client_gets_no_frame_that_is_larger_than_it_accepts() {
    let mut node = Harness::alone();
    let (publisher, client) = (node.client(), node.accept());
    node.say_hello(client, &Hello { max_frame: FRAME_MAX_LEAST, ..Hello::of_client(1, "test") });
    node.create(publisher, "t", Retention::default());
    node.ask(client, 1, &subscribe("t"));
    let mut sent = node.publish(publisher, "t", 100, 1000);
    sent.extend(node.settle());
    let delivered = only(&sent, Opcode::Deliver);
    assert_eq!(delivered.iter().map(|sent| sent.delivered().count).sum::<u32>(), 100);
    let answer = node.ask(client, 2, &Request::Fetch(fetch("t")));
    assert!((1..100).contains(&answer[0].fetched().count));
    assert!(delivered.into_iter().chain(&answer).all(|sent| sent.frame.len() <= FRAME_MAX_LEAST as usize));
}

#[test]
fn a_subscriber_at_the_log_end_is_sent_no_more_once_its_credit_is_used_up() {
    let mut node = Harness::alone();
    let client = node.client();
    node.create(client, "t", Retention::default());
    let size = records(1, 10).len() as u64;
    node.ask(
        client,
        1,
        &Request::Subscribe(Subscribe { topic: topic("t"), epoch: None, start: Start::Next, limit: 1 }),
    );
    // The record that exceeds the credit is sent as a whole.
    for expected in [1, 0, 0] {
        let mut sent = node.publish(client, "t", 1, 10);
        sent.extend(node.settle());
        assert_eq!(only(&sent, Opcode::Deliver).len(), expected);
    }
    node.ask(client, 1, &Request::Credit { limit: size });
    assert_eq!(node.settle().len(), 0, "it has had so much");
    node.ask(client, 1, &Request::Credit { limit: size + 1 });
    assert_eq!(only(&node.settle(), Opcode::Deliver).len(), 1);
}

#[test]
fn a_fetch_does_not_wait_if_it_is_told_of_a_gap_or_its_time_is_over() {
    let name = names(1, 1).next().unwrap();
    let gap = Fetched { from: Offset(0), ..fetched(9, 1, 5, 0) };
    for (answer, advance_us, is_answered) in
        [(gap, 0, true), (fetched(9, 1, 0, 0), 5000, true), (fetched(9, 1, 0, 0), 4999, false)]
    {
        let mut node = Harness::linked(1);
        let client = node.client();
        let asked = node.ask(client, 5, &Request::Fetch(Fetch { max_wait_ms: 5, ..fetch(&name) }));
        node.advance(advance_us);
        let sent = node.answer(&asked[0], &Response::Fetched(Box::new(answer)));
        assert_eq!(sent.iter().any(|sent| sent.conn == client), is_answered, "after {advance_us} us");
    }
}
