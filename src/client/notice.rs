//! What is said of a subscription whose home cannot be reached.

use std::fmt;

use crate::types::NodeId;
use crate::wire::{Class, Status};

/// Whether records of a subscription can come. The subscription goes on either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Records cannot come for the moment; comes once until [`Self::Flowing`] does.
    Waiting {
        /// The topic's home.
        node: NodeId,
        /// Why.
        reason: WaitReason,
    },
    /// Records can come again, after [`Self::Waiting`].
    Flowing {
        /// The topic's home.
        node: NodeId,
    },
}

/// Why records cannot come: the status that asking for them is answered with. Displays as a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitReason(u8);

impl WaitReason {
    /// From a status byte.
    pub const fn new(code: u8) -> Self {
        Self(code)
    }

    /// The status byte.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// The status, if this version knows it.
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
                    return write!(f, "error {:#04x}, which passes", self.0);
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
            (0x9F, "error 0x9f, which passes"),
            (0xDF, "error 0xdf"),
        ] {
            assert_eq!(WaitReason::new(code).to_string(), words);
        }
    }
}
