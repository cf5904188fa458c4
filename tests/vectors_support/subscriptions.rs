//! The frames of `good.txt` that a subscriber sends and gets.

use bytes::Bytes;
use dht_node::types::{Epoch, Offset, RequestId, TopicId};
use dht_node::wire::request::{Start, Subscribe};
use dht_node::wire::response::{Detail, ErrorResponse, Fetched, Payload, Run, Subscribed};
use dht_node::wire::{Flags, Opcode, Push, Request, Response, Status};

use super::frames::{NOW, ORDERS, because, error, request, response, state, topic, two_records};
use super::good::{Content, Good};

/// The request id of the SUBSCRIBE, which names the subscription.
pub(crate) const SUBSCRIPTION: u64 = 50;

pub(crate) fn all() -> Vec<Good> {
    let groups = [subscribe(), subscribe_errors(), unsubscribe(), credit(), deliver(), events()];
    groups.into_iter().flatten().collect()
}

/// The SUBSCRIBE of the others.
pub(crate) fn subscription() -> Subscribe<'static> {
    let start = Start::Offset(Offset(1234));
    Subscribe { topic: topic("orders", ORDERS), epoch: Some(Epoch(1)), start, limit: 65_536 }
}

fn subscribe() -> Vec<Good> {
    let make = |name, what, subscribe| request(name, what, SUBSCRIPTION, Request::Subscribe(subscribe));
    let any = Subscribe { topic: topic("orders", 0), epoch: None, start: Start::Next, limit: 1 << 20 };
    let subscribed = Subscribed {
        topic_id: state().id,
        epoch: Epoch(1),
        from: Offset(1234),
        first: Offset(1000),
        next: Offset(1236),
    };
    let answer = |name, what, subscribed| {
        response(name, what, SUBSCRIPTION, Opcode::Subscribe, Response::Subscribed(subscribed))
    };
    vec![
        make("subscribe-request", "From 1234 on, of that very topic and epoch; 64 KiB may be sent.", subscription()),
        answer("subscribe-response", "1234 comes next; the topic has 1000 to 1235.", subscribed),
        answer(
            "subscribe-response-removed",
            "7 would come next, but retention has removed it: a gap EVENT follows.",
            Subscribed { from: Offset(7), ..subscribed },
        ),
        make("subscribe-request-next", "What comes from now on.", any),
        make("subscribe-request-earliest", "Everything.", Subscribe { start: Start::Earliest, ..any }),
        make("subscribe-request-time", "What came in 2026.", Subscribe { start: Start::Time(NOW), ..any }),
        make("subscribe-request-no-credit", "Nothing may be sent yet.", Subscribe { limit: 0, ..any }),
        make("subscribe-request-no-bound", "As much as there is.", Subscribe { limit: u64::MAX, ..any }),
    ]
}

fn subscribe_errors() -> Vec<Good> {
    let error = |name, what, status, message, details: &[Detail]| {
        error(name, what, SUBSCRIPTION, Opcode::Subscribe, because(status, message, details))
    };
    let kept = [Detail::Earliest(Offset(1000)), Detail::Next(Offset(1236))];
    vec![
        error("subscribe-error-quota", "As many as a connection may have.", Status::Quota, "", &[Detail::Limit(4096)]),
        error("subscribe-error-twice", "There is one of that id.", Status::BadRequest, "50 is a subscription", &[]),
        error("subscribe-error-range", "From behind the end.", Status::OffsetOutOfRange, "", &kept),
        error("subscribe-error-recreated", "The topic was made again.", Status::Recreated, "", &[another()]),
        error("subscribe-error-truncated", "Records were lost.", Status::Truncated, "epoch 1 has ended", &lost()),
    ]
}

/// The topic that has the name now.
fn another() -> Detail {
    Detail::TopicId(TopicId::new(2).expect("not 0"))
}

/// Where the log lost its end.
fn lost() -> [Detail; 2] {
    [Detail::Next(Offset(1200)), Detail::Epoch(Epoch(2))]
}

fn unsubscribe() -> Vec<Good> {
    let subscription = RequestId(SUBSCRIPTION);
    vec![
        request("unsubscribe-request", "Nothing more of 50.", 51, Request::Unsubscribe { subscription }),
        response(
            "unsubscribe-response",
            "1237 would have come next.",
            51,
            Opcode::Unsubscribe,
            Response::Unsubscribed { next: Offset(1237) },
        ),
        error(
            "unsubscribe-error",
            "There is none, or not any more.",
            51,
            Opcode::Unsubscribe,
            because(Status::UnknownSubscription, "there is no subscription 50", &[]),
        ),
    ]
}

fn credit() -> Vec<Good> {
    let credit = |name, what, limit| {
        let request = request(name, what, SUBSCRIPTION, Request::Credit { limit });
        Good { flags: Flags::ONEWAY, ..request }
    };
    vec![
        credit("credit-request", "24 bytes were consumed, 64 KiB more may come.", 65_560),
        credit("credit-request-no-bound", "As much as there is.", u64::MAX),
        error(
            "credit-error",
            "It lacked the flag ONEWAY.",
            SUBSCRIPTION,
            Opcode::Credit,
            because(Status::BadRequest, "CREDIT has no answer", &[]),
        ),
    ]
}

/// The two records at 1234 as a subscriber gets them.
pub(crate) fn records() -> Fetched {
    Fetched {
        topic_id: state().id,
        epoch: Epoch(1),
        from: Offset(1234),
        base: Offset(1234),
        count: 2,
        first: Offset(1000),
        next: Offset(1236),
        runs: vec![Run { count: 2, append_us: NOW }],
        payload: Payload { parts: vec![Bytes::from(two_records())], crc: None },
    }
}

pub(crate) fn push(name: &'static str, what: &'static str, id: u64, push: Push) -> Good {
    let (opcode, content) = (push.opcode(), Content::Push(push));
    Good { name, what, id, opcode, flags: Flags::ONEWAY, route: None, content }
}

fn deliver() -> Vec<Good> {
    let deliver = |name, what, records| push(name, what, SUBSCRIPTION, Push::Deliver(Box::new(records)));
    let later = Fetched {
        from: Offset(1236),
        base: Offset(1236),
        count: 1,
        next: Offset(1240),
        runs: vec![Run { count: 1, append_us: NOW + 1500 }],
        payload: Payload { parts: vec![Bytes::from_static(b"\0\0\0\x06\0again")], crc: None },
        ..records()
    };
    vec![
        deliver("deliver", "The records 1234 and 1235: 24 bytes against the credit.", records()),
        deliver("deliver-next", "1236 follows them; three more are there.", later),
    ]
}

fn events() -> Vec<Good> {
    let gap = Push::Gap { from: Offset(1237), to: Offset(1300) };
    let waiting = |reason: Status| Push::Waiting { node: 6, reason: reason.number() };
    let ended = |name, what, status, message, details: &[Detail]| {
        let error = ErrorResponse { retry_after_ms: 0, ..because(status, message, details) };
        push(name, what, SUBSCRIPTION, Push::Ended(Box::new(error)))
    };
    let gone = "orders was deleted";
    vec![
        push("event-gap", "Retention removed 1237 to 1299; 1300 comes next.", SUBSCRIPTION, gap),
        push("event-waiting", "No path to node 110.", SUBSCRIPTION, waiting(Status::Unreachable)),
        push("event-waiting-silent", "Node 110 does not answer.", SUBSCRIPTION, waiting(Status::OutcomeUnknown)),
        push("event-flowing", "Node 110 is back: records come again.", SUBSCRIPTION, Push::Flowing { node: 6 }),
        ended("event-unknown-topic", "The topic is gone.", Status::UnknownTopic, gone, &[Detail::Node(6)]),
        ended("event-recreated", "It is gone, and another has its name.", Status::Recreated, "", &[another()]),
        ended("event-truncated", "The log lost records at its end.", Status::Truncated, "", &lost()),
        ended(
            "event-too-large",
            "The next record needs a frame of 70000 bytes.",
            Status::TooLarge,
            "",
            &[Detail::Limit(70_000)],
        ),
    ]
}
