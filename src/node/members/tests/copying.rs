//! Members that are behind and copy the state of the group. The journals have only that part of the log which follows a
//! state that is being copied, so a copy is needed whenever a member lacks a body that its leader has applied.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::moves::led_by;
use super::*;
use crate::entry::{Body, CopiedState, CopyOutcome, CopyTask, Filed, Found, Wanted};
use crate::limits::COPY_SILENCE_US;
use crate::node::Lookup;
use crate::node::call::ReplyTo;
use crate::node::group::Finished;
use crate::types::{Offset, ProducerId, Sequenced};
use crate::wire::chunks::{Chunk, ChunkBatch};

/// Everything about copies that is on its way.
#[derive(Default)]
pub(super) struct Way {
    pub(super) queries: VecDeque<(usize, LogQuery)>,
    pub(super) lookups: VecDeque<(usize, Lookup)>,
    pub(super) tasks: VecDeque<(usize, CopyTask)>,
    /// Requests: whom they are for, who asks, and their numbers.
    asks: VecDeque<(usize, usize, u64, Chunks)>,
    /// Requests whose records are being read: at which node, and who asks.
    reading: VecDeque<(usize, usize, u64)>,
    /// Answers: for whom, and to which requests.
    answers: VecDeque<(usize, u64, Result<Chunk, ErrorResponse>)>,
    /// The batches that nodes have kept of copies which are not installed yet.
    kept: Vec<(usize, Filed)>,
    /// The indexes of the states that nodes have installed.
    installed: Vec<(usize, u64)>,
    /// The bodies that each journal has, by index.
    pub(super) logs: [BTreeMap<u64, Body>; 3],
    /// True while requests do not arrive.
    is_held: bool,
    /// Changes the next answers.
    spoil: Option<fn(&mut Chunk)>,
}

impl Way {
    /// Forgets what a node has begun, because its process has ended.
    pub(super) fn forget(&mut self, node: usize) {
        self.queries.retain(|(at, _)| *at != node);
        self.lookups.retain(|(at, _)| *at != node);
        self.tasks.retain(|(at, _)| *at != node);
        self.reading.retain(|(at, ..)| *at != node);
        self.kept.retain(|(at, _)| *at != node);
        self.logs[node].clear();
    }
}

impl Three {
    /// Takes what a node asks of others.
    pub(super) fn note_asks(&mut self, node: usize, asks: Vec<(NodeId, u64, Chunks)>) {
        for (to, number, chunks) in asks.into_iter().filter(|(.., chunks)| chunks.slot == SLOT.index()) {
            self.copying.asks.push_back((usize::from(to.index()), node, number, chunks));
        }
    }

    /// Does the next thing that is to be done for a copy. Returns false if there is nothing.
    pub(super) fn advance_copies(&mut self) -> bool {
        if let Some((node, query)) = self.copying.queries.pop_front() {
            let part = self.fetch(node, query);
            self.act(node, |parts, step| parts.on_fetched(step, query, Ok(part)));
        } else if let Some((node, task)) = self.copying.tasks.pop_front() {
            self.perform(node, task);
        } else if let Some((node, lookup)) = self.copying.lookups.pop_front() {
            self.look_up(node, lookup);
        } else if let Some((node, number, answer)) = self.copying.answers.pop_front() {
            self.act(node, |parts, step| parts.groups.existing_mut(SLOT).on_chunk(step, number, answer));
        } else if !self.copying.is_held
            && let Some((to, from, number, chunks)) = self.copying.asks.pop_front()
        {
            if !self.cut.contains(&to) && !self.cut.contains(&from) {
                self.serve((to, from), number, chunks);
            }
        } else {
            return false;
        }
        true
    }

    /// Reads bodies that follow a state which is being copied.
    fn fetch(&self, node: usize, LogQuery { index, last, .. }: LogQuery) -> LogPart {
        let log = &self.copying.logs[node];
        let pinned = self.nodes[node].parts.groups.of(SLOT).and_then(Group::pinned);
        match log.get(&index).filter(|_| pinned.is_some_and(|pinned| index + 1 >= pinned)) {
            Some(before) => LogPart {
                base: (index, before.term),
                bodies: log.range(index + 1..=last).map(|(_, body)| body.clone()).collect(),
            },
            None => LogPart { base: (index, 0), bodies: Vec::new() },
        }
    }

    /// Lets a node execute CHUNKS of another one.
    fn serve(&mut self, (to, from): (usize, usize), number: u64, chunks: Chunks) {
        let request = Request::Chunks(chunks);
        let frame = request_frame(&request, &[], RequestId(0), Flags::default());
        let target = self.nodes[to].settings.id;
        let origin = Origin::from_number(number);
        let route = self.nodes[from].settings.new_route(target, Kind::Node, TrafficClass::Bulk, origin);
        let mut answer = None;
        self.act(to, |parts, step| {
            let reply = ReplyTo::new(&frame.header, &route);
            let since_us = step.now.monotonic_us;
            let call = Call { frame: &frame, route: &route, reply, slot: None, since_us };
            answer = Some(parts.on_chunks(step, &chunks, &call));
        });
        match answer.expect("it is answered, or later") {
            Ok(Answer::Now(response)) => self.answer(from, number, Ok(response)),
            Ok(Answer::Later) => self.copying.reading.push_back((to, from, number)),
            Ok(Answer::Unconfirmed) => panic!("applied entries are served without a lease"),
            Err(error) => self.answer(from, number, Err(error)),
        }
    }

    fn answer(&mut self, node: usize, number: u64, response: Result<Response, ErrorResponse>) {
        let answer = response.map(|response| {
            let Response::Chunk(mut chunk) = response else { panic!("{response:?}") };
            self.copying.spoil.into_iter().for_each(|spoil| spoil(&mut chunk));
            *chunk
        });
        self.copying.answers.push_back((node, number, answer));
    }

    /// Answers a query of a node with the records of which its journal was told.
    fn look_up(&mut self, node: usize, lookup: Lookup) {
        let Wanted::Batches { from, .. } = lookup.wanted else { panic!("{lookup:?}") };
        let mut found = self.stored(node);
        found.retain(|filed| filed.topic == lookup.topic && filed.end() > from);
        // One batch at a time, so that a topic takes several requests.
        found.truncate(1);
        let found = Found::Batches(found.into_iter().map(|filed| (filed, record())).collect());
        let mut finished = None;
        self.act(node, |parts, step| {
            finished = parts.groups.existing_mut(SLOT).on_read(step, lookup, Ok(found));
        });
        let at = self.copying.reading.iter().position(|(at, ..)| *at == node).expect("somebody waits");
        let (_, from, number) = self.copying.reading.remove(at).expect("it was just found");
        match finished {
            Some(Finished::Request(_, Ok(Answer::Now(response)))) => self.answer(from, number, Ok(response)),
            Some(Finished::Request(_, Err(error))) => self.answer(from, number, Err(error)),
            None => {}
            other => panic!("{other:?}"),
        }
    }

    /// Does what a node wants its journal to do for a copy.
    fn perform(&mut self, node: usize, task: CopyTask) {
        let (slot, number, outcome) = match task {
            CopyTask::Drop { .. } => {
                self.copying.kept.retain(|(at, _)| *at != node);
                return;
            }
            CopyTask::Keep { slot, number, batches } => {
                self.copying.kept.extend(batches.into_iter().map(|(filed, _)| (node, filed)));
                (slot, number, CopyOutcome::Kept)
            }
            CopyTask::Install { number, state } => {
                assert!(self.writes[node].is_empty(), "all bodies of the group are durable");
                self.install(node, &state);
                let end = Place { segment: 1, position: self.written[node] };
                (state.slot, number, CopyOutcome::Installed(end))
            }
        };
        self.act(node, |parts, step| parts.on_copied(step, CopyDone { slot, number, outcome }));
    }

    /// Checks that a node has all records of a state that it installs, each once.
    fn install(&mut self, node: usize, state: &CopiedState) {
        let kept: Vec<Filed> =
            self.copying.kept.extract_if(.., |(at, _)| *at == node).map(|(_, filed)| filed).collect();
        self.notes[node].extend(kept.into_iter().map(Note::Stored));
        self.copying.installed.push((node, state.index));
        for topic in &state.kept {
            let mut next = topic.first;
            for filed in self.stored(node).iter().filter(|filed| filed.topic.id == topic.id) {
                if filed.end() <= next {
                    continue;
                }
                assert!(filed.base <= next, "{filed:?} after {next:?}");
                next = filed.end();
            }
            assert_eq!(next, topic.next);
        }
    }

    /// Returns the batches of which a node's journal was told, by offset.
    fn stored(&self, node: usize) -> Vec<Filed> {
        let stored = |note: &Note| if let Note::Stored(filed) = note { Some(*filed) } else { None };
        let mut stored: Vec<Filed> = self.notes[node].iter().filter_map(stored).collect();
        stored.sort_by_key(|filed| (filed.topic, filed.base));
        stored
    }

    fn copies(&mut self, node: usize) -> (u64, u64) {
        let mut counts = (0, 0);
        self.act(node, |_, step| counts = (step.stats.copies, step.stats.copies_failed));
        counts
    }

    fn topics_of(&self, node: usize) -> Vec<u8> {
        self.nodes[node].image(SLOT).topics
    }

    fn has_begun(&self, node: usize) -> bool {
        self.nodes[node].is_copying(SLOT)
    }

    /// Publishes a record of a producer.
    fn publish_as(&mut self, node: usize, name: &str, (producer, sequence): (u64, u64)) {
        let topic = Topic { name: TopicName::new(name).unwrap(), id: None };
        let producer = Some(Sequenced { producer: ProducerId::new(producer).unwrap(), epoch: 0, sequence });
        self.ask(node, &Request::Publish(Publish { topic, producer, count: 1 }), &record());
    }

    fn change(&mut self, node: usize, request: &Request<'_>) {
        self.ask(node, request, &[]);
        self.settle();
        assert_eq!(self.answers(node).last(), Some(&Status::Ok));
    }
}

/// The records of all batches.
fn record() -> Bytes {
    let mut payload = Vec::new();
    Record::default().encode(&mut payload).unwrap();
    payload.into()
}

fn topic(name: &str) -> Topic<'_> {
    Topic { name: TopicName::new(name).unwrap(), id: None }
}

/// Returns a group that node 0 leads and in which node 2, which is cut off, lacks almost everything: topics with
/// records, producers and one-shots, and the places of deleted ones.
fn with_one_behind() -> (Three, Vec<String>) {
    let mut three = Three::with_window(0);
    three.nodes.iter_mut().for_each(found);
    let names: Vec<String> = names().take(5).collect();
    led_by(&mut three, 0);
    three.create(0, &names[0]);
    three.publish(0, &names[0]);
    three.settle();
    three.tick(3);
    three.cut = vec![2];
    for name in &names[1..4] {
        three.create(0, name);
        three.settle();
    }
    three.change(0, &Request::Delete(topic(&names[1])));
    three.change(0, &Request::Delete(topic(&names[3])));
    for sequence in 0..3 {
        three.publish_as(0, &names[0], (7, sequence));
        three.publish_as(0, &names[2], (8 + sequence, 0));
        three.publish(0, &names[2]);
        three.settle();
    }
    three.answers(0);
    three.tick(2);
    assert!(three.nodes[2].image(SLOT).applied.index < three.nodes[0].image(SLOT).applied.index);
    assert_eq!(three.leads(), [0]);
    (three, names)
}

#[test]
fn a_member_that_is_behind_copies_everything_that_the_state_has() {
    let (mut three, names) = with_one_behind();
    three.cut.clear();
    three.tick(6);
    assert_eq!((three.copies(2), three.copying.installed.len()), ((1, 0), 1));
    assert_eq!(three.topics_of(2), three.topics_of(0));
    assert_eq!(three.stored(2).len(), 10, "each record once");
    // The free places are used in the same order, and the producers are known at the new leader.
    three.create(0, &names[4]);
    three.settle();
    three.tick(2);
    assert_eq!(three.topics_of(2), three.topics_of(0));
    three.cut = vec![0];
    three.tick(2 * ELECTION_TICKS[2]);
    led_by(&mut three, 1);
    three.answers(1);
    three.publish_as(1, &names[0], (7, 2));
    three.publish_as(1, &names[2], (8, 0));
    three.settle();
    assert_eq!(three.answers(1), [Status::OkDuplicate; 2]);
}

#[test]
fn a_copy_begins_again_with_the_next_leader_which_needs_it_to_lead() {
    let (mut three, _) = with_one_behind();
    three.copying.is_held = true;
    three.cut.clear();
    three.tick(3);
    assert!(three.has_begun(2));
    let late = three.copying.asks.clone();
    three.cut = vec![0];
    three.tick(2 * ELECTION_TICKS[1]);
    // Node 1 is elected, but nobody has stored the first body of its term yet.
    assert_eq!((three.leads(), three.has_begun(2)), (vec![], true));
    three.copying.asks.extend(late);
    three.copying.is_held = false;
    three.tick(12);
    assert_eq!(three.leads(), [1]);
    assert_eq!((three.copying.installed.len(), three.copies(2)), (1, (1, 0)));
    three.tick(2);
    assert_eq!(three.topics_of(2), three.topics_of(1));
}

#[test]
fn a_member_that_loses_its_disk_during_a_copy_makes_another_one() {
    let (mut three, _) = with_one_behind();
    three.copying.is_held = true;
    three.cut.clear();
    three.tick(3);
    assert!(three.has_begun(2));
    three.wipe(2);
    three.copying.is_held = false;
    three.tick(4 * ELECTION_TICKS[2]);
    assert!(three.nodes[2].parts.groups.of(SLOT).is_some_and(Group::votes));
    assert_eq!(three.topics_of(2), three.topics_of(0));
    assert_eq!(three.stored(2).len(), 10);
}

#[test]
fn records_that_are_removed_during_a_copy_are_missing_only_below_the_log_start() {
    let (mut three, names) = with_one_behind();
    three.copying.is_held = true;
    three.cut.clear();
    three.tick(3);
    assert!(three.has_begun(2));
    // The state is made now, the records are removed before they are copied.
    let (to, from, number, chunks) = three.copying.asks.pop_front().unwrap();
    three.serve((to, from), number, chunks);
    three.settle();
    assert!(!three.copying.asks.is_empty(), "it asks for records");
    three.change(0, &Request::Trim { topic: topic(&names[2]), first: Offset(4) });
    three.change(0, &Request::Delete(topic(&names[0])));
    three.copying.is_held = false;
    three.tick(6);
    assert_eq!(three.copies(2), (1, 0));
    assert_eq!(three.topics_of(2), three.topics_of(0));
}

#[test]
fn a_leader_keeps_the_log_after_a_state_that_is_being_copied() {
    let (mut three, names) = with_one_behind();
    assert_eq!(three.nodes[0].image(SLOT).pinned, None);
    three.copying.is_held = true;
    three.cut.clear();
    three.tick(3);
    let index = three.nodes[0].image(SLOT).applied.index;
    let (to, from, number, chunks) = three.copying.asks.pop_front().unwrap();
    three.serve((to, from), number, chunks);
    three.create(0, &names[4]);
    three.settle();
    let pinned = |three: &Three| three.nodes[0].images()[0].pinned;
    assert_eq!(pinned(&three), Some(index + 1));
    three.cut = vec![2];
    let ticks = usize::try_from(COPY_SILENCE_US / TICK_US).unwrap();
    three.tick(ticks - 1);
    assert_eq!(pinned(&three), Some(index + 1));
    three.tick(1);
    assert_eq!(pinned(&three), None);
}

#[test]
fn a_copy_of_a_leader_that_serves_nonsense_is_given_up_and_made_again() {
    let spoils: [fn(&mut Chunk); 6] = [
        |chunk| chunk.length = u64::MAX,
        |chunk| chunk.index = 0,
        |chunk| chunk.slot += 1,
        |chunk| chunk.payload.parts = vec![Bytes::from_static(b"no state")],
        |chunk| {
            let mut payload = Vec::new();
            let batch = ChunkBatch { count: 1, append_us: 1, records: Bytes::from_static(b"no record") };
            batch.encode(&mut Writer::new(&mut payload));
            if chunk.batches > 0 {
                (chunk.batches, chunk.payload.parts) = (1, vec![payload.into()]);
            }
        },
        |chunk| {
            if chunk.batches > 0 {
                chunk.from = 0;
            }
        },
    ];
    for (nth, spoil) in spoils.into_iter().enumerate() {
        let (mut three, _) = with_one_behind();
        three.copying.spoil = Some(spoil);
        three.cut.clear();
        three.tick(4);
        let (copies, failed) = three.copies(2);
        assert!(copies == 0 && failed > 0, "{nth}");
        three.copying.spoil = None;
        three.tick(25);
        assert_eq!(three.topics_of(2), three.topics_of(0), "{nth}");
        assert_eq!(three.copies(2).0, 1, "{nth}");
    }
}

#[test]
fn strangers_get_no_copy() {
    let (mut three, _) = with_one_behind();
    let chunks = Chunks { slot: SLOT.index(), index: 0, topic: None, from: 0 };
    let request = Request::Chunks(chunks);
    let frame = request_frame(&request, &[], RequestId(0), Flags::default());
    let stranger = settings(3, 2);
    let target = three.nodes[0].settings.id;
    let route = stranger.new_route(target, Kind::Node, TrafficClass::Bulk, Origin::from_number(1));
    three.act(0, |parts, step| {
        let (reply, since_us) = (ReplyTo::new(&frame.header, &route), step.now.monotonic_us);
        let call = Call { frame: &frame, route: &route, reply, slot: None, since_us };
        let answer = parts.on_chunks(step, &chunks, &call);
        assert!(matches!(answer, Err(error) if error.status == Status::BadRequest.number()));
    });
    assert_eq!(three.nodes[0].images()[0].pinned, None);
    // Answers count only if they come from the node that was asked.
    three.copying.is_held = true;
    three.cut.clear();
    three.tick(3);
    let (_, _, number, _) = three.copying.asks.pop_front().unwrap();
    let group = three.nodes[2].parts.groups.existing_mut(SLOT);
    assert!(group.has_asked(target, number) && !group.has_asked(stranger.id, number));
}
