//! How an ingress handles HEADS and epochs, and what it reports in FEED. The home is number 1.

use std::collections::BTreeSet;

use super::harness::{Harness, fetch, fetched, names, records, refusal, subscribe, subscribed, topic_id};
use super::sent::{Sent, only};
use crate::limits::{
    FEED_AGAIN_US, FEED_ITEMS_MAX, HEADS_MISSING_MAX, HEADS_US, OUTAGE_ASK_US, REQUEST_TIMEOUT_US, STRAYS_MAX,
    TAIL_BYTES_MAX, TICK_US,
};
use crate::types::{ConnId, Epoch, Offset};
use crate::wire::feed::{Fed, FedList, Head, Heads};
use crate::wire::field::Writer;
use crate::wire::request::{ANY_NODE, Fetch, Start, Subscribe};
use crate::wire::response::{Detail, Fetched, Payload};
use crate::wire::{Opcode, Push, Request, Response, Status};

const HOME: u16 = 1;
const HOME_INSTANCE: u64 = 77;
const TOPIC: u64 = 9;

/// Returns the home's response to a FEED about the only topic.
fn fed(counter: u64, status: Status, epoch: u32, next: u64) -> Response {
    let item = Fed {
        topic: topic_id(TOPIC),
        status: status.number(),
        epoch: Epoch(epoch),
        next: Offset(next),
        successor: None,
    };
    Response::Fed(FedList { slot: HOME, term: 1, instance: HOME_INSTANCE, counter, items: vec![item] })
}

fn deliver(id: u64, epoch: u32, base: u64) -> Push {
    Push::Deliver(Box::new(fetched(id, epoch, base, 1)))
}

fn feeds(sent: Vec<Sent>) -> Vec<Sent> {
    sent.into_iter().filter(|sent| sent.opcode() == Opcode::Feed && !sent.is_response()).collect()
}

/// Returns who got a frame of that operation and status.
fn who(sent: &[Sent], opcode: Opcode, status: Status) -> Vec<(ConnId, u64)> {
    only(sent, opcode).into_iter().filter(|sent| sent.status() == status).map(|sent| (sent.conn, sent.id())).collect()
}

#[test]
fn readers_of_another_life_of_a_topic_are_told_and_the_new_one_follows_what_it_was_answered() {
    let name = names(HOME, 1).next().unwrap();
    for (followed, answered) in [(1, 2), (2, 1)] {
        let mut node = Harness::linked(1);
        let (old, new) = (node.client(), node.client());
        node.follow(old, 1, &name, subscribed(TOPIC, followed, 0));
        let waits = Request::Fetch(Fetch { max_wait_ms: 30_000, ..fetch(&name) });
        let asked = node.ask(old, 2, &waits);
        node.answer(&asked[0], &Response::Fetched(Box::new(fetched(TOPIC, followed, 0, 0))));

        let sent = node.follow(new, 3, &name, subscribed(TOPIC, answered, 0));
        assert_eq!(who(&sent, Opcode::Subscribe, Status::Ok), [(new, 3)]);
        assert_eq!(who(&sent, Opcode::Event, Status::Truncated), [(old, 1)]);
        assert_eq!(who(&sent, Opcode::Fetch, Status::Truncated), [(old, 2)]);
        assert_eq!(sent.len(), 3);
        for event in sent.iter().filter(|sent| sent.conn == old) {
            assert_eq!(event.details(), [], "where the loss began, the home tells them");
        }

        node.settle();
        let sent = node.node_pushes(HOME, TOPIC, &deliver(TOPIC, answered, 0));
        assert_eq!(who(&sent, Opcode::Deliver, Status::Ok), [(new, 3)]);

        // The ingress reports the epoch that it follows, and the home answers whether it is still valid.
        let reports = feeds(node.pass(HEADS_US));
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].feed().1[0].epoch, Epoch(answered));
        let is_newer = answered > followed;
        let status = if is_newer { Status::Ok } else { Status::Truncated };
        let sent = node.answer(&reports[0], &fed(0, status, 2, 1));
        assert_eq!(who(&sent, Opcode::Event, Status::Truncated), if is_newer { vec![] } else { vec![(new, 3)] });
        for event in only(&sent, Opcode::Event) {
            assert_eq!(event.details(), [Detail::Next(Offset(1)), Detail::Epoch(Epoch(2))]);
        }
        assert_eq!(node.node.parts.readers.len(), usize::from(is_newer));
    }
}

#[test]
fn a_counter_of_heads_that_ends_at_its_last_value_is_followed_by_none() {
    let name = names(HOME, 1).next().unwrap();
    let mut node = Harness::linked(1);
    let client = node.client();
    node.follow(client, 1, &name, subscribed(TOPIC, 1, 0));
    let reports = feeds(node.pass(HEADS_US));
    node.answer(&reports[0], &fed(u64::MAX, Status::Ok, 1, 0));
    let resync = feeds(node.node_says(heads(HOME_INSTANCE, 0, TOPIC), &[]));
    assert_eq!(resync.iter().map(|sent| sent.feed().0).collect::<Vec<_>>(), [true], "it says everything again");
}

#[test]
fn whoever_learns_that_a_topic_is_gone_learns_which_node_was_its_home() {
    let name = names(HOME, 1).next().unwrap();
    // The home restarted without the topic and answers FEED accordingly; or it deleted the topic, and only HEADS
    // revealed it.
    for is_by_feed in [true, false] {
        let mut node = Harness::linked(1);
        let client = node.client();
        node.follow(client, 1, &name, subscribed(TOPIC, 1, 0));
        let reports = feeds(node.pass(HEADS_US));
        let sent = if is_by_feed {
            node.answer(&reports[0], &fed(0, Status::UnknownTopic, 0, 0))
        } else {
            let gone = Head { topic: topic_id(TOPIC), epoch: Epoch(0), next: Offset(0) };
            node.node_says(Heads { count: 1, ..heads(HOME_INSTANCE, 1, TOPIC) }, &[gone])
        };
        assert_eq!(who(&sent, Opcode::Event, Status::UnknownTopic), [(client, 1)]);
        assert_eq!(only(&sent, Opcode::Event)[0].details(), [Detail::Node(HOME)]);
    }
}

#[test]
fn that_an_older_life_is_over_is_no_news_to_those_who_follow_the_new_one() {
    let name = names(HOME, 1).next().unwrap();
    let mut node = Harness::linked(1);
    let (old, new) = (node.client(), node.client());
    node.follow(old, 1, &name, subscribed(TOPIC, 1, 0));
    // The followed epoch is reported; before the answer arrives, a reader follows the new epoch.
    let reports = feeds(node.pass(HEADS_US));
    assert_eq!(reports[0].feed().1[0].epoch, Epoch(1));
    node.follow(new, 2, &name, subscribed(TOPIC, 2, 5));
    let sent = node.answer(&reports[0], &fed(0, Status::Truncated, 2, 3));
    assert_eq!(who(&sent, Opcode::Event, Status::Truncated), []);
    node.node_pushes(HOME, TOPIC, &deliver(TOPIC, 2, 5));
    assert_eq!(node.node.parts.readers.len(), 1);
}

#[test]
fn a_fetch_that_waits_for_another_life_of_a_topic_gets_the_records_of_that_one() {
    let name = names(HOME, 1).next().unwrap();
    for (followed, answered) in [(1, 2), (2, 1)] {
        let mut node = Harness::linked(1);
        let (old, new) = (node.client(), node.client());
        node.follow(old, 1, &name, subscribed(TOPIC, followed, 0));
        let waits = Request::Fetch(Fetch { max_wait_ms: 30_000, ..fetch(&name) });
        let asked = node.ask(new, 3, &waits);
        let sent = node.answer(&asked[0], &Response::Fetched(Box::new(fetched(TOPIC, answered, 4, 0))));
        assert_eq!(who(&sent, Opcode::Event, Status::Truncated), [(old, 1)]);
        assert_eq!(feeds(sent)[0].feed().1[0].epoch, Epoch(answered), "the home is to push that one");
        let sent = node.node_pushes(HOME, TOPIC, &deliver(TOPIC, followed, 4));
        assert_eq!(who(&sent, Opcode::Fetch, Status::Ok), []);
        node.node_pushes(HOME, TOPIC, &deliver(TOPIC, answered, 4));
        let sent = node.settle();
        assert_eq!(who(&sent, Opcode::Fetch, Status::Ok), [(new, 3)]);
        let got = only(&sent, Opcode::Fetch)[0].fetched();
        assert_eq!((got.epoch, got.base), (Epoch(answered), Offset(4)));
    }
}

#[test]
fn records_of_another_life_that_were_fetched_before_are_given_to_nobody() {
    let name = names(HOME, 1).next().unwrap();
    let mut node = Harness::linked(1);
    let (old, new) = (node.client(), node.client());
    let epoch_of = |sent: &Sent| {
        let Request::Fetch(Fetch { epoch, start: Start::Offset(Offset(0)), .. }) = sent.request() else {
            panic!("{sent:?}")
        };
        epoch.unwrap().0
    };
    node.follow(old, 1, &name, subscribed(TOPIC, 1, 1));
    let first = node.settle();
    node.follow(new, 3, &name, subscribed(TOPIC, 2, 1));
    let second = node.settle();
    assert_eq!((epoch_of(&first[0]), epoch_of(&second[0])), (1, 2));
    let mut sent = node.answer(&first[0], &Response::Fetched(Box::new(fetched(TOPIC, 1, 0, 1))));
    sent.extend(node.settle());
    assert_eq!(who(&sent, Opcode::Deliver, Status::Ok), []);
    let sent = node.answer(&second[0], &Response::Fetched(Box::new(fetched(TOPIC, 2, 0, 1))));
    assert_eq!(who(&sent, Opcode::Deliver, Status::Ok), [(new, 3)]);
}

const fn heads(instance: u64, counter: u64, digest: u64) -> Heads {
    Heads { slot: HOME, term: 1, instance, counter, feeds: 1, digest, count: 0 }
}

/// A message from the home.
#[derive(Clone, Copy, Debug)]
enum Said {
    /// The response to a FEED, with its counter.
    Fed(u64),
    /// HEADS, with their counter.
    Heads(u64),
    /// HEADS of another instance of the home.
    Restarted(u64),
    /// HEADS with a digest that differs from that of the followed topics.
    Disagrees(u64),
}

#[test]
fn heads_are_counted_from_the_answer_to_a_feed_on_and_a_hole_makes_the_ingress_say_everything_again() {
    use Said::{Disagrees, Fed, Heads, Restarted};
    let cases: [(&[Said], u64); 16] = [
        (&[Heads(5), Heads(9)], 0),
        (&[Heads(5), Restarted(6)], 0),
        (&[Fed(9), Heads(10), Heads(11)], 0),
        (&[Fed(9), Heads(11)], 1),
        (&[Fed(9), Heads(9)], 1),
        (&[Heads(5), Fed(9), Heads(10)], 0),
        (&[Heads(5), Fed(9), Heads(11)], 1),
        (&[Heads(10), Fed(9), Heads(10)], 0),
        (&[Fed(9), Fed(12), Heads(10)], 0),
        (&[Fed(9), Restarted(10)], 1),
        // Counting then starts anew, again from that response.
        (&[Fed(9), Heads(11), Heads(20)], 1),
        (&[Fed(9), Heads(11), Heads(20), Fed(20), Heads(21)], 1),
        (&[Fed(9), Heads(11), Heads(20), Fed(20), Heads(22)], 2),
        // A report in flight is not a mismatch; a lasting difference is.
        (&[Fed(9), Disagrees(10), Heads(11), Disagrees(12)], 0),
        (&[Fed(9), Disagrees(10), Disagrees(11)], 1),
        (&[Disagrees(10), Disagrees(20)], 1),
    ];
    let name = names(HOME, 1).next().unwrap();
    for (said, expected) in cases {
        let mut node = Harness::linked(1);
        let client = node.client();
        node.follow(client, 1, &name, subscribed(TOPIC, 1, 0));
        let mut reports = feeds(node.pass(HEADS_US));
        let mut resets = 0;
        for what in said {
            let sent = match *what {
                Fed(counter) => node.answer(reports.last().unwrap(), &fed(counter, Status::Ok, 1, 0)),
                Heads(counter) => node.node_says(heads(HOME_INSTANCE, counter, TOPIC), &[]),
                Restarted(counter) => node.node_says(heads(HOME_INSTANCE + 1, counter, TOPIC), &[]),
                Disagrees(counter) => node.node_says(heads(HOME_INSTANCE, counter, TOPIC + 1), &[]),
            };
            let again = feeds(sent);
            assert!(again.iter().all(|sent| sent.feed().0), "unasked, only everything is said");
            resets += again.len() as u64;
            reports.extend(again);
        }
        assert_eq!((resets, node.node.stats.resyncs), (expected, expected), "{said:?}");
    }
}

#[test]
fn a_home_that_is_silent_is_told_everything_in_parts_and_only_the_first_makes_it_forget() {
    let mut node = Harness::linked(1);
    let client = node.client();
    let topics = 2 * FEED_ITEMS_MAX + 1;
    for (name, id) in names(HOME, 1).take(topics).zip(1..) {
        node.follow(client, id, &name, subscribed(id, 1, 0));
    }
    let sent = node.pass((HEADS_MISSING_MAX + 2) * HEADS_US);
    let reports = feeds(sent);
    let first = reports.iter().position(|sent| sent.feed().0).expect("after three seconds of silence");
    assert_eq!(reports.iter().filter(|sent| sent.feed().0).count(), 1);
    let parts = &reports[first..first + 3];
    let shape: Vec<(u64, usize)> = parts.iter().map(|sent| (sent.id() - parts[0].id(), sent.feed().1.len())).collect();
    assert_eq!(shape, [(0, FEED_ITEMS_MAX), (1, FEED_ITEMS_MAX), (2, 1)]);
    let named: BTreeSet<u64> = parts.iter().flat_map(|sent| sent.feed().1).map(|item| item.topic.number()).collect();
    assert_eq!(named, (1..=topics as u64).collect());
}

#[test]
fn what_changed_is_told_each_second_until_the_home_confirms_that_very_feed() {
    let name = names(HOME, 1).next().unwrap();
    let mut node = Harness::linked(1);
    let client = node.client();
    node.follow(client, 1, &name, subscribed(TOPIC, 1, 0));
    let first = feeds(node.pass(HEADS_US));
    assert_eq!(first.len(), 1);
    node.node_says(heads(HOME_INSTANCE, 1, TOPIC), &[]); // else it would be asked for a sign of life
    assert_eq!(feeds(node.pass(FEED_AGAIN_US)).len(), 0);
    let second = feeds(node.pass(HEADS_US - FEED_AGAIN_US));
    assert_eq!(second.len(), 1);
    node.answer(&first[0], &fed(0, Status::Ok, 1, 0));
    let third = feeds(node.pass(HEADS_US));
    assert_eq!(third.len(), 1, "the answer to an earlier one confirms nothing");
    node.answer(&third[0], &fed(0, Status::Ok, 1, 0));
    node.node_says(heads(HOME_INSTANCE, 1, TOPIC), &[]);
    assert_eq!(feeds(node.pass(OUTAGE_ASK_US - TICK_US)).len(), 0);
    node.follow(client, 2, &name, subscribed(TOPIC, 1, 0));
    let changed = feeds(node.pass(HEADS_US));
    assert_eq!(changed.iter().map(|sent| sent.feed().1[0].subscribers).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_home_that_believes_what_nobody_wants_is_told_so() {
    let mut node = Harness::linked(1);
    node.client();
    for (counter, expected) in [(1, 0), (2, 1), (3, 0), (4, 1)] {
        let reports = feeds(node.node_says(heads(HOME_INSTANCE, counter, TOPIC), &[]));
        assert_eq!(reports.len(), expected, "HEADS {counter}");
        assert!(reports.iter().all(|sent| sent.feed() == (true, vec![])));
    }
}

#[test]
fn so_many_topics_that_were_pushed_in_vain_are_noted_and_the_rest_when_they_come_again() {
    let mut node = Harness::linked(1);
    let most = STRAYS_MAX as u64;
    for (pushed, noted) in [(1..=most + 1, 1..=most), (most + 1..=most + 1, most + 1..=most + 1)] {
        // A push names no slot, so only HEADS say which home believes that the topic is read here.
        pushed.clone().for_each(|id| assert_eq!(node.node_pushes(HOME, id, &deliver(id, 1, 0)).len(), 0));
        assert_eq!(feeds(node.pass(3 * HEADS_US)).len(), 0);
        let items: Vec<Head> =
            pushed.map(|id| Head { topic: topic_id(id), epoch: Epoch(1), next: Offset(1) }).collect();
        let heads = Heads { count: u16::try_from(items.len()).unwrap(), ..heads(HOME_INSTANCE, 1, TOPIC) };
        node.node_says(heads, &items);
        assert_eq!(feeds(node.pass(HEADS_US / 2)).len(), 0, "a subscription may be on its way");
        let reports = feeds(node.pass(2 * HEADS_US));
        let items: Vec<(u64, u32)> =
            reports.iter().flat_map(|sent| sent.feed().1).map(|item| (item.topic.number(), item.subscribers)).collect();
        assert_eq!(items, noted.map(|id| (id, 0)).collect::<Vec<_>>());
        assert!(reports.iter().all(|sent| sent.feed_slot() == HOME));
    }
}

#[test]
fn answers_and_heads_are_about_the_slot_in_them_if_their_source_keeps_its_topics() {
    // The slot, the source, the status of the answer to HEADS about it, and whether they end the topic.
    for (slot, source, status, is_of_home) in [
        (HOME, HOME, Status::Ok, true),
        (HOME, 3, Status::BadRequest, false),
        (2, 2, Status::Ok, false),
        (0, 3, Status::BadRequest, false),
        (4, 3, Status::BadRequest, false),
        (u16::MAX, 3, Status::BadRequest, false),
    ] {
        for is_by_feed in [true, false] {
            let mut node = Harness::linked(2);
            let client = node.client();
            let name = names(HOME, 2).next().unwrap();
            node.follow(client, 1, &name, subscribed(TOPIC, 1, 0));
            let reports = feeds(node.pass(HEADS_US));
            assert_eq!(reports.iter().map(Sent::feed_slot).collect::<Vec<_>>(), [HOME]);
            // The topic is gone at its home.
            if is_by_feed {
                let Response::Fed(list) = fed(0, Status::UnknownTopic, 0, 0) else { panic!() };
                let answer = Response::Fed(FedList { slot, ..list });
                let sent = node.node_responds_to(source, &reports[0], &answer);
                assert_eq!(!who(&sent, Opcode::Event, Status::UnknownTopic).is_empty(), is_of_home, "{slot}");
            } else {
                let gone = Head { topic: topic_id(TOPIC), epoch: Epoch(0), next: Offset(0) };
                let mut payload = Vec::new();
                gone.encode(&mut Writer::new(&mut payload));
                let request = Request::Heads(Heads { slot, count: 1, ..heads(HOME_INSTANCE, 1, TOPIC) });
                let sent = node.node_asks(source, 0, &request, &payload);
                assert_eq!(!who(&sent, Opcode::Event, Status::UnknownTopic).is_empty(), is_of_home, "{slot}");
                assert_eq!(only(&sent, Opcode::Heads)[0].status(), status, "{slot}");
            }
        }
    }
}

#[test]
fn a_request_with_the_id_of_an_unanswered_subscribe_takes_nothing_from_it() {
    let mut there = names(HOME, 1);
    let (name, another, here) = (there.next().unwrap(), there.next().unwrap(), names(0, 1).next().unwrap());
    let others = [
        Request::Ping { node: ANY_NODE, token: 1 },
        Request::Ping { node: HOME, token: 1 },
        Request::Ping { node: 99, token: 1 },
        Request::Fetch(fetch(&here)),
        subscribe(&another),
    ];
    for other in others {
        let mut node = Harness::linked(1);
        let client = node.client();
        let asked = node.ask(client, 5, &subscribe(&name));
        for also in node.ask(client, 5, &other).iter().filter(|sent| !sent.is_response()) {
            node.answer(also, &refusal(Status::Overloaded));
        }
        let answer = node.answer_to(client, 5, &subscribe(&another));
        assert_eq!(answer.status(), Status::BadRequest.number(), "it is unanswered still, after {other:?}");
        node.answer(&asked[0], &Response::Subscribed(subscribed(TOPIC, 1, 0)));
        let sent = node.node_pushes(HOME, TOPIC, &deliver(TOPIC, 1, 0));
        assert_eq!(who(&sent, Opcode::Deliver, Status::Ok), [(client, 5)], "after {other:?}");
    }
}

#[test]
fn a_fetch_that_does_not_wait_takes_nothing_from_a_subscribe_with_its_id() {
    let name = names(HOME, 1).next().unwrap();
    let mut node = Harness::linked(1);
    let client = node.client();
    let asked = node.ask(client, 5, &subscribe(&name));
    let fetches = node.ask(client, 5, &Request::Fetch(fetch(&name)));
    let sent = node.answer(&fetches[0], &Response::Fetched(Box::new(fetched(TOPIC, 1, 0, 0))));
    assert_eq!(who(&sent, Opcode::Fetch, Status::Ok), [(client, 5)]);
    node.answer(&asked[0], &Response::Subscribed(subscribed(TOPIC, 1, 0)));
    let sent = node.node_pushes(HOME, TOPIC, &deliver(TOPIC, 1, 0));
    assert_eq!(who(&sent, Opcode::Deliver, Status::Ok), [(client, 5)]);
}

#[test]
fn a_subscribe_whose_client_went_or_whose_answer_did_not_come_leaves_nothing_behind() {
    let name = names(HOME, 1).next().unwrap();
    for is_gone in [true, false] {
        let mut node = Harness::linked(1);
        let client = node.client();
        let asked = node.ask(client, 5, &subscribe(&name));
        if is_gone {
            node.lose(client);
        } else {
            let sent = node.pass(REQUEST_TIMEOUT_US);
            assert_eq!(who(&sent, Opcode::Subscribe, Status::OutcomeUnknown), [(client, 5)]);
        }
        let sent = node.answer(&asked[0], &Response::Subscribed(subscribed(TOPIC, 1, 0)));
        // The home has pushed since its response: FEED corrects it at once, or once HEADS list the topic.
        let reports = if is_gone {
            sent
        } else {
            node.node_pushes(HOME, TOPIC, &deliver(TOPIC, 1, 0));
            let pushed = Head { topic: topic_id(TOPIC), epoch: Epoch(1), next: Offset(1) };
            node.node_says(Heads { count: 1, ..heads(HOME_INSTANCE, 1, TOPIC) }, &[pushed]);
            node.pass(2 * HEADS_US)
        };
        let items: Vec<u32> = feeds(reports).iter().map(|sent| sent.feed().1[0].subscribers).collect();
        assert_eq!(items, [0]);
        assert_eq!((node.node.parts.readers.len(), node.node.parts.readers.pending()), (0, 0));
        assert_eq!(node.node.parts.readers.followed().0, 0);
    }
}

#[test]
fn a_home_is_asked_not_to_push_while_all_readers_are_far_behind_and_to_push_when_one_has_caught_up() {
    let name = names(HOME, 1).next().unwrap();
    let mut node = Harness::linked(1);
    let client = node.client();
    let Request::Subscribe(most) = subscribe(&name) else { panic!("a SUBSCRIBE") };
    let asked = node.ask(client, 1, &Request::Subscribe(Subscribe { limit: 0, ..most }));
    node.answer(&asked[0], &Response::Subscribed(subscribed(TOPIC, 1, 0)));
    let large = |base: u64| {
        let payload = Payload { parts: vec![records(1, 60_000).into()], crc: None };
        Push::Deliver(Box::new(Fetched { payload, ..fetched(TOPIC, 1, base, 1) }))
    };
    let (mut reports, mut pushed) = (Vec::new(), 0);
    while reports.is_empty() {
        reports = feeds(node.node_pushes(HOME, TOPIC, &large(pushed)));
        pushed += 1;
        let kept = node.node.parts.readers.tails_bytes();
        assert_eq!(kept > 0, reports.is_empty(), "kept while it is pushed");
        assert!(kept <= TAIL_BYTES_MAX);
        assert!(usize::try_from(pushed).unwrap() <= TAIL_BYTES_MAX / 60_000 + 1, "it does not want them for ever");
    }
    let item = reports[0].feed().1[0];
    assert_eq!((item.push, item.subscribers, item.slowest), (false, 1, Some(Offset(0))));
    // A push that was in transit is not kept either.
    assert_eq!(node.node_pushes(HOME, TOPIC, &large(pushed)).len(), 0);
    assert_eq!(node.node.parts.readers.tails_bytes(), 0);
    node.ask(client, 1, &Request::Credit { limit: u64::MAX });
    let pulls = node.settle();
    let records = Fetched { next: Offset(pushed + 1), ..fetched(TOPIC, 1, 0, u32::try_from(pushed + 1).unwrap()) };
    let sent = node.answer(&pulls[0], &Response::Fetched(Box::new(records)));
    assert_eq!(who(&sent, Opcode::Deliver, Status::Ok), [(client, 1)]);
    let reports = feeds(node.settle());
    let items: Vec<(bool, Option<Offset>)> =
        reports.iter().flat_map(|sent| sent.feed().1).map(|item| (item.push, item.slowest)).collect();
    assert_eq!(items, [(true, None)]);
}

#[test]
fn a_reader_that_takes_a_push_after_the_home_was_asked_not_to_push_has_caught_up() {
    let name = names(HOME, 1).next().unwrap();
    let mut node = Harness::linked(1);
    let client = node.client();
    let Request::Subscribe(most) = subscribe(&name) else { panic!("a SUBSCRIBE") };
    let asked = node.ask(client, 1, &Request::Subscribe(Subscribe { limit: 0, ..most }));
    node.answer(&asked[0], &Response::Subscribed(subscribed(TOPIC, 1, 0)));
    let payload = Payload { parts: vec![records(1, 60_000).into()], crc: None };
    let large = |base| Push::Deliver(Box::new(Fetched { payload: payload.clone(), ..fetched(TOPIC, 1, base, 1) }));
    let mut head = 0;
    while feeds(node.node_pushes(HOME, TOPIC, &large(head))).is_empty() {
        head += 1;
    }
    head += 1;
    // The reader's credit ends exactly where the log does.
    let rest = fetched(TOPIC, 1, 0, u32::try_from(head).unwrap());
    let limit = rest.payload.len() as u64;
    node.ask(client, 1, &Request::Credit { limit });
    let pulls = node.settle();
    let sent = node.answer(&pulls[0], &Response::Fetched(Box::new(rest)));
    assert_eq!(who(&sent, Opcode::Deliver, Status::Ok), [(client, 1)]);
    assert_eq!(feeds(node.settle()).len(), 0, "without credit it wants no pushes");
    // Pushes that were on their way arrive.
    assert_eq!(node.node_pushes(HOME, TOPIC, &large(head)).len(), 0);
    node.ask(client, 1, &Request::Credit { limit: u64::MAX });
    let sent = node.node_pushes(HOME, TOPIC, &deliver(TOPIC, 1, head));
    assert_eq!(who(&sent, Opcode::Deliver, Status::Ok), [(client, 1)]);
    let items: Vec<(bool, Option<Offset>)> =
        feeds(sent).iter().flat_map(|sent| sent.feed().1).map(|item| (item.push, item.slowest)).collect();
    assert_eq!(items, [(true, None)], "at once");
}

#[test]
fn pushes_of_another_epoch_or_topic_reach_nobody_and_lead_to_one_report() {
    let name = names(HOME, 1).next().unwrap();
    for push in [deliver(TOPIC, 2, 0), deliver(TOPIC + 1, 1, 0)] {
        let mut node = Harness::linked(1);
        let client = node.client();
        node.follow(client, 1, &name, subscribed(TOPIC, 1, 0));
        node.settle();
        for _ in 0..2 {
            let sent = node.node_pushes(HOME, TOPIC, &push);
            let reports = feeds(sent);
            assert_eq!(reports.len(), 1, "{push:?}");
            let sent = node.node_pushes(HOME, TOPIC, &push);
            assert_eq!(sent.len(), 0, "the answer will say which epoch there is");
            node.answer(&reports[0], &fed(0, Status::Ok, 1, 0));
        }
        let sent = node.node_pushes(HOME, TOPIC, &deliver(TOPIC, 1, 0));
        assert_eq!(who(&sent, Opcode::Deliver, Status::Ok), [(client, 1)]);
    }
}

#[test]
fn a_reader_that_is_behind_gets_no_more_of_a_kept_push_than_it_has_credit_for() {
    let name = names(HOME, 1).next().unwrap();
    let pushed = fetched(TOPIC, 1, 0, 3);
    let whole = pushed.payload.len() as u64;
    for (credit, expected) in [(whole, vec![3]), (whole / 3 * 2, vec![2]), (whole / 3, vec![1])] {
        let mut node = Harness::linked(1);
        let client = node.client();
        let Request::Subscribe(most) = subscribe(&name) else { panic!("a SUBSCRIBE") };
        let asked = node.ask(client, 1, &Request::Subscribe(Subscribe { limit: 0, ..most }));
        node.answer(&asked[0], &Response::Subscribed(subscribed(TOPIC, 1, 0)));
        node.node_pushes(HOME, TOPIC, &Push::Deliver(Box::new(pushed.clone())));
        node.ask(client, 1, &Request::Credit { limit: credit });
        let sent = node.settle();
        let counts: Vec<u32> = only(&sent, Opcode::Deliver).iter().map(|sent| sent.delivered().count).collect();
        assert_eq!(counts, expected, "a credit of {credit} for {whole} bytes");
    }
}

#[test]
fn a_reader_that_missed_a_push_asks_for_the_records_as_soon_as_the_next_one_reveals_the_gap() {
    let name = names(HOME, 1).next().unwrap();
    let mut node = Harness::linked(1);
    let client = node.client();
    node.follow(client, 1, &name, subscribed(TOPIC, 1, 0));
    assert_eq!(node.settle().len(), 0);
    assert_eq!(node.node_pushes(HOME, TOPIC, &deliver(TOPIC, 1, 1)).len(), 0);
    let pulls = node.settle();
    let sent = node.answer(only(&pulls, Opcode::Fetch)[0], &Response::Fetched(Box::new(fetched(TOPIC, 1, 0, 1))));
    assert_eq!(only(&sent, Opcode::Deliver)[0].delivered().base, Offset(0));
    assert_eq!(only(&node.settle(), Opcode::Deliver)[0].delivered().base, Offset(1), "it was kept meanwhile");
}
