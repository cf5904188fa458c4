//! The table of topics by place. An id contains the topic's place, so a topic is found by its id without hashing.
//!
//! The table is divided into pages, and only pages with topics take memory: the topics here may be few of those that
//! were created in succession, so their places may be far apart. Growing the table by a page copies no topics.

use super::Topic;

/// Number of places in a page, which takes 512 bytes of pointers. A larger page would waste more memory when few of its
/// places have topics.
const PAGE: usize = 64;

/// Topics are boxed, so that a deleted one leaves only a pointer behind.
type Page = [Option<Box<Topic>>; PAGE];

/// The table of places.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// `None` for a page that never had a topic.
    pages: Vec<Option<Box<Page>>>,
    /// Number of places.
    len: usize,
}

impl Places {
    /// Returns `len` places without topics.
    pub(super) fn empty(len: usize) -> Self {
        Self { pages: Vec::new(), len }
    }

    /// Returns the number of places.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a place, and returns its number.
    pub(super) const fn push(&mut self) -> usize {
        self.len += 1;
        self.len - 1
    }

    /// Returns the topic at a place.
    pub(super) fn get(&self, place: usize) -> Option<&Topic> {
        self.pages.get(place / PAGE)?.as_ref()?[place % PAGE].as_deref()
    }

    /// Returns the topic at a place.
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Topic> {
        self.pages.get_mut(place / PAGE)?.as_mut()?[place % PAGE].as_deref_mut()
    }

    /// Puts a topic into a place.
    ///
    /// # Panics
    /// If there is no such place, or if it is not empty.
    pub(super) fn put(&mut self, place: usize, topic: Topic) {
        assert!(place < self.len, "place {place} of {}", self.len);
        if self.pages.len() <= place / PAGE {
            self.pages.resize_with(place / PAGE + 1, || None);
        }
        let page = self.pages[place / PAGE].get_or_insert_with(|| Box::new([const { None }; PAGE]));
        let before = page[place % PAGE].replace(Box::new(topic));
        assert!(before.is_none(), "place {place} was empty");
    }

    /// Takes the topic out of a place.
    pub(super) fn take(&mut self, place: usize) -> Option<Box<Topic>> {
        self.pages.get_mut(place / PAGE)?.as_mut()?[place % PAGE].take()
    }

    /// Returns the topics, by increasing place.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.pages.iter().flatten().flat_map(|page| page.iter()).flatten().map(|topic| &**topic)
    }

    /// Returns the topics, by increasing place.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Topic> {
        self.pages.iter_mut().flatten().flat_map(|page| page.iter_mut()).flatten().map(|topic| &mut **topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::{Catalogue, NewTopic};
    use crate::types::{Epoch, Retention};

    /// Returns some topic.
    fn topic() -> Topic {
        let mut catalogue = Catalogue::default();
        let (name, retention) = ("a".into(), Retention::default());
        let id = catalogue.insert(NewTopic { name, seed: 1, epoch: Epoch(1), retention, created_us: 0 }).unwrap().id;
        *catalogue.places.take(id.place() as usize).unwrap()
    }

    #[test]
    fn only_pages_with_topics_take_memory_and_each_place_has_its_own() {
        let mut places = Places::empty(1 << 20);
        let used = [0, PAGE - 1, PAGE, 9 * PAGE + 5, (1 << 20) - 1];
        for (number, place) in (0..).zip(used) {
            places.put(place, Topic { created_us: number, ..topic() });
        }
        assert_eq!(places.pages.iter().flatten().count(), 4);
        let found = |places: &Places| places.iter().map(|topic| topic.created_us).collect::<Vec<_>>();
        assert_eq!(found(&places), [0, 1, 2, 3, 4]);
        for (number, place) in (0..).zip(used) {
            assert_eq!(places.get(place).map(|topic| topic.created_us), Some(number));
            assert_eq!(places.get_mut(place).map(|topic| topic.created_us), Some(number));
        }
        for empty in [1, PAGE + 1, 5 * PAGE, 9 * PAGE, 1 << 20, usize::MAX] {
            assert!(places.get(empty).is_none() && places.get_mut(empty).is_none() && places.take(empty).is_none());
        }
        assert_eq!(places.take(PAGE).map(|topic| topic.created_us), Some(2));
        assert_eq!(found(&places), [0, 1, 3, 4]);
        assert_eq!((places.push(), places.len()), (1 << 20, (1 << 20) + 1));
    }
}
