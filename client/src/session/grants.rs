//! The subscriptions of a connection, and how many bytes the node may send for each.
//!
//! This table tells late pushes from expected ones, and bounds how much a node can make a client buffer.

use std::collections::BTreeMap;

use dht_protocol::types::RequestId;
use dht_protocol::wire::{Push, Request, Response, Status};

use crate::error::Fault;
use crate::session::incoming::{Answer, Pushed};

/// Subscriptions by the request id of their SUBSCRIBE.
#[derive(Debug, Default)]
pub(crate) struct Grants(BTreeMap<RequestId, Grant>);

#[derive(Debug)]
struct Grant {
    /// True once SUBSCRIBE has been answered.
    is_open: bool,
    /// Bytes of records that the node may send in total.
    limit: u64,
    /// Bytes of records received.
    received: u64,
    /// The request id of the UNSUBSCRIBE that ends it.
    ending: Option<RequestId>,
}

impl Grants {
    /// Records that a request starts or ends a subscription.
    pub(crate) fn on_sent(&mut self, id: RequestId, request: &Request<'_>) {
        if let Request::Subscribe(subscribe) = request {
            let grant = Grant { is_open: false, limit: subscribe.limit, received: 0, ending: None };
            self.0.insert(id, grant);
        } else if let Request::Unsubscribe { subscription } = request
            && let Some(grant) = self.0.get_mut(subscription)
        {
            grant.ending = Some(id);
        }
    }

    /// Handles a response: the one to SUBSCRIBE starts a subscription, and the one to UNSUBSCRIBE ends it.
    pub(crate) fn on_answer(&mut self, answer: &Answer) {
        let refused = if let Response::Error(error) = &answer.response { Some(error.status) } else { None };
        if let Some(grant) = self.0.get_mut(&answer.id) {
            grant.is_open = true;
            if refused.is_some() {
                self.0.remove(&answer.id);
            }
        } else if refused.is_none_or(|status| status == Status::UnknownSubscription.number()) {
            self.0.retain(|_, grant| grant.ending != Some(answer.id));
        }
    }

    /// Accounts for a push. Returns `false` if it belongs to no subscription, because it is late.
    ///
    /// # Errors
    /// Returns [`Fault::Credit`] if the subscription got more bytes than its credit.
    pub(crate) fn on_push(&mut self, pushed: &Pushed) -> Result<bool, Fault> {
        let Some(grant) = self.0.get_mut(&pushed.subscription).filter(|grant| grant.is_open) else {
            return Ok(false);
        };
        match &pushed.push {
            Push::Deliver(_) if grant.received >= grant.limit => return Err(Fault::Credit),
            Push::Deliver(records) => grant.received += records.payload.len() as u64,
            Push::Gap { .. } | Push::Waiting { .. } | Push::Flowing { .. } => {}
            Push::Ended(_) => {
                self.0.remove(&pushed.subscription);
            }
        }
        Ok(true)
    }

    /// Raises the credit of a subscription. Returns `false` if that has no effect.
    pub(crate) fn raise(&mut self, subscription: RequestId, limit: u64) -> bool {
        match self.0.get_mut(&subscription) {
            Some(grant) if grant.is_open && grant.limit < limit => {
                grant.limit = limit;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Returns true if there is neither a subscription nor an unanswered SUBSCRIBE.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if the subscription exists.
    pub(crate) fn has(&self, subscription: RequestId) -> bool {
        self.0.contains_key(&subscription)
    }

    /// Forgets a subscription: further pushes for it are late.
    pub(crate) fn forget(&mut self, subscription: RequestId) {
        self.0.remove(&subscription);
    }
}
