//! The number of copies of each topic.

use std::fmt;

/// How many nodes keep each topic. It is the same for all nodes of a cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// One node, the home of the topic's slot.
    One,
    /// The home `v`, and its neighbours `v ^ 1` and `v ^ 2`. The cube has at least four nodes.
    Three,
}

impl Copies {
    /// Returns the variant for this number of nodes; `None` for any number but 1 and 3.
    pub const fn new(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            3 => Some(Self::Three),
            _ => None,
        }
    }

    /// Returns the number of nodes.
    pub const fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Three => 3,
        }
    }
}

impl fmt::Display for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}
