//! A client that violates the protocol: each attack is a few bytes and the required reaction of the node (protocol.md,
//! 13).

use std::collections::VecDeque;

use bytes::Bytes;
use dht_node::types::RequestId;
use dht_node::wire::{Flags, Opcode, Status};
use fastrand::Rng;

use crate::attacks::{Attack, MARKER, Then, draw, greedy};
use crate::client::Ctx;
use crate::craft::{PING_ARGS, hello, plain};
use crate::frames::next_frame;
use crate::phases::Phase;
use crate::wire::{End, Got, Leave, Place};

/// Performs one attack after the other, each on a connection of its own.
#[derive(Debug, Default)]
pub(crate) struct Hostile {
    me: usize,
    /// True if it only requests large amounts from node 0.
    is_greedy: bool,
    running: Option<Running>,
    next_us: u64,
}

#[derive(Debug)]
struct Running {
    attack: Attack,
    node: usize,
    end: End,
    began_us: u64,
    has_sent: bool,
    outbox: VecDeque<Bytes>,
    inbox: Vec<u8>,
    /// The frames received: opcode, status, and whether it was a response.
    received: Vec<(Option<Opcode>, Option<Status>, bool)>,
    /// True once the PING after the attack has been answered.
    is_answered: bool,
}

/// A node reacts within this time, including timeouts of the protocol and a stall.
const REACTION_US: u64 = 9_000_000;
/// How long an attacker that never reads stays.
const STAY_US: u64 = 1_500_000;
const CONNECT_US: u64 = 2_500_000;

impl Hostile {
    pub(crate) fn greedy() -> Self {
        Self { is_greedy: true, ..Self::default() }
    }

    pub(crate) const fn set_place(&mut self, me: usize) {
        self.me = me;
    }

    pub(crate) const fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    pub(crate) fn step(&mut self, ctx: &mut Ctx<'_>, rng: &mut Rng) -> Option<u64> {
        if let Some(mut running) = self.running.take() {
            if !running.step(self.me, ctx) {
                self.running = Some(running);
                return Some(ctx.now_us + 20_000);
            }
            self.next_us = ctx.now_us + rng.u64(1_000..400_000);
        }
        if ctx.phase > Phase::Work {
            return None;
        }
        if ctx.now_us >= self.next_us {
            self.begin(ctx, rng);
        }
        Some(self.next_us.max(ctx.now_us + 20_000))
    }

    fn begin(&mut self, ctx: &mut Ctx<'_>, rng: &mut Rng) {
        ctx.trace.totals.attacks += 1;
        let node = if self.is_greedy { 0 } else { rng.usize(..ctx.ground.nodes.len()) };
        let attack = if self.is_greedy { greedy(rng) } else { draw(ctx.profile, node, rng) };
        let mut bytes = if attack.greets { hello() } else { Vec::new() };
        bytes.extend_from_slice(&attack.bytes);
        if attack.then == Then::GoesOn {
            bytes.extend(plain(Opcode::Ping, Flags::default(), MARKER, &PING_ARGS));
        }
        let bytes = Bytes::from(bytes);
        // Some attackers send one byte at a time.
        let step = if rng.u8(..100) < 20 && bytes.len() < 500 { 1 } else { bytes.len().max(1) };
        let outbox = (0..bytes.len()).step_by(step).map(|at| bytes.slice(at..(at + step).min(bytes.len()))).collect();
        self.running = Some(Running {
            attack,
            node,
            end: ctx.network.dial(ctx.now_us, Place::Client(self.me), Place::Node(node)),
            began_us: ctx.now_us,
            has_sent: false,
            outbox,
            inbox: Vec::new(),
            received: Vec::new(),
            is_answered: false,
        });
    }
}

impl Running {
    /// Continues the attack. Returns whether it is over.
    fn step(&mut self, me: usize, ctx: &mut Ctx<'_>) -> bool {
        let Self { end, began_us, .. } = *self;
        let since_us = ctx.now_us - began_us;
        if let Some(posed) = self.attack.poses_as {
            ctx.ground.disturb(ctx.now_us, self.node, posed);
            if ctx.phase > Phase::Work {
                return self.leave(ctx, Leave::Reset);
            }
        }
        if !self.has_sent && !ctx.network.is_open(end) {
            let is_over = since_us > CONNECT_US || matches!(ctx.network.read(end), Got::Broken);
            return is_over && self.leave(ctx, Leave::Reset);
        }
        ctx.network.write(ctx.now_us, end, &mut self.outbox);
        let was_sent = std::mem::replace(&mut self.has_sent, self.outbox.is_empty());
        match self.attack.then {
            Then::Vanishes if self.has_sent => return self.leave(ctx, Leave::Vanish),
            Then::NeverReads if since_us > STAY_US => return self.leave(ctx, Leave::Reset),
            Then::Stays if since_us > STAY_US => return self.leave(ctx, Leave::Reset),
            Then::NeverReads | Then::Vanishes => return false,
            Then::HangsUp if self.has_sent && !was_sent => ctx.network.shut(ctx.now_us, end),
            Then::HangsUp | Then::GoesOn | Then::IsClosed | Then::Stays => {}
        }
        loop {
            match ctx.network.read(end) {
                Got::Nothing => break,
                Got::Bytes(part) => {
                    ctx.trace.mix(ctx.now_us, usize::MAX - me, &part);
                    self.inbox.extend_from_slice(&part);
                }
                Got::Broken => {
                    let is_surprising = self.was_well(ctx) && self.attack.answers.is_some();
                    assert!(!is_surprising, "{}: node {} closed the connection early", self.attack.name, self.node);
                    return self.leave(ctx, Leave::Done);
                }
                Got::End => {
                    self.take_frames(me, ctx);
                    self.judge(ctx, true);
                    return self.leave(ctx, Leave::Done);
                }
            }
        }
        self.take_frames(me, ctx);
        if self.is_answered {
            self.judge(ctx, false);
            return self.leave(ctx, Leave::Done);
        }
        let is_late = since_us > REACTION_US;
        assert!(
            !(is_late && self.was_well(ctx)),
            "{}: node {} reacted with {:?}",
            self.attack.name,
            self.node,
            self.received
        );
        is_late && self.leave(ctx, Leave::Reset)
    }

    fn take_frames(&mut self, me: usize, ctx: &mut Ctx<'_>) {
        let bytes = std::mem::take(&mut self.inbox);
        let mut at = 0;
        while let Some(frame) = next_frame(&bytes[at..], 1 << 20, ctx.profile.dimension).expect("a valid frame") {
            at += frame.len();
            let header = &frame.header;
            ctx.trace.frame(ctx.now_us, (Place::Client(me), Place::Node(self.node)), header);
            let is_response = header.flags.has(Flags::RESPONSE);
            let opcode = Opcode::from_number(header.opcode);
            if is_response || opcode == Some(Opcode::Goaway) {
                self.is_answered |= is_response && header.request_id == RequestId(MARKER);
                self.received.push((opcode, Status::from_number(header.status), is_response));
            }
        }
        self.inbox = bytes[at..].to_vec();
    }

    /// Checks that the node reacted as required.
    fn judge(&self, ctx: &Ctx<'_>, is_closed: bool) {
        let Some(answers) = &self.attack.answers else { return };
        let mut expected = Vec::new();
        if self.attack.greets {
            expected.push((Some(Opcode::Hello), Some(Status::Ok), true));
        }
        expected.extend(
            answers.iter().map(|(opcode, status)| {
                (Opcode::from_number(*opcode), Some(*status), *opcode != Opcode::Goaway.number())
            }),
        );
        if self.attack.then == Then::GoesOn {
            expected.push((Some(Opcode::Ping), Some(Status::Ok), true));
        }
        let is_right = self.received == expected && is_closed == (self.attack.then != Then::GoesOn);
        let Self { attack, node, received, .. } = self;
        assert!(
            is_right || !self.was_well(ctx),
            "{}: node {node} reacted with {received:?}, not {expected:?}",
            attack.name
        );
    }

    /// Returns true if the node was running and had no faults during the attack.
    fn was_well(&self, ctx: &Ctx<'_>) -> bool {
        let truth = &ctx.ground.nodes[self.node];
        let is_led = !ctx.ground.may_have_changed_leader(self.began_us);
        truth.is_up && !truth.is_draining && ctx.ground.has_run(self.node, self.began_us) && is_led
    }

    fn leave(&self, ctx: &mut Ctx<'_>, how: Leave) -> bool {
        ctx.network.leave(ctx.now_us, self.end, how);
        true
    }
}
