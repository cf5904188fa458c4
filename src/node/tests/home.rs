//! How a home handles FEED, and what it reports in HEADS. The ingress is number 1.

use std::collections::BTreeSet;

use super::harness::{Harness, SLOT, names, subscribe, topic, topic_id};
use super::sent::{Sent, only};
use crate::limits::{ANNOUNCE_US, FEED_ITEMS_MAX, FRAME_MAX, HEADS_ITEMS_MAX, HEADS_MISSING_MAX, HEADS_US, TICK_US};
use crate::types::{ConnId, Epoch, Offset, Retention, TopicId, TopicName};
use crate::wire::feed::{FeedItem, Head, Heads};
use crate::wire::field::Writer;
use crate::wire::response::Detail;
use crate::wire::{Opcode, Request, Response, Status};

const INGRESS: u16 = 1;

struct Home {
    node: Harness,
    client: ConnId,
    topics: Vec<(TopicId, String)>,
}

impl Home {
    fn new(topics: usize) -> Self {
        let mut node = Harness::linked(1);
        let client = node.client();
        let topics =
            names(0, 1).take(topics).map(|name| (node.create(client, &name, Retention::default()), name)).collect();
        Self { node, client, topics }
    }

    /// Returns an item about one of the topics.
    fn item(&self, index: usize, subscribers: u32) -> FeedItem<'_> {
        let (topic, name) = &self.topics[index];
        let name = Some(TopicName::new(name).unwrap());
        FeedItem { topic: *topic, epoch: Epoch(1), push: true, subscribers, slowest: None, name }
    }

    /// Sends FEED, which must be answered with OK for each item.
    fn feed(&mut self, version: u64, start: (u64, bool), items: &[(usize, u32)]) {
        let topics = self.topics.clone();
        let shown = Self { node: Harness::alone(), client: self.client, topics };
        let items: Vec<FeedItem<'_>> = items.iter().map(|(index, readers)| shown.item(*index, *readers)).collect();
        let list = self.node.node_feeds(version, start, &items);
        assert_eq!(list.items.iter().map(|fed| fed.status).collect::<Vec<_>>(), vec![Status::Ok.number(); items.len()]);
    }

    /// Publishes a record to each topic. Returns the topics that were pushed to the ingress.
    fn publish_to_all(&mut self) -> Vec<usize> {
        let mut pushed = Vec::new();
        for (index, (topic, name)) in self.topics.iter().enumerate() {
            let sent = self.node.publish(self.client, name, 1, 10);
            let delivers = only(&sent, Opcode::Deliver);
            assert!(delivers.len() <= 1 && delivers.iter().all(|sent| sent.delivered().topic_id == *topic));
            pushed.extend(delivers.iter().map(|_| index));
        }
        pushed
    }

    /// Lets a second pass, and returns the HEADS sent in it.
    fn heads(&mut self) -> Vec<Sent> {
        let sent = self.node.pass(HEADS_US);
        sent.into_iter().filter(|sent| sent.opcode() == Opcode::Heads).collect()
    }
}

fn decoded(sent: &Sent) -> (Heads, Vec<Head>) {
    let Request::Heads(heads) = sent.request() else { panic!("{sent:?} is no HEADS") };
    (heads, Head::decode_all(sent.frame.payload(), heads.count).unwrap())
}

#[test]
fn what_is_pushed_is_what_the_ingress_said_last_and_its_subscribes_are_forgotten_only_with_its_start() {
    type Feed = (u64, (u64, bool), &'static [(usize, u32)]);
    // Topic 0 was subscribed to before. Each case has FEEDs, with their number, the ingress's instance, whether they
    // reset earlier reports, and the readers of topics; and then the topics that are pushed.
    let cases: [(&str, &[Feed], &[usize]); 11] = [
        ("SUBSCRIBE alone", &[], &[0]),
        ("the first FEED", &[(1, (7, false), &[(1, 1)])], &[0, 1]),
        ("the first FEED, which is everything", &[(1, (7, true), &[(1, 1)])], &[1]),
        ("everything, in two FEEDs", &[(1, (7, true), &[(1, 1)]), (2, (7, false), &[(2, 1)])], &[1, 2]),
        ("everything, which is nothing", &[(1, (7, true), &[])], &[]),
        ("another start", &[(1, (7, false), &[(1, 1)]), (2, (8, false), &[(2, 1)])], &[2]),
        ("another start counts anew", &[(5, (7, false), &[(1, 1)]), (1, (8, false), &[(2, 1)])], &[2]),
        ("a late word of everything", &[(5, (7, false), &[(1, 1)]), (4, (7, true), &[(2, 1)])], &[0, 1, 2]),
        ("nobody is left", &[(5, (7, false), &[(1, 1)]), (6, (7, false), &[(1, 0)])], &[0]),
        ("a late word of nobody", &[(5, (7, false), &[(1, 1)]), (4, (7, false), &[(1, 0)])], &[0, 1]),
        ("said again", &[(5, (7, true), &[(0, 2), (1, 1)]), (5, (7, true), &[(0, 2), (1, 1)])], &[0, 1]),
    ];
    for (what, feeds, expected) in cases {
        let mut home = Home::new(3);
        let name = home.topics[0].1.clone();
        let sent = home.node.node_asks(INGRESS, 1, &subscribe(&name), &[]);
        assert!(matches!(sent[0].response(), Response::Subscribed(_)));
        feeds.iter().for_each(|(version, start, items)| home.feed(*version, *start, items));
        assert_eq!(home.publish_to_all(), expected, "{what}");
        // The next HEADS report the feeds that the home knows.
        let heads = home.heads();
        let digest = expected.iter().fold(0, |digest, index| digest ^ home.topics[*index].0.number());
        let said: Vec<(usize, u64)> =
            heads.iter().map(|sent| (decoded(sent).0.feeds as usize, decoded(sent).0.digest)).collect();
        assert_eq!(said, if expected.is_empty() { vec![] } else { vec![(expected.len(), digest)] }, "{what}");
    }
}

#[test]
fn more_topics_than_one_heads_holds_are_told_in_the_next() {
    let mut home = Home::new(0);
    let count = HEADS_ITEMS_MAX + 1;
    let (client, mut topics) = (home.client, Vec::new());
    home.node.fill(|node| {
        topics.extend(names(0, 1).take(count).map(|name| (node.create(client, &name, Retention::default()), name)));
    });
    home.topics = topics;
    let items: Vec<(usize, u32)> = (0..count).map(|index| (index, 1)).collect();
    for (version, items) in (1..).zip(items.chunks(FEED_ITEMS_MAX)) {
        home.feed(version, (7, version == 1), items);
    }
    let before = home.heads();
    assert_eq!(before.iter().map(|sent| decoded(sent).0.count).collect::<Vec<_>>(), [0], "nothing was pushed");
    home.node.answer(&before[0], &Response::Heads { slot: SLOT.index(), counter: 1 });

    let Home { node, client, topics } = &mut home;
    node.fill(|node| topics.iter().for_each(|(_, name)| assert_eq!(node.publish(*client, name, 1, 10).len(), 1)));
    let heads: Vec<(Heads, Vec<Head>)> = home.heads().iter().map(decoded).collect();
    let shape: Vec<(u64, usize)> = heads.iter().map(|(heads, items)| (heads.counter, items.len())).collect();
    assert_eq!(shape, [(2, HEADS_ITEMS_MAX), (3, 1)]);
    assert!(heads.iter().all(|(heads, _)| heads.feeds as usize == count));
    let told: BTreeSet<TopicId> = heads.iter().flat_map(|(_, items)| items).map(|item| item.topic).collect();
    assert_eq!(told, home.topics.iter().map(|(topic, _)| *topic).collect());
    assert!(heads.iter().flat_map(|(_, items)| items).all(|item| item.next.0 == 1));
    let after: Vec<(Heads, Vec<Head>)> = home.heads().iter().map(decoded).collect();
    assert_eq!(after.iter().map(|(heads, items)| (heads.counter, items.len())).collect::<Vec<_>>(), [(4, 0)]);
}

#[test]
fn a_list_with_too_many_items_is_refused_and_has_no_effect() {
    let mut home = Home::new(1);
    let ends = |id| FeedItem { topic: id, epoch: Epoch(0), push: false, subscribers: 0, slowest: None, name: None };
    let head = |id| Head { topic: id, epoch: Epoch(1), next: Offset(0) };
    let unknown = |number: usize| topic_id(1_000_000 + number as u64);
    for (items, is_accepted) in [(FEED_ITEMS_MAX, true), (FEED_ITEMS_MAX + 1, false), (usize::from(u16::MAX), false)] {
        let mut payload = Vec::new();
        home.item(0, 1).encode(&mut Writer::new(&mut payload));
        (1..items).for_each(|number| ends(unknown(number)).encode(&mut Writer::new(&mut payload)));
        payload.truncate(FRAME_MAX as usize - 1024);
        let request =
            Request::Feed { slot: SLOT.index(), instance: 7, reset: false, count: u16::try_from(items).unwrap() };
        let sent = home.node.node_asks(INGRESS, items as u64, &request, &payload);
        assert_eq!(sent[0].status() == Status::Ok, is_accepted, "{items}: {:?}", sent[0].status());
        assert!(is_accepted || sent[0].status() == Status::MalformedArgs);
        let subscribers = if is_accepted { [0].to_vec() } else { Vec::new() };
        assert_eq!(home.publish_to_all(), subscribers, "{items}");
        home = Home::new(1);
    }
    for (items, is_accepted) in [(HEADS_ITEMS_MAX, true), (HEADS_ITEMS_MAX + 1, false)] {
        let mut payload = Vec::new();
        (0..items).for_each(|number| head(unknown(number)).encode(&mut Writer::new(&mut payload)));
        let count = u16::try_from(items).unwrap();
        let request =
            Request::Heads(Heads { slot: INGRESS, term: 1, instance: 7, counter: 1, feeds: 0, digest: 0, count });
        let sent = home.node.node_asks(INGRESS, 0, &request, &payload);
        assert_eq!(sent[0].status() == Status::Ok, is_accepted, "{items}: {:?}", sent[0].status());
    }
}

#[test]
fn readers_that_other_nodes_count_add_up_without_wrapping() {
    let mut node = Harness::linked(2);
    let client = node.client();
    let name = names(0, 2).next().unwrap();
    let id = node.create(client, &name, Retention::default());
    for source in [1, 3] {
        let (epoch, subscribers, slowest) = (Epoch(1), u32::MAX, Some(Offset(u64::MAX - 1)));
        let item = FeedItem { topic: id, epoch, push: true, subscribers, slowest, name: TopicName::new(&name).ok() };
        let mut payload = Vec::new();
        item.encode(&mut Writer::new(&mut payload));
        node.node_asks(
            source,
            u64::MAX,
            &Request::Feed { slot: SLOT.index(), instance: u64::MAX, reset: true, count: 1 },
            &payload,
        );
    }
    let Response::Described(description) = node.answer_to(client, 2, &Request::Info(topic(&name))) else {
        panic!("no description")
    };
    let topic = description.topic.unwrap();
    assert_eq!((topic.subscribers, topic.feeds, topic.lag), (u32::MAX, 2, 0));
}

#[test]
fn an_ingress_that_leaves_so_many_heads_unanswered_is_pushed_nothing_until_it_asks_again() {
    let most = usize::try_from(HEADS_MISSING_MAX).unwrap() + 1;
    for answers_every in [1, most, usize::MAX] {
        let mut home = Home::new(1);
        home.feed(1, (7, false), &[(0, 1)]);
        let mut heads = 0;
        for second in 1..=3 * most {
            for sent in home.heads() {
                heads += 1;
                if second % answers_every == 0 {
                    let counter = decoded(&sent).0.counter;
                    home.node.answer(&sent, &Response::Heads { slot: SLOT.index(), counter });
                }
            }
        }
        let is_forgotten = answers_every == usize::MAX;
        assert_eq!(heads, if is_forgotten { most } else { 3 * most }, "one of {answers_every} is answered");
        assert_eq!(home.publish_to_all().is_empty(), is_forgotten);
        home.feed(2, (7, true), &[(0, 1)]);
        assert_eq!(home.publish_to_all(), [0]);
        assert_eq!(home.heads().len(), 1);
    }
}

#[test]
fn an_answer_to_heads_counts_for_its_slot_only() {
    for (slot, is_forgotten) in [(0, false), (1, true), (2, true)] {
        let mut home = Home::new(1);
        home.feed(1, (7, false), &[(0, 1)]);
        for _ in 0..=HEADS_MISSING_MAX + 1 {
            for sent in home.heads() {
                let (Heads { slot: told, counter, .. }, _) = decoded(&sent);
                assert_eq!(told, 0);
                home.node.answer(&sent, &Response::Heads { slot, counter });
            }
        }
        assert_eq!(home.publish_to_all().is_empty(), is_forgotten, "{slot}");
    }
}

#[test]
fn a_start_tells_all_others_once_that_it_is_another_one_when_the_links_are_up_or_soon_after() {
    // With only one of two links, it waits for the other one.
    for (dimension, after_us) in [(1, 0), (2, ANNOUNCE_US)] {
        let mut node = Harness::in_cube(dimension);
        node.node.parts.groups.existing_mut(SLOT).set_announced(false);
        assert_eq!(node.pass(TICK_US).len(), 0, "nobody can be told");
        node.link_up();
        let mut told: Vec<u16> = Vec::new();
        for ticks in 0..2 * ANNOUNCE_US / TICK_US {
            for heads in only(&node.pass(TICK_US), Opcode::Heads) {
                assert!(ticks * TICK_US + 2 * TICK_US >= after_us, "{ticks}");
                let Request::Heads(Heads { counter, feeds, count, .. }) = heads.request() else { panic!("{heads:?}") };
                assert_eq!((counter, feeds, count), (1, 0, 0));
                told.push(heads.route().target.index());
            }
        }
        assert_eq!(told, (1..1 << dimension).collect::<Vec<u16>>());
    }
}

#[test]
fn a_request_for_a_topic_of_another_node_is_refused_with_the_node_that_leads_it() {
    let mut node = Harness::linked(1);
    for leader in [0, 1] {
        let name = names(leader, 1).next().unwrap();
        let create = Request::Create { topic: TopicName::new(&name).unwrap(), retention: Retention::default() };
        let sent = node.node_asks(INGRESS, leader.into(), &create, &[]);
        assert_eq!(node.node.topic_count(), 1);
        assert_eq!(sent[0].status(), if leader == 0 { Status::Ok } else { Status::NotLeader });
        assert!(leader == 0 || sent[0].details() == [Detail::Node(1)], "{sent:?}");
    }
}

#[test]
fn a_node_that_does_not_lead_its_slot_refuses_what_concerns_it_until_it_does() {
    let mut node = Harness::linked(1);
    let client = node.client();
    let name = names(0, 1).next().unwrap();
    node.create(client, &name, Retention::default());
    for leads in [true, false, true] {
        node.set_leads(leads);
        let expected = if leads { Status::Ok } else { Status::NotLeader };
        let sent = node.node_asks(INGRESS, 1, &Request::Info(topic(&name)), &[]);
        assert_eq!(sent[0].status(), expected);
        let feed = Request::Feed { slot: SLOT.index(), instance: 7, reset: false, count: 0 };
        assert_eq!(node.node_asks(INGRESS, 2, &feed, &[])[0].status(), expected);
        // Slot 1 is of the other node, and there is no slot 2.
        for (slot, expected) in [(1, Status::NotLeader), (2, Status::BadRequest), (u16::MAX, Status::BadRequest)] {
            let feed = Request::Feed { slot, instance: 7, reset: false, count: 0 };
            assert_eq!(node.node_asks(INGRESS, 3, &feed, &[])[0].status(), expected, "{slot}");
        }
        // What concerns no slot is done.
        let ping = Request::Ping { node: 0, token: 7 };
        assert_eq!(node.node_asks(INGRESS, 4, &ping, &[])[0].status(), Status::Ok);
        node.pass(HEADS_US);
    }
}
