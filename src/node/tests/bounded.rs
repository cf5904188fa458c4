//! However many readers or requests something concerns, a turn handles only so many of them, and the others follow.

use super::harness::{Harness, fetch, fetched, names, subscribe, subscribed, topic};
use super::sent::{Sent, only};
use crate::limits::{
    CATCH_UP_WORK, DELIVERED_READERS, ENDED_PER_TURN, EXPIRED_PER_TURN, REQUEST_TIMEOUT_US,
    SUBSCRIPTIONS_PER_CLIENT_MAX, TICK_US, TURN_WORK, WAKES_PER_TURN,
};
use crate::types::{RequestId, Retention};
use crate::wire::request::{Fetch, Start, Subscribe};
use crate::wire::{Opcode, Push, Request, Response, Status};

const HOME: u16 = 1;
const TOPIC: u64 = 9;
const CLIENTS: usize = 3;
const READERS: usize = CLIENTS * SUBSCRIPTIONS_PER_CLIENT_MAX;

/// Runs turns until nothing is left to do, and returns how many frames of this kind were sent in all of them. No turn
/// may take more than `most` units of work.
fn settle(node: &mut Harness, opcode: Opcode, most: u64) -> usize {
    let mut count = 0;
    while node.node.next_timeout() == 0 {
        node.node.take_work();
        count += only(&node.fill(Harness::timeout), opcode).len();
        let work = node.node.take_work();
        assert!(work <= most, "{work} units in one turn");
    }
    count
}

/// Returns the work of something that a node does, and how many frames of this kind it sends.
fn work_of(node: &mut Harness, opcode: Opcode, does: impl FnOnce(&mut Harness) -> Vec<Sent>) -> (u64, usize) {
    node.node.take_work();
    let sent = node.fill(does);
    (node.node.take_work(), only(&sent, opcode).len())
}

/// Returns a node with many subscriptions to its own topic `t`.
fn with_local_readers() -> Harness {
    let mut node = Harness::alone();
    let first = node.client();
    node.create(first, "t", Retention::default());
    node.fill(|node| {
        for _ in 0..CLIENTS {
            let client = node.client();
            (1..=SUBSCRIPTIONS_PER_CLIENT_MAX as u64).for_each(|id| drop(node.ask(client, id, &subscribe("t"))));
        }
        node.settle();
    });
    node
}

#[test]
fn of_very_many_local_readers_most_get_a_new_record_in_later_turns() {
    let mut node = with_local_readers();
    let publisher = node.client();
    for _ in 0..2 {
        let (work, sent) = work_of(&mut node, Opcode::Deliver, |node| node.publish(publisher, "t", 1, 100));
        assert!(sent == DELIVERED_READERS && work < TURN_WORK, "{sent} at once, {work} units");
        let later = settle(&mut node, Opcode::Deliver, 2 * CATCH_UP_WORK);
        assert_eq!(sent + later, READERS, "each gets it once");
    }
}

#[test]
fn of_very_many_readers_of_another_node_most_get_a_pushed_record_and_a_notice_in_later_turns() {
    let mut node = Harness::linked(1);
    let name = names(HOME, 1).next().unwrap();
    node.fill(|node| {
        for _ in 0..CLIENTS {
            let client = node.client();
            (1..=SUBSCRIPTIONS_PER_CLIENT_MAX as u64)
                .for_each(|id| drop(node.follow(client, id, &name, subscribed(TOPIC, 1, 0))));
        }
        node.settle();
    });
    for base in 0..2 {
        let push = Push::Deliver(Box::new(fetched(TOPIC, 1, base, 1)));
        let (work, sent) = work_of(&mut node, Opcode::Deliver, |node| node.node_pushes(HOME, TOPIC, &push));
        assert!(sent == DELIVERED_READERS && work < TURN_WORK, "{sent} at once, {work} units");
        let later = settle(&mut node, Opcode::Deliver, 2 * CATCH_UP_WORK);
        assert_eq!(sent + later, READERS, "each gets it once");
    }
}

const _: () = assert!(WAKES_PER_TURN < READERS, "one turn does not wake all of them");

#[test]
fn readers_that_are_woken_little_by_little_are_all_woken_while_others_come_and_go() {
    let mut node = with_local_readers();
    let publisher = node.client();
    let client = node.client();
    node.fill(|node| drop(node.publish(publisher, "t", 1, 100)));
    // The first turn wakes only some. One subscription more begins behind them, and one is gone.
    node.fill(|node| drop(node.timeout()));
    let late =
        Request::Subscribe(Subscribe { topic: topic("t"), epoch: None, start: Start::Earliest, limit: u64::MAX });
    node.fill(|node| drop(node.ask(client, 1, &late)));
    let (_, sent) = work_of(&mut node, Opcode::Deliver, |node| node.publish(publisher, "t", 1, 100));
    assert!(sent <= DELIVERED_READERS);
    node.fill(|node| drop(node.settle()));
    let Response::Described(described) = node.answer_to(client, 2, &Request::Info(topic("t"))) else {
        panic!("no description")
    };
    let topic = described.topic.unwrap();
    assert_eq!((topic.subscribers as usize, topic.lag), (READERS + 1, 0), "all are at the end");
}

#[test]
fn when_a_topic_ends_its_very_many_readers_are_told_little_by_little_and_only_those_that_are_left() {
    let mut node = with_local_readers();
    let [owner, late, gone] = [node.client(), node.client(), node.client()];
    node.fill(|node| {
        for client in [late, gone] {
            node.ask(client, 1, &subscribe("t"));
        }
        node.settle();
    });
    let (work, first) = work_of(&mut node, Opcode::Event, |node| node.ask(owner, 1, &Request::Delete(topic("t"))));
    assert!(first == ENDED_PER_TURN && work < TURN_WORK, "{first} at once, {work} units");
    // A new topic of that name has nothing to do with those that still wait.
    node.create(owner, "t", Retention::default());
    let Response::Subscribed(_) = node.answer_to(owner, 2, &subscribe("t")) else { panic!("not subscribed") };
    // One of them ends its subscription itself, and another one goes.
    let ended = node.answer_to(late, 2, &Request::Unsubscribe { subscription: RequestId(1) });
    assert!(matches!(ended, Response::Unsubscribed { .. }), "{ended:?}");
    node.lose(gone);
    let later = settle(&mut node, Opcode::Event, 2 * CATCH_UP_WORK);
    assert_eq!(first + later, READERS, "each of the others is told once");
    let delivered = only(&node.fill(|node| node.publish(owner, "t", 1, 100)), Opcode::Deliver).len();
    assert_eq!(delivered, 1);
}

#[test]
fn of_a_client_that_leaves_the_very_many_readers_are_removed_little_by_little() {
    const SUBSCRIPTIONS: usize = SUBSCRIPTIONS_PER_CLIENT_MAX - 1;
    let mut node = Harness::alone();
    let [owner, gone, other] = [node.client(), node.client(), node.client()];
    node.create(owner, "t", Retention::default());
    node.fill(|node| {
        (1..=SUBSCRIPTIONS as u64).for_each(|id| drop(node.ask(gone, id, &subscribe("t"))));
        let poll = Request::Fetch(Fetch { max_wait_ms: 1, ..fetch("t") });
        node.ask(gone, SUBSCRIPTIONS as u64 + 1, &poll);
        node.ask(other, 1, &subscribe("t"));
        node.settle();
    });
    let (work, _) = work_of(&mut node, Opcode::Event, |node| node.lose(gone));
    assert!(work < TURN_WORK, "{work} units");
    assert_eq!(node.node.parts.readers.len(), SUBSCRIPTIONS + 2 - ENDED_PER_TURN);
    // The time of its FETCH passes, and there are new records.
    let sent = node.fill(|node| {
        let mut sent = node.pass_silently(10_000);
        sent.extend(node.publish(owner, "t", 1, 100));
        sent
    });
    assert_eq!(only(&sent, Opcode::Fetch).len() + only(&sent, Opcode::Deliver).len(), 1, "for the other one");
    assert_eq!(settle(&mut node, Opcode::Deliver, 2 * CATCH_UP_WORK), 0);
    assert_eq!(node.node.parts.readers.len(), 1);
}

#[test]
fn of_very_many_requests_that_time_out_together_each_turn_answers_some() {
    const COUNT: usize = 3 * EXPIRED_PER_TURN;
    let mut node = Harness::linked(1);
    let mut asked = 0;
    node.fill(|node| {
        while asked < COUNT {
            let client = node.client();
            for id in 1..=256 {
                node.ask(client, id, &Request::Ping { node: HOME, token: 0 });
                asked += 1;
            }
        }
        // The link is alive, but its node does not answer.
        let link = node.link();
        for _ in 0..REQUEST_TIMEOUT_US / TICK_US - 1 {
            node.advance(TICK_US);
            node.handle(crate::node::Event::Heard { conn: link });
            node.timeout();
        }
        node.advance(TICK_US);
    });
    let mut turns = Vec::new();
    while turns.is_empty() || node.node.next_timeout() == 0 {
        let sent = node.fill(Harness::timeout);
        let unknown = |sent: &&Sent| sent.is_response() && sent.status() == Status::OutcomeUnknown;
        turns.push(sent.iter().filter(unknown).count());
    }
    assert_eq!(turns.iter().sum::<usize>(), COUNT);
    assert!(turns.iter().all(|count| *count <= EXPIRED_PER_TURN), "{turns:?}");
}
