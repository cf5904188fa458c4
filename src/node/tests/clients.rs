//! Which clients are accepted, and from which reads are suspended.

use super::harness::{
    CLIENTS, HANDSHAKES, Harness, fetch, fetched, names, records, refusal, subscribe, subscribed, topic,
};
use super::sent::{Sent, only};
use crate::limits::{
    CLIENT_KEEPALIVE_LEAST_US, CLIENT_KEEPALIVE_US, FRAME_MAX, FRAME_MAX_LEAST, HELLO_TIMEOUT_US, INFLIGHT_MAX,
    NODE_BYTES_LEAST, PAUSED_PING_US, REQUEST_TIMEOUT_US, TICK_US, clients_bytes,
};
use crate::node::Event;
use crate::types::{ConnId, Retention};
use crate::wire::request::{Fetch, Publish, Start};
use crate::wire::{Hello, Opcode, Push, Request, Response, Role, Status};

const PING: Request<'_> = Request::Ping { node: 1, token: 7 };

fn statuses(sent: &[Sent]) -> Vec<Status> {
    sent.iter().map(Sent::status).collect()
}

#[test]
fn the_client_that_is_one_too_many_is_told_so_and_a_neighbour_is_let_in() {
    let mut node = Harness::in_cube(1);
    let clients: Vec<ConnId> = (0..CLIENTS).map(|_| node.client()).collect();
    for _ in 0..2 {
        let refused = node.accept();
        let sent = node.say_hello(refused, &Hello::of_client(1, "test"));
        assert_eq!(statuses(&sent), [Status::TooManyClients; 2]);
        assert_eq!(sent.iter().map(Sent::opcode).collect::<Vec<_>>(), [Opcode::Hello, Opcode::Goaway]);
        assert!(!node.is_open(refused));
    }
    node.link_up();
    node.lose(clients[17]);
    node.client();
}

#[test]
fn connections_that_say_nothing_are_bounded_as_well() {
    let mut node = Harness::alone();
    let open = (0..2 * (CLIENTS + HANDSHAKES))
        .take_while(|_| {
            let conn = node.accept();
            node.is_open(conn)
        })
        .count();
    assert_eq!(open, CLIENTS + HANDSHAKES);
    let sent = node.pass(HELLO_TIMEOUT_US - TICK_US);
    assert_eq!(sent.len(), 0);
    let sent = node.pass(TICK_US);
    assert_eq!(statuses(&sent), vec![Status::HelloRequired; open]);
    node.client();
}

#[test]
fn what_a_client_wishes_in_hello_is_kept_within_bounds() {
    let ms = |micros: u64| u32::try_from(micros / 1000).unwrap();
    let (least, most) = (ms(CLIENT_KEEPALIVE_LEAST_US), ms(CLIENT_KEEPALIVE_US));
    let cases = [
        (0, FRAME_MAX, Some((most, FRAME_MAX))),
        (1, FRAME_MAX_LEAST, Some((least, FRAME_MAX_LEAST))),
        (least + 1, FRAME_MAX_LEAST + 1, Some((least + 1, FRAME_MAX_LEAST + 1))),
        (u32::MAX, u32::MAX, Some((most, FRAME_MAX))),
        (0, FRAME_MAX_LEAST - 1, None),
    ];
    for (keepalive_ms, max_frame, expected) in cases {
        let mut node = Harness::alone();
        let conn = node.accept();
        let sent = node.say_hello(conn, &Hello { keepalive_ms, max_frame, ..Hello::of_client(1, "test") });
        let answer = Hello::decode(sent[0].frame.args().unwrap()).unwrap();
        let agreed = (sent[0].status() == Status::Ok).then_some((answer.keepalive_ms, answer.max_frame));
        assert_eq!(agreed, expected, "{keepalive_ms} ms, {max_frame} bytes");
        assert_eq!(node.is_open(conn), expected.is_some());
    }
}

#[test]
fn the_cluster_of_a_peer_is_compared_and_only_clients_need_not_name_it() {
    let cases = [
        (Role::Client, "", Status::Ok),
        (Role::Client, "red", Status::Ok),
        (Role::Client, "blue", Status::ClusterMismatch),
        (Role::Node, "", Status::ClusterMismatch),
        (Role::Node, "red", Status::Ok),
        (Role::Node, "blue", Status::ClusterMismatch),
    ];
    for (role, cluster, expected) in cases {
        let mut node = Harness::in_cube(1);
        node.node.settings.cluster = "red".to_owned();
        let conn = node.accept();
        let hello = Hello { role, cluster: cluster.to_owned(), dimension: 1, node: 1, ..Hello::of_client(1, "test") };
        assert_eq!(node.say_hello(conn, &hello)[0].status(), expected, "{role:?} of {cluster:?}");
    }
}

#[test]
fn a_client_with_its_share_unanswered_is_not_read_until_half_of_it_is_answered() {
    let name = names(1, 1).next().unwrap();
    let fetch = |max_bytes| Request::Fetch(Fetch { max_bytes, ..fetch(&name) });
    // The request, the number of them after which reads are suspended, and how many are unanswered when reads resume.
    let cases =
        [(PING, INFLIGHT_MAX, INFLIGHT_MAX / 2), (fetch(0), 3, 1), (fetch(u32::MAX), 3, 1), (fetch(512 << 10), 6, 2)];
    for (request, pauses_at, resumes_at) in cases {
        let mut node = Harness::linked(1);
        let client = node.client();
        let mut asked: Vec<Sent> = Vec::new();
        for count in 1..=pauses_at {
            asked.extend(node.ask(client, count.into(), &request));
            assert_eq!(node.is_read(client), count < pauses_at, "{request:?} for the {count}th time");
        }
        for left in (0..pauses_at).rev() {
            node.answer(&asked.pop().unwrap(), &refusal(Status::Quota));
            assert_eq!(node.is_read(client), left <= resumes_at, "{left} of {request:?} are left");
        }
    }
}

#[test]
fn the_more_all_clients_together_have_unanswered_the_less_one_may_have_before_it_is_not_read() {
    let name = names(1, 1).next().unwrap();
    let largest = Request::Fetch(fetch(&name));
    let mut node = Harness::linked_with_memory(1, 1 << 30);
    let greedy: Vec<ConnId> = (0..64).map(|_| node.client()).collect();
    let mut asked = Vec::new();
    for (client, id) in greedy.iter().flat_map(|client| (0..8).map(move |id| (*client, id))) {
        if node.is_read(client) {
            asked.extend(node.ask(client, id, &largest));
        }
    }
    assert_eq!(node.paused().len(), greedy.len());
    assert!(node.node.parts.ingress.admission().reserved() <= clients_bytes(node.node.settings.memory_bytes));
    let polite = node.client();
    for id in 0..60 {
        node.ask(polite, id, &PING);
        assert!(node.is_read(polite), "its share is larger than {id} small requests");
    }
    // Reads resume when there is room again.
    for request in asked {
        node.answer(&request, &refusal(Status::Quota));
    }
    assert!(node.paused().is_empty());
}

/// Returns a node, a client that has not taken most of what all clients may use, and a client that is suspended because
/// of that.
fn with_little_left() -> (Harness, ConnId, ConnId) {
    let name = names(1, 1).next().unwrap();
    let mut node = Harness::linked_with_memory(1, NODE_BYTES_LEAST);
    let (stuck, waits) = (node.client(), node.client());
    // Clients of one address may use three quarters of what is free.
    let bytes = usize::try_from(clients_bytes(NODE_BYTES_LEAST) / 4 * 3).unwrap() - (1 << 20);
    node.handle(Event::Unsent { conn: stuck, bytes });
    node.ask(waits, 1, &Request::Fetch(fetch(&name)));
    node.pass(TICK_US);
    assert_eq!(node.paused(), [stuck, waits].into_iter().collect());
    (node, stuck, waits)
}

#[test]
fn a_client_that_is_suspended_because_of_others_is_resumed_when_they_read_or_go() {
    let (mut node, stuck, _) = with_little_left();
    node.handle(Event::Unsent { conn: stuck, bytes: 0 });
    assert!(node.paused().is_empty(), "both at once");
    let ends: [fn(&mut Harness, ConnId); 2] =
        [|node, stuck| drop(node.lose(stuck)), |node, stuck| drop(node.handle(Event::Ended { conn: stuck }))];
    for end in ends {
        let (mut node, stuck, waits) = with_little_left();
        end(&mut node, stuck);
        assert!(!node.is_open(stuck));
        assert_eq!(node.node.parts.ingress.admission().untaken(), 0);
        node.pass(TICK_US);
        assert!(node.is_read(waits));
    }
}

#[test]
fn a_client_that_is_suspended_because_of_others_is_resumed_when_they_are_answered() {
    let name = names(1, 1).next().unwrap();
    let largest = Request::Fetch(fetch(&name));
    let mut node = Harness::linked_with_memory(1, NODE_BYTES_LEAST);
    let mut asked = Vec::new();
    let waits = loop {
        let client = node.client();
        let first = node.ask(client, 0, &largest);
        if !node.is_read(client) {
            break client;
        }
        asked.extend(first);
        for id in 1.. {
            asked.extend(node.ask(client, id, &largest));
            if !node.is_read(client) {
                break;
            }
        }
    };
    for request in asked {
        node.answer(&request, &refusal(Status::Quota));
    }
    assert!(node.is_read(waits), "its own request is not answered yet");
}

#[test]
fn a_client_whose_send_queue_is_full_is_not_read_until_it_has_drained() {
    let mut node = Harness::alone();
    let client = node.client();
    for _ in 0..2 {
        node.handle(Event::Filled { conn: client });
        assert!(!node.is_read(client));
        node.pass(TICK_US);
        assert!(!node.is_read(client));
        node.handle(Event::Drained { conn: client });
        assert!(node.is_read(client));
    }
    // It has not taken more than half of its share at first, because another client uses most of the budget.
    let (mut node, _, _) = with_little_left();
    let client = node.client();
    node.handle(Event::Unsent { conn: client, bytes: 60 << 10 });
    assert!(node.is_read(client));
    node.handle(Event::Filled { conn: client });
    node.handle(Event::Drained { conn: client });
    assert!(!node.is_read(client));
    node.handle(Event::Unsent { conn: client, bytes: 0 });
    assert!(node.is_read(client));
}

#[test]
fn a_fetch_that_waits_reserves_nothing() {
    let name = names(1, 1).next().unwrap();
    let mut node = Harness::linked(1);
    let client = node.client();
    let waits = Request::Fetch(Fetch { start: Start::Next, max_wait_ms: 30_000, ..fetch(&name) });
    for id in 0..64 {
        let asked = node.ask(client, id, &waits);
        node.answer(only(&asked, Opcode::Fetch)[0], &Response::Fetched(Box::new(fetched(7, 1, 0, 0))));
        assert!(node.is_read(client), "the {id}th of them waits");
    }
    assert_eq!(
        (node.node.parts.ingress.admission().reserved(), node.node.parts.ingress.admission().inflight()),
        (0, 0)
    );
    let answers = node.node_pushes(1, 7, &Push::Deliver(Box::new(fetched(7, 1, 0, 1))));
    let answers: Vec<Sent> = answers.into_iter().chain(node.settle()).filter(|sent| sent.conn == client).collect();
    assert_eq!(answers.len(), 64);
    assert_eq!(
        (node.node.parts.ingress.admission().reserved(), node.node.parts.ingress.admission().inflight()),
        (0, 0)
    );
}

#[test]
fn a_client_that_is_not_read_but_reads_hears_every_second_that_the_node_is_there() {
    let mut node = Harness::linked(1);
    let (waits, stuck, idle) = (node.client(), node.client(), node.client());
    for client in [waits, stuck] {
        for id in 0..INFLIGHT_MAX {
            node.ask(client, id.into(), &PING);
        }
        assert!(!node.is_read(client));
    }
    // A client that does not read cannot receive a PING.
    node.handle(Event::Filled { conn: stuck });
    let pings = |sent: Vec<Sent>| {
        let of = |conn: ConnId| only(&sent, Opcode::Ping).iter().filter(|sent| sent.conn == conn).count();
        [of(waits), of(stuck), of(idle)]
    };
    let scan_us = 500_000;
    assert_eq!(pings(node.pass(PAUSED_PING_US + scan_us)), [1, 0, 0]);
    assert_eq!(pings(node.pass(PAUSED_PING_US)), [1, 0, 0]);
}

#[test]
fn a_client_that_has_closed_its_sending_side_gets_its_answers_and_is_then_closed() {
    let there = names(1, 1).next().unwrap();
    let here = names(0, 1).next().unwrap();
    let mut node = Harness::linked(1);
    let client = node.client();
    let asked: Vec<Sent> = [1, 2].into_iter().flat_map(|id| node.ask(client, id, &PING)).collect();
    assert_eq!(node.handle(Event::Ended { conn: client }).len(), 0);
    for (id, request) in (1..).zip(&asked) {
        assert!(node.is_open(client), "request {id} is not answered");
        let answers = node.answer(request, &refusal(Status::Quota));
        assert_eq!(answers.iter().map(|sent| (sent.conn, sent.id())).collect::<Vec<_>>(), [(client, id)]);
    }
    assert!(!node.is_open(client));
    // A FETCH that waits is a request as well.
    let (publisher, waiting) = (node.client(), node.client());
    node.create(publisher, &here, Retention::default());
    assert_eq!(node.ask(waiting, 3, &Request::Fetch(Fetch { max_wait_ms: 5_000, ..fetch(&here) })).len(), 0);
    node.handle(Event::Ended { conn: waiting });
    assert!(node.is_open(waiting));
    node.publish(publisher, &here, 1, 10);
    let sent = node.settle();
    assert!(sent.iter().any(|sent| (sent.conn, sent.id()) == (waiting, 3)), "{sent:?}");
    assert!(!node.is_open(waiting));
    // A subscription is not: it ends. A SUBSCRIBE is answered first.
    for is_answered in [true, false] {
        let subscriber = node.client();
        let asked = node.ask(subscriber, 4, &subscribe(&there));
        let answer = Response::Subscribed(subscribed(9, 1, 0));
        if is_answered {
            node.answer(&asked[0], &answer);
        }
        node.handle(Event::Ended { conn: subscriber });
        if !is_answered {
            assert!(node.is_open(subscriber));
            let sent = node.answer(&asked[0], &answer);
            assert!(sent.iter().any(|sent| (sent.conn, sent.id()) == (subscriber, 4)), "{sent:?}");
        }
        assert!(!node.is_open(subscriber), "answered before: {is_answered}");
    }
    assert_eq!(node.node.parts.readers.len(), 0);
}

#[test]
fn a_client_that_has_closed_its_sending_side_gets_the_answers_to_fetches_that_stop_waiting_together() {
    const WAIT_MS: u32 = 500;
    let stops: [fn(&mut Harness, ConnId) -> Vec<Sent>; 4] = [
        |node, _| node.pass(u64::from(WAIT_MS) * 1000 + TICK_US),
        |node, publisher| node.ask(publisher, 9, &Request::Delete(topic("t"))),
        |node, publisher| {
            node.publish(publisher, "t", 1, 10);
            node.settle()
        },
        |node, _| node.handle(Event::Drain),
    ];
    for (case, stop) in stops.into_iter().enumerate() {
        let mut node = Harness::alone();
        let (publisher, waiting) = (node.client(), node.client());
        node.create(publisher, "t", Retention::default());
        for id in [3, 4, 5] {
            let request = Request::Fetch(Fetch { max_wait_ms: WAIT_MS, ..fetch("t") });
            assert_eq!(node.ask(waiting, id, &request).len(), 0);
        }
        node.handle(Event::Ended { conn: waiting });
        let sent = stop(&mut node, publisher);
        let answered: Vec<u64> = only(&sent, Opcode::Fetch).into_iter().map(Sent::id).collect();
        assert_eq!(answered, [3, 4, 5], "case {case}");
        assert!(!node.is_open(waiting), "case {case}: it waits for nothing more");
    }
}

#[test]
fn a_client_that_has_closed_its_sending_side_is_not_expected_to_give_signs_of_life() {
    let mut node = Harness::alone();
    let (publisher, client) = (node.client(), node.client_with_keepalive(CLIENT_KEEPALIVE_LEAST_US));
    node.create(publisher, "t", Retention::default());
    let wait_us = 10 * CLIENT_KEEPALIVE_LEAST_US;
    let max_wait_ms = u32::try_from(wait_us / 1000).unwrap();
    node.ask(client, 3, &Request::Fetch(Fetch { max_wait_ms, ..fetch("t") }));
    node.handle(Event::Ended { conn: client });
    let sent = node.pass_silently(wait_us + TICK_US);
    assert_eq!(sent.iter().map(|sent| (sent.conn, sent.opcode())).collect::<Vec<_>>(), [(client, Opcode::Fetch)]);
    assert!(!node.is_open(client));
    // Its reads were suspended before.
    node.lose(publisher);
    let client = node.client_with_keepalive(CLIENT_KEEPALIVE_LEAST_US);
    node.hold();
    publish_most(&mut node, client);
    node.handle(Event::Ended { conn: client });
    assert_eq!(node.pass_silently(wait_us).len(), 0);
    assert_eq!(node.commit().len(), INFLIGHT_MAX as usize);
    assert!(!node.is_open(client));
}

/// Lets a client publish to topic "t" until its reads are suspended.
fn publish_most(node: &mut Harness, client: ConnId) {
    let publish = Request::Publish(Publish { topic: topic("t"), producer: None, count: 1 });
    for id in 0..INFLIGHT_MAX {
        assert_eq!(node.ask_with(client, id.into(), &publish, &records(1, 10)).len(), 0);
    }
    assert!(!node.is_read(client));
}

#[test]
fn a_silent_client_is_asked_once_and_then_closed_but_not_while_its_reads_are_suspended() {
    let mut node = Harness::alone();
    let (keepalive_us, scan_us) = (CLIENT_KEEPALIVE_LEAST_US, 500_000);
    let client = node.client_with_keepalive(keepalive_us);
    node.create(client, "t", Retention::default());
    node.hold();
    publish_most(&mut node, client);
    // It cannot give a sign of life.
    node.pass_silently(10 * keepalive_us);
    assert!(node.is_open(client));
    assert_eq!(node.commit().len(), INFLIGHT_MAX as usize);
    assert!(node.is_read(client));
    // Its silence counts from now on.
    let sent = node.pass_silently(keepalive_us + scan_us);
    assert_eq!(sent.iter().map(Sent::opcode).collect::<Vec<_>>(), [Opcode::Ping]);
    assert!(node.is_open(client));
    let sent = node.pass_silently(keepalive_us);
    assert_eq!(statuses(&sent), [Status::KeepaliveTimeout]);
    assert!(!node.is_open(client));
    // A subscriber may stop for as long as it likes.
    let subscriber = node.client_with_keepalive(keepalive_us);
    node.ask(subscriber, 1, &subscribe("t"));
    let sent = node.pass_silently(10 * keepalive_us);
    assert_eq!(only(&sent, Opcode::Ping).len(), 1);
    assert!(node.is_open(subscriber));
}

#[test]
fn a_request_that_nobody_answers_is_answered_here_and_its_answer_then_reaches_nobody() {
    let mut node = Harness::linked(1);
    let client = node.client();
    let asked = node.ask(client, 5, &PING);
    let to_client = |sent: Vec<Sent>| sent.into_iter().filter(|sent| sent.conn == client).collect::<Vec<_>>();
    assert_eq!(to_client(node.pass(REQUEST_TIMEOUT_US - TICK_US)).len(), 0);
    let answers = to_client(node.pass(TICK_US));
    assert_eq!((statuses(&answers), answers[0].id()), (vec![Status::OutcomeUnknown], 5));
    assert_eq!(node.answer(&asked[0], &refusal(Status::Quota)).len(), 0);
}

/// Returns the names of STATS in protocol.md.
fn documented() -> Vec<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split("\n### ").find(|section| section.starts_with("6.12 STATS")).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let rows = rows.filter(|(_, rest)| rest.starts_with("gauge |") || rest.starts_with("counter |"));
    rows.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn each_line_of_stats_is_explained_in_the_protocol() {
    let mut node = Harness::linked(1);
    let client = node.client();
    let Response::Stats { text, .. } = node.answer_to(client, 1, &Request::Stats { node: 0 }) else {
        panic!("no counters")
    };
    let lines = text.lines().map(|line| line.split_once(' ').unwrap());
    let names: Vec<_> = lines.map(|(name, _)| name.replace("link_0_", "link_N_")).collect();
    assert_eq!(names, documented());
}
