//! LIST, producers, ages, and how many topics there may be.

use super::harness::{Harness, SLOT, fetch, records, topic};
use crate::entry::{Entry, Room};
use crate::limits::{
    AGE_SCAN_PER_TICK, FETCH_RUNS_MAX, LIST_NAMES_MAX, LIST_SCAN_MAX, ONE_SHOTS_MAX, PRODUCER_WINDOW, PRODUCERS_MAX,
    PROPOSALS_BYTES_MAX, TICK_US, TOPIC_NAME_MAX, TOPICS_MAX,
};
use crate::node::Event;
use crate::node::asked::Asked;
use crate::types::{ConnId, Epoch, Offset, Opening, ProducerId, Retention, Sequenced, SettingsChange, TopicName};
use crate::wire::request::{ANY_NODE, Fetch, List, Publish, Start};
use crate::wire::response::{Detail, OFFSET_FORGOTTEN, Page};
use crate::wire::{Request, Response, Status};

fn node_with_topics(count: usize, retention: Retention) -> (Harness, ConnId) {
    let mut node = Harness::alone();
    let client = node.client();
    node.fill(|node| {
        for number in 0..count {
            node.create(client, &format!("topic-{number:05}"), retention);
        }
    });
    (node, client)
}

fn list(node: &mut Harness, client: ConnId, max: u16, cursor: u64, prefix: &str) -> Page {
    let request = Request::List(List { node: ANY_NODE, max, cursor, prefix });
    let Response::Listed(page) = node.answer_to(client, 2, &request) else { panic!("no page") };
    page
}

#[test]
fn a_page_has_at_most_so_many_names_whatever_is_asked_and_pages_together_have_each_topic_once() {
    let topics = 2 * LIST_NAMES_MAX + 1;
    let (mut node, client) = node_with_topics(topics, Retention::default());
    for (max, per_page) in [(0, LIST_NAMES_MAX), (u16::MAX, LIST_NAMES_MAX), (199, 199), (1, 1)] {
        let (mut names, mut cursor) = (Vec::new(), 0);
        loop {
            let page = list(&mut node, client, max, cursor, "");
            assert_eq!(page.topics.len(), per_page.min(topics - names.len()), "{max} wanted, {} seen", names.len());
            names.extend(page.topics.into_iter().map(|topic| topic.name));
            if page.cursor == 0 || names.len() == topics {
                break;
            }
            cursor = page.cursor;
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), topics);
    }
}

#[test]
fn a_page_of_the_longest_names_is_what_its_request_was_charged() {
    let (mut node, client) = node_with_topics(0, Retention::default());
    node.fill(|node| {
        for number in 0..LIST_NAMES_MAX {
            node.create(client, &format!("{number:0>TOPIC_NAME_MAX$}"), Retention::default());
        }
    });
    let request = Request::List(List { node: ANY_NODE, max: 0, cursor: 0, prefix: "" });
    let sent = node.ask(client, 2, &request);
    let Response::Listed(page) = sent[0].response() else { panic!("no page") };
    assert_eq!(page.topics.len(), LIST_NAMES_MAX);
    let charged = u64::from(Asked::new(client, &sent[0].frame, &request).charge);
    assert!(sent[0].frame.len() as u64 <= charged, "{} bytes, {charged}", sent[0].frame.len());
}

#[test]
fn a_page_looks_at_so_many_topics_and_says_where_to_go_on() {
    let (mut node, client) = node_with_topics(LIST_SCAN_MAX + 1, Retention::default());
    let last = format!("topic-{LIST_SCAN_MAX:05}");
    let page = list(&mut node, client, 0, 0, &last);
    assert_eq!((page.topics.len(), page.cursor), (0, LIST_SCAN_MAX as u64));
    let page = list(&mut node, client, 0, page.cursor, &last);
    assert_eq!((page.topics.len(), page.topics[0].name.as_str()), (1, last.as_str()));
    for cursor in [u64::MAX, 1 << 40] {
        let page = list(&mut node, client, 0, cursor, "");
        assert_eq!((page.topics.len(), page.cursor), (0, 0), "a cursor that no page gave");
    }
}

#[test]
fn the_topic_that_is_one_too_many_is_refused_and_those_that_are_there_are_found() {
    let mut node = Harness::alone();
    let client = node.client();
    let create = |name| Request::Create { topic: TopicName::new(name).unwrap(), retention: Retention::default() };
    let entry = |number: usize| {
        let (name, retention) = (number.to_string().into(), Retention::default());
        Entry::Create { name, seed: 1, epoch: Epoch(1), retention, created_us: 0 }
    };
    node.node.replay(SLOT, (1..TOPICS_MAX).map(entry).collect());
    assert_eq!(node.node.topic_count(), TOPICS_MAX - 1);
    node.fill(|node| {
        for (name, status) in
            [("last", Status::Ok), ("one-more", Status::Quota), ("last", Status::OkExists), ("17", Status::OkExists)]
        {
            assert_eq!(node.answer_to(client, 3, &create(name)).status(), status.number(), "{name}");
        }
        let Response::Error(error) = node.answer_to(client, 3, &create("one-more")) else { panic!("one too many") };
        assert_eq!(error.details, [Detail::Limit(TOPICS_MAX as u64)]);
        node.answer_to(client, 3, &Request::Delete(topic("17")));
        // A topic whose creation is not committed yet counts as well.
        node.hold();
        assert_eq!(node.ask(client, 3, &create("one-more")).len(), 0);
        assert_eq!(node.answer_to(client, 4, &create("two-more")).status(), Status::Quota.number());
        assert_eq!(node.commit().iter().map(|sent| (sent.id(), sent.status())).collect::<Vec<_>>(), [(3, Status::Ok)]);
    });
}

#[test]
fn a_topic_remembers_so_many_producers_and_so_many_answers_of_each() {
    let mut node = Harness::alone();
    let client = node.client();
    node.create(client, "t", Retention::default());
    let mut publish = |producer, sequence| {
        let producer = Some(Sequenced { producer: ProducerId::new(producer).unwrap(), epoch: 0, sequence });
        let request = Request::Publish(Publish { topic: topic("t"), producer, count: 1 });
        let sent = node.ask_with(client, 4, &request, &records(1, 10));
        let base = if let Response::Published(published) = sent[0].response() { Some(published.base) } else { None };
        (sent[0].status(), base)
    };
    let window = PRODUCER_WINDOW as u64;
    for sequence in 0..=window {
        assert_eq!(publish(1, sequence), (Status::Ok, Some(Offset(sequence))));
    }
    assert_eq!(publish(1, 1), (Status::OkDuplicate, Some(Offset(1))), "the oldest answer that is remembered");
    assert_eq!(publish(1, 0), (Status::OkDuplicate, Some(OFFSET_FORGOTTEN)));
    let most = PRODUCERS_MAX as u64;
    for producer in 2..=most {
        assert_eq!(publish(producer, 0).0, Status::Ok);
        assert_eq!(publish(producer, 1).0, Status::Ok);
    }
    // Single messages, each of which can be retried until as many others have come.
    let single = |number| (1 << 32) + number;
    let first = publish(single(0), 0).1;
    for number in 1..ONE_SHOTS_MAX as u64 {
        assert_eq!(publish(single(number), 0).0, Status::Ok);
    }
    assert_eq!(publish(single(0), 0), (Status::OkDuplicate, first));
    assert_eq!(publish(single(ONE_SHOTS_MAX as u64), 0).0, Status::Ok);
    assert_eq!(publish(single(0), 1).0, Status::UnknownProducer, "it is the oldest");
    // Those that published more are remembered however many of these there are.
    for producer in 1..=most {
        let next = if producer == 1 { window + 1 } else { 2 };
        assert_eq!(publish(producer, next).0, Status::Ok, "producer {producer}");
    }
    // One that goes on takes the place of the one that was silent longest.
    assert_eq!(publish(single(1), 1).0, Status::Ok);
    assert_eq!(publish(1, window + 2).0, Status::UnknownProducer);
    assert_eq!(publish(2, 3).0, Status::Ok);
}

#[test]
fn an_answer_has_as_many_records_as_it_has_room_for_their_times() {
    let mut node = Harness::alone();
    let client = node.client();
    node.create(client, "t", Retention::default());
    for _ in 0..=FETCH_RUNS_MAX {
        node.publish(client, "t", 1, 10);
        node.pass(1);
    }
    let sent = node.ask(client, 5, &Request::Fetch(fetch("t")));
    let fetched = sent[0].fetched();
    assert_eq!((fetched.count as usize, fetched.runs.len()), (FETCH_RUNS_MAX, FETCH_RUNS_MAX));
    assert_eq!(fetched.next, fetched.end().plus(1), "the next FETCH gets the rest");
}

#[test]
fn a_tick_looks_at_so_many_topics_for_old_records_and_the_next_one_at_the_rest() {
    let age = Retention { age_ms: 1000, ..Retention::default() };
    let (mut node, client) = node_with_topics(AGE_SCAN_PER_TICK + 1, age);
    node.fill(|node| {
        for number in 0..=AGE_SCAN_PER_TICK {
            node.publish(client, &format!("topic-{number:05}"), 1, 10);
        }
    });
    let trimmed = |node: &Harness| usize::try_from(node.node.stats.trimmed).unwrap();
    node.fill(|node| node.pass(1_000_000));
    assert_eq!(trimmed(&node), 0, "none is older than a second");
    node.pass(TICK_US);
    let first = trimmed(&node);
    assert!(0 < first && first <= AGE_SCAN_PER_TICK, "{first} at once");
    node.pass(TICK_US);
    assert_eq!(trimmed(&node), AGE_SCAN_PER_TICK + 1);
}

#[test]
fn a_reader_of_an_earlier_life_of_a_topic_is_told_from_where_its_records_may_be_others() {
    let (mut node, client) = node_with_topics(1, Retention::default());
    let name = "topic-00000";
    node.publish(client, name, 5, 10);
    node.node.replay(SLOT, vec![Entry::RaiseEpochs]);
    node.publish(client, name, 3, 10);
    for (epoch, from) in [(None, None), (Some(1), Some(5)), (Some(2), None)] {
        let request = Fetch { epoch: epoch.map(Epoch), start: Start::Offset(Offset(7)), ..fetch(name) };
        let sent = node.ask(client, 9, &Request::Fetch(request));
        let expected = from.map(|from| vec![Detail::Next(Offset(from)), Detail::Epoch(Epoch(2))]);
        let is_told = sent[0].status() == Status::Truncated;
        assert_eq!(is_told.then(|| sent[0].details()), expected, "epoch {epoch:?}");
    }
}

#[test]
fn while_a_disk_hangs_no_more_is_proposed_than_so_many_bytes_and_it_goes_on_when_it_does() {
    let (mut node, _) = node_with_topics(1, Retention::default());
    let payload = records(1, 1 << 19);
    let publish = Request::Publish(Publish { topic: topic("topic-00000"), producer: None, count: 1 });
    node.hold();
    let (mut proposed, mut refused) = (0, None);
    // A client by itself may not have that much unanswered.
    'all: for _ in 0.. {
        let client = node.client();
        for id in 2..10 {
            if let Some(sent) = node.ask_with(client, id, &publish, &payload).into_iter().next() {
                refused = Some(sent);
                break 'all;
            }
            proposed += payload.len() as u64;
        }
    }
    assert_eq!(refused.map(|sent| sent.status()), Some(Status::Overloaded));
    // What they may take of its memory is counted, a 64th more than they are, and their encoding.
    let counted = proposed + proposed / 64 + proposed;
    assert!(counted <= PROPOSALS_BYTES_MAX && counted + (2 << 20) > PROPOSALS_BYTES_MAX, "{counted}");
    let answered = node.commit();
    assert!(answered.iter().all(|sent| sent.status() == Status::Ok));
    assert_eq!(answered.len() as u64, proposed / payload.len() as u64);
    let client = node.client();
    assert!(node.ask_with(client, 2, &publish, &payload).is_empty(), "taken, and not committed yet");
}

#[test]
fn while_a_disk_hangs_no_request_adds_to_what_waits_for_it_without_bound() {
    let name = TopicName::new("topic-00000").unwrap();
    let opening = Opening { producer: ProducerId::new(7).unwrap(), token: 1, resume: false };
    let change = |records| SettingsChange { retention_records: Some(records), ..SettingsChange::default() };
    let retention = Retention::default();
    let requests = [
        Request::Create { topic: TopicName::new("new").unwrap(), retention },
        Request::Create { topic: name, retention },
        Request::Delete(topic("topic-00000")),
        Request::Alter { topic: topic("topic-00000"), change: change(5) },
        Request::Trim { topic: topic("topic-00000"), first: Offset(1) },
        Request::Producer { topic: topic("topic-00000"), opening },
        Request::Publish(Publish { topic: topic("topic-00000"), producer: None, count: 1 }),
    ];
    let most = usize::try_from(PROPOSALS_BYTES_MAX / 512).unwrap();
    for request in &requests {
        let payload = if matches!(request, Request::Publish(_)) { records(1, 10) } else { Vec::new() };
        let (mut node, client) = node_with_topics(1, retention);
        node.publish(client, "topic-00000", 2, 10);
        node.hold();
        // A change that is under way, so that nobody knows what a repetition will find.
        node.ask_oneway(client, &Request::Alter { topic: topic("topic-00000"), change: change(9) }, &[]);
        let held = node.fill(|node| {
            (0..=most).for_each(|_| node.ask_oneway(client, request, &payload));
            node.held()
        });
        assert!(held > 1000 && held <= most, "{held} of {request:?}");
        let other = node.client();
        assert_eq!(node.ask_with(other, 2, request, &payload)[0].status(), Status::Overloaded, "{request:?}");
        assert_eq!(node.answer_to(other, 3, &Request::Info(topic("topic-00000"))).status(), Status::Ok.number());
        node.fill(Harness::commit);
        assert!(node.ask_with(other, 4, request, &payload).len() <= 1, "it is proposed again, or answered");
    }
}

#[test]
fn a_change_that_changes_nothing_writes_nothing() {
    let retention = Retention { records: 1000, ..Retention::default() };
    let (mut node, client) = node_with_topics(1, retention);
    node.publish(client, "topic-00000", 10, 10);
    let trim = |first| Request::Trim { topic: topic("topic-00000"), first: Offset(first) };
    let alter = |records| {
        let change = SettingsChange { retention_records: Some(records), ..SettingsChange::default() };
        Request::Alter { topic: topic("topic-00000"), change }
    };
    let create = |retention| Request::Create { topic: TopicName::new("topic-00000").unwrap(), retention };
    assert_eq!(node.answer_to(client, 2, &trim(4)).status(), Status::Ok.number());
    node.hold();
    for (request, expected) in [
        (create(retention), Status::OkExists),
        (create(Retention { records: 5, ..retention }), Status::TopicExists),
        (alter(1000), Status::Ok),
        (trim(4), Status::Ok),
        (trim(0), Status::Ok),
    ] {
        assert_eq!(node.answer_to(client, 3, &request).status(), expected.number(), "{request:?}");
        assert_eq!(node.held(), 0, "{request:?}");
    }
    // Behind a change that is not committed yet they wait for it, and find what it leaves.
    node.ask(client, 4, &Request::Delete(topic("topic-00000")));
    for (id, request) in (5..).zip([create(retention), alter(1000), trim(0)]) {
        assert_eq!(node.ask(client, id, &request).len(), 0, "{request:?}");
    }
    let answers: Vec<(u64, Status)> = node.commit().iter().map(|sent| (sent.id(), sent.status())).collect();
    assert_eq!(answers, [(4, Status::Ok), (5, Status::Ok), (6, Status::Ok), (7, Status::UnknownTopic)]);
}

#[test]
fn what_the_journal_has_no_space_for_is_refused_and_leaves_the_counts_right() {
    let (mut node, client) = node_with_topics(1, Retention::default());
    node.handle(Event::Space { room: Room { bytes: 0, is_full: false, log_kept: 0 } });
    let new = Request::Create { topic: TopicName::new("new").unwrap(), retention: Retention::default() };
    let opening = Opening { producer: ProducerId::new(7).unwrap(), token: 1, resume: false };
    let requests = [
        new,
        Request::Producer { topic: topic("topic-00000"), opening },
        Request::Publish(Publish { topic: topic("topic-00000"), producer: None, count: 1 }),
        Request::Trim { topic: topic("topic-00000"), first: Offset(0) },
        Request::Delete(topic("topic-00000")),
    ];
    for (id, request) in (2..).zip(&requests) {
        let payload = if matches!(request, Request::Publish(_)) { records(1, 10) } else { Vec::new() };
        assert_eq!(node.ask_with(client, id, request, &payload).len(), 0, "{request:?}");
    }
    let full = Event::Space { room: Room { bytes: 0, is_full: true, log_kept: 0 } };
    let answers: Vec<(u64, Status)> = node.handle(full).iter().map(|sent| (sent.id(), sent.status())).collect();
    assert_eq!(answers, (2..7).map(|id| (id, Status::Quota)).collect::<Vec<_>>());
    assert_eq!(node.answer_to(client, 9, &Request::Info(topic("topic-00000"))).status(), Status::Ok.number());
    assert_eq!(node.answer_to(client, 9, &Request::Info(topic("new"))).status(), Status::UnknownTopic.number());
    assert_eq!(node.node.parts.groups.proposals(), 0);
    node.handle(Event::Space { room: Room::UNLIMITED });
    node.hold();
    assert_eq!(node.ask(client, 10, &new).len(), 0, "there is room in the queue");
}

#[test]
fn without_space_on_its_disk_a_node_refuses_what_takes_some_and_does_the_rest() {
    let (mut node, client) = node_with_topics(2, Retention::default());
    let status = |node: &mut Harness, request: &Request<'_>| {
        let payload = if matches!(request, Request::Publish(_)) { records(1, 10) } else { Vec::new() };
        node.ask_with(client, 7, request, &payload)[0].status()
    };
    let publish = Request::Publish(Publish { topic: topic("topic-00000"), producer: None, count: 1 });
    let name = TopicName::new("another").unwrap();
    let create = Request::Create { topic: name, retention: Retention::default() };
    let delete = Request::Delete(topic("topic-00001"));
    let read = Request::Fetch(fetch("topic-00000"));
    assert_eq!(status(&mut node, &publish), Status::Ok);
    node.handle(Event::Space { room: Room { is_full: true, ..Room::UNLIMITED } });
    for (request, expected) in
        [(&publish, Status::Quota), (&create, Status::Quota), (&read, Status::Ok), (&delete, Status::Ok)]
    {
        assert_eq!(status(&mut node, request), expected, "{request:?}");
    }
    node.handle(Event::Space { room: Room::UNLIMITED });
    assert_eq!([status(&mut node, &publish), status(&mut node, &create)], [Status::Ok; 2]);
}
