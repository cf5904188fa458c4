//! The tails: pushed frames of topics of other nodes, which are kept while a reader that is behind still needs them.

use std::collections::VecDeque;

use super::{Table, TopicKey};
use crate::limits::{TAIL_BYTES_MAX, TAILS_BYTES_MAX};
use crate::types::Offset;
use crate::wire::Frame;

/// A pushed frame that a reader may still need.
#[derive(Debug)]
pub(in crate::node::readers) struct Pushed {
    /// The offset of its first record.
    pub base: Offset,
    /// The offset after its last record.
    pub end: Offset,
    /// The DELIVER frame.
    pub frame: Frame<'static>,
}

impl Table {
    /// Keeps a pushed frame for readers that are behind. Returns false if older frames had to be dropped to make room.
    pub(in crate::node::readers) fn push_tail(&mut self, place: TopicKey, pushed: Pushed) -> bool {
        let topic = &mut self.topics[place];
        let len = pushed.frame.len();
        if topic.tail.back().is_some_and(|last| last.end > pushed.base) {
            // The frame is a duplicate or late. A fetch gets whatever is missing.
            return true;
        }
        topic.tail.push_back(pushed);
        topic.tail_bytes += len;
        self.tails_bytes += len;
        let mut had_room = true;
        while topic.tail_bytes > TAIL_BYTES_MAX || self.tails_bytes > TAILS_BYTES_MAX {
            let Some(oldest) = topic.tail.pop_front() else { break };
            topic.tail_bytes -= oldest.frame.len();
            self.tails_bytes -= oldest.frame.len();
            had_room = false;
        }
        had_room
    }

    /// Returns the kept frame that contains the record at this offset.
    pub(in crate::node::readers) fn tail_at(&self, place: TopicKey, offset: Offset) -> Option<&Pushed> {
        let tail = &self.topics[place].tail;
        let index = tail.partition_point(|pushed| pushed.end <= offset);
        tail.get(index).filter(|pushed| pushed.base <= offset)
    }

    /// Drops the kept frame that contains the record at this offset, because the frame is corrupt.
    pub(in crate::node::readers) fn drop_tail_at(&mut self, place: TopicKey, offset: Offset) {
        let topic = &mut self.topics[place];
        let index = topic.tail.partition_point(|pushed| pushed.end <= offset);
        if let Some(dropped) = topic.tail.remove(index) {
            topic.tail_bytes -= dropped.frame.len();
            self.tails_bytes -= dropped.frame.len();
        }
    }

    /// Drops the frames that no reader needs any more.
    pub(in crate::node::readers) fn trim_tail(&mut self, place: TopicKey) {
        let topic = &mut self.topics[place];
        if topic.tail.is_empty() {
            return;
        }
        let slowest = topic.slowest();
        while let Some(oldest) = topic.tail.front()
            && slowest.is_none_or(|slowest| oldest.end <= slowest)
        {
            topic.tail_bytes -= oldest.frame.len();
            self.tails_bytes -= oldest.frame.len();
            topic.tail.pop_front();
        }
        if topic.tail.is_empty() {
            topic.tail = VecDeque::new();
        }
    }

    /// Drops all kept frames of a topic.
    pub(in crate::node::readers) fn clear_tail(&mut self, place: TopicKey) {
        let topic = &mut self.topics[place];
        self.tails_bytes -= std::mem::take(&mut topic.tail_bytes);
        topic.tail = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{conn, empty, followed, stream};
    use super::*;
    use crate::types::RequestId;

    /// Returns a push of one record whose frame has `len` bytes.
    fn pushed(base: u64, len: usize) -> Pushed {
        let request = crate::wire::Request::Credit { limit: 0 };
        let frame = crate::node::frames::request_frame(
            &request,
            &vec![0; len - 44],
            RequestId(0),
            crate::wire::Flags::default(),
        );
        assert_eq!(frame.len(), len);
        Pushed { base: Offset(base), end: Offset(base + 1), frame }
    }

    #[test]
    fn a_tail_holds_the_newest_frames_within_its_bound() {
        let mut table = empty();
        let place = table.follow(followed(1, 5), 0);
        let key = table.insert(conn(1), place, Offset(0), stream(1));
        let per_frame = TAIL_BYTES_MAX / 4;
        let rooms: Vec<bool> = (0..6).map(|base| table.push_tail(place, pushed(base, per_frame))).collect();
        assert_eq!(rooms, [true, true, true, true, false, false]);
        table.check();
        for (offset, kept) in [(0, false), (1, false), (2, true), (5, true), (6, false)] {
            assert_eq!(table.tail_at(place, Offset(offset)).is_some(), kept, "{offset}");
        }
        table.move_to(key, Offset(5));
        table.trim_tail(place);
        assert!(table.tail_at(place, Offset(4)).is_none() && table.tail_at(place, Offset(5)).is_some());
        table.drop_tail_at(place, Offset(5));
        assert_eq!(table.tails_bytes(), 0);
        table.check();
    }

    #[test]
    fn a_frame_that_comes_late_or_again_is_not_kept() {
        let mut table = empty();
        let place = table.follow(followed(1, 5), 0);
        table.insert(conn(1), place, Offset(0), stream(1));
        assert!(table.push_tail(place, pushed(7, 100)));
        assert!(table.push_tail(place, pushed(7, 100)) && table.push_tail(place, pushed(3, 100)));
        assert_eq!(table.tails_bytes(), 100);
        assert!(table.tail_at(place, Offset(3)).is_none());
        table.check();
    }

    #[test]
    fn all_tails_together_are_bounded() {
        let mut table = empty();
        let topics = TAILS_BYTES_MAX / TAIL_BYTES_MAX + 10;
        for id in 1..=topics {
            let place = table.follow(followed(id as u64, 5), 0);
            table.insert(conn(1), place, Offset(0), stream(id as u64));
            table.push_tail(place, pushed(0, TAIL_BYTES_MAX / 2));
            table.push_tail(place, pushed(1, TAIL_BYTES_MAX / 2));
            table.check();
        }
        assert!(table.tails_bytes() <= TAILS_BYTES_MAX);
    }
}
