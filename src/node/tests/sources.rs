//! What clients of one address may use: connections, subscriptions, new topics. The home of far topics is number 1.

use super::harness::{Harness, names, refusal, subscribe, subscribed};
use super::sent::Sent;
use crate::limits::CREATE_AGAIN_MS;
use crate::node::SourceLimits;
use crate::types::{ConnId, Retention, SettingsChange, Source, TopicName};
use crate::wire::response::{Detail, ErrorResponse};
use crate::wire::{Hello, Opcode, Request, Response, Status};

const HERE: Source = Source::Ipv4([127, 0, 0, 1]);
const THERE: Source = Source::Ipv4([127, 0, 0, 2]);

const CREATES: SourceLimits = SourceLimits { clients: 0, subscriptions: 0, creates_per_second: 10, creates_burst: 2 };

fn create(name: &str) -> Request<'_> {
    Request::Create { topic: TopicName::new(name).unwrap(), retention: Retention::default() }
}

/// Connects a client from this source; returns it, or what it is refused with.
fn client(node: &mut Harness, source: Source) -> Result<ConnId, Vec<Sent>> {
    let conn = node.accept_from(source);
    let sent = node.say_hello(conn, &Hello::of_client(1, "test"));
    if sent[0].status() == Status::Ok { Ok(conn) } else { Err(sent) }
}

/// Returns what an error response says.
fn error(sent: &[Sent]) -> ErrorResponse {
    let [sent] = sent else { panic!("{sent:?} is not one answer") };
    let Response::Error(error) = sent.response() else { panic!("{sent:?} is no error") };
    *error
}

#[test]
fn one_source_has_so_many_connections_and_another_has_its_own() {
    let limits = SourceLimits { clients: 2, ..SourceLimits::default() };
    let mut node = Harness::limited(1, limits);
    let first = client(&mut node, HERE).unwrap();
    client(&mut node, HERE).unwrap();
    for _ in 0..2 {
        let refused = client(&mut node, HERE).unwrap_err();
        assert_eq!(refused.iter().map(Sent::opcode).collect::<Vec<_>>(), [Opcode::Hello, Opcode::Goaway]);
        assert!(refused.iter().all(|sent| sent.status() == Status::TooManyClients));
        let message = String::from_utf8_lossy(refused[1].frame.args().unwrap()).into_owned();
        assert!(message.contains("2 connections from 127.0.0.1 (--clients-per-source)"), "{message}");
    }
    client(&mut node, THERE).unwrap();
    // Nodes are no clients, from whatever address they come.
    node.link_up();
    node.lose(first);
    client(&mut node, HERE).unwrap();
    client(&mut node, HERE).unwrap_err();
}

#[test]
fn subscriptions_of_one_source_are_counted_over_its_connections() {
    let limits = SourceLimits { subscriptions: 2, ..SourceLimits::default() };
    let mut node = Harness::limited(1, limits);
    node.link_up();
    let (near, far) = (names(0, 1).next().unwrap(), names(1, 1).next().unwrap());
    let (first, second, other) =
        (client(&mut node, HERE).unwrap(), client(&mut node, HERE).unwrap(), client(&mut node, THERE).unwrap());
    node.create(other, &near, Retention::default());
    let status = |sent: &[Sent]| sent[0].status();
    assert_eq!(status(&node.ask(first, 5, &subscribe(&near))), Status::Ok);
    // One that its home has not answered yet counts as well.
    let asked = node.ask(second, 6, &subscribe(&far));
    let refused = error(&node.ask(second, 7, &subscribe(&near)));
    assert_eq!((refused.status, &refused.details[..]), (Status::Quota.number(), &[Detail::Limit(2)][..]));
    assert!(refused.message.contains("2 subscriptions from 127.0.0.1 (--subscriptions-per-source)"));
    assert_eq!(status(&node.ask(other, 8, &subscribe(&near))), Status::Ok);

    node.answer(&asked[0], &refusal(Status::UnknownTopic));
    assert_eq!(status(&node.ask(second, 9, &subscribe(&near))), Status::Ok);
    assert_eq!(status(&node.ask(second, 10, &subscribe(&near))), Status::Quota);
    let unsubscribe = Request::Unsubscribe { subscription: crate::types::RequestId(9) };
    assert_eq!(status(&node.ask(second, 11, &unsubscribe)), Status::Ok);
    node.follow(second, 12, &far, subscribed(9, 1, 0));
    assert_eq!(status(&node.ask(second, 13, &subscribe(&near))), Status::Quota);
    node.lose(first);
    assert_eq!(status(&node.ask(second, 14, &subscribe(&near))), Status::Ok);
    node.lose(second);
    let again = client(&mut node, HERE).unwrap();
    assert_eq!(status(&node.ask(again, 15, &subscribe(&near))), Status::Ok);
}

#[test]
fn a_source_creates_a_burst_and_then_as_many_topics_as_time_allows() {
    let mut node = Harness::limited(0, CREATES);
    let (first, second, other) =
        (client(&mut node, HERE).unwrap(), client(&mut node, HERE).unwrap(), client(&mut node, THERE).unwrap());
    let status = |sent: &[Sent]| sent[0].status();
    assert_eq!(status(&node.ask(first, 2, &create("a"))), Status::Ok);
    for id in 3..9 {
        assert_eq!(status(&node.ask(first, id, &create("a"))), Status::OkExists, "one that exists costs nothing");
    }
    assert_eq!(status(&node.ask(second, 2, &create("b"))), Status::Ok);
    let refused = error(&node.ask(second, 3, &create("c")));
    assert_eq!((refused.status, refused.retry_after_ms), (Status::Overloaded.number(), 100));
    assert!(refused.message.contains("allows 2 at once, then 10 per second (--creates-burst"), "{}", refused.message);
    assert_eq!(status(&node.ask(other, 2, &create("c"))), Status::Ok, "another source has its own allowance");
    assert_eq!(node.node.stats.creates_refused, 1);
    node.lose(first);
    node.lose(second);
    let again = client(&mut node, HERE).unwrap();
    assert_eq!(status(&node.ask(again, 2, &create("d"))), Status::Overloaded, "nothing is forgotten with a connection");
    node.advance(95_000);
    assert_eq!(error(&node.ask(again, 3, &create("d"))).retry_after_ms, CREATE_AGAIN_MS);
    node.advance(5_000);
    assert_eq!(status(&node.ask(again, 4, &create("d"))), Status::Ok);
    // A request that is not CREATE is never refused for it.
    let alter = Request::Alter { topic: super::harness::topic("d"), change: SettingsChange::default() };
    assert_eq!(status(&node.ask(again, 5, &alter)), Status::Ok);
}

#[test]
fn a_creation_that_failed_is_given_back_although_its_client_has_gone() {
    let name = names(1, 1).next().unwrap();
    let mut node = Harness::limited(1, CREATES);
    node.link_up();
    for _ in 0..10 {
        let client = client(&mut node, HERE).unwrap();
        let asked = node.ask(client, 2, &create(&name));
        assert!(!asked[0].is_response(), "{asked:?}");
        node.lose(client);
        node.answer(&asked[0], &refusal(Status::Quota));
    }
}

#[test]
fn a_creation_elsewhere_counts_unless_the_answer_says_that_nothing_was_created() {
    let name = names(1, 1).next().unwrap();
    let cases = [
        (refusal(Status::Quota), true),
        (refusal(Status::TopicExists), true),
        (refusal(Status::OutcomeUnknown), false),
        (refusal(Status::Internal), false),
    ];
    for (answer, is_given_back) in cases {
        let mut node = Harness::limited(1, CREATES);
        node.link_up();
        let client = client(&mut node, HERE).unwrap();
        for id in 2..6 {
            let asked = node.ask(client, id, &create(&name));
            if asked[0].is_response() {
                assert!(!is_given_back && id == 4, "request {id} after {answer:?}");
                assert_eq!(asked[0].status(), Status::Overloaded);
                break;
            }
            assert!(is_given_back || id < 4, "request {id} after {answer:?}");
            let sent = node.answer(&asked[0], &answer);
            assert_eq!(sent[0].status().number(), answer.status());
        }
    }
}
