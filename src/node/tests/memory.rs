//! What clients make a node hold: reserved before it is read, and never more than the budget.

use super::harness::{Harness, fetch, fetched, names, records, refusal, subscribed, topic};
use super::sent::{Sent, only};
use crate::limits::{
    FETCH_RESERVE_LEAST, NODE_BYTES_LEAST, PAYLOAD_MAX, PULLED_BYTES_MAX, RESPONSE_CHARGE, clients_bytes,
};
use crate::node::Event;
use crate::topic::{PRODUCER_COST_MAX, topic_cost};
use crate::types::{ConnId, ProducerId, Retention, Sequenced, TopicName};
use crate::wire::request::{Fetch, Publish};
use crate::wire::response::{Detail, ErrorResponse, Payload};
use crate::wire::{Opcode, Request, Response, Status};

/// The length of a record that is larger than what a FETCH reserves at least.
const LARGE: usize = 100 << 10;

/// Returns the response of a home whose next record needs `limit` bytes.
fn too_large(limit: usize) -> Response {
    ErrorResponse::new(Status::TooLarge, "larger").with(Detail::Limit(limit as u64)).into()
}

/// Returns the response with one record of at least `bytes` bytes.
fn one_record(topic: u64, bytes: usize) -> Response {
    let payload = Payload { parts: vec![records(1, bytes).into()], crc: None };
    Response::Fetched(Box::new(crate::wire::response::Fetched { payload, ..fetched(topic, 1, 0, 1) }))
}

fn max_bytes(asked: &Sent) -> u32 {
    let Request::Fetch(fetch) = asked.request() else { panic!("{asked:?} is no FETCH") };
    fetch.max_bytes
}

#[test]
fn a_home_sends_another_node_no_more_records_than_that_has_reserved_memory_for() {
    let mut node = Harness::linked(1);
    let (client, name) = (node.client(), names(0, 1).next().unwrap());
    node.create(client, &name, Retention::default());
    node.publish(client, &name, 1, LARGE);
    node.publish(client, &name, 1, 10);
    let large = records(1, LARGE).len();
    let ask = |node: &mut Harness, from: u64, max_bytes: u32| {
        let start = crate::wire::request::Start::Offset(crate::types::Offset(from));
        let sent = node.node_asks(1, 5, &Request::Fetch(Fetch { start, max_bytes, ..fetch(&name) }), &[]);
        only(&sent, Opcode::Fetch)[0].response()
    };
    for too_few in [1, FETCH_RESERVE_LEAST, u32::try_from(large).unwrap() - 1] {
        let Response::Error(error) = ask(&mut node, 0, too_few) else { panic!("{too_few} bytes are too few") };
        assert_eq!((error.status, error.limit()), (Status::TooLarge.number(), Some(large as u64)));
    }
    for enough in [u32::try_from(large).unwrap(), 0] {
        let Response::Fetched(fetched) = ask(&mut node, 0, enough) else { panic!("{enough} bytes are enough") };
        assert!(fetched.payload.len() >= large);
    }
    let Response::Fetched(fetched) = ask(&mut node, 1, 1) else { panic!("a small record is always returned") };
    assert_eq!(fetched.count, 1);
    // A client of this node gets the record whatever it asks for, because its node knows what it holds.
    let Response::Fetched(fetched) = node.answer_to(client, 9, &Request::Fetch(Fetch { max_bytes: 1, ..fetch(&name) }))
    else {
        panic!("the first record")
    };
    assert_eq!(fetched.payload.len(), large);
}

#[test]
fn an_ingress_reserves_more_for_a_large_record_before_it_asks_again() {
    let name = names(1, 1).next().unwrap();
    let mut node = Harness::linked(1);
    let client = node.client();
    let asked = node.ask(client, 5, &Request::Fetch(Fetch { max_bytes: 1, ..fetch(&name) }));
    let reserved = |node: &Harness| node.node.parts.ingress.admission().reserved();
    assert_eq!((max_bytes(&asked[0]), reserved(&node)), (1, u64::from(FETCH_RESERVE_LEAST + RESPONSE_CHARGE)));
    let again = node.answer(&asked[0], &too_large(LARGE));
    assert_eq!((max_bytes(&again[0]) as usize, reserved(&node)), (LARGE, LARGE as u64 + u64::from(RESPONSE_CHARGE)));
    let sent = node.answer(&again[0], &one_record(7, LARGE - 100));
    assert_eq!((sent[0].conn, sent[0].id(), sent[0].fetched().count), (client, 5, 1));
    assert_eq!((reserved(&node), node.node.parts.ingress.admission().inflight()), (0, 0));
    // What is not larger than what was reserved is no reason to ask again, and is passed on as it is.
    let asked = node.ask(client, 6, &Request::Fetch(Fetch { max_bytes: 1, ..fetch(&name) }));
    let sent = node.answer(&asked[0], &too_large(FETCH_RESERVE_LEAST as usize));
    assert_eq!((sent[0].conn, sent[0].status()), (client, Status::TooLarge));
}

#[test]
fn when_the_budget_is_used_up_a_large_record_waits_and_small_requests_do_not() {
    let name = names(1, 1).next().unwrap();
    let mut node = Harness::linked_with_memory(1, NODE_BYTES_LEAST);
    let budget = clients_bytes(NODE_BYTES_LEAST);
    let (mut asked, mut greedy) = (Vec::new(), Vec::new());
    let largest = Request::Fetch(fetch(&name));
    loop {
        let client = node.client();
        if !node.node.parts.ingress.admission().admits(client, PAYLOAD_MAX.into()) {
            break;
        }
        asked.extend(node.ask(client, 1, &largest));
        greedy.push(client);
    }
    assert!(node.node.parts.ingress.admission().reserved() <= budget);
    let polite = node.client();
    let small = node.ask(polite, 5, &Request::Fetch(Fetch { max_bytes: 1, ..fetch(&name) }));
    assert_eq!(max_bytes(&small[0]), 1);
    assert_eq!(node.answer(&small[0], &too_large(PAYLOAD_MAX as usize)).len(), 0, "it waits");
    let small = node.ask(polite, 6, &Request::Fetch(Fetch { max_bytes: 1, ..fetch(&name) }));
    let sent = node.answer(&small[0], &one_record(7, 10));
    assert_eq!((sent[0].conn, sent[0].fetched().count), (polite, 1));
    // A FETCH that asks for much is sent on with what its client may have.
    let limited = node.ask(polite, 7, &largest);
    assert!((FETCH_RESERVE_LEAST..PAYLOAD_MAX).contains(&max_bytes(&limited[0])), "{limited:?}");
    node.answer(&limited[0], &refusal(Status::Quota));
    let mut large = Vec::new();
    for request in &asked {
        large.extend(node.answer(request, &refusal(Status::Quota)).into_iter().filter(|sent| sent.id() == 5));
    }
    assert_eq!((large.len(), max_bytes(&large[0])), (1, PAYLOAD_MAX), "it goes on when there is room");
    let sent = node.answer(&large[0], &one_record(7, PAYLOAD_MAX as usize - 100));
    assert_eq!((sent[0].conn, sent[0].id(), sent[0].fetched().count), (polite, 5, 1));
    assert_eq!(
        (node.node.parts.ingress.admission().reserved(), node.node.parts.ingress.admission().inflight()),
        (0, 0)
    );
    let again = node.ask(polite, 8, &largest);
    assert_eq!(max_bytes(&again[0]), 0, "the client's own limit, now that there is room");
}

#[test]
fn a_client_that_takes_its_answers_gets_all_of_them_however_many_it_asks_for_at_once() {
    let name = names(1, 1).next().unwrap();
    let mut node = Harness::linked_with_memory(1, NODE_BYTES_LEAST);
    let client = node.client();
    let mut asked = std::collections::VecDeque::new();
    let (mut id, mut answered) = (0, 0);
    while node.is_read(client) {
        id += 1;
        asked.extend(node.ask(client, id, &Request::Fetch(Fetch { max_bytes: 1, ..fetch(&name) })));
    }
    assert!(id > 50, "{id}");
    while let Some(request) = asked.pop_front() {
        let is_first = max_bytes(&request) == 1;
        let response =
            if is_first { too_large(PAYLOAD_MAX as usize) } else { one_record(7, PAYLOAD_MAX as usize - 100) };
        for sent in node.answer(&request, &response) {
            if sent.conn == client {
                assert_eq!(sent.fetched().count, 1);
                answered += 1;
            } else {
                asked.push_back(sent);
            }
        }
        let reserved = node.node.parts.ingress.admission().reserved();
        assert!(reserved <= clients_bytes(NODE_BYTES_LEAST), "{reserved} bytes");
    }
    assert_eq!(answered, id);
    assert_eq!(
        (node.node.parts.ingress.admission().reserved(), node.node.parts.ingress.admission().inflight()),
        (0, 0)
    );
    // What waits for memory is forgotten with its client, and refused when the node is shutting down.
    for ends in [true, false] {
        let client = node.client();
        for id in 1..=20 {
            let asked = node.ask(client, id, &Request::Fetch(Fetch { max_bytes: 1, ..fetch(&name) }));
            node.answer(&asked[0], &too_large(PAYLOAD_MAX as usize));
        }
        if ends {
            node.lose(client);
        } else {
            let sent = node.handle(Event::Drain);
            let refused = sent.iter().filter(|sent| sent.conn == client && sent.is_response());
            assert!(refused.clone().count() > 10 && refused.clone().all(|sent| sent.status() == Status::ShuttingDown));
        }
        let inflight = node.node.parts.ingress.admission().inflight();
        assert!(inflight < 10, "only those that were sent are unanswered, not {inflight}");
    }
}

#[test]
fn a_fetch_for_which_there_is_no_memory_while_the_node_ends_is_refused_and_any_other_is_served() {
    let name = names(1, 1).next().unwrap();
    for is_short in [false, true] {
        let mut node = Harness::linked_with_memory(1, NODE_BYTES_LEAST);
        let client = node.client();
        let asked = node.ask(client, 1, &Request::Fetch(Fetch { max_bytes: 1, ..fetch(&name) }));
        while is_short && node.node.parts.ingress.admission().admits(client, u64::from(PAYLOAD_MAX) / 2) {
            let other = node.client();
            node.ask(other, 1, &Request::Fetch(fetch(&name)));
        }
        node.handle(Event::Drain);
        let sent = node.answer(&asked[0], &too_large(PAYLOAD_MAX as usize));
        let fetches = only(&sent, Opcode::Fetch);
        if is_short {
            assert_eq!((fetches[0].conn, fetches[0].status()), (client, Status::ShuttingDown), "{sent:?}");
        } else {
            assert!(!fetches[0].is_response() && max_bytes(fetches[0]) == PAYLOAD_MAX, "{sent:?}");
        }
    }
}

#[test]
fn of_very_many_clients_that_fetch_at_once_none_is_refused() {
    let name = names(1, 1).next().unwrap();
    let mut node = Harness::linked_with_memory(1, NODE_BYTES_LEAST);
    let mut asked = std::collections::VecDeque::new();
    let clients = 900;
    for _ in 0..clients {
        let client = node.client();
        let sent = node.ask(client, 1, &Request::Fetch(fetch(&name)));
        assert!(sent.iter().all(|sent| sent.conn != client), "nobody is refused");
        asked.extend(sent);
        assert!(node.node.parts.ingress.admission().reserved() <= clients_bytes(NODE_BYTES_LEAST));
    }
    assert!(asked.len() < clients, "some have to wait for others");
    let mut answered = 0;
    while let Some(request) = asked.pop_front() {
        for sent in node.answer(&request, &one_record(7, 10)) {
            if sent.frame.route.is_some() {
                asked.push_back(sent);
            } else {
                assert_eq!(sent.fetched().count, 1);
                answered += 1;
            }
        }
    }
    assert_eq!(answered, clients);
    assert_eq!(
        (node.node.parts.ingress.admission().reserved(), node.node.parts.ingress.admission().inflight()),
        (0, 0)
    );
}

#[test]
fn what_clients_have_not_taken_limits_what_is_read_for_them_and_for_others() {
    let mut node = Harness::alone_with_memory(256 << 20);
    let budget = clients_bytes(256 << 20);
    let client = node.client();
    node.create(client, "t", Retention::default());
    node.publish(client, "t", 1, 900 << 10);
    let idle: Vec<ConnId> = (0..budget >> 20).map(|_| node.client()).collect();
    for client in &idle {
        let Response::Fetched(_) = node.answer_to(*client, 1, &Request::Fetch(fetch("t"))) else { break };
        node.handle(Event::Unsent { conn: *client, bytes: 1 << 20 });
    }
    let refused = node.answer_to(client, 9, &Request::Fetch(fetch("t")));
    assert_eq!(refused.status(), Status::Overloaded.number(), "the others have not taken {budget} bytes");
    for client in &idle {
        node.handle(Event::Unsent { conn: *client, bytes: 0 });
    }
    let Response::Fetched(fetched) = node.answer_to(client, 10, &Request::Fetch(fetch("t"))) else {
        panic!("no record")
    };
    assert_eq!(fetched.count, 1);
    assert!(node.paused().is_empty());
}

#[test]
fn readers_fetch_large_records_too_and_all_their_fetches_together_are_bounded() {
    let mut node = Harness::linked(1);
    let client = node.client();
    let topics = PULLED_BYTES_MAX / u64::from(PAYLOAD_MAX) + 8;
    for (number, name) in (1..=topics).zip(names(1, 1)) {
        node.follow(client, number, &name, subscribed(number, 1, 1));
    }
    let (mut asked, mut in_flight, mut served) = (node.settle(), Vec::new(), 0);
    // Each home says that its record has the largest size there is.
    while let Some(first) = asked.iter().position(|sent| sent.opcode() == Opcode::Fetch) {
        let pull = asked.remove(first);
        if max_bytes(&pull) < PAYLOAD_MAX {
            asked.extend(node.answer(&pull, &too_large(PAYLOAD_MAX as usize)));
            asked.extend(node.settle());
        } else {
            in_flight.push(pull);
        }
        let most = PULLED_BYTES_MAX / u64::from(PAYLOAD_MAX);
        assert!(in_flight.len() as u64 <= most, "{} in flight", in_flight.len());
        if in_flight.len() as u64 == most || asked.iter().all(|sent| sent.opcode() != Opcode::Fetch) {
            for pull in std::mem::take(&mut in_flight) {
                let Request::Fetch(fetch) = pull.request() else { unreachable!() };
                let number = fetch.topic.id.unwrap().number();
                let sent = node.answer(&pull, &one_record(number, PAYLOAD_MAX as usize - 100));
                served += only(&sent, Opcode::Deliver).len() as u64;
                asked.extend(sent);
                asked.extend(node.settle());
            }
        }
    }
    assert_eq!(served, topics);
}

#[test]
fn what_waits_for_the_disk_counts_towards_the_memory_limit() {
    const MEMORY: u64 = 64 << 10;
    for is_publish in [true, false] {
        let mut node = Harness::with_journal_and_memory(MEMORY);
        let client = node.client();
        node.create(client, "t", Retention::default());
        // Records can leave memory, so they do not count.
        (0..5).for_each(|_| drop(node.publish(client, "t", 3, 1000)));
        let left = MEMORY - (node.node.budget.used().memory - node.node.budget.used().evictable);
        node.hold();
        let each = if is_publish { PRODUCER_COST_MAX } else { topic_cost("topic-0000".len()) };
        let mut taken = 0;
        let refused = loop {
            assert!(taken <= left / each, "too much is taken");
            let name = format!("topic-{taken:04}");
            let producer = Some(Sequenced { producer: ProducerId::new(taken + 1).unwrap(), epoch: 0, sequence: 0 });
            let sent = if is_publish {
                let publish = Request::Publish(Publish { topic: topic("t"), producer, count: 1 });
                node.ask_with(client, 10 + taken, &publish, &records(1, 10))
            } else {
                let topic = TopicName::new(&name).unwrap();
                node.ask(client, 10 + taken, &Request::Create { topic, retention: Retention::default() })
            };
            if let Some(refused) = sent.into_iter().next() {
                break refused;
            }
            taken += 1;
        };
        assert_eq!((taken, refused.status()), (left / each, Status::Quota));
    }
}

#[test]
fn a_client_that_waits_for_the_budget_goes_on_when_a_request_of_another_is_answered() {
    let name = names(1, 1).next().unwrap();
    let mut node = Harness::linked_with_memory(1, NODE_BYTES_LEAST);
    let budget = clients_bytes(NODE_BYTES_LEAST);
    let (full, busy, waiting) = (node.client(), node.client(), node.client());
    let asked = node.ask(busy, 1, &Request::Fetch(fetch(&name)));
    // Clients of one address may use three quarters of the budget. What is left is enough for a small request, and not
    // for any client to go on.
    let left = node.node.parts.ingress.admission().reserved() + 2 * u64::from(RESPONSE_CHARGE);
    let untaken = usize::try_from(budget - budget / 4 - left).unwrap();
    node.handle(Event::Unsent { conn: full, bytes: untaken });
    assert!(!node.is_read(full), "it takes what it has asked for before it asks for more");
    assert_eq!(node.ask(waiting, 2, &Request::Info(topic(&name))).len(), 1);
    assert!(!node.is_read(waiting));
    node.answer(&asked[0], &one_record(7, 10));
    assert!(node.is_read(waiting), "at once, without a tick");
}

#[test]
fn when_the_budget_is_used_up_a_record_that_fits_what_was_reserved_is_returned_and_a_larger_one_is_not() {
    let charge = (FETCH_RESERVE_LEAST + RESPONSE_CHARGE) as usize;
    for (bytes, is_returned) in [(charge, true), (charge + 1, false)] {
        let mut node = Harness::alone_with_memory(NODE_BYTES_LEAST);
        let (client, full) = (node.client(), node.client());
        node.create(client, "t", Retention::default());
        node.publish(client, "t", 1, bytes);
        let untaken = usize::try_from(clients_bytes(NODE_BYTES_LEAST)).unwrap();
        node.handle(Event::Unsent { conn: full, bytes: untaken });
        let answer = node.answer_to(client, 9, &Request::Fetch(Fetch { max_bytes: 1, ..fetch("t") }));
        let expected = if is_returned { Status::Ok } else { Status::Overloaded };
        assert_eq!(answer.status(), expected.number(), "{bytes} bytes");
    }
}

#[test]
fn records_that_were_fetched_for_a_reader_wait_while_its_client_takes_nothing() {
    let name = names(1, 1).next().unwrap();
    let mut node = Harness::linked(1);
    let client = node.client();
    node.follow(client, 5, &name, subscribed(7, 1, 1));
    let pulls = node.settle();
    let untaken = usize::try_from(clients_bytes(u64::MAX)).unwrap();
    node.handle(Event::Unsent { conn: client, bytes: untaken });
    let mut sent = node.answer(only(&pulls, Opcode::Fetch)[0], &one_record(7, 10));
    sent.extend(node.settle());
    assert_eq!(only(&sent, Opcode::Deliver).len(), 0);
    node.handle(Event::Unsent { conn: client, bytes: 0 });
    let pulls = node.settle();
    let sent = node.answer(only(&pulls, Opcode::Fetch)[0], &one_record(7, 10));
    assert_eq!(only(&sent, Opcode::Deliver).len(), 1);
}
