//! Writes that are not durable yet, and the messages that wait for them.

use std::collections::VecDeque;

use super::Ticket;
use super::message::Message;
use crate::limits::HELD_MESSAGES_MAX;

/// Writes that are not durable yet, in order, and messages that rely on them.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// Each with the bytes of its entries.
    writes: VecDeque<(Ticket, usize)>,
    bytes: usize,
    /// Each with the write for which it waits.
    held: VecDeque<(Ticket, Message)>,
}

impl Unwritten {
    /// Returns true if everything is durable.
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes of entries that are not durable.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The newest write that is not durable.
    pub(super) fn newest(&self) -> Option<Ticket> {
        self.writes.back().map(|(ticket, _)| *ticket)
    }

    /// Adds a write.
    pub(super) fn add(&mut self, ticket: Ticket, bytes: usize) {
        assert!(self.newest().is_none_or(|newest| newest < ticket), "writes have an order");
        self.writes.push_back((ticket, bytes));
        self.bytes += bytes;
    }

    /// Keeps a message until everything that was added is durable; returns it if that is so already.
    pub(super) fn hold(&mut self, message: Message) -> Option<Message> {
        let Some(newest) = self.newest() else { return Some(message) };
        if self.held.len() == HELD_MESSAGES_MAX {
            self.held.pop_front();
        }
        self.held.push_back((newest, message));
        None
    }

    /// Notes that all writes up to this one are durable, and returns the messages that have waited for them.
    pub(super) fn on_written(&mut self, ticket: Ticket) -> impl Iterator<Item = Message> {
        let durable = self.writes.partition_point(|(waiting, _)| *waiting <= ticket);
        self.bytes -= self.writes.drain(..durable).map(|(_, bytes)| bytes).sum::<usize>();
        let released = self.held.partition_point(|(waiting, _)| *waiting <= ticket);
        self.held.drain(..released).map(|(_, message)| message)
    }

    /// Asserts what must hold after each input.
    pub(super) fn check(&self) {
        assert_eq!(self.bytes, self.writes.iter().map(|(_, bytes)| bytes).sum::<usize>());
        assert!(self.held.len() <= HELD_MESSAGES_MAX);
        assert!(self.held.back().is_none_or(|(ticket, _)| self.newest().is_some_and(|newest| *ticket <= newest)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{heartbeat_answer, message};
    use super::*;

    fn answer(commit: u64) -> Message {
        message(1, 2, 1, heartbeat_answer(commit, 0))
    }

    #[test]
    fn a_message_waits_for_the_writes_before_it() {
        let mut unwritten = Unwritten::default();
        assert_eq!(unwritten.hold(answer(0)), Some(answer(0)));
        for ticket in [3, 5, 9] {
            unwritten.add(Ticket(ticket), 10);
            assert_eq!(unwritten.hold(answer(ticket)), None);
        }
        for (ticket, released, bytes) in [(2, vec![], 30), (5, vec![3, 5], 10), (5, vec![], 10), (9, vec![9], 0)] {
            let messages: Vec<_> = unwritten.on_written(Ticket(ticket)).collect();
            assert_eq!(messages, released.into_iter().map(answer).collect::<Vec<_>>(), "after {ticket}");
            assert_eq!(unwritten.bytes(), bytes);
            unwritten.check();
        }
        assert!(unwritten.is_empty());
    }

    #[test]
    fn the_oldest_of_too_many_messages_is_lost() {
        let mut unwritten = Unwritten::default();
        unwritten.add(Ticket(1), 0);
        for nth in 0..=HELD_MESSAGES_MAX as u64 {
            unwritten.hold(answer(nth));
            unwritten.check();
        }
        let messages: Vec<_> = unwritten.on_written(Ticket(1)).collect();
        assert_eq!((messages.len(), messages.first()), (HELD_MESSAGES_MAX, Some(&answer(1))));
    }
}
