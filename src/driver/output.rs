//! Writes to the connections with queued bytes, each within its share of the pass.

use super::conn::State;
use super::{Driver, Os, Tabled};
use crate::limits::{TURN_WRITES_US, WRITE_BUDGET};
use crate::node::Event;
use crate::turn::Store;
use crate::types::{ConnId, Now};

impl<C: Tabled, S: Store> Driver<C, S> {
    /// Writes to the connections with queued bytes: to each link once, then to clients until their time is over.
    pub fn write_dirty<O: Os<C::Socket>>(&mut self, os: &mut O, now: Now) {
        for id in std::mem::take(&mut self.conns().links) {
            if let Some(conn) = self.conns().get_mut(id) {
                os.note_link(&mut conn.socket);
            }
        }
        for id in self.conns().dirty.take_links() {
            self.write(os, now, id);
        }
        // A turn with a single client, whose latency counts, reads no clock.
        let mut end_us = None;
        let mut is_over = |is_last: bool, os: &mut O| {
            is_last || {
                let now_us = os.monotonic_us();
                now_us >= *end_us.get_or_insert_with(|| now_us.saturating_add(TURN_WRITES_US))
            }
        };
        while let Some(id) = self.conns().next_with_little() {
            self.write(os, now, id);
            if is_over(self.conns().dirty.is_empty(), os) {
                break;
            }
        }
        while let Some(id) = self.conns().dirty.next_with_much() {
            self.write(os, now, id);
            if is_over(self.conns().dirty.is_empty(), os) {
                break;
            }
        }
    }

    /// Writes to one connection, about [`WRITE_BUDGET`] bytes at most.
    fn write(&mut self, os: &mut impl Os<C::Socket>, now: Now, id: ConnId) {
        let is_draining = self.conns().is_draining;
        let mut spares = std::mem::take(&mut self.conns().spares);
        let result = self.conns().get_mut(id).map(|conn| {
            conn.is_dirty = false;
            let waiting = conn.outbox.len();
            let result = conn.write(os, &mut spares, WRITE_BUDGET);
            let has_written = conn.outbox.len() < waiting;
            let linger_us = conn.linger_us(is_draining);
            if let State::Closing { deadline_us, .. } = &mut conn.state
                && has_written
            {
                *deadline_us = now.after_us(linger_us);
            }
            result
        });
        self.conns().spares = spares;
        match result {
            None => return,
            Some(Err(error)) => return self.fail(os, now, id, &error),
            Some(Ok(may_go_on)) if may_go_on => self.conns().mark_dirty(id),
            Some(Ok(_)) => {}
        }
        let Some(conn) = self.conns().get_mut(id) else { return };
        let bytes = conn.outbox.len();
        let is_drained = conn.filled && conn.outbox.in_order() <= conn.queue_mark / 2;
        conn.filled &= !is_drained;
        if std::mem::replace(&mut conn.unsent, bytes) != bytes && conn.state == State::Open {
            self.turn.handle(now, Event::Unsent { conn: id, bytes });
        }
        let Some(conn) = self.conns().get_mut(id) else { return };
        if is_drained {
            self.turn.handle(now, Event::Drained { conn: id });
        } else if conn.has_ended() && conn.outbox.is_empty() && matches!(conn.state, State::Closing { .. }) {
            self.remove(os, id);
        }
    }
}
