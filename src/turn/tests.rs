//! How much of what the log returns at once a turn handles.

use std::collections::VecDeque;

use super::*;
use crate::entry::{CopiedState, CopyOutcome};
use crate::limits::{LOG_WINDOW_BYTES, TURN_WORK};
use crate::node::{Copies, Settings, SourceLimits};
use crate::types::{Dimension, Retention, Slots, Source, TopicName, crc32};
use crate::wire::records::Record;
use crate::wire::request::{Publish, Topic};
use crate::wire::response::Durability;
use crate::wire::{Flags, Head, Header, Hello, Opcode, Raw, Request};

const CLIENT: ConnId = ConnId { slot: 0, generation: 1 };
const NOW: Now = Now { monotonic_us: 1_000_000, wall_us: 1_700_000_000_000_000 };

/// Connections that take everything.
#[derive(Default)]
struct Sink {
    frames: usize,
}

impl Connections for Sink {
    fn send(&mut self, _: ConnId, _: RequestId, _: Option<&Route>, packet: &Packet) -> bool {
        self.frames += if let Packet::Published(acks) = packet { acks.batches.len() } else { 1 };
        false
    }

    fn forward(&mut self, _: ConnId, _: RequestId, _: Option<&Route>, _: &Frame<'_>) -> bool {
        false
    }

    fn queued(&self, _: ConnId) -> usize {
        0
    }

    fn dial(&mut self, _: NodeId) {}

    fn admit(&mut self, _: ConnId, _: u32, _: usize) {}

    fn set_paused(&mut self, _: ConnId, _: bool) {}

    fn close(&mut self, _: ConnId) {}
}

/// A log whose disk hangs and then has everything at once.
#[derive(Default)]
struct Hanging {
    turns: VecDeque<Written>,
    hangs: bool,
    /// True if it has no room for anything, as before its next segment is ready.
    is_short: bool,
    /// What it got for copies and checkpoints.
    given: Vec<Given>,
    /// What it has done for a copy.
    copied: Option<CopyDone>,
    wants_image: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Given {
    Copy { number: Option<u64>, groups: usize },
    Images,
    End { has_images: bool },
}

impl Store for Hanging {
    fn submit(&mut self, write: Write) {
        self.turns.push_back(write.written(Place::default()));
    }

    fn take_written(&mut self) -> Option<Written> {
        if self.hangs { None } else { self.turns.pop_front() }
    }

    fn file(&mut self, _: Vec<Note>) {}

    fn read(&mut self, _: Lookup) {}

    fn take_read(&mut self) -> Option<(Lookup, Result<Found, Unreadable>)> {
        None
    }

    fn fetch(&mut self, _: LogQuery) {}

    fn take_fetched(&mut self) -> Option<(LogQuery, Result<LogPart, Unreadable>)> {
        None
    }

    fn copy(&mut self, task: CopyTask, images: Vec<Image>) {
        self.given.push(Given::Copy { number: task.installs().map(|(_, number)| number), groups: images.len() });
    }

    fn take_copied(&mut self) -> Option<CopyDone> {
        self.copied.take()
    }

    fn wants_image(&self) -> bool {
        self.wants_image
    }

    fn keep_images(&mut self, _: Vec<Image>) {
        self.given.push(Given::Images);
    }

    fn room(&self) -> Room {
        if self.is_short { Room { bytes: 0, is_full: false, log_kept: 0 } } else { Room::UNLIMITED }
    }

    fn close(&mut self, images: Option<Vec<Image>>) {
        self.given.push(Given::End { has_images: images.is_some() });
    }
}

/// Returns the settings of a node of a cube of this dimension.
pub(crate) fn settings(dimension: Dimension) -> Settings {
    Settings {
        id: NodeId::from_low_bits(0, dimension),
        dimension,
        slots: Slots::one_per_node(dimension),
        copies: Copies::One,
        cluster: String::new(),
        software: String::new(),
        addresses: Vec::new(),
        instance: 7,
        origin_mark: 7,
        seed: 1,
        memory_bytes: u64::MAX,
        retention: Retention::default(),
        durability: Durability::Memory,
        clients_max: 10,
        handshakes_max: 10,
        source_limits: SourceLimits::default(),
        log_window_bytes: LOG_WINDOW_BYTES,
    }
}

fn turn() -> Turn<Sink, Hanging> {
    let settings = settings(Dimension::new(0).unwrap());
    let mut turn = Turn::new(Node::new(settings, NOW), Sink::default(), Hanging::default());
    turn.handle(NOW, Event::Accepted { conn: CLIENT, source: Source::Ipv4([127, 0, 0, 1]) });
    let mut hello = Vec::new();
    head(Opcode::Hello, 1).seal(None, (0, 0), &mut hello, |args| Hello::of_client(1, "test").encode(args, None));
    receive(&mut turn, &hello);
    turn
}

fn head(opcode: Opcode, id: u64) -> Head {
    Head { opcode: opcode.number(), flags: Flags::default(), status: 0, request_id: RequestId(id) }
}

fn receive(turn: &mut Turn<Sink, Hanging>, bytes: &[u8]) {
    let header = Header::parse(bytes, 1 << 20).unwrap().unwrap();
    let frame = Frame::parse(header, Raw::Borrowed(bytes), Dimension::new(0).unwrap()).unwrap();
    turn.handle(NOW, Event::Frame { conn: CLIENT, frame: &frame });
}

fn ask(turn: &mut Turn<Sink, Hanging>, id: u64, request: &Request<'_>, payload: &[u8]) {
    let mut bytes = Vec::new();
    let sum = (payload.len(), crc32(payload));
    head(request.opcode(), id).seal(None, sum, &mut bytes, |args| request.encode(args));
    bytes.extend_from_slice(payload);
    receive(turn, &bytes);
}

#[test]
fn what_a_hanging_disk_makes_durable_at_once_is_applied_over_several_turns() {
    // Few enough that none is refused because too much waits for the disk.
    const TURNS: usize = 10;
    let mut turn = turn();
    let topic = TopicName::new("t").unwrap();
    ask(&mut turn, 2, &Request::Create { topic, retention: Retention::default() }, &[]);
    turn.finish(NOW);
    turn.store.hangs = true;
    let mut record = Vec::new();
    Record { value: b"value", ..Record::default() }.encode(&mut record).unwrap();
    let publish = Request::Publish(Publish { topic: Topic { name: topic, id: None }, producer: None, count: 1 });
    let mut asked = 0;
    for _ in 0..TURNS {
        // As much as a turn takes.
        turn.take_work();
        while turn.node().work() < TURN_WORK {
            asked += 1;
            ask(&mut turn, 2 + asked, &publish, &record);
        }
        turn.finish(NOW);
        assert!(!turn.has_more(), "the disk hangs");
    }
    turn.store.hangs = false;
    turn.conns.frames = 0;
    let mut turns = 0;
    while turns == 0 || turn.has_more() {
        turn.take_work();
        turn.finish(NOW);
        let work = turn.take_work();
        assert!(work < COMMIT_WORK + TURN_WORK, "{work} units in one turn");
        turns += 1;
    }
    assert_eq!(turn.conns.frames as u64, asked, "each is answered");
    assert!(turns > TURNS / 4, "{turns}");
}

#[test]
fn nothing_is_submitted_before_the_log_has_room_for_it_not_even_in_the_first_turn() {
    let mut turn = turn();
    turn.store.is_short = true;
    let topic = TopicName::new("t").unwrap();
    ask(&mut turn, 2, &Request::Create { topic, retention: Retention::default() }, &[]);
    turn.conns.frames = 0;
    for _ in 0..3 {
        turn.finish(NOW);
        assert_eq!((turn.store.turns.len(), turn.conns.frames, turn.node().topic_count()), (0, 0, 0));
    }
    turn.store.is_short = false;
    // The news comes at the end of a turn, or before the next one.
    turn.finish(NOW);
    turn.finish(NOW);
    assert_eq!((turn.conns.frames, turn.node().topic_count()), (1, 1));
}

/// The store may have replaced the state of the group already, and the node has the old one until it is told.
#[test]
fn no_checkpoint_is_made_while_a_copied_state_is_installed() {
    let mut turn = turn();
    turn.store.wants_image = true;
    let slot = SlotId::from_low_bits(0, Slots::one_per_node(Dimension::new(0).unwrap()));
    let (topics, kept, void) = (Vec::new(), Vec::new(), Vec::new());
    let state = CopiedState { slot, index: 1, term: 1, topics, kept, void };
    for number in [7, 8] {
        let task = CopyTask::Install { number, state: Box::new(state.clone()) };
        turn.perform(Action::Copy { task }, None);
    }
    turn.perform(Action::Copy { task: CopyTask::Drop { slot } }, None);
    (0..3).for_each(|_| turn.finish(NOW));
    let [drop, first, second] =
        [None, Some(7), Some(8)].map(|number| Given::Copy { number, groups: usize::from(number.is_some()) });
    assert_eq!(std::mem::take(&mut turn.store.given), [drop, first], "one state at a time");
    for (number, outcome, expected) in [
        (6, CopyOutcome::Failed, vec![]),
        (7, CopyOutcome::Installed(Place::default()), vec![second]),
        (8, CopyOutcome::Failed, vec![Given::Images]),
    ] {
        turn.store.copied = Some(CopyDone { slot, number, outcome });
        turn.finish(NOW);
        assert_eq!(std::mem::take(&mut turn.store.given), expected, "{number}");
    }
    let task = CopyTask::Install { number: 9, state: Box::new(state) };
    turn.perform(Action::Copy { task }, None);
    turn.finish(NOW);
    turn.close();
    let end = turn.store.given.pop();
    assert_eq!(end, Some(Given::End { has_images: false }));
}
