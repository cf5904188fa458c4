//! LIST: pages of the topics of all groups that this node leads.

use super::Step;
use super::groups::Groups;
use crate::limits::{LIST_NAMES_MAX, LIST_SCAN_MAX, TOPIC_NAME_MAX};
use crate::wire::request::List;
use crate::wire::response::Page;

/// The most bytes that a topic takes in a page besides its name.
const LISTED_BYTES: usize = 33;
const _: () = assert!(LIST_NAMES_MAX * (LISTED_BYTES + TOPIC_NAME_MAX) <= 60 << 10, "a page fits a frame");

/// Where a page begins: the group, by its rank among those of the node, and the place in its catalogue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cursor {
    group: usize,
    place: usize,
}

impl Cursor {
    /// Returns the number that the client has. It is 0 at the beginning only.
    const fn number(self) -> u64 {
        (self.group as u64) << 32 | self.place as u64
    }

    /// Returns the cursor with a number, which may come from another node.
    fn of(number: u64) -> Self {
        let part = |bits: u64| usize::try_from(bits & u64::from(u32::MAX)).unwrap_or(usize::MAX);
        Self { group: part(number >> 32), place: part(number) }
    }
}

impl Groups {
    /// Returns a page of the topics of all groups that this node leads.
    pub(super) fn list(&self, step: &mut Step<'_>, list: &List<'_>) -> Page {
        let max = match usize::from(list.max) {
            0 => LIST_NAMES_MAX,
            max => max.min(LIST_NAMES_MAX),
        };
        let mut page = Page { node: step.settings.id.index(), cursor: 0, topics: Vec::new() };
        let mut scan = LIST_SCAN_MAX;
        let Cursor { group: first, place: mut from } = Cursor::of(list.cursor);
        for (rank, group) in self.iter().enumerate().skip(first).filter(|(_, group)| group.leads()) {
            let next = if page.topics.len() == max || scan == 0 {
                Some(0)
            } else {
                group.list((list.prefix, max), from, &mut scan, &mut page)
            };
            if let Some(place) = next {
                page.cursor = Cursor { group: rank, place }.number();
                break;
            }
            from = 0;
        }
        step.work.add_entries(LIST_SCAN_MAX - scan);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_one_of_another_node_finds_nothing() {
        for cursor in [Cursor::default(), Cursor { group: 0, place: 7 }, Cursor { group: 63, place: 1 << 20 }] {
            assert_eq!(Cursor::of(cursor.number()), cursor);
        }
        assert_eq!(Cursor::of(u64::MAX), Cursor { group: 0xffff_ffff, place: 0xffff_ffff });
    }
}
