//! The history of the requests to one topic, and the check that it is linearizable: that each request can have been
//! executed at one instant between the time when it was sent and the time when its answer arrived.
//!
//! Offsets reveal the order of execution, so the check needs no search over possible orders. A topic's log end offset
//! never falls. A publish of one record finds the log end offset at the offset of the record and leaves it one higher;
//! a read finds the log end offset that it returns, and leaves it unchanged. The history is linearizable if no request
//! finds a lower log end offset than one that another request left which was answered before the first was sent.

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

/// An executed request in the history of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// When it was sent.
    pub(crate) asked: Duration,
    /// When its answer had arrived.
    pub(crate) answered: Duration,
    /// The log end offset before its execution.
    pub(crate) found: u64,
    /// The log end offset after its execution.
    pub(crate) left: u64,
}

/// Returns two requests that violate linearizability: the second was sent after the first was answered, but did not see
/// its effect. `None` if there are no such two.
pub(crate) fn contradiction(history: &[Request]) -> Option<(Request, Request)> {
    let (mut by_answer, mut by_question) = (history.to_vec(), history.to_vec());
    by_answer.sort_by_key(|request| request.answered);
    by_question.sort_by_key(|request| request.asked);
    let mut answered = by_answer.into_iter().peekable();
    let mut highest: Option<Request> = None;
    for request in by_question {
        while let Some(earlier) = answered.next_if(|earlier| earlier.answered < request.asked) {
            if highest.is_none_or(|highest| highest.left < earlier.left) {
                highest = Some(earlier);
            }
        }
        if let Some(highest) = highest.filter(|highest| highest.left > request.found) {
            return Some((highest, request));
        }
    }
    None
}

#[test]
fn a_request_that_misses_what_was_acknowledged_before_it_contradicts_that() {
    let request = |asked, answered, found, left| Request {
        asked: Duration::from_millis(asked),
        answered: Duration::from_millis(answered),
        found,
        left,
    };
    let publish = |asked, answered, offset| request(asked, answered, offset, offset + 1);
    let read = |asked, answered, next| request(asked, answered, next, next);
    let cases: [(&[Request], bool); 8] = [
        (&[], true),
        (&[publish(0, 1, 0), publish(2, 3, 1), read(4, 5, 2)], true),
        // A read that overlaps a publish may be executed before or after it.
        (&[publish(0, 9, 0), read(1, 2, 0), read(3, 4, 1)], true),
        (&[publish(0, 1, 0), read(2, 3, 0)], false),
        (&[publish(0, 1, 1), publish(2, 3, 0)], false),
        (&[publish(0, 9, 0), read(1, 2, 1), read(3, 4, 0)], false),
        (&[read(0, 1, 1), publish(2, 3, 0)], false),
        // The last read is compared with the highest offset that an earlier request left, not with the latest one.
        (&[publish(0, 1, 5), read(0, 2, 3), read(3, 4, 5)], false),
    ];
    for (history, expected) in cases {
        assert_eq!(contradiction(history).is_none(), expected, "{history:?}");
    }
}
