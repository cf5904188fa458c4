//! Three nodes with a copy of one group. The test carries their messages, and is their disk.

mod copies;
mod copying;
mod join;
mod moves;
mod reads;

use std::collections::VecDeque;
use std::ops::Range;

use super::*;
use crate::entry::{Note, Place, Write};
use crate::limits::{BODY_BYTES_MAX, ELECTION_TICKS, FAILOVER_US, LOG_WINDOW_BYTES, REQUEST_TIMEOUT_US, TICK_US};
use crate::node::action::Packet;
use crate::node::frames::request_frame;
use crate::node::tests::{found, settings};
use crate::node::{Action, Node};
use crate::replica::LogEntry;
use crate::types::{ConnId, Now, Offset, Retention, Source, TopicName, crc32};
use crate::wire::records::Record;
use crate::wire::request::{Publish, Topic};
use crate::wire::response::Durability;
use crate::wire::{Frame, Head, Hello, Opcode};

const SLOT: SlotId = SlotId::from_low_bits(0, crate::types::Slots::MOST);
const CLIENT: ConnId = ConnId { slot: 0, generation: 0 };

/// The nodes 00, 01 and 10 of a square, which are the members of slot 0.
struct Three {
    nodes: Vec<Node>,
    now: Now,
    /// What is on its way: to which node, from which, and what.
    sent: VecDeque<(usize, usize, RaftItem)>,
    /// What each disk has to write.
    writes: Vec<VecDeque<Write>>,
    /// The segment bytes that each disk has written.
    written: Vec<u32>,
    /// The nodes that hear nothing and are not heard.
    cut: Vec<usize>,
    /// Whether each disk writes.
    has_disk: Vec<bool>,
    /// Notes for each journal.
    notes: Vec<Vec<Note>>,
    /// The statuses of answers to clients of each node, but for those of runs.
    answers: Vec<Vec<u8>>,
    /// The acknowledgements that were sent together, with the first offset.
    runs: Vec<(Offset, Vec<RequestId>)>,
    /// Copies of the state, and what is on its way because of them.
    copying: copying::Way,
}

impl Three {
    /// Returns three nodes whose groups have been founded.
    fn new() -> Self {
        let mut three = Self::of_new_nodes();
        three.nodes.iter_mut().for_each(found);
        three
    }

    /// Returns three nodes with empty data folders, whose groups have not been founded.
    fn of_new_nodes() -> Self {
        Self::with_window(LOG_WINDOW_BYTES)
    }

    /// Returns three nodes with empty data folders that keep so much of their logs in memory for each other.
    fn with_window(window_bytes: usize) -> Self {
        let now = Now { monotonic_us: 1_000_000, wall_us: 1_700_000_000_000_000 };
        let nodes: Vec<Node> = (0..3).map(|id| new_node(id, now, window_bytes)).collect();
        let writes = vec![VecDeque::new(); 3];
        let (notes, answers) = (vec![Vec::new(); 3], vec![Vec::new(); 3]);
        let mut three = Self {
            nodes,
            now,
            sent: VecDeque::new(),
            writes,
            written: vec![0; 3],
            cut: Vec::new(),
            has_disk: vec![true; 3],
            notes,
            answers,
            runs: Vec::new(),
            copying: copying::Way::default(),
        };
        (0..3).for_each(|node| three.greet(node));
        three
    }

    /// Connects a client to a node.
    fn greet(&mut self, node: usize) {
        let mut hello = Vec::new();
        let head =
            Head { opcode: Opcode::Hello.number(), flags: Flags::default(), status: 0, request_id: RequestId(0) };
        head.seal(None, (0, crc32(&[])), &mut hello, |args| Hello::of_client(1, "test").encode(args, None));
        let hello = Frame::sealed(hello);
        self.act(node, |parts, step| parts.on_accepted(step, CLIENT, Source::Own));
        self.act(node, |parts, step| parts.on_frame(step, CLIENT, &hello));
    }

    /// Lets a node do something, and takes what it wants written and sent.
    fn act(&mut self, node: usize, act: impl FnOnce(&mut Parts, &mut Step<'_>)) {
        let mut out = Vec::new();
        let (parts, mut step) = self.nodes[node].split(self.now, &mut out);
        act(parts, &mut step);
        parts.follow_up(&mut step, SLOT);
        parts.seal(&mut step);
        parts.carry_out(&mut step);
        let (outbox, asks) = (std::mem::take(&mut parts.outbox), std::mem::take(&mut parts.asks));
        self.note_asks(node, asks);
        self.nodes[node].check();
        for action in out {
            if let Action::Write { write } = action {
                self.writes[node].push_back(write);
            } else if let Action::File { notes } = action {
                self.notes[node].extend(notes);
            } else if let Action::Fetch { query } = action {
                self.copying.queries.push_back((node, query));
            } else if let Action::Read { lookup } = action {
                self.copying.lookups.push_back((node, lookup));
            } else if let Action::Copy { task } = action {
                self.copying.tasks.push_back((node, task));
            } else if let Action::Send { packet: Packet::Response(_, response), .. } = action {
                self.answers[node].push(response.status());
            } else if let Action::Send { packet: Packet::Published(acks), .. } = action {
                self.runs.push((acks.first.base, acks.batches.iter().map(|ack| ack.request_id).collect()));
            }
        }
        for Outgoing { way, item } in outbox {
            let to = usize::from(way.node.index());
            if item.slot == SLOT && !self.cut.contains(&node) && !self.cut.contains(&to) {
                self.sent.push_back((to, node, item));
            }
        }
    }

    /// Delivers and writes everything.
    fn settle(&mut self) {
        loop {
            if let Some((to, from, item)) = self.sent.pop_front() {
                assert_eq!(item.message.from, member_of(self.nodes[from].settings.id));
                self.act(to, |parts, step| {
                    let group = parts.groups.existing_mut(SLOT);
                    assert!(group.on_message(step.settings, item.message));
                });
                continue;
            }
            let has_work = |node: &usize| self.has_disk[*node] && !self.writes[*node].is_empty();
            if let Some(node) = (0..3).find(has_work) {
                let write = self.writes[node].pop_front().expect("it has one");
                self.written[node] += 1000;
                let place = Place { segment: 1, position: self.written[node] };
                if let Write::Body(body) = &write {
                    self.copying.logs[node].insert(body.index, body.clone());
                }
                self.act(node, |parts, step| parts.on_written(step, write.written(place)));
                continue;
            }
            if let Some(node) = (0..3).find(|node| self.nodes[*node].has_committed()) {
                self.act(node, Parts::on_committed);
            } else if !self.advance_copies() {
                return;
            }
        }
    }

    /// Lets so many ticks pass.
    fn tick(&mut self, count: usize) {
        for _ in 0..count {
            self.now.monotonic_us += TICK_US;
            self.now.wall_us += TICK_US;
            (0..3).for_each(|node| self.act(node, |parts, step| parts.tick_members(step)));
            self.settle();
        }
    }

    /// Sends a request of a client to a node.
    fn ask(&mut self, node: usize, request: &Request<'_>, payload: &[u8]) {
        let frame = request_frame(request, payload, RequestId(1), Flags::default());
        self.act(node, |parts, step| parts.on_frame(step, CLIENT, &frame));
    }

    /// Publishes a record in each of these requests, in one turn. Those of `oneway` want no answer.
    fn publish_run(&mut self, node: usize, name: &str, ids: Range<u64>, oneway: &[u64]) {
        let topic = Topic { name: TopicName::new(name).unwrap(), id: None };
        let mut payload = Vec::new();
        Record::default().encode(&mut payload).unwrap();
        let request = Request::Publish(Publish { topic, producer: None, count: 1 });
        let flags = |id| if oneway.contains(&id) { Flags::ONEWAY } else { Flags::default() };
        let frames: Vec<_> = ids.map(|id| request_frame(&request, &payload, RequestId(id), flags(id))).collect();
        self.act(node, |parts, step| {
            for frame in &frames {
                if !parts.publish_again(step, CLIENT, frame) {
                    parts.on_frame(step, CLIENT, frame);
                }
            }
        });
    }

    /// Publishes a record.
    fn publish(&mut self, node: usize, name: &str) {
        let topic = Topic { name: TopicName::new(name).unwrap(), id: None };
        let mut payload = Vec::new();
        Record::default().encode(&mut payload).unwrap();
        self.ask(node, &Request::Publish(Publish { topic, producer: None, count: 1 }), &payload);
    }

    /// Asks a node to create a topic of the slot.
    fn create(&mut self, node: usize, name: &str) {
        self.ask(node, &Request::Create { topic: TopicName::new(name).unwrap(), retention: Retention::default() }, &[]);
    }

    /// Returns the statuses of the answers to a client of a node since the last call.
    fn answers(&mut self, node: usize) -> Vec<Status> {
        let statuses = std::mem::take(&mut self.answers[node]);
        statuses.into_iter().map(|status| Status::from_number(status).unwrap()).collect()
    }

    fn leads(&self) -> Vec<usize> {
        (0..3).filter(|node| self.nodes[*node].parts.groups.leads(SLOT)).collect()
    }

    fn topics(&self, node: usize) -> usize {
        self.nodes[node].topics().len()
    }
}

/// Returns a node with an empty data folder.
fn new_node(id: u16, now: Now, log_window_bytes: usize) -> Node {
    let instance = now.monotonic_us + u64::from(id);
    let (copies, durability) = (Copies::Three, Durability::Synced);
    Node::new(Settings { copies, durability, instance, log_window_bytes, ..settings(id, 2) }, now)
}

/// Returns the names of topics of the slot.
fn names() -> impl Iterator<Item = String> {
    let slots = settings(0, 2).slots;
    let is_of_slot = move |name: &String| cube::slot(TopicName::new(name).unwrap(), slots) == SLOT;
    (0..).map(|number| format!("topic-{number}")).filter(is_of_slot)
}

#[test]
fn the_home_is_elected_first_and_all_copies_get_what_it_acknowledges() {
    let mut three = Three::new();
    three.tick(ELECTION_TICKS[0] - 1);
    assert_eq!(three.leads(), [0; 0]);
    three.tick(1);
    assert_eq!(three.leads(), [0]);
    let name = names().next().unwrap();
    three.create(0, &name);
    assert_eq!(three.answers(0), [], "nothing is acknowledged before a majority has it");
    three.settle();
    assert_eq!(three.answers(0), [Status::Ok]);
    // The others learn with the next heartbeat that it is committed.
    three.tick(2);
    let images: Vec<_> = three.nodes.iter().map(|node| node.image(SLOT)).collect();
    assert_eq!([0, 1, 2].map(|node| three.topics(node)), [1; 3]);
    assert!(images.iter().all(|image| image.topics == images[0].topics), "they are equal");
    assert!(images.iter().all(|image| image.applied.index == images[0].applied.index));
}

#[test]
fn a_request_that_waits_is_executed_as_soon_as_its_node_leads() {
    let mut three = Three::new();
    three.create(0, &names().next().unwrap());
    while three.leads().is_empty() {
        assert_eq!(three.answers(0), []);
        three.now.monotonic_us += TICK_US;
        three.act(0, |parts, step| parts.ingress.on_timeout(step));
        (0..3).for_each(|node| three.act(node, |parts, step| parts.tick_members(step)));
        three.settle();
    }
    assert_eq!(three.leads(), [0]);
    three.act(0, |parts, step| parts.ingress.on_timeout(step));
    // What is executed at the end of an event is sealed with the next one.
    three.act(0, |_, _| {});
    three.settle();
    assert_eq!(three.answers(0), [Status::Ok]);
}

#[test]
fn the_leader_acknowledges_what_its_own_client_has_published_in_a_turn_at_once() {
    let mut three = Three::new();
    three.tick(ELECTION_TICKS[0]);
    let name = names().next().unwrap();
    three.create(0, &name);
    three.settle();
    assert_eq!(three.answers(0), [Status::Ok]);
    for first in [0, 3] {
        three.publish_run(0, &name, first..first + 3, &[]);
        assert_eq!(three.runs, [], "nothing is acknowledged before a majority has it");
        three.settle();
        let ids = (first..first + 3).map(RequestId).collect();
        assert_eq!(std::mem::take(&mut three.runs), [(Offset(first), ids)]);
        assert_eq!((three.answers(0), three.nodes[0].parts.ingress.admission().inflight()), (vec![], 0));
    }
}

#[test]
fn a_request_of_a_run_that_nobody_waits_for_has_offsets_too() {
    let mut three = Three::new();
    three.tick(ELECTION_TICKS[0]);
    let name = names().next().unwrap();
    three.create(0, &name);
    three.settle();
    assert_eq!(three.answers(0), [Status::Ok]);
    three.publish_run(0, &name, 0..5, &[2]);
    three.settle();
    let ids = |ids: [u64; 2]| ids.map(RequestId).to_vec();
    assert_eq!(three.runs, [(Offset(0), ids([0, 1])), (Offset(3), ids([3, 4]))]);
}

#[test]
fn one_disk_of_three_may_stand_still() {
    for slow in 0..3 {
        let mut three = Three::new();
        three.tick(ELECTION_TICKS[0]);
        three.has_disk[slow] = false;
        three.create(0, &names().next().unwrap());
        three.settle();
        let expected: &[Status] = if slow == 0 { &[] } else { &[Status::Ok] };
        assert_eq!(three.answers(0), expected, "the leader applies only what it has itself");
        assert_eq!(three.leads(), [0]);
    }
}

#[test]
fn what_another_leader_has_replaced_is_sent_to_that_one() {
    let mut three = Three::new();
    let name = names().next().unwrap();
    three.tick(ELECTION_TICKS[0]);
    three.create(0, &name);
    three.settle();
    assert_eq!(three.answers(0), [Status::Ok]);
    three.cut = vec![0];
    three.publish(0, &name);
    three.settle();
    three.tick(2 * ELECTION_TICKS[0]);
    assert_eq!(three.leads(), [1], "the old one has noticed that nobody hears it");
    three.create(1, &names().nth(1).unwrap());
    three.settle();
    assert_eq!((three.answers(0), three.answers(1)), (vec![], vec![Status::Ok]));
    three.cut.clear();
    three.tick(4);
    assert_eq!(three.answers(0), [], "the request is sent again, to the new leader");
    // In this test nothing but RAFT gets there.
    three.now.monotonic_us += 2 * FAILOVER_US;
    three.act(0, |parts, step| parts.ingress.tick(step));
    assert_eq!(three.answers(0), [Status::NoQuorum]);
    assert_eq!([0, 1, 2].map(|node| three.topics(node)), [2; 3]);
    assert_eq!(three.notes[0].len(), 0, "the batch was never stored");
}

#[test]
fn what_a_leader_without_a_majority_has_proposed_is_answered_in_time() {
    let mut three = Three::new();
    three.tick(ELECTION_TICKS[0]);
    three.cut = vec![1, 2];
    three.create(0, &names().next().unwrap());
    let ticks = usize::try_from(REQUEST_TIMEOUT_US / TICK_US).unwrap();
    three.tick(ticks - 1);
    assert_eq!((three.answers(0), three.leads()), (vec![], vec![]));
    three.tick(2);
    assert_eq!(three.answers(0), [Status::OutcomeUnknown]);
    // It was done in the end.
    three.cut.clear();
    three.tick(3 * ELECTION_TICKS[0]);
    assert_eq!([0, 1, 2].map(|node| three.topics(node)), [1; 3]);
    assert_eq!(three.answers(0), []);
}

#[test]
fn a_message_goes_around_the_home_only_between_the_other_two() {
    let message = |to| Message {
        from: member_of(settings(1, 3).id),
        to: member_of(settings(to, 3).id),
        term: 1,
        founding: 0,
        payload: Payload::Heartbeat { commit: 0, context: 0 },
    };
    let settings = Settings { copies: Copies::Three, ..settings(1, 3) };
    let way = |slot, to| Way::of(&settings, SlotId::from_low_bits(slot, settings.slots), &message(to)).unwrap().avoided;
    // Node 001 is a member of the groups of 000, 001 and 011.
    assert_eq!(way(0, 0b010), Some(Link::new(settings.id, 0)));
    assert_eq!(way(0b011, 0b010), Some(Link::new(settings.id, 1)));
    assert_eq!([(0, 0b000), (1, 0b000), (1, 0b011), (0b011, 0b011)].map(|(slot, to)| way(slot, to)), [None; 4]);
}

#[test]
fn a_frame_has_so_many_messages_and_bytes_but_at_least_one_message() {
    let node = settings(1, 2).id;
    let outgoing = |payload| {
        let message = Message { from: member_of(node), to: member_of(node), term: 1, founding: 0, payload };
        Outgoing { way: Way { node, is_bulk: true, avoided: None }, item: RaftItem { slot: SLOT, message } }
    };
    let append = |bytes| {
        let entries = vec![LogEntry { index: 1, term: 1, body: vec![0; bytes].into() }];
        outgoing(Payload::Append { index: 0, log_term: 0, commit: 0, entries })
    };
    let heartbeats: Vec<_> =
        (0..=RAFT_ITEMS_MAX).map(|_| outgoing(Payload::Heartbeat { commit: 0, context: 0 })).collect();
    assert_eq!((fitting(&heartbeats), fitting(&heartbeats[..7])), (RAFT_ITEMS_MAX, 7));
    let third = RAFT_FRAME_BYTES / 3 - append(0).item.encoded_len();
    assert_eq!(fitting(&[third; 4].map(append)), 3);
    assert_eq!(fitting(&[third + 1; 4].map(append)), 2, "by a few bytes");
    assert_eq!(fitting(&[BODY_BYTES_MAX; 2].map(append)), 1);
}
