//! Operations on one topic as a whole.

use super::error::Error;
use super::session::{Client, Repeat};
use crate::types::{Offset, SettingsChange, TopicId, TopicName};
use crate::wire::request::{Retention, Topic};
use crate::wire::response::Description;
use crate::wire::{Opcode, Request, Response, Status};

/// What a topic has after its first records were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// Which topic that is.
    pub topic_id: TopicId,
    /// The first record that is kept.
    pub first: Offset,
    /// Behind the last record.
    pub next: Offset,
}

impl Client {
    /// Makes a topic. `true` when it was there before, with the same retention.
    ///
    /// # Errors
    /// [`Status::TopicExists`] when it is there with another retention.
    pub fn create(&mut self, topic: &str, retention: Retention) -> Result<(Description, bool), Error> {
        let request = Request::Create { topic: TopicName::new(topic)?, retention };
        // A repeated CREATE finds what a lost answer's attempt made.
        let (outcome, may_be_done) = self.call_counted(&request, &[], Repeat::Always);
        let Response::Created { existed, description } = outcome? else { return Err(self.mismatch(Opcode::Create)) };
        Ok((*description, existed && !may_be_done))
    }

    /// Removes a topic with all its records: the one that has the name now, even if the answer is lost and it is made
    /// anew meanwhile.
    ///
    /// # Errors
    /// [`Status::UnknownTopic`] when there is none.
    pub fn delete(&mut self, topic: &str) -> Result<TopicId, Error> {
        match self.info(topic)?.topic {
            Some(state) => self.delete_id(topic, state.id),
            None => Err(self.mismatch(Opcode::Info)),
        }
    }

    /// Removes a topic if it still is the one with this id.
    ///
    /// # Errors
    /// [`Status::UnknownTopic`] and [`Status::Recreated`] when it is not there any more.
    pub fn delete_id(&mut self, topic: &str, id: TopicId) -> Result<TopicId, Error> {
        let request = Request::Delete(Topic { name: TopicName::new(topic)?, id: Some(id) });
        let (outcome, may_be_done) = self.call_counted(&request, &[], Repeat::Always);
        match outcome {
            Ok(Response::Deleted { topic_id }) => Ok(topic_id),
            Ok(_) => Err(self.mismatch(Opcode::Delete)),
            // The attempt whose answer was lost had removed it.
            Err(error) if may_be_done && is_gone(&error) => Ok(id),
            Err(error) => Err(error),
        }
    }

    /// Changes the settings of a topic that are named, and leaves the others: the topic that has the name now. What it
    /// does not keep any more is removed. A bound of 0 is the home's default.
    ///
    /// # Errors
    /// [`Status::UnknownTopic`] when there is none.
    pub fn alter(&mut self, topic: &str, change: SettingsChange) -> Result<Description, Error> {
        let topic = self.with_id(topic)?;
        self.describe(&Request::Alter { topic, change })
    }

    /// Removes the records of a topic before an offset: of the topic that has the name now.
    ///
    /// # Errors
    /// [`Status::UnknownTopic`] when there is none; [`Status::OffsetOutOfRange`] when it ends before that offset.
    pub fn trim(&mut self, topic: &str, to: Offset) -> Result<Trimmed, Error> {
        let topic = self.with_id(topic)?;
        let request = Request::Trim { topic, first: to };
        let Response::Trimmed { topic_id, first, next } = self.call(&request, &[], Repeat::Always)? else {
            return Err(self.mismatch(Opcode::Trim));
        };
        Ok(Trimmed { topic_id, first, next })
    }

    /// A topic with its id, so that a request that is made again cannot hit another one of that name.
    fn with_id<'t>(&mut self, topic: &'t str) -> Result<Topic<'t>, Error> {
        let name = TopicName::new(topic)?;
        let state = self.info(topic)?.topic.ok_or_else(|| self.mismatch(Opcode::Info))?;
        Ok(Topic { name, id: Some(state.id) })
    }

    /// What a topic is like.
    ///
    /// # Errors
    /// [`Status::UnknownTopic`] when there is none.
    pub fn info(&mut self, topic: &str) -> Result<Description, Error> {
        let request = Request::Info(Topic { name: TopicName::new(topic)?, id: None });
        self.describe(&request)
    }

    /// Where a name lives and how the request went there, whether or not there is such a topic.
    ///
    /// # Errors
    /// No answer from its home.
    pub fn query(&mut self, topic: &str) -> Result<Description, Error> {
        self.describe(&Request::Query { topic: TopicName::new(topic)? })
    }

    fn describe(&mut self, request: &Request<'_>) -> Result<Description, Error> {
        let Response::Described(description) = self.call(request, &[], Repeat::Always)? else {
            return Err(self.mismatch(request.opcode()));
        };
        Ok(*description)
    }
}

fn is_gone(error: &Error) -> bool {
    matches!(error.status(), Some(Status::UnknownTopic | Status::Recreated))
}
