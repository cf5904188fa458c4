//! The history of the requests to one topic, and the check that it is linearizable: that each request can have been
//! executed at one instant between the time when it was sent and the time when its answer arrived.
//!
//! Answers reveal the order of execution, so the check needs no search over possible orders. The state of a topic never
//! goes back: its log grows until it is deleted, and each creation begins a new life. A publish of one record finds the
//! log end offset at the offset of the record and leaves it one higher; a creation finds no topic and leaves an empty
//! log; a read leaves the state as it finds it. The history is linearizable if no request finds an earlier state than
//! one that another request left which was answered before the first was sent.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use dht_client::Deadline;

/// A monotonic clock that all clients share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Deadline);

/// A duration longer than any run.
const LONG: Duration = Duration::from_secs(1 << 20);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Deadline::after(LONG))
    }

    /// Returns the time since the start.
    pub(crate) fn now(self) -> Duration {
        LONG - self.0.remaining().unwrap()
    }
}

/// A state of a topic. A later state is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct State {
    /// Number of times that the topic has been created.
    pub(crate) lives: usize,
    pub(crate) log: Log,
}

/// The log of the topic that was created last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Log {
    /// It has this log end offset.
    EndsAt(u64),
    Deleted,
}

/// The state of a topic that was never created.
pub(crate) const NEVER_CREATED: State = State { lives: 0, log: Log::Deleted };

/// What the answer to a request says of its execution.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    /// It found one state of the topic and left another one, or the same.
    Changed { found: State, left: State },
    /// It found that there is no topic. It does not say how often the topic had been created before.
    FoundNone,
}

/// An executed request in the history of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// When it was sent.
    pub(crate) asked: Duration,
    /// When its answer had arrived.
    pub(crate) answered: Duration,
    pub(crate) effect: Effect,
}

/// A state that a request left, ordered by the time of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Left {
    answered: Duration,
    state: State,
}

/// Returns a request that violates linearizability, with the state that it should have found or a later one: another
/// request left that state, and was answered before this one was sent. `None` if there is no such request.
pub(crate) fn contradiction(history: &[Request]) -> Option<(State, Request)> {
    let mut by_question = history.to_vec();
    by_question.sort_by_key(|request| request.asked);
    let (mut answers, mut newest) = (BinaryHeap::<Reverse<Left>>::new(), NEVER_CREATED);
    for request in by_question {
        while let Some(Reverse(earlier)) = answers.peek()
            && earlier.answered < request.asked
        {
            newest = newest.max(earlier.state);
            answers.pop();
        }
        let (found, left) = match request.effect {
            Effect::Changed { found, left } => (found, left),
            // The earliest possible state: any other one could contradict later requests where this one does not.
            Effect::FoundNone => {
                let state = State { log: Log::Deleted, ..newest };
                (state, state)
            }
        };
        if found < newest {
            return Some((newest, request));
        }
        answers.push(Reverse(Left { answered: request.answered, state: left }));
    }
    None
}

#[test]
fn a_request_that_misses_what_was_acknowledged_before_it_contradicts_that() {
    let request = |asked, answered, effect| Request {
        asked: Duration::from_millis(asked),
        answered: Duration::from_millis(answered),
        effect,
    };
    let state = |lives, end| State { lives, log: Log::EndsAt(end) };
    let deleted = |lives| State { lives, log: Log::Deleted };
    let change = |asked, answered, found, left| request(asked, answered, Effect::Changed { found, left });
    let publish = |asked, answered, offset| change(asked, answered, state(1, offset), state(1, offset + 1));
    let read = |asked, answered, next| change(asked, answered, state(1, next), state(1, next));
    let create = |asked, answered, lives| change(asked, answered, deleted(lives - 1), state(lives, 0));
    let delete = |asked, answered, lives, next| change(asked, answered, state(lives, next), deleted(lives));
    let none = |asked, answered| request(asked, answered, Effect::FoundNone);
    let cases: [(&[Request], bool); 15] = [
        (&[], true),
        (&[publish(0, 1, 0), publish(2, 3, 1), read(4, 5, 2)], true),
        // A read that overlaps a publish may be executed before or after it.
        (&[publish(0, 9, 0), read(1, 2, 0), read(3, 4, 1)], true),
        (&[publish(0, 1, 0), read(2, 3, 0)], false),
        (&[publish(0, 1, 1), publish(2, 3, 0)], false),
        (&[publish(0, 9, 0), read(1, 2, 1), read(3, 4, 0)], false),
        (&[read(0, 1, 1), publish(2, 3, 0)], false),
        // The last read is compared with the latest state that an earlier request left, not with the latest answer.
        (&[publish(0, 1, 5), read(0, 2, 3), read(3, 4, 5)], false),
        (&[none(0, 1), create(2, 3, 1), publish(4, 5, 0), delete(6, 7, 1, 1), none(8, 9), create(10, 11, 2)], true),
        // No topic is found although it has been created, and before its deletion is asked for.
        (&[create(0, 1, 1), none(2, 3), delete(4, 5, 1, 0)], false),
        // The same while it is being created or deleted.
        (&[create(0, 3, 1), none(1, 2), delete(4, 7, 1, 0), none(5, 6)], true),
        (&[create(0, 1, 1), delete(2, 9, 1, 0), none(3, 4), read(5, 6, 0)], false),
        (&[create(0, 1, 1), delete(2, 3, 1, 0), read(4, 5, 0)], false),
        (&[create(0, 1, 1), publish(2, 3, 0), delete(4, 5, 1, 0)], false),
        (&[create(0, 1, 1), delete(2, 3, 1, 0), create(4, 5, 2), read(6, 7, 0)], false),
    ];
    for (history, expected) in cases {
        assert_eq!(contradiction(history).is_none(), expected, "{history:?}");
    }
}
