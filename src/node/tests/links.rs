//! Silence, replacement links, full send queues, and unreachable targets.

use super::harness::{Harness, fetched, names, refusal, subscribe, topic};
use super::sent::{Sent, only};
use crate::cube;
use crate::limits::{DUPLICATE_PROBE_US, LINK_PING_US, LINK_SILENCE_US, RETRY_FOR_US, TICK_US, UNREACHABLE_HOLD_US};
use crate::node::Event;
use crate::types::{ConnId, Copies, Dimension, Link, LinkSet, NodeId, Retention, TopicName};
use crate::wire::response::{Detail, ErrorResponse, LinkState};
use crate::wire::{Hello, Kind, Opcode, Origin, Push, Request, Response, Role, Route, Status, TrafficClass};

const fn ping(node: u16) -> Request<'static> {
    Request::Ping { node, token: 7 }
}

/// Returns the first tick at or after that time.
const fn ticks(micros: u64) -> u64 {
    micros.div_ceil(TICK_US) * TICK_US
}

/// Returns what a client is answered.
fn answered(sent: &[Sent], client: ConnId) -> Vec<Status> {
    sent.iter().filter(|sent| sent.conn == client && sent.is_response()).map(Sent::status).collect()
}

fn statuses(sent: &[Sent]) -> Vec<Status> {
    sent.iter().map(Sent::status).collect()
}

#[test]
fn a_silent_link_is_asked_and_then_ended_and_one_that_answers_is_not() {
    let mut node = Harness::linked(1);
    let link = node.link();
    assert_eq!(node.pass_silently(ticks(LINK_PING_US) - TICK_US).len(), 0);
    let sent = node.pass_silently(TICK_US);
    assert_eq!(sent.iter().map(|sent| (sent.conn, sent.opcode())).collect::<Vec<_>>(), [(link, Opcode::Ping)]);
    node.handle(Event::Heard { conn: link });
    node.pass_silently(LINK_SILENCE_US - TICK_US);
    assert!(node.is_open(link));
    let sent = node.pass_silently(TICK_US);
    assert_eq!(statuses(&sent), [Status::KeepaliveTimeout]);
    assert!(!node.is_open(link));
    node.link_up();
    node.pass(10 * LINK_SILENCE_US);
    assert!(node.is_open(node.link()));
}

#[test]
fn a_neighbour_s_ping_is_answered_and_its_answers_are_not() {
    let mut node = Harness::linked(1);
    let client = node.client();
    node.create(client, &names(0, 1).next().unwrap(), Retention::default());
    let sent = node.neighbour_asks(5, &ping(0));
    let [pong] = &sent[..] else { panic!("{sent:?} is not one answer") };
    let expected = Response::Ping { node: 0, token: 7, wall_us: Some(node.now.wall_us), topics: Some(1) };
    assert_eq!((pong.conn, pong.id(), pong.response()), (node.link(), 5, expected));
    let asked = node.pass_silently(ticks(LINK_PING_US));
    assert_eq!(node.answer_ping(only(&asked, Opcode::Ping)[0]).len(), 0);
    let sent = node.neighbour_asks(6, &Request::Query { topic: TopicName::new("t").unwrap() });
    assert_eq!(statuses(&sent), [Status::ProtocolError]);
}

#[test]
fn a_second_link_waits_until_the_first_has_shown_whether_it_lives() {
    // Another instance connects while the link is up. Each case says whether the link gives a sign of life.
    for lives in [true, false] {
        let mut node = Harness::linked(1);
        let first = node.link();
        node.pass(TICK_US);
        let (second, sent) = node.neighbour(2);
        assert_eq!(sent.iter().map(|sent| (sent.conn, sent.opcode())).collect::<Vec<_>>(), [(first, Opcode::Ping)]);
        assert_eq!(
            node.pass_silently(DUPLICATE_PROBE_US - TICK_US).iter().filter(|sent| sent.conn == second).count(),
            0
        );
        let sent = if lives { node.answer_ping(&sent[0]) } else { node.pass_silently(TICK_US) };
        let answered: Vec<Status> = sent.iter().filter(|sent| sent.conn == second).map(Sent::status).collect();
        assert_eq!(answered, if lives { vec![Status::DuplicateNode; 2] } else { vec![Status::Ok] });
        assert_eq!((node.is_open(first), node.is_open(second)), (lives, !lives));
    }
    // The same instance has noticed the loss of its link.
    let mut node = Harness::linked(1);
    let first = node.link();
    node.link_up();
    assert!(!node.is_open(first) && node.is_open(node.link()));
    // So it is alive, and another one that waits is refused.
    let mut node = Harness::linked(1);
    let (first, (rival, _), (again, sent)) = (node.link(), node.neighbour(2), node.neighbour(1));
    let of = |conn| sent.iter().filter(|sent| sent.conn == conn).map(Sent::status).collect::<Vec<_>>();
    assert_eq!([of(first), of(rival), of(again)], [vec![], vec![Status::DuplicateNode; 2], vec![Status::Ok]]);
    assert_eq!([first, rival, again].map(|conn| node.is_open(conn)), [false, false, true]);
}

#[test]
fn connections_that_a_neighbour_opened_during_a_stall_are_closed_without_an_answer() {
    let hello = Hello { role: Role::Node, dimension: 1, node: 1, ..Hello::of_client(1, "test") };
    // The first event after the stall is either the neighbour's HELLO or a tick.
    for is_hello_first in [false, true] {
        let mut node = Harness::linked(1);
        let link = node.link();
        let (early, client) = (node.accept(), node.accept());
        node.advance(3 * LINK_SILENCE_US);
        if !is_hello_first {
            node.timeout();
        }
        assert_eq!(node.say_hello(early, &hello).len(), 0);
        node.timeout();
        // The system may report more of these connections after the stall was detected.
        let late = node.accept();
        assert_eq!(node.say_hello(late, &hello).len(), 0);
        assert_eq!([early, late, link].map(|conn| node.is_open(conn)), [false, false, true]);
        // A refusal is more informative than a closed connection, and a client has not given up.
        let stranger = node.accept();
        let sent = node.say_hello(stranger, &Hello { dimension: 2, ..hello.clone() });
        assert_eq!(statuses(&sent), [Status::DimensionMismatch; 2]);
        assert_eq!(statuses(&node.say_hello(client, &Hello::of_client(1, "test"))), [Status::Ok]);
        // A connection from after the stall replaces the link as usual.
        node.pass(TICK_US);
        node.link_up();
        assert!(!node.is_open(link));
    }
}

#[test]
fn nodes_that_keep_another_number_of_copies_are_refused() {
    let hello = |replicas| Hello { role: Role::Node, dimension: 2, node: 1, replicas, ..Hello::of_client(1, "test") };
    let cases = [
        (Copies::One, None, Status::Ok),
        (Copies::One, Some(1), Status::Ok),
        (Copies::One, Some(3), Status::ClusterMismatch),
        (Copies::Three, Some(3), Status::Ok),
        (Copies::Three, Some(1), Status::ClusterMismatch),
        (Copies::Three, None, Status::ClusterMismatch),
    ];
    for (number, (own, replicas, expected)) in cases.into_iter().enumerate() {
        let mut node = match own {
            Copies::One => Harness::in_cube(2),
            Copies::Three => Harness::linked_with_three_copies(2),
        };
        let conn = node.accept();
        let sent = node.say_hello(conn, &hello(replicas));
        let answer = sent.iter().find(|sent| sent.conn == conn).unwrap();
        assert_eq!(answer.status(), expected, "case {number}");
        let told = Hello::decode(answer.frame.args().unwrap()).unwrap().replicas;
        assert_eq!(told.unwrap_or(1), own.number(), "case {number}");
    }
}

#[test]
fn a_link_whose_queue_is_full_takes_no_requests_but_answers_and_what_nodes_say_themselves() {
    let mut node = Harness::linked(1);
    let client = node.client();
    let here = names(0, 1).next().unwrap();
    node.create(client, &here, Retention::default());
    let link = node.link();
    node.handle(Event::Filled { conn: link });
    assert_eq!(node.ask(client, 5, &ping(1)).len(), 0, "it waits for room");
    let sent = node.node_asks(1, 6, &subscribe(&here), &[]);
    assert_eq!((sent.len(), sent[0].status()), (1, Status::Ok));
    let sent = node.pass(ticks(RETRY_FOR_US));
    assert_eq!(only(&sent, Opcode::Heads).len(), 1);
    assert_eq!(answered(&sent, client), [Status::Overloaded], "for so long");
    node.ask(client, 7, &ping(1));
    node.handle(Event::Drained { conn: link });
    let sent = node.pass(TICK_US);
    assert_eq!(sent.iter().filter(|sent| sent.opcode() == Opcode::Ping && sent.id() == 7).count(), 1);
}

#[test]
fn a_target_out_of_reach_is_answered_for_here_until_one_request_in_each_hold_time_finds_it_back() {
    let mut node = Harness::linked(2);
    let client = node.client();
    let asked = node.ask(client, 1, &ping(3));
    assert_eq!(asked[0].conn, node.link());
    // At first the link is waited for.
    let mut sent = node.answer(&asked[0], &refusal(Status::Unreachable));
    while answered(&sent, client).is_empty() {
        let probes: Vec<&Sent> = sent.iter().filter(|sent| sent.frame.route.is_some()).collect();
        let mut answers: Vec<Sent> =
            probes.into_iter().flat_map(|probe| node.answer(probe, &refusal(Status::Unreachable))).collect();
        answers.extend(node.pass(TICK_US));
        sent = answers;
    }
    assert_eq!(answered(&sent, client), [Status::Unreachable]);
    // After that time it is not.
    let asked = node.ask(client, 1, &ping(3));
    let answers = node.answer(&asked[0], &refusal(Status::Unreachable));
    assert_eq!(statuses(&answers), [Status::Unreachable]);
    for round in 0..3 {
        for id in 2..5 {
            assert_eq!(node.answer_to(client, id, &ping(3)).status(), Status::Unreachable.number());
        }
        node.pass(UNREACHABLE_HOLD_US);
        let probe = node.ask(client, 6, &ping(3));
        assert_eq!(probe[0].conn, node.link(), "one is let through in round {round}");
        assert_eq!(node.answer_to(client, 7, &ping(3)).status(), Status::Unreachable.number(), "and only one");
        node.answer(&probe[0], &refusal(Status::Unreachable));
    }
    node.pass(UNREACHABLE_HOLD_US);
    let probe = node.ask(client, 8, &ping(3));
    node.answer(&probe[0], &Response::Ping { node: 3, token: 7, wall_us: None, topics: None });
    for id in 9..12 {
        assert_eq!(node.ask(client, id, &ping(3))[0].conn, node.link());
    }
    // Other targets were never held.
    assert_eq!(node.ask(client, 12, &ping(1))[0].conn, node.link());
}

#[test]
fn nodes_of_a_large_cube_come_in_pages_and_say_which_links_are_up() {
    let mut node = Harness::linked(10);
    let client = node.client();
    let (mut from, mut found) = (0, vec![]);
    for (id, next) in [(1, 256), (2, 512), (3, 768), (4, 0), (5, 0)] {
        let Response::Nodes(page) = node.answer_to(client, id, &Request::Nodes { node: 0, from }) else {
            panic!("no nodes from {from} on")
        };
        assert_eq!((page.node, page.dimension, page.next), (0, 10, next));
        found.extend(page.nodes.into_iter().map(|known| (known.node, known.link)));
        from = if next == 0 { 1024 } else { next };
    }
    let link = |node: u16| match node {
        0 => LinkState::Itself,
        1 => LinkState::Up,
        _ if node.is_power_of_two() => LinkState::Down,
        _ => LinkState::Distant,
    };
    assert_eq!(found, (0..1024).map(|node| (node, link(node))).collect::<Vec<_>>());
}

/// Returns a request from node 1 for another node as it arrives over the link, routed in that dimension.
fn stamped(node: &Harness, target: u16, dimension: u8) -> Route {
    let dimension = Dimension::new(dimension).unwrap();
    let route = node.route_from(1, TrafficClass::Bulk, Origin::from_number(0));
    let ttl = cube::hops_limit(dimension) - route.hops;
    Route { target: NodeId::new(target, dimension).unwrap(), dimension, ttl, ..route }
}

#[test]
fn a_frame_is_routed_and_answered_in_the_dimension_that_it_is_stamped_with() {
    // Only the link to 001 is up, so a frame for 010 is sent back there; in two dimensions there is no link to 100.
    for (dimension, met) in [(2, vec![(0, 2)]), (3, vec![(0, 2), (0, 4)])] {
        let mut node = Harness::linked(3);
        let route = stamped(&node, 2, dimension);
        let sent = node.node_sends(&route, 8, &ping(2), &[]);
        let [onward] = &sent[..] else { panic!("{sent:?} is not one frame") };
        let links = onward.route().down.iter().map(|link| (link.ends().0.index(), link.ends().1.index()));
        assert_eq!((onward.route().dimension, links.collect::<Vec<_>>()), (route.dimension, met));
        let route = stamped(&node, 0, dimension);
        let sent = node.node_sends(&route, 9, &ping(0), &[]);
        let [answer] = &sent[..] else { panic!("{sent:?} is not one answer") };
        let expected = (route.dimension, cube::hops_limit(route.dimension) - 1);
        assert_eq!((answer.route().dimension, answer.route().ttl), expected);
    }
}

#[test]
fn a_frame_of_a_cube_that_this_node_is_not_of_ends_the_link() {
    let mut node = Harness::at_vertex(4, 3);
    let link = node.link_up();
    let sent = node.node_sends(&stamped(&node, 2, 2), 9, &ping(2), &[]);
    assert_eq!((statuses(&sent), node.is_open(link)), (vec![Status::ProtocolError], false));
}

/// Returns the nodes that these frames go to, by increasing id.
fn targets_of(sent: &[Sent]) -> Vec<u16> {
    let targets = |route: &Route| match route.kind {
        Kind::Multicast => route.targets.iter().collect(),
        Kind::Node | Kind::Group => vec![route.target],
    };
    let mut nodes: Vec<u16> = sent.iter().flat_map(|sent| targets(sent.route())).map(NodeId::index).collect();
    nodes.sort_unstable();
    nodes
}

#[test]
fn a_multicast_reaches_each_target_once_also_those_behind_dead_links() {
    // Of the links of 000, only that to 001 is up.
    let mut node = Harness::linked(3);
    let route = node.route_from(1, TrafficClass::Bulk, Origin::from_number(0));
    let push = Push::Deliver(Box::new(fetched(9, 1, 0, 1)));
    for set in 1..1_u16 << 7 {
        let expected: Vec<u16> = (1..8).filter(|id| set >> (id - 1) & 1 == 1).collect();
        let targets = expected.iter().map(|id| NodeId::new(*id, route.dimension).unwrap()).collect();
        let sent = node.node_pushes_along(&Route { kind: Kind::Multicast, targets, ..route.clone() }, 9, &push);
        assert_eq!(targets_of(&sent), expected);
        assert!(sent.iter().all(|sent| sent.route().hops == route.hops + 1 && sent.route().ttl == route.ttl - 1));
        // A multicast crosses the link once. Those behind dead links are reached by single frames with a detour.
        let (whole, single): (Vec<&Sent>, _) = sent.iter().partition(|sent| sent.route().kind == Kind::Multicast);
        assert!(whole.len() <= 1, "{sent:?}");
        assert!(single.iter().all(|sent| !sent.route().down.is_empty() && sent.route().targets.is_empty()), "{sent:?}");
    }
}

#[test]
fn records_for_other_nodes_may_be_dropped_on_a_busy_link_and_notices_may_not() {
    let mut node = Harness::linked(3);
    let client = node.client();
    let name = names(0, 3).next().unwrap();
    node.create(client, &name, Retention::default());
    for source in 1..8 {
        node.node_asks(source, 1, &subscribe(&name), &[]);
    }
    // At the home of a topic.
    let sent = node.publish(client, &name, 1, 10);
    assert_eq!(targets_of(&sent), (1..8).collect::<Vec<_>>());
    assert!(sent.iter().all(|sent| sent.opcode() == Opcode::Deliver && sent.is_droppable), "{sent:?}");
    let sent = node.ask(client, 2, &Request::Delete(topic(&name)));
    let ends: Vec<Sent> = sent.into_iter().filter(|sent| sent.conn != client).collect();
    assert_eq!(targets_of(&ends), (1..8).collect::<Vec<_>>());
    assert!(ends.iter().all(|sent| sent.opcode() == Opcode::Event && !sent.is_droppable), "{ends:?}");
    // On the way, also when they have left the multicast already because of a dead link.
    let pushes = [
        (Push::Deliver(Box::new(fetched(9, 1, 0, 1))), TrafficClass::Bulk),
        (Push::Ended(Box::new(ErrorResponse::new(Status::UnknownTopic, "deleted"))), TrafficClass::Control),
    ];
    for (push, class) in pushes {
        let target = NodeId::new(2, Dimension::new(3).unwrap()).unwrap();
        let targets = [target].into_iter().collect();
        let single = Route { target, ..node.route_from(1, class, Origin::from_number(0)) };
        for route in [Route { kind: Kind::Multicast, targets, ..single.clone() }, single] {
            let sent = node.node_pushes_along(&route, 9, &push);
            assert_eq!(targets_of(&sent), [2]);
            assert_eq!(sent[0].is_droppable, class == TrafficClass::Bulk, "{push:?} along {route:?}");
        }
    }
}

#[test]
fn without_a_path_a_request_is_refused_with_the_dead_links_and_a_response_is_dropped() {
    // The link of 00 to 10 is down, and so is that of 01 to 11.
    let mut node = Harness::linked(2);
    let mut down = LinkSet::new();
    down.insert(Link::new(NodeId::new(1, Dimension::new(2).unwrap()).unwrap(), 1));
    let route = Route { down, ..stamped(&node, 2, 2) };
    let sent = node.node_sends(&route, 8, &ping(2), &[]);
    assert_eq!(statuses(&sent), [Status::Unreachable]);
    assert_eq!(sent[0].details(), [Detail::Node(0), Detail::Hops(1), Detail::Links(vec![(0, 2), (1, 3)])]);
    assert_eq!(node.node.stats.responses_lost, 0);
    let response = Response::Ping { node: 1, token: 7, wall_us: None, topics: None };
    assert_eq!(node.node_responds(&route, Opcode::Ping, &response).len(), 0);
    assert_eq!(node.node.stats.responses_lost, 1);
}
