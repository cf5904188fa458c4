//! The operations of both clients: `tests.rs` includes this file for each of them.

use std::time::Duration;

use dht_protocol::types::{Epoch, Offset, ProducerId, TopicId};
use dht_protocol::wire::request::ANY_NODE;
use dht_protocol::wire::response::{
    Detail, Durability, ErrorResponse, GroupsView, LinkState, LinkView, Listed, NodeAddress, NodePage, Page, Probe,
    View,
};
use dht_protocol::wire::{Opcode, Request, Response, Status};

use super::{Client, connect};
use crate::clock::pause;
use crate::fake::{Asked, Fake, Peer, Script, Unused, fetched, published};
use crate::{Batch, Builder, Error, Retention, Start, TraceTarget};

/// Returns a client of two nodes, connected to the first.
fn of_two(first: &Fake, second: &Fake) -> Client {
    let servers = [first.address().clone(), second.address().clone()];
    connect(Builder::default().servers(servers).timeout(Duration::from_secs(5)))
}

/// Returns a script that reads one request and closes the connection without an answer.
fn cut(opcode: Opcode) -> Script {
    Box::new(move |peer| {
        peer.greet();
        peer.expect(opcode);
    })
}

/// Returns a script that reads one request and answers it.
fn answer(opcode: Opcode, response: Response) -> Script {
    Box::new(move |peer| {
        peer.greet();
        let asked = peer.expect(opcode);
        peer.answer(&asked, &response);
        peer.flush();
        peer.wait_for_end();
    })
}

#[test]
fn an_idempotent_request_is_retried_when_the_connection_is_lost() {
    let first = Fake::play(vec![cut(Opcode::Fetch)]);
    let second = Fake::play(vec![answer(Opcode::Fetch, fetched(0, 0, 1, b"a"))]);
    let mut client = of_two(&first, &second);
    assert_eq!(client.fetch("t", Start::Earliest, 0).unwrap().messages.len(), 1);
    assert_eq!(client.server().unwrap(), second.address().to_string());
    drop(client);
    first.finish();
    second.finish();
}

#[test]
fn a_lost_publish_is_retried_only_if_the_node_did_not_accept_it() {
    let first = Fake::play(vec![cut(Opcode::Publish)]);
    let second = Fake::play(vec![]);
    let mut client = of_two(&first, &second);
    let error = client.publish("t", &Batch::of(b"x")).unwrap_err();
    assert!(matches!(error, Error::Lost { .. }) && error.may_be_done(), "{error:?}");
    drop(client);
    first.finish();
    second.finish();

    let first = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let asked = peer.expect(Opcode::Publish);
        peer.goaway(asked.id.0 - 1);
        peer.flush();
        peer.wait_for_end();
    })]);
    let second = Fake::play(vec![answer(Opcode::Publish, published(3, 1, false))]);
    let mut client = of_two(&first, &second);
    assert_eq!(client.publish("t", &Batch::of(b"x")).unwrap().base, Offset(3));
    drop(client);
    first.finish();
    second.finish();
}

#[test]
fn a_refusal_after_a_lost_attempt_does_not_say_that_nothing_was_stored() {
    for (is_lost, expected) in [(true, Status::OutcomeUnknown), (false, Status::Quota)] {
        let full = answer(Opcode::Publish, ErrorResponse::new(Status::Quota, "full").into());
        let (first, second) = if is_lost { (cut(Opcode::Publish), vec![full]) } else { (full, vec![]) };
        let (first, second) = (Fake::play(vec![first]), Fake::play(second));
        let mut client = of_two(&first, &second);
        let error = client.publish_as("t", ProducerId::new(9).unwrap(), &Batch::of(b"x")).unwrap_err();
        assert_eq!((error.status(), error.may_be_done()), (Some(expected), is_lost), "{error}");
        drop(client);
        first.finish();
        second.finish();
    }
}

#[test]
fn the_class_of_an_error_determines_whether_a_request_is_retried() {
    use Status::{Internal, OutcomeUnknown, Overloaded, Quota, ShuttingDown, UnknownTopic, Unreachable};
    // The status, and whether FETCH and PUBLISH are retried.
    let cases = [
        (Overloaded, true, true),
        (Unreachable, true, true),
        (OutcomeUnknown, true, false),
        (ShuttingDown, true, true),
        (Quota, false, false),
        (UnknownTopic, false, false),
        (Internal, false, false),
    ];
    for (status, fetch_again, publish_again) in cases {
        for (opcode, again) in [(Opcode::Fetch, fetch_again), (Opcode::Publish, publish_again)] {
            let good = if opcode == Opcode::Fetch { fetched(0, 0, 1, b"a") } else { published(0, 1, false) };
            let refusing = move |peer: &mut Peer| {
                peer.greet();
                let asked = peer.expect(opcode);
                peer.refuse(&asked, status, 20, Vec::new());
                peer.flush();
            };
            // If the node is shutting down, the client tries the next server, otherwise the same connection.
            let scripts: Vec<Script> = match (again, status) {
                (true, ShuttingDown) => vec![Box::new(refusing), answer(opcode, good)],
                (true, _) => vec![Box::new(move |peer| {
                    refusing(peer);
                    let asked = peer.expect(opcode);
                    peer.answer(&asked, &good);
                    peer.flush();
                    peer.wait_for_end();
                })],
                (false, _) => vec![Box::new(refusing)],
            };
            let fake = Fake::play(scripts);
            let mut client = connect(fake.builder());
            let outcome = if opcode == Opcode::Fetch {
                client.fetch("t", Start::Earliest, 0).map(|_| ())
            } else {
                client.publish("t", &Batch::of(b"x")).map(|_| ())
            };
            match outcome {
                Ok(()) => assert!(again, "{opcode:?} was retried after {status:?}"),
                Err(error) => assert!(!again && error.status() == Some(status), "{opcode:?}: {error:?}"),
            }
            drop(client);
            fake.finish();
        }
    }
}

#[test]
fn a_request_without_an_answer_times_out() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        peer.expect(Opcode::Query);
        peer.answer_only_pings();
    })]);
    let address = fake.address().clone();
    let mut client = connect(Builder::default().server(address).timeout(Duration::from_millis(100)));
    assert!(matches!(client.query("t").unwrap_err(), Error::TimedOut { .. }));
    drop(client);
    fake.finish();
}

#[test]
fn the_next_server_is_tried_if_a_node_hangs() {
    let first = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        peer.expect(Opcode::Fetch);
        peer.expect(Opcode::Ping);
        peer.wait_for_end();
    })]);
    let second = Fake::play(vec![answer(Opcode::Fetch, fetched(0, 0, 1, b"a"))]);
    let servers = [first.address().clone(), second.address().clone()];
    // The timeout covers both servers, so the client must send PING before the default silence of 1 s is over:
    // otherwise it would abandon the first node too late.
    let mut client = connect(Builder::default().servers(servers).timeout(Duration::from_millis(1500)));
    assert_eq!(client.fetch("t", Start::Earliest, 0).unwrap().messages.len(), 1);
    drop(client);
    first.finish();
    second.finish();
}

#[test]
fn the_timeout_covers_all_servers_together_if_a_living_node_does_not_answer() {
    for opcode in [Opcode::Fetch, Opcode::Create] {
        let first = Fake::play(vec![Box::new(move |peer| {
            peer.greet();
            peer.expect(opcode);
            peer.answer_only_pings();
        })]);
        let second = Unused::new();
        let builder = Builder::default().servers([first.address().clone(), second.address()]);
        let mut client = connect(builder.timeout(Duration::from_millis(300)));
        let outcome = if opcode == Opcode::Fetch {
            client.fetch("t", Start::Earliest, 0).map(|_| ())
        } else {
            client.create("t", Retention::default()).map(|_| ())
        };
        assert!(matches!(outcome.unwrap_err(), Error::TimedOut { .. }), "{opcode:?}");
        second.check();
        drop(client);
        first.finish();
    }
}

#[test]
fn a_silent_node_gets_a_ping_and_is_abandoned_long_before_the_timeout() {
    let first = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        peer.expect(Opcode::Fetch);
        let asked = peer.expect(Opcode::Ping);
        // It answers the first PING, as a slow but living node does.
        peer.answer(&asked, &Response::Ping { node: 0, token: 0, wall_us: None, topics: None });
        peer.flush();
        peer.expect(Opcode::Ping);
        peer.wait_for_end();
    })]);
    let second = Fake::play(vec![answer(Opcode::Fetch, fetched(0, 0, 1, b"a"))]);
    let servers = [first.address().clone(), second.address().clone()];
    let builder = Builder::default().servers(servers).timeout(Duration::from_mins(10));
    let mut client = connect(builder.ping_after(Duration::from_millis(50)));
    assert_eq!(client.fetch("t", Start::Earliest, 0).unwrap().messages.len(), 1);
    drop(client);
    first.finish();
    second.finish();
}

#[test]
fn no_ping_is_sent_for_requests_that_cannot_be_retried_nor_while_idle() {
    let silence = Duration::from_millis(10);
    let fake = Fake::play(vec![Box::new(move |peer| {
        peer.greet();
        let asked = peer.expect(Opcode::Publish);
        pause(8 * silence);
        peer.answer(&asked, &published(0, 1, false));
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut client = connect(Builder::default().server(fake.address().clone()).ping_after(silence));
    assert_eq!(client.publish("t", &Batch::of(b"a")).unwrap().base, Offset(0));
    client.idle(8 * silence).unwrap();
    drop(client);
    fake.finish();
}

fn listed(id: u64, name: &str) -> Listed {
    let offset = Offset(0);
    Listed { id: TopicId::new(id).unwrap(), first: offset, next: offset, bytes: 0, name: name.to_owned() }
}

#[test]
fn a_list_is_assembled_from_pages_and_names_nodes_without_an_answer() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        // All nodes are queried before the first one answers. Node 1 has two pages, and node 5 is unreachable.
        let asked: Vec<Asked> = (0..8).map(|_| peer.expect(Opcode::List)).collect();
        for (node, asked) in asked.iter().enumerate() {
            let node = u16::try_from(node).unwrap();
            match node {
                5 => peer.refuse(asked, Status::Unreachable, 0, Vec::new()),
                1 => peer.answer(asked, &Response::Listed(Page { node, cursor: 9, topics: vec![listed(1, "a")] })),
                _ => peer.answer(asked, &Response::Listed(Page { node, cursor: 0, topics: vec![] })),
            }
        }
        peer.flush();
        let asked = peer.expect(Opcode::List);
        assert!(matches!(asked.request(), Request::List(list) if list.node == 1 && list.cursor == 9));
        peer.answer(&asked, &Response::Listed(Page { node: 1, cursor: 0, topics: vec![listed(2, "b")] }));
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut client = connect(fake.builder());
    let listing = client.list("").unwrap();
    let names: Vec<_> = listing.topics.iter().map(|(node, topic)| (node.index(), topic.name.as_str())).collect();
    assert_eq!(names, [(1, "a"), (1, "b")]);
    assert_eq!(listing.unanswered.iter().map(|(node, _)| node.index()).collect::<Vec<_>>(), [5]);
    drop(client);
    fake.finish();
}

#[test]
fn a_prefix_that_no_name_can_have_is_refused_before_anything_is_sent() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        peer.wait_for_end();
    })]);
    let mut client = connect(fake.builder());
    for prefix in ["x".repeat(250), "x".repeat(70_000), "a b".to_owned(), "caf\u{e9}".to_owned()] {
        assert!(matches!(client.list(&prefix), Err(Error::Name(_))), "{prefix}");
    }
    drop(client);
    fake.finish();
}

/// Returns the response to CLUSTER from a node of a cube of three dimensions.
fn view(node: u16, links: Vec<LinkView>) -> View {
    View {
        node,
        dimension: 3,
        instance: 1,
        uptime_ms: 2,
        durability: Durability::Memory,
        cluster: "c".to_owned(),
        software: "s".to_owned(),
        address: format!("n{node}:1"),
        links,
        groups: None,
    }
}

#[test]
fn the_state_of_the_cluster_is_assembled_from_the_views_of_its_nodes() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        for node in 0..8 {
            let asked = peer.expect(Opcode::Cluster);
            if node == 7 {
                peer.refuse(&asked, Status::Unreachable, 0, Vec::new());
                continue;
            }
            // The links to node 7 are down, and the one between 0 and 1, which only node 0 has noticed.
            let is_up = |other: u16| other != 7 && !(node == 0 && other == 1);
            let links = [1, 2, 4].map(|bit| node ^ bit);
            let links = links.map(|other| LinkView { node: other, up: is_up(other), address: format!("n{other}:1") });
            peer.answer(&asked, &Response::Cluster(Box::new(view(node, links.to_vec()))));
        }
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut client = connect(fake.builder());
    let cluster = client.cluster().unwrap();
    assert!(!cluster.is_whole() && cluster.nodes.len() == 8 && cluster.links.len() == 12);
    for member in &cluster.nodes {
        assert_eq!(member.address, format!("n{}:1", member.node.index()));
        assert_eq!(member.view.is_ok(), member.node.index() != 7);
    }
    let down: Vec<_> =
        cluster.links.iter().filter(|link| !link.up).map(|link| (link.a.index(), link.b.index())).collect();
    assert_eq!(down, [(0, 1), (3, 7), (5, 7), (6, 7)]);
    drop(client);
    fake.finish();
}

#[test]
fn a_cluster_is_whole_when_each_group_of_topics_has_a_leader() {
    for (led, is_whole) in [([1; 8], true), ([1, 1, 1, 0, 1, 1, 1, 1], false), ([2, 0, 1, 1, 1, 1, 1, 1], true)] {
        let fake = Fake::play(vec![Box::new(move |peer| {
            peer.greet();
            for (node, led) in (0..).zip(led) {
                let asked = peer.expect(Opcode::Cluster);
                let links = [1, 2, 4].map(|bit| LinkView { node: node ^ bit, up: true, address: "n:1".to_owned() });
                let groups = Some(GroupsView { replicas: 3, led, kept: 3 });
                let view = View { groups, ..view(node, links.to_vec()) };
                peer.answer(&asked, &Response::Cluster(Box::new(view)));
            }
            peer.flush();
            peer.wait_for_end();
        })]);
        let mut client = connect(fake.builder());
        assert_eq!(client.cluster().unwrap().is_whole(), is_whole, "{led:?}");
        drop(client);
        fake.finish();
    }
}

/// Returns a page of the response to NODES from node 0 of a cube of three dimensions.
fn page(nodes: std::ops::Range<u16>, next: u16) -> Response {
    let nodes = nodes.map(|node| NodeAddress { node, link: LinkState::Distant, address: format!("n{node}:1") });
    Response::Nodes(NodePage { node: 0, dimension: 3, next, nodes: nodes.collect() })
}

#[test]
fn all_nodes_are_read_page_by_page_and_a_cursor_without_progress_is_a_protocol_error() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        for (from, answer) in [(0, page(0..3, 3)), (3, page(3..8, 0)), (0, page(0..3, 3)), (3, page(3..5, 3))] {
            let asked = peer.expect(Opcode::Nodes);
            assert_eq!(asked.request(), Request::Nodes { node: ANY_NODE, from });
            peer.answer(&asked, &answer);
            peer.flush();
        }
        peer.wait_for_end();
    })]);
    let mut client = connect(fake.builder());
    let known: Vec<_> = client.nodes().unwrap().into_iter().map(|known| (known.node.index(), known.address)).collect();
    assert_eq!(known, (0..8).map(|node| (node, format!("n{node}:1"))).collect::<Vec<_>>());
    assert!(matches!(client.nodes(), Err(Error::Protocol { .. })));
    drop(client);
    fake.finish();
}

#[test]
fn addresses_missing_in_views_are_read_from_the_list_of_nodes() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        for node in 0..8 {
            let asked = peer.expect(Opcode::Cluster);
            if node == 0 {
                let links = [1, 2, 4].map(|node| LinkView { node, up: false, address: format!("n{node}:1") });
                peer.answer(&asked, &Response::Cluster(Box::new(view(node, links.to_vec()))));
            } else {
                peer.refuse(&asked, Status::Unreachable, 0, Vec::new());
            }
        }
        peer.flush();
        let asked = peer.expect(Opcode::Nodes);
        peer.answer(&asked, &page(0..8, 0));
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut client = connect(fake.builder());
    let addresses: Vec<_> = client.cluster().unwrap().nodes.into_iter().map(|member| member.address).collect();
    assert_eq!(addresses, (0..8).map(|node| format!("n{node}:1")).collect::<Vec<_>>());
    drop(client);
    fake.finish();
}

#[test]
fn a_trace_probes_hop_by_hop_and_recognises_a_detour() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        // The path from 0 to 4 avoids the link between them.
        for (ttl, node) in [(0, 0u16), (1, 2), (2, 6), (3, 4)] {
            let asked = peer.expect(Opcode::Trace);
            assert!(matches!(asked.request(), Request::Trace { ttl: asked, .. } if asked == ttl));
            let down = vec![(0, 4)];
            if node == 4 {
                peer.answer(&asked, &Response::Traced(Probe { node, hops: ttl, down }));
            } else {
                let details = vec![Detail::Node(node), Detail::Hops(ttl), Detail::Links(down)];
                peer.refuse(&asked, Status::TtlExpired, 0, details);
            }
            peer.flush();
        }
        peer.wait_for_end();
    })]);
    let mut client = connect(fake.builder());
    let trace = client.trace(TraceTarget::Node(4)).unwrap();
    let hops: Vec<_> = trace.hops.iter().map(|hop| (hop.node.index(), hop.detour)).collect();
    assert_eq!(hops, [(0, false), (2, true), (6, false), (4, false)]);
    assert_eq!((trace.target.index(), trace.bound, trace.failure.is_none()), (4, 13, true));
    drop(client);
    fake.finish();
}

#[test]
fn a_long_wait_for_records_is_split_into_several_fetches_without_missing_any() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let asked = peer.expect(Opcode::Fetch);
        let Request::Fetch(fetch) = asked.request() else { panic!("FETCH is decoded as FETCH") };
        assert_eq!((fetch.start, fetch.max_wait_ms), (Start::Next, 30_000));
        peer.answer(&asked, &fetched(4, 4, 4, b"")); // as if the wait were over
        peer.flush();
        let asked = peer.expect(Opcode::Fetch);
        let Request::Fetch(fetch) = asked.request() else { panic!("FETCH is decoded as FETCH") };
        assert_eq!(fetch.start, Start::Offset(Offset(4)));
        assert_eq!((fetch.topic.id, fetch.epoch), (TopicId::new(7), Some(Epoch(1))));
        assert!((25_000..=30_000).contains(&fetch.max_wait_ms), "{}", fetch.max_wait_ms);
        pause(Duration::from_millis(300)); // longer than the client's timeout
        peer.answer(&asked, &fetched(4, 4, 5, b"x"));
        peer.flush();
        peer.wait_for_end();
    })]);
    let address = fake.address().clone();
    let mut client = connect(Builder::default().server(address).timeout(Duration::from_millis(100)));
    let fetch = client.fetch_wait("t", Start::Next, 0, Duration::from_secs(40)).unwrap();
    assert_eq!(fetch.messages.len(), 1);
    drop(client);
    fake.finish();
}

#[test]
fn another_client_with_the_same_settings_knows_what_the_first_has_learned() {
    let second = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        peer.wait_for_end();
    })]);
    let known = [second.address().clone()];
    let first = Fake::play(vec![Box::new(move |peer| {
        peer.greet();
        peer.knows(&known);
        let asked = peer.expect(Opcode::Fetch);
        peer.answer(&asked, &fetched(0, 0, 1, b"a"));
        peer.flush();
    })]);
    let mut client = connect(first.builder());
    client.fetch("t", Start::Earliest, 0).unwrap();
    first.finish(); // from now on, its port refuses connections
    let alone = client.to_builder().only_listed();
    assert!(matches!(alone.connect().unwrap_err(), Error::Connect { .. }));
    let other = connect(client.to_builder());
    assert_eq!(other.server().unwrap(), second.address().to_string());
    drop(other);
    drop(client);
    second.finish();
}
