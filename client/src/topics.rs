//! Operations on whole topics.

use dht_protocol::types::{Offset, SettingsChange, TopicId, TopicName};
use dht_protocol::wire::request::{Retention, Topic};
use dht_protocol::wire::response::Description;
use dht_protocol::wire::{Opcode, Request, Response, Status};

use crate::client::Client;
use crate::error::Error;
use crate::session::call::Repeat;

/// The extent of a topic after its first records were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// The topic's id.
    pub topic_id: TopicId,
    /// The log start offset.
    pub first: Offset,
    /// The log end offset.
    pub next: Offset,
}

impl Client {
    /// Creates a topic. Returns `true` if it already existed with the same retention.
    ///
    /// # Errors
    /// Returns [`Status::TopicExists`] if it exists with another retention.
    pub fn create(&mut self, topic: &str, retention: Retention) -> Result<(Description, bool), Error> {
        let request = Request::Create { topic: TopicName::new(topic)?, retention };
        // If the response was lost, the repeated CREATE finds the topic that the first attempt created.
        let (outcome, may_be_done) = self.call_counted(&request, &[], Repeat::Always);
        let Response::Created { existed, description } = outcome? else { return Err(self.mismatch(Opcode::Create)) };
        Ok((*description, existed && !may_be_done))
    }

    /// Deletes a topic with all its records. This affects the topic that has the name now, even if the response is lost
    /// and the topic is re-created meanwhile.
    ///
    /// # Errors
    /// Returns [`Status::UnknownTopic`] if there is none.
    pub fn delete(&mut self, topic: &str) -> Result<TopicId, Error> {
        match self.info(topic)?.topic {
            Some(state) => self.delete_id(topic, state.id),
            None => Err(self.mismatch(Opcode::Info)),
        }
    }

    /// Deletes a topic if it still has this id.
    ///
    /// # Errors
    /// Returns [`Status::UnknownTopic`] or [`Status::Recreated`] if there is no topic with the id.
    pub fn delete_id(&mut self, topic: &str, id: TopicId) -> Result<TopicId, Error> {
        let request = Request::Delete(Topic { name: TopicName::new(topic)?, id: Some(id) });
        let (outcome, may_be_done) = self.call_counted(&request, &[], Repeat::Always);
        match outcome {
            Ok(Response::Deleted { topic_id }) => Ok(topic_id),
            Ok(_) => Err(self.mismatch(Opcode::Delete)),
            // An earlier attempt, whose response was lost, has deleted it.
            Err(error) if may_be_done && is_gone(&error) => Ok(id),
            Err(error) => Err(error),
        }
    }

    /// Changes some settings of the topic that has the name now, and leaves the others. Records that it no longer
    /// retains are removed. A bound of 0 stands for the home's default.
    ///
    /// # Errors
    /// Returns [`Status::UnknownTopic`] if there is none.
    pub fn alter(&mut self, topic: &str, change: SettingsChange) -> Result<Description, Error> {
        let topic = self.with_id(topic)?;
        self.describe(&Request::Alter { topic, change })
    }

    /// Removes the records before an offset from the topic that has the name now.
    ///
    /// # Errors
    /// Returns [`Status::UnknownTopic`] if there is none, or [`Status::OffsetOutOfRange`] if it ends before that
    /// offset.
    pub fn trim(&mut self, topic: &str, to: Offset) -> Result<Trimmed, Error> {
        let topic = self.with_id(topic)?;
        let request = Request::Trim { topic, first: to };
        let Response::Trimmed { topic_id, first, next } = self.call(&request, &[], Repeat::Always)? else {
            return Err(self.mismatch(Opcode::Trim));
        };
        Ok(Trimmed { topic_id, first, next })
    }

    /// Returns the topic with its id, so that a retried request cannot affect another topic of that name.
    fn with_id<'t>(&mut self, topic: &'t str) -> Result<Topic<'t>, Error> {
        let name = TopicName::new(topic)?;
        let state = self.info(topic)?.topic.ok_or_else(|| self.mismatch(Opcode::Info))?;
        Ok(Topic { name, id: Some(state.id) })
    }

    /// Returns the description of a topic.
    ///
    /// # Errors
    /// Returns [`Status::UnknownTopic`] if there is none.
    pub fn info(&mut self, topic: &str) -> Result<Description, Error> {
        let request = Request::Info(Topic { name: TopicName::new(topic)?, id: None });
        self.describe(&request)
    }

    /// Returns the home of a name and the path of the request to it, whether or not there is such a topic.
    ///
    /// # Errors
    /// Returns an error if the home does not answer.
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
