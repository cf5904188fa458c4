//! The connections with bytes to be written.
//!
//! Links are written first, then the clients with little to send, then the others in turns. A small answer therefore
//! does not wait for the megabytes of other clients.

use std::collections::VecDeque;

use crate::types::ConnId;

/// The connections with bytes to be written, in the order in which they got them. The caller adds none twice.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    links: VecDeque<ConnId>,
    clients: VecDeque<ConnId>,
    /// Clients that had much to send when it was their turn.
    with_much: VecDeque<ConnId>,
}

impl Dirty {
    /// Returns true if no connection has bytes to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.clients.is_empty() && self.with_much.is_empty()
    }

    /// Adds a connection.
    pub(crate) fn add(&mut self, id: ConnId, is_link: bool) {
        if is_link { self.links.push_back(id) } else { self.clients.push_back(id) }
    }

    /// Removes and returns all links.
    pub(crate) fn take_links(&mut self) -> VecDeque<ConnId> {
        std::mem::take(&mut self.links)
    }

    /// Removes and returns the next client with little to send; `None` when only clients with much to send are left.
    pub(crate) fn next_with_little(&mut self, has_much: impl Fn(ConnId) -> bool) -> Option<ConnId> {
        while let Some(id) = self.clients.pop_front() {
            if !has_much(id) {
                return Some(id);
            }
            self.with_much.push_back(id);
        }
        None
    }

    /// Removes and returns the next client with much to send.
    pub(crate) fn next_with_much(&mut self) -> Option<ConnId> {
        self.with_much.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_with_much_to_send_are_passed_over_and_keep_their_order() {
        let conn = |slot: u32| ConnId { slot, generation: 1 };
        let mut dirty = Dirty::default();
        (0..6).for_each(|slot| dirty.add(conn(slot), slot == 5));
        let has_much = |id: ConnId| id.slot.is_multiple_of(2);
        assert_eq!(dirty.take_links(), [conn(5)]);
        let little: Vec<_> = std::iter::from_fn(|| dirty.next_with_little(has_much)).collect();
        assert_eq!(little, [conn(1), conn(3)]);
        let much: Vec<_> = std::iter::from_fn(|| dirty.next_with_much()).collect();
        assert_eq!(much, [conn(0), conn(2), conn(4)]);
        assert!(dirty.is_empty());
    }
}
