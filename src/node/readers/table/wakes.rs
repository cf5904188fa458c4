//! Waking the readers of a topic little by little: there may be very many, and a turn must not take as long as all of
//! them need.

use super::super::super::work::Work;
use super::{Followed, ReaderKey, Table, TopicKey, bounds};
use crate::limits::WAKES_PER_TURN;
use crate::types::Offset;

/// Readers of a topic that are queued little by little, because there may be very many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wake {
    /// The first of them in the order of [`Followed::readers`].
    from: (Offset, ReaderKey),
    /// True if readers at the end of the topic are queued as well.
    is_for_all: bool,
}

/// Returns the least place in the order of readers that a reader at this cursor can have.
pub(in crate::node::readers) fn first_at(cursor: Offset) -> (Offset, ReaderKey) {
    (cursor, bounds().0)
}

impl Table {
    /// Queues readers of a topic in later turns: those whose cursor and key are not below `from`, and of them only
    /// those that are behind unless `is_for_all`.
    pub(in crate::node::readers) fn wake_later(
        &mut self,
        place: TopicKey,
        from: (Offset, ReaderKey),
        is_for_all: bool,
    ) {
        let topic = &mut self.topics[place];
        match &mut topic.wake {
            Some(wake) => *wake = Wake { from: wake.from.min(from), is_for_all: wake.is_for_all || is_for_all },
            None => {
                topic.wake = Some(Wake { from, is_for_all });
                self.wakes.push_back(place);
            }
        }
    }

    /// Queues at most [`WAKES_PER_TURN`] of the readers that are to be queued later.
    pub(in crate::node::readers) fn wake_some(&mut self, work: &mut Work) {
        let mut left = WAKES_PER_TURN;
        while left > 0
            && let Some(place) = self.wakes.pop_front()
        {
            let Some(topic) = self.topics.get_mut(place) else { continue };
            let Some(wake) = topic.wake.take() else { continue };
            let last = if wake.is_for_all { u64::MAX } else { topic.head.0.saturating_sub(1) };
            let (keys, rest) = topic.some_readers(wake.from, Offset(last), left);
            if let Some(from) = rest {
                topic.wake = Some(Wake { from, ..wake });
                self.wakes.push_back(place);
            }
            left -= keys.len();
            work.add_entries(keys.len());
            keys.into_iter().for_each(|key| self.enqueue(key));
        }
    }

    /// Returns true if readers are queued, or to be queued later.
    pub(in crate::node::readers) fn has_queued(&self) -> bool {
        !self.queue.is_empty() || !self.wakes.is_empty()
    }
}

impl Followed {
    /// Returns the keys of at most `most` readers, beginning with the first one whose cursor and key are not below
    /// `from`, up to the cursor `last`; and the cursor and key of the next one, if there are more.
    pub(in crate::node::readers) fn some_readers(
        &self,
        from: (Offset, ReaderKey),
        last: Offset,
        most: usize,
    ) -> (Vec<ReaderKey>, Option<(Offset, ReaderKey)>) {
        if from.0 > last {
            return (Vec::new(), None);
        }
        let mut readers = self.readers.range(from..=(last, bounds().1));
        let keys = readers.by_ref().take(most).map(|(_, key)| *key).collect();
        (keys, readers.next().copied())
    }

    /// Returns at most `most` of the readers that are behind the end of the topic only since it was raised from
    /// `known`, and the next one, as [`Self::some_readers`] does. Those before were behind already: each of them has
    /// its turn when it gets credit, when its client reads, or when the fetch that it waits for ends.
    pub(in crate::node::readers) fn newly_behind(
        &self,
        known: Offset,
        most: usize,
    ) -> (Vec<ReaderKey>, Option<(Offset, ReaderKey)>) {
        match self.head.0.checked_sub(1) {
            Some(last) => self.some_readers(first_at(known), Offset(last), most),
            None => (Vec::new(), None),
        }
    }
}
