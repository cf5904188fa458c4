//! A driver over sockets in memory, with a clock that the test moves.

use super::*;
use crate::limits::{LINGER_US, TURN_INPUT_US, TURN_WRITES_US};
use crate::node::Node;
use crate::turn::MemoryStore;
use crate::types::{LinkSet, NodeSet, RequestId};
use crate::wire::request::ANY_NODE;
use crate::wire::{Flags, Head, Hello, Kind, Opcode, Origin, Request, Route, TrafficClass};

/// Returns the route of a frame of this class between two neighbours.
pub(crate) fn route(class: TrafficClass) -> Route {
    let dimension = Dimension::new(3).unwrap();
    Route {
        source: NodeId::from_low_bits(0, dimension),
        target: NodeId::from_low_bits(1, dimension),
        ttl: 1,
        hops: 0,
        kind: Kind::Node,
        class,
        dimension,
        origin: Origin::from_number(0),
        down: LinkSet::new(),
        targets: NodeSet::new(),
    }
}

/// A socket in memory.
#[derive(Debug, Default)]
pub(crate) struct Socket {
    /// What the peer has sent.
    pub input: Vec<u8>,
    /// What was written.
    pub output: Vec<u8>,
}

/// Takes and gives everything at once.
#[derive(Debug, Default)]
pub(crate) struct FakeOs {
    pub now_us: u64,
    /// Microseconds by which each read of the clock advances it.
    pub step_us: u64,
}

impl Os<Socket> for FakeOs {
    fn read(&mut self, socket: &mut Socket, room: &mut [u8]) -> io::Result<usize> {
        let count = room.len().min(socket.input.len());
        room[..count].copy_from_slice(&socket.input[..count]);
        socket.input.drain(..count);
        if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn write(&mut self, socket: &mut Socket, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        slices.iter().for_each(|slice| socket.output.extend_from_slice(slice));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn shut(&mut self, _: &mut Socket) -> io::Result<()> {
        Ok(())
    }

    fn close(&mut self, _: Socket, _: bool) {}

    fn note_link(&mut self, _: &mut Socket) {}

    fn now(&mut self) -> Now {
        Now { monotonic_us: self.now_us, wall_us: self.now_us }
    }

    fn monotonic_us(&mut self) -> u64 {
        self.now_us += self.step_us;
        self.now_us
    }
}

const NOW: Now = Now { monotonic_us: 1_000_000, wall_us: 1_700_000_000_000_000 };

/// Returns the loop of a node with this many clients, which have said HELLO.
fn with_clients(count: u8) -> (Driver<Table<Socket>, MemoryStore>, FakeOs, Vec<ConnId>) {
    let dimension = Dimension::new(0).unwrap();
    let node = Node::new(crate::turn::tests::settings(dimension), NOW);
    let turn = Turn::new(node, Table::new(1 << 20), MemoryStore::default());
    let mut driver = Driver::new(turn, dimension, usize::MAX);
    let mut os = FakeOs { now_us: NOW.monotonic_us, step_us: 0 };
    let mut hello = Vec::new();
    head(Opcode::Hello, 1).seal(None, (0, 0), &mut hello, |args| Hello::of_client(1, "test").encode(args, None));
    for place in 0..count {
        let socket = Socket { input: hello.clone(), output: Vec::new() };
        driver.accept(NOW, socket, Source::Ipv4([10, 0, 0, place]));
    }
    let ids: Vec<ConnId> = driver.conns().iter().map(|conn| conn.id).collect();
    pass(&mut driver, &mut os, &ids);
    assert!(ids.iter().all(|id| !output(&mut driver, *id).is_empty()), "HELLO is answered");
    (driver, os, ids)
}

fn head(opcode: Opcode, request_id: u64) -> Head {
    Head { opcode: opcode.number(), flags: Flags::default(), status: 0, request_id: RequestId(request_id) }
}

/// Runs a pass in which these sockets are reported as readable.
fn pass(driver: &mut Driver<Table<Socket>, MemoryStore>, os: &mut FakeOs, ids: &[ConnId]) {
    let now = os.now();
    driver.begin(now);
    for id in ids {
        let ready = Ready { is_readable: true, is_writable: false, is_read_closed: false, is_error: false };
        assert_eq!(driver.on_ready(os, now, *id, ready), None, "it is not being dialled");
    }
    let now = driver.read_ready(os, now);
    driver.finish(now);
    driver.on_time(os, now);
    driver.write_dirty(os, now);
}

/// Takes what was written to a connection.
fn output(driver: &mut Driver<Table<Socket>, MemoryStore>, id: ConnId) -> Vec<u8> {
    std::mem::take(&mut driver.conns().get_mut(id).unwrap().socket.output)
}

/// Sends a PING of each client.
fn ping(driver: &mut Driver<Table<Socket>, MemoryStore>, ids: &[ConnId]) {
    let ping = Request::Ping { node: ANY_NODE, token: 7 };
    for id in ids {
        let socket = &mut driver.conns().get_mut(*id).unwrap().socket;
        head(Opcode::Ping, 2).seal(None, (0, 0), &mut socket.input, |args| ping.encode(args));
    }
}

/// Returns how many of the clients have input that was not read.
fn unread(driver: &mut Driver<Table<Socket>, MemoryStore>) -> usize {
    driver.conns().iter().filter(|conn| !conn.socket.input.is_empty()).count()
}

/// Returns how many of the clients have answers that were not written.
fn unwritten(driver: &mut Driver<Table<Socket>, MemoryStore>) -> usize {
    driver.conns().iter().filter(|conn| !conn.outbox.is_empty()).count()
}

#[test]
fn a_pass_takes_input_until_its_time_is_over_and_the_next_one_goes_on_there() {
    const CLIENTS: u8 = 9;
    // Every read of the clock takes so long that three clients have their turn, then all of them at once.
    let cases = [(TURN_INPUT_US / 3 + 1, vec![6, 3, 0]), (TURN_INPUT_US, vec![8, 7, 6]), (0, vec![0, 0])];
    for (step_us, expected) in cases {
        let (mut driver, mut os, ids) = with_clients(CLIENTS);
        os.step_us = step_us;
        ping(&mut driver, &ids);
        for (number, left) in expected.into_iter().enumerate() {
            pass(&mut driver, &mut os, if number == 0 { &ids } else { &[] });
            assert_eq!(unread(&mut driver), left, "pass {number}, {step_us} us");
            assert_eq!(driver.wait_us(os.now_us) == 0, left > 0, "the rest is due at once");
        }
    }
}

#[test]
fn a_pass_writes_to_clients_until_its_time_is_over_and_the_next_one_goes_on_there() {
    const CLIENTS: u8 = 9;
    // The first read of the clock begins the time.
    let cases = [(TURN_WRITES_US / 2, vec![6, 3, 0]), (TURN_WRITES_US, vec![7, 5, 3]), (0, vec![0, 0])];
    for (step_us, expected) in cases {
        let (mut driver, mut os, ids) = with_clients(CLIENTS);
        ping(&mut driver, &ids);
        let now = os.now();
        ids.iter().for_each(|id| driver.conns().mark_ready(*id));
        driver.read_ready(&mut os, now);
        assert_eq!(unwritten(&mut driver), usize::from(CLIENTS));
        os.step_us = step_us;
        for (number, left) in expected.into_iter().enumerate() {
            driver.write_dirty(&mut os, now);
            assert_eq!(unwritten(&mut driver), left, "pass {number}, {step_us} us");
            assert_eq!(driver.wait_us(os.now_us) == 0, left > 0, "the rest is due at once");
        }
    }
}

#[test]
fn a_connection_that_the_node_has_closed_lingers_until_its_peer_ends_or_its_time_is_over() {
    let (mut driver, mut os, ids) = with_clients(2);
    let now = os.now();
    driver.conns().get_mut(ids[0]).unwrap().socket.input = b"not a frame at all".to_vec();
    pass(&mut driver, &mut os, &ids[..1]);
    let conn = driver.conns().get_mut(ids[0]).unwrap();
    assert!(matches!(conn.state, State::Closing { is_shut: true, .. }), "GOAWAY is written: {:?}", conn.state);
    let deadline_us = now.monotonic_us + LINGER_US;
    for (now_us, is_there) in [(deadline_us - 1, true), (deadline_us + SWEEP_US, false)] {
        os.now_us = now_us;
        pass(&mut driver, &mut os, &[]);
        assert_eq!(driver.conns().get_mut(ids[0]).is_some(), is_there);
    }
    assert!(driver.conns().get_mut(ids[1]).is_some(), "the other one is not concerned");
}
