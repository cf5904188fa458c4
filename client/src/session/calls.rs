//! The calls of a session, by what they wait for.
//!
//! Many calls may be unanswered at a time, so no step looks at all of them: there is an index for each question that
//! the session asks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use dht_protocol::types::RequestId;
use dht_protocol::wire::Response;

use crate::error::Error;
use crate::session::call::{Attempt, Call, Outcome, Repeat, State};
use crate::session::deadline::Deadline;
use crate::session::request::OwnedRequest;

/// The id of a call of this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallId(u64);

/// The calls whose results have not been taken.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    all: BTreeMap<CallId, Call>,
    made: u64,
    /// The next step of each call that does not depend on received bytes.
    steps: BTreeSet<(Instant, CallId)>,
    /// Those that wait for a connection.
    opening: BTreeSet<CallId>,
    /// Those that were sent on the current connection.
    sent: BTreeMap<RequestId, CallId>,
    /// Number of those that were sent and may be executed only once.
    unrepeatable: usize,
    /// The time limits of all other calls that were sent, each with the number of calls that have it.
    limits: BTreeMap<Duration, usize>,
    done: BTreeSet<CallId>,
}

impl Calls {
    /// Adds a call.
    pub(crate) fn insert(&mut self, call: Call) -> CallId {
        let id = CallId(self.made);
        self.made += 1;
        self.all.insert(id, call);
        self.index(id);
        id
    }

    /// Removes a call. Returns the id of its request if it is unanswered.
    #[cfg(feature = "tokio")]
    pub(crate) fn remove(&mut self, id: CallId) -> Option<RequestId> {
        self.unindex(id);
        self.all.remove(&id)?.request_id()
    }

    /// Removes a call that is done, and returns its result.
    pub(crate) fn take(&mut self, id: CallId) -> Option<Outcome> {
        if !self.done.remove(&id) {
            return None;
        }
        let State::Done(outcome) = self.all.remove(&id)?.state else { unreachable!("`done` has only calls that are") };
        Some(outcome)
    }

    /// Returns a call that is done.
    #[cfg(feature = "tokio")]
    pub(crate) fn first_done(&self) -> Option<CallId> {
        self.done.first().copied()
    }

    /// Returns the time of the next step that does not depend on received bytes.
    pub(crate) fn wake_at(&self) -> Deadline {
        Deadline(self.steps.first().map(|(at, _)| *at))
    }

    /// Returns the call that waits for the response to this request.
    pub(crate) fn find(&self, request: RequestId) -> Option<CallId> {
        self.sent.get(&request).copied()
    }

    /// Returns true if the call waits for a response.
    pub(crate) fn is_sent(&self, id: CallId) -> bool {
        self.all.get(&id).is_some_and(|call| call.request_id().is_some())
    }

    /// Returns the number of calls that wait for a response.
    pub(crate) fn sent(&self) -> usize {
        self.sent.len()
    }

    /// Returns the calls that wait for a response.
    pub(crate) fn all_sent(&self) -> Vec<(CallId, RequestId)> {
        self.sent.iter().map(|(request, id)| (*id, *request)).collect()
    }

    /// Returns the calls that wait for a connection, in the order in which they were made.
    pub(crate) fn all_opening(&self) -> Vec<CallId> {
        self.opening.iter().copied().collect()
    }

    /// Returns the deadline of the latest call that waits for a connection.
    pub(crate) fn opening_until(&self) -> Option<Deadline> {
        let State::Opening(attempt) = self.all[self.opening.last()?].state else {
            unreachable!("`opening` has only calls that wait for a connection")
        };
        Some(attempt.deadline)
    }

    /// Returns true if a call waits for a response that must be awaited, because its request must not be repeated.
    pub(crate) const fn has_unrepeatable(&self) -> bool {
        self.unrepeatable > 0
    }

    /// Returns the shortest time limit of the calls that wait for a response.
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.limits.first_key_value().map(|(limit, _)| *limit)
    }

    /// Returns the calls whose attempt takes too long.
    pub(crate) fn late(&self, now: Instant) -> Vec<(CallId, Attempt)> {
        let passed = self.steps.iter().take_while(|(at, _)| *at <= now);
        passed.filter_map(|(_, id)| self.all[id].attempt().map(|attempt| (*id, attempt))).collect()
    }

    /// Begins the attempts that are due.
    pub(crate) fn begin_due(&mut self, now: Instant) {
        while let Some(id) = self.first_due(now) {
            self.change(id, |call| call.begin(now));
        }
    }

    fn first_due(&self, now: Instant) -> Option<CallId> {
        let mut passed = self.steps.iter().take_while(|(at, _)| *at <= now);
        passed.find(|(_, id)| matches!(self.all[id].state, State::Due(_))).map(|(_, id)| *id)
    }

    /// Sends a call that waits for a connection.
    pub(crate) fn send(&mut self, id: CallId, send: impl FnOnce(&OwnedRequest) -> RequestId) {
        self.change(id, |call| {
            if let State::Opening(attempt) = call.state {
                call.state = State::Sent(attempt, send(&call.request));
            }
        });
    }

    /// Ends an attempt with a response.
    pub(crate) fn finish(&mut self, id: CallId, response: Response) {
        self.change(id, |call| call.finish(response));
    }

    /// Ends an attempt with an error. Returns the id of its request if it is unanswered.
    pub(crate) fn fail(&mut self, id: CallId, error: Error, now: Instant) -> Option<RequestId> {
        let request = self.all.get(&id)?.request_id();
        self.change(id, |call| call.fail(error, now));
        request
    }

    fn change(&mut self, id: CallId, change: impl FnOnce(&mut Call)) {
        self.unindex(id);
        if let Some(call) = self.all.get_mut(&id) {
            change(call);
            self.index(id);
        }
    }

    fn index(&mut self, id: CallId) {
        let call = &self.all[&id];
        if let Some(at) = call.wake_at().0 {
            self.steps.insert((at, id));
        }
        match &call.state {
            State::Due(_) => {}
            State::Opening(_) => {
                self.opening.insert(id);
            }
            State::Sent(_, request) => {
                self.sent.insert(*request, id);
                if call.repeat == Repeat::NotDone {
                    self.unrepeatable += 1;
                } else if let Some(limit) = call.limit() {
                    *self.limits.entry(limit).or_insert(0) += 1;
                }
            }
            State::Done(_) => {
                self.done.insert(id);
            }
        }
    }

    fn unindex(&mut self, id: CallId) {
        let Some(call) = self.all.get(&id) else { return };
        if let Some(at) = call.wake_at().0 {
            self.steps.remove(&(at, id));
        }
        match &call.state {
            State::Due(_) => {}
            State::Opening(_) => {
                self.opening.remove(&id);
            }
            State::Sent(_, request) => {
                self.sent.remove(request);
                if call.repeat == Repeat::NotDone {
                    self.unrepeatable -= 1;
                } else if let Some(limit) = call.limit()
                    && let Some(count) = self.limits.get_mut(&limit)
                {
                    *count -= 1;
                    if *count == 0 {
                        self.limits.remove(&limit);
                    }
                }
            }
            State::Done(_) => {
                self.done.remove(&id);
            }
        }
    }
}
