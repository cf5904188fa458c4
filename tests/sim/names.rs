//! What is known about a name: which topic has it, and who may have deleted it.

use dht_node::types::TopicId;

use crate::ground::Ground;
use crate::model::{Model, Name, Span};
use crate::truth::{Life, Log, Topic};

impl Model {
    /// Returns the log end offset of the newest topic of a name, as far as it is known.
    pub(crate) fn guess_end(&self, name: usize) -> u64 {
        let is_its = |(life, _): &(&Life, &Log)| self.topics[&life.id].name == name;
        let newest = self.logs.iter().filter(is_its).max_by_key(|(_, log)| log.learned_us);
        newest.map_or(0, |(_, log)| log.nexts.at(u64::MAX))
    }

    /// Returns the newest topic of a name that is known to any client.
    pub(crate) fn guess_id(&self, name: usize) -> Option<TopicId> {
        let of_name = self.topics.iter().filter(|(_, topic)| topic.name == name);
        of_name.max_by_key(|(_, topic)| topic.learned_us).map(|(id, _)| *id)
    }

    /// Returns the topic that must exist for a request of that time: a client knew of it, its home has not lost it, and
    /// nobody can have deleted it.
    pub(crate) fn surely_there(&self, name: usize, asked_us: u64, ground: &Ground) -> Option<TopicId> {
        let Name { plan, deletes, .. } = &self.names[name];
        let is_sure = |(id, topic): &(&TopicId, &Topic)| {
            topic.name == name
                && topic.learned_us <= asked_us
                && topic.deleted.is_none()
                && ground.keeps(plan.home, topic.learned_us, topic.known_us)
                && !deletes.values().any(|target| target.is_none_or(|target| target == **id))
        };
        let mut sure = self.topics.iter().filter(is_sure).map(|(id, _)| *id);
        let found = sure.next();
        assert_eq!(sure.next(), None, "two topics have the name {}", plan.name);
        found
    }

    /// Records that a deletion was requested; from now on it may be executed.
    pub(crate) fn begin_delete(&mut self, name: usize, target: Option<TopicId>) -> usize {
        let name = &mut self.names[name];
        name.deletes_asked += 1;
        name.deletes.insert(name.deletes_asked, target);
        name.deletes_asked
    }

    /// Records the outcome of a deletion: the topic that was deleted, or none.
    pub(crate) fn end_delete(
        &mut self,
        (name, attempt): (usize, usize),
        deleted: Option<TopicId>,
        span: Span,
        ground: &Ground,
    ) {
        self.names[name].deletes.remove(&attempt);
        if let Some(id) = deleted {
            self.totals.deletes += 1;
            self.meet(name, id, span, ground);
            let topic = self.topics.get_mut(&id).expect("just recorded");
            let may_undo = |deleted: Span| ground.may_undo(self.names[name].plan.home, deleted);
            assert!(topic.deleted.is_none_or(may_undo), "{id:?} was deleted twice");
            topic.deleted = Some(span);
        }
    }
}
