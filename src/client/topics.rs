//! Operations on one topic as a whole.

use super::error::Error;
use super::session::{Client, Repeat};
use crate::types::{TopicId, TopicName};
use crate::wire::request::{Retention, Topic};
use crate::wire::response::Description;
use crate::wire::{Opcode, Request, Response, Status};

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
