//! The tick: everything that happens because time passes. It runs every [`TICK_US`]; nothing has a timer of its own.

use super::action::{Action, Packet};
use super::conns::{Conn, Peer};
use super::{Parts, Step};
use crate::limits::{CLOCK_ASK_US, HEADS_US, PAUSED_PING_US, TICK_US};
use crate::types::{ConnId, Now, RequestId};
use crate::wire::Status;

/// How overdue a tick must be, in microseconds, before it counts as a stall of this process. The silence of the peers
/// during a stall says nothing about them.
const STALL_US: u64 = 3 * TICK_US;

/// Clients are checked in one of this many ticks: their keepalive is in seconds, and there may be thousands of them.
const TICKS_PER_CLIENT_SCAN: u64 = 5;

/// The node's sense of time.
#[derive(Debug)]
pub(super) struct Clock {
    started_us: u64,
    next_tick_us: u64,
    ticks: u64,
    /// Monotonic time, in microseconds, until which an accepted connection may have been opened during a stall.
    stale_until_us: u64,
}

/// What to do about a silent client.
enum Due {
    Ping,
    End(Status, &'static str),
}

impl Clock {
    pub(super) const fn new(now: Now) -> Self {
        Self { started_us: now.monotonic_us, next_tick_us: now.monotonic_us, ticks: 0, stale_until_us: 0 }
    }

    pub(super) const fn next_tick_us(&self) -> u64 {
        self.next_tick_us
    }

    pub(super) const fn started_us(&self) -> u64 {
        self.started_us
    }

    /// Returns true at one in every `ticks` ticks.
    pub(super) const fn is_every(&self, ticks: u64) -> bool {
        self.ticks.is_multiple_of(ticks)
    }

    /// Returns true for a tick after a stall was noticed. A connection that is accepted then may have waited in the
    /// backlog since the stall.
    pub(super) const fn is_just_after_stall(&self, now: Now) -> bool {
        now.monotonic_us < self.stale_until_us
    }

    pub(super) const fn uptime_ms(&self, now: Now) -> u64 {
        now.monotonic_us.saturating_sub(self.started_us) / 1000
    }
}

impl Parts {
    pub(super) fn on_timeout(&mut self, step: &mut Step<'_>) {
        self.readers.catch_up(step, self.ingress.admission(), &self.groups);
        self.ingress.on_timeout(step);
        if self.clock.next_tick_us > step.now.monotonic_us {
            return;
        }
        self.clock.next_tick_us = step.now.after_us(TICK_US);
        self.clock.ticks += 1;
        self.groups.iter_mut().for_each(|group| group.begin_times(step));
        if let Some(jumped) = step.wall.tick(step.now) {
            step.stats.clock_jumps += 1;
            self.groups.iter_mut().for_each(|group| group.propose_jump(step, jumped));
        }
        if !step.wall.is_trusted() && self.clock.is_every(CLOCK_ASK_US / TICK_US) {
            self.router.ping_all(step);
        }
        self.tick_links(step);
        self.tick_members(step);
        self.announce(step);
        self.ingress.tick(step);
        self.readers.tick(step);
        if self.clock.is_every(HEADS_US / TICK_US) {
            self.tell_heads(step);
            self.readers.tick_followed(step);
        }
        self.expire_greetings(step);
        if self.clock.is_every(TICKS_PER_CLIENT_SCAN) {
            self.tick_clients(step);
        }
        self.groups.iter_mut().for_each(|group| group.trim_aged(step));
        self.groups.iter_mut().for_each(|group| group.propose_check(step));
    }

    /// Detects that this process has stalled: its tick is overdue. This is called before each event, so that no frame
    /// that waited in a socket during the stall is taken for a new sign of life.
    ///
    /// The silence timeout of every peer restarts, because what it sent during the stall has not been read yet.
    /// Handshaking connections are marked as stale: their peers may have given up meanwhile.
    pub(super) fn notice_stall(&mut self, now: Now) {
        let is_noticed = self.clock.is_just_after_stall(now);
        if is_noticed || now.monotonic_us.saturating_sub(self.clock.next_tick_us) < STALL_US {
            return;
        }
        self.clock.stale_until_us = now.after_us(TICK_US);
        for (_, conn) in self.conns.iter_mut() {
            conn.heard_us = now.monotonic_us;
            if let Peer::Handshaking { is_stale, .. } = &mut conn.peer {
                *is_stale = true;
            }
        }
        self.router.forgive_silence(now);
        self.readers.forgive_leaders(now.monotonic_us);
    }

    /// Closes connections whose HELLO has not come in time, and connections of departing neighbours that are still open
    /// at their deadline. A replacement link that is still pending at its deadline replaces the old link.
    fn expire_greetings(&mut self, step: &mut Step<'_>) {
        let now_us = step.now.monotonic_us;
        let is_late = |id, peer: &Peer| match peer {
            Peer::Handshaking { deadline_us, .. } | Peer::Leaving { deadline_us, .. } => *deadline_us <= now_us,
            Peer::Link { bit } => self.router.is_overdue(*bit, id, now_us),
            Peer::Client(_) => false,
        };
        let late = self.conns.iter_mut().filter(|(id, conn)| is_late(*id, &conn.peer));
        let late: Vec<ConnId> = late.map(|(id, _)| id).collect();
        for id in late {
            let link = match self.conns.get_mut(id).map(|conn| &conn.peer) {
                Some(Peer::Link { bit }) => self.router.conn(*bit),
                _ => None,
            };
            match link {
                // It has shown no sign of life. Its end admits the replacement link.
                Some(link) => self.refuse(step, link, Status::KeepaliveTimeout, "another connection replaces this one"),
                None => self.refuse(step, id, Status::HelloRequired, "no HELLO came in time"),
            }
        }
    }

    fn ping_client(&mut self, step: &mut Step<'_>, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.sent_us = step.now.monotonic_us;
            let token = RequestId(step.now.monotonic_us);
            step.out.push(Action::Send { conn: id, request_id: token, route: None, packet: Packet::Ping });
        }
    }

    fn tick_clients(&mut self, step: &mut Step<'_>) {
        let (now_us, admission) = (step.now.monotonic_us, self.ingress.admission());
        let due: Vec<(ConnId, Due)> = self
            .conns
            .iter_mut()
            .filter_map(|(id, conn)| {
                let (is_suspended, is_full) = (admission.is_suspended(id), admission.is_full(id));
                let is_left_waiting = is_suspended && !is_full && is_asking(&conn.peer);
                let due = if is_left_waiting && conn.sent_us + PAUSED_PING_US <= now_us {
                    Due::Ping
                } else {
                    due(conn, is_suspended, self.readers.has_readers(id), now_us)?
                };
                Some((id, due))
            })
            .collect();
        for (id, due) in due {
            match due {
                Due::Ping => self.ping_client(step, id),
                Due::End(status, message) => {
                    step.stats.clients_silent += 1;
                    self.refuse(step, id, status, message);
                }
            }
        }
    }
}

/// Returns true for a client that may send more requests. While it is suspended, its PING goes unanswered, so this node
/// must send PINGs of its own, or the client takes it for dead.
const fn is_asking(peer: &Peer) -> bool {
    matches!(peer, Peer::Client(client) if !client.ended)
}

/// Returns what is due for a client that has been silent for some time. While this node does not read a client, its
/// silence says nothing.
fn due(conn: &mut Conn, is_suspended: bool, has_readers: bool, now_us: u64) -> Option<Due> {
    let silent_us = now_us.saturating_sub(conn.heard_us);
    let Peer::Client(client) = &mut conn.peer else { return None };
    if silent_us < client.keepalive_us {
        client.pinged = false;
        return None;
    }
    if is_suspended || client.ended {
        return None;
    }
    // A subscriber may stop for longer than its keepalive, in a debugger for example, and then only lags. TCP detects
    // whether its host is alive.
    if silent_us >= 2 * client.keepalive_us && !has_readers {
        return Some(Due::End(Status::KeepaliveTimeout, "no sign of life; answer PING or send one"));
    }
    let first = !client.pinged;
    client.pinged = true;
    first.then_some(Due::Ping)
}
