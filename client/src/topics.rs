//! Operations on whole topics.

use std::time::Duration;

use dht_protocol::types::{Offset, SettingsChange, TopicId, TopicName};
use dht_protocol::wire::request::{Retention, Topic};
use dht_protocol::wire::response::Description;
use dht_protocol::wire::{Opcode, Request, Response, Status};

use crate::caller::{Caller, ask, at_once};
use crate::client::Client;
use crate::error::Error;
use crate::session::call::{Outcome, Repeat};
use crate::session::request::OwnedRequest;

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
        at_once(create(self, topic, retention))
    }

    /// Deletes a topic with all its records. This affects the topic that has the name now, even if the response is lost
    /// and the topic is re-created meanwhile.
    ///
    /// # Errors
    /// Returns [`Status::UnknownTopic`] if there is none.
    pub fn delete(&mut self, topic: &str) -> Result<TopicId, Error> {
        at_once(delete(self, topic))
    }

    /// Deletes a topic if it still has this id.
    ///
    /// # Errors
    /// Returns [`Status::UnknownTopic`] or [`Status::Recreated`] if there is no topic with the id.
    pub fn delete_id(&mut self, topic: &str, id: TopicId) -> Result<TopicId, Error> {
        at_once(delete_id(self, topic, id))
    }

    /// Changes some settings of the topic that has the name now, and leaves the others. Records that it no longer
    /// retains are removed. A bound of 0 stands for the home's default.
    ///
    /// # Errors
    /// Returns [`Status::UnknownTopic`] if there is none.
    pub fn alter(&mut self, topic: &str, change: SettingsChange) -> Result<Description, Error> {
        at_once(alter(self, topic, change))
    }

    /// Removes the records before an offset from the topic that has the name now.
    ///
    /// # Errors
    /// Returns [`Status::UnknownTopic`] if there is none, or [`Status::OffsetOutOfRange`] if it ends before that
    /// offset.
    pub fn trim(&mut self, topic: &str, to: Offset) -> Result<Trimmed, Error> {
        at_once(trim(self, topic, to))
    }

    /// Returns the description of a topic.
    ///
    /// # Errors
    /// Returns [`Status::UnknownTopic`] if there is none.
    pub fn info(&mut self, topic: &str) -> Result<Description, Error> {
        at_once(info(self, topic))
    }

    /// Returns the home of a name and the path of the request to it, whether or not there is such a topic.
    ///
    /// # Errors
    /// Returns an error if the home does not answer.
    pub fn query(&mut self, topic: &str) -> Result<Description, Error> {
        at_once(query(self, topic))
    }
}

pub(crate) async fn create(
    client: &mut impl Caller,
    topic: &str,
    retention: Retention,
) -> Result<(Description, bool), Error> {
    let request = OwnedRequest::new(&Request::Create { topic: TopicName::new(topic)?, retention }, &[])?;
    // If the response was lost, the repeated CREATE finds the topic that the first attempt created.
    let Outcome { result, may_be_done } = client.call(request, Repeat::Always, Duration::ZERO).await;
    let Response::Created { existed, description } = result? else { return Err(client.mismatch(Opcode::Create)) };
    Ok((*description, existed && !may_be_done))
}

pub(crate) async fn delete(client: &mut impl Caller, topic: &str) -> Result<TopicId, Error> {
    match info(client, topic).await?.topic {
        Some(state) => delete_id(client, topic, state.id).await,
        None => Err(client.mismatch(Opcode::Info)),
    }
}

pub(crate) async fn delete_id(client: &mut impl Caller, topic: &str, id: TopicId) -> Result<TopicId, Error> {
    let request = OwnedRequest::new(&Request::Delete(Topic { name: TopicName::new(topic)?, id: Some(id) }), &[])?;
    let Outcome { result, may_be_done } = client.call(request, Repeat::Always, Duration::ZERO).await;
    match result {
        Ok(Response::Deleted { topic_id }) => Ok(topic_id),
        Ok(_) => Err(client.mismatch(Opcode::Delete)),
        // An earlier attempt, whose response was lost, has deleted it.
        Err(error) if may_be_done && is_gone(&error) => Ok(id),
        Err(error) => Err(error),
    }
}

pub(crate) async fn alter(client: &mut impl Caller, topic: &str, change: SettingsChange) -> Result<Description, Error> {
    let topic = with_id(client, topic).await?;
    describe(client, &Request::Alter { topic, change }).await
}

pub(crate) async fn trim(client: &mut impl Caller, topic: &str, to: Offset) -> Result<Trimmed, Error> {
    let topic = with_id(client, topic).await?;
    let response = ask(client, &Request::Trim { topic, first: to }, Repeat::Always).await?;
    let Response::Trimmed { topic_id, first, next } = response else { return Err(client.mismatch(Opcode::Trim)) };
    Ok(Trimmed { topic_id, first, next })
}

pub(crate) async fn info(client: &mut impl Caller, topic: &str) -> Result<Description, Error> {
    let request = Request::Info(Topic { name: TopicName::new(topic)?, id: None });
    describe(client, &request).await
}

pub(crate) async fn query(client: &mut impl Caller, topic: &str) -> Result<Description, Error> {
    describe(client, &Request::Query { topic: TopicName::new(topic)? }).await
}

/// Returns the topic with its id, so that a retried request cannot affect another topic of that name.
async fn with_id<'t>(client: &mut impl Caller, topic: &'t str) -> Result<Topic<'t>, Error> {
    let name = TopicName::new(topic)?;
    let state = info(client, topic).await?.topic.ok_or_else(|| client.mismatch(Opcode::Info))?;
    Ok(Topic { name, id: Some(state.id) })
}

async fn describe(client: &mut impl Caller, request: &Request<'_>) -> Result<Description, Error> {
    let Response::Described(description) = ask(client, request, Repeat::Always).await? else {
        return Err(client.mismatch(request.opcode()));
    };
    Ok(*description)
}

fn is_gone(error: &Error) -> bool {
    matches!(error.status(), Some(Status::UnknownTopic | Status::Recreated))
}
