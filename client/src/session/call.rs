//! A request with its retries.

use std::time::{Duration, Instant};

use dht_protocol::types::RequestId;
use dht_protocol::wire::{Response, Status};

use crate::error::Error;
use crate::session::backoff::{Backoff, leaves_time};
use crate::session::deadline::Deadline;
use crate::session::request::OwnedRequest;

/// How long requests are retried while no path leads to their target. A node that is restarted is back within a second.
const UNREACHABLE_PATIENCE: Duration = Duration::from_secs(2);

/// When a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Always: it is idempotent.
    Always,
    /// Only if the node did not execute it.
    NotDone,
    /// Only if the connection is lost: any response is the result.
    Unanswered,
}

/// A request of a session.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: OwnedRequest,
    pub(crate) repeat: Repeat,
    /// How long the node may hold back its response, as for a FETCH that waits for records.
    wait: Duration,
    /// The time limit for the response, including `wait`; 0 means none.
    limit: Duration,
    deadline: Deadline,
    patience: Deadline,
    backoff: Backoff,
    /// True if an attempt before the current one may have been executed.
    may_be_done: bool,
    pub(crate) state: State,
}

/// The state of a call.
#[derive(Debug)]
pub(crate) enum State {
    /// The next attempt begins at that time.
    Due(Deadline),
    /// It waits for a connection.
    Opening(Attempt),
    /// The request was sent.
    Sent(Attempt, RequestId),
    Done(Outcome),
}

/// When an attempt began, and when it is given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) start: Instant,
    pub(crate) deadline: Deadline,
}

/// The result of a call.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) result: Result<Response, Error>,
    /// True if an attempt before the last may have been executed.
    pub(crate) may_be_done: bool,
}

impl Call {
    /// Returns a call that is due at once. The time limit for the response is `timeout`, or 0 for none, plus `wait`.
    pub(crate) fn new(
        request: OwnedRequest,
        repeat: Repeat,
        (timeout, wait): (Duration, Duration),
        seed: u64,
        now: Instant,
    ) -> Self {
        let limit = if timeout.is_zero() { timeout } else { timeout.saturating_add(wait) };
        let deadline = until(limit, now);
        Self {
            request,
            repeat,
            wait,
            limit,
            deadline,
            patience: deadline.earlier(Deadline::at(now, UNREACHABLE_PATIENCE)),
            backoff: Backoff::new(seed),
            may_be_done: false,
            state: State::Due(Deadline::at(now, Duration::ZERO)),
        }
    }

    /// Returns the time of the next step that does not depend on received bytes.
    pub(crate) const fn wake_at(&self) -> Deadline {
        match &self.state {
            State::Due(at) => *at,
            State::Opening(attempt) | State::Sent(attempt, _) => attempt.deadline,
            State::Done(_) => Deadline::NEVER,
        }
    }

    /// Returns the id of its request while it is unanswered.
    pub(crate) const fn request_id(&self) -> Option<RequestId> {
        if let State::Sent(_, request) = &self.state { Some(*request) } else { None }
    }

    /// Returns the attempt that is being made.
    pub(crate) const fn attempt(&self) -> Option<Attempt> {
        match &self.state {
            State::Opening(attempt) | State::Sent(attempt, _) => Some(*attempt),
            State::Due(_) | State::Done(_) => None,
        }
    }

    /// Begins an attempt.
    pub(crate) fn begin(&mut self, now: Instant) {
        // A retry gets the full time again, because the next node starts to wait from the beginning.
        let deadline = if self.wait.is_zero() { self.deadline } else { until(self.limit, now) };
        self.state = State::Opening(Attempt { start: now, deadline });
    }

    /// Returns the time limit for the response, of which some may have passed; `None` if there is none.
    pub(crate) fn limit(&self) -> Option<Duration> {
        (!self.limit.is_zero()).then_some(self.limit)
    }

    /// Ends the attempt with a response.
    pub(crate) fn finish(&mut self, response: Response) {
        self.state = State::Done(Outcome { result: Ok(response), may_be_done: self.may_be_done });
    }

    /// Ends the attempt with an error. Another attempt follows where that may help and is safe.
    pub(crate) fn fail(&mut self, error: Error, now: Instant) {
        let end = if error.status() == Some(Status::Unreachable) { self.patience } else { self.deadline };
        let pause = self.backoff.next(&error, end, now);
        let took = match self.attempt().filter(|_| error.refusal().is_some()) {
            Some(attempt) => now.saturating_duration_since(attempt.start),
            None => Duration::ZERO,
        };
        if !self.may_repeat(&error) || !leaves_time((pause, took), end, now) {
            self.state = State::Done(Outcome { result: Err(error), may_be_done: self.may_be_done });
            return;
        }
        self.may_be_done |= error.may_be_done();
        self.state = State::Due(Deadline::at(now, pause));
    }

    fn may_repeat(&self, error: &Error) -> bool {
        match self.repeat {
            Repeat::Always => error.is_retryable() && error.status() != Some(Status::UnknownProducer),
            Repeat::NotDone => error.is_retryable() && !error.may_be_done(),
            Repeat::Unanswered => error.is_retryable() && error.refusal().is_none(),
        }
    }
}

/// Converts a timeout from a user; 0 means never.
fn until(timeout: Duration, now: Instant) -> Deadline {
    if timeout.is_zero() { Deadline::NEVER } else { Deadline::at(now, timeout) }
}
