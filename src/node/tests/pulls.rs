//! Fetches for readers: the limits on them, and that no reader is forgotten.

use std::collections::{BTreeMap, VecDeque};

use super::harness::{Harness, fetched, names, refusal, subscribe, subscribed};
use super::sent::{Sent, only};
use crate::limits::{PULL_AGAIN_US, PULL_BYTES, PULL_TIMEOUT_US, PULLS_MAX, PULLS_PER_LEADER_MAX, TICK_US};
use crate::types::{ConnId, Offset, RequestId};
use crate::wire::request::{Start, Subscribe};
use crate::wire::{Opcode, Request, Response, Status};

/// A node and a client that is subscribed to topics of other nodes, each with one record that it has not got yet. The
/// subscription and its topic have the same number.
struct Behind {
    node: Harness,
    client: ConnId,
    topics: BTreeMap<String, u64>,
}

impl Behind {
    /// Creates this many topics at each of those homes.
    fn new(dimension: u8, homes: impl Iterator<Item = u16>, per_home: usize) -> Self {
        let mut node = Harness::linked(dimension);
        let client = node.client();
        let topics: BTreeMap<String, u64> =
            homes.flat_map(|home| names(home, dimension).take(per_home)).zip(1..).collect();
        for (name, number) in &topics {
            node.follow(client, *number, name, subscribed(*number, 1, 1));
        }
        Self { node, client, topics }
    }

    fn number_of(&self, asked: &Sent) -> u64 {
        let Request::Fetch(fetch) = asked.request() else { panic!("{asked:?} is no FETCH") };
        assert_eq!(fetch.start, Start::Offset(Offset(0)));
        self.topics[fetch.topic.name.as_str()]
    }

    /// Answers each fetch in turn until there are none. Returns which readers got records, and the largest number of
    /// concurrent fetches.
    fn answer_all(&mut self, sent: Vec<Sent>) -> (Vec<u64>, usize) {
        let (mut asked, mut served, mut most) = (VecDeque::new(), Vec::new(), 0);
        self.sort(sent, &mut asked, &mut served);
        while let Some(next) = asked.pop_front() {
            most = most.max(asked.len() + 1);
            let number = self.number_of(&next);
            let mut sent = self.node.answer(&next, &Response::Fetched(Box::new(fetched(number, 1, 0, 1))));
            sent.extend(self.node.settle());
            self.sort(sent, &mut asked, &mut served);
        }
        served.sort_unstable();
        (served, most)
    }

    fn sort(&self, sent: Vec<Sent>, asked: &mut VecDeque<Sent>, served: &mut Vec<u64>) {
        for sent in sent {
            if sent.opcode() == Opcode::Fetch {
                asked.push_back(sent);
            } else if sent.conn == self.client {
                assert_eq!((sent.opcode(), sent.delivered().count), (Opcode::Deliver, 1));
                served.push(sent.id());
            }
        }
    }

    fn everybody(&self) -> Vec<u64> {
        (1..=self.topics.len() as u64).collect()
    }
}

#[test]
fn so_many_fetches_are_under_way_and_the_next_reader_goes_on_when_one_ends() {
    let per_home = PULLS_PER_LEADER_MAX;
    let cases = [
        // For one home.
        (1, 1, per_home, per_home),
        (1, 1, per_home + 1, per_home),
        (1, 1, 3 * per_home, per_home),
        // For all homes together.
        (3, 7, PULLS_MAX / 7, 7 * (PULLS_MAX / 7)),
        (3, 7, PULLS_MAX / 7 + 2, PULLS_MAX),
    ];
    for (dimension, homes, topics, expected) in cases {
        let mut behind = Behind::new(dimension, 1..=homes, topics);
        let sent = behind.node.settle();
        assert_eq!(only(&sent, Opcode::Fetch).len(), expected);
        let (served, most) = behind.answer_all(sent);
        assert_eq!((served, most), (behind.everybody(), expected), "{topics} topics at each of {homes} homes");
    }
}

#[test]
fn a_home_that_does_not_answer_leaves_room_for_the_others() {
    let mut behind = Behind::new(3, 1..=2, 2 * PULLS_PER_LEADER_MAX);
    let (asked, other) = (behind.node.settle(), behind.topics.len() as u64 / 2);
    let (silent, answering): (Vec<Sent>, Vec<Sent>) =
        asked.into_iter().partition(|sent| sent.route().target.index() == 1);
    assert_eq!((silent.len(), answering.len()), (PULLS_PER_LEADER_MAX, PULLS_PER_LEADER_MAX));
    let (served, most) = behind.answer_all(answering);
    assert_eq!(served.len() as u64, other, "all of the home that answers");
    assert_eq!(most, PULLS_PER_LEADER_MAX);
}

#[test]
fn a_fetch_that_is_not_answered_or_fails_is_made_again_until_it_is() {
    let mut behind = Behind::new(1, 1..=1, PULLS_PER_LEADER_MAX + 4);
    let lost = behind.node.settle();
    assert_eq!(only(&lost, Opcode::Fetch).len(), PULLS_PER_LEADER_MAX);
    assert_eq!(only(&behind.node.pass(PULL_TIMEOUT_US - TICK_US), Opcode::Fetch).len(), 0);
    // Readers that waited come first, then those whose fetch timed out.
    let sent = behind.node.pass(TICK_US);
    let waited: Vec<u64> = only(&sent, Opcode::Fetch).into_iter().map(|sent| behind.number_of(sent)).collect();
    assert_eq!(waited.len(), 4);
    let asked_before: Vec<u64> = lost.iter().map(|sent| behind.number_of(sent)).collect();
    assert!(waited.iter().all(|number| !asked_before.contains(number)));
    for asked in only(&sent, Opcode::Fetch) {
        behind.node.answer(asked, &refusal(Status::Overloaded));
    }
    let sent = behind.node.pass(PULL_AGAIN_US + TICK_US);
    assert_eq!(only(&sent, Opcode::Fetch).len(), PULLS_PER_LEADER_MAX);
    let (served, _) = behind.answer_all(sent);
    assert_eq!(served, behind.everybody());
    // A late response finds its readers served already.
    let late = behind.node.answer(&lost[0], &Response::Fetched(Box::new(fetched(asked_before[0], 1, 0, 1))));
    assert_eq!(late.len(), 0);
}

#[test]
fn a_reader_that_leaves_while_it_waits_holds_nobody_up() {
    // Each case says whether another fetch reuses the slot.
    for is_replaced in [false, true] {
        let mut behind = Behind::new(1, 1..=1, PULLS_PER_LEADER_MAX + 4);
        let sent = behind.node.settle();
        let asked: Vec<u64> = sent.iter().map(|sent| behind.number_of(sent)).collect();
        // They subscribed in the order of their names.
        let leaver = behind.topics.values().copied().find(|number| !asked.contains(number)).unwrap();
        behind.node.ask(behind.client, 1000, &Request::Unsubscribe { subscription: RequestId(leaver) });
        let mut expected = behind.everybody();
        expected.retain(|number| *number != leaver);
        if is_replaced {
            let (name, number) = (names(1, 1).nth(100).unwrap(), 1001);
            behind.node.follow(behind.client, number, &name, subscribed(number, 1, 1));
            behind.topics.insert(name, number);
            expected.push(number);
        }
        let (served, _) = behind.answer_all(sent);
        assert_eq!(served, expected);
    }
}

#[test]
fn readers_at_the_same_record_share_a_fetch_of_no_more_bytes_than_the_limit_or_the_credit() {
    let name = names(1, 1).next().unwrap();
    for (limit, expected) in [(u64::MAX, PULL_BYTES), (u64::from(PULL_BYTES) + 1, PULL_BYTES), (1000, 1000)] {
        let mut node = Harness::linked(1);
        let client = node.client();
        for id in 1..=3 {
            let Request::Subscribe(most) = subscribe(&name) else { panic!("a SUBSCRIBE") };
            let sent = node.ask(client, id, &Request::Subscribe(Subscribe { limit, ..most }));
            node.answer(&sent[0], &Response::Subscribed(subscribed(9, 1, 5)));
        }
        let sent = node.settle();
        let [asked] = &only(&sent, Opcode::Fetch)[..] else { panic!("one fetch for all: {sent:?}") };
        let Request::Fetch(fetch) = asked.request() else { panic!("a FETCH") };
        assert_eq!(fetch.max_bytes, expected, "a credit of {limit}");
        let sent = node.answer(asked, &Response::Fetched(Box::new(fetched(9, 1, 0, 5))));
        assert_eq!(only(&sent, Opcode::Deliver).iter().map(|sent| sent.id()).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
