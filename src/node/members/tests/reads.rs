//! Reads, and other requests whose answer relies on what is applied: a leader answers them only while it knows that it
//! leads.

use super::*;
use crate::limits::{READ_RECENT_US, UNCONFIRMED_US};
use crate::wire::request::{Fetch, List, Start, Subscribe};

/// The ticks for which a lease lasts at least after a round at a tick.
const LEASE_TICKS: usize = 4;
const UNCONFIRMED_TICKS: usize = (UNCONFIRMED_US / TICK_US) as usize;

/// Returns a group whose first node leads, and has two topics.
fn led() -> (Three, [String; 3]) {
    let mut three = Three::new();
    three.tick(ELECTION_TICKS[0]);
    let mut names = names();
    let names = [(); 3].map(|()| names.next().unwrap());
    names[..2].iter().for_each(|name| three.create(0, name));
    three.settle();
    assert_eq!((three.answers(0), three.leads()), (vec![Status::Ok; 2], vec![0]));
    (three, names)
}

fn topic(name: &str) -> Topic<'_> {
    Topic { name: TopicName::new(name).unwrap(), id: None }
}

fn info(name: &str) -> Request<'_> {
    Request::Info(topic(name))
}

impl Three {
    /// Sends a request to a node, and returns the statuses of the answers that come at once.
    fn asked(&mut self, node: usize, request: &Request<'_>) -> Vec<Status> {
        self.ask(node, request, &[]);
        self.answers(node)
    }

    /// Sends a node a request of its neighbour, to which it can send no answer.
    fn ask_as_peer(&mut self, node: usize, request: &Request<'_>) {
        let frame = request_frame(request, &[], RequestId(1), Flags::default());
        let (settings, origin) = (&self.nodes[node].settings, Origin::from_number(0));
        let to_peer = settings.new_route(settings.id.across(0), Kind::Group, TrafficClass::Control, origin);
        let route = Route { source: to_peer.target, target: to_peer.source, ..to_peer };
        self.act(node, |parts, step| parts.on_request(step, &frame, &route));
    }

    /// Returns how many requests wait until a node knows that it leads.
    fn waiting(&self, node: usize) -> usize {
        self.nodes[node].parts.unconfirmed.len()
    }

    /// Returns how many of the messages on their way ask whether their sender leads.
    fn questions(&self) -> usize {
        let asks = |payload: &Payload| matches!(payload, Payload::Heartbeat { context, .. } if *context != 0);
        self.sent.iter().filter(|(_, _, item)| asks(&item.message.payload)).count()
    }
}

#[test]
fn the_first_read_asks_and_later_ones_find_that_the_leader_has_asked() {
    let (mut three, [name, ..]) = led();
    assert_eq!((three.asked(0, &info(&name)), three.questions()), (vec![], 2));
    assert_eq!((three.asked(0, &info(&name)), three.questions()), (vec![], 2), "they are being asked");
    three.settle();
    assert_eq!(three.answers(0), [Status::Ok; 2]);
    for _ in 0..30 {
        assert_eq!((three.asked(0, &info(&name)), three.questions()), (vec![Status::Ok], 0));
        three.tick(1);
    }
    // Without reads it asks no more.
    three.tick(usize::try_from(READ_RECENT_US / TICK_US).unwrap() + LEASE_TICKS + 1);
    assert_eq!((three.asked(0, &info(&name)), three.questions()), (vec![], 2));
}

#[test]
fn a_leader_with_a_lease_answers_a_read_of_its_own_client_at_once() {
    let (mut three, [name, _, missing]) = led();
    three.publish(0, &name);
    three.ask(0, &info(&name), &[]);
    three.settle();
    assert_eq!(three.answers(0), [Status::Ok; 2]);
    let fetch = |name, max_bytes| {
        let (epoch, start) = (None, Start::Earliest);
        Request::Fetch(Fetch { topic: topic(name), epoch, start, max_bytes, max_records: 0, max_wait_ms: 0 })
    };
    let query = Request::Query { topic: topic(&name).name };
    // A refusal may come from another leader in the end, so a request that is refused is kept for another attempt.
    for (request, status, is_kept) in [
        (info(&name), Status::Ok, false),
        (query, Status::Ok, false),
        (fetch(&name, 100), Status::Ok, false),
        (info(&missing), Status::UnknownTopic, true),
    ] {
        let frame = request_frame(&request, &[], RequestId(1), Flags::default());
        three.act(0, |parts, step| {
            parts.on_frame(step, CLIENT, &frame);
            assert_eq!(parts.ingress.has_effects(), is_kept, "{request:?}");
        });
        assert_eq!(three.answers(0), [status], "{request:?}");
    }
}

#[test]
fn all_kinds_of_reads_ask_and_changes_that_are_possible_do_not() {
    let (_, [name, ..]) = led();
    let (epoch, start, topic) = (None, Start::Earliest, topic(&name));
    let reads = [
        Request::Info(topic),
        Request::Query { topic: topic.name },
        Request::Fetch(Fetch { topic, epoch, start, max_bytes: 100, max_records: 0, max_wait_ms: 0 }),
        Request::Subscribe(Subscribe { topic, epoch, start, limit: 0 }),
        Request::List(List { node: 0, max: 0, cursor: 0, prefix: "" }),
    ];
    for request in reads {
        let (mut three, _) = led();
        assert_eq!((three.asked(0, &request), three.questions()), (vec![], 2), "{request:?}");
        three.settle();
        assert_eq!(three.answers(0), [Status::Ok], "{request:?}");
        assert_eq!((three.asked(0, &info(&name)), three.questions()), (vec![Status::Ok], 0), "{request:?}");
    }
    let (mut three, _) = led();
    three.ask_as_peer(0, &Request::Feed { slot: SLOT.index(), instance: 1, reset: true, count: 0 });
    assert_eq!((three.waiting(0), three.questions()), (1, 2));
    three.settle();
    assert_eq!(three.waiting(0), 0);

    let (mut three, _) = led();
    three.publish(0, &name);
    assert_eq!(three.questions(), 0);
    three.settle();
    assert_eq!(three.answers(0), [Status::Ok]);
}

#[test]
fn a_leader_that_was_cut_off_answers_no_read_from_its_old_log() {
    let (mut three, [name, other, newer]) = led();
    three.ask(0, &info(&name), &[]);
    three.settle();
    assert_eq!(three.answers(0), [Status::Ok]);
    three.cut = vec![0];
    let mut answered = 0;
    while three.leads() == [0] {
        answered += three.asked(0, &info(&name)).len();
        three.tick(1);
        answered += three.answers(0).iter().filter(|status| **status == Status::Ok).count();
    }
    assert_eq!((answered, three.leads()), (LEASE_TICKS + 1, vec![0, 1]), "one of both is mistaken");
    three.create(1, &newer);
    three.ask(1, &Request::Delete(topic(&other)), &[]);
    three.settle();
    assert_eq!(three.answers(1), [Status::Ok; 2]);
    // To the old leader, the one does not exist yet, and the other still does.
    let publish = Request::Publish(Publish { topic: topic(&newer), producer: None, count: 0 });
    let create = Request::Create { topic: TopicName::new(&other).unwrap(), retention: Retention::default() };
    for request in [info(&newer), info(&other), publish, create, Request::Delete(topic(&newer))] {
        let before = (three.waiting(0), three.nodes[0].stats.responses_lost);
        three.ask_as_peer(0, &request);
        assert_eq!((three.waiting(0), three.nodes[0].stats.responses_lost), (before.0 + 1, before.1), "{request:?}");
    }
    three.tick(UNCONFIRMED_TICKS);
    assert_eq!((three.waiting(0), three.answers(0), three.leads()), (0, vec![], vec![0, 1]), "they are refused");
    three.cut.clear();
    three.ask_as_peer(0, &info(&newer));
    assert_eq!(three.waiting(0), 1);
    three.tick(2);
    assert_eq!((three.waiting(0), three.answers(0), three.leads()), (0, vec![], vec![1]), "it has learned the truth");
}

#[test]
fn a_read_that_waits_is_answered_when_a_lost_question_is_repeated() {
    let (mut three, [name, ..]) = led();
    three.cut = vec![0];
    assert_eq!(three.asked(0, &info(&name)), []);
    three.tick(1);
    three.cut.clear();
    three.tick(1);
    assert_eq!(three.answers(0), [Status::Ok]);
}

#[test]
fn a_list_waits_for_all_groups_and_is_refused_when_one_of_them_ends() {
    let (mut three, _) = led();
    let list = Request::List(List { node: 0, max: 0, cursor: 0, prefix: "" });
    three.cut = vec![0];
    assert_eq!(three.asked(0, &list), []);
    three.tick(UNCONFIRMED_TICKS);
    assert_eq!(three.answers(0), [Status::NoQuorum]);
    assert_eq!(three.asked(0, &list), []);
    three.act(0, |parts, step| parts.end_leading_of(step, SLOT));
    assert_eq!(three.answers(0), [Status::NoQuorum]);
}

#[test]
fn the_end_of_leading_ends_the_lease_and_refuses_what_waits() {
    let (mut three, [name, ..]) = led();
    three.ask(0, &info(&name), &[]);
    three.settle();
    assert_eq!(three.answers(0), [Status::Ok]);
    three.tick(LEASE_TICKS + 10);
    assert_eq!((three.asked(0, &info(&name)), three.waiting(0)), (vec![], 1));
    three.act(0, |parts, step| parts.end_leading_of(step, SLOT));
    assert_eq!((three.answers(0), three.waiting(0)), (vec![], 0), "its ingress tries another node");
    // The answers to its question come later, and change nothing.
    three.settle();
    assert_eq!((three.answers(0), three.leads()), (vec![], vec![]));
}
