//! Notices about subscriptions whose home is unreachable.

use std::fmt;

use dht_protocol::types::NodeId;
use dht_protocol::wire::{Class, Status};

/// Whether the records of a subscription can arrive. The subscription continues in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Records cannot arrive at the moment. There is no second notice until [`Self::Flowing`] has followed.
    Waiting {
        /// The topic's home.
        node: NodeId,
        /// The reason.
        reason: WaitReason,
    },
    /// Records can arrive again, after [`Self::Waiting`].
    Flowing {
        /// The topic's home.
        node: NodeId,
    },
}

/// The reason why records cannot arrive: the status that a request for them would get. Displays as a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitReason(u8);

impl WaitReason {
    /// Converts a status byte.
    pub const fn new(code: u8) -> Self {
        Self(code)
    }

    /// Returns the status byte.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// Returns the status, if this version knows it.
    pub const fn status(self) -> Option<Status> {
        Status::from_number(self.0)
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.status() {
            Some(Status::Unreachable) => "no path",
            Some(Status::OutcomeUnknown) => "no answer",
            Some(Status::ShuttingDown) => "it is shutting down",
            Some(Status::Overloaded) => "the queues towards it are full",
            Some(status) => return write!(f, "error {:#04x} {}", self.0, status.name()),
            None => match Class::of(self.0) {
                Class::Transient | Class::Unknown | Class::Stale => {
                    return write!(f, "temporary error {:#04x}", self.0);
                }
                Class::Success | Class::Refused | Class::Server | Class::Fatal => {
                    return write!(f, "error {:#04x}", self.0);
                }
            },
        };
        f.write_str(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_words_and_an_unknown_one_is_its_number() {
        for (code, words) in [
            (Status::Unreachable.number(), "no path"),
            (Status::OutcomeUnknown.number(), "no answer"),
            (Status::Internal.number(), "error 0xd0 INTERNAL"),
            (0x9F, "temporary error 0x9f"),
            (0xDF, "error 0xdf"),
        ] {
            assert_eq!(WaitReason::new(code).to_string(), words);
        }
    }
}
