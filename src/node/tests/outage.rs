//! The notices to subscribers when the home of their topic is unreachable. The home is number 1.

use super::harness::{Harness, fetched, names, refusal, subscribe, subscribed};
use super::sent::{Sent, only};
use crate::limits::{
    HEADS_US, OUTAGE_ASK_US, OUTAGE_NOTIFIED_US, OUTAGE_PROBE_US, OUTAGE_SILENT_US, PULL_AGAIN_US, TICK_US,
};
use crate::node::Event;
use crate::types::{ConnId, Epoch, Offset, Retention};
use crate::wire::feed::{Fed, FedList, Heads};
use crate::wire::response::Fetched;
use crate::wire::{Hello, Opcode, Push, Response, Status};

const HOME: u16 = 1;
const TOPIC: u64 = 9;

/// Longer than the time from a home's last sign of life until its subscribers are notified.
const LONG_US: u64 = OUTAGE_ASK_US + OUTAGE_NOTIFIED_US + 2 * TICK_US;

/// Returns the home's response to a FEED about topics.
fn fed(asked: &Sent, status: Status) -> Response {
    let items = asked.feed().1.into_iter().map(|item| Fed {
        topic: item.topic,
        status: status.number(),
        epoch: if status == Status::Ok { item.epoch } else { Epoch(0) },
        next: Offset(0),
        successor: None,
    });
    Response::Fed(FedList { slot: asked.feed_slot(), term: 1, instance: 77, counter: 0, items: items.collect() })
}

fn feeds(sent: &[Sent]) -> Vec<&Sent> {
    sent.iter().filter(|sent| sent.opcode() == Opcode::Feed && !sent.is_response()).collect()
}

/// Returns the notices to a client, in one word each: its subscription waits, flows again or has ended.
fn notices(sent: &[Sent], conn: ConnId) -> Vec<String> {
    let of_it = only(sent, Opcode::Event).into_iter().filter(|sent| sent.conn == conn);
    of_it
        .map(|sent| match sent.push() {
            Push::Waiting { node: HOME, reason } => {
                format!("{} waits: {}", sent.id(), Status::from_number(reason).unwrap().name())
            }
            Push::Flowing { node: HOME } => format!("{} flows", sent.id()),
            Push::Ended(error) => format!("{} ended: {}", sent.id(), error.name()),
            push @ (Push::Deliver(_) | Push::Gap { .. } | Push::Waiting { .. } | Push::Flowing { .. }) => {
                panic!("{push:?}")
            }
        })
        .collect()
}

/// Returns a node whose neighbour is the home, and a client that understands notices and follows a topic there, which
/// the home has confirmed.
fn following() -> (Harness, ConnId) {
    let mut node = Harness::linked(1);
    let client = node.client_with(Hello::NOTICES);
    follow(&mut node, client, 1);
    (node, client)
}

fn follow(node: &mut Harness, client: ConnId, id: u64) {
    let name = names(HOME, 1).next().unwrap();
    let sent = node.follow(client, id, &name, subscribed(TOPIC, 1, 0));
    assert_eq!(notices(&sent, client), [""; 0]);
    let sent = node.pass(HEADS_US);
    for asked in feeds(&sent) {
        node.answer(asked, &fed(asked, Status::Ok));
    }
}

/// Answers the FEEDs among these, and those that follow from the answers; returns what was sent because of that.
fn confirm(node: &mut Harness, sent: &[Sent], status: Status) -> Vec<Sent> {
    let mut all = Vec::new();
    for asked in feeds(sent) {
        let answered = node.answer(asked, &fed(asked, status));
        all.extend(confirm(node, &answered, status));
        all.extend(answered);
    }
    all.extend(node.settle());
    all
}

#[test]
fn who_asked_for_notices_is_told_of_an_outage_once_and_of_its_end_once() {
    let (mut node, client) = following();
    let plain = node.client();
    follow(&mut node, plain, 5);
    for outage in 0..2 {
        node.link_down();
        let sent = node.pass(LONG_US);
        assert_eq!(notices(&sent, client), ["1 waits: UNREACHABLE"], "{outage}");
        assert_eq!(notices(&node.pass(10 * HEADS_US), client), [""; 0], "{outage}");
        node.link_up();
        let sent = node.pass(OUTAGE_PROBE_US + TICK_US);
        assert_eq!(notices(&sent, client), [""; 0], "the home has not said anything");
        let sent = confirm(&mut node, &sent, Status::Ok);
        assert_eq!(notices(&sent, client), ["1 flows"], "{outage}");
        let sent = node.node_pushes(HOME, TOPIC, &Push::Deliver(Box::new(fetched(TOPIC, 1, outage, 1))));
        let who: Vec<ConnId> = only(&sent, Opcode::Deliver).iter().map(|sent| sent.conn).collect();
        assert_eq!(who, [client, plain]);
        assert_eq!(notices(&sent, plain), [""; 0]);
    }
    assert_eq!(node.node.stats.outages, 2);
}

#[test]
fn a_node_on_the_way_that_knows_no_path_is_believed_unless_the_home_is_heard_again() {
    for is_heard in [false, true] {
        let (mut node, client) = following();
        node.pass(HEADS_US / 2);
        let sent = node.pass(OUTAGE_ASK_US);
        let asked = feeds(&sent);
        assert!(!asked.is_empty(), "a silent home is asked");
        node.answer(asked.last().unwrap(), &refusal(Status::Unreachable));
        if is_heard {
            node.node_says(
                Heads { slot: HOME, term: 1, instance: 77, counter: 1, feeds: 1, digest: TOPIC, count: 0 },
                &[],
            );
        }
        let sent = node.pass(OUTAGE_NOTIFIED_US + TICK_US);
        assert_eq!(notices(&sent, client).len(), usize::from(!is_heard));
    }
}

#[test]
fn a_home_from_which_nothing_comes_at_all_is_told_as_one_that_does_not_answer() {
    let (mut node, client) = following();
    assert_eq!(notices(&node.pass(OUTAGE_SILENT_US - 2 * TICK_US), client), [""; 0]);
    let sent = node.pass(2 * TICK_US);
    assert_eq!(notices(&sent, client), ["1 waits: OUTCOME_UNKNOWN"]);
    // Learning that there is no path does not start another outage.
    node.link_down();
    assert_eq!(notices(&node.pass(10 * HEADS_US), client), [""; 0]);
}

#[test]
fn a_topic_that_its_home_comes_back_without_has_ended_and_does_not_flow() {
    let (mut node, client) = following();
    node.link_down();
    assert_eq!(notices(&node.pass(LONG_US), client).len(), 1);
    node.link_up();
    let sent = node.pass(OUTAGE_PROBE_US + TICK_US);
    let sent = confirm(&mut node, &sent, Status::UnknownTopic);
    assert_eq!(notices(&sent, client), ["1 ended: UNKNOWN_TOPIC"]);
}

#[test]
fn who_does_not_read_is_told_what_holds_when_it_does() {
    let (mut node, client) = following();
    node.handle(Event::Filled { conn: client });
    node.link_down();
    assert_eq!(notices(&node.pass(LONG_US), client), [""; 0]);
    node.handle(Event::Drained { conn: client });
    assert_eq!(notices(&node.settle(), client), ["1 waits: UNREACHABLE"]);
    node.handle(Event::Filled { conn: client });
    node.link_up();
    let sent = node.pass(OUTAGE_PROBE_US + TICK_US);
    assert_eq!(notices(&confirm(&mut node, &sent, Status::Ok), client), [""; 0]);
    // Records arrive after the notice.
    let sent = node.node_pushes(HOME, TOPIC, &Push::Deliver(Box::new(fetched(TOPIC, 1, 0, 1))));
    assert_eq!(only(&sent, Opcode::Deliver).len(), 0);
    node.handle(Event::Drained { conn: client });
    let sent = node.settle();
    assert_eq!(notices(&sent, client), ["1 flows"]);
    let order: Vec<Opcode> = sent.iter().filter(|sent| sent.conn == client).map(Sent::opcode).collect();
    assert_eq!(order, [Opcode::Event, Opcode::Deliver]);
    // An outage that has begun and ended meanwhile is not reported.
    node.handle(Event::Filled { conn: client });
    node.link_down();
    node.pass(LONG_US);
    node.link_up();
    let sent = node.pass(OUTAGE_PROBE_US + TICK_US);
    confirm(&mut node, &sent, Status::Ok);
    node.handle(Event::Drained { conn: client });
    assert_eq!(notices(&node.settle(), client), [""; 0]);
}

#[test]
fn records_that_a_fetch_brings_after_an_outage_come_after_its_notice() {
    for is_read in [true, false] {
        let (mut node, name) = (Harness::linked(1), names(HOME, 1).next().unwrap());
        let client = node.client_with(Hello::NOTICES);
        node.follow(client, 1, &name, subscribed(TOPIC, 1, 5));
        node.settle();
        node.link_down();
        assert_eq!(notices(&node.pass(LONG_US), client), ["1 waits: UNREACHABLE"]);
        node.link_up();
        let sent = node.pass(PULL_AGAIN_US + TICK_US);
        let [asked] = only(&sent, Opcode::Fetch)[..] else { panic!("one fetch: {sent:?}") };
        let after_gap = Response::Fetched(Box::new(Fetched { from: Offset(0), ..fetched(TOPIC, 1, 2, 3) }));
        if !is_read {
            node.handle(Event::Filled { conn: client });
        }
        let mut sent = node.answer(asked, &after_gap);
        if !is_read {
            sent.extend(node.settle());
            assert!(sent.iter().all(|sent| sent.conn != client), "{sent:?}");
            sent = node.handle(Event::Drained { conn: client });
            sent.extend(node.settle());
            let again = only(&sent, Opcode::Fetch).into_iter().next().expect("the records are fetched again");
            let answered = node.answer(again, &after_gap);
            sent.extend(answered);
        }
        let pushes = sent.iter().filter(|sent| sent.conn == client).map(Sent::push);
        let order: Vec<&str> = pushes
            .map(|push| match push {
                Push::Flowing { .. } => "flows",
                Push::Gap { .. } => "gap",
                Push::Deliver(_) => "records",
                Push::Waiting { .. } | Push::Ended(_) => panic!("{push:?}"),
            })
            .collect();
        assert_eq!(order, ["flows", "gap", "records"], "the client reads: {is_read}");
    }
}

#[test]
fn an_answer_of_the_home_to_another_subscriber_ends_the_outage_for_all() {
    let (mut node, client) = following();
    let other = node.client_with(Hello::NOTICES);
    node.link_down();
    assert_eq!(notices(&node.pass(LONG_US), client).len(), 1);
    node.link_up();
    let name = names(HOME, 1).next().unwrap();
    let mut sent = node.follow(other, 7, &name, subscribed(TOPIC, 1, 0));
    sent.extend(node.settle());
    assert_eq!((notices(&sent, client), notices(&sent, other)), (vec!["1 flows".to_owned()], Vec::new()));
}

#[test]
fn a_stall_of_this_machine_and_a_topic_of_this_node_are_no_outage() {
    let (mut node, client) = following();
    let sent = node.stall(10 * OUTAGE_SILENT_US);
    assert_eq!(notices(&sent, client), [""; 0]);

    let mut alone = Harness::alone();
    let client = alone.client_with(Hello::NOTICES);
    alone.create(client, "t", Retention::default());
    alone.ask(client, 2, &subscribe("t"));
    assert_eq!(notices(&alone.pass(10 * OUTAGE_SILENT_US), client), [""; 0]);
}

#[test]
fn an_outage_of_one_home_asks_for_one_topic_and_its_end_says_all_again() {
    const TOPICS: u64 = 5;
    let mut node = Harness::linked(1);
    let client = node.client_with(Hello::NOTICES);
    for (name, id) in names(HOME, 1).zip(1..=TOPICS) {
        node.follow(client, id, &name, subscribed(id, 1, 0));
    }
    node.pass(HEADS_US);
    let silent = node.pass(OUTAGE_SILENT_US);
    assert_eq!(notices(&silent, client).len(), 5);
    let probes = node.pass(2 * HEADS_US);
    let sizes: Vec<usize> = feeds(&probes).iter().map(|sent| sent.feed().1.len()).collect();
    assert_eq!(sizes, [1; 4], "one topic each half second");
    let mut sent = node.answer(feeds(&probes)[3], &fed(feeds(&probes)[3], Status::Ok));
    sent.extend(node.settle());
    assert_eq!(notices(&sent, client).len(), 1, "the one that was confirmed");
    let all = feeds(&sent);
    assert_eq!((all.len(), all[0].feed().0, all[0].feed().1.len()), (1, true, 5));
    let mut sent = node.answer(all[0], &fed(all[0], Status::Ok));
    sent.extend(node.settle());
    assert_eq!(notices(&sent, client).len(), 4);
}
