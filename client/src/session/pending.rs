//! The unanswered requests of a connection.

use std::collections::VecDeque;

use dht_protocol::types::RequestId;
use dht_protocol::wire::Opcode;

/// The operations of unanswered requests. Their ids ascend without gaps, so a queue indexed by id holds them.
#[derive(Debug)]
pub(crate) struct Pending {
    /// The id of the first slot.
    first: u64,
    slots: VecDeque<Option<Opcode>>,
    count: usize,
}

impl Pending {
    /// Returns an empty table whose next id is `first`.
    pub(crate) const fn new(first: u64) -> Self {
        Self { first, slots: VecDeque::new(), count: 0 }
    }

    /// Adds a request and returns its id.
    pub(crate) fn insert(&mut self, opcode: Opcode) -> RequestId {
        self.slots.push_back(Some(opcode));
        self.count += 1;
        RequestId(self.first + self.slots.len() as u64 - 1)
    }

    /// Removes a request and returns its operation; `None` if it is not pending.
    pub(crate) fn remove(&mut self, id: RequestId) -> Option<Opcode> {
        let index = usize::try_from(id.0.checked_sub(self.first)?).ok()?;
        let opcode = self.slots.get_mut(index)?.take()?;
        self.count -= 1;
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
        Some(opcode)
    }

    /// Returns the number of requests.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// Returns true if there is a request with an id up to `last`.
    pub(crate) fn any_up_to(&self, last: RequestId) -> bool {
        // The first slot is never empty: `remove` drops empty slots at the front.
        !self.slots.is_empty() && self.first <= last.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_answered_in_any_order_and_once() {
        let mut pending = Pending::new(2);
        let ids: Vec<_> = (0..4).map(|_| pending.insert(Opcode::Ping)).collect();
        assert_eq!(ids.iter().map(|id| id.0).collect::<Vec<_>>(), [2, 3, 4, 5]);
        for (id, found, left) in [(3, true, 3), (3, false, 3), (9, false, 3), (0, false, 3), (2, true, 2), (5, true, 1)]
        {
            assert_eq!((pending.remove(RequestId(id)).is_some(), pending.len()), (found, left), "{id}");
        }
        assert!(!pending.any_up_to(RequestId(3)) && pending.any_up_to(RequestId(4)));
        assert_eq!(pending.insert(Opcode::Info).0, 6);
        pending.remove(RequestId(4));
        pending.remove(RequestId(6));
        assert!(!pending.any_up_to(RequestId(100)) && pending.len() == 0);
    }
}
